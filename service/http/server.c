/* Start and stop of the server, and the way of a request from its first line to its answer (see http.h).
 *
 * libmicrohttpd calls, in one of its event threads: first_line; then handle for the headers, for every part of the
 * body, and once more when it is complete; then request_over. A request that may wait is put into a lane while its
 * connection is suspended; handle is called once more when it is resumed, and finds the answer. What an upload brings
 * goes to the disk the same way, part by part: the event threads wait for nothing. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/http/internal.h"

enum {
    SILENCE_SECONDS = 60, /* libmicrohttpd's own limit, for any connection */
    CONNECTIONS_MIN = 256,
    CONNECTIONS_MAX = 4096,
    CONNECTIONS_SHARE = 20,  /* one part in so many of the memory limit, at most, is for connections */
    SPARE_DESCRIPTORS = 256, /* beside connections: files that are served, uploads, the store */
    JOB_DESCRIPTORS = 8,     /* of a job that runs: its channel, what it writes, a saved frame */
    BODY_DRAINED = 1 << 24,  /* of a refused body whose length was not told */
    FLUSH_TENTHS = 20,       /* tenths of a second for answers under way when the server stops */
};

#define BODY_TOO_LARGE "The body is larger than %d bytes"

/* -- a request -------------------------------------------------------------------------------------------- */

static void *first_line(void *opaque, const char *uri, struct MHD_Connection *connection)
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

