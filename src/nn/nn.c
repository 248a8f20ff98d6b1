/* Opens plans, chooses kernels, runs them (see nn.h). */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if BS_HAVE_PTHREADPOOL
#include <pthreadpool.h>
#else
typedef void *pthreadpool_t;
#endif

#include "chain.h"

struct bs_nn_arena {
    float *floats;
    size_t count;
};

enum { PROFILE_KINDS = 16, MAX_THREADS = 64, DROP_BYTES = 512 * 1024 };

struct bs_nn {
    const bs_nn_model *model;
    const bs_nn_kernels *kernels;
    bs_nn_plan plan;
    bs_nn_arena own, *arena;
    const float *bound; /* the arena's place that the steps' pointers are for */
    size_t scratch_at;  /* in the arena, in floats */
    size_t scratch;     /* per thread */
    int threads;
    pthreadpool_t pool; /* NULL: the caller's thread alone */
    pid_t pool_owner;
    const bs_nn_step *last_shared;
    bool profiling, drop_weights;
    int kinds;
    bs_nn_profile_entry profile[PROFILE_KINDS];
};

/* --- Arena --------------------------------------------------------------------------------------------- */

static bs_status arena_grow(bs_nn_arena *arena, size_t count, bs_error *err)
{
    if (count <= arena->count)
        return BS_OK;
    float *floats = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (!floats)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the %zu KB of activations of a model", count >> 8);
    free(arena->floats);
    arena->floats = floats;
    arena->count = count;
    return BS_OK;
}

bs_status bs_nn_arena_open(bs_nn_arena **out, bs_error *err)
{
    bs_nn_arena *arena = calloc(1, sizeof(*arena));
    if (!arena)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for an arena");
    *out = arena;
    return BS_OK;
}

void bs_nn_arena_close(bs_nn_arena **arena)
{
    if (!*arena)
        return;
    free((*arena)->floats);
    free(*arena);
    *arena = NULL;
}

size_t bs_nn_arena_memory(const bs_nn_arena *arena)
{
    return sizeof(*arena) + arena->count * sizeof(float);
}

/* Points the steps into the arena, which may have moved since the last time. */
static void bind_steps(bs_nn *nn)
{
    float *base = nn->arena->floats;
    if (nn->bound == base)
        return;
    for (int i = 0; i < nn->plan.step_count; i++) {
        bs_nn_step *s = &nn->plan.steps[i];
        s->in = i > 0 && s[-1].linked ? NULL : base + s->in_at;
        s->out = s->linked ? NULL : base + s->out_at;
        s->other = s->other_channels ? base + s->other_at : NULL;
    }
    nn->bound = base;
}

/* --- Open and close ------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
/* __builtin_cpu_supports knows "f16c" in clang and in newer GCCs only. */
static bool cpu_has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* The best first. */
static const bs_nn_kernels *const all_kernels[] = {
#if defined(__x86_64__)
    &bs_nn_avx512,
    &bs_nn_avx2,
    &bs_nn_sse2,
#elif defined(__aarch64__)
    &bs_nn_neon,
#endif
    &bs_nn_portable,
};

static bool cpu_has(const bs_nn_kernels *kernels)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
    if (kernels == &bs_nn_avx2)
        return avx2;
    if (kernels == &bs_nn_avx512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
#endif
    return true;
}

const bs_nn_kernels *bs_nn_kernels_at(int index)
{
    for (size_t i = 0; i < sizeof(all_kernels) / sizeof(all_kernels[0]); i++)
        if (cpu_has(all_kernels[i]) && index-- == 0)
            return all_kernels[i];
    return NULL;
}

static const bs_nn_kernels *choose_kernels(const char *isa)
{
    const bs_nn_kernels *kernels = bs_nn_kernels_at(0);
    for (int i = 0; kernels && isa && strcmp(isa, kernels->name); kernels = bs_nn_kernels_at(i))
        i++;
    return kernels;
}

static size_t scratch_need(const bs_nn *nn)
{
    size_t most = 0;
    for (int i = 0; i < nn->plan.step_count; i += bs_nn_chain_length(&nn->plan.steps[i])) {
        size_t need = bs_nn_chain_scratch(nn->kernels, &nn->plan.steps[i]);
        most = need > most ? need : most;
    }
    return (most + 15) / 16 * 16;
}

