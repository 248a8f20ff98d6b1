/* How much memory there is, and how much is taken.
 *
 * Limits: the smallest limit among this process's memory cgroup and its ancestors (v2 and v1), else
 * physical memory. Readings: of a process and all its descendants, shared pages counted once (PSS), page
 * cache that the kernel can drop left out. Units: bytes. Threads: any. */
#ifndef BODYSCRIPT_MEMORY_H
#define BODYSCRIPT_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

#include <bodyscript/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bs_memory_limits {
    uint64_t limit; /* the effective one: the smallest of those below that exist */
    uint64_t physical;
    uint64_t cgroup;       /* 0: none found */
    int cgroup_version;    /* 1, 2, or 0 */
    char cgroup_path[256]; /* of the cgroup that sets the limit */
} bs_memory_limits;

bs_status bs_memory_read_limits(bs_memory_limits *out, bs_error *err);

/* Proportional set size of one process, and of it with all its descendants. BS_ERR_FAILED where it is gone. */
bs_status bs_memory_of_process(pid_t pid, uint64_t *out);
bs_status bs_memory_of_tree(pid_t root, uint64_t *out);

/* Resident now, and its high-water mark, of the calling process (cheap: one read). */
uint64_t bs_memory_resident(void);
uint64_t bs_memory_peak(void); /* where a sandbox refuses to open /proc, this one stands for both */

/* From now on bs_memory_peak() is the peak since this call, for a program that does several jobs one after the other
 * and tells the peak of each. Where the kernel refuses it nothing changes: the peak stays that of the whole process. */
void bs_memory_peak_restart(void);

/* -- what a process does for its own memory (docs/memory.md has the figures) --------------------------- */

/* To be called first thing in main() of a program that runs jobs, before other threads exist. Freed blocks go back
 * to the kernel at once, threads share one heap, no huge pages are taken for small data, stacks of further threads
 * have 1 MB; then bs_memory_trim(). Inherited by forks. */
void bs_memory_settle(void);

/* Gives back what is not in use: free heap pages, and pages of program and libraries that were only touched while
 * they were loaded (they come back from the page cache when they are used again). Takes about a millisecond: after
 * start, after a job, when idle. Threads: any. */
void bs_memory_trim(void);

/* From now on this process can allocate at most `bytes` more than it has (RLIMIT_DATA: heap, private mappings and
 * stacks of new threads, touched or not); what would go beyond is refused to the caller that asks for it. Cannot be
 * raised again without privileges. BS_ERR_FAILED where the kernel refuses. */
bs_status bs_memory_bound(uint64_t bytes, bs_error *err);

/* The same for a while, until bs_memory_widen(): for a step of which less is expected than of the whole, such as
 * reading a header that a stranger wrote. Of the whole process, not of a thread. What bs_memory_bound set stays the
 * most. */
bs_status bs_memory_narrow(uint64_t bytes, bs_error *err);
void bs_memory_widen(void);

/* What to bound a job to that is to have `bytes` resident: more, since stacks, aligned blocks and arenas set aside
 * address space that they never touch (libx264 alone 2 MB for each large picture). */
uint64_t bs_memory_bound_for(uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
