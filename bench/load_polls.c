/* load_polls: asks a running service the same question, so often a second, and tells what came back.
 *
 *     load_polls HOST PORT PATH[,PATH…] CONNECTIONS PER_SECOND [SECONDS]
 *
 * Keeps so many connections open, one request at a time on each, as that many clients would. Requests go out by the
 * clock, not by the answers: a slow server makes late answers and is not asked less. Ends after SECONDS, or, without
 * them, when its standard input ends. One line of JSON: answers, how many were not 200, seconds, processor time of its
 * own, and of the time from the moment a request was due to its answer the median, the 99.9th percentile and the worst,
 * in milliseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATHS = 16, REQUEST = 512, ANSWER = 16384, STEP_US = 1000, BUCKETS = 100000, BUCKET_US = 10 };

typedef struct connection {
    int fd;
    bool busy;
    int64_t due_us; /* of the request under way */
    size_t have;
    char answer[ANSWER];
} connection;

typedef struct load {
    struct sockaddr_in address;
    char request[PATHS][REQUEST];
    int paths, connections, next;
    connection *all;
    int epoll;
    int64_t answers, wrong, worst_us;
    uint32_t *late; /* answers by their lateness */
} load;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool die(const char *what)
{
    fprintf(stderr, "load_polls: %s: %s\n", what, strerror(errno));
    return false;
}

static bool open_connection(load *l, connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&l->address, sizeof(l->address)))
        return die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) == 0 || die("cannot watch a connection");
}

/* The next free connection takes the request that was due at that moment. False: all wait for an answer. */
static bool ask(load *l, int64_t due_us)
{
    for (int i = 0; i < l->connections; i++) {
        connection *c = &l->all[l->next];
        const char *request = l->request[l->next % l->paths];
        l->next = (l->next + 1) % l->connections;
        if (c->busy)
            continue;
        c->busy = true;
        c->due_us = due_us;
        c->have = 0;
        if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
            l->wrong++;
        return true;
    }
    return false;
}

/* Whether the whole answer is there. */
static bool complete(const connection *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\nContent-Length:");
    return end && length && c->have >= (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
}

static bool hear(load *l, connection *c)
{
    ssize_t got = recv(c->fd, c->answer + c->have, sizeof(c->answer) - 1 - c->have, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return true;
    if (got <= 0)
        return die("a connection ended");
    c->have += (size_t)got;
    c->answer[c->have] = '\0';
    if (!complete(c))
        return true;
    int64_t late = now_us() - c->due_us;
    l->worst_us = late > l->worst_us ? late : l->worst_us;
    l->late[late / BUCKET_US < BUCKETS ? late / BUCKET_US : BUCKETS - 1]++;
    l->answers++;
    l->wrong += strncmp(c->answer, "HTTP/1.1 200 ", 13) != 0;
    c->busy = false;
    return true;
}

static double percentile_ms(const load *l, double part)
{
    int64_t below = 0, wanted = (int64_t)((double)l->answers * part);
    int bucket = 0;
    while (bucket < BUCKETS - 1 && (below += l->late[bucket]) <= wanted)
        bucket++;
    return (double)(bucket + 1) * BUCKET_US / 1000;
}

static bool input_ended(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static bool run(load *l, double per_second, double seconds, double *took)
{
    int64_t begin = now_us(), asked = 0, end = seconds > 0 ? begin + (int64_t)(seconds * 1e6) : INT64_MAX;
    for (int64_t now = begin, wake = begin; now < end && (seconds > 0 || !input_ended()); now = now_us()) {
        while ((double)asked < (double)(now - begin) * 1e-6 * per_second &&
               ask(l, begin + (int64_t)((double)asked * 1e6 / per_second)))
            asked++;
        /* Once a millisecond, as many as are due: a clock finer than that would be a busy loop. */
        struct epoll_event events[64];
        int n;
        while ((n = epoll_wait(l->epoll, events, 64, 0)) > 0)
            for (int i = 0; i < n; i++)
                if (!hear(l, events[i].data.ptr))
                    return false;
        wake = wake + STEP_US > now ? wake + STEP_US : now;
        struct timespec until = {wake / 1000000, wake % 1000000 * 1000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    *took = (double)(now_us() - begin) * 1e-6;
    return true;
}

int main(int argc, char **argv)
{
    static load l;
    double took = 0;
    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: load_polls HOST PORT PATH[,PATH…] CONNECTIONS PER_SECOND [SECONDS]\n");
        return 2;
    }
    l.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    for (char *path = strtok(argv[3], ","); path && l.paths < PATHS; path = strtok(NULL, ","))
        snprintf(l.request[l.paths++], REQUEST, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, argv[1]);
    l.connections = atoi(argv[4]);
    double per_second = atof(argv[5]);
    if (inet_pton(AF_INET, argv[1], &l.address.sin_addr) != 1 || !l.paths || l.connections < 1 || per_second <= 0) {
        fprintf(stderr, "load_polls: an argument is none that it takes\n");
        return 2;
    }
    l.all = calloc((size_t)l.connections, sizeof(*l.all));
    l.late = calloc(BUCKETS, sizeof(*l.late));
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    bool ok = l.all && l.late && l.epoll >= 0;
    for (int i = 0; i < l.connections && ok; i++)
        ok = open_connection(&l, &l.all[i]);
    if (!ok || !run(&l, per_second, argc == 7 ? atof(argv[6]) : 0, &took))
        return 1;
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    printf("{\"answers\": %lld, \"not_200\": %lld, \"seconds\": %.3f, \"cpu\": %.3f, \"median_ms\": %.2f, "
           "\"p999_ms\": %.2f, \"worst_ms\": %.2f}\n",
           (long long)l.answers, (long long)l.wrong, took,
           (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
               1e-6 * (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec),
           percentile_ms(&l, 0.5), percentile_ms(&l, 0.999), (double)l.worst_us / 1000);
    free(l.all);
    free(l.late);
    return 0;
}
