/* The video reader: packets from the demuxer, frames from the decoder, one at a time (see reader.h).
 *
 * Memory is the decoder's picture buffers and little else: the demuxer reads through 32 KB, packets go straight to
 * the decoder, all streams but the chosen ones are discarded as they are read, and frames are references to the
 * decoder's own pictures. Frame threads multiply those pictures, so slices are preferred and frame threads are
 * only used when asked for. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <libavutil/intreadwrite.h>

#include "av.h"
#include "clock.h"
#include "reader.h"
#include "skip.h"
#include "sound.h"

enum {
    MAX_ERRORS_IN_A_ROW = 5000, /* damaged packets without one good frame between them: the file is hopeless */
    MAX_DRAIN_ERRORS = 64,
    SILENT_BYTES = 512 << 20, /* so much without a packet holds none; an 8K picture of raw 16-bit RGB has 190 MB */
    RAW_ROOM_BYTES = 1 << 20, /* beyond one picture, where nothing but packets is */
    FALLBACK_STEP_US = 40000, /* frame time where nothing is said: 25 frames a second */
};
/* No gap in a video is longer than an hour, nor than 10 s in formats whose clocks are known to jump. */
static const int64_t LEAP_US = 3600 * INT64_C(1000000);
static const int64_t LEAP_BROADCAST_US = 10 * INT64_C(1000000);

struct bs_video_reader {
    bs_av_input in;
    bs_video_reader_options options;
    AVCodecContext *decoder;
    AVCodecParserContext *parser; /* NULL: the decoder asks before it takes memory for a picture */
    AVCodecContext *parsed;       /* the parser's */
    AVPacket *packet;
    AVFrame *picture;
    bs_sound *sound;
    int64_t first_dts; /* of the video's packets */
    int64_t late_us;   /* by so much the times of all frames are those of later ones */
    bs_clock clock;
    bs_skipper *skipper; /* NULL: every frame is decoded */
    bs_video_reader_report report;
    bool exhausted;   /* the demuxer has given its last packet */
    bool has_picture; /* the decoder gave one; it is in r->picture */
    bool drained;     /* no packet is left: the decoder gives what it has */
    bool ended;
    int errors;                /* in a row */
    atomic_int held;           /* pictures that the decoder has, those apart that were given */
    atomic_int refused;        /* that it wanted to make up; each makes a frame fail */
    int64_t packets;           /* given to the decoder */
    pthread_mutex_t size_lock; /* guards the next seven: decoders ask for pictures on threads of their own */
    int64_t last_packet;       /* for which it asked */
    int64_t most_bytes;        /* of a picture so far */
    bool has_fitting;          /* one that may be was asked for */
    int misfits;               /* that may not be, in a row */
    bool too_large;            /* the stream has larger pictures than allowed */
    bs_error size_error;
    int last_width, last_height, last_format;
    bs_orientation container_orientation; /* holds for all pictures */
    bs_orientation orientation;           /* where that says nothing: what the stream itself said last */
    bs_video_frame *first;                /* decoded when the reader was opened, not yet given */
};

/* -- opening ---------------------------------------------------------------------------------------- */

/* BS_OK: a picture of this size may be. With size_lock held. */
static bs_status judge_size(bs_video_reader *r, enum AVPixelFormat format, int coded_width, int coded_height,
                            bs_error *err)
{
    /* Decoders round sizes up to whole blocks, of 64 pixels at most: that much is not the stream's claim. */
    const int64_t width = coded_width > 64 ? coded_width - 63 : 1, height = coded_height > 64 ? coded_height - 63 : 1;
    const int64_t bytes = bs_picture_bytes(format, coded_width, coded_height);
    if (width * height > r->options.max_pixels)
        return bs_fail(err, BS_ERR_LIMIT,
                       "'%s' has pictures of %d × %d pixels inside, more than the %.1f megapixels that were allowed "
                       "for it",
                       r->in.name, coded_width, coded_height, (double)r->options.max_pixels / 1e6);
    if (width > BS_MAX_SIDE || height > BS_MAX_SIDE)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' has pictures of %d × %d pixels inside; a side has at most %d",
                       r->in.name, coded_width, coded_height, BS_MAX_SIDE);
    if (bytes <= r->most_bytes)
        return BS_OK;
    const bs_status status = r->options.larger
                                 ? r->options.larger(r->options.opaque, coded_width, coded_height, bytes, err)
                                 : BS_OK;
    if (!status)
        r->most_bytes = bytes;
    return status;
}

