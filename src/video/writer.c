/* The video writer: canvases into libx264, its packets and the input's sound into mp4.c (see writer.h).
 *
 * libx264's defaults keep some 50 pictures for looking ahead; here it looks ten ahead, which costs little size, or
 * less far where memory is short, and encodes one frame at a time per thread. Sound is written in spans of half a
 * second, never beyond the picture that was written last, so that the two stay side by side in the file; what of it is
 * longer than the pictures comes last, unless the pictures were cut short. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/bsf.h>
#include <libavutil/opt.h>

#include "av.h"
#include "mp4.h"
#include "recode.h"
#include "sound.h"
#include "writer.h"

/* Preset veryfast, less of what costs most: motion is refined by plain differences (subme) and fades are not looked for
 * (weightp). A third less of the encoder's time for 7 to 8 % more bytes of the same SSIM. */
#define ENCODER_PARAMETERS "subme=1:weightp=0:sync-lookahead=0:lookahead-threads=1"

/* By options.lean: what libx264 keeps is mostly pictures that it looks ahead at, and B pictures put aside. */
static const char *const look_ahead[] = {
    "rc-lookahead=10",
    "rc-lookahead=5",
    "rc-lookahead=2:bframes=1",
    "rc-lookahead=0:bframes=0:mbtree=0",
};
enum { MOST_LEAN = sizeof(look_ahead) / sizeof(*look_ahead) - 1 };

/* For level 6, which very large and very long pictures have, libx264 makes tables of motion 8192 pixels far: 17 MB.
 * Levels from 3.1 on have 512, and nobody moves further; pictures of less keep their level's own. */
#define LESS_MOTION ":mvrange=512"
enum { LEVEL_3_BLOCKS = 1620, LEVEL_3_BLOCKS_BESIDE = 113 };

enum {
    KEY_SECONDS = 2, /* at most between places to seek to */
    SOUND_SPAN_US = 500000,
    SOUND_JITTER_PER_SECOND = 20, /* 1/20 s: time stamps of containers are coarser than sound */
    SOUND_MOST_SECONDS = 10,      /* of a packet: a file may claim anything */
    FALLBACK_DURATION = BS_MP4_TIMESCALE / 25,
};

struct bs_video_writer {
    bs_video_writer_options options;
    bs_mp4 *mp4;
    AVCodecContext *encoder; /* NULL until the first frame */
    AVFrame *picture;
    AVPacket *packet;
    int64_t first_us, last_us; /* of what was written */
    int64_t last_pts, step;    /* in BS_MP4_TIMESCALE; step: what the last frame lasted */
    int64_t frames;

    bs_sound *sound; /* NULL once it has been given up */
    AVBSFContext *filter;
    bs_recoder *recoder; /* in place of the filter, where MP4 does not hold the sound for browsers */
    AVCodecParameters *sound_format;
    int sound_rate;
    bool sound_started;
    bool sound_anew;        /* a new timeline of it begins, and none of it was written */
    int64_t sound_next;     /* where the next packet is expected, in sound_rate */
    int64_t sound_duration; /* of the last packet */
    bs_sound_packet *ahead; /* taken from the queue, not yet due */
    char sound_note[160];
};

/* -- opening -------------------------------------------------------------------------------------------- */

static void give_up_sound(bs_video_writer *w, const char *format, const char *what)
{
    snprintf(w->sound_note, sizeof(w->sound_note), format, what);
    w->sound = NULL;
}

/* AAC of a transport stream has its description in every packet; MP4 wants it once. */
static bool is_adts(const AVCodecParameters *format)
{
    return format->codec_id == AV_CODEC_ID_AAC && format->extradata_size < 2;
}

static int open_filter(bs_video_writer *w)
{
    const AVCodecParameters *const format = w->sound->parameters;
    const AVBitStreamFilter *const kind = av_bsf_get_by_name(is_adts(format) ? "aac_adtstoasc" : "null");
    int code = kind ? av_bsf_alloc(kind, &w->filter) : AVERROR_BSF_NOT_FOUND;
    if (code >= 0)
        code = avcodec_parameters_copy(w->filter->par_in, format);
    if (code >= 0) {
        w->filter->time_base_in = w->sound->time_base;
        code = av_bsf_init(w->filter);
    }
    return code < 0 ? code : avcodec_parameters_copy(w->sound_format, w->filter->par_out);
}

