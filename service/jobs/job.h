/* jobs: the job, its states, and the store that keeps them.
 *
 * A job is one upload on its way to results. Its id is 128 random bits and is the key to it. States:
 *
 *     pending ──claim──▶ processing ──▶ completed
 *        ▲  │                │  │ └───▶ failed
 *        │  └──▶ cancelled ◀─┘  │            (also straight from pending: nothing may run it any more)
 *        └── stopped, or its process died ──┘
 *
 * Owner: a bs_job is plain data of the caller, nothing in it is to be freed. Units: bytes, and microseconds
 * since 1970 (0: not yet). Threads: plain data; every function here may be called from any thread. */
#ifndef BS_SERVICE_JOBS_JOB_H
#define BS_SERVICE_JOBS_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include <bodyscript/pose.h>
#include <bodyscript/sha256.h>
#include <bodyscript/status.h>

#include "settings/settings.h"

typedef enum bs_job_state {
    BS_JOB_PENDING = 0,
    BS_JOB_PROCESSING,
    BS_JOB_COMPLETED,
    BS_JOB_FAILED,
    BS_JOB_CANCELLED,
    BS_JOB_STATES
} bs_job_state;

/* "pending", "processing", "completed", "failed", "cancelled": static storage. */
const char *bs_job_state_name(bs_job_state state);
/* completed, failed or cancelled: it changes no more. */
bool bs_job_state_is_final(bs_job_state state);

enum {
    BS_JOB_ID_LENGTH = 32,
    BS_JOB_STATISTICS_SIZE = 4096,
    /* A job does nothing wrong where the server dies: that is no attempt of its own. But one that is there each time
     * may be what kills the server: it is run alone from the second time on, and failed after the tenth. */
    BS_JOB_SUSPECT_INTERRUPTIONS = 2,
    BS_JOB_MAX_INTERRUPTIONS = 10,
};

/* What the uploader asked for. Everything else of bs_process_options comes from the settings. */
typedef struct bs_job_options {
    bs_mode mode;
    int model;    /* a bs_model_kind; -1: the mode's own */
    int interval; /* pose on every Nth frame; 0: the mode's own (quality 1, the others 3) */
    int people;
    int max_width; /* of the overlay video; 0: as the input */
    int64_t max_duration_us;
    bool exact, save_frames, png;
    bool no_video; /* neither output.mp4 nor preview.mp4 */
} bs_job_options;

typedef struct bs_job {
    char id[BS_JOB_ID_LENGTH + 1];
    bs_job_state state;
    char filename[256]; /* as the user named it, cleaned (bs_text_clean): to be shown, never a path */
    int64_t file_size;
    char input_sha256[BS_SHA256_HEX]; /* of an upload with an Idempotency-Key, else "" */
    bool photo;                       /* the input is a single picture */
    bs_job_options options;
    int progress;                        /* per cent */
    char message[256];                   /* one sentence for a person */
    int64_t current_frame, total_frames; /* total 0 where unknown */
    int64_t created_us, started_us, completed_us;
    char statistics[BS_JOB_STATISTICS_SIZE]; /* a JSON object once completed, else "" */
    char error[512];                         /* one sentence where it failed, else "" */
    uint64_t reserved_memory;                /* bytes: bs_estimate's total */
    uint64_t shared_memory;                  /* bytes: of it, code and weights, which all jobs have in common */
    uint64_t memory_limit;                   /* bytes: what the estimate was bounded by; 0: not bounded */
    int attempts;                            /* starts so far, but for those that somebody else ended */
    int interruptions;                       /* times that the server or the zygote died while it ran */
    bool cancel_requested;                   /* processing, and somebody asked to stop it */
    bool kept;                               /* never removed by age or under memory pressure (the public gallery) */
    int64_t queue_position, queue_total;     /* of a pending job: 1 is next; pending jobs in all */
    char worker[BS_JOB_ID_LENGTH + 1];       /* whose it is while processing */
    int64_t lease_until_us;
} bs_job;

/* 128 random bits in lower-case hexadecimal. */
bs_status bs_job_id_new(char out[BS_JOB_ID_LENGTH + 1], bs_error *err);
/* Whether `text` has the form of an id: the check that every id from outside passes first. */
bool bs_job_id_valid(const char *text);

/* A pending job with a new id and the options that the settings give. */
bs_status bs_job_init(bs_job *out, const bs_settings *settings, bs_error *err);

/* Now, in microseconds since 1970. */
int64_t bs_job_now(void);

#endif
