/* The inner loops of a crop, one set for each instruction set; all sets give the same numbers. */
#ifndef BS_POSE_CROP_KERNELS_H
#define BS_POSE_CROP_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BS_CROP_MAX = 256, BS_COORD_BITS = 5 }; /* widest row; coordinates are 1/32 pixel */

/* One component of a picture as a plane to interpolate in. Coordinates are fixed point with `frac_x`, `frac_y`
 * fractional bits (5, more for subsampled chroma), already clamped into [0, (size - 1) << frac]. */
typedef struct bs_taps {
    const uint8_t *base; /* sample (0, 0) */
    ptrdiff_t stride;
    int width, height; /* of the plane, in samples */
    int step, bytes;   /* bytes from sample to sample, and of one sample (1 or 2) */
    int shift, mask;   /* value = word >> shift & mask */
    bool swap;         /* the two bytes are in the other order */
    int frac_x, frac_y;
    ptrdiff_t ahead; /* bytes from a place to where the crop will look some rows later: fetched early, never read */
} bs_taps;

/* One axis of the way from subsampled chroma to a place between two pixels: libswscale's upsampling by a cubic of
 * four taps at the two pixels, and the crop's own interpolation between these, as one set of weights. */
typedef struct bs_cubic {
    int size; /* of the plane along this axis, in samples; at least 4 */
    int frac; /* fractional bits of a coordinate */
    /* for a coordinate c + p / 2^frac: the weights of the samples c - 1 … c + 2, in 1/128 or 1/1024, moved by 2 - i
     * samples where some of these would lie outside (which are then the edge's) */
    int16_t weight[5][128][4];
} bs_cubic;

typedef struct bs_crop_kernels {
    /* x[i], y[i]: where output sample i of row `row` lies in the displayed picture, in 1/32 pixel, half to even.
     * `m` is the 3 × 3 map from output to picture. OpenCV's order: blocks of 64 columns. `count` is a multiple of 4. */
    void (*coordinates)(const double m[9], int row, int count, int32_t *x, int32_t *y);
    /* out[i]: the sum of the four taps at (x[i], y[i]) weighted by integers that add up to
     * 1 << (frac_x + frac_y). */
    void (*taps)(const bs_taps *t, const int32_t *x, const int32_t *y, int count, int32_t *out);
    /* The same for three components that lie within 4 bytes of each other, 8 bits each, in steps of 3 or 4 bytes:
     * out[3 i + c]. */
    void (*pixels)(const bs_taps component[3], const int32_t *x, const int32_t *y, int count, int32_t *out);
    /* The same for both chroma planes at once (they lie alike) by cubics: coordinates in [-half a sample, size - half];
     * the weights of each axis add up to what the caller chose. Samples have at most 15 bits. */
    void (*cubic)(const bs_taps chroma[2], const bs_cubic *across, const bs_cubic *down, const int32_t *x,
                  const int32_t *y, int count, int32_t *const out[2]);
    /* out[3 i + c] = clamp(floor(bias[c] + sum over k of m[3 c + k] * plane[k][i]), 0, 255) / 255: R, G, B in whole
     * steps of 8 bits (the bias holds the half that rounds), which is nearer to a crop of an RGB picture than leaving
     * them unrounded. */
    void (*convert)(const float m[9], const float bias[3], const int32_t *const plane[3], int count, float *out);
} bs_crop_kernels;

/* The best set of this CPU for an instruction set by name as in bs_pose_options (NULL: any). */
const bs_crop_kernels *bs_crop_kernels_for(const char *isa);

#endif
