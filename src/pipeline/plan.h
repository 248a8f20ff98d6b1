/* How many frames a job holds at once, and how wide its small pictures are: what bs_estimate reckons with.
 *
 * Beside what the decoder and the encoders keep for themselves, the pipeline (process.c) holds at most
 *     bs_plan_source_frames() frames as decoded, and
 *     bs_plan_canvas_frames() frames of the overlay's size (none where no video output is wanted).
 * A frugal job has shorter queues: its stages wait for each other a little more. */
#ifndef BS_PIPELINE_PLAN_H
#define BS_PIPELINE_PLAN_H

#include <bodyscript/pipeline.h>

/* Options that are what they may be; else BS_ERR_USAGE, by name. Those of the pose engine alone it checks itself. */
bs_status bs_process_options_check(const bs_process_options *options, bs_error *err);

enum {
    BS_PLAN_MOST_THREADS = 64,                  /* of the decoder or the encoder */
    BS_PLAN_POSE_QUEUE = 1,                     /* decoded frames that wait for the pose stage; frugal: 0 */
    BS_PLAN_POSE_QUEUED = 13 * 1024 * 1024 / 4, /* bytes of one that waits, at most: of 1080p in 8 bits. Larger ones
                                                 * take longer to decode than to analyse */
    BS_PLAN_CANVAS_AHEAD = 3,   /* canvases that the decoding stage may be ahead of the overlay's need; frugal: 0 */
    BS_PLAN_GLIDE = 12,         /* frames over which the overlay glides from one pose to the next, at most */
    BS_PLAN_RESULT_QUEUE = 4,   /* poses that wait for their frames to be drawn */
    BS_PLAN_PREVIEW_SIDE = 320, /* the longer one, at most */
    BS_PLAN_THUMBNAIL_WIDTH = 320,
    BS_PLAN_THUMBNAIL_HEIGHT = 720, /* at most: of a strip */
    BS_PLAN_PREVIEW_US = 3000000,
    BS_PLAN_PREVIEW_STEP_US = 60000, /* its frames lie at least so far apart: every second one at 25 or 30 a second */
    BS_PLAN_PREVIEW_LEAN = 2,        /* of its encoder (writer.h), at least: a small picture needs no long look ahead */
    BS_PLAN_STACK = 1024 * 1024,     /* address space of each one's stack; a part of it is touched */
};

static inline int bs_plan_pose_queue(bool frugal, uint64_t picture_bytes)
{
    return frugal || picture_bytes > BS_PLAN_POSE_QUEUED ? 0 : BS_PLAN_POSE_QUEUE;
}

/* The frame in decoding, those in the queue and the one whose pose is being computed. */
static inline int bs_plan_source_frames(int pose_queue)
{
    return 2 + pose_queue;
}

/* Frames between two analysed ones wait for the second's pose. */
static inline int bs_plan_glide(int interval)
{
    return interval < BS_PLAN_GLIDE ? interval : BS_PLAN_GLIDE;
}

static inline int bs_plan_canvas_queue(int interval, bool frugal)
{
    return bs_plan_glide(interval) + (frugal ? 0 : BS_PLAN_CANVAS_AHEAD);
}

/* Those in the queue, one being made and one being drawn and encoded. */
static inline int bs_plan_canvas_frames(int interval, bool frugal)
{
    return bs_plan_canvas_queue(interval, frugal) + 2;
}

static inline int bs_plan_preview_lean(int encoder_lean)
{
    return encoder_lean > BS_PLAN_PREVIEW_LEAN ? encoder_lean : BS_PLAN_PREVIEW_LEAN;
}

#endif
