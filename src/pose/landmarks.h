/* From the landmark model's outputs to a person (blazepose.md sections 10–12).
 *
 * Units: bs_body's image landmarks are fractions of the displayed picture (z in widths), world landmarks
 * metres; both unsmoothed. Threads: no state. */
#ifndef BS_POSE_LANDMARKS_H
#define BS_POSE_LANDMARKS_H

#include "pose/roi.h"

enum {
    BS_LANDMARK_SIZE = 256,
    BS_MODEL_LANDMARKS = 39, /* 33 public ones, 2 that make the next region, 4 unused */
    BS_AUX_HIPS = 33,        /* centre of the next region */
    BS_AUX_SCALE = 34,       /* its size and rotation */
    BS_BODY_LANDMARKS = 35,
    BS_LANDMARK_VALUES = 5, /* of a landmark: x, y, z, visibility, presence */
    BS_HEATMAP_SIZE = 64,
};

/* Output tensors of the landmark models, in the file's order. */
enum { BS_OUT_LANDMARKS, BS_OUT_PRESENCE, BS_OUT_MASK, BS_OUT_HEATMAP, BS_OUT_WORLD, BS_OUTPUTS };

typedef struct bs_body {
    float presence; /* of a person in the crop, 0–1 */
    bs_landmark landmark[BS_BODY_LANDMARKS];
    bs_world_landmark world[BS_LANDMARKS];
} bs_body;

/* What distinguishes MediaPipe's two products. */
typedef struct bs_landmark_rules {
    int refine_radius; /* 4: mp.solutions.pose as it runs (11.1); 3: Tasks */
    bool keep_aspect;  /* true: mp.solutions.pose; false: Tasks */
} bs_landmark_rules;
extern const bs_landmark_rules bs_rules_solution, bs_rules_tasks;

/* The square that is cropped for a region, in pixels of the displayed picture, and the shares of it that
 * are padding (0 but for rounding). Source: image_to_tensor_utils.cc. */
typedef struct bs_crop_region {
    float cx, cy, width, height, rotation;
    float pad_left, pad_top;
} bs_crop_region;
bs_crop_region bs_region_of_roi(const bs_roi *roi, int width, int height, bool keep_aspect);

/* The whole picture, padded to a square: what the detector sees. */
bs_crop_region bs_region_of_picture(int width, int height);

/* Decodes the tensors: landmarks 39 × 5, heatmap 64 × 64 × 39, world 39 × 3. The body is in the crop's own
 * fractions, its world landmarks turned as the crop is, until bs_body_project. */
void bs_body_decode(bs_body *body, const float *landmarks, const float *heatmap, const float *world,
                    const bs_landmark_rules *rules);

/* From the crop of `roi` to the picture. */
void bs_body_project(bs_body *body, const bs_roi *roi, const bs_crop_region *region);

#endif
