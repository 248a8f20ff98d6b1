/* http, inside: the server, a request on its way, and what handlers answer with.
 *
 * Threads: a request is one thread's at a time: an event thread's, and while its connection is suspended a lane's.
 * Lanes, sockets, the status cache, event streams and the gallery lock for themselves: any thread. Owner: the server
 * opens and closes each of these; a request owns what it points to, but for what is marked as libmicrohttpd's. */
#ifndef BS_SERVICE_HTTP_INTERNAL_H
#define BS_SERVICE_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>
#include <microhttpd.h>

#include <bodyscript/log.h>
#include <bodyscript/version.h>

#include "service/http/http.h"

typedef struct bs_request bs_request;
typedef struct bs_upload bs_upload;

/* -- lanes: threads for what may wait ----------------------------------------------------------------- */

typedef struct bs_lane bs_lane;

bs_status bs_lane_start(bs_lane **out, int threads, bs_error *err);
/* Runs what waits, then ends the threads; takes nothing more. */
void bs_lane_end(bs_lane *lane);
void bs_lane_close(bs_lane **lane);
/* Has `work` done. False where the lane has ended. No allocation: a request is in at most one lane. */
bool bs_lane_put(bs_lane *lane, bs_request *request, void (*work)(bs_request *));

/* -- connections ---------------------------------------------------------------------------------------- */

typedef enum bs_socket_state {
    BS_SOCKET_WAITING, /* for the next request's first line */
    BS_SOCKET_HEADERS, /* they arrive */
    BS_SOCKET_BODY,    /* it arrives */
    BS_SOCKET_ANSWER,
    BS_SOCKET_STATES
} bs_socket_state;

typedef struct bs_sockets bs_sockets;
typedef struct bs_socket bs_socket;

bs_status bs_sockets_open(bs_sockets **out, int limit, bs_error *err);
void bs_sockets_close(bs_sockets **sockets);
bs_socket *bs_sockets_add(bs_sockets *sockets, int fd);
void bs_sockets_remove(bs_sockets *sockets, bs_socket *socket);
void bs_sockets_move(bs_sockets *sockets, bs_socket *socket, bs_socket_state state);
/* Whether it is our turn: a client that has closed its side meanwhile is not given up. */
void bs_sockets_hold(bs_sockets *sockets, bs_socket *socket, bool held);
/* Bytes of the body that arrived, for the check of slow uploads. */
void bs_sockets_received(bs_socket *socket, uint64_t bytes);
/* The answer goes out before the request's body is read: up to `bytes` of it are taken in and dropped after the
 * answer, so that a client that only reads once it has sent everything gets to see it. */
void bs_sockets_linger(bs_socket *socket, uint64_t bytes);
/* Closes what is too slow, drains what lingers. To be called once a second, and soon again where it returns true. */
bool bs_sockets_sweep(bs_sockets *sockets);
int bs_sockets_count(bs_sockets *sockets);
int bs_sockets_limit(const bs_sockets *sockets);
/* Of them, those that are being answered. */
int bs_sockets_answering(bs_sockets *sockets);

/* Seconds of a clock that only goes forward; cheap, and as exact as such limits need. */
time_t bs_http_seconds(void);

/* -- the server ----------------------------------------------------------------------------------------- */

enum {
    BS_HTTP_EVENT_THREADS = 2,
    BS_HTTP_CONNECTION_MEMORY = 16 * 1024,  /* headers and buffers of one connection */
    BS_HTTP_BODY_MAX = 64 * 1024,           /* of a JSON body */
    BS_HTTP_MULTIPART_OVERHEAD = 64 * 1024, /* what an upload may carry beside the file */
    BS_HTTP_UPLOADS = 256,                  /* that arrive at a time */
    BS_HTTP_STREAMS = 256,                  /* event streams at a time, and no more than half of all connections */
};

typedef struct bs_status_cache bs_status_cache;
typedef struct bs_events bs_events;
typedef struct bs_gallery bs_gallery;

/* Requests answered, by route and class of status (1xx … 5xx). */
typedef struct bs_route_counters {
    atomic_uint_fast64_t by_class[6];
    atomic_uint_fast64_t nanoseconds;
} bs_route_counters;

struct bs_http {
    const bs_settings *settings;
    bs_store *store;
    bs_artifacts *artifacts;
    bs_worker *worker;
    struct MHD_Daemon *daemon;
    int listening; /* until the daemon owns it */
    char address[128];
    char *admin_token;
    bs_sockets *sockets;
    bs_lane *quick, *slow; /* store and results; stopping and removing */
    bs_lane *probing;      /* uploads that wait for what their file is: stopping a job does not wait for them */
    bs_lane *disk;         /* what uploads write: a disk that stalls holds up nobody else */
    bs_status_cache *cache;
    bs_events *events;
    bs_gallery *gallery;
    bs_route_counters *counters;
    pthread_t keeper; /* housekeeping, and event streams */
    bool keeper_runs;
    int wake; /* eventfd: the keeper is to look */
    atomic_bool refusing, stopping;
    atomic_int uploads;
    struct timespec started; /* monotonic */
};

