/* Status codes and error messages: one vocabulary for the whole project.
 *
 * Every call that can fail returns a bs_status: BS_OK (0) or a positive value for a normal answer,
 * a negative value for a failure. On failure outputs are untouched and, where the caller passed a
 * bs_error, it holds one clear sentence that says what is wrong and what would be right.
 * Libraries fill the message; programs print it, once.
 *
 * Threads: a bs_error belongs to its caller; nothing here is global. */
#ifndef BODYSCRIPT_STATUS_H
#define BODYSCRIPT_STATUS_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bs_status {
    BS_OK = 0,
    BS_EOF = 1,            /* the stream is at its end: a normal answer */
    BS_AGAIN = 2,          /* nothing to give yet: a normal answer */
    BS_ERR_FAILED = -1,    /* failed for a reason of its own (exit code 1) */
    BS_ERR_USAGE = -2,     /* a wrong argument, option or setting (exit code 2) */
    BS_ERR_INPUT = -3,     /* the input is not a usable video, photo or model (exit code 3) */
    BS_ERR_LIMIT = -4,     /* does not fit the memory, size or time limit (exit code 4) */
    BS_ERR_NOMEM = -5,     /* an allocation was refused (exit code 4) */
    BS_ERR_IO = -6,        /* the operating system refused: disk full, no permission … (exit code 1) */
    BS_ERR_CANCELLED = -7, /* the caller asked to stop (exit code 130) */
} bs_status;

/* Caller-owned; zero-initialise it. `text` is UTF-8, always NUL-terminated, cut when too long. */
typedef struct bs_error {
    bs_status status;
    char text[504];
} bs_error;

#if defined(__GNUC__)
#define BS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BS_PRINTF(fmt, args)
#endif

/* Fill `err` (may be NULL) and return `status`, so that a failure is one line at the call site. */
bs_status bs_fail(bs_error *err, bs_status status, const char *format, ...) BS_PRINTF(3, 4);
bs_status bs_failv(bs_error *err, bs_status status, const char *format, va_list args);

/* Makes text from outside fit for a sentence, a log or JSON, in place: each byte that is no UTF-8, and the first of
 * each control character, becomes '?'. */
void bs_text_clean(char *text);

/* What a program that ends with this status exits with. */
int bs_exit_code(bs_status status);

#ifdef __cplusplus
}
#endif
#endif
