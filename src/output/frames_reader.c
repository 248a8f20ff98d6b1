/* pose_data.json frame by frame (see frames_reader.h).
 *
 * Only brackets and strings are understood here: enough to cut the document into frames, whatever its white space.
 * What is inside them is jansson's to check. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output/frames_reader.h"

enum { BEFORE_FRAMES = 0, IN_FRAMES, AFTER_FRAMES };

static const char KEY[] = "\"frames\":[";

bs_status bs_frames_reader_open(bs_frames_reader **out, int fd, bs_error *err)
{
    bs_frames_reader *reader = calloc(1, sizeof(*reader));
    if (reader) {
        reader->fd = fd;
        reader->frame = malloc(BS_FRAME_TEXT_MAX + 1);
        reader->header = malloc(BS_HEADER_TEXT_MAX + 1);
    }
    if (!reader || !reader->frame || !reader->header) {
        bs_frames_reader_close(&reader);
        return bs_fail(err, BS_ERR_NOMEM, "no memory to read pose data");
    }
    *out = reader;
    return BS_OK;
}

void bs_frames_reader_close(bs_frames_reader **reader)
{
    if (!reader || !*reader)
        return;
    free((*reader)->frame);
    free((*reader)->header);
    free(*reader);
    *reader = NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bs_status damaged(bs_error *err)
{
    return bs_fail(err, BS_ERR_INPUT, "this is not a whole pose_data.json");
}

/* The next byte; BS_EOF at the file's end. */
static bs_status next_byte(bs_frames_reader *r, char *out, bs_error *err)
{
    if (r->at == r->used) {
        ssize_t n;
        do
            n = pread(r->fd, r->buffer, sizeof(r->buffer), r->offset);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return bs_fail(err, BS_ERR_IO, "the pose data cannot be read: %s", strerror(errno));
        if (n == 0)
            return BS_EOF;
        r->offset += n;
        r->used = (size_t)n;
        r->at = 0;
    }
    *out = r->buffer[r->at++];
    return BS_OK;
}

static bool put(char *text, size_t *size, size_t max, char c)
{
    if (*size == max)
        return false;
    text[(*size)++] = c;
    text[*size] = '\0';
    return true;
}

/* A string from behind its opening quote to its closing one, into `text`. */
static bs_status copy_string(bs_frames_reader *r, char *text, size_t *size, size_t max, bs_error *err)
{
    for (bool escaped = false;;) {
        char c = 0;
        bs_status status = next_byte(r, &c, err);
        if (status != BS_OK)
            return status == BS_EOF ? damaged(err) : status;
        if (!put(text, size, max, c))
            return damaged(err);
        if (c == '"' && !escaped)
            return BS_OK;
        escaped = c == '\\' && !escaped;
    }
}

/* The rest of an object whose `{` has been read. Blanks between its parts are left out. */
static bs_status copy_object(bs_frames_reader *r, bs_error *err)
{
    r->frame_size = 0;
    put(r->frame, &r->frame_size, BS_FRAME_TEXT_MAX, '{');
    for (int depth = 1; depth > 0;) {
        char c = 0;
        bs_status status = next_byte(r, &c, err);
        if (status != BS_OK)
            return status == BS_EOF ? damaged(err) : status;
        if (is_blank(c))
            continue;
        if (!put(r->frame, &r->frame_size, BS_FRAME_TEXT_MAX, c))
            return damaged(err);
        if (c == '"')
            status = copy_string(r, r->frame, &r->frame_size, BS_FRAME_TEXT_MAX, err);
        if (status != BS_OK)
            return status;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    }
    return BS_OK;
}

/* Copies what stands around the frames; stops where they begin, or at the end of the document. */
static bs_status copy_header(bs_frames_reader *r, bs_error *err)
{
    for (;;) {
        char c = 0;
        bs_status status = next_byte(r, &c, err);
        if (status == BS_EOF)
            return r->state == AFTER_FRAMES && r->depth == 0 ? BS_EOF : damaged(err);
        if (status != BS_OK)
            return status;
        if (is_blank(c))
            continue;
        if ((r->depth == 0 && (c != '{' || r->header_size)) || !put(r->header, &r->header_size, BS_HEADER_TEXT_MAX, c))
            return damaged(err);
        if (c == '"') {
            status = copy_string(r, r->header, &r->header_size, BS_HEADER_TEXT_MAX, err);
            if (status != BS_OK)
                return status;
        }
        r->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        size_t key = sizeof(KEY) - 1;
        if (r->state == BEFORE_FRAMES && r->depth == 2 && c == '[' && r->header_size > key &&
            !memcmp(r->header + r->header_size - key, KEY, key)) {
            r->state = IN_FRAMES;
            return BS_OK;
        }
    }
}

bs_status bs_frames_reader_next(bs_frames_reader *r, bs_error *err)
{
    if (r->state != IN_FRAMES) {
        bs_status status = copy_header(r, err);
        if (status != BS_OK)
            return status;
    }
    for (;;) {
        char c = 0;
        bs_status status = next_byte(r, &c, err);
        if (status != BS_OK)
            return status == BS_EOF ? damaged(err) : status;
        if (c == '{')
            return copy_object(r, err);
        if (c == ']') {
            put(r->header, &r->header_size, BS_HEADER_TEXT_MAX, c);
            r->depth--;
            r->state = AFTER_FRAMES;
            return copy_header(r, err);
        }
        if (!is_blank(c) && c != ',')
            return damaged(err);
    }
}
