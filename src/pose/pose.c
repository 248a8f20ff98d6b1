/* pose: one person's way from pixels to landmarks (see bodyscript/pose.h).
 *
 *   crop.c, crop_kernels.c   a rotated square of any picture as a network's input
 *   detector.c               from the detector's outputs to people
 *   roi.c                    from two points of a person to the region that is looked at
 *   landmarks.c              from the landmark model's outputs to 33 landmarks, and the next region's two points
 *   smooth.c                 the filters over time
 *   mask.c                   the segmentation mask
 *   enhance.c                a crop made easier to see
 *   tries.c                  the extra tries of the modes smart and quality
 *   tracker_one.c            the loop of mp.solutions.pose: one person
 *   tracker_many.c           the loop of MediaPipe Tasks: several people
 *   identity.c               who is who among them
 *   models.c, names.c        the mapped files; names
 * and here: opening, closing, and the two steps that the loops are made of. */
#include <stdlib.h>
#include <string.h>

#include "pose/engine.h"
#include "pose/enhance.h"
#include "pose/mask.h"
#include "pose/tries.h"

bs_pose_options bs_pose_defaults(void)
{
    return (bs_pose_options){
        .static_image_mode = false,
        .model_complexity = BS_MODEL_FULL,
        .smooth_landmarks = true,
        .enable_segmentation = false,
        .smooth_segmentation = true,
        .min_detection_confidence = 0.5f,
        .min_tracking_confidence = 0.5f,
        .num_people = 1,
        .mode = BS_MODE_FAST,
        .threads = 1,
        .isa = NULL,
        .drop_weights = false,
    };
}

static bs_status check_options(const bs_pose_options *o, bs_error *err)
{
    if (o->model_complexity < 0 || o->model_complexity >= BS_MODEL_KINDS)
        return bs_fail(err, BS_ERR_USAGE, "model_complexity is %d: it must be 0 (lite), 1 (full) or 2 (heavy)",
                       o->model_complexity);
    if (!(o->min_detection_confidence >= 0 && o->min_detection_confidence <= 1) ||
        !(o->min_tracking_confidence >= 0 && o->min_tracking_confidence <= 1))
        return bs_fail(err, BS_ERR_USAGE, "min_detection_confidence and min_tracking_confidence must be 0 to 1");
    if (o->num_people < 1 || o->num_people > BS_MAX_PEOPLE)
        return bs_fail(err, BS_ERR_USAGE, "num_people is %d: it must be 1 to %d", o->num_people, BS_MAX_PEOPLE);
    if ((unsigned)o->mode > BS_MODE_QUALITY)
        return bs_fail(err, BS_ERR_USAGE, "mode is %d: it must be one of bs_mode", (int)o->mode);
    if (o->threads < 0)
        return bs_fail(err, BS_ERR_USAGE, "threads is %d: it must be 1 or more", o->threads);
    if (o->enable_segmentation && o->num_people > 1)
        return bs_fail(err, BS_ERR_USAGE, "a segmentation mask is of one person: num_people must be 1");
    return BS_OK;
}

