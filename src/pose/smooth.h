/* Smoothing over time: one-euro filters on coordinates, a low-pass on visibility (blazepose.md section 15).
 *
 * One-euro filter: G. Casiez, N. Roussel, D. Vogel, "1€ Filter", CHI 2012, in MediaPipe's mixture of float
 * and double (mediapipe/util/filtering/). Times are nanoseconds. Threads: plain data. */
#ifndef BS_POSE_SMOOTH_H
#define BS_POSE_SMOOTH_H

#include "pose/landmarks.h"

typedef struct bs_low_pass {
    float raw, stored;
    bool initialised;
} bs_low_pass;

/* The next value of a low-pass filter; `alpha` in [0, 1]. */
float bs_low_pass_next(bs_low_pass *f, float value, float alpha);

enum { BS_ONE_EURO_VALUES = 3 * BS_LANDMARKS };

/* A set of one-euro filters that see their values at the same times. */
typedef struct bs_one_euro {
    double min_cutoff, beta, derivative_cutoff;
    double frequency;
    int64_t last_ns;
    bs_low_pass value[BS_ONE_EURO_VALUES], derivative[BS_ONE_EURO_VALUES];
} bs_one_euro;

void bs_one_euro_init(bs_one_euro *f, float min_cutoff, float beta, float derivative_cutoff);
/* Filters `count` values in place. A time that is not later than the last one changes nothing. */
void bs_one_euro_next(bs_one_euro *f, int64_t time_ns, float scale, float *values, int count);

/* All filters of one person. */
typedef struct bs_smoother {
    bool landmarks; /* false: only the two auxiliary landmarks are smoothed, as with smooth_landmarks=False */
    bs_one_euro image, world, aux;
    bs_low_pass visibility[BS_LANDMARKS];
} bs_smoother;

void bs_smoother_init(bs_smoother *s, bool landmarks);

/* Smooths a body in place, in the size of the picture that it was found in. */
void bs_smoother_next(bs_smoother *s, bs_body *body, int64_t time_us, int width, int height);

/* Nobody in this picture: the coordinate filters start anew; world and visibility filters are kept (15.6). */
void bs_smoother_miss(bs_smoother *s);

#endif
