/* Regions of interest: the rotated square around a person, made from two points (blazepose.md section 9).
 *
 * Units: points and regions are fractions of the displayed picture, whose size in pixels goes with them.
 * All arithmetic is float32 in MediaPipe's order, down to the last bit: the crop's 1/32-pixel rounding
 * makes single bits of a region visible. */
#ifndef BS_POSE_ROI_H
#define BS_POSE_ROI_H

#include <bodyscript/pose.h>

typedef struct bs_point {
    float x, y;
} bs_point;

/* The square around `hips` whose half side is the distance to `scale`, turned so that `scale` is straight
 * above. Source: alignment_points_to_rects_calculator.cc, detections_to_rects_calculator.cc. */
bs_roi bs_roi_from_points(bs_point hips, bs_point scale, int width, int height);

/* The same square 1.25 times as large: what the landmark model looks at. Source: rect_transformation_calculator.cc. */
bs_roi bs_roi_expand(bs_roi roi, int width, int height);

/* False for a region that cannot be cropped: no size, or not finite. */
bool bs_roi_usable(const bs_roi *roi);

/* Intersection over union of the upright boxes of two regions, rotation ignored.
 * Source: mediapipe/util/rectangle_util.cc. */
float bs_roi_iou(const bs_roi *a, const bs_roi *b);

#endif
