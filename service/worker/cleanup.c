/* cleanup: removes what is over: expired jobs, files without a job, inputs that nobody needs any more; and takes up the
 * jobs of workers that were killed. Clean-up happens on every change of state (outcome.c); this is the safety net. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/worker/internal.h"

enum { ABANDONED_UPLOAD_SECONDS = 60 }; /* as long as a connection may be silent (http/server.c) */

/* -- jobs of the dead ------------------------------------------------------------------------------------ */

/* There is one worker at a time on a store that lies in files (owner.h): any other is one of before. Of its own jobs it
 * knows itself which ones run. Their leases may be over all the same: the machine slept, its clock was set, the disk
 * stood still. One that does not run was claimed in vain: the store took the change, and failed to say so. */
static bool is_lost(void *opaque, const char *id, const char *owner, bool over)
{
    bs_worker *worker = opaque;
    return strcmp(owner, worker->id) != 0 || !bs_slot_of_job(worker, id);
}

void bs_cleanup_reclaim(bs_worker *worker)
{
    bs_error err = {0};
    int64_t count = 0;
    if (bs_store_reclaim(worker->store, is_lost, worker, &count, &err) != BS_OK)
        bs_log(BS_LOG_ERROR, "cleanup", "jobs of workers that are gone cannot be taken up: %s", err.text);
    else if (count > 0)
        bs_log(BS_LOG_WARNING, "cleanup", "%" PRId64 " jobs of workers that are gone were taken up again", count);
}

/* -- lists of ids --------------------------------------------------------------------------------------- */

typedef struct id_list {
    char (*id)[BS_JOB_ID_LENGTH + 1];
    size_t count;
    int64_t before_us, after_us; /* jobs that ended between these are left out */
} id_list;

static int add_id(id_list *list, const char *id)
{
    void *more = realloc(list->id, (list->count + 1) * sizeof(*list->id));
    if (!more)
        return 1; /* the next sweep takes the rest */
    list->id = more;
    snprintf(list->id[list->count++], sizeof(*list->id), "%s", id);
    return 0;
}

static int add_expired(void *opaque, const bs_job *job)
{
    id_list *list = opaque;
    bool expired = job->completed_us < list->before_us || job->completed_us > list->after_us;
    return expired && !job->kept ? add_id(list, job->id) : 0;
}

static int add_folder(void *opaque, const char *id)
{
    return add_id(opaque, id);
}

/* -- expired jobs --------------------------------------------------------------------------------------- */

bs_status bs_remove_expired(bs_store *store, bs_artifacts *artifacts, int64_t age, int64_t *removed, bs_error *err)
{
    const unsigned final = 1u << BS_JOB_COMPLETED | 1u << BS_JOB_FAILED | 1u << BS_JOB_CANCELLED;
    /* One from further ahead than its age ended before the clock was set back: it would stay for as long as that. */
    int64_t now = bs_job_now();
    id_list list = {.before_us = now - age * 1000000, .after_us = now + age * 1000000};
    bs_status status = bs_store_list(store, final, 0, 0, add_expired, &list, err);
    *removed = 0;
    for (size_t i = 0; i < list.count; i++) {
        bs_job job;
        if (bs_store_get(store, list.id[i], &job, NULL) == BS_OK && job.kept)
            continue; /* since the list was made */
        /* Files first: a job whose record is gone has none. One that cannot be removed keeps no other from going. */
        bs_status one = bs_artifacts_remove(artifacts, list.id[i], err);
        if (one == BS_OK)
            one = bs_store_remove(store, list.id[i], err);
        if (one < 0)
            status = one;
        else
            ++*removed;
    }
    free(list.id);
    return status;
}

void bs_cleanup_expired(bs_worker *worker, int64_t age)
{
    bs_error err = {0};
    int64_t removed;
    if (bs_remove_expired(worker->store, worker->artifacts, age, &removed, &err) < 0)
        bs_log(BS_LOG_ERROR, "cleanup", "a job that has expired cannot be removed: %s", err.text);
    if (removed > 0)
        bs_log(BS_LOG_INFO, "cleanup", "%" PRId64 " jobs that ended more than %" PRId64 " s ago were removed", removed,
               age);
}

/* -- files without need --------------------------------------------------------------------------------- */

static void sweep_folder(bs_worker *worker, const char *id)
{
    bs_job job;
    bool arriving, input = bs_artifacts_has_input(worker->artifacts, id, &arriving);
    if (arriving)
        return; /* asked first: it is let go of when it is a job, and never comes back */
    bs_status status = bs_store_get(worker->store, id, &job, NULL);
    if (status == BS_EOF) {
        status = input ? bs_artifacts_remove(worker->artifacts, id, NULL)
                       : bs_artifacts_remove_but_input(worker->artifacts, id, NULL);
        if (status == BS_OK)
            bs_log(BS_LOG_INFO, "cleanup", "files of %s, which is no job, were removed", id);
    } else if (status == BS_OK && (job.state == BS_JOB_FAILED || job.state == BS_JOB_CANCELLED)) {
        bs_artifacts_remove(worker->artifacts, id, NULL);
    } else if (status == BS_OK && job.state == BS_JOB_COMPLETED) {
        bs_artifacts_remove_input(worker->artifacts, id);
        bs_artifacts_abandon(worker->artifacts, id, NULL);
    }
}

void bs_cleanup_sweep(bs_worker *worker)
{
    id_list folders = {0};
    bs_error err = {0};
    if (bs_artifacts_jobs(worker->artifacts, add_folder, &folders, &err) != BS_OK)
        bs_log(BS_LOG_ERROR, "cleanup", "%s", err.text);
    for (size_t i = 0; i < folders.count; i++)
        sweep_folder(worker, folders.id[i]);
    free(folders.id);
    int uploads = bs_artifacts_sweep_incoming(worker->artifacts, ABANDONED_UPLOAD_SECONDS);
    if (uploads > 0)
        bs_log(BS_LOG_INFO, "cleanup", "%d abandoned uploads were removed", uploads);
    bs_cleanup_expired(worker, worker->settings->job_max_age_seconds);
}
