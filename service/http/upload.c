/* POST /api/upload: from the socket to the disk, checked while it arrives, then probed and queued (see internal.h).
 *
 * What can be told from the headers is told before a byte is read: no key, no room in the queue, memory or disk, too
 * large. What shows later (a length that lied, a file that is no video) ends the upload there and then: the answer is
 * written to the socket, the connection closed, and what the client still sends is drained for a while so that it
 * gets to read the answer. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <bodyscript/sha256.h>

#include "service/http/internal.h"
#include "service/http/multipart.h"
#include "service/http/sniff.h"

enum {
    FIELD_SIZE = 64,           /* bytes of a form field's value */
    SWALLOW = 256 * 1024,      /* so little that is left of a refused body is read, and the connection kept */
    KEY_MAX = 255,             /* characters of an Idempotency-Key */
    UPLOADS_RETRY_SECONDS = 10 /* when too many arrive at a time */
};

struct bs_upload {
    bs_multipart multipart;
    bs_incoming incoming;
    bs_job job;
    uint64_t max_bytes, file_bytes, received;
    bool in_file, has_file, too_large;
    bool keyed;                /* it may be the repetition of an earlier one, which its hash will tell */
    bs_sha256 sha;             /* of the file so far, where it is */
    const struct field *field; /* the part that arrives; neither file nor field: dropped */
    char value[FIELD_SIZE];
    size_t value_length;
    unsigned char head[BS_SNIFF_BYTES];
    bool sniffed;
    unsigned refused; /* the status of the answer; 0: not refused */
};

/* -- fields of the form ----------------------------------------------------------------------------------- */

static bool parse_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 18 || text[digits])
        return false;
    int64_t n = strtoll(text, NULL, 10);
    if (n < min || n > max)
        return false;
    *out = n;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (int i = 0; i < 8; i++)
        if (!strcasecmp(text, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

typedef enum field_kind { FIELD_MODE, FIELD_MODEL, FIELD_FORMAT, FIELD_NUMBER, FIELD_SECONDS, FIELD_FLAG } field_kind;

/* The form's fields beside the file. `at`: of a number or flag, its place in bs_job_options. */
static const struct field {
    const char *name;
    field_kind kind;
    size_t at;
    int min, max;
} fields[] = {
    {"mode", FIELD_MODE},
    {"model", FIELD_MODEL},
    {"frame_format", FIELD_FORMAT},
    {"interval", FIELD_NUMBER, offsetof(bs_job_options, interval), 1, 10000},
    {"frame_extraction_interval", FIELD_NUMBER, offsetof(bs_job_options, interval), 1, 10000},
    {"people", FIELD_NUMBER, offsetof(bs_job_options, people), 1, BS_MAX_PEOPLE},
    {"max_video_width", FIELD_NUMBER, offsetof(bs_job_options, max_width), 0, 16384},
    {"max_video_duration_seconds", FIELD_SECONDS, 0, 1, 864000},
    {"exact", FIELD_FLAG, offsetof(bs_job_options, exact)},
    {"save_frames", FIELD_FLAG, offsetof(bs_job_options, save_frames)},
    {"no_video", FIELD_FLAG, offsetof(bs_job_options, no_video)},
};

static const struct field *find_field(const char *name)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (!strcmp(name, fields[i].name))
            return &fields[i];
    return NULL;
}

static bool set_mode(bs_job_options *o, const char *value)
{
    for (int i = BS_MODE_ULTRA_FAST; i <= BS_MODE_QUALITY; i++)
        if (!strcmp(value, bs_mode_name(i))) {
            o->mode = i;
            return true;
        }
    return false;
}

static bool set_model(bs_job_options *o, const char *value)
{
    for (int i = 0; i < BS_MODEL_KINDS; i++)
        if (!strcmp(value, bs_model_name(i))) {
            o->model = i;
            return true;
        }
    return false;
}

static bool set_format(bs_job_options *o, const char *value)
{
    o->png = !strcmp(value, "png");
    return o->png || !strcmp(value, "jpg");
}

/* One field; an empty one counts as not given, as browsers send it for an empty box. False: it takes something else. */
static bool set_field(bs_job_options *o, const bs_settings *settings, const struct field *field, const char *value)
{
    int64_t n = 0, most = settings->max_video_duration_seconds;
    if (!value[0])
        return true;
    switch (field->kind) {
    case FIELD_MODE: return set_mode(o, value);
    case FIELD_MODEL: return set_model(o, value);
    case FIELD_FORMAT: return set_format(o, value);
    case FIELD_FLAG: return parse_bool(value, (bool *)((char *)o + field->at));
    case FIELD_NUMBER:
    case FIELD_SECONDS:
        if (!parse_int(value, field->min, field->max, &n))
            return false;
        if (field->kind == FIELD_NUMBER)
            *(int *)((char *)o + field->at) = (int)n;
        else
            o->max_duration_us = (most && n > most ? most : n) * 1000000; /* the server's own limit holds */
        return true;
    }
    return false;
}

static bs_status say_what_it_takes(const struct field *field, bs_error *err)
{
    static const char *const words[] = {[FIELD_MODE] = "ultra_fast, fast, smart or quality",
                                        [FIELD_MODEL] = "lite, full or heavy",
                                        [FIELD_FORMAT] = "jpg or png",
                                        [FIELD_FLAG] = "true or false"};
    if (field->kind == FIELD_NUMBER || field->kind == FIELD_SECONDS)
        return bs_fail(err, BS_ERR_USAGE, "The field '%s' takes a whole number from %d to %d", field->name, field->min,
                       field->max);
    return bs_fail(err, BS_ERR_USAGE, "The field '%s' takes %s", field->name, words[field->kind]);
}

/* The last part of the name, for people to read: no folders, no control characters. */
static void keep_name(char *out, size_t size, const char *name)
{
    const char *last = name;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '\\')
            last = c + 1;
    snprintf(out, size, "%.*s", (int)size - 1, last);
    for (char *quote; (quote = strstr(out, "%22"));) { /* how browsers send a quotation mark */
        *quote = '"';
        memmove(quote + 1, quote + 3, strlen(quote + 3) + 1);
    }
    bs_text_clean(out);
    if (!out[0])
        snprintf(out, size, "video");
}

