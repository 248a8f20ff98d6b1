/* The way of a request from its first line to its answer (see internal.h).
 *
 * libmicrohttpd calls, in one of its event threads: bs_request_first_line; then bs_request_take for the headers, for
 * every part of the body, and once more when it is complete; then bs_request_over. A request that may wait is put into
 * a lane while its connection is suspended; bs_request_take is called once more when it is resumed, and finds the
 * answer. What an upload brings goes to the disk the same way, part by part: the event threads wait for nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "service/http/internal.h"

enum { BODY_DRAINED = 1 << 24 }; /* of a refused body whose length was not told */

#define BODY_TOO_LARGE "The body is larger than %d bytes"

void *bs_request_first_line(void *opaque, const char *uri, struct MHD_Connection *connection)
{
    bs_http *http = opaque;
    bs_request *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->http = http;
    r->connection = connection;
    const char *nul = strstr(uri, "%00");
    r->bad_uri = nul && (size_t)(nul - uri) < strcspn(uri, "?");
    clock_gettime(CLOCK_MONOTONIC, &r->began);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->socket = info ? info->socket_context : NULL;
    bs_sockets_move(http->sockets, r->socket, BS_SOCKET_HEADERS);
    return r;
}

static int64_t nanoseconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - began->tv_sec) * 1000000000ll + (now.tv_nsec - began->tv_nsec);
}

/* An upload that was given up has files, which go in the disk lane. */
static void free_request(bs_request *r)
{
    bs_upload_close(r->http, &r->upload);
    free(r->part);
    free(r->body);
    free(r);
}

void bs_request_over(void *opaque, struct MHD_Connection *connection, void **context,
                     enum MHD_RequestTerminationCode why)
{
    bs_http *http = opaque;
    bs_request *r = *context;
    if (!r)
        return;
    int64_t took = nanoseconds_since(&r->began);
    if (r->route && r->status) {
        bs_route_counters *counters = &http->counters[r->route - bs_routes];
        atomic_fetch_add_explicit(&counters->by_class[r->status / 100 % 6], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&counters->nanoseconds, (uint64_t)took, memory_order_relaxed);
    }
    bool silent = r->route && r->route->flags & BS_ROUTE_SILENT && (r->status < 500 || r->status == 503);
    if (r->seen)
        bs_log(silent ? BS_LOG_DEBUG : BS_LOG_INFO, "http", "%s %s: %u after %.1f ms%s", r->method, r->url, r->status,
               (double)took / 1e6, why == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", connection closed");
    if (r->response)
        MHD_destroy_response(r->response);
    bs_sockets_move(http->sockets, r->socket, BS_SOCKET_WAITING);
    *context = NULL;
    if (!r->upload || !bs_lane_put(http->disk, r, free_request))
        free_request(r);
}

typedef struct framing {
    int hosts, lengths, codings;
    bool chunked, malformed;
    uint64_t length;
} framing;

/* A name is a token, a value has no control characters (RFC 9110 5.1, 5.5). libmicrohttpd before 1.0 does not look:
 * "Content-Length : 5" is a header of another name to it, and so is one whose line is continued on the next, which it
 * appends to the name (newer ones are told to refuse it). Others, a proxy before us for one, may read a length there.
 */
static bool is_well_formed(const char *name, const char *value)
{
    static const char *const framed[] = {"Content-Length", "Transfer-Encoding"};
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if (!*name || name[strspn(name, token)])
        return false;
    for (int i = 0; i < 2; i++)
        if (!strncasecmp(name, framed[i], strlen(framed[i])) && name[strlen(framed[i])])
            return false;
    for (const unsigned char *c = (const unsigned char *)(value ? value : ""); *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f)
            return false;
    return true;
}

static enum MHD_Result count_header(void *opaque, enum MHD_ValueKind kind, const char *name, const char *value)
{
    framing *f = opaque;
    if (!is_well_formed(name, value))
        f->malformed = true;
    if (!strcasecmp(name, "Host")) {
        f->hosts++;
    } else if (!strcasecmp(name, "Content-Length")) {
        f->lengths++;
        f->length = value ? strtoull(value, NULL, 10) : 0;
        f->length -= f->length == UINT64_MAX; /* which is to say that none was told */
    } else if (!strcasecmp(name, "Transfer-Encoding")) {
        f->codings++;
        f->chunked = value && !strcasecmp(value, "chunked");
    }
    return MHD_YES;
}

