/* bodyscript process: videos and photos in, result folders out. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct process_args {
    cli_job_options job;
    const char *output;
    bool json, quiet;
    int64_t max_size; /* bytes; 0: no limit */
} process_args;

static const cli_option options[] = {
    {"output", 'o', "DIR", "results go to DIR/<file name without its extension>/ (results)"},
    CLI_JOB_OPTIONS,
    {"json", 'j', NULL, "progress and results as lines of JSON on standard output"},
    {"quiet", 'q', NULL, "nothing but errors"},
    {NULL, 0, NULL, NULL},
};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    process_args *args = opaque;
    bs_status status = cli_job_options_set(&args->job, option, value, err);
    if (status != BS_EOF)
        return status;
    if (!strcmp(option->name, "output")) {
        if (!*value)
            return bs_fail(err, BS_ERR_USAGE, "--output is '', but takes the name of a folder");
        args->output = value;
    } else if (!strcmp(option->name, "json")) {
        args->json = true;
    } else {
        args->quiet = true;
    }
    return BS_OK;
}

static const cli_command command = {
    "process",
    "process VIDEO… [-o DIR]",
    "Finds the people in videos and photos and writes, for each file, pose_data.csv, pose_data.json, output.mp4 with\n"
    "the skeleton drawn in (output.jpg for a photo), preview.mp4, thumbnail.jpg and metadata.json. Of a folder the\n"
    "media files in it are taken.",
    options,
    cli_job_settings,
    1,
    -1,
    set,
};

/* -- where results go ---------------------------------------------------------------------------------- */

/* The file's name without its extension; a name that would be no folder's becomes "video". */
static char *stem_of(const char *path)
{
    const char *name = cli_base_name(path), *dot = strrchr(name, '.');
    char *stem = dot && dot != name ? strndup(name, (size_t)(dot - name)) : strdup(name);
    if (stem && (!*stem || !strcmp(stem, ".") || !strcmp(stem, ".."))) {
        free(stem);
        stem = strdup("video");
    }
    return stem;
}

static bool is_taken(char **names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (names[i] && !strcmp(names[i], name))
            return true;
    return false;
}

/* A folder's name for each input: walk.mp4 goes to walk, another walk.mov of the same run to walk-2. */
static bs_status name_results(const cli_inputs *inputs, char **names, bs_error *err)
{
    for (int i = 0; i < inputs->count; i++) {
        char *stem = stem_of(inputs->path[i]);
        names[i] = NULL;
        char *name = stem ? strdup(stem) : NULL;
        for (int n = 2; name && is_taken(names, i, name); n++) {
            free(name);
            if (asprintf(&name, "%s-%d", stem, n) < 0)
                name = NULL;
        }
        free(stem);
        if (!name)
            return bs_fail(err, BS_ERR_NOMEM, "no memory for the names of results");
        names[i] = name;
    }
    return BS_OK;
}

/* -- one file ------------------------------------------------------------------------------------------ */

static unsigned wanted_files(const process_args *args, const bs_video_info *info)
{
    unsigned wanted = 1u << CLI_CSV | 1u << CLI_JSON | 1u << CLI_THUMBNAIL | 1u << CLI_METADATA;
    if (!args->job.no_video)
        wanted |= info->photo ? 1u << CLI_PHOTO : 1u << CLI_VIDEO | 1u << CLI_PREVIEW;
    return wanted;
}

static bs_outputs outputs_of(const process_args *args, cli_results *results)
{
    bs_outputs outputs = bs_outputs_none();
    outputs.csv_fd = results->fd[CLI_CSV];
    outputs.json_fd = results->fd[CLI_JSON];
    outputs.video_fd = results->fd[CLI_VIDEO] >= 0 ? results->fd[CLI_VIDEO] : results->fd[CLI_PHOTO];
    outputs.preview_fd = results->fd[CLI_PREVIEW];
    outputs.thumbnail_fd = results->fd[CLI_THUMBNAIL];
    outputs.opaque = results;
    if (args->job.save_frames)
        outputs.save_frame = cli_results_save_frame;
    return outputs;
}

static bs_status write_metadata(const process_args *args, const cli_results *results, const char *path,
                                bs_summary *summary, bs_models *models, bs_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* Unless it was taken before the job, it reads all of the weights: the peak is told after it. */
    const char *const model_sha256 = bs_models_sha256(models, bs_process_model(&args->job.process));
    summary->peak_memory = bs_memory_peak();
    bs_metadata_url urls[CLI_RESULT_FILES + 1] = {0};
    int n = 0;
    for (int i = 0; i < CLI_RESULT_FILES; i++)
        if (results->fd[i] >= 0)
            urls[n++] = (bs_metadata_url){cli_result_label((cli_result_file)i), cli_result_name((cli_result_file)i)};
    const bs_metadata metadata = {
        .filename = cli_base_name(path),
        .processed_at_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
        .options = &args->job.process,
        .no_video = args->job.no_video,
        .save_frames = args->job.save_frames,
        .summary = summary,
        .model_sha256 = model_sha256,
        .urls = urls,
    };
    return bs_metadata_write(results->fd[CLI_METADATA], &metadata, err);
}