/* Whether a picture of this size may be; if the stream has such, r->size_error says why not. Among pictures that may be
 * a few that may not are damaged ones, where each stands alone; elsewhere the rest of the stream hangs on such a one.
 */
static bool check_size(bs_video_reader *r, enum AVPixelFormat format, int coded_width, int coded_height)
{
    enum { DAMAGED_IN_A_ROW = 8 };
    const AVCodecDescriptor *const codec = avcodec_descriptor_get(r->decoder->codec_id);
    const bool alone = codec && (codec->props & AV_CODEC_PROP_INTRA_ONLY || codec->id == AV_CODEC_ID_PNG);
    bs_error error;
    pthread_mutex_lock(&r->size_lock);
    bool fits = !r->too_large;
    if (fits && !judge_size(r, format, coded_width, coded_height, &error)) {
        r->has_fitting = true;
        r->misfits = 0;
    } else if (fits) {
        fits = false;
        r->misfits++;
        if (!r->has_fitting || !alone || r->misfits > DAMAGED_IN_A_ROW) {
            r->too_large = true;
            r->size_error = error;
        }
    }
    pthread_mutex_unlock(&r->size_lock);
    return fits;
}

/* BS_OK: the pictures so far were as large as they may be. */
static bs_status size_status(bs_video_reader *r, bs_error *err)
{
    pthread_mutex_lock(&r->size_lock);
    const bs_error error = r->size_error;
    const bool too_large = r->too_large;
    pthread_mutex_unlock(&r->size_lock);
    return too_large ? bs_fail(err, error.status, "%s", error.text) : BS_OK;
}

/* Numbers the packet that is about to be given to the decoder, for packet_of() to tell. */
static void number_packet(bs_video_reader *r)
{
    r->packets++;
#if LIBAVCODEC_VERSION_MAJOR < 60
    r->decoder->reordered_opaque = r->packets;
#else
    r->decoder->flags |= AV_CODEC_FLAG_COPY_OPAQUE;
    r->packet->opaque = (void *)(intptr_t)r->packets;
#endif
}

static int64_t packet_of(const AVFrame *frame)
{
#if LIBAVCODEC_VERSION_MAJOR < 60
    return frame->reordered_opaque;
#else
    return (intptr_t)frame->opaque;
#endif
}

/* For references that are missing H.264 makes up pictures before the packet's own, HEVC after it: as many as a damaged
 * header names. Each packet's first is given always, so that a stream which keeps more than its header said goes on. */
static bool is_first_of_packet(bs_video_reader *r, const AVFrame *frame)
{
    const int64_t packet = packet_of(frame);
    pthread_mutex_lock(&r->size_lock);
    const bool first = packet != r->last_packet;
    r->last_packet = packet;
    pthread_mutex_unlock(&r->size_lock);
    return first;
}

/* What HEVC makes up is grey all over and stays so (generate_missing_ref in libavcodec/hevc_refs.c): one row of each
 * component does, at a distance of 0 from the next. */
static int give_grey(AVFrame *frame)
{
    enum { BESIDE = 128 }; /* vector code reads beyond the ends of a row */
    const AVPixFmtDescriptor *const format = av_pix_fmt_desc_get(frame->format);
    for (int i = 0; i < format->nb_components; i++) {
        const int bytes = format->comp[i].step, grey = 1 << (format->comp[i].depth - 1);
        const size_t size = (size_t)frame->width * (size_t)bytes + 2 * (size_t)BESIDE;
        frame->buf[i] = av_buffer_alloc(size);
        if (!frame->buf[i])
            return AVERROR(ENOMEM); /* libavcodec gives the others back */
        for (size_t at = 0; at < size; at += (size_t)bytes)
            if (bytes == 1)
                frame->buf[i]->data[at] = (uint8_t)grey;
            else
                AV_WN16A(frame->buf[i]->data + at, grey);
        frame->data[i] = frame->buf[i]->data + BESIDE;
        frame->linesize[i] = 0;
    }
    frame->extended_data = frame->data;
    return 0;
}

