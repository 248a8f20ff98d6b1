/* multipart/form-data as it arrives (see multipart.h).
 *
 * A delimiter begins with CR, which occurs nowhere else in it (a boundary holds no control characters): where a match
 * breaks off, what was matched is data, and the byte that broke it can only begin anew. So nothing has to be kept of
 * the data. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "service/http/multipart.h"

enum {
    PREAMBLE, /* before the first delimiter: dropped */
    BODY,     /* of a part */
    AFTER,    /* a delimiter: CR LF (a part follows) or -- (the end) */
    AFTER_CR,
    AFTER_DASH,
    HEADERS,
    EPILOGUE, /* after the last delimiter: dropped */
    FAILED,
};

static bs_status fail(bs_multipart *m, bs_error *err, const char *sentence)
{
    m->state = FAILED;
    bs_fail(&m->failure, BS_ERR_INPUT, "%s", sentence);
    return bs_fail(err, BS_ERR_INPUT, "%s", sentence);
}

/* -- parameters of a header: name="value" or name=token --------------------------------------------------- */

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* RFC 5987: UTF-8''percent%20encoded, in place. */
static void decode_extended(char *value)
{
    char *from = strrchr(value, '\''), *to = value;
    from = from ? from + 1 : value;
    while (*from) {
        int high = *from == '%' ? hex(from[1]) : -1, low = high >= 0 ? hex(from[2]) : -1;
        bool encoded = high >= 0 && low >= 0 && (high || low);
        *to++ = encoded ? (char)(high * 16 + low) : *from;
        from += encoded ? 3 : 1;
    }
    *to = '\0';
}

/* Copies a quoted string or a token to `out`, cut to its size, and moves `at` beyond it. */
static void take_value(const char **at, char *out, size_t size)
{
    const char *c = *at;
    size_t n = 0;
    bool quoted = *c == '"';
    for (c += quoted; *c && (quoted ? *c != '"' : *c != ';' && *c != ' ' && *c != '\t'); c++) {
        /* Browsers send " as %22 and \ as it is; only \" and \\ are escapes. */
        if (quoted && *c == '\\' && (c[1] == '"' || c[1] == '\\'))
            c++;
        if (n + 1 < size)
            out[n++] = *c;
    }
    out[n] = '\0';
    *at = c + (quoted && *c == '"');
}

/* Calls for each parameter in `text` ("; name=value; …") until `wanted` is found. */
static bool find_parameter(const char *text, const char *wanted, char *out, size_t size)
{
    while (*text) {
        char name[32], value[512];
        text += strspn(text, "; \t");
        size_t n = strcspn(text, "=; \t");
        snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), text);
        text += n;
        if (*text != '=') {
            if (!n && *text)
                text++;
            continue;
        }
        text++;
        take_value(&text, value, sizeof(value));
        if (strcasecmp(name, wanted))
            continue;
        snprintf(out, size, "%.*s", (int)size - 1, value);
        return true;
    }
    return false;
}

bs_status bs_multipart_open(bs_multipart *m, const char *content_type, const bs_multipart_sink *sink, bs_error *err)
{
    static const char type[] = "multipart/form-data";
    char boundary[512] = "";
    if (!content_type || strncasecmp(content_type, type, sizeof(type) - 1) ||
        !strchr("; \t", content_type[sizeof(type) - 1]))
        return bs_fail(err, BS_ERR_INPUT, "The body is to be multipart/form-data, with the video in the field 'file'");
    if (!find_parameter(content_type + sizeof(type) - 1, "boundary", boundary, sizeof(boundary)) || !boundary[0] ||
        strlen(boundary) > BS_MULTIPART_BOUNDARY_MAX)
        return bs_fail(err, BS_ERR_INPUT, "The Content-Type names no boundary of 1 to 70 characters");
    for (const char *c = boundary; *c; c++)
        if (!isprint((unsigned char)*c))
            return bs_fail(err, BS_ERR_INPUT, "The boundary in the Content-Type holds characters that it may not");

    *m = (bs_multipart){.sink = *sink, .state = PREAMBLE, .matched = 2}; /* the first delimiter needs no CR LF */
    m->delimiter_length = (size_t)snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%.*s", BS_MULTIPART_BOUNDARY_MAX,
                                           boundary);
    return BS_OK;
}

/* -- a part's header lines -------------------------------------------------------------------------------- */

static bs_status begin_part(bs_multipart *m, bs_error *err)
{
    bs_multipart_part part = {0};
    bool named = false;
    if (++m->parts > BS_MULTIPART_PARTS_MAX)
        return fail(m, err, "The form has more than 64 parts");
    m->headers[m->headers_length] = '\0';
    for (char *line = m->headers, *next; *line; line = next) {
        next = strstr(line, "\r\n");
        if (next) {
            *next = '\0';
            next += 2;
        } else {
            next = line + strlen(line);
        }
        if (strncasecmp(line, "Content-Disposition:", 20))
            continue;
        const char *value = line + 20 + strspn(line + 20, " \t");
        bool is_field = !strncasecmp(value, "form-data", 9);
        value += strcspn(value, ";");
        named = is_field && find_parameter(value, "name", part.name, sizeof(part.name)); /* "" is a name too */
        part.has_filename = find_parameter(value, "filename", part.filename, sizeof(part.filename));
        char extended[512];
        if (find_parameter(value, "filename*", extended, sizeof(extended))) {
            decode_extended(extended);
            snprintf(part.filename, sizeof(part.filename), "%.*s", (int)sizeof(part.filename) - 1, extended);
            part.has_filename = true;
        }
    }
    if (!named)
        return fail(m, err, "A part of the form has no Content-Disposition with a name");
    m->state = BODY;
    m->matched = 0;
    return m->sink.begin(m->sink.opaque, &part, err);
}

