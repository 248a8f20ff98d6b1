/* The public gallery: finished jobs that the administrator has approved, in an order of his (see internal.h).
 *
 * It is one small file in DATA_DIR, gallery.json, replaced as a whole by rename; the jobs in it are kept by the store
 * for as long as they are. A job that is removed all the same drops out of what is told at once, and out of the file
 * with its next change. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/http/internal.h"

enum { ENTRIES_MAX = 200, TITLE_MAX = 100 };

struct bs_gallery {
    pthread_mutex_t lock;
    char path[PATH_MAX];
    json_t *entries; /* [{"job_id", "title", "approved_at"}] */
};

bs_status bs_gallery_open(bs_gallery **out, const char *data_dir, bs_error *err)
{
    bs_status status = BS_OK;
    bs_gallery *g = calloc(1, sizeof(*g));
    if (!g)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the gallery");
    pthread_mutex_init(&g->lock, NULL);
    if (snprintf(g->path, sizeof(g->path), "%s/gallery.json", data_dir) >= (int)sizeof(g->path)) {
        status = bs_fail(err, BS_ERR_USAGE, "DATA_DIR is longer than a path may be");
    } else if (access(g->path, F_OK)) {
        g->entries = json_array();
    } else {
        json_error_t error;
        g->entries = json_load_file(g->path, 0, &error);
        if (!json_is_array(g->entries))
            status = bs_fail(err, BS_ERR_IO, "'%s' is no gallery: %s", g->path, error.text);
    }
    if (!status && !g->entries)
        status = bs_fail(err, BS_ERR_NOMEM, "no memory for the gallery");
    if (status)
        bs_gallery_close(&g);
    else
        *out = g;
    return status;
}

void bs_gallery_close(bs_gallery **out)
{
    bs_gallery *g = *out;
    if (!g)
        return;
    json_decref(g->entries);
    pthread_mutex_destroy(&g->lock);
    free(g);
    *out = NULL;
}

/* The index of a job, -1 where it is not there; with the lock held. */
static int find(const json_t *entries, const char *id)
{
    size_t i;
    json_t *e;
    json_array_foreach(entries, i, e)
    {
        const char *other = json_string_value(json_object_get(e, "job_id"));
        if (other && !strcmp(other, id))
            return (int)i;
    }
    return -1;
}

bool bs_gallery_has(bs_gallery *g, const char *id)
{
    pthread_mutex_lock(&g->lock);
    bool has = find(g->entries, id) >= 0;
    pthread_mutex_unlock(&g->lock);
    return has;
}

/* Puts `entries` (taken) in place of what was, on disk first; with the lock held. */
static bs_status replace(bs_gallery *g, json_t *entries, bs_error *err)
{
    char part[PATH_MAX + 8];
    bs_status status = BS_OK;
    snprintf(part, sizeof(part), "%s.part", g->path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!entries || fd < 0 || json_dumpfd(entries, fd, JSON_INDENT(1)) || fsync(fd) || rename(part, g->path)) {
        status = bs_fail(err, BS_ERR_IO, "the gallery cannot be kept: %s", strerror(errno));
        unlink(part);
        json_decref(entries);
    } else {
        json_decref(g->entries);
        g->entries = entries;
    }
    if (fd >= 0)
        close(fd);
    return status;
}

/* The entries whose jobs are there still; with the lock held. */
static json_t *living(bs_request *r)
{
    json_t *entries = json_array(), *e;
    size_t i;
    json_array_foreach(r->http->gallery->entries, i, e)
    {
        bs_job job;
        const char *id = json_string_value(json_object_get(e, "job_id"));
        if (id && bs_store_get(r->http->store, id, &job, NULL) != BS_EOF)
            json_array_append(entries, e);
    }
    return entries;
}

/* -- handlers --------------------------------------------------------------------------------------------- */