bs_status bs_pose_open(bs_pose **out, const bs_models *models, const bs_pose_options *options, bs_error *err)
{
    bs_status rc = check_options(options, err);
    if (rc < 0)
        return rc;
    const bs_nn_model *landmark = bs_models_landmark(models, (bs_model_kind)options->model_complexity);
    if (!landmark)
        return bs_fail(err, BS_ERR_USAGE, "the model '%s' was not asked for when the models were opened",
                       bs_model_name((bs_model_kind)options->model_complexity));

    bs_pose *p = calloc(1, sizeof(*p));
    if (!p)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the pose engine");
    p->options = *options;
    if (options->isa) {
        strncpy(p->isa, options->isa, sizeof(p->isa) - 1);
        p->options.isa = p->isa;
    }
    p->kernels = bs_crop_kernels_for(p->options.isa);

    rc = bs_nn_arena_open(&p->arena, err);
    if (rc < 0)
        goto out;
    const bs_nn_options detector_options = {
        .threads = options->threads, .isa = p->options.isa, .arena = p->arena, .drop_weights = options->drop_weights};
    const bs_nn_options landmark_options = {
        .outputs = 1u << BS_OUT_LANDMARKS | 1u << BS_OUT_PRESENCE | 1u << BS_OUT_HEATMAP | 1u << BS_OUT_WORLD |
                   (options->enable_segmentation ? 1u << BS_OUT_MASK : 0),
        .threads = options->threads,
        .isa = p->options.isa,
        .arena = p->arena,
        .drop_weights = options->drop_weights,
    };
    rc = bs_nn_open(&p->detector, bs_models_detector(models), &detector_options, err);
    if (rc >= 0)
        rc = bs_nn_open(&p->landmark, landmark, &landmark_options, err);
    if (rc < 0)
        goto out;
    p->detections = malloc(BS_ANCHORS * sizeof(*p->detections));
    if (options->enable_segmentation)
        p->mask_scratch = malloc(BS_LANDMARK_SIZE * BS_LANDMARK_SIZE * sizeof(*p->mask_scratch));
    if (!p->detections || (options->enable_segmentation && !p->mask_scratch)) {
        rc = bs_fail(err, BS_ERR_NOMEM, "no memory for the pose engine");
        goto out;
    }
    bs_pose_reset(p);
    *out = p;
    p = NULL;
out:
    bs_pose_close(&p);
    return rc;
}

void bs_pose_close(bs_pose **pose)
{
    if (!pose || !*pose)
        return;
    bs_pose *p = *pose;
    bs_nn_close(&p->detector);
    bs_nn_close(&p->landmark);
    bs_nn_arena_close(&p->arena);
    free(p->detections);
    free(p->mask);
    free(p->mask_scratch);
    free(p);
    *pose = NULL;
}

void bs_pose_reset(bs_pose *pose)
{
    pose->last_us = -1;
    pose->tracks = 0;
    pose->lost_tracks = 0;
    pose->next_id = 0;
    pose->tries_left = BS_TRIES_MOST;
    pose->next_way = 0;
    pose->seen_clearly = false;
    bs_smoother_init(&pose->smoother, pose->options.smooth_landmarks && !pose->options.static_image_mode);
    pose->has_mask = false;
}

size_t bs_pose_memory(const bs_pose *pose)
{
    size_t bytes = sizeof(*pose) + bs_nn_memory(pose->detector) + bs_nn_memory(pose->landmark) +
                   bs_nn_arena_memory(pose->arena);
    bytes += BS_ANCHORS * sizeof(*pose->detections) + pose->mask_room * sizeof(*pose->mask);
    if (pose->mask_scratch)
        bytes += BS_LANDMARK_SIZE * BS_LANDMARK_SIZE * sizeof(*pose->mask_scratch);
    return bytes;
}

const char *bs_pose_isa(const bs_pose *pose)
{
    return bs_nn_isa(pose ? pose->landmark : NULL);
}

const float *bs_pose_segmentation_mask(const bs_pose *pose)
{
    return pose->has_mask ? pose->mask : NULL;
}

/* The filters divide by the time between two pictures, in nanoseconds. */
static bs_status check_time(const bs_pose *pose, int64_t time_us, bs_error *err)
{
    if (pose->options.static_image_mode || (time_us > pose->last_us && time_us <= INT64_MAX / 1000))
        return BS_OK;
    if (pose->last_us < 0)
        return bs_fail(err, BS_ERR_USAGE, "the picture's time is %lld us: it must be 0 to %lld", (long long)time_us,
                       (long long)(INT64_MAX / 1000));
    return bs_fail(err, BS_ERR_USAGE, "the picture's time is %lld us: it must be after the last one's, %lld us",
                   (long long)time_us, (long long)pose->last_us);
}