static void let_go(void *reader, uint8_t *data)
{
    bs_video_reader *const r = reader;
    (void)data;
    atomic_fetch_sub(&r->held, 1);
}

/* Called by the decoder, on any of its threads, before it takes memory for a picture. Its opaque_ref lives as long as
 * the decoder holds it. */
static int get_buffer(AVCodecContext *decoder, AVFrame *frame, int flags)
{
    static uint8_t nothing;
    bs_video_reader *const r = decoder->opaque;
    if (!check_size(r, frame->format, frame->width, frame->height))
        return AVERROR(EINVAL);
    const bool first = is_first_of_packet(r, frame);
    if (!first && r->options.most_pictures && atomic_load(&r->held) >= r->options.most_pictures) {
        atomic_fetch_add(&r->refused, 1);
        return AVERROR_INVALIDDATA;
    }
    AVBufferRef *held = av_buffer_create(&nothing, sizeof(nothing), let_go, r, AV_BUFFER_FLAG_READONLY);
    if (!held)
        return AVERROR(ENOMEM);
    atomic_fetch_add(&r->held, 1);
    const bool grey = !first && decoder->codec_id == AV_CODEC_ID_HEVC;
    const int code = grey ? give_grey(frame) : avcodec_default_get_buffer2(decoder, frame, flags);
    if (code < 0)
        av_buffer_unref(&held);
    else
        frame->opaque_ref = held;
    return code;
}

/* Without it libavcodec before 60 keeps pictures that a frame thread gave back until that thread has its next packet:
 * of a damaged stream eight more than of a sound one. */
static void allow_threads_in_get_buffer(AVCodecContext *decoder)
{
#if LIBAVCODEC_VERSION_MAJOR < 60
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    decoder->thread_safe_callbacks = 1;
#pragma GCC diagnostic pop
#endif
}

/* CineForm's decoder takes all of its buffers before it asks for a picture, as large as the frame's own header says:
 * 274 MB for a damaged frame of a clip of 640 × 352. The sizes that it checks are 512 wider (alloc_buffers in
 * libavcodec/cfhd.c). */
static int64_t most_pixels(const bs_video_reader *r, enum AVCodecID id)
{
    const bs_video_info *const info = &r->in.info;
    if (id == AV_CODEC_ID_CFHD && info->coded_width > 0 && info->coded_height > 0)
        return (int64_t)(FFALIGN(info->coded_width, 64) + 512) * FFALIGN(info->coded_height, 64);
    return info->photo ? BS_MAX_PHOTO_PIXELS : BS_MAX_VIDEO_PIXELS;
}

static bs_status open_decoder(bs_video_reader *r, bs_error *err)
{
    const enum AVCodecID id = r->in.format ? r->in.format->streams[r->in.video]->codecpar->codec_id : r->in.photo_codec;
    const AVCodec *const codec = avcodec_find_decoder(id);
    if (!codec)
        return bs_fail(err, BS_ERR_INPUT, "'%s' is %s, for which there is no decoder", r->in.name,
                       avcodec_get_name(id));
    r->decoder = avcodec_alloc_context3(codec);
    if (!r->decoder)
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be decoded: not enough memory", r->in.name);
    if (r->in.format) {
        const AVStream *const stream = r->in.format->streams[r->in.video];
        const int code = avcodec_parameters_to_context(r->decoder, stream->codecpar);
        if (code < 0)
            return bs_av_fail(err, BS_ERR_INPUT, code, "'%s' cannot be decoded", r->in.name);
        r->decoder->pkt_timebase = stream->time_base;
    }
    r->decoder->opaque = r;
    r->decoder->get_buffer2 = get_buffer;
    allow_threads_in_get_buffer(r->decoder);
    r->decoder->flags |= AV_CODEC_FLAG_UNALIGNED; /* else a picture whose left edge is cut off keeps up to 63 of it */
    r->decoder->max_pixels = most_pixels(r, id);
    r->decoder->thread_count = r->options.threads;
    /* Of VP9 each frame thread keeps all coefficients of its frame, where the stream asks for it: 9 MB at 1080p. Its
     * slices, with the loop filter beside them, are as fast. So are those of ProRes and DNxHD, whose pictures are
     * large: 64 MB at 4K with alpha. */
    const bool slices = id == AV_CODEC_ID_VP9 || id == AV_CODEC_ID_PRORES || id == AV_CODEC_ID_DNXHD ||
                        id == AV_CODEC_ID_DVVIDEO;
    const bool frames = r->options.frame_threads && !slices;
    r->decoder->thread_type = FF_THREAD_SLICE | (frames ? FF_THREAD_FRAME : 0);

    /* dav1d decodes as many frames at once as it has threads unless told not to. */
    AVDictionary *options = NULL;
    if (!strcmp(codec->name, "libdav1d") && !r->options.frame_threads)
        av_dict_set(&options, "max_frame_delay", "1", 0);
    bs_av_forget_error();
    const int code = avcodec_open2(r->decoder, codec, &options);
    av_dict_free(&options);
    if (code < 0)
        return bs_av_fail(err, BS_ERR_INPUT, code, "'%s' cannot be decoded", r->in.name);
    return BS_OK;
}

