/* Kernels for AVX2 with FMA and F16C: 16 registers of 8 floats. Twelve accumulators with three vectors of weights and
 * one broadcast pixel fill them; 24 outputs × 4 pixels loads 7 times for 12 multiply-adds. */
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
#define V_OPS(function, channels) function##_8

static inline int vector_channels(int channels)
{
    return channels / 8 * 8;
}

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
#define TILE tile_6x16
#define ROWS 6
#define COLS 2
#include "vector_tile.h"
#define TILE tile_4x16
#define ROWS 4
#define COLS 2
#include "vector_tile.h"
#define TILE tile_2x16
#define ROWS 2
#define COLS 2
#include "vector_tile.h"
#define TILE tile_1x16
#define ROWS 1
#define COLS 2
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

static const panel_kind panel_kinds[] = {
    {24, {{4, tile_4x24}, {2, tile_2x24}, {1, tile_1x24}}},
    {16, {{6, tile_6x16}, {4, tile_4x16}, {2, tile_2x16}, {1, tile_1x16}}},
    {8, {{8, tile_8x8}, {4, tile_4x8}, {2, tile_2x8}, {1, tile_1x8}}},
};

/* 24 at a time, and 16 where that makes the rest come out even. */
static inline int panel_width(int left)
{
    const int rounded = (left + 7) / 8 * 8;
    return rounded <= 24 ? rounded : rounded % 24 == 8 ? 16 : 24;
}

#include "vector.h"

const bs_nn_kernels bs_nn_avx2 = {.name = "avx2", .scratch = scratch_of, .run = run};
