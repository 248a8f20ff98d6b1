/* Whether a file ends before it should, told from its own bytes (see av.h): by the length that a header claims, or by a
 * last packet, page or tag that is not whole. Where a format says nothing of the kind, nothing is said. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/intreadwrite.h>

#include "av.h"

/* -- lengths that headers claim ------------------------------------------------------------------------ */

/* What stands at the top of an ISO file. What else seems to be too long is something behind the video: cameras and
 * phones append notes of their own. Source: ISO/IEC 14496-12, 4.2 and table 1. */
static const char top_boxes[] = "ftypstypmoovmoofmdatfreeskipwidepnotmframetasidxssixprftemsguuidudta";

static bool boxes_end_early(int fd, int64_t size)
{
    int64_t at = 0;
    for (int i = 0; i < 100000 && at + 8 <= size; i++) {
        uint8_t head[16] = {0};
        if (pread(fd, head, 16, at) < 8)
            return false;
        const uint32_t brief = AV_RB32(head);
        const int64_t length = brief == 1 ? (int64_t)AV_RB64(head + 8) : (int64_t)brief;
        if (length < 8)
            return false; /* to the end of the file, or nonsense */
        if (length > size - at)
            return bs_is_one_of(head + 4, top_boxes);
        at += length;
    }
    return false;
}

/* -- Matroska and WebM. Source: RFC 8794, sections 4 to 6; RFC 9559 ------------------------------------------- */

typedef struct element {
    uint32_t id;
    int64_t body;    /* where its content begins */
    uint64_t length; /* of that; UNKNOWN: up to what cannot be in it */
} element;

#define UNKNOWN UINT64_MAX

/* A number of 1 to 8 bytes, which tells by its leading zeros how many; 0: no number. */
static int read_number(const uint8_t *bytes, bool keep_marker, uint64_t *out)
{
    int count = 1;
    while (count <= 8 && !(bytes[0] & (0x80 >> (count - 1))))
        count++;
    if (count > 8)
        return 0;
    uint64_t value = keep_marker ? bytes[0] : bytes[0] & (0xff >> count), unknown = 0xff >> count;
    for (int i = 1; i < count; i++) {
        value = value << 8 | bytes[i];
        unknown = unknown << 8 | 0xff;
    }
    *out = !keep_marker && value == unknown ? UNKNOWN : value;
    return count;
}

/* False: there is none, or it is not whole. */
static bool read_element(int fd, int64_t at, int64_t size, element *out)
{
    uint8_t head[12] = {0};
    uint64_t id;
    if (at >= size || pread(fd, head, sizeof(head), at) < 2)
        return false;
    const int of_id = read_number(head, true, &id);
    if (!of_id || of_id > 4)
        return false;
    const int of_length = read_number(head + of_id, false, &out->length);
    out->id = (uint32_t)id;
    out->body = at + of_id + of_length;
    return of_length && out->body <= size;
}

/* The Segment says how long it is. Where it was written live, as browsers record, it does not, nor need its Clusters:
 * then their parts do. */
static bool segment_ends_early(int fd, int64_t size)
{
    enum { HEADER = 0x1a45dfa3, SEGMENT = 0x18538067, CLUSTER = 0x1f43b675, MAX_PARTS = 200000 };
    element e = {0};
    if (!read_element(fd, 0, size, &e) || e.id != HEADER || e.length > (uint64_t)(size - e.body) ||
        !read_element(fd, e.body + (int64_t)e.length, size, &e) || e.id != SEGMENT)
        return false;
    if (e.length != UNKNOWN)
        return e.length > (uint64_t)(size - e.body);
    int64_t at = e.body;
    for (int i = 0; i < MAX_PARTS && at < size; i++) {
        if (!read_element(fd, at, size, &e))
            return size - at < 12; /* else it is no element at all */
        const bool opened = (e.id == CLUSTER || e.id == SEGMENT || e.id == HEADER) && e.length == UNKNOWN;
        if (!opened && e.length > (uint64_t)(size - e.body))
            return e.length != UNKNOWN;
        at = opened ? e.body : e.body + (int64_t)e.length;
    }
    return false;
}

/* ASF: the file properties object holds the file's size, which is void for a broadcast. Source: ASF specification 3.2.
 */
static bool asf_ends_early(int fd, int64_t size)
{
    static const uint8_t properties[16] = {0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11,
                                           0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65};
    int64_t at = 30;
    for (int i = 0; i < 64; i++) {
        uint8_t object[92];
        if (!bs_read_at(fd, at, object, sizeof(object)))
            return false;
        if (!memcmp(object, properties, sizeof(properties)))
            return !(object[88] & 1) && (int64_t)AV_RL64(object + 40) > size;
        const uint64_t length = AV_RL64(object + 16);
        if (length < 24 || length > (uint64_t)size)
            return false;
        at += (int64_t)length;
    }
    return false;
}

