/* settings: every setting of the program, in one list.
 *
 * A setting is an environment variable (MAX_VIDEO_WIDTH), an option (--max-video-width) and a line of an
 * optional bodyscript.conf (MAX_VIDEO_WIDTH=720). Precedence: option, environment, file, default. A value that
 * does not parse or is out of range stops the program with one sentence that names it, its value and what it
 * takes. The list below yields the struct, the parser, the options, `--help` and the table in docs/settings.md.
 *
 * Owner: texts belong to the struct (bs_settings_release). Threads: read-only once filled. */
#ifndef BS_SETTINGS_SETTINGS_H
#define BS_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bodyscript/status.h>

enum { BS_CONCURRENT_MOST = 256 }; /* what MAX_CONCURRENT_PROCESSING takes: the worker has room for so many */

/* INT(field, NAME, default, min, max, meaning)   whole numbers; default -1 with a dynamic meaning: see the text
 * BOOL(field, NAME, default, meaning)            true/false, yes/no, on/off, 1/0
 * TEXT(field, NAME, default, meaning)            NULL: none
 * CHOICE(field, NAME, default, "a|b|c", meaning) the index of the word */
#define BS_SETTINGS_LIST(INT, BOOL, TEXT, CHOICE) \
    INT(max_video_size_mb, MAX_VIDEO_SIZE_MB, 30, 1, 1048576, \
        "larger uploads are refused while they arrive; files of `process` only where it is set") \
    INT(max_video_duration_seconds, MAX_VIDEO_DURATION_SECONDS, 10, 0, 864000, \
        "longer videos are processed up to here; 0: no limit") \
    INT(frame_extraction_interval, FRAME_EXTRACTION_INTERVAL, 3, 1, 10000, \
        "pose on every Nth frame; the overlay interpolates between them") \
    CHOICE(frame_format, FRAME_FORMAT, 0, "jpg|png", "format of saved frames") \
    BOOL(save_frames, SAVE_FRAMES, false, "keep the analysed frames as files") \
    INT(max_video_width, MAX_VIDEO_WIDTH, 720, 0, 16384, "width of the overlay video at most; 0: as the input") \
    INT(max_concurrent_processing, MAX_CONCURRENT_PROCESSING, 2, 1, BS_CONCURRENT_MOST, \
        "jobs at a time; also bounded by memory") \
    INT(max_pending_jobs, MAX_PENDING_JOBS, 10, 1, 1000000, "queued jobs; one more is answered 503") \
    INT(job_max_age_seconds, JOB_MAX_AGE_SECONDS, 3600, 1, 31536000, \
        "finished jobs and their files are removed when older") \
    INT(job_timeout_seconds, JOB_TIMEOUT_SECONDS, 600, 1, 864000, "a job that runs longer is stopped and failed") \
    INT(job_max_attempts, JOB_MAX_ATTEMPTS, 3, 1, 100, "a job whose process dies is run again, so often in all") \
    INT(memory_limit_mb, MEMORY_LIMIT_MB, -1, 16, 16777216, "the memory that there is; detected unless given") \
    INT(disk_limit_mb, DISK_LIMIT_MB, -1, 1, 1073741824, "room for uploads; free space less 10 % unless given") \
    INT(memory_cleanup_mb, MEMORY_CLEANUP_MB, 400, 1, 16777216, "from here on finished jobs are cleaned up early") \
    INT(memory_reject_mb, MEMORY_REJECT_MB, 450, 1, 16777216, "from here on new jobs are refused") \
    INT(memory_critical_mb, MEMORY_CRITICAL_MB, 500, 1, 16777216, \
        "from here on the youngest job is stopped and queued again") \
    CHOICE(mode, MODE, 1, "ultra_fast|fast|smart|quality", "model and extra tries") \
    TEXT(host, HOST, "127.0.0.1", "address to listen on; 0.0.0.0 where PORT is in the environment and HOST is not") \
    INT(port, PORT, 8000, 0, 65535, "port to listen on; 0: any free one") \
    TEXT(data_dir, DATA_DIR, "./data", "database, artifacts, admin token") \
    TEXT(database_url, DATABASE_URL, NULL, "sqlite:PATH; a file in DATA_DIR unless given") \
    TEXT(queue_url, QUEUE_URL, NULL, "leave it out: the queue is in the database") \
    TEXT(storage_url, STORAGE_URL, NULL, "file:PATH; DATA_DIR/jobs unless given") \
    TEXT(cdn_base_url, CDN_BASE_URL, NULL, \
         "address that result links begin with, such as https://cdn.example.com/results") \
    TEXT(admin_token, ADMIN_TOKEN, NULL, "what the administrator sends; generated in DATA_DIR unless given") \
    TEXT(api_key, API_KEY, NULL, "what uploads must send, where set") \
    TEXT(cors_allow_origins, CORS_ALLOW_ORIGINS, NULL, "comma-separated, such as https://example.com, or *") \
    CHOICE(log_level, LOG_LEVEL, 2, "error|warning|info|debug|trace", \
           "what is logged; commands other than serve and worker: warning unless given") \
    CHOICE(log_format, LOG_FORMAT, 0, "text|json", "how it is logged, on standard error")

