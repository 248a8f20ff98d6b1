/* Several people, by the rules of MediaPipe Tasks' PoseLandmarker (blazepose.md section 17; pose_landmarker_graph.cc):
 * the detector runs on every picture on which fewer than num_people are tracked, a detection replaces the tracked
 * region that it overlaps, and nothing is smoothed.
 *
 * Two things are added to Tasks. Of looks that led to one and the same body only one is kept. And since the order of
 * Tasks' list is no identity, everybody has an id (identity.c). */
#include <math.h>
#include <string.h>

#include "pose/identity.h"
#include "pose/tries.h"

/* Tasks' defaults: of its detector's suppression, and of the association (its min_tracking_confidence). */
static const float nms_iou = 0.5f, association_iou = 0.5f;

/* Two bodies are one where their landmarks lie this near in the mean, as a share of the region's side. */
static const float same_body = 0.1f;

typedef struct candidate {
    float score; /* of the detector; 0 where tracked */
    bs_roi roi;
} candidate;

/* Appends `c` and drops the earlier candidates that it overlaps.
 * Source: association_calculator.h, association_norm_rect_calculator.cc. */
static int associate(candidate *list, int count, candidate c)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (!(bs_roi_iou(&list[i].roi, &c.roi) > association_iou))
            list[kept++] = list[i];
    list[kept] = c;
    return kept + 1;
}

static bs_status find_regions(bs_pose *pose, const bs_view *view, candidate *list, int *count, bool *detector_ran,
                              bs_error *err)
{
    int detections = 0, n = 0;
    *detector_ran = pose->tracks < pose->options.num_people;
    if (*detector_ran) {
        const bs_status rc = bs_detect(pose, view, NULL, BS_STRATEGY_ORIGINAL, nms_iou, BS_MAX_PEOPLE, &detections,
                                       err);
        if (rc < 0)
            return rc;
    }
    for (int i = 0; i < pose->tracks; i++)
        n = associate(list, n, (candidate){.roi = pose->track[i].roi});
    for (int i = 0; i < detections; i++) {
        const candidate c = {pose->detections[i].score, bs_roi_of_detection(&pose->detections[i], view)};
        if (pose->options.static_image_mode) /* no history: only cut to num_people */
            list[n++] = c;
        else
            n = associate(list, n, c);
    }
    *count = n < pose->options.num_people ? n : pose->options.num_people;
    return BS_OK;
}

static bool is_same_body(const bs_body *a, const bs_body *b, const bs_roi *roi)
{
    float sum = 0;
    for (int k = 0; k < BS_LANDMARKS; k++)
        sum += hypotf((a->landmark[k].x - b->landmark[k].x) / roi->width,
                      (a->landmark[k].y - b->landmark[k].y) / roi->height);
    return sum < same_body * BS_LANDMARKS;
}

/* Whether an earlier look led to the same body. Tracked regions come first, and fit better than detected ones. */
static bool is_repeated(const bs_attempt *attempt, int which)
{
    for (int i = 0; i < which; i++)
        if (is_same_body(&attempt[which].look.body, &attempt[i].look.body, &attempt[i].look.roi))
            return true;
    return false;
}

/* Keeps those attempts that found somebody, one for each body. On single photos nothing but num_people limits them. */
static int keep_found(const bs_pose *pose, bs_attempt *attempt, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (attempt[i].look.found) {
            attempt[kept] = attempt[i];
            kept += pose->options.static_image_mode || !is_repeated(attempt, kept);
        }
    return kept;
}

bs_status bs_process_many(bs_pose *pose, const bs_view *view, bs_pose_result *out, bs_error *err)
{
    candidate list[2 * BS_MAX_PEOPLE];
    bs_attempt attempt[BS_MAX_PEOPLE] = {0};
    bool detector_ran, last;
    int count = 0;
    bs_status rc = find_regions(pose, view, list, &count, &detector_ran, err);
    for (int i = 0; i < count && rc >= 0; i++) {
        attempt[i] = (bs_attempt){.look = {.roi = list[i].roi, .rules = &bs_rules_tasks},
                                  .status = list[i].score > 0 ? BS_DETECTED : BS_TRACKED,
                                  .score = list[i].score,
                                  .detector_ran = detector_ran};
        rc = bs_look_at(pose, view, &attempt[i].look, err);
        if (rc >= 0 && attempt[i].look.found)
            rc = bs_try_harder(pose, view, &attempt[i], &last, err);
    }
    count = rc < 0 ? 0 : keep_found(pose, attempt, count);
    if (rc >= 0 && !count) {
        attempt[0] = (bs_attempt){.look.rules = &bs_rules_tasks, .detector_ran = detector_ran};
        rc = bs_try_harder(pose, view, &attempt[0], &last, err);
        count = rc >= 0 && attempt[0].look.found;
    }
    if (rc < 0)
        return rc;

    bs_track seen[BS_MAX_PEOPLE];
    for (int i = 0; i < count; i++)
        seen[i] = (bs_track){.id = i, .roi = bs_roi_of_body(&attempt[i].look.body, view)};
    if (!pose->options.static_image_mode) {
        for (int i = 0; i < count; i++)
            seen[i].colors = bs_colors_of_body(pose, view, &attempt[i].look.body);
        bs_identify(pose, seen, count, view->time_us);
    }
    out->people = count;
    out->detector_ran = detector_ran;
    for (int i = 0; i < count; i++) {
        const bs_attempt *a = &attempt[i];
        out->person[i] = (bs_person){
            .id = seen[i].id, .status = a->status, .strategy = a->strategy, .detection_score = a->score};
        bs_person_fill(&out->person[i], &a->look, &seen[i].roi);
    }
    return BS_OK;
}
