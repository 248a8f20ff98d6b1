/* bodyscript bench: speed and memory of this machine on one video.
 *
 * Every job runs in a process of its own, so that its peak of memory is its own. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct bench_args {
    cli_job_options job;
    bool json;
} bench_args;

static const cli_option options[] = {
    {"json", 'j', NULL, "as JSON: one object for each measured job"},
    CLI_JOB_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    bench_args *args = opaque;
    const bs_status status = cli_job_options_set(&args->job, option, value, err);
    if (status == BS_EOF)
        args->json = true;
    return status == BS_EOF ? BS_OK : status;
}

static const cli_command command = {
    "bench",
    "bench [VIDEO] [--json]",
    "Runs each model over VIDEO (the sample clip that ./dev test fetches, unless given), once for the pose data alone\n"
    "and once with everything, and tells speed, stages and peak memory. Results are thrown away.",
    options,
    cli_job_settings,
    0,
    1,
    set,
};

/* What a measured job tells its parent. */
typedef struct report {
    bs_status status;
    bs_error err;
    bs_summary summary;
} report;

/* A file in memory would count as the job's: results go to a file without a name. */
static int nameless_file(bs_error *err)
{
    char path[] = "/tmp/bodyscript-bench.XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        bs_fail(err, BS_ERR_IO, "no temporary file in /tmp: %s", strerror(errno));
    else
        unlink(path);
    return fd;
}

static bs_status measure_here(const cli_job_options *job, const char *path, bool everything, report *out)
{
    bs_models *models = NULL;
    const bs_input input = {.path = path, .fd = -1, .name = path};
    bs_outputs outputs = bs_outputs_none();
    int *const fds[] = {&outputs.csv_fd, &outputs.json_fd, &outputs.video_fd, &outputs.preview_fd,
                        &outputs.thumbnail_fd};
    bs_status status = bs_models_open(&models, NULL, BS_MODEL_BIT(bs_process_model(&job->process)), &out->err);
    for (int i = 0; i < (everything ? 5 : 1) && status == BS_OK; i++)
        if ((*fds[i] = nameless_file(&out->err)) < 0)
            status = out->err.status;
    if (status == BS_OK)
        status = bs_process(models, &input, &job->process, &outputs, NULL, &out->summary, &out->err);
    bs_models_close(&models);
    return status;
}

static bs_status measure(const cli_job_options *job, const char *path, bool everything, report *out)
{
    report *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return bs_fail(&out->err, BS_ERR_NOMEM, "no memory for a report");
    *shared = (report){.status = BS_ERR_FAILED};
    bs_fail(&shared->err, BS_ERR_FAILED, "the measured process died");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody waits for the figures of a bench that was stopped */
        shared->status = measure_here(job, path, everything, shared);
        _exit(0);
    }
    int ended;
    while (child > 0 && waitpid(child, &ended, 0) < 0 && errno == EINTR)
        ;
    if (child < 0)
        bs_fail(&shared->err, BS_ERR_FAILED, "no process to measure in: %s", strerror(errno));
    *out = *shared;
    munmap(shared, sizeof(*shared));
    return out->status;
}

/* What a measured job came to. Times of the stages are milliseconds per frame, of pose per analysed frame. */
typedef struct row {
    const char *model, *outputs;
    double seconds, frames_per_second, pose, decode, convert, draw, encode, peak_mb;
} row;

static row row_of(const char *model, bool everything, const bs_summary *s)
{
    const double frames = s->frames_decoded > 0 ? (double)s->frames_decoded : 1;
    const double analysed = s->frames_analysed > 0 ? (double)s->frames_analysed : 1;
    return (row){model,
                 everything ? "everything" : "csv",
                 s->seconds,
                 frames / s->seconds,
                 1000 * s->stage.pose / analysed,
                 1000 * s->stage.decode / frames,
                 1000 * s->stage.convert / frames,
                 1000 * s->stage.draw / frames,
                 1000 * s->stage.encode / frames,
                 (double)s->peak_memory / (1 << 20)};
}

static void print_text(const row *r)
{
    printf("%-6s %-10s %8.2f %8.0f %9.2f %8.2f %8.2f %8.2f %8.2f %8.1f\n", r->model, r->outputs, r->seconds,
           r->frames_per_second, r->pose, r->decode, r->convert, r->draw, r->encode, r->peak_mb);
    fflush(stdout);
}

static void print_json(const char *path, const row *r)
{
    cli_print_json(json_pack("{s:o, s:s, s:s, s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f}, s:f}", "file", cli_json_text(path),
                             "model", r->model, "outputs", r->outputs, "seconds", r->seconds, "frames_per_second",
                             r->frames_per_second, "stage_ms", "pose", r->pose, "decode", r->decode, "convert",
                             r->convert, "draw", r->draw, "encode", r->encode, "peak_memory_mb", r->peak_mb));
}

static int bench(bench_args *args, const char *path)
{
    cli_job_options *job = &args->job;
    const int wanted = job->process.model;
    char shown[CLI_SHOWN];
    if (!args->json)
        printf("%s\n\n%-6s %-10s %8s %8s %9s %8s %8s %8s %8s %8s\n", cli_shown(path, shown), "model", "outputs",
               "seconds", "frames/s", "pose ms", "decode", "convert", "draw", "encode", "peak MB");
    for (int kind = 0; kind < BS_MODEL_KINDS; kind++) {
        if (wanted >= 0 && wanted != kind)
            continue;
        job->process.model = kind;
        for (int everything = 0; everything < (job->no_video ? 1 : 2); everything++) {
            report r;
            if (measure(job, path, everything, &r) != BS_OK)
                return cli_fail_of(path, &r.err);
            const row figures = row_of(bs_model_name((bs_model_kind)kind), everything, &r.summary);
            if (args->json)
                print_json(path, &figures);
            else
                print_text(&figures);
        }
    }
    if (!args->json)
        printf("\npose: ms per analysed frame; the other stages: ms per frame. Stages overlap.\n");
    return 0;
}

/* The sample clip lies beside the program in the build folder. */
static bs_status sample(char *out, size_t size, bs_error *err)
{
    char program[3072];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    snprintf(out, size, "%.*s/media/sample.mp4", slash ? (int)(slash - program) : 0, program);
    if (access(out, R_OK) == 0)
        return BS_OK;
    return bs_fail(err, BS_ERR_USAGE, "the sample clip is not here (%s); name a video to measure with", out);
}

int cli_bench(int argc, char **argv)
{
    bench_args args = {0};
    bs_settings settings;
    bs_error err = {0};
    char path[4096];
    int words, exit_code;
    cli_job_options_init(&args.job);
    if (!cli_parse(&command, argc, argv, &args, &settings, &words, &exit_code))
        return exit_code;
    cli_job_options_finish(&args.job, &settings);
    if (!words && sample(path, sizeof(path), &err) != BS_OK)
        exit_code = cli_fail(&err);
    else
        exit_code = bench(&args, words ? argv[0] : path);
    bs_settings_release(&settings);
    return exit_code;
}