/* Where a request ends must be beyond doubt, or what follows is taken for another (RFC 9112 6.1, 6.3; 3.2 for Host).
 * False: answered, and the connection will be closed. */
static bool well_framed(bs_request *r, const char *version)
{
    framing f = {0};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_header, &f);
    r->declared = f.codings ? UINT64_MAX : f.length;
    if (f.malformed)
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "A header of the request is malformed");
    else if (f.codings && !f.chunked)
        bs_answer_error(r, MHD_HTTP_NOT_IMPLEMENTED, "Transfer-Encoding takes chunked and nothing else");
    else if (f.lengths + f.codings > 1)
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "The length of the body is told more than once");
    else if (f.hosts > 1 || (!f.hosts && !strcmp(version, MHD_HTTP_VERSION_1_1)))
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "The request is to have one header Host");
    else
        return true;
    bs_answer_header(r, "Connection", "close");
    return false;
}

/* The headers are in: false where the request is answered already. */
static bool begin(bs_request *r, const char *version)
{
    if (!well_framed(r, version)) {
        r->declared = r->declared ? r->declared : 1; /* answered now: there may be a body all the same */
        return false;
    }
    if (r->bad_uri) {
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "The path holds a NUL character");
        return false;
    }
    r->route = bs_route_find(r);
    if (!r->route)
        return false;
    if (bs_request_is_forged(r)) {
        bs_answer_error(r, MHD_HTTP_FORBIDDEN,
                        "Pages of other sites may not do that; CORS_ALLOW_ORIGINS can allow them");
        return false;
    }
    if (r->route->flags & BS_ROUTE_ADMIN && !bs_request_is_admin(r)) {
        bs_answer_error(r, MHD_HTTP_UNAUTHORIZED, "This needs the administrator's token: Authorization: Bearer …");
        bs_answer_header(r, "WWW-Authenticate", "Bearer");
        return false;
    }
    if (r->route->flags & BS_ROUTE_UPLOAD)
        return bs_upload_begin(r);
    if (r->declared > BS_HTTP_BODY_MAX && r->declared != UINT64_MAX) {
        bs_answer_error(r, MHD_HTTP_CONTENT_TOO_LARGE, BODY_TOO_LARGE, BS_HTTP_BODY_MAX);
        return false;
    }
    return true;
}

/* Runs in the disk lane. */
static void write_part(bs_request *r)
{
    struct MHD_Connection *connection = r->connection;
    r->part_ok = bs_upload_data(r, r->part, r->part_size);
    free(r->part);
    r->part = NULL;
    r->part_done = true;
    bs_sockets_hold(r->http->sockets, r->socket, false);
    MHD_resume_connection(connection);
}

/* A part of an upload goes to the disk in its lane. libmicrohttpd moves what it has in memory even while a connection
 * is suspended: hence a copy. One byte is left with it, so that it asks again as soon as the part is written. Not of
 * the last part: then it asks anyway, and must not look for more, since the client may have closed its side. */
static enum MHD_Result take_part(bs_request *r, const char *data, size_t *size)
{
    if (r->part_done) { /* what comes after the byte that was left is the next part */
        r->part_done = false;
        if (!r->part_ok)
            return MHD_NO;
        data++;
        if (--*size == 0)
            return MHD_YES;
    }
    bs_sockets_received(r->socket, *size);
    if (!bs_upload_goes_on(r->upload)) {
        *size = 0;
        return MHD_YES;
    }
    r->part = malloc(*size);
    if (!r->part)
        return MHD_NO;
    memcpy(r->part, data, *size);
    r->part_size = *size;
    r->body_size += *size;
    *size = r->body_size < r->declared ? 1 : 0;
    bs_sockets_hold(r->http->sockets, r->socket, true);
    MHD_suspend_connection(r->connection);
    if (bs_lane_put(r->http->disk, r, write_part))
        return MHD_YES;
    MHD_resume_connection(r->connection); /* the server stops */
    return MHD_NO;
}

