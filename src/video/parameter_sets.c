/* Parameter sets of H.264 (ITU-T H.264, 7.3.2.1.1) and HEVC (ITU-T H.265, 7.3.2.1): how many pictures a decoder has to
 * keep, which libav tells only of a decoder that is open (see av.h). Bits beyond the end are zeros. */
#include <libavutil/intreadwrite.h>

#include "av.h"

typedef struct bits {
    const uint8_t *data;
    size_t size, at; /* in bits */
} bits;

static unsigned take(bits *b, int count)
{
    unsigned value = 0;
    for (int i = 0; i < count; i++, b->at++)
        value = value << 1 | (b->at < b->size ? b->data[b->at >> 3] >> (7 - (b->at & 7)) & 1u : 0u);
    return value;
}

static unsigned take_golomb(bits *b)
{
    int zeros = 0;
    while (zeros < 32 && b->at < b->size && !take(b, 1))
        zeros++;
    return zeros < 32 ? (1u << zeros) - 1 + take(b, zeros) : 0;
}

static void skip_scaling_list(bits *b, int count)
{
    unsigned last = 8, next = 8;
    for (int i = 0; i < count; i++) {
        if (next) {
            const unsigned code = take_golomb(b);
            next = (last + (code & 1 ? code / 2 + 1 : 0 - code / 2)) & 255;
        }
        last = next ? next : last;
    }
}

static int h264_references(bits *b)
{
    const unsigned profile = take(b, 8);
    take(b, 16);
    take_golomb(b);
    if (profile == 100 || profile == 110 || profile == 122 || profile == 244 || profile == 44 || profile == 83 ||
        profile == 86 || profile == 118 || profile == 128) {
        const unsigned chroma = take_golomb(b);
        if (chroma == 3)
            take(b, 1);
        take_golomb(b);
        take_golomb(b);
        take(b, 1);
        if (take(b, 1))
            for (int i = 0; i < (chroma == 3 ? 12 : 8); i++)
                if (take(b, 1))
                    skip_scaling_list(b, i < 6 ? 16 : 64);
    }
    take_golomb(b);
    const unsigned order = take_golomb(b);
    if (order == 0) {
        take_golomb(b);
    } else if (order == 1) {
        take(b, 1);
        take_golomb(b);
        take_golomb(b);
        const unsigned cycle = take_golomb(b);
        for (unsigned i = 0; i < cycle && i < 256; i++)
            take_golomb(b);
    }
    const unsigned references = take_golomb(b);
    return references <= 16 ? (int)references : 0;
}

static int hevc_references(bits *b)
{
    take(b, 4);
    const int layers = (int)take(b, 3);
    take(b, 1);
    take(b, 32), take(b, 32), take(b, 24); /* general profile, tier, compatibility */
    take(b, 8);                            /* level */
    bool profile[8] = {0}, level[8] = {0};
    for (int i = 0; i < layers; i++)
        profile[i] = take(b, 1), level[i] = take(b, 1);
    if (layers)
        take(b, 2 * (8 - layers));
    for (int i = 0; i < layers; i++)
        b->at += (profile[i] ? 88u : 0u) + (level[i] ? 8u : 0u);
    take_golomb(b);
    if (take_golomb(b) == 3)
        take(b, 1);
    take_golomb(b), take_golomb(b);
    if (take(b, 1))
        take_golomb(b), take_golomb(b), take_golomb(b), take_golomb(b);
    take_golomb(b), take_golomb(b), take_golomb(b);
    const bool each = take(b, 1);
    unsigned pictures = 0;
    for (int i = each ? 0 : layers; i <= layers; i++) {
        pictures = take_golomb(b) + 1;
        take_golomb(b), take_golomb(b);
    }
    return pictures >= 1 && pictures <= 16 ? (int)pictures : 0;
}

/* A NAL unit without its header and its emulation prevention bytes. */
static int references_of_nal(const uint8_t *nal, size_t size, bool hevc)
{
    uint8_t plain[512];
    size_t length = 0;
    for (size_t i = hevc ? 2 : 1; i < size && length < sizeof(plain); i++) {
        const bool stuffed = i >= 2 && nal[i] == 3 && !nal[i - 1] && !nal[i - 2];
        if (!stuffed)
            plain[length++] = nal[i];
    }
    bits b = {plain, length * 8, 0};
    return hevc ? hevc_references(&b) : h264_references(&b);
}

static bool is_sequence_set(uint8_t first, bool hevc)
{
    return hevc ? (first >> 1 & 63) == 33 : (first & 31) == 7;
}

/* Of the first sequence parameter set: in avcC and hvcC (ISO 14496-15, 5.3.3.1 and 8.3.3.1), else behind a start code.
 * What follows it may be given along, for its readers stop by themselves. */
static int references_in(const uint8_t *data, size_t size, bool hevc)
{
    if (size > 8 && data[0] == 1 && !hevc) /* avcC: the first set follows at once */
        return references_of_nal(data + 8, size - 8, false);
    if (size > 23 && hevc && data[0] == 1) {
        size_t at = 23;
        for (int array = data[22]; array > 0 && at + 3 <= size; array--) {
            int count = AV_RB16(data + at + 1);
            at += 3;
            for (; count > 0 && at + 2 <= size; count--) {
                const size_t length = AV_RB16(data + at);
                if (at + 2 + length > size)
                    return 0;
                if (length > 2 && is_sequence_set(data[at + 2], true))
                    return references_of_nal(data + at + 2, length, true);
                at += 2 + length;
            }
        }
        return 0;
    }
    for (size_t i = 0; i + 4 < size; i++)
        if (!data[i] && !data[i + 1] && data[i + 2] == 1 && is_sequence_set(data[i + 3], hevc))
            return references_of_nal(data + i + 3, size - i - 3, hevc);
    return 0;
}

int bs_reference_frames(const AVCodecParameters *parameters)
{
    const bool hevc = parameters->codec_id == AV_CODEC_ID_HEVC;
    if ((!hevc && parameters->codec_id != AV_CODEC_ID_H264) || !parameters->extradata ||
        parameters->extradata_size <= 0)
        return 0;
    return references_in(parameters->extradata, (size_t)parameters->extradata_size, hevc);
}