static bool is_copied(const AVCodecParameters *format)
{
    return is_adts(format) || bs_mp4_takes_sound(format);
}

static bool open_recoder(bs_video_writer *w)
{
    w->recoder = bs_recoder_open(w->sound->parameters, w->sound->time_base);
    if (!w->recoder || bs_recoder_format(w->recoder, w->sound_format) < 0)
        return false;
    w->sound_rate = bs_recoder_rate(w->recoder);
    return true;
}

static void open_sound(bs_video_writer *w)
{
    const AVCodecParameters *const format = w->sound->parameters;
    if (!is_copied(format)) {
        if (!open_recoder(w))
            give_up_sound(w, "the sound was left out: MP4 does not hold %s for browsers, and it cannot be converted",
                          avcodec_get_name(format->codec_id));
    } else if (open_filter(w) < 0)
        give_up_sound(w, "the sound was left out: its %s stream cannot be read", avcodec_get_name(format->codec_id));
    else
        w->sound_rate = bs_mp4_sound_timescale(format);
}

bs_status bs_video_writer_open(bs_video_writer **out, const bs_video_writer_options *options, bs_error *err)
{
    bs_av_log_setup();
    bs_video_writer *w = calloc(1, sizeof(*w));
    bs_status status = BS_OK;
    if (w) {
        w->options = *options;
        w->sound = options->sound;
        w->picture = av_frame_alloc();
        w->packet = av_packet_alloc();
        w->sound_format = avcodec_parameters_alloc();
    }
    if (!w || !w->picture || !w->packet || !w->sound_format)
        status = bs_fail(err, BS_ERR_NOMEM, "not enough memory to write a video");
    if (!status && (options->width < 2 || options->height < 2 || (options->width | options->height) & 1))
        status = bs_fail(err, BS_ERR_USAGE, "a video of %d × %d pixels cannot be written: the sizes must be even",
                         options->width, options->height);
    if (!status)
        status = bs_mp4_open(&w->mp4, options->fd, err);
    if (status) {
        bs_video_writer_close(&w);
        return status;
    }
    if (w->sound)
        open_sound(w);
    *out = w;
    return BS_OK;
}

void bs_video_writer_close(bs_video_writer **writer)
{
    if (!writer || !*writer)
        return;
    bs_video_writer *const w = *writer;
    *writer = NULL;
    bs_sound_packet_free(w->ahead);
    av_bsf_free(&w->filter);
    bs_recoder_close(&w->recoder);
    avcodec_parameters_free(&w->sound_format);
    avcodec_free_context(&w->encoder);
    av_frame_free(&w->picture);
    av_packet_free(&w->packet);
    bs_mp4_close(&w->mp4);
    free(w);
}

/* The colours that a player shall assume. What the input does not say, players guess by its size: we say it as they
 * would guess it. High dynamic range is written as what its numbers mean to a screen without it. */
static void set_colours(bs_video_writer *w, const AVFrame *canvas)
{
    int space = canvas->colorspace;
    if (space == AVCOL_SPC_UNSPECIFIED || space == AVCOL_SPC_RGB || space == AVCOL_SPC_RESERVED) {
        const bool yuv_hd = w->options.info && !w->options.info->photo && w->options.info->coded_height >= 720 &&
                            space == AVCOL_SPC_UNSPECIFIED;
        space = yuv_hd ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
    }
    const bool sd = space == AVCOL_SPC_SMPTE170M || space == AVCOL_SPC_BT470BG || space == AVCOL_SPC_FCC;
    w->encoder->colorspace = space;
    w->encoder->color_range = AVCOL_RANGE_MPEG;
    w->encoder->color_primaries = space == AVCOL_SPC_BT470BG ? AVCOL_PRI_BT470BG
                                  : sd                       ? AVCOL_PRI_SMPTE170M
                                                             : AVCOL_PRI_BT709;
    w->encoder->color_trc = sd ? AVCOL_TRC_SMPTE170M : AVCOL_TRC_BT709;
}

static AVRational frame_rate(const bs_video_writer *w)
{
    const double rate = w->options.info ? w->options.info->frame_rate : 0;
    return rate >= 1 && rate <= 240 ? av_d2q(rate, 60000) : (AVRational){30, 1};
}