/* -- parts of the form, as they arrive -------------------------------------------------------------------- */

static bs_status begin_part(void *opaque, const bs_multipart_part *part, bs_error *err)
{
    bs_request *r = opaque;
    bs_upload *u = r->upload;
    u->in_file = !strcmp(part->name, "file");
    u->field = find_field(part->name);
    u->value_length = 0;
    if (!u->in_file)
        return BS_OK;
    if (u->has_file)
        return bs_fail(err, BS_ERR_USAGE, "The form has more than one field 'file'; a job is one video");
    if (!part->has_filename)
        return bs_fail(err, BS_ERR_USAGE, "The field 'file' is to be a file");
    u->has_file = true;
    keep_name(u->job.filename, sizeof(u->job.filename), part->filename);
    return BS_OK;
}

static bs_status check_kind(bs_upload *u, bs_error *err)
{
    u->sniffed = true;
    size_t size = u->file_bytes < sizeof(u->head) ? (size_t)u->file_bytes : sizeof(u->head);
    if (!size)
        return bs_fail(err, BS_ERR_INPUT, "The file is empty");
    if (!bs_sniff(u->head, size))
        return bs_fail(err, BS_ERR_INPUT,
                       "The file is not a video or photo in a known format (MP4, MOV, MKV, WebM, AVI, "
                       "JPEG, PNG, WebP …)");
    return BS_OK;
}

static bs_status write_all(int fd, const char *data, size_t size, bs_error *err)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int reason = n ? errno : ENOSPC;
            bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
            return bs_fail(err, full ? BS_ERR_LIMIT : BS_ERR_IO, "The upload cannot be stored: %s", strerror(reason));
        }
        data += n;
        size -= (size_t)n;
    }
    return BS_OK;
}

