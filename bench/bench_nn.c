/* bench_nn: milliseconds of one inference by model, instruction set and threads, beside the core's float32 peak and,
 * where this build has it, Debian's XNNPACK. Markdown on standard output.
 *
 *     taskset -c 0 bench_nn [--threads N, with as many CPUs in the mask] [--kinds] [--repeat N] FOLDER-OF-MODELS
 *
 * Everything that is compared runs in turn within each repetition, the loop that measures the peak too; the best time
 * of each is reported. One thread is measured by CPU time, which busy neighbours lengthen less than the clock; more
 * threads by the clock. The models are pruned as tracking prunes them (no segmentation), XNNPACK's graphs as well. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nn/nn.h"
#if BS_HAVE_XNNPACK
#include "../tests/oracle/xnn_graph.h"
#endif

static double now(bool of_thread)
{
    struct timespec t;
    clock_gettime(of_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- The core's peak: independent fused multiply-adds on registers, enough of them to hide their latency --------- */

#define TWELVE(instruction) \
    instruction "0\n" instruction "1\n" instruction "2\n" instruction "3\n" instruction "4\n" instruction \
                "5\n" instruction "6\n" instruction "7\n" instruction "8\n" instruction "9\n" instruction \
                "10\n" instruction "11\n"

#if defined(__x86_64__)
static void fma_avx2(long n)
{
    for (long i = 0; i < n; i++)
        __asm__ volatile(TWELVE("vfmadd231ps %%ymm12, %%ymm13, %%ymm")::
                             : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10",
                               "ymm11");
}

static void fma_avx512(long n)
{
    for (long i = 0; i < n; i++)
        __asm__ volatile(TWELVE("vfmadd231ps %%zmm12, %%zmm13, %%zmm")::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                               "xmm11");
}

static double fma_rate(void (*loop)(long), int lanes)
{
    const long n = 300000;
    double start = now(true);
    loop(n);
    return (double)n * 12 * lanes / (now(true) - start) * 1e-9;
}

