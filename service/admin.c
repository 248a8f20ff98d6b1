/* The administrator's commands, on the store itself: they work whether a server runs or not (see service.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "service/artifacts/artifacts.h"
#include "service/jobs/store.h"
#include "service/service.h"
#include "service/worker/worker.h"

enum { STOP_WAIT_MS = 8000, STOP_LOOK_MS = 50 };

typedef struct admin {
    bs_store *store;
    bs_artifacts *artifacts;
} admin;

/* Whether the file of an embedded database is yet to be made, by the first start of a service; `path` names it. */
static bool is_yet_to_be_made(const bs_settings *settings, char *path, size_t size)
{
    const char *url = settings->database_url, scheme[] = "sqlite:";
    if (url && (strncmp(url, scheme, strlen(scheme)) != 0 || !url[strlen(scheme)] || url[strlen(scheme)] == ':'))
        return false; /* bs_store_open says what it takes */
    snprintf(path, size, "%s%s", url ? url + strlen(scheme) : settings->data_dir, url ? "" : "/jobs.db");
    return access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR);
}

/* A mistyped DATA_DIR must not become a folder with an empty list of jobs. */
static bs_status open_store(bs_store **out, const bs_settings *settings, bs_error *err)
{
    char path[4096];
    if (is_yet_to_be_made(settings, path, sizeof(path)))
        return bs_fail(err, BS_ERR_USAGE,
                       "there is no database '%s': no service has run with this DATA_DIR or DATABASE_URL", path);
    return bs_store_open(out, settings, err);
}

static bs_status open_admin(admin *out, const bs_settings *settings, bs_error *err)
{
    *out = (admin){0};
    bs_status status = open_store(&out->store, settings, err);
    if (status == BS_OK)
        status = bs_artifacts_open(&out->artifacts, settings->storage_url, settings->data_dir,
                                   (uint64_t)settings->disk_limit_mb << 20, err);
    return status;
}

static void close_admin(admin *a)
{
    bs_artifacts_close(&a->artifacts);
    bs_store_close(&a->store);
}

/* -- telling a job -------------------------------------------------------------------------------------- */

static void format_time(int64_t us, char out[32])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm utc;
    snprintf(out, 32, "-");
    if (us > 0 && gmtime_r(&seconds, &utc))
        strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static json_t *json_time(int64_t us)
{
    char text[32];
    format_time(us, text);
    return us > 0 ? json_string(text) : json_null();
}

static json_t *job_json(const bs_job *job)
{
    json_t *statistics = job->statistics[0] ? json_loads(job->statistics, 0, NULL) : NULL;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:i, s:f, s:b, s:s, s:s*, s:i, s:I, s:o}", "job_id",
        job->id, "status", bs_job_state_name(job->state), "filename", job->filename, "file_size",
        (json_int_t)job->file_size, "progress", job->progress, "message", job->message, "current_frame",
        (json_int_t)job->current_frame, "total_frames", (json_int_t)job->total_frames, "created_at",
        json_time(job->created_us), "started_at", json_time(job->started_us), "completed_at",
        json_time(job->completed_us), "attempts", job->attempts, "reserved_memory_mb",
        (double)job->reserved_memory / (1 << 20), "kept", (int)job->kept, "mode", bs_mode_name(job->options.mode),
        "error", job->error[0] ? job->error : NULL, "interval", job->options.interval, "queue_position",
        (json_int_t)job->queue_position, "statistics", statistics ? statistics : json_null());
    return object;
}

static bs_status print_json(FILE *out, json_t *object, bs_error *err)
{
    bool ok = object && json_dumpf(object, out, JSON_INDENT(2)) == 0 && fputc('\n', out) != EOF;
    json_decref(object);
    return ok ? BS_OK : bs_fail(err, BS_ERR_IO, "the answer cannot be written");
}

static bs_status print_job(FILE *out, const bs_job *job, bool json, bs_error *err)
{
    if (json)
        return print_json(out, job_json(job), err);
    char created[32], started[32], completed[32];
    format_time(job->created_us, created);
    format_time(job->started_us, started);
    format_time(job->completed_us, completed);
    fprintf(out, "job        %s\nstatus     %s, %d %%: %s\n", job->id, bs_job_state_name(job->state), job->progress,
            job->error[0] ? job->error : job->message);
    fprintf(out, "file       %s, %.2f MB\ncreated    %s\nstarted    %s\nended      %s\n", job->filename,
            (double)job->file_size / (1 << 20), created, started, completed);
    fprintf(out, "frames     %" PRId64 " of %" PRId64 "\nattempts   %d\nreserved   %.1f MB\n", job->current_frame,
            job->total_frames, job->attempts, (double)job->reserved_memory / (1 << 20));
    if (job->state == BS_JOB_PENDING)
        fprintf(out, "queue      %" PRId64 " of %" PRId64 "\n", job->queue_position, job->queue_total);
    if (job->statistics[0])
        fprintf(out, "statistics %s\n", job->statistics);
    return ferror(out) ? bs_fail(err, BS_ERR_IO, "the answer cannot be written") : BS_OK;
}

/* -- list, show ----------------------------------------------------------------------------------------- */

static int print_line(void *opaque, const bs_job *job)
{
    FILE *out = opaque;
    char created[32];
    format_time(job->created_us, created);
    fprintf(out, "%s  %-10s %3d %%  %s  %8.2f MB  %s\n", job->id, bs_job_state_name(job->state), job->progress, created,
            (double)job->file_size / (1 << 20), job->filename);
    return 0;
}

