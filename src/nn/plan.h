/* The plan: the operators that lead to the wanted outputs, in order, with everything foldable folded, and where
 * each tensor lies in the arena. Internal to src/nn; a step is what a kernel gets.
 *
 * Steps that follow each other on large images are linked: what passes between them goes band by band of rows, while it
 * is in the cache, and has no place in the arena (chain.h).
 *
 * Folded away: constants' conversions; PAD into the convolutions that read it; channel PAD and ADD into the
 * convolution or resize that comes before; RESHAPE and CONCAT, whose pieces are written where they belong. */
#ifndef BS_NN_PLAN_H
#define BS_NN_PLAN_H

#include "graph.h"

enum { BS_NN_MAX_CHAIN = 6 }; /* linked steps that run together, at most */

/* One operator, ready to run.
 *   value = clamp(operator(in), low, high); out = other ? clamp(value + other, add_low, add_high) : value
 * `other` has the shape of `out`, but may have fewer channels: those that it lacks are zeros. Taps of a window
 * that fall outside of `in` are zeros; window (0, 0) begins at row -pad_top, column -pad_left. */
typedef struct bs_nn_step {
    bs_nn_kind kind;
    size_t in_at, other_at, out_at; /* in the arena, in floats */
    const float *in, *other;        /* bound to the arena's present place; other: NULL if there is none */
    float *out;
    bs_nn_shape in_shape, out_shape;
    int other_channels; /* 0: no `other` */
    bool linked;        /* `out` is read by the next step alone, and never exists whole: no out_at, nor its in_at */
    int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, pad_channels, block;
    float low, high, add_low, add_high;
    bs_nn_weights weights, bias;
    bool prepared;        /* the scratch still holds the weights from a run of the same step over other rows */
    const uint8_t *ahead; /* the weights that are needed next, to be asked of memory in good time; may be NULL */
    size_t ahead_bytes;
    double mmac;
} bs_nn_step;

typedef struct bs_nn_plan {
    bs_nn_step *steps;
    int step_count;
    size_t arena; /* floats */
    size_t input_at, output_at[8];
    unsigned outputs; /* the wanted ones */
    double mmac;
    size_t memory;
} bs_nn_plan;

bs_status bs_nn_plan_make(bs_nn_plan *plan, const bs_nn_model *model, unsigned outputs, bs_error *err);
void bs_nn_plan_release(bs_nn_plan *plan);

#endif
