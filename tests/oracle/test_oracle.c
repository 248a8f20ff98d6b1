/* nn against its oracle, Debian's XNNPACK: every operator on random shapes and all four models, for every set of
 * kernels that this CPU has, bit for bit. The presence output alone may differ by 1.2e-7: XNNPACK has another
 * approximation of the sigmoid for every instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../unit/nn_models.h"
#include "../unit/nn_steps.h"
#include "xnn_graph.h"

/* The depthwise windows of the models. XNNPACK has kernels of its own for other sizes, in another order. */
static bool is_usual_window(const bs_nn_step *s)
{
    return s->kernel_h == s->kernel_w && (s->kernel_h == 3 || s->kernel_h == 5);
}

static void every_operator_gives_xnnpacks_bits_on_random_shapes(void **state)
{
    uint32_t seed = 1;
    for (int i = 0; i < 1500; i++) {
        test_step t;
        make_test_step(&t, random_kind(&seed), &seed);
        bs_nn_step *s = &t.step;
        if (s->kind == BS_NN_DEPTHWISE && !is_usual_window(s)) {
            free_test_step(&t);
            continue;
        }
        if (s->kind == BS_NN_CONV || s->kind == BS_NN_DEPTHWISE || s->kind == BS_NN_RESIZE)
            s->other_channels = 0, s->other = NULL; /* folded sums are the unit tests' affair */
        float *expected = calloc(t.out_count + 64, sizeof(float));
        assert_non_null(expected);
        assert_true(xnn_step_run(s, expected));
        for (size_t k = 0; k < test_kernel_count(); k++) {
            run_test_step(&t, test_kernels(k), 1);
            assert_step_equal(&t, expected, s->out, test_kernels(k));
        }
        free(expected);
        free_test_step(&t);
    }
}

/* Smooth shapes with edges, as crops of photos have, from a seed. */
static void fill_picture(const test_model *model, const bs_nn_model *graph, uint32_t seed, float *input)
{
    const bs_nn_shape s = bs_nn_model_input_shape(graph);
    float phase[3], speed[3];
    for (int c = 0; c < 3; c++) {
        phase[c] = random_float(&seed) * 3;
        speed[c] = 0.02f + 0.03f * fabsf(random_float(&seed));
    }
    for (int y = 0; y < s.height; y++)
        for (int x = 0; x < s.width; x++)
            for (int c = 0; c < s.channels; c++) {
                const bool person = abs(x - s.width / 2) < s.width / 8 + (y * 5 / s.height % 2) * s.width / 10;
                float v = 0.5f + 0.3f * sinf(speed[c % 3] * (float)(x + 2 * y) + phase[c % 3]) + (person ? 0.2f : 0);
                v = floorf(255 * fminf(fmaxf(v + 0.02f * random_float(&seed), 0), 1)) / 255;
                input[((size_t)y * s.width + x) * s.channels + c] = model->low + (model->high - model->low) * v;
            }
}

static void compare_outputs(const bs_nn_model *graph, const bs_nn *nn, const xnn_graph *oracle, int model)
{
    for (int o = 0; o < bs_nn_model_output_count(graph); o++) {
        const bs_nn_shape s = bs_nn_model_output_shape(graph, o);
        const size_t count = (size_t)s.height * s.width * s.channels;
        const float *ours = bs_nn_output(nn, o), *theirs = xnn_graph_output(oracle, o);
        size_t different = 0;
        for (size_t i = 0; i < count; i++)
            different += memcmp(&ours[i], &theirs[i], sizeof(float)) != 0;
        if (model && o == 1)
            assert_true(fabsf(ours[0] - theirs[0]) <= 1.2e-7f);
        else if (different)
            fail_msg("%s, output %d, %s: %zu of %zu values differ", test_models[model].file, o, bs_nn_isa(nn),
                     different, count);
    }
}

static void all_models_give_xnnpacks_bits(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        char path[4096];
        bs_error err = {0};
        bs_nn_model *graph = NULL;
        if (bs_nn_model_open(&graph, test_model_path(m, path), &err) < 0)
            fail_msg("%s", err.text);
        xnn_graph *oracle = xnn_graph_open(graph, 0, 1);
        assert_non_null(oracle);
        for (uint32_t picture = 0; picture < 4; picture++) {
            if (picture)
                fill_picture(&test_models[m], graph, picture, xnn_graph_input(oracle));
            else
                fill_test_input(&test_models[m], graph, xnn_graph_input(oracle));
            assert_true(xnn_graph_run(oracle));
            for (size_t k = 0; k < test_kernel_count(); k++) {
                bs_nn *nn = NULL;
                const bs_nn_options options = {.isa = test_kernels(k)->name};
                if (test_kernels(k)->rounds_twice || (picture && !strcmp(options.isa, "portable")))
                    continue; /* not its bits; slow, and equal to the others by the unit tests */
                if (bs_nn_open(&nn, graph, &options, &err) < 0)
                    fail_msg("%s", err.text);
                const bs_nn_shape s = bs_nn_model_input_shape(graph);
                memcpy(bs_nn_input(nn), xnn_graph_input(oracle), sizeof(float) * s.height * s.width * s.channels);
                assert_int_equal(bs_nn_run(nn, &err), BS_OK);
                compare_outputs(graph, nn, oracle, m);
                bs_nn_close(&nn);
            }
        }
        xnn_graph_close(oracle);
        bs_nn_model_close(&graph);
    }
}

int main(void)
{
    const struct CMUnitTest operators[] = {
        cmocka_unit_test(every_operator_gives_xnnpacks_bits_on_random_shapes),
    };
    const struct CMUnitTest models[] = {
        cmocka_unit_test(all_models_give_xnnpacks_bits),
    };
    int failed = cmocka_run_group_tests(operators, NULL, NULL);
    if (failed)
        return failed;
    skip_without_models();
    return cmocka_run_group_tests(models, NULL, NULL);
}
