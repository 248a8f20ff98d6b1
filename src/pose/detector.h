/* The detector's side of the numbers: from its two output tensors to people (blazepose.md sections 6–8).
 *
 * Units: decoded boxes and keypoints are fractions of the letterboxed square that the model saw;
 * bs_detections_unletterbox makes them fractions of the picture. Threads: no state. */
#ifndef BS_POSE_DETECTOR_H
#define BS_POSE_DETECTOR_H

#include "pose/roi.h"

enum {
    BS_DETECTOR_SIZE = 224,
    BS_ANCHORS = 2254,
    BS_DETECTOR_KEYPOINTS = 4,
    BS_DETECTOR_VALUES = 4 + 2 * BS_DETECTOR_KEYPOINTS, /* of an anchor: box and keypoints */
};

typedef struct bs_detection {
    float score;                              /* 0–1 */
    float xmin, ymin, width, height;          /* the head and upper body; used by the suppression only */
    bs_point keypoint[BS_DETECTOR_KEYPOINTS]; /* 0 mid-hip, 1 size and rotation of the whole body, 2 and 3 upper body */
} bs_detection;

/* The centre of anchor `index`; its size is 1 × 1. Source: ssd_anchors_calculator.cc. */
bs_point bs_anchor(int index);

/* Decodes `boxes` (BS_ANCHORS × BS_DETECTOR_VALUES) and `logits` (BS_ANCHORS) and keeps what scores >= threshold, in
 * anchor order. `out` has room for BS_ANCHORS. Returns the number kept. Source: tensors_to_detections_calculator.cc. */
int bs_detections_decode(const float *boxes, const float *logits, float threshold, bs_detection *out);

/* Weighted non-maximum suppression: every cluster of `count` detections becomes one, its box and keypoints
 * averaged by score. `detections` is sorted and then overwritten by the result, best score first, `max` at most.
 * Returns their number. Source: non_max_suppression_calculator.cc. */
int bs_detections_suppress(bs_detection *detections, int count, float iou_threshold, int max);

/* From the square to the picture: `left` and `top` are the shares of the square that are padding on each side.
 * Source: detection_letterbox_removal_calculator.cc. */
void bs_detections_unletterbox(bs_detection *detections, int count, float left, float top);

#endif