/* dav1d takes its pictures from elsewhere, several before the first is given: what its packets say of their size is
 * read before it gets them. */
static bs_status open_parser(bs_video_reader *r, bs_error *err)
{
    if (r->decoder->codec_id != AV_CODEC_ID_AV1 || !r->in.format)
        return BS_OK;
    r->parser = av_parser_init(AV_CODEC_ID_AV1);
    r->parsed = avcodec_alloc_context3(NULL);
    if (!r->parser || !r->parsed ||
        avcodec_parameters_to_context(r->parsed, r->in.format->streams[r->in.video]->codecpar) < 0)
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be decoded: not enough memory", r->in.name);
    r->parser->flags |= PARSER_FLAG_COMPLETE_FRAMES;
    return BS_OK;
}

static bs_status open_sound(bs_video_reader *r, bs_error *err)
{
    if (r->in.audio < 0)
        return BS_OK;
    AVStream *const stream = r->in.format->streams[r->in.audio];
    if (r->options.sound)
        return bs_sound_open(&r->sound, stream->codecpar, stream->time_base, err);
    stream->discard = AVDISCARD_ALL;
    return BS_OK;
}

static void start_clock(bs_video_reader *r)
{
    const double rate = r->in.info.frame_rate;
    const bool broadcast = r->in.format && (r->in.format->iformat->flags & AVFMT_TS_DISCONT);
    bs_clock_init(&r->clock, rate >= 1 ? (int64_t)(1e6 / rate + 0.5) : FALLBACK_STEP_US,
                  broadcast ? LEAP_BROADCAST_US : LEAP_US);
}

void bs_video_reader_close(bs_video_reader **reader)
{
    if (!reader || !*reader)
        return;
    bs_video_reader *const r = *reader;
    *reader = NULL;
    bs_video_frame_unref(&r->first);
    bs_skipper_close(&r->skipper);
    avcodec_free_context(&r->decoder);
    avcodec_free_context(&r->parsed);
    av_parser_close(r->parser);
    av_frame_free(&r->picture);
    av_packet_free(&r->packet);
    bs_sound_close(&r->sound);
    bs_av_input_close(&r->in);
    pthread_mutex_destroy(&r->size_lock);
    free(r);
}

const bs_video_info *bs_video_reader_info(const bs_video_reader *reader)
{
    return &reader->in.info;
}

bs_video_reader_report bs_video_reader_report_now(const bs_video_reader *reader)
{
    bs_video_reader_report report = reader->report;
    report.times_repaired = reader->clock.repaired;
    return report;
}

void bs_video_reader_stop(bs_video_reader *reader)
{
    if (reader)
        reader->in.stopped = true;
}

bs_sound *bs_video_reader_sound(bs_video_reader *reader)
{
    return reader->sound;
}

/* -- packets ----------------------------------------------------------------------------------------- */

