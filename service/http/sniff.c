/* What a file is by its first bytes (see sniff.h). The signatures are those of the formats' own specifications; the
 * decoder has the last word, in a sandbox. */
#include <stdbool.h>
#include <string.h>

#include "service/http/sniff.h"

typedef struct signature {
    const char *name;
    size_t offset, length;
    const char *bytes;
} signature;

static const signature signatures[] = {
    {"Matroska", 0, 4, "\x1a\x45\xdf\xa3"}, /* and WebM: EBML */
    {"AVI", 8, 4, "AVI "},
    {"WebP", 8, 4, "WEBP"},
    {"Ogg", 0, 4, "OggS"},
    {"FLV", 0, 3, "FLV"},
    {"ASF", 0, 16, "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"}, /* WMV */
    {"MPEG program stream", 0, 4, "\x00\x00\x01\xba"},
    {"MPEG video", 0, 4, "\x00\x00\x01\xb3"},
    {"H.264", 0, 5, "\x00\x00\x00\x01\x67"},
    {"HEVC", 0, 6, "\x00\x00\x00\x01\x40\x01"},
    {"IVF", 0, 4, "DKIF"},
    {"YUV4MPEG2", 0, 10, "YUV4MPEG2 "},
    {"RealMedia", 0, 4, ".RMF"},
    {"GXF", 0, 6, "\x00\x00\x00\x00\x01\xbc"},
    {"MXF", 0, 11, "\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"},
    {"JPEG", 0, 3, "\xff\xd8\xff"},
    {"PNG", 0, 8, "\x89PNG\r\n\x1a\n"},
    {"GIF", 0, 4, "GIF8"},
};

/* ISO base media (MP4, MOV, 3GP, M4V, AVIF): a box whose type is one of those that a file may begin with. */
static bool is_iso_media(const unsigned char *d, size_t size)
{
    static const char types[][5] = {"ftyp", "moov", "mdat", "free", "skip", "wide", "pnot", "styp", "moof", "uuid"};
    if (size < 8)
        return false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!memcmp(d + 4, types[i], 4))
            return true;
    return false;
}

/* MPEG transport stream: packets of 188 bytes (192 with a time stamp, 204 with parity), each with its sync byte. */
static bool is_transport_stream(const unsigned char *d, size_t size)
{
    static const size_t packets[] = {188, 192, 204};
    for (size_t p = 0; p < 3; p++) {
        size_t first = packets[p] == 192 ? 4 : 0, seen = 0, at = first;
        while (at < size && d[at] == 0x47) {
            at += packets[p];
            seen++;
        }
        if (at >= size && seen >= 2)
            return true;
    }
    return false;
}

const char *bs_sniff(const void *data, size_t size)
{
    const unsigned char *d = data;
    if (is_iso_media(d, size))
        return "MP4";
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
        const signature *s = &signatures[i];
        if (size >= s->offset + s->length && !memcmp(d + s->offset, s->bytes, s->length))
            return s->name;
    }
    return is_transport_stream(d, size < BS_SNIFF_BYTES ? size : BS_SNIFF_BYTES) ? "MPEG transport stream" : NULL;
}
