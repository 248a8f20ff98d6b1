/* A job's status, its end, and the list of all (see internal.h).
 *
 * Status answers are kept while nothing changes, ready to be sent, so that polling costs no look-up in the store and
 * no memory: every change that the worker tells of makes all of them old, and after half a second they are old anyway
 * (another process may have changed the store). That of a running job is made anew from what the worker has in memory,
 * by the thread that was asked; all others in the quick lane. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/http/internal.h"

enum { CACHED = 256, FRESH_NANOSECONDS = 500000000, JOBS_LISTED = 100, JOBS_LISTED_MAX = 1000 };

typedef struct cached {
    char id[BS_JOB_ID_LENGTH + 1];
    struct MHD_Response *answer; /* NULL: none is kept */
    const char *text;            /* its body */
    bool final;
    uint64_t generation;
    struct timespec at;
} cached;

struct bs_status_cache {
    pthread_mutex_t lock;
    atomic_uint_fast64_t generation;
    cached entry[CACHED]; /* by the first digits of the id, which are random */
};

bs_status bs_status_cache_open(bs_status_cache **out, bs_http *http, bs_error *err)
{
    bs_status_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the status cache");
    pthread_mutex_init(&cache->lock, NULL);
    *out = cache;
    return BS_OK;
}

void bs_status_cache_close(bs_status_cache **out)
{
    bs_status_cache *cache = *out;
    if (!cache)
        return;
    for (int i = 0; i < CACHED; i++)
        if (cache->entry[i].answer)
            MHD_destroy_response(cache->entry[i].answer);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
    *out = NULL;
}

void bs_status_cache_expire(bs_status_cache *cache)
{
    atomic_fetch_add(&cache->generation, 1);
}

static cached *entry_of(bs_status_cache *cache, const char *id)
{
    char digits[3] = {id[0], id[1], '\0'};
    return &cache->entry[strtoul(digits, NULL, 16) % CACHED];
}

static bool is_fresh(const bs_status_cache *cache, const cached *e, const char *id)
{
    struct timespec now;
    if (!e->answer || strcmp(e->id, id) || e->generation != atomic_load(&cache->generation))
        return false;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (now.tv_sec - e->at.tv_sec) * 1000000000ll + (now.tv_nsec - e->at.tv_nsec) < FRESH_NANOSECONDS;
}

/* What is fresh is sent under the lock: whoever replaces an answer lets go of it. */
static bool send_kept(bs_request *r)
{
    bs_status_cache *cache = r->http->cache;
    pthread_mutex_lock(&cache->lock);
    cached *e = entry_of(cache, r->job);
    bool sent = is_fresh(cache, e, r->job) && bs_request_send(r, MHD_HTTP_OK, e->answer);
    pthread_mutex_unlock(&cache->lock);
    return sent;
}

static void keep_text(bs_http *http, const char *id, const char *text, bool final, uint64_t generation)
{
    bs_status_cache *cache = http->cache;
    struct MHD_Response *answer = NULL;
    char *copy = strdup(text);
    if (copy)
        answer = MHD_create_response_from_buffer(strlen(copy), copy, MHD_RESPMEM_MUST_FREE);
    if (!answer) {
        free(copy);
        return;
    }
    bs_answer_common_headers(http, answer);
    MHD_add_response_header(answer, "Content-Type", "application/json");
    MHD_add_response_header(answer, "Cache-Control", "no-store");
    pthread_mutex_lock(&cache->lock);
    cached *e = entry_of(cache, id);
    if (e->answer)
        MHD_destroy_response(e->answer);
    *e = (cached){.answer = answer, .text = copy, .final = final, .generation = generation};
    strcpy(e->id, id);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &e->at);
    pthread_mutex_unlock(&cache->lock);
}

/* -- a job as JSON ---------------------------------------------------------------------------------------- */

typedef struct url_list {
    bs_http *http;
    const char *id;
    json_t *urls;
} url_list;