static void request_over(void *opaque, struct MHD_Connection *connection, void **context,
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

/* Equal or not in the same time, whatever the difference. */
static bool same_secret(const char *given, const char *secret)
{
    size_t n = strlen(given), m = strlen(secret);
    unsigned difference = n != m;
    for (size_t i = 0; i < n; i++)
        difference |= (unsigned char)given[i] ^ (unsigned char)secret[m ? i % m : 0];
    return m && !difference;
}

static bool bearer_is(bs_request *r, const char *secret)
{
    const char *given = bs_request_header(r, "Authorization");
    return secret && given && !strncasecmp(given, "Bearer ", 7) && same_secret(given + 7, secret);
}

bool bs_request_is_admin(bs_request *r)
{
    return bearer_is(r, r->http->admin_token);
}

bool bs_request_has_api_key(bs_request *r)
{
    const char *key = r->http->settings->api_key, *given = bs_request_header(r, "X-API-Key");
    if (!key || !*key)
        return true;
    return bearer_is(r, key) || (given && same_secret(given, key)) || bs_request_is_admin(r);
}

/* A page of another site cannot make its visitor's browser change things here, unless CORS_ALLOW_ORIGINS names it. */
static bool forged(bs_request *r)
{
    const char *site = bs_request_header(r, "Sec-Fetch-Site");
    if (!strcmp(r->method, "GET") || r->head || !site || bs_request_allowed_origin(r))
        return false;
    return strcmp(site, "same-origin") && strcmp(site, "same-site") && strcmp(site, "none");
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
    if (forged(r)) {
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

static enum MHD_Result handle(void *opaque, struct MHD_Connection *connection, const char *url, const char *method,
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

static void connection_changed(void *opaque, struct MHD_Connection *connection, void **socket_context,
                               enum MHD_ConnectionNotificationCode what)
{
    bs_http *http = opaque;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info ? bs_sockets_add(http->sockets, info->connect_fd) : NULL;
    } else {
        bs_sockets_remove(http->sockets, *socket_context);
        *socket_context = NULL;
    }
}

static void library_says(void *opaque, const char *format, va_list args)
{
    char text[512];
    if (!bs_log_enabled(BS_LOG_DEBUG))
        return;
    vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = '\0';
    bs_log(BS_LOG_DEBUG, "http", "%s", text);
}

/* -- housekeeping ----------------------------------------------------------------------------------------- */

static void job_changed(void *opaque, const char *id)
{
    bs_http *http = opaque;
    uint64_t one = 1;
    bs_status_cache_expire(http->cache);
    if (write(http->wake, &one, sizeof(one)) < 0)
        return; /* it is awake already */
}

static void *keep_house(void *opaque)
{
    bs_http *http = opaque;
    while (!atomic_load(&http->stopping)) {
        bool busy = bs_sockets_sweep(http->sockets);
        struct pollfd wait = {.fd = http->wake, .events = POLLIN};
        uint64_t count;
        if (poll(&wait, 1, busy ? 20 : 1000) > 0 && read(http->wake, &count, sizeof(count)) < 0)
            continue;
        bs_events_pump(http->events);
    }
    return NULL;
}

/* -- start and stop --------------------------------------------------------------------------------------- */

enum { TOKEN_MIN = BS_JOB_ID_LENGTH / 2, TOKEN_MAX = BS_JOB_ID_LENGTH * 2 };

/* The first line of an open file. */
static bs_status load_token(int fd, const char *path, char token[TOKEN_MAX + 1], bs_error *err)
{
    ssize_t got = read(fd, token, TOKEN_MAX);
    token[got > 0 ? got : 0] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    if (strlen(token) < TOKEN_MIN)
        return bs_fail(err, BS_ERR_USAGE, "'%s' holds no token of %d characters or more; remove it for a new one", path,
                       TOKEN_MIN);
    return BS_OK;
}

/* A job's id is 128 random bits in hexadecimal, which is what a token has to be. */
static bs_status make_token(const char *path, char token[TOKEN_MAX + 1], bs_error *err)
{
    bs_status status = bs_job_id_new(token, err);
    if (status != BS_OK)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s\n", token) < 0 || fsync(fd)) {
        status = bs_fail(err, BS_ERR_IO, "the administrator's token cannot be kept in '%s': %s", path, strerror(errno));
        if (fd >= 0)
            unlink(path); /* half a token would be refused at the next start */
    }
    if (fd >= 0)
        close(fd);
    return status;
}

/* The administrator's token: given, kept from an earlier start, or made now. */
static bs_status settle_token(bs_http *http, bs_error *err)
{
    const bs_settings *s = http->settings;
    char path[PATH_MAX], kept[TOKEN_MAX + 1];
    const char *token = s->admin_token;
    if (!token || !*token) {
        if (snprintf(path, sizeof(path), "%s/admin_token", s->data_dir) >= (int)sizeof(path))
            return bs_fail(err, BS_ERR_USAGE, "DATA_DIR is longer than a path may be");
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        bs_status status = fd >= 0 ? load_token(fd, path, kept, err) : make_token(path, kept, err);
        if (fd >= 0)
            close(fd);
        if (status != BS_OK)
            return status;
        bs_log(BS_LOG_INFO, "http", "the administrator's token is in %s", path);
        token = kept;
    }
    http->admin_token = strdup(token);
    return http->admin_token ? BS_OK : bs_fail(err, BS_ERR_NOMEM, "no memory for the administrator's token");
}

/* As many connections as a share of the memory and the descriptors allow. */
static int connection_limit(const bs_settings *settings)
{
    int64_t by_memory = settings->memory_limit_mb * 1048576 / CONNECTIONS_SHARE / BS_HTTP_CONNECTION_MEMORY;
    int64_t limit = by_memory < CONNECTIONS_MIN   ? CONNECTIONS_MIN
                    : by_memory > CONNECTIONS_MAX ? CONNECTIONS_MAX
                                                  : by_memory;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return CONNECTIONS_MIN;
    rlim_t spare = SPARE_DESCRIPTORS + JOB_DESCRIPTORS * (rlim_t)settings->max_concurrent_processing;
    rlim_t wanted = (rlim_t)limit * 2 + spare; /* an answer may hold a file open */
    if (files.rlim_cur < wanted) {
        files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < wanted)
        limit = files.rlim_cur > spare + 64 ? (int64_t)(files.rlim_cur - spare) / 2 : 32;
    return (int)limit;
}

static bs_status listen_on(bs_http *http, bs_error *err)
{
    const bs_settings *s = http->settings;
    char port[8];
    snprintf(port, sizeof(port), "%d", (int)s->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    const char *host = !strcmp(s->host, "localhost") ? "127.0.0.1" : s->host;
    if (getaddrinfo(host, port, &hints, &found))
        return bs_fail(err, BS_ERR_USAGE,
                       "HOST is '%s'; it takes an address, such as 127.0.0.1, 0.0.0.0 or ::", s->host);

    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&bound, &length)) {
        bs_fail(err, BS_ERR_IO, "cannot listen on %s port %s: %s", s->host, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        freeaddrinfo(found);
        return BS_ERR_IO;
    }
    freeaddrinfo(found);
    getnameinfo((struct sockaddr *)&bound, length, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
    bool v6 = strchr(host, ':') != NULL;
    snprintf(http->address, sizeof(http->address), "http://%s%.64s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    http->listening = fd;
    return BS_OK;
}

static bs_status start_daemon(bs_http *http, int limit, bs_error *err)
{
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, http,
        MHD_OPTION_EXTERNAL_LOGGER, library_says, NULL, MHD_OPTION_LISTEN_SOCKET, http->listening,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)BS_HTTP_EVENT_THREADS, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)(256 * 1024), MHD_OPTION_CONNECTION_LIMIT, (unsigned)limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)BS_HTTP_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_SECONDS,
        MHD_OPTION_NOTIFY_COMPLETED, request_over, http, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, http,
        MHD_OPTION_URI_LOG_CALLBACK, first_line, http,
#if MHD_VERSION >= 0x00097701
        MHD_OPTION_CLIENT_DISCIPLINE_LVL,
        1, /* else it joins continued lines; is_well_formed refuses what older ones make */
#endif
        MHD_OPTION_END);
    if (!http->daemon)
        return bs_fail(err, BS_ERR_FAILED, "the HTTP server cannot be started: %s", strerror(errno));
    http->listening = -1;
    return BS_OK;
}