#if BS_HAVE_PTHREADPOOL
/* A step with less work than this is over before another thread has woken. */
static bool worth_sharing(const bs_nn_step *s)
{
    return s->mmac > 0.1 || (size_t)s->out_shape.height * s->out_shape.width * s->out_shape.channels > 16384;
}

/* Waiting workers spin: more of them than CPUs would wait for each other's time slices. */
static int usable_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}
#endif

/* Threads beside the caller's, where they are asked for and this build has them. */
static bs_status open_pool(bs_nn *nn, int threads, bs_error *err)
{
    if (threads > MAX_THREADS)
        return bs_fail(err, BS_ERR_USAGE, "%d threads for one inference are too many; at most %d", threads,
                       MAX_THREADS);
#if BS_HAVE_PTHREADPOOL
    threads = threads < usable_cpus() ? threads : usable_cpus();
    if (threads <= 1)
        return BS_OK;
    if (!(nn->pool = pthreadpool_create((size_t)threads)))
        return bs_fail(err, BS_ERR_NOMEM, "cannot start %d threads", threads);
    nn->threads = threads;
    nn->pool_owner = getpid();
    for (int i = 0; i < nn->plan.step_count; i += bs_nn_chain_length(&nn->plan.steps[i]))
        if (worth_sharing(&nn->plan.steps[i]))
            nn->last_shared = &nn->plan.steps[i];
#endif
    return BS_OK;
}

/* In a fork the pool's threads are not there, and whoever waits for them waits for ever: it goes on with its own. */
static void leave_pool_behind(bs_nn *nn)
{
    if (nn->pool && nn->pool_owner != getpid()) {
        nn->pool = NULL;
        nn->threads = 1;
    }
}

bs_status bs_nn_open(bs_nn **out, const bs_nn_model *model, const bs_nn_options *options, bs_error *err)
{
    static const bs_nn_options defaults = {0};
    bs_status status;
    options = options ? options : &defaults;
    const bs_nn_kernels *kernels = choose_kernels(options->isa);
    if (!kernels)
        return bs_fail(err, BS_ERR_USAGE, "this program or CPU has no '%s' instructions for models", options->isa);
    bs_nn *nn = calloc(1, sizeof(*nn));
    if (!nn)
        return bs_fail(err, BS_ERR_NOMEM, "no memory to open a model");
    nn->model = model;
    nn->kernels = kernels;
    nn->threads = 1;
    nn->drop_weights = options->drop_weights;
    nn->arena = options->arena ? options->arena : &nn->own;
    if ((status = bs_nn_plan_make(&nn->plan, model, options->outputs, err)) < 0)
        goto fail;
    if ((status = open_pool(nn, options->threads, err)) < 0)
        goto fail;
    nn->scratch = scratch_need(nn);
    nn->scratch_at = nn->plan.arena;
    if ((status = arena_grow(nn->arena, nn->scratch_at + nn->scratch * (size_t)nn->threads, err)) < 0)
        goto fail;
    bind_steps(nn);
    *out = nn;
    return BS_OK;
fail:
    bs_nn_close(&nn);
    return status;
}

void bs_nn_close(bs_nn **nn)
{
    if (!*nn)
        return;
    leave_pool_behind(*nn);
#if BS_HAVE_PTHREADPOOL
    if ((*nn)->pool)
        pthreadpool_destroy((*nn)->pool);
#endif
    bs_nn_plan_release(&(*nn)->plan);
    free((*nn)->own.floats);
    free(*nn);
    *nn = NULL;
}

