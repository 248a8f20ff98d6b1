/* pipeline: the single pass from a video to its pose data and overlay (see bodyscript/pipeline.h and job.h).
 *
 * This file opens what a job needs, starts its stages (stages.c), waits for them and sums up. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <bodyscript/memory.h>
#include <bodyscript/sha256.h>

#include "pipeline/estimate.h"
#include "pipeline/job.h"

enum {
    TICK_MS = 20,            /* how often the caller is asked whether to stop */
    PROGRESS_MS = 100,       /* how often progress is reported */
    HASH_PIECE = 128 * 1024, /* bytes read at once for the input's hash */
    HASH_PER_TICK = 64,      /* pieces at most between two questions */
};

/* The input's hash, reckoned by the calling thread while it waits. */
typedef struct input_hash {
    int fd;
    bool own_fd, done;
    int64_t offset, size; /* of the file, when it was opened */
    uint8_t *piece;
    bs_sha256 sha;
} input_hash;

static const char *name_of(const bs_input *input)
{
    return input->name ? input->name : input->path ? input->path : "input";
}

static bs_status hash_open(input_hash *hash, const bs_input *input, int64_t size, bs_error *err)
{
    hash->fd = input->fd;
    hash->size = size;
    hash->piece = malloc(HASH_PIECE);
    if (!hash->piece)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the input's hash");
    if (hash->fd < 0) {
        hash->fd = open(input->path, O_RDONLY | O_CLOEXEC);
        hash->own_fd = hash->fd >= 0;
        if (hash->fd < 0)
            return bs_fail(err, BS_ERR_INPUT, "'%s' cannot be opened: %s", name_of(input), strerror(errno));
    }
    bs_sha256_init(&hash->sha);
    return BS_OK;
}

static void hash_close(input_hash *hash)
{
    if (hash->own_fd)
        close(hash->fd);
    free(hash->piece);
    *hash = (input_hash){.fd = -1};
}

/* Some more of the file, so that the caller's questions are not put off for long. */
static bs_status hash_some(input_hash *hash, const char *name, bs_error *err)
{
    for (int i = 0; i < HASH_PER_TICK && !hash->done; i++) {
        const int64_t left = hash->size - hash->offset;
        ssize_t n = pread(hash->fd, hash->piece, left < HASH_PIECE ? (size_t)left : HASH_PIECE, hash->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return bs_fail(err, BS_ERR_IO, "'%s' cannot be read: %s", name, strerror(errno));
        bs_sha256_update(&hash->sha, hash->piece, (size_t)n);
        hash->offset += n;
        hash->done = n == 0;
    }
    return BS_OK;
}

/* -- the stages' threads ------------------------------------------------------------------------------ */

void bs_job_fail(bs_job_run *job, const bs_error *err)
{
    pthread_mutex_lock(&job->lock);
    if (job->error.status == BS_OK)
        job->error = *err;
    pthread_mutex_unlock(&job->lock);
    job->stop = true;
    bs_video_reader_stop(job->reader);
    bs_queue_stop(&job->frames);
    bs_queue_stop(&job->canvases);
    bs_queue_stop(&job->marks);
}

typedef struct stage_thread {
    bs_job_run *job;
    void (*run)(bs_job_run *job);
    const char *name; /* as top and perf show it */
    pthread_t thread;
    bool started;
} stage_thread;

static void count_running(bs_job_run *job, int by)
{
    pthread_mutex_lock(&job->lock);
    job->running += by;
    pthread_cond_signal(&job->ended);
    pthread_mutex_unlock(&job->lock);
}

static void *stage_main(void *opaque)
{
    stage_thread *stage = opaque;
    bs_job_run *job = stage->job;
    pthread_setname_np(pthread_self(), stage->name);
    stage->run(job);
    count_running(job, -1);
    return NULL;
}

static bs_status start_stage(stage_thread *stage, bs_error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, BS_PLAN_STACK);
    count_running(stage->job, 1); /* stages that were started before may be ending by now */
    int failure = pthread_create(&stage->thread, &attributes, stage_main, stage);
    pthread_attr_destroy(&attributes);
    if (failure) {
        count_running(stage->job, -1);
        return bs_fail(err, BS_ERR_NOMEM, "a thread of the job cannot be started: %s", strerror(failure));
    }
    stage->started = true;
    return BS_OK;
}

static bool wait_a_tick(bs_job_run *job)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&job->lock);
    if (job->running > 0)
        pthread_cond_timedwait(&job->ended, &job->lock, &until);
    bool running = job->running > 0;
    pthread_mutex_unlock(&job->lock);
    return running;
}

