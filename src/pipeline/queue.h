/* A bounded hand-off between two stages: the writer waits while it is full, the reader while it is empty.
 *
 * Owner: what is in the queue belongs to it; bs_queue_release hands what nobody took to the `drop` that it was made
 * with. Threads: one or more writers and readers; closing and stopping from any thread. */
#ifndef BS_PIPELINE_QUEUE_H
#define BS_PIPELINE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

enum { BS_QUEUE_MAX = 32 };

typedef struct bs_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int capacity, first, count;
    bool closed;  /* nothing more comes: what is there may still be taken */
    bool stopped; /* the job is over: nobody waits any more */
    void (*drop)(void *item);
    void *item[BS_QUEUE_MAX];
} bs_queue;

/* capacity: 0 to BS_QUEUE_MAX; 0: the writer goes on when its item has been taken. */
void bs_queue_init(bs_queue *queue, int capacity, void (*drop)(void *item));
void bs_queue_release(bs_queue *queue);

/* Hands `item` over; false (and the item is dropped) where the queue was stopped. */
bool bs_queue_push(bs_queue *queue, void *item);
/* The oldest item, or NULL where the queue was closed and is empty, or stopped. */
void *bs_queue_pop(bs_queue *queue);

void bs_queue_close(bs_queue *queue);
void bs_queue_stop(bs_queue *queue);

#endif