/* Notes what was lost. BS_OK: go on. */
static bs_status take_error(bs_video_reader *r, int code, bs_error *err)
{
    const bs_status size = size_status(r, err);
    if (size)
        return size;
    if (code == AVERROR(ENOMEM) && atomic_load(&r->refused)) /* as HEVC's decoder says of every picture it is refused */
        atomic_fetch_sub(&r->refused, 1);
    else if (code == AVERROR(ENOMEM))
        return bs_av_fail(err, BS_ERR_NOMEM, code, "'%s' cannot be decoded", r->in.name);
    if (r->in.read_error)
        return bs_fail(err, BS_ERR_IO, "'%s' cannot be read: %s", r->in.name, strerror(r->in.read_error));
    r->errors++;
    if (r->skipper)
        bs_skipper_stop(r->skipper);
    return BS_OK;
}

/* Bytes in which a packet begins, or none will. */
static int64_t silent_bytes(const bs_video_reader *r)
{
    const bool raw = bs_av_input_is_raw(&r->in) && r->in.info.picture_bytes;
    return raw ? r->in.info.picture_bytes + RAW_ROOM_BYTES : SILENT_BYTES;
}

/* Ogg files that were joined say their headers again. The comment among them libavcodec takes for a damaged frame.
 * Source: Theora specification, 6.1. */
static bool is_comment(const bs_video_reader *r)
{
    return r->decoder->codec_id == AV_CODEC_ID_THEORA && r->packet->size > 0 && r->packet->data[0] == 0x81;
}

/* libavformat says that memory is lacking of lengths beyond all reason too: at once, and then there is some. */
static bool is_nonsense(int code, int64_t read)
{
    enum { AT_ONCE = 64 << 10, SOME = 1 << 20 };
    if (code != AVERROR(ENOMEM) || read > AT_ONCE)
        return false;
    void *const some = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return some != MAP_FAILED && munmap(some, SOME) == 0;
}

/* The next packet of the video into r->packet; sound goes its own way. BS_EOF: none is left. */
static bs_status next_packet(bs_video_reader *r, bs_error *err)
{
    if (!r->in.format) { /* a photo is one packet */
        if (r->drained || r->packet->data)
            return BS_EOF;
        return r->report.frames ? BS_EOF : bs_av_input_read_all(&r->in, r->packet, err);
    }
    while (r->errors < MAX_ERRORS_IN_A_ROW) {
        av_packet_unref(r->packet);
        r->in.budget = silent_bytes(r);
        const int64_t from = avio_tell(r->in.io);
        const bool at_end = from >= r->in.size; /* what fails here (RoQ) is not cut: it has ended */
        const int code = av_read_frame(r->in.format, r->packet);
        if (r->in.error.status)
            return bs_fail(err, r->in.error.status, "%s", r->in.error.text);
        if (r->in.stopped)
            return bs_fail(err, BS_ERR_CANCELLED, "reading '%s' was stopped", r->in.name);
        r->report.truncated |= r->in.budget == 0; /* reading has ended there */
        if (code == AVERROR_EOF)
            return BS_EOF;
        if (code < 0) {
            const bool nonsense = is_nonsense(code, avio_tell(r->in.io) - from);
            const bs_status status = take_error(r, nonsense ? AVERROR_INVALIDDATA : code, err);
            if (status)
                return status;
            r->report.truncated |= !at_end && r->in.position >= r->in.size &&
                                   strcmp(r->in.info.container, "gxf"); /* every end of those is an error */
            /* What does not read on by itself will not by being asked again. */
            if (r->in.io->eof_reached && r->in.position >= r->in.size && r->errors > MAX_DRAIN_ERRORS &&
                strcmp(r->in.info.container, "mov,mp4,m4a,3gp,3g2,mj2"))
                return BS_EOF;
            continue;
        }
        if (r->packet->stream_index == r->in.video) {
            if (is_comment(r))
                continue;
            if (r->first_dts == AV_NOPTS_VALUE)
                r->first_dts = r->packet->dts;
            r->report.truncated |= (r->packet->flags & AV_PKT_FLAG_CORRUPT) && avio_tell(r->in.io) >= r->in.size;
            return BS_OK;
        }
        if (r->sound && r->packet->stream_index == r->in.audio) {
            const bs_status status = bs_sound_push(r->sound, r->packet, err);
            if (status)
                return status;
        }
    }
    return BS_EOF;
}

