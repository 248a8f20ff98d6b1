/* Single steps of src/nn on random shapes and numbers, for tests of the kernels: odd channel counts, windows larger
 * than the image, images of one pixel, paddings of both styles, sums folded in. */
#ifndef NN_STEPS_H
#define NN_STEPS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nn/kernels.h"

typedef struct test_step {
    bs_nn_step step;
    float *in, *other, *out, *scratch;
    uint8_t *weights, *bias, *segments, *indices;
    size_t out_count;
} test_step;

static inline uint32_t random_bits(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static inline int random_int(uint32_t *seed, int low, int high)
{
    return low + (int)(random_bits(seed) % (uint32_t)(high - low + 1));
}

static inline float random_float(uint32_t *seed)
{
    return (float)random_bits(seed) * 0x1p-23f - 1.0f;
}

static inline float *random_floats(size_t count, uint32_t *seed)
{
    float *v = aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64);
    for (size_t i = 0; v && i < count; i++)
        v[i] = random_float(seed) * 4;
    return v;
}

/* Half-precision numbers of up to about 1 in magnitude, sub-normals among them. */
static inline uint8_t *random_halves(size_t count, uint32_t *seed)
{
    uint8_t *v = malloc(2 * count + 16);
    for (size_t i = 0; v && i < count; i++) {
        uint32_t half = (random_bits(seed) & 0x83ff) | (uint32_t)random_int(seed, 0, 14) << 10;
        v[2 * i] = (uint8_t)half;
        v[2 * i + 1] = (uint8_t)(half >> 8);
    }
    return v;
}

static inline bs_nn_kind random_kind(uint32_t *seed)
{
    static const bs_nn_kind kinds[] = {BS_NN_CONV,      BS_NN_CONV,      BS_NN_CONV,          BS_NN_DEPTHWISE,
                                       BS_NN_DEPTHWISE, BS_NN_DEPTHWISE, BS_NN_RESIZE,        BS_NN_ADD,
                                       BS_NN_MAX_POOL,  BS_NN_PAD,       BS_NN_DEPTH_TO_SPACE};
    return kinds[random_bits(seed) % (sizeof(kinds) / sizeof(kinds[0]))];
}

static inline int random_channels(uint32_t *seed)
{
    static const int usual[] = {1, 3, 8, 16, 24, 32, 39, 40, 48, 56, 64, 72, 88, 112, 144, 195};
    return random_bits(seed) % 4 ? usual[random_bits(seed) % 16] : random_int(seed, 1, 130);
}

static inline void random_sparse(test_step *t, int rows, int columns, uint32_t *seed)
{
    bs_nn_weights *w = &t->step.weights;
    size_t count = 0;
    t->segments = malloc(2 * (size_t)rows + 2);
    t->indices = malloc(2 * (size_t)rows * columns);
    for (int r = 0; r <= rows; r++) {
        t->segments[2 * r] = (uint8_t)count;
        t->segments[2 * r + 1] = (uint8_t)(count >> 8);
        for (int c = 0; r < rows && c < columns; c++)
            if (random_bits(seed) % 4 == 0 && count < 65000) {
                t->indices[2 * count] = (uint8_t)c;
                t->indices[2 * count + 1] = (uint8_t)(c >> 8);
                count++;
            }
    }
    w->segments = t->segments;
    w->indices = t->indices;
    w->segment_bytes = w->index_bytes = 2;
    w->rows = rows;
    w->columns = columns;
}

static inline void make_window(test_step *t, uint32_t *seed)
{
    bs_nn_step *s = &t->step;
    const bool pool = s->kind == BS_NN_MAX_POOL;
    const bool one = s->kind == BS_NN_CONV && random_bits(seed) % 2;
    s->kernel_h = one ? 1 : random_int(seed, pool ? 2 : 1, 5);
    s->kernel_w = one ? 1 : random_bits(seed) % 4 ? s->kernel_h : random_int(seed, pool ? 2 : 1, 5);
    s->stride_h = s->stride_w = one ? 1 : random_int(seed, 1, 2);
    s->pad_top = one || pool ? 0 : random_int(seed, 0, s->kernel_h - 1);
    s->pad_left = one || pool ? 0 : random_int(seed, 0, s->kernel_w - 1);
    const int bottom = one || pool ? 0 : random_int(seed, 0, s->kernel_h - 1);
    const int right = one || pool ? 0 : random_int(seed, 0, s->kernel_w - 1);
    if (s->in_shape.height + s->pad_top + bottom < s->kernel_h)
        s->in_shape.height = s->kernel_h;
    if (s->in_shape.width + s->pad_left + right < s->kernel_w)
        s->in_shape.width = s->kernel_w;
    s->out_shape.height = (s->in_shape.height + s->pad_top + bottom - s->kernel_h) / s->stride_h + 1;
    s->out_shape.width = (s->in_shape.width + s->pad_left + right - s->kernel_w) / s->stride_w + 1;
    if (s->kind == BS_NN_CONV)
        s->out_shape.channels = random_channels(seed);
    if (pool)
        return;
    const size_t taps = (size_t)s->kernel_h * s->kernel_w;
    const size_t count = taps * s->in_shape.channels * (s->kind == BS_NN_CONV ? s->out_shape.channels : 1);
    t->weights = random_halves(count, seed);
    t->bias = random_halves((size_t)s->out_shape.channels, seed);
    s->weights = (bs_nn_weights){.data = t->weights, .value_bytes = 2, .count = count};
    s->bias = (bs_nn_weights){.data = t->bias, .value_bytes = 2, .count = (size_t)s->out_shape.channels};
    if (one && random_bits(seed) % 4 == 0)
        random_sparse(t, s->out_shape.channels, s->in_shape.channels, seed);
}

