/* The pose engine: one picture in, 33 landmarks per person out.
 *
 *     bs_models *models;                                  // mapped once, shared by threads and forks
 *     bs_models_open(&models, NULL, BS_MODEL_BIT(BS_MODEL_FULL), &err);
 *     bs_pose_options options = bs_pose_defaults();       // MediaPipe's defaults
 *     bs_pose *pose;
 *     bs_pose_open(&pose, models, &options, &err);        // one per video, or one for many photos
 *     bs_image image = bs_image_rgb24(rgb, width, height, width * 3);
 *     bs_pose_result result;
 *     bs_pose_process(pose, &image, time_us, &result, &err);
 *     if (result.people) use(result.person[0].landmark[BS_LEFT_WRIST].x);
 *     bs_pose_close(&pose);
 *     bs_models_close(&models);
 *
 * Shapes: a landmark's x, y are fractions of the picture as displayed (0–1 when inside; never clamped);
 * z has the scale of x with 0 at the hips, smaller is nearer. World landmarks are metres, x to the right,
 * y down, origin between the hips. Left and right are the person's own.
 * Same numbers as MediaPipe 0.10.21's `mp.solutions.pose.Pose`, to the last digit, where the picture is
 * 8-bit RGB. A YUV picture is sampled where it lies, in floating point: as near to those numbers as
 * MediaPipe is to itself when the conversion to RGB is done by another routine.
 *
 * Threads: bs_models may be used by any number of threads and forked processes at once; a bs_pose by one
 * thread at a time, in a fork too (there the caller's thread alone works: `threads` stay behind).
 * Memory: the models are mapped read-only; a bs_pose has one arena (bs_pose_memory). */
#ifndef BODYSCRIPT_POSE_H
#define BODYSCRIPT_POSE_H

#include <bodyscript/image.h>
#include <bodyscript/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BS_LANDMARKS = 33, BS_MAX_PEOPLE = 16 };

/* X(constant, csv name), in the order of MediaPipe's landmark indices. */
/* clang-format off */
#define BS_LANDMARK_LIST(X) \
    X(NOSE, nose) X(LEFT_EYE_INNER, left_eye_inner) X(LEFT_EYE, left_eye) \
    X(LEFT_EYE_OUTER, left_eye_outer) X(RIGHT_EYE_INNER, right_eye_inner) X(RIGHT_EYE, right_eye) \
    X(RIGHT_EYE_OUTER, right_eye_outer) X(LEFT_EAR, left_ear) X(RIGHT_EAR, right_ear) \
    X(MOUTH_LEFT, mouth_left) X(MOUTH_RIGHT, mouth_right) X(LEFT_SHOULDER, left_shoulder) \
    X(RIGHT_SHOULDER, right_shoulder) X(LEFT_ELBOW, left_elbow) X(RIGHT_ELBOW, right_elbow) \
    X(LEFT_WRIST, left_wrist) X(RIGHT_WRIST, right_wrist) X(LEFT_PINKY, left_pinky) \
    X(RIGHT_PINKY, right_pinky) X(LEFT_INDEX, left_index) X(RIGHT_INDEX, right_index) \
    X(LEFT_THUMB, left_thumb) X(RIGHT_THUMB, right_thumb) X(LEFT_HIP, left_hip) \
    X(RIGHT_HIP, right_hip) X(LEFT_KNEE, left_knee) X(RIGHT_KNEE, right_knee) \
    X(LEFT_ANKLE, left_ankle) X(RIGHT_ANKLE, right_ankle) X(LEFT_HEEL, left_heel) \
    X(RIGHT_HEEL, right_heel) X(LEFT_FOOT_INDEX, left_foot_index) X(RIGHT_FOOT_INDEX, right_foot_index)
/* clang-format on */

enum {
#define X(constant, name) BS_##constant,
    BS_LANDMARK_LIST(X)
#undef X
};

/* MediaPipe's landmark name in lower case ("left_wrist"); index 0–32. Static storage. */
const char *bs_landmark_name(int index);

/* The 35 connections of MediaPipe's POSE_CONNECTIONS, pairs of landmark indices. */
enum { BS_CONNECTIONS = 35 };
extern const uint8_t bs_connections[BS_CONNECTIONS][2];

/* -- models -------------------------------------------------------------------------------------- */

typedef enum bs_model_kind { BS_MODEL_LITE = 0, BS_MODEL_FULL, BS_MODEL_HEAVY, BS_MODEL_KINDS } bs_model_kind;
#define BS_MODEL_BIT(kind) (1u << (kind))
#define BS_MODEL_ALL       7u

const char *bs_model_name(bs_model_kind kind); /* "lite", "full", "heavy" */

typedef struct bs_models bs_models;

/* Maps the detector and the landmark models of `kinds` (BS_MODEL_BIT values or-ed) from the folder `dir`.
 * NULL: $BODYSCRIPT_MODELS, else the folder that the build put beside the program, else the installed one.
 * A missing, damaged or foreign file: BS_ERR_INPUT and a sentence. Nothing is copied or packed. */
bs_status bs_models_open(bs_models **out, const char *dir, unsigned kinds, bs_error *err);
void bs_models_close(bs_models **models); /* when no bs_pose uses them any more */

/* The folder that the models were mapped from, and the SHA-256 of a landmark model in hex (computed when
 * first asked for; "" for one that was not opened). Both live as long as `models`. */
const char *bs_models_dir(const bs_models *models);
const char *bs_models_sha256(bs_models *models, bs_model_kind kind);

