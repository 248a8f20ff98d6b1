/* Prints a hash of the bits of every output of every model, and of many single steps on odd shapes, computed by this
 * CPU's best kernels. test_neon.py builds it for AArch64, runs it under an emulator, and compares what it prints with
 * what the same program prints on the host.
 *
 * usage: runner MODEL.tflite… */
#include <stdio.h>

/* What nn_steps.h asks of a test framework. */
#define assert_non_null(p)           ((p) ? (void)0 : abort())
#define assert_memory_equal(a, b, n) (memcmp(a, b, n) ? abort() : (void)0)
#define fail_msg(...)                (fprintf(stderr, __VA_ARGS__), abort())

#include "../unit/nn_models.h"
#include "../unit/nn_steps.h"

/* FNV-1a, 64 bits. */
static uint64_t hash(const void *data, size_t size, uint64_t h)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void run_steps(int count)
{
    const bs_nn_kernels *kernels = bs_nn_kernels_at(0);
    uint32_t seed = 11;
    for (int i = 0; i < count; i++) {
        test_step t;
        make_test_step(&t, random_kind(&seed), &seed);
        run_test_step(&t, kernels, 1 + i % 3);
        printf("step %d kind %d: %016llx\n", i, t.step.kind,
               (unsigned long long)hash(t.out, t.out_count * sizeof(float), 0xcbf29ce484222325u));
        free_test_step(&t);
    }
}

static int run_model(const char *path, bool centred)
{
    const test_model range = {path, centred ? -1 : 0, 1};
    bs_nn_model *graph = NULL;
    bs_nn *nn = NULL;
    bs_error err = {0};
    if (bs_nn_model_open(&graph, path, &err) < 0 || bs_nn_open(&nn, graph, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        bs_nn_model_close(&graph);
        return 1;
    }
    fprintf(stderr, "kernels: %s\n", bs_nn_isa(nn));
    fill_test_input(&range, graph, bs_nn_input(nn));
    bs_nn_run(nn, &err);
    for (int o = 0; o < bs_nn_model_output_count(graph); o++) {
        const bs_nn_shape s = bs_nn_model_output_shape(graph, o);
        printf("%s output %d: %016llx\n", path, o,
               (unsigned long long)hash(bs_nn_output(nn, o), sizeof(float) * s.height * s.width * s.channels,
                                        0xcbf29ce484222325u));
    }
    bs_nn_close(&nn);
    bs_nn_model_close(&graph);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    run_steps(200);
    for (int i = 1; i < argc; i++)
        failed |= run_model(argv[i], strstr(argv[i], "detection") != NULL);
    return failed;
}
