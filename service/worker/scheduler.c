/* The scheduler: one thread that starts, watches and ends every process (see worker.h). It waits for one of: a call
 * from another thread, an answer of the zygote, a report of a job process, the next thing that is due. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bodyscript/memory.h>

#include "service/worker/internal.h"

enum {
    LEASE_US = 30 * 1000000,
    BEAT_MS = 1000,
    MEASURE_BUSY_MS = 250,
    MEASURE_IDLE_MS = 2000,
    RECLAIM_MS = 5000,
    SWEEP_MS = 60000,
    CLEAN_MS = 1000,                /* between two clean-ups by age */
    ZYGOTE_RETRY_MS = 200,          /* between its death and the next one */
    ZYGOTE_UNREADY_RETRY_MS = 5000, /* where the models cannot be mapped */
    TELL_MS = 100,
    HURRY_MS = 20,
    STORE_RETRY_MS = 1000,    /* where it takes no change now */
    ZYGOTE_ANSWER_MS = 10000, /* it forks and kills in milliseconds: one that does not is stuck */
    ALONE_WAIT_MS = 30000,    /* a job that fits by the rules but not by what is used, with nothing else running */
    KILL_WAIT_MS = 3000,      /* for killed processes to be buried, when stopping */
};

static const uint64_t FILE_ROOM = UINT64_C(256) << 20; /* that an output may have beside 16 times its input */

int64_t bs_worker_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void bs_worker_tell(bs_worker *worker, const char *id)
{
    pthread_mutex_lock(&worker->listener.turn);
    if (worker->listener.changed)
        worker->listener.changed(worker->listener.opaque, id);
    pthread_mutex_unlock(&worker->listener.turn);
}

bool bs_worker_flag(bs_worker *worker, const bool *field)
{
    pthread_mutex_lock(&worker->lock);
    bool value = *field;
    pthread_mutex_unlock(&worker->lock);
    return value;
}

static void read_totals(bs_worker *worker)
{
    bs_store_totals totals;
    if (bs_store_totals_get(worker->store, &totals, NULL) != BS_OK)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->totals = totals;
    pthread_mutex_unlock(&worker->lock);
}

/* -- starting jobs -------------------------------------------------------------------------------------- */

static bs_status open_outputs(bs_worker *worker, bs_slot *slot, unsigned wanted, bs_error *err)
{
    bs_status status = BS_OK;
    for (int i = 0; i < BS_GIVE_OUTPUTS && status == BS_OK; i++)
        if (wanted & 1u << i)
            status = bs_artifacts_create(worker->artifacts, slot->job.id,
                                         bs_artifact_file(bs_output_kind(&slot->job, i)), &slot->outputs[i], err);
    return status;
}

/* The job is claimed: its files are opened and its process is ordered. What fails ends in bs_outcome_settle. */
static void start_job(bs_worker *worker, const bs_job *job)
{
    bs_slot *slot = bs_slot_free(worker);
    bs_error err = {0};
    int input = -1;
    unsigned wanted = bs_job_outputs(job);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    bs_slot_take(worker, slot, BS_SLOT_JOB, job);
    slot->options = bs_job_process_options(job);
    bs_order order = {
        .kind = BS_ORDER_RUN,
        .serial = slot->serial,
        .options = slot->options,
        .outputs = wanted,
        .save_frames = job->options.save_frames,
        .limits =
            {
                .data = bs_memory_bound_for(job->reserved_memory),
                .cpu_seconds = (uint64_t)worker->settings->job_timeout_seconds * (uint64_t)processors + 5,
                .file_size = FILE_ROOM + 16 * (uint64_t)job->file_size,
            },
    };
    snprintf(order.name, sizeof(order.name), "%s", job->filename);
    bs_status status = bs_artifacts_open_input(worker->artifacts, job->id, &input, &err);
    if (status == BS_OK)
        status = open_outputs(worker, slot, wanted, &err);
    if (status != BS_OK) {
        slot->ended = true;
        slot->stop = BS_STOP_DISK;
        snprintf(slot->reason, sizeof(slot->reason), "%s", status == BS_EOF ? "its input is gone" : err.text);
    } else if (!bs_slot_order(worker, slot, &order, input)) {
        slot->ended = slot->innocent = true; /* the zygote is dead, which its socket will tell in a moment */
    }
    if (input >= 0)
        close(input);
    pthread_mutex_lock(&worker->lock);
    worker->readings.jobs_started++;
    pthread_mutex_unlock(&worker->lock);
    bs_log(BS_LOG_INFO, "worker", "job %s begins, attempt %d: %.1f MB reserved, used before %.1f MB", job->id,
           job->attempts, bs_mib(job->reserved_memory), bs_mib(worker->governor.used));
    bs_worker_tell(worker, job->id);
}