bs_status bs_pose_process(bs_pose *pose, const bs_image *image, int64_t time_us, bs_pose_result *out, bs_error *err)
{
    bs_status rc = bs_image_check(image, err);
    if (rc >= 0)
        rc = check_time(pose, time_us, err);
    if (rc < 0)
        return rc;
    const bs_view view = {image, bs_image_displayed_width(image), bs_image_displayed_height(image), time_us};
    pose->has_mask = false;
    bs_tries_refill(pose);
    rc = (pose->options.num_people > 1 ? bs_process_many : bs_process_one)(pose, &view, out, err);
    if (rc >= 0)
        pose->last_us = time_us;
    return rc;
}

/* -- the two steps ------------------------------------------------------------------------------- */

/* The detector's values are -1 to 1; the enhancements' 0 to 1. */
static void enhance_detector_input(float *pixels, bs_strategy enhancement)
{
    const int n = 3 * BS_DETECTOR_SIZE * BS_DETECTOR_SIZE;
    if (enhancement == BS_STRATEGY_ORIGINAL)
        return;
    for (int i = 0; i < n; i++)
        pixels[i] = 0.5f * pixels[i] + 0.5f;
    if (enhancement == BS_STRATEGY_CLAHE)
        bs_enhance_clahe(pixels, BS_DETECTOR_SIZE);
    else
        bs_enhance_bright(pixels, BS_DETECTOR_SIZE);
    for (int i = 0; i < n; i++)
        pixels[i] = 2.0f * pixels[i] - 1.0f;
}

/* From fractions of an upright part of the picture to fractions of the picture. */
static void map_points(bs_detection *detections, int count, const bs_crop_region *part, const bs_view *view)
{
    for (bs_detection *d = detections; d < detections + count; d++) {
        for (int k = 0; k < BS_DETECTOR_KEYPOINTS; k++) {
            bs_point *p = &d->keypoint[k];
            p->x = (part->cx + (p->x - 0.5f) * part->width) / (float)view->width;
            p->y = (part->cy + (p->y - 0.5f) * part->height) / (float)view->height;
        }
    }
}

bs_status bs_detect(bs_pose *pose, const bs_view *view, const bs_crop_region *region, bs_strategy enhancement,
                    float iou_threshold, int max, int *count, bs_error *err)
{
    const bs_crop_region whole = bs_region_of_picture(view->width, view->height);
    float *input = bs_nn_input(pose->detector);
    bs_crop(view->image, region ? region : &whole, BS_CROP_DETECTOR, pose->kernels, input);
    enhance_detector_input(input, enhancement);
    const bs_status rc = bs_nn_run(pose->detector, err);
    if (rc < 0)
        return rc;
    int n = bs_detections_decode(bs_nn_output(pose->detector, 0), bs_nn_output(pose->detector, 1),
                                 pose->options.min_detection_confidence, pose->detections);
    n = bs_detections_suppress(pose->detections, n, iou_threshold, max);
    if (region)
        map_points(pose->detections, n, region, view);
    else
        bs_detections_unletterbox(pose->detections, n, whole.pad_left, whole.pad_top);
    *count = n;
    return BS_OK;
}

bs_roi bs_roi_of_detection(const bs_detection *d, const bs_view *view)
{
    const bs_roi raw = bs_roi_from_points(d->keypoint[0], d->keypoint[1], view->width, view->height);
    return bs_roi_expand(raw, view->width, view->height);
}

bs_roi bs_roi_of_body(const bs_body *body, const bs_view *view)
{
    const bs_landmark *hips = &body->landmark[BS_AUX_HIPS], *scale = &body->landmark[BS_AUX_SCALE];
    const bs_roi raw = bs_roi_from_points((bs_point){hips->x, hips->y}, (bs_point){scale->x, scale->y}, view->width,
                                          view->height);
    return bs_roi_expand(raw, view->width, view->height);
}

