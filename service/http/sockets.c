/* Every open connection, and what is done about those that take and give nothing back (see internal.h).
 *
 * libmicrohttpd closes a connection that is silent for a while. It does not close one that sends a byte now and then,
 * and stops accepting at its limit. Hence: connections that wait too long for a request, dribble their headers or
 * their upload, are shut; and near the limit those that have waited longest make room, then the slowest of those that
 * send or are sent something, so that nobody is locked out.
 *
 * A socket is shut, never closed, from here: its owner sees the end of the stream and cleans up. The owner tells of
 * the end (remove) before it closes the socket, under the same lock, so a number is never that of another socket. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/http/internal.h"

enum {
    WAITING_SECONDS = 75,    /* for a request */
    HEADERS_SECONDS = 20,    /* from the first line to the last header */
    BODY_GRACE_SECONDS = 60, /* then at least this much per second, on average */
    BODY_BYTES_PER_SECOND = 1024,
    NEWCOMER_SECONDS = 2,
    CROWDED_GRACE_SECONDS = 10, /* near the limit: after so long the slowest are shut */
    CROWDED_SHUT_AT_ONCE = 64,
    LINGERING = 32,            /* drained at a time */
    DRAINED_AT_ONCE = 4 << 20, /* of each, under the lock: one that sends without end holds up nobody */
    LINGER_SECONDS = 15,
};

struct bs_socket {
    bs_socket *previous, *next; /* in the list of its state: the longest there is first */
    int fd;
    bs_socket_state state;
    bool shut, held;
    bool asked; /* it has had a request */
    time_t since;
    atomic_uint_fast64_t received;
    uint64_t linger;
    uint64_t taken; /* bytes that its client had acknowledged at `watched`; 0: it was not looked at yet */
    time_t watched;
    uint64_t rate; /* bytes per second, while room is made */
};

typedef struct list {
    bs_socket *first, *last;
} list;

typedef struct lingering {
    int fd;
    uint64_t left;
    time_t until;
} lingering;

struct bs_sockets {
    pthread_mutex_t lock;
    list by_state[BS_SOCKET_STATES];
    int count, limit;
    time_t room_made; /* once a second: it asks the kernel about every connection, under the lock */
    lingering lingering[LINGERING];
};

time_t bs_http_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec;
}

static void unlink_from(list *l, bs_socket *c)
{
    *(c->previous ? &c->previous->next : &l->first) = c->next;
    *(c->next ? &c->next->previous : &l->last) = c->previous;
    c->previous = c->next = NULL;
}

static void append_to(list *l, bs_socket *c)
{
    c->previous = l->last;
    c->next = NULL;
    *(l->last ? &l->last->next : &l->first) = c;
    l->last = c;
}

static void shut(bs_socket *c)
{
    if (!c->shut)
        shutdown(c->fd, SHUT_RDWR);
    c->shut = true;
}

bs_status bs_sockets_open(bs_sockets **out, int limit, bs_error *err)
{
    bs_sockets *all = calloc(1, sizeof(*all));
    if (!all)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the list of connections");
    pthread_mutex_init(&all->lock, NULL);
    all->limit = limit;
    for (int i = 0; i < LINGERING; i++)
        all->lingering[i].fd = -1;
    *out = all;
    return BS_OK;
}

void bs_sockets_close(bs_sockets **sockets)
{
    bs_sockets *all = *sockets;
    if (!all)
        return;
    for (int i = 0; i < LINGERING; i++)
        if (all->lingering[i].fd >= 0)
            close(all->lingering[i].fd);
    for (int i = 0; i < BS_SOCKET_STATES; i++)
        for (bs_socket *c = all->by_state[i].first, *next; c; c = next) {
            next = c->next;
            free(c);
        }
    pthread_mutex_destroy(&all->lock);
    free(all);
    *sockets = NULL;
}

/* From so many on it is crowded. */
static int crowd(const bs_sockets *all)
{
    return all->limit - all->limit / 8;
}