static bs_status take_file(bs_request *r, const char *data, size_t size, bs_error *err)
{
    bs_upload *u = r->upload;
    u->too_large = u->file_bytes + size > u->max_bytes;
    if (u->too_large)
        return bs_fail(err, BS_ERR_LIMIT, "File too large: the limit is %lld MB",
                       (long long)r->http->settings->max_video_size_mb);
    if (u->file_bytes < sizeof(u->head)) {
        size_t room = sizeof(u->head) - (size_t)u->file_bytes;
        memcpy(u->head + u->file_bytes, data, size < room ? size : room);
    }
    u->file_bytes += size;
    bs_status status = BS_OK;
    if (!u->sniffed && u->file_bytes >= sizeof(u->head))
        status = check_kind(u, err);
    if (status)
        return status;
    if (u->keyed)
        bs_sha256_update(&u->sha, data, size);
    return write_all(u->incoming.fd, data, size, err);
}

static bs_status part_data(void *opaque, const void *data, size_t size, bs_error *err)
{
    bs_request *r = opaque;
    bs_upload *u = r->upload;
    if (u->in_file)
        return take_file(r, data, size, err);
    if (!u->field)
        return BS_OK;
    if (u->value_length + size >= sizeof(u->value))
        return bs_fail(err, BS_ERR_USAGE, "The field '%s' is longer than %d bytes", u->field->name, FIELD_SIZE - 1);
    memcpy(u->value + u->value_length, data, size);
    u->value_length += size;
    return BS_OK;
}

static bs_status part_over(void *opaque, bs_error *err)
{
    bs_request *r = opaque;
    bs_upload *u = r->upload;
    if (u->in_file)
        return u->sniffed ? BS_OK : check_kind(u, err);
    if (!u->field)
        return BS_OK;
    u->value[u->value_length] = '\0';
    if (strlen(u->value) != u->value_length)
        return bs_fail(err, BS_ERR_USAGE, "The field '%s' holds a NUL character", u->field->name);
    return set_field(&u->job.options, r->http->settings, u->field, u->value) ? BS_OK : say_what_it_takes(u->field, err);
}

/* -- the way of an upload --------------------------------------------------------------------------------- */

void bs_upload_close(bs_http *http, bs_upload **upload)
{
    bs_upload *u = *upload;
    if (!u)
        return;
    bs_artifacts_discard(http->artifacts, &u->incoming);
    atomic_fetch_sub(&http->uploads, 1);
    free(u);
    *upload = NULL;
}

static unsigned status_of(bs_status status)
{
    switch (status) {
    case BS_ERR_INPUT: return MHD_HTTP_BAD_REQUEST;
    case BS_ERR_USAGE: return MHD_HTTP_UNPROCESSABLE_CONTENT;
    case BS_ERR_LIMIT: return MHD_HTTP_INSUFFICIENT_STORAGE; /* of the disk */
    default: return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
}

static void answer_verdict(bs_request *r, const bs_verdict *verdict)
{
    static const unsigned status[] = {
        [BS_REFUSAL_NONE] = MHD_HTTP_SERVICE_UNAVAILABLE,   [BS_REFUSAL_CAPACITY] = MHD_HTTP_SERVICE_UNAVAILABLE,
        [BS_REFUSAL_MEMORY] = MHD_HTTP_SERVICE_UNAVAILABLE, [BS_REFUSAL_STOPPING] = MHD_HTTP_SERVICE_UNAVAILABLE,
        [BS_REFUSAL_INPUT] = MHD_HTTP_BAD_REQUEST,          [BS_REFUSAL_LIMIT] = MHD_HTTP_CONTENT_TOO_LARGE,
    };
    char seconds[16];
    bs_answer_error(r, status[verdict->refusal], "%s", verdict->detail);
    if (status[verdict->refusal] == MHD_HTTP_SERVICE_UNAVAILABLE) {
        snprintf(seconds, sizeof(seconds), "%d", verdict->retry_after > 0 ? verdict->retry_after : 1);
        bs_answer_header(r, "Retry-After", seconds);
    }
}

static void answer_job(bs_request *r, const bs_job *job, bool before)
{
    const char *message = before ? "This upload was received before; this is its job"
                                 : "Video uploaded successfully. Processing will start soon.";
    bs_answer_json(r, MHD_HTTP_OK,
                   json_pack("{s:s, s:s, s:s, s:s, s:o}", "job_id", job->id, "status", bs_job_state_name(job->state),
                             "message", message, "filename", job->filename, "file_size_mb",
                             bs_json_mb((uint64_t)job->file_size)));
}

/* The key of a repeated upload; false where it cannot be one (answered). */
static bool idempotency_key(bs_request *r, const char **key)
{
    *key = bs_request_header(r, "Idempotency-Key");
    size_t length = *key ? strlen(*key) : 1, visible = 0;
    while (*key && (*key)[visible] > ' ' && (*key)[visible] <= '~')
        visible++;
    if (*key && (!length || length > KEY_MAX || visible < length)) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "Idempotency-Key takes 1 to %d visible ASCII characters",
                        KEY_MAX);
        return false;
    }
    return true;
}

