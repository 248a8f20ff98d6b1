/* Opening an input: one descriptor, read with pread, and nothing else (see av.h).
 *
 * A media file can ask a demuxer to open others: playlists, external tracks, patterns of names, segments on
 * the network. Here it cannot: the demuxers that do such things are not on the list, no protocol is allowed,
 * and the one door through which libavformat opens files is replaced by a refusal. What a file claims in its
 * headers (sizes of pictures and of the headers themselves, number of streams) is checked before memory is
 * spent on it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavutil/avstring.h>
#include <libavutil/intreadwrite.h>
#include <libavutil/opt.h>

#include "av.h"
#include "reader.h"

/* Demuxers of self-contained files. Left out on purpose: hls, dash, concat, image2, sdp, rtsp, tty and others
 * that follow references or take any text for a video. */
static const char *const demuxers =
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,live_flv,gif,apng,ogg,dv,mxf,ivf,nut,rm,h264,hevc,m4v,"
    "mjpeg,mjpeg_2000,vc1,obu,av1,yuv4mpegpipe,wtv,swf,gxf,h261,h263,cavsvideo,dirac,lxf,r3d,bink,smk,roq,vivo,nsv,"
    "mp3,aac,wav,flac,aiff,amr,ac3,eac3,caf,au,w64,dts";

enum {
    IO_BUFFER_BYTES = 32 << 10,
    PROBE_BYTES = 1 << 20,
    MAX_RAW_BYTES = 8 << 20,  /* of a stream without a container, to know what it is */
    MAX_READ_BYTES = 1 << 20, /* at once, and between two questions whether memory has grown too much */
    HEADER_SECONDS = 15,      /* of CPU time, to know the streams: a million samples take one */
    MAX_SCANS = 500,          /* of a JPEG: encoders write ten or so, each costs as much as a picture */
};

/* -- reading --------------------------------------------------------------------------------------- */

static bool has_grown(bs_av_input *in)
{
    if (!in->grown || in->unasked < MAX_READ_BYTES)
        return false;
    in->unasked = 0;
    if (in->grown(in->opaque, &in->error) != BS_OK)
        in->stopped = true; /* never back to false: another thread may have set it meanwhile */
    return in->stopped;
}

static int64_t cpu_us(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Some headers cost libav time by the square of their length: the names in FLV's, say. */
static bool is_slow(bs_av_input *in)
{
    if (in->until_us && cpu_us() > in->until_us) {
        in->slow = true;
        in->until_us = 0;
    }
    return in->slow;
}

static int read_packet(void *opaque, uint8_t *buffer, int size)
{
    bs_av_input *const in = opaque;
    if (in->stopped || has_grown(in) || is_slow(in))
        return AVERROR_EXIT;
    if (size > MAX_READ_BYTES)
        size = MAX_READ_BYTES;
    if (size > in->size - in->position) /* a file that is still being written is what it was when it was opened */
        size = in->position < in->size ? (int)(in->size - in->position) : 0;
    if (!size)
        return AVERROR_EOF;
    if (in->budget >= 0) {
        if (size > in->budget)
            size = (int)in->budget;
        if (!size)
            return AVERROR_EOF;
    }
    ssize_t got;
    do {
        got = pread(in->fd, buffer, (size_t)size, in->position);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        in->read_error = errno;
        return AVERROR(errno);
    }
    if (!got)
        return AVERROR_EOF;
    bs_av_apply_hidden(in, in->position, buffer, got);
    in->position += got;
    in->unasked += got;
    if (in->budget >= 0)
        in->budget -= got;
    return (int)got;
}

static int64_t seek_to(void *opaque, int64_t offset, int whence)
{
    bs_av_input *const in = opaque;
    switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE: return in->size;
    case SEEK_SET: break;
    case SEEK_CUR: offset += in->position; break;
    case SEEK_END: offset += in->size; break;
    default: return AVERROR(EINVAL);
    }
    if (offset < 0)
        return AVERROR(EINVAL);
    return in->position = offset;
}

