/* Lanes: a few threads for what may wait, first come, first served (see internal.h). */
#include <stdlib.h>

#include "service/http/internal.h"

enum { MAX_THREADS = 4 };

struct bs_lane {
    pthread_mutex_t lock;
    pthread_cond_t work;
    bs_request *first, *last;
    bool ending;
    pthread_t thread[MAX_THREADS];
    int threads;
};

static void *lane_thread(void *opaque)
{
    bs_lane *lane = opaque;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        bs_request *r = lane->first;
        if (!r && lane->ending)
            break;
        if (!r) {
            pthread_cond_wait(&lane->work, &lane->lock);
            continue;
        }
        lane->first = r->next;
        if (!lane->first)
            lane->last = NULL;
        pthread_mutex_unlock(&lane->lock);
        r->work(r);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

bs_status bs_lane_start(bs_lane **out, int threads, bs_error *err)
{
    bs_lane *lane = calloc(1, sizeof(*lane));
    if (!lane)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the server's threads");
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, NULL);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    for (; lane->threads < threads && lane->threads < MAX_THREADS; lane->threads++)
        if (pthread_create(&lane->thread[lane->threads], &attr, lane_thread, lane))
            break;
    pthread_attr_destroy(&attr);
    if (lane->threads < threads) {
        bs_lane_close(&lane);
        return bs_fail(err, BS_ERR_NOMEM, "the server's threads cannot be started");
    }
    *out = lane;
    return BS_OK;
}

void bs_lane_end(bs_lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->ending = true;
    pthread_cond_broadcast(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    while (lane->threads)
        pthread_join(lane->thread[--lane->threads], NULL);
}

void bs_lane_close(bs_lane **out)
{
    bs_lane *lane = *out;
    if (!lane)
        return;
    bs_lane_end(lane);
    pthread_cond_destroy(&lane->work);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
    *out = NULL;
}

bool bs_lane_put(bs_lane *lane, bs_request *r, void (*work)(bs_request *))
{
    r->work = work;
    r->next = NULL;
    pthread_mutex_lock(&lane->lock);
    bool taken = !lane->ending;
    if (!taken)
        goto out;
    if (lane->last)
        lane->last->next = r;
    else
        lane->first = r;
    lane->last = r;
    pthread_cond_signal(&lane->work);
out:
    pthread_mutex_unlock(&lane->lock);
    return taken;
}
