/* memory: what the parts of this folder share, and what its tests reach. Not for other folders. */
#ifndef BS_MEMORY_INTERNAL_H
#define BS_MEMORY_INTERNAL_H

#include <stddef.h>

#include <bodyscript/memory.h>

/* bs_memory_read_limits on a machine whose file system begins at `root` ("" for the real one): it reads
 * `root`/proc/self/{cgroup,mountinfo}, `root`/proc/meminfo and the cgroup trees that mountinfo names. */
bs_status bs_memory_read_limits_at(const char *root, bs_memory_limits *out, bs_error *err);

/* The first `capacity` - 1 bytes of a small file, NUL-terminated. Returns their number, or -1 with errno set. */
long bs_memory_read_file(const char *path, char *text, size_t capacity);

/* The figure of the line "`key` 123 kB" of a /proc text, in bytes; -1 where there is none. `key` has its colon. */
int64_t bs_memory_kb_line(const char *text, const char *key);

#endif