static void enhance_landmark_input(float *pixels, bs_strategy enhancement)
{
    static void (*const enhance[])(float *, int) = {
        [BS_STRATEGY_CLAHE] = bs_enhance_clahe,
        [BS_STRATEGY_BRIGHT] = bs_enhance_bright,
        [BS_STRATEGY_MIRRORED] = bs_enhance_mirror,
        [BS_STRATEGY_LOWER_ENHANCED] = bs_enhance_lower,
    };
    if (enhancement != BS_STRATEGY_ORIGINAL)
        enhance[enhancement](pixels, BS_LANDMARK_SIZE);
}

bs_status bs_look_at(bs_pose *pose, const bs_view *view, bs_look *look, bs_error *err)
{
    look->found = false;
    look->body.presence = 0;
    if (!bs_roi_usable(&look->roi))
        return BS_OK;
    const bs_crop_region region = bs_region_of_roi(&look->roi, view->width, view->height, look->rules->keep_aspect);
    float *input = bs_nn_input(pose->landmark);
    bs_crop(view->image, &region, BS_CROP_LANDMARK, pose->kernels, input);
    enhance_landmark_input(input, look->enhancement);
    const bs_status rc = bs_nn_run(pose->landmark, err);
    if (rc < 0)
        return rc;
    bs_body *body = &look->body;
    body->presence = *bs_nn_output(pose->landmark, BS_OUT_PRESENCE);
    look->found = body->presence > pose->options.min_tracking_confidence;
    if (!look->found)
        return BS_OK;
    bs_body_decode(body, bs_nn_output(pose->landmark, BS_OUT_LANDMARKS), bs_nn_output(pose->landmark, BS_OUT_HEATMAP),
                   bs_nn_output(pose->landmark, BS_OUT_WORLD), look->rules);
    if (look->enhancement == BS_STRATEGY_MIRRORED)
        bs_body_unmirror(body);
    bs_body_project(body, &look->roi, &region);
    return BS_OK;
}

/* The mask's room for a picture of so many pixels, the old one where it is large enough. */
static bs_status make_room(bs_pose *pose, const bs_view *view, bs_error *err)
{
    const size_t pixels = (size_t)view->width * (size_t)view->height;
    if (pixels <= pose->mask_room)
        return BS_OK;
    free(pose->mask);
    pose->mask = malloc(pixels * sizeof(*pose->mask));
    pose->mask_room = pose->mask ? pixels : 0;
    if (!pose->mask)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for a segmentation mask of %d x %d", view->width, view->height);
    return BS_OK;
}

bs_status bs_make_mask(bs_pose *pose, const bs_view *view, const bs_look *look, bool last, bs_error *err)
{
    if (!pose->options.enable_segmentation)
        return BS_OK;
    bs_status rc = make_room(pose, view, err);
    if (rc >= 0 && (!last || look->enhancement == BS_STRATEGY_MIRRORED)) {
        bs_look again = *look; /* a mask of the mirrored crop would lie the wrong way round */
        again.enhancement = look->enhancement == BS_STRATEGY_MIRRORED ? BS_STRATEGY_ORIGINAL : look->enhancement;
        rc = bs_look_at(pose, view, &again, err);
    }
    if (rc < 0)
        return rc;
    pose->has_mask = true;
    const bs_crop_region region = bs_region_of_roi(&look->roi, view->width, view->height, look->rules->keep_aspect);
    bs_mask_warp(bs_nn_output(pose->landmark, BS_OUT_MASK), &region, view->width, view->height, pose->mask_scratch,
                 pose->mask);
    return BS_OK;
}

void bs_person_fill(bs_person *p, const bs_look *look, const bs_roi *next_roi)
{
    p->presence = look->body.presence;
    p->roi = look->roi;
    p->next_roi = *next_roi;
    memcpy(p->landmark, look->body.landmark, sizeof(p->landmark));
    memcpy(p->world, look->body.world, sizeof(p->world));
}
