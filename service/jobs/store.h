/* The store: jobs on disk. Every change of a job's state is one committed, durable transaction, so any process
 * may be killed at any moment (and the power may fail): what was answered is kept.
 *
 * Several processes may have the same store open. A processing job belongs to a worker by a lease that the
 * worker renews; a job whose worker is gone is pending again. How long a lease lasts is the worker's word, when it is
 * over the store's: workers may be on several machines, but there is one clock.
 *
 * Back ends are const tables (bs_store_ops below); one file each. Chosen by DATABASE_URL.
 * Errors: BS_ERR_IO with the back end's own reason. BS_EOF is the normal answer "no such job" (or: not in that
 * state any more, not this worker's any more). Threads: any; calls take their turn inside. */
#ifndef BS_SERVICE_JOBS_STORE_H
#define BS_SERVICE_JOBS_STORE_H

#include "service/jobs/job.h"

typedef struct bs_store bs_store;

/* Opens, and creates or brings up to date, what DATABASE_URL names. */
bs_status bs_store_open(bs_store **out, const bs_settings *settings, bs_error *err);
void bs_store_close(bs_store **store);
/* What is in use, for people: "sqlite, /srv/data/jobs.db". Lives as long as the store. */
const char *bs_store_describe(const bs_store *store);
/* The back end's own check of all its data (SQLite: PRAGMA integrity_check). */
bs_status bs_store_check(bs_store *store, bs_error *err);

typedef enum bs_store_added {
    BS_STORE_ADDED,
    BS_STORE_ADDED_BEFORE, /* a job with this idempotency key is there: it is returned, nothing was added */
    BS_STORE_FULL,         /* max_pending jobs are pending already */
} bs_store_added;

/* Adds a pending job, if fewer than `max_pending` wait: look-up, check and insertion are one transaction.
 * `idempotency_key` may be NULL. `out` is the job as it now stands (also where it was there before). */
bs_status bs_store_add(bs_store *store, const bs_job *job, const char *idempotency_key, int64_t max_pending,
                       bs_store_added *added, bs_job *out, bs_error *err);

/* The job with this idempotency key, to be asked before an upload is taken in. */
bs_status bs_store_find(bs_store *store, const char *idempotency_key, bs_job *out, bs_error *err);
bs_status bs_store_get(bs_store *store, const char *id, bs_job *out, bs_error *err);

/* Calls `each` for the jobs of the states in `states` (bits 1 << state; 0: all), newest first, leaving out the
 * first `offset`, at most `limit` (0: all). It may not call the store. A non-zero return ends the walk. */
typedef int (*bs_store_each)(void *opaque, const bs_job *job);
bs_status bs_store_list(bs_store *store, unsigned states, int64_t offset, int64_t limit, bs_store_each each,
                        void *opaque, bs_error *err);

typedef struct bs_store_totals {
    int64_t jobs[BS_JOB_STATES];
    int64_t finished_ever[BS_JOB_STATES]; /* since the store was made; completed, failed, cancelled */
    int64_t mean_duration_us;             /* moving average over completed jobs; 0 before the first */
} bs_store_totals;
bs_status bs_store_totals_get(bs_store *store, bs_store_totals *out, bs_error *err);

/* -- the way of a job; the caller is a worker ----------------------------------------------------------- */

/* The pending job that is next (the oldest), without taking it. BS_EOF: none. */
bs_status bs_store_next(bs_store *store, bs_job *out, bs_error *err);
/* pending → processing, attempts + 1. BS_EOF: somebody else was first, or it is pending no more. */
bs_status bs_store_claim(bs_store *store, const char *id, const char *worker, int64_t lease_us, bs_job *out,
                         bs_error *err);

/* Renews the lease and notes how far the job is; not forced to disk (after a power failure it runs again anyway).
 * BS_EOF: it is this worker's no more, and must stop. `cancel` tells whether somebody asked to stop it. */
bs_status bs_store_heartbeat(bs_store *store, const bs_job *job, int64_t lease_us, bool *cancel, bs_error *err);

/* processing → completed, failed or cancelled, with the job's message, progress, frames, statistics and error. */
bs_status bs_store_finish(bs_store *store, const bs_job *job, bs_job_state state, bs_error *err);