static int refuse_to_open(AVFormatContext *format, AVIOContext **io, const char *url, int flags, AVDictionary **options)
{
    return AVERROR(EPERM);
}

/* Bytes from `at` on into `to`, `size` of them. */
static bs_status read_exactly(bs_av_input *in, int64_t at, uint8_t *to, int64_t size, bs_error *err)
{
    in->position = at;
    while (size > 0) {
        const int got = read_packet(in, to, size < MAX_READ_BYTES ? (int)size : MAX_READ_BYTES);
        if (got < 0 && in->error.status)
            return bs_fail(err, in->error.status, "%s", in->error.text);
        if (got < 0)
            return bs_fail(err, BS_ERR_IO, "'%s' cannot be read: %s", in->name,
                           in->read_error ? strerror(in->read_error) : "it has become shorter");
        to += got;
        size -= got;
    }
    return BS_OK;
}

bs_status bs_av_input_read_all(bs_av_input *in, AVPacket *packet, bs_error *err)
{
    bs_window window = {.fd = in->fd};
    bs_photo_part part;
    const int64_t total = bs_photo_bytes(in->fd, in->size);
    const int code = total > INT32_MAX / 2 ? AVERROR(ENOMEM) : av_new_packet(packet, (int)total);
    if (code < 0)
        return bs_av_fail(err, BS_ERR_NOMEM, AVERROR(ENOMEM), "'%s' cannot be read", in->name);
    bs_status status = BS_OK;
    int64_t at = 0;
    for (part = bs_photo_first_part(&window, in->size); !status && part.size > 0;
         part = bs_photo_next_part(&window, in->size, part)) {
        if (!part.kept)
            continue;
        status = at + part.size <= total
                     ? read_exactly(in, part.at, packet->data + at, part.size, err)
                     : bs_fail(err, BS_ERR_IO, "'%s' cannot be read: it is being changed", in->name);
        at += part.size;
    }
    if (!status && in->photo_codec == AV_CODEC_ID_WEBP && total >= 12) /* its length without what was left out */
        AV_WL32(packet->data + 4, (uint32_t)(total - 8));
    if (status)
        av_packet_unref(packet);
    else
        packet->flags |= AV_PKT_FLAG_KEY;
    return status;
}

/* -- the file ---------------------------------------------------------------------------------------- */

static bs_status open_file(bs_av_input *in, const bs_input *input, bs_error *err)
{
    const char *const path = input->path ? input->path : "";
    av_strlcpy(in->name, input->name ? input->name : *path ? path : "input", sizeof(in->name));
    in->fd = input->fd;
    if (input->fd < 0) {
        /* A pipe without a writer must not stop us: what is no file is refused below. */
        in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (in->fd < 0)
            return bs_fail(err, BS_ERR_INPUT, "'%s' cannot be opened: %s", in->name, strerror(errno));
        in->own_fd = true;
    }
    struct stat st;
    if (fstat(in->fd, &st))
        return bs_fail(err, BS_ERR_INPUT, "'%s' cannot be read: %s", in->name, strerror(errno));
    if (S_ISFIFO(st.st_mode))
        return bs_fail(err, BS_ERR_INPUT,
                       "'%s' is a pipe, and videos are read back and forth: save it as a file, and name that",
                       in->name);
    if (!S_ISREG(st.st_mode))
        return bs_fail(err, BS_ERR_INPUT, "'%s' is not a file: a video or photo file is needed", in->name);
    if (!st.st_size)
        return bs_fail(err, BS_ERR_INPUT, "'%s' is empty", in->name);
    in->size = in->info.file_size = st.st_size;
    return BS_OK;
}

bs_status bs_av_check_shown(const bs_av_input *in, int width, int height, bs_error *err)
{
    if (width > BS_MAX_SIDE || height > BS_MAX_SIDE)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' is to be shown in %d × %d pixels; a side has at most %d", in->name,
                       width, height, BS_MAX_SIDE);
    return BS_OK;
}

