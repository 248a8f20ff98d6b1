/* The governor's rules (see governor.h). */
#include <inttypes.h>
#include <stdio.h>

#include "service/worker/governor.h"

/* Above this much pressure no further job starts beside those that run: the kernel is short although we are not. */
static const double PRESSURE_TO_WAIT = 20;

void bs_governor_init(bs_governor *out, const bs_settings *settings)
{
    *out = (bs_governor){
        .limit = (uint64_t)settings->memory_limit_mb << 20,
        .cleanup_line = (uint64_t)settings->memory_cleanup_mb << 20,
        .reject_line = (uint64_t)settings->memory_reject_mb << 20,
        .critical_line = (uint64_t)settings->memory_critical_mb << 20,
        .pressure = -1,
        .concurrent = settings->max_concurrent_processing,
    };
}

void bs_governor_measured(bs_governor *governor, uint64_t own, const bs_promise *promises, size_t count)
{
    governor->used = own;
    for (size_t i = 0; i < count; i++)
        governor->used += promises[i].used;
    if (count == 0 && (!governor->base || own < governor->base))
        governor->base = own;
}

void bs_governor_read_pressure(bs_governor *governor)
{
    double some;
    FILE *file = fopen("/proc/pressure/memory", "re");
    governor->pressure = file && fscanf(file, "some avg10=%lf", &some) == 1 ? some : -1;
    if (file)
        fclose(file);
}

uint64_t bs_governor_reserved(const bs_promise *promises, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += promises[i].reserved;
    return sum;
}

static uint64_t not_yet_used(const bs_promise *promises, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        if (promises[i].reserved > promises[i].used)
            sum += promises[i].reserved - promises[i].used;
    return sum;
}

static uint64_t left(uint64_t line, uint64_t taken)
{
    return line > taken ? line - taken : 0;
}

uint64_t bs_governor_available(const bs_governor *governor, const bs_promise *promises, size_t count)
{
    return left(governor->critical_line, governor->used + not_yet_used(promises, count));
}

uint64_t bs_governor_budget_alone(const bs_governor *governor)
{
    return left(governor->critical_line, governor->base);
}

uint64_t bs_governor_budget_shared(const bs_governor *governor)
{
    return bs_governor_budget_alone(governor) / (uint64_t)governor->concurrent;
}

bs_admission bs_governor_admit(const bs_governor *governor, uint64_t need, const bs_promise *promises, size_t count,
                               char *why, size_t size)
{
    uint64_t available = bs_governor_available(governor, promises, count);
    int length = snprintf(
        why, size, "needs %.1f MB; limit %.1f, used %.1f, promised to %zu running and not yet used %.1f, left %.1f",
        bs_mib(need), bs_mib(governor->limit), bs_mib(governor->used), count, bs_mib(not_yet_used(promises, count)),
        bs_mib(available));
    if (count && governor->pressure > PRESSURE_TO_WAIT) {
        if (length > 0 && (size_t)length < size)
            snprintf(why + length, size - (size_t)length, "; memory pressure %.0f %%", governor->pressure);
        return BS_WAIT;
    }
    if (need <= available)
        return BS_ADMITTED;
    return need > bs_governor_budget_alone(governor) ? BS_NEVER : BS_WAIT;
}
