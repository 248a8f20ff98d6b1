/* What a request is answered with: JSON, errors as {"detail": "one sentence"}, and the headers of every answer (see
 * internal.h). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "service/http/internal.h"

#define JSON_TYPE "application/json"

/* -- what a request says ---------------------------------------------------------------------------------- */

const char *bs_request_header(bs_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *bs_request_query(bs_request *r, const char *name)
{
    const char *value = NULL;
    size_t size = 0;
    MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, &size);
    return value && strlen(value) != size ? "\x01" : value; /* a value with a NUL in it is none that we know */
}

bool bs_request_query_int(bs_request *r, const char *name, int64_t min, int64_t max, int64_t *value)
{
    const char *text = bs_request_query(r, name);
    if (!text)
        return true;
    char *end;
    size_t digits = strspn(text, "0123456789");
    long long n = digits && digits <= 18 ? strtoll(text, &end, 10) : -1;
    if (!digits || text[digits] || n < min || n > max) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "'%s' takes a whole number from %lld to %lld", name,
                        (long long)min, (long long)max);
        return false;
    }
    *value = n;
    return true;
}

json_t *bs_request_json(bs_request *r)
{
    json_error_t error;
    json_t *object = r->body_size ? json_loadb(r->body, r->body_size, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (json_is_object(object))
        return object;
    json_decref(object);
    bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "The body is to be a JSON object");
    return NULL;
}

bool bs_request_job(bs_request *r)
{
    if (r->job[0])
        return true;
    bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    return false;
}

/* -- answers ---------------------------------------------------------------------------------------------- */

void bs_answer_header(bs_request *r, const char *name, const char *value)
{
    if (r->response)
        MHD_add_response_header(r->response, name, value);
}

/* Whether `origin` may read our answers: CORS_ALLOW_ORIGINS is "*" or a comma-separated list. */
static bool origin_allowed(const char *list, const char *origin)
{
    size_t length = strlen(origin);
    for (const char *item = list; *item;) {
        item += strspn(item, ", ");
        size_t n = strcspn(item, ", ");
        if (n == 1 && *item == '*')
            return true;
        if (n && n == length && !strncasecmp(item, origin, n))
            return true;
        item += n;
    }
    return false;
}

static bool has_cors(const bs_http *http)
{
    return http->settings->cors_allow_origins && *http->settings->cors_allow_origins;
}

bool bs_request_is_foreign(bs_request *r)
{
    return has_cors(r->http) && bs_request_header(r, "Origin");
}

const char *bs_request_allowed_origin(bs_request *r)
{
    const char *origin = has_cors(r->http) ? bs_request_header(r, "Origin") : NULL;
    return origin && origin_allowed(r->http->settings->cors_allow_origins, origin) ? origin : NULL;
}

static void add_cors(bs_request *r)
{
    const char *origin = bs_request_allowed_origin(r);
    if (!origin)
        return;
    bs_answer_header(r, "Access-Control-Allow-Origin", origin);
    bs_answer_header(r, "Access-Control-Expose-Headers",
                     "Content-Disposition, Content-Range, ETag, Location, Retry-After");
    if (!strcmp(r->method, "OPTIONS")) {
        bs_answer_header(r, "Access-Control-Allow-Headers",
                         "Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Range, X-API-Key");
        bs_answer_header(r, "Access-Control-Max-Age", "600");
    }
}

void bs_answer_common_headers(const bs_http *http, struct MHD_Response *response)
{
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (has_cors(http))
        MHD_add_response_header(response, "Vary", "Origin");
}

void bs_answer_response(bs_request *r, unsigned status, struct MHD_Response *response)
{
    if (r->response)
        MHD_destroy_response(r->response);
    r->response = response;
    r->status = status;
    if (!response)
        return;
    bs_answer_common_headers(r->http, response);
    add_cors(r);
}

void bs_answer_bytes(bs_request *r, unsigned status, const char *type, const void *data, size_t size, bool copy)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        size, (void *)data, copy ? MHD_RESPMEM_MUST_COPY : MHD_RESPMEM_PERSISTENT);
    bs_answer_response(r, status, response);
    if (type)
        bs_answer_header(r, "Content-Type", type);
}

void bs_answer_json(bs_request *r, unsigned status, json_t *object)
{
    char *text = object ? json_dumps(object, BS_JSON_FORM) : NULL;
    json_decref(object);
    struct MHD_Response *response = text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
                                         : NULL;
    if (!response)
        free(text);
    bs_answer_response(r, status, response);
    bs_answer_header(r, "Content-Type", JSON_TYPE);
    bs_answer_header(r, "Cache-Control", "no-store");
}

void bs_answer_error(bs_request *r, unsigned status, const char *format, ...)
{
    char detail[600];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    bs_text_clean(detail);
    bs_answer_json(r, status, json_pack("{s:s}", "detail", detail));
}

void bs_answer_failure(bs_request *r, bs_status status, const bs_error *err)
{
    bs_log(BS_LOG_ERROR, "http", "%s %s: %s", r->method, r->url, err->text);
    if (status == BS_ERR_LIMIT)
        bs_answer_error(r, MHD_HTTP_INSUFFICIENT_STORAGE, "%s", err->text);
    else
        bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "The server cannot do that now: %s", err->text);
    if (status != BS_ERR_LIMIT)
        bs_answer_header(r, "Retry-After", "5");
}

static const char *reason_of(unsigned status)
{
    switch (status) {
    case MHD_HTTP_BAD_REQUEST: return "Bad Request";
    case MHD_HTTP_CONTENT_TOO_LARGE: return "Content Too Large";
    case MHD_HTTP_UNPROCESSABLE_CONTENT: return "Unprocessable Content";
    case MHD_HTTP_INSUFFICIENT_STORAGE: return "Insufficient Storage";
    default: return "Service Unavailable";
    }
}

void bs_answer_now(bs_request *r, unsigned status, const char *detail, uint64_t to_come)
{
    char text[1536];
    json_t *object = json_pack("{s:s}", "detail", detail);
    char *body = object ? json_dumps(object, BS_JSON_FORM) : NULL;
    json_decref(object);
    if (!body)
        return;

    const char *origin = bs_request_allowed_origin(r);
    bool cors = origin && strlen(origin) < 256;
    int length = snprintf(
        text, sizeof(text),
        "HTTP/1.1 %u %s\r\nContent-Type: " JSON_TYPE "\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n%s%s%s%sConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
        status, reason_of(status), cors ? "Access-Control-Allow-Origin: " : "", cors ? origin : "", cors ? "\r\n" : "",
        status == MHD_HTTP_SERVICE_UNAVAILABLE ? "Retry-After: 5\r\n" : "", strlen(body), body);
    free(body);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    r->status = status;
    if (info && length > 0 && (size_t)length < sizeof(text) &&
        send(info->connect_fd, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) == length)
        bs_sockets_linger(r->socket, to_come);
}

json_t *bs_json_mb(uint64_t bytes)
{
    return json_real((double)(int64_t)((double)bytes / 1048576 * 100 + 0.5) / 100);
}

json_t *bs_json_time(int64_t microseconds)
{
    if (microseconds <= 0)
        return json_null();
    time_t seconds = (time_t)(microseconds / 1000000);
    struct tm utc;
    char stamp[32], text[48];
    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "%s.%06d+00:00", stamp, (int)(microseconds % 1000000));
    return json_string(text);
}