static bs_status check_pixels(const bs_av_input *in, int width, int height, int64_t max_pixels, bs_error *err)
{
    if (width <= 0 || height <= 0)
        return bs_fail(err, BS_ERR_INPUT, "'%s' does not say how large its picture is: it is damaged or not a video",
                       in->name);
    if (width > BS_MAX_SIDE || height > BS_MAX_SIDE)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' claims pictures of %d × %d pixels; a side has at most %d", in->name,
                       width, height, BS_MAX_SIDE);
    if ((int64_t)width * height > max_pixels)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' claims pictures of %d × %d pixels; at most %.1f megapixels are taken",
                       in->name, width, height, (double)max_pixels / 1e6);
    return BS_OK;
}

/* -- photos ------------------------------------------------------------------------------------------- */

static bs_status describe_photo(bs_av_input *in, const bs_photo_header *photo, int64_t max_pixels, bs_error *err)
{
    bs_video_info *const info = &in->info;
    const bs_status status = check_pixels(in, photo->width, photo->height,
                                          max_pixels ? max_pixels : BS_MAX_PHOTO_PIXELS, err);
    if (status)
        return status;
    if (photo->scans > MAX_SCANS)
        return bs_fail(err, BS_ERR_LIMIT, "'%s' claims a picture in %d scans; at most %d are read", in->name,
                       photo->scans, MAX_SCANS);
    if (photo->animated && photo->codec == AV_CODEC_ID_WEBP)
        return bs_fail(err, BS_ERR_INPUT, "'%s' is an animated WebP, which cannot be read: a GIF or a video is fine",
                       in->name);

    in->photo_codec = photo->codec;
    info->photo = true;
    av_strlcpy(info->container, photo->container, sizeof(info->container));
    av_strlcpy(info->codec, avcodec_get_name(photo->codec), sizeof(info->codec));
    const char *const format = av_get_pix_fmt_name(photo->format);
    av_strlcpy(info->pixel_format, format ? format : "", sizeof(info->pixel_format));
    info->coded_width = photo->width;
    info->coded_height = photo->height;
    info->orientation = (bs_orientation)(photo->exif_orientation - 1);
    info->sar_num = info->sar_den = 1;
    bs_displayed_size(photo->width, photo->height, (AVRational){1, 1}, info->orientation, &info->width, &info->height);
    info->bit_depth = photo->bit_depth;
    info->picture_bytes = bs_picture_bytes(photo->format, photo->width, photo->height);
    info->full_range = bs_is_full_range(photo->format, AVCOL_RANGE_UNSPECIFIED);
    info->frames = 1;
    info->video_streams = 1;
    info->packet_bytes = bs_photo_bytes(in->fd, in->size);
    return BS_OK;
}

/* Demuxers say EIO of damaged files too; whether the disk failed is known here. */
static int whose_fault(const bs_av_input *in, int code)
{
    return code == AVERROR(EIO) && !in->read_error ? AVERROR_INVALIDDATA : code;
}

/* -- videos ------------------------------------------------------------------------------------------- */

