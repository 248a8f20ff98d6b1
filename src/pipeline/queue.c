/* The bounded hand-off between two stages (see queue.h). */
#include "pipeline/queue.h"

void bs_queue_init(bs_queue *queue, int capacity, void (*drop)(void *item))
{
    *queue = (bs_queue){.capacity = capacity < BS_QUEUE_MAX ? capacity : BS_QUEUE_MAX, .drop = drop};
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
}

void bs_queue_release(bs_queue *queue)
{
    for (; queue->count > 0; queue->count--) {
        queue->drop(queue->item[queue->first]);
        queue->first = (queue->first + 1) % BS_QUEUE_MAX;
    }
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
}

bool bs_queue_push(bs_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->count >= (queue->capacity ? queue->capacity : 1) && !queue->stopped)
        pthread_cond_wait(&queue->changed, &queue->lock);
    bool taken = !queue->stopped;
    if (taken) {
        queue->item[(queue->first + queue->count++) % BS_QUEUE_MAX] = item;
        pthread_cond_broadcast(&queue->changed);
        while (queue->capacity == 0 && queue->count > 0 && !queue->stopped)
            pthread_cond_wait(&queue->changed, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    if (!taken)
        queue->drop(item);
    return taken;
}

void *bs_queue_pop(bs_queue *queue)
{
    void *item = NULL;
    pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->closed && !queue->stopped)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->count > 0 && !queue->stopped) {
        item = queue->item[queue->first];
        queue->first = (queue->first + 1) % BS_QUEUE_MAX;
        queue->count--;
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

static void end(bs_queue *queue, bool *flag)
{
    pthread_mutex_lock(&queue->lock);
    *flag = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void bs_queue_close(bs_queue *queue)
{
    end(queue, &queue->closed);
}

void bs_queue_stop(bs_queue *queue)
{
    end(queue, &queue->stopped);
}
