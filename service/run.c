/* `bodyscript serve` and `bodyscript worker`: start in order, wait for a signal, stop in order (see service.h). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <bodyscript/log.h>
#include <bodyscript/memory.h>

#include "service/check.h"
#include "service/http/http.h"
#include "service/notify.h"
#include "service/owner.h"
#include "service/service.h"

/* SIGKILL follows after 30 s where a platform stops us: 20 for the jobs, the rest for everything else. */
enum { GRACE_SECONDS = 20, LONGEST_SLEEP_MS = 3600 * 1000 };

/* -- signals -------------------------------------------------------------------------------------------- */

/* SIGTERM and SIGINT are waited for, in every thread: to be called before the first one. */
static void block_signals(sigset_t *stop)
{
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(stop);
    sigaddset(stop, SIGTERM);
    sigaddset(stop, SIGINT);
    sigprocmask(SIG_BLOCK, stop, NULL);
}

/* Returns when one comes; tells the service manager meanwhile that all is well, where it wants to know. */
static void wait_for_stop(const sigset_t *stop)
{
    int period = bs_notify_watchdog_ms();
    int sleep_ms = period > 0 ? period : LONGEST_SLEEP_MS;
    const struct timespec sleep = {sleep_ms / 1000, (long)(sleep_ms % 1000) * 1000000};
    int number;
    while ((number = sigtimedwait(stop, NULL, &sleep)) < 0)
        if (errno == EAGAIN && period > 0)
            bs_notify("WATCHDOG=1");
    bs_log(BS_LOG_INFO, "service", "%s: stopping; running jobs have %d s to finish", strsignal(number), GRACE_SECONDS);
}

/* A second signal: whoever sends it does not want to wait. */
static bool is_told_again(void *opaque)
{
    const struct timespec now = {0};
    return sigtimedwait(opaque, NULL, &now) > 0;
}

/* -- the parts ------------------------------------------------------------------------------------------ */

typedef struct parts {
    bs_owner *owner;
    bs_store *store;
    bs_artifacts *artifacts;
    bs_worker *worker;
    bs_http *http;
} parts;

static bs_status start_parts(parts *p, const bs_settings *settings, bool with_http, bs_error *err)
{
    bs_status status = bs_service_check(settings, err);
    if (status == BS_OK)
        status = bs_owner_take(&p->owner, settings, err);
    if (status == BS_OK)
        status = bs_store_open(&p->store, settings, err);
    if (status == BS_OK)
        status = bs_store_check(p->store, err);
    if (status == BS_OK)
        status = bs_artifacts_open(&p->artifacts, settings->storage_url, settings->data_dir,
                                   (uint64_t)settings->disk_limit_mb << 20, err);
    if (status == BS_OK)
        status = bs_owner_take_storage(p->owner, settings, err);
    int left = status == BS_OK ? bs_artifacts_sweep_incoming(p->artifacts, 0) : 0;
    if (left > 0)
        bs_log(BS_LOG_INFO, "service", "removed %d uploads that an earlier run did not finish", left);
    if (status == BS_OK)
        status = bs_worker_start(&p->worker, settings, p->store, p->artifacts, err);
    if (status == BS_OK && with_http)
        status = bs_http_start(&p->http, settings, p->store, p->artifacts, p->worker, err);
    return status;
}

static void stop_parts(parts *p)
{
    bs_http_stop(&p->http);
    bs_worker_stop(&p->worker);
    bs_artifacts_close(&p->artifacts);
    bs_store_close(&p->store);
    bs_owner_release(&p->owner);
}

static bs_status run(const bs_settings *settings, bool with_http, bs_error *err)
{
    parts p = {0};
    sigset_t stop;
    bs_memory_settle();
    bs_log_configure((bs_log_level)settings->log_level, (bs_log_format)settings->log_format);
    block_signals(&stop);
    bs_status status = start_parts(&p, settings, with_http, err);
    if (status == BS_OK) {
        bs_memory_trim();
        bs_log(BS_LOG_INFO, "service", "%s%s; jobs: %s; memory: %lld MB", with_http ? "serving at " : "working",
               with_http ? bs_http_address(p.http) : "", bs_store_describe(p.store),
               (long long)settings->memory_limit_mb);
        bs_notify("READY=1\nSTATUS=%s", with_http ? bs_http_address(p.http) : "taking jobs from the queue");
        wait_for_stop(&stop);
        bs_notify("STOPPING=1");
        if (p.http)
            bs_http_refuse(p.http);
        bs_worker_halt(p.worker, GRACE_SECONDS, is_told_again, &stop);
    }
    stop_parts(&p);
    if (status == BS_OK)
        bs_log(BS_LOG_INFO, "service", "stopped");
    return status;
}

bs_status bs_service_run(const bs_settings *settings, bs_error *err)
{
    return run(settings, true, err);
}

bs_status bs_worker_run(const bs_settings *settings, bs_error *err)
{
    return run(settings, false, err);
}
