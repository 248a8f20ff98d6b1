/* What the vector kernels share that does not depend on the vector (see vector.h). */
#ifndef BS_NN_VECTOR_COMMON_H
#define BS_NN_VECTOR_COMMON_H

#include <math.h>
#include <string.h>

#include "kernels.h"

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}
static inline int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* Outputs along a row that a depthwise convolution slides over, channels by channels: few enough that the inputs stay
 * in the first-level cache. */
enum { SLIDING_RUN = 16 };

typedef struct span {
    int begin, end;
} span;

/* The taps of a window along one axis that fall inside the image. */
static inline span taps_inside(int out, int in_size, int kernel, int stride, int pad)
{
    const int start = out * stride - pad;
    const span s = {.begin = min_int(max_int(-start, 0), kernel), .end = min_int(kernel, in_size - start)};
    return s.end < s.begin ? (span){s.begin, s.begin} : s;
}

/* The outputs along one axis whose whole window is inside the image. */
static inline span whole_windows(int in_size, int out_size, int kernel, int stride, int pad)
{
    const int begin = min_int((pad + stride - 1) / stride, out_size), room = in_size - kernel + pad;
    const int end = room < 0 ? begin : min_int(room / stride + 1, out_size);
    return (span){begin, max_int(begin, end)};
}

/* The work of register tiles that follow each other: vector_tile.h. Strides in floats. */
typedef struct tile_job {
    const float *a;
    size_t a_stride, a_segment;
    int segments;
    long k; /* per segment */
    const float *b, *bias;
    float *c;
    size_t c_stride;
    const float *other; /* NULL: nothing to add */
    size_t other_stride;
    float low, high, add_low, add_high;
    const uint8_t *ahead; /* prefetched while the tile computes: ahead_step bytes further with every k */
    size_t ahead_step;
} tile_job;

/* Into the second-level cache. Never faults, whatever the address. */
static inline void prefetch(const uint8_t *p)
{
    __builtin_prefetch(p, 0, 2);
}

static inline void prefetch_bytes(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; p && i < bytes; i += 64)
        prefetch(p + i);
}

typedef struct panel_tile {
    int rows;
    void (*run)(const tile_job *job, int count);
} panel_tile;

/* A width of panels and its tiles, the one with the most rows first; the last has one row. */
typedef struct panel_kind {
    int width;
    panel_tile tiles[5];
} panel_kind;

#endif
