/* enhance: what the extra tries do to a crop, and that a mirrored body comes back with left and right in place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "pose/enhance.h"
#include "pose/tries.h"

enum { SIZE = 256, COUNT = SIZE * SIZE * 3 };

/* A dark, flat picture with a little structure. */
static float *dark_crop(void)
{
    float *p = malloc(COUNT * sizeof(float));
    assert_non_null(p);
    for (int i = 0; i < COUNT; i++)
        p[i] = 0.08f + 0.04f * sinf((float)(i / 3 % SIZE) * 0.2f) + 0.02f * (float)(i % 3);
    return p;
}

static double mean_of(const float *p, int from, int to)
{
    double sum = 0;
    for (int i = from; i < to; i++)
        sum += p[i];
    return sum / (to - from);
}

static double deviation_of(const float *p)
{
    const double mean = mean_of(p, 0, COUNT);
    double sum = 0;
    for (int i = 0; i < COUNT; i++)
        sum += (p[i] - mean) * (p[i] - mean);
    return sqrt(sum / COUNT);
}

static void assert_fractions(const float *p)
{
    for (int i = 0; i < COUNT; i++)
        assert_true(p[i] >= 0 && p[i] <= 1);
}

static void equalisation_spreads_a_flat_picture(void **state)
{
    float *p = dark_crop();
    const double before = deviation_of(p);
    bs_enhance_clahe(p, SIZE);
    assert_fractions(p);
    assert_true(deviation_of(p) > 1.5 * before);
    free(p);
}

static void brightening_lifts_a_dark_picture_and_keeps_black_and_white(void **state)
{
    float *p = dark_crop();
    p[0] = p[1] = p[2] = 0;
    p[3] = p[4] = p[5] = 1;
    const double before = mean_of(p, 0, COUNT);
    bs_enhance_bright(p, SIZE);
    assert_fractions(p);
    assert_true(mean_of(p, 0, COUNT) > 2 * before);
    assert_float_equal(p[0], 0, 0);
    assert_float_equal(p[3], 1, 0);
    free(p);
}

static void the_lower_body_is_enhanced_alone(void **state)
{
    float *p = dark_crop(), *q = dark_crop();
    bs_enhance_lower(p, SIZE);
    assert_fractions(p);
    assert_memory_equal(p, q, COUNT / 16 * 7 * sizeof(float)); /* above the hips: as it was */
    assert_true(mean_of(p, COUNT * 5 / 8, COUNT) > 1.3 * mean_of(q, COUNT * 5 / 8, COUNT));
    free(p);
    free(q);
}

static void mirroring_twice_is_the_picture_itself(void **state)
{
    float *p = dark_crop(), *q = dark_crop();
    p[0] = q[0] = 0.9f;
    bs_enhance_mirror(p, SIZE);
    assert_float_equal(p[3 * (SIZE - 1)], 0.9f, 0);
    bs_enhance_mirror(p, SIZE);
    assert_memory_equal(p, q, COUNT * sizeof(float));
    free(p);
    free(q);
}

static void a_mirrored_body_gets_its_sides_back(void **state)
{
    bs_body body = {0};
    for (int k = 0; k < BS_BODY_LANDMARKS; k++)
        body.landmark[k] = (bs_landmark){(float)k / 64, (float)k, 0, 0, 0};
    for (int k = 0; k < BS_LANDMARKS; k++)
        body.world[k].x = (float)k;
    bs_body_unmirror(&body);
    for (int k = 0; k < BS_LANDMARKS; k++) {
        const char *name = bs_landmark_name(k), *other = bs_landmark_name((int)body.landmark[k].y);
        char expected[64];
        if (strstr(name, "left"))
            snprintf(expected, sizeof(expected), "%.*sright%s", (int)(strstr(name, "left") - name), name,
                     strstr(name, "left") + 4);
        else if (strstr(name, "right"))
            snprintf(expected, sizeof(expected), "%.*sleft%s", (int)(strstr(name, "right") - name), name,
                     strstr(name, "right") + 5);
        else
            snprintf(expected, sizeof(expected), "%s", name);
        assert_string_equal(other, expected);
        assert_float_equal(body.world[k].x, -body.landmark[k].y, 0);
    }
    assert_float_equal(body.landmark[BS_AUX_HIPS].y, BS_AUX_HIPS, 0); /* the region's points have no sides */
    assert_float_equal(body.landmark[0].x, 255.0f / 256, 0);
}

static void visibility_counts_what_lies_inside_the_picture(void **state)
{
    bs_body body = {0};
    for (int k = 0; k < BS_LANDMARKS; k++)
        body.landmark[k] = (bs_landmark){k < 11 ? 0.5f : 1.5f, 0.5f, 0, k < 11 ? 0.8f : 0.1f, 1};
    assert_float_equal(bs_body_visibility(&body), 0.8f, 1e-6);
    for (int k = 0; k < BS_LANDMARKS; k++)
        body.landmark[k].x = -1;
    assert_float_equal(bs_body_visibility(&body), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equalisation_spreads_a_flat_picture),
        cmocka_unit_test(brightening_lifts_a_dark_picture_and_keeps_black_and_white),
        cmocka_unit_test(the_lower_body_is_enhanced_alone),
        cmocka_unit_test(mirroring_twice_is_the_picture_itself),
        cmocka_unit_test(a_mirrored_body_gets_its_sides_back),
        cmocka_unit_test(visibility_counts_what_lies_inside_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
