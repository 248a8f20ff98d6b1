/* The MP4 muxer (see mp4.h for why). While samples come, `mdat` grows at the end of the file; finish() first walks
 * through the index without writing, to know the size of every box, then moves `mdat` up by that much, from its end
 * on, and streams the index into the gap. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/intreadwrite.h>

#include "mp4.h"

enum {
    OUT_BYTES = 64 << 10,
    MOVE_BYTES = 128 << 10,
    RUN_SAMPLES = 32, /* at most in one chunk */
    MAX_BOXES = 64,
    MOVIE_TIMESCALE = BS_MP4_TIMESCALE,
    MAX_PRIVATE = 1024, /* bytes of a codec's own header */
};

/* Numbers, seven bits to a byte. */
typedef struct packed {
    uint8_t *data;
    size_t size, capacity;
} packed;

enum { VIDEO = 0, SOUND = 1, TRACKS = 2 };

/* A sample in `samples`: size × 2 + key; then dts less the one before; then, of pictures, pts - dts in zigzag. */
typedef struct track {
    bool used;
    uint32_t timescale;
    packed samples;
    int64_t count, bytes;
    int64_t first_dts, last_dts; /* as given */
    int64_t first_pts, end;      /* least presentation time; greatest end, both as given */
    int64_t last_duration;       /* how long the last sample to be shown is shown */
    int width, height, channels, sample_rate;
    enum AVCodecID codec;
    uint8_t private[MAX_PRIVATE]; /* avcC, AudioSpecificConfig, OpusHead, STREAMINFO */
    int private_size;
    int primaries, transfer, matrix;
} track;

struct bs_mp4 {
    int fd;
    int64_t base, position; /* of ftyp, and where the next byte goes */
    uint8_t out[OUT_BYTES]; /* not yet written; ends at position */
    size_t pending;
    track tracks[TRACKS];
    packed runs; /* chunks in the order of the file: samples × 2 + track */
    int run_track, run_samples;
    int64_t mdat; /* where its header is */

    bool counting; /* first walk: only sizes */
    int boxes, open[16], depth;
    uint64_t begin[16], box_size[MAX_BOXES];
    uint64_t walked; /* bytes of the index so far */
    uint64_t shift;  /* what chunk offsets move by */
    int error;       /* errno of the first failed write */
};

/* -- bytes ---------------------------------------------------------------------------------------------- */

/* Of a write that wrote `done` bytes: none without an error would be none for ever. */
static void note_failure(bs_mp4 *m, ssize_t done)
{
    if (done == 0)
        m->error = ENOSPC;
    else if (done < 0 && errno != EINTR)
        m->error = errno;
}

static void flush(bs_mp4 *m)
{
    const uint8_t *data = m->out;
    int64_t at = m->position - (int64_t)m->pending;
    while (m->pending && !m->error) {
        const ssize_t done = pwrite(m->fd, data, m->pending, at);
        note_failure(m, done);
        if (done > 0) {
            data += done;
            at += done;
            m->pending -= (size_t)done;
        }
    }
    m->pending = 0;
}

static void put(bs_mp4 *m, const void *data, size_t size)
{
    if (m->counting) {
        m->walked += size;
        return;
    }
    const uint8_t *from = data;
    m->walked += size;
    while (size) {
        const size_t room = OUT_BYTES - m->pending, take = size < room ? size : room;
        memcpy(m->out + m->pending, from, take);
        m->pending += take;
        m->position += (int64_t)take;
        from += take;
        size -= take;
        if (m->pending == OUT_BYTES)
            flush(m);
    }
}

static void put8(bs_mp4 *m, unsigned value)
{
    const uint8_t byte = (uint8_t)value;
    put(m, &byte, 1);
}

static void put16(bs_mp4 *m, unsigned value)
{
    uint8_t bytes[2];
    AV_WB16(bytes, value);
    put(m, bytes, 2);
}

static void put32(bs_mp4 *m, uint32_t value)
{
    uint8_t bytes[4];
    AV_WB32(bytes, value);
    put(m, bytes, 4);
}

