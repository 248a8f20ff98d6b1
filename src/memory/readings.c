/* How much memory processes take (see bodyscript/memory.h). */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "memory_internal.h"

/* Resident pages by /proc/PID/statm, which everybody may read: shared pages count in full. */
static bs_status resident_of(pid_t pid, uint64_t *out)
{
    char path[64], text[128];
    unsigned long long size, resident;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (bs_memory_read_file(path, text, sizeof(text)) <= 0 || sscanf(text, "%llu %llu", &size, &resident) != 2)
        return BS_ERR_FAILED;
    *out = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    return BS_OK;
}

bs_status bs_memory_of_process(pid_t pid, uint64_t *out)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    if (bs_memory_read_file(path, text, sizeof(text)) > 0) {
        /* Pages of files, mapped or not, are page cache: the kernel drops them when it needs the room. */
        int64_t anonymous = bs_memory_kb_line(text, "Pss_Anon:"), shared = bs_memory_kb_line(text, "Pss_Shmem:");
        int64_t pss = anonymous >= 0 && shared >= 0 ? anonymous + shared : bs_memory_kb_line(text, "Pss:");
        if (pss >= 0) {
            *out = (uint64_t)pss;
            return BS_OK;
        }
    }
    return resident_of(pid, out); /* another user's process, or a kernel without smaps_rollup */
}

typedef struct process {
    pid_t pid, parent;
} process;

static bool read_process(const char *name, process *out)
{
    char path[64], text[512];
    if (!isdigit((unsigned char)name[0]) || snprintf(path, sizeof(path), "/proc/%s/stat", name) >= (int)sizeof(path))
        return false;
    if (bs_memory_read_file(path, text, sizeof(text)) <= 0)
        return false;
    const char *after_name = strrchr(text, ')'); /* the name may hold anything, brackets and spaces too */
    int parent;
    if (!after_name || sscanf(after_name + 1, " %*c %d", &parent) != 1)
        return false;
    *out = (process){.pid = (pid_t)strtol(name, NULL, 10), .parent = (pid_t)parent};
    return true;
}

/* All processes of the machine. The caller frees *out. Returns their number, 0 where there was no memory or no /proc.
 */
static size_t list_processes(process **out)
{
    *out = NULL;
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    process *list = NULL;
    size_t count = 0, capacity = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        process one;
        if (!read_process(entry->d_name, &one))
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            process *larger = realloc(list, capacity * sizeof(*list));
            if (!larger)
                break;
            list = larger;
        }
        list[count++] = one;
    }
    closedir(proc);
    *out = list;
    return count;
}

bs_status bs_memory_of_tree(pid_t root, uint64_t *out)
{
    uint64_t total;
    if (bs_memory_of_process(root, &total) != BS_OK)
        return BS_ERR_FAILED;
    process *list;
    size_t count = list_processes(&list), known = 0;

    /* The tree grows at the front of the list: whatever has a parent in it is swapped to its end. */
    for (size_t i = 0; i < count; i++)
        if (list[i].pid == root) {
            process first = list[0];
            list[0] = list[i];
            list[i] = first;
            known = 1;
        }
    for (size_t parent = 0; parent < known; parent++)
        for (size_t i = known; i < count; i++)
            if (list[i].parent == list[parent].pid) {
                process child = list[i];
                list[i] = list[known];
                list[known++] = child;
                uint64_t bytes;
                if (bs_memory_of_process(child.pid, &bytes) == BS_OK) /* it may just have gone */
                    total += bytes;
            }
    free(list);
    *out = total;
    return BS_OK;
}

/* A line of /proc/self/status, or the high-water mark that needs no file where a sandbox refuses to open one. */
static uint64_t own_figure(const char *key)
{
    char text[4096];
    if (bs_memory_read_file("/proc/self/status", text, sizeof(text)) > 0) {
        int64_t bytes = bs_memory_kb_line(text, key);
        if (bytes >= 0)
            return (uint64_t)bytes;
    }
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

uint64_t bs_memory_resident(void)
{
    return own_figure("VmRSS:");
}

uint64_t bs_memory_peak(void)
{
    return own_figure("VmHWM:");
}

void bs_memory_peak_restart(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t ignored = write(fd, "5", 1); /* 5: the high-water mark becomes what is resident now (proc_pid_clear_refs) */
    (void)ignored;
    close(fd);
}