/* The same, less what can be left out. */
static bs_status next_wanted_packet(bs_video_reader *r, bs_error *err)
{
    if (!r->skipper)
        return next_packet(r, err);
    while (!r->exhausted && bs_skipper_has_room(r->skipper)) {
        const bs_status status = next_packet(r, err);
        if (status < 0)
            return status;
        r->exhausted = status == BS_EOF;
        if (status == BS_OK)
            bs_skipper_put(r->skipper, r->packet);
    }
    if (bs_skipper_take(r->skipper, r->packet))
        return BS_OK;
    return r->exhausted ? BS_EOF : BS_AGAIN;
}

static bs_status check_packet(bs_video_reader *r, bs_error *err)
{
    uint8_t *data;
    int size;
    if (!r->parser || !r->packet->data)
        return BS_OK;
    av_parser_parse2(r->parser, r->parsed, &data, &size, r->packet->data, r->packet->size, r->packet->pts,
                     r->packet->dts, -1);
    check_size(r, r->parser->format, r->parser->width, r->parser->height);
    return size_status(r, err);
}

/* Gives the decoder its next packet, or tells it that there are none. */
static bs_status feed(bs_video_reader *r, bs_error *err)
{
    bs_status status;
    do {
        status = next_wanted_packet(r, err);
    } while (status == BS_AGAIN);
    if (status < 0)
        return status;
    if (status == BS_EOF)
        av_packet_unref(r->packet);
    r->drained = status == BS_EOF;
    status = check_packet(r, err);
    if (status)
        return status;
    number_packet(r);
    const int code = avcodec_send_packet(r->decoder, r->drained ? NULL : r->packet);
    if (r->in.format)
        av_packet_unref(r->packet);
    if (code >= 0 || code == AVERROR_EOF || code == AVERROR(EAGAIN))
        return BS_OK;
    r->report.frames_damaged++;
    return take_error(r, code, err);
}

/* -- frames -------------------------------------------------------------------------------------------- */

static void set_geometry(bs_video_reader *r, AVFrame *picture)
{
    const AVFrameSideData *const side = av_frame_get_side_data(picture, AV_FRAME_DATA_DISPLAYMATRIX);
    const bool first = r->report.frames == 0;
    if (first)
        r->container_orientation = r->in.info.orientation;
    if (r->in.format && side && side->size >= 9 * sizeof(int32_t)) {
        int32_t matrix[9];
        memcpy(matrix, side->data, sizeof(matrix));
        r->orientation = bs_orientation_of_matrix(matrix); /* said at key frames, meant for all … */
    } else if (!first && (picture->width != r->last_width || picture->height != r->last_height)) {
        r->orientation = BS_ORIENT_NORMAL; /* … of its sequence, which pictures of another size are not of */
    }
    const bs_orientation orientation = r->container_orientation != BS_ORIENT_NORMAL ? r->container_orientation
                                                                                    : r->orientation;
    bs_frame_set_orientation(picture, orientation);
    if (r->in.format)
        picture->sample_aspect_ratio = av_guess_sample_aspect_ratio(r->in.format, r->in.format->streams[r->in.video],
                                                                    picture);
    if (r->in.info.photo) /* a density, not a shape: what cameras write there is not to be trusted */
        picture->sample_aspect_ratio = (AVRational){1, 1};
}

static int64_t raw_time(const bs_video_reader *r, int64_t stamp)
{
    if (!r->in.format || stamp == AV_NOPTS_VALUE)
        return BS_NO_TIME;
    const AVStream *const stream = r->in.format->streams[r->in.video];
    /* Of Dirac without a container libavformat gives the pictures' numbers for times. */
    const bool numbers = !strcmp(r->in.info.container, "dirac") && stream->r_frame_rate.num > 0;
    return av_rescale_q(stamp, numbers ? av_inv_q(stream->r_frame_rate) : stream->time_base, AV_TIME_BASE_Q);
}

/* AVI has places for frames in order of decoding, and no times: libavcodec gives each frame the place of the packet
 * upon which it came out, B-frames later than it is to be seen. Beside the sound the first frame belongs to the first
 * place.
 */