/* A step on an image of that shape; a window that would not fit makes the image larger. */
static inline void make_test_step_on(test_step *t, bs_nn_kind kind, bs_nn_shape in_shape, uint32_t *seed)
{
    *t = (test_step){0};
    bs_nn_step *s = &t->step;
    s->kind = kind;
    s->low = s->add_low = -INFINITY;
    s->high = s->add_high = INFINITY;
    s->in_shape = s->out_shape = in_shape;
    bool may_add = false;
    switch (kind) {
    case BS_NN_CONV: may_add = true; __attribute__((fallthrough));
    case BS_NN_DEPTHWISE:
    case BS_NN_MAX_POOL: make_window(t, seed); break;
    case BS_NN_RESIZE:
        may_add = true;
        s->out_shape.height *= 2;
        s->out_shape.width *= 2;
        break;
    case BS_NN_PAD:
        s->pad_top = random_int(seed, 0, 3);
        s->pad_left = random_int(seed, 0, 3);
        s->out_shape.height += s->pad_top + random_int(seed, 0, 3);
        s->out_shape.width += s->pad_left + random_int(seed, 0, 3);
        s->out_shape.channels += random_int(seed, 0, 9);
        break;
    case BS_NN_DEPTH_TO_SPACE:
        s->block = 2;
        s->in_shape.channels *= 4;
        s->out_shape.height *= 2;
        s->out_shape.width *= 2;
        break;
    default: break;
    }
    if (random_bits(seed) % 2 && (kind == BS_NN_CONV || kind == BS_NN_DEPTHWISE))
        s->low = 0, s->high = 6;
    if (kind == BS_NN_ADD || (may_add && random_bits(seed) % 3 == 0)) {
        const int channels = s->out_shape.channels;
        s->other_channels = kind == BS_NN_CONV && random_bits(seed) % 3 == 0 ? random_int(seed, 1, channels) : channels;
        t->other = random_floats((size_t)s->out_shape.height * s->out_shape.width * s->other_channels, seed);
        s->other = t->other;
        if (random_bits(seed) % 2)
            s->add_low = 0, s->add_high = 6;
    }
    t->in = random_floats((size_t)s->in_shape.height * s->in_shape.width * s->in_shape.channels, seed);
    t->out_count = (size_t)s->out_shape.height * s->out_shape.width * s->out_shape.channels;
    t->out = random_floats(t->out_count + 16, seed);
    s->in = t->in;
    s->out = t->out;
}

static inline void make_test_step(test_step *t, bs_nn_kind kind, uint32_t *seed)
{
    bs_nn_shape shape = {random_int(seed, 1, 19), random_int(seed, 1, 19), random_channels(seed)};
    if (random_bits(seed) % 8 == 0)
        shape.height = shape.width = 1;
    make_test_step_on(t, kind, shape, seed);
}

static inline void free_test_step(test_step *t)
{
    free(t->in);
    free(t->other);
    free(t->out);
    free(t->weights);
    free(t->bias);
    free(t->segments);
    free(t->indices);
}

enum { GUARD = 0x7fa5a5a5 }; /* a NaN that no kernel makes */

/* Runs the step in so many parts. Writes past the end of the output or of the scratch are caught. */
static inline void run_test_step(test_step *t, const bs_nn_kernels *kernels, int parts)
{
    const size_t need = kernels->scratch(&t->step);
    const uint32_t guard = GUARD;
    for (size_t i = 0; i < t->out_count + 16; i++)
        memcpy(&t->out[i], &guard, 4);
    for (int part = 0; part < parts; part++) {
        float *scratch = aligned_alloc(64, (need * sizeof(float) + 127) / 64 * 64);
        assert_non_null(scratch);
        memcpy(scratch + need, &guard, 4);
        kernels->run(&t->step, scratch, part, parts);
        assert_memory_equal(scratch + need, &guard, 4);
        free(scratch);
    }
    for (size_t i = t->out_count; i < t->out_count + 16; i++)
        assert_memory_equal(&t->out[i], &guard, 4);
}

/* The same bits; from kernels that round products, the same but for what rounding does to sums of such size. */
static inline void assert_step_equal(const test_step *t, const float *expected, const float *got,
                                     const bs_nn_kernels *kernels)
{
    const bs_nn_step *s = &t->step;
    size_t different = 0;
    float largest = 0;
    for (size_t i = 0; i < t->out_count; i++)
        largest = fmaxf(largest, fabsf(expected[i]));
    for (size_t i = 0; i < t->out_count; i++)
        different += memcmp(&expected[i], &got[i], sizeof(float)) != 0 &&
                     !(kernels->rounds_twice && fabsf(expected[i] - got[i]) <= 4e-6f * largest);
    if (different)
        fail_msg("%s, kind %d, %d×%d×%d to %d×%d×%d, kernel %d×%d, stride %d, pad %d %d: %zu of %zu values differ",
                 kernels->name, s->kind, s->in_shape.height, s->in_shape.width, s->in_shape.channels,
                 s->out_shape.height, s->out_shape.width, s->out_shape.channels, s->kernel_h, s->kernel_w, s->stride_h,
                 s->pad_top, s->pad_left, different, t->out_count);
}

/* The kernels that this program and CPU have; the portable ones last. */
static inline const bs_nn_kernels *test_kernels(size_t i)
{
    return bs_nn_kernels_at((int)i);
}

static inline size_t test_kernel_count(void)
{
    size_t count = 0;
    while (test_kernels(count))
        count++;
    return count;
}

#endif