/* GMAC/s of the widest vectors that this CPU has. */
static double measure_peak(void)
{
    double best = 0, wide = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        best = fma_rate(fma_avx2, 8);
    if (__builtin_cpu_supports("avx512f"))
        wide = fma_rate(fma_avx512, 16);
    return wide > best ? wide : best;
}
#elif defined(__aarch64__)
static double measure_peak(void)
{
    const long n = 300000;
    double start = now(true);
    for (long i = 0; i < n; i++)
        __asm__ volatile("fmla v0.4s, v16.4s, v17.4s\nfmla v1.4s, v16.4s, v17.4s\nfmla v2.4s, v16.4s, v17.4s\n"
                         "fmla v3.4s, v16.4s, v17.4s\nfmla v4.4s, v16.4s, v17.4s\nfmla v5.4s, v16.4s, v17.4s\n"
                         "fmla v6.4s, v16.4s, v17.4s\nfmla v7.4s, v16.4s, v17.4s\nfmla v8.4s, v16.4s, v17.4s\n"
                         "fmla v9.4s, v16.4s, v17.4s\nfmla v10.4s, v16.4s, v17.4s\nfmla v11.4s, v16.4s, v17.4s\n" ::
                             : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11");
    return (double)n * 12 * 4 / (now(true) - start) * 1e-9;
}
#else
static double measure_peak(void)
{
    return 0;
}
#endif

/* --- What is timed ------------------------------------------------------------------------------------- */

enum { MAX_VARIANTS = 16, MAX_REPEAT = 1000 };

typedef struct variant {
    char name[32];
    bs_nn *nn;
#if BS_HAVE_XNNPACK
    xnn_graph *xnn;
#endif
    int threads;
    double best; /* seconds */
} variant;

typedef struct model_bench {
    bs_nn_model *model;
    unsigned outputs;
    variant variants[MAX_VARIANTS];
    int count;
    double peak, open_ms;
} model_bench;

static void add_ours(model_bench *b, const char *isa, int threads)
{
    variant *v = &b->variants[b->count];
    const bs_nn_options options = {.outputs = b->outputs, .isa = isa, .threads = threads};
    *v = (variant){.threads = threads, .best = 1e9};
    if (bs_nn_open(&v->nn, b->model, &options, NULL) < 0)
        return; /* a CPU without these instructions */
    snprintf(v->name, sizeof(v->name), "%s", isa);
    b->count++;
}

static void add_xnnpack(model_bench *b, int threads)
{
#if BS_HAVE_XNNPACK
    variant *v = &b->variants[b->count];
    *v = (variant){.threads = threads, .best = 1e9, .name = "XNNPACK"};
    if ((v->xnn = xnn_graph_open(b->model, b->outputs, threads)))
        b->count++;
#endif
}

/* Noise over the range of pixels: convolutions take the same time for any numbers that are not sub-normal. */
static void fill(float *input, bs_nn_shape s)
{
    for (size_t i = 0; i < (size_t)s.height * s.width * s.channels; i++) {
        double q = (double)i * 0.6180339887498949;
        input[i] = (float)(q - floor(q));
    }
}

static void time_once(model_bench *b, variant *v)
{
    const bs_nn_shape s = bs_nn_model_input_shape(b->model);
    double start;
    if (v->nn) {
        fill(bs_nn_input(v->nn), s);
        start = now(v->threads == 1);
        bs_nn_run(v->nn, NULL);
    } else {
#if BS_HAVE_XNNPACK
        fill(xnn_graph_input(v->xnn), s);
        start = now(v->threads == 1);
        xnn_graph_run(v->xnn);
#else
        return;
#endif
    }
    double took = now(v->threads == 1) - start;
    v->best = took < v->best ? took : v->best;
}

static void print_kinds(model_bench *b, int repeat)
{
    bs_nn_profile_entry entries[16];
    bs_nn *nn = b->variants[0].nn;
    bs_nn_profile(nn, true);
    for (int i = 0; i < repeat; i++) {
        fill(bs_nn_input(nn), bs_nn_model_input_shape(b->model));
        bs_nn_run(nn, NULL);
    }
    int count = bs_nn_profile_read(nn, entries, 16);
    printf("\n| %s, by operator | count | ms | MMAC | %% of peak |\n|---|---|---|---|---|\n", bs_nn_isa(nn));
    for (int i = 0; i < count; i++)
        printf("| %s | %d | %.3f | %.1f | %.0f |\n", entries[i].kind, entries[i].count / repeat,
               entries[i].seconds * 1e3 / repeat, entries[i].mmac / repeat,
               entries[i].seconds > 0 ? entries[i].mmac * 1e-3 / entries[i].seconds / b->peak * 100 : 0);
    printf("\n");
    bs_nn_profile(nn, false);
}

static void print_rows(const model_bench *b, const char *name)
{
    for (int i = 0; i < b->count; i++) {
        const variant *v = &b->variants[i];
        double mmac = bs_nn_mmac(b->variants[0].nn), rate = mmac * 1e-3 / v->best;
        char memory[32] = "";
        if (v->nn)
            snprintf(memory, sizeof(memory), "%.1f",
                     (double)(bs_nn_memory(v->nn) + bs_nn_model_memory(b->model)) / 1e6);
        printf("| %s | %s | %d | %.2f | %.1f | %.0f | %s |\n", name, v->name, v->threads, v->best * 1e3, rate,
               b->peak > 0 ? rate / b->peak / v->threads * 100 : 0, memory);
    }
    printf("\nPeak of the core: %.1f GMAC/s; the model was open in %.2f ms.\n\n", b->peak, b->open_ms);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool bench_model(const char *folder, const char *name, unsigned outputs, int threads, int repeat, bool kinds)
{
    static const char *const isas[] = {"avx512", "avx2", "sse2", "neon", "portable"};
    char path[4096];
    bs_error err = {0};
    model_bench b = {.outputs = outputs};
    snprintf(path, sizeof(path), "%s/%s.tflite", folder, name);
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof(cpus), &cpus);
    double start = now(true);
    if (bs_nn_model_open(&b.model, path, &err) < 0) {
        fprintf(stderr, "bench_nn: %s\n", err.text);
        return false;
    }
    for (int t = 1; t <= threads; t += threads > 1 ? threads - 1 : 1) {
        for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
            add_ours(&b, isas[i], t);
            if (b.count == 1 && !b.open_ms)
                b.open_ms = (now(true) - start) * 1e3;
        }
        if (t == 1 || CPU_COUNT(&cpus) >= t) /* its workers spin: with fewer CPUs than threads it takes seconds */
            add_xnnpack(&b, t);
    }
    double peaks[MAX_REPEAT];
    for (int r = 0; r < repeat; r++) {
        peaks[r] = measure_peak();
        for (int i = 0; i < b.count; i++)
            if (strcmp(b.variants[i].name, "portable") || r == 0)
                time_once(&b, &b.variants[i]);
    }
    qsort(peaks, (size_t)repeat, sizeof(peaks[0]), by_value);
    b.peak = peaks[repeat * 3 / 4]; /* high, but not a slip of the clock */
    printf("| model | kernels | threads | ms | GMAC/s | %% of peak | private MB |\n|---|---|---|---|---|---|---|\n");
    print_rows(&b, name);
    if (kinds)
        print_kinds(&b, repeat);
    for (int i = 0; i < b.count; i++) {
        bs_nn_close(&b.variants[i].nn);
#if BS_HAVE_XNNPACK
        xnn_graph_close(b.variants[i].xnn);
#endif
    }
    bs_nn_model_close(&b.model);
    return true;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"pose_detection", "pose_landmark_lite", "pose_landmark_full",
                                        "pose_landmark_heavy"};
    const char *folder = NULL;
    int threads = 1, repeat = 15;
    bool kinds = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--kinds"))
            kinds = true;
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
            repeat = atoi(argv[++i]);
        else
            folder = argv[i];
    }
    if (!folder || threads < 1 || threads > 64 || repeat < 1 || repeat > MAX_REPEAT) {
        fprintf(stderr, "usage: bench_nn [--threads N] [--kinds] [--repeat N] FOLDER-OF-MODELS\n");
        return 2;
    }
    for (size_t m = 0; m < sizeof(names) / sizeof(names[0]); m++)
        if (!bench_model(folder, names[m], m ? 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 : 0, threads, repeat, kinds))
            return 1;
    return 0;
}