/* --- Run ----------------------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The caller's CPU time, which busy neighbours do not lengthen. */
static double cpu_now(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

/* Where threads share the work. */
static double wall_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static const char *kind_name(const bs_nn_step *s)
{
    static const char *const names[BS_NN_KINDS] = {[BS_NN_CONV] = "conv k×k",
                                                   [BS_NN_DEPTHWISE] = "depthwise",
                                                   [BS_NN_ADD] = "add",
                                                   [BS_NN_PAD] = "pad",
                                                   [BS_NN_MAX_POOL] = "max pool",
                                                   [BS_NN_RESIZE] = "resize",
                                                   [BS_NN_DEPTH_TO_SPACE] = "depth to space",
                                                   [BS_NN_CONCAT] = "concat",
                                                   [BS_NN_LOGISTIC] = "logistic"};
    return s->kind == BS_NN_CONV && s->kernel_h == 1 && s->kernel_w == 1 ? "conv 1×1" : names[s->kind];
}

static void record(bs_nn *nn, const bs_nn_step *s, double took)
{
    const char *name = kind_name(s);
    int i = 0;
    while (i < nn->kinds && nn->profile[i].kind != name)
        i++;
    if (i == PROFILE_KINDS)
        return;
    nn->kinds = i < nn->kinds ? nn->kinds : i + 1;
    nn->profile[i].kind = name;
    nn->profile[i].seconds += took;
    nn->profile[i].mmac += s->mmac;
    nn->profile[i].count++;
}

#if BS_HAVE_PTHREADPOOL
typedef struct shared_steps {
    bs_nn *nn;
    const bs_nn_step *steps;
    bs_nn_meter *meter;
} shared_steps;

static void run_part(void *context, size_t part)
{
    const shared_steps *shared = context;
    bs_nn *nn = shared->nn;
    bs_nn_chain_run(nn->kernels, shared->steps, nn->arena->floats + nn->scratch_at + part * nn->scratch, (int)part,
                    nn->threads, part == 0 ? shared->meter : NULL);
}
#endif

/* Runs the chain that begins with the first of `steps`. */
static void run_chain(bs_nn *nn, const bs_nn_step *steps, bs_nn_meter *meter)
{
#if BS_HAVE_PTHREADPOOL
    if (nn->pool && worth_sharing(steps)) {
        shared_steps shared = {.nn = nn, .steps = steps, .meter = meter};
        /* Workers wait for the next steps in a busy loop; after the last ones they sleep. */
        uint32_t flags = steps == nn->last_shared ? PTHREADPOOL_FLAG_YIELD_WORKERS : 0;
        pthreadpool_parallelize_1d(nn->pool, run_part, &shared, (size_t)nn->threads, flags);
        return;
    }
#endif
    bs_nn_chain_run(nn->kernels, steps, nn->arena->floats + nn->scratch_at, 0, 1, meter);
}

bs_status bs_nn_run(bs_nn *nn, bs_error *err)
{
    size_t used = 0;
    leave_pool_behind(nn);
    bind_steps(nn);
    for (int i = 0, length; i < nn->plan.step_count; i += length) {
        const bs_nn_step *const steps = &nn->plan.steps[i];
        bs_nn_meter meter = {.now = nn->threads > 1 ? wall_now : cpu_now};
        length = bs_nn_chain_length(steps);
        run_chain(nn, steps, nn->profiling ? &meter : NULL);
        for (int k = 0; k < length; k++) {
            if (nn->profiling)
                record(nn, &steps[k], meter.seconds[k]);
            used += steps[k].weights.count * steps[k].weights.value_bytes;
        }
        if (nn->drop_weights && (used >= DROP_BYTES || i + length == nn->plan.step_count)) {
            bs_nn_model_drop_pages(nn->model);
            used = 0;
        }
    }
    return BS_OK;
}

float *bs_nn_input(bs_nn *nn)
{
    return nn->arena->floats + nn->plan.input_at;
}

const float *bs_nn_output(const bs_nn *nn, int output)
{
    if (output < 0 || output >= nn->model->output_count || !(nn->plan.outputs >> output & 1))
        return NULL;
    return nn->arena->floats + nn->plan.output_at[output];
}

size_t bs_nn_memory(const bs_nn *nn)
{
    return sizeof(*nn) + nn->plan.memory + nn->own.count * sizeof(float);
}

double bs_nn_mmac(const bs_nn *nn)
{
    return nn->plan.mmac;
}

const char *bs_nn_isa(const bs_nn *nn)
{
    return nn ? nn->kernels->name : choose_kernels(NULL)->name;
}

void bs_nn_profile(bs_nn *nn, bool on)
{
    nn->profiling = on;
    nn->kinds = 0;
    memset(nn->profile, 0, sizeof(nn->profile));
}

int bs_nn_profile_read(const bs_nn *nn, bs_nn_profile_entry *entries, int capacity)
{
    int count = nn->kinds < capacity ? nn->kinds : capacity;
    memcpy(entries, nn->profile, sizeof(*entries) * (size_t)count);
    return count;
}