/* Why a job goes back to the queue: what its start counts as. */
typedef enum bs_store_cause {
    BS_STORE_SENT_BACK,   /* by us, for our own reasons: nothing */
    BS_STORE_ATTEMPT,     /* its process died by itself */
    BS_STORE_INTERRUPTION /* what it ran in died: no attempt, but see BS_JOB_MAX_INTERRUPTIONS */
} bs_store_cause;

/* processing → pending; it keeps its place in the queue. With so many attempts, or interruptions, as `most` the job
 * fails with `reason` instead. `state` (may be NULL) is what it became. */
bs_status bs_store_requeue(bs_store *store, const char *id, const char *worker, bs_store_cause cause, int64_t most,
                           const char *reason, bs_job_state *state, bs_error *err);

/* Whether a processing job is to be taken from its worker; `over`: so says its lease. It may not call the store. */
typedef bool (*bs_store_lost)(void *opaque, const char *id, const char *worker, bool over);

/* Interrupts every processing job that is lost (`lost` NULL: whose lease is over): pending again, or failed after
 * BS_JOB_MAX_INTERRUPTIONS. `count`, may be NULL: how many. */
bs_status bs_store_reclaim(bs_store *store, bs_store_lost lost, void *opaque, int64_t *count, bs_error *err);

/* -- anybody ---------------------------------------------------------------------------------------------- */

/* pending → cancelled at once; of a processing job the wish is noted (cancel_requested) and its worker stops it.
 * A finished job stays what it is. `out`: the job as it now stands. */
bs_status bs_store_cancel(bs_store *store, const char *id, bs_job *out, bs_error *err);
/* pending → failed: it can never run (say, the memory that there is has become less). */
bs_status bs_store_refuse(bs_store *store, const char *id, const char *reason, bs_error *err);
/* Forgets a job that is not processing. BS_EOF: there is none such. */
bs_status bs_store_remove(bs_store *store, const char *id, bs_error *err);
bs_status bs_store_keep(bs_store *store, const char *id, bool kept, bs_error *err);

/* -- back ends ------------------------------------------------------------------------------------------ */

/* The entries are the calls above with the back end's own state in place of the store. */
typedef struct bs_store_ops {
    const char *scheme; /* of DATABASE_URL, "sqlite" */
    bs_status (*open)(void **out, const char *location, bs_error *err);
    void (*close)(void *state);
    bs_status (*check)(void *state, bs_error *err);
    bs_status (*add)(void *state, const bs_job *job, const char *idempotency_key, int64_t max_pending,
                     bs_store_added *added, bs_job *out, bs_error *err);
    bs_status (*find)(void *state, const char *idempotency_key, bs_job *out, bs_error *err);
    bs_status (*get)(void *state, const char *id, bs_job *out, bs_error *err);
    bs_status (*list)(void *state, unsigned states, int64_t offset, int64_t limit, bs_store_each each, void *opaque,
                      bs_error *err);
    bs_status (*totals)(void *state, bs_store_totals *out, bs_error *err);
    bs_status (*next)(void *state, bs_job *out, bs_error *err);
    bs_status (*claim)(void *state, const char *id, const char *worker, int64_t lease_us, bs_job *out, bs_error *err);
    bs_status (*heartbeat)(void *state, const bs_job *job, int64_t lease_us, bool *cancel, bs_error *err);
    bs_status (*finish)(void *state, const bs_job *job, bs_job_state to, bs_error *err);
    bs_status (*requeue)(void *state, const char *id, const char *worker, bs_store_cause cause, int64_t most,
                         const char *reason, bs_job_state *became, bs_error *err);
    bs_status (*reclaim)(void *state, bs_store_lost lost, void *opaque, int64_t *count, bs_error *err);
    bs_status (*cancel)(void *state, const char *id, bs_job *out, bs_error *err);
    bs_status (*refuse)(void *state, const char *id, const char *reason, bs_error *err);
    bs_status (*remove)(void *state, const char *id, bs_error *err);
    bs_status (*keep)(void *state, const char *id, bool kept, bs_error *err);
} bs_store_ops;

extern const bs_store_ops bs_store_sqlite;

#endif
