/* nn: a damaged or foreign model gets one sentence, never a crash, and the plan folds what it promises to fold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "nn/chain.h"
#include "nn/graph.h"
#include "nn_models.h"

/* --- Damage -------------------------------------------------------------------------------------------- */

static uint8_t *file_bytes; /* a private, writable mapping of the lite model */
static size_t file_size;

static void assert_one_sentence(bs_status status, const bs_error *err)
{
    assert_int_equal(status, BS_ERR_INPUT);
    assert_true(strlen(err->text) > 20);
    assert_null(strchr(err->text, '\n'));
}

static void a_file_cut_short_is_refused(void **state)
{
    for (size_t size = 0; size < file_size; size += size < 3000 ? 1 : size < 300000 ? 9973 : 199999) {
        uint8_t *copy = malloc(size ? size : 1); /* so that a read past the end is seen by a sanitizer */
        bs_nn_model *model = NULL;
        bs_error err = {0};
        memcpy(copy, file_bytes, size);
        assert_one_sentence(bs_nn_model_open_memory(&model, copy, size, &err), &err);
        assert_null(model);
        free(copy);
    }
}

static uint32_t random_word(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8 ^ *seed << 20;
}

/* Whatever the damage: refused with a sentence, or a graph that is safe to plan and to run. */
static int open_damaged(bool run)
{
    bs_nn_model *model = NULL;
    bs_nn *nn = NULL;
    bs_error err = {0};
    bs_status status = bs_nn_model_open_memory(&model, file_bytes, file_size, &err);
    if (status < 0) {
        assert_one_sentence(status, &err);
        assert_null(model);
        return 0;
    }
    status = bs_nn_open(&nn, model, NULL, &err);
    if (status == BS_OK && run) {
        bs_nn_shape s = bs_nn_model_input_shape(model);
        memset(bs_nn_input(nn), 0, sizeof(float) * s.height * s.width * s.channels);
        assert_int_equal(bs_nn_run(nn, &err), BS_OK);
    }
    bs_nn_close(&nn);
    bs_nn_model_close(&model);
    return 1;
}

/* The tables lie at the beginning and at the end of the file; weights between are not looked at. */
static size_t random_place(uint32_t *seed, size_t table_bytes)
{
    size_t at = random_word(seed) % table_bytes;
    return random_word(seed) % 2 ? at : file_size - 8 - at;
}

static void flipped_bits_never_crash(void **state)
{
    uint32_t seed = 1;
    int survived = 0;
    for (int i = 0; i < 3000; i++) {
        size_t at = random_place(&seed, 120000);
        uint8_t bit = (uint8_t)(1u << random_word(&seed) % 8);
        file_bytes[at] ^= bit;
        survived += open_damaged(i % 60 == 0);
        file_bytes[at] ^= bit;
    }
    assert_true(survived > 0 && survived < 3000);
}

static void extreme_numbers_never_crash(void **state)
{
    static const uint32_t extremes[] = {0, 1, 0xffffffff, 0x7fffffff, 0x80000000, 0x00ffffff, 0x10000000};
    uint32_t seed = 2;
    for (int i = 0; i < 3000; i++) {
        size_t at = random_place(&seed, 120000) & ~(size_t)3;
        uint32_t old;
        memcpy(&old, file_bytes + at, 4);
        memcpy(file_bytes + at, &extremes[random_word(&seed) % 7], 4);
        open_damaged(i % 60 == 0);
        memcpy(file_bytes + at, &old, 4);
    }
}

static void foreign_files_are_refused(void **state)
{
    static const char text[] = "{\"this\": \"is not a model, but long enough to be one\"}";
    static const uint8_t jpeg[64] = {0xff, 0xd8, 0xff, 0xe0, 'T', 'F', 'L', '3'};
    static const uint8_t zeros[64] = {0, 0, 0, 0, 'T', 'F', 'L', '3'};
    bs_nn_model *model = NULL;
    bs_error err = {0};
    assert_one_sentence(bs_nn_model_open_memory(&model, text, sizeof(text), &err), &err);
    assert_one_sentence(bs_nn_model_open_memory(&model, jpeg, sizeof(jpeg), &err), &err);
    assert_one_sentence(bs_nn_model_open_memory(&model, zeros, sizeof(zeros), &err), &err);
    assert_one_sentence(bs_nn_model_open(&model, "/nowhere/model.tflite", &err), &err);
    assert_non_null(strstr(err.text, "/nowhere/model.tflite"));
    assert_one_sentence(bs_nn_model_open(&model, "/", &err), &err);
    assert_one_sentence(bs_nn_model_open(&model, "/dev/null", &err), &err);
    assert_one_sentence(bs_nn_model_open(&model, BS_SOURCE_DIR "/meson.build", &err), &err);
    assert_null(model);
}

