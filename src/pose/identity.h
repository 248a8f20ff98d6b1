/* Who is who: ids for several people from picture to picture. MediaPipe has no counterpart.
 *
 * Units: regions and speeds are fractions of the displayed picture, times microseconds. Threads: as bs_pose. */
#ifndef BS_POSE_IDENTITY_H
#define BS_POSE_IDENTITY_H

#include "pose/engine.h"

/* The colours of a body in the picture. Uses the landmark model's input as scratch. */
bs_colors bs_colors_of_body(bs_pose *pose, const bs_view *view, const bs_body *body);

/* Gives everybody in `seen` (regions and colours filled in) an id, and makes them the pose's tracks. Those of the last
 * picture whom nobody continues are put aside, so that they have their id back when they are found again. */
void bs_identify(bs_pose *pose, bs_track *seen, int count, int64_t time_us);

#endif
