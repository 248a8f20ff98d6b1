/* What other threads call (see worker.h). Nothing here waits for the scheduler but a submission, which waits for its
 * probe, and a removal, which waits for a job to be dead. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "service/worker/internal.h"

enum {
    FIRST_GUESS_US = 10 * 1000000, /* of a job's duration, before any was measured */
    RETRY_MOST = 3600,
    PROBE_WAIT_SECONDS = 30,
    CANCEL_WAIT_MS = 1000,
    REMOVE_WAIT_MS = 8000,
    LOOK_MS = 20,
};

/* Seconds until what lies ahead is done: waiting jobs, and what running ones still have to do, at the moving average of
 * their durations, as many at a time as run. Under the lock. */
static int retry_after(const bs_worker *worker)
{
    double mean = (double)(worker->totals.mean_duration_us ? worker->totals.mean_duration_us : FIRST_GUESS_US) * 1e-6;
    double ahead = (double)worker->totals.jobs[BS_JOB_PENDING];
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state == BS_SLOT_JOB)
            ahead += 1 - worker->slot[i].job.progress / 100.0;
    double seconds = mean * ahead / (double)worker->settings->max_concurrent_processing;
    return seconds < 1 ? 1 : seconds > RETRY_MOST ? RETRY_MOST : (int)(seconds + 0.999);
}

static bool BS_PRINTF(4, 5) refuse(bs_verdict *verdict, bs_refusal refusal, int retry, const char *format, ...)
{
    *verdict = (bs_verdict){.refusal = refusal, .retry_after = retry};
    va_list args;
    va_start(args, format);
    vsnprintf(verdict->detail, sizeof(verdict->detail), format, args);
    va_end(args);
    bs_text_clean(verdict->detail); /* one line, whatever a file calls itself */
    return false;
}

static bool refuse_capacity(bs_worker *worker, bs_verdict *verdict)
{
    int retry = retry_after(worker);
    worker->readings.refused_capacity++;
    return refuse(verdict, BS_REFUSAL_CAPACITY, retry,
                  "Server at capacity: %" PRId64 " jobs are waiting, and no more than that may; try again in %d s",
                  worker->settings->max_pending_jobs, retry);
}

/* Under the lock. */
static bool admits(bs_worker *worker, bs_verdict *verdict)
{
    const bs_worker_readings *r = &worker->readings;
    if (worker->draining)
        return refuse(verdict, BS_REFUSAL_STOPPING, 10, "Server is stopping; try again soon");
    if (r->limit && r->used >= r->reject_line) {
        int retry = retry_after(worker);
        worker->readings.refused_memory++;
        return refuse(verdict, BS_REFUSAL_MEMORY, retry,
                      "Server memory limit reached: %.0f MB are used, and from %.0f MB on nothing new is taken; try "
                      "again in %d s",
                      bs_mib(r->used), bs_mib(r->reject_line), retry);
    }
    if (worker->totals.jobs[BS_JOB_PENDING] >= worker->settings->max_pending_jobs)
        return refuse_capacity(worker, verdict);
    *verdict = (bs_verdict){0};
    return true;
}

bool bs_worker_admits(bs_worker *worker, bs_verdict *verdict)
{
    pthread_mutex_lock(&worker->lock);
    bool yes = admits(worker, verdict);
    pthread_mutex_unlock(&worker->lock);
    return yes;
}

bool bs_worker_ready(bs_worker *worker, bs_error *reason)
{
    bs_verdict verdict;
    pthread_mutex_lock(&worker->lock);
    bool ready = worker->ready && !worker->draining &&
                 !(worker->readings.limit && worker->readings.used >= worker->readings.reject_line);
    if (!ready && reason) {
        if (worker->draining || worker->ready) {
            admits(worker, &verdict);
            bs_fail(reason, BS_AGAIN, "%s", verdict.detail);
        } else {
            *reason = worker->unready;
        }
    }
    pthread_mutex_unlock(&worker->lock);
    return ready && bs_artifacts_check(worker->artifacts, reason) == BS_OK;
}

/* -- submitting ----------------------------------------------------------------------------------------- */