/* --- Sparse tensors ------------------------------------------------------------------------------------ */

/* The 4 × 4 matrix of blocks of 2 × 2 in the sparsity paper's manner: blocks (0, 0) and (1, 1) are stored. */
static void blocks_of_a_sparse_tensor_go_where_they_belong(void **state)
{
    static const uint8_t segments[] = {0, 1, 2}, indices[] = {0, 1}, values[] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t expected[16] = {1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 5, 6, 0, 0, 7, 8};
    uint8_t out[16] = {0};
    bs_nn_sparsity s = {.n = 2, .k = 2, .dims = {4, 4}, .order = {0, 1, 2, 3}, .block_map = {0, 1}};
    s.level[0].size = s.level[2].size = s.level[3].size = 2;
    s.level[1].sparse = true;
    s.level[1].segments = segments;
    s.level[1].indices = indices;
    s.level[1].segment_bytes = s.level[1].index_bytes = 1;
    s.level[1].segment_count = 3;
    s.level[1].index_count = 2;
    assert_true(bs_nn_densify(&s, values, 8, 1, out));
    assert_memory_equal(out, expected, 16);
    assert_false(bs_nn_densify(&s, values, 7, 1, out)); /* a value is missing */
    s.level[2].size = 3;
    assert_false(bs_nn_densify(&s, values, 8, 1, out)); /* the blocks do not divide the shape */
}

static void index_types_of_all_widths_and_other_orders_are_read(void **state)
{
    /* The transposed matrix {{0, 5, 0}, {7, 0, 9}}: columns first, rows compressed. */
    static const uint8_t segments16[] = {0, 0, 1, 0, 2, 0, 3, 0}, values[] = {7, 5, 9};
    static const uint8_t indices32[] = {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0};
    static const uint8_t expected[6] = {0, 5, 0, 7, 0, 9};
    uint8_t out[6] = {0};
    bs_nn_sparsity s = {.n = 2, .dims = {2, 3}, .order = {1, 0}};
    s.level[0].size = 3;
    s.level[1].sparse = true;
    s.level[1].segments = segments16;
    s.level[1].segment_bytes = 2;
    s.level[1].segment_count = 4;
    s.level[1].indices = indices32;
    s.level[1].index_bytes = 4;
    s.level[1].index_count = 3;
    assert_true(bs_nn_densify(&s, values, 3, 1, out));
    assert_memory_equal(out, expected, 6);
}

static void the_detector_has_its_38_sparse_tensors(void **state)
{
    char path[4096];
    bs_nn_model *model = NULL;
    int sparse = 0;
    size_t stored = 0;
    assert_int_equal(bs_nn_model_open(&model, test_model_path(0, path), NULL), BS_OK);
    assert_int_equal(model->tensor_count, 442);
    for (int t = 0; t < model->tensor_count; t++) {
        const bs_nn_tensor *tensor = &model->tensors[t];
        if (tensor->weights.segments && tensor->weights.data == tensor->data && tensor->bytes) {
            sparse++;
            stored += tensor->bytes / 2;
        }
    }
    assert_int_equal(sparse, 38);
    assert_int_equal(stored, 680895);
    bs_nn_model_close(&model);
}

/* --- The plan ------------------------------------------------------------------------------------------ */

static void plans_keep_no_copies(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        char path[4096];
        bs_nn_model *model = NULL;
        bs_nn_plan plan = {0};
        int count[BS_NN_KINDS] = {0}, sums = 0;
        assert_int_equal(bs_nn_model_open(&model, test_model_path(m, path), NULL), BS_OK);
        assert_int_equal(bs_nn_plan_make(&plan, model, 0, NULL), BS_OK);
        for (int i = 0; i < plan.step_count; i++) {
            count[plan.steps[i].kind]++;
            sums += plan.steps[i].other_channels > 0;
        }
        assert_int_equal(count[BS_NN_PAD], 0);
        assert_int_equal(count[BS_NN_CONCAT], 0);
        assert_int_equal(count[BS_NN_RESHAPE], 0);
        assert_int_equal(count[BS_NN_ADD], 0);
        assert_true(sums > 10);
        bs_nn_plan_release(&plan);
        bs_nn_model_close(&model);
    }
}

