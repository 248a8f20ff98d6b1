/* A picture that somebody else owns: pointers to its planes and a description of what lies in them.
 *
 * Any layout that a decoder gives can be described (planar, semi-planar or packed YUV, grey, RGB; 8 to
 * 16 bits; any chroma subsampling), so that the pose engine samples it where it lies and a frame is
 * never converted as a whole.
 *
 * Owner: the caller; the engine keeps no pointer after a call returns.
 * Units: strides in bytes (may be negative); sizes in pixels of the stored picture; `orientation` says
 * how the stored picture must be turned to be looked at, and the engine's coordinates are those of the
 * picture as displayed. Threads: a bs_image is plain data. */
#ifndef BODYSCRIPT_IMAGE_H
#define BODYSCRIPT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bs_color_model {
    BS_COLOR_RGB = 0, /* components are R, G, B */
    BS_COLOR_YUV,     /* components are Y, Cb, Cr */
    BS_COLOR_GRAY,    /* one component */
} bs_color_model;

/* The matrix between Y'CbCr and R'G'B' (ITU-T H.273, MatrixCoefficients). */
typedef enum bs_color_matrix {
    BS_MATRIX_BT601 = 0,
    BS_MATRIX_BT709,
    BS_MATRIX_BT2020,
} bs_color_matrix;

/* The eight ways in which a stored picture can lie, by the EXIF numbers less one: "as displayed =
 * this done to the stored picture". Rotations are clockwise. */
typedef enum bs_orientation {
    BS_ORIENT_NORMAL = 0,
    BS_ORIENT_MIRROR = 1, /* left and right exchanged */
    BS_ORIENT_ROTATE_180 = 2,
    BS_ORIENT_FLIP = 3,      /* top and bottom exchanged */
    BS_ORIENT_TRANSPOSE = 4, /* rows and columns exchanged */
    BS_ORIENT_ROTATE_90 = 5,
    BS_ORIENT_TRANSVERSE = 6, /* ROTATE_180 of TRANSPOSE */
    BS_ORIENT_ROTATE_270 = 7,
} bs_orientation;

/* Where one component (R, G, B or Y, Cb, Cr) of a pixel lies: sample (x, y) of the component is at
 * data[plane] + y * stride[plane] + x * step + offset; it is one byte when depth + shift <= 8, else two
 * bytes in the machine's order (big_endian of the image tells of the other one), and its value is
 * (word >> shift) & ((1 << depth) - 1). The same meaning as FFmpeg's AVComponentDescriptor. */
typedef struct bs_component {
    uint8_t plane, step, offset, shift, depth;
} bs_component;

typedef struct bs_image {
    int width, height; /* of the stored picture, in pixels */
    const uint8_t *data[4];
    ptrdiff_t stride[4]; /* bytes from one row to the next */
    bs_color_model model;
    bs_component component[3]; /* one used with BS_COLOR_GRAY */
    uint8_t chroma_shift_x;    /* log2 of the horizontal chroma subsampling (4:2:0 and 4:2:2: 1) */
    uint8_t chroma_shift_y;
    bool full_range; /* Y 0–255 (JPEG) instead of 16–235 (video) */
    bool big_endian; /* 16-bit samples are big endian */
    bs_color_matrix matrix;
    bs_orientation orientation;
} bs_image;

/* Describes width × height pixels of 3 bytes R, G, B, the first at `rgb`, rows `stride` bytes apart. */
bs_image bs_image_rgb24(const uint8_t *rgb, int width, int height, ptrdiff_t stride);

/* True when the picture's rows are the displayed picture's columns. */
static inline bool bs_orientation_swaps(bs_orientation o)
{
    return o >= BS_ORIENT_TRANSPOSE;
}

/* True when walking the displayed picture from its top left corner walks the stored one from its right edge; from its
 * bottom edge. */
static inline bool bs_orientation_from_right(bs_orientation o)
{
    return o == BS_ORIENT_MIRROR || o == BS_ORIENT_ROTATE_180 || o == BS_ORIENT_TRANSVERSE || o == BS_ORIENT_ROTATE_270;
}
static inline bool bs_orientation_from_bottom(bs_orientation o)
{
    return o == BS_ORIENT_FLIP || o == BS_ORIENT_ROTATE_180 || o == BS_ORIENT_TRANSVERSE || o == BS_ORIENT_ROTATE_90;
}

static inline int bs_image_displayed_width(const bs_image *im)
{
    return bs_orientation_swaps(im->orientation) ? im->height : im->width;
}
static inline int bs_image_displayed_height(const bs_image *im)
{
    return bs_orientation_swaps(im->orientation) ? im->width : im->height;
}

#ifdef __cplusplus
}
#endif
#endif
