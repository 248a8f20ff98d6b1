/* cli: the command line, a client of the public headers. One file per command, and what they share:
 *
 *   options.c   words and options of a command, settings among them; mistyped ones get a suggestion
 *   inputs.c    the videos and photos that words and folders name
 *   results.c   the result files of one input, seen only when whole
 *   progress.c  how far it is, for people and for programs
 *
 * A command is given its words (argv without the program and the command) and returns its exit code
 * (bs_exit_code of the status it ends with; 0 where all is well).
 * Messages go to standard error through cli_fail, one sentence each; standard output is for what was asked for. */
#ifndef BS_CLI_CLI_H
#define BS_CLI_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <bodyscript/bodyscript.h>

#include "settings/settings.h"

/* X(name, summary): the commands, in the order of --help. `int cli_NAME(int, char **)` each. */
#define CLI_COMMANDS(X) \
    X(process, "pose data and overlay for videos, photos and folders of them") \
    X(probe, "what a video is, and the memory that a job on it reserves") \
    X(serve, "the HTTP service: API, page and its own workers") \
    X(worker, "workers only, without HTTP") \
    X(jobs, "list, show, cancel and clean up the service's jobs") \
    X(export, "pose_data.json into the format of another program") \
    X(bench, "speed and memory on this machine") \
    X(doctor, "what this machine offers: memory, sandbox, models, settings")

#define X(name, summary) int cli_##name(int argc, char **argv);
CLI_COMMANDS(X)
#undef X

enum { CLI_INTERRUPTED = 130 };

/* Prints "bodyscript: <sentence>" and returns the status's exit code; where --json was asked for, first a line of JSON
 * with both on standard output. cli_say: without that line, for what has been told in another. */
int cli_fail(const bs_error *err);
int cli_fail_of(const char *file, const bs_error *err); /* of one of several: JSON names it */
int cli_say(const bs_error *err);
void cli_answer_in_json(void);
int cli_failf(bs_status status, const char *format, ...) BS_PRINTF(2, 3);

/* SIGINT, SIGTERM and SIGHUP ask the running command to stop; SIGPIPE is ignored. SIGHUP is not heard where it was
 * ignored from the start (nohup). */
void cli_catch_signals(void);
bool cli_interrupted(void);
void cli_at_signals(void (*handler)(int number)); /* the same signals, a handler of the command's own */

/* -- options.c --------------------------------------------------------------------------------------- */

typedef struct cli_option {
    const char *name;     /* "output"; NULL ends a list */
    char letter;          /* 'o', or 0 */
    const char *argument; /* what it takes, for the help text ("DIR"); NULL: nothing */
    const char *meaning;
} cli_option;

typedef struct cli_command {
    const char *name;
    const char *usage;         /* "process VIDEO… [-o DIR]" */
    const char *description;   /* one paragraph */
    const cli_option *options; /* of its own */
    const int *settings;       /* BS_SET_… that are its options too, ended by -1; NULL: none */
    int min_words, max_words;  /* max -1: any number */
    /* An option of its own; `value` is NULL where it takes none. */
    bs_status (*set)(void *opaque, const cli_option *option, const char *value, bs_error *err);
} cli_command;

/* Settings from the file and the environment, then `argv`. What is left are the words, in argv[0 … *words - 1].
 * True: *exit_code is 0, release the settings in the end. False: the command is over, with *exit_code (--help, or a
 * mistake that has been said). */
bool cli_parse(const cli_command *command, int argc, char **argv, void *opaque, bs_settings *settings, int *words,
               int *exit_code);

/* What process, probe and bench have in common. */
typedef struct cli_job_options {
    bs_process_options process;
    bool no_video, save_frames;
} cli_job_options;

extern const int cli_job_settings[]; /* those that concern one job, for cli_command.settings */
extern const int cli_all_settings[];
/* clang-format off */
#define CLI_JOB_OPTIONS \
    {"model", 'm', "lite|full|heavy", "landmark model; the mode's own unless given"}, \
    {"people", 'p', "N", "people to follow, 1 to 16 (1)"}, \
    {"exact", 0, NULL, "MediaPipe's own 8-bit arithmetic on every analysed frame: its numbers, not speed"}, \
    {"no-video", 0, NULL, "no output.mp4 and preview.mp4: nothing is encoded"}, \
    {"threads", 't', "N", "threads of the decoder, and as many of the encoder; 0: 2 of each (0)"}, \
    {"min-detection-confidence", 0, "P", "score from which a detected person counts, 0 to 1 (0.5)"}, \
    {"min-tracking-confidence", 0, "P", "presence above which a person is tracked on, 0 to 1 (0.5)"}, \
    {"static-image-mode", 0, NULL, "the detector on every analysed frame, no tracking"}, \
    {"isa", 0, "NAME", "instruction set: portable, sse2, avx2, avx512 or neon; the best one unless given"}
