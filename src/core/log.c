/* One log for the whole program (see bodyscript/log.h). */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <bodyscript/log.h>

#include "core/text.h"

static bs_log_level log_level = BS_LOG_WARNING;
static bs_log_format log_format = BS_LOG_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug", "trace"};

void bs_log_configure(bs_log_level level, bs_log_format format)
{
    log_level = level < BS_LOG_TRACE ? level : BS_LOG_TRACE;
    log_format = format;
}

bool bs_log_enabled(bs_log_level level)
{
    return level <= log_level;
}

/* `text` with everything escaped that could end a line or a JSON string, that a terminal obeys, or that is no UTF-8. */
static void escape(char *out, size_t capacity, const char *text)
{
    const bool json = log_format == BS_LOG_JSON;
    size_t at = 0, length;
    for (const char *c = text; *c && at + 7 < capacity; c += length ? length : 1) {
        const unsigned char *byte = (const unsigned char *)c;
        length = bs_utf8_length(c);
        if (!length)
            at += (size_t)(json ? sprintf(out + at, "\\ufffd") : sprintf(out + at, "\\x%02x", *byte));
        else if (bs_utf8_is_control(c, length))
            at += (size_t)sprintf(out + at, "\\u%04x", byte[length - 1]); /* of C1 as well: U+0080 is C2 80 */
        else if (*c == '\\' || (*c == '"' && json))
            at += (size_t)sprintf(out + at, "\\%c", *c);
        else
            for (size_t i = 0; i < length; i++)
                out[at++] = c[i];
    }
    out[at] = '\0';
}

void bs_log(bs_log_level level, const char *area, const char *format, ...)
{
    if (!bs_log_enabled(level))
        return;

    char message[1024], escaped[2048], line[2304];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    escape(escaped, sizeof(escaped), message);

    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);

    if (log_format == BS_LOG_JSON)
        snprintf(line, sizeof(line), "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"area\":\"%s\",\"message\":\"%s\"}\n",
                 stamp, now.tv_nsec / 1000000, level_names[level], area, escaped);
    else
        snprintf(line, sizeof(line), "%s.%03ldZ %-7s %s: %s\n", stamp, now.tv_nsec / 1000000, level_names[level], area,
                 escaped);
    fputs(line, stderr); /* one call: lines of several threads do not mix */
}