static void note_lateness(bs_video_reader *r, const AVFrame *picture)
{
    const AVStream *const stream = r->in.format->streams[r->in.video];
    const AVRational rate = stream->r_frame_rate; /* places may be empty: of those the average rate knows nothing */
    const int64_t step = rate.num > 0 && rate.den > 0 ? av_rescale(1000000, rate.den, rate.num) : 0;
    const int64_t since = av_sat_sub64(picture->best_effort_timestamp, r->first_dts); /* a file may say anything */
    if (picture->pts != AV_NOPTS_VALUE || picture->best_effort_timestamp == AV_NOPTS_VALUE ||
        r->first_dts == AV_NOPTS_VALUE || since <= 0)
        return;
    r->late_us = FFMIN(av_rescale_q(since, stream->time_base, AV_TIME_BASE_Q),
                       r->decoder->has_b_frames * FFMAX(r->clock.step_us, step));
}

static bool is_interlaced(const AVFrame *picture)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
    return picture->flags & AV_FRAME_FLAG_INTERLACED;
#else
    return picture->interlaced_frame;
#endif
}

static bool is_damaged(const AVFrame *picture)
{
    return (picture->flags & AV_FRAME_FLAG_CORRUPT) || picture->decode_error_flags;
}

static void count_frame(bs_video_reader *r, const bs_video_frame *frame)
{
    const AVFrame *const picture = frame->picture;
    if (r->skipper)
        bs_skipper_given(r->skipper, picture->pts, frame->index);
    r->report.frames++;
    r->report.frames_damaged += frame->damaged;
    r->errors = 0;
    if (r->report.frames > 1 &&
        (picture->width != r->last_width || picture->height != r->last_height || picture->format != r->last_format))
        r->report.size_changes++;
    r->last_width = picture->width;
    r->last_height = picture->height;
    r->last_format = picture->format;
}

/* Wraps what the decoder gave, which moves out of r->picture. */
static bs_status wrap_picture(bs_video_reader *r, bs_video_frame **out, bs_error *err)
{
    bs_video_frame *frame = calloc(1, sizeof(*frame));
    AVFrame *picture = av_frame_alloc();
    if (!frame || !picture) {
        free(frame);
        av_frame_free(&picture);
        av_frame_unref(r->picture);
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be decoded: not enough memory", r->in.name);
    }
    av_frame_move_ref(picture, r->picture);
    av_buffer_unref(&picture->opaque_ref);
    set_geometry(r, picture);
    const int64_t raw = raw_time(r, picture->best_effort_timestamp);
    if (r->sound && !r->report.frames)
        note_lateness(r, picture);
    *frame = (bs_video_frame){
        .index = r->report.frames,
        .time_us = bs_clock_next(&r->clock, raw),
        .damaged = is_damaged(picture),
        .picture = picture,
        .references = 1,
    };
    bs_displayed_size(picture->width, picture->height, picture->sample_aspect_ratio, bs_frame_orientation(picture),
                      &frame->width, &frame->height);
    const bs_status status = bs_av_check_shown(&r->in, frame->width, frame->height, err);
    if (status) {
        bs_video_frame_unref(&frame);
        return status;
    }
    if (r->sound && r->clock.timed)
        bs_sound_set_origin(r->sound, av_sat_sub64(bs_clock_origin(&r->clock), r->late_us), frame->time_us);
    count_frame(r, frame);
    *out = frame;
    return BS_OK;
}

/* What only the pictures themselves say, before anything is laid out by it. */
static void complete_info(bs_video_reader *r, const bs_video_frame *frame)
{
    const AVFrame *const picture = frame->picture;
    const AVRational sar = bs_sane_sar(picture->sample_aspect_ratio);
    r->in.info.orientation = bs_frame_orientation(picture);
    r->in.info.sar_num = sar.num;
    r->in.info.sar_den = sar.den;
    r->in.info.width = frame->width;
    r->in.info.height = frame->height;
    r->in.info.interlaced |= is_interlaced(picture);
}

static bs_status at_end(bs_video_reader *r, bs_error *err)
{
    r->ended = true;
    if (r->report.frames)
        return BS_EOF;
    return bs_av_fail(err, BS_ERR_INPUT, AVERROR_INVALIDDATA, "'%s' holds no picture that can be decoded", r->in.name);
}