/* Once, so that what is looked at, processed and hashed is one file, whatever takes its name meanwhile. What is not one
 * the reader refuses; a pipe without a writer does not stop us. */
static bs_status open_input(const process_args *args, const char *path, bs_input *input, bs_error *err)
{
    struct stat st;
    *input = (bs_input){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .name = path};
    if (input->fd < 0 || fstat(input->fd, &st) < 0)
        return bs_fail(err, BS_ERR_INPUT, "'%s' cannot be opened: %s", path, strerror(errno));
    if (args->max_size && st.st_size > args->max_size)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' has %.1f MB, and MAX_VIDEO_SIZE_MB allows %.0f", path,
                       (double)st.st_size / (1 << 20), (double)args->max_size / (1 << 20));
    return BS_OK;
}

/* What the file is, and whether a job on it fits: known before its results are made room for. */
static bs_status look(const process_args *args, const bs_input *input, bs_video_info *info, bs_estimate_parts *parts,
                      bs_error *err)
{
    const cli_job_options *job = &args->job;
    bs_status status = cli_inputs_probe(input, job->process.memory_limit, info, err);
    if (status != BS_OK)
        return status;
    const bs_outputs outputs = cli_job_options_outputs(job, info->photo);
    return bs_estimate(info, &job->process, &outputs, parts, err);
}

static bool interrupted(void *opaque)
{
    return cli_interrupted();
}

static bs_status process_input(const process_args *args, bs_models *models, const bs_input *input, const char *name,
                               cli_progress *progress, bs_summary *summary, char **folder, bs_error *err)
{
    const char *const path = input->path;
    const bs_callbacks callbacks = {cli_progress_report, interrupted, cli_progress_note, progress};
    bs_video_info info;
    cli_results results;
    bs_estimate_parts parts;
    bs_status status = look(args, input, &info, &parts, err);
    if (status == BS_OK)
        status = cli_results_open(&results, args->output, name, path, wanted_files(args, &info), err);
    if (status != BS_OK)
        return status;
    /* For the receipt. It reads all of the weights, which are reserved: so the job takes the same memory whether it
     * meets somebody or not. Where they are to leave memory once they were used, it waits until the rest has left. */
    if (!parts.frugal)
        bs_models_sha256(models, bs_process_model(&args->job.process));
    results.png = args->job.process.png;
    bs_outputs outputs = outputs_of(args, &results);
    status = bs_process(models, input, &args->job.process, &outputs, &callbacks, summary, err);
    if (status == BS_ERR_IO && results.frames_error)
        status = bs_fail(err, BS_ERR_IO, "the saved frames cannot be written: %s", strerror(results.frames_error));
    if (status == BS_OK)
        status = write_metadata(args, &results, path, summary, models, err);
    if (status == BS_OK && cli_interrupted())
        status = bs_fail(err, BS_ERR_CANCELLED, "stopped before '%s' was done", path);
    if (status == BS_OK)
        status = cli_results_keep(&results, err);
    if (status == BS_OK && !(*folder = strdup(results.folder)))
        status = bs_fail(err, BS_ERR_NOMEM, "no memory for a path");
    cli_results_drop(&results);
    return status;
}

/* On success the results are at their places and `folder`, the caller's to free, names where. */
static bs_status process_file(const process_args *args, bs_models *models, const char *path, const char *name,
                              cli_progress *progress, bs_summary *summary, char **folder, bs_error *err)
{
    bs_input input;
    bs_status status = open_input(args, path, &input, err);
    if (status == BS_OK)
        status = process_input(args, models, &input, name, progress, summary, folder, err);
    if (input.fd >= 0)
        close(input.fd);
    return status;
}

