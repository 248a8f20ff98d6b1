/* The page, the description of the API, and the page that shows that (see internal.h). */
#include <stdio.h>
#include <string.h>

#include "service/http/assets.h"
#include "service/http/internal.h"

/* Everything from here; results may lie behind a CDN. No plug-ins, no frames, no inline code. */
static void add_policy(bs_request *r)
{
    char policy[1536];
    const char *cdn = r->http->settings->cdn_base_url ? r->http->settings->cdn_base_url : "";
    const char *host = strstr(cdn, "://"); /* what follows was checked at the start (service/check.h) */
    const int origin = host ? (int)(host + 3 - cdn) + (int)strcspn(host + 3, "/") : 0;
    snprintf(policy, sizeof(policy),
             "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data: %.*s; "
             "media-src 'self' blob: %.*s; connect-src 'self' %.*s; base-uri 'none'; form-action 'none'; "
             "frame-ancestors 'none'",
             origin, cdn, origin, cdn, origin, cdn);
    bs_answer_header(r, "Content-Security-Policy", policy);
}

void bs_handle_asset(bs_request *r)
{
    const bs_asset *asset = NULL;
    for (int i = 0; i < bs_assets_count && !asset; i++)
        if (!strcmp(bs_assets[i].path, r->route->path))
            asset = &bs_assets[i];
    if (!asset) {
        bs_answer_error(r, MHD_HTTP_NOT_FOUND, "Not Found");
        return;
    }
    const char *tags = bs_request_header(r, "If-None-Match");
    if (tags && (!strcmp(tags, "*") || strstr(tags, asset->etag)))
        bs_answer_bytes(r, MHD_HTTP_NOT_MODIFIED, NULL, "", 0, false);
    else
        bs_answer_bytes(r, MHD_HTTP_OK, asset->type, asset->data, asset->size, false);
    bs_answer_header(r, "ETag", asset->etag);
    bs_answer_header(r, "Cache-Control", "no-cache");
    if (!strncmp(asset->type, "text/html", 9))
        add_policy(r);
}

void bs_handle_page(bs_request *r)
{
    bs_worker_clean(r->http->worker);
    bs_handle_asset(r);
}

void bs_handle_api(bs_request *r)
{
    char call[128];
    json_t *endpoints = json_object();
    for (int i = 0; i < bs_routes_count; i++) {
        if (strncmp(bs_routes[i].path, "/api/", 5) && strncmp(bs_routes[i].path, "/health", 7))
            continue;
        const char *name = bs_routes[i].path + (bs_routes[i].path[1] == 'a' ? 5 : 1);
        size_t length = strcspn(name, "{");
        while (length && name[length - 1] == '/')
            length--;
        snprintf(call, sizeof(call), "%.*s", (int)length, name);
        json_t *text = json_sprintf("%s %s", bs_routes[i].method, bs_routes[i].path);
        json_object_set_new(endpoints, call, text);
    }
    bs_answer_json(r, MHD_HTTP_OK,
                   json_pack("{s:s, s:s, s:s, s:o}", "name", "BodyScript", "version", bs_version(), "status", "running",
                             "endpoints", endpoints));
}
