/* Several people, by the rules of MediaPipe Tasks' PoseLandmarker (blazepose.md section 17; pose_landmarker_graph.cc):
 * the detector runs on every picture on which fewer than num_people are tracked, a detection replaces the tracked
 * region that it overlaps, and nothing is smoothed.
 *
 * Tasks' list order is no identity. Here a region that replaces another takes over its id, so that an id stays
 * with its person for as long as the person is tracked, and whoever is found again within a second about where they
 * were lost has their id back. Else an id is never given twice. Of two looks that led to one and the same body the one
 * with the older id is kept. */
#include <math.h>
#include <string.h>

#include "pose/tries.h"

/* Tasks' defaults: of its detector's suppression, and of the association (its min_tracking_confidence). */
static const float nms_iou = 0.5f, association_iou = 0.5f;

/* How long an id waits for its person, and how much of the regions must overlap then. */
static const int64_t id_waits_us = 1000000;
static const float same_place_iou = 0.3f;
/* Two bodies are one where their landmarks lie this near in the mean, as a share of the region's side. */
static const float same_body = 0.05f;

typedef struct candidate {
    int id;      /* -1: not seen before */
    float score; /* of the detector; 0 where tracked */
    bs_roi roi;
} candidate;

/* The id of a region that takes another one's place: a detection has that of the track that it overlaps most;
 * where two tracks have come to lie on one person, the older one stays. */
static int inherited_id(const candidate *c, const candidate *replaced, bool overlaps_most)
{
    if (replaced->id < 0)
        return c->id;
    if (c->score > 0)
        return overlaps_most ? replaced->id : c->id;
    return replaced->id < c->id ? replaced->id : c->id;
}

/* Appends `c` and drops the earlier candidates that it overlaps.
 * Source: association_calculator.h, association_norm_rect_calculator.cc. */
static int associate(candidate *list, int count, candidate c)
{
    int kept = 0;
    float most = association_iou;
    for (int i = 0; i < count; i++) {
        const float iou = bs_roi_iou(&list[i].roi, &c.roi);
        if (!(iou > association_iou)) {
            list[kept++] = list[i];
            continue;
        }
        c.id = inherited_id(&c, &list[i], iou > most);
        most = iou > most ? iou : most;
    }
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
        n = associate(list, n, (candidate){.id = pose->track[i].id, .roi = pose->track[i].roi});
    for (int i = 0; i < detections; i++) {
        const candidate c = {-1, pose->detections[i].score, bs_roi_of_detection(&pose->detections[i], view)};
        if (pose->options.static_image_mode) /* no history: only cut to num_people */
            list[n++] = c;
        else
            n = associate(list, n, c);
    }
    *count = n < pose->options.num_people ? n : pose->options.num_people;
    return BS_OK;
}

static bool any_found(const bs_attempt *attempt, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any |= attempt[i].look.found;
    return any;
}

/* Puts aside the tracks of the last picture that nobody continues. */
static void remember_lost(bs_pose *pose, const bs_pose_result *out, int64_t time_us)
{
    int kept = 0;
    for (int i = 0; i < pose->lost_tracks; i++)
        if (time_us - pose->lost[i].time_us <= id_waits_us)
            pose->lost[kept++] = pose->lost[i];
    pose->lost_tracks = kept;
    for (int i = 0; i < pose->tracks; i++) {
        bool goes_on = false;
        for (int k = 0; k < out->people; k++)
            goes_on |= out->person[k].id == pose->track[i].id;
        if (goes_on)
            continue;
        if (pose->lost_tracks == BS_MAX_PEOPLE) /* the oldest gives way */
            memmove(pose->lost, pose->lost + 1, (size_t)--pose->lost_tracks * sizeof(pose->lost[0]));
        pose->lost[pose->lost_tracks++] = (bs_lost_track){pose->track[i], pose->tracks_us};
    }
}

/* The id of somebody new: their old one where they were lost here a moment ago. */
static int new_id(bs_pose *pose, const bs_roi *roi, int64_t time_us)
{
    int best = -1;
    float most = same_place_iou;
    for (int i = 0; i < pose->lost_tracks; i++) {
        const float iou = bs_roi_iou(&pose->lost[i].track.roi, roi);
        if (iou > most && time_us - pose->lost[i].time_us <= id_waits_us) {
            best = i;
            most = iou;
        }
    }
    if (best < 0)
        return pose->next_id++;
    const int id = pose->lost[best].track.id;
    pose->lost[best] = pose->lost[--pose->lost_tracks];
    return id;
}

static bool is_same_body(const bs_body *a, const bs_body *b, const bs_roi *roi)
{
    float sum = 0;
    for (int k = 0; k < BS_LANDMARKS; k++)
        sum += hypotf((a->landmark[k].x - b->landmark[k].x) / roi->width,
                      (a->landmark[k].y - b->landmark[k].y) / roi->height);
    return sum < same_body * BS_LANDMARKS;
}

/* Whether another look, with an older id or an earlier one, led to the same body. */
static bool is_repeated(const candidate *list, const bs_attempt *attempt, int count, int which)
{
    for (int i = 0; i < count; i++) {
        const bool older = list[i].id >= 0 && (list[which].id < 0 || list[i].id < list[which].id);
        const bool earlier = list[i].id < 0 && list[which].id < 0 && i < which;
        if ((older || earlier) && attempt[i].look.found &&
            is_same_body(&attempt[i].look.body, &attempt[which].look.body, &attempt[which].look.roi))
            return true;
    }
    return false;
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
    if (rc >= 0 && !any_found(attempt, count)) {
        list[0] = (candidate){.id = -1};
        attempt[0] = (bs_attempt){.look.rules = &bs_rules_tasks, .detector_ran = detector_ran};
        count = 1;
        rc = bs_try_harder(pose, view, &attempt[0], &last, err);
    }
    if (rc < 0)
        return rc;

    bs_track next_tracks[BS_MAX_PEOPLE];
    out->people = 0;
    out->detector_ran = detector_ran;
    if (pose->options.static_image_mode)
        pose->next_id = 0;
    for (int i = 0; i < count; i++) {
        const bs_attempt *a = &attempt[i];
        if (!a->look.found || (!pose->options.static_image_mode && is_repeated(list, attempt, count, i)))
            continue;
        const bs_roi next = bs_roi_of_body(&a->look.body, view);
        bs_person *p = &out->person[out->people++];
        *p = (bs_person){.id = list[i].id >= 0 ? list[i].id : new_id(pose, &a->look.roi, view->time_us),
                         .status = a->status,
                         .strategy = a->strategy,
                         .detection_score = a->score};
        bs_person_fill(p, &a->look, &next);
        next_tracks[out->people - 1] = (bs_track){p->id, next};
    }
    if (pose->options.static_image_mode)
        return BS_OK;
    remember_lost(pose, out, view->time_us);
    pose->tracks = out->people;
    memcpy(pose->track, next_tracks, (size_t)out->people * sizeof(pose->track[0]));
    pose->tracks_us = view->time_us;
    return BS_OK;
}
