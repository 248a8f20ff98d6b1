/* Time stamps that can be trusted (see clock.h). */
#include "clock.h"

enum { JITTER_STEPS = 4 }; /* backward by less: a disordered frame. By more: perhaps another beginning */

void bs_clock_init(bs_clock *clock, int64_t step_us, int64_t leap_us)
{
    *clock = (bs_clock){.step_us = step_us > 1 ? step_us : 1, .leap_us = leap_us, .suspect_us = BS_NO_TIME};
}

/* a - b, held within what can be added to again. */
static int64_t difference(int64_t a, int64_t b)
{
    int64_t d;
    if (__builtin_sub_overflow(a, b, &d))
        return a < b ? INT64_MIN / 4 : INT64_MAX / 4;
    return d < INT64_MIN / 4 ? INT64_MIN / 4 : d > INT64_MAX / 4 ? INT64_MAX / 4 : d;
}

static int64_t repair(bs_clock *clock, int64_t step)
{
    clock->repaired++;
    return clock->last_us += step > 0 ? step : 1;
}

int64_t bs_clock_next(bs_clock *clock, int64_t raw_us)
{
    if (!clock->started) {
        clock->started = true;
        clock->timed = raw_us != BS_NO_TIME;
        clock->origin_us = clock->timed ? raw_us : 0;
        clock->repaired += raw_us == BS_NO_TIME;
        return clock->last_us = 0;
    }
    if (raw_us == BS_NO_TIME)
        return repair(clock, clock->step_us);
    if (!clock->timed) {
        clock->timed = true;
        clock->last_us += clock->step_us;
        clock->origin_us = difference(raw_us, clock->last_us);
        return clock->last_us;
    }

    const int64_t time = difference(raw_us, clock->origin_us) + clock->shift_us;
    const int64_t step = time - clock->last_us;
    if (step > 0 && step <= clock->leap_us) {
        clock->suspect_us = BS_NO_TIME;
        return clock->last_us = time;
    }
    /* Half a step, so that the next frame can be where it says: one bad stamp moves no other. */
    if (step <= 0 && step > -JITTER_STEPS * clock->step_us)
        return repair(clock, clock->step_us / 2);

    /* A leap. One alone is a bad stamp; a second one from there on is a new timeline, which goes on from here. */
    const int64_t since = clock->suspect_us == BS_NO_TIME ? -1 : difference(raw_us, clock->suspect_us);
    if (since > 0 && since <= clock->leap_us) {
        clock->shift_us += since - step;
        clock->suspect_us = BS_NO_TIME;
        return clock->last_us += since;
    }
    clock->suspect_us = raw_us;
    return repair(clock, clock->step_us);
}

int64_t bs_clock_origin(const bs_clock *clock)
{
    return difference(clock->origin_us, clock->shift_us);
}
