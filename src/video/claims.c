/* What a file's header claims, looked at before libav believes it (see av.h).
 *
 * ISO files (MP4, MOV; ISO/IEC 14496-12), Matroska (RFC 9559) and GIF can ask for any amount of memory in a few bytes:
 * tracks and samples by the million, edit lists of thousands of repetitions, tags, pictures and attached files without
 * end. Their structure is walked here through a window of 4 KB. What is claimed beyond reason is refused by its number;
 * what is long and not needed for anything here (covers, attached fonts, tags, the index for seeking) is hidden: the
 * demuxer reads it as empty space and steps over it. */
#include <inttypes.h>
#include <string.h>

#include <libavutil/intreadwrite.h>

#include "av.h"

enum {
    MAX_PARTS = 100000,      /* of a file at its top level: what comes later is not looked at */
    MAX_DEPTH = 6,           /* moov/trak/mdia/minf/stbl/stsz */
    MAX_EDITS = 4096,        /* of one track: each makes an index of its own */
    MAX_SAMPLES = 16 << 20,  /* of all tracks: 70 hours of 60 frames a second */
    MAX_KEY_SYSTEMS = 100,   /* of an encrypted file: there are a dozen */
    MAX_COMMENT = 1 << 20,   /* bytes of a GIF's */
    HIDDEN_FROM = 256 << 10, /* bytes; what is shorter costs little and may be told of */
};

typedef struct claims {
    bs_av_input *in;
    bs_window window;
    int64_t tracks, samples;
    int key_systems;
    struct {
        int64_t samples, duration, edits; /* edits: where its edit list is; 0: none */
        bool sound, single;               /* single: all samples last as long as one unit of time */
        uint32_t edit_count;
    } track; /* the one being read */
} claims;

static void hide(bs_av_input *in, int64_t at, const uint8_t *bytes, int size)
{
    if (in->hidden_count == BS_MAX_HIDDEN)
        return;
    bs_av_hidden *const hidden = &in->hidden[in->hidden_count++];
    hidden->at = at;
    hidden->size = size;
    memcpy(hidden->bytes, bytes, (size_t)size);
}

void bs_av_apply_hidden(const bs_av_input *in, int64_t from, uint8_t *bytes, int64_t size)
{
    for (int i = 0; i < in->hidden_count; i++) {
        const bs_av_hidden *const hidden = &in->hidden[i];
        for (int k = 0; k < hidden->size; k++)
            if (hidden->at + k >= from && hidden->at + k < from + size)
                bytes[hidden->at + k - from] = hidden->bytes[k];
    }
}

static bs_status check_size(const claims *c, int64_t size, bs_error *err)
{
    if (size <= BS_MAX_HEADER_BYTES)
        return BS_OK;
    return bs_fail(err, BS_ERR_LIMIT, "'%s' claims a header of %" PRId64 " MB; at most %d MB are read", c->in->name,
                   size >> 20, BS_MAX_HEADER_BYTES >> 20);
}

static bs_status add_track(claims *c, bs_error *err)
{
    if (++c->tracks <= BS_MAX_STREAMS)
        return BS_OK;
    return bs_fail(err, BS_ERR_LIMIT, "'%s' claims more than the %d streams that are read", c->in->name,
                   BS_MAX_STREAMS);
}

/* -- ISO ------------------------------------------------------------------------------------------------ */

static bs_status add_samples(claims *c, int64_t samples, bs_error *err)
{
    c->samples += samples;
    if (c->samples > c->in->size)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' claims %" PRId64 " samples, but has only %" PRId64 " bytes",
                       c->in->name, c->samples, c->in->size);
    if (c->samples > MAX_SAMPLES)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' claims %" PRId64 " samples; at most %d million are read", c->in->name,
                       c->samples, MAX_SAMPLES >> 20);
    return BS_OK;
}

