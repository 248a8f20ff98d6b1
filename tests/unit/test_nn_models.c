/* nn: the four pose models give the outputs of an independent evaluation in double precision (the table of
 * blazepose.md 21.1), whole and pruned. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/pose.h>

#include "nn_models.h"

typedef struct expectation {
    int model, output, values;
    double first[4], last, mean, mean_abs, min, max;
    int argmax;
} expectation;

/* clang-format off */
static const expectation expected[] = {
    {0, 0, 27048, {-3.739408, -7.018358, -0.1554471, -8.339748}, 0.1399497, 1.678163, 30.35955, -467.221, 346.8628, 2975},
    {0, 1, 2254, {-71.13455, -5.744015, -90.25178, -6.588699}, -26.33126, -48.06285, 48.06285, -259.8845, -2.096045, 1738},
    {1, 0, 195, {131.2269, 59.0954, -1.152693, -1.34228}, -4.522678, 42.63524, 47.73349, -31.44515, 144.3326, 146},
    {1, 2, 65536, {-17.44225, -69.44894, -124.7074, -161.2035}, -14.97092, -46.75469, 55.3069, -781.1187, 349.692, 32390},
    {1, 3, 159744, {-7.635891, -9.925953, -10.17905, -10.16343}, -8.500808, -9.016768, 9.016768, -62.06833, -0.1922578, 83600},
    {1, 4, 117, {-0.06228268, -0.5113619, 0.02403344, -0.06501976}, 0.3410661, -0.07717065, 0.1704278, -1.062547, 0.8417897, 112},
    {2, 0, 195, {145.9965, 74.24869, -44.28504, 1.137326}, -0.002592505, 48.57423, 61.01765, -97.81356, 204.8117, 161},
    {2, 2, 65536, {-77.43575, -433.7893, -347.0647, -290.0138}, -7.354205, -31.13499, 31.62551, -1049.064, 140.8173, 26791},
    {2, 3, 159744, {-28.37273, -27.53087, -26.46928, -23.69913}, -7.344158, -7.134163, 7.134163, -44.83155, -0.577726, 48984},
    {2, 4, 117, {0.01815823, -0.5848271, -0.2156617, 0.02745142}, -0.00323485, -0.06240383, 0.2078972, -0.6072114, 0.7260269, 94},
    {3, 0, 195, {130.681, 67.41007, -11.54146, -6.790493}, 0.2397569, 44.7635, 54.18774, -72.08515, 215.0334, 156},
    {3, 2, 65536, {-3.217154, -5.971514, -22.99324, -34.06481}, -7.197285, -29.58399, 30.8569, -74.52166, 19.31252, 32376},
    {3, 3, 159744, {-24.04982, -23.96089, -23.70836, -22.72795}, -70.80208, -13.92807, 13.92807, -110.383, -0.733636, 38775},
    {3, 4, 117, {0.05194962, -0.5450356, -0.1834783, 0.06091662}, 0.9287368, -0.01047577, 0.3585288, -2.522846, 2.996323, 110},
};
/* clang-format on */

static const double expected_presence[TEST_MODELS] = {0, 5.84906e-07, 0.0580798, 0.008099037};

/* What single precision costs: blazepose.md 21.1, and 21.4 for landmarks (0.005 px). Bits are checked against
 * XNNPACK in tests/oracle. */
static void assert_near(double value, double reference, int output)
{
    double tolerance = fmax(output == 0 ? 5e-3 : 2e-3, 1e-4 * fabs(reference));
    if (!(fabs(value - reference) <= tolerance))
        fail_msg("%.9g is not %.9g within %.3g", value, reference, tolerance);
}

static void open_model(int model, const bs_nn_options *options, bs_nn_model **graph, bs_nn **nn)
{
    char path[4096];
    bs_error err = {0};
    if (bs_nn_model_open(graph, test_model_path(model, path), &err) < 0 || bs_nn_open(nn, *graph, options, &err) < 0)
        fail_msg("%s", err.text);
}

static size_t count_of(bs_nn_shape s)
{
    return (size_t)s.height * s.width * s.channels;
}

static void check_output(const expectation *e, const float *v, size_t count)
{
    double sum = 0, sum_abs = 0;
    size_t min = 0, max = 0;
    assert_int_equal(count, e->values);
    for (size_t i = 0; i < count; i++) {
        sum += v[i];
        sum_abs += fabs((double)v[i]);
        min = v[i] < v[min] ? i : min;
        max = v[i] > v[max] ? i : max;
    }
    for (int i = 0; i < 4; i++)
        assert_near(v[i], e->first[i], e->output);
    assert_near(v[count - 1], e->last, e->output);
    assert_near(sum / (double)count, e->mean, e->output);
    assert_near(sum_abs / (double)count, e->mean_abs, e->output);
    assert_near(v[min], e->min, e->output);
    assert_near(v[max], e->max, e->output);
    assert_int_equal(max, e->argmax);
}

