/* Results as files: downloaded, or served inline with ranges and validators (RFC 9110) (see internal.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "service/http/internal.h"

/* -- which file ------------------------------------------------------------------------------------------- */

static const char *type_of(const char *name)
{
    for (int i = 0; i < BS_ARTIFACT_KINDS; i++)
        if (!strcmp(name, bs_artifact_file(i)))
            return bs_artifact_type(i);
    return strstr(name, ".png") ? "image/png" : "image/jpeg"; /* saved frames */
}

/* /api/download names results by label ("csv") or file name; NULL: neither. */
static const char *file_named(const char *name)
{
    for (int i = 0; i < BS_ARTIFACT_KINDS; i++)
        if (!strcmp(name, bs_artifact_label(i)))
            return bs_artifact_file(i);
    return bs_artifact_name_valid(name) ? name : NULL;
}

/* Opens a result of a completed job; false: answered, with `early` where the job is not completed. */
static bool open_result(bs_request *r, const char *name, unsigned early, bs_job *job, bs_artifact *out)
{
    bs_error err = {0};
    if (!bs_request_job(r))
        return false;
    bs_status status = bs_worker_job(r->http->worker, r->job, job, &err);
    if (status == BS_EOF) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
        return false;
    }
    if (status) {
        bs_answer_failure(r, status, &err);
        return false;
    }
    if (!name) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "File not found");
        return false;
    }
    if (job->state != BS_JOB_COMPLETED) {
        bs_answer_error(r, early, "Job not completed. Current status: %s", bs_job_state_name(job->state));
        return false;
    }
    status = bs_artifacts_read(r->http->artifacts, r->job, name, out, &err);
    if (status == BS_EOF || status == BS_ERR_INPUT)
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "File not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    return status == BS_OK;
}

/* -- ranges and validators -------------------------------------------------------------------------------- */

typedef enum range_kind { RANGE_NONE, RANGE_ONE, RANGE_UNSATISFIABLE } range_kind;

static bool take_number(const char **at, uint64_t *out)
{
    size_t digits = strspn(*at, "0123456789");
    if (!digits)
        return false;
    *out = digits > 18 ? UINT64_MAX : strtoull(*at, NULL, 10);
    *at += digits;
    return true;
}

/* One range of bytes. What is no valid range, of another unit, or more than one, is as if it were not there. */
static range_kind parse_range(const char *text, uint64_t size, uint64_t *first, uint64_t *last)
{
    uint64_t from = 0, to = UINT64_MAX;
    if (!text || strncasecmp(text, "bytes=", 6))
        return RANGE_NONE;
    text += 6;
    text += strspn(text, " \t");
    bool has_from = take_number(&text, &from);
    if (*text++ != '-')
        return RANGE_NONE;
    bool has_to = take_number(&text, &to);
    text += strspn(text, " \t");
    if (*text || (!has_from && !has_to) || (has_from && has_to && to < from))
        return RANGE_NONE;
    if (!has_from) { /* the last `to` bytes */
        if (!to || !size)
            return RANGE_UNSATISFIABLE;
        *first = to < size ? size - to : 0;
        *last = size - 1;
        return RANGE_ONE;
    }
    if (from >= size)
        return RANGE_UNSATISFIABLE;
    *first = from;
    *last = to < size ? to : size - 1;
    return RANGE_ONE;
}

/* Whether a list of entity tags holds this one or is *. `weak`: a weak tag is as good as a strong one (RFC
 * 9110 8.8.3.2; ours are strong). */
static bool list_has_tag(const char *list, const char *etag, bool weak)
{
    size_t length = strlen(etag);
    while (list && *list) {
        list += strspn(list, ", \t");
        if (*list == '*')
            return true;
        bool is_weak = !strncmp(list, "W/", 2);
        if (is_weak)
            list += 2;
        if ((weak || !is_weak) && !strncmp(list, etag, length))
            return true;
        if (*list == '"') {
            const char *end = strchr(list + 1, '"');
            list = end ? end + 1 : "";
        } else {
            list += strcspn(list, ",");
        }
    }
    return false;
}

static void http_date(time_t when, char *out, size_t size)
{
    struct tm utc;
    gmtime_r(&when, &utc);
    strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", &utc);
}

/* A date in any of the forms of RFC 9110 5.6.7; false where it is none, and then the header is as if not there. */
static bool parse_date(const char *text, time_t *out)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm utc = {0};
        const char *end = strptime(text, forms[i], &utc);
        if (!end || *end)
            continue;
        *out = timegm(&utc);
        return true;
    }
    return false;
}

/* Whether the client asks for a file that this one is not. */
static bool precondition_failed(bs_request *r, const bs_artifact *file)
{
    const char *tags = bs_request_header(r, "If-Match"), *until = bs_request_header(r, "If-Unmodified-Since");
    time_t date;
    if (tags)
        return !list_has_tag(tags, file->etag, false);
    return until && parse_date(until, &date) && file->modified > date;
}

