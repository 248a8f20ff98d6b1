/* Server-sent events: a job's status whenever it changes, until the job ends (see internal.h).
 *
 * A stream is a suspended connection. The keeper thread looks what is new for each, leaves the text with it and
 * resumes it; an event thread then sends the text and suspends it again. A heartbeat keeps proxies from closing it
 * and shows whether the client is still there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/http/internal.h"

enum { HEARTBEAT_SECONDS = 10 };

typedef struct stream {
    struct stream *previous, *next;
    bs_events *events;
    struct MHD_Connection *connection;
    char id[BS_JOB_ID_LENGTH + 1];
    char *last; /* status text that was sent */
    char *text; /* to be sent */
    size_t size, sent;
    bool suspended, over;
    time_t spoke;
} stream;

struct bs_events {
    bs_http *http;
    pthread_mutex_t lock;
    stream *first;
    int count;
    bool ending;
};

bs_status bs_events_open(bs_events **out, bs_http *http, bs_error *err)
{
    bs_events *events = calloc(1, sizeof(*events));
    if (!events)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for event streams");
    pthread_mutex_init(&events->lock, NULL);
    events->http = http;
    *out = events;
    return BS_OK;
}

void bs_events_close(bs_events **out)
{
    bs_events *events = *out;
    if (!events)
        return;
    pthread_mutex_destroy(&events->lock);
    free(events);
    *out = NULL;
}

int bs_events_count(bs_events *events)
{
    pthread_mutex_lock(&events->lock);
    int count = events->count;
    pthread_mutex_unlock(&events->lock);
    return count;
}

/* -- in the event threads --------------------------------------------------------------------------------- */

static ssize_t read_stream(void *opaque, uint64_t position, char *buffer, size_t max)
{
    stream *s = opaque;
    ssize_t given;
    pthread_mutex_lock(&s->events->lock);
    size_t left = s->size - s->sent;
    if (left) {
        given = (ssize_t)(left < max ? left : max);
        memcpy(buffer, s->text + s->sent, (size_t)given);
        s->sent += (size_t)given;
    } else if (s->over || s->events->ending) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        MHD_suspend_connection(s->connection);
        s->suspended = true;
        given = 0;
    }
    pthread_mutex_unlock(&s->events->lock);
    return given;
}

static void end_stream(void *opaque)
{
    stream *s = opaque;
    bs_events *events = s->events;
    pthread_mutex_lock(&events->lock);
    *(s->previous ? &s->previous->next : &events->first) = s->next;
    if (s->next)
        s->next->previous = s->previous;
    events->count--;
    pthread_mutex_unlock(&events->lock);
    free(s->last);
    free(s->text);
    free(s);
}

/* -- in the keeper's thread, and in the lane for the first event ------------------------------------------ */

/* Appends to what is to be sent; false where there is no memory. */
static bool say(stream *s, const char *text)
{
    size_t left = s->size - s->sent, length = strlen(text);
    char *joined = malloc(left + length);
    if (!joined)
        return false;
    if (left)
        memcpy(joined, s->text + s->sent, left);
    memcpy(joined + left, text, length);
    free(s->text);
    s->text = joined;
    s->size = left + length;
    s->sent = 0;
    s->spoke = bs_http_seconds();
    return true;
}

/* What is new for one stream; `text` is taken. With the lock held. */
static void tell(stream *s, char *text, bool final)
{
    char *event = NULL;
    if (s->last && !strcmp(s->last, text)) {
        free(text);
        return;
    }
    if (asprintf(&event, "event: status\ndata: %s\n\n", text) < 0)
        event = NULL;
    if (event && say(s, event)) {
        free(s->last);
        s->last = text;
        text = NULL;
        s->over = final;
    }
    free(event);
    free(text);
}

static void wake(stream *s)
{
    if (!s->suspended)
        return;
    s->suspended = false;
    MHD_resume_connection(s->connection);
}

/* The ids of all streams, each once: they are looked up without the lock. */
static int ids_of(bs_events *events, char (*ids)[BS_JOB_ID_LENGTH + 1], int max)
{
    int count = 0;
    pthread_mutex_lock(&events->lock);
    for (stream *s = events->first; s; s = s->next) {
        bool known = false;
        for (int i = 0; i < count && !known; i++)
            known = !strcmp(ids[i], s->id);
        if (!known && count < max)
            strcpy(ids[count++], s->id);
    }
    pthread_mutex_unlock(&events->lock);
    return count;
}

