/* The zygote, and the server's side of it (see zygote.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bodyscript/memory.h>

#include "service/worker/worker.h"
#include "service/worker/zygote.h"

enum { SOCKET_FD = 3, MAX_FDS = 2 + BS_GIVE_OUTPUTS, MAX_CHILDREN = 512, HASH_AFTER_MS = 200, JOB_NICENESS = 5 };
static const char role_name[] = "zygote";

extern char **environ;
static char **program_arguments; /* of the program */

/* -- the zygote itself ---------------------------------------------------------------------------------- */

typedef struct child {
    pid_t pid; /* 0: free */
    uint32_t serial;
} child;

typedef struct zygote_self {
    bs_models *models;
    int signals; /* a signalfd: a child ended */
    bool hashed;
    child children[MAX_CHILDREN];
} zygote_self;

/* The socket holds few answers and the server reads at once; where it is gone there is nobody left to tell. */
static void answer(const bs_answer *a)
{
    ssize_t sent;
    do
        sent = send(SOCKET_FD, a, sizeof(*a), MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        _exit(0);
}

/* 0: nothing left to receive, ever. Descriptors come close-on-exec. */
static ssize_t receive_order(bs_order *order, int fds[MAX_FDS], size_t *count)
{
    union {
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec data = {order, sizeof(*order)};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    *count = 0;
    ssize_t got;
    do
        got = recvmsg(SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
        }
    return got;
}

/* Jobs take what the server leaves: an answer does not wait for them. Where a session shares the processors as one
 * (sched_autogroup), each job's is a session of its own. */
static void give_way(void)
{
    errno = 0;
    if (nice(JOB_NICENESS) == -1 && errno)
        return;
    FILE *group = fopen("/proc/self/autogroup", "we");
    if (!group)
        return;
    fprintf(group, "%d", JOB_NICENESS);
    fclose(group);
}

static _Noreturn void become_job(zygote_self *z, const bs_order *order, const int *fds, pid_t parent)
{
    int outputs[BS_GIVE_OUTPUTS];
    size_t next = 2;
    for (int i = 0; i < BS_GIVE_OUTPUTS; i++)
        outputs[i] = order->kind == BS_ORDER_RUN && order->outputs & 1u << i ? fds[next++] : -1;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(SOCKET_FD);
    close(z->signals);
    setsid();
    if (order->kind == BS_ORDER_RUN) /* for a probe somebody waits */
        give_way();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "bodyscript job");
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    bs_job_process(z->models, order, fds[0], fds[1], outputs);
}

static child *free_child(zygote_self *z)
{
    for (int i = 0; i < MAX_CHILDREN; i++)
        if (!z->children[i].pid)
            return &z->children[i];
    return NULL;
}

static void start_child(zygote_self *z, const bs_order *order, const int *fds, size_t count)
{
    bs_answer a = {.kind = BS_ANSWER_ENDED, .serial = order->serial};
    child *place = free_child(z);
    size_t expected = 2 + (order->kind == BS_ORDER_RUN ? (size_t)__builtin_popcount(order->outputs) : 0);
    if (!z->models || !place || count != expected) {
        bs_fail(&a.error, BS_ERR_FAILED, "the zygote cannot start a job process now");
        answer(&a);
        return;
    }
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        become_job(z, order, fds, self);
    if (pid < 0) {
        bs_fail(&a.error, BS_ERR_NOMEM, "no process can be started: %s", strerror(errno));
    } else {
        *place = (child){pid, order->serial};
        a.kind = BS_ANSWER_STARTED;
        a.pid = pid;
    }
    answer(&a);
}

static void kill_child(zygote_self *z, uint32_t serial)
{
    for (int i = 0; i < MAX_CHILDREN; i++)
        if (z->children[i].pid && z->children[i].serial == serial)
            kill(z->children[i].pid, SIGKILL); /* not reaped yet, so the number is still its own */
}

static void reap_children(zygote_self *z)
{
    struct signalfd_siginfo info;
    while (read(z->signals, &info, sizeof(info)) > 0)
        ;
    int status;
    struct rusage usage;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        for (int i = 0; i < MAX_CHILDREN; i++)
            if (z->children[i].pid == pid) {
                bs_answer a = {.kind = BS_ANSWER_ENDED, .serial = z->children[i].serial, .pid = pid};
                a.wait_status = status;
                a.cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
                a.peak_memory = (uint64_t)usage.ru_maxrss * 1024;
                z->children[i].pid = 0;
                answer(&a);
            }
}

static void open_models(zygote_self *z)
{
    bs_answer a = {.kind = BS_ANSWER_READY};
    if (bs_models_open(&z->models, NULL, BS_MODEL_ALL, &a.error) != BS_OK)
        a.kind = BS_ANSWER_UNREADY;
    bs_memory_trim();
    answer(&a);
}

/* The receipt in metadata.json names the models by their hashes. They are reckoned after READY, so that nobody waits
 * for them, and by a process of its own: it reads every page of every model, which then count as its memory and not as
 * the zygote's. */
static void hash_models(zygote_self *z)
{
    z->hashed = true;
    if (fork() != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bs_answer a = {.kind = BS_ANSWER_HASHES};
    for (int kind = 0; kind < BS_MODEL_KINDS; kind++) {
        const char *hash = bs_models_sha256(z->models, (bs_model_kind)kind);
        snprintf(a.sha256[kind], sizeof(a.sha256[kind]), "%s", hash ? hash : "");
    }
    answer(&a);
    _exit(0);
}

/* False: the server is gone. */
static bool obey(zygote_self *z)
{
    bs_order order;
    int fds[MAX_FDS];
    size_t count;
    if (receive_order(&order, fds, &count) != (ssize_t)sizeof(order))
        return false;
    switch (order.kind) {
    case BS_ORDER_SETUP:
        bs_log_configure(order.log_level, order.log_format);
        open_models(z);
        break;
    case BS_ORDER_PROBE:
    case BS_ORDER_RUN: start_child(z, &order, fds, count); break;
    case BS_ORDER_KILL: kill_child(z, order.serial); break;
    case BS_ORDER_TRIM: bs_memory_trim(); break;
    }
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    return true;
}

/* A job can read nothing that is typed where the server was started, and write nothing into what it prints. Standard
 * error is left to it: what a sanitizer or the C library says of its end goes there. */
static void leave_terminal(void)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0)
        return;
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    close(nowhere);
}

