/* One log for the whole program: lines on standard error, as text or JSON.
 *
 * Only programs configure it; the engine logs through it and never prints. Text from outside is escaped, so
 * a line is always one line. Nothing that happens once per frame is above BS_LOG_TRACE.
 * Threads: bs_log and bs_log_enabled any; bs_log_configure before there are others. */
#ifndef BODYSCRIPT_LOG_H
#define BODYSCRIPT_LOG_H

#include <stdbool.h>

#include <bodyscript/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bs_log_level { BS_LOG_ERROR = 0, BS_LOG_WARNING, BS_LOG_INFO, BS_LOG_DEBUG, BS_LOG_TRACE } bs_log_level;
typedef enum bs_log_format { BS_LOG_TEXT = 0, BS_LOG_JSON } bs_log_format;

void bs_log_configure(bs_log_level level, bs_log_format format); /* until called: warning, text */
bool bs_log_enabled(bs_log_level level);
/* `area` is the module that speaks: "video", "http", "governor" … */
void bs_log(bs_log_level level, const char *area, const char *format, ...) BS_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