static void put64(bs_mp4 *m, uint64_t value)
{
    put32(m, (uint32_t)(value >> 32));
    put32(m, (uint32_t)value);
}

static void put_name(bs_mp4 *m, const char *name)
{
    put(m, name, 4);
}

static void put_zeros(bs_mp4 *m, int count)
{
    while (count--)
        put8(m, 0);
}

static bs_status push(packed *p, uint64_t value, bs_error *err)
{
    if (p->size + 10 > p->capacity) {
        const size_t capacity = p->capacity + p->capacity / 4 + 4096;
        uint8_t *const data = realloc(p->data, capacity);
        if (!data)
            return bs_fail(err, BS_ERR_NOMEM, "not enough memory for the index of the video");
        p->data = data;
        p->capacity = capacity;
    }
    for (; value >= 0x80; value >>= 7)
        p->data[p->size++] = (uint8_t)(value | 0x80);
    p->data[p->size++] = (uint8_t)value;
    return BS_OK;
}

static uint64_t pull(const packed *p, size_t *at)
{
    uint64_t value = 0;
    for (int shift = 0; *at < p->size; shift += 7) {
        const uint8_t byte = p->data[(*at)++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* -- opening ------------------------------------------------------------------------------------------- */

static bs_status io_status(const bs_mp4 *m, bs_error *err)
{
    return m->error ? bs_fail(err, BS_ERR_IO, "the video cannot be written: %s", strerror(m->error)) : BS_OK;
}

static void put_ftyp(bs_mp4 *m)
{
    put32(m, 8 + 8 + 4 * 4);
    put_name(m, "ftyp");
    put_name(m, "isom");
    put32(m, 512);
    put_name(m, "isom");
    put_name(m, "iso4");
    put_name(m, "avc1");
    put_name(m, "mp41");
}

bs_status bs_mp4_open(bs_mp4 **out, int fd, bs_error *err)
{
    const int64_t base = lseek(fd, 0, SEEK_CUR);
    if (base < 0)
        return bs_fail(err, BS_ERR_IO, "the video cannot be written: %s", strerror(errno));
    bs_mp4 *const m = calloc(1, sizeof(*m));
    if (!m)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to write a video");
    m->fd = fd;
    m->base = m->position = base;
    m->run_track = -1;
    put_ftyp(m);
    m->mdat = m->position;
    put_zeros(m, 16);
    *out = m;
    return BS_OK;
}

void bs_mp4_close(bs_mp4 **mp4)
{
    if (!mp4 || !*mp4)
        return;
    bs_mp4 *const m = *mp4;
    *mp4 = NULL;
    for (int i = 0; i < TRACKS; i++)
        free(m->tracks[i].samples.data);
    free(m->runs.data);
    free(m);
}

/* The next NAL unit after a start code; false at the end. */
static bool next_nal(const uint8_t *data, size_t size, size_t *at, const uint8_t **nal, size_t *nal_size)
{
    size_t i = *at;
    while (i + 3 <= size && (data[i] || data[i + 1] || data[i + 2] != 1))
        i++;
    if (i + 3 > size)
        return false;
    const size_t begin = i + 3;
    for (i = begin; i + 3 <= size && (data[i] || data[i + 1] || data[i + 2] > 1); i++)
        ;
    size_t end = i + 3 <= size ? i : size;
    *at = end;
    while (end > begin && !data[end - 1])
        end--;
    *nal = data + begin;
    *nal_size = end - begin;
    return true;
}

/* AVCDecoderConfigurationRecord, ISO 14496-15 5.3.3.1. */
static bool make_avcc(track *t, const uint8_t *extradata, size_t size)
{
    const uint8_t *nal, *sps = NULL, *pps = NULL;
    size_t nal_size, sps_size = 0, pps_size = 0;
    for (size_t at = 0; next_nal(extradata, size, &at, &nal, &nal_size);) {
        if (nal_size > 3 && (nal[0] & 31) == 7)
            sps = nal, sps_size = nal_size;
        if (nal_size > 0 && (nal[0] & 31) == 8)
            pps = nal, pps_size = nal_size;
    }
    if (!sps || !pps || 11 + sps_size + pps_size + 4 > MAX_PRIVATE)
        return false;
    uint8_t *p = t->private;
    *p++ = 1;
    memcpy(p, sps + 1, 3); /* profile, compatibility, level */
    p += 3;
    *p++ = 0xff; /* lengths of four bytes */
    *p++ = 0xe1; /* one sequence parameter set */
    AV_WB16(p, sps_size);
    memcpy(p + 2, sps, sps_size);
    p += 2 + sps_size;
    *p++ = 1;
    AV_WB16(p, pps_size);
    memcpy(p + 2, pps, pps_size);
    p += 2 + pps_size;
    if (sps[1] >= 100) { /* 4:2:0, eight bits, no extensions */
        const uint8_t high[4] = {0xfd, 0xf8, 0xf8, 0};
        memcpy(p, high, 4);
        p += 4;
    }
    t->private_size = (int)(p - t->private);
    return true;
}

bs_status bs_mp4_set_video(bs_mp4 *m, const bs_mp4_picture_format *format, bs_error *err)
{
    track *const t = &m->tracks[VIDEO];
    if (!make_avcc(t, format->extradata, (size_t)format->extradata_size))
        return bs_fail(err, BS_ERR_FAILED, "the encoder gave no parameter sets");
    t->used = true;
    t->timescale = BS_MP4_TIMESCALE;
    t->codec = AV_CODEC_ID_H264;
    t->width = format->width;
    t->height = format->height;
    t->primaries = format->primaries;
    t->transfer = format->transfer;
    t->matrix = format->matrix;
    return BS_OK;
}

bool bs_mp4_takes_sound(const AVCodecParameters *sound)
{
    const int size = sound->extradata_size;
    switch (sound->codec_id) {
    case AV_CODEC_ID_AAC: return size >= 2 && size <= 256;
    case AV_CODEC_ID_MP3: return sound->sample_rate > 0;
    case AV_CODEC_ID_OPUS: return size >= 19 && size <= 19 + 2 + 255 && !memcmp(sound->extradata, "OpusHead", 8);
    case AV_CODEC_ID_FLAC: return size == 34;
    default: return false;
    }
}

int bs_mp4_sound_timescale(const AVCodecParameters *sound)
{
    return sound->codec_id == AV_CODEC_ID_OPUS ? 48000 : sound->sample_rate > 0 ? sound->sample_rate : 48000;
}

bs_status bs_mp4_set_sound(bs_mp4 *m, const AVCodecParameters *sound, bs_error *err)
{
    track *const t = &m->tracks[SOUND];
    if (!bs_mp4_takes_sound(sound))
        return bs_fail(err, BS_ERR_FAILED, "MP4 does not hold %s sound", avcodec_get_name(sound->codec_id));
    t->used = true;
    t->timescale = (uint32_t)bs_mp4_sound_timescale(sound);
    t->codec = sound->codec_id;
    t->sample_rate = sound->codec_id == AV_CODEC_ID_OPUS ? 48000 : sound->sample_rate;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(59, 24, 100)
    t->channels = sound->ch_layout.nb_channels;
#else
    t->channels = sound->channels;
#endif
    /* bs_mp4_takes_sound() has bounded it, but for MP3, which has none here: what other containers keep with it may be
     * of any length. */
    t->private_size = sound->codec_id == AV_CODEC_ID_MP3 ? 0 : sound->extradata_size;
    if (t->private_size > 0)
        memcpy(t->private, sound->extradata, (size_t)t->private_size);
    return BS_OK;
}

/* -- samples -------------------------------------------------------------------------------------------- */

static bs_status end_run(bs_mp4 *m, bs_error *err)
{
    if (!m->run_samples)
        return BS_OK;
    const uint64_t run = (uint64_t)m->run_samples << 1 | (uint64_t)m->run_track;
    m->run_samples = 0;
    return push(&m->runs, run, err);
}

static bs_status note_sample(bs_mp4 *m, int which, size_t size, int64_t dts, int64_t pts, bool key, bs_error *err)
{
    track *const t = &m->tracks[which];
    if (m->run_track != which || m->run_samples == RUN_SAMPLES) {
        const bs_status status = end_run(m, err);
        if (status)
            return status;
        m->run_track = which;
    }
    if (!t->count)
        t->first_dts = t->last_dts = t->first_pts = t->end = dts;
    if (!t->count || pts < t->first_pts)
        t->first_pts = pts;
    if (dts < t->last_dts)
        return bs_fail(err, BS_ERR_FAILED, "the encoder gave pictures in a wrong order");

    bs_status status = push(&t->samples, (uint64_t)size << 1 | key, err);
    if (!status)
        status = push(&t->samples, (uint64_t)(dts - t->last_dts), err);
    if (!status && which == VIDEO)
        status = push(&t->samples, zigzag(pts - dts), err);
    if (status)
        return status;
    if (pts > t->end)
        t->end = pts;
    t->last_dts = dts;
    t->count++;
    t->bytes += (int64_t)size;
    m->run_samples++;
    return BS_OK;
}

bs_status bs_mp4_write_video(bs_mp4 *m, const uint8_t *data, size_t size, int64_t dts, int64_t pts, bool key,
                             bs_error *err)
{
    const uint8_t *nal;
    size_t nal_size, stored = 0;
    for (size_t at = 0; next_nal(data, size, &at, &nal, &nal_size);) {
        const int kind = nal_size ? nal[0] & 31 : 9;
        if (kind == 7 || kind == 8 || kind == 9)
            continue; /* parameter sets are in avcC; delimiters say nothing here */
        put32(m, (uint32_t)nal_size);
        put(m, nal, nal_size);
        stored += 4 + nal_size;
    }
    const bs_status status = note_sample(m, VIDEO, stored, dts, pts, key, err);
    return status ? status : io_status(m, err);
}

bs_status bs_mp4_write_sound(bs_mp4 *m, const uint8_t *data, size_t size, int64_t time, bs_error *err)
{
    put(m, data, size);
    const bs_status status = note_sample(m, SOUND, size, time, time, true, err);
    return status ? status : io_status(m, err);
}

/* -- the index ------------------------------------------------------------------------------------------ */

/* Boxes come in the same order in both walks: the second one takes its sizes from the first. */
static void begin_box(bs_mp4 *m, const char *name)
{
    const int box = m->boxes++;
    m->begin[m->depth] = m->walked;
    m->open[m->depth++] = box;
    put32(m, (uint32_t)m->box_size[box]);
    put_name(m, name);
}

static void begin_full_box(bs_mp4 *m, const char *name, unsigned version, uint32_t flags)
{
    begin_box(m, name);
    put32(m, version << 24 | flags);
}

static void end_box(bs_mp4 *m)
{
    m->depth--;
    m->box_size[m->open[m->depth]] = m->walked - m->begin[m->depth];
}

static void put_matrix(bs_mp4 *m)
{
    static const uint32_t unity[9] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    for (int i = 0; i < 9; i++)
        put32(m, unity[i]);
}

static int64_t rescale(int64_t time, uint32_t from, uint32_t to)
{
    return av_rescale(time, to, from);
}

/* Of what is shown, in the track's own scale. */
static int64_t shown_duration(const track *t)
{
    const int64_t end = t->end + t->last_duration, begin = t->first_pts < 0 ? 0 : t->first_pts;
    return end > begin ? end - begin : 0;
}

static int64_t movie_duration(const bs_mp4 *m)
{
    int64_t longest = 0;
    for (int i = 0; i < TRACKS; i++) {
        const track *const t = &m->tracks[i];
        const int64_t end = t->count ? rescale(t->end + t->last_duration, t->timescale, MOVIE_TIMESCALE) : 0;
        longest = end > longest ? end : longest;
    }
    return longest;
}

static void put_mvhd(bs_mp4 *m)
{
    begin_full_box(m, "mvhd", 1, 0);
    put64(m, 0);
    put64(m, 0);
    put32(m, MOVIE_TIMESCALE);
    put64(m, (uint64_t)movie_duration(m));
    put32(m, 0x10000); /* normal speed */
    put16(m, 0x100);   /* full volume */
    put_zeros(m, 10);
    put_matrix(m);
    put_zeros(m, 24);
    put32(m, TRACKS + 1);
    end_box(m);
}

static void put_tkhd(bs_mp4 *m, int which)
{
    const track *const t = &m->tracks[which];
    begin_full_box(m, "tkhd", 1, 3); /* enabled, in the movie */
    put64(m, 0);
    put64(m, 0);
    put32(m, (uint32_t)which + 1);
    put32(m, 0);
    put64(m, (uint64_t)rescale(t->end + t->last_duration, t->timescale, MOVIE_TIMESCALE));
    put_zeros(m, 8);
    put16(m, 0);
    put16(m, 0);
    put16(m, which == SOUND ? 0x100 : 0);
    put16(m, 0);
    put_matrix(m);
    put32(m, (uint32_t)t->width << 16);
    put32(m, (uint32_t)t->height << 16);
    end_box(m);
}

/* Of decoding, so that the sum over all samples is what is shown: pictures are decoded before they are shown. */
static int64_t last_decode_duration(const track *t)
{
    const int64_t duration = t->end + t->last_duration - (t->last_dts - t->first_dts);
    return t->codec == AV_CODEC_ID_H264 && duration > 0 ? duration : t->last_duration;
}

/* Sound that begins before or after the first picture. */
static void put_edits(bs_mp4 *m, const track *t)
{
    if (!t->first_pts)
        return;
    const bool late = t->first_pts > 0;
    begin_box(m, "edts");
    begin_full_box(m, "elst", 1, 0);
    put32(m, late ? 2 : 1);
    if (late) {
        put64(m, (uint64_t)rescale(t->first_pts, t->timescale, MOVIE_TIMESCALE));
        put64(m, UINT64_MAX); /* nothing */
        put32(m, 0x10000);
    }
    put64(m, (uint64_t)rescale(shown_duration(t), t->timescale, MOVIE_TIMESCALE));
    put64(m, late ? 0 : (uint64_t)-t->first_pts);
    put32(m, 0x10000);
    end_box(m);
    end_box(m);
}

static void put_mdhd(bs_mp4 *m, const track *t)
{
    begin_full_box(m, "mdhd", 1, 0);
    put64(m, 0);
    put64(m, 0);
    put32(m, t->timescale);
    put64(m, (uint64_t)(t->last_dts - t->first_dts + last_decode_duration(t)));
    put16(m, 0x55c4); /* und */
    put16(m, 0);
    end_box(m);
}

static void put_hdlr(bs_mp4 *m, int which)
{
    begin_full_box(m, "hdlr", 0, 0);
    put32(m, 0);
    put_name(m, which == VIDEO ? "vide" : "soun");
    put_zeros(m, 12);
    put(m, which == VIDEO ? "Video" : "Sound", 6);
    end_box(m);
}

static void put_dinf(bs_mp4 *m)
{
    begin_box(m, "dinf");
    begin_full_box(m, "dref", 0, 0);
    put32(m, 1);
    begin_full_box(m, "url ", 0, 1); /* in this file */
    end_box(m);
    end_box(m);
    end_box(m);
}

static void put_avc1(bs_mp4 *m, const track *t)
{
    begin_box(m, "avc1");
    put_zeros(m, 6);
    put16(m, 1);
    put_zeros(m, 16);
    put16(m, (unsigned)t->width);
    put16(m, (unsigned)t->height);
    put32(m, 0x480000); /* 72 dpi */
    put32(m, 0x480000);
    put32(m, 0);
    put16(m, 1);
    put_zeros(m, 32);
    put16(m, 24);
    put16(m, 0xffff);
    begin_box(m, "avcC");
    put(m, t->private, (size_t)t->private_size);
    end_box(m);
    begin_box(m, "colr");
    put_name(m, "nclx");
    put16(m, (unsigned)t->primaries);
    put16(m, (unsigned)t->transfer);
    put16(m, (unsigned)t->matrix);
    put8(m, 0); /* limited range */
    end_box(m);
    begin_box(m, "pasp");
    put32(m, 1);
    put32(m, 1);
    end_box(m);
    end_box(m);
}

/* Elementary stream descriptor, ISO 14496-1 7.2.6, with lengths of one byte: what it holds is short. */
static void put_esds(bs_mp4 *m, const track *t)
{
    const bool aac = t->codec == AV_CODEC_ID_AAC;
    const int specific = aac ? t->private_size + 3 : 0; /* its length may need two bytes */
    begin_full_box(m, "esds", 0, 0);
    const int config = 13 + specific, stream = 3 + 3 + config + 3;
    put8(m, 0x03);
    put8(m, 0x80 | (unsigned)stream >> 7);
    put8(m, (unsigned)stream & 0x7f);
    put16(m, 1);
    put8(m, 0);
    put8(m, 0x04);
    put8(m, 0x80 | (unsigned)config >> 7);
    put8(m, (unsigned)config & 0x7f);
    put8(m, aac ? 0x40 : t->sample_rate < 32000 ? 0x69 : 0x6b); /* MPEG-4 AAC, MPEG-2 or MPEG-1 layer 3 */
    put8(m, 0x15);
    put_zeros(m, 3);
    put32(m, 0);
    put32(m, 0);
    if (aac) {
        put8(m, 0x05);
        put8(m, 0x80 | (unsigned)t->private_size >> 7);
        put8(m, (unsigned)t->private_size & 0x7f);
        put(m, t->private, (size_t)t->private_size);
    }
    put8(m, 0x06);
    put8(m, 1);
    put8(m, 2);
    end_box(m);
}

/* Opus in ISOBMFF 4.3.2: OpusHead with its numbers turned round. */
static void put_dops(bs_mp4 *m, const track *t)
{
    const uint8_t *const head = t->private;
    begin_box(m, "dOps");
    put8(m, 0);
    put8(m, head[9]);
    put16(m, AV_RL16(head + 10));
    put32(m, AV_RL32(head + 12));
    put16(m, AV_RL16(head + 16));
    put(m, head + 18, (size_t)t->private_size - 18);
    end_box(m);
}

static void put_dfla(bs_mp4 *m, const track *t)
{
    begin_full_box(m, "dfLa", 0, 0);
    put8(m, 0x80); /* STREAMINFO, the last block */
    put8(m, 0);
    put16(m, 34);
    put(m, t->private, 34);
    end_box(m);
}

static void put_sound_entry(bs_mp4 *m, const track *t)
{
    const bool opus = t->codec == AV_CODEC_ID_OPUS, flac = t->codec == AV_CODEC_ID_FLAC;
    begin_box(m, opus ? "Opus" : flac ? "fLaC" : "mp4a");
    put_zeros(m, 6);
    put16(m, 1);
    put_zeros(m, 8);
    put16(m, t->channels > 0 ? (unsigned)t->channels : 2);
    put16(m, 16);
    put32(m, 0);
    put32(m, t->sample_rate <= 0xffff ? (uint32_t)t->sample_rate << 16 : 0);
    if (opus)
        put_dops(m, t);
    else if (flac)
        put_dfla(m, t);
    else
        put_esds(m, t);
    end_box(m);
}

/* -- sample tables ---------------------------------------------------------------------------------------- */

typedef struct sample {
    uint32_t size;
    bool key;
    int64_t duration, offset; /* offset: of composition, from a decoding time that begins with 0 */
} sample;

/* Walks through a track's packed table. */
typedef struct walk {
    const track *t;
    int which;
    size_t at;
    int64_t left, dts;
} walk;

static walk walk_of(const bs_mp4 *m, int which)
{
    return (walk){
        .t = &m->tracks[which], .which = which, .left = m->tracks[which].count, .dts = m->tracks[which].first_dts};
}

static bool next_sample(walk *w, sample *out)
{
    if (!w->left)
        return false;
    const uint64_t size = pull(&w->t->samples, &w->at);
    w->dts += (int64_t)pull(&w->t->samples, &w->at);
    const int64_t offset = w->which == VIDEO ? unzigzag(pull(&w->t->samples, &w->at)) : 0;
    w->left--;
    out->size = (uint32_t)(size >> 1);
    out->key = size & 1;
    /* Decoding begins with time 0, and so does showing: the delay between them goes into the offsets. */
    out->offset = w->which == VIDEO ? offset + w->t->first_dts : 0;
    out->duration = last_decode_duration(w->t);
    if (w->left) {
        size_t ahead = w->at;
        pull(&w->t->samples, &ahead);
        out->duration = (int64_t)pull(&w->t->samples, &ahead);
    }
    return true;
}

/* Runs of equal values, as `stts` and `ctts` have them. Called twice: without writing, to count them. */
static uint32_t put_equal_runs(bs_mp4 *m, int which, bool offsets, bool write)
{
    walk w = walk_of(m, which);
    sample s;
    uint32_t runs = 0, length = 0;
    int64_t value = 0;
    while (next_sample(&w, &s)) {
        const int64_t v = offsets ? s.offset : s.duration;
        if (length && v != value) {
            if (write)
                put32(m, length), put32(m, (uint32_t)value);
            length = 0;
        }
        runs += !length;
        value = v;
        length++;
    }
    if (length && write)
        put32(m, length), put32(m, (uint32_t)value);
    return runs;
}

static void put_times(bs_mp4 *m, int which)
{
    begin_full_box(m, "stts", 0, 0);
    put32(m, put_equal_runs(m, which, false, false));
    put_equal_runs(m, which, false, true);
    end_box(m);
    if (which != VIDEO)
        return;
    begin_full_box(m, "ctts", 1, 0);
    put32(m, put_equal_runs(m, which, true, false));
    put_equal_runs(m, which, true, true);
    end_box(m);
}

static void put_keys(bs_mp4 *m)
{
    uint32_t keys = 0, number = 0;
    sample s;
    for (walk w = walk_of(m, VIDEO); next_sample(&w, &s);)
        keys += s.key;
    begin_full_box(m, "stss", 0, 0);
    put32(m, keys);
    for (walk w = walk_of(m, VIDEO); next_sample(&w, &s);) {
        number++;
        if (s.key)
            put32(m, number);
    }
    end_box(m);
}

static void put_sizes(bs_mp4 *m, int which)
{
    sample s;
    begin_full_box(m, "stsz", 0, 0);
    put32(m, 0);
    put32(m, (uint32_t)m->tracks[which].count);
    for (walk w = walk_of(m, which); next_sample(&w, &s);)
        put32(m, s.size);
    end_box(m);
}

/* Chunks that differ from the one before in their number of samples; counted first. */
static uint32_t put_chunk_lengths(bs_mp4 *m, int which, bool write)
{
    uint32_t entries = 0, chunk = 0;
    uint64_t last = 0;
    for (size_t at = 0; at < m->runs.size;) {
        const uint64_t run = pull(&m->runs, &at);
        if ((int)(run & 1) != which)
            continue;
        chunk++;
        if (run >> 1 == last)
            continue;
        last = run >> 1;
        entries++;
        if (write)
            put32(m, chunk), put32(m, (uint32_t)last), put32(m, 1);
    }
    return entries;
}

static uint32_t count_chunks(const bs_mp4 *m, int which)
{
    uint32_t chunks = 0;
    for (size_t at = 0; at < m->runs.size;)
        chunks += (int)(pull(&m->runs, &at) & 1) == which;
    return chunks;
}

/* Chunks lie end to end, of both tracks in turn: their places follow from the sizes. */
static void put_offsets(bs_mp4 *m, int which)
{
    const bool wide = m->mdat + 16 + m->tracks[0].bytes + m->tracks[1].bytes > INT64_C(0xf0000000);
    walk walks[TRACKS] = {walk_of(m, VIDEO), walk_of(m, SOUND)};
    begin_full_box(m, wide ? "co64" : "stco", 0, 0);
    put32(m, count_chunks(m, which));
    uint64_t place = (uint64_t)(m->mdat - m->base) + 16 + m->shift;
    for (size_t at = 0; at < m->runs.size;) {
        const uint64_t run = pull(&m->runs, &at);
        const int of = (int)(run & 1);
        if (of == which && wide)
            put64(m, place);
        else if (of == which)
            put32(m, (uint32_t)place);
        sample s;
        for (uint64_t i = 0; i < run >> 1 && next_sample(&walks[of], &s); i++)
            place += s.size;
    }
    end_box(m);
}

static void put_sample_table(bs_mp4 *m, int which)
{
    begin_box(m, "stbl");
    begin_full_box(m, "stsd", 0, 0);
    put32(m, 1);
    if (which == VIDEO)
        put_avc1(m, &m->tracks[which]);
    else
        put_sound_entry(m, &m->tracks[which]);
    end_box(m);
    put_times(m, which);
    if (which == VIDEO)
        put_keys(m);
    begin_full_box(m, "stsc", 0, 0);
    put32(m, put_chunk_lengths(m, which, false));
    put_chunk_lengths(m, which, true);
    end_box(m);
    put_sizes(m, which);
    put_offsets(m, which);
    end_box(m);
}

static void put_track(bs_mp4 *m, int which)
{
    const track *const t = &m->tracks[which];
    begin_box(m, "trak");
    put_tkhd(m, which);
    if (which == SOUND)
        put_edits(m, t);
    begin_box(m, "mdia");
    put_mdhd(m, t);
    put_hdlr(m, which);
    begin_box(m, "minf");
    if (which == VIDEO) {
        begin_full_box(m, "vmhd", 0, 1);
        put_zeros(m, 8);
    } else {
        begin_full_box(m, "smhd", 0, 0);
        put_zeros(m, 4);
    }
    end_box(m);
    put_dinf(m);
    put_sample_table(m, which);
    end_box(m);
    end_box(m);
    end_box(m);
}

static void put_moov(bs_mp4 *m)
{
    m->boxes = m->depth = 0;
    m->walked = 0;
    begin_box(m, "moov");
    put_mvhd(m);
    for (int i = 0; i < TRACKS; i++)
        if (m->tracks[i].count)
            put_track(m, i);
    end_box(m);
}

/* Moves what lies from `from` to `end` up by `shift`, the last block first. */
static bs_status move_up(bs_mp4 *m, int64_t from, int64_t end, int64_t shift, bs_error *err)
{
    uint8_t *const block = malloc(MOVE_BYTES);
    if (!block)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to finish the video");
    while (end > from && !m->error) {
        const size_t size = end - from < MOVE_BYTES ? (size_t)(end - from) : MOVE_BYTES;
        end -= (int64_t)size;
        for (size_t done = 0; done < size && !m->error;) {
            const ssize_t got = pread(m->fd, block + done, size - done, end + (int64_t)done);
            if (got <= 0 && !(got < 0 && errno == EINTR))
                m->error = got < 0 ? errno : EIO;
            done += got > 0 ? (size_t)got : 0;
        }
        for (size_t done = 0; done < size && !m->error;) {
            const ssize_t put_now = pwrite(m->fd, block + done, size - done, end + shift + (int64_t)done);
            note_failure(m, put_now);
            done += put_now > 0 ? (size_t)put_now : 0;
        }
    }
    free(block);
    return io_status(m, err);
}

bs_status bs_mp4_finish(bs_mp4 *m, int64_t last_picture_duration, int64_t last_sound_duration, bs_error *err)
{
    m->tracks[VIDEO].last_duration = last_picture_duration;
    m->tracks[SOUND].last_duration = last_sound_duration;
    bs_status status = end_run(m, err);
    if (status)
        return status;
    flush(m);
    const int64_t end = m->position;

    m->counting = true;
    put_moov(m);
    m->shift = m->box_size[0];
    m->counting = false;
    status = move_up(m, m->mdat, end, (int64_t)m->shift, err);
    if (status)
        return status;

    m->position = m->mdat;
    put_moov(m);
    put32(m, 1);
    put_name(m, "mdat");
    put64(m, (uint64_t)(end - m->mdat));
    flush(m);
    m->position = end + (int64_t)m->shift;
    if (!m->error && ftruncate(m->fd, m->position))
        m->error = errno;
    return io_status(m, err);
}