/* Told once per job that waits. With nothing else running a job waits for memory to come back, but not for ever: false
 * then. */
static bool may_wait(bs_worker *worker, const bs_job *job, size_t running, const char *why)
{
    int64_t now = bs_worker_clock_ms();
    bool news = strcmp(worker->waiting, job->id) != 0;
    worker->start_ms = now + MEASURE_BUSY_MS;
    if (news) {
        snprintf(worker->waiting, sizeof(worker->waiting), "%s", job->id);
        bs_log(BS_LOG_INFO, "governor", "job %s waits: %s", job->id, why);
    }
    if (news || running > 0)
        worker->alone_ms = now;
    return now - worker->alone_ms < ALONE_WAIT_MS;
}

/* False: the store did not take it; to be tried again, but not at once. */
static bool refuse_job(bs_worker *worker, const bs_job *job, const char *why)
{
    char reason[400];
    bs_error err = {0};
    snprintf(reason, sizeof(reason), "it does not fit the memory that there is: %s", why);
    bs_log(BS_LOG_WARNING, "governor", "job %s is refused: %s", job->id, why);
    if (bs_store_refuse(worker->store, job->id, reason, &err) < 0) {
        bs_log(BS_LOG_ERROR, "governor", "job %s: %s", job->id, err.text);
        worker->start_ms = bs_worker_clock_ms() + STORE_RETRY_MS;
        return false;
    }
    bs_artifacts_remove(worker->artifacts, job->id, NULL);
    bs_worker_tell(worker, job->id);
    return true;
}

/* One that was there each time the server died runs with nobody beside it, who would be taken for the cause as well. */
static bool is_suspect(const bs_job *job)
{
    return job->interruptions >= BS_JOB_SUSPECT_INTERRUPTIONS;
}

static bool suspect_runs(const bs_worker *worker)
{
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state == BS_SLOT_JOB && is_suspect(&worker->slot[i].job))
            return true;
    return false;
}

/* Starts the next job of the queue where it fits. False: there is none, or it has to wait. */
static bool start_next(bs_worker *worker)
{
    bs_job job;
    bs_error err = {0};
    char why[256];
    bs_status status = bs_store_next(worker->store, &job, &err);
    if (status != BS_OK) {
        if (status < 0)
            bs_log(BS_LOG_ERROR, "worker", "%s", err.text);
        return false;
    }
    bs_readings_measure(worker);
    bs_promise promises[BS_WORKER_PROCESSES];
    size_t running = bs_readings_promises(worker, promises);
    if (running > 0 && (is_suspect(&job) || suspect_runs(worker))) {
        may_wait(worker, &job, running, "a job that ran each time the service was killed runs alone");
        return false;
    }
    bs_admission admission = bs_governor_admit(&worker->governor, bs_job_own_need(&job), promises, running, why,
                                               sizeof(why));
    if (admission == BS_WAIT && may_wait(worker, &job, running, why))
        return false;
    if (admission != BS_ADMITTED)
        return refuse_job(worker, &job, why);
    status = bs_store_claim(worker->store, job.id, worker->id, LEASE_US, &job, &err);
    if (status < 0) {
        bs_log(BS_LOG_ERROR, "worker", "%s", err.text);
        worker->start_ms = bs_worker_clock_ms() + STORE_RETRY_MS;
    }
    if (status == BS_OK) {
        worker->waiting[0] = '\0';
        read_totals(worker);
        bs_log(BS_LOG_INFO, "governor", "job %s is admitted: %s", job.id, why);
        start_job(worker, &job);
    }
    return status >= 0;
}