/* -- routes ----------------------------------------------------------------------------------------------- */

typedef enum bs_route_flags {
    BS_ROUTE_QUICK = 1,   /* runs in the quick lane */
    BS_ROUTE_SLOW = 2,    /* runs in the slow lane */
    BS_ROUTE_ADMIN = 4,   /* needs the administrator's token */
    BS_ROUTE_BODY = 8,    /* takes a JSON body */
    BS_ROUTE_UPLOAD = 16, /* its body is a file; runs in the probing lane */
    BS_ROUTE_SILENT = 32, /* polled: logged at debug level only */
} bs_route_flags;

typedef struct bs_route {
    const char *method, *path; /* "/api/serve/{job_id}/{file}" */
    void (*handle)(bs_request *request);
    unsigned flags;
    bool (*at_once)(bs_request *request); /* where set: tries to answer from memory, before the lane; may send */
} bs_route;

extern const bs_route bs_routes[];
extern const int bs_routes_count;

/* The route of a request, its parameters filled in. NULL: answered (404, 405, OPTIONS). */
const bs_route *bs_route_find(bs_request *request);

/* -- a request ------------------------------------------------------------------------------------------ */

struct bs_request {
    bs_http *http;
    struct MHD_Connection *connection;
    bs_socket *socket;
    const bs_route *route;
    const char *method, *url; /* libmicrohttpd's */
    bool seen;                /* its headers are in */
    bool head;                /* HEAD: as GET, without the body */
    bool bad_uri;
    bool in_lane, done;                                             /* handed to a lane; the answer is there */
    bool sent;                                                      /* the connection has it */
    char job[BS_JOB_ID_LENGTH + 1], name[BS_ARTIFACT_NAME_MAX + 1]; /* {job_id} and {file}, valid where not empty */
    uint64_t declared;                                              /* length of the body; UINT64_MAX: not told */
    char *part;                                                     /* of an upload, while it is in the disk lane */
    size_t part_size;
    bool part_done, part_ok; /* the lane is through with it; else the connection is to be closed */
    char *body;
    size_t body_size;
    bs_upload *upload;
    struct timespec began;
    unsigned status;
    struct MHD_Response *response;
    bs_request *next; /* in a lane */
    void (*work)(bs_request *request);
};

/* What libmicrohttpd calls; `opaque` is the bs_http. Event threads. */
void *bs_request_first_line(void *opaque, const char *uri, struct MHD_Connection *connection);
enum MHD_Result bs_request_take(void *opaque, struct MHD_Connection *connection, const char *url, const char *method,
                                const char *version, const char *data, size_t *size, void **context);
void bs_request_over(void *opaque, struct MHD_Connection *connection, void **context,
                     enum MHD_RequestTerminationCode why);

const char *bs_request_header(bs_request *request, const char *name);
const char *bs_request_query(bs_request *request, const char *name);
/* The value of a whole number in the query; false where it is there and is none within the bounds (answered 422). */
bool bs_request_query_int(bs_request *request, const char *name, int64_t min, int64_t max, int64_t *value);
/* The JSON object in the body; NULL: answered 422. */
json_t *bs_request_json(bs_request *request);
/* Whether the job named by the path has the form of an id; else answered 404. */
bool bs_request_job(bs_request *request);

/* -- who may do what --------------------------------------------------------------------------------------- */

/* The administrator's token: given, kept from an earlier start, or made now; into http->admin_token. */
bs_status bs_access_settle(bs_http *http, bs_error *err);
bool bs_request_is_admin(bs_request *request);
bool bs_request_has_api_key(bs_request *request);
/* A page of another site makes its visitor's browser change things here, and CORS_ALLOW_ORIGINS does not name it. */
bool bs_request_is_forged(bs_request *request);

/* How JSON is written: 15 digits are what a double keeps of a decimal number. */
#define BS_JSON_FORM (JSON_COMPACT | JSON_REAL_PRECISION(15))

/* -- answers: each sets the request's one answer ---------------------------------------------------------- */