/* Tells every stream of one job. `text` NULL: the job is gone. */
static void tell_all(bs_events *events, const char *id, const char *text, bool final)
{
    pthread_mutex_lock(&events->lock);
    for (stream *s = events->first; s; s = s->next) {
        if (strcmp(s->id, id))
            continue;
        char *copy = text ? strdup(text) : NULL;
        if (copy)
            tell(s, copy, final);
        else if (!text && !s->over)
            s->over = say(s, "event: removed\ndata: {\"detail\":\"Job not found\"}\n\n");
        if (s->size > s->sent || s->over)
            wake(s);
    }
    pthread_mutex_unlock(&events->lock);
}

static void beat(bs_events *events)
{
    time_t now = bs_http_seconds();
    pthread_mutex_lock(&events->lock);
    for (stream *s = events->first; s; s = s->next)
        if (now - s->spoke >= HEARTBEAT_SECONDS && s->size == s->sent && say(s, ": still here\n\n"))
            wake(s);
    pthread_mutex_unlock(&events->lock);
}

void bs_events_pump(bs_events *events)
{
    static char ids[BS_HTTP_STREAMS][BS_JOB_ID_LENGTH + 1]; /* the keeper is one thread */
    int count = ids_of(events, ids, BS_HTTP_STREAMS);
    for (int i = 0; i < count; i++) {
        char *text = NULL;
        bool final = false;
        bs_status status = bs_status_text(events->http, ids[i], &text, &final, NULL);
        if (status == BS_OK || status == BS_EOF)
            tell_all(events, ids[i], text, final);
        free(text);
    }
    if (count)
        beat(events);
}

void bs_events_end(bs_events *events)
{
    if (!events)
        return;
    pthread_mutex_lock(&events->lock);
    events->ending = true;
    for (stream *s = events->first; s; s = s->next)
        wake(s);
    pthread_mutex_unlock(&events->lock);
}

static int most_streams(const bs_events *events)
{
    int half = bs_sockets_limit(events->http->sockets) / 2;
    return half < BS_HTTP_STREAMS ? half : BS_HTTP_STREAMS;
}

/* Makes a stream with its first event; false where there are too many. */
static bool add_stream(bs_events *events, stream *s, char *text, bool final)
{
    pthread_mutex_lock(&events->lock);
    bool fits = events->count < most_streams(events) && !events->ending;
    if (fits) {
        tell(s, text, final);
        s->next = events->first;
        if (s->next)
            s->next->previous = s;
        events->first = s;
        events->count++;
    }
    pthread_mutex_unlock(&events->lock);
    return fits;
}

/* Runs in a lane. */
void bs_handle_events(bs_request *r)
{
    bs_events *events = r->http->events;
    char *text;
    bool final;
    bs_error err = {0};
    if (!bs_request_job(r))
        return;
    bs_status status = bs_status_text(r->http, r->job, &text, &final, &err);
    if (status == BS_EOF) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Job not found");
        return;
    }
    if (status) {
        bs_answer_failure(r, status, &err);
        return;
    }
    stream *s = calloc(1, sizeof(*s));
    if (!s || r->head) {
        free(text);
        free(s);
        if (r->head)
            bs_answer_bytes(r, MHD_HTTP_OK, "text/event-stream", "", 0, false);
        return;
    }
    s->events = events;
    s->connection = r->connection;
    strcpy(s->id, r->job);
    if (!add_stream(events, s, text, final)) {
        free(text);
        free(s);
        bs_answer_error(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                        "Server at capacity: %d event streams are open; poll "
                        "/api/status instead",
                        most_streams(events));
        bs_answer_header(r, "Retry-After", "10");
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, s,
                                                                      end_stream);
    if (!response) {
        end_stream(s);
        return;
    }
    bs_answer_response(r, MHD_HTTP_OK, response);
    bs_answer_header(r, "Content-Type", "text/event-stream");
    bs_answer_header(r, "Cache-Control", "no-store");
    bs_answer_header(r, "X-Accel-Buffering", "no");
}
