/* pipeline: hand-offs are bounded and end, and the statistics say what is true of the numbers. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "pipeline/plan.h"
#include "pipeline/queue.h"
#include "pipeline/statistics.h"

/* -- queues ------------------------------------------------------------------------------------------ */

enum { ITEMS = 10000, CAPACITY = 3 };

static int dropped;

static void drop(void *item)
{
    dropped++;
}

static void *produce(void *opaque)
{
    for (intptr_t i = 1; i <= ITEMS; i++)
        if (!bs_queue_push(opaque, (void *)i))
            break;
    bs_queue_close(opaque);
    return NULL;
}

static void keeps_order(int capacity)
{
    bs_queue queue;
    pthread_t thread;
    intptr_t expected = 1;
    bs_queue_init(&queue, capacity, drop);
    pthread_create(&thread, NULL, produce, &queue);
    for (void *item; (item = bs_queue_pop(&queue)); expected++)
        assert_int_equal((intptr_t)item, expected);
    assert_int_equal(expected, ITEMS + 1);
    pthread_join(thread, NULL);
    bs_queue_release(&queue);
}

static void a_queue_keeps_its_order_and_ends(void **state)
{
    keeps_order(CAPACITY);
    keeps_order(0);
}

static void *push_two(void *opaque)
{
    bs_queue_push(opaque, (void *)1);
    bs_queue_push(opaque, (void *)2);
    return NULL;
}

static void a_queue_of_no_length_has_its_writer_wait_until_the_item_is_taken(void **state)
{
    bs_queue queue;
    pthread_t thread;
    dropped = 0;
    bs_queue_init(&queue, 0, drop);
    pthread_create(&thread, NULL, push_two, &queue);
    assert_int_equal((intptr_t)bs_queue_pop(&queue), 1);
    bs_queue_stop(&queue); /* the second one is there or will be refused: never is there a third */
    pthread_join(thread, NULL);
    bs_queue_release(&queue);
    assert_int_equal(dropped, 1);
}

static void a_queue_that_is_stopped_drops_what_nobody_took(void **state)
{
    bs_queue queue;
    pthread_t thread;
    dropped = 0;
    bs_queue_init(&queue, CAPACITY, drop);
    pthread_create(&thread, NULL, produce, &queue); /* ends only because it is stopped */
    assert_non_null(bs_queue_pop(&queue));
    bs_queue_stop(&queue);
    assert_null(bs_queue_pop(&queue));
    pthread_join(thread, NULL);
    bs_queue_release(&queue);
    assert_in_range(dropped, 1, CAPACITY + 2); /* what waited, and what was refused: never more than it may hold */
}

static void the_overlay_waits_for_a_bounded_number_of_frames(void **state)
{
    assert_int_equal(bs_plan_glide(3), 3);
    assert_int_equal(bs_plan_glide(10000), BS_PLAN_GLIDE);
    assert_true(bs_plan_canvas_queue(10000, false) <= BS_QUEUE_MAX);
    assert_true(bs_plan_canvas_queue(1, false) > bs_plan_glide(1));
    assert_int_equal(bs_plan_canvas_frames(3, true), 5);
    assert_int_equal(bs_plan_source_frames(bs_plan_pose_queue(true, 1000)), 2);
    assert_int_equal(bs_plan_source_frames(bs_plan_pose_queue(false, 1920 * 1088 * 3 / 2)), 3);
    assert_int_equal(bs_plan_source_frames(bs_plan_pose_queue(false, 3840 * 2160 * 3 / 2)), 2);
}

/* -- statistics -------------------------------------------------------------------------------------- */

static bs_statistics statistics;
static bs_pose_result result;

/* Somebody who stands upright: shoulders, hips and feet in a row below each other, left at larger x. */
static void stand(float x, float y)
{
    memset(&result, 0, sizeof(result));
    result.people = 1;
    result.person[0].status = BS_TRACKED;
    for (int i = 0; i < BS_LANDMARKS; i++) {
        bs_landmark *l = &result.person[0].landmark[i];
        float down = i < BS_LEFT_SHOULDER ? 0
                     : i < BS_LEFT_HIP    ? 0.1f
                     : i < BS_LEFT_KNEE   ? 0.3f
                     : i < BS_LEFT_ANKLE  ? 0.4f
                                          : 0.5f;
        *l = (bs_landmark){x + (i % 2 ? 0.05f : -0.05f), y + down, 0, 0.9f, 1};
    }
}

