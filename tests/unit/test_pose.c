/* pose: the arithmetic between pixels and landmarks, against the worked examples and test vectors of its source. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "pose/arctangent.h"
#include "pose/detector.h"
#include "pose/smooth.h"

/* -- regions ------------------------------------------------------------------------------------- */

static void a_detections_region_is_mediapipes_own_example(void **state)
{
    /* pose_expected_detection.pbtxt, pose_expected_expanded_rect.pbtxt: an image of 1000 × 667 */
    const bs_point hips = {0.49192297f, 0.7013345f}, scale = {0.48453212f, 0.32265595f};
    const bs_roi roi = bs_roi_expand(bs_roi_from_points(hips, scale, 1000, 667), 1000, 667);
    assert_float_equal(roi.x_center, 0.49192297f, 6e-8);
    assert_float_equal(roi.y_center, 0.7013345f, 6e-8);
    assert_float_equal(roi.width, 0.6317167f, 6e-8);
    assert_float_equal(roi.height, 0.9471016f, 6e-8);
    assert_float_equal(roi.rotation, -0.029253244f, 2e-9);
}

static void a_region_turns_with_its_points_and_stays_within_half_a_turn(void **state)
{
    const bs_point c = {0.5f, 0.5f};
    assert_float_equal(bs_roi_from_points(c, (bs_point){0.5f, 0.3f}, 100, 100).rotation, 0, 1e-6);
    assert_float_equal(bs_roi_from_points(c, (bs_point){0.7f, 0.5f}, 100, 100).rotation, M_PI / 2, 1e-6);
    assert_float_equal(bs_roi_from_points(c, (bs_point){0.3f, 0.5f}, 100, 100).rotation, -M_PI / 2, 1e-6);
    assert_float_equal(fabsf(bs_roi_from_points(c, (bs_point){0.5f, 0.7f}, 100, 100).rotation), M_PI, 1e-6);
}

/* glibc 2.36's atan2f on x86-64: six vectors whose last bit correct rounding would give otherwise, and a million more
 * as one FNV-1a hash of the bits. */
static void an_angle_has_the_bits_of_mediapipes_c_library(void **state)
{
    static const struct {
        float y, x, angle;
    } known[] = {{-107.000f, -19.125f, -0x1.bf6718p+0f},
                 {56.750f, 112.375f, 0x1.dede12p-2f},
                 {-33.250f, 108.250f, -0x1.312a1p-2f},
                 {123.875f, -120.875f, 0x1.2c0628p+1f},
                 {48.500f, 7.500f, 0x1.6ad8ecp+0f},
                 {-43.125f, 15.000f, -0x1.3c6e64p+0f},
                 {0, 3, 0},
                 {0, -3, 0x1.921fb6p+1f},
                 {-0.0f, -3, -0x1.921fb6p+1f},
                 {-2, 0, -0x1.921fb6p+0f}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        const float angle = bs_atan2f(known[i].y, known[i].x);
        assert_memory_equal(&angle, &known[i].angle, sizeof(angle));
    }
    uint64_t hash = 0xcbf29ce484222325;
    uint32_t random = 1;
    for (int i = 0; i < 1000000; i++) {
        float v[2];
        for (int k = 0; k < 2; k++) {
            random = random * 1664525 + 1013904223;
            v[k] = (float)(int32_t)random * 0x1p-21f;
        }
        const float angle = bs_atan2f(v[0], v[1]);
        uint32_t bits;
        memcpy(&bits, &angle, sizeof(bits));
        hash = (hash ^ bits) * 0x100000001b3;
    }
    assert_int_equal(hash, UINT64_C(0x78f749dc63336dfd));
}

static void a_region_without_size_is_not_usable(void **state)
{
    const bs_point p = {0.25f, 0.5f};
    const bs_roi none = bs_roi_from_points(p, p, 640, 480);
    const bs_roi lost = {.x_center = NAN, .y_center = 0, .width = 1, .height = 1};
    const bs_roi good = {.x_center = -3, .y_center = 0, .width = 1, .height = 1};
    assert_false(bs_roi_usable(&none));
    assert_false(bs_roi_usable(&lost));
    assert_true(bs_roi_usable(&good)); /* outside the picture is legal */
}

