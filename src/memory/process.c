/* What a process does for its own memory (see bodyscript/memory.h).
 *
 * Loading a program that is linked to some 135 shared libraries touches about 21 MB of their pages, most of them
 * only to resolve symbols; glibc keeps freed frames in its heap because its mmap threshold grows with them, and
 * opens a heap per thread; libx264 asks for huge pages and gets 2 MB where it needs 100 KB. None of that is needed
 * to run a job, and all of it would count against the job's reservation. */
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "memory_internal.h"

enum {
    HEAP_BLOCK_MAX = 128 * 1024, /* larger blocks are mapped on their own, and unmapped when freed */
    HEAP_TRIM = 128 * 1024,      /* free bytes at the heap's end from which on they are given back */
    THREAD_STACK = 1024 * 1024,
};

/* Whether the object was relocated in place: its code then is its own. */
static bool has_text_relocations(const struct dl_phdr_info *object)
{
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
            for (; entry->d_tag != DT_NULL; entry++)
                if (entry->d_tag == DT_TEXTREL)
                    return true;
        }
    return false;
}

/* Segments that are mapped from a file and never written: their pages are in the page cache, too. What the dynamic
 * linker relocated lies in writable segments (also where it is read-only by now) and is left alone.
 * The program headers lie in the first of the segments: they are read before it is dropped, since reading them
 * afterwards would bring back 64 KB of every library. */
static int drop_segments(struct dl_phdr_info *object, size_t size, void *opaque)
{
    enum { MOST_SEGMENTS = 16 }; /* four are usual */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct {
        uintptr_t first, end;
    } range[MOST_SEGMENTS];
    int count = 0;
    for (int i = 0; i < object->dlpi_phnum && count < MOST_SEGMENTS; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
            continue;
        range[count].first = (object->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
        range[count++].end = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
    }
    if (has_text_relocations(object))
        return 0;
    for (int i = 0; i < count; i++)
        if (range[i].first < range[i].end)
            madvise((void *)range[i].first, range[i].end - range[i].first, MADV_DONTNEED);
    return 0;
}

void bs_memory_trim(void)
{
    malloc_trim(0);
    dl_iterate_phdr(drop_segments, NULL);
}

void bs_memory_settle(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_MAX);
    mallopt(M_TRIM_THRESHOLD, HEAP_TRIM);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) == 0) {
        if (pthread_attr_setstacksize(&attributes, THREAD_STACK) == 0)
            pthread_setattr_default_np(&attributes);
        pthread_attr_destroy(&attributes);
    }
    bs_memory_trim();
}

/* Untouched were 93 MB of a job of 171 MB (1080 × 1920, H.264, everything on), some 25 of them before it began. */
uint64_t bs_memory_bound_for(uint64_t bytes)
{
    enum { ROOM = 32 * 1024 * 1024 };
    return bytes < UINT64_MAX / 2 ? bytes + bytes / 4 + ROOM : UINT64_MAX;
}

/* RLIMIT_DATA so that `bytes` more than now can be had; the hard limit too where it is meant for good. */
static bs_status limit_data(uint64_t bytes, bool for_good, bs_error *err)
{
    char text[4096];
    int64_t data = bs_memory_read_file("/proc/self/status", text, sizeof(text)) > 0 ? bs_memory_kb_line(text, "VmData:")
                                                                                    : -1;
    if (data < 0)
        return bs_fail(err, BS_ERR_FAILED, "memory cannot be bounded: /proc/self/status does not tell VmData");
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return bs_fail(err, BS_ERR_FAILED, "memory cannot be bounded: %s", strerror(errno));
    rlim_t wanted = bytes < RLIM_INFINITY - (rlim_t)data ? (rlim_t)data + bytes : RLIM_INFINITY;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (for_good)
        limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_DATA, &limit) != 0)
        return bs_fail(err, BS_ERR_FAILED, "memory cannot be bounded to %.1f MB: %s", (double)wanted / (1 << 20),
                       strerror(errno));
    return BS_OK;
}

bs_status bs_memory_bound(uint64_t bytes, bs_error *err)
{
    return limit_data(bytes, true, err);
}

bs_status bs_memory_narrow(uint64_t bytes, bs_error *err)
{
    return limit_data(bytes, false, err);
}

void bs_memory_widen(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_DATA, &limit);
}
