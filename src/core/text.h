/* text: what is UTF-8 in what came from outside. Threads: pure functions. */
#ifndef BS_CORE_TEXT_H
#define BS_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the well-formed UTF-8 character that `text` (NUL-terminated) begins with, 0 where it begins with none
 * (RFC 3629). The NUL is one of one byte. */
size_t bs_utf8_length(const char *text);
/* Whether that character, of so many bytes, is one that terminals obey: C0, DEL or C1. */
bool bs_utf8_is_control(const char *text, size_t length);

#endif