/* A box that holds no others; `body` begins behind the box's size and type. */
static bs_status check_table(claims *c, const uint8_t type[4], int64_t body, int64_t size, bs_error *err)
{
    uint8_t head[16] = {0}; /* version and flags, and what follows */
    if (size < 8 || !bs_window_read(&c->window, body, head, size < 16 ? (size_t)size : 16))
        return BS_OK;
    const uint32_t first = AV_RB32(head + 4), second = AV_RB32(head + 8);
    if (!memcmp(type, "hdlr", 4)) {
        c->track.sound = !memcmp(head + 8, "soun", 4);
    } else if (!memcmp(type, "stts", 4)) {
        c->track.single = first == 1 && AV_RB32(head + 12) == 1;
    } else if (!memcmp(type, "stsz", 4) || !memcmp(type, "stz2", 4)) {
        c->track.samples += second;
    } else if (!memcmp(type, "stsd", 4) && /* ISO/IEC 23001-7, and FairPlay's */
               (!memcmp(head + 12, "encv", 4) || !memcmp(head + 12, "drmi", 4))) {
        return bs_fail(err, BS_ERR_INPUT, "'%s' is encrypted: it cannot be read without its key", c->in->name);
    } else if (!memcmp(type, "mdhd", 4)) {
        uint8_t times[12] = {0}; /* time scale, duration */
        bs_window_read(&c->window, body + (head[0] == 1 ? 20 : 12), times, sizeof(times));
        c->track.duration = head[0] == 1 ? (int64_t)AV_RB64(times + 4) : (int64_t)AV_RB32(times + 4);
    } else if (!memcmp(type, "pssh", 4)) { /* libav walks all of them for each one more: 34 s for 10,000 */
        if (++c->key_systems > MAX_KEY_SYSTEMS)
            return bs_fail(err, BS_ERR_LIMIT, "'%s' claims more than %d systems of keys for its encryption",
                           c->in->name, MAX_KEY_SYSTEMS);
    } else if (!memcmp(type, "trun", 4)) {
        return add_samples(c, first, err);
    } else if (!memcmp(type, "elst", 4)) {
        const int64_t edits = first > (uint64_t)(size / 12) ? size / 12 : first;
        if (edits > MAX_EDITS)
            return bs_fail(err, BS_ERR_LIMIT, "'%s' claims an edit list of %" PRId64 " parts; at most %d are followed",
                           c->in->name, edits, MAX_EDITS);
        c->track.edits = body;
        c->track.edit_count = (uint32_t)edits;
    } else if (!memcmp(type, "cmvd", 4)) { /* a compressed header: its length when it is unpacked */
        return check_size(c, AV_RB32(head), err);
    }
    return BS_OK;
}

/* Whether the track's edit list leaves anything of it: a part that lasts, and begins within. */
static bool edits_show_something(claims *c)
{
    uint8_t head[4], edit[16];
    if (!bs_window_read(&c->window, c->track.edits, head, sizeof(head)))
        return true;
    const bool wide = head[0] == 1;
    for (uint32_t i = 0; i < c->track.edit_count; i++) {
        if (!bs_window_read(&c->window, c->track.edits + 8 + i * (wide ? 20 : 12), edit, wide ? 16 : 8))
            return true;
        const int64_t lasts = wide ? (int64_t)AV_RB64(edit) : (int64_t)AV_RB32(edit);
        const int64_t begins = wide ? (int64_t)AV_RB64(edit + 8) : (int32_t)AV_RB32(edit + 4);
        if (lasts != 0 && begins != -1 && begins < c->track.duration)
            return true;
    }
    return false;
}

static bs_status check_boxes(claims *c, int64_t at, int64_t end, int depth, bs_error *err);

static bs_status check_track(claims *c, int64_t at, int64_t end, int depth, bs_error *err)
{
    bs_status status = add_track(c, err);
    memset(&c->track, 0, sizeof(c->track));
    if (!status)
        status = check_boxes(c, at, end, depth, err);
    /* Files of fragments have none here, and of their edits only the beginning counts. */
    if (!status && c->track.samples > 0 && c->track.edits && !edits_show_something(c))
        hide(c->in, c->track.edits - 4, (const uint8_t *)"free", 4);
    if (!status && !(c->track.sound && c->track.single)) /* PCM: libav indexes it by the chunk */
        status = add_samples(c, c->track.samples, err);
    return status;
}

