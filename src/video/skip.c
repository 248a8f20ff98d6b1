/* Leaving out frames that nobody needs (see skip.h). */
#include <stdlib.h>

#include <libavutil/intreadwrite.h>

#include "skip.h"

enum {
    AHEAD = 20,  /* packets looked ahead: more than the 16 pictures that H.264 and HEVC can hold back */
    RECENT = 64, /* packets remembered after they were taken */
};

typedef struct seen {
    int64_t pts, rank; /* rank: place in order of presentation, from the file's beginning */
} seen;

struct bs_skipper {
    int every;
    bool intra, hevc;
    int length_bytes; /* of a NAL unit; 0: start codes */
    bool stopped;
    bool based;   /* base is known */
    int64_t base; /* rank of the first frame that was given */

    AVPacket *ahead[AHEAD]; /* a ring */
    int first, count;
    seen recent[RECENT]; /* a ring */
    int64_t taken;       /* packets that are shown, taken so far */
    int64_t left_out[RECENT];
    int left_out_count;
};

/* -- opening ------------------------------------------------------------------------------------------- */

static bool allows(bs_skipper *s, const AVCodecParameters *codec)
{
    const AVCodecDescriptor *const desc = avcodec_descriptor_get(codec->codec_id);
    const uint8_t *const extra = codec->extradata;
    s->intra = desc && (desc->props & AV_CODEC_PROP_INTRA_ONLY);
    s->hevc = codec->codec_id == AV_CODEC_ID_HEVC;
    if (s->intra)
        return true;
    if (codec->codec_id == AV_CODEC_ID_H264) {
        if (codec->extradata_size > 6 && extra[0] == 1)
            s->length_bytes = (extra[4] & 3) + 1;
        return true;
    }
    /* Pictures that are no reference in their own temporal layer may be one in a higher layer: only hvcC tells. */
    if (s->hevc && codec->extradata_size > 23 && extra[0] == 1 && (extra[21] >> 3 & 7) == 1) {
        s->length_bytes = (extra[21] & 3) + 1;
        return true;
    }
    return false;
}

bs_status bs_skipper_open(bs_skipper **out, const AVCodecParameters *codec, int every, bs_error *err)
{
    bs_skipper *s = calloc(1, sizeof(*s));
    if (!s)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to open a video");
    s->every = every;
    if (!allows(s, codec)) {
        free(s);
        *out = NULL;
        return BS_OK;
    }
    for (int i = 0; i < AHEAD; i++) {
        s->ahead[i] = av_packet_alloc();
        if (!s->ahead[i]) {
            bs_skipper_close(&s);
            return bs_fail(err, BS_ERR_NOMEM, "not enough memory to open a video");
        }
    }
    *out = s;
    return BS_OK;
}

void bs_skipper_close(bs_skipper **skipper)
{
    if (!skipper || !*skipper)
        return;
    for (int i = 0; i < AHEAD; i++)
        av_packet_free(&(*skipper)->ahead[i]);
    free(*skipper);
    *skipper = NULL;
}

void bs_skipper_stop(bs_skipper *skipper)
{
    skipper->stopped = true;
}

/* -- what may go ----------------------------------------------------------------------------------------- */

/* Whether one NAL unit can be left out with its packet: a slice of a picture that nothing refers to, or words about
 * it (SEI messages, delimiters, filler). Parameter sets and the like must reach the decoder. The kinds are those of
 * table 7-1 of each standard. */
static bool nal_is_dispensable(const bs_skipper *s, const uint8_t *nal, size_t size, bool *picture)
{
    if (s->hevc) {
        const int kind = nal[0] >> 1 & 63;
        if (size < 2)
            return false;
        *picture |= kind < 32;
        return kind == 35 || kind == 38 || kind == 39 || kind == 40 || (kind <= 14 && kind % 2 == 0);
    }
    const int kind = nal[0] & 31;
    *picture |= kind >= 1 && kind <= 5;
    return kind == 6 || kind == 9 || kind == 12 || ((kind == 1 || kind == 20) && !(nal[0] & 0x60));
}

static bool lengths_are_dispensable(const bs_skipper *s, const uint8_t *data, size_t size)
{
    bool picture = false;
    while (size > (size_t)s->length_bytes) {
        size_t length = 0;
        for (int i = 0; i < s->length_bytes; i++)
            length = length << 8 | data[i];
        data += s->length_bytes;
        size -= (size_t)s->length_bytes;
        if (!length || length > size || !nal_is_dispensable(s, data, length, &picture))
            return false;
        data += length;
        size -= length;
    }
    return picture && !size;
}

