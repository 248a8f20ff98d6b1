/* One table of kernels per instruction set. Internal to src/nn.
 *
 * A kernel computes part `part` of `parts` of one step. Parts write different elements and share nothing, so
 * threads run them at once; how the work is divided never changes a bit of the result. Every implementation whose CPU
 * fuses multiply and add gives the bits of portable.c, which is the definition (blazepose.md section 4):
 *   convolution   accumulator = bias, then one fused multiply-add per tap: kernel row, column, input channel;
 *   depthwise     the same, kernel column by column;
 *   resize        no fused operation: t = tl + (tr - tl)·ax, b likewise, t + (b - t)·ay. */
#ifndef BS_NN_KERNELS_H
#define BS_NN_KERNELS_H

#include "plan.h"

typedef struct bs_nn_kernels {
    const char *name;
    bool rounds_twice; /* no fused multiply-add: the last digits differ from portable.c's */
    /* Floats of scratch that one part of the step needs; 64-byte aligned when it is given. */
    size_t (*scratch)(const bs_nn_step *step);
    void (*run)(const bs_nn_step *step, float *scratch, int part, int parts);
} bs_nn_kernels;

extern const bs_nn_kernels bs_nn_portable;
#if defined(__x86_64__)
extern const bs_nn_kernels bs_nn_avx512, bs_nn_avx2, bs_nn_sse2;
#elif defined(__aarch64__)
extern const bs_nn_kernels bs_nn_neon;
#endif

/* The i-th best kernels of this CPU; NULL after the last, which are the portable ones. */
const bs_nn_kernels *bs_nn_kernels_at(int i);

/* x86's max and min in the order that XNNPACK uses them: -0 becomes the bound 0, NaN the bound. */
static inline float bs_nn_clamp(float v, float low, float high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

/* The share of `count` that belongs to a part, in whole multiples of `grain`. */
static inline void bs_nn_share(int count, int grain, int part, int parts, int *begin, int *end)
{
    int grains = (count + grain - 1) / grain;
    *begin = (int)((int64_t)grains * part / parts) * grain;
    *end = (int)((int64_t)grains * (part + 1) / parts) * grain;
    if (*begin > count)
        *begin = count;
    if (*end > count)
        *end = count;
}

float bs_nn_half_to_float(uint16_t half);
/* `count` dense weights from `first` on, as floats. */
void bs_nn_weights_get(const bs_nn_weights *weights, size_t first, size_t count, float *out);
/* Row `row` of a filter of `columns` values per output, dense or sparse, to out[0], out[stride] … */
void bs_nn_weights_row(const bs_nn_weights *weights, int row, int columns, float *out, int stride);

/* What no instruction set improves on: PAD, CONCAT's copies, LOGISTIC, DEPTH_TO_SPACE. */
void bs_nn_run_plain(const bs_nn_step *step, int part, int parts);

/* The portable operators over rows `top` to `bottom` and channels from `first` on: what is left over when channels
 * do not fill vectors. */
void bs_nn_plain_depthwise(const bs_nn_step *step, float *scratch, int top, int bottom, int first);
void bs_nn_plain_max_pool(const bs_nn_step *step, int top, int bottom, int first);
void bs_nn_plain_resize(const bs_nn_step *step, int top, int bottom, int first);
void bs_nn_plain_add(const bs_nn_step *step, int top, int bottom);

#endif
