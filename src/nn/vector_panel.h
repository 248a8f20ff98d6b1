/* The tiles of one width of panels, named tile_ROWSxWIDTH. Included once per width, with
 *   WIDTH      outputs of the panel: 1, 2, 3, 4 or 6 vectors;
 *   MOST_ROWS  pixels of the largest tile, 4, 6 or 8: what the accumulators' registers hold;
 * and the vector. Smaller tiles, down to one pixel, do what is left over. */

#if WIDTH / LANES == 1
#define COLS 1
#elif WIDTH / LANES == 2
#define COLS 2
#elif WIDTH / LANES == 3
#define COLS 3
#elif WIDTH / LANES == 4
#define COLS 4
#elif WIDTH / LANES == 6
#define COLS 6
#endif

#if MOST_ROWS == 8
#define ROWS 8
#include "vector_tile.h"
#elif MOST_ROWS == 6
#define ROWS 6
#include "vector_tile.h"
#endif
#define ROWS 4
#include "vector_tile.h"
#define ROWS 2
#include "vector_tile.h"
#define ROWS 1
#include "vector_tile.h"

#undef COLS
#undef WIDTH
#undef MOST_ROWS
