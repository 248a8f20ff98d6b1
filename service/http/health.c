/* How the service is: for people, for the clients of the Python service, for orchestrators and for Prometheus (see
 * internal.h). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/http/internal.h"

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

/* The totals of the store; false: answered. */
static bool read_totals(bs_request *r, bs_store_totals *totals, int64_t *all)
{
    bs_error err = {0};
    bs_status status = bs_store_totals_get(r->http->store, totals, &err);
    if (status) {
        bs_answer_failure(r, status, &err);
        return false;
    }
    *all = 0;
    for (int s = 0; s < BS_JOB_STATES; s++)
        *all += totals->jobs[s];
    return true;
}

void bs_handle_health(bs_request *r)
{
    bs_store_totals totals;
    int64_t jobs;
    if (!read_totals(r, &totals, &jobs))
        return;
    double uptime = seconds_since(&r->http->started);
    bs_answer_json(r, MHD_HTTP_OK,
                   json_pack("{s:s, s:o, s:f, s:b, s:I, s:s, s:s}", "status", "healthy", "timestamp",
                             bs_json_time(bs_job_now()), "uptime_seconds", (double)(int64_t)(uptime * 1000) / 1000,
                             "cold_start", uptime < 60, "jobs_in_memory", (json_int_t)jobs, "service", "bodyscript",
                             "version", bs_version()));
}

/* Exactly the fields of the Python service, then more. */
void bs_handle_memory(bs_request *r)
{
    bs_store_totals totals;
    int64_t jobs;
    if (!read_totals(r, &totals, &jobs))
        return;
    bs_worker_readings *now = calloc(1, sizeof(*now));
    if (!now)
        return;
    bs_worker_readings_get(r->http->worker, now);
    const bs_settings *s = r->http->settings;
    double percent = now->limit ? 100.0 * (double)now->used / (double)now->limit : 0;
    char cleanup[32], age[48];
    snprintf(cleanup, sizeof(cleanup), "%lldMB", (long long)s->memory_cleanup_mb);
    if (s->job_max_age_seconds % 60)
        snprintf(age, sizeof(age), "%lld seconds", (long long)s->job_max_age_seconds);
    else
        snprintf(age, sizeof(age), "%lld minutes", (long long)s->job_max_age_seconds / 60);
    json_t *processes = json_array();
    for (int i = 0; i < now->processes && i < BS_WORKER_PROCESSES; i++) {
        const bs_worker_process *p = &now->process[i];
        json_array_append_new(processes,
                              json_pack("{s:i, s:s, s:o, s:o, s:o}", "pid", (int)p->pid, "role", p->role, "job_id",
                                        p->job[0] && bs_request_is_admin(r) ? json_string(p->job) : json_null(),
                                        "memory_mb", bs_json_mb(p->memory), "reserved_mb", bs_json_mb(p->reserved)));
    }
    json_t *object = json_pack(
        "{s:s, s:o, s:f, s:I, s:I, s:I, s:I, s:{s:s, s:I, s:s}}", "status",
        percent < 60    ? "healthy"
        : percent <= 80 ? "warning"
                        : "critical",
        "memory_mb", bs_json_mb(now->used), "memory_percent", (double)(int64_t)(percent * 100 + 0.5) / 100,
        "jobs_count", (json_int_t)jobs, "jobs_pending", (json_int_t)totals.jobs[BS_JOB_PENDING], "jobs_processing",
        (json_int_t)totals.jobs[BS_JOB_PROCESSING], "jobs_completed", (json_int_t)totals.jobs[BS_JOB_COMPLETED],
        "recommendations", "cleanup_threshold", cleanup, "max_concurrent", (json_int_t)s->max_concurrent_processing,
        "auto_cleanup_age", age);
    json_t *more = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o}", "timestamp", bs_json_time(bs_job_now()), "limit_mb",
        bs_json_mb(now->limit), "reserved_mb", bs_json_mb(now->reserved), "available_mb", bs_json_mb(now->available),
        "cleanup_mb", bs_json_mb(now->cleanup_line), "reject_mb", bs_json_mb(now->reject_line), "critical_mb",
        bs_json_mb(now->critical_line), "pressure_percent", now->pressure >= 0 ? json_real(now->pressure) : json_null(),
        "connections", bs_sockets_count(r->http->sockets), "processes", processes);
    json_object_update_missing(object, more);
    json_decref(more);
    free(now);
    bs_answer_json(r, MHD_HTTP_OK, object);
}

void bs_handle_livez(bs_request *r)
{
    bs_answer_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "alive"));
}

void bs_handle_readyz(bs_request *r)
{
    bs_error reason = {0};
    if (atomic_load(&r->http->refusing))
        snprintf(reason.text, sizeof(reason.text), "Server is stopping");
    else if (bs_worker_ready(r->http->worker, &reason))
        reason.text[0] = '\0';
    if (!reason.text[0]) {
        bs_answer_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "ready"));
        return;
    }
    bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s", reason.text);
    bs_answer_header(r, "Retry-After", "5");
}

/* -- Prometheus ------------------------------------------------------------------------------------------- */

typedef struct text {
    char *data;
    size_t size, capacity;
} text;

static void add(text *t, const char *format, ...) BS_PRINTF(2, 3);

/* Appends; where there is no memory the text stays as it is. */
static void add(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return;
    size_t needed = t->size + (size_t)length + 1;
    if (needed > t->capacity) {
        char *grown = realloc(t->data, needed * 2);
        if (!grown)
            return;
        t->data = grown;
        t->capacity = needed * 2;
    }
    va_start(args, format);
    vsnprintf(t->data + t->size, (size_t)length + 1, format, args);
    va_end(args);
    t->size += (size_t)length;
}

