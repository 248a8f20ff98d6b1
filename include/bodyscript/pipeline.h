/* The single pass from a video (or photo) to pose data, overlay, preview and thumbnail.
 *
 *     bs_process_options options = bs_process_defaults();
 *     bs_outputs outputs = bs_outputs_none();
 *     outputs.csv_fd = open("pose_data.csv", …);
 *     bs_process(models, &(bs_input){.path = "walk.mp4", .fd = -1}, &options, &outputs, NULL, &summary, &err);
 *
 * Nothing grows with the length of the video: a frame is decoded, used and dropped.
 * Owner: descriptors stay the caller's; the call writes to them from their current position (the video
 * outputs need to be seekable and readable) and opens nothing but the input, so it can run in a sandbox.
 * Threads: the call makes its own and joins them before it returns; several calls may run at once. */
#ifndef BODYSCRIPT_PIPELINE_H
#define BODYSCRIPT_PIPELINE_H

#include <bodyscript/pose.h>
#include <bodyscript/video.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bs_process_options {
    bs_mode mode;            /* BS_MODE_FAST */
    int model;               /* a bs_model_kind; -1: the mode's (ultra_fast lite, fast and smart full, quality heavy) */
    int interval;            /* pose on every Nth frame; 0: the mode's own (quality 1, the others 3) */
    int people;              /* 1 */
    bool exact;              /* false: every analysed frame by way of RGB, MediaPipe's own 8-bit arithmetic */
    bool png;                /* false: saved frames are JPEG */
    int max_width;           /* 720: of the overlay video; 0: as the input */
    int64_t max_duration_us; /* 10 s: longer videos are processed up to here; 0: no limit */
    float min_detection_confidence, min_tracking_confidence; /* 0.5 */
    bool static_image_mode;                                  /* false for videos */
    bool smooth_landmarks;                                   /* true */
    int threads;           /* of the encoder, and of decoders that several are good for; 0: 2; 64 at most */
    const char *isa;       /* NULL; see bs_pose_options */
    uint64_t memory_limit; /* bytes the job may take in all; 0: not bounded. Leaner settings are turned to
                              before a job is refused with BS_ERR_LIMIT */
} bs_process_options;

bs_process_options bs_process_defaults(void);

/* The landmark model that the options ask for, the mode's own where `model` is -1. */
bs_model_kind bs_process_model(const bs_process_options *options);
/* The interval that the options ask for, the mode's own where `interval` is 0. */
int bs_process_interval(const bs_process_options *options);

/* Descriptors to write to; -1: not wanted. What nobody wants is not computed. */
typedef struct bs_outputs {
    int csv_fd, json_fd;
    int video_fd, preview_fd; /* output.mp4, preview.mp4; for a photo video_fd takes output.jpg */
    int thumbnail_fd;         /* thumbnail.jpg */
    /* Called for every analysed frame, with the encoded JPEG or PNG, where set: from a thread of the pipeline, perhaps
     * while the callbacks below run in the calling one. A non-zero return stops the job. */
    int (*save_frame)(void *opaque, int64_t frame_id, const void *data, size_t size);
    void *opaque;
} bs_outputs;

bs_outputs bs_outputs_none(void);

typedef struct bs_progress {
    int64_t frames_done, frames_total; /* decoded frames; total 0 where unknown */
    int64_t frames_analysed;
    double seconds;  /* since the start */
    uint64_t memory; /* resident bytes of this process now */
} bs_progress;

/* All are called from the calling thread, and each may be NULL. */
typedef struct bs_callbacks {
    /* At most ten times a second. */
    void (*progress)(void *opaque, const bs_progress *progress);
    /* Asked every 20 ms: true stops the job with BS_ERR_CANCELLED. */
    bool (*cancelled)(void *opaque);
    /* What a person should know: "8 of 300 frames were damaged". */
    void (*note)(void *opaque, const char *sentence);
    void *opaque;
} bs_callbacks;

/* Time that each stage was at work, in seconds of its own thread. */
typedef struct bs_stage_times {
    double decode, convert, pose, draw, encode, write;
} bs_stage_times;

typedef struct bs_summary {
    int64_t frames_decoded, frames_analysed, frames_detected, frames_tracked, frames_missing;
    int64_t frames_damaged; /* decoded with errors or not at all */
    bool input_truncated;   /* the file was cut off: shorter than it says, or its last packet is */
    bool trimmed, resized;  /* by max_duration_us; overlay smaller than the input */
    int64_t original_duration_us, processed_duration_us;
    int output_width, output_height;
    double average_quality;    /* mean visibility of the landmarks found, 0–1 */
    double detection_rate;     /* analysed frames with a person, 0–1 */
    int64_t swapped_suspect;   /* frames in which left and right seem exchanged */
    int64_t landmarks_outside; /* landmarks outside the picture, of all found */
    double feet_outside;       /* share of found frames whose feet lie outside the picture, 0–1 */
    double seconds, cpu_seconds;
    uint64_t peak_memory;     /* bs_memory_peak(): of this process, bytes */
    uint64_t reserved_memory; /* what bs_estimate said */
    bs_stage_times stage;
    char advice[512];                     /* one plain sentence where something is poor, else "" */
    char lean[256];                       /* which leaner settings were turned to, else "" */
    char sha256[65];                      /* of the input, in hex */
    char isa[16];                         /* instruction set that the models ran on: "avx2" */
    int decoder_threads, encoder_threads; /* encoder: 0 where nothing was encoded */
    bs_video_info info;
} bs_summary;

/* Parts of a job's peak memory, in bytes; `total` is what a job reserves. docs/memory.md explains each. */
typedef struct bs_estimate_parts {
    uint64_t base;  /* program, libraries, stacks */
    uint64_t model; /* engine: arenas, and mapped weights in use */
    uint64_t demuxer, decoder, frames, convert, encoder, outputs;
    uint64_t total;
    uint64_t shared; /* of `total`: code and weights. Jobs of one service have them in common, and the kernel can
                        drop them: whoever counts memory without page cache counts a job as total - shared */
    int decoder_threads, encoder_threads; /* the settings that it was reckoned with */
    int decoder_pictures; /* the decoder makes up none for missing references while it holds so many; 0: any number */
    bool no_spare;        /* … none but those of a sound stream: more frames are lost where references are missing */
    bool frugal;          /* short queues between the stages, and weights leave memory once they were used */
    int pose_queue;       /* decoded frames that may wait for their pose */
    int encoder_lean;     /* 0–3: how far the encoder is kept from looking ahead (src/video/writer.h) */
    int output_width, output_height;
    char lean[256]; /* which leaner settings were turned to, to fit memory_limit; "" for none */
} bs_estimate_parts;

/* Peak memory of a job before it starts. BS_ERR_USAGE: an option out of its range (`isa` is bs_process's to check).
 * BS_ERR_LIMIT, with both numbers in the sentence, where even the leanest settings exceed options->memory_limit; `out`
 * then still holds those numbers. */
bs_status bs_estimate(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                      bs_estimate_parts *out, bs_error *err);

/* The whole job. On BS_ERR_* what was written is to be thrown away by the caller. `callbacks` may be NULL. */
bs_status bs_process(bs_models *models, const bs_input *input, const bs_process_options *options,
                     const bs_outputs *outputs, const bs_callbacks *callbacks, bs_summary *out, bs_error *err);

#ifdef __cplusplus
}
#endif
#endif