static void report_progress(bs_job_run *job, const bs_callbacks *callbacks, double started)
{
    if (!callbacks || !callbacks->progress)
        return;
    int64_t total = job->info->frames, limit = job->options->max_duration_us;
    if (total > 0 && limit > 0 && job->info->duration_us > limit)
        total = (int64_t)((double)total * (double)limit / (double)job->info->duration_us + 0.5);
    bs_progress progress = {
        .frames_done = job->frames_decoded,
        .frames_total = total,
        .frames_analysed = job->frames_analysed,
        .seconds = bs_seconds_now() - started,
        .memory = bs_memory_resident(),
    };
    if (total > 0 && progress.frames_done > total)
        progress.frames_total = progress.frames_done;
    callbacks->progress(callbacks->opaque, &progress);
}

/* What no header told: a job that takes more than it was given ends, before the kernel ends something. */
static bs_status check_memory(const bs_job_run *job, bs_error *err)
{
    const uint64_t limit = job->options->memory_limit;
    if (limit == 0 || job->stop || bs_memory_resident() <= limit)
        return BS_OK;
    return bs_fail(err, BS_ERR_LIMIT, "the job needs more than %" PRIu64 " MB of memory, there are %" PRIu64 " MB",
                   limit >> 20, limit >> 20);
}

/* An allocation that was refused is told as what it means to who set the limit. */
static void explain_lack(const bs_process_options *options, bs_error *err)
{
    if (!err || err->status != BS_ERR_NOMEM || options->memory_limit == 0)
        return;
    const bs_error lack = *err;
    bs_fail(err, BS_ERR_NOMEM, "the job needs more than %" PRIu64 " MB of memory, there are %" PRIu64 " MB (%.160s)",
            options->memory_limit >> 20, options->memory_limit >> 20, lack.text);
}

/* Until all stages have ended and the input's hash is known: progress, and the caller's wish to stop. */
static void watch(bs_job_run *job, const bs_callbacks *callbacks, input_hash *hash, double started)
{
    double reported = started;
    do {
        bs_error err = {0};
        if (callbacks && callbacks->cancelled && callbacks->cancelled(callbacks->opaque)) {
            bs_fail(&err, BS_ERR_CANCELLED, "stopped before '%s' was done", job->name);
            bs_job_fail(job, &err);
        }
        if (check_memory(job, &err) != BS_OK)
            bs_job_fail(job, &err);
        if (!hash->done && !job->stop && hash_some(hash, job->name, &err) != BS_OK)
            bs_job_fail(job, &err);
        if ((bs_seconds_now() - reported) * 1000 >= PROGRESS_MS) {
            reported = bs_seconds_now();
            report_progress(job, callbacks, started);
        }
    } while (wait_a_tick(job) || (!hash->done && !job->stop));
}

static bs_status run_stages(bs_job_run *job, const bs_callbacks *callbacks, input_hash *hash, double started,
                            bs_error *err)
{
    stage_thread stages[] = {{.job = job, .run = bs_stage_decode, .name = "decode"},
                             {.job = job, .run = bs_stage_pose, .name = "pose"},
                             {.job = job, .run = bs_stage_overlay, .name = "overlay"}};
    int count = job->video ? 3 : 2;
    bs_error failure = {0};
    for (int i = 0; i < count; i++) {
        if (start_stage(&stages[i], &failure) != BS_OK) {
            bs_job_fail(job, &failure);
            break;
        }
    }
    bs_memory_trim(); /* what opening has touched and the stages will not */
    watch(job, callbacks, hash, started);
    for (int i = 0; i < count; i++)
        if (stages[i].started)
            pthread_join(stages[i].thread, NULL);
    if (job->error.status != BS_OK && err)
        *err = job->error;
    return job->error.status;
}

static bs_status run_photo(bs_job_run *job, bs_error *err)
{
    bs_memory_trim();
    return bs_stage_photo(job, err);
}

/* -- opening and summing up ---------------------------------------------------------------------------- */

static void drop_frame(void *item)
{
    bs_video_frame *frame = item;
    bs_video_frame_unref(&frame);
}

static void init(bs_job_run *job)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&job->ended, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&job->lock, NULL);
    bs_queue_init(&job->frames, job->plan.pose_queue, drop_frame);
    bs_queue_init(&job->canvases, bs_plan_canvas_queue(job->interval, job->plan.frugal), drop_frame);
    bs_queue_init(&job->marks, BS_PLAN_RESULT_QUEUE, free);
}

static void release(bs_job_run *job)
{
    bs_queue_release(&job->frames);
    bs_queue_release(&job->canvases);
    bs_queue_release(&job->marks);
    bs_video_frame_unref(&job->thumbnail);
    bs_video_writer_close(&job->preview);
    bs_video_writer_close(&job->writer);
    bs_csv_writer_close(&job->csv);
    bs_json_writer_close(&job->json);
    bs_pose_close(&job->pose);
    bs_video_scaler_close(&job->decode_scaler);
    bs_video_scaler_close(&job->pose_scaler);
    bs_video_scaler_close(&job->overlay_scaler);
    bs_video_reader_close(&job->reader);
    pthread_cond_destroy(&job->ended);
    pthread_mutex_destroy(&job->lock);
}

