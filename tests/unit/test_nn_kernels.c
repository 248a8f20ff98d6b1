/* nn: every set of kernels gives the portable ones' bits, on odd shapes, alone and in parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nn/chain.h"
#include "nn_steps.h"

static void check_steps(bs_nn_kind first, int count, uint32_t seed)
{
    for (int i = 0; i < count; i++) {
        test_step t;
        make_test_step(&t, first == BS_NN_KINDS ? random_kind(&seed) : first, &seed);
        float *expected = malloc(t.out_count * sizeof(float));
        assert_non_null(expected);
        run_test_step(&t, &bs_nn_portable, 1);
        memcpy(expected, t.out, t.out_count * sizeof(float));
        for (size_t k = 0; k < test_kernel_count(); k++)
            for (int parts = 1; parts <= 3; parts++) {
                run_test_step(&t, test_kernels(k), parts);
                assert_step_equal(&t, expected, t.out, test_kernels(k));
            }
        free(expected);
        free_test_step(&t);
    }
}

static void all_kernels_give_the_portable_bits_on_odd_shapes(void **state)
{
    check_steps(BS_NN_KINDS, 400, 7);
}

static void convolutions_give_the_portable_bits_on_odd_shapes(void **state)
{
    check_steps(BS_NN_CONV, 150, 8);
}

static void depthwise_gives_the_portable_bits_on_odd_shapes(void **state)
{
    check_steps(BS_NN_DEPTHWISE, 150, 9);
}

static void a_sum_may_overwrite_its_addend(void **state)
{
    uint32_t seed = 10;
    for (int i = 0; i < 60; i++) {
        test_step t;
        do {
            make_test_step(&t, BS_NN_CONV, &seed);
            if (t.step.other_channels == t.step.out_shape.channels)
                break;
            free_test_step(&t);
        } while (true);
        float *expected = malloc(t.out_count * sizeof(float));
        run_test_step(&t, &bs_nn_portable, 1);
        memcpy(expected, t.out, t.out_count * sizeof(float));
        for (size_t k = 0; k < test_kernel_count(); k++) {
            test_step in_place = t;
            float *sum = malloc(t.out_count * sizeof(float));
            float *scratch = aligned_alloc(64, test_kernels(k)->scratch(&t.step) * sizeof(float) / 64 * 64 + 64);
            memcpy(sum, t.other, t.out_count * sizeof(float));
            in_place.step.other = sum;
            in_place.step.out = sum;
            test_kernels(k)->run(&in_place.step, scratch, 0, 1);
            assert_step_equal(&t, expected, sum, test_kernels(k));
            free(sum);
            free(scratch);
        }
        free(expected);
        free_test_step(&t);
    }
}

/* Convolutions one after another, each on the result of the one before. Images are so high that there are many bands.
 */
static int make_chain(test_step *chain, uint32_t *seed)
{
    const int length = random_int(seed, 2, 4);
    bs_nn_shape shape = {random_int(seed, 60, 130), random_int(seed, 3, 19), random_int(seed, 1, 40)};
    for (int i = 0; i < length; i++) {
        const bs_nn_kind kind = random_bits(seed) % 2 ? BS_NN_CONV : BS_NN_DEPTHWISE;
        make_test_step_on(&chain[i], kind, shape, seed);
        if (i > 0 && (chain[i].step.in_shape.height != shape.height || chain[i].step.in_shape.width != shape.width)) {
            free_test_step(&chain[i]);
            return i;
        }
        shape = chain[i].step.out_shape;
    }
    return length;
}

static void chains_give_the_bits_of_their_steps_alone(void **state)
{
    uint32_t seed = 11;
    for (int n = 0; n < 40; n++) {
        test_step chain[4];
        bs_nn_step steps[4];
        const int length = make_chain(chain, &seed);
        test_step *const last = &chain[length - 1];
        float *expected = malloc(last->out_count * sizeof(float));
        for (size_t k = 0; k < test_kernel_count(); k++) {
            const bs_nn_kernels *const kernels = test_kernels(k);
            for (int i = 0; i < length; i++) {
                if (i > 0)
                    chain[i].step.in = chain[i - 1].out;
                run_test_step(&chain[i], kernels, 1);
                steps[i] = chain[i].step;
                steps[i].linked = i < length - 1;
                if (i > 0)
                    steps[i].in = NULL;
                if (i < length - 1)
                    steps[i].out = NULL;
            }
            memcpy(expected, last->out, last->out_count * sizeof(float));
            const size_t need = bs_nn_chain_scratch(kernels, steps);
            for (int parts = 1; parts <= 3; parts++) {
                const uint32_t guard = GUARD;
                memset(last->out, 0, last->out_count * sizeof(float));
                for (int part = 0; part < parts; part++) {
                    float *scratch = aligned_alloc(64, (need * sizeof(float) + 127) / 64 * 64);
                    memcpy(scratch + need, &guard, 4);
                    bs_nn_chain_run(kernels, steps, scratch, part, parts, NULL);
                    assert_memory_equal(scratch + need, &guard, 4);
                    free(scratch);
                }
                assert_memory_equal(last->out, expected, last->out_count * sizeof(float));
            }
        }
        free(expected);
        for (int i = 0; i < length; i++)
            free_test_step(&chain[i]);
    }
}

static void halves_widen_exactly(void **state)
{
    static const struct {
        uint16_t half;
        float value;
    } known[] = {{0x0000, 0.0f},        {0x8000, -0.0f},    {0x3c00, 1.0f},     {0xc000, -2.0f},
                 {0x7bff, 65504.0f},    {0x0400, 0x1p-14f}, {0x0001, 0x1p-24f}, {0x83ff, -0x1.ff8p-15f},
                 {0x3555, 0x1.554p-2f}, {0x7c00, INFINITY}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        float v = bs_nn_half_to_float(known[i].half);
        assert_memory_equal(&v, &known[i].value, 4);
    }
}

static void an_instruction_set_that_is_not_there_is_refused(void **state)
{
    bs_nn *nn = NULL;
    bs_error err = {0};
    const bs_nn_options options = {.isa = "altivec"};
    assert_int_equal(bs_nn_open(&nn, NULL, &options, &err), BS_ERR_USAGE);
    assert_null(nn);
    assert_non_null(strstr(err.text, "altivec"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kernels_give_the_portable_bits_on_odd_shapes),
        cmocka_unit_test(convolutions_give_the_portable_bits_on_odd_shapes),
        cmocka_unit_test(depthwise_gives_the_portable_bits_on_odd_shapes),
        cmocka_unit_test(a_sum_may_overwrite_its_addend),
        cmocka_unit_test(chains_give_the_bits_of_their_steps_alone),
        cmocka_unit_test(halves_widen_exactly),
        cmocka_unit_test(an_instruction_set_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