/* -- one person's way through a video, or many single photos --------------------------------------- */

typedef enum bs_mode { BS_MODE_ULTRA_FAST = 0, BS_MODE_FAST, BS_MODE_SMART, BS_MODE_QUALITY } bs_mode;
const char *bs_mode_name(bs_mode mode); /* "ultra_fast", "fast", "smart", "quality" */

/* The options of MediaPipe's Pose, under their own names and with their own defaults, and a few of ours. */
typedef struct bs_pose_options {
    bool static_image_mode;         /* false: track from picture to picture */
    int model_complexity;           /* 0 lite, 1 full (default), 2 heavy */
    bool smooth_landmarks;          /* true */
    bool enable_segmentation;       /* false */
    bool smooth_segmentation;       /* true; without effect, as in MediaPipe as it runs (blazepose.md 11.1) */
    float min_detection_confidence; /* 0.5: score of the detector, >= */
    float min_tracking_confidence;  /* 0.5: presence of the landmark model, > */

    int num_people;    /* 1: MediaPipe Pose; more: MediaPipe Tasks' rules (blazepose.md 17) */
    bs_mode mode;      /* BS_MODE_FAST: no extra tries. Only the extra tries of smart and
                          quality are taken from it; the model is model_complexity's */
    int threads;       /* 1: threads inside one inference, the caller's included; 0 is 1 too */
    const char *isa;   /* NULL: the best of this CPU; "portable", "sse2", "avx2", "avx512", "neon" */
    bool drop_weights; /* false; true: weights leave memory once they were used (lite 4, full 8, heavy 29 MB less are
                          resident, for some 2 % of the time) */
} bs_pose_options;

bs_pose_options bs_pose_defaults(void);

typedef struct bs_landmark {
    float x, y, z;              /* of the displayed picture's width, height, width */
    float visibility, presence; /* 0–1 */
} bs_landmark;

typedef struct bs_world_landmark {
    float x, y, z; /* metres */
} bs_world_landmark;

/* A rotated square: centre and size as fractions of the displayed picture, radians clockwise. */
typedef struct bs_roi {
    float x_center, y_center, width, height, rotation;
} bs_roi;

typedef enum bs_person_status { BS_MISSING = 0, BS_DETECTED, BS_TRACKED } bs_person_status;
const char *bs_person_status_name(bs_person_status status); /* "missing", "detected", "tracked" */

/* Which try a result came from. */
typedef enum bs_strategy {
    BS_STRATEGY_ORIGINAL = 0,
    BS_STRATEGY_REDETECTED,
    BS_STRATEGY_CLAHE,
    BS_STRATEGY_BRIGHT,
    BS_STRATEGY_MIRRORED,
    BS_STRATEGY_LOWER_ENHANCED,
    BS_STRATEGY_TILED,
} bs_strategy;
const char *bs_strategy_name(bs_strategy strategy); /* "original", "redetected", "clahe", … */

typedef struct bs_person {
    int id; /* stable while the person is tracked, and after a gap of up to 2.5 s; 0 where num_people is 1 */
    bs_person_status status; /* BS_DETECTED when the detector's ROI was used, else BS_TRACKED */
    bs_strategy strategy;
    float detection_score; /* of the detector, 0 when tracked */
    float presence;        /* of the landmark model, 0–1 */
    bs_roi roi;            /* what the landmark model looked at */
    bs_roi next_roi;       /* where it will look in the next picture */
    bs_landmark landmark[BS_LANDMARKS];
    bs_world_landmark world[BS_LANDMARKS];
} bs_person;

typedef struct bs_pose_result {
    int people; /* 0: nobody was found */
    bool detector_ran;
    bs_person person[BS_MAX_PEOPLE];
} bs_pose_result;

typedef struct bs_pose bs_pose;

/* `models` must outlive the bs_pose; the options are copied. BS_ERR_USAGE, by name: an option out of its range, a model
 * that was not opened, an instruction set that this CPU lacks. BS_ERR_NOMEM. */
bs_status bs_pose_open(bs_pose **out, const bs_models *models, const bs_pose_options *options, bs_error *err);
void bs_pose_close(bs_pose **pose);

/* One picture. `time_us`: its presentation time in microseconds, ascending in tracking mode (the smoothing filters use
 * true time; MediaPipe's own clock is 33,333 per call) and best not 0, since after that they take the next picture for
 * 1/30 s later, as MediaPipe's do; ignored in static mode.
 * BS_ERR_USAGE: a picture whose description contradicts itself; a time that is negative or not after the last one's.
 * On failure the tracking state is as before the call. */
bs_status bs_pose_process(bs_pose *pose, const bs_image *image, int64_t time_us, bs_pose_result *out, bs_error *err);

/* The mask of the last processed picture: displayed width × height floats 0–1, valid until the next call.
 * NULL where segmentation is off or nobody was found. */
const float *bs_pose_segmentation_mask(const bs_pose *pose);

/* Forgets the person, the filters and the time, as MediaPipe's reset() does. */
void bs_pose_reset(bs_pose *pose);

/* Private memory of the engine in bytes: arenas, plans, crops, and the mask with segmentation; the mapped weights are
 * not in it. */
size_t bs_pose_memory(const bs_pose *pose);

/* The instruction set in use, of NULL the best of this CPU: "portable", "sse2", "avx2", "avx512" or "neon". Static
 * storage. */
const char *bs_pose_isa(const bs_pose *pose);

#ifdef __cplusplus
}
#endif
#endif