/* A part of the body; false closes the connection. Bodies that nobody asked for are dropped, within the bound. */
static bool take_body(bs_request *r, const char *data, size_t size)
{
    bs_sockets_received(r->socket, size);
    if (r->body_size + size > BS_HTTP_BODY_MAX) { /* its length was not told */
        char detail[64];
        snprintf(detail, sizeof(detail), BODY_TOO_LARGE, BS_HTTP_BODY_MAX);
        bs_answer_now(r, MHD_HTTP_CONTENT_TOO_LARGE, detail, BODY_DRAINED);
        return false;
    }
    if (r->route && r->route->flags & BS_ROUTE_BODY) {
        char *grown = realloc(r->body, r->body_size + size);
        if (!grown)
            return false;
        memcpy(grown + r->body_size, data, size);
        r->body = grown;
    }
    r->body_size += size;
    return true;
}

bool bs_request_send(bs_request *r, unsigned status, struct MHD_Response *response)
{
    r->status = status;
    bs_sockets_move(r->http->sockets, r->socket, BS_SOCKET_ANSWER);
    r->sent = MHD_queue_response(r->connection, status, response) == MHD_YES;
    return r->sent;
}

static enum MHD_Result send_answer(bs_request *r)
{
    if (!r->response)
        bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "The server has no memory for this answer now");
    if (!r->response)
        return MHD_NO;
    bool sent = bs_request_send(r, r->status, r->response);
    MHD_destroy_response(r->response); /* the connection holds it now */
    r->response = NULL;
    return sent ? MHD_YES : MHD_NO;
}

/* Runs in a lane. */
static void answer_request(bs_request *r)
{
    struct MHD_Connection *connection = r->connection;
    r->route->handle(r);
    r->done = true;
    MHD_resume_connection(connection); /* `r` may be gone from here on */
}

/* The request is complete: answered here and now, or put into a lane. */
static enum MHD_Result finish(bs_request *r)
{
    if (r->part_done && !r->part_ok)
        return MHD_NO;
    if (r->upload && !bs_upload_end(r))
        return send_answer(r);
    if (r->route->at_once && r->route->at_once(r))
        return r->sent ? MHD_YES : send_answer(r);
    if (!(r->route->flags & (BS_ROUTE_QUICK | BS_ROUTE_SLOW))) {
        r->route->handle(r);
        return send_answer(r);
    }
    r->in_lane = true;
    bs_sockets_move(r->http->sockets, r->socket, BS_SOCKET_ANSWER); /* it is our turn: nothing is too slow any more */
    MHD_suspend_connection(r->connection); /* first: the lane may be done with it before this returns */
    bs_lane *lane = r->upload ? r->http->probing : r->route->flags & BS_ROUTE_SLOW ? r->http->slow : r->http->quick;
    if (!bs_lane_put(lane, r, answer_request)) {
        bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Server is stopping");
        r->done = true;
        MHD_resume_connection(r->connection);
    }
    return MHD_YES;
}

/* A request to a proxy names the whole address; a server takes that too (RFC 9112 3.2.2). */
static const char *path_of(const char *target)
{
    size_t scheme = !strncasecmp(target, "http://", 7) ? 7 : !strncasecmp(target, "https://", 8) ? 8 : 0;
    if (!scheme)
        return target;
    const char *path = strchr(target + scheme, '/');
    return path ? path : "/";
}

enum MHD_Result bs_request_take(void *opaque, struct MHD_Connection *connection, const char *url, const char *method,
                                const char *version, const char *data, size_t *size, void **context)
{
    bs_request *r = *context;
    if (!r)
        return MHD_NO;
    if (!r->seen) {
        r->seen = true;
        r->url = path_of(url);
        r->method = method;
        r->head = !strcmp(method, "HEAD");
        r->done = !begin(r, version);
        if (r->declared)
            bs_sockets_move(r->http->sockets, r->socket, BS_SOCKET_BODY);
        if (!r->done || !r->declared) /* without a body the connection is kept, and answered when it is complete */
            return MHD_YES;
        bs_sockets_linger(r->socket, r->declared < 1ull << 30 ? r->declared : 1ull << 30);
        return send_answer(r);
    }
    if (r->done)
        return send_answer(r);
    if (*size && r->upload)
        return take_part(r, data, size);
    if (*size) {
        bool go_on = take_body(r, data, *size);
        *size = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    return r->in_lane ? MHD_YES : finish(r);
}
