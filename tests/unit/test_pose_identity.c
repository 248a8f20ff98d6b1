/* pose: ids of several people from picture to picture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pose/identity.h"

enum { RED = 1, BLUE = 2 };
static const int64_t picture_us = 40000;

static bs_track somebody(float x, int color)
{
    bs_track t = {.id = -1, .roi = {.x_center = x, .y_center = 0.5f, .width = 0.3f, .height = 0.5f}};
    for (int i = 0; i < BS_BANDS; i++) {
        t.colors.rgb[i][0] = color == RED ? 0.7f : 0.2f;
        t.colors.rgb[i][2] = color == BLUE ? 0.7f : 0.2f;
    }
    return t;
}

/* One picture with people at a and b; below 0: not in it. Their ids, -1 for who is not there. */
static void see(bs_pose *pose, int picture, bs_track a, bs_track b, int *id_a, int *id_b)
{
    bs_track seen[2];
    int n = 0;
    *id_a = *id_b = -1;
    if (a.roi.x_center >= 0)
        seen[n++] = a;
    if (b.roi.x_center >= 0)
        seen[n++] = b;
    bs_identify(pose, seen, n, picture * picture_us);
    if (a.roi.x_center >= 0)
        *id_a = seen[0].id;
    if (b.roi.x_center >= 0)
        *id_b = seen[n - 1].id;
    assert_int_equal(pose->tracks, n);
}

static void two_who_cross_keep_their_ids(void **state)
{
    bs_pose pose = {0};
    int a = -1, b = -1;
    for (int i = 0; i <= 50; i++) /* through each other, and listed in the other order from the middle on */
        if (i < 25)
            see(&pose, i, somebody(0.2f + 0.012f * i, RED), somebody(0.8f - 0.012f * i, BLUE), &a, &b);
        else
            see(&pose, i, somebody(0.8f - 0.012f * i, BLUE), somebody(0.2f + 0.012f * i, RED), &b, &a);
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
}

static void two_of_the_same_colours_cross_by_their_movement(void **state)
{
    bs_pose pose = {0};
    int a = -1, b = -1;
    for (int i = 0; i <= 50; i++)
        see(&pose, i, somebody(0.2f + 0.012f * i, RED), somebody(0.8f - 0.012f * i, RED), &a, &b);
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
}

static void who_was_hidden_while_they_met_has_the_old_id(void **state)
{
    bs_pose pose = {0};
    int a = -1, b = -1;
    for (int i = 0; i < 20; i++)
        see(&pose, i, somebody(0.3f, RED), somebody(0.8f - 0.02f * i, BLUE), &a, &b);
    for (int i = 20; i < 60; i++) /* blue stands before red and walks off again */
        see(&pose, i, somebody(-1, RED), somebody(i < 40 ? 0.35f : 0.35f + 0.01f * (i - 40), BLUE), &a, &b);
    see(&pose, 60, somebody(0.3f, RED), somebody(0.56f, BLUE), &a, &b);
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
}

static void an_id_waits_two_and_a_half_seconds_and_is_never_given_to_another_later(void **state)
{
    const int gaps[] = {60, 70}; /* pictures: 2.4 s, 2.8 s */
    for (int i = 0; i < 2; i++) {
        bs_pose pose = {0};
        int a, b;
        see(&pose, 0, somebody(0.3f, RED), somebody(-1, RED), &a, &b);
        for (int k = 1; k < gaps[i]; k++)
            see(&pose, k, somebody(-1, RED), somebody(-1, RED), &a, &b);
        see(&pose, gaps[i], somebody(0.3f, RED), somebody(-1, RED), &a, &b);
        assert_int_equal(a, i);
    }
}

static void who_appears_elsewhere_is_somebody_new(void **state)
{
    bs_pose pose = {0};
    int a, b;
    see(&pose, 0, somebody(0.2f, RED), somebody(-1, RED), &a, &b);
    see(&pose, 1, somebody(0.7f, RED), somebody(-1, RED), &a, &b);
    assert_int_equal(a, 1);
}

static void a_newcomer_on_a_body_does_not_take_its_id(void **state)
{
    bs_pose pose = {0};
    int a, b;
    for (int i = 0; i < 50; i++)
        see(&pose, i, somebody(0.4f, RED), somebody(-1, RED), &a, &b);
    see(&pose, 50, somebody(0.44f, RED), somebody(0.4f, RED), &a, &b); /* a second look at the same body */
    assert_int_equal(b, 0);
    see(&pose, 51, somebody(0.43f, RED), somebody(-1, RED), &a, &b); /* of which one is left */
    assert_int_equal(a, 0);
}

static void a_time_that_goes_back_or_leaps_is_survived(void **state)
{
    bs_pose pose = {0};
    const int64_t times[] = {5, INT64_MAX, INT64_MIN, 0, 0};
    for (int i = 0; i < 5; i++) {
        bs_track seen[BS_MAX_PEOPLE];
        for (int k = 0; k < BS_MAX_PEOPLE; k++)
            seen[k] = somebody(0.5f * k + (i % 2 ? 40 : 0), RED); /* all are lost, and all are new */
        bs_identify(&pose, seen, BS_MAX_PEOPLE, times[i]);
        assert_in_range(pose.lost_tracks, 0, BS_MAX_PEOPLE);
        for (int k = 0; k < BS_MAX_PEOPLE; k++)
            for (int j = 0; j < k; j++)
                assert_int_not_equal(seen[k].id, seen[j].id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_who_cross_keep_their_ids),
        cmocka_unit_test(two_of_the_same_colours_cross_by_their_movement),
        cmocka_unit_test(who_was_hidden_while_they_met_has_the_old_id),
        cmocka_unit_test(an_id_waits_two_and_a_half_seconds_and_is_never_given_to_another_later),
        cmocka_unit_test(who_appears_elsewhere_is_somebody_new),
        cmocka_unit_test(a_newcomer_on_a_body_does_not_take_its_id),
        cmocka_unit_test(a_time_that_goes_back_or_leaps_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