/* Whether it can make room: one that has just come is about to ask. */
static bool is_idle(const bs_socket *c, time_t now)
{
    return !c->shut && (c->asked || now - c->since >= NEWCOMER_SECONDS);
}

bs_socket *bs_sockets_add(bs_sockets *all, int fd)
{
    bs_socket *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->fd = fd;
    c->since = bs_http_seconds();
    pthread_mutex_lock(&all->lock);
    append_to(&all->by_state[BS_SOCKET_WAITING], c);
    all->count++;
    /* The one that waited longest makes room; those that were shut are still counted until their owner closes them. */
    bs_socket *oldest = all->by_state[BS_SOCKET_WAITING].first;
    if (all->count > crowd(all)) {
        while (oldest && !is_idle(oldest, c->since))
            oldest = oldest->next;
        if (oldest)
            shut(oldest);
    }
    pthread_mutex_unlock(&all->lock);
    return c;
}

/* Keeps the socket open beyond its owner's close, to drain what the client still sends. */
static void begin_to_linger(bs_sockets *all, bs_socket *c)
{
    for (int i = 0; i < LINGERING; i++) {
        lingering *l = &all->lingering[i];
        if (l->fd >= 0)
            continue;
        l->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
        l->left = c->linger;
        l->until = bs_http_seconds() + LINGER_SECONDS;
        return;
    }
}

void bs_sockets_remove(bs_sockets *all, bs_socket *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    unlink_from(&all->by_state[c->state], c);
    all->count--;
    if (c->linger && !c->shut)
        begin_to_linger(all, c);
    pthread_mutex_unlock(&all->lock);
    free(c);
}

void bs_sockets_move(bs_sockets *all, bs_socket *c, bs_socket_state state)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    unlink_from(&all->by_state[c->state], c);
    c->state = state;
    c->since = bs_http_seconds();
    c->asked = true;
    c->watched = 0;
    atomic_store_explicit(&c->received, 0, memory_order_relaxed);
    append_to(&all->by_state[state], c);
    pthread_mutex_unlock(&all->lock);
}

void bs_sockets_hold(bs_sockets *all, bs_socket *c, bool held)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    c->held = held;
    pthread_mutex_unlock(&all->lock);
}

void bs_sockets_received(bs_socket *c, uint64_t bytes)
{
    if (c)
        atomic_fetch_add_explicit(&c->received, bytes, memory_order_relaxed);
}

void bs_sockets_linger(bs_socket *c, uint64_t bytes)
{
    if (c)
        c->linger = bytes;
}

int bs_sockets_count(bs_sockets *all)
{
    pthread_mutex_lock(&all->lock);
    int count = all->count;
    pthread_mutex_unlock(&all->lock);
    return count;
}

int bs_sockets_limit(const bs_sockets *all)
{
    return all->limit;
}

int bs_sockets_answering(bs_sockets *all)
{
    int count = 0;
    pthread_mutex_lock(&all->lock);
    for (bs_socket *c = all->by_state[BS_SOCKET_ANSWER].first; c; c = c->next)
        count++;
    pthread_mutex_unlock(&all->lock);
    return count;
}

static void shut_older_than(list *l, time_t limit)
{
    for (bs_socket *c = l->first; c && c->since < limit; c = c->next)
        shut(c);
}

static void shut_slow_bodies(list *l, time_t now)
{
    for (bs_socket *c = l->first; c && c->since < now - BODY_GRACE_SECONDS; c = c->next)
        if (atomic_load_explicit(&c->received, memory_order_relaxed) / (uint64_t)(now - c->since) <
            BODY_BYTES_PER_SECOND)
            shut(c);
}

/* libmicrohttpd waits for edges and misses the end of a stream that comes together with its last bytes: an upload that
 * was given up would be held until it times out. */
static void shut_deserted(list *l)
{
    for (bs_socket *c = l->first; c; c = c->next) {
        struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
        int unread = 0;
        if (!c->held && poll(&p, 1, 0) > 0 && !ioctl(c->fd, FIONREAD, &unread) && !unread)
            shut(c);
    }
}

