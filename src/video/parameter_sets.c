/* Parameter sets of H.264 (ITU-T H.264, 7.3.2.1.1 and E.1.1) and HEVC (ITU-T H.265, 7.3.2.1), and heads of VP9's frames
 * (VP9 bitstream specification, 6.2 and annex B): what libav tells only of a decoder that is open, or not at all (see
 * av.h). Bits beyond the end are zeros. */
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

static void skip_decoder_model(bits *b) /* hrd_parameters() */
{
    const unsigned count = take_golomb(b) + 1;
    take(b, 8);
    for (unsigned i = 0; i < count && i < 32; i++)
        take_golomb(b), take_golomb(b), take(b, 1);
    take(b, 20);
}

/* Whether the set says how many pictures are held back to be put into order: bitstream_restriction_flag. */
static bool h264_tells_order(bits *b)
{
    enum { EXTENDED_SAR = 255 };
    if (!take(b, 1)) /* vui_parameters_present_flag */
        return false;
    if (take(b, 1) && take(b, 8) == EXTENDED_SAR)
        take(b, 32);
    if (take(b, 1)) /* overscan */
        take(b, 1);
    if (take(b, 1)) { /* video signal */
        take(b, 4);
        if (take(b, 1))
            take(b, 24);
    }
    if (take(b, 1)) /* places of chroma samples */
        take_golomb(b), take_golomb(b);
    if (take(b, 1)) /* timing */
        take(b, 32), take(b, 32), take(b, 1);
    bool models = false;
    for (int i = 0; i < 2; i++) {
        if (!take(b, 1))
            continue;
        models = true;
        skip_decoder_model(b);
    }
    if (models)
        take(b, 1);
    take(b, 1);
    return take(b, 1);
}

static void h264_sequence(bits *b, bs_sequence *out)
{
    const unsigned profile = take(b, 8);
    take(b, 16);
    take_golomb(b);
    if (profile == 100 || profile == 110 || profile == 122 || profile == 244 || profile == 44 || profile == 83 ||
        profile == 86 || profile == 118 || profile == 128) {
        const unsigned chroma = take_golomb(b);
        out->planes = chroma == 3 && take(b, 1);
        take_golomb(b);
        take_golomb(b);
        take(b, 1);
        if (take(b, 1))
            for (int i = 0; i < (chroma == 3 ? 12 : 8); i++)
                if (take(b, 1))
                    skip_scaling_list(b, i < 6 ? 16 : 64);
    }
    out->number_bits = (int)(take_golomb(b) & 15) + 4;
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
    out->references = references <= 16 ? (int)references : 0;
    out->intra = !references && b->at < b->size;
    take(b, 1);
    take_golomb(b), take_golomb(b); /* size */
    out->fields = !take(b, 1);      /* frame_mbs_only_flag */
    take(b, out->fields ? 2 : 1);
    if (take(b, 1)) /* cropping */
        take_golomb(b), take_golomb(b), take_golomb(b), take_golomb(b);
    out->order_told = h264_tells_order(b);
}

static void hevc_sequence(bits *b, bs_sequence *out)
{
    take(b, 4);
    const int layers = (int)take(b, 3);
    take(b, 1);
    take(b, 3);                            /* general profile space, tier */
    const bool extended = take(b, 5) >= 4; /* profiles that say more of themselves */
    take(b, 32);                           /* compatibility */
    take(b, 4);                            /* kind of pictures */
    take(b, 6);                            /* constraints of depth and format */
    out->intra = take(b, 1) && extended;
    take(b, 32), take(b, 5);
    take(b, 8); /* level */
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
    out->references = pictures >= 1 && pictures <= 16 ? (int)pictures : 0;
    out->layers = layers + 1;
    out->order_told = true;
}

/* What follows the header, without the emulation prevention bytes, in `plain`. */
static bits unstuffed(const uint8_t *nal, size_t size, size_t header, uint8_t *plain, size_t capacity)
{
    size_t length = 0;
    for (size_t i = header; i < size && length < capacity; i++) {
        const bool stuffed = i >= 2 && nal[i] == 3 && !nal[i - 1] && !nal[i - 2];
        if (!stuffed)
            plain[length++] = nal[i];
    }
    return (bits){plain, length * 8, 0};
}

/* 7.3.3. */
bool bs_slice_is_field(const uint8_t *nal, size_t size, const bs_sequence *sequence)
{
    uint8_t plain[32];
    bits b = unstuffed(nal, size, 1, plain, sizeof(plain));
    take_golomb(&b), take_golomb(&b), take_golomb(&b); /* first macroblock, type, picture parameter set */
    if (sequence->planes)
        take(&b, 2);
    take(&b, sequence->number_bits);
    return sequence->fields && take(&b, 1);
}

void bs_sequence_read(const uint8_t *nal, size_t size, bool hevc, bs_sequence *out)
{
    uint8_t plain[512];
    bits b = unstuffed(nal, size, hevc ? 2 : 1, plain, sizeof(plain));
    *out = (bs_sequence){0};
    (hevc ? hevc_sequence : h264_sequence)(&b, out);
}

