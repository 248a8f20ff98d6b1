/* Any bytes as an upload's header and body, in pieces of any size: the parts are those of one piece. */
#include <stdlib.h>
#include <string.h>

#include "service/http/multipart.h"
#include "service/http/sniff.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    size_t parts, bytes, ends;
    uint32_t sum;
} seen;

static bs_status begin(void *opaque, const bs_multipart_part *part, bs_error *err)
{
    seen *s = opaque;
    s->parts++;
    s->sum = s->sum * 31 + (uint32_t)strlen(part->name) + (uint32_t)strlen(part->filename);
    return BS_OK;
}

static bs_status take(void *opaque, const void *data, size_t size, bs_error *err)
{
    seen *s = opaque;
    for (size_t i = 0; i < size; i++)
        s->sum = s->sum * 31 + ((const uint8_t *)data)[i];
    s->bytes += size;
    return BS_OK;
}

static bs_status end(void *opaque, bs_error *err)
{
    ((seen *)opaque)->ends++;
    return BS_OK;
}

static bs_status parse(const char *type, const char *body, size_t size, size_t piece, seen *out)
{
    static bs_multipart m;
    const bs_multipart_sink sink = {begin, take, end, out};
    bs_error err = {0};
    bs_status status = bs_multipart_open(&m, type, &sink, &err);
    for (size_t at = 0; status == BS_OK && at < size; at += piece)
        status = bs_multipart_feed(&m, body + at, size - at < piece ? size - at : piece, &err);
    return status == BS_OK ? bs_multipart_finish(&m, &err) : status;
}

/* The first line is the content type, the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bs_sniff(data, size < BS_SNIFF_BYTES ? size : BS_SNIFF_BYTES);
    const uint8_t *line = memchr(data, '\n', size);
    if (!line)
        return 0;
    size_t length = (size_t)(line - data);
    char *type = malloc(length + 1);
    memcpy(type, data, length);
    type[length] = '\0';
    const char *body = (const char *)line + 1;
    seen whole = {0}, pieces = {0};
    bs_status a = parse(type, body, size - length - 1, size, &whole);
    bs_status b = parse(type, body, size - length - 1, 1 + length % 7, &pieces);
    free(type);
    if (a != b || (a == BS_OK && memcmp(&whole, &pieces, sizeof(whole)) != 0))
        abort();
    return 0;
}