/* The boxes of one level, from `at` to `end`. */
static bs_status check_boxes(claims *c, int64_t at, int64_t end, int depth, bs_error *err)
{
    bs_status status = BS_OK;
    for (int i = 0; !status && at + 8 <= end && (depth > 0 || i < MAX_PARTS); i++) {
        uint8_t head[16] = {0};
        if (!bs_window_read(&c->window, at, head, 16) && !bs_window_read(&c->window, at, head, 8))
            break;
        const uint8_t *const type = head + 4;
        const uint32_t brief = AV_RB32(head);
        const int64_t size = brief == 1 ? (int64_t)AV_RB64(head + 8) : brief == 0 ? end - at : (int64_t)brief;
        const int64_t body = at + (brief == 1 ? 16 : 8);
        if (bs_is_one_of(type, "moovmetaudtamoof"))
            status = check_size(c, size, err);
        if (size < 8 || (depth == 0 && size > end - at))
            break;
        const int64_t next = size < end - at ? at + size : end;
        if (!status && depth < MAX_DEPTH && bs_is_one_of(type, "trak"))
            status = check_track(c, body, next, depth + 1, err);
        else if (!status && bs_is_one_of(type, "metaudta") && size >= HIDDEN_FROM)
            hide(c->in, at + 4, (const uint8_t *)"free", 4);
        else if (!status && depth < MAX_DEPTH && bs_is_one_of(type, "moovmdiaminfstbledtsmooftrafcmov"))
            status = check_boxes(c, body, next, depth + 1, err);
        else if (!status && depth > 0)
            status = check_table(c, type, body, next - body, err);
        at = next;
    }
    return status;
}

/* -- Matroska ------------------------------------------------------------------------------------------ */

enum {
    EBML_HEADER = 0x1a45dfa3,
    SEGMENT = 0x18538067,
    SEEK_HEAD = 0x114d9b74,
    INFO = 0x1549a966,
    TRACKS = 0x1654ae6b,
    CUES = 0x1c53bb6b,
    ATTACHMENTS = 0x1941a469,
    CHAPTERS = 0x1043a770,
    TAGS = 0x1254c367,
    TRACK_ENTRY = 0xae,
};

typedef struct element {
    uint32_t id;
    int64_t size; /* of its body; -1: not told */
    int head;     /* bytes of id and size */
} element;

static bool read_element(bs_window *window, int64_t at, element *out)
{
    uint8_t bytes[12] = {0};
    int id = 1, length = 1;
    for (size_t want = sizeof(bytes); want >= 2 && !bs_window_read(window, at, bytes, want); want--)
        if (want == 2)
            return false;
    while (id < 5 && !(bytes[0] & 0x80 >> (id - 1)))
        id++;
    while (id < 5 && length < 9 && !(bytes[id] & 0x80 >> (length - 1)))
        length++;
    if (id > 4 || length > 8)
        return false;
    *out = (element){.head = id + length};
    for (int i = 0; i < id; i++)
        out->id = out->id << 8 | bytes[i];
    uint64_t size = bytes[id] & (0xff >> length), unknown = 0xff >> length;
    for (int i = 1; i < length; i++) {
        size = size << 8 | bytes[id + i];
        unknown = unknown << 8 | 0xff;
    }
    out->size = size == unknown ? -1 : (int64_t)size;
    return true;
}

/* In its place empty space of the same length: the element Void has an id of one byte, which leaves the others to its
 * size. */
static void hide_element(bs_av_input *in, int64_t at, const element *e)
{
    enum { VOID = 0xec };
    uint8_t bytes[9] = {VOID};
    const int length = e->head - 1 < 8 ? e->head - 1 : 8;
    const uint64_t size = (uint64_t)(e->size + e->head - 1 - length);
    for (int i = 0; i < length; i++)
        bytes[1 + i] = (uint8_t)(size >> 8 * (length - 1 - i));
    bytes[1] |= 0x80 >> (length - 1);
    hide(in, at, bytes, 1 + length);
}

