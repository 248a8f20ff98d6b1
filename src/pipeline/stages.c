/* What the threads of a job do (see job.h). */
#include <stdlib.h>
#include <time.h>

#include "core/write.h"
#include "pipeline/job.h"
#include "pipeline/overlay.h"
#include "video/draw.h"

enum {
    SAVED_QUALITY = 90,     /* JPEG quality of saved frames */
    PHOTO_QUALITY = 92,     /* of output.jpg */
    THUMBNAIL_QUALITY = 80, /* of thumbnail.jpg */
    PREVIEW_CRF = 28,
};

/* A later frame becomes the thumbnail when its person is seen better by this much of 0–1. */
static const float BETTER = 0.1f;

double bs_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Adds the seconds since `start`. */
static void add_elapsed(double start, double *sum)
{
    *sum += bs_seconds_now() - start;
}

/* -- decoding --------------------------------------------------------------------------------------- */

/* Whether any video output still needs the frame at `time_us`. */
static bool canvas_is_wanted(const bs_job_run *job, int64_t time_us)
{
    return job->outputs->video_fd >= 0 || (job->outputs->preview_fd >= 0 && time_us < BS_PLAN_PREVIEW_US);
}

static bs_status hand_over(bs_job_run *job, bs_video_frame *frame, bs_error *err)
{
    if (frame->index % job->interval == 0 && !bs_queue_push(&job->frames, bs_video_frame_ref(frame)))
        return BS_ERR_CANCELLED;
    if (!job->video || !canvas_is_wanted(job, frame->time_us))
        return BS_OK;
    double start = bs_seconds_now();
    bs_video_frame *canvas;
    bs_status status = bs_video_frame_canvas(job->decode_scaler, frame, job->canvas_width, job->canvas_height, &canvas,
                                             err);
    add_elapsed(start, &job->stage.convert);
    if (status != BS_OK)
        return status;
    return bs_queue_push(&job->canvases, canvas) ? BS_OK : BS_ERR_CANCELLED;
}

void bs_stage_decode(bs_job_run *job)
{
    bs_error err = {0};
    bs_status status = BS_OK;
    int64_t end_us = job->options->max_duration_us;
    while (status == BS_OK && !job->stop) {
        bs_video_frame *frame = NULL;
        double start = bs_seconds_now();
        status = bs_video_reader_read(job->reader, &frame, &err);
        add_elapsed(start, &job->stage.decode);
        if (status != BS_OK)
            break;
        if (end_us > 0 && frame->time_us >= end_us) {
            job->trimmed = true;
            status = BS_EOF;
        } else {
            job->last_time_us = frame->time_us;
            job->frames_decoded++;
            status = hand_over(job, frame, &err);
        }
        bs_video_frame_unref(&frame);
    }
    if (status < 0 && !job->stop)
        bs_job_fail(job, &err);
    bs_queue_close(&job->frames);
    bs_queue_close(&job->canvases);
}

/* -- pose ------------------------------------------------------------------------------------------- */

/* The person's landmarks; a frame that the decoder could not give has none. */
static bs_status find_people(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    if (frame->skipped) {
        job->result.people = 0;
        return BS_OK;
    }
    bs_image image;
    bool exact = job->options->exact || job->info->photo;
    double start = bs_seconds_now();
    bs_status status = exact ? bs_video_frame_rgb(job->pose_scaler, frame, &image, err)
                             : bs_video_frame_image(job->pose_scaler, frame, &image, err);
    /* The time of the first frame must not be 0 (MediaPipe's clock begins at 1). */
    if (status == BS_OK)
        status = bs_pose_process(job->pose, &image, frame->time_us + 1, &job->result, err);
    add_elapsed(start, &job->stage.pose);
    return status;
}

static bs_status write_rows(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    bs_status status = BS_OK;
    double start = bs_seconds_now();
    if (job->csv)
        status = bs_csv_writer_frame(job->csv, frame->index, frame->time_us, &job->result, err);
    if (status == BS_OK && job->json)
        status = bs_json_writer_frame(job->json, frame->index, frame->time_us, &job->result, err);
    add_elapsed(start, &job->stage.write);
    return status;
}

static bs_status save_frame(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    const void *data;
    size_t size;
    if (!job->outputs->save_frame || frame->skipped)
        return BS_OK;
    bs_status status = bs_video_frame_encode(job->pose_scaler, frame, job->options->png ? BS_STILL_PNG : BS_STILL_JPEG,
                                             SAVED_QUALITY, 0, &data, &size, err);
    if (status == BS_OK && job->outputs->save_frame(job->outputs->opaque, frame->index, data, size))
        status = bs_fail(err, BS_ERR_IO, "frame %lld could not be saved", (long long)frame->index);
    return status;
}