/* YUV4MPEG2: a line that tells the size, then frames of one length, each behind a line of its own. Source: the manual
 * page yuv4mpeg(5) of mjpegtools. */
static int64_t y4m_picture_bytes(const char *line)
{
    enum { MOST_SIDE = 1 << 16 };
    static const struct {
        const char *name;
        int chroma_planes, across, down; /* besides luma; samples of that for one of chroma */
    } kinds[] = {{"444alpha", 3, 1, 1}, {"420", 2, 2, 2}, {"422", 2, 2, 1}, {"444", 2, 1, 1},
                 {"411", 2, 4, 1},      {"410", 2, 4, 4}, {"mono", 0, 1, 1}};
    const char *const w = strstr(line, " W"), *const h = strstr(line, " H"), *const c = strstr(line, " C");
    const char *const colours = c ? c + 2 : "420";
    const int64_t width = w ? strtol(w + 2, NULL, 10) : 0, height = h ? strtol(h + 2, NULL, 10) : 0;
    if (width <= 0 || height <= 0 || width > MOST_SIDE || height > MOST_SIDE)
        return 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        const size_t length = strlen(kinds[i].name);
        if (strncmp(colours, kinds[i].name, length))
            continue;
        const char *const bits = colours + length + (colours[length] == 'p'); /* as in 420p10, mono12 */
        const int64_t across = (width + kinds[i].across - 1) / kinds[i].across;
        const int64_t down = (height + kinds[i].down - 1) / kinds[i].down;
        return (width * height + kinds[i].chroma_planes * across * down) * (strtol(bits, NULL, 10) > 8 ? 2 : 1);
    }
    return 0;
}

static bool y4m_ends_early(int fd, int64_t size)
{
    enum { BEFORE = 6 }; /* "FRAME" and the line's end, where it says nothing of its own */
    char line[256] = {0}, frame[BEFORE + 1] = {0};
    if (pread(fd, line, sizeof(line) - 1, 0) <= 0 || !strchr(line, '\n'))
        return false;
    const int64_t first = strchr(line, '\n') + 1 - line;
    *strchr(line, '\n') = '\0';
    const int64_t step = y4m_picture_bytes(line) + BEFORE, last = first + (size - first) / step * step;
    if (step == BEFORE || last == size)
        return false;
    const ssize_t got = pread(fd, frame, BEFORE, last);
    return got > 0 && !memcmp(frame, "FRAME\n", (size_t)got); /* else the frames are of other lengths */
}

/* -- files that are pieces, each of which says how long it is -------------------------------------------------- */

/* From its first bytes; 0: it does not say, or is none. */
enum { PIECE_HEAD = 16 + 9 };
typedef int64_t piece_length(const uint8_t head[PIECE_HEAD]);

/* Source: SMPTE ST 360, 6.1. */
static int64_t gxf_packet(const uint8_t head[PIECE_HEAD])
{
    return AV_RB32(head) == 0 && head[4] == 1 ? AV_RB32(head + 6) : 0;
}

/* The first one, the file's own, has no length. */
static int64_t roq_chunk(const uint8_t head[PIECE_HEAD])
{
    if (head[1] != 0x10)
        return 0;
    return 8 + (AV_RL32(head + 2) == UINT32_MAX ? 0 : (int64_t)AV_RL32(head + 2));
}

/* 0 in the last one. Source: Dirac specification, 9.6. */
static int64_t dirac_unit(const uint8_t head[PIECE_HEAD])
{
    return AV_RB32(head) == AV_RB32("BBCD") ? AV_RB32(head + 5) : 0;
}

/* Key, length, value. Source: SMPTE ST 336. */
static int64_t mxf_triplet(const uint8_t head[PIECE_HEAD])
{
    enum { KEY = 16 };
    const int more = head[KEY] & 0x80 ? head[KEY] & 0x7f : 0;
    if (AV_RB32(head) != 0x060e2b34 || more > 8)
        return 0;
    uint64_t length = more ? 0 : head[KEY];
    for (int i = 0; i < more; i++)
        length = length << 8 | head[KEY + 1 + i];
    return length > INT64_MAX / 2 ? INT64_MAX : KEY + 1 + more + (int64_t)length;
}

static bool last_piece_ends_early(int fd, int64_t from, int64_t size, piece_length *length_of)
{
    enum { MAX_PIECES = 200000, AT_ONCE = 16 };
    bs_window window = {.fd = fd};
    int64_t at = from, length = 1;
    for (int i = 0; i < MAX_PIECES && at < size && length > 0; i++, at += length) {
        uint8_t head[PIECE_HEAD] = {0};
        for (int64_t done = 0, n; done < PIECE_HEAD && at + done < size; done += n) {
            n = FFMIN3(AT_ONCE, PIECE_HEAD - done, size - at - done);
            bs_window_read(&window, at + done, head + done, (size_t)n);
        }
        length = length_of(head);
        if (length > size - at)
            return true;
    }
    return false;
}

