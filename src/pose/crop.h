/* Crops: a rotated square of a picture as a model's input tensor (blazepose.md section 5).
 *
 * Where the picture is 8-bit RGB (any layout) or full-range 8-bit grey, the samples are MediaPipe's own, bit for
 * bit: the homography, the 1/32-pixel coordinates and the 8-bit fixed-point interpolation of OpenCV's
 * warpPerspective. Any other picture (YUV, more than 8 bits) is sampled plane by plane where it lies, at the same
 * coordinates, and converted to RGB per sample of the crop: no frame is ever converted as a whole.
 *
 * The picture's orientation is part of the sampling: regions are in pixels of the displayed picture.
 * Errors: none; check the picture first. Threads: no state. */
#ifndef BS_POSE_CROP_H
#define BS_POSE_CROP_H

#include "pose/crop_kernels.h"
#include "pose/landmarks.h"

typedef enum bs_crop_kind {
    BS_CROP_DETECTOR, /* 224 × 224, values -1 to 1, black outside the picture */
    BS_CROP_LANDMARK, /* 256 × 256, values 0 to 1, the picture's edge continued outside */
} bs_crop_kind;

/* BS_ERR_USAGE where the description contradicts itself or is beyond what can be sampled (65,535 pixels a side). */
bs_status bs_image_check(const bs_image *image, bs_error *err);

/* Fills `out` (size × size × 3 floats, RGB interleaved) with the region. The region must be usable (bs_roi_usable). */
void bs_crop(const bs_image *image, const bs_crop_region *region, bs_crop_kind kind, const bs_crop_kernels *kernels,
             float *out);

#endif