/* The thumbnail is the first frame, until one with a person comes, or within the preview's time a better seen one. */
static bs_status keep_thumbnail(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    float quality = job->result.people ? bs_mean_visibility(&job->result.person[0]) : 0;
    bool better = quality > job->thumbnail_quality + BETTER &&
                  (frame->time_us < BS_PLAN_PREVIEW_US || job->thumbnail_quality == 0);
    if (job->outputs->thumbnail_fd < 0 || frame->skipped || (job->thumbnail && !better))
        return BS_OK;
    int width, height;
    bs_video_frame *canvas;
    bs_canvas_size(job->info->width, job->info->height, BS_PLAN_THUMBNAIL_WIDTH, &width, &height);
    if (height > BS_PLAN_THUMBNAIL_HEIGHT)
        bs_canvas_size_within(job->info->width, job->info->height, BS_PLAN_THUMBNAIL_HEIGHT, &width, &height);
    bs_status status = bs_video_frame_canvas(job->pose_scaler, frame, width, height, &canvas, err);
    if (status != BS_OK)
        return status;
    for (int i = 0; i < job->result.people; i++)
        bs_draw_skeleton(canvas, job->result.person[i].landmark, job->result.person[i].id, 1);
    bs_video_frame_unref(&job->thumbnail);
    job->thumbnail = canvas;
    job->thumbnail_quality = quality;
    return BS_OK;
}

/* Pose, rows, saved frame and thumbnail of one analysed frame. */
static bs_status analyse_frame(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    bs_status status = find_people(job, frame, err);
    if (status == BS_OK) {
        bs_statistics_add(&job->statistics, &job->result, frame->time_us);
        status = write_rows(job, frame, err);
    }
    if (status == BS_OK)
        status = save_frame(job, frame, err);
    if (status == BS_OK)
        status = keep_thumbnail(job, frame, err);
    job->frames_analysed++;
    return status;
}

/* Writes the pose data's ends and thumbnail.jpg: all that is due after the last frame. */
static bs_status finish_data(bs_job_run *job, bs_error *err)
{
    bs_status status = BS_OK;
    const void *data;
    size_t size;
    if (job->csv)
        status = bs_csv_writer_finish(job->csv, err);
    if (status == BS_OK && job->json)
        status = bs_json_writer_finish(job->json, err);
    if (status == BS_OK && job->thumbnail) {
        status = bs_video_frame_encode(job->pose_scaler, job->thumbnail, BS_STILL_JPEG, THUMBNAIL_QUALITY, 0, &data,
                                       &size, err);
        if (status == BS_OK)
            status = bs_write_all(job->outputs->thumbnail_fd, data, size, "thumbnail.jpg", err);
    }
    return status;
}

void bs_stage_pose(bs_job_run *job)
{
    bs_error err = {0};
    bs_status status = BS_OK;
    bs_video_frame *frame;
    while (status == BS_OK && (frame = bs_queue_pop(&job->frames))) {
        status = analyse_frame(job, frame, &err);
        if (status == BS_OK && job->video && canvas_is_wanted(job, frame->time_us)) {
            bs_pose_mark *mark = bs_pose_mark_new(frame->index, frame->time_us, &job->result);
            if (!mark)
                status = bs_fail(&err, BS_ERR_NOMEM, "no memory for the overlay's poses");
            else
                bs_queue_push(&job->marks, mark);
        }
        bs_video_frame_unref(&frame);
    }
    if (status == BS_OK && !job->stop)
        status = finish_data(job, &err);
    if (status != BS_OK)
        bs_job_fail(job, &err);
    bs_queue_close(&job->marks);
}

/* -- overlay and encoding ----------------------------------------------------------------------------- */

/* The two analysed frames that a canvas lies between, and where on the way the glide begins. */
typedef struct segment {
    bs_pose_mark *from, *to; /* `to`: NULL where not taken yet, or none comes */
    int64_t glide_us;        /* time of the last frame that shows `from` as it is */
} segment;

/* Takes poses until `from` is the one of the frame that the canvas's segment begins with. False: the job stopped. */
static bool reach(bs_job_run *job, segment *s, int64_t begin)
{
    while (!s->from || s->from->index < begin) {
        free(s->from);
        s->from = s->to ? s->to : bs_queue_pop(&job->marks);
        s->to = NULL;
        if (!s->from)
            return false;
    }
    return true;
}

/* Between two analysed frames the skeleton moves with time; where they lie more than BS_PLAN_GLIDE frames apart it
 * stands still first and glides over the last of them, so that no more frames have to wait than that. */
static bool draw(bs_job_run *job, segment *s, bs_video_frame *canvas)
{
    int64_t begin = canvas->index - canvas->index % job->interval;
    int64_t glide = begin + job->interval - bs_plan_glide(job->interval);
    if (!reach(job, s, begin))
        return false;
    float weight = 0;
    const bs_pose_mark *to = NULL;
    if (canvas->index <= glide) {
        s->glide_us = canvas->time_us;
    } else {
        if (!s->to)
            s->to = bs_queue_pop(&job->marks);
        to = s->to;
        if (to && to->time_us > s->glide_us)
            weight = (float)(canvas->time_us - s->glide_us) / (float)(to->time_us - s->glide_us);
    }
    double start = bs_seconds_now();
    bs_overlay_draw(canvas, s->from, to, weight);
    add_elapsed(start, &job->stage.draw);
    return true;
}

