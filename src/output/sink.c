/* Buffered text with locale-independent numbers (see sink.h). */
#include <math.h>
#include <string.h>

#include "core/text.h"
#include "core/write.h"
#include "output/sink.h"

enum { MAX_NUMBER = 32 }; /* characters of the longest number */

void bs_sink_init(bs_sink *sink, int fd, const char *what)
{
    sink->fd = fd;
    sink->what = what;
    sink->used = 0;
    sink->error = (bs_error){0};
}

static void write_out(bs_sink *sink)
{
    if (sink->error.status == BS_OK)
        bs_write_all(sink->fd, sink->buffer, sink->used, sink->what, &sink->error);
    sink->used = 0;
}

static void put_bytes(bs_sink *sink, const char *bytes, size_t size)
{
    while (size) {
        size_t n = BS_SINK_SIZE - sink->used;
        if (n > size)
            n = size;
        memcpy(sink->buffer + sink->used, bytes, n);
        sink->used += n;
        bytes += n;
        size -= n;
        if (sink->used == BS_SINK_SIZE)
            write_out(sink);
    }
}

void bs_sink_text(bs_sink *sink, const char *text)
{
    put_bytes(sink, text, strlen(text));
}

/* Writes `value` with a point before its last `decimals` digits, backwards from `end`; returns the first character. */
static char *digits(char *end, uint64_t value, int decimals)
{
    for (int i = 0; i < decimals; i++, value /= 10)
        *--end = (char)('0' + value % 10);
    if (decimals)
        *--end = '.';
    do
        *--end = (char)('0' + value % 10);
    while (value /= 10);
    return end;
}

static void put_scaled(bs_sink *sink, int64_t scaled, int decimals)
{
    char text[MAX_NUMBER], *end = text + sizeof(text);
    char *begin = digits(end, scaled < 0 ? 0 - (uint64_t)scaled : (uint64_t)scaled, decimals);
    if (scaled < 0)
        *--begin = '-';
    put_bytes(sink, begin, (size_t)(end - begin));
}

void bs_sink_int(bs_sink *sink, int64_t value)
{
    put_scaled(sink, value, 0);
}

void bs_sink_seconds(bs_sink *sink, int64_t microseconds)
{
    put_scaled(sink, microseconds, 6);
}

void bs_sink_float(bs_sink *sink, float value, const char *otherwise)
{
    /* 24 bits of a float times the 24 bits of 10^7 fit the 53 of a double: the product is exact, and rounding it
     * once is correct rounding. */
    if (fabsf(value) < 1e11f)
        put_scaled(sink, llrint((double)value * 1e7), 7);
    else
        bs_sink_text(sink, otherwise);
}

void bs_sink_json_string(bs_sink *sink, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    bs_sink_text(sink, "\"");
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        size_t n = bs_utf8_length((const char *)c);
        if (*c < 0x20 || *c == '"' || *c == '\\' || *c == 0x7f) {
            const char escape[] = {'\\', 'u', '0', '0', hex[*c >> 4], hex[*c & 15]};
            put_bytes(sink, escape, sizeof(escape));
            c++;
        } else if (n) {
            put_bytes(sink, (const char *)c, n);
            c += n;
        } else {
            bs_sink_text(sink, "\xef\xbf\xbd");
            c++;
        }
    }
    bs_sink_text(sink, "\"");
}

bs_status bs_sink_flush(bs_sink *sink, bs_error *err)
{
    write_out(sink);
    return bs_sink_status(sink, err);
}

bs_status bs_sink_status(const bs_sink *sink, bs_error *err)
{
    if (sink->error.status != BS_OK && err)
        *err = sink->error;
    return sink->error.status;
}