static bs_status open_demuxer(bs_av_input *in, bs_error *err)
{
    uint8_t *const buffer = av_malloc(IO_BUFFER_BYTES);
    in->io = buffer ? avio_alloc_context(buffer, IO_BUFFER_BYTES, 0, in, read_packet, NULL, seek_to) : NULL;
    in->format = in->io ? avformat_alloc_context() : NULL;
    if (!in->format) {
        if (!in->io)
            av_free(buffer);
        return bs_av_fail(err, BS_ERR_NOMEM, AVERROR(ENOMEM), "'%s' cannot be opened", in->name);
    }
    in->format->pb = in->io;
    in->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    in->format->io_open = refuse_to_open;
    in->format->max_streams = BS_MAX_STREAMS;
    in->format->protocol_whitelist = av_strdup("none");
    in->format->format_whitelist = av_strdup(demuxers);
    if (!in->format->protocol_whitelist || !in->format->format_whitelist) /* none would mean: all are allowed */
        return bs_av_fail(err, BS_ERR_NOMEM, AVERROR(ENOMEM), "'%s' cannot be opened", in->name);
    in->budget = BS_MAX_HEADER_BYTES;
    in->until_us = cpu_us() + HEADER_SECONDS * INT64_C(1000000);

    /* By content alone: a name says nothing, and some demuxers would believe it. */
    const AVInputFormat *kind = NULL;
    int code = av_probe_input_buffer2(in->io, &kind, "", NULL, 0, PROBE_BYTES);
    /* Photos one behind the other, of one size (bs_photo_header): libav's name for them where they are small. */
    if (code >= 0 && kind && !strcmp(kind->name, "jpeg_pipe"))
        kind = av_find_input_format("mjpeg");
    if (code < 0 || !kind || !av_match_list(kind->name, demuxers, ','))
        return bs_fail(err, in->read_error ? BS_ERR_IO : BS_ERR_INPUT,
                       "'%s' is not a video or photo that can be read%s%s", in->name, in->read_error ? ": " : "",
                       in->read_error ? strerror(in->read_error) : "");

    AVDictionary *options = NULL;
    av_dict_set(&options, "ignore_chapters", "1", 0); /* chapters of MOV files are tracks, read for nothing */
    bs_av_forget_error();
    code = avformat_open_input(&in->format, "", kind, &options); /* frees and nulls in->format when it fails */
    av_dict_free(&options);
    if (code == AVERROR(ENOMEM)) /* also what libav says of one stream more than max_streams */
        return bs_fail(err, BS_ERR_LIMIT,
                       "'%s' claims more than the %d streams that are read, or an index that no memory is left for",
                       in->name, BS_MAX_STREAMS);
    if (code < 0)
        return bs_av_fail(err, BS_ERR_INPUT, whose_fault(in, code), "'%s' cannot be read: it is damaged or was cut off",
                          in->name);
    return BS_OK;
}

bool bs_av_input_is_raw(const bs_av_input *in)
{
    return (in->format->iformat->flags & ~AVFMT_NOTIMESTAMPS) == AVFMT_GENERIC_INDEX;
}

static bs_status find_streams(bs_av_input *in, int64_t max_pixels, bs_error *err)
{
    const unsigned count = in->format->nb_streams;
    AVDictionary **const options = av_calloc(count ? count : 1, sizeof(*options));
    if (!options)
        return bs_fail(err, BS_ERR_NOMEM, "'%s' cannot be opened: not enough memory", in->name);
    for (unsigned i = 0; i < count; i++) {
        av_dict_set_int(&options[i], "max_pixels", max_pixels, 0);
        av_dict_set(&options[i], "threads", "1", 0);
    }
    if (bs_av_input_is_raw(in) && in->budget > MAX_RAW_BYTES)
        in->budget = MAX_RAW_BYTES;
    const int code = avformat_find_stream_info(in->format, options);
    for (unsigned i = 0; i < count; i++)
        av_dict_free(&options[i]);
    av_free(options);
    if (code < 0)
        return bs_av_fail(err, BS_ERR_INPUT, whose_fault(in, code), "'%s' cannot be read%s", in->name,
                          code == AVERROR(ENOMEM) ? "" : ": it is damaged");
    return BS_OK;
}

/* Covers and thumbnails are pictures beside the video, not the video. */
static bool is_video(const AVStream *stream)
{
    return stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
           !(stream->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS));
}