/* Its header says where the last part begins, once the file was closed. Source: SMPTE ST 377-1, 7.1. */
static bool mxf_ends_early(int fd, int64_t size)
{
    enum { KEY = 16, FOOTER = 24 }; /* in the value */
    uint8_t head[KEY + 9 + FOOTER + 8];
    if (!bs_read_at(fd, 0, head, sizeof(head)))
        return false;
    const int in_front = KEY + 1 + (head[KEY] & 0x80 ? FFMIN(head[KEY] & 0x7f, 8) : 0);
    const uint64_t footer = AV_RB64(head + in_front + FOOTER);
    return footer >= (uint64_t)size || last_piece_ends_early(fd, (int64_t)footer, size, mxf_triplet);
}

/* -- ends that are not whole ------------------------------------------------------------------------------ */

/* A transport stream is packets of one size: 188 bytes, with a time stamp in front 192, with a checksum behind 204.
 * Source: ISO/IEC 13818-1, 2.4.3.2. */
static bool is_transport_stream(int fd, int packet, int before)
{
    uint8_t sync = 0;
    for (int i = 0; i < 4; i++)
        if (!bs_read_at(fd, before + (int64_t)i * packet, &sync, 1) || sync != 0x47)
            return false;
    return true;
}

/* The tail of a file. */
typedef struct tail {
    uint8_t bytes[64 << 10];
    size_t size;
} tail;

static bool read_tail(int fd, int64_t size, tail *out)
{
    out->size = size < (int64_t)sizeof(out->bytes) ? (size_t)size : sizeof(out->bytes);
    return bs_read_at(fd, size - (int64_t)out->size, out->bytes, out->size);
}

/* Where `pattern` begins for the last time, else -1. */
static int64_t last_of(const tail *t, const void *pattern, size_t length)
{
    for (int64_t at = (int64_t)t->size - (int64_t)length; at >= 0; at--)
        if (!memcmp(t->bytes + at, pattern, length))
            return at;
    return -1;
}

/* The last packet of each stream in a transport stream, cut between two of its pieces. Packets of video may leave their
 * length open: of those nothing is known. Source: ISO/IEC 13818-1, 2.4.3. */
static bool last_pes_ends_early(const tail *t, int64_t size, int packet, int before)
{
    enum { STREAMS = 16, HEADER = 6 }; /* streams of one tail; start code, id and length */
    struct {
        int pid, expected, got;
    } streams[STREAMS] = {0};
    const int64_t from = size - (int64_t)t->size;
    for (size_t at = (size_t)((packet - from % packet) % packet); at + (size_t)packet <= t->size;
         at += (size_t)packet) {
        const uint8_t *const p = t->bytes + at + before;
        const int pid = AV_RB16(p + 1) & 0x1fff, control = p[3] >> 4 & 3;
        const int head = 4 + (control == 3 ? 1 + p[4] : 0), payload = 188 - head;
        int i = 0;
        while (i < STREAMS && streams[i].expected && streams[i].pid != pid)
            i++;
        if (p[0] != 0x47 || !(control & 1) || payload <= 0 || i == STREAMS)
            continue;
        if (p[1] & 0x40) { /* a packet begins */
            const bool pes = payload >= HEADER && AV_RB24(p + head) == 1;
            streams[i].pid = pid;
            streams[i].expected = pes && AV_RB16(p + head + 4) ? AV_RB16(p + head + 4) + HEADER : -1;
            streams[i].got = 0;
        }
        if (streams[i].expected)
            streams[i].got += payload;
    }
    for (int i = 0; i < STREAMS; i++)
        if (streams[i].got < streams[i].expected)
            return true;
    return false;
}

/* A program stream: the packets of the last pack say how long they are. Source: ISO/IEC 13818-1, 2.5.3; 11172-1. */
static bool program_stream_ends_early(const tail *t)
{
    const int64_t pack = last_of(t, "\0\0\1\xba", 4);
    if (pack < 0 || pack + 14 > (int64_t)t->size)
        return pack >= 0;
    const bool mpeg2 = (t->bytes[pack + 4] & 0xc0) == 0x40;
    int64_t at = pack + (mpeg2 ? 14 + (t->bytes[pack + 13] & 7) : 12);
    while (at + 6 <= (int64_t)t->size && AV_RB24(t->bytes + at) == 1 && t->bytes[at + 3] >= 0xbb)
        at += 6 + AV_RB16(t->bytes + at + 4);
    return at > (int64_t)t->size;
}

