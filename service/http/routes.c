/* The one table of routes, and how a path finds its own (see internal.h). */
#include <string.h>

#include "service/http/internal.h"

/* Handlers without a lane touch memory only. */
const bs_route bs_routes[] = {
    {"GET", "/", bs_handle_page, 0},
    {"GET", "/app.js", bs_handle_asset, 0},
    {"GET", "/app.css", bs_handle_asset, 0},
    {"GET", "/docs", bs_handle_asset, 0},
    {"GET", "/docs.js", bs_handle_asset, 0},
    {"GET", "/openapi.json", bs_handle_asset, 0},
    {"GET", "/api", bs_handle_api, 0},
    {"POST", "/api/upload", bs_handle_upload, BS_ROUTE_SLOW | BS_ROUTE_UPLOAD},
    {"GET", "/api/status/{job_id}", bs_handle_status, BS_ROUTE_QUICK | BS_ROUTE_SILENT, bs_handle_status_at_once},
    {"GET", "/api/events/{job_id}", bs_handle_events, BS_ROUTE_QUICK},
    {"POST", "/api/cancel/{job_id}", bs_handle_cancel, BS_ROUTE_SLOW},
    {"GET", "/api/download/{job_id}/{file}", bs_handle_download, BS_ROUTE_QUICK},
    {"GET", "/api/serve/{job_id}/{file}", bs_handle_serve, BS_ROUTE_QUICK},
    {"DELETE", "/api/cleanup/{job_id}", bs_handle_cleanup, BS_ROUTE_SLOW},
    {"GET", "/api/jobs", bs_handle_jobs, BS_ROUTE_QUICK | BS_ROUTE_ADMIN},
    {"GET", "/api/gallery", bs_handle_gallery, BS_ROUTE_QUICK},
    {"POST", "/api/admin/approve-to-gallery", bs_handle_gallery_approve,
     BS_ROUTE_QUICK | BS_ROUTE_ADMIN | BS_ROUTE_BODY},
    {"POST", "/api/admin/remove-from-gallery", bs_handle_gallery_remove,
     BS_ROUTE_QUICK | BS_ROUTE_ADMIN | BS_ROUTE_BODY},
    {"POST", "/api/admin/reorder-gallery", bs_handle_gallery_reorder, BS_ROUTE_QUICK | BS_ROUTE_ADMIN | BS_ROUTE_BODY},
    {"GET", "/health", bs_handle_health, BS_ROUTE_QUICK | BS_ROUTE_SILENT},
    {"GET", "/health/memory", bs_handle_memory, BS_ROUTE_QUICK | BS_ROUTE_SILENT},
    {"GET", "/livez", bs_handle_livez, BS_ROUTE_SILENT},
    {"GET", "/readyz", bs_handle_readyz, BS_ROUTE_QUICK | BS_ROUTE_SILENT},
    {"GET", "/metrics", bs_handle_metrics, BS_ROUTE_QUICK | BS_ROUTE_SILENT},
};
const int bs_routes_count = sizeof(bs_routes) / sizeof(bs_routes[0]);

enum { METHODS = 96 };

/* Copies one path segment; false where it does not fit. */
static bool take_segment(const char **url, char *out, size_t size)
{
    size_t length = strcspn(*url, "/");
    if (length == 0 || length >= size)
        return false;
    memcpy(out, *url, length);
    out[length] = '\0';
    *url += length;
    return true;
}

/* Whether `url` is of the form of `path`; parameters are kept in the request. */
static bool matches(const char *path, const char *url, char *job, size_t job_size, char *name, size_t name_size)
{
    while (*path && *url) {
        if (*path != '{') {
            if (*path++ != *url++)
                return false;
            continue;
        }
        bool is_job = !strncmp(path, "{job_id}", 8);
        if (!take_segment(&url, is_job ? job : name, is_job ? job_size : name_size))
            return false;
        path = strchr(path, '}') + 1;
    }
    return !*path && !*url;
}

const bs_route *bs_route_find(bs_request *r)
{
    char allow[METHODS] = "";
    const char *method = r->head ? "GET" : r->method;
    for (int i = 0; i < bs_routes_count; i++) {
        const bs_route *route = &bs_routes[i];
        char job[256], name[256];
        job[0] = name[0] = '\0';
        if (!matches(route->path, r->url, job, sizeof(job), name, sizeof(name)))
            continue;
        if (!strcmp(route->method, method)) {
            if (bs_job_id_valid(job))
                strcpy(r->job, job);
            if (strlen(name) <= BS_ARTIFACT_NAME_MAX)
                strcpy(r->name, name);
            return route;
        }
        if (allow[0])
            strcat(allow, ", ");
        strcat(allow, !strcmp(route->method, "GET") ? "GET, HEAD" : route->method);
    }
    if (!strcmp(r->url, "*") && !strcmp(r->method, "OPTIONS")) /* of the server as a whole */
        strcpy(allow, "GET, HEAD, POST, DELETE");
    if (!allow[0]) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Not Found");
        return NULL;
    }
    strcat(allow, ", OPTIONS");
    if (!strcmp(r->method, "OPTIONS"))
        bs_answer_bytes(r, MHD_HTTP_NO_CONTENT, NULL, "", 0, false);
    else
        bs_answer_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, "Method Not Allowed");
    bs_answer_header(r, "Allow", allow);
    if (!strcmp(r->method, "OPTIONS"))
        bs_answer_header(r, "Access-Control-Allow-Methods", allow);
    return NULL;
}

const char *const *bs_http_routes(void)
{
    static char text[sizeof(bs_routes) / sizeof(bs_routes[0])][96];
    static const char *lines[sizeof(bs_routes) / sizeof(bs_routes[0]) + 1];
    for (int i = 0; i < bs_routes_count; i++) {
        snprintf(text[i], sizeof(text[i]), "%s %s", bs_routes[i].method, bs_routes[i].path);
        lines[i] = text[i];
    }
    return lines;
}
