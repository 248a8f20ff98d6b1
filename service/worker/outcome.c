/* outcome: a job's process has ended. What becomes of the job is decided once; results become visible whole; then the
 * store is told, as often as it takes (its disk may be full); then what is not needed any more is removed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bodyscript/metadata.h>

#include "service/worker/internal.h"

enum { RETRY_MS = 1000 };

static const bs_artifact_kind output_kinds[BS_GIVE_OUTPUTS] = {BS_ARTIFACT_CSV, BS_ARTIFACT_JSON, BS_ARTIFACT_VIDEO,
                                                               BS_ARTIFACT_PREVIEW, BS_ARTIFACT_THUMBNAIL};

bs_artifact_kind bs_output_kind(const bs_job *job, int output)
{
    return job->photo && output_kinds[output] == BS_ARTIFACT_VIDEO ? BS_ARTIFACT_IMAGE : output_kinds[output];
}

/* -- results -------------------------------------------------------------------------------------------- */

static void fill_urls(const bs_worker *worker, const bs_slot *slot, bs_metadata_url urls[BS_GIVE_OUTPUTS + 1],
                      char (*texts)[BS_ARTIFACT_URL_MAX])
{
    int count = 0;
    for (int i = 0; i < BS_GIVE_OUTPUTS; i++) {
        struct stat file;
        if (slot->outputs[i] < 0 || fstat(slot->outputs[i], &file) || file.st_size == 0)
            continue;
        bs_artifact_kind kind = bs_output_kind(&slot->job, i);
        bs_artifact_url(texts[count], sizeof(*texts), worker->settings->cdn_base_url, slot->job.id,
                        bs_artifact_file(kind));
        urls[count] = (bs_metadata_url){bs_artifact_label(kind), texts[count]};
        count++;
    }
    urls[count] = (bs_metadata_url){NULL, NULL};
}

static bs_status write_metadata(bs_worker *worker, bs_slot *slot, bs_error *err)
{
    char texts[BS_GIVE_OUTPUTS][BS_ARTIFACT_URL_MAX];
    bs_metadata_url urls[BS_GIVE_OUTPUTS + 1];
    fill_urls(worker, slot, urls, texts);
    bs_metadata metadata = {
        .job_id = slot->job.id,
        .filename = slot->job.filename,
        .processed_at_us = bs_job_now(),
        .options = &slot->options,
        .no_video = slot->job.options.no_video,
        .save_frames = slot->job.options.save_frames,
        .summary = &slot->done.summary,
        .model_sha256 = worker->sha256[bs_process_model(&slot->options)],
        .urls = urls,
    };
    const char *name = bs_artifact_file(BS_ARTIFACT_METADATA);
    int fd;
    bs_status status = bs_artifacts_create(worker->artifacts, slot->job.id, name, &fd, err);
    if (status != BS_OK)
        return status;
    status = bs_metadata_write(fd, &metadata, err);
    if (status == BS_OK)
        status = bs_artifacts_commit(worker->artifacts, slot->job.id, name, fd, err);
    close(fd);
    return status;
}

/* Makes everything that was written visible under its name. An output that stayed empty is none. */
static bs_status publish(bs_worker *worker, bs_slot *slot, bs_error *err)
{
    bs_status status = BS_OK;
    for (int i = 0; i < BS_GIVE_OUTPUTS && status == BS_OK; i++) {
        struct stat file;
        if (slot->outputs[i] < 0 || fstat(slot->outputs[i], &file) || file.st_size == 0)
            continue;
        const char *name = bs_artifact_file(bs_output_kind(&slot->job, i));
        status = bs_artifacts_commit(worker->artifacts, slot->job.id, name, slot->outputs[i], err);
    }
    return status == BS_OK ? write_metadata(worker, slot, err) : status;
}

static void fill_statistics(bs_worker *worker, bs_slot *slot)
{
    char *text = bs_metadata_statistics(&slot->options, &slot->done.summary);
    pthread_mutex_lock(&worker->lock);
    if (text && strlen(text) < sizeof(slot->job.statistics))
        snprintf(slot->job.statistics, sizeof(slot->job.statistics), "%s", text);
    pthread_mutex_unlock(&worker->lock);
    free(text);
}

/* -- what becomes of the job ---------------------------------------------------------------------------- */