static void outputs_are_those_of_the_reference_evaluation(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        bs_nn_model *graph = NULL;
        bs_nn *nn = NULL;
        open_model(m, NULL, &graph, &nn);
        fill_test_input(&test_models[m], graph, bs_nn_input(nn));
        assert_int_equal(bs_nn_run(nn, NULL), BS_OK);
        for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
            if (expected[i].model == m)
                check_output(&expected[i], bs_nn_output(nn, expected[i].output),
                             count_of(bs_nn_model_output_shape(graph, expected[i].output)));
        if (m)
            assert_true(fabs(bs_nn_output(nn, 1)[0] - expected_presence[m]) <= 1e-2 * expected_presence[m]);
        bs_nn_close(&nn);
        bs_nn_model_close(&graph);
    }
}

static void pruned_graphs_give_the_same_bits_with_less_work(void **state)
{
    static const double mmac[TEST_MODELS] = {429.9, 166.4, 351.3, 1890.3};
    for (int m = 1; m < TEST_MODELS; m++) {
        const int kept[] = {0, 1, 3, 4};
        bs_nn_options landmarks = {.outputs = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4};
        bs_nn_model *graph = NULL, *again = NULL;
        bs_nn *all = NULL, *pruned = NULL;
        open_model(m, NULL, &graph, &all);
        open_model(m, &landmarks, &again, &pruned);
        fill_test_input(&test_models[m], graph, bs_nn_input(all));
        fill_test_input(&test_models[m], graph, bs_nn_input(pruned));
        assert_int_equal(bs_nn_run(all, NULL), BS_OK);
        assert_int_equal(bs_nn_run(pruned, NULL), BS_OK);
        for (int i = 0; i < 4; i++)
            assert_memory_equal(bs_nn_output(all, kept[i]), bs_nn_output(pruned, kept[i]),
                                sizeof(float) * count_of(bs_nn_model_output_shape(graph, kept[i])));
        assert_null(bs_nn_output(pruned, 2));
        assert_true(fabs(bs_nn_mmac(pruned) - mmac[m]) < 0.1);
        assert_true(bs_nn_mmac(all) > bs_nn_mmac(pruned));
        bs_nn_close(&all);
        bs_nn_close(&pruned);
        bs_nn_model_close(&graph);
        bs_nn_model_close(&again);
    }
}

/* Its threads are not there: the child's own does it all, and waits for nobody. */
static void a_fork_goes_on_without_the_threads_and_with_the_same_bits(void **state)
{
    const bs_nn_options two = {.threads = 2};
    bs_nn_model *graph = NULL;
    bs_nn *nn = NULL;
    open_model(1, &two, &graph, &nn);
    fill_test_input(&test_models[1], graph, bs_nn_input(nn));
    assert_int_equal(bs_nn_run(nn, NULL), BS_OK);
    const size_t size = sizeof(float) * count_of(bs_nn_model_output_shape(graph, 0));
    float *before = malloc(size);
    memcpy(before, bs_nn_output(nn, 0), size);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        fill_test_input(&test_models[1], graph, bs_nn_input(nn));
        const bool same = bs_nn_run(nn, NULL) == BS_OK && !memcmp(before, bs_nn_output(nn, 0), size);
        bs_nn_close(&nn);
        _exit(same ? 0 : 1);
    }
    int ended = -1;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    free(before);
    bs_nn_close(&nn);
    bs_nn_model_close(&graph);
}

