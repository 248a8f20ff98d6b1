/* Settings that only the service reads (see check.h). */
#include "service/check.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <bodyscript/log.h>
#include <bodyscript/memory.h>

#include "service/artifacts/artifacts.h"

enum {
    GUESSED = 16,   /* characters: a shorter secret may be */
    HOST_MAX = 260, /* a name of 253 characters and a port */
    BASE_MAX = BS_ARTIFACT_URL_MAX - BS_JOB_ID_LENGTH - BS_ARTIFACT_NAME_MAX - 3,
};

/* What can stand in a header just as it is: blanks at the ends are not part of a value, and other letters than ASCII's
 * have no one way to be written. */
static bool can_be_sent(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

/* "example.com", "example.com:8080", "[::1]:80" in the first `length` bytes. */
static bool is_host(const char *text, size_t length)
{
    bool sane = length > 0 && length <= HOST_MAX && text[0] != ':';
    for (size_t i = 0; i < length && sane; i++)
        sane = isalnum((unsigned char)text[i]) || strchr("-._:[]", text[i]);
    return sane;
}

/* Ends before a path, as what follows it is put after it. */
static bool is_base_url(const char *url)
{
    size_t scheme = !strncasecmp(url, "http://", 7) ? 7 : !strncasecmp(url, "https://", 8) ? 8 : 0;
    const char *host = url + scheme;
    size_t length = strcspn(host, "/");
    for (const char *c = host + length; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("?#\"<>\\^`{|}", *c))
            return false;
    return scheme && is_host(host, length) && strlen(url) <= BASE_MAX;
}

/* As browsers send it: scheme://host[:port]; "null" is that of a page from a file. */
static bool is_origin(const char *text, size_t length)
{
    if ((length == 1 && *text == '*') || (length == 4 && !strncmp(text, "null", 4)))
        return true;
    size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return scheme && scheme + 3 < length && isalpha((unsigned char)*text) && !strncmp(text + scheme, "://", 3) &&
           is_host(text + scheme + 3, length - scheme - 3);
}

static bool are_origins(const char *list)
{
    int count = 0;
    for (const char *item = list + strspn(list, ", "); *item; item += strspn(item, ", ")) {
        size_t length = strcspn(item, ", ");
        if (!is_origin(item, length))
            return false;
        item += length;
        count++;
    }
    return count > 0;
}

static bs_status refuse(const char *name, const char *value, const char *takes, bs_error *err)
{
    return bs_fail(err, BS_ERR_USAGE, "%s is '%.60s%s', but takes %s", name, value, strlen(value) > 60 ? "…" : "",
                   takes);
}

bs_status bs_service_check(const bs_settings *s, bs_error *err)
{
    bs_memory_limits memory = {0};
    const struct {
        const char *name, *value;
    } secrets[] = {{"ADMIN_TOKEN", s->admin_token}, {"API_KEY", s->api_key}};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(*secrets); i++) {
        if (!secrets[i].value)
            continue;
        if (!can_be_sent(secrets[i].value))
            return refuse(secrets[i].name, "(not shown)", "visible ASCII characters without blanks", err);
        if (strlen(secrets[i].value) < GUESSED)
            bs_log(BS_LOG_WARNING, "service", "%s has fewer than %d characters: it may be guessed", secrets[i].name,
                   GUESSED);
    }
    if (s->cdn_base_url && !is_base_url(s->cdn_base_url))
        return refuse("CDN_BASE_URL", s->cdn_base_url, "an address such as https://cdn.example.com/results", err);
    if (s->cors_allow_origins && !are_origins(s->cors_allow_origins))
        return refuse("CORS_ALLOW_ORIGINS", s->cors_allow_origins,
                      "* or a comma-separated list of origins such as https://example.com, without a path", err);
    if (bs_memory_read_limits(&memory, NULL) == BS_OK && s->memory_limit_mb > (int64_t)(memory.limit >> 20))
        bs_log(BS_LOG_WARNING, "service",
               "MEMORY_LIMIT_MB is %lld, but there are %llu MB: the kernel may end what is let in beyond that",
               (long long)s->memory_limit_mb, (unsigned long long)(memory.limit >> 20));
    return BS_OK;
}