static void tell_result(const process_args *args, const char *path, const char *folder, const bs_summary *summary)
{
    if (args->json) {
        json_t *line = json_object();
        char *statistics = bs_metadata_statistics(&args->job.process, summary);
        json_object_set_new(line, "event", json_string("result"));
        json_object_set_new(line, "file", cli_json_text(path));
        json_object_set_new(line, "status", json_string("completed"));
        json_object_set_new(line, "folder", cli_json_text(folder));
        json_object_set_new(line, "statistics", json_loads(statistics ? statistics : "{}", 0, NULL));
        free(statistics);
        cli_print_json(line);
    } else if (!args->quiet) {
        char name[CLI_SHOWN], where[CLI_SHOWN];
        cli_shown(cli_base_name(path), name);
        fprintf(stderr, "%s: %lld frames, a person in %.0f %% of %lld analysed, %.1f s, peak %.0f MB → %s/\n", name,
                (long long)summary->frames_decoded, 100 * summary->detection_rate, (long long)summary->frames_analysed,
                summary->seconds, (double)summary->peak_memory / (1 << 20), cli_shown(folder, where));
        if (summary->advice[0])
            fprintf(stderr, "%s: %s\n", name, summary->advice);
    }
}

static void tell_failure(const process_args *args, const char *path, const bs_error *err)
{
    if (args->json) {
        json_t *line = json_object();
        json_object_set_new(line, "event", json_string("result"));
        json_object_set_new(line, "file", cli_json_text(path));
        json_object_set_new(line, "status", json_string(err->status == BS_ERR_CANCELLED ? "cancelled" : "failed"));
        json_object_set_new(line, "exit_code", json_integer(bs_exit_code(err->status)));
        json_object_set_new(line, "error", cli_json_text(err->text));
        cli_print_json(line);
    }
    cli_say(err);
}

/* -- all files ------------------------------------------------------------------------------------------ */

/* One bad file does not stop the others; the exit code is the first failure's. */
static int process_all(const process_args *args, bs_models *models, const cli_inputs *inputs, char **names)
{
    int exit_code = 0, failed = 0;
    for (int i = 0; i < inputs->count && !cli_interrupted(); i++) {
        const char *path = inputs->path[i];
        cli_progress progress;
        bs_summary summary;
        bs_error err = {0};
        char *folder = NULL;
        cli_progress_init(&progress, path, i + 1, inputs->count, args->json, args->quiet);
        bs_memory_peak_restart(); /* what is told of each file is its own */
        bs_status status = process_file(args, models, path, names[i], &progress, &summary, &folder, &err);
        cli_progress_end(&progress);
        if (status == BS_OK) {
            tell_result(args, path, folder, &summary);
        } else {
            tell_failure(args, path, &err);
            failed++;
            if (!exit_code)
                exit_code = bs_exit_code(status);
        }
        free(folder);
        if (i + 1 < inputs->count)
            bs_memory_trim();
    }
    if (cli_interrupted())
        return CLI_INTERRUPTED;
    if (failed && inputs->count > 1)
        fprintf(stderr, "bodyscript: %d of %d files failed\n", failed, inputs->count);
    return exit_code;
}

static int process_inputs(const process_args *args, const bs_settings *settings, const cli_inputs *inputs)
{
    bs_error err = {0};
    bs_models *models = NULL;
    bs_status status = BS_OK;
    char **names = calloc((size_t)inputs->count, sizeof(*names));
    if (!names)
        status = bs_fail(&err, BS_ERR_NOMEM, "no memory for the names of results");
    if (status == BS_OK)
        status = name_results(inputs, names, &err);
    if (status == BS_OK)
        status = bs_memory_bound(bs_memory_bound_for((uint64_t)settings->memory_limit_mb << 20), &err);
    if (status == BS_OK)
        status = bs_models_open(&models, NULL, BS_MODEL_BIT(bs_process_model(&args->job.process)), &err);
    const int exit_code = status == BS_OK ? process_all(args, models, inputs, names) : cli_fail(&err);
    bs_models_close(&models);
    for (int i = 0; names && i < inputs->count; i++)
        free(names[i]);
    free(names);
    return exit_code;
}

int cli_process(int argc, char **argv)
{
    process_args args = {.output = "results"};
    bs_settings settings;
    cli_inputs inputs = {0};
    int words, exit_code;
    cli_job_options_init(&args.job);
    if (!cli_parse(&command, argc, argv, &args, &settings, &words, &exit_code))
        return exit_code;
    cli_job_options_finish(&args.job, &settings);
    /* The limit is there for uploads; to one's own files it applies when it was asked for. */
    if (settings.origin[BS_SET_MAX_VIDEO_SIZE_MB] != BS_FROM_DEFAULT)
        args.max_size = settings.max_video_size_mb << 20;
    cli_catch_signals();
    exit_code = cli_inputs_add(&inputs, argv, words);
    if (inputs.count > 0) {
        const int code = process_inputs(&args, &settings, &inputs);
        exit_code = exit_code && code != CLI_INTERRUPTED ? exit_code : code;
    }
    cli_inputs_release(&inputs);
    bs_settings_release(&settings);
    return exit_code;
}