static void times_of_tracked_pictures_ascend(void **state)
{
    static const uint8_t grey[3 * 64 * 48];
    const bs_image image = bs_image_rgb24(grey, 64, 48, 3 * 64);
    bs_pose_options options = bs_pose_defaults();
    options.model_complexity = BS_MODEL_LITE;
    bs_models *models = NULL;
    bs_pose *pose = NULL;
    bs_pose_result result;
    char path[4096];
    bs_error err = {0};
    *strrchr(test_model_path(0, path), '/') = '\0';
    assert_int_equal(bs_models_open(&models, path, BS_MODEL_BIT(BS_MODEL_LITE), NULL), BS_OK);
    assert_int_equal(bs_pose_open(&pose, models, &options, NULL), BS_OK);
    static const int64_t times[] = {-1, INT64_MAX, 1, 1, 0, 33334, 33333, 33335};
    static const bs_status wanted[] = {BS_ERR_USAGE, BS_ERR_USAGE, BS_OK,        BS_ERR_USAGE,
                                       BS_ERR_USAGE, BS_OK,        BS_ERR_USAGE, BS_OK};
    for (int i = 0; i < 8; i++)
        assert_int_equal(bs_pose_process(pose, &image, times[i], &result, &err), wanted[i]);
    assert_string_equal(err.text, "the picture's time is 33333 us: it must be after the last one's, 33334 us");
    bs_pose_reset(pose); /* another video */
    assert_int_equal(bs_pose_process(pose, &image, 0, &result, NULL), BS_OK);
    bs_pose_close(&pose);
    options.static_image_mode = true;
    assert_int_equal(bs_pose_open(&pose, models, &options, NULL), BS_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(bs_pose_process(pose, &image, -1, &result, NULL), BS_OK);
    bs_pose_close(&pose);
    bs_models_close(&models);
}

static void threads_and_a_shared_arena_change_no_bit(void **state)
{
    bs_nn_arena *arena = NULL;
    assert_int_equal(bs_nn_arena_open(&arena, NULL), BS_OK);
    for (int m = 0; m < TEST_MODELS - 1; m++) {
        bs_nn_options plain = {0}, shared = {.threads = 3, .arena = arena};
        bs_nn_model *graph = NULL, *again = NULL;
        bs_nn *one = NULL, *three = NULL;
        open_model(m, &plain, &graph, &one);
        open_model(m, &shared, &again, &three);
        fill_test_input(&test_models[m], graph, bs_nn_input(one));
        assert_int_equal(bs_nn_run(one, NULL), BS_OK);
        for (int run = 0; run < 3; run++) {
            fill_test_input(&test_models[m], graph, bs_nn_input(three));
            assert_int_equal(bs_nn_run(three, NULL), BS_OK);
            for (int i = 0; i < bs_nn_model_output_count(graph); i++)
                assert_memory_equal(bs_nn_output(one, i), bs_nn_output(three, i),
                                    sizeof(float) * count_of(bs_nn_model_output_shape(graph, i)));
        }
        assert_true(bs_nn_memory(three) < 100000);
        bs_nn_close(&one);
        bs_nn_close(&three);
        bs_nn_model_close(&graph);
        bs_nn_model_close(&again);
    }
    bs_nn_arena_close(&arena);
    assert_null(arena);
}

/* What a job keeps: detector and landmarks in one arena, tables of both. */
static size_t resident_kb_of(const bs_nn_model *graph)
{
    size_t resident = 0;
    const void *data = bs_nn_model_data(graph, NULL);
    char line[256];
    bool here = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        uintptr_t first, end;
        size_t kb;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2)
            here = first == (uintptr_t)data;
        else if (here && sscanf(line, "Rss: %zu", &kb) == 1)
            resident = kb;
    }
    fclose(maps);
    return resident;
}

static void weights_that_leave_memory_change_no_bit(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        bs_nn_options frugal = {.drop_weights = true};
        bs_nn_model *graph = NULL, *again = NULL;
        bs_nn *nn = NULL, *dropping = NULL;
        open_model(m, NULL, &graph, &nn);
        open_model(m, &frugal, &again, &dropping);
        for (int run = 0; run < 2; run++) {
            fill_test_input(&test_models[m], graph, bs_nn_input(nn));
            fill_test_input(&test_models[m], graph, bs_nn_input(dropping));
            assert_int_equal(bs_nn_run(nn, NULL), BS_OK);
            assert_int_equal(bs_nn_run(dropping, NULL), BS_OK);
            for (int i = 0; i < bs_nn_model_output_count(graph); i++)
                assert_memory_equal(bs_nn_output(nn, i), bs_nn_output(dropping, i),
                                    sizeof(float) * count_of(bs_nn_model_output_shape(graph, i)));
            assert_int_equal(resident_kb_of(again), 0);
        }
        bs_nn_close(&nn);
        bs_nn_close(&dropping);
        bs_nn_model_close(&graph);
        bs_nn_model_close(&again);
    }
}

static void private_memory_keeps_its_promise(void **state)
{
    static const size_t most[TEST_MODELS] = {0, 8 << 20, 8 << 20, 10 << 20};
    for (int m = 1; m < TEST_MODELS; m++) {
        bs_nn_arena *arena = NULL;
        assert_int_equal(bs_nn_arena_open(&arena, NULL), BS_OK);
        bs_nn_options both = {.arena = arena}, landmarks = {.outputs = 1 | 2 | 8 | 16, .arena = arena};
        bs_nn_model *detector_graph = NULL, *graph = NULL;
        bs_nn *detector = NULL, *nn = NULL;
        open_model(0, &both, &detector_graph, &detector);
        open_model(m, &landmarks, &graph, &nn);
        size_t total = bs_nn_arena_memory(arena) + bs_nn_memory(detector) + bs_nn_memory(nn) +
                       bs_nn_model_memory(detector_graph) + bs_nn_model_memory(graph);
        print_message("%s: %zu KB\n", test_models[m].file, total >> 10);
        assert_true(total <= most[m]);
        bs_nn_close(&detector);
        bs_nn_close(&nn);
        bs_nn_model_close(&detector_graph);
        bs_nn_model_close(&graph);
        bs_nn_arena_close(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_those_of_the_reference_evaluation),
        cmocka_unit_test(pruned_graphs_give_the_same_bits_with_less_work),
        cmocka_unit_test(a_fork_goes_on_without_the_threads_and_with_the_same_bits),
        cmocka_unit_test(times_of_tracked_pictures_ascend),
        cmocka_unit_test(threads_and_a_shared_arena_change_no_bit),
        cmocka_unit_test(weights_that_leave_memory_change_no_bit),
        cmocka_unit_test(private_memory_keeps_its_promise),
    };
    skip_without_models();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