/* Decides what the job becomes and why; pending: it is queued again. */
static void BS_PRINTF(3, 4) become(bs_slot *slot, bs_job_state state, const char *format, ...)
{
    slot->fate = state == BS_JOB_PENDING ? BS_FATE_REQUEUE : BS_FATE_FINISH;
    slot->final = state;
    va_list args;
    va_start(args, format);
    vsnprintf(slot->reason, sizeof(slot->reason), format, args);
    va_end(args);
}

static void fail_for_memory(bs_slot *slot)
{
    become(slot, BS_JOB_FAILED, "it needed more memory than the %.0f MB that were reserved for it",
           bs_mib(slot->job.reserved_memory));
}

/* The process told its result itself. */
static void decide_by_report(bs_worker *worker, bs_slot *slot)
{
    const bs_done *done = &slot->done;
    if (done->status == BS_OK) {
        bs_error err = {0};
        if (publish(worker, slot, &err) == BS_OK) {
            fill_statistics(worker, slot);
            become(slot, BS_JOB_COMPLETED, "%s", done->summary.advice[0] ? done->summary.advice : "Completed");
        } else {
            become(slot, BS_JOB_FAILED, "its results cannot be kept: %s", err.text);
        }
    } else if (done->status == BS_ERR_NOMEM) {
        fail_for_memory(slot);
    } else {
        become(slot, BS_JOB_FAILED, "%s", done->error.text[0] ? done->error.text : "it failed without a reason");
    }
}

static void decide_by_death(bs_slot *slot)
{
    char why[256];
    if (slot->innocent) {
        slot->cause = BS_STORE_INTERRUPTION;
        become(slot, BS_JOB_PENDING, "the process that starts jobs was killed while it ran, %d times",
               slot->job.interruptions + 1);
        return;
    }
    if (slot->start_error.text[0]) {
        slot->cause = BS_STORE_ATTEMPT;
        become(slot, BS_JOB_PENDING, "%s", slot->start_error.text);
        return;
    }
    bs_sandbox_explain(slot->wait_status, &slot->limits, why, sizeof(why));
    if (bs_sandbox_was_the_cause(slot->wait_status)) {
        become(slot, BS_JOB_FAILED, "%s", why);
    } else {
        slot->cause = BS_STORE_ATTEMPT;
        become(slot, BS_JOB_PENDING, "%s, in each of its %d attempts", why, slot->job.attempts);
    }
}

static void decide(bs_worker *worker, bs_slot *slot)
{
    char reason[sizeof(slot->reason)];
    pthread_mutex_lock(&worker->lock);
    if (slot->cancel && !slot->stop)
        slot->stop = BS_STOP_CANCEL; /* it ended by itself, but whoever asked was told that it is cancelled */
    pthread_mutex_unlock(&worker->lock);
    if (slot->stop == BS_STOP_TIMEOUT && slot->done_there)
        slot->stop = BS_STOP_NOT; /* it was done: what was late is that we heard of it, or its end */
    switch (slot->stop) {
    case BS_STOP_NOT:
        if (slot->done_there)
            decide_by_report(worker, slot);
        else
            decide_by_death(slot);
        break;
    case BS_STOP_CANCEL: become(slot, BS_JOB_CANCELLED, "Cancelled"); break;
    case BS_STOP_TIMEOUT:
        become(slot, BS_JOB_FAILED, "it took longer than JOB_TIMEOUT_SECONDS, %" PRId64 " s",
               worker->settings->job_timeout_seconds);
        break;
    case BS_STOP_MEMORY: fail_for_memory(slot); break;
    case BS_STOP_ROOM: become(slot, BS_JOB_PENDING, "Waiting: it was stopped to make room, memory was critical"); break;
    case BS_STOP_SHUTDOWN: become(slot, BS_JOB_PENDING, "Waiting: the service was stopped"); break;
    case BS_STOP_LOST: slot->fate = BS_FATE_DROP; break;
    case BS_STOP_BROKEN: become(slot, BS_JOB_FAILED, "its process reported what makes no sense"); break;
    case BS_STOP_DISK:
        memcpy(reason, slot->reason, sizeof(reason));
        become(slot, BS_JOB_FAILED, "its results cannot be kept: %s", reason);
        break;
    }
}

/* -- carrying it out ------------------------------------------------------------------------------------ */