/* BS_SET_MAX_VIDEO_WIDTH …: the place of a setting in the list. */
enum {
#define INT(field, name, value, min, max, meaning) BS_SET_##name,
#define BOOL(field, name, value, meaning)          BS_SET_##name,
#define TEXT(field, name, value, meaning)          BS_SET_##name,
#define CHOICE(field, name, value, words, meaning) BS_SET_##name,
    BS_SETTINGS_LIST(INT, BOOL, TEXT, CHOICE)
#undef INT
#undef BOOL
#undef TEXT
#undef CHOICE
        BS_SETTINGS_COUNT
};

/* Where a value came from; a higher one wins. */
typedef enum bs_setting_origin {
    BS_FROM_DEFAULT = 0,
    BS_FROM_FILE,
    BS_FROM_ENVIRONMENT,
    BS_FROM_OPTION,
} bs_setting_origin;

typedef struct bs_settings {
#define INT(field, name, value, min, max, meaning) int64_t field;
#define BOOL(field, name, value, meaning)          bool field;
#define TEXT(field, name, value, meaning)          char *field;
#define CHOICE(field, name, value, words, meaning) int field;
    BS_SETTINGS_LIST(INT, BOOL, TEXT, CHOICE)
#undef INT
#undef BOOL
#undef TEXT
#undef CHOICE
    uint8_t origin[BS_SETTINGS_COUNT]; /* a bs_setting_origin each */
} bs_settings;

/* One row of the list, for help texts and tables. Static storage. */
typedef enum bs_setting_kind {
    BS_SETTING_INT = 0,
    BS_SETTING_BOOL,
    BS_SETTING_TEXT,
    BS_SETTING_CHOICE
} bs_setting_kind;
typedef struct bs_setting {
    const char *name; /* MAX_VIDEO_WIDTH; the option is the same in lower case with dashes */
    bs_setting_kind kind;
    int64_t value, min, max; /* default and range of a whole number, default of a truth value or choice */
    const char *text;        /* default of a text, or NULL */
    const char *words;       /* of a choice: "jpg|png" */
    const char *meaning;
    size_t offset; /* of the field within bs_settings */
} bs_setting;
extern const bs_setting bs_settings_table[BS_SETTINGS_COUNT];

/* The setting called `name` (MAX_VIDEO_WIDTH, max-video-width or max_video_width), or NULL. */
const bs_setting *bs_settings_find(const char *name);
/* How many letters have to be changed, added or taken away to make one name the other (Levenshtein), - and _ being the
 * same and case not counting; 48 where one is longer than that. */
int bs_settings_distance(const char *a, const char *b);

/* The defaults alone. Everything below assumes a struct that began so. BS_ERR_NOMEM where memory is refused. */
bs_status bs_settings_init(bs_settings *out, bs_error *err);
/* Defaults, then `file` (NULL: ./bodyscript.conf where it exists), then the environment. On failure `out` holds
 * nothing that needs releasing. */
bs_status bs_settings_load(bs_settings *out, const char *file, bs_error *err);
/* The lines of a settings file: NAME=value, empty, or a comment that begins with #. `source` names it in messages. */
bs_status bs_settings_parse(bs_settings *settings, const char *text, size_t size, const char *source, bs_error *err);
/* One value by its name (MAX_VIDEO_WIDTH) or option (max-video-width), as if it were given as an option. `source` is
 * named in the message ("option", NULL for none). An empty text is the default. */
bs_status bs_settings_set(bs_settings *settings, const char *name, const char *value, const char *source,
                          bs_error *err);
/* What only makes sense together: thresholds in order, dynamic defaults (memory and disk limits, thresholds scaled
 * to a small machine, HOST where the platform sets PORT). Call it once, after the last bs_settings_set. */
bs_status bs_settings_finish(bs_settings *settings, bs_error *err);
/* One value as text, as bs_settings_set would take it; secrets are shown as "(set)". Cut when `size` is too small. */
void bs_settings_show(const bs_settings *settings, const bs_setting *setting, char *out, size_t size);
void bs_settings_release(bs_settings *settings);

#endif