static int run_zygote(void)
{
    static zygote_self z;
    sigset_t children;
    bs_memory_settle();
    leave_terminal();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the server closing its end of the socket is the other way to hear of its end */
    prctl(PR_SET_NAME, "bodyscript zyg.");
    setsid(); /* an interrupt typed at the terminal is the server's to handle */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, NULL);
    z.signals = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
    if (z.signals < 0)
        return 1;

    for (;;) {
        struct pollfd ready[2] = {{SOCKET_FD, POLLIN, 0}, {z.signals, POLLIN, 0}};
        int n = poll(ready, 2, z.models && !z.hashed ? HASH_AFTER_MS : -1);
        if (n == 0)
            hash_models(&z);
        if (n > 0 && ready[1].revents)
            reap_children(&z);
        if (n > 0 && ready[0].revents && !obey(&z))
            return 0;
    }
}

/* The environment may hold tokens and passwords of any kind, the arguments those that were given as options; nothing
 * but the models' folder is needed from here on. */
static void wipe_secrets(char *const *secrets, size_t count)
{
    const char *folder = getenv("BODYSCRIPT_MODELS");
    char *kept = folder ? strdup(folder) : NULL;
    for (size_t i = 0; i < count; i++)
        if (secrets[i])
            explicit_bzero(secrets[i], strlen(secrets[i]));
    for (char **variable = environ; variable && *variable; variable++)
        explicit_bzero(*variable, strlen(*variable));
    for (char **argument = program_arguments ? program_arguments + 1 : NULL; argument && *argument; argument++)
        explicit_bzero(*argument, strlen(*argument));
    clearenv();
    if (kept)
        setenv("BODYSCRIPT_MODELS", kept, 1);
    free(kept);
}

void bs_zygote_main_if_asked(int argc, char **argv)
{
    int type = 0;
    program_arguments = argv;
    socklen_t size = sizeof(type);
    if (argc == 2 && !strcmp(argv[1], role_name) && !getsockopt(SOCKET_FD, SOL_SOCKET, SO_TYPE, &type, &size) &&
        type == SOCK_SEQPACKET) {
        wipe_secrets(NULL, 0);
        _exit(run_zygote());
    }
}

