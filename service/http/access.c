/* Who may do what: the administrator's token, the API key, requests that another site's page makes (see internal.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "service/http/internal.h"

/* -- the administrator's token ---------------------------------------------------------------------------- */

enum { TOKEN_MIN = BS_JOB_ID_LENGTH / 2, TOKEN_MAX = BS_JOB_ID_LENGTH * 2 };

/* The first line of an open file. */
static bs_status load_token(int fd, const char *path, char token[TOKEN_MAX + 1], bs_error *err)
{
    ssize_t got = read(fd, token, TOKEN_MAX);
    token[got > 0 ? got : 0] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    if (strlen(token) < TOKEN_MIN)
        return bs_fail(err, BS_ERR_USAGE, "'%s' holds no token of %d characters or more; remove it for a new one", path,
                       TOKEN_MIN);
    return BS_OK;
}

/* A job's id is 128 random bits in hexadecimal, which is what a token has to be. */
static bs_status make_token(const char *path, char token[TOKEN_MAX + 1], bs_error *err)
{
    bs_status status = bs_job_id_new(token, err);
    if (status != BS_OK)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s\n", token) < 0 || fsync(fd)) {
        status = bs_fail(err, BS_ERR_IO, "the administrator's token cannot be kept in '%s': %s", path, strerror(errno));
        if (fd >= 0)
            unlink(path); /* half a token would be refused at the next start */
    }
    if (fd >= 0)
        close(fd);
    return status;
}

bs_status bs_access_settle(bs_http *http, bs_error *err)
{
    const bs_settings *s = http->settings;
    char path[PATH_MAX], kept[TOKEN_MAX + 1];
    const char *token = s->admin_token;
    if (!token || !*token) {
        if (snprintf(path, sizeof(path), "%s/admin_token", s->data_dir) >= (int)sizeof(path))
            return bs_fail(err, BS_ERR_USAGE, "DATA_DIR is longer than a path may be");
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        bs_status status = fd >= 0 ? load_token(fd, path, kept, err) : make_token(path, kept, err);
        if (fd >= 0)
            close(fd);
        if (status != BS_OK)
            return status;
        bs_log(BS_LOG_INFO, "http", "the administrator's token is in %s", path);
        token = kept;
    }
    http->admin_token = strdup(token);
    return http->admin_token ? BS_OK : bs_fail(err, BS_ERR_NOMEM, "no memory for the administrator's token");
}

/* -- what a request shows --------------------------------------------------------------------------------- */

/* Equal or not in the same time, whatever the difference. */
static bool same_secret(const char *given, const char *secret)
{
    size_t n = strlen(given), m = strlen(secret);
    while (n && (given[n - 1] == ' ' || given[n - 1] == '\t')) /* no part of a header's value (RFC 9110 5.5) */
        n--;
    unsigned difference = n != m;
    for (size_t i = 0; i < n; i++)
        difference |= (unsigned char)given[i] ^ (unsigned char)secret[m ? i % m : 0];
    return m && !difference;
}

static bool bearer_is(bs_request *r, const char *secret)
{
    const char *given = bs_request_header(r, "Authorization");
    return secret && given && !strncasecmp(given, "Bearer ", 7) &&
           same_secret(given + 6 + strspn(given + 6, " "), secret);
}

bool bs_request_is_admin(bs_request *r)
{
    return bearer_is(r, r->http->admin_token);
}

bool bs_request_has_api_key(bs_request *r)
{
    const char *key = r->http->settings->api_key, *given = bs_request_header(r, "X-API-Key");
    if (!key || !*key)
        return true;
    return bearer_is(r, key) || (given && same_secret(given, key)) || bs_request_is_admin(r);
}

bool bs_request_is_forged(bs_request *r)
{
    const char *site = bs_request_header(r, "Sec-Fetch-Site");
    if (!strcmp(r->method, "GET") || r->head || !site || bs_request_allowed_origin(r))
        return false;
    return strcmp(site, "same-origin") && strcmp(site, "same-site") && strcmp(site, "none");
}