/* Whether the client's copy is this very file. */
static bool not_modified(bs_request *r, const bs_artifact *file)
{
    const char *tags = bs_request_header(r, "If-None-Match"), *since = bs_request_header(r, "If-Modified-Since");
    time_t date;
    if (tags)
        return list_has_tag(tags, file->etag, true);
    return since && parse_date(since, &date) && file->modified <= date;
}

static const char *range_asked(bs_request *r, const bs_artifact *file, const char *modified)
{
    const char *range = bs_request_header(r, "Range"), *unless = bs_request_header(r, "If-Range");
    if (!range || strcmp(r->method, "GET"))
        return NULL;
    return !unless || !strcmp(unless, file->etag) || !strcmp(unless, modified) ? range : NULL;
}

/* Answers with the file or the part of it that is asked for; the descriptor is taken. */
static void answer_file(bs_request *r, const char *name, bs_artifact *file)
{
    char modified[64], text[96];
    uint64_t first = 0, last = 0;
    http_date(file->modified, modified, sizeof(modified));
    range_kind kind = parse_range(range_asked(r, file, modified), file->size, &first, &last);

    if (precondition_failed(r, file)) {
        bs_answer_error(r, MHD_HTTP_PRECONDITION_FAILED,
                        "The file is not the one that If-Match or If-Unmodified-Since "
                        "names");
    } else if (not_modified(r, file)) {
        bs_answer_bytes(r, MHD_HTTP_NOT_MODIFIED, NULL, "", 0, false);
    } else if (kind == RANGE_UNSATISFIABLE) {
        bs_answer_error(r, MHD_HTTP_RANGE_NOT_SATISFIABLE, "The file has %llu bytes", (unsigned long long)file->size);
        snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)file->size);
        bs_answer_header(r, "Content-Range", text);
    } else {
        uint64_t size = kind == RANGE_ONE ? last - first + 1 : file->size;
        struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(size, file->fd, first);
        bs_answer_response(r, kind == RANGE_ONE ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK, response);
        if (response)
            file->fd = -1; /* the response's */
        bs_answer_header(r, "Content-Type", type_of(name));
        if (kind == RANGE_ONE) {
            snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
                     (unsigned long long)file->size);
            bs_answer_header(r, "Content-Range", text);
        }
    }
    if (file->fd >= 0)
        close(file->fd);
    bs_answer_header(r, "Accept-Ranges", "bytes");
    bs_answer_header(r, "ETag", file->etag);
    bs_answer_header(r, "Last-Modified", modified);
    bs_answer_header(r, "Cache-Control", "private, max-age=0, must-revalidate");
    bs_answer_header(r, "Content-Security-Policy", "default-src 'none'; sandbox");
}

/* RFC 6266: a plain name for everybody, and the real one in UTF-8, percent-encoded. "walk.mp4" and "output.mp4" make
 * "walk_output.mp4". */
static void attachment(char *out, size_t size, const char *upload, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    const char *dot = strrchr(upload, '.');
    size_t stem = dot && dot > upload ? (size_t)(dot - upload) : strlen(upload);
    char ascii[64 + 1], encoded[3 * 64 * 3 + 1];
    size_t a = 0, e = 0;
    for (size_t i = 0; i < stem && e + 4 < sizeof(encoded); i++) {
        unsigned char c = (unsigned char)upload[i];
        if ((c & 0xc0) != 0x80 && e + 4 * 3 >= sizeof(encoded)) /* a whole character, or none of it */
            break;
        bool safe = c < 0x80 && strchr(plain, c);
        if (a + 1 < sizeof(ascii) && (c < 0x80 || (c & 0xc0) == 0xc0))
            ascii[a++] = safe ? (char)c : '_';
        e += (size_t)sprintf(encoded + e, safe ? "%c" : "%%%02X", c);
    }
    ascii[a] = encoded[e] = '\0';
    snprintf(out, size, "attachment; filename=\"%s_%s\"; filename*=UTF-8''%s_%s", ascii, name, encoded, name);
}

/* -- handlers --------------------------------------------------------------------------------------------- */

void bs_handle_download(bs_request *r)
{
    bs_job job;
    bs_artifact file;
    char disposition[1024];
    const char *name = file_named(r->name);
    if (!open_result(r, name, MHD_HTTP_BAD_REQUEST, &job, &file))
        return;
    answer_file(r, name, &file);
    attachment(disposition, sizeof(disposition), job.filename, name);
    bs_answer_header(r, "Content-Disposition", disposition);
}

void bs_handle_serve(bs_request *r)
{
    bs_job job;
    bs_artifact file;
    const char *name = bs_artifact_name_valid(r->name) ? r->name : NULL;
    if (!open_result(r, name, MHD_HTTP_NOT_FOUND, &job, &file))
        return;
    answer_file(r, name, &file);
}
