/* governor: how much memory there is, what is promised, what is used; what may start.
 *
 * A job starts when what it may take at most (bs_estimate) fits into what is left: the critical line, less what the
 * tree of processes uses now, less what running jobs were promised and do not use yet. Promises are never counted up
 * and down: they are summed anew from the jobs that run, so none can be lost.
 *
 * Everything together stays below the critical line. Page cache (code, weights, files) is left out of all of it: the
 * kernel drops it when it needs the room.
 * Units: bytes. Threads: the scheduler's alone. */
#ifndef BS_SERVICE_WORKER_GOVERNOR_H
#define BS_SERVICE_WORKER_GOVERNOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "settings/settings.h"

/* For sentences: everything here is told in MB of 2^20 bytes. */
static inline double bs_mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

typedef struct bs_governor {
    uint64_t limit, cleanup_line, reject_line, critical_line;
    uint64_t base;   /* the server and the zygote alone: the least that was ever used with no job running */
    uint64_t used;   /* by all processes, at the last measurement */
    double pressure; /* PSI, per cent of the last 10 s in which some task waited for memory; -1: unknown */
    int64_t concurrent;
} bs_governor;

/* A process that something was promised to. */
typedef struct bs_promise {
    uint64_t reserved, used;
} bs_promise;

void bs_governor_init(bs_governor *out, const bs_settings *settings);

/* Takes in how much the service's own processes (`own`) and the jobs use now. */
void bs_governor_measured(bs_governor *governor, uint64_t own, const bs_promise *promises, size_t count);
/* Reads the pressure that the kernel tells. */
void bs_governor_read_pressure(bs_governor *governor);

/* What is promised in all, and what is left for one more. */
uint64_t bs_governor_reserved(const bs_promise *promises, size_t count);
uint64_t bs_governor_available(const bs_governor *governor, const bs_promise *promises, size_t count);

/* What a job may take at most so that as many as the settings allow run side by side; and where it runs alone. */
uint64_t bs_governor_budget_shared(const bs_governor *governor);
uint64_t bs_governor_budget_alone(const bs_governor *governor);

typedef enum bs_admission { BS_ADMITTED, BS_WAIT, BS_NEVER } bs_admission;
/* Whether a job that needs `need` may start now, later, or never; `why` has the numbers. */
bs_admission bs_governor_admit(const bs_governor *governor, uint64_t need, const bs_promise *promises, size_t count,
                               char *why, size_t size);

#endif
