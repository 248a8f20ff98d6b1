/* Any sound into AAC (see recode.h): libavcodec's decoder, libswresample, libavcodec's AAC encoder. */
#include <stdlib.h>
#include <string.h>

#include <libavutil/audio_fifo.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

#include "recode.h"

enum {
    CHANNEL_BITS = 64000, /* a second, and no more than BITS_PER_SAMPLE */
    BITS_PER_SAMPLE = 4,
    MOST_CHANNELS = 2, /* out */
    MOST_CHANNELS_IN = 64,
    PART_SAMPLES = 1024,      /* resampled at once: packets of PCM may hold seconds */
    MOST_SAMPLES = 256 << 10, /* of a decoded packet: a file may claim anything */
    MOST_AT_ONCE = 64 << 10,  /* that resampling makes of a part */
};

struct bs_recoder {
    AVCodecContext *decoder, *encoder;
    SwrContext *resampler; /* for what the decoder gave last */
    AVChannelLayout from;
    int from_format, from_rate;
    AVFrame *decoded, *frame;
    AVAudioFifo *samples;
    int filled;                    /* of `frame`, the next to be encoded */
    bool silent;                   /* … all of that is silence */
    int64_t silence;               /* samples of it to come before `samples` */
    int64_t next;                  /* where the next sample will be that is not in `frame` yet */
    int64_t put_end;               /* where all sound so far ends */
    bool started, ended, told_end; /* told: the encoder */
};

/* Compressed sound of which files are full. What it takes was measured: 0.5 MB at most. */
static bool is_known(enum AVCodecID id)
{
    switch (id) {
    case AV_CODEC_ID_MP1:
    case AV_CODEC_ID_MP2:
    case AV_CODEC_ID_AC3:
    case AV_CODEC_ID_EAC3:
    case AV_CODEC_ID_DTS:
    case AV_CODEC_ID_TRUEHD:
    case AV_CODEC_ID_MLP:
    case AV_CODEC_ID_AAC_LATM:
    case AV_CODEC_ID_VORBIS:
    case AV_CODEC_ID_SPEEX:
    case AV_CODEC_ID_WMAV1:
    case AV_CODEC_ID_WMAV2:
    case AV_CODEC_ID_WMAPRO:
    case AV_CODEC_ID_WMAVOICE:
    case AV_CODEC_ID_ALAC:
    case AV_CODEC_ID_AMR_NB:
    case AV_CODEC_ID_AMR_WB:
    case AV_CODEC_ID_GSM:
    case AV_CODEC_ID_GSM_MS:
    case AV_CODEC_ID_NELLYMOSER:
    case AV_CODEC_ID_QDM2:
    case AV_CODEC_ID_QDMC:
    case AV_CODEC_ID_MACE3:
    case AV_CODEC_ID_MACE6:
    case AV_CODEC_ID_COOK:
    case AV_CODEC_ID_RA_144:
    case AV_CODEC_ID_RA_288: return true;
    default: return id >= AV_CODEC_ID_FIRST_AUDIO && id < AV_CODEC_ID_AMR_NB; /* PCM and ADPCM */
    }
}

/* The lowest that AAC has and that loses nothing; browsers play up to 48000. */
static int rate_for(int rate)
{
    static const int rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000};
    enum { COUNT = sizeof(rates) / sizeof(*rates) };
    for (int i = 0; i < COUNT && rate > 0; i++)
        if (rates[i] >= rate)
            return rates[i];
    return rates[COUNT - 1];
}

static bool open_decoder(bs_recoder *r, const AVCodecParameters *sound, AVRational time_base)
{
    const AVCodec *const codec = is_known(sound->codec_id) ? avcodec_find_decoder(sound->codec_id) : NULL;
    r->decoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!r->decoder || avcodec_parameters_to_context(r->decoder, sound) < 0)
        return false;
    r->decoder->thread_count = 1;
    r->decoder->max_samples = MOST_SAMPLES;
    r->decoder->pkt_timebase = time_base;
    return avcodec_open2(r->decoder, codec, NULL) >= 0;
}

