/* Status codes and their messages (see bodyscript/status.h). */
#include <stdio.h>

#include <bodyscript/status.h>

bs_status bs_failv(bs_error *err, bs_status status, const char *format, va_list args)
{
    if (err) {
        err->status = status;
        vsnprintf(err->text, sizeof(err->text), format, args);
        bs_text_clean(err->text); /* of a file's name: a sentence is one line, and commands no terminal */
    }
    return status;
}

bs_status bs_fail(bs_error *err, bs_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bs_failv(err, status, format, args);
    va_end(args);
    return status;
}

int bs_exit_code(bs_status status)
{
    switch (status) {
    case BS_ERR_USAGE: return 2;
    case BS_ERR_INPUT: return 3;
    case BS_ERR_LIMIT:
    case BS_ERR_NOMEM: return 4;
    case BS_ERR_CANCELLED: return 130;
    case BS_ERR_FAILED:
    case BS_ERR_IO: return 1;
    case BS_OK:
    case BS_EOF:
    case BS_AGAIN: return 0;
    }
    return 1;
}
