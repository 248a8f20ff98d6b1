/* probing: an upload is looked at in a process of its own, one at a time, before it becomes a job: what it is, and what
 * memory it needs. The scheduler's thread (see internal.h). */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "service/worker/internal.h"

enum { PROBE_ATTEMPTS = 3 };

/* What a probe may take: the first one little, since it runs beside jobs whatever is left (with 4 MB libav still finds
 * all that headers of 4K and 8K say, though it cannot hold a picture); a second one more, for long indexes. */
static const uint64_t PROBE_FIRST = UINT64_C(8) << 20, PROBE_MOST = UINT64_C(64) << 20;

static void start_probe(bs_worker *worker, bs_submission *submission)
{
    bs_slot *slot = bs_slot_free(worker);
    bs_slot_take(worker, slot, BS_SLOT_PROBE, submission->job);
    slot->submission = submission;
    if (!submission->memory)
        submission->memory = PROBE_FIRST;
    bs_order order = {
        .kind = BS_ORDER_PROBE,
        .serial = slot->serial,
        .options = bs_job_process_options(submission->job),
        .outputs = bs_job_outputs(submission->job),
        .save_frames = submission->job->options.save_frames,
        .limits = {.data = submission->memory, .cpu_seconds = BS_PROBE_SECONDS, .file_size = 0},
        .budget_shared = bs_governor_budget_shared(&worker->governor),
        .budget_alone = bs_governor_budget_alone(&worker->governor),
    };
    snprintf(order.name, sizeof(order.name), "%s", submission->job->filename);
    if (!bs_slot_order(worker, slot, &order, submission->input)) {
        submission->probed.status = BS_ERR_FAILED;
        submission->probed.error = slot->start_error;
        bs_slot_release(worker, slot);
    }
}

static void probe_again(bs_worker *worker, bs_slot *slot)
{
    bs_submission *submission = slot->submission;
    pthread_mutex_lock(&worker->lock);
    submission->next = worker->submissions;
    worker->submissions = submission;
    slot->submission = NULL;
    pthread_mutex_unlock(&worker->lock);
}

/* The probe's process was killed from outside, or could not start: that says nothing about the file. */
static bool was_innocent(const bs_slot *slot)
{
    bool killed = WIFSIGNALED(slot->wait_status) && WTERMSIG(slot->wait_status) == SIGKILL;
    return !slot->done_there && (slot->innocent || (!slot->stop && (slot->start_error.text[0] || killed)));
}

/* A probe that failed with little memory says something about the file only where it fails with more, too. */
static bool can_have_more(bs_worker *worker, bs_slot *slot)
{
    bs_submission *submission = slot->submission;
    bs_status status = slot->done_there ? submission->probed.status : BS_ERR_NOMEM;
    if (slot->stop || submission->memory >= PROBE_MOST || (status != BS_ERR_NOMEM && status != BS_ERR_INPUT))
        return false;
    bs_readings_measure(worker);
    bs_promise promises[BS_WORKER_PROCESSES];
    size_t running = bs_readings_promises(worker, promises);
    uint64_t most = bs_governor_available(&worker->governor, promises, running);
    if (running == 0 || most > PROBE_MOST)
        most = PROBE_MOST;
    if (most > submission->memory) {
        submission->memory = most;
        return true;
    }
    if (status == BS_ERR_NOMEM && slot->done_there)
        submission->probed.status = bs_fail(
            &submission->probed.error, BS_AGAIN,
            "reading its header takes more memory than is left beside the jobs that run");
    return false;
}

void bs_probing_end(bs_worker *worker, bs_slot *slot)
{
    bool again = was_innocent(slot) ? ++slot->submission->attempts < PROBE_ATTEMPTS : can_have_more(worker, slot);
    if (again) {
        probe_again(worker, slot);
    } else if (!slot->done_there && slot->stop != BS_STOP_SHUTDOWN) {
        char why[256];
        bs_probed *probed = &slot->submission->probed;
        bool unstarted = slot->start_error.text[0] != '\0';
        bs_sandbox_explain(slot->wait_status, &slot->limits, why, sizeof(why));
        probed->status = bs_fail(&probed->error, unstarted ? BS_ERR_FAILED : BS_ERR_INPUT,
                                 "'%s' cannot be read as a video or photo: %s", slot->job.filename,
                                 slot->stop == BS_STOP_TIMEOUT ? "it takes too long"
                                 : unstarted                   ? slot->start_error.text
                                                               : why);
    }
    bs_slot_release(worker, slot);
}

static bs_submission *take_submission(bs_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bs_submission *first = worker->submissions;
    if (first)
        worker->submissions = first->next;
    pthread_mutex_unlock(&worker->lock);
    return first;
}

/* One at a time: a probe takes some milliseconds, and its memory is promised to nobody. */
void bs_probing_start(bs_worker *worker)
{
    while (worker->zygote.pid > 0 && bs_worker_flag(worker, &worker->ready) &&
           bs_slot_count(worker, BS_SLOT_PROBE) == 0) {
        bs_submission *submission = take_submission(worker);
        if (!submission)
            return;
        start_probe(worker, submission);
    }
}