static bool start_codes_are_dispensable(const bs_skipper *s, const uint8_t *data, size_t size)
{
    bool picture = false;
    for (size_t i = 0; i + 4 < size; i++)
        if (!data[i] && !data[i + 1] && data[i + 2] == 1 &&
            !nal_is_dispensable(s, data + i + 3, size - i - 3, &picture))
            return false;
    return picture;
}

static bool is_dispensable(const bs_skipper *s, const AVPacket *packet)
{
    if (packet->flags & (AV_PKT_FLAG_CORRUPT | AV_PKT_FLAG_DISCARD))
        return false;
    if (packet->side_data_elems && av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, NULL))
        return false;
    if (s->intra)
        return true;
    return s->length_bytes ? lengths_are_dispensable(s, packet->data, (size_t)packet->size)
                           : start_codes_are_dispensable(s, packet->data, (size_t)packet->size);
}

/* -- the look-ahead ---------------------------------------------------------------------------------------- */

bool bs_skipper_has_room(const bs_skipper *s)
{
    return s->count < AHEAD && !(s->stopped && s->count);
}

static bool is_shown(const AVPacket *packet)
{
    return !(packet->flags & AV_PKT_FLAG_DISCARD);
}

void bs_skipper_put(bs_skipper *s, AVPacket *packet)
{
    if (packet->pts == AV_NOPTS_VALUE)
        s->stopped = true;
    for (int i = 0; i < s->count; i++)
        if (s->ahead[(s->first + i) % AHEAD]->pts == packet->pts)
            s->stopped = true;
    av_packet_move_ref(s->ahead[(s->first + s->count++) % AHEAD], packet);
}

/* The packet's place in order of presentation: how many are shown before it. */
static int64_t rank_of(const bs_skipper *s, const AVPacket *packet)
{
    const int64_t remembered = s->taken < RECENT ? s->taken : RECENT;
    int64_t rank = s->taken - remembered; /* taken so long ago that they have been shown */
    for (int64_t i = 0; i < remembered; i++)
        rank += s->recent[i].pts < packet->pts;
    for (int i = 0; i < s->count; i++) {
        const AVPacket *const other = s->ahead[(s->first + i) % AHEAD];
        rank += is_shown(other) && other->pts < packet->pts;
    }
    return rank;
}

/* Keeps the frames that were left out in order of presentation. */
static void leave_out(bs_skipper *s, int64_t pts)
{
    int i = s->left_out_count++;
    for (; i > 0 && s->left_out[i - 1] > pts; i--)
        s->left_out[i] = s->left_out[i - 1];
    s->left_out[i] = pts;
}

bool bs_skipper_take(bs_skipper *s, AVPacket *packet)
{
    while (s->count) {
        AVPacket *const next = s->ahead[s->first];
        const int64_t pts = next->pts, rank = rank_of(s, next);
        const bool shown = is_shown(next);
        const bool wanted = s->stopped || !s->based || (rank - s->base) % s->every == 0 || s->left_out_count >= RECENT;
        const bool goes = !wanted && shown && is_dispensable(s, next);
        if (shown)
            s->recent[s->taken++ % RECENT] = (seen){pts, rank};
        s->first = (s->first + 1) % AHEAD;
        s->count--;
        if (!goes) {
            av_packet_move_ref(packet, next);
            return true;
        }
        leave_out(s, pts);
        av_packet_unref(next);
    }
    return false;
}

/* -- order of presentation ---------------------------------------------------------------------------------- */

bool bs_skipper_due(bs_skipper *s, int64_t pts, int64_t *out)
{
    if (!s->left_out_count || s->left_out[0] >= pts)
        return false;
    *out = s->left_out[0];
    s->left_out_count--;
    for (int i = 0; i < s->left_out_count; i++)
        s->left_out[i] = s->left_out[i + 1];
    return true;
}

void bs_skipper_given(bs_skipper *s, int64_t pts, int64_t index)
{
    for (int i = 0; i < RECENT && i < s->taken; i++) {
        if (s->recent[i].pts != pts)
            continue;
        if (!s->based && index == 0) {
            s->base = s->recent[i].rank;
            s->based = true;
        }
        if (!s->based || s->recent[i].rank - s->base != index)
            s->stopped = true;
        return;
    }
    s->stopped = true;
}
