/* sandbox: a process that misbehaves is stopped, each kind of misbehaviour by a test of its own; what a job needs
 * works. Every case runs in a fork that enters the sandbox as a job process does. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/memory.h>

#include "service/worker/sandbox.h"

enum { MIB = 1 << 20, FINE = 0, WRONG = 1, REFUSED = 42, NO_SANDBOX = 99 };

static const bs_sandbox_limits usual = {.data = 32 * MIB, .cpu_seconds = 20, .file_size = 4 * MIB};

/* The wait status of a fork that enters the sandbox and then calls `misbehave` with `fd`. */
static int in_sandbox(const bs_sandbox_limits *limits, int (*misbehave)(int fd), int fd)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        bs_error err = {0};
        if (bs_sandbox_enter(limits, &err) != BS_OK) {
            fprintf(stderr, "%s\n", err.text);
            _exit(NO_SANDBOX);
        }
        _exit(misbehave(fd));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_exit(int status, int code)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void assert_killed(int status, int number)
{
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), number);
    assert_true(bs_sandbox_was_the_cause(status));
}

/* -- allocating without end ------------------------------------------------------------------------------ */

static int allocate_without_end(int fd)
{
    for (size_t total = 0; total < 1024; total++) {
        char *block = malloc(MIB);
        if (!block)
            return total <= 33 ? REFUSED : WRONG; /* the heap may have had a little left */
        memset(block, 1, MIB);
    }
    return FINE;
}

static int map_without_end(int fd)
{
    for (size_t total = 0; total < 1024; total++)
        if (mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
            return total <= 33 ? REFUSED : WRONG;
    return FINE;
}

/* What RLIMIT_DATA does not count: memory to be shared, and stacks. */
static int map_uncounted(int flags)
{
    return mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? REFUSED : FINE;
}

static int map_to_share(int fd)
{
    return map_uncounted(MAP_SHARED);
}

static int map_a_stack(int fd)
{
    return map_uncounted(MAP_PRIVATE | MAP_GROWSDOWN);
}

/* A job that frees its limit again would be free. */
static int raise_the_limits(int fd)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    return setrlimit(RLIMIT_DATA, &none) == 0 || setrlimit(RLIMIT_CPU, &none) == 0 ? FINE : REFUSED;
}

static void allocating_without_end_is_refused_at_the_reservation(void **state)
{
    assert_exit(in_sandbox(&usual, allocate_without_end, -1), REFUSED);
    assert_exit(in_sandbox(&usual, map_without_end, -1), REFUSED);
    assert_exit(in_sandbox(&usual, map_to_share, -1), REFUSED);
    assert_exit(in_sandbox(&usual, map_a_stack, -1), REFUSED);
    assert_exit(in_sandbox(&usual, raise_the_limits, -1), REFUSED);
}

/* -- spinning, writing without end ----------------------------------------------------------------------- */

static int spin(int fd)
{
    for (volatile uint64_t i = 0;; i++)
        if (i == UINT64_MAX)
            return FINE;
}

static void spinning_is_stopped_at_the_processor_limit(void **state)
{
    bs_sandbox_limits limits = usual;
    limits.cpu_seconds = 1;
    char why[256];
    int status = in_sandbox(&limits, spin, -1);
    assert_killed(status, SIGXCPU);
    bs_sandbox_explain(status, &limits, why, sizeof(why));
    assert_string_equal(why, "it took more than the 1 s of processor time that a job may take");
}

static int write_without_end(int fd)
{
    static char block[65536];
    for (int i = 0; i < 1024; i++)
        if (write(fd, block, sizeof(block)) < 0)
            return REFUSED;
    return FINE;
}

static int temporary_file(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = dup(fileno(file));
    fclose(file);
    return fd;
}

static void writing_without_end_is_stopped_at_the_file_limit(void **state)
{
    int fd = temporary_file();
    struct stat file;
    char why[256];
    int status = in_sandbox(&usual, write_without_end, fd);
    assert_killed(status, SIGXFSZ);
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_size, 4 * MIB);
    bs_sandbox_explain(status, &usual, why, sizeof(why));
    assert_string_equal(why, "it wrote a file larger than the 4 MB that this job's files may have");
    close(fd);
}

/* Beyond the end of the file: its size stays, so that the file limit does not see it. */
static int set_blocks_aside(int fd)
{
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 64 * MIB) == 0 ? FINE : REFUSED;
}

static void blocks_without_end_are_not_to_be_had(void **state)
{
    int fd = temporary_file();
    struct stat file;
    assert_exit(in_sandbox(&usual, set_blocks_aside, fd), REFUSED);
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_blocks, 0);
    close(fd);
}

/* -- network, files, processes --------------------------------------------------------------------------- */

static int open_a_socket(int fd)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? FINE : REFUSED;
}

static int open_a_local_socket(int fd)
{
    int pair[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ? FINE : REFUSED;
}

static void opening_a_socket_ends_the_process(void **state)
{
    char why[256];
    int status = in_sandbox(&usual, open_a_socket, -1);
    assert_killed(status, SIGSYS);
    bs_sandbox_explain(status, &usual, why, sizeof(why));
    assert_string_equal(why, "its process did what the sandbox forbids, and was stopped");
    assert_killed(in_sandbox(&usual, open_a_local_socket, -1), SIGSYS);
}

static int open_the_password_file(int fd)
{
    struct stat file;
    char link[64];
    return open("/etc/passwd", O_RDONLY) >= 0 || syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY) >= 0 ||
                   fopen("/etc/passwd", "r") || stat("/etc/passwd", &file) == 0 || access("/etc/passwd", R_OK) == 0 ||
                   readlink("/proc/self/exe", link, sizeof(link)) >= 0
               ? FINE
               : REFUSED;
}