/* Ogg: the last page says how long it is. Source: RFC 3533, section 6. */
static bool ogg_ends_early(const tail *t)
{
    const int64_t page = last_of(t, "OggS", 4);
    if (page < 0 || page + 27 > (int64_t)t->size)
        return page >= 0;
    const int segments = t->bytes[page + 26];
    int64_t end = page + 27 + segments;
    for (int i = 0; i < segments && page + 27 + i < (int64_t)t->size; i++)
        end += t->bytes[page + 27 + i];
    return end > (int64_t)t->size;
}

/* FLV: behind each tag stands how long it was. Source: Adobe Flash Video File Format Specification 10.1, annex E. */
static bool flv_ends_early(int fd, int64_t size)
{
    uint8_t length[4], tag[4];
    if (!bs_read_at(fd, size - 4, length, 4) || !bs_read_at(fd, size - 4 - (int64_t)AV_RB32(length), tag, 4))
        return true;
    return AV_RB24(tag + 1) + 11 != AV_RB32(length);
}

/* A picture ends with its marker, and so does the last one of those that follow at once: a motion JPEG. What else
 * follows a photo is not its own. */
static bool jpegs_end_early(int fd, int64_t size, tail *t)
{
    uint8_t next[3];
    const int64_t end = bs_jpeg_end(fd, 0, size);
    if (end < 0 || !bs_read_at(fd, end, next, sizeof(next)) || memcmp(next, "\xff\xd8\xff", 3))
        return end < 0;
    return read_tail(fd, size, t) && last_of(t, "\xff\xd8\xff", 3) >= last_of(t, "\xff\xd9", 2);
}

/* GIF ends with a semicolon, in some files with zeros behind it. */
static bool gif_ends_early(const tail *t)
{
    size_t end = t->size;
    while (end > 0 && t->bytes[end - 1] == 0)
        end--;
    return end == 0 || t->bytes[end - 1] != ';';
}

static bool ends_early(int fd, int64_t size, const uint8_t head[12], tail *t)
{
    if (!memcmp(head + 4, "ftyp", 4))
        return boxes_end_early(fd, size);
    if (AV_RB32(head) == 0x1a45dfa3)
        return segment_ends_early(fd, size);
    if (!memcmp(head, "RIFF", 4) && !memcmp(head + 8, "AMV ", 4)) /* which tells no length, but its end */
        return !read_tail(fd, size, t) || last_of(t, "AMV_END_", 8) < 0;
    if (!memcmp(head, "RIFF", 4)) /* 0: written live */
        return AV_RL32(head + 4) + INT64_C(8) > size && AV_RL32(head + 4) < 0xffffff00;
    if (!memcmp(head, "\xff\xd8\xff", 3))
        return jpegs_end_early(fd, size, t);
    if (AV_RB32(head) == 0x3026b275)
        return asf_ends_early(fd, size);
    if (AV_RB24(head) == 0x1f0700) /* DV: frames of one size, 25 or 30 a second. Source: IEC 61834-2, 11.4 */
        return size % (head[3] & 0x80 ? 144000 : 120000);
    if (!memcmp(head, "FLV\1", 4))
        return flv_ends_early(fd, size);
    if (!memcmp(head, "YUV4MPEG2", 9))
        return y4m_ends_early(fd, size);
    if (AV_RB32(head) == 0x060e2b34)
        return mxf_ends_early(fd, size);
    if (AV_RB32(head) == 0 && AV_RB16(head + 4) == 0x1bc)
        return last_piece_ends_early(fd, 0, size, gxf_packet);
    if (AV_RL16(head) == 0x1084 && AV_RL32(head + 2) == UINT32_MAX)
        return last_piece_ends_early(fd, 0, size, roq_chunk);
    if (!memcmp(head, "BBCD", 4))
        return last_piece_ends_early(fd, 0, size, dirac_unit);
    if (!read_tail(fd, size, t))
        return false;
    static const struct {
        int packet, before;
    } transports[] = {{188, 0}, {192, 4}, {204, 0}};
    for (size_t i = 0; i < sizeof(transports) / sizeof(*transports); i++)
        if (is_transport_stream(fd, transports[i].packet, transports[i].before))
            return size % transports[i].packet ||
                   last_pes_ends_early(t, size, transports[i].packet, transports[i].before);
    if (!memcmp(head, "GIF8", 4))
        return gif_ends_early(t);
    if (!memcmp(head, "OggS", 4))
        return ogg_ends_early(t);
    return AV_RB32(head) == 0x1ba && program_stream_ends_early(t);
}

bool bs_file_is_cut(int fd, int64_t size)
{
    uint8_t head[12];
    tail *const t = malloc(sizeof(*t));
    const bool cut = t && bs_read_at(fd, 0, head, sizeof(head)) && ends_early(fd, size, head, t);
    free(t);
    return cut;
}