/* libx264 does not say why it failed; with settings that are right, memory is all that it can lack. */
static bs_status encoder_fail(bs_error *err, int code, const char *sentence)
{
    return bs_av_fail(err, BS_ERR_FAILED, code == AVERROR_EXTERNAL ? AVERROR(ENOMEM) : code, "%s", sentence);
}

static bs_status open_encoder(bs_video_writer *w, const AVFrame *canvas, bs_error *err)
{
    const AVCodec *const codec = avcodec_find_encoder_by_name("libx264");
    if (!codec)
        return bs_fail(err, BS_ERR_FAILED, "this build of FFmpeg has no libx264: Debian's has");
    AVCodecContext *const e = w->encoder = avcodec_alloc_context3(codec);
    if (!e)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to encode video");
    e->width = w->options.width;
    e->height = w->options.height;
    e->pix_fmt = AV_PIX_FMT_YUV420P;
    e->sample_aspect_ratio = (AVRational){1, 1};
    e->time_base = (AVRational){1, BS_MP4_TIMESCALE};
    e->framerate = frame_rate(w);
    e->gop_size = (int)(av_q2d(e->framerate) * KEY_SECONDS + 0.5);
    e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    e->thread_count = w->options.threads > 0 ? w->options.threads : 1;
    set_colours(w, canvas);

    char crf[16], parameters[128];
    snprintf(crf, sizeof(crf), "%d", w->options.crf > 0 ? w->options.crf : 23);
    const int lean = av_clip(w->options.lean, 0, MOST_LEAN);
    const int across = (e->width + 15) / 16, down = (e->height + 15) / 16;
    const bool large = across * down > LEVEL_3_BLOCKS || FFMAX(across, down) > LEVEL_3_BLOCKS_BESIDE;
    snprintf(parameters, sizeof(parameters), "%s:" ENCODER_PARAMETERS "%s", look_ahead[lean], large ? LESS_MOTION : "");
    AVDictionary *options = NULL;
    av_dict_set(&options, "preset", "veryfast", 0);
    av_dict_set(&options, "profile", "high", 0);
    av_dict_set(&options, "crf", crf, 0);
    av_dict_set(&options, "x264-params", parameters, 0);
    bs_av_forget_error();
    const int code = avcodec_open2(e, codec, &options);
    av_dict_free(&options);
    if (code < 0)
        return encoder_fail(err, code, "the video encoder could not be started");

    const bs_mp4_picture_format format = {.width = e->width,
                                          .height = e->height,
                                          .extradata = e->extradata,
                                          .extradata_size = e->extradata_size,
                                          .primaries = e->color_primaries,
                                          .transfer = e->color_trc,
                                          .matrix = e->colorspace};
    return bs_mp4_set_video(w->mp4, &format, err);
}

/* -- sound ---------------------------------------------------------------------------------------------- */

/* Where a packet belongs: where the one before it ended, unless the file says so by more than its stamps' grain. A new
 * timeline begins where it says. */
static int64_t place_sound(bs_video_writer *w, int64_t time_us)
{
    if (time_us == BS_NO_TIME)
        return w->sound_next;
    const int64_t at = av_rescale(time_us, w->sound_rate, 1000000);
    if (!w->sound_started)
        w->sound_next = at;
    const int64_t gap = at - w->sound_next;
    return gap > (w->sound_anew ? 0 : w->sound_rate / SOUND_JITTER_PER_SECOND) ? at : w->sound_next;
}

/* Whether a packet of a new timeline lies more than half where the old one's sound is. */
static bool is_over(const bs_video_writer *w, int64_t time_us, int64_t duration)
{
    return w->sound_anew && w->sound_started && time_us != BS_NO_TIME &&
           av_rescale(time_us, w->sound_rate, 1000000) + duration / 2 < w->sound_next;
}

static int64_t duration_of(const bs_video_writer *w, const AVPacket *packet)
{
    const AVCodecParameters *const format = w->sound->parameters;
    if (format->codec_id != AV_CODEC_ID_OPUS && format->frame_size > 0)
        return format->frame_size;
    const int64_t duration = av_rescale_q(packet->duration, w->sound->time_base, (AVRational){1, w->sound_rate});
    if (duration > 0 && duration < (int64_t)w->sound_rate * SOUND_MOST_SECONDS)
        return duration;
    return format->codec_id == AV_CODEC_ID_OPUS ? 960 : 1024;
}