bs_status bs_http_start(bs_http **out, const bs_settings *settings, bs_store *store, bs_artifacts *artifacts,
                        bs_worker *worker, bs_error *err)
{
    bs_http *http = calloc(1, sizeof(*http));
    if (!http)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the HTTP server");
    http->settings = settings;
    http->store = store;
    http->artifacts = artifacts;
    http->worker = worker;
    http->listening = http->wake = -1;
    clock_gettime(CLOCK_MONOTONIC, &http->started);
    signal(SIGPIPE, SIG_IGN); /* a client that is gone is an error of its write, not of the program */

    int limit = connection_limit(settings);
    bs_status status = BS_ERR_NOMEM;
    http->counters = calloc((size_t)bs_routes_count, sizeof(*http->counters));
    http->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!http->counters || http->wake < 0) {
        bs_fail(err, BS_ERR_NOMEM, "no memory for the HTTP server");
        goto out;
    }
    if ((status = settle_token(http, err)) || (status = bs_sockets_open(&http->sockets, limit, err)) ||
        (status = bs_status_cache_open(&http->cache, http, err)) ||
        (status = bs_events_open(&http->events, http, err)) ||
        (status = bs_gallery_open(&http->gallery, settings->data_dir, err)) ||
        (status = bs_lane_start(&http->quick, 1, err)) || (status = bs_lane_start(&http->slow, 2, err)) ||
        (status = bs_lane_start(&http->probing, 2, err)) || (status = bs_lane_start(&http->disk, 2, err)) ||
        (status = listen_on(http, err)) || (status = start_daemon(http, limit, err)))
        goto out;
    if (pthread_create(&http->keeper, NULL, keep_house, http)) {
        status = bs_fail(err, BS_ERR_NOMEM, "the server's threads cannot be started");
        goto out;
    }
    http->keeper_runs = true;
    bs_worker_listen(worker, job_changed, http);
    bs_log(BS_LOG_INFO, "http", "listening on %s, %d connections at most", http->address, limit);
    *out = http;
    http = NULL;
out:
    bs_http_stop(&http);
    return status;
}

const char *bs_http_address(const bs_http *http)
{
    return http->address;
}

void bs_http_refuse(bs_http *http)
{
    atomic_store(&http->refusing, true);
}

void bs_http_stop(bs_http **out)
{
    bs_http *http = *out;
    if (!http)
        return;
    uint64_t one = 1;
    if (http->keeper_runs)
        bs_worker_listen(http->worker, NULL, NULL);
    atomic_store(&http->refusing, true);
    atomic_store(&http->stopping, true);
    if (http->daemon) {
        int fd = MHD_quiesce_daemon(http->daemon);
        if (fd >= 0)
            close(fd);
    }
    if (http->keeper_runs && write(http->wake, &one, sizeof(one)) == sizeof(one))
        pthread_join(http->keeper, NULL);
    /* No connection may be suspended when the daemon stops: streams end, and lanes answer what they hold. */
    bs_events_end(http->events);
    bs_lane_end(http->disk);
    bs_lane_end(http->quick);
    bs_lane_end(http->probing);
    bs_lane_end(http->slow);
    for (int i = 0; http->daemon && i < FLUSH_TENTHS && bs_sockets_answering(http->sockets); i++)
        usleep(100000);
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    bs_lane_close(&http->disk);
    bs_lane_close(&http->quick);
    bs_lane_close(&http->probing);
    bs_lane_close(&http->slow);
    if (http->listening >= 0)
        close(http->listening);
    bs_events_close(&http->events);
    bs_gallery_close(&http->gallery);
    bs_status_cache_close(&http->cache);
    bs_sockets_close(&http->sockets);
    if (http->wake >= 0)
        close(http->wake);
    free(http->counters);
    free(http->admin_token);
    free(http);
    *out = NULL;
}
