/* Leaving out frames that nobody needs (see skip.h). */
#include <stdlib.h>

#include "av.h"
#include "reader.h"
#include "skip.h"

enum {
    HELD_BACK = 16,          /* pictures that H.264 and HEVC can hold back to put them into order */
    AHEAD = BS_READER_AHEAD, /* packets looked ahead: more than that */
    AHEAD_INTRA = 2,         /* … where none are: packets are whole pictures, and large */
    RECENT = 64,             /* packets remembered after they were taken */
};

typedef struct seen {
    int64_t pts, rank; /* rank: place in order of presentation, from the file's beginning */
} seen;

struct bs_skipper {
    int every;
    bool intra, hevc;
    int length_bytes;     /* of a NAL unit; 0: start codes */
    bs_sequence sequence; /* of H.264, as far as it was met */
    bool has_sequence;
    bool stopped;
    bool based;      /* base is known */
    bool confirmed;  /* … and the second frame came where it was expected: there is a packet for each frame */
    int64_t base;    /* rank of the first frame that was given */
    bool order_told; /* the parameter sets say how many pictures are held back to be put into order */
    bool reordered;  /* some are */

    AVPacket *ahead[AHEAD]; /* a ring */
    bool can_go[AHEAD];     /* of each packet: no other picture needs it */
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
    s->order_told = true;
    if (s->intra)
        return true;
    if (codec->codec_id == AV_CODEC_ID_H264) {
        s->has_sequence = bs_sequence_first(codec, &s->sequence);
        if (s->has_sequence)
            s->order_told = s->sequence.order_told;
        if (codec->extradata_size > 6 && extra[0] == 1) {
            s->length_bytes = (extra[4] & 3) + 1;
            return (extra[5] & 31) <= 1; /* parameter sets */
        }
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

/* -- what packets hold ------------------------------------------------------------------------------------- */

typedef struct contents {
    bool picture;
    bool dispensable; /* a picture that nothing refers to, and words about it (SEI messages, delimiters, filler):
                         parameter sets and the like must reach the decoder */
    bool odd;         /* what follows may not be one frame for each packet */
} contents;

/* The kinds of NAL units are those of table 7-1 of each standard. */
static void look_at_h264(bs_skipper *s, const uint8_t *nal, size_t size, contents *c)
{
    enum { SLICE = 1, FIRST_PART, LAST_SLICE = 5, SEI, SEQUENCE, DELIMITER = 9, FILLER = 12, FURTHER_VIEW = 20 };
    const int kind = nal[0] & 31;
    const bool referred_to = nal[0] & 0x60;
    c->picture |= kind >= SLICE && kind <= LAST_SLICE;
    c->dispensable &= kind == SEI || kind == DELIMITER || kind == FILLER ||
                      ((kind == SLICE || kind == FURTHER_VIEW) && !referred_to);
    if (kind == SEQUENCE) {
        bs_sequence sequence;
        bs_sequence_read(nal, size, false, &sequence);
        s->order_told &= sequence.order_told;
        c->odd |= s->has_sequence && (sequence.fields != s->sequence.fields || sequence.planes != s->sequence.planes ||
                                      sequence.number_bits != s->sequence.number_bits);
        s->sequence = sequence;
        s->has_sequence = true;
    }
    /* A frame may be two packets then. */
    if (kind == SLICE || kind == FIRST_PART || kind == LAST_SLICE)
        c->odd |= bs_slice_is_field(nal, size, &s->sequence);
}

static void look_at_hevc(const uint8_t *nal, size_t size, contents *c)
{
    enum {
        LAST_LEADING = 14,
        BROKEN = 16,
        LAST_BROKEN = 18,
        LAST_SLICE = 31,
        SEQUENCE = 33,
        DELIMITER = 35,
        END = 36,
        LAST_END = 37,
        FILLER,
        SEI,
        LATER_SEI
    };
    const int kind = nal[0] >> 1 & 63;
    c->picture |= kind <= LAST_SLICE;
    c->dispensable &= kind == DELIMITER || kind == FILLER || kind == SEI || kind == LATER_SEI ||
                      (kind <= LAST_LEADING && kind % 2 == 0);
    /* Behind a broken link and an end, pictures that refer to what was before it are not given. */
    c->odd |= size < 2 || (kind >= BROKEN && kind <= LAST_BROKEN) || kind == END || kind == LAST_END;
    if (kind == SEQUENCE) {
        bs_sequence sequence;
        bs_sequence_read(nal, size, true, &sequence);
        c->odd |= sequence.layers != 1;
    }
}

static void look_at(bs_skipper *s, const uint8_t *nal, size_t size, contents *c)
{
    if (s->hevc)
        look_at_hevc(nal, size, c);
    else
        look_at_h264(s, nal, size, c);
}

static void look_by_lengths(bs_skipper *s, const uint8_t *data, size_t size, contents *c)
{
    while (size > (size_t)s->length_bytes) {
        size_t length = 0;
        for (int i = 0; i < s->length_bytes; i++)
            length = length << 8 | data[i];
        data += s->length_bytes;
        size -= (size_t)s->length_bytes;
        if (!length || length > size) {
            c->dispensable = false;
            return;
        }
        look_at(s, data, length, c);
        data += length;
        size -= length;
    }
    c->dispensable &= !size;
}

static void look_by_start_codes(bs_skipper *s, const uint8_t *data, size_t size, contents *c)
{
    for (size_t i = 0; i + 4 < size; i++)
        if (!data[i] && !data[i + 1] && data[i + 2] == 1)
            look_at(s, data + i + 3, size - i - 3, c);
}

static contents contents_of(bs_skipper *s, const AVPacket *packet)
{
    contents c = {.picture = s->intra && packet->size, .dispensable = true};
    if (!s->intra)
        (s->length_bytes ? look_by_lengths : look_by_start_codes)(s, packet->data, (size_t)packet->size, &c);
    if (packet->flags & (AV_PKT_FLAG_CORRUPT | AV_PKT_FLAG_DISCARD))
        c.dispensable = false;
    if (packet->side_data_elems && av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, NULL))
        c.dispensable = false;
    return c;
}

/* -- the look-ahead ---------------------------------------------------------------------------------------- */

bool bs_skipper_has_room(const bs_skipper *s)
{
    return s->count < (s->intra ? AHEAD_INTRA : AHEAD) && !(s->stopped && s->count);
}

static bool is_shown(const AVPacket *packet)
{
    return !(packet->flags & AV_PKT_FLAG_DISCARD);
}

/* Packets so far that are presented after this one. */
static int later_than(const bs_skipper *s, const AVPacket *packet)
{
    int later = 0;
    for (int i = 0; i < RECENT && i < s->taken; i++)
        later += s->recent[i].pts > packet->pts;
    for (int i = 0; i < s->count; i++)
        later += s->ahead[(s->first + i) % AHEAD]->pts > packet->pts;
    return later;
}

/* Whether a packet may be left out where its frame is not wanted. Steps back where frames are not one to one. */
static bool examine(bs_skipper *s, const AVPacket *packet)
{
    const contents c = contents_of(s, packet);
    const int later = later_than(s, packet);
    if (!c.picture || c.odd || packet->pts == AV_NOPTS_VALUE)
        s->stopped = true;
    for (int i = 0; i < s->count; i++)
        if (s->ahead[(s->first + i) % AHEAD]->pts == packet->pts)
            s->stopped = true;
    /* A decoder that is not told how many it must hold back learns it from a picture that comes too late, and does not
     * give that one. */
    s->reordered |= later > 0;
    if ((s->reordered && (s->intra || !s->order_told)) || later > HELD_BACK) /* the latter: time begins anew */
        s->stopped = true;
    return c.dispensable;
}

void bs_skipper_put(bs_skipper *s, AVPacket *packet)
{
    const bool can_go = !s->stopped && examine(s, packet);
    const int at = (s->first + s->count++) % AHEAD;
    s->can_go[at] = can_go;
    av_packet_move_ref(s->ahead[at], packet);
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
        const bool wanted = s->stopped || !s->confirmed || (rank - s->base) % s->every == 0 ||
                            s->left_out_count >= RECENT;
        const bool goes = !wanted && shown && s->can_go[s->first];
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
        s->confirmed |= index == 1 && !s->stopped;
        return;
    }
    s->stopped = true;
}