static bs_status count_tracks(claims *c, int64_t at, int64_t end, bs_error *err)
{
    bs_status status = BS_OK;
    element e;
    for (; !status && at < end && read_element(&c->window, at, &e) && e.size >= 0; at += e.head + e.size)
        if (e.id == TRACK_ENTRY)
            status = add_track(c, err);
    return status;
}

static bs_status check_element(claims *c, int64_t at, const element *e, bs_error *err)
{
    switch (e->id) {
    case TRACKS: {
        const bs_status status = check_size(c, e->size, err);
        return status ? status : count_tracks(c, at + e->head, at + e->head + e->size, err);
    }
    case INFO: return check_size(c, e->size, err);
    case TAGS:
    case CHAPTERS:
    case SEEK_HEAD:
    case CUES:
    case ATTACHMENTS:
        if (e->size >= HIDDEN_FROM)
            hide_element(c->in, at, e);
        return e->id == ATTACHMENTS ? BS_OK : check_size(c, e->size, err);
    default: return BS_OK;
    }
}

static bs_status check_segment(claims *c, bs_error *err)
{
    bs_status status = BS_OK;
    element e;
    int64_t at = 0;
    for (int i = 0; !status && i < MAX_PARTS && at < c->in->size && read_element(&c->window, at, &e); i++) {
        if (e.id != SEGMENT && e.size < 0)
            break; /* written live: to the end of the file, or nobody knows where */
        if (e.id != SEGMENT)
            status = check_element(c, at, &e, err);
        at += e.head + (e.id == SEGMENT ? 0 : e.size);
    }
    return status;
}

/* -- GIF -------------------------------------------------------------------------------------------------- */

/* The demuxer gathers each comment as a whole. Other blocks are stepped over by their parts, to the file's end or to
 * what is none. Source: GIF89a specification, 15 to 26. */
static bs_status check_gif(claims *c, bs_error *err)
{
    enum { EXTENSION = 0x21, IMAGE = 0x2c, COMMENT = 0xfe, HEADER = 13, HAS_TABLE = 0x80 };
    uint8_t head[11] = {0}, part;
    if (!bs_window_read(&c->window, 10, head, 1))
        return BS_OK;
    int64_t at = HEADER + (head[0] & HAS_TABLE ? INT64_C(6) << (head[0] & 7) : 0);
    while (bs_window_read(&c->window, at, head, 2) && (head[0] == EXTENSION || head[0] == IMAGE)) {
        const bool comment = head[0] == EXTENSION && head[1] == COMMENT;
        if (head[0] == IMAGE && !bs_window_read(&c->window, at, head, 10))
            break;
        at += head[0] == EXTENSION ? 2 : 11 + (head[9] & HAS_TABLE ? INT64_C(6) << (head[9] & 7) : 0);
        const int64_t from = at;
        do {
            if (!bs_window_read(&c->window, at, &part, 1))
                return BS_OK;
            at += 1 + part;
            if (comment && at - from > MAX_COMMENT)
                return bs_fail(err, BS_ERR_LIMIT, "'%s' has a comment longer than %d KB", c->in->name,
                               MAX_COMMENT >> 10);
        } while (part);
    }
    return BS_OK;
}

bs_status bs_av_check_claims(bs_av_input *in, bs_error *err)
{
    claims c = {.in = in, .window = {.fd = in->fd}};
    uint8_t head[8];
    if (!bs_window_read(&c.window, 0, head, sizeof(head)))
        return BS_OK;
    if (AV_RB32(head) == EBML_HEADER)
        return check_segment(&c, err);
    if (!memcmp(head, "GIF8", 4))
        return check_gif(&c, err);
    if (bs_is_one_of(head + 4, "ftypmoovmdatwideskipfreepnotstypsidx"))
        return check_boxes(&c, 0, in->size, 0, err);
    return BS_OK;
}