static bool open_encoder(bs_recoder *r, const AVCodecParameters *sound)
{
    const AVCodec *const codec = avcodec_find_encoder(AV_CODEC_ID_AAC);
    AVCodecContext *const e = r->encoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!e)
        return false;
    e->sample_fmt = AV_SAMPLE_FMT_FLTP;
    e->sample_rate = rate_for(sound->sample_rate);
    av_channel_layout_default(&e->ch_layout, sound->ch_layout.nb_channels == 1 ? 1 : MOST_CHANNELS);
    e->bit_rate = (int64_t)e->ch_layout.nb_channels * FFMIN(CHANNEL_BITS, e->sample_rate * BITS_PER_SAMPLE);
    e->time_base = (AVRational){1, e->sample_rate};
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    e->thread_count = 1;
    AVDictionary *options = NULL;
    av_dict_set(&options, "aac_coder", "fast", 0);
    const int code = avcodec_open2(e, codec, &options);
    av_dict_free(&options);
    return code >= 0 && e->frame_size == BS_RECODED_SAMPLES;
}

static bool open_frames(bs_recoder *r)
{
    const AVCodecContext *const e = r->encoder;
    r->decoded = av_frame_alloc();
    r->frame = av_frame_alloc();
    r->samples = av_audio_fifo_alloc(e->sample_fmt, e->ch_layout.nb_channels, 2 * BS_RECODED_SAMPLES);
    if (!r->decoded || !r->frame || !r->samples)
        return false;
    r->frame->format = e->sample_fmt;
    r->frame->sample_rate = e->sample_rate;
    r->frame->nb_samples = BS_RECODED_SAMPLES;
    return av_channel_layout_copy(&r->frame->ch_layout, &e->ch_layout) >= 0 && av_frame_get_buffer(r->frame, 0) >= 0;
}

bs_recoder *bs_recoder_open(const AVCodecParameters *sound, AVRational time_base)
{
    bs_recoder *r = calloc(1, sizeof(*r));
    if (r && (!open_decoder(r, sound, time_base) || !open_encoder(r, sound) || !open_frames(r)))
        bs_recoder_close(&r);
    return r;
}

void bs_recoder_close(bs_recoder **recoder)
{
    bs_recoder *const r = *recoder;
    if (!r)
        return;
    *recoder = NULL;
    avcodec_free_context(&r->decoder);
    avcodec_free_context(&r->encoder);
    swr_free(&r->resampler);
    av_channel_layout_uninit(&r->from);
    av_frame_free(&r->decoded);
    av_frame_free(&r->frame);
    if (r->samples)
        av_audio_fifo_free(r->samples);
    free(r);
}

int bs_recoder_rate(const bs_recoder *recoder)
{
    return recoder->encoder->sample_rate;
}

int bs_recoder_format(const bs_recoder *recoder, AVCodecParameters *out)
{
    return avcodec_parameters_from_context(out, recoder->encoder);
}

/* -- in ------------------------------------------------------------------------------------------------- */

/* For sound like that in r->decoded: broadcasts change between stereo and surround. */
static bool set_resampler(bs_recoder *r)
{
    AVFrame *const f = r->decoded;
    if (f->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&f->ch_layout, f->ch_layout.nb_channels);
    if (r->resampler && f->format == r->from_format && f->sample_rate == r->from_rate &&
        !av_channel_layout_compare(&f->ch_layout, &r->from))
        return true;
    swr_free(&r->resampler);
    r->from_format = f->format;
    r->from_rate = f->sample_rate;
    if (av_channel_layout_copy(&r->from, &f->ch_layout) < 0 ||
        swr_alloc_set_opts2(&r->resampler, &r->encoder->ch_layout, r->encoder->sample_fmt, r->encoder->sample_rate,
                            &r->from, r->from_format, r->from_rate, 0, NULL) < 0 ||
        swr_init(r->resampler) < 0) {
        swr_free(&r->resampler);
        return false;
    }
    return true;
}

/* `count` samples follow from `at` on, but for those before 0. */
static void add_samples(bs_recoder *r, uint8_t **samples, int count, int64_t at)
{
    const int early = at < 0 ? (int)FFMIN(-at, count) : 0;
    if (early == count)
        return;
    at += early;
    if (!r->started)
        r->next = r->put_end = at;
    r->started = true;
    if (at > r->put_end) /* only the first samples of a packet can be: all before it have been taken */
        r->silence = at - r->put_end;
    void *heard[MOST_CHANNELS];
    for (int i = 0; i < r->encoder->ch_layout.nb_channels; i++)
        heard[i] = samples[i] + (size_t)early * sizeof(float);
    const int added = av_audio_fifo_write(r->samples, heard, count - early);
    r->put_end = at + (added > 0 ? added : 0);
}

