/* service: jobs over HTTP, or taken from the queue without it; and the administrator's commands.
 *
 * Errors: one sentence in `err`. Threads: each is called once, from the main thread. */
#ifndef BS_SERVICE_SERVICE_H
#define BS_SERVICE_SERVICE_H

#include <stdio.h>

#include "settings/settings.h"

/* Serves until SIGTERM or SIGINT: then no new jobs, running ones get 20 s to finish, the rest goes back to the queue.
 */
bs_status bs_service_run(const bs_settings *settings, bs_error *err);
/* The same without HTTP. */
bs_status bs_worker_run(const bs_settings *settings, bs_error *err);

/* `bodyscript jobs list|show|cancel|cleanup`, on the store itself: works whether a server runs or not.
 * `json`: machine-readable. An unknown id: BS_ERR_USAGE. */
bs_status bs_service_jobs_list(const bs_settings *settings, bool json, FILE *out, bs_error *err);
bs_status bs_service_jobs_show(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err);
bs_status bs_service_jobs_cancel(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err);
/* `id` NULL: everything that has expired, else that job and its files (stopped first where it runs). */
bs_status bs_service_jobs_cleanup(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err);

/* The state of the job store as one sentence, for `doctor`; nothing is made where there is none yet. */
bs_status bs_service_store_state(const bs_settings *settings, char *text, size_t size);

#endif