static void count(bs_worker *worker, const bs_slot *slot, bs_job_state became)
{
    bs_worker_readings *r = &worker->readings;
    pthread_mutex_lock(&worker->lock);
    r->jobs_completed += became == BS_JOB_COMPLETED;
    r->jobs_failed += became == BS_JOB_FAILED;
    r->jobs_cancelled += became == BS_JOB_CANCELLED;
    r->jobs_requeued += became == BS_JOB_PENDING;
    if (became == BS_JOB_COMPLETED)
        r->frames_processed += slot->done.summary.frames_decoded;
    pthread_mutex_unlock(&worker->lock);
}

static bs_status tell_store(bs_worker *worker, bs_slot *slot, bs_job_state *became, bs_error *err)
{
    bs_job job = slot->job;
    if (slot->fate == BS_FATE_DROP)
        return BS_EOF;
    if (slot->fate == BS_FATE_REQUEUE)
        return bs_store_requeue(worker->store, job.id, job.worker, slot->cause,
                                slot->cause == BS_STORE_INTERRUPTION ? BS_JOB_MAX_INTERRUPTIONS
                                                                     : worker->settings->job_max_attempts,
                                slot->reason, became, err);
    *became = slot->final;
    /* How long it took, for Retry-After, by a clock that nobody sets. */
    job.started_us = bs_job_now() - 1000 * (bs_worker_clock_ms() - slot->started_ms);
    bool failed = slot->final == BS_JOB_FAILED, completed = slot->final == BS_JOB_COMPLETED;
    snprintf(job.message, sizeof(job.message), "%.255s", failed ? "Failed" : slot->reason);
    snprintf(job.error, sizeof(job.error), "%s", failed ? slot->reason : "");
    if (completed) {
        job.progress = 100;
        job.current_frame = slot->done.summary.frames_decoded;
        job.total_frames = job.current_frame;
    }
    return bs_store_finish(worker->store, &job, slot->final, err);
}

/* Files that the job's new state does not need. */
static void remove_files(bs_worker *worker, const bs_slot *slot, bs_status status, bs_job_state became)
{
    const char *id = slot->job.id;
    bs_artifacts_abandon(worker->artifacts, id, NULL);
    if (status != BS_OK || became == BS_JOB_PENDING)
        return;
    if (became == BS_JOB_COMPLETED)
        bs_artifacts_remove_input(worker->artifacts, id);
    else
        bs_artifacts_remove(worker->artifacts, id, NULL);
}

static void log_outcome(const bs_worker *worker, const bs_slot *slot, bs_job_state became)
{
    const bs_summary *s = &slot->done.summary;
    if (became == BS_JOB_COMPLETED)
        bs_log(BS_LOG_INFO, "worker",
               "job %s completed: %" PRId64 " frames in %.2f s, processor %.2f s, peak %.1f of %.1f MB reserved; used "
               "now %.1f MB",
               slot->job.id, s->frames_decoded, s->seconds, s->cpu_seconds, bs_mib(s->peak_memory),
               bs_mib(slot->job.reserved_memory), bs_mib(worker->governor.used));
    else
        bs_log(became == BS_JOB_FAILED ? BS_LOG_WARNING : BS_LOG_INFO, "worker", "job %s is %s: %s", slot->job.id,
               bs_job_state_name(became), slot->reason);
}

bool bs_outcome_settle(bs_worker *worker, bs_slot *slot)
{
    bs_error err = {0};
    bs_job_state became = BS_JOB_PENDING;
    if (slot->fate == BS_FATE_OPEN)
        decide(worker, slot);
    pthread_mutex_lock(&worker->lock);
    slot->leaving = true;
    pthread_mutex_unlock(&worker->lock);
    bs_status status = tell_store(worker, slot, &became, &err);
    if (status < 0) {
        bs_log(BS_LOG_ERROR, "worker", "job %s has ended, but %s; trying again", slot->job.id, err.text);
        slot->retry_ms = bs_worker_clock_ms() + RETRY_MS;
        return false;
    }
    remove_files(worker, slot, status, became);
    if (status == BS_OK) {
        count(worker, slot, became);
        log_outcome(worker, slot, became);
    } else {
        bs_log(BS_LOG_WARNING, "worker", "job %s is not this worker's any more; its result is dropped", slot->job.id);
    }
    return true;
}
