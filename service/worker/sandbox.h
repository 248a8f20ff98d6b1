/* sandbox: what a job process gives up before it touches a byte of media.
 *
 * It opens no file, no socket and no process; it maps nothing executable; its memory, processor time and files are
 * bounded. It keeps the descriptors that it was given. Three layers, so that one hole is not enough: no_new_privs and
 * a seccomp allow-list (libseccomp), Landlock without a single rule where the kernel has it, and rlimits.
 *
 * A forbidden call that media code or the C library makes in good faith (opening /sys to count processors) is refused
 * with an error; a call that only an intruder makes (a socket, a program, another process) ends the process by SIGSYS.
 * Threads: called by the only thread of the process, before others are made. */
#ifndef BS_SERVICE_WORKER_SANDBOX_H
#define BS_SERVICE_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <bodyscript/status.h>

typedef struct bs_sandbox_limits {
    uint64_t data;        /* bytes of private writable memory beyond what the process has now; 0: not bounded */
    uint64_t cpu_seconds; /* of all threads together */
    uint64_t file_size;   /* bytes: the largest file that it may write */
} bs_sandbox_limits;

/* There is no way back. A process that cannot enter must not go on. */
bs_status bs_sandbox_enter(const bs_sandbox_limits *limits, bs_error *err);

/* Whether the program is built with a sanitizer, whose memory is many times the job's: memory is not bounded then. */
bool bs_sandbox_is_instrumented(void);

/* Why a process ended, from its wait status, as one sentence about the job: "its process was killed …". */
void bs_sandbox_explain(int wait_status, const bs_sandbox_limits *limits, char *out, size_t size);
/* Whether another try would end the same way (a forbidden call, a limit), so that there is none. */
bool bs_sandbox_was_the_cause(int wait_status);

#endif