/* No chain of steps may write what itself or a later one still reads, nor over an output: the arena is checked by
 * names. */
static void tensors_in_use_never_overlap(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        char path[4096];
        bs_nn_model *model = NULL;
        bs_nn_plan plan = {0};
        assert_int_equal(bs_nn_model_open(&model, test_model_path(m, path), NULL), BS_OK);
        assert_int_equal(bs_nn_plan_make(&plan, model, 0, NULL), BS_OK);
        int *writer = calloc(plan.arena, sizeof(int)); /* the step that wrote each float last, plus 1 */
        for (int i = 0, length; i < plan.step_count; i += length) {
            length = bs_nn_chain_length(&plan.steps[i]);
            const bs_nn_step *s = &plan.steps[i], *end = s + length - 1;
            const size_t in = (size_t)s->in_shape.height * s->in_shape.width * s->in_shape.channels;
            const size_t out = (size_t)end->out_shape.height * end->out_shape.width * end->out_shape.channels;
            const bool apart = end->out_at + out <= s->in_at || s->in_at + in <= end->out_at;
            assert_true(apart || s->kind == BS_NN_LOGISTIC);
            assert_true(s->in_at + in <= plan.arena && end->out_at + out <= plan.arena);
            for (size_t k = 1; k < in;
                 k++) /* one tensor, one writer (or the input, or the pieces of a concatenation) */
                assert_true(writer[s->in_at + k] == writer[s->in_at]);
            for (size_t k = 0; k < out; k++)
                writer[end->out_at + k] = i + length;
        }
        free(writer);
        bs_nn_plan_release(&plan);
        bs_nn_model_close(&model);
    }
}

/* The expanded tensors of large images pass from step to step in bands, and are nowhere whole. */
static void large_tensors_between_two_steps_are_never_whole(void **state)
{
    for (int m = 0; m < TEST_MODELS; m++) {
        char path[4096];
        bs_nn_model *model = NULL;
        bs_nn_plan plan = {0};
        int linked = 0;
        assert_int_equal(bs_nn_model_open(&model, test_model_path(m, path), NULL), BS_OK);
        assert_int_equal(bs_nn_plan_make(&plan, model, 0, NULL), BS_OK);
        size_t largest = 0;
        for (int i = 0; i < plan.step_count; i++) {
            const bs_nn_shape out = plan.steps[i].out_shape;
            const size_t count = (size_t)out.height * out.width * out.channels;
            linked += plan.steps[i].linked;
            if (plan.steps[i].linked)
                largest = count > largest ? count : largest;
        }
        assert_true(linked > 8);
        assert_true(plan.steps[plan.step_count - 1].linked == false);
        assert_true(largest >= 128 * 128 * 32);
        bs_nn_plan_release(&plan);
        bs_nn_model_close(&model);
    }
}

/* A 1×1 convolution with stride 1 of `input` to so many channels, without weights: it is only planned. */
static void add_conv(bs_nn_model *model, int input, int channels)
{
    const int out = model->tensor_count++, weights = model->tensor_count++;
    const bs_nn_shape shape = {model->tensors[input].shape.height, model->tensors[input].shape.width, channels};
    model->tensors[out] = (bs_nn_tensor){.shape = shape, .count = (size_t)shape.height * shape.width * channels};
    model->tensors[weights].count = model->tensors[weights].weights.count = (size_t)channels *
                                                                            model->tensors[input].shape.channels;
    model->ops[model->op_count++] = (bs_nn_op){.kind = BS_NN_CONV,
                                               .input = input,
                                               .input2 = -1,
                                               .weights = weights,
                                               .bias = -1,
                                               .output = out,
                                               .kernel_h = 1,
                                               .kernel_w = 1,
                                               .stride_h = 1,
                                               .stride_w = 1};
}