/* Whether the body, which is not read yet, can be a form with the file that came with this key before. Such a one is
 * taken in even where no further job is: it becomes none, and only its bytes tell whether it is that file. */
static bool is_repetition(bs_request *r, const char *key)
{
    bs_job job;
    if (!key || bs_store_find(r->http->store, key, &job, NULL) != BS_OK)
        return false;
    uint64_t size = (uint64_t)job.file_size;
    return r->declared != UINT64_MAX && r->declared > size && r->declared - size <= BS_HTTP_MULTIPART_OVERHEAD;
}

/* Stores before version 3 kept no hash. */
static bool is_same_file(const bs_job *a, const bs_job *b)
{
    return a->file_size == b->file_size && (!a->input_sha256[0] || !strcmp(a->input_sha256, b->input_sha256));
}

/* Whether an upload can be taken in now; else answered. */
static bool admitted(bs_request *r)
{
    bs_http *http = r->http;
    bs_verdict verdict = {0};
    const char *key;
    if (!idempotency_key(r, &key))
        return false;
    if (atomic_load(&http->refusing)) {
        verdict = (bs_verdict){.refusal = BS_REFUSAL_STOPPING, .retry_after = 10, .detail = "Server is stopping"};
    } else if (atomic_load(&http->uploads) >= BS_HTTP_UPLOADS) {
        verdict = (bs_verdict){.refusal = BS_REFUSAL_CAPACITY, .retry_after = UPLOADS_RETRY_SECONDS};
        snprintf(verdict.detail, sizeof(verdict.detail), "Server at capacity: %d uploads arrive at the moment",
                 BS_HTTP_UPLOADS);
    } else if (bs_worker_admits(http->worker, &verdict) || is_repetition(r, key)) {
        return true;
    }
    answer_verdict(r, &verdict);
    return false;
}

bool bs_upload_begin(bs_request *r)
{
    bs_http *http = r->http;
    const bs_settings *settings = http->settings;
    uint64_t max = (uint64_t)settings->max_video_size_mb * 1048576;
    bs_error err = {0};
    if (!bs_request_has_api_key(r)) {
        bs_answer_error(r, MHD_HTTP_UNAUTHORIZED, "Uploads need the API key: X-API-Key: … or Authorization: Bearer …");
        bs_answer_header(r, "WWW-Authenticate", "Bearer");
        return false;
    }
    if (r->declared != UINT64_MAX && r->declared > max + BS_HTTP_MULTIPART_OVERHEAD) {
        bs_answer_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "File too large: the upload has %.1f MB, the limit is %lld MB",
                        (double)r->declared / 1048576, (long long)settings->max_video_size_mb);
        return false;
    }
    bs_upload *u = calloc(1, sizeof(*u));
    if (!u) {
        bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Server memory limit reached");
        bs_answer_header(r, "Retry-After", "5");
        return false;
    }
    u->incoming.fd = -1;
    u->max_bytes = max;
    u->keyed = bs_request_header(r, "Idempotency-Key") != NULL;
    bs_sha256_init(&u->sha);
    atomic_fetch_add(&http->uploads, 1);
    bs_multipart_sink sink = {begin_part, part_data, part_over, r};
    bs_status status = bs_multipart_open(&u->multipart, bs_request_header(r, "Content-Type"), &sink, &err);
    if (status) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "%s", err.text);
        goto refused;
    }
    if (!admitted(r))
        goto refused;
    if ((status = bs_job_init(&u->job, settings, &err))) {
        bs_answer_failure(r, status, &err);
        goto refused;
    }
    r->upload = u;
    return true;