/* Resamples what is in r->decoded, part by part. Returns where it ends. */
static int64_t resample(bs_recoder *r, int64_t at)
{
    const AVFrame *const f = r->decoded;
    const enum AVSampleFormat format = f->format;
    const bool planar = av_sample_fmt_is_planar(format);
    const int channels = f->ch_layout.nb_channels, planes = planar ? channels : 1;
    const size_t step = (size_t)av_get_bytes_per_sample(format) * (size_t)(planar ? 1 : channels);
    const uint8_t *in[MOST_CHANNELS_IN];
    if (planes > MOST_CHANNELS_IN)
        return at;
    for (int from = 0; from < f->nb_samples; from += PART_SAMPLES) {
        const int part = FFMIN(PART_SAMPLES, f->nb_samples - from), room = swr_get_out_samples(r->resampler, part);
        uint8_t *out[MOST_CHANNELS] = {NULL};
        if (room <= 0 || room > MOST_AT_ONCE ||
            av_samples_alloc(out, NULL, r->encoder->ch_layout.nb_channels, room, r->encoder->sample_fmt, 0) < 0)
            return at;
        for (int i = 0; i < planes; i++)
            in[i] = f->extended_data[i] + (size_t)from * step;
        const int got = swr_convert(r->resampler, out, room, in, part);
        if (got > 0) {
            add_samples(r, out, got, at);
            at += got;
        }
        av_freep(&out[0]);
    }
    return at;
}

int64_t bs_recoder_put(bs_recoder *r, const AVPacket *packet, int64_t at)
{
    if (avcodec_send_packet(r->decoder, packet) < 0)
        return at;
    while (avcodec_receive_frame(r->decoder, r->decoded) >= 0) {
        if (set_resampler(r))
            at = resample(r, at);
        av_frame_unref(r->decoded);
    }
    return at;
}

void bs_recoder_end(bs_recoder *r)
{
    r->ended = true;
}

/* -- out ------------------------------------------------------------------------------------------------- */

/* Up to `room` samples from what is there: silence first, then sound; behind the end, silence again. */
static int next_samples(bs_recoder *r, void **to, int room)
{
    const bool over = r->ended && r->filled && !av_audio_fifo_size(r->samples);
    if (!r->silence && !over) {
        const int got = av_audio_fifo_read(r->samples, to, room);
        r->silent &= got <= 0;
        return got > 0 ? got : 0;
    }
    const int got = r->silence ? (int)FFMIN(room, r->silence) : room;
    for (int i = 0; i < r->encoder->ch_layout.nb_channels; i++)
        memset(to[i], 0, (size_t)got * sizeof(float));
    r->silence -= FFMIN(got, r->silence);
    return got;
}

/* Whether r->frame could be filled. */
static bool fill(bs_recoder *r)
{
    if (!r->filled)
        r->silent = true;
    while (r->filled < BS_RECODED_SAMPLES) {
        void *to[MOST_CHANNELS];
        for (int i = 0; i < r->encoder->ch_layout.nb_channels; i++)
            to[i] = r->frame->extended_data[i] + (size_t)r->filled * sizeof(float);
        const int got = next_samples(r, to, BS_RECODED_SAMPLES - r->filled);
        if (!got)
            return false;
        r->filled += got;
        r->next += got;
    }
    return true;
}

/* Encodes r->frame. AAC puts half of a packet's sound into the next one: after one of silence nothing is left of it,
 * and the rest of a pause need not be written. */
static bool encode(bs_recoder *r)
{
    r->frame->pts = r->next - BS_RECODED_SAMPLES;
    const int code = avcodec_send_frame(r->encoder, r->frame);
    r->filled = 0;
    if (r->silent) {
        r->next += r->silence;
        r->silence = 0;
    }
    return code >= 0 && av_frame_make_writable(r->frame) >= 0;
}

bool bs_recoder_take(bs_recoder *r, AVPacket *packet)
{
    while (avcodec_receive_packet(r->encoder, packet) < 0) {
        if (fill(r)) {
            if (!encode(r))
                return false;
        } else if (r->ended && !r->told_end) {
            r->told_end = true;
            avcodec_send_frame(r->encoder, NULL);
        } else {
            return false;
        }
    }
    return true;
}
