/* The skeletons of frames between two analysed ones.
 *
 * Owner: plain data. Units: fractions of the displayed picture, microseconds. Threads: one at a time. */
#ifndef BS_PIPELINE_OVERLAY_H
#define BS_PIPELINE_OVERLAY_H

#include <bodyscript/pose.h>

#include "video/frame.h"

/* What the overlay needs of an analysed frame's result. */
typedef struct bs_pose_mark {
    int64_t index, time_us;
    int people;
    struct bs_mark_person {
        int id;
        bool fresh; /* the detector found this one: perhaps somebody else than before */
        bs_landmark landmark[BS_LANDMARKS];
    } person[]; /* people */
} bs_pose_mark;

/* A copy of what is needed, to be freed with free(); NULL where memory is refused. */
bs_pose_mark *bs_pose_mark_new(int64_t index, int64_t time_us, const bs_pose_result *result);

/* Draws onto a frame at `weight` (0–1) of the way from `a` to `b`; `b` may be NULL: `a` as it is. */
void bs_overlay_draw(bs_video_frame *canvas, const bs_pose_mark *a, const bs_pose_mark *b, float weight);

#endif