/* The file's own choice first, then the one that can be decoded, then the largest, then the first. */
static bool better(const AVStream *a, const AVStream *b)
{
    const bool decodable_a = avcodec_find_decoder(a->codecpar->codec_id);
    const bool decodable_b = avcodec_find_decoder(b->codecpar->codec_id);
    if (decodable_a != decodable_b)
        return decodable_a;
    const int default_a = a->disposition & AV_DISPOSITION_DEFAULT, default_b = b->disposition & AV_DISPOSITION_DEFAULT;
    if (default_a != default_b)
        return default_a;
    return (int64_t)a->codecpar->width * a->codecpar->height > (int64_t)b->codecpar->width * b->codecpar->height;
}

static bs_status choose_streams(bs_av_input *in, bs_error *err)
{
    bool cover = false;
    for (unsigned i = 0; i < in->format->nb_streams; i++) {
        const AVStream *const stream = in->format->streams[i];
        if (is_video(stream)) {
            in->info.video_streams++;
            if (in->video < 0 || better(stream, in->format->streams[in->video]))
                in->video = (int)i;
        }
        cover |= (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
        in->info.audio_streams += stream->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
    }
    in->audio = av_find_best_stream(in->format, AVMEDIA_TYPE_AUDIO, -1, in->video, NULL, 0);
    if (in->video < 0 && in->info.audio_streams)
        return bs_fail(err, BS_ERR_INPUT, "'%s' has only sound%s: a video is needed", in->name,
                       cover ? " and a cover picture" : "");
    if (in->video < 0)
        return bs_fail(err, BS_ERR_INPUT, "'%s' has no video stream", in->name);
    for (unsigned i = 0; i < in->format->nb_streams; i++)
        if ((int)i != in->video && (int)i != in->audio)
            in->format->streams[i]->discard = AVDISCARD_ALL;
    return BS_OK;
}

/* Of the whole stream; NULL: it has none. */
static const uint8_t *stream_data(const AVStream *stream, enum AVPacketSideDataType type, size_t *size)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 100)
    const AVPacketSideData *const side = av_packet_side_data_get(stream->codecpar->coded_side_data,
                                                                 stream->codecpar->nb_coded_side_data, type);
    *size = side ? side->size : 0;
    return side ? side->data : NULL;
#else
    *size = 0;
    return av_stream_get_side_data(stream, type, size);
#endif
}

static bs_orientation stream_orientation(const AVStream *stream)
{
    size_t size;
    const uint8_t *const data = stream_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    int32_t matrix[9];
    if (!data || size < sizeof(matrix))
        return BS_ORIENT_NORMAL;
    memcpy(matrix, data, sizeof(matrix));
    return bs_orientation_of_matrix(matrix);
}

static double sane_rate(AVRational rate)
{
    const double value = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
    return value > 0 && value <= 1000 ? value : 0;
}

static void describe_times(const bs_av_input *in, const AVStream *stream, bs_video_info *info)
{
    info->frame_rate = sane_rate(stream->avg_frame_rate);
    if (info->frame_rate < 1 && sane_rate(stream->r_frame_rate) > 0) /* one absurd time stamp spoils the average */
        info->frame_rate = sane_rate(stream->r_frame_rate);
    if (stream->duration != AV_NOPTS_VALUE && stream->duration > 0)
        info->duration_us = av_rescale_q(stream->duration, stream->time_base, AV_TIME_BASE_Q);
    else if (in->format->duration != AV_NOPTS_VALUE && in->format->duration > 0)
        info->duration_us = in->format->duration;
    if (stream->start_time != AV_NOPTS_VALUE)
        info->start_us = av_rescale_q(stream->start_time, stream->time_base, AV_TIME_BASE_Q);
    if (info->duration_us < 0) /* too long to be told in microseconds */
        info->duration_us = 0;
    /* Matroska counts from zero, not from the first frame. */
    if (info->start_us > 0 && !strcmp(info->container, "matroska,webm"))
        info->duration_us = info->duration_us > info->start_us ? info->duration_us - info->start_us : 0;
    const double by_time = (double)info->duration_us / 1e6 * info->frame_rate;
    info->frames = by_time < 1e15 ? (int64_t)(by_time + 0.5) : 0;
    /* The header's count counts packets: more than are shown where an edit list cuts. */
    if (stream->nb_frames > 0 && (!info->frames || stream->nb_frames <= info->frames + info->frames / 10 + 1))
        info->frames = stream->nb_frames;
}

