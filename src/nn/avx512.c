/* Kernels for AVX-512 (F, VL): 32 registers of 16 floats, or of 8 where the number of channels asks for it. 48 outputs
 * × 8 pixels are 24 accumulators, and 11 loads for 24 multiply-adds. */
#include "vector_common.h"
#include "x86_pack.h"

#define VEC         __m256
#define LANES       8
#define NAME(f)     f##_8
#define v_load      _mm256_loadu_ps
#define v_store     _mm256_storeu_ps
#define v_set1      _mm256_set1_ps
#define v_broadcast _mm256_broadcast_ss
#define v_fma       _mm256_fmadd_ps
#define v_add       _mm256_add_ps
#define v_sub       _mm256_sub_ps
#define v_mul       _mm256_mul_ps
#define v_max       _mm256_max_ps
#define v_min       _mm256_min_ps
#include "vector_ops.h"

#define TILE tile_8x24
#define ROWS 8
#define COLS 3
#include "vector_tile.h"
#define TILE tile_4x24
#define ROWS 4
#define COLS 3
#include "vector_tile.h"
#define TILE tile_2x24
#define ROWS 2
#define COLS 3
#include "vector_tile.h"
#define TILE tile_1x24
#define ROWS 1
#define COLS 3
#include "vector_tile.h"
#define TILE tile_8x8
#define ROWS 8
#define COLS 1
#include "vector_tile.h"
#define TILE tile_4x8
#define ROWS 4
#define COLS 1
#include "vector_tile.h"
#define TILE tile_2x8
#define ROWS 2
#define COLS 1
#include "vector_tile.h"
#define TILE tile_1x8
#define ROWS 1
#define COLS 1
#include "vector_tile.h"

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

#define TILE tile_8x48
#define ROWS 8
#define COLS 3
#include "vector_tile.h"
#define TILE tile_4x48
#define ROWS 4
#define COLS 3
#include "vector_tile.h"
#define TILE tile_2x48
#define ROWS 2
#define COLS 3
#include "vector_tile.h"
#define TILE tile_1x48
#define ROWS 1
#define COLS 3
#include "vector_tile.h"
#define TILE tile_8x32
#define ROWS 8
#define COLS 2
#include "vector_tile.h"
#define TILE tile_4x32
#define ROWS 4
#define COLS 2
#include "vector_tile.h"
#define TILE tile_2x32
#define ROWS 2
#define COLS 2
#include "vector_tile.h"
#define TILE tile_1x32
#define ROWS 1
#define COLS 2
#include "vector_tile.h"
#define TILE tile_8x16
#define ROWS 8
#define COLS 1
#include "vector_tile.h"
#define TILE tile_4x16
#define ROWS 4
#define COLS 1
#include "vector_tile.h"
#define TILE tile_2x16
#define ROWS 2
#define COLS 1
#include "vector_tile.h"
#define TILE tile_1x16
#define ROWS 1
#define COLS 1
#include "vector_tile.h"

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