static void overlap_ignores_rotation(void **state)
{
    const bs_roi a = {0.5f, 0.5f, 0.2f, 0.4f, 0}, b = {0.6f, 0.5f, 0.2f, 0.4f, 1.5f},
                 far_off = {0.9f, 0.5f, 0.2f, 0.4f, 0};
    assert_float_equal(bs_roi_iou(&a, &a), 1, 1e-6);
    assert_float_equal(bs_roi_iou(&a, &b), 1.0 / 3, 1e-6);
    assert_float_equal(bs_roi_iou(&a, &far_off), 0, 0);
}

/* -- detector ------------------------------------------------------------------------------------ */

static void anchors_lie_in_three_grids(void **state)
{
    static const struct {
        int index;
        float x, y;
    } expected[] = {{0, 0.5f / 28, 0.5f / 28},      {1, 0.5f / 28, 0.5f / 28},    {2, 1.5f / 28, 0.5f / 28},
                    {1567, 27.5f / 28, 27.5f / 28}, {1568, 0.5f / 14, 0.5f / 14}, {1959, 13.5f / 14, 13.5f / 14},
                    {1960, 0.5f / 7, 0.5f / 7},     {1965, 0.5f / 7, 0.5f / 7},   {1966, 1.5f / 7, 0.5f / 7},
                    {2253, 6.5f / 7, 6.5f / 7}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        const bs_point p = bs_anchor(expected[i].index);
        assert_float_equal(p.x, expected[i].x, 0);
        assert_float_equal(p.y, expected[i].y, 0);
    }
}

static void a_box_at_the_threshold_is_kept_and_one_with_negative_size_dropped(void **state)
{
    float *boxes = calloc(BS_ANCHORS * 12, sizeof(float)), *logits = malloc(BS_ANCHORS * sizeof(float));
    bs_detection *out = malloc(BS_ANCHORS * sizeof(*out));
    for (int i = 0; i < BS_ANCHORS; i++)
        logits[i] = -200;
    logits[7] = 0; /* a score of exactly 0.5 */
    boxes[7 * 12 + 2] = boxes[7 * 12 + 3] = 44.8f;
    boxes[7 * 12 + 4] = 22.4f;
    logits[9] = 5;
    boxes[9 * 12 + 2] = -1;
    assert_int_equal(bs_detections_decode(boxes, logits, 0.5f, out), 1);
    const bs_point anchor = bs_anchor(7);
    assert_float_equal(out[0].score, 0.5, 0);
    assert_float_equal(out[0].width, 0.2, 1e-6);
    assert_float_equal(out[0].xmin, anchor.x - 0.1, 1e-6);
    assert_float_equal(out[0].keypoint[0].x, anchor.x + 0.1, 1e-6);
    assert_float_equal(out[0].keypoint[0].y, anchor.y, 1e-6);
    free(boxes);
    free(logits);
    free(out);
}

static bs_detection box(float score, float x, float y)
{
    return (bs_detection){.score = score, .xmin = x, .ymin = y, .width = 0.2f, .height = 0.2f, .keypoint = {{x, y}}};
}

static void overlapping_boxes_become_their_mean_weighted_by_score(void **state)
{
    bs_detection d[3] = {box(0.6f, 0.12f, 0.1f), box(0.7f, 0.7f, 0.7f), box(0.9f, 0.10f, 0.1f)};
    assert_int_equal(bs_detections_suppress(d, 3, 0.3f, 16), 2);
    assert_float_equal(d[0].score, 0.9, 1e-7);
    assert_float_equal(d[0].xmin, (0.9 * 0.10 + 0.6 * 0.12) / 1.5, 1e-6);
    assert_float_equal(d[0].keypoint[0].x, (0.9 * 0.10 + 0.6 * 0.12) / 1.5, 1e-6);
    assert_float_equal(d[1].score, 0.7, 1e-7);
    assert_float_equal(d[1].xmin, 0.7, 1e-6);
}

static void an_empty_box_ends_the_suppression(void **state)
{
    bs_detection d[2] = {box(0.9f, 0.1f, 0.1f), box(0.8f, 0.6f, 0.6f)};
    d[0].width = d[0].height = 0;
    assert_int_equal(bs_detections_suppress(d, 2, 0.3f, 16), 1);
    assert_float_equal(d[0].score, 0.9, 1e-7);
}

static void no_more_people_than_asked_for_come_out(void **state)
{
    bs_detection d[40];
    for (int i = 0; i < 40; i++)
        d[i] = box(0.5f + 0.01f * i, (float)i, 0);
    assert_int_equal(bs_detections_suppress(d, 40, 0.3f, 100), BS_MAX_PEOPLE);
    assert_float_equal(d[0].score, 0.89, 1e-6);
}