void bs_answer_json(bs_request *request, unsigned status, json_t *object); /* takes the object */
void bs_answer_error(bs_request *request, unsigned status, const char *format, ...) BS_PRINTF(3, 4);
void bs_answer_failure(bs_request *request, bs_status status, const bs_error *err);
/* `copy`: the bytes are copied; else they are static. */
void bs_answer_bytes(bs_request *request, unsigned status, const char *type, const void *data, size_t size, bool copy);
void bs_answer_response(bs_request *request, unsigned status, struct MHD_Response *response);
void bs_answer_header(bs_request *request, const char *name, const char *value);
/* Sends an answer that is its owner's, at once: only in an event thread, and once. False: it cannot be sent. */
bool bs_request_send(bs_request *request, unsigned status, struct MHD_Response *response);
/* Whether the answer depends on who asks: the request is another site's, and sites may be allowed (CORS). */
bool bs_request_is_foreign(bs_request *request);
/* The site that the request comes from, where CORS_ALLOW_ORIGINS names it; else NULL. libmicrohttpd's. */
const char *bs_request_allowed_origin(bs_request *request);
/* The headers that every answer has, but for those that depend on who asks. */
void bs_answer_common_headers(const bs_http *http, struct MHD_Response *response);
/* Writes an error answer to the socket while the body still arrives, where libmicrohttpd cannot answer. The connection
 * is to be closed next; up to `to_come` bytes of the body are then drained, so that the client gets to read the answer.
 */
void bs_answer_now(bs_request *request, unsigned status, const char *detail, uint64_t to_come);

/* "2026-11-23T20:42:36.123456+00:00"; 0: null. */
json_t *bs_json_time(int64_t microseconds);
/* Bytes as MB of 2^20, to two decimals. */
json_t *bs_json_mb(uint64_t bytes);

/* -- uploads ------------------------------------------------------------------------------------------------ */

/* The headers are in: false where it is refused already (answered). Touches no disk. */
bool bs_upload_begin(bs_request *request);
/* Whether what arrives is still wanted; else it is dropped. */
bool bs_upload_goes_on(const bs_upload *upload);
/* A part of the body, in the disk lane: false where the connection is to be closed (what there was to say has been
 * sent). */
bool bs_upload_data(bs_request *request, const char *data, size_t size);
/* The body is complete: false where it is refused (answered); else the handler is to run. Touches no disk. */
bool bs_upload_end(bs_request *request);
void bs_upload_close(bs_http *http, bs_upload **upload);

/* -- jobs as JSON, kept as text while nothing changes ------------------------------------------------------ */

bs_status bs_status_cache_open(bs_status_cache **out, bs_http *http, bs_error *err);
void bs_status_cache_close(bs_status_cache **cache);
/* Something changed: what is kept is looked up anew. */
void bs_status_cache_expire(bs_status_cache *cache);
/* The status answer of a job as text (to be freed), asking the store where need be. BS_EOF: no such job. `final` (may
 * be NULL): it changes no more. */
bs_status bs_status_text(bs_http *http, const char *id, char **out, bool *final, bs_error *err);
/* A job as its status answer tells it. */
json_t *bs_status_json(bs_http *http, const bs_job *job);

/* -- event streams ------------------------------------------------------------------------------------------- */

bs_status bs_events_open(bs_events **out, bs_http *http, bs_error *err);
void bs_events_close(bs_events **events);
/* Gives every stream what is new for it. Called by the keeper. */
void bs_events_pump(bs_events *events);
/* Every stream ends as soon as it can. */
void bs_events_end(bs_events *events);
int bs_events_count(bs_events *events);

/* -- the gallery ---------------------------------------------------------------------------------------------- */

bs_status bs_gallery_open(bs_gallery **out, const char *data_dir, bs_error *err);
void bs_gallery_close(bs_gallery **gallery);
bool bs_gallery_has(bs_gallery *gallery, const char *id);

/* -- handlers ----------------------------------------------------------------------------------------------- */

void bs_handle_page(bs_request *request);
void bs_handle_asset(bs_request *request);
void bs_handle_api(bs_request *request);
void bs_handle_upload(bs_request *request);
void bs_handle_status(bs_request *request);
bool bs_handle_status_at_once(bs_request *request);
void bs_handle_events(bs_request *request);
void bs_handle_cancel(bs_request *request);
void bs_handle_cleanup(bs_request *request);
void bs_handle_jobs(bs_request *request);
void bs_handle_download(bs_request *request);
void bs_handle_serve(bs_request *request);
void bs_handle_gallery(bs_request *request);
void bs_handle_gallery_approve(bs_request *request);
void bs_handle_gallery_remove(bs_request *request);
void bs_handle_gallery_reorder(bs_request *request);
void bs_handle_health(bs_request *request);
void bs_handle_memory(bs_request *request);
void bs_handle_livez(bs_request *request);
void bs_handle_readyz(bs_request *request);
void bs_handle_metrics(bs_request *request);

#endif