static void start_jobs(bs_worker *worker)
{
    while (worker->zygote.pid > 0 && bs_worker_flag(worker, &worker->ready) &&
           !bs_worker_flag(worker, &worker->draining) && bs_worker_clock_ms() >= worker->start_ms &&
           bs_slot_count(worker, BS_SLOT_JOB) < worker->settings->max_concurrent_processing)
        if (!start_next(worker))
            return;
}

/* -- watching ------------------------------------------------------------------------------------------- */

static void beat(bs_worker *worker, bs_slot *slot)
{
    pthread_mutex_lock(&worker->lock);
    bs_job job = slot->job;
    pthread_mutex_unlock(&worker->lock);
    bool cancel = false;
    bs_error err = {0};
    bs_status status = bs_store_heartbeat(worker->store, &job, LEASE_US, &cancel, &err);
    if (status < 0)
        bs_log(BS_LOG_WARNING, "worker", "job %s: %s", job.id, err.text);
    if (status == BS_EOF)
        bs_worker_stop_slot(worker, slot, BS_STOP_LOST);
    else if (cancel)
        bs_worker_stop_slot(worker, slot, BS_STOP_CANCEL);
}

static void watch_slots(bs_worker *worker, bool beat_is_due)
{
    int64_t now = bs_worker_clock_ms();
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_FREE)
            continue;
        int64_t allowed = slot->state == BS_SLOT_JOB ? worker->settings->job_timeout_seconds : BS_PROBE_SECONDS;
        if (bs_worker_flag(worker, &slot->cancel))
            bs_worker_stop_slot(worker, slot, BS_STOP_CANCEL);
        else if (now - slot->started_ms > allowed * 1000)
            bs_worker_stop_slot(worker, slot, BS_STOP_TIMEOUT);
        else if (slot->stop)
            bs_worker_stop_slot(worker, slot, slot->stop);
        else if (slot->silent_ms && now - slot->silent_ms > ZYGOTE_ANSWER_MS)
            bs_slot_kill(worker, slot); /* it has nothing more to say and goes on all the same */
        if (beat_is_due && slot->state == BS_SLOT_JOB)
            beat(worker, slot);
    }
}

/* Settles what has ended. */
static void bury_slots(bs_worker *worker)
{
    int64_t now = bs_worker_clock_ms();
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_FREE || !slot->ended || slot->channel >= 0 || now < slot->retry_ms)
            continue;
        if (slot->state == BS_SLOT_PROBE)
            bs_probing_end(worker, slot);
        else if (bs_outcome_settle(worker, slot))
            bs_slot_release(worker, slot);
    }
}

static void read_channel(bs_worker *worker, bs_slot *slot)
{
    bool progressed = false;
    int64_t now = bs_worker_clock_ms();
    if (!bs_channel_read(worker, slot, &progressed)) {
        bs_channel_close(worker, slot);
        slot->silent_ms = now;
        if (slot->stop)
            bs_worker_stop_slot(worker, slot, slot->stop);
    }
    if (progressed && now - slot->told_ms >= TELL_MS) {
        slot->told_ms = now;
        bs_worker_tell(worker, slot->job.id);
    }
}

/* -- the zygote ----------------------------------------------------------------------------------------- */

static void set_ready(bs_worker *worker, bool ready, const char *why)
{
    pthread_mutex_lock(&worker->lock);
    worker->ready = ready;
    bs_fail(&worker->unready, BS_AGAIN, "%s", why);
    pthread_mutex_unlock(&worker->lock);
}

static void start_zygote(bs_worker *worker)
{
    bs_error err = {0};
    worker->zygote_ms = bs_worker_clock_ms() + ZYGOTE_RETRY_MS;
    if (bs_zygote_start(&worker->zygote, (bs_log_level)worker->settings->log_level,
                        (bs_log_format)worker->settings->log_format, &err) != BS_OK)
        bs_log(BS_LOG_ERROR, "zygote", "%s", err.text);
}