static void the_letterbox_is_taken_off_points_and_sizes(void **state)
{
    const bs_crop_region region = bs_region_of_picture(640, 480);
    assert_float_equal(region.width, 640, 0);
    assert_float_equal(region.height, 640, 0);
    assert_float_equal(region.pad_top, 0.125, 1e-7);
    assert_float_equal(region.pad_left, 0, 0);
    bs_detection d = {
        .xmin = 0.25f, .ymin = 0.125f, .width = 0.5f, .height = 0.75f, .keypoint = {{0.5f, 0.5f}, {0, 0.875f}}};
    bs_detections_unletterbox(&d, 1, region.pad_left, region.pad_top);
    assert_float_equal(d.ymin, 0, 1e-7);
    assert_float_equal(d.height, 1, 1e-6);
    assert_float_equal(d.xmin, 0.25, 1e-7);
    assert_float_equal(d.keypoint[0].y, 0.5, 1e-6);
    assert_float_equal(d.keypoint[1].y, 1, 1e-6);
}

/* -- landmarks ----------------------------------------------------------------------------------- */

typedef struct tensors {
    float landmarks[BS_MODEL_LANDMARKS * 5], heatmap[64 * 64 * BS_MODEL_LANDMARKS], world[BS_MODEL_LANDMARKS * 3];
} tensors;

static bs_body decode(const tensors *t, bs_roi roi, const bs_landmark_rules *rules)
{
    bs_body body;
    const bs_crop_region region = bs_region_of_roi(&roi, 1000, 500, rules->keep_aspect);
    bs_body_decode(&body, t->landmarks, t->heatmap, t->world, rules);
    bs_body_project(&body, &roi, &region);
    return body;
}

static void landmarks_are_refined_where_the_heatmap_is_sure_and_projected_by_the_region(void **state)
{
    tensors *t = calloc(1, sizeof(*t));
    const bs_roi roi = {0.5f, 0.5f, 0.25f, 0.5f, 0}; /* 250 pixels square */
    for (size_t i = 0; i < sizeof(t->heatmap) / sizeof(float); i++)
        t->heatmap[i] = -30;
    t->landmarks[0] = 128; /* landmark 0 in the middle, its heatmap sure of the cell 4 to the right of the middle */
    t->landmarks[1] = 128;
    t->landmarks[2] = 64;
    t->heatmap[(32 * 64 + 36) * BS_MODEL_LANDMARKS] = 30;
    t->landmarks[5] = 128; /* landmark 1 likewise, but unsure */
    t->landmarks[6] = 192;
    t->heatmap[(48 * 64 + 36) * BS_MODEL_LANDMARKS + 1] = -0.1f;
    t->world[0] = 1;

    const bs_body solution = decode(t, roi, &bs_rules_solution), tasks = decode(t, roi, &bs_rules_tasks);
    assert_float_equal(solution.landmark[0].x, 0.5 + (36 / 64.0 - 0.5) * 0.25, 1e-6);
    assert_float_equal(solution.landmark[0].y, 0.5, 1e-6);
    assert_float_equal(solution.landmark[0].z, 0.25 * 0.25, 1e-6);
    assert_float_equal(solution.landmark[1].x, 0.5, 1e-6);
    assert_float_equal(solution.landmark[1].y, 0.5 + 0.25 * 0.5, 1e-6);
    assert_float_equal(solution.landmark[1].visibility, 0.5, 0);
    assert_float_equal(tasks.landmark[0].x, 0.5, 1e-6); /* 4 cells away: outside the window of 7 × 7 */
    assert_float_equal(solution.world[0].x, 1, 0);

    bs_roi turned = roi;
    turned.rotation = (float)(M_PI / 2);
    const bs_body body = decode(t, turned, &bs_rules_solution);
    assert_float_equal(body.landmark[0].x, 0.5, 1e-6);
    assert_float_equal(body.landmark[0].y, 0.5 + (36 / 64.0 - 0.5) * 0.5, 1e-6);
    assert_float_equal(body.world[0].x, 0, 1e-6);
    assert_float_equal(body.world[0].y, 1, 1e-6);
    free(t);
}

/* -- smoothing ----------------------------------------------------------------------------------- */

