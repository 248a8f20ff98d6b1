/* Photos, read by ourselves where libav would have to decode a picture to know as much (see av.h): size, depth and EXIF
 * orientation of JPEG (ITU-T T.81 annex B, EXIF 2.32), PNG (with its eXIf chunk) and WebP (RFC 9649), so that a photo
 * of any claimed size costs nothing before it has been judged; and which parts of the file make the picture. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/intreadwrite.h>

#include "av.h"

/* -- EXIF ------------------------------------------------------------------------------------------- */

enum { EXIF_BYTES = 4096 }; /* the first directory, where the orientation is, comes first */

/* `tiff` begins with the byte order mark. 1 (upright) where nothing sensible is said. */
static int exif_orientation(const uint8_t *tiff, size_t size)
{
    if (size < 8 || (memcmp(tiff, "II*\0", 4) && memcmp(tiff, "MM\0*", 4)))
        return 1;
    const bool little = tiff[0] == 'I';
    const size_t directory = little ? AV_RL32(tiff + 4) : AV_RB32(tiff + 4);
    if (directory > size - 2)
        return 1;
    const int entries = little ? AV_RL16(tiff + directory) : AV_RB16(tiff + directory);
    for (int i = 0; i < entries; i++) {
        const size_t at = directory + 2 + (size_t)i * 12;
        if (at + 12 > size)
            return 1;
        const int tag = little ? AV_RL16(tiff + at) : AV_RB16(tiff + at);
        const int value = little ? AV_RL16(tiff + at + 8) : AV_RB16(tiff + at + 8);
        if (tag == 0x0112)
            return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

static int exif_orientation_at(int fd, int64_t at, int64_t size)
{
    uint8_t tiff[EXIF_BYTES];
    const size_t take = size < EXIF_BYTES ? (size_t)(size < 0 ? 0 : size) : EXIF_BYTES;
    const ssize_t got = pread(fd, tiff, take, at);
    return got > 0 ? exif_orientation(tiff, (size_t)got) : 1;
}

/* -- JPEG ------------------------------------------------------------------------------------------- */

/* `sampling` has three bytes of each component; the second tells how finely it is sampled, across and down. What counts
 * is the first against the next: a picture whose components all have 1 and 2 is 4:4:4. */
static enum AVPixelFormat jpeg_format(int components, const uint8_t *sampling)
{
    if (components < 3)
        return AV_PIX_FMT_GRAY8;
    const int across = sampling[1] >> 4, down = sampling[1] & 15;
    const int other_across = sampling[4] >> 4, other_down = sampling[4] & 15;
    if (across == 2 * other_across && down == 2 * other_down)
        return AV_PIX_FMT_YUVJ420P;
    if (across == 2 * other_across && down == other_down)
        return AV_PIX_FMT_YUVJ422P;
    if (across == other_across && down == 2 * other_down)
        return AV_PIX_FMT_YUVJ440P;
    if (across == 4 * other_across && down == other_down)
        return AV_PIX_FMT_YUVJ411P;
    return AV_PIX_FMT_YUVJ444P;
}

/* *scans: how many it has as far as it goes. */
static int64_t jpeg_end(int fd, int64_t from, int64_t size, int *scans)
{
    enum { FIRST_RESTART = 0xd0, LAST_RESTART = 0xd7, END = 0xd9, SCAN = 0xda };
    bs_window w = {.fd = fd};
    uint8_t marker[2], length[2];
    *scans = 0;
    for (int64_t at = from + 2; at + 1 < size;) {
        if (!bs_window_read(&w, at, marker, 2))
            return -1;
        if (marker[0] != 0xff) { /* coded data: to what may be a marker */
            const int64_t known = w.from + w.filled - at;
            const uint8_t *const next = memchr(w.bytes + (at - w.from), 0xff, (size_t)known);
            at = next ? w.from + (next - w.bytes) : at + known;
        } else if (marker[1] == 0xff) { /* fill bytes */
            at++;
        } else if (marker[1] == END) {
            return at + 2;
        } else if (marker[1] <= 1 || (marker[1] >= FIRST_RESTART && marker[1] <= LAST_RESTART)) { /* without a length */
            at += 2;
        } else {
            *scans += marker[1] == SCAN && *scans < INT_MAX;
            at += 2 + (bs_window_read(&w, at + 2, length, 2) ? AV_RB16(length) : 0);
        }
    }
    return -1;
}

int64_t bs_jpeg_end(int fd, int64_t from, int64_t size)
{
    int scans;
    return jpeg_end(fd, from, size, &scans);
}

/* The picture that begins at `from`. *several: it says itself that others follow that belong to it: depth, gain maps,
 * previews (CIPA DC-007, "MPF"). */
static bool read_jpeg_header(int fd, int64_t from, int64_t size, bs_photo_header *out, bool *several)
{
    bs_window w = {.fd = fd};
    for (int64_t at = from + 2; at + 4 <= size;) {
        uint8_t marker[4], frame[12];
        if (!bs_window_read(&w, at, marker, 4) || marker[0] != 0xff)
            return false;
        if (marker[1] == 0xff) { /* fill byte */
            at++;
            continue;
        }
        const int length = AV_RB16(marker + 2);
        const bool start_of_frame = marker[1] >= 0xc0 && marker[1] <= 0xcf && marker[1] != 0xc4 && marker[1] != 0xc8 &&
                                    marker[1] != 0xcc;
        if (start_of_frame) {
            if (length < 11 || !bs_window_read(&w, at + 4, frame, 9))
                return false;
            if (frame[5] >= 3 && !bs_window_read(&w, at + 4, frame, sizeof(frame)))
                return false;
            out->bit_depth = frame[0];
            out->height = AV_RB16(frame + 1);
            out->width = AV_RB16(frame + 3);
            out->format = jpeg_format(frame[5], frame + 6);
            return true;
        }
        if (marker[1] == 0xda || marker[1] == 0xd9 || length < 2)
            return false; /* pixels, or the end, and no size yet */
        uint8_t name[6] = {0};
        if (length >= 8)
            bs_window_read(&w, at + 4, name, 6);
        if (marker[1] == 0xe1 && !memcmp(name, "Exif\0", 6))
            out->exif_orientation = exif_orientation_at(fd, at + 10, length - 8);
        *several |= marker[1] == 0xe2 && !memcmp(name, "MPF", 4);
        at += 2 + length;
    }
    return false;
}

static bool read_jpeg(int fd, int64_t size, bs_photo_header *out)
{
    bs_photo_header next;
    uint8_t start[3];
    bool several = false;
    out->codec = AV_CODEC_ID_MJPEG;
    out->container = "jpeg";
    if (!read_jpeg_header(fd, 0, size, out, &several))
        return false;
    /* Motion JPEG without a container: the same size again, at once. */
    const int64_t end = jpeg_end(fd, 0, size, &out->scans);
    out->animated = end > 0 && !several && bs_read_at(fd, end, start, 3) && AV_RB24(start) == 0xffd8ff &&
                    read_jpeg_header(fd, end, size, &next, &several) && next.width == out->width &&
                    next.height == out->height;
    return true;
}

/* -- PNG -------------------------------------------------------------------------------------------- */

static enum AVPixelFormat png_format(int color_type, int depth)
{
    switch (color_type) {
    case 0: return depth == 16 ? AV_PIX_FMT_GRAY16BE : depth == 1 ? AV_PIX_FMT_MONOBLACK : AV_PIX_FMT_GRAY8;
    case 2: return depth == 16 ? AV_PIX_FMT_RGB48BE : AV_PIX_FMT_RGB24;
    case 3: return AV_PIX_FMT_PAL8;
    case 4: return depth == 16 ? AV_PIX_FMT_YA16BE : AV_PIX_FMT_YA8;
    default: return depth == 16 ? AV_PIX_FMT_RGBA64BE : AV_PIX_FMT_RGBA;
    }
}

static bool read_png(int fd, int64_t size, bs_photo_header *out)
{
    uint8_t head[10], chunk[8];
    out->codec = AV_CODEC_ID_PNG;
    out->container = "png";
    if (!bs_read_at(fd, 12, chunk, 4) || memcmp(chunk, "IHDR", 4) || !bs_read_at(fd, 16, head, 10))
        return false;
    out->width = (int)FFMIN(AV_RB32(head), INT32_MAX);
    out->height = (int)FFMIN(AV_RB32(head + 4), INT32_MAX);
    out->bit_depth = head[8];
    out->format = png_format(head[9], head[8]);

    /* eXIf may come after the pixels too; a file has few chunks, and a limit if it has not. */
    int64_t at = 8;
    for (int i = 0; i < 10000 && at + 12 <= size && bs_read_at(fd, at, chunk, 8); i++) {
        const int64_t length = AV_RB32(chunk);
        if (!memcmp(chunk + 4, "eXIf", 4))
            out->exif_orientation = exif_orientation_at(fd, at + 8, length);
        if (!memcmp(chunk + 4, "acTL", 4))
            out->animated = true;
        at += 12 + length;
    }
    return true;
}

/* -- WebP ------------------------------------------------------------------------------------------- */

static bool read_webp(int fd, int64_t size, bs_photo_header *out)
{
    out->codec = AV_CODEC_ID_WEBP;
    out->container = "webp";
    out->bit_depth = 8;
    bool alpha = false;
    int64_t at = 12;
    for (int i = 0; i < 10000 && at + 8 <= size; i++) {
        uint8_t chunk[8 + 10] = {0};
        if (pread(fd, chunk, sizeof(chunk), at) < 8)
            break;
        const int64_t length = AV_RL32(chunk + 4);
        const uint8_t *const body = chunk + 8;
        if (!memcmp(chunk, "VP8X", 4)) {
            alpha = body[0] & 0x10;
            out->animated = body[0] & 0x02;
            out->width = 1 + (int)AV_RL24(body + 4);
            out->height = 1 + (int)AV_RL24(body + 7);
        } else if (!memcmp(chunk, "VP8 ", 4)) {
            out->width = AV_RL16(body + 6) & 0x3fff;
            out->height = AV_RL16(body + 8) & 0x3fff;
            out->format = alpha ? AV_PIX_FMT_YUVA420P : AV_PIX_FMT_YUV420P;
        } else if (!memcmp(chunk, "VP8L", 4)) {
            const uint32_t bits = AV_RL32(body + 1);
            out->width = 1 + (int)(bits & 0x3fff);
            out->height = 1 + (int)(bits >> 14 & 0x3fff);
            out->format = AV_PIX_FMT_ARGB;
        } else if (!memcmp(chunk, "EXIF", 4)) {
            const bool prefixed = !memcmp(body, "Exif\0", 6); /* some writers keep JPEG's prefix */
            out->exif_orientation = exif_orientation_at(fd, at + 8 + (prefixed ? 6 : 0), length - (prefixed ? 6 : 0));
        }
        at += 8 + length + (length & 1);
    }
    return out->width > 0;
}

bool bs_photo_header_read(int fd, int64_t size, bs_photo_header *out)
{
    bs_photo_header header = {.exif_orientation = 1, .format = AV_PIX_FMT_NONE};
    uint8_t magic[12];
    bool known = false;
    if (!bs_read_at(fd, 0, magic, sizeof(magic)))
        return false;
    if (magic[0] == 0xff && magic[1] == 0xd8 && magic[2] == 0xff)
        known = read_jpeg(fd, size, &header);
    else if (!memcmp(magic, "\x89PNG\r\n\x1a\n", 8))
        known = read_png(fd, size, &header);
    else if (!memcmp(magic, "RIFF", 4) && !memcmp(magic + 8, "WEBP", 4))
        known = read_webp(fd, size, &header);
    if (!known || header.width <= 0 || header.height <= 0)
        return false;
    *out = header;
    return true;
}

/* -- what is kept of a photo ------------------------------------------------------------------------------ */

enum { JPEG = 0xff, PNG = 0x89, WEBP = 'R' }; /* the first bytes */

bs_photo_part bs_photo_first_part(bs_window *window, int64_t size)
{
    uint8_t kind = 0;
    bs_window_read(window, 0, &kind, 1);
    const int64_t head = kind == JPEG ? 2 : kind == WEBP ? 12 : 8;
    return (bs_photo_part){.size = size < head ? size : head, .kept = true, .kind = kind};
}

/* `left` bytes of a JPEG file begin with a marker, or with what should be one. */
static int64_t jpeg_part(const bs_window *window, int64_t at, int64_t left, const uint8_t head[8], bs_photo_part *out)
{
    enum { JFIF = 0xe0, ADOBE = 0xee, COMMENT = 0xfe }; /* of the application's segments two tell of colour */
    const int marker = head[1];
    if (head[0] != 0xff || marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd9))
        return left;
    if (marker == 0xff) { /* a fill byte: there may be millions, and each would be read by itself */
        out->kept = false;
        return 1;
    }
    if (marker == 0xda) { /* the pixels, to the picture's end */
        const int64_t end = bs_jpeg_end(window->fd, at - 2, at + left);
        out->last = true;
        return end > at ? end - at : left;
    }
    out->kept = marker != COMMENT && (marker < 0xe0 || marker > 0xef || marker == JFIF || marker == ADOBE);
    return 2 + AV_RB16(head + 2);
}

bs_photo_part bs_photo_next_part(bs_window *window, int64_t size, bs_photo_part part)
{
    const int64_t at = part.at + part.size, left = size - at;
    bs_photo_part next = {.at = at, .kept = true, .kind = part.kind};
    uint8_t head[8];
    if (left <= 0 || part.last)
        return next;
    int64_t length = left;
    if (left < 8 || !bs_window_read(window, at, head, 8)) {
        length = left;
    } else if (part.kind == PNG) {
        length = INT64_C(12) + AV_RB32(head);
        next.kept = bs_is_one_of(head + 4, "IHDRPLTEtRNSIDATIEND");
    } else if (part.kind == WEBP) {
        length = INT64_C(8) + AV_RL32(head + 4) + (AV_RL32(head + 4) & 1);
        next.kept = bs_is_one_of(head, "VP8XVP8 VP8LALPH");
    } else {
        length = jpeg_part(window, at, left, head, &next);
    }
    next.size = length < left ? length : left;
    return next;
}

int64_t bs_photo_bytes(int fd, int64_t size)
{
    bs_window window = {.fd = fd};
    int64_t bytes = 0;
    for (bs_photo_part part = bs_photo_first_part(&window, size); part.size > 0;
         part = bs_photo_next_part(&window, size, part))
        bytes += part.kept ? part.size : 0;
    return bytes;
}

const char *bs_photo_kind(int fd)
{
    static const struct {
        int at, size;
        const char *bytes, *name;
    } kinds[] = {
        {4, 8, "ftypheic", "HEIC"},
        {4, 8, "ftypheix", "HEIC"},
        {4, 8, "ftypmif1", "HEIC or AVIF"},
        {4, 8, "ftypavif", "AVIF"},
        {0, 4, "II*\0", "TIFF"},
        {0, 4, "MM\0*", "TIFF"},
        {0, 2, "BM", "BMP"},
        {4, 8, "jP  \r\n\x87\n", "JPEG 2000"},
        {4, 8, "JXL \r\n\x87\n", "JPEG XL"},
        {0, 2, "\xff\x0a", "JPEG XL"},
    };
    uint8_t magic[12];
    for (size_t i = 0; bs_read_at(fd, 0, magic, sizeof(magic)) && i < sizeof(kinds) / sizeof(*kinds); i++)
        if (!memcmp(magic + kinds[i].at, kinds[i].bytes, (size_t)kinds[i].size))
            return kinds[i].name;
    return NULL;
}