/* Its job processes have died with it. */
static void lose_zygote(bs_worker *worker, const char *why, int64_t retry_ms)
{
    set_ready(worker, false, why);
    bs_zygote_end(&worker->zygote);
    worker->zygote_ms = bs_worker_clock_ms() + retry_ms;
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_FREE || slot->ended)
            continue;
        slot->ended = slot->innocent = true;
        slot->wait_status = SIGKILL;
    }
}

/* One that was stopped, or hangs, would hold up every upload: it is replaced. */
static void watch_zygote(bs_worker *worker)
{
    int64_t since = bs_worker_clock_ms() - ZYGOTE_ANSWER_MS;
    for (int i = 0; i < worker->slots; i++) {
        const bs_slot *slot = &worker->slot[i];
        bool unstarted = !slot->pid && slot->started_ms < since, undead = slot->stop && slot->stop_ms < since;
        bool unburied = slot->silent_ms && slot->silent_ms < since - ZYGOTE_ANSWER_MS;
        if (slot->state == BS_SLOT_FREE || slot->ended || (!unstarted && !undead && !unburied))
            continue;
        bs_log(BS_LOG_ERROR, "zygote", "the zygote does not answer; it is killed and started again");
        lose_zygote(worker, "the process that starts jobs is started again", ZYGOTE_RETRY_MS);
        return;
    }
}

static void note_end(bs_worker *worker, const bs_answer *answer)
{
    bs_slot *slot = bs_slot_by_serial(worker, answer->serial);
    if (!slot)
        return;
    slot->ended = true;
    slot->wait_status = answer->wait_status;
    slot->start_error = answer->error;
    pthread_mutex_lock(&worker->lock);
    worker->readings.cpu_seconds += answer->cpu_seconds;
    if (slot->state == BS_SLOT_JOB && (int64_t)answer->peak_memory > worker->readings.peak_job_memory)
        worker->readings.peak_job_memory = (int64_t)answer->peak_memory;
    if (WIFSIGNALED(answer->wait_status) && !slot->stop)
        worker->readings.processes_died++;
    pthread_mutex_unlock(&worker->lock);
}

static void hear_zygote(bs_worker *worker)
{
    bs_answer answer;
    bs_status status;
    while ((status = bs_zygote_receive(&worker->zygote, &answer)) == BS_OK) {
        bs_slot *slot;
        switch (answer.kind) {
        case BS_ANSWER_READY:
            set_ready(worker, true, "");
            bs_readings_measure(worker);
            break;
        case BS_ANSWER_UNREADY:
            bs_log(BS_LOG_ERROR, "zygote", "%s", answer.error.text);
            lose_zygote(worker, answer.error.text, ZYGOTE_UNREADY_RETRY_MS);
            return;
        case BS_ANSWER_STARTED:
            slot = bs_slot_by_serial(worker, answer.serial);
            if (slot) {
                pthread_mutex_lock(&worker->lock);
                slot->pid = answer.pid;
                pthread_mutex_unlock(&worker->lock);
            }
            break;
        case BS_ANSWER_ENDED: note_end(worker, &answer); break;
        case BS_ANSWER_HASHES: memcpy(worker->sha256, answer.sha256, sizeof(worker->sha256)); break;
        }
    }
    if (status == BS_EOF) {
        bs_log(BS_LOG_WARNING, "zygote", "the zygote died; it is started again");
        pthread_mutex_lock(&worker->lock);
        worker->readings.processes_died++;
        pthread_mutex_unlock(&worker->lock);
        lose_zygote(worker, "the process that starts jobs is started again", ZYGOTE_RETRY_MS);
    }
}

/* -- the loop ------------------------------------------------------------------------------------------- */

/* Reads and clears a wish of another thread. */
static bool take_wish(bs_worker *worker, bool *wish)
{
    pthread_mutex_lock(&worker->lock);
    bool wanted = *wish;
    *wish = false;
    pthread_mutex_unlock(&worker->lock);
    return wanted;
}

static bool is_due(int64_t *at, int64_t period)
{
    int64_t now = bs_worker_clock_ms();
    if (now < *at)
        return false;
    *at = now + period;
    return true;
}

