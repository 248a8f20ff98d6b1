/* One person, by the rules of mp.solutions.pose (blazepose.md section 14; pose_landmark_cpu.pbtxt): the detector
 * runs only where no region was carried over; a picture on which the person is lost gives nothing, and the
 * detector runs on the next one. */
#include <string.h>

#include "pose/engine.h"

static const float nms_iou = 0.3f;

/* Where to look: the region that was carried over, else the best detection's. *any is false where there is neither. */
static bs_status find_region(bs_pose *pose, const bs_view *view, bs_roi *roi, bool *any, bs_person *person,
                             bool *detector_ran, bs_error *err)
{
    int count = 0;
    *any = pose->tracks > 0;
    *detector_ran = !*any;
    person->status = *any ? BS_TRACKED : BS_DETECTED;
    if (*any) {
        *roi = pose->track[0].roi;
        return BS_OK;
    }
    const bs_status rc = bs_detect(pose, view, nms_iou, 1, &count, err);
    if (rc < 0 || !count)
        return rc;
    *any = true;
    *roi = bs_roi_of_detection(&pose->detections[0], view);
    person->detection_score = pose->detections[0].score;
    return BS_OK;
}

bs_status bs_process_one(bs_pose *pose, const bs_view *view, bs_pose_result *out, bs_error *err)
{
    bs_person person = {0};
    bs_roi roi;
    bs_body body;
    bool any, detector_ran, found = false;
    bs_status rc = find_region(pose, view, &roi, &any, &person, &detector_ran, err);
    if (rc >= 0 && any)
        rc = bs_look(pose, view, &roi, &bs_rules_solution, &body, &found, err);
    if (rc < 0)
        return rc;

    pose->tracks = 0;
    if (found) {
        bs_smoother_next(&pose->smoother, &body, view->time_us, view->width, view->height);
        const bs_roi next = bs_roi_of_body(&body, view);
        bs_person_fill(&person, &body, &roi, &next);
        out->person[0] = person;
        pose->track[0] = (bs_track){.id = 0, .roi = next};
        pose->tracks = !pose->options.static_image_mode;
    } else {
        bs_smoother_miss(&pose->smoother);
    }
    out->people = found;
    out->detector_ran = detector_ran;
    return BS_OK;
}