static int add_url(void *opaque, const char *name, uint64_t size)
{
    url_list *list = opaque;
    char url[BS_ARTIFACT_URL_MAX];
    bs_artifact_url(url, sizeof(url), list->http->settings->cdn_base_url, list->id, name);
    for (int i = 0; i < BS_ARTIFACT_KINDS; i++)
        if (!strcmp(name, bs_artifact_file(i)))
            json_object_set_new(list->urls, bs_artifact_label(i), json_string(url));
    return 0;
}

/* Links to the results that there are: video, preview, thumbnail, csv and json are named always, null where missing. */
static json_t *urls_of(bs_http *http, const bs_job *job)
{
    json_t *urls = json_pack("{s:n, s:n, s:n, s:n, s:n}", "video", "preview", "thumbnail", "csv", "json");
    url_list list = {http, job->id, urls};
    bs_artifacts_files(http->artifacts, job->id, add_url, &list, NULL);
    return urls;
}

json_t *bs_status_json(bs_http *http, const bs_job *job)
{
    bool completed = job->state == BS_JOB_COMPLETED, pending = job->state == BS_JOB_PENDING;
    json_t *statistics = job->statistics[0] ? json_loads(job->statistics, 0, NULL) : NULL;
    return json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:s, s:o}",
                     "job_id", job->id, "status", bs_job_state_name(job->state), "progress", job->progress, "message",
                     job->message, "created_at", bs_json_time(job->created_us), "started_at",
                     bs_json_time(job->started_us), "completed_at", bs_json_time(job->completed_us), "filename",
                     job->filename, "file_size_mb", bs_json_mb((uint64_t)job->file_size), "current_frame",
                     (json_int_t)job->current_frame, "total_frames",
                     job->total_frames ? json_integer(job->total_frames) : json_null(), "queue_position",
                     pending ? json_integer(job->queue_position) : json_null(), "queue_total",
                     pending ? json_integer(job->queue_total) : json_null(), "statistics",
                     statistics ? statistics : json_null(), "urls", completed ? urls_of(http, job) : json_null(),
                     "error", job->error[0] ? json_string(job->error) : json_null(), "attempts", job->attempts, "mode",
                     bs_mode_name(job->options.mode), "reserved_memory_mb",
                     job->reserved_memory ? bs_json_mb(job->reserved_memory) : json_null());
}

/* The job as text, which is kept. `generation` was read before the job was: a change meanwhile makes it old. */
static bs_status make_text(bs_http *http, const bs_job *job, uint64_t generation, char **out, bs_error *err)
{
    json_t *object = bs_status_json(http, job);
    char *text = object ? json_dumps(object, BS_JSON_FORM) : NULL;
    json_decref(object);
    if (!text)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the status of a job");
    keep_text(http, job->id, text, bs_job_state_is_final(job->state), generation);
    *out = text;
    return BS_OK;
}

bs_status bs_status_text(bs_http *http, const char *id, char **out, bool *final, bs_error *err)
{
    bs_status_cache *cache = http->cache;
    pthread_mutex_lock(&cache->lock);
    cached *e = entry_of(cache, id);
    char *text = is_fresh(cache, e, id) ? strdup(e->text) : NULL;
    if (text && final)
        *final = e->final;
    pthread_mutex_unlock(&cache->lock);
    if (text) {
        *out = text;
        return BS_OK;
    }

    bs_job job;
    uint64_t generation = atomic_load(&cache->generation);
    bs_status status = bs_worker_job(http->worker, id, &job, err);
    if (status == BS_OK)
        status = make_text(http, &job, generation, out, err);
    if (status == BS_OK && final)
        *final = bs_job_state_is_final(job.state);
    return status;
}

/* -- handlers --------------------------------------------------------------------------------------------- */

static void answer_text(bs_request *r, char *text)
{
    bs_answer_bytes(r, MHD_HTTP_OK, "application/json", text, strlen(text), true);
    bs_answer_header(r, "Cache-Control", "no-store");
    free(text);
}

bool bs_handle_status_at_once(bs_request *r)
{
    bs_job job;
    char *text = NULL;
    uint64_t generation = atomic_load(&r->http->cache->generation);
    if (!bs_request_job(r))
        return true;
    bool foreign = bs_request_is_foreign(r);
    if (!foreign && send_kept(r))
        return true;
    if (!bs_worker_running(r->http->worker, r->job, &job) || make_text(r->http, &job, generation, &text, NULL) != BS_OK)
        return false;
    answer_text(r, text);
    return true;
}

