/* One job on its way through the pipeline: what its stages share.
 *
 *     decoding ──frames──▶ pose ──marks──▶ overlay and encoding
 *         └──────────────canvases────────────────▲
 *
 * One thread per stage and one bounded queue per arrow (plan.h has the lengths). The decoding stage hands a frame
 * to the pose stage before its canvas to the overlay, and the overlay never waits for a pose whose frame was not
 * handed over, so the stages cannot wait for each other in a circle.
 * The calling thread waits, reports progress, asks whether to stop, and meanwhile hashes the input.
 * The first failure stops all queues; every thread then comes to its end by itself. */
#ifndef BS_PIPELINE_JOB_H
#define BS_PIPELINE_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include <bodyscript/pipeline.h>

#include "output/csv.h"
#include "output/json.h"
#include "pipeline/plan.h"
#include "pipeline/queue.h"
#include "pipeline/statistics.h"
#include "video/reader.h"
#include "video/scale.h"
#include "video/writer.h"

typedef struct bs_job_run {
    /* what is wanted; not written after the start */
    const bs_process_options *options;
    const bs_outputs *outputs;
    const bs_video_info *info;
    bs_video_info probed; /* as the header said */
    const char *name;     /* of the input, for people */
    int interval;
    bool video; /* output.mp4, preview.mp4 or both: frames become canvases */
    int canvas_width, canvas_height;
    bs_estimate_parts plan;

    /* the stages' tools; each used by its own thread alone */
    bs_video_reader *reader;
    bs_video_scaler *decode_scaler, *pose_scaler, *overlay_scaler;
    bs_pose *pose;
    bs_csv_writer *csv;
    bs_json_writer *json;
    bs_video_writer *writer, *preview;
    bs_statistics statistics;
    bs_pose_result result;
    bs_video_frame *thumbnail; /* the best canvas so far, of the pose stage */
    float thumbnail_quality;
    int64_t preview_due_us; /* time from which on a frame may be the preview's next; of the overlay stage */

    bs_queue frames, canvases, marks;

    /* how far it is */
    atomic_int_fast64_t frames_decoded, frames_analysed;
    atomic_bool stop;
    int64_t last_time_us; /* of the last frame; the decoding stage's, read after its end */
    bool trimmed;
    bs_stage_times stage; /* every member is one stage's own */

    pthread_mutex_t lock;
    pthread_cond_t ended; /* a stage came to its end */
    int running;          /* stages at work */
    bs_error error;       /* the first failure */
} bs_job_run;

/* The stages; each runs in a thread of its own until its input ends or the job is stopped. */
void bs_stage_decode(bs_job_run *job);
void bs_stage_pose(bs_job_run *job);
void bs_stage_overlay(bs_job_run *job);

/* A photo is one frame: all of it in the calling thread. */
bs_status bs_stage_photo(bs_job_run *job, bs_error *err);

/* Ends the job with this failure, if it is the first. */
void bs_job_fail(bs_job_run *job, const bs_error *err);

/* Of a clock that only goes forward. */
double bs_seconds_now(void);

#endif
