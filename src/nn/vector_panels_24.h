/* Panels of 24, 16 and 8 outputs: tiles of at most 96 accumulators, which are 12 registers of 8 floats (avx2.c has 16)
 * or 24 of 4 (neon.c has 32). */
#define WIDTH     24
#define MOST_ROWS 4
#include "vector_panel.h"
#define WIDTH     16
#define MOST_ROWS 6
#include "vector_panel.h"
#define WIDTH     8
#define MOST_ROWS 8
#include "vector_panel.h"

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