/* The filter finds the description in the first packets, which need not be among those that are heard. */
static void note_description(bs_video_writer *w, const AVPacket *packet)
{
    size_t size = 0;
    const uint8_t *const found = av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, &size);
    if (!found || !size || size > 256)
        return;
    av_freep(&w->sound_format->extradata);
    w->sound_format->extradata = av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE);
    w->sound_format->extradata_size = w->sound_format->extradata ? (int)size : 0;
    if (w->sound_format->extradata)
        memcpy(w->sound_format->extradata, found, size);
}

static bs_status start_sound(bs_video_writer *w, bs_error *err)
{
    if (!bs_mp4_takes_sound(w->sound_format)) {
        give_up_sound(w, "the sound was left out: its %s stream is damaged",
                      avcodec_get_name(w->sound->parameters->codec_id));
        return BS_OK;
    }
    w->sound_started = true;
    return bs_mp4_set_sound(w->mp4, w->sound_format, err);
}

/* What the recoder has. */
static bs_status write_recoded(bs_video_writer *w, bs_error *err)
{
    bs_status status = BS_OK;
    while (!status && bs_recoder_take(w->recoder, w->packet)) {
        status = bs_mp4_write_sound(w->mp4, w->packet->data, (size_t)w->packet->size, w->packet->pts, err);
        w->sound_duration = BS_RECODED_SAMPLES;
        av_packet_unref(w->packet);
    }
    return status;
}

static bs_status recode_sound_packet(bs_video_writer *w, bs_sound_packet *item, bs_error *err)
{
    const int64_t lasts = av_rescale_q(item->packet->duration, w->sound->time_base, (AVRational){1, w->sound_rate});
    w->sound_anew |= item->anew;
    if (is_over(w, item->time_us, av_clip64(lasts, 0, (int64_t)w->sound_rate * SOUND_MOST_SECONDS)))
        return BS_OK;
    const int64_t at = place_sound(w, item->time_us);
    w->sound_next = bs_recoder_put(w->recoder, item->packet, at);
    if (w->sound_next == at) /* a damaged packet, or a decoder's first */
        return BS_OK;
    w->sound_anew = false;
    const bs_status status = w->sound_started || w->sound_next <= 0 ? BS_OK : start_sound(w, err);
    return !status && w->sound_started ? write_recoded(w, err) : status;
}

static bs_status write_sound_packet(bs_video_writer *w, bs_sound_packet *item, bs_error *err)
{
    if (w->recoder)
        return recode_sound_packet(w, item, err);
    if (av_bsf_send_packet(w->filter, item->packet) < 0)
        return BS_OK; /* a damaged packet: the next one may be whole */
    bs_status status = BS_OK;
    w->sound_anew |= item->anew;
    while (!status && w->sound && av_bsf_receive_packet(w->filter, w->packet) >= 0) {
        note_description(w, w->packet);
        const int64_t duration = duration_of(w, w->packet);
        const int64_t at = place_sound(w, item->time_us);
        const bool heard = at + duration > 0 && !is_over(w, item->time_us, duration);
        if (heard && !w->sound_started)
            status = start_sound(w, err);
        if (!status && heard && w->sound) {
            status = bs_mp4_write_sound(w->mp4, w->packet->data, (size_t)w->packet->size, at, err);
            w->sound_duration = duration;
            w->sound_next = at + duration;
            w->sound_anew = false;
        }
        av_packet_unref(w->packet);
    }
    return status;
}

/* Writes the sound that begins before `until_us`. */
static bs_status write_sound(bs_video_writer *w, int64_t until_us, bs_error *err)
{
    bs_status status = BS_OK;
    while (!status && w->sound) {
        if (!w->ahead)
            w->ahead = bs_sound_take(w->sound, until_us);
        if (!w->ahead || (w->ahead->time_us != BS_NO_TIME && w->ahead->time_us >= until_us))
            break;
        bs_sound_packet *const item = w->ahead;
        w->ahead = NULL;
        status = write_sound_packet(w, item, err);
        bs_sound_packet_free(item);
    }
    if (w->sound && bs_sound_overflowed(w->sound) && !w->sound_note[0])
        give_up_sound(w, "the sound was left out%s: it does not lie beside the pictures in the file",
                      w->sound_started ? " in part" : "");
    return status;
}

