/* Text on its way to a descriptor, in large pieces, with numbers written the same in every locale.
 *
 * A sink remembers its first failure and swallows everything after it, so that a writer puts a whole row and asks
 * once (bs_sink_status). The descriptor stays the caller's. Memory: one buffer of 32 KiB. Threads: one at a time. */
#ifndef BS_OUTPUT_SINK_H
#define BS_OUTPUT_SINK_H

#include <stddef.h>
#include <stdint.h>

#include <bodyscript/status.h>

enum { BS_SINK_SIZE = 32768 };

typedef struct bs_sink {
    int fd;
    const char *what; /* for messages: "pose_data.csv"; lives as long as the sink */
    size_t used;
    bs_error error; /* of the first write that failed */
    char buffer[BS_SINK_SIZE];
} bs_sink;

void bs_sink_init(bs_sink *sink, int fd, const char *what);

void bs_sink_text(bs_sink *sink, const char *text);
void bs_sink_int(bs_sink *sink, int64_t value);
/* Seven decimals, correctly rounded, as printf's %.7f in the C locale gives them but without "-0". What is not a
 * finite number below 10^11 is `otherwise`. */
void bs_sink_float(bs_sink *sink, float value, const char *otherwise);
/* Microseconds as seconds with six decimals. */
void bs_sink_seconds(bs_sink *sink, int64_t microseconds);
/* `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void bs_sink_json_string(bs_sink *sink, const char *text);

/* Writes out what is buffered. BS_ERR_IO with the system's reason ("No space left on device"). */
bs_status bs_sink_flush(bs_sink *sink, bs_error *err);
/* The first failure so far, without writing anything. */
bs_status bs_sink_status(const bs_sink *sink, bs_error *err);

#endif