static bs_summary sum_up_after(bs_mode mode, int model, int interval)
{
    bs_summary summary = {0};
    bs_process_options options = bs_process_defaults();
    options.mode = mode;
    options.model = model;
    options.interval = interval;
    bs_statistics_finish(&statistics, &options, &summary);
    return summary;
}

static bs_summary sum_up(void)
{
    return sum_up_after(BS_MODE_FAST, -1, 0);
}

static void found_and_missing_frames_add_up(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    stand(0.5f, 0.2f);
    for (int i = 0; i < 9; i++)
        bs_statistics_add(&statistics, &result, i * 100000);
    result.people = 0;
    bs_statistics_add(&statistics, &result, 900000);
    bs_summary s = sum_up();
    assert_int_equal(s.frames_analysed, 10);
    assert_int_equal(s.frames_tracked, 9);
    assert_int_equal(s.frames_missing, 1);
    assert_true(s.detection_rate == 0.9);
    assert_float_equal(s.average_quality, 0.9, 1e-6);
    assert_int_equal(s.landmarks_outside, 0);
    assert_int_equal(s.swapped_suspect, 0);
    assert_string_equal(s.advice, "");
}

static void nobody_at_all_is_said(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    result.people = 0;
    bs_statistics_add(&statistics, &result, 0);
    bs_summary s = sum_up();
    assert_true(s.detection_rate == 0 && s.average_quality == 0);
    assert_non_null(strstr(s.advice, "Nobody was found"));
}

static void feet_outside_the_picture_are_said(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    for (int i = 0; i < 10; i++) {
        stand(0.5f, i < 6 ? 0.6f : 0.2f); /* at 0.6 the feet are at 1.1 */
        bs_statistics_add(&statistics, &result, i * 1000000);
    }
    bs_summary s = sum_up();
    assert_true(s.feet_outside == 0.6);
    assert_int_equal(s.landmarks_outside, 6 * 6);
    assert_string_equal(s.advice, "The feet are outside the picture in 60 % of the frames; "
                                  "their landmarks are guesses there.");
}

static void left_and_right_exchanged_is_suspected(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    stand(0.5f, 0.2f);
    bs_statistics_add(&statistics, &result, 0);
    for (int i = BS_LEFT_HIP; i < BS_LANDMARKS; i += 2) { /* the legs, not the arms */
        bs_landmark left = result.person[0].landmark[i];
        result.person[0].landmark[i] = result.person[0].landmark[i + 1];
        result.person[0].landmark[i + 1] = left;
    }
    bs_statistics_add(&statistics, &result, 100000);
    assert_int_equal(sum_up().swapped_suspect, 1);
    bs_statistics_add(&statistics, &result, 200000); /* and stays so: no exchange */
    assert_int_equal(sum_up().swapped_suspect, 1);
}

static bool advises(bs_mode mode, int model, int interval, const char *what)
{
    return strstr(sum_up_after(mode, model, interval).advice, what) != NULL;
}

static void what_was_done_is_never_advised(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    result.people = 0;
    bs_statistics_add(&statistics, &result, 0);
    for (int found = 0; found < 2; found++) { /* nobody at all, then somebody in a few frames */
        assert_true(advises(BS_MODE_ULTRA_FAST, -1, 0, "the modes smart and quality"));
        assert_true(advises(BS_MODE_FAST, -1, 0, "the modes smart and quality"));
        assert_true(advises(BS_MODE_SMART, -1, 0, "the mode quality") && !advises(BS_MODE_SMART, -1, 0, "smart"));
        assert_true(advises(BS_MODE_QUALITY, -1, 0, "Nobody was found") && !advises(BS_MODE_QUALITY, -1, 0, "mode"));
        stand(0.5f, 0.2f);
        bs_statistics_add(&statistics, &result, 1000000);
    }

    bs_statistics_init(&statistics, 1000, 1000);
    for (int i = 0; i < 4; i++) { /* the sides change in every frame */
        stand(0.5f, 0.2f);
        for (int l = BS_LEFT_SHOULDER; l < BS_LANDMARKS && i % 2; l++)
            result.person[0].landmark[l].x = 1 - result.person[0].landmark[l].x;
        bs_statistics_add(&statistics, &result, i * 100000);
    }
    assert_true(advises(BS_MODE_FAST, -1, 3, "a smaller interval or the model heavy"));
    assert_true(advises(BS_MODE_QUALITY, -1, 3, "smaller interval") && !advises(BS_MODE_QUALITY, -1, 3, "heavy"));
    assert_true(advises(BS_MODE_FAST, -1, 1, "heavy") && !advises(BS_MODE_FAST, -1, 1, "interval"));
    assert_true(advises(BS_MODE_QUALITY, -1, 0, "exchanged"));
    assert_false(advises(BS_MODE_QUALITY, -1, 0, "heavy") || advises(BS_MODE_QUALITY, -1, 0, "interval"));
}