/* What no header tells, from the first packets: for a second demuxer, since not every one comes back to where it was.
 */
typedef struct look {
    bs_vp9_slots slots;
    int packets; /* of the video */
    bool whole;  /* there are no others */
    bool enough; /* so many as were asked for, or as much as is read */
} look;

static look look_at_packets(const bs_av_input *in, int most)
{
    enum { LOOKED_AT_BYTES = 64 << 20, ROOM_BYTES = 1 << 20, MOST_INDEXED = 100000 };
    look seen = {0};
    if (avformat_index_get_entries_count(in->format->streams[in->video]) > MOST_INDEXED)
        return seen;
    bs_error ignored;
    AVPacket *packet = av_packet_alloc();
    bs_av_input *const again = av_mallocz(sizeof(*again));
    if (packet && again) {
        again->fd = in->fd;
        again->size = in->size;
        again->hidden_count = in->hidden_count;
        memcpy(again->hidden, in->hidden, sizeof(again->hidden));
    }
    if (packet && again && open_demuxer(again, &ignored) == BS_OK) {
        const int64_t room = in->info.picture_bytes + ROOM_BYTES;
        int64_t left = LOOKED_AT_BYTES;
        int code = 0;
        while (seen.packets < most) {
            again->budget = FFMIN(left, room); /* a parser gathers until a packet ends */
            left -= again->budget;
            code = av_read_frame(again->format, packet);
            left += again->budget;
            if (code < 0)
                break;
            if (packet->stream_index == in->video) {
                seen.packets++;
                if (in->format->streams[in->video]->codecpar->codec_id == AV_CODEC_ID_VP9)
                    bs_vp9_packet(&seen.slots, packet->data, (size_t)packet->size);
            }
            av_packet_unref(packet);
        }
        seen.whole = code == AVERROR_EOF && again->budget > 0 && !again->read_error;
        seen.enough = code >= 0 || left == 0;
    }
    if (again)
        bs_av_input_close(again);
    av_free(again);
    av_packet_free(&packet);
    return seen;
}

/* Beside the picture in decoding, as the first 300 frames of a VP9 stream have it; and one more where there are others.
 * 0: unknown. */
static int vp9_references(const bs_av_input *in)
{
    enum { LOOKED_AT = 300, SLOTS = 8 };
    const look seen = look_at_packets(in, LOOKED_AT);
    if (!seen.whole && !seen.enough) /* damaged */
        return 0;
    const int most = seen.slots.most + (seen.whole ? 0 : 1);
    return seen.slots.frames ? FFMIN(FFMAX(most, 1), SLOTS) : 0;
}

/* Where a header says that a video is short: its packets, below 100. 0: more. No header is believed: that of a
 * fragmented MP4 counts its first fragment, and times may be wrong. Of packets too large to be read as a whole it is,
 * where no more were seen. */
static int count_few(const bs_av_input *in)
{
    enum { FEW = 100 };
    const int64_t told = in->info.frames + in->info.frames / 8;
    if (in->info.frames >= FEW)
        return 0;
    const look seen = look_at_packets(in, FEW);
    if (!seen.whole && seen.enough && seen.packets < FEW && seen.packets <= told)
        return (int)FFMIN(told, FEW);
    return seen.whole ? seen.packets : 0;
}

