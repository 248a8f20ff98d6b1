/* Kernels for AVX-512 (F, VL): 32 registers of 16 floats, or of 8 where the number of channels asks for it. 48 outputs
 * × 8 pixels are 24 accumulators, and 11 loads for 24 multiply-adds. */
#include "vector_common.h"
#include "x86_pack.h"

#include "vector_m256.h"
#include "vector_ops.h"

#define WIDTH     24
#define MOST_ROWS 8
#include "vector_panel.h"
#define WIDTH     8
#define MOST_ROWS 8
#include "vector_panel.h"

#undef VEC
#undef LANES
#undef NAME
#undef v_load
#undef v_store
#undef v_set1
#undef v_broadcast
#undef v_fma
#undef v_add
#undef v_sub
#undef v_mul
#undef v_max
#undef v_min

#define VEC            __m512
#define LANES          16
#define NAME(f)        f##_16
#define v_load         _mm512_loadu_ps
#define v_store        _mm512_storeu_ps
#define v_set1         _mm512_set1_ps
#define v_broadcast(p) _mm512_set1_ps(*(p))
#define v_fma          _mm512_fmadd_ps
#define v_add          _mm512_add_ps
#define v_sub          _mm512_sub_ps
#define v_mul          _mm512_mul_ps
#define v_max          _mm512_max_ps
#define v_min          _mm512_min_ps
#include "vector_ops.h"
#define V_OPS(function, channels) ((channels) % 16 ? function##_8 : function##_16)

static inline int vector_channels(int channels)
{
    return channels / 8 * 8;
}

#define WIDTH     48
#define MOST_ROWS 8
#include "vector_panel.h"
#define WIDTH     32
#define MOST_ROWS 8
#include "vector_panel.h"
#define WIDTH     16
#define MOST_ROWS 8
#include "vector_panel.h"

static const panel_kind panel_kinds[] = {
    {48, {{8, tile_8x48}, {4, tile_4x48}, {2, tile_2x48}, {1, tile_1x48}}},
    {32, {{8, tile_8x32}, {4, tile_4x32}, {2, tile_2x32}, {1, tile_1x32}}},
    {24, {{8, tile_8x24}, {4, tile_4x24}, {2, tile_2x24}, {1, tile_1x24}}},
    {16, {{8, tile_8x16}, {4, tile_4x16}, {2, tile_2x16}, {1, tile_1x16}}},
    {8, {{8, tile_8x8}, {4, tile_4x8}, {2, tile_2x8}, {1, tile_1x8}}},
};

/* 48 at a time, and 32 where that makes the rest come out even. */
static inline int panel_width(int left)
{
    const int rounded = (left + 7) / 8 * 8, rest = rounded % 48;
    if (rounded <= 48)
        return rounded == 40 ? 24 : rounded;
    return rest == 8 || rest == 16 ? 32 : 48;
}

#include "vector.h"

const bs_nn_kernels bs_nn_avx512 = {.name = "avx512", .scratch = scratch_of, .run = run};
