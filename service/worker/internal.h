/* worker, inside: the scheduler's state. Everything marked `lock` is shared with other threads under worker->lock; the
 * rest is the scheduler's thread's alone. */
#ifndef BS_SERVICE_WORKER_INTERNAL_H
#define BS_SERVICE_WORKER_INTERNAL_H

#include <pthread.h>

#include "service/worker/governor.h"
#include "service/worker/worker.h"
#include "service/worker/zygote.h"

/* Why the worker itself ends a process. */
typedef enum bs_stop {
    BS_STOP_NOT = 0,
    BS_STOP_CANCEL, /* somebody asked for it */
    BS_STOP_TIMEOUT,
    BS_STOP_MEMORY,   /* it took more than it was given */
    BS_STOP_ROOM,     /* memory is critical, and it is the youngest */
    BS_STOP_SHUTDOWN, /* the service stops */
    BS_STOP_LOST,     /* the job is another worker's, or gone */
    BS_STOP_BROKEN,   /* what it reports makes no sense */
    BS_STOP_DISK,     /* what it made cannot be written */
} bs_stop;

/* What is to become of a job whose process has ended. */
typedef enum bs_fate { BS_FATE_OPEN = 0, BS_FATE_FINISH, BS_FATE_REQUEUE, BS_FATE_DROP } bs_fate;

/* An upload that waits to be probed; lives on the stack of the thread that submits it. */
typedef struct bs_submission {
    const bs_job *job;
    int input;
    bool finished; /* lock */
    int attempts;
    uint64_t memory;  /* that the next probe of it may take; 0: PROBE_FIRST */
    bs_probed probed; /* once finished */
    struct bs_submission *next;
} bs_submission;

enum { BS_PROBE_SECONDS = 10 }; /* that a probe may take */

typedef enum bs_slot_state { BS_SLOT_FREE = 0, BS_SLOT_PROBE, BS_SLOT_JOB } bs_slot_state;

/* A process, and the job that it carries out. */
typedef struct bs_slot {
    bs_slot_state state; /* lock */
    bs_job job;          /* lock */
    bool cancel;         /* lock: stop it */
    bool leaving;        /* lock: the store is being told how it ended, and knows better from then on */
    pid_t pid;           /* lock; 0: not started yet */
    bs_promise promise;  /* lock */

    uint32_t serial;
    int channel; /* -1: at its end */
    int outputs[BS_GIVE_OUTPUTS];
    bs_process_options options;
    bs_sandbox_limits limits;
    int64_t started_ms, told_ms; /* monotonic; told: the listener was last called */
    int64_t stop_ms;             /* when the zygote was first asked to kill it */
    int64_t silent_ms;           /* when it closed its channel; 0: not yet */
    bs_submission *submission;

    bs_report head; /* of the report that arrives */
    size_t head_have, body_have;
    union {
        bs_progress progress;
        char note[BS_REPORT_NOTE_MAX];
        bs_probed probed;
        bs_done done;
    } body;
    int frame_fd; /* the saved frame that arrives; -1: none */
    char frame_name[BS_ARTIFACT_NAME_MAX + 1];

    bs_done done;
    bool done_there, ended, killed; /* ended: the zygote buried it (or died itself) */
    bool innocent; /* it was the zygote that died, or did not take the order: no attempt of the job's */
    int wait_status;
    bs_error start_error;
    bs_stop stop;

    bs_fate fate; /* decided once, carried out until the store has taken it */
    bs_job_state final;
    bs_store_cause cause;
    char reason[512];
    int64_t retry_ms;
} bs_slot;

typedef struct bs_listener {
    pthread_mutex_t turn;
    void (*changed)(void *opaque, const char *id);
    void *opaque;
} bs_listener;

struct bs_worker {
    const bs_settings *settings;
    bs_store *store;
    bs_artifacts *artifacts;
    char id[BS_JOB_ID_LENGTH + 1];

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a submission finished, a job ended */
    int wake;               /* eventfd */

    bool draining, stopping;        /* lock */
    int64_t stop_ms;                /* lock: when jobs that still run are stopped, monotonic */
    bool ready;                     /* lock: the models are mapped */
    bool clean_wanted, beat_wanted; /* lock */
    bs_error unready;               /* lock: why not */
    bs_submission *submissions;     /* lock */
    bs_store_totals totals;         /* lock: as last read */
    bs_worker_readings readings;    /* lock */
    bs_listener listener;