/* -- pictures --------------------------------------------------------------------------------------------- */

static bs_status take_packets(bs_video_writer *w, bs_error *err)
{
    for (;;) {
        const int code = avcodec_receive_packet(w->encoder, w->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
            return BS_OK;
        if (code < 0)
            return encoder_fail(err, code, "a frame could not be encoded");
        const bs_status status = bs_mp4_write_video(w->mp4, w->packet->data, (size_t)w->packet->size, w->packet->dts,
                                                    w->packet->pts, w->packet->flags & AV_PKT_FLAG_KEY, err);
        av_packet_unref(w->packet);
        if (status)
            return status;
    }
}

bs_status bs_video_writer_start(bs_video_writer *w, const bs_video_frame *canvas, bs_error *err)
{
    return w->encoder ? BS_OK : open_encoder(w, canvas->picture, err);
}

bs_status bs_video_writer_write(bs_video_writer *w, const bs_video_frame *canvas, bs_error *err)
{
    bs_status status = bs_video_writer_start(w, canvas, err);
    if (status)
        return status;
    /* From the first written frame's time, so that the video begins at once. */
    if (!w->frames)
        w->first_us = canvas->time_us;
    int64_t pts = av_rescale(canvas->time_us - w->first_us, BS_MP4_TIMESCALE, 1000000);
    if (w->frames && pts <= w->last_pts)
        pts = w->last_pts + 1;
    if (w->frames)
        w->step = pts - w->last_pts;

    int code = av_frame_ref(w->picture, canvas->picture);
    if (code >= 0) {
        w->picture->pts = pts;
        w->picture->pict_type = AV_PICTURE_TYPE_NONE;
        w->picture->crop_left = w->picture->crop_right = w->picture->crop_top = w->picture->crop_bottom = 0;
        code = avcodec_send_frame(w->encoder, w->picture);
        av_frame_unref(w->picture);
    }
    if (code < 0)
        return encoder_fail(err, code, "a frame could not be encoded");
    w->last_pts = pts;
    w->last_us = canvas->time_us;
    w->frames++;
    status = take_packets(w, err);
    if (!status && w->sound && canvas->time_us - SOUND_SPAN_US >= 0 &&
        (!w->ahead || w->ahead->time_us == BS_NO_TIME || w->ahead->time_us + SOUND_SPAN_US <= canvas->time_us))
        status = write_sound(w, canvas->time_us, err);
    return status;
}

bs_status bs_video_writer_finish(bs_video_writer *w, bool all_sound, bs_error *err)
{
    if (!w->encoder)
        return bs_fail(err, BS_ERR_FAILED, "a video without a frame cannot be written");
    const int code = avcodec_send_frame(w->encoder, NULL);
    if (code < 0)
        return encoder_fail(err, code, "the last frames could not be encoded");
    bs_status status = take_packets(w, err);
    avcodec_free_context(&w->encoder); /* its memory is not needed beside the index's */
    const int64_t rate_step = av_rescale_q(1, av_inv_q(frame_rate(w)), (AVRational){1, BS_MP4_TIMESCALE});
    int64_t last = w->step > 0 ? w->step : rate_step > 0 ? rate_step : FALLBACK_DURATION;
    if (last > BS_MP4_TIMESCALE / 2) /* a gap before the last frame says nothing about it */
        last = BS_MP4_TIMESCALE / 2;
    if (!status)
        status = write_sound(w, all_sound ? INT64_MAX : w->last_us + av_rescale(last, 1000000, BS_MP4_TIMESCALE), err);
    if (!status && w->sound_started && w->sound && w->recoder) {
        bs_recoder_end(w->recoder);
        status = write_recoded(w, err);
    }
    if (!status)
        status = bs_mp4_finish(w->mp4, last, w->sound_duration, err);
    return status;
}

const char *bs_video_writer_sound_note(const bs_video_writer *writer)
{
    return writer->sound_note[0] ? writer->sound_note : NULL;
}