void bs_handle_status(bs_request *r)
{
    char *text;
    bs_error err = {0};
    bs_status status = bs_status_text(r->http, r->job, &text, NULL, &err);
    if (status == BS_EOF)
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    else
        answer_text(r, text);
}

/* Jobs in the public gallery have ids that everybody sees: only the administrator ends them. */
static bool may_change(bs_request *r)
{
    if (!bs_request_job(r))
        return false;
    if (!bs_gallery_has(r->http->gallery, r->job) || bs_request_is_admin(r))
        return true;
    bs_answer_error(r, MHD_HTTP_FORBIDDEN, "This job is in the public gallery; only the administrator may change it");
    return false;
}

static void answer_job(bs_request *r, const char *status, const char *message)
{
    bs_answer_json(r, MHD_HTTP_OK,
                   json_pack("{s:s, s:s, s:s}", "job_id", r->job, "status", status, "message", message));
}

void bs_handle_cancel(bs_request *r)
{
    bs_job job;
    bs_error err = {0};
    if (!may_change(r))
        return;
    bs_status status = bs_worker_job(r->http->worker, r->job, &job, &err);
    if (!status && !bs_job_state_is_final(job.state))
        status = bs_worker_cancel(r->http->worker, r->job, &job, &err);
    bs_status_cache_expire(r->http->cache);
    if (status == BS_EOF)
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    else if (job.state == BS_JOB_COMPLETED || job.state == BS_JOB_FAILED) /* it may have been faster than the wish */
        bs_answer_error(r, MHD_HTTP_CONFLICT, "Cannot cancel job with status: %s", bs_job_state_name(job.state));
    else if (job.state == BS_JOB_CANCELLED)
        answer_job(r, "cancelled", "Job cancelled successfully");
    else
        answer_job(r, "processing", "The job is asked to stop, which takes longer than usual");
}

void bs_handle_cleanup(bs_request *r)
{
    bs_error err = {0};
    if (!may_change(r))
        return;
    bs_status status = bs_worker_remove(r->http->worker, r->job, &err);
    bs_status_cache_expire(r->http->cache);
    if (status == BS_EOF)
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    else
        bs_answer_json(r, MHD_HTTP_OK,
                       json_pack("{s:s, s:s}", "job_id", r->job, "message", "Job and files removed successfully"));
}

typedef struct job_list {
    bs_http *http;
    json_t *jobs;
} job_list;

static int add_job(void *opaque, const bs_job *job)
{
    job_list *list = opaque;
    return json_array_append_new(list->jobs, bs_status_json(list->http, job));
}

void bs_handle_jobs(bs_request *r)
{
    int64_t limit = JOBS_LISTED, offset = 0, total = 0;
    unsigned states = 0;
    bs_error err = {0};
    bs_store_totals totals;
    if (!bs_request_query_int(r, "limit", 1, JOBS_LISTED_MAX, &limit) ||
        !bs_request_query_int(r, "offset", 0, INT64_C(1) << 52, &offset))
        return;
    const char *wanted = bs_request_query(r, "status");
    for (int s = 0; s < BS_JOB_STATES && wanted; s++)
        if (!strcmp(wanted, bs_job_state_name(s)))
            states = 1u << s;
    if (wanted && !states) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT,
                        "'status' takes pending, processing, completed, failed or cancelled");
        return;
    }
    job_list list = {r->http, json_array()};
    bs_status status = bs_store_totals_get(r->http->store, &totals, &err);
    if (!status)
        status = bs_store_list(r->http->store, states, offset, limit, add_job, &list, &err);
    if (status) {
        json_decref(list.jobs);
        bs_answer_failure(r, status, &err);
        return;
    }
    for (int s = 0; s < BS_JOB_STATES; s++)
        total += !states || states & 1u << s ? totals.jobs[s] : 0;
    bs_answer_json(r, MHD_HTTP_OK, json_pack("{s:I, s:o}", "total", (json_int_t)total, "jobs", list.jobs));
}