    int slots;
    bs_slot *slot; /* as many as may run, and one for probing */
    bs_zygote zygote;
    uint32_t serial;
    bs_governor governor;
    char sha256[BS_MODEL_KINDS][65];
    char waiting[BS_JOB_ID_LENGTH + 1]; /* the job that was told to wait and has not started: that is logged once */
    int64_t alone_ms, start_ms;         /* since when nothing ran beside it; before when no further start is tried */
    int64_t kill_ms;                    /* stopping: when killed processes are no more waited for */
    /* When each is next due, monotonic. */
    int64_t zygote_ms, beat_ms, measure_ms, reclaim_ms, sweep_ms, clean_ms, trim_ms;
};

int64_t bs_worker_clock_ms(void);
/* A flag of the worker's or a slot's that other threads set. */
bool bs_worker_flag(bs_worker *worker, const bool *field);
/* Calls the listener. */
void bs_worker_tell(bs_worker *worker, const char *id);

/* slots.c. NULL: there is none. */
bs_slot *bs_slot_free(bs_worker *worker);
bs_slot *bs_slot_by_serial(bs_worker *worker, uint32_t serial);
/* Other threads ask under the lock. */
bs_slot *bs_slot_of_job(bs_worker *worker, const char *id);
int bs_slot_count(const bs_worker *worker, bs_slot_state state);
/* For a process that is about to start, and once everything about it is settled. */
void bs_slot_take(bs_worker *worker, bs_slot *slot, bs_slot_state state, const bs_job *job);
void bs_slot_release(bs_worker *worker, bs_slot *slot);
/* Sends the order with `input` (it stays the caller's), the outputs of the slot and the channel's other end. False:
 * nothing was started, slot->start_error says why. */
bool bs_slot_order(bs_worker *worker, bs_slot *slot, const bs_order *order, int input);
/* What the job's process is to do, which outputs it is to write (BS_GIVE_*), and what it needs of its own: page cache
 * left out, as memory is counted here. */
bs_process_options bs_job_process_options(const bs_job *job);
unsigned bs_job_outputs(const bs_job *job);
uint64_t bs_job_own_need(const bs_job *job);

/* Asks the zygote, once, to kill the process: what its job came to stays as it has reported. */
void bs_slot_kill(bs_worker *worker, bs_slot *slot);
/* The same for a reason, the first that is given; what becomes of its job follows when it is dead. Nobody else sets
 * slot->stop of a process that lives: the zygote has until stop_ms to bury it. */
void bs_worker_stop_slot(bs_worker *worker, bs_slot *slot, bs_stop why);

/* readings.c. Reads what is used now; takes a millisecond per process. */
void bs_readings_measure(bs_worker *worker);
/* The promises of all jobs under way, BS_WORKER_PROCESSES at most; returns how many. */
size_t bs_readings_promises(const bs_worker *worker, bs_promise *out);
/* Does what the last reading asks for: ends what takes more than its reservation, cleans up at the cleanup line, makes
 * room at the critical one. The reject line acts in bs_worker_admits. */
void bs_readings_act(bs_worker *worker);

/* probing.c: starts the next probe where none runs; a probe's process has ended. */
void bs_probing_start(bs_worker *worker);
void bs_probing_end(bs_worker *worker, bs_slot *slot);

/* channel.c: reads what a process reports. False: it is at its end. `progressed`: there is news of the job. */
bool bs_channel_read(bs_worker *worker, bs_slot *slot, bool *progressed);
void bs_channel_close(bs_worker *worker, bs_slot *slot);

/* outcome.c: a process has ended. Decides what becomes of its job, publishes results, tells the store. False: the store
 * did not take it yet; to be called again. */
bool bs_outcome_settle(bs_worker *worker, bs_slot *slot);
/* Which file the output BS_GIVE_(1 << output) of a job becomes. */
bs_artifact_kind bs_output_kind(const bs_job *job, int output);

/* cleanup.c: what is left over. `age`: of finished jobs in seconds from which on they are removed. */
void bs_cleanup_expired(bs_worker *worker, int64_t age);
void bs_cleanup_sweep(bs_worker *worker);
/* Jobs of workers that are gone are pending again. */
void bs_cleanup_reclaim(bs_worker *worker);

#endif