/* Hands the input to the scheduler and waits until it was probed. */
static bs_status probe(bs_worker *worker, const bs_job *job, bs_probed *out, bs_error *err)
{
    /* What is answered where nobody probes it any more. */
    bs_submission submission = {.job = job, .input = -1, .probed.status = BS_ERR_FAILED};
    bs_fail(&submission.probed.error, BS_ERR_FAILED, "the service is stopping");
    bs_status status = bs_artifacts_open_input(worker->artifacts, job->id, &submission.input, err);
    if (status != BS_OK)
        return status < 0 ? status : bs_fail(err, BS_ERR_IO, "the upload's file is gone");
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PROBE_WAIT_SECONDS;

    pthread_mutex_lock(&worker->lock);
    bs_submission **last = &worker->submissions;
    while (*last)
        last = &(*last)->next;
    *last = &submission;
    bool going = !worker->draining;
    pthread_mutex_unlock(&worker->lock);
    bs_worker_wake(worker);

    pthread_mutex_lock(&worker->lock);
    while (!submission.finished && going)
        going = pthread_cond_timedwait(&worker->changed, &worker->lock, &until) == 0;
    for (last = &worker->submissions; *last; last = &(*last)->next)
        if (*last == &submission) { /* never begun */
            *last = submission.next;
            submission.finished = true;
            submission.probed.status = bs_fail(&submission.probed.error, BS_ERR_FAILED, "%s",
                                               worker->draining ? "the service is stopping"
                                               : worker->ready  ? "it waited too long for its turn"
                                                                : worker->unready.text);
            break;
        }
    while (!submission.finished) /* begun: it ends by itself, at its time limit at the latest */
        pthread_cond_wait(&worker->changed, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    close(submission.input);
    *out = submission.probed;
    return BS_OK;
}

/* What the probe found, as an answer to the uploader. */
static bool judge(bs_worker *worker, const bs_job *job, const bs_probed *probed, bs_verdict *verdict)
{
    switch (probed->status) {
    case BS_OK: return true;
    case BS_ERR_LIMIT:
    case BS_ERR_NOMEM:
        bs_log(BS_LOG_INFO, "governor", "upload %s is refused: %s", job->id, probed->error.text);
        return refuse(verdict, BS_REFUSAL_LIMIT, 0, "%s",
                      probed->status == BS_ERR_LIMIT
                          ? probed->error.text
                          : "Reading the file's header takes more memory than an upload may");
    case BS_AGAIN:
        pthread_mutex_lock(&worker->lock);
        worker->readings.refused_memory++;
        int later = retry_after(worker);
        pthread_mutex_unlock(&worker->lock);
        bs_log(BS_LOG_INFO, "governor", "upload %s is refused: %s", job->id, probed->error.text);
        return refuse(verdict, BS_REFUSAL_MEMORY, later, "Server memory limit reached: %s; try again in %d s",
                      probed->error.text, later);
    case BS_ERR_FAILED:
    case BS_ERR_IO:
        pthread_mutex_lock(&worker->lock);
        int retry = retry_after(worker);
        pthread_mutex_unlock(&worker->lock);
        bs_log(BS_LOG_WARNING, "worker", "upload %s cannot be examined: %s", job->id, probed->error.text);
        return refuse(verdict, BS_REFUSAL_STOPPING, retry, "The upload cannot be examined now: %s", probed->error.text);
    default: return refuse(verdict, BS_REFUSAL_INPUT, 0, "%s", probed->error.text);
    }
}

static void take_probed(bs_job *job, const bs_probed *probed)
{
    job->photo = probed->info.photo;
    job->reserved_memory = probed->estimate.total;
    job->shared_memory = probed->estimate.shared < probed->estimate.total ? probed->estimate.shared : 0;
    job->memory_limit = probed->budget;
    job->total_frames = probed->info.frames > 0 ? probed->info.frames : 0;
    snprintf(job->message, sizeof(job->message), "Waiting");
    int64_t most = job->options.max_duration_us;
    if (most > 0 && probed->info.duration_us > most) {
        double frames = (double)job->total_frames * (double)most / (double)probed->info.duration_us;
        job->total_frames = (int64_t)frames;
    }
}

bool bs_worker_submit(bs_worker *worker, const bs_job *job, const char *idempotency_key, bs_job *out, bool *before,
                      bs_verdict *verdict, bs_error *err)
{
    *verdict = (bs_verdict){0};
    if (idempotency_key) {
        bs_status found = bs_store_find(worker->store, idempotency_key, out, err);
        if (found != BS_EOF) {
            *before = found == BS_OK;
            return found == BS_OK;
        }
    }
    if (!bs_worker_admits(worker, verdict))
        return false;

    bs_probed probed;
    bs_job filled = *job;
    if (probe(worker, job, &probed, err) != BS_OK || !judge(worker, job, &probed, verdict))
        return false;
    take_probed(&filled, &probed);
    bs_store_added added;
    if (bs_store_add(worker->store, &filled, idempotency_key, worker->settings->max_pending_jobs, &added, out, err) !=
        BS_OK)
        return false;
    pthread_mutex_lock(&worker->lock);
    if (added == BS_STORE_ADDED)
        worker->totals.jobs[BS_JOB_PENDING]++;
    else if (added == BS_STORE_FULL)
        refuse_capacity(worker, verdict);
    pthread_mutex_unlock(&worker->lock);
    *before = added == BS_STORE_ADDED_BEFORE;
    if (added == BS_STORE_ADDED) {
        bs_log(BS_LOG_INFO, "worker", "job %s is queued: %s %dx%d, %.1f MB reserved%s%s", out->id, probed.info.codec,
               probed.info.width, probed.info.height, bs_mib(out->reserved_memory), probed.estimate.lean[0] ? "; " : "",
               probed.estimate.lean);
        bs_worker_wake(worker);
    }
    return added != BS_STORE_FULL;
}

/* -- one job -------------------------------------------------------------------------------------------- */

bool bs_worker_running(bs_worker *worker, const char *id, bs_job *out)
{
    pthread_mutex_lock(&worker->lock);
    const bs_slot *slot = bs_slot_of_job(worker, id);
    bool running = slot && !slot->leaving;
    if (running)
        *out = slot->job;
    pthread_mutex_unlock(&worker->lock);
    return running;
}

bs_status bs_worker_job(bs_worker *worker, const char *id, bs_job *out, bs_error *err)
{
    bs_job running;
    pthread_mutex_lock(&worker->lock);
    const bs_slot *slot = bs_slot_of_job(worker, id);
    bool leaving = slot && slot->leaving;
    if (slot)
        running = slot->job;
    pthread_mutex_unlock(&worker->lock);

    bs_status status = BS_OK;
    if (!slot || leaving)
        status = bs_store_get(worker->store, id, out, err);
    if (slot && status == BS_OK && (!leaving || out->state == BS_JOB_PROCESSING))
        *out = running; /* its progress is newer */
    return status;
}

/* One waits no more: uploads are counted against the new number at once, not after the next reading of the store. */
static void one_less_pending(bs_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    if (worker->totals.jobs[BS_JOB_PENDING] > 0)
        worker->totals.jobs[BS_JOB_PENDING]--;
    pthread_mutex_unlock(&worker->lock);
}

bs_status bs_worker_cancel(bs_worker *worker, const char *id, bs_job *out, bs_error *err)
{
    bs_job before;
    bool waited = bs_store_get(worker->store, id, &before, NULL) == BS_OK && before.state == BS_JOB_PENDING;
    bs_status status = bs_store_cancel(worker->store, id, out, err);
    if (status != BS_OK)
        return status;
    if (waited && out->state == BS_JOB_CANCELLED)
        one_less_pending(worker);
    if (out->state == BS_JOB_CANCELLED) {
        bs_artifacts_remove(worker->artifacts, id, NULL);
        bs_worker_tell(worker, id);
    }
    if (out->state == BS_JOB_PROCESSING) {
        pthread_mutex_lock(&worker->lock);
        bs_slot *slot = bs_slot_of_job(worker, id);
        if (slot)
            slot->cancel = true;
        else
            worker->beat_wanted = true; /* it is just being started; the heartbeat will see the wish */
        pthread_mutex_unlock(&worker->lock);
        bs_worker_wake(worker);
        /* Who asks for the status next should see it cancelled. */
        const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
        for (int ms = 0; out->state == BS_JOB_PROCESSING && ms < CANCEL_WAIT_MS; ms += LOOK_MS) {
            nanosleep(&pause, NULL);
            if (bs_store_get(worker->store, id, out, NULL) != BS_OK)
                break;
        }
    }
    return BS_OK;
}

bs_status bs_worker_remove(bs_worker *worker, const char *id, bs_error *err)
{
    bs_job job;
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    for (int waited = 0; waited < REMOVE_WAIT_MS; waited += LOOK_MS) {
        bs_status status = bs_store_get(worker->store, id, &job, err);
        if (status != BS_OK)
            return status;
        if (job.state != BS_JOB_PROCESSING) {
            /* Files first where nobody uses them: on a full disk the store needs their room to keep the change. */
            if (bs_job_state_is_final(job.state) && (status = bs_artifacts_remove(worker->artifacts, id, err)) < 0)
                return status;
            status = bs_store_remove(worker->store, id, err);
            if (status == BS_OK && job.state == BS_JOB_PENDING)
                one_less_pending(worker);
            if (status == BS_OK)
                return bs_artifacts_remove(worker->artifacts, id, err);
            if (status < 0)
                return status;
            continue; /* it was claimed in between */
        }
        if (!job.cancel_requested && (status = bs_worker_cancel(worker, id, &job, err)) != BS_OK)
            return status;
        nanosleep(&pause, NULL);
    }
    return bs_fail(err, BS_ERR_FAILED, "job %s does not stop; try again soon", id);
}

void bs_worker_clean(bs_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->clean_wanted = true;
    pthread_mutex_unlock(&worker->lock);
    bs_worker_wake(worker);
}

void bs_worker_listen(bs_worker *worker, void (*changed)(void *opaque, const char *id), void *opaque)
{
    pthread_mutex_lock(&worker->listener.turn);
    worker->listener.changed = changed;
    worker->listener.opaque = opaque;
    pthread_mutex_unlock(&worker->listener.turn);
}

void bs_worker_readings_get(bs_worker *worker, bs_worker_readings *out)
{
    pthread_mutex_lock(&worker->lock);
    *out = worker->readings;
    pthread_mutex_unlock(&worker->lock);
}