/* clang-format on */

void cli_job_options_init(cli_job_options *options);
/* BS_EOF: it is none of CLI_JOB_OPTIONS. */
bs_status cli_job_options_set(cli_job_options *options, const cli_option *option, const char *value, bs_error *err);
/* What the settings say; call it after cli_parse. */
void cli_job_options_finish(cli_job_options *options, const bs_settings *settings);
/* The outputs that a job would have, for bs_estimate, which only asks which they are. */
bs_outputs cli_job_options_outputs(const cli_job_options *options, bool photo);

/* A whole number from `min` to `max`. */
bs_status cli_int(const cli_option *option, const char *value, int64_t min, int64_t max, int64_t *out, bs_error *err);

/* -- inputs.c ---------------------------------------------------------------------------------------- */

typedef struct cli_inputs {
    char **path;
    int count, capacity;
} cli_inputs;

/* Files are taken as they are, "-" is standard input; of a folder the media files in it, by name. A folder without any,
 * or one that cannot be read, is said and does not stop the others: the exit code of the first one, else 0. */
int cli_inputs_add(cli_inputs *inputs, char **words, int count);
void cli_inputs_release(cli_inputs *inputs);
/* bs_probe within `memory_limit` (0: none), so that a header's claims cannot take more either. */
bs_status cli_inputs_probe(const bs_input *input, uint64_t memory_limit, bs_video_info *out, bs_error *err);
/* The last part of a path. */
const char *cli_base_name(const char *path);
enum { CLI_SHOWN = 512 };
/* A path as it is shown to people: on one line, and without commands to the terminal. Returns `out`. */
const char *cli_shown(const char *path, char out[CLI_SHOWN]);

/* -- results.c --------------------------------------------------------------------------------------- */

enum { CLI_RESULT_FILES = 7 };

/* The files of one input on their way into DIR/NAME/. They are written under names of their own and appear by
 * rename in cli_results_keep; cli_results_drop leaves nothing behind. */
typedef struct cli_results {
    char *folder;             /* DIR/NAME */
    size_t old;               /* bytes of it that name what was there before */
    int fd[CLI_RESULT_FILES]; /* -1: not wanted */
    bool png;
    int64_t frames;   /* saved so far */
    int frames_error; /* errno of the one that could not be saved, else 0 */
    unsigned kept;    /* bits of the files that are at their places */
} cli_results;

typedef enum cli_result_file {
    CLI_CSV = 0,
    CLI_JSON,
    CLI_VIDEO,
    CLI_PHOTO,
    CLI_PREVIEW,
    CLI_THUMBNAIL,
    CLI_METADATA,
} cli_result_file;

const char *cli_result_name(cli_result_file file);  /* "pose_data.csv" */
const char *cli_result_label(cli_result_file file); /* "csv" */

/* `wanted`: bits 1 << cli_result_file. `name` becomes a folder of `parent`. BS_ERR_USAGE where `input`, the file that
 * is read, lies where a result would go: it would be lost. */
bs_status cli_results_open(cli_results *results, const char *parent, const char *name, const char *input,
                           unsigned wanted, bs_error *err);
/* For bs_outputs.save_frame, with the cli_results as its opaque pointer. */
int cli_results_save_frame(void *opaque, int64_t frame_id, const void *data, size_t size);
/* All files at their places; files of an earlier run that this one did not make are removed. */
bs_status cli_results_keep(cli_results *results, bs_error *err);
void cli_results_drop(cli_results *results); /* after keep: only frees */

/* -- progress.c -------------------------------------------------------------------------------------- */

typedef struct cli_progress {
    const char *file;
    char name[CLI_SHOWN]; /* of the file, as it is shown */
    bool json, quiet, terminal;
    int index, count; /* of several files */
    double last;      /* seconds, of the last line */
    bool line_open;   /* a bar stands on the terminal's line */
} cli_progress;

void cli_progress_init(cli_progress *progress, const char *file, int index, int count, bool json, bool quiet);
/* For bs_callbacks, with the cli_progress as its opaque pointer. */
void cli_progress_report(void *opaque, const bs_progress *progress);
void cli_progress_note(void *opaque, const char *sentence);
/* Takes the bar off the terminal. */
void cli_progress_end(cli_progress *progress);

/* One line of JSON on standard output; takes the reference. */
struct json_t;
void cli_print_json(struct json_t *object);
/* A string of JSON, a new reference, NULL without memory. File names are bytes: of one that is no UTF-8, which JSON
 * cannot hold, what bs_text_clean leaves. */
struct json_t *cli_json_text(const char *text);

#endif
