/* Writing the whole of something (see write.h). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/write.h"

bs_status bs_write_all(int fd, const void *data, size_t size, const char *what, bs_error *err)
{
    for (const char *at = data; size;) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bs_fail(err, BS_ERR_IO, "%s cannot be written: %s", what, strerror(n < 0 ? errno : ENOSPC));
        at += n;
        size -= (size_t)n;
    }
    return BS_OK;
}