static void metric(text *t, const char *name, const char *type, const char *help, double value)
{
    add(t, "# HELP bodyscript_%s %s\n# TYPE bodyscript_%s %s\nbodyscript_%s %.17g\n", name, help, name, type, name,
        value);
}

static void add_requests(text *t, bs_http *http)
{
    add(t, "# HELP bodyscript_http_requests_total Requests answered.\n# TYPE bodyscript_http_requests_total counter\n");
    for (int i = 0; i < bs_routes_count; i++)
        for (int c = 1; c < 6; c++) {
            uint64_t n = atomic_load(&http->counters[i].by_class[c]);
            if (n)
                add(t, "bodyscript_http_requests_total{method=\"%s\",route=\"%s\",status=\"%dxx\"} %llu\n",
                    bs_routes[i].method, bs_routes[i].path, c, (unsigned long long)n);
        }
    add(t, "# HELP bodyscript_http_request_seconds_total Time from first line to last byte.\n"
           "# TYPE bodyscript_http_request_seconds_total counter\n");
    for (int i = 0; i < bs_routes_count; i++) {
        uint64_t ns = atomic_load(&http->counters[i].nanoseconds);
        if (ns)
            add(t, "bodyscript_http_request_seconds_total{method=\"%s\",route=\"%s\"} %.6f\n", bs_routes[i].method,
                bs_routes[i].path, (double)ns / 1e9);
    }
}

static void add_jobs(text *t, const bs_store_totals *totals)
{
    add(t, "# HELP bodyscript_jobs Jobs that the store knows.\n# TYPE bodyscript_jobs gauge\n");
    for (int s = 0; s < BS_JOB_STATES; s++)
        add(t, "bodyscript_jobs{status=\"%s\"} %lld\n", bs_job_state_name(s), (long long)totals->jobs[s]);
    add(t, "# HELP bodyscript_jobs_finished_total Jobs that ended, since the store was made.\n"
           "# TYPE bodyscript_jobs_finished_total counter\n");
    for (int s = BS_JOB_COMPLETED; s < BS_JOB_STATES; s++)
        add(t, "bodyscript_jobs_finished_total{status=\"%s\"} %lld\n", bs_job_state_name(s),
            (long long)totals->finished_ever[s]);
    metric(t, "job_duration_seconds_mean", "gauge", "Moving average over completed jobs.",
           (double)totals->mean_duration_us / 1e6);
}

static void add_worker(text *t, const bs_worker_readings *now)
{
    metric(t, "memory_used_bytes", "gauge", "Memory of all processes, shared pages counted once.", (double)now->used);
    metric(t, "memory_limit_bytes", "gauge", "Memory that there is.", (double)now->limit);
    metric(t, "memory_reserved_bytes", "gauge", "Memory reserved by jobs under way.", (double)now->reserved);
    metric(t, "memory_available_bytes", "gauge", "What a job that starts now could take.", (double)now->available);
    metric(t, "job_memory_peak_bytes", "gauge", "Peak of the largest job process so far.",
           (double)now->peak_job_memory);
    metric(t, "jobs_running", "gauge", "Job processes.", now->running);
    metric(t, "jobs_started_total", "counter", "Job processes started.", (double)now->jobs_started);
    metric(t, "jobs_requeued_total", "counter", "Jobs sent back to the queue.", (double)now->jobs_requeued);
    metric(t, "job_processes_died_total", "counter", "Job processes that died.", (double)now->processes_died);
    metric(t, "refused_memory_total", "counter", "Uploads refused for memory.", (double)now->refused_memory);
    metric(t, "refused_capacity_total", "counter", "Uploads refused for a full queue.", (double)now->refused_capacity);
    metric(t, "frames_processed_total", "counter", "Video frames processed.", (double)now->frames_processed);
    metric(t, "job_cpu_seconds_total", "counter", "Processor time of job processes that ended.", now->cpu_seconds);
}

void bs_handle_metrics(bs_request *r)
{
    bs_http *http = r->http;
    bs_store_totals totals;
    bs_artifacts_usage disk;
    int64_t jobs;
    text t = {0};
    if (!read_totals(r, &totals, &jobs))
        return;
    bs_worker_readings *now = calloc(1, sizeof(*now));
    if (!now)
        return;
    bs_worker_readings_get(http->worker, now);
    bs_artifacts_read_usage(http->artifacts, &disk);
    metric(&t, "uptime_seconds", "gauge", "Since the server was started.", seconds_since(&http->started));
    add_worker(&t, now);
    add_jobs(&t, &totals);
    metric(&t, "disk_files_bytes", "gauge", "Files of all jobs.", (double)disk.files);
    metric(&t, "disk_reserved_bytes", "gauge", "Room set aside for uploads that arrive.", (double)disk.reserved);
    metric(&t, "disk_limit_bytes", "gauge", "What both may take.", (double)disk.limit);
    metric(&t, "http_connections", "gauge", "Open connections.", bs_sockets_count(http->sockets));
    metric(&t, "http_uploads", "gauge", "Uploads that arrive.", atomic_load(&http->uploads));
    metric(&t, "http_event_streams", "gauge", "Open event streams.", bs_events_count(http->events));
    add_requests(&t, http);
    bs_answer_bytes(r, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", t.data, t.size, true);
    bs_answer_header(r, "Cache-Control", "no-store");
    free(t.data);
    free(now);
}
