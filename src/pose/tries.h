/* The extra tries of the modes smart and quality (docs/modes.md has what they gain and cost).
 *
 * A picture is poor where nobody was found, or where the landmarks that lie inside it are hardly visible. Then, in this
 * order: detect again where a track led astray; detect on an equalised or brightened picture of the detector's size;
 * detect in overlapping enlarged parts of the picture, for people who are small or in a crowd; look at the same region
 * equalised, brightened, mirrored, or with the lower body alone enhanced. Smart stops at the first good result and has
 * a budget of tries that refills slowly, so that a whole video costs at most about twice what it costs without them;
 * quality tries all and keeps the most visible. */
#ifndef BS_POSE_TRIES_H
#define BS_POSE_TRIES_H

#include "pose/engine.h"

/* Smart's budget, in looks: what it may spend at once. */
enum { BS_TRIES_MOST = 8 };

/* The state of one person's search: the best look so far, and where it came from. */
typedef struct bs_attempt {
    bs_look look;
    bs_strategy strategy;
    bs_person_status status;
    float score;       /* of the detector */
    bool detector_ran; /* on the whole picture as it is */
} bs_attempt;

/* How well a body is seen: the mean visibility of those landmarks that lie inside the picture, 0–1. */
float bs_body_visibility(const bs_body *body);

/* Does what the mode of `pose` allows to better `attempt`. `*last` becomes false where the look kept is not the last
 * one taken. */
bs_status bs_try_harder(bs_pose *pose, const bs_view *view, bs_attempt *attempt, bool *last, bs_error *err);

/* At the beginning of a picture: refills the budget. */
void bs_tries_refill(bs_pose *pose);

#endif