static bs_status open_preview(bs_job_run *job, bs_error *err)
{
    bs_video_writer_options options = {
        .fd = job->outputs->preview_fd,
        .info = job->info,
        .threads = 1,
        .crf = PREVIEW_CRF,
        .lean = bs_plan_preview_lean(job->plan.encoder_lean),
    };
    bs_canvas_size_within(job->canvas_width, job->canvas_height, BS_PLAN_PREVIEW_SIDE, &options.width, &options.height);
    return bs_video_writer_open(&job->preview, &options, err);
}

/* The preview ends, and its encoder's memory is given back, as soon as it has its three seconds. */
static bs_status end_preview(bs_job_run *job, bs_error *err)
{
    bs_status status = job->preview ? bs_video_writer_finish(job->preview, false, err) : BS_OK;
    bs_video_writer_close(&job->preview);
    return status;
}

static bs_status write_preview(bs_job_run *job, const bs_video_frame *canvas, bs_error *err)
{
    if (canvas->time_us >= BS_PLAN_PREVIEW_US)
        return end_preview(job, err);
    if (!job->preview || canvas->time_us < job->preview_due_us)
        return BS_OK;
    job->preview_due_us = canvas->time_us + BS_PLAN_PREVIEW_STEP_US;
    int width, height;
    bs_video_frame *small;
    bs_canvas_size_within(job->canvas_width, job->canvas_height, BS_PLAN_PREVIEW_SIDE, &width, &height);
    bs_status status = bs_video_frame_canvas(job->overlay_scaler, canvas, width, height, &small, err);
    if (status != BS_OK)
        return status;
    status = bs_video_writer_write(job->preview, small, err);
    bs_video_frame_unref(&small);
    return status;
}

/* The first pose takes longest: the encoders are started while it is waited for. */
static bs_status start_encoders(bs_job_run *job, const bs_video_frame *canvas, bs_error *err)
{
    bs_status status = job->writer ? bs_video_writer_start(job->writer, canvas, err) : BS_OK;
    if (status == BS_OK && job->outputs->preview_fd >= 0 && canvas->time_us < BS_PLAN_PREVIEW_US)
        status = open_preview(job, err);
    if (status == BS_OK && job->preview)
        status = bs_video_writer_start(job->preview, canvas, err);
    return status;
}

void bs_stage_overlay(bs_job_run *job)
{
    bs_error err = {0};
    bs_status status = BS_OK;
    segment between = {0};
    bool started = false;
    bs_video_frame *canvas;
    while (status == BS_OK && (canvas = bs_queue_pop(&job->canvases))) {
        if (!started)
            status = start_encoders(job, canvas, &err);
        started = true;
        if (status != BS_OK) {
            bs_video_frame_unref(&canvas);
            break;
        }
        bool drawn = draw(job, &between, canvas);
        double start = bs_seconds_now();
        if (drawn)
            status = write_preview(job, canvas, &err);
        if (drawn && status == BS_OK && job->writer)
            status = bs_video_writer_write(job->writer, canvas, &err);
        add_elapsed(start, &job->stage.encode);
        bs_video_frame_unref(&canvas);
        if (!drawn)
            break;
    }
    double start = bs_seconds_now();
    if (status == BS_OK && !job->stop)
        status = end_preview(job, &err);
    if (status == BS_OK && !job->stop && job->writer)
        status = bs_video_writer_finish(job->writer, !job->trimmed, &err);
    add_elapsed(start, &job->stage.encode);
    if (status != BS_OK)
        bs_job_fail(job, &err);
    free(between.from);
    free(between.to);
}

/* -- photos ------------------------------------------------------------------------------------------ */

static bs_status write_photo(bs_job_run *job, const bs_video_frame *frame, bs_error *err)
{
    const void *data;
    size_t size;
    bs_video_frame *canvas;
    bs_status status = bs_video_frame_canvas(job->decode_scaler, frame, job->canvas_width, job->canvas_height, &canvas,
                                             err);
    if (status != BS_OK)
        return status;
    for (int i = 0; i < job->result.people; i++)
        bs_draw_skeleton(canvas, job->result.person[i].landmark, job->result.person[i].id, 1);
    status = bs_video_frame_encode(job->decode_scaler, canvas, BS_STILL_JPEG, PHOTO_QUALITY, 0, &data, &size, err);
    if (status == BS_OK)
        status = bs_write_all(job->outputs->video_fd, data, size, "output.jpg", err);
    bs_video_frame_unref(&canvas);
    return status;
}

bs_status bs_stage_photo(bs_job_run *job, bs_error *err)
{
    bs_video_frame *frame = NULL;
    double start = bs_seconds_now();
    bs_status status = bs_video_reader_read(job->reader, &frame, err);
    add_elapsed(start, &job->stage.decode);
    if (status != BS_OK)
        return status == BS_EOF ? bs_fail(err, BS_ERR_INPUT, "'%s' holds no picture", job->name) : status;
    job->frames_decoded = 1;
    status = analyse_frame(job, frame, err);
    if (status == BS_OK && job->outputs->video_fd >= 0)
        status = write_photo(job, frame, err);
    if (status == BS_OK)
        status = finish_data(job, err);
    bs_video_frame_unref(&frame);
    return status;
}
