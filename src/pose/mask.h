/* The segmentation mask: from the landmark model's 256 × 256 logits to the picture (blazepose.md section 16). */
#ifndef BS_POSE_MASK_H
#define BS_POSE_MASK_H

#include "pose/landmarks.h"

/* Writes width × height values of 0–1 for the displayed picture; outside the region 0. `scratch` has room for
 * 256 × 256 floats. Source: tensors_to_segmentation_converter_opencv.cc, inverse_matrix_calculator.cc,
 * warp_affine_calculator.cc; OpenCV warpAffine. */
void bs_mask_warp(const float *logits, const bs_crop_region *region, int width, int height, float *scratch, float *out);

#endif