static bs_status open_pose(bs_job_run *job, bs_models *models, bs_error *err)
{
    const bs_process_options *options = job->options;
    bs_pose_options pose = bs_pose_defaults();
    pose.static_image_mode = options->static_image_mode || job->info->photo;
    pose.model_complexity = (int)bs_process_model(options);
    pose.smooth_landmarks = options->smooth_landmarks;
    pose.min_detection_confidence = options->min_detection_confidence;
    pose.min_tracking_confidence = options->min_tracking_confidence;
    pose.num_people = options->people;
    pose.mode = options->mode;
    pose.isa = options->isa;
    pose.drop_weights = job->plan.frugal;
    return bs_pose_open(&job->pose, models, &pose, err);
}

/* Whether the job still fits with the larger pictures that its stream turns out to have. */
static bs_status allow_larger(void *opaque, int coded_width, int coded_height, int64_t picture_bytes, bs_error *err)
{
    bs_job_run *job = opaque;
    bs_video_info info = job->probed;
    bool turned = bs_orientation_swaps(info.orientation);
    info.coded_width = coded_width;
    info.coded_height = coded_height;
    info.width = turned ? coded_height : coded_width;
    info.height = turned ? coded_width : coded_height;
    info.picture_bytes = picture_bytes;
    return bs_estimate_larger(&info, job->options, job->outputs, &job->plan, err);
}

/* Between two looks at the memory (watch) a container can make a demuxer gather hundreds of megabytes. */
static bs_status allow_grown(void *opaque, bs_error *err)
{
    return check_memory(opaque, err);
}

static bs_status start_reader(bs_job_run *job, bs_error *err)
{
    bs_video_reader_options options = {
        .threads = job->plan.decoder_threads,
        .frame_threads = job->plan.decoder_threads > 1,
        .most_pictures = job->plan.decoder_pictures,
        .sound = job->outputs->video_fd >= 0,
        .only_every = job->video ? 1 : job->interval,
        .larger = allow_larger,
        .grown = allow_grown,
        .opaque = job,
    };
    return bs_video_reader_start(job->reader, &options, err);
}

static bs_status open_outputs(bs_job_run *job, bs_error *err)
{
    const bs_outputs *outputs = job->outputs;
    bs_status status = BS_OK;
    if (outputs->csv_fd >= 0)
        status = bs_csv_writer_open(&job->csv, outputs->csv_fd, err);
    if (status == BS_OK && outputs->json_fd >= 0) {
        const bs_json_header header = {job->name, job->info, job->options};
        status = bs_json_writer_open(&job->json, outputs->json_fd, &header, err);
    }
    if (status == BS_OK && outputs->video_fd >= 0 && !job->info->photo) {
        const bs_video_writer_options options = {
            .fd = outputs->video_fd,
            .width = job->canvas_width,
            .height = job->canvas_height,
            .info = job->info,
            .sound = bs_video_reader_sound(job->reader),
            .threads = job->plan.encoder_threads,
            .lean = job->plan.encoder_lean,
        };
        status = bs_video_writer_open(&job->writer, &options, err);
    }
    return status;
}

