/* readings: what memory all processes use, and what is done where it is too much (the rules are governor.c's). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bodyscript/memory.h>

#include "service/worker/internal.h"

enum {
    TRIM_MS = 10000,         /* between two clean-ups above the cleanup line */
    CRITICAL_TRIM_MS = 1000, /* the same above the critical line */
    PRESSED_AGE_PART = 4,    /* under pressure finished jobs go after this part of their age */
    CRITICAL_AGE_PART = 12,
};

static const uint64_t MEMORY_MARGIN = UINT64_C(8) << 20; /* of a job over its reservation: readings are not exact */

size_t bs_readings_promises(const bs_worker *worker, bs_promise *out)
{
    size_t count = 0;
    for (int i = 0; i < worker->slots; i++)
        if (worker->slot[i].state == BS_SLOT_JOB)
            out[count++] = worker->slot[i].promise;
    return count;
}

static uint64_t memory_of(pid_t pid)
{
    uint64_t bytes = 0;
    return pid > 0 && bs_memory_of_process(pid, &bytes) == BS_OK ? bytes : 0;
}

static void put_process(bs_worker_readings *r, pid_t pid, const char *role, const char *job, bs_promise promise)
{
    if (pid <= 0 || r->processes >= BS_WORKER_PROCESSES)
        return;
    bs_worker_process *p = &r->process[r->processes++];
    *p = (bs_worker_process){.pid = pid, .memory = promise.used, .reserved = promise.reserved};
    snprintf(p->role, sizeof(p->role), "%s", role);
    snprintf(p->job, sizeof(p->job), "%s", job);
}

void bs_readings_measure(bs_worker *worker)
{
    bs_promise promises[BS_WORKER_PROCESSES];
    bs_promise server = {.used = memory_of(getpid())}, zygote = {.used = memory_of(worker->zygote.pid)};
    bs_worker_readings *r = &worker->readings;
    uint64_t used[BS_WORKER_PROCESSES];
    for (int i = 0; i < worker->slots; i++)
        used[i] = worker->slot[i].state == BS_SLOT_FREE ? 0 : memory_of(worker->slot[i].pid);

    pthread_mutex_lock(&worker->lock);
    uint64_t own = server.used + zygote.used;
    r->processes = r->running = 0;
    put_process(r, getpid(), "server", "", server);
    put_process(r, worker->zygote.pid, "zygote", "", zygote);
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        slot->promise.used = used[i];
        if (slot->state == BS_SLOT_PROBE)
            own += used[i];
        if (slot->state == BS_SLOT_JOB)
            r->running++;
        if (slot->state != BS_SLOT_FREE)
            put_process(r, slot->pid, slot->state == BS_SLOT_JOB ? "job" : "probe", slot->job.id, slot->promise);
    }
    size_t count = bs_readings_promises(worker, promises);
    if (worker->ready || count > 0)
        bs_governor_measured(&worker->governor, own, promises, count);
    const bs_governor *g = &worker->governor;
    r->limit = g->limit;
    r->used = g->used ? g->used : own;
    r->reserved = bs_governor_reserved(promises, count);
    r->available = bs_governor_available(g, promises, count);
    r->cleanup_line = g->cleanup_line;
    r->reject_line = g->reject_line;
    r->critical_line = g->critical_line;
    r->pressure = g->pressure;
    r->measured_us = bs_job_now();
    pthread_mutex_unlock(&worker->lock);
}

/* A job that takes more than it was given fails alone. Readings lag, so this is the second line of defence behind the
 * limits of its process. */
static void check_reservations(bs_worker *worker)
{
    for (int i = 0; i < worker->slots && !bs_sandbox_is_instrumented(); i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_JOB && slot->promise.used > slot->promise.reserved + MEMORY_MARGIN) {
            bs_log(BS_LOG_WARNING, "governor", "job %s takes %.1f MB of %.1f MB reserved and is stopped", slot->job.id,
                   bs_mib(slot->promise.used), bs_mib(slot->promise.reserved));
            bs_worker_stop_slot(worker, slot, BS_STOP_MEMORY);
        }
    }
}

static bs_slot *youngest(bs_worker *worker)
{
    bs_slot *found = NULL;
    for (int i = 0; i < worker->slots; i++) {
        bs_slot *slot = &worker->slot[i];
        if (slot->state == BS_SLOT_JOB && !slot->stop && (!found || slot->started_ms > found->started_ms))
            found = slot;
    }
    return found;
}

/* MEMORY_CLEANUP_MB and MEMORY_CRITICAL_MB; MEMORY_REJECT_MB acts in bs_worker_admits. */
static void check_lines(bs_worker *worker)
{
    const bs_governor *g = &worker->governor;
    int64_t now = bs_worker_clock_ms();
    if (g->used < g->cleanup_line || now < worker->trim_ms)
        return;
    bool critical = g->used >= g->critical_line;
    worker->trim_ms = now + (critical ? CRITICAL_TRIM_MS : TRIM_MS);
    int64_t age = worker->settings->job_max_age_seconds / (critical ? CRITICAL_AGE_PART : PRESSED_AGE_PART);
    bs_log(critical ? BS_LOG_WARNING : BS_LOG_INFO, "governor",
           "used %.1f MB, above the %s line of %.1f MB: heaps are trimmed, finished jobs older than %" PRId64
           " s are removed",
           bs_mib(g->used), critical ? "critical" : "cleanup", bs_mib(critical ? g->critical_line : g->cleanup_line),
           age);
    bs_cleanup_expired(worker, age);
    bs_memory_trim();
    bs_order order = {.kind = BS_ORDER_TRIM};
    bs_zygote_send(&worker->zygote, &order, NULL, 0, NULL);
    bs_slot *slot = critical ? youngest(worker) : NULL;
    if (slot) {
        bs_log(BS_LOG_WARNING, "governor", "job %s, the youngest, is stopped and queued again", slot->job.id);
        bs_worker_stop_slot(worker, slot, BS_STOP_ROOM);
    }
}

void bs_readings_act(bs_worker *worker)
{
    check_reservations(worker);
    check_lines(worker);
}