static bs_status take_header_byte(bs_multipart *m, char c, bs_error *err)
{
    if (m->headers_length + 1 >= sizeof(m->headers))
        return fail(m, err, "The header lines of a part of the form are longer than 4096 bytes");
    if (c == '\0')
        return fail(m, err, "The header lines of a part of the form hold a NUL character");
    m->headers[m->headers_length++] = c;
    size_t n = m->headers_length;
    bool empty = n == 2 && !memcmp(m->headers, "\r\n", 2);
    if (empty || (n >= 4 && !memcmp(m->headers + n - 4, "\r\n\r\n", 4)))
        return begin_part(m, err);
    return BS_OK;
}

/* -- bytes ------------------------------------------------------------------------------------------------ */

static bs_status hand_on(bs_multipart *m, const char *data, size_t size, bs_error *err)
{
    if (!size || m->state == PREAMBLE)
        return BS_OK;
    return m->sink.data(m->sink.opaque, data, size, err);
}

static bs_status take_delimiter(bs_multipart *m, bs_error *err)
{
    bool in_part = m->state == BODY;
    m->state = AFTER;
    m->matched = 0;
    return in_part ? m->sink.end(m->sink.opaque, err) : BS_OK;
}

/* How many of the last bytes may be the beginning of a delimiter: only the last CR can be its first byte. */
static size_t begun_at_the_end(const bs_multipart *m, const char *data, size_t size)
{
    size_t window = size < m->delimiter_length ? size : m->delimiter_length;
    const char *cr = memrchr(data + size - window, '\r', window);
    size_t length = cr ? (size_t)(data + size - cr) : 0;
    return length && !memcmp(cr, m->delimiter, length) ? length : 0;
}

/* Data up to a delimiter, or all of it; moves `at`. */
static bs_status take_data(bs_multipart *m, const char **at, const char *end, bs_error *err)
{
    bs_status status;
    const char *c = *at;
    while (m->matched && c < end) {
        if (*c == m->delimiter[m->matched]) {
            c++;
            if (++m->matched < m->delimiter_length)
                continue;
            *at = c;
            return take_delimiter(m, err);
        }
        size_t was = m->matched;
        m->matched = 0;
        if ((status = hand_on(m, m->delimiter, was, err)))
            return status;
    }
    *at = end;
    if (c == end)
        return BS_OK;
    size_t size = (size_t)(end - c);
    const char *found = memmem(c, size, m->delimiter, m->delimiter_length);
    const char *stop = found ? found : end - begun_at_the_end(m, c, size);
    if ((status = hand_on(m, c, (size_t)(stop - c), err)))
        return status;
    m->matched = (size_t)(end - stop);
    if (found) {
        *at = found + m->delimiter_length;
        return take_delimiter(m, err);
    }
    return BS_OK;
}

static bs_status take_after(bs_multipart *m, char c, bs_error *err)
{
    static const char wrong[] = "A boundary in the body is followed by neither a line end nor --";
    switch (m->state) {
    case AFTER:
        if (c == ' ' || c == '\t')
            return BS_OK;
        if (c != '\r' && c != '-')
            return fail(m, err, wrong);
        m->state = c == '\r' ? AFTER_CR : AFTER_DASH;
        return BS_OK;
    case AFTER_CR:
        if (c != '\n')
            return fail(m, err, wrong);
        m->state = HEADERS;
        m->headers_length = 0;
        return BS_OK;
    default:
        if (c != '-')
            return fail(m, err, wrong);
        m->state = EPILOGUE;
        return BS_OK;
    }
}

bs_status bs_multipart_feed(bs_multipart *m, const char *data, size_t size, bs_error *err)
{
    const char *end = data + size;
    bs_status status = BS_OK;
    while (data < end && !status) {
        switch (m->state) {
        case PREAMBLE:
        case BODY: status = take_data(m, &data, end, err); break;
        case AFTER:
        case AFTER_CR:
        case AFTER_DASH: status = take_after(m, *data++, err); break;
        case HEADERS: status = take_header_byte(m, *data++, err); break;
        case EPILOGUE: return BS_OK;
        default: return bs_fail(err, BS_ERR_INPUT, "%s", m->failure.text);
        }
    }
    if (status && m->state != FAILED) {
        m->state = FAILED;
        bs_fail(&m->failure, status, "%s", err ? err->text : "the form was refused");
    }
    return status;
}

bs_status bs_multipart_finish(bs_multipart *m, bs_error *err)
{
    if (m->state == FAILED)
        return bs_fail(err, BS_ERR_INPUT, "%s", m->failure.text);
    if (m->state != EPILOGUE)
        return fail(m, err, "The body ends before its last boundary");
    return BS_OK;
}