/* Of MP4, MOV and AVI the index has all packets; of others key frames, or what was read so far. */
static void describe_packets(AVStream *stream, bs_video_info *info)
{
    const int count = avformat_index_get_entries_count(stream);
    const bool whole = !strcmp(info->container, "mov,mp4,m4a,3gp,3g2,mj2") || !strcmp(info->container, "avi");
    if (!whole || stream->nb_frames <= 0 || count < stream->nb_frames)
        return;
    int64_t row = 0;
    for (int i = 0; i < count; i++) {
        const int64_t size = avformat_index_get_entry(stream, i)->size;
        row += size;
        if (i >= BS_READER_AHEAD)
            row -= avformat_index_get_entry(stream, i - BS_READER_AHEAD)->size;
        info->largest_packet = size > info->largest_packet ? size : info->largest_packet;
        info->largest_packets = row > info->largest_packets ? row : info->largest_packets;
    }
}

static void describe_video(bs_av_input *in)
{
    AVStream *const stream = in->format->streams[in->video];
    const AVCodecParameters *const codec = stream->codecpar;
    bs_video_info *const info = &in->info;

    av_strlcpy(info->container, in->format->iformat->name, sizeof(info->container));
    av_strlcpy(info->codec, avcodec_get_name(codec->codec_id), sizeof(info->codec));
    const char *const profile = avcodec_profile_name(codec->codec_id, codec->profile);
    av_strlcpy(info->profile, profile ? profile : "", sizeof(info->profile));
    const char *const format = av_get_pix_fmt_name(codec->format);
    av_strlcpy(info->pixel_format, format ? format : "", sizeof(info->pixel_format));
    if (in->audio >= 0)
        av_strlcpy(info->audio_codec, avcodec_get_name(in->format->streams[in->audio]->codecpar->codec_id),
                   sizeof(info->audio_codec));

    const AVRational sar = bs_sane_sar(stream->sample_aspect_ratio.num > 0 ? stream->sample_aspect_ratio
                                                                           : codec->sample_aspect_ratio);
    info->coded_width = codec->width;
    info->coded_height = codec->height;
    info->orientation = stream_orientation(stream);
    info->sar_num = sar.num;
    info->sar_den = sar.den;
    bs_displayed_size(codec->width, codec->height, sar, info->orientation, &info->width, &info->height);

    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(codec->format);
    info->bit_depth = desc ? desc->comp[0].depth : 0;
    info->full_range = bs_is_full_range(codec->format, codec->color_range);
    info->hdr = codec->color_trc == AVCOL_TRC_SMPTE2084 || codec->color_trc == AVCOL_TRC_ARIB_STD_B67;
    info->interlaced = codec->field_order != AV_FIELD_UNKNOWN && codec->field_order != AV_FIELD_PROGRESSIVE;
    info->matrix = bs_matrix_of(codec->color_space);
    info->level = codec->level > 0 ? codec->level : 0;
    info->picture_bytes = bs_picture_bytes(codec->format, codec->width, codec->height);
    bs_sequence sequence;
    bs_sequence_first(codec, &sequence);
    info->reference_frames = codec->codec_id == AV_CODEC_ID_VP9 ? vp9_references(in) : sequence.references;
    info->field_pictures = sequence.fields;
    info->intra = sequence.intra || strstr(info->profile, "Intra");
    info->reorder_frames = codec->video_delay > 0 ? codec->video_delay : 0;
    describe_times(in, stream, info);
    describe_packets(stream, info);
    info->counted_frames = count_few(in);
}

/* Whether the chosen video says that it is encrypted: Matroska's by its track, Windows Media's by its header. Of ISO
 * files bs_av_check_claims() knows. */
static bool is_encrypted(const bs_av_input *in)
{
    size_t size;
    return stream_data(in->format->streams[in->video], AV_PKT_DATA_ENCRYPTION_INIT_INFO, &size) ||
           av_dict_get(in->format->metadata, "ASF_Protection_Type", NULL, 0) ||
           av_dict_get(in->format->metadata, "encryption", NULL, 0);
}

/* Whether a transport stream has scrambled packets. Some say so that are not: it explains what could not be read.
 * Source: ISO/IEC 13818-1, 2.4.3.3. */
