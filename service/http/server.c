/* Start and stop of the server, its connections and its housekeeping (see http.h). */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/http/internal.h"

enum {
    SILENCE_SECONDS = 60, /* libmicrohttpd's own limit, for any connection */
    CONNECTIONS_MIN = 256,
    CONNECTIONS_MAX = 4096,
    CONNECTIONS_SHARE = 20,  /* one part in so many of the memory limit, at most, is for connections */
    SPARE_DESCRIPTORS = 256, /* beside connections: files that are served, uploads, the store */
    JOB_DESCRIPTORS = 8,     /* of a job that runs: its channel, what it writes, a saved frame */
    FLUSH_TENTHS = 20,       /* tenths of a second for answers under way when the server stops */
};

/* -- what libmicrohttpd tells ------------------------------------------------------------------------------ */

/* Nobody new while the server stops. MHD_quiesce_daemon is not for that: it and an event thread may both take the
 * listening socket out of the thread's epoll set, and the one that comes second ends the program (1.0.1 and before). */
static enum MHD_Result may_connect(void *opaque, const struct sockaddr *address, socklen_t length)
{
    bs_http *http = opaque;
    (void)address;
    (void)length;
    return atomic_load(&http->stopping) ? MHD_NO : MHD_YES;
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
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, may_connect, http,
        bs_request_take, http, MHD_OPTION_EXTERNAL_LOGGER, library_says, NULL, MHD_OPTION_LISTEN_SOCKET,
        http->listening, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)BS_HTTP_EVENT_THREADS, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)(256 * 1024), MHD_OPTION_CONNECTION_LIMIT, (unsigned)limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)BS_HTTP_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_SECONDS,
        MHD_OPTION_NOTIFY_COMPLETED, bs_request_over, http, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, http,
        MHD_OPTION_URI_LOG_CALLBACK, bs_request_first_line, http,
#if MHD_VERSION >= 0x00097701
        MHD_OPTION_CLIENT_DISCIPLINE_LVL,
        1, /* else it joins continued lines; is_well_formed in request.c refuses what older ones make */
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
    if ((status = bs_access_settle(http, err)) || (status = bs_sockets_open(&http->sockets, limit, err)) ||
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
