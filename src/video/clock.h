/* Time stamps that can be trusted, out of those that files have.
 *
 * A bs_clock turns raw presentation times into strictly ascending ones from the first frame's on, whatever the
 * file says: missing, repeated, running backward, leaping hours ahead, starting anew halfway. What is sane is
 * passed on to the microsecond, gaps of seconds included. Plain data; nothing is allocated. */
#ifndef BS_VIDEO_CLOCK_H
#define BS_VIDEO_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define BS_NO_TIME INT64_MIN

typedef struct bs_clock {
    int64_t step_us;     /* what one frame usually lasts; > 0 */
    int64_t leap_us;     /* a step ahead of more than this is a fault, not a gap */
    int64_t repaired;    /* time stamps that were not taken as they came */
    bool started, timed; /* timed: a frame has told its time */
    int64_t origin_us;   /* raw time of the first frame; where it has none, what the first one that has leads back to */
    int64_t shift_us;    /* added to raw times since the last leap */
    int64_t last_us;     /* what was given last */
    int64_t suspect_us;  /* raw time that was refused last, or BS_NO_TIME */
} bs_clock;

void bs_clock_init(bs_clock *clock, int64_t step_us, int64_t leap_us);

/* The time of the next frame, from 0, for its raw time in microseconds (BS_NO_TIME: it has none). */
int64_t bs_clock_next(bs_clock *clock, int64_t raw_us);

/* The raw time that counts as 0 just now: what else has the frames' timeline is less by it. */
int64_t bs_clock_origin(const bs_clock *clock);

#endif
