/* Few bytes of a file at a time (see av.h). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "av.h"

/* The bytes from `at` on, as many as there are; 0 where the file cannot be read. */
static int64_t read_some(int fd, int64_t at, void *out, size_t size)
{
    ssize_t got;
    do
        got = pread(fd, out, size, at);
    while (got < 0 && errno == EINTR);
    return got > 0 ? got : 0;
}

bool bs_read_at(int fd, int64_t at, void *out, size_t size)
{
    return at >= 0 && read_some(fd, at, out, size) == (int64_t)size;
}

bool bs_window_read(bs_window *w, int64_t at, void *out, size_t size)
{
    if (at < w->from || at + (int64_t)size > w->from + w->filled) {
        w->from = at;
        w->filled = read_some(w->fd, at, w->bytes, sizeof(w->bytes));
    }
    if (at + (int64_t)size > w->from + w->filled)
        return false;
    memcpy(out, w->bytes + (at - w->from), size);
    return true;
}

bool bs_is_one_of(const uint8_t type[4], const char *types)
{
    for (; *types; types += 4)
        if (!memcmp(type, types, 4))
            return true;
    return false;
}
