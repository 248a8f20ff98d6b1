/* What a file is, by its first bytes and not by its name: nothing is decoded.
 * Threads: any; static storage. */
#ifndef BS_SERVICE_HTTP_SNIFF_H
#define BS_SERVICE_HTTP_SNIFF_H

#include <stddef.h>

enum { BS_SNIFF_BYTES = 1024 }; /* more are not looked at */

/* The name of a container or picture format that the program takes ("MP4", "Matroska", "JPEG" …); NULL: none of them.
 * With fewer bytes than BS_SNIFF_BYTES the answer is for a file that ends there. */
const char *bs_sniff(const void *data, size_t size);

#endif
