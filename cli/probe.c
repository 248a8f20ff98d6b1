/* bodyscript probe: what a video is, and what a job on it reserves. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef struct probe_args {
    cli_job_options job;
    bool json;
} probe_args;

static const cli_option options[] = {
    {"json", 'j', NULL, "as JSON: one object for each file"},
    CLI_JOB_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    probe_args *args = opaque;
    bs_status status = cli_job_options_set(&args->job, option, value, err);
    if (status == BS_EOF)
        args->json = true;
    return status == BS_EOF ? BS_OK : status;
}

static const cli_command command = {
    "probe",
    "probe VIDEO… [--json]",
    "Reads a file's header and tells what is in it, and the memory that `process` with the same options would\n"
    "reserve before it starts.",
    options,
    cli_job_settings,
    1,
    -1,
    set,
};

static double megabytes(uint64_t bytes)
{
    return (double)(int64_t)((double)bytes / (1 << 20) * 10 + 0.5) / 10;
}

/* X(field, what it is for) */
#define PARTS(X) \
    X(base, "program, libraries, stacks") \
    X(model, "pose engine and the weights in use") \
    X(demuxer, "container") \
    X(decoder, "decoder and its reference frames") \
    X(frames, "frames on their way") \
    X(convert, "conversion of frames") \
    X(encoder, "encoders of overlay and preview") \
    X(outputs, "buffers of the result files")

static void print_text(const char *path, const bs_video_info *info, const bs_estimate_parts *parts, uint64_t limit)
{
    static const char *const turns[] = {"",
                                        ", mirrored",
                                        ", turned by 180°",
                                        ", flipped",
                                        ", transposed",
                                        ", turned by 90°",
                                        ", transversed",
                                        ", turned by 270°"};
    char shown[CLI_SHOWN];
    printf("%s\n", cli_shown(path, shown));
    printf("  %s: %s%s%s, %s, %d×%d", info->container, info->codec, info->profile[0] ? " " : "", info->profile,
           info->pixel_format, info->width, info->height);
    printf("%s%s%s\n", turns[info->orientation & 7], info->interlaced ? ", interlaced" : "", info->hdr ? ", HDR" : "");
    if (!info->photo)
        printf("  %.2f s, %" PRId64 " frames, %.3f per second, sound: %s\n", (double)info->duration_us / 1e6,
               info->frames, info->frame_rate, info->audio_codec[0] ? info->audio_codec : "none");
    printf("  reserves %.1f MB of %.0f MB:\n", megabytes(parts->total), megabytes(limit));
#define X(field, meaning) printf("    %-8s %6.1f MB  %s\n", #field, megabytes(parts->field), meaning);
    PARTS(X)
#undef X
    if (parts->lean[0])
        printf("  %s\n", parts->lean);
}

static void print_json(const char *path, const bs_video_info *info, const bs_estimate_parts *parts, uint64_t limit,
                       bs_status fits, const bs_error *err)
{
    json_t *object = json_object(), *memory = json_object();
    char *info_text = bs_video_info_text(info);
    json_object_set_new(object, "file", cli_json_text(path));
    json_object_set_new(object, "video_info", json_loads(info_text ? info_text : "{}", 0, NULL));
    json_object_set_new(object, "reserved_memory_mb", json_real(megabytes(parts->total)));
    json_object_set_new(object, "memory_limit_mb", json_real(megabytes(limit)));
#define X(field, meaning) json_object_set_new(memory, #field "_mb", json_real(megabytes(parts->field)));
    PARTS(X)
#undef X
    json_object_set_new(object, "memory", memory);
    json_object_set_new(object, "decoder_threads", json_integer(parts->decoder_threads));
    json_object_set_new(object, "encoder_threads", json_integer(parts->encoder_threads));
    json_object_set_new(object, "output_width", json_integer(parts->output_width));
    json_object_set_new(object, "output_height", json_integer(parts->output_height));
    json_object_set_new(object, "leaner_settings", json_string(parts->lean));
    json_object_set_new(object, "fits", json_boolean(fits == BS_OK));
    json_object_set_new(object, "error", fits == BS_OK ? json_null() : cli_json_text(err->text));
    free(info_text);
    cli_print_json(object);
}

static int probe(const probe_args *args, const char *path)
{
    bs_error err = {0};
    bs_video_info info;
    bs_estimate_parts parts = {0};
    const bs_input input = {.path = path, .fd = -1, .name = path};
    if (cli_inputs_probe(&input, args->job.process.memory_limit, &info, &err) != BS_OK)
        return cli_fail_of(path, &err);
    bs_outputs outputs = cli_job_options_outputs(&args->job, info.photo);
    bs_status fits = bs_estimate(&info, &args->job.process, &outputs, &parts, &err);
    if (args->json)
        print_json(path, &info, &parts, args->job.process.memory_limit, fits, &err);
    else
        print_text(path, &info, &parts, args->job.process.memory_limit);
    return fits == BS_OK ? 0 : cli_say(&err);
}

int cli_probe(int argc, char **argv)
{
    probe_args args = {0};
    bs_settings settings;
    cli_inputs inputs = {0};
    int words, exit_code;
    cli_job_options_init(&args.job);
    if (!cli_parse(&command, argc, argv, &args, &settings, &words, &exit_code))
        return exit_code;
    cli_job_options_finish(&args.job, &settings);
    exit_code = cli_inputs_add(&inputs, argv, words);
    for (int i = 0; i < inputs.count; i++) {
        int code = probe(&args, inputs.path[i]);
        exit_code = exit_code ? exit_code : code;
    }
    cli_inputs_release(&inputs);
    bs_settings_release(&settings);
    return exit_code;
}