/* The body, whose members may be these two (`other` may be NULL); NULL: answered. */
static json_t *take_body(bs_request *r, const char *one, const char *other)
{
    const char *name;
    json_t *body = bs_request_json(r), *value;
    bool known = true;
    json_object_foreach(body, name, value) known = known && (!strcmp(name, one) || (other && !strcmp(name, other)));
    if (known)
        return body;
    bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "The body takes '%s'%s%s%s and nothing else", one,
                    other ? " and '" : "", other ? other : "", other ? "'" : "");
    json_decref(body);
    return NULL;
}

/* The id in the body; NULL: answered. */
static const char *id_in(bs_request *r, json_t *body)
{
    const char *id = json_string_value(json_object_get(body, "job_id"));
    if (id && bs_job_id_valid(id))
        return id;
    bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "'job_id' takes the id of a job: 32 hexadecimal digits");
    return NULL;
}

static void answer_entries(bs_request *r, const char *message)
{
    bs_gallery *g = r->http->gallery;
    pthread_mutex_lock(&g->lock);
    json_int_t total = (json_int_t)json_array_size(g->entries);
    pthread_mutex_unlock(&g->lock);
    bs_answer_json(r, MHD_HTTP_OK, json_pack("{s:s, s:I}", "message", message, "total", total));
}

void bs_handle_gallery(bs_request *r)
{
    bs_gallery *g = r->http->gallery;
    pthread_mutex_lock(&g->lock);
    json_t *entries = json_deep_copy(g->entries), *items = json_array();
    pthread_mutex_unlock(&g->lock);
    size_t i;
    json_t *e;
    json_array_foreach(entries, i, e)
    {
        bs_job job;
        const char *id = json_string_value(json_object_get(e, "job_id"));
        if (!id || bs_worker_job(r->http->worker, id, &job, NULL) || job.state != BS_JOB_COMPLETED)
            continue;
        json_t *status = bs_status_json(r->http, &job), *item = json_copy(e);
        json_object_set(item, "urls", json_object_get(status, "urls"));
        json_object_set(item, "statistics", json_object_get(status, "statistics"));
        json_decref(status);
        json_array_append_new(items, item);
    }
    json_decref(entries);
    bs_answer_json(r, MHD_HTTP_OK,
                   json_pack("{s:I, s:o}", "total", (json_int_t)json_array_size(items), "items", items));
}

/* Whether this job can be shown: completed; else answered. */
static bool can_be_shown(bs_request *r, const char *id)
{
    bs_job job;
    bs_error err = {0};
    bs_status status = bs_worker_job(r->http->worker, id, &job, &err);
    if (status == BS_EOF)
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    else if (job.state != BS_JOB_COMPLETED)
        bs_answer_error(r, MHD_HTTP_BAD_REQUEST, "Job not completed. Current status: %s", bs_job_state_name(job.state));
    return !r->response;
}

/* A text of so many characters, or null. */
static bool is_title(const json_t *title)
{
    int characters = 0;
    for (const char *c = json_string_value(title); c && *c; c++)
        characters += (*c & 0xc0) != 0x80;
    return json_is_null(title) || (json_is_string(title) && characters <= TITLE_MAX);
}