static void do_what_is_due(bs_worker *worker)
{
    bool busy = bs_slot_count(worker, BS_SLOT_FREE) < worker->slots;
    if (worker->zygote.pid == 0 && bs_worker_clock_ms() >= worker->zygote_ms)
        start_zygote(worker);
    if (is_due(&worker->measure_ms, busy ? MEASURE_BUSY_MS : MEASURE_IDLE_MS)) {
        bs_governor_read_pressure(&worker->governor);
        bs_readings_measure(worker);
        bs_readings_act(worker);
    }
    if (take_wish(worker, &worker->beat_wanted))
        worker->beat_ms = 0;
    bool beat_is_due = is_due(&worker->beat_ms, BEAT_MS);
    watch_slots(worker, beat_is_due);
    if (beat_is_due)
        read_totals(worker);
    if (is_due(&worker->reclaim_ms, RECLAIM_MS))
        bs_cleanup_reclaim(worker);
    /* Whoever asks for the page wants it: it reads every job that has ended, so not as often as anybody asks. */
    bool clean_wanted = bs_worker_clock_ms() >= worker->clean_ms && take_wish(worker, &worker->clean_wanted);
    if (is_due(&worker->sweep_ms, SWEEP_MS))
        bs_cleanup_sweep(worker);
    else if (clean_wanted)
        bs_cleanup_expired(worker, worker->settings->job_max_age_seconds);
    if (clean_wanted)
        worker->clean_ms = bs_worker_clock_ms() + CLEAN_MS;
}

static void wait_for_events(bs_worker *worker)
{
    struct pollfd ready[2 + BS_WORKER_PROCESSES];
    bs_slot *slots[BS_WORKER_PROCESSES];
    nfds_t count = 2;
    ready[0] = (struct pollfd){.fd = worker->wake, .events = POLLIN};
    ready[1] = (struct pollfd){.fd = worker->zygote.socket, .events = POLLIN}; /* -1 is ignored */
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state != BS_SLOT_FREE && worker->slot[i].channel >= 0) {
            slots[count - 2] = &worker->slot[i];
            ready[count++] = (struct pollfd){.fd = worker->slot[i].channel, .events = POLLIN};
        }
    bool busy = bs_slot_count(worker, BS_SLOT_FREE) < worker->slots || worker->zygote.pid == 0;
    int n = poll(ready, count, busy ? MEASURE_BUSY_MS : BEAT_MS);
    if (n <= 0)
        return;
    uint64_t wakes;
    if (ready[0].revents && read(worker->wake, &wakes, sizeof(wakes)) < 0)
        errno = 0;
    for (nfds_t i = 2; i < count; i++)
        if (ready[i].revents)
            read_channel(worker, slots[i - 2]);
    if (ready[1].revents)
        hear_zygote(worker);
}

/* False: everything has ended that has to, or waited long enough. */
static bool goes_on(bs_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool stopping = worker->stopping;
    int64_t stop_ms = worker->stop_ms;
    pthread_mutex_unlock(&worker->lock);
    int64_t now = bs_worker_clock_ms();
    if (!stopping)
        return true;
    bool over = now >= stop_ms;
    if (over && !worker->kill_ms)
        worker->kill_ms = now + KILL_WAIT_MS;
    for (int i = 0; over && i < worker->slots; i++)
        if (worker->slot[i].state != BS_SLOT_FREE)
            bs_worker_stop_slot(worker, &worker->slot[i], BS_STOP_SHUTDOWN);
    return bs_slot_count(worker, BS_SLOT_FREE) < worker->slots && (!over || now < worker->kill_ms);
}

/* Nobody is left to wait for a probe. */
static void dismiss_submissions(bs_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    for (bs_submission *s = worker->submissions; s; s = s->next) {
        bs_fail(&s->probed.error, BS_ERR_FAILED, "the service is stopping");
        s->probed.status = BS_ERR_FAILED;
        s->finished = true;
    }
    worker->submissions = NULL;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

static void *scheduler(void *opaque)
{
    bs_worker *worker = opaque;
    bs_cleanup_sweep(worker);
    worker->sweep_ms = bs_worker_clock_ms() + SWEEP_MS;
    while (goes_on(worker)) {
        do_what_is_due(worker);
        bs_probing_start(worker);
        start_jobs(worker);
        wait_for_events(worker);
        watch_zygote(worker); /* now that what it has said is heard: a disk that stood still may have held us up */
        bury_slots(worker);
    }
    dismiss_submissions(worker);
    bs_zygote_end(&worker->zygote);
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_FREE)
            continue;
        bs_channel_close(worker, slot);
        if (slot->state == BS_SLOT_JOB)
            bs_outcome_settle(worker, slot); /* what the store does not take now is taken up at the next start */
        bs_slot_release(worker, slot);
    }
    return NULL;
}

