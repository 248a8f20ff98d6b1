/* worker: runs jobs, one process each, and never more than fit into memory.
 *
 *   scheduler.c    the one thread that does it all: claims, starts, watches, ends; its helpers are
 *     slots.c      the place of a process, and the order that starts it
 *     probing.c    looks at an upload before it is a job
 *     channel.c    reads what a process reports, and believes nothing unchecked
 *     outcome.c    what becomes of a job whose process has ended
 *     cleanup.c    what is over, and what is left over
 *     readings.c   what memory is used, and what is done where it is too much
 *     governor.c   how much memory there is and what is promised; what may start
 *   calls.c        what other threads call
 *   zygote.c       the small process that every job process is a fork of
 *   sandbox.c      what a job process gives up before it touches a byte of media
 *   job_process.c  what a job process does
 *
 * Threads: all calls from any thread. The worker has one thread of its own. The scheduler's store, artifacts and
 * settings are the caller's and outlive it. */
#ifndef BS_SERVICE_WORKER_WORKER_H
#define BS_SERVICE_WORKER_WORKER_H

#include "service/artifacts/artifacts.h"
#include "service/jobs/store.h"

typedef struct bs_worker bs_worker;

/* The caller owns what the store and the artifacts lie in (owner.h).
 * Cleans up after an earlier run that was killed, starts the zygote and the scheduler's thread. Returns at once;
 * the models are mapped meanwhile (bs_worker_ready). The first zygote is a fork: call it before the process has other
 * threads, and from the thread that lives as long as the process (the zygote dies with it). */
bs_status bs_worker_start(bs_worker **out, const bs_settings *settings, bs_store *store, bs_artifacts *artifacts,
                          bs_error *err);

/* No new jobs from now on: submissions are refused, bs_worker_ready says why. Lets running ones finish for
 * `grace_seconds` (`hurry`, may be NULL, is asked again and again: true ends the grace), sends the rest back to the
 * queue and ends every process that it started. Calls are still answered, from the store. */
void bs_worker_halt(bs_worker *worker, int grace_seconds, bool (*hurry)(void *opaque), void *opaque);
/* Halts without grace where it was not halted before, and frees everything. */
void bs_worker_stop(bs_worker **worker);

/* Whether jobs can be taken and run now; if not, why, in one sentence (starting, stopping, memory). */
/* Whether it can take jobs in now; may wait for the disk. */
bool bs_worker_ready(bs_worker *worker, bs_error *reason);

/* -- for http ------------------------------------------------------------------------------------------- */

typedef enum bs_refusal {
    BS_REFUSAL_NONE = 0,
    BS_REFUSAL_CAPACITY, /* 503 "Server at capacity …" */
    BS_REFUSAL_MEMORY,   /* 503 "Server memory limit reached …" */
    BS_REFUSAL_STOPPING, /* 503 */
    BS_REFUSAL_INPUT,    /* 400: not a video or photo that can be used */
    BS_REFUSAL_LIMIT,    /* 413: can never fit the memory, with the numbers */
} bs_refusal;

typedef struct bs_verdict {
    bs_refusal refusal;
    int retry_after;  /* seconds, where trying again makes sense (503), else 0 */
    char detail[512]; /* the sentence for the user, one line */
} bs_verdict;

/* To be asked before an upload's body is read: costs no disk access. True: go on. */
bool bs_worker_admits(bs_worker *worker, bs_verdict *verdict);

/* The upload is complete: `job` (bs_job_init, then filename, size and options; its input lies in its artifacts) is
 * probed in a sandboxed process, its memory estimated, and it is added to the queue, all or nothing.
 * True: `out` is the job as it stands; `before`: it is an earlier upload with the same key, and this input is to be
 * thrown away. False: `verdict` says why; the caller removes the artifacts. BS_ERR_* in `status`: the store failed.
 * Takes some 20 ms; the caller may wait. */
bool bs_worker_submit(bs_worker *worker, const bs_job *job, const char *idempotency_key, bs_job *out, bool *before,
                      bs_verdict *verdict, bs_error *err);

/* A job that runs here, with the newest progress: out of memory, never waits. False: it does not run, or just ended. */
bool bs_worker_running(bs_worker *worker, const char *id, bs_job *out);
/* A job as it is this moment: the store's word, and of a running job the newest progress. Cheap for running jobs. */
bs_status bs_worker_job(bs_worker *worker, const char *id, bs_job *out, bs_error *err);
/* Stops it, pending or processing, within a second; returns when it has ended, or after a second with the request
 * durable. `out` as it then stands. */
bs_status bs_worker_cancel(bs_worker *worker, const char *id, bs_job *out, bs_error *err);
/* Stops it where it runs, then removes job and files. BS_EOF: no such job. */
bs_status bs_worker_remove(bs_worker *worker, const char *id, bs_error *err);
/* Removes what has expired. Cheap; returns at once. */
void bs_worker_clean(bs_worker *worker);
/* Something was added to the store. */
void bs_worker_wake(bs_worker *worker);

/* `changed` is called from the worker's thread when a job's state or progress changed (at most ten times a second
 * for a job); it must not block. One listener; NULL: none any more (no call is under way when this returns). */
void bs_worker_listen(bs_worker *worker, void (*changed)(void *opaque, const char *id), void *opaque);

/* -- for the administrator, without a worker --------------------------------------------------------------- */

/* Removes the jobs, and their files, that ended more than `age` seconds ago, but for those that are kept. `removed`:
 * how many. One that cannot be removed leaves the others to go; the last reason is returned. */
bs_status bs_remove_expired(bs_store *store, bs_artifacts *artifacts, int64_t age, int64_t *removed, bs_error *err);

/* -- readings ------------------------------------------------------------------------------------------- */

enum { BS_WORKER_PROCESSES = BS_CONCURRENT_MOST + 3 }; /* and a probe, the zygote, the server */

typedef struct bs_worker_process {
    pid_t pid;
    char role[16]; /* "server", "zygote", "job", "probe" */
    char job[BS_JOB_ID_LENGTH + 1];
    uint64_t memory, reserved; /* bytes; proportional set size */
} bs_worker_process;

typedef struct bs_worker_readings {
    uint64_t limit;     /* the memory that there is */
    uint64_t used;      /* by the whole tree of processes */
    uint64_t reserved;  /* by jobs under way */
    uint64_t available; /* what a job that starts now could take */
    uint64_t cleanup_line, reject_line, critical_line;
    double pressure;     /* PSI: per cent of the last 10 s in which some task waited for memory; -1: unknown */
    int64_t measured_us; /* when `used` was read */
    int64_t jobs_started, jobs_completed, jobs_failed, jobs_cancelled, jobs_requeued, processes_died, refused_memory,
        refused_capacity; /* since this process started */
    int64_t frames_processed;
    double cpu_seconds;      /* of job processes that have ended */
    int64_t peak_job_memory; /* of the largest job process so far */
    int running;             /* jobs */
    int processes;           /* entries in use below */
    bs_worker_process process[BS_WORKER_PROCESSES];
} bs_worker_readings;

void bs_worker_readings_get(bs_worker *worker, bs_worker_readings *out);

/* Called first thing in main(): where this process was started as the zygote it runs as that and does not return. */
void bs_zygote_main_if_asked(int argc, char **argv);

#endif