static const float inputs[7] = {100, 100.5f, 103, 110, 110, 109.5f, 90};

static void assert_filter(float cutoff, float beta, float scale, float unit, const float expected[7])
{
    static bs_one_euro f;
    bs_one_euro_init(&f, cutoff, beta, 1.0f);
    for (int i = 0; i < 7; i++) {
        float v = inputs[i] / unit;
        bs_one_euro_next(&f, 33333000LL * (i + 1), scale, &v, 1);
        assert_float_equal(v, expected[i], expected[i] * 1e-8); /* the same float */
    }
}

static void one_euro_filters_give_mediapipes_numbers(void **state)
{
    static const float image[7] = {100, 100.053284f, 101.208099f, 107.124901f, 108.936485f, 109.255142f, 94.59935f};
    static const float aux[7] = {100, 100.007729f, 100.232819f, 102.236122f, 103.60318f, 104.431664f, 100.314987f};
    static const float world[7] = {0.100000001f, 0.100020483f, 0.100404017f, 0.103291586f,
                                   0.105065629f, 0.106033303f, 0.0996810943f};
    assert_filter(0.05f, 80, 1.0f / 400, 1, image);
    assert_filter(0.01f, 10, 1.0f / 400, 1, aux);
    assert_filter(0.1f, 40, 1, 1000, world);
}

static void visibility_filter_gives_mediapipes_numbers(void **state)
{
    static const float in[5] = {0.9f, 0.9f, 0.2f, 0.2f, 1.0f};
    static const float out[5] = {0.899999976f, 0.899999976f, 0.829999983f, 0.76699996f, 0.790299952f};
    bs_low_pass f = {0};
    for (int i = 0; i < 5; i++)
        assert_float_equal(bs_low_pass_next(&f, in[i], 0.1f), out[i], 1e-9);
}

static void a_time_that_does_not_advance_changes_nothing(void **state)
{
    static bs_one_euro f;
    float v = 5;
    bs_one_euro_init(&f, 0.05f, 80, 1);
    bs_one_euro_next(&f, 1000, 1, &v, 1);
    v = 9;
    bs_one_euro_next(&f, 1000, 1, &v, 1);
    assert_float_equal(v, 9, 0);
    bs_one_euro_next(&f, 500, 1, &v, 1);
    assert_float_equal(v, 9, 0);
}

static bs_body body_at(float x, float visibility)
{
    bs_body b = {.presence = 1};
    for (int i = 0; i < BS_BODY_LANDMARKS; i++)
        b.landmark[i] = (bs_landmark){x, 0.5f, 0, visibility, 1};
    b.landmark[BS_AUX_SCALE].y = 0.2f;
    for (int i = 0; i < BS_LANDMARKS; i++)
        b.world[i].x = x;
    return b;
}

static void after_a_gap_coordinates_start_anew_but_world_and_visibility_go_on(void **state)
{
    static bs_smoother s;
    bs_smoother_init(&s, true);
    bs_body b = body_at(0.2f, 0);
    bs_smoother_next(&s, &b, 33333, 400, 400);
    bs_smoother_miss(&s);
    b = body_at(0.6f, 1);
    bs_smoother_next(&s, &b, 66666, 400, 400);
    assert_float_equal(b.landmark[0].x, 0.6, 1e-6);
    assert_float_equal(b.landmark[BS_AUX_HIPS].x, 0.6, 1e-6);
    assert_float_equal(b.landmark[0].visibility, 0.1, 1e-6);
    assert_true(b.world[0].x < 0.59f && b.world[0].x > 0.2f);
}

static void without_smoothing_only_the_next_regions_points_are_smoothed(void **state)
{
    static bs_smoother s;
    bs_smoother_init(&s, false);
    bs_body b = body_at(0.2f, 0);
    bs_smoother_next(&s, &b, 33333, 400, 400);
    b = body_at(0.21f, 1);
    bs_smoother_next(&s, &b, 66666, 400, 400);
    assert_float_equal(b.landmark[0].x, 0.21, 1e-6);
    assert_float_equal(b.landmark[0].visibility, 1, 0);
    assert_float_equal(b.world[0].x, 0.21f, 0);
    assert_true(b.landmark[BS_AUX_HIPS].x < 0.2099f);
}

/* -- names and options --------------------------------------------------------------------------- */

