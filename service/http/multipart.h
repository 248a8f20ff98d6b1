/* multipart/form-data (RFC 7578) as it arrives, in pieces of any size.
 *
 * Nothing is kept but a part's header lines (at most 4 KB) and how much of a boundary has been seen, so memory does
 * not depend on what is sent. Bytes of a part are handed on as they are, whatever they are.
 * Owner: the caller; the struct is plain data and needs no release. Errors: BS_ERR_INPUT with a sentence, and the same
 * again for every further call; what a callback returns ends the call with that status. Threads: one at a time. */
#ifndef BS_SERVICE_HTTP_MULTIPART_H
#define BS_SERVICE_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include <bodyscript/status.h>

enum {
    BS_MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046 */
    BS_MULTIPART_HEADERS_MAX = 4096,
    BS_MULTIPART_PARTS_MAX = 64,
};

typedef struct bs_multipart_part {
    char name[64];
    char filename[256]; /* as sent, UTF-8 where it is any; "" where there is none */
    bool has_filename;
} bs_multipart_part;

typedef struct bs_multipart_sink {
    bs_status (*begin)(void *opaque, const bs_multipart_part *part, bs_error *err);
    bs_status (*data)(void *opaque, const void *data, size_t size, bs_error *err);
    bs_status (*end)(void *opaque, bs_error *err);
    void *opaque;
} bs_multipart_sink;

typedef struct bs_multipart {
    bs_multipart_sink sink;
    char delimiter[4 + BS_MULTIPART_BOUNDARY_MAX + 1]; /* CR LF - - boundary */
    size_t delimiter_length, matched;
    int state, parts;
    char headers[BS_MULTIPART_HEADERS_MAX];
    size_t headers_length;
    bs_error failure;
} bs_multipart;

/* `content_type`: the request's header. BS_ERR_INPUT where it is not multipart/form-data with a proper boundary. */
bs_status bs_multipart_open(bs_multipart *m, const char *content_type, const bs_multipart_sink *sink, bs_error *err);
bs_status bs_multipart_feed(bs_multipart *m, const char *data, size_t size, bs_error *err);
/* The body is over: BS_ERR_INPUT where its last boundary has not been seen. */
bs_status bs_multipart_finish(bs_multipart *m, bs_error *err);

#endif