/* -- start and stop ------------------------------------------------------------------------------------- */

static bs_status fork_zygote(bs_worker *worker, bs_error *err)
{
    const bs_settings *s = worker->settings;
    char *const secrets[] = {s->admin_token, s->api_key, s->database_url, s->queue_url, s->storage_url};
    return bs_zygote_fork(&worker->zygote, (bs_log_level)s->log_level, (bs_log_format)s->log_format, secrets,
                          sizeof(secrets) / sizeof(*secrets), err);
}

bs_status bs_worker_start(bs_worker **out, const bs_settings *settings, bs_store *store, bs_artifacts *artifacts,
                          bs_error *err)
{
    bs_worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the worker");
    *worker = (bs_worker){.settings = settings, .store = store, .artifacts = artifacts, .wake = -1};
    worker->zygote.socket = -1;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_mutex_init(&worker->listener.turn, NULL);
    pthread_condattr_t attr; /* whoever waits does not mind the clock being set */
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->changed, &attr);
    pthread_condattr_destroy(&attr);
    bs_fail(&worker->unready, BS_AGAIN, "the models are being mapped");
    bs_governor_init(&worker->governor, settings);
    worker->slots = (int)settings->max_concurrent_processing + 1; /* one for probing */
    worker->slot = calloc((size_t)worker->slots, sizeof(*worker->slot));

    bs_status status = worker->slot ? bs_job_id_new(worker->id, err) : bs_fail(err, BS_ERR_NOMEM, "no memory for jobs");
    if (status == BS_OK && (worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        status = bs_fail(err, BS_ERR_IO, "no event descriptor: %s", strerror(errno));
    if (status == BS_OK)
        status = fork_zygote(worker, err);
    if (status == BS_OK) {
        bs_cleanup_reclaim(worker); /* before anybody can ask: what ran when the last server died is pending */
        int rc = pthread_create(&worker->thread, NULL, scheduler, worker);
        if (rc)
            status = bs_fail(err, BS_ERR_IO, "no thread for the scheduler: %s", strerror(rc));
        worker->thread_runs = rc == 0;
    }
    if (status == BS_OK)
        *out = worker;
    else
        bs_worker_stop(&worker);
    return status;
}

void bs_worker_halt(bs_worker *worker, int grace_seconds, bool (*hurry)(void *opaque), void *opaque)
{
    if (!worker->thread_runs)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->draining = worker->stopping = true;
    worker->stop_ms = bs_worker_clock_ms() + 1000 * (int64_t)grace_seconds;
    pthread_mutex_unlock(&worker->lock);
    bs_worker_wake(worker);
    const struct timespec pause = {.tv_nsec = HURRY_MS * 1000000};
    while (pthread_tryjoin_np(worker->thread, NULL) == EBUSY) {
        nanosleep(&pause, NULL);
        if (!hurry || !hurry(opaque))
            continue;
        pthread_mutex_lock(&worker->lock);
        worker->stop_ms = 0;
        pthread_mutex_unlock(&worker->lock);
    }
    worker->thread_runs = false;
}

void bs_worker_stop(bs_worker **out)
{
    bs_worker *worker = out ? *out : NULL;
    if (!worker)
        return;
    bs_worker_halt(worker, 0, NULL, NULL);
    bs_zygote_end(&worker->zygote);
    if (worker->wake >= 0)
        close(worker->wake);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->listener.turn);
    pthread_mutex_destroy(&worker->lock);
    free(worker->slot);
    free(worker);
    *out = NULL;
}

void bs_worker_wake(bs_worker *worker)
{
    uint64_t one = 1;
    if (write(worker->wake, &one, sizeof(one)) < 0)
        errno = 0; /* it is full of wakes already */
}