static void names_are_mediapipes_in_lower_case(void **state)
{
    assert_string_equal(bs_landmark_name(0), "nose");
    assert_string_equal(bs_landmark_name(9), "mouth_left");
    assert_string_equal(bs_landmark_name(32), "right_foot_index");
    assert_string_equal(bs_landmark_name(33), "unknown");
    assert_string_equal(bs_landmark_name(-1), "unknown");
    assert_string_equal(bs_model_name(BS_MODEL_HEAVY), "heavy");
    assert_string_equal(bs_mode_name(BS_MODE_QUALITY), "quality");
    assert_string_equal(bs_strategy_name(BS_STRATEGY_LOWER_ENHANCED), "lower_enhanced");
    assert_string_equal(bs_strategy_name(BS_STRATEGY_TILED), "tiled");
    assert_string_equal(bs_person_status_name(BS_TRACKED), "tracked");
}

static void connections_join_landmarks_that_exist_and_none_twice(void **state)
{
    for (int i = 0; i < BS_CONNECTIONS; i++) {
        assert_true(bs_connections[i][0] < bs_connections[i][1] && bs_connections[i][1] < BS_LANDMARKS);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(bs_connections[i], bs_connections[j], 2);
    }
}

static void a_folder_without_models_is_named_in_one_sentence(void **state)
{
    bs_models *models = NULL;
    bs_error err = {0};
    assert_int_equal(bs_models_open(&models, "/nowhere/at/all", BS_MODEL_ALL, &err), BS_ERR_INPUT);
    assert_null(models);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_int_equal(bs_models_open(&models, NULL, 0, &err), BS_ERR_USAGE);
    bs_models_close(&models);
}

static void options_out_of_their_range_are_refused_by_name(void **state)
{
    bs_pose_options wrong[7];
    static const char *const names[7] = {
        "num_people", "num_people", "model_complexity", "min_detection_confidence", "min_tracking_confidence",
        "threads",    "mode"};
    for (int i = 0; i < 7; i++)
        wrong[i] = bs_pose_defaults();
    wrong[0].num_people = 0;
    wrong[1].num_people = BS_MAX_PEOPLE + 1;
    wrong[2].model_complexity = BS_MODEL_KINDS;
    wrong[3].min_detection_confidence = NAN;
    wrong[4].min_tracking_confidence = 1.5f;
    wrong[5].threads = -1;
    wrong[6].mode = (bs_mode)99;
    for (int i = 0; i < 7; i++) {
        bs_pose *pose = NULL;
        bs_error err = {0};
        assert_int_equal(bs_pose_open(&pose, NULL, &wrong[i], &err), BS_ERR_USAGE);
        assert_null(pose);
        assert_non_null(strstr(err.text, names[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_detections_region_is_mediapipes_own_example),
        cmocka_unit_test(a_region_turns_with_its_points_and_stays_within_half_a_turn),
        cmocka_unit_test(an_angle_has_the_bits_of_mediapipes_c_library),
        cmocka_unit_test(a_region_without_size_is_not_usable),
        cmocka_unit_test(overlap_ignores_rotation),
        cmocka_unit_test(anchors_lie_in_three_grids),
        cmocka_unit_test(a_box_at_the_threshold_is_kept_and_one_with_negative_size_dropped),
        cmocka_unit_test(overlapping_boxes_become_their_mean_weighted_by_score),
        cmocka_unit_test(an_empty_box_ends_the_suppression),
        cmocka_unit_test(no_more_people_than_asked_for_come_out),
        cmocka_unit_test(the_letterbox_is_taken_off_points_and_sizes),
        cmocka_unit_test(landmarks_are_refined_where_the_heatmap_is_sure_and_projected_by_the_region),
        cmocka_unit_test(one_euro_filters_give_mediapipes_numbers),
        cmocka_unit_test(visibility_filter_gives_mediapipes_numbers),
        cmocka_unit_test(a_time_that_does_not_advance_changes_nothing),
        cmocka_unit_test(after_a_gap_coordinates_start_anew_but_world_and_visibility_go_on),
        cmocka_unit_test(without_smoothing_only_the_next_regions_points_are_smoothed),
        cmocka_unit_test(names_are_mediapipes_in_lower_case),
        cmocka_unit_test(connections_join_landmarks_that_exist_and_none_twice),
        cmocka_unit_test(a_folder_without_models_is_named_in_one_sentence),
        cmocka_unit_test(options_out_of_their_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
