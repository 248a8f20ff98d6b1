/* Kernels for any x86-64: 16 registers of 4 floats and no fused multiply-add, so that a product is rounded before it is
 * added. They do not give the bits of portable.c (on a CPU without FMA, MediaPipe does not give them either), but stay
 * within the last digits, a hundred times faster than the fused operation done in software. Old servers have no more,
 * and virtual machines whose CPU model hides the host's AVX2. 8 outputs × 6 pixels are 12 accumulators. */
#include "vector_common.h"
#include "x86_pack.h"

#define VEC              __m128
#define LANES            4
#define NAME(f)          f##_4
#define v_load           _mm_loadu_ps
#define v_store          _mm_storeu_ps
#define v_set1           _mm_set1_ps
#define v_broadcast      _mm_load1_ps
#define v_fma(a, b, sum) _mm_add_ps(_mm_mul_ps(a, b), sum)
#define v_add            _mm_add_ps
#define v_sub            _mm_sub_ps
#define v_mul            _mm_mul_ps
#define v_max            _mm_max_ps
#define v_min            _mm_min_ps
#include "vector_ops.h"
#define V_OPS(function, channels) function##_4

static inline int vector_channels(int channels)
{
    return channels / 4 * 4;
}

#define WIDTH     8
#define MOST_ROWS 6
#include "vector_panel.h"

static const panel_kind panel_kinds[] = {{8, {{6, tile_6x8}, {4, tile_4x8}, {2, tile_2x8}, {1, tile_1x8}}}};

static inline int panel_width(int left)
{
    (void)left;
    return 8;
}

#include "vector.h"

const bs_nn_kernels bs_nn_sse2 = {.name = "sse2", .rounds_twice = true, .scratch = scratch_of, .run = run};