/* -- the server's side ---------------------------------------------------------------------------------- */

/* The file of this program by its name, so that what runs it (Valgrind, qemu-user) is not started in its place: that
 * is what /proc/self/exe opens there. Where the file was replaced meanwhile the name is another program's, and
 * /proc/self/exe is still this one. */
static const char *own_file(char *out, size_t size)
{
    static const char gone[] = " (deleted)", always[] = "/proc/self/exe";
    ssize_t length = readlink(always, out, size - 1);
    if (length <= 0)
        return always;
    out[length] = '\0';
    size_t tail = sizeof(gone) - 1;
    bool replaced = (size_t)length > tail && !strcmp(out + length - tail, gone);
    return replaced || access(out, X_OK) ? always : out;
}

/* Starts the program anew with its end of the socket as descriptor 3; everything else is close-on-exec. */
static int spawn_self(pid_t *pid, int socket)
{
    char *arguments[] = {"bodyscript", (char *)role_name, NULL}, file[4096];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, socket, SOCKET_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, SOCKET_FD + 1);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, own_file(file, sizeof(file)), &actions, &attr, arguments, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Opens the socket: the server's end into `out`, the zygote's into `other`. */
static bs_status open_socket(bs_zygote *out, int *other, bs_error *err)
{
    int pair[2], size = 1 << 20;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return bs_fail(err, BS_ERR_IO, "no socket for the zygote: %s", strerror(errno));
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    *out = (bs_zygote){.socket = pair[0]};
    *other = pair[1];
    return BS_OK;
}

static bs_status set_up(bs_zygote *zygote, bs_log_level level, bs_log_format format, bs_error *err)
{
    bs_order order = {.kind = BS_ORDER_SETUP, .log_level = level, .log_format = format};
    bs_status status = bs_zygote_send(zygote, &order, NULL, 0, err);
    if (status != BS_OK)
        bs_zygote_end(zygote);
    return status;
}

bs_status bs_zygote_start(bs_zygote *out, bs_log_level level, bs_log_format format, bs_error *err)
{
    int socket = -1;
    bs_status status = open_socket(out, &socket, err);
    if (status != BS_OK)
        return status;
    int rc = spawn_self(&out->pid, socket);
    close(socket);
    if (rc) {
        bs_zygote_end(out);
        return bs_fail(err, BS_ERR_IO, "the zygote cannot be started: %s", strerror(rc));
    }
    return set_up(out, level, format, err);
}

bs_status bs_zygote_fork(bs_zygote *out, bs_log_level level, bs_log_format format, char *const *secrets, size_t count,
                         bs_error *err)
{
    int socket = -1;
    bs_status status = open_socket(out, &socket, err);
    if (status != BS_OK)
        return status;
    out->pid = fork();
    if (out->pid == 0) {
        dup2(socket, SOCKET_FD); /* whatever was there is a copy of the server's */
        close_range(SOCKET_FD + 1, ~0U, 0);
        wipe_secrets(secrets, count);
        _exit(run_zygote());
    }
    int reason = errno;
    close(socket);
    if (out->pid < 0) {
        bs_zygote_end(out);
        return bs_fail(err, BS_ERR_IO, "the zygote cannot be started: %s", strerror(reason));
    }
    return set_up(out, level, format, err);
}

bs_status bs_zygote_send(bs_zygote *zygote, const bs_order *order, const int *fds, size_t count, bs_error *err)
{
    union {
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec data = {(void *)order, sizeof(*order)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))};
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(zygote->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return BS_AGAIN;
    return sent < 0 ? bs_fail(err, BS_ERR_IO, "the zygote does not listen: %s", strerror(errno)) : BS_OK;
}

bs_status bs_zygote_receive(bs_zygote *zygote, bs_answer *out)
{
    ssize_t got;
    do
        got = recv(zygote->socket, out, sizeof(*out), MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return BS_AGAIN;
    return got == (ssize_t)sizeof(*out) ? BS_OK : BS_EOF;
}

void bs_zygote_end(bs_zygote *zygote)
{
    if (zygote->socket >= 0)
        close(zygote->socket);
    if (zygote->pid > 0) {
        kill(zygote->pid, SIGKILL);
        while (waitpid(zygote->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *zygote = (bs_zygote){.socket = -1};
}