static int append_job(void *opaque, const bs_job *job)
{
    return json_array_append_new(opaque, job_json(job));
}

bs_status bs_service_jobs_list(const bs_settings *settings, bool json, FILE *out, bs_error *err)
{
    bs_store *store = NULL;
    bs_status status = open_store(&store, settings, err);
    if (status == BS_OK && json) {
        json_t *jobs = json_array();
        status = bs_store_list(store, 0, 0, 0, append_job, jobs, err);
        json_t *answer = json_pack("{s:I, s:o}", "total", (json_int_t)json_array_size(jobs), "jobs", jobs);
        status = status == BS_OK ? print_json(out, answer, err) : status;
    } else if (status == BS_OK) {
        status = bs_store_list(store, 0, 0, 0, print_line, out, err);
    }
    bs_store_close(&store);
    return status;
}

static bs_status find_job(bs_store *store, const char *id, bs_job *out, bs_error *err)
{
    bs_status status = bs_job_id_valid(id) ? bs_store_get(store, id, out, err) : BS_EOF;
    return status == BS_EOF ? bs_fail(err, BS_ERR_USAGE, "there is no job '%s'; `bodyscript jobs list` tells all", id)
                            : status;
}

bs_status bs_service_jobs_show(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err)
{
    bs_store *store = NULL;
    bs_job job;
    bs_status status = open_store(&store, settings, err);
    if (status == BS_OK)
        status = find_job(store, id, &job, err);
    if (status == BS_OK)
        status = print_job(out, &job, json, err);
    bs_store_close(&store);
    return status;
}

/* -- cancel, cleanup ------------------------------------------------------------------------------------ */

/* Cancels, and waits for the worker that runs the job to have stopped it. */
static bs_status stop_job(admin *a, const char *id, bs_job *out, bs_error *err)
{
    const struct timespec pause = {.tv_nsec = STOP_LOOK_MS * 1000000};
    bs_status status = find_job(a->store, id, out, err);
    if (status == BS_OK && !bs_job_state_is_final(out->state))
        status = bs_store_cancel(a->store, id, out, err);
    for (int waited = 0; status == BS_OK && out->state == BS_JOB_PROCESSING && waited < STOP_WAIT_MS;
         waited += STOP_LOOK_MS) {
        nanosleep(&pause, NULL);
        status = bs_store_get(a->store, id, out, err);
    }
    if (status == BS_OK && out->state == BS_JOB_CANCELLED)
        status = bs_artifacts_remove(a->artifacts, id, err);
    return status;
}

bs_status bs_service_jobs_cancel(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err)
{
    admin a;
    bs_job job;
    bs_status status = open_admin(&a, settings, err);
    if (status == BS_OK)
        status = stop_job(&a, id, &job, err);
    if (status == BS_OK && job.state != BS_JOB_CANCELLED)
        status = bs_fail(err, BS_ERR_FAILED,
                         job.state == BS_JOB_PROCESSING ? "job %s is asked to stop; no worker has answered yet"
                                                        : "job %s has ended already",
                         job.id);
    if (status == BS_OK)
        status = print_job(out, &job, json, err);
    close_admin(&a);
    return status;
}

static bs_status remove_job(admin *a, const char *id, bs_error *err)
{
    bs_status status = bs_artifacts_remove(a->artifacts, id, err);
    return status == BS_OK ? bs_store_remove(a->store, id, err) : status;
}

bs_status bs_service_jobs_cleanup(const bs_settings *settings, const char *id, bool json, FILE *out, bs_error *err)
{
    admin a;
    bs_job job;
    int64_t removed = 0;
    bs_status status = open_admin(&a, settings, err);
    if (status == BS_OK && !id) {
        status = bs_remove_expired(a.store, a.artifacts, settings->job_max_age_seconds, &removed, err);
    } else if (status == BS_OK) {
        status = stop_job(&a, id, &job, err);
        if (status == BS_OK && job.state == BS_JOB_PROCESSING)
            status = bs_fail(err, BS_ERR_FAILED, "job %s is asked to stop; no worker has answered yet", id);
        if (status == BS_OK)
            status = remove_job(&a, id, err);
        removed = status == BS_OK;
    }
    if (status == BS_OK && json)
        status = print_json(out, json_pack("{s:I}", "removed", (json_int_t)removed), err);
    else if (status == BS_OK)
        fprintf(out, "%" PRId64 " removed\n", removed);
    close_admin(&a);
    return status;
}

/* -- doctor --------------------------------------------------------------------------------------------- */

bs_status bs_service_store_state(const bs_settings *settings, char *text, size_t size)
{
    char path[4096];
    bs_store *store = NULL;
    bs_store_totals totals = {0};
    bs_error err = {0};
    if (is_yet_to_be_made(settings, path, sizeof(path))) {
        snprintf(text, size, "sqlite, %s: made at the first start", path);
        return BS_OK;
    }
    bs_status status = bs_store_open(&store, settings, &err);
    if (status == BS_OK)
        status = bs_store_check(store, &err);
    if (status == BS_OK)
        status = bs_store_totals_get(store, &totals, &err);
    if (status == BS_OK)
        snprintf(text, size, "%s: sound, %" PRId64 " pending, %" PRId64 " processing, %" PRId64 " completed",
                 bs_store_describe(store), totals.jobs[BS_JOB_PENDING], totals.jobs[BS_JOB_PROCESSING],
                 totals.jobs[BS_JOB_COMPLETED]);
    else
        snprintf(text, size, "%s", err.text);
    bs_store_close(&store);
    return status;
}
