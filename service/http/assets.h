/* Files that the program carries in itself: the page, the API's description and the page that shows it. Made by
 * embed.py at build time. Static storage. */
#ifndef BS_SERVICE_HTTP_ASSETS_H
#define BS_SERVICE_HTTP_ASSETS_H

#include <stddef.h>

typedef struct bs_asset {
    const char *path, *type, *etag; /* "/app.js", its media type, a quoted tag of its content */
    const unsigned char *data;
    size_t size;
} bs_asset;

extern const bs_asset bs_assets[];
extern const int bs_assets_count;

#endif