/* In place of a frame that was left out. */
static bs_status give_skipped(bs_video_reader *r, int64_t pts, bs_video_frame **out, bs_error *err)
{
    bs_video_frame *const frame = calloc(1, sizeof(*frame));
    if (!frame)
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be decoded: not enough memory", r->in.name);
    *frame = (bs_video_frame){
        .index = r->report.frames++,
        .time_us = bs_clock_next(&r->clock, raw_time(r, pts)),
        .skipped = true,
        .width = r->in.info.width,
        .height = r->in.info.height,
        .references = 1,
    };
    *out = frame;
    return BS_OK;
}

static bs_status read_frame(bs_video_reader *r, bs_video_frame **out, bs_error *err)
{
    int64_t pts;
    while (!r->ended) {
        if (r->has_picture && r->skipper && bs_skipper_due(r->skipper, r->picture->pts, &pts))
            return give_skipped(r, pts, out, err);
        if (r->has_picture) {
            r->has_picture = false;
            r->ended = r->in.info.photo; /* further pictures in the file are previews */
            return wrap_picture(r, out, err);
        }
        const int code = avcodec_receive_frame(r->decoder, r->picture);
        bs_status status = BS_OK;
        if (code >= 0) {
            r->has_picture = true;
        } else if (code == AVERROR_EOF || (r->drained && (code == AVERROR(EAGAIN) || r->errors > MAX_DRAIN_ERRORS))) {
            if (r->skipper && bs_skipper_due(r->skipper, INT64_MAX, &pts))
                return give_skipped(r, pts, out, err);
            status = at_end(r, err);
        } else if (code == AVERROR(EAGAIN)) {
            status = feed(r, err);
        } else {
            r->report.frames_damaged++;
            status = take_error(r, code, err);
        }
        if (status)
            return status;
    }
    return r->report.frames ? BS_EOF : at_end(r, err);
}

/* -- from outside --------------------------------------------------------------------------------------- */

bs_status bs_video_reader_open_input(bs_video_reader **out, const bs_input *input, int64_t max_pixels, bs_error *err)
{
    bs_video_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to open a video");
    pthread_mutex_init(&r->size_lock, NULL);
    const bs_status status = bs_av_input_open(&r->in, input, max_pixels, err);
    if (status) { /* closed already */
        pthread_mutex_destroy(&r->size_lock);
        free(r);
        return status;
    }
    *out = r;
    return BS_OK;
}

bs_status bs_video_reader_start(bs_video_reader *r, const bs_video_reader_options *options, bs_error *err)
{
    r->options = *options;
    if (r->options.threads < 1)
        r->options.threads = 1;
    if (!r->options.max_pixels)
        r->options.max_pixels = r->in.info.photo ? BS_MAX_PHOTO_PIXELS : BS_MAX_VIDEO_PIXELS;
    r->in.grown = options->grown;
    r->in.opaque = options->opaque;
    r->most_bytes = r->in.info.photo ? INT64_MAX : r->in.info.picture_bytes;
    r->first_dts = AV_NOPTS_VALUE;
    r->packet = av_packet_alloc();
    r->picture = av_frame_alloc();
    if (!r->packet || !r->picture)
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be opened: not enough memory", r->in.name);
    bs_status status = open_sound(r, err);
    if (!status)
        status = open_decoder(r, err);
    if (!status)
        status = open_parser(r, err);
    if (!status && r->in.format && r->options.only_every > 1)
        status = bs_skipper_open(&r->skipper, r->in.format->streams[r->in.video]->codecpar, r->options.only_every, err);
    if (!status) {
        start_clock(r);
        r->report.truncated = bs_file_is_cut(r->in.fd, r->in.size);
        status = read_frame(r, &r->first, err);
    }
    if (!status)
        complete_info(r, r->first);
    return status;
}

bs_status bs_video_reader_open(bs_video_reader **out, const bs_input *input, const bs_video_reader_options *options,
                               bs_error *err)
{
    bs_video_reader *reader = NULL;
    bs_status status = bs_video_reader_open_input(&reader, input, options->max_pixels, err);
    if (status)
        return status;
    status = bs_video_reader_start(reader, options, err);
    if (status)
        bs_video_reader_close(&reader);
    else
        *out = reader;
    return status;
}

bs_status bs_video_reader_read(bs_video_reader *r, bs_video_frame **out, bs_error *err)
{
    if (!r->first)
        return read_frame(r, out, err);
    *out = r->first;
    r->first = NULL;
    return BS_OK;
}
