/* The sandbox of a job process (see sandbox.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include <bodyscript/memory.h>

#include "service/worker/sandbox.h"

enum {
    OPEN_FILES = 64,
    ADDRESS_SPACE_ROOM = 1 << 30, /* the C library sets address space aside that it never touches */
    STACK = 8 << 20,              /* of the first thread: not in RLIMIT_DATA */
};

/* -- rlimits -------------------------------------------------------------------------------------------- */

/* A line of /proc/self/status in bytes; 0 where it cannot be read. */
static uint64_t own_figure(const char *key)
{
    char line[256];
    uint64_t kilobytes = 0;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, key, length) && sscanf(line + length, "%" SCNu64, &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes * 1024;
}

static bool set_limit(int resource, uint64_t soft, uint64_t hard)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit))
        return false;
    if (limit.rlim_max != RLIM_INFINITY && hard > limit.rlim_max)
        hard = limit.rlim_max;
    limit.rlim_cur = soft < hard ? soft : hard;
    limit.rlim_max = hard;
    return setrlimit(resource, &limit) == 0;
}

bool bs_sandbox_is_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
    return true;
#else
    return false;
#endif
#else
    return false;
#endif
}

/* Private memory is bounded by bs_memory_bound (RLIMIT_DATA). RLIMIT_AS also bounds what is mapped in other ways; it
 * cannot be tight, because libraries and address space that is only set aside are in it. */
static bool limit_memory(uint64_t data)
{
    if (!data || bs_sandbox_is_instrumented())
        return true;
    uint64_t most = own_figure("VmSize:") + 2 * data + ADDRESS_SPACE_ROOM;
    return bs_memory_bound(data, NULL) == BS_OK && set_limit(RLIMIT_AS, most, most);
}

static bool set_limits(const bs_sandbox_limits *limits)
{
    /* SIGXCPU at the soft limit tells what happened; SIGKILL follows at the hard one. */
    return limit_memory(limits->data) && set_limit(RLIMIT_STACK, STACK, STACK) && set_limit(RLIMIT_CORE, 0, 0) &&
           set_limit(RLIMIT_CPU, limits->cpu_seconds, limits->cpu_seconds + 2) &&
           set_limit(RLIMIT_FSIZE, limits->file_size, limits->file_size) &&
           set_limit(RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES) && set_limit(RLIMIT_MEMLOCK, 0, 0) &&
           set_limit(RLIMIT_MSGQUEUE, 0, 0);
}

/* -- seccomp -------------------------------------------------------------------------------------------- */

/* Names and not numbers: what an architecture or a libseccomp does not know is left out. No fallocate: beyond the end
 * of a file it takes blocks that RLIMIT_FSIZE does not see. */
static const char *const allowed[] = {
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "lseek",
    "_llseek",
    "close",
    "dup",
    "fstat",
    "fstat64",
    "ftruncate",
    "ftruncate64",
    "poll",
    "ppoll",
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "futex",
    "futex_time64",
    "set_robust_list",
    "rseq",
    "membarrier",
    "exit",
    "exit_group",
    "rt_sigprocmask",
    "rt_sigaction",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    "gettid",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "clock_gettime",
    "clock_gettime64",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "getcpu",
    "getrandom",
    "getrlimit",
    "ugetrlimit",
    "getrusage",
    "sysinfo",
    "uname",
    "times",
    "set_tid_address",
};

static const char *const deadly[] = {
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "recvfrom",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kill",
    "tkill",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "reboot",
    "swapon",
    "swapoff",
    "keyctl",
    "add_key",
    "request_key",
    "memfd_create",
    "memfd_secret",
    "shmget",
    "shmat",
    "msgget",
    "semget",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "capset",
    "personality",
    "name_to_handle_at",
    "open_by_handle_at",
    "quotactl",
    "acct",
    "syslog",
};

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int call = seccomp_syscall_resolve_name(names[i]);
        int rc = call == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, action, call, 0);
        if (rc && rc != -EDOM)
            return rc;
    }
    return 0;
}

