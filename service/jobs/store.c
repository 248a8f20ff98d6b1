/* Chooses the back end and passes the calls on (see store.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "service/jobs/store.h"

struct bs_store {
    const bs_store_ops *ops;
    void *state;
    char described[512];
};

static const bs_store_ops *const backends[] = {&bs_store_sqlite};

/* Finds the back end by the scheme of `url`; `location` is what follows it. */
static const bs_store_ops *find_backend(const char *url, const char **location)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(*backends); i++) {
        size_t length = strlen(backends[i]->scheme);
        if (!strncmp(url, backends[i]->scheme, length) && url[length] == ':') {
            *location = url + length + 1;
            return backends[i];
        }
    }
    return NULL;
}

bs_status bs_store_open(bs_store **out, const bs_settings *settings, bs_error *err)
{
    char embedded[4096];
    const char *url = settings->database_url, *location;
    if (!url) {
        if (mkdir(settings->data_dir, 0700) && errno != EEXIST)
            return bs_fail(err, BS_ERR_IO, "DATA_DIR '%s' cannot be made: %s", settings->data_dir, strerror(errno));
        if ((size_t)snprintf(embedded, sizeof(embedded), "sqlite:%s/jobs.db", settings->data_dir) >= sizeof(embedded))
            return bs_fail(err, BS_ERR_USAGE, "DATA_DIR is too long: %zu bytes", strlen(settings->data_dir));
        url = embedded;
    }
    const bs_store_ops *ops = find_backend(url, &location);
    if (!ops)
        return bs_fail(err, BS_ERR_USAGE,
                       "DATABASE_URL '%.*s…' is of no kind that this build has; it takes sqlite:PATH",
                       (int)strcspn(url, ":"), url); /* no more of it: it may hold a password */
    if (settings->queue_url)
        return bs_fail(
            err, BS_ERR_USAGE,
            "QUEUE_URL '%.*s…' is of no kind that this build has; the queue is in the database, leave it out",
            (int)strcspn(settings->queue_url, ":"), settings->queue_url);

    bs_store *store = calloc(1, sizeof(*store));
    if (!store)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the job store");
    store->ops = ops;
    snprintf(store->described, sizeof(store->described), "%s, %s", ops->scheme, location);
    bs_status rc = ops->open(&store->state, location, err);
    if (rc == BS_OK)
        *out = store;
    else
        free(store);
    return rc;
}

void bs_store_close(bs_store **store)
{
    if (!store || !*store)
        return;
    (*store)->ops->close((*store)->state);
    free(*store);
    *store = NULL;
}

const char *bs_store_describe(const bs_store *store)
{
    return store->described;
}

bs_status bs_store_check(bs_store *store, bs_error *err)
{
    return store->ops->check(store->state, err);
}

bs_status bs_store_add(bs_store *store, const bs_job *job, const char *idempotency_key, int64_t max_pending,
                       bs_store_added *added, bs_job *out, bs_error *err)
{
    return store->ops->add(store->state, job, idempotency_key, max_pending, added, out, err);
}

bs_status bs_store_find(bs_store *store, const char *idempotency_key, bs_job *out, bs_error *err)
{
    return store->ops->find(store->state, idempotency_key, out, err);
}

bs_status bs_store_get(bs_store *store, const char *id, bs_job *out, bs_error *err)
{
    return store->ops->get(store->state, id, out, err);
}

bs_status bs_store_list(bs_store *store, unsigned states, int64_t offset, int64_t limit, bs_store_each each,
                        void *opaque, bs_error *err)
{
    return store->ops->list(store->state, states, offset, limit, each, opaque, err);
}

bs_status bs_store_totals_get(bs_store *store, bs_store_totals *out, bs_error *err)
{
    return store->ops->totals(store->state, out, err);
}

bs_status bs_store_next(bs_store *store, bs_job *out, bs_error *err)
{
    return store->ops->next(store->state, out, err);
}

bs_status bs_store_claim(bs_store *store, const char *id, const char *worker, int64_t lease_us, bs_job *out,
                         bs_error *err)
{
    return store->ops->claim(store->state, id, worker, lease_us, out, err);
}

bs_status bs_store_heartbeat(bs_store *store, const bs_job *job, int64_t lease_us, bool *cancel, bs_error *err)
{
    return store->ops->heartbeat(store->state, job, lease_us, cancel, err);
}

bs_status bs_store_finish(bs_store *store, const bs_job *job, bs_job_state state, bs_error *err)
{
    return store->ops->finish(store->state, job, state, err);
}

bs_status bs_store_requeue(bs_store *store, const char *id, const char *worker, bs_store_cause cause, int64_t most,
                           const char *reason, bs_job_state *state, bs_error *err)
{
    return store->ops->requeue(store->state, id, worker, cause, most, reason, state, err);
}

bs_status bs_store_reclaim(bs_store *store, bs_store_lost lost, void *opaque, int64_t *count, bs_error *err)
{
    return store->ops->reclaim(store->state, lost, opaque, count, err);
}

bs_status bs_store_cancel(bs_store *store, const char *id, bs_job *out, bs_error *err)
{
    return store->ops->cancel(store->state, id, out, err);
}

bs_status bs_store_refuse(bs_store *store, const char *id, const char *reason, bs_error *err)
{
    return store->ops->refuse(store->state, id, reason, err);
}

bs_status bs_store_remove(bs_store *store, const char *id, bs_error *err)
{
    return store->ops->remove(store->state, id, err);
}

bs_status bs_store_keep(bs_store *store, const char *id, bool kept, bs_error *err)
{
    return store->ops->keep(store->state, id, kept, err);
}