refused:
    bs_upload_close(http, &u);
    return false;
}

/* Refused on the way: answered at once where much is still to come. */
static bool refuse(bs_request *r, bs_status status, const bs_error *err)
{
    bs_upload *u = r->upload;
    unsigned code = u->too_large ? MHD_HTTP_CONTENT_TOO_LARGE : status_of(status);
    bs_artifacts_discard(r->http->artifacts, &u->incoming); /* the room is free from here on */
    bs_answer_error(r, code, "%s", err->text);
    if (code == MHD_HTTP_SERVICE_UNAVAILABLE)
        bs_answer_header(r, "Retry-After", "5");
    u->refused = code;
    if (r->declared != UINT64_MAX && r->declared - u->received <= SWALLOW)
        return true;

    bs_answer_now(r, code, err->text, r->declared == UINT64_MAX ? u->max_bytes : r->declared - u->received);
    return false;
}

bool bs_upload_goes_on(const bs_upload *u)
{
    return !u->refused;
}

bool bs_upload_data(bs_request *r, const char *data, size_t size)
{
    bs_upload *u = r->upload;
    bs_error err = {0};
    bs_status status = BS_OK;
    if (!u->received) /* room for all of it, before the first byte is written */
        status = bs_artifacts_receive(r->http->artifacts, r->declared < u->max_bytes ? r->declared : u->max_bytes,
                                      &u->incoming, &err);
    u->received += size;
    if (status == BS_OK)
        status = bs_multipart_feed(&u->multipart, data, size, &err);
    return status ? refuse(r, status, &err) : true;
}

bool bs_upload_end(bs_request *r)
{
    bs_upload *u = r->upload;
    bs_error err = {0};
    if (u->refused)
        return false;
    if (bs_multipart_finish(&u->multipart, &err)) {
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "%s", err.text);
        return false;
    }
    if (!u->has_file) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "The field 'file' with the video is missing");
        return false;
    }
    return true;
}

/* Runs in a lane: makes the upload durable, has it probed, queues it. */
void bs_handle_upload(bs_request *r)
{
    bs_http *http = r->http;
    bs_upload *u = r->upload;
    bs_error err = {0};
    bs_verdict verdict = {0};
    bs_job job;
    bool before = false;
    const char *key = bs_request_header(r, "Idempotency-Key");

    u->job.file_size = (int64_t)u->file_bytes;
    if (u->keyed)
        bs_sha256_hex(&u->sha, u->job.input_sha256);
    bs_status status = bs_artifacts_accept(http->artifacts, &u->incoming, u->job.id, &err);
    if (status) {
        bs_answer_failure(r, status, &err);
        return;
    }
    if (!bs_worker_submit(http->worker, &u->job, key, &job, &before, &verdict, &err)) {
        bs_artifacts_remove(http->artifacts, u->job.id, NULL);
        if (verdict.refusal == BS_REFUSAL_NONE)
            bs_answer_failure(r, err.status, &err);
        else
            answer_verdict(r, &verdict);
        return;
    }
    if (before)
        bs_artifacts_remove(http->artifacts, u->job.id, NULL);
    if (before && !is_same_file(&job, &u->job)) { /* whoever guesses a key is not handed another's job */
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "The Idempotency-Key was given with another file before");
        return;
    }
    bs_status_cache_expire(http->cache);
    bs_log(BS_LOG_INFO, "http", "job %s: %s, %.2f MB%s", job.id, job.filename, (double)job.file_size / 1048576,
           before ? ", received before" : "");
    answer_job(r, &job, before);
}