/* Calls of which only a use is allowed. */
static int add_conditions(scmp_filter_ctx filter)
{
    const uint32_t allow = SCMP_ACT_ALLOW, kill_it = SCMP_ACT_KILL_PROCESS;
    const uint32_t refuse = SCMP_ACT_ERRNO(EACCES);
    struct rule {
        uint32_t action;
        int call;
        unsigned count;
        struct scmp_arg_cmp arg, other;
    } rules[] = {
        /* No new code, and no memory that RLIMIT_DATA does not count: shared, or a stack. */
        {allow, SCMP_SYS(mmap), 2, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
         SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_TYPE | MAP_GROWSDOWN, MAP_PRIVATE)},
        {refuse, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC)},
        {refuse, SCMP_SYS(mmap), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_SHARED, MAP_SHARED)},
        {refuse, SCMP_SYS(mmap), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_GROWSDOWN, MAP_GROWSDOWN)},
        {allow, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {refuse, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC)},
        /* Threads, no processes; of clone3 the flags cannot be seen: it is answered as unknown,
         * and the C library takes clone then. */
        {allow, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 0x00010000 /* CLONE_THREAD */, 0x00010000)},
        {kill_it, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 0x00010000, 0)},
        /* A signal to itself only: abort(). */
        {allow, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())},
        {allow, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)},
        {allow, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_GET_NAME)},
        /* Linux names an anonymous mapping by it; newer C libraries do. */
        {allow, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, 0x53564d41 /* PR_SET_VMA */)},
        /* Reading limits, not setting them. */
        {allow, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0)},
        {allow, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFL)},
        {allow, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFD)},
        {allow, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_SETFD)},
        {allow, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_DUPFD_CLOEXEC)},
        /* fstat by its newer names; a path finds nothing under Landlock, and cannot be opened in any case. */
        {allow, SCMP_SYS(newfstatat), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH)},
        {allow, SCMP_SYS(statx), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH)},
        /* Asked in good faith: how many processors, is this a terminal. */
        {refuse, SCMP_SYS(openat), 0, {0}},
        {refuse, SCMP_SYS(open), 0, {0}},
        {refuse, SCMP_SYS(openat2), 0, {0}},
        {refuse, SCMP_SYS(creat), 0, {0}},
        {SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0, {0}},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        struct scmp_arg_cmp args[] = {rules[i].arg, rules[i].other};
        int rc = seccomp_rule_add_array(filter, rules[i].action, rules[i].call, rules[i].count, args);
        if (rc && rc != -EDOM)
            return rc;
    }
    return 0;
}

static int load_filter(void)
{
    /* What nobody thought of is answered as on an old kernel; the C library then takes its older way. */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!filter)
        return -ENOMEM;
    int rc = add_names(filter, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(*allowed));
    if (!rc)
        rc = add_names(filter, SCMP_ACT_KILL_PROCESS, deadly, sizeof(deadly) / sizeof(*deadly));
    if (!rc)
        rc = add_conditions(filter);
    if (!rc)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc;
}

/* -- Landlock ------------------------------------------------------------------------------------------- */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif

static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
    return version > 0 ? (int)version : 0;
}

/* Handles everything that this version knows, and allows nothing of it. The header of the build machine may be older
 * than the kernel, so the struct and the number of rights by version are written out here. */
static bool restrict_files(void)
{
    int version = landlock_version();
    if (!version)
        return true;
    struct {
        uint64_t files, network, scope;
    } handled = {
        .files = version >= 5   ? 0xffff
                 : version >= 3 ? 0x7fff
                 : version >= 2 ? 0x3fff
                                : 0x1fff,
        .network = 3, /* version 4: bind and connect of TCP */
        .scope = 3,   /* version 6: abstract sockets and signals of others */
    };
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (ruleset < 0)
        return false;
    bool ok = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return ok;
}

/* -- capabilities --------------------------------------------------------------------------------------- */

/* Where root runs the service its jobs are not all-powerful: what is left of the system calls asks for these, too. */
static bool give_up_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return syscall(SYS_capset, &header, none) == 0;
}

/* -- together ------------------------------------------------------------------------------------------- */

/* The first to go when the machine, and not this service, is out of memory. */
static void offer_to_oom_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* only a preference */
    if (write(fd, "1000", 4) < 0)
        errno = 0;
    close(fd);
}

bs_status bs_sandbox_enter(const bs_sandbox_limits *limits, bs_error *err)
{
    offer_to_oom_killer();
    if (!set_limits(limits))
        return bs_fail(err, BS_ERR_IO, "the sandbox cannot set its limits: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return bs_fail(err, BS_ERR_IO, "the sandbox cannot give up privileges: %s", strerror(errno));
    if (!give_up_capabilities())
        return bs_fail(err, BS_ERR_IO, "the sandbox cannot give up capabilities: %s", strerror(errno));
    if (!restrict_files())
        return bs_fail(err, BS_ERR_IO, "the sandbox cannot enter Landlock: %s", strerror(errno));
    int rc = load_filter();
    if (rc)
        return bs_fail(err, BS_ERR_IO, "the sandbox cannot load its system call filter: %s", strerror(-rc));
    return BS_OK;
}

bool bs_sandbox_was_the_cause(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return false;
    int number = WTERMSIG(wait_status);
    return number == SIGSYS || number == SIGXCPU || number == SIGXFSZ;
}

void bs_sandbox_explain(int wait_status, const bs_sandbox_limits *limits, char *out, size_t size)
{
    if (WIFEXITED(wait_status)) {
        snprintf(out, size, "its process ended early, with exit code %d", WEXITSTATUS(wait_status));
        return;
    }
    int number = WTERMSIG(wait_status);
    switch (number) {
    case SIGSYS: snprintf(out, size, "its process did what the sandbox forbids, and was stopped"); break;
    case SIGXCPU:
        snprintf(out, size, "it took more than the %" PRIu64 " s of processor time that a job may take",
                 limits->cpu_seconds);
        break;
    case SIGXFSZ:
        snprintf(out, size, "it wrote a file larger than the %" PRIu64 " MB that this job's files may have",
                 limits->file_size >> 20);
        break;
    case SIGKILL: snprintf(out, size, "its process was killed from outside (signal 9)"); break;
    default: snprintf(out, size, "its process crashed (signal %d, %s)", number, strsignal(number));
    }
}
