/* http: the service's face. Every route of docs/service.md on libmicrohttpd; no other folder knows of it.
 *
 *   server.c       start and stop
 *   request.c      the way of a request from its first line to its answer
 *   access.c       who may do what
 *   routes.c       the one table of routes: method, path, handler
 *   answer.c       JSON, errors, security and CORS headers
 *   lane.c         threads for what may wait (store, disk, probing), so that the event threads never do
 *   sockets.c      every open connection: idle, slow and surplus ones are closed, refused uploads drained
 *   multipart.c    multipart/form-data as it arrives; sniff.c what a file is by its first bytes
 *   upload.c jobs.c events.c files.c gallery.c health.c pages.c   the handlers
 *
 * Two event threads (epoll) answer what is in memory. What touches the store, the disk or a child process goes to a
 * lane while its connection is suspended. Memory is bounded by the number of connections times what one may take.
 *
 * Owner: settings, store, artifacts and worker are the caller's and outlive the server. Threads: start and stop from
 * one thread. Errors: one sentence in `err`. */
#ifndef BS_SERVICE_HTTP_HTTP_H
#define BS_SERVICE_HTTP_HTTP_H

#include "service/artifacts/artifacts.h"
#include "service/worker/worker.h"
#include "settings/settings.h"

typedef struct bs_http bs_http;

/* Listens and answers from here on. `worker` may still be starting: /readyz says so. */
bs_status bs_http_start(bs_http **out, const bs_settings *settings, bs_store *store, bs_artifacts *artifacts,
                        bs_worker *worker, bs_error *err);

/* "http://127.0.0.1:8000", with the port that was really taken. Lives as long as the server. */
const char *bs_http_address(const bs_http *http);

/* No new uploads from now on (503), /readyz is 503; everything else is still answered. */
void bs_http_refuse(bs_http *http);

/* Ends event streams, answers what is under way, closes every connection. */
void bs_http_stop(bs_http **http);

/* The route table as lines "METHOD /path", for the test that compares it with openapi.json. Static storage. */
const char *const *bs_http_routes(void);

#endif
