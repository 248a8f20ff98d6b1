/* The inside of a bs_pose: two networks, what is remembered from picture to picture, and the two steps that
 * everything is made of: looking for people (detect) and looking at one region (look). */
#ifndef BS_POSE_ENGINE_H
#define BS_POSE_ENGINE_H

#include "pose/crop.h"
#include "pose/detector.h"
#include "pose/landmarks.h"
#include "pose/models.h"
#include "pose/smooth.h"

/* What tells somebody from others: mean colours of bands across the body, from the shoulders to the knees. */
enum { BS_BANDS = 4 };
typedef struct bs_colors {
    float rgb[BS_BANDS][3]; /* 0–1 */
} bs_colors;

/* Somebody who was seen in the last picture. Where num_people is 1 there is no more than id and roi. */
typedef struct bs_track {
    int id;
    bs_roi roi;     /* where to look in the next picture */
    float vx, vy;   /* how fast its centre moves: fractions of the picture per second */
    float followed; /* seconds that they were in view */
    bs_colors colors;
} bs_track;

/* Somebody who was seen a moment ago, and whose id waits for them. */
typedef struct bs_lost_track {
    bs_track track;
    int64_t time_us; /* when they were seen last */
} bs_lost_track;

struct bs_pose {
    bs_pose_options options;
    char isa[16]; /* what options.isa points to */
    const bs_crop_kernels *kernels;
    bs_nn_arena *arena; /* of both networks: they run in turn */
    bs_nn *detector, *landmark;
    bs_detection *detections; /* room for BS_ANCHORS */

    int64_t last_us; /* tracking: the time of the last picture, -1 before the first */
    int tracks;
    bs_track track[BS_MAX_PEOPLE];
    int64_t tracks_us; /* the time of the picture that `track` is from */
    int lost_tracks;
    bs_lost_track lost[BS_MAX_PEOPLE];
    int next_id;
    bs_smoother smoother; /* of the one person, where num_people is 1 */
    float tries_left;     /* smart: how many extra looks it may still take (tries.h) */
    int next_way;         /* smart: the way of finding somebody that comes next */
    bool seen_clearly;    /* quality: somebody beyond doubt, in this video */

    float *mask; /* room for `mask_room` values: as many as the largest picture so far has pixels */
    size_t mask_room;
    bool has_mask;       /* the last picture has one */
    float *mask_scratch; /* 256 × 256, where segmentation is on */
};

/* One picture under way: what every step of it needs. */
typedef struct bs_view {
    const bs_image *image;
    int width, height; /* as displayed */
    int64_t time_us;
} bs_view;

/* One look at a region, and what came of it. */
typedef struct bs_look {
    bs_roi roi;
    bs_strategy enhancement; /* of the crop: ORIGINAL, CLAHE, BRIGHT, MIRRORED or LOWER_ENHANCED */
    const bs_landmark_rules *rules;
    bool found; /* a person is in it; only then is body more than its presence */
    bs_body body;
} bs_look;

/* Runs the detector over a region of the picture (upright; NULL: the whole picture), its crop enhanced by CLAHE or
 * BRIGHT or not at all (ORIGINAL). pose->detections then holds *count people, best first, their points as fractions of
 * the picture. */
bs_status bs_detect(bs_pose *pose, const bs_view *view, const bs_crop_region *region, bs_strategy enhancement,
                    float iou_threshold, int max, int *count, bs_error *err);

/* The region of a detected person. Section 9. */
bs_roi bs_roi_of_detection(const bs_detection *d, const bs_view *view);
/* The region for the next picture. Section 13. */
bs_roi bs_roi_of_body(const bs_body *body, const bs_view *view);

/* Runs the landmark model on look->roi; fills found and body. */
bs_status bs_look_at(bs_pose *pose, const bs_view *view, bs_look *look, bs_error *err);

/* One picture by the rules of mp.solutions.pose (tracker_one.c) and of MediaPipe Tasks (tracker_many.c). */
bs_status bs_process_one(bs_pose *pose, const bs_view *view, bs_pose_result *out, bs_error *err);
bs_status bs_process_many(bs_pose *pose, const bs_view *view, bs_pose_result *out, bs_error *err);

/* Where segmentation is on: the mask of a look, into pose->mask. `last`: it was the last one taken, so that the
 * network still holds its logits; else it is taken again. */
bs_status bs_make_mask(bs_pose *pose, const bs_view *view, const bs_look *look, bool last, bs_error *err);

/* Fills what a person's result has in common. */
void bs_person_fill(bs_person *p, const bs_look *look, const bs_roi *next_roi);

#endif
