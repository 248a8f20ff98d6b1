/* libav's log and errors in the project's terms (see av.h). */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <bodyscript/log.h>

#include "av.h"

static _Thread_local char last_error[160];

static void take_message(void *context, int level, const char *format, va_list args)
{
    const bool error = level <= AV_LOG_ERROR;
    const bs_log_level ours = level <= AV_LOG_INFO ? BS_LOG_DEBUG : BS_LOG_TRACE;
    if (level > AV_LOG_DEBUG || (!error && !bs_log_enabled(ours)))
        return;

    char line[512];
    vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\r\n")] = '\0';
    if (!*line)
        return;
    if (error)
        snprintf(last_error, sizeof(last_error), "%.*s", (int)sizeof(last_error) - 1, line);
    const AVClass *const class = context ? *(const AVClass *const *)context : NULL;
    bs_log(ours, "video", "%s: %s", class ? class->class_name : "libav", line);
}

static void set_callback(void)
{
    av_log_set_callback(take_message);
}

void bs_av_log_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_callback);
}

void bs_av_forget_error(void)
{
    last_error[0] = '\0';
}

bs_status bs_av_fail(bs_error *err, bs_status status, int code, const char *format, ...)
{
    char sentence[384], reason[160];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);

    if (code == AVERROR(ENOMEM))
        return bs_fail(err, BS_ERR_NOMEM, "%s: not enough memory", sentence);
    if (code == AVERROR(ENOSPC) || code == AVERROR(EIO))
        status = BS_ERR_IO;
    if (*last_error)
        snprintf(reason, sizeof(reason), "%s", last_error);
    else if (code == AVERROR_INVALIDDATA)
        snprintf(reason, sizeof(reason), "damaged or unknown data");
    else
        av_strerror(code, reason, sizeof(reason));
    return bs_fail(err, status, "%s (%s)", sentence, reason);
}
