/* Writing the whole of something.
 *
 * Owner: the descriptor and the bytes stay the caller's. Threads: any. */
#ifndef BS_CORE_WRITE_H
#define BS_CORE_WRITE_H

#include <stddef.h>

#include <bodyscript/status.h>

/* All `size` bytes of `data` to `fd`, from its current position, however many calls it takes. BS_ERR_IO: a sentence
 * that begins with `what` (a file's name) and ends with the system's reason; a part may have been written. */
bs_status bs_write_all(int fd, const void *data, size_t size, const char *what, bs_error *err);

#endif
