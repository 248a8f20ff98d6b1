/* One person, by the rules of mp.solutions.pose (blazepose.md section 14; pose_landmark_cpu.pbtxt): the detector
 * runs only where no region was carried over; a picture on which the person is lost gives nothing, and the
 * detector runs on the next one. */
#include "pose/tries.h"

static const float nms_iou = 0.3f;

/* Where to look: the region that was carried over, else the best detection's. *any is false where there is neither. */
static bs_status find_region(bs_pose *pose, const bs_view *view, bs_attempt *attempt, bool *any, bs_error *err)
{
    int count = 0;
    *any = pose->tracks > 0;
    if (*any) {
        attempt->status = BS_TRACKED;
        attempt->look.roi = pose->track[0].roi;
        return BS_OK;
    }
    attempt->detector_ran = true;
    attempt->status = BS_DETECTED;
    const bs_status rc = bs_detect(pose, view, NULL, BS_STRATEGY_ORIGINAL, nms_iou, 1, &count, err);
    if (rc < 0 || !count)
        return rc;
    *any = true;
    attempt->look.roi = bs_roi_of_detection(&pose->detections[0], view);
    attempt->score = pose->detections[0].score;
    return BS_OK;
}

bs_status bs_process_one(bs_pose *pose, const bs_view *view, bs_pose_result *out, bs_error *err)
{
    bs_attempt attempt = {.look.rules = &bs_rules_solution};
    bs_look *look = &attempt.look;
    bool any, last = true;
    bs_status rc = find_region(pose, view, &attempt, &any, err);
    if (rc >= 0 && any)
        rc = bs_look_at(pose, view, look, err);
    if (rc >= 0)
        rc = bs_try_harder(pose, view, &attempt, &last, err);
    if (rc >= 0 && look->found)
        rc = bs_make_mask(pose, view, look, last, err);
    if (rc < 0)
        return rc;

    pose->tracks = 0;
    if (look->found) {
        bs_smoother_next(&pose->smoother, &look->body, view->time_us, view->width, view->height);
        const bs_roi next = bs_roi_of_body(&look->body, view);
        out->person[0] = (bs_person){
            .status = attempt.status, .strategy = attempt.strategy, .detection_score = attempt.score};
        bs_person_fill(&out->person[0], look, &next);
        pose->track[0] = (bs_track){.id = 0, .roi = next};
        pose->tracks = !pose->options.static_image_mode;
    } else {
        bs_smoother_miss(&pose->smoother);
    }
    out->people = look->found;
    out->detector_ran = attempt.detector_ran;
    return BS_OK;
}
