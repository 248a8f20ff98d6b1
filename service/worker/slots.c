/* slots: the place that a process has in the worker, from before it starts until what it did is settled; and the order
 * that starts it. The scheduler's thread (see internal.h). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bodyscript/memory.h>

#include "service/worker/internal.h"

bs_slot *bs_slot_free(bs_worker *worker)
{
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state == BS_SLOT_FREE)
            return &worker->slot[i];
    return NULL;
}

int bs_slot_count(const bs_worker *worker, bs_slot_state state)
{
    int count = 0;
    for (int i = 0; i < worker->slots; i++)
        count += worker->slot[i].state == state;
    return count;
}

bs_slot *bs_slot_by_serial(bs_worker *worker, uint32_t serial)
{
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state != BS_SLOT_FREE && worker->slot[i].serial == serial)
            return &worker->slot[i];
    return NULL;
}

bs_slot *bs_slot_of_job(bs_worker *worker, const char *id)
{
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state == BS_SLOT_JOB && !strcmp(worker->slot[i].job.id, id))
            return &worker->slot[i];
    return NULL;
}

void bs_slot_take(bs_worker *worker, bs_slot *slot, bs_slot_state state, const bs_job *job)
{
    pthread_mutex_lock(&worker->lock);
    *slot = (bs_slot){.state = state, .job = *job, .serial = ++worker->serial, .channel = -1, .frame_fd = -1};
    slot->promise.reserved = state == BS_SLOT_JOB ? bs_job_own_need(job) : 0;
    for (int i = 0; i < BS_GIVE_OUTPUTS; i++)
        slot->outputs[i] = -1;
    slot->started_ms = bs_worker_clock_ms();
    pthread_mutex_unlock(&worker->lock);
}

void bs_slot_release(bs_worker *worker, bs_slot *slot)
{
    char id[BS_JOB_ID_LENGTH + 1];
    memcpy(id, slot->job.id, sizeof(id));
    bool was_job = slot->state == BS_SLOT_JOB;
    bs_channel_close(worker, slot);
    for (int i = 0; i < BS_GIVE_OUTPUTS; i++)
        if (slot->outputs[i] >= 0)
            close(slot->outputs[i]);
    pthread_mutex_lock(&worker->lock);
    slot->state = BS_SLOT_FREE;
    slot->promise = (bs_promise){0};
    slot->pid = 0;
    if (slot->submission)
        slot->submission->finished = true;
    slot->submission = NULL;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    worker->start_ms = 0;
    if (was_job) {
        worker->measure_ms = 0; /* what is reserved and used is told anew at once */
        bs_worker_tell(worker, id);
        bs_memory_trim(); /* what the last job left in the heap is not carried along to the thousandth */
    }
}

void bs_slot_kill(bs_worker *worker, bs_slot *slot)
{
    bs_order order = {.kind = BS_ORDER_KILL, .serial = slot->serial};
    if (!slot->killed && !slot->ended)
        slot->killed = bs_zygote_send(&worker->zygote, &order, NULL, 0, NULL) == BS_OK;
}

void bs_worker_stop_slot(bs_worker *worker, bs_slot *slot, bs_stop why)
{
    if (!slot->stop) {
        slot->stop = why;
        slot->stop_ms = bs_worker_clock_ms();
    }
    bs_slot_kill(worker, slot);
}

bool bs_slot_order(bs_worker *worker, bs_slot *slot, const bs_order *order, int input)
{
    int pair[2], fds[2 + BS_GIVE_OUTPUTS];
    size_t count = 2;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        bs_fail(&slot->start_error, BS_ERR_IO, "no channel to its process: %s", strerror(errno));
        return false;
    }
    fds[0] = input;
    fds[1] = pair[1];
    for (int i = 0; i < BS_GIVE_OUTPUTS; i++)
        if (slot->outputs[i] >= 0)
            fds[count++] = slot->outputs[i];
    slot->channel = pair[0];
    slot->limits = order->limits;
    bs_status status = bs_zygote_send(&worker->zygote, order, fds, count, &slot->start_error);
    if (status == BS_AGAIN)
        bs_fail(&slot->start_error, BS_ERR_IO, "the zygote does not take orders");
    close(pair[1]);
    return status == BS_OK;
}

/* -- what an order says of a job ------------------------------------------------------------------------ */

bs_process_options bs_job_process_options(const bs_job *job)
{
    bs_process_options options = bs_process_defaults();
    options.mode = job->options.mode;
    options.model = job->options.model;
    options.interval = job->options.interval;
    options.people = job->options.people;
    options.exact = job->options.exact;
    options.png = job->options.png;
    options.max_width = job->options.max_width;
    options.max_duration_us = job->options.max_duration_us;
    options.memory_limit = job->memory_limit;
    return options;
}

uint64_t bs_job_own_need(const bs_job *job)
{
    return job->reserved_memory - job->shared_memory;
}

unsigned bs_job_outputs(const bs_job *job)
{
    unsigned wanted = BS_GIVE_CSV | BS_GIVE_JSON | BS_GIVE_THUMBNAIL;
    if (!job->options.no_video)
        wanted |= BS_GIVE_VIDEO | (job->photo ? 0 : BS_GIVE_PREVIEW);
    return wanted;
}