static void linked_steps_hand_on_what_is_read(void **state)
{
    /* first (1) ─▶ second (3) ─▶ third (7), with another one (5) of the input between second and third */
    bs_nn_tensor tensors[16] = {{.shape = {64, 64, 8}, .count = 64 * 64 * 8}};
    bs_nn_op ops[8];
    bs_nn_model model = {.tensors = tensors, .ops = ops, .tensor_count = 1, .output_count = 2, .outputs = {7, 5}};
    add_conv(&model, 0, 24);
    add_conv(&model, 1, 40);
    add_conv(&model, 0, 16);
    add_conv(&model, 3, 48);
    bs_nn_plan plan = {0};
    assert_int_equal(bs_nn_plan_make(&plan, &model, 0, NULL), BS_OK);
    assert_int_equal(plan.step_count, 4);
    int linked = 0;
    for (int i = 0; i < plan.step_count; i++) {
        linked += plan.steps[i].linked;
        if (plan.steps[i].linked)
            assert_int_equal(plan.steps[i].out_shape.channels, plan.steps[i + 1].in_shape.channels);
    }
    assert_true(linked > 0);
    bs_nn_plan_release(&plan);
}

static void a_wanted_view_of_a_result_keeps_it_whole(void **state)
{
    bs_nn_tensor tensors[16] = {{.shape = {64, 64, 8}, .count = 64 * 64 * 8}};
    bs_nn_op ops[8];
    bs_nn_model model = {.tensors = tensors, .ops = ops, .tensor_count = 1, .output_count = 2};
    add_conv(&model, 0, 24);
    add_conv(&model, 1, 16);
    const int view = model.tensor_count++;
    tensors[view] = (bs_nn_tensor){.shape = {1, 1, 64 * 64 * 24}, .count = 64 * 64 * 24};
    ops[model.op_count++] = (bs_nn_op){
        .kind = BS_NN_RESHAPE, .input = 1, .input2 = -1, .weights = -1, .bias = -1, .output = view};
    model.outputs[0] = 3;
    model.outputs[1] = view;
    bs_nn_plan plan = {0};
    assert_int_equal(bs_nn_plan_make(&plan, &model, 0, NULL), BS_OK);
    for (int i = 0; i < plan.step_count; i++)
        assert_false(plan.steps[i].linked);
    bs_nn_plan_release(&plan);
    assert_int_equal(bs_nn_plan_make(&plan, &model, 1, NULL), BS_OK); /* not wanted: linked */
    assert_true(plan.steps[0].linked);
    bs_nn_plan_release(&plan);
}

static void outputs_that_are_not_there_are_refused(void **state)
{
    char path[4096];
    bs_nn_model *model = NULL;
    bs_nn *nn = NULL;
    bs_error err = {0};
    const bs_nn_options options = {.outputs = 1 << 5}, crowd = {.threads = 1000};
    assert_int_equal(bs_nn_model_open(&model, test_model_path(1, path), NULL), BS_OK);
    assert_int_equal(bs_nn_open(&nn, model, &options, &err), BS_ERR_USAGE);
    assert_int_equal(bs_nn_open(&nn, model, &crowd, &err), BS_ERR_USAGE);
    assert_null(nn);
    bs_nn_model_close(&model);
}

static int map_file(void **state)
{
    char path[4096];
    struct stat st;
    int fd = open(test_model_path(1, path), O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    file_size = (size_t)st.st_size;
    file_bytes = mmap(NULL, file_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    return file_bytes == MAP_FAILED ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_cut_short_is_refused),
        cmocka_unit_test(flipped_bits_never_crash),
        cmocka_unit_test(extreme_numbers_never_crash),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(blocks_of_a_sparse_tensor_go_where_they_belong),
        cmocka_unit_test(index_types_of_all_widths_and_other_orders_are_read),
        cmocka_unit_test(the_detector_has_its_38_sparse_tensors),
        cmocka_unit_test(plans_keep_no_copies),
        cmocka_unit_test(tensors_in_use_never_overlap),
        cmocka_unit_test(large_tensors_between_two_steps_are_never_whole),
        cmocka_unit_test(linked_steps_hand_on_what_is_read),
        cmocka_unit_test(a_wanted_view_of_a_result_keeps_it_whole),
        cmocka_unit_test(outputs_that_are_not_there_are_refused),
    };
    skip_without_models();
    return cmocka_run_group_tests(tests, map_file, NULL);
}