/* What the client of an answer takes, per second. An answer that we owe still, or a stream without news, is no fault of
 * the client's: UINT64_MAX, as for one that was not looked at for long enough. */
static uint64_t answer_rate(bs_socket *c, time_t now)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    int unsent = 0;
    if (ioctl(c->fd, SIOCOUTQ, &unsent) || !unsent || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size)) {
        c->watched = 0;
        return UINT64_MAX;
    }
    if (!c->watched) {
        c->watched = now;
        c->taken = info.tcpi_bytes_acked;
    }
    if (now - c->watched < CROWDED_GRACE_SECONDS)
        return UINT64_MAX;
    return (info.tcpi_bytes_acked - c->taken) / (uint64_t)(now - c->watched);
}

static uint64_t rate_of(bs_socket *c, time_t now)
{
    if (c->state == BS_SOCKET_ANSWER)
        return answer_rate(c, now);
    if (c->state == BS_SOCKET_WAITING)
        return is_idle(c, now) ? 0 : UINT64_MAX;
    if (c->held || now - c->since < CROWDED_GRACE_SECONDS)
        return UINT64_MAX;
    return atomic_load_explicit(&c->received, memory_order_relaxed) / (uint64_t)(now - c->since);
}

/* Near the limit the slowest make room: else whoever reads or sends a little now and then, often enough, would keep
 * everybody else out. */
static void make_room(bs_sockets *all, time_t now)
{
    int excess = all->count - crowd(all);
    if (excess <= 0 || now == all->room_made)
        return;
    all->room_made = now;
    for (int i = 0; i < BS_SOCKET_STATES; i++)
        for (bs_socket *c = all->by_state[i].first; c; c = c->next) {
            excess -= c->shut;
            c->rate = c->shut ? UINT64_MAX : rate_of(c, now);
        }
    for (int n = 0; n < excess && n < CROWDED_SHUT_AT_ONCE; n++) {
        bs_socket *slowest = NULL;
        for (int i = 0; i < BS_SOCKET_STATES; i++)
            for (bs_socket *c = all->by_state[i].first; c; c = c->next)
                if (c->rate < (slowest ? slowest->rate : UINT64_MAX))
                    slowest = c;
        if (!slowest)
            return;
        shut(slowest);
        slowest->rate = UINT64_MAX;
    }
}

/* Takes in and drops what has arrived; true when it is over. MSG_TRUNC: the bytes are not even copied. */
static bool drained(lingering *l, time_t now)
{
    uint64_t enough = l->left > DRAINED_AT_ONCE ? l->left - DRAINED_AT_ONCE : 0;
    while (l->left && now <= l->until) {
        if (enough && l->left <= enough)
            return false;
        ssize_t got = recv(l->fd, NULL, l->left < 1 << 20 ? l->left : 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        if (got <= 0)
            return true;
        l->left -= (uint64_t)got < l->left ? (uint64_t)got : l->left;
    }
    return true;
}

bool bs_sockets_sweep(bs_sockets *all)
{
    bool lingers = false;
    time_t now = bs_http_seconds();
    pthread_mutex_lock(&all->lock);
    shut_older_than(&all->by_state[BS_SOCKET_WAITING], now - WAITING_SECONDS);
    shut_older_than(&all->by_state[BS_SOCKET_HEADERS], now - HEADERS_SECONDS);
    shut_slow_bodies(&all->by_state[BS_SOCKET_BODY], now);
    shut_deserted(&all->by_state[BS_SOCKET_HEADERS]);
    shut_deserted(&all->by_state[BS_SOCKET_BODY]);
    make_room(all, now);
    for (int i = 0; i < LINGERING; i++) {
        lingering *l = &all->lingering[i];
        if (l->fd >= 0 && drained(l, now)) {
            close(l->fd);
            l->fd = -1;
        }
        lingers = lingers || l->fd >= 0;
    }
    pthread_mutex_unlock(&all->lock);
    return lingers;
}
