/* zygote: the small process that every job process is a fork of.
 *
 * The first one is a fork of the server from before it has threads: what the dynamic linker wrote (5 MB) then exists
 * once. Where that one dies the server has threads, whose locks a fork would inherit: the program is started anew.
 * Either way it has none of the server's secrets. It has the libraries loaded and the models mapped, and waits for
 * orders on a socket. An order comes with open descriptors; the fork that carries it out (job_process.c) enters the
 * sandbox before it reads a byte of media. It talks to the server on a channel of its own. The zygote tells when it
 * started and how it ended.
 *
 * Whoever is killed: the zygote dies with the server, job processes with the zygote (the kernel sees to it).
 * Owner: the server closes its ends. Threads: one at a time; the zygote dies with the thread that started it. */
#ifndef BS_SERVICE_WORKER_ZYGOTE_H
#define BS_SERVICE_WORKER_ZYGOTE_H

#include <bodyscript/log.h>
#include <bodyscript/pipeline.h>

#include "service/worker/sandbox.h"

/* -- orders: server to zygote --------------------------------------------------------------------------- */

typedef enum bs_order_kind {
    BS_ORDER_SETUP, /* the first: how to log */
    BS_ORDER_PROBE, /* bs_probe and bs_estimate */
    BS_ORDER_RUN,   /* bs_process */
    BS_ORDER_KILL,  /* the process of `serial`; without effect where it has ended */
    BS_ORDER_TRIM,  /* give memory back that is not needed */
} bs_order_kind;

/* What is to be written. An order to RUN comes with the input's descriptor, the channel's, and one for each of these
 * whose bit is set, in this order; an order to PROBE with the first two. */
enum {
    BS_GIVE_CSV = 1,
    BS_GIVE_JSON = 2,
    BS_GIVE_VIDEO = 4,
    BS_GIVE_PREVIEW = 8,
    BS_GIVE_THUMBNAIL = 16,
    BS_GIVE_OUTPUTS = 5
};

typedef struct bs_order {
    bs_order_kind kind;
    uint32_t serial;            /* the server's own number of the process */
    bs_process_options options; /* `isa` is not passed on */
    unsigned outputs;           /* BS_GIVE_* */
    bool save_frames;
    bs_sandbox_limits limits;
    uint64_t budget_shared, budget_alone; /* PROBE: what a job may take of its own beside others, and at most */
    char name[256];                       /* of the input, for messages */
    bs_log_level log_level;
    bs_log_format log_format;
} bs_order;

/* -- answers: zygote to server -------------------------------------------------------------------------- */

typedef enum bs_answer_kind {
    BS_ANSWER_READY,   /* models are mapped */
    BS_ANSWER_UNREADY, /* they cannot be: `error` */
    BS_ANSWER_STARTED, /* `serial` is process `pid` */
    BS_ANSWER_ENDED,   /* with `wait_status`; where it could not start: pid 0 and `error` */
    BS_ANSWER_HASHES,  /* of the landmark models */
} bs_answer_kind;

typedef struct bs_answer {
    bs_answer_kind kind;
    uint32_t serial;
    pid_t pid;
    int wait_status;
    double cpu_seconds;
    uint64_t peak_memory; /* resident high-water mark, bytes */
    bs_error error;
    char sha256[BS_MODEL_KINDS][65];
} bs_answer;

/* -- the channel: job process to server ------------------------------------------------------------------ */

typedef enum bs_report_kind {
    BS_REPORT_PROGRESS, /* a bs_progress */
    BS_REPORT_NOTE,     /* a sentence */
    BS_REPORT_FRAME,    /* an encoded picture; `value` is its frame */
    BS_REPORT_PROBED,   /* a bs_probed */
    BS_REPORT_DONE,     /* a bs_done */
    BS_REPORT_KINDS
} bs_report_kind;

typedef struct bs_report {
    uint32_t kind, size; /* of what follows, bytes */
    int64_t value;
} bs_report;

enum { BS_REPORT_NOTE_MAX = 256, BS_REPORT_FRAME_MAX = 256 << 20 };

typedef struct bs_probed {
    bs_status status;
    bs_error error;
    bs_video_info info;
    bs_estimate_parts estimate;
    uint64_t budget; /* what the estimate was bounded by */
} bs_probed;

typedef struct bs_done {
    bs_status status;
    bs_error error;
    bs_summary summary;
} bs_done;

/* What the fork does; it does not return. `input` and `channel` are open; `outputs` hold -1 where not given. */
_Noreturn void bs_job_process(bs_models *models, const bs_order *order, int input, int channel,
                              const int outputs[BS_GIVE_OUTPUTS]);

/* -- the server's side ----------------------------------------------------------------------------------- */

typedef struct bs_zygote {
    pid_t pid;  /* 0: none */
    int socket; /* -1: none; readable when an answer is there, or when it died */
} bs_zygote;

/* Starts it and tells it how to log. */
bs_status bs_zygote_start(bs_zygote *out, bs_log_level level, bs_log_format format, bs_error *err);
/* The same by a fork: only while the process has one thread. `secrets` are `count` texts (NULL: none) that the fork
 * wipes out of its memory; the environment goes as well, but for what finds the models. */
bs_status bs_zygote_fork(bs_zygote *out, bs_log_level level, bs_log_format format, char *const *secrets, size_t count,
                         bs_error *err);
/* Passes an order with `count` descriptors (they stay the caller's). BS_AGAIN: it does not listen just now. */
bs_status bs_zygote_send(bs_zygote *zygote, const bs_order *order, const int *fds, size_t count, bs_error *err);
/* BS_AGAIN: no answer is there. BS_EOF: it died. */
bs_status bs_zygote_receive(bs_zygote *zygote, bs_answer *out);
/* Kills and buries it; its job processes die with it. */
void bs_zygote_end(bs_zygote *zygote);

#endif