static void turning_round_in_a_second_is_not_suspected(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    stand(0.5f, 0.2f);
    bs_statistics_add(&statistics, &result, 0);
    for (int i = BS_LEFT_SHOULDER; i < BS_LANDMARKS; i += 2) {
        bs_landmark left = result.person[0].landmark[i];
        result.person[0].landmark[i] = result.person[0].landmark[i + 1];
        result.person[0].landmark[i + 1] = left;
    }
    bs_statistics_add(&statistics, &result, 1000000);
    assert_int_equal(sum_up().swapped_suspect, 0);
}

static void walking_across_the_picture_is_not_suspected(void **state)
{
    bs_statistics_init(&statistics, 1000, 1000);
    for (int i = 0; i < 10; i++) {
        stand(0.1f * (float)i, 0.2f);
        bs_statistics_add(&statistics, &result, i * 100000);
    }
    assert_int_equal(sum_up().swapped_suspect, 0);
}

/* -- options ------------------------------------------------------------------------------------------ */

static void zero_chooses_what_the_mode_says(void **state)
{
    bs_process_options options = bs_process_defaults();
    assert_int_equal(bs_process_interval(&options), 3);
    assert_int_equal(bs_process_model(&options), BS_MODEL_FULL);
    options.mode = BS_MODE_QUALITY;
    assert_int_equal(bs_process_interval(&options), 1);
    assert_int_equal(bs_process_model(&options), BS_MODEL_HEAVY);
    options.interval = 5;
    options.model = BS_MODEL_LITE;
    assert_int_equal(bs_process_interval(&options), 5);
    assert_int_equal(bs_process_model(&options), BS_MODEL_LITE);
}

static void what_cannot_be_is_refused_before_anything_is_opened(void **state)
{
    const bs_input input = {.path = "/nowhere/at/all.mp4", .fd = -1};
    const bs_outputs outputs = bs_outputs_none();
    bs_summary summary;
    bs_error err = {0};
    bs_process_options options = bs_process_defaults();
    options.people = 17;
    assert_int_equal(bs_process(NULL, &input, &options, &outputs, NULL, &summary, &err), BS_ERR_USAGE);
    assert_string_equal(err.text, "the number of people is 17, but takes 1 to 16");
    options.people = 1;
    assert_int_equal(bs_process(NULL, &input, &options, &outputs, NULL, &summary, &err), BS_ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_keeps_its_order_and_ends),
        cmocka_unit_test(a_queue_of_no_length_has_its_writer_wait_until_the_item_is_taken),
        cmocka_unit_test(a_queue_that_is_stopped_drops_what_nobody_took),
        cmocka_unit_test(the_overlay_waits_for_a_bounded_number_of_frames),
        cmocka_unit_test(found_and_missing_frames_add_up),
        cmocka_unit_test(nobody_at_all_is_said),
        cmocka_unit_test(feet_outside_the_picture_are_said),
        cmocka_unit_test(left_and_right_exchanged_is_suspected),
        cmocka_unit_test(what_was_done_is_never_advised),
        cmocka_unit_test(turning_round_in_a_second_is_not_suspected),
        cmocka_unit_test(walking_across_the_picture_is_not_suspected),
        cmocka_unit_test(zero_chooses_what_the_mode_says),
        cmocka_unit_test(what_cannot_be_is_refused_before_anything_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