static int make_a_file(int fd)
{
    return open("/tmp/bs_sandbox_was_here", O_WRONLY | O_CREAT, 0600) >= 0 || mkdir("/tmp/bs_sandbox_dir", 0700) == 0 ||
                   unlink("/tmp/bs_sandbox_nothing") == 0 || rename("/tmp/a", "/tmp/b") == 0
               ? FINE
               : REFUSED;
}

static void files_that_were_not_given_cannot_be_opened(void **state)
{
    assert_exit(in_sandbox(&usual, open_the_password_file, -1), REFUSED);
    assert_exit(in_sandbox(&usual, make_a_file, -1), REFUSED);
    assert_int_equal(access("/tmp/bs_sandbox_was_here", F_OK), -1);
}

static int start_a_program(int fd)
{
    char *arguments[] = {"/bin/true", NULL};
    execv(arguments[0], arguments);
    return REFUSED;
}

static int start_a_process(int fd)
{
    return fork() >= 0 ? FINE : REFUSED;
}

static int kill_the_parent(int fd)
{
    return kill(getppid(), SIGCONT) == 0 ? FINE : REFUSED;
}

static int trace_the_parent(int fd)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0 ? FINE : REFUSED;
}

static void other_processes_are_out_of_reach(void **state)
{
    assert_killed(in_sandbox(&usual, start_a_program, -1), SIGSYS);
    assert_killed(in_sandbox(&usual, start_a_process, -1), SIGSYS);
    assert_killed(in_sandbox(&usual, kill_the_parent, -1), SIGSYS);
    assert_killed(in_sandbox(&usual, trace_the_parent, -1), SIGSYS);
}

static int make_code(int fd)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED || mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 ||
                   mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED
               ? FINE
               : REFUSED;
}

static void data_cannot_become_code(void **state)
{
    assert_exit(in_sandbox(&usual, make_code, -1), REFUSED);
}

/* -- what a job needs ------------------------------------------------------------------------------------ */

static void *work(void *opaque)
{
    char *block = malloc(MIB);
    if (block)
        memset(block, 1, MIB);
    free(block);
    return block ? opaque : NULL;
}

static int do_what_jobs_do(int fd)
{
    char text[8] = {0};
    pthread_t threads[8];
    struct timespec now, little = {.tv_nsec = 1000000};
    struct stat file;
    for (int i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, work, text))
            return 2;
    for (int i = 0; i < 8; i++) {
        void *result = NULL;
        if (pthread_join(threads[i], &result) || !result)
            return 3;
    }
    if (pread(fd, text, 5, 0) != 5 || strcmp(text, "hello") != 0 || pwrite(fd, "there", 5, 5) != 5 ||
        lseek(fd, 0, SEEK_END) != 10 || fstat(fd, &file) || file.st_size != 10 || ftruncate(fd, 3))
        return 4;
    if (clock_gettime(CLOCK_MONOTONIC, &now) || nanosleep(&little, NULL) || sysconf(_SC_NPROCESSORS_ONLN) < 1)
        return 5;
    char *large = malloc(16 * MIB);
    if (!large || !(large = realloc(large, 20 * MIB)))
        return 6;
    free(large);
    return FINE;
}

static void threads_memory_and_given_files_work_inside(void **state)
{
    int fd = temporary_file();
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_exit(in_sandbox(&usual, do_what_jobs_do, fd), FINE);
    close(fd);
}

static int abort_itself(int fd)
{
    abort();
}

static int leave_early(int fd)
{
    return 7;
}

static void deaths_are_told_in_a_sentence(void **state)
{
    char why[256];
    int status = in_sandbox(&usual, abort_itself, -1);
    assert_false(bs_sandbox_was_the_cause(status));
    bs_sandbox_explain(status, &usual, why, sizeof(why));
    assert_string_equal(why, "its process crashed (signal 6, Aborted)");
    bs_sandbox_explain(in_sandbox(&usual, leave_early, -1), &usual, why, sizeof(why));
    assert_string_equal(why, "its process ended early, with exit code 7");
    bs_sandbox_explain(SIGKILL, &usual, why, sizeof(why));
    assert_string_equal(why, "its process was killed from outside (signal 9)");
}

int main(void)
{
    if (bs_sandbox_is_instrumented()) {
        printf("skipped: sanitizers need what the sandbox forbids\n");
        return 77;
    }
    bs_memory_settle(); /* as the zygote does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocating_without_end_is_refused_at_the_reservation),
        cmocka_unit_test(spinning_is_stopped_at_the_processor_limit),
        cmocka_unit_test(writing_without_end_is_stopped_at_the_file_limit),
        cmocka_unit_test(blocks_without_end_are_not_to_be_had),
        cmocka_unit_test(opening_a_socket_ends_the_process),
        cmocka_unit_test(files_that_were_not_given_cannot_be_opened),
        cmocka_unit_test(other_processes_are_out_of_reach),
        cmocka_unit_test(data_cannot_become_code),
        cmocka_unit_test(threads_memory_and_given_files_work_inside),
        cmocka_unit_test(deaths_are_told_in_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
