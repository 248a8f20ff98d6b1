/* memory: the limit that counts is found in any cgroup tree; readings follow what is really taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "memory/memory_internal.h"

#define MB (UINT64_C(1) << 20)

/* -- a made-up machine under a temporary folder ---------------------------------------------------- */

static char root[64];

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_machine(void **state)
{
    strcpy(root, "/tmp/bodyscript_memory_XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put("/proc/meminfo", "MemTotal:        2097152 kB\nMemFree:          100000 kB\n");
    return 0;
}

static int remove_machine(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static bs_memory_limits limits_here(void)
{
    bs_memory_limits limits;
    bs_error err = {0};
    assert_int_equal(bs_memory_read_limits_at(root, &limits, &err), BS_OK);
    return limits;
}

static const char v2_mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
static const char v1_mount[] = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                               "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                               "33 31 0:29 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n";

static void without_a_cgroup_the_limit_is_the_physical_memory(void **state)
{
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 2048 * MB);
    assert_int_equal(limits.physical, 2048 * MB);
    assert_int_equal(limits.cgroup, 0);
    assert_int_equal(limits.cgroup_version, 0);
}

static void v2_the_smallest_limit_among_the_ancestors_counts(void **state)
{
    put("/proc/self/cgroup", "0::/system.slice/bodyscript.service\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/sys/fs/cgroup/system.slice/memory.max", "536870912\n");
    put("/sys/fs/cgroup/system.slice/bodyscript.service/memory.max", "max\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 512 * MB);
    assert_int_equal(limits.cgroup_version, 2);
    assert_string_equal(limits.cgroup_path, "/system.slice");

    put("/sys/fs/cgroup/system.slice/bodyscript.service/memory.max", "100663296\n");
    limits = limits_here();
    assert_int_equal(limits.limit, 96 * MB);
    assert_string_equal(limits.cgroup_path, "/system.slice/bodyscript.service");
}

static void v2_memory_high_is_a_limit_to_keep_below(void **state)
{
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/sys/fs/cgroup/a/memory.max", "536870912\n");
    put("/sys/fs/cgroup/a/memory.high", "268435456\n");
    assert_int_equal(limits_here().limit, 256 * MB);
}

static void v2_in_a_namespace_the_mount_point_is_the_own_cgroup(void **state)
{
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/sys/fs/cgroup/memory.max", "134217728\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 128 * MB);
    assert_string_equal(limits.cgroup_path, "/");
}

static void v2_a_bind_mount_of_a_part_of_the_tree_is_read_from_that_part(void **state)
{
    put("/proc/self/cgroup", "0::/docker/abc/inner\n");
    put("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "268435456\n");
    put("/sys/fs/cgroup/inner/memory.max", "134217728\n");
    assert_int_equal(limits_here().limit, 128 * MB);
}

static void a_cgroup_outside_the_mounted_tree_falls_back_to_the_mount_point(void **state)
{
    put("/sys/fs/cgroup/memory.max", "268435456\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/proc/self/cgroup", "0::/../../elsewhere\n");
    assert_int_equal(limits_here().limit, 256 * MB);
    put("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/proc/self/cgroup", "0::/docker/abcdef\n");
    assert_int_equal(limits_here().limit, 256 * MB);
}

static void v1_the_smallest_limit_among_the_ancestors_counts(void **state)
{
    put("/proc/self/cgroup", "12:cpu,cpuacct:/other\n4:memory:/a/b/c\n0::/\n");
    put("/proc/self/mountinfo", v1_mount);
    put("/sys/fs/cgroup/cpu/other/memory.limit_in_bytes", "1048576\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "67108864\n");
    put("/sys/fs/cgroup/memory/a/b/c/memory.limit_in_bytes", "134217728\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 64 * MB);
    assert_int_equal(limits.cgroup_version, 1);
    assert_string_equal(limits.cgroup_path, "/a/b");
}

static void v1_no_limit_is_written_as_a_huge_number(void **state)
{
    put("/proc/self/cgroup", "4:memory:/a\n");
    put("/proc/self/mountinfo", v1_mount);
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 2048 * MB);
    assert_int_equal(limits.cgroup, 0);
    assert_int_equal(limits.cgroup_version, 0);
}

static void v1_tells_the_limit_of_ancestors_that_cannot_be_seen(void **state)
{
    put("/proc/self/cgroup", "4:memory:/docker/abc\n");
    put("/proc/self/mountinfo", "33 31 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 201326592\ntotal_cache 0\n");
    assert_int_equal(limits_here().limit, 192 * MB);
}

static void both_versions_at_once_the_smaller_counts(void **state)
{
    char mounts[1024];
    snprintf(mounts, sizeof(mounts), "%s%s", v1_mount, "35 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("/proc/self/mountinfo", mounts);
    put("/proc/self/cgroup", "4:memory:/a\n0::/b\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/unified/b/memory.max", "134217728\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 128 * MB);
    assert_int_equal(limits.cgroup_version, 2);
}

static void a_limit_above_the_physical_memory_does_not_raise_it(void **state)
{
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/sys/fs/cgroup/a/memory.max", "8589934592\n");
    bs_memory_limits limits = limits_here();
    assert_int_equal(limits.limit, 2048 * MB);
    assert_int_equal(limits.cgroup, 8192 * MB);
}

static void mount_points_with_spaces_are_read(void **state)
{
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", "30 23 0:26 / /odd\\040place rw - cgroup2 cgroup2 rw\n");
    put("/odd place/a/memory.max", "134217728\n");
    assert_int_equal(limits_here().limit, 128 * MB);
}

static void nonsense_in_these_files_is_no_limit(void **state)
{
    put("/proc/self/cgroup", "::::\n\n0::\n4:memory\n");
    put("/proc/self/mountinfo", "- - -\n30 23\n - cgroup2\n30 23 0:26 / /sys/fs/cgroup rw - cgroup2\n");
    put("/sys/fs/cgroup/memory.max", "-12 apples\n");
    assert_int_equal(limits_here().limit, 2048 * MB);
}

static void without_proc_there_is_a_sentence(void **state)
{
    bs_error err = {0};
    bs_memory_limits limits = {.limit = 7};
    assert_int_equal(bs_memory_read_limits_at("/nonexistent", &limits, &err), BS_ERR_FAILED);
    assert_int_equal(limits.limit, 7);
    assert_non_null(strstr(err.text, "/proc"));
}

static void this_machine_has_a_limit(void **state)
{
    bs_memory_limits limits;
    assert_int_equal(bs_memory_read_limits(&limits, NULL), BS_OK);
    assert_true(limits.limit > 0 && limits.limit <= limits.physical);
}

/* -- readings ---------------------------------------------------------------------------------------- */

static void *touch(size_t bytes)
{
    char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(block != MAP_FAILED);
    madvise(block, bytes, MADV_NOHUGEPAGE);
    memset(block, 1, bytes);
    return block;
}

static void resident_follows_what_is_touched_and_peak_remembers_it(void **state)
{
    uint64_t before = bs_memory_resident();
    void *block = touch(32 * MB);
    assert_true(bs_memory_resident() >= before + 30 * MB);
    munmap(block, 32 * MB);
    assert_true(bs_memory_resident() < before + 16 * MB);
    assert_true(bs_memory_peak() >= before + 30 * MB);
    if (access("/proc/self/clear_refs", W_OK) != 0)
        return;
    bs_memory_peak_restart();
    assert_true(bs_memory_peak() < before + 16 * MB);
    block = touch(32 * MB);
    munmap(block, 32 * MB);
    assert_true(bs_memory_peak() >= before + 30 * MB);
}

/* A child that shares a block with this process; it lives until the descriptor is closed. */
static pid_t fork_sleeper(int *hold)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char c;
        close(ends[1]);
        _exit(read(ends[0], &c, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    *hold = ends[1];
    return pid;
}

static void a_tree_counts_shared_pages_once(void **state)
{
    if (access("/proc/self/smaps_rollup", R_OK) != 0) {
        puts("skipped: this kernel has no smaps_rollup");
        skip();
    }
    void *block = touch(64 * MB);
    uint64_t alone, parent, child, tree;
    assert_int_equal(bs_memory_of_tree(getpid(), &alone), BS_OK);
    int hold;
    pid_t pid = fork_sleeper(&hold);
    assert_int_equal(bs_memory_of_process(getpid(), &parent), BS_OK);
    assert_int_equal(bs_memory_of_process(pid, &child), BS_OK);
    assert_int_equal(bs_memory_of_tree(getpid(), &tree), BS_OK);
    close(hold);
    waitpid(pid, NULL, 0);
    munmap(block, 64 * MB);
    assert_true(parent < alone - 24 * MB && child > 24 * MB);
    assert_true(tree > alone - 8 * MB && tree < alone + 8 * MB);
}

static void a_process_that_is_gone_has_no_reading(void **state)
{
    int hold;
    pid_t pid = fork_sleeper(&hold);
    close(hold);
    waitpid(pid, NULL, 0);
    uint64_t bytes = 7;
    assert_int_equal(bs_memory_of_process(pid, &bytes), BS_ERR_FAILED);
    assert_int_equal(bs_memory_of_tree(pid, &bytes), BS_ERR_FAILED);
    assert_int_equal(bytes, 7);
}

/* -- what a process does for its own memory ------------------------------------------------------------- */

/* Runs `body` in a process of its own; true where it returned true. */
static bool in_child(bool (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body() ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool bounded_allocations_are_refused_and_the_rest_goes_on(void)
{
    bs_error err = {0};
    if (bs_memory_bound(16 * MB, &err) != BS_OK)
        return false;
    char *within = malloc(8 * MB), *beyond = malloc(64 * MB);
    if (!within || beyond)
        return false;
    memset(within, 1, 8 * MB);
    free(within);
    within = malloc(12 * MB); /* what was freed may be had again */
    bool more = bs_memory_bound(1024 * MB, &err) == BS_OK && malloc(64 * MB);
    free(within);
    return within && !more;
}

static void a_bound_process_is_refused_what_goes_beyond(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
    puts("skipped: a sanitizer ends the program instead of refusing memory");
    skip();
#endif
    assert_true(in_child(bounded_allocations_are_refused_and_the_rest_goes_on));
}

static bool freed_frames_leave(void)
{
    bs_memory_settle();
    uint64_t before = bs_memory_resident();
    char *frame[20];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++) {
            frame[i] = malloc(2 * MB);
            memset(frame[i], 1, 2 * MB);
        }
        for (int i = 0; i < 20; i++)
            free(frame[i]);
    }
    return bs_memory_resident() < before + 2 * MB;
}

static void after_settling_freed_frames_leave_the_process(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
    puts("skipped: a sanitizer keeps freed blocks");
    skip();
#endif
    assert_true(in_child(freed_frames_leave));
}

static void trimming_gives_back_what_loading_touched(void **state)
{
    uint64_t before = bs_memory_resident(); /* file pages included: they are what loading touched */
    bs_memory_trim();
    assert_true(bs_memory_resident() < before);
    char text[64];
    snprintf(text, sizeof(text), "%d %s", 42, bs_version()); /* code and constants are still there */
    assert_int_equal(strncmp(text, "42 ", 3), 0);
}

int main(void)
{
#define ON_MACHINE(test) cmocka_unit_test_setup_teardown(test, make_machine, remove_machine)
    const struct CMUnitTest tests[] = {
        ON_MACHINE(without_a_cgroup_the_limit_is_the_physical_memory),
        ON_MACHINE(v2_the_smallest_limit_among_the_ancestors_counts),
        ON_MACHINE(v2_memory_high_is_a_limit_to_keep_below),
        ON_MACHINE(v2_in_a_namespace_the_mount_point_is_the_own_cgroup),
        ON_MACHINE(v2_a_bind_mount_of_a_part_of_the_tree_is_read_from_that_part),
        ON_MACHINE(a_cgroup_outside_the_mounted_tree_falls_back_to_the_mount_point),
        ON_MACHINE(v1_the_smallest_limit_among_the_ancestors_counts),
        ON_MACHINE(v1_no_limit_is_written_as_a_huge_number),
        ON_MACHINE(v1_tells_the_limit_of_ancestors_that_cannot_be_seen),
        ON_MACHINE(both_versions_at_once_the_smaller_counts),
        ON_MACHINE(a_limit_above_the_physical_memory_does_not_raise_it),
        ON_MACHINE(mount_points_with_spaces_are_read),
        ON_MACHINE(nonsense_in_these_files_is_no_limit),
        cmocka_unit_test(without_proc_there_is_a_sentence),
        cmocka_unit_test(this_machine_has_a_limit),
        cmocka_unit_test(resident_follows_what_is_touched_and_peak_remembers_it),
        cmocka_unit_test(a_tree_counts_shared_pages_once),
        cmocka_unit_test(a_process_that_is_gone_has_no_reading),
        cmocka_unit_test(a_bound_process_is_refused_what_goes_beyond),
        cmocka_unit_test(after_settling_freed_frames_leave_the_process),
        cmocka_unit_test(trimming_gives_back_what_loading_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