static bool is_sequence_set(uint8_t first, bool hevc)
{
    return hevc ? (first >> 1 & 63) == 33 : (first & 31) == 7;
}

/* Of the first sequence parameter set: in avcC and hvcC (ISO 14496-15, 5.3.3.1 and 8.3.3.1), else behind a start code.
 * What follows it may be given along, for its readers stop by themselves. */
static bool read_first(const uint8_t *data, size_t size, bool hevc, bs_sequence *out)
{
    if (size > 8 && data[0] == 1 && data[5] & 31 && !hevc) { /* avcC: the first set follows at once */
        bs_sequence_read(data + 8, size - 8, false, out);
        return true;
    }
    if (size > 23 && hevc && data[0] == 1) {
        size_t at = 23;
        for (int array = data[22]; array > 0 && at + 3 <= size; array--) {
            int count = AV_RB16(data + at + 1);
            at += 3;
            for (; count > 0 && at + 2 <= size; count--) {
                const size_t length = AV_RB16(data + at);
                if (at + 2 + length > size)
                    return false;
                if (length > 2 && is_sequence_set(data[at + 2], true)) {
                    bs_sequence_read(data + at + 2, length, true, out);
                    return true;
                }
                at += 2 + length;
            }
        }
        return false;
    }
    for (size_t i = 0; i + 4 < size; i++) {
        if (!data[i] && !data[i + 1] && data[i + 2] == 1 && is_sequence_set(data[i + 3], hevc)) {
            bs_sequence_read(data + i + 3, size - i - 3, hevc, out);
            return true;
        }
    }
    return false;
}

bool bs_sequence_first(const AVCodecParameters *parameters, bs_sequence *out)
{
    const bool hevc = parameters->codec_id == AV_CODEC_ID_HEVC;
    *out = (bs_sequence){0};
    return (hevc || parameters->codec_id == AV_CODEC_ID_H264) && parameters->extradata &&
           parameters->extradata_size > 0 &&
           read_first(parameters->extradata, (size_t)parameters->extradata_size, hevc, out);
}

/* -- VP9 ------------------------------------------------------------------------------------------------ */

/* color_config(): of which an intra-only frame of profile 0 has nothing. */
static void skip_vp9_colors(bits *b, unsigned profile)
{
    enum { RGB = 7 };
    if (profile >= 2)
        take(b, 1);
    const bool rgb = take(b, 3) == RGB;
    if (!rgb)
        take(b, 1);
    if (profile & 1)
        take(b, rgb ? 1 : 3);
}

/* The slots that a frame is put into, a bit each. False: it only shows one that is there. */
static bool vp9_refreshes(const uint8_t *data, size_t size, unsigned *slots)
{
    enum { ALL = 255 };
    bits b = {data, size * 8, 0};
    take(&b, 2);
    unsigned profile = take(&b, 1);
    profile |= take(&b, 1) << 1;
    if (profile == 3)
        take(&b, 1);
    if (take(&b, 1)) /* show_existing_frame */
        return false;
    const bool key = !take(&b, 1), shown = take(&b, 1), resilient = take(&b, 1);
    *slots = ALL;
    if (key)
        return true;
    const bool intra = !shown && take(&b, 1);
    if (!resilient)
        take(&b, 2);
    if (intra)
        take(&b, 24);
    if (intra && profile > 0)
        skip_vp9_colors(&b, profile);
    *slots = take(&b, 8);
    return true;
}

static void vp9_frame(bs_vp9_slots *s, const uint8_t *data, size_t size)
{
    unsigned slots;
    if (!vp9_refreshes(data, size, &slots))
        return;
    /* Kept while it is decoded: what lies in the slots, and the one before, for its motion. */
    int kept = s->frames > 0;
    for (int i = 0; i < 8; i++) {
        bool counted = !s->slot[i] || s->slot[i] == s->frames;
        for (int j = 0; j < i; j++)
            counted |= s->slot[j] == s->slot[i];
        kept += !counted;
    }
    if (kept > s->most)
        s->most = kept;
    s->frames++;
    for (int i = 0; i < 8; i++)
        if (slots >> i & 1)
            s->slot[i] = s->frames;
}

void bs_vp9_packet(bs_vp9_slots *s, const uint8_t *data, size_t size)
{
    const unsigned mark = size ? data[size - 1] : 0, count = (mark & 7) + 1, bytes = (mark >> 3 & 3) + 1;
    const size_t index = 2 + (size_t)count * bytes;
    if ((mark & 0xe0) != 0xc0 || size < index || data[size - index] != mark) {
        vp9_frame(s, data, size);
        return;
    }
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t length = 0;
        for (unsigned byte = 0; byte < bytes; byte++)
            length |= (size_t)data[size - index + 1 + i * bytes + byte] << (8 * byte);
        if (length > size - index - at)
            return;
        vp9_frame(s, data + at, length);
        at += length;
    }
}