static bs_status open_job(bs_job_run *job, bs_models *models, bs_error *err)
{
    bs_status status = start_reader(job, err);
    if (status == BS_OK)
        status = open_pose(job, models, err);
    if (status == BS_OK)
        status = bs_video_scaler_open(&job->decode_scaler, err);
    if (status == BS_OK)
        status = bs_video_scaler_open(&job->pose_scaler, err);
    if (status == BS_OK)
        status = bs_video_scaler_open(&job->overlay_scaler, err);
    if (status == BS_OK)
        status = open_outputs(job, err);
    if (status == BS_OK)
        bs_statistics_init(&job->statistics, job->info->width, job->info->height);
    return status;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* The last frame is shown as long as the frames are apart on average. */
static int64_t processed_duration(const bs_job_run *job)
{
    int64_t frames = job->frames_decoded, apart = 0;
    if (job->info->photo || frames == 0)
        return 0;
    if (frames > 1)
        apart = job->last_time_us / (frames - 1);
    else if (job->info->frame_rate > 0)
        apart = (int64_t)(1e6 / job->info->frame_rate);
    return job->last_time_us + apart;
}

static void sum_up(bs_job_run *job, input_hash *hash, double started, double cpu, bs_summary *out)
{
    bs_video_reader_report report = bs_video_reader_report_now(job->reader);
    memset(out, 0, sizeof(*out));
    out->info = *job->info;
    out->frames_decoded = job->frames_decoded;
    out->frames_damaged = report.frames_damaged;
    out->input_truncated = report.truncated && !job->trimmed;
    out->trimmed = job->trimmed;
    out->original_duration_us = job->info->duration_us;
    out->processed_duration_us = processed_duration(job);
    if (out->original_duration_us < out->processed_duration_us && !job->trimmed)
        out->original_duration_us = out->processed_duration_us;
    if (job->outputs->video_fd >= 0) {
        out->output_width = job->canvas_width;
        out->output_height = job->canvas_height;
        out->resized = job->canvas_width < (job->info->photo ? job->info->width : job->info->width & ~1);
    }
    out->stage = job->stage;
    out->reserved_memory = job->plan.total;
    snprintf(out->lean, sizeof(out->lean), "%s", job->plan.lean);
    bs_statistics_finish(&job->statistics, job->options, out);
    bs_sha256_hex(&hash->sha, out->sha256);
    snprintf(out->isa, sizeof(out->isa), "%s", bs_pose_isa(job->pose));
    out->decoder_threads = job->plan.decoder_threads;
    out->encoder_threads = job->video ? job->plan.encoder_threads : 0;
    out->seconds = bs_seconds_now() - started;
    out->cpu_seconds = cpu_seconds() - cpu;
    out->peak_memory = bs_memory_peak();
}

/* What a person should know about the result, beside the numbers. */
static void give_notes(const bs_job_run *job, const bs_summary *summary, const bs_callbacks *callbacks)
{
    if (!callbacks || !callbacks->note)
        return;
    char text[256];
    if (summary->trimmed) {
        snprintf(text, sizeof(text), "only the first %lld s were processed (MAX_VIDEO_DURATION_SECONDS)",
                 (long long)(job->options->max_duration_us / 1000000));
        callbacks->note(callbacks->opaque, text);
    }
    if (summary->frames_damaged > 0) {
        snprintf(text, sizeof(text), "%lld of %lld frames were damaged", (long long)summary->frames_damaged,
                 (long long)summary->frames_decoded);
        callbacks->note(callbacks->opaque, text);
    }
    if (summary->input_truncated)
        callbacks->note(callbacks->opaque, "the file was cut off before its end");
    if (summary->lean[0])
        callbacks->note(callbacks->opaque, summary->lean);
    const char *sound = job->writer ? bs_video_writer_sound_note(job->writer) : NULL;
    if (sound)
        callbacks->note(callbacks->opaque, sound);
}

bs_status bs_process(bs_models *models, const bs_input *input, const bs_process_options *options,
                     const bs_outputs *outputs, const bs_callbacks *callbacks, bs_summary *out, bs_error *err)
{
    double started = bs_seconds_now(), cpu = cpu_seconds();
    bs_video_reader *reader = NULL;
    bs_estimate_parts plan;
    bs_status status = bs_process_options_check(options, err);
    if (status == BS_OK)
        status = bs_video_reader_open_input(&reader, input, 0, err);
    if (status == BS_OK)
        status = bs_estimate(bs_video_reader_info(reader), options, outputs, &plan, err);
    bs_job_run *job = status == BS_OK ? calloc(1, sizeof(*job)) : NULL;
    if (status == BS_OK && !job)
        status = bs_fail(err, BS_ERR_NOMEM, "no memory for the job");
    if (status != BS_OK) {
        bs_video_reader_close(&reader);
        return status;
    }

    input_hash hash = {.fd = -1};
    job->options = options;
    job->outputs = outputs;
    job->name = name_of(input);
    job->reader = reader;
    job->info = bs_video_reader_info(reader);
    job->plan = plan;
    job->probed = *job->info;
    job->interval = bs_process_interval(options);
    job->video = !job->info->photo && (outputs->video_fd >= 0 || outputs->preview_fd >= 0);
    job->canvas_width = plan.output_width;
    job->canvas_height = plan.output_height;
    job->preview_due_us = INT64_MIN;
    init(job);

    status = hash_open(&hash, input, job->info->file_size, err);
    if (status == BS_OK)
        status = open_job(job, models, err);
    if (status == BS_OK)
        status = job->info->photo ? run_photo(job, err) : run_stages(job, callbacks, &hash, started, err);
    while (status == BS_OK && !hash.done)
        status = hash_some(&hash, job->name, err);
    if (status == BS_OK) {
        sum_up(job, &hash, started, cpu, out);
        report_progress(job, callbacks, started);
        give_notes(job, out, callbacks);
    }
    if (status == BS_ERR_NOMEM)
        explain_lack(options, err);
    release(job);
    free(job);
    hash_close(&hash);
    return status;
}