static bool is_scrambled(const bs_av_input *in)
{
    enum { PACKET = 188, LOOKED_AT = 1000 };
    bs_window window = {.fd = in->fd};
    uint8_t head[4];
    bool scrambled = false;
    for (int64_t i = 0; i < LOOKED_AT && bs_window_read(&window, i * PACKET, head, sizeof(head)); i++) {
        if (head[0] != 0x47)
            return false;
        scrambled |= head[3] >> 6 >= 2;
    }
    return scrambled;
}

static bs_status say_encrypted(const bs_av_input *in, bs_error *err)
{
    return bs_fail(err, BS_ERR_INPUT, "'%s' is encrypted: it cannot be read without its key", in->name);
}

static bs_status open_video(bs_av_input *in, int64_t max_pixels, bs_error *err)
{
    bs_status status = bs_av_check_claims(in, err);
    if (!status)
        status = open_demuxer(in, err);
    if (!status)
        status = find_streams(in, max_pixels, err);
    if (!status)
        status = choose_streams(in, err);
    const char *const kind = status == BS_ERR_INPUT ? bs_photo_kind(in->fd) : NULL;
    if (kind)
        return bs_fail(err, BS_ERR_INPUT, "'%s' is a %s picture, which cannot be read: photos are JPEG, PNG or WebP",
                       in->name, kind);
    if (in->slow)
        status = bs_fail(err, BS_ERR_LIMIT, "'%s' has a header that takes more than %d s to be read", in->name,
                         HEADER_SECONDS);
    else if (status && in->budget == 0)
        status = bs_fail(err, BS_ERR_LIMIT, "'%s' has a header longer than %d MB", in->name, BS_MAX_HEADER_BYTES >> 20);
    if (status)
        return status;
    in->budget = -1;
    in->until_us = 0;
    in->io->eof_reached = 0; /* where it was the budget's end: reading goes on */

    const AVCodecParameters *const codec = in->format->streams[in->video]->codecpar;
    if (!avcodec_find_decoder(codec->codec_id))
        return bs_fail(err, BS_ERR_INPUT, "'%s' is %s video, for which there is no decoder", in->name,
                       codec->codec_id == AV_CODEC_ID_NONE ? "unknown" : avcodec_get_name(codec->codec_id));
    if (is_encrypted(in))
        return say_encrypted(in, err);
    status = check_pixels(in, codec->width, codec->height, max_pixels, err);
    if (status == BS_ERR_INPUT && is_scrambled(in))
        return say_encrypted(in, err);
    if (status)
        return status;
    describe_video(in);
    return bs_av_check_shown(in, in->info.width, in->info.height, err);
}

bs_status bs_av_input_open(bs_av_input *in, const bs_input *input, int64_t max_pixels, bs_error *err)
{
    bs_av_log_setup();
    *in = (bs_av_input){.fd = -1, .video = -1, .audio = -1, .budget = -1};
    bs_photo_header photo;
    bs_status status = open_file(in, input, err);
    if (!status && bs_photo_header_read(in->fd, in->size, &photo) &&
        !(photo.animated && photo.codec != AV_CODEC_ID_WEBP))
        status = describe_photo(in, &photo, max_pixels, err);
    else if (!status)
        status = open_video(in, max_pixels ? max_pixels : BS_MAX_VIDEO_PIXELS, err);
    if (status)
        bs_av_input_close(in);
    return status;
}

void bs_av_input_close(bs_av_input *in)
{
    avformat_close_input(&in->format);
    if (in->io)
        av_freep(&in->io->buffer);
    avio_context_free(&in->io);
    if (in->own_fd && in->fd >= 0)
        close(in->fd);
    in->own_fd = false;
    in->fd = -1;
}

bs_status bs_probe(const bs_input *input, bs_video_info *out, bs_error *err)
{
    bs_av_input in;
    const bs_status status = bs_av_input_open(&in, input, 0, err);
    if (status)
        return status;
    *out = in.info;
    bs_av_input_close(&in);
    return BS_OK;
}