void bs_handle_gallery_approve(bs_request *r)
{
    bs_gallery *g = r->http->gallery;
    bs_error err = {0};
    bs_status status = BS_OK;
    json_t *body = take_body(r, "job_id", "title"), *title = json_object_get(body, "title");
    const char *id = body ? id_in(r, body) : NULL;
    if (!id)
        goto out;
    if (title && !is_title(title)) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "'title' takes a text of at most %d characters", TITLE_MAX);
        goto out;
    }
    if (!can_be_shown(r, id))
        goto out;
    pthread_mutex_lock(&g->lock);
    json_t *entries = living(r);
    int at = find(entries, id);
    if (at < 0 && json_array_size(entries) >= ENTRIES_MAX) {
        bs_answer_error(r, MHD_HTTP_CONFLICT, "The gallery is full: %d entries", ENTRIES_MAX);
    } else if (!(status = bs_store_keep(r->http->store, id, true, &err))) {
        if (at >= 0)
            json_array_remove(entries, (size_t)at);
        json_array_append_new(entries,
                              json_pack("{s:s, s:O?, s:o}", "job_id", id, "title", json_is_string(title) ? title : NULL,
                                        "approved_at", bs_json_time(bs_job_now())));
        status = replace(g, json_incref(entries), &err);
        if (status && at < 0)
            bs_store_keep(r->http->store, id, false, NULL); /* nor is it kept for nothing */
    }
    json_decref(entries);
    pthread_mutex_unlock(&g->lock);
    if (status == BS_EOF) /* it has just been removed */
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
    else if (status)
        bs_answer_failure(r, status, &err);
    else if (!r->response)
        answer_entries(r, "Added to the gallery");
out:
    json_decref(body);
}

void bs_handle_gallery_remove(bs_request *r)
{
    bs_gallery *g = r->http->gallery;
    bs_error err = {0};
    bs_status status = BS_OK;
    json_t *body = take_body(r, "job_id", NULL);
    const char *id = body ? id_in(r, body) : NULL;
    if (!id)
        goto out;
    pthread_mutex_lock(&g->lock);
    json_t *entries = living(r);
    int at = find(entries, id);
    if (at < 0) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "This job is not in the gallery");
    } else {
        json_array_remove(entries, (size_t)at);
        if (!(status = replace(g, json_incref(entries), &err)) &&
            (status = bs_store_keep(r->http->store, id, false, &err)) == BS_EOF)
            status = BS_OK; /* the job itself is gone already */
    }
    json_decref(entries);
    pthread_mutex_unlock(&g->lock);
    if (status)
        bs_answer_failure(r, status, &err);
    else if (!r->response)
        answer_entries(r, "Removed from the gallery");
out:
    json_decref(body);
}

/* The entries in the order of `ids`; NULL where those are not exactly the jobs of the gallery, each once. */
static json_t *in_order(const json_t *entries, const json_t *ids)
{
    size_t i;
    json_t *id, *ordered = json_array();
    bool same = json_is_array(ids) && json_array_size(ids) == json_array_size(entries);
    if (same)
        json_array_foreach(ids, i, id)
        {
            const char *text = json_string_value(id);
            int at = text ? find(entries, text) : -1;
            same = same && at >= 0 && find(ordered, text) < 0;
            if (same)
                json_array_append(ordered, json_array_get(entries, (size_t)at));
        }
    if (!same) {
        json_decref(ordered);
        ordered = NULL;
    }
    return ordered;
}

void bs_handle_gallery_reorder(bs_request *r)
{
    bs_gallery *g = r->http->gallery;
    bs_error err = {0};
    bs_status status = BS_OK;
    json_t *body = take_body(r, "job_ids", NULL), *ids = json_object_get(body, "job_ids"), *id;
    if (!body)
        return;
    size_t i;
    bool proper = json_is_array(ids);
    if (proper)
        json_array_foreach(ids, i, id) proper = proper && json_is_string(id) && bs_job_id_valid(json_string_value(id));
    if (!proper) {
        bs_answer_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, "'job_ids' takes a list of job ids");
        json_decref(body);
        return;
    }
    pthread_mutex_lock(&g->lock);
    json_t *entries = living(r), *ordered = in_order(entries, ids);
    if (ordered)
        status = replace(g, ordered, &err);
    json_decref(entries);
    pthread_mutex_unlock(&g->lock);
    if (!ordered)
        bs_answer_error(r, MHD_HTTP_CONFLICT, "'job_ids' is to name every job in the gallery, each once");
    else if (status)
        bs_answer_failure(r, status, &err);
    else
        answer_entries(r, "Reordered");
    json_decref(body);
}
