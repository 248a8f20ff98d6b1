/* Source frames into the forms that others want (see scale.h).
 *
 * Each form has a stage of its own: a swscale context that lives until the frames change, and the buffers between.
 * Turning happens where the picture is small: a canvas is scaled first and turned then. Only the exact path turns
 * first, since ffmpeg does so and its bytes are to be met. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>

#include "av.h"
#include "scale.h"

enum { EXACT_FLAGS = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT };

/* What a swscale context was made for. */
typedef struct conversion {
    int src_width, src_height, src_format, src_range, src_space;
    int dst_width, dst_height, dst_format, dst_range;
    int flags;
} conversion;

typedef struct stage {
    struct SwsContext *sws;
    conversion made_for;
    AVFrame *between; /* scaled, not yet turned; or turned, not yet scaled */
    AVFrame *out;
} stage;

struct bs_video_scaler {
    stage image, rgb, canvas, still;
    AVBufferPool *pool; /* of canvases */
    int pool_width, pool_height;
    AVCodecContext *encoder; /* of stills */
    int encoder_quality;
    int64_t stills; /* encoded so far */
    AVPacket *encoded;
};

/* -- stages ------------------------------------------------------------------------------------------- */

static int stage_open(stage *s)
{
    s->between = av_frame_alloc();
    s->out = av_frame_alloc();
    return s->between && s->out ? 0 : AVERROR(ENOMEM);
}

static void stage_close(stage *s)
{
    sws_freeContext(s->sws);
    av_frame_free(&s->between);
    av_frame_free(&s->out);
}

bs_status bs_video_scaler_open(bs_video_scaler **out, bs_error *err)
{
    bs_av_log_setup();
    bs_video_scaler *s = calloc(1, sizeof(*s));
    if (!s || stage_open(&s->image) < 0 || stage_open(&s->rgb) < 0 || stage_open(&s->canvas) < 0 ||
        stage_open(&s->still) < 0 || !(s->encoded = av_packet_alloc())) {
        bs_video_scaler_close(&s);
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory to convert pictures");
    }
    *out = s;
    return BS_OK;
}

void bs_video_scaler_close(bs_video_scaler **scaler)
{
    if (!scaler || !*scaler)
        return;
    bs_video_scaler *const s = *scaler;
    *scaler = NULL;
    stage_close(&s->image);
    stage_close(&s->rgb);
    stage_close(&s->canvas);
    stage_close(&s->still);
    av_buffer_pool_uninit(&s->pool);
    avcodec_free_context(&s->encoder);
    av_packet_free(&s->encoded);
    free(s);
}

/* Gives the frame a buffer of that shape, its old one where it fits. */
static int ensure(AVFrame *frame, enum AVPixelFormat format, int width, int height)
{
    if (frame->data[0] && frame->format == format && frame->width == width && frame->height == height)
        return 0;
    av_frame_unref(frame);
    frame->format = format;
    frame->width = width;
    frame->height = height;
    return av_frame_get_buffer(frame, 0);
}

/* Sets up swscale as ffmpeg's scale filter does: the matrix and range that the frame says, the chroma of 4:2:0
 * where MPEG puts it. libavfilter/vf_scale.c, config_props() and scale_frame(). */
static int make_sws(stage *s, const conversion *want)
{
    sws_freeContext(s->sws);
    s->sws = sws_alloc_context();
    if (!s->sws)
        return AVERROR(ENOMEM);
    av_opt_set_int(s->sws, "srcw", want->src_width, 0);
    av_opt_set_int(s->sws, "srch", want->src_height, 0);
    av_opt_set_int(s->sws, "src_format", want->src_format, 0);
    av_opt_set_int(s->sws, "dstw", want->dst_width, 0);
    av_opt_set_int(s->sws, "dsth", want->dst_height, 0);
    av_opt_set_int(s->sws, "dst_format", want->dst_format, 0);
    av_opt_set_int(s->sws, "sws_flags", want->flags, 0);
    if (want->src_format == AV_PIX_FMT_YUV420P)
        av_opt_set_int(s->sws, "src_v_chr_pos", 128, 0);
    if (want->dst_format == AV_PIX_FMT_YUV420P)
        av_opt_set_int(s->sws, "dst_v_chr_pos", 128, 0);
    const int code = sws_init_context(s->sws, NULL, NULL);
    if (code < 0)
        return code;
    const int *const matrix = sws_getCoefficients(want->src_space);
    sws_setColorspaceDetails(s->sws, matrix, want->src_range, matrix, want->dst_range, 0, 1 << 16, 1 << 16);
    s->made_for = *want;
    return 0;
}

/* Converts and scales `from` into `to`, which has its buffer, without turning. */
static int run_sws(stage *s, const AVFrame *from, AVFrame *to, int flags)
{
    const conversion want = {
        .src_width = from->width,
        .src_height = from->height,
        .src_format = from->format,
        .src_range = bs_is_full_range(from->format, from->color_range),
        .src_space = from->colorspace,
        .dst_width = to->width,
        .dst_height = to->height,
        .dst_format = to->format,
        .dst_range = bs_is_full_range(to->format, to->color_range),
        .flags = flags,
    };
    if (!s->sws || memcmp(&want, &s->made_for, sizeof(want))) {
        memset(&s->made_for, 0, sizeof(s->made_for));
        const int code = make_sws(s, &want);
        if (code < 0)
            return code;
    }
    to->colorspace = from->colorspace;
    const bool same = from->width == to->width && from->height == to->height && from->format == to->format &&
                      want.src_range == want.dst_range;
    if (same)
        return av_frame_copy(to, from);
    const int rows = sws_scale(s->sws, (const uint8_t *const *)from->data, from->linesize, 0, from->height, to->data,
                               to->linesize);
    return rows < 0 ? rows : 0;
}

/* Scales and then turns `from` into `to`, which has its buffer, its displayed size, and planes that turn. */
static int scale_and_turn(stage *s, const AVFrame *from, AVFrame *to)
{
    const bs_orientation orientation = bs_frame_orientation(from);
    if (orientation == BS_ORIENT_NORMAL)
        return run_sws(s, from, to, SWS_BICUBIC);
    const bool swaps = bs_orientation_swaps(orientation);
    int code = ensure(s->between, to->format, swaps ? to->height : to->width, swaps ? to->width : to->height);
    s->between->color_range = to->color_range;
    if (code >= 0)
        code = run_sws(s, from, s->between, SWS_BICUBIC);
    if (code < 0)
        return code;
    bs_turn_planes(s->between, to, orientation);
    to->colorspace = from->colorspace;
    return 0;
}

static bs_status failed(bs_error *err, int code)
{
    return bs_av_fail(err, BS_ERR_FAILED, code, "a picture could not be converted");
}

/* -- as it lies --------------------------------------------------------------------------------------- */

bs_status bs_video_frame_image(bs_video_scaler *scaler, const bs_video_frame *frame, bs_image *out, bs_error *err)
{
    const AVFrame *const picture = frame->picture;
    const AVRational sar = bs_sane_sar(picture->sample_aspect_ratio);
    const bool square = sar.num == sar.den;
    if (square && bs_describe(picture, out))
        return BS_OK;

    /* Eight bits of YUV are enough for the crop; what has no chroma subsampling that libswscale writes gets none. */
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(picture->format);
    const bool yuv = desc && !(desc->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BAYER)) &&
                     desc->nb_components >= 3;
    const enum AVPixelFormat format = !yuv                  ? AV_PIX_FMT_RGB24
                                      : desc->log2_chroma_w ? AV_PIX_FMT_YUV420P
                                                            : AV_PIX_FMT_YUV444P;
    const bs_orientation orientation = bs_frame_orientation(picture);
    const bool swaps = bs_orientation_swaps(orientation);
    AVFrame *const to = scaler->image.out;
    int code = ensure(to, format, swaps ? frame->height : frame->width, swaps ? frame->width : frame->height);
    if (code >= 0) {
        to->color_range = bs_is_full_range(picture->format, picture->color_range) ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
        code = run_sws(&scaler->image, picture, to, EXACT_FLAGS);
    }
    if (code < 0)
        return failed(err, code);
    bs_frame_set_orientation(to, orientation);
    if (!bs_describe(to, out))
        return failed(err, AVERROR(EINVAL));
    return BS_OK;
}

/* -- exact RGB ------------------------------------------------------------------------------------------ */

/* The other order, for formats whose planes cannot be turned: RGB first. */
static int rgb_then_turn(stage *s, const AVFrame *picture, AVFrame *to, bs_orientation orientation)
{
    const bool swaps = bs_orientation_swaps(orientation);
    int code = ensure(s->between, AV_PIX_FMT_RGB24, swaps ? to->height : to->width, swaps ? to->width : to->height);
    if (code >= 0)
        code = run_sws(s, picture, s->between, EXACT_FLAGS);
    if (code >= 0)
        bs_turn_rgb24(s->between, to, orientation);
    return code;
}

static int turn_then_rgb(stage *s, const AVFrame *picture, AVFrame *to, bs_orientation orientation)
{
    const bool swaps = bs_orientation_swaps(orientation);
    int code = ensure(s->between, picture->format, swaps ? picture->height : picture->width,
                      swaps ? picture->width : picture->height);
    if (code < 0)
        return code;
    s->between->color_range = picture->color_range;
    s->between->colorspace = picture->colorspace;
    bs_turn_planes(picture, s->between, orientation);
    return run_sws(s, s->between, to, EXACT_FLAGS);
}

/* The frame as RGB into s->out. */
static int make_rgb(stage *s, const bs_video_frame *frame)
{
    const AVFrame *const picture = frame->picture;
    const bs_orientation orientation = bs_frame_orientation(picture);
    const int code = ensure(s->out, AV_PIX_FMT_RGB24, frame->width, frame->height);
    if (code < 0)
        return code;
    if (orientation == BS_ORIENT_NORMAL)
        return run_sws(s, picture, s->out, EXACT_FLAGS);
    if (bs_format_turns(picture->format, orientation))
        return turn_then_rgb(s, picture, s->out, orientation);
    return rgb_then_turn(s, picture, s->out, orientation);
}

bs_status bs_video_frame_rgb(bs_video_scaler *scaler, const bs_video_frame *frame, bs_image *out, bs_error *err)
{
    stage *const s = &scaler->rgb;
    const int code = make_rgb(s, frame);
    if (code < 0)
        return failed(err, code);
    *out = bs_image_rgb24(s->out->data[0], frame->width, frame->height, s->out->linesize[0]);
    return BS_OK;
}

/* -- canvases ------------------------------------------------------------------------------------------- */

static int even(int value)
{
    return value < 2 ? 2 : value & ~1;
}

void bs_photo_canvas_size(int width, int height, int max_width, int *canvas_width, int *canvas_height)
{
    int w = width, h = height;
    if (max_width > 0 && w > max_width) {
        w = max_width;
        h = (int)(((int64_t)height * w + width / 2) / width);
    }
    *canvas_width = w < 2 ? 2 : w;
    *canvas_height = h < 2 ? 2 : h;
}

void bs_canvas_size(int width, int height, int max_width, int *canvas_width, int *canvas_height)
{
    enum { MOST_SIDE = 16384 }; /* that libx264 takes */
    bs_photo_canvas_size(width, height, max_width > 0 && max_width < MOST_SIDE ? max_width : MOST_SIDE, canvas_width,
                         canvas_height);
    if (*canvas_height > MOST_SIDE)
        bs_photo_canvas_size(*canvas_height, *canvas_width, MOST_SIDE, canvas_height, canvas_width);
    *canvas_width = even(*canvas_width);
    *canvas_height = even(*canvas_height);
}

void bs_canvas_size_within(int width, int height, int max_side, int *canvas_width, int *canvas_height)
{
    if (height > width)
        bs_canvas_size(height, width, max_side, canvas_height, canvas_width);
    else
        bs_canvas_size(width, height, max_side, canvas_width, canvas_height);
}

static AVFrame *canvas_picture(bs_video_scaler *s, int width, int height)
{
    if (!s->pool || s->pool_width != width || s->pool_height != height) {
        av_buffer_pool_uninit(&s->pool);
        const int size = av_image_get_buffer_size(AV_PIX_FMT_YUV420P, width, height, 64);
        s->pool = size < 0 ? NULL : av_buffer_pool_init((size_t)size + 64, NULL);
        s->pool_width = width;
        s->pool_height = height;
    }
    AVFrame *picture = av_frame_alloc();
    if (!picture || !s->pool || !(picture->buf[0] = av_buffer_pool_get(s->pool))) {
        av_frame_free(&picture);
        return NULL;
    }
    picture->format = AV_PIX_FMT_YUV420P;
    picture->width = width;
    picture->height = height;
    picture->color_range = AVCOL_RANGE_MPEG;
    av_image_fill_arrays(picture->data, picture->linesize, picture->buf[0]->data, AV_PIX_FMT_YUV420P, width, height,
                         64);
    return picture;
}

/* The place of a width × height picture on the canvas: all of it where the shapes agree within 2 %, else centred.
 * The bars are noted in the crop fields, where draw.c finds them. */
static void place(AVFrame *canvas, int width, int height)
{
    const int64_t by_width = (int64_t)canvas->width * height, by_height = (int64_t)canvas->height * width;
    if (llabs(by_width - by_height) * 50 <= by_height || llabs(by_width - by_height) <= 2 * (int64_t)(width + height))
        return;
    int w = canvas->width, h = canvas->height;
    if (by_width > by_height)
        w = even((int)(by_height / height));
    else
        h = even((int)(by_width / width));
    canvas->crop_left = (size_t)((canvas->width - w) / 2 & ~1);
    canvas->crop_right = (size_t)canvas->width - canvas->crop_left - (size_t)w;
    canvas->crop_top = (size_t)((canvas->height - h) / 2 & ~1);
    canvas->crop_bottom = (size_t)canvas->height - canvas->crop_top - (size_t)h;
}

static int fill_canvas(stage *s, const bs_video_frame *frame, AVFrame *canvas)
{
    place(canvas, frame->width, frame->height);
    if (canvas->crop_left + canvas->crop_right + canvas->crop_top + canvas->crop_bottom == 0)
        return scale_and_turn(s, frame->picture, canvas);

    const ptrdiff_t strides[4] = {canvas->linesize[0], canvas->linesize[1], canvas->linesize[2]};
    av_image_fill_black(canvas->data, strides, AV_PIX_FMT_YUV420P, AVCOL_RANGE_MPEG, canvas->width, canvas->height);
    AVFrame *inner = av_frame_alloc(); /* a window on the canvas */
    if (!inner)
        return AVERROR(ENOMEM);
    inner->format = canvas->format;
    inner->width = canvas->width - (int)(canvas->crop_left + canvas->crop_right);
    inner->height = canvas->height - (int)(canvas->crop_top + canvas->crop_bottom);
    inner->color_range = canvas->color_range;
    for (int p = 0; p < 3; p++) {
        const int shift = p > 0;
        inner->linesize[p] = canvas->linesize[p];
        inner->data[p] = canvas->data[p] + (ptrdiff_t)(canvas->crop_top >> shift) * canvas->linesize[p] +
                         (canvas->crop_left >> shift);
    }
    const int code = scale_and_turn(s, frame->picture, inner);
    canvas->colorspace = inner->colorspace;
    av_frame_free(&inner);
    return code;
}

bs_status bs_video_frame_canvas(bs_video_scaler *scaler, const bs_video_frame *frame, int width, int height,
                                bs_video_frame **out, bs_error *err)
{
    AVFrame *canvas = canvas_picture(scaler, width, height);
    bs_video_frame *const made = calloc(1, sizeof(*made));
    const int code = canvas && made ? fill_canvas(&scaler->canvas, frame, canvas) : AVERROR(ENOMEM);
    if (code < 0) {
        av_frame_free(&canvas);
        free(made);
        return failed(err, code);
    }
    *made = (bs_video_frame){.index = frame->index,
                             .time_us = frame->time_us,
                             .damaged = frame->damaged,
                             .width = width,
                             .height = height,
                             .picture = canvas,
                             .references = 1};
    *out = made;
    return BS_OK;
}

/* -- stills --------------------------------------------------------------------------------------------- */

/* Quality of the Independent JPEG Group's scale into MPEG's quantiser: both multiply a like matrix. */
static int jpeg_quantiser(int quality)
{
    const int q = quality < 1 ? 1 : quality > 100 ? 100 : quality;
    const int percent = q < 50 ? 5000 / q : 200 - 2 * q;
    const int quantiser = (percent * 8 + 50) / 100;
    return quantiser < 1 ? 1 : quantiser > 31 ? 31 : quantiser;
}

static int open_encoder(bs_video_scaler *s, enum AVCodecID id, const AVFrame *picture, int quality)
{
    const AVCodecContext *const old = s->encoder;
    if (old && old->codec_id == id && old->width == picture->width && old->height == picture->height &&
        s->encoder_quality == quality)
        return 0;
    avcodec_free_context(&s->encoder);
    const AVCodec *const codec = avcodec_find_encoder(id);
    s->encoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!s->encoder)
        return codec ? AVERROR(ENOMEM) : AVERROR_ENCODER_NOT_FOUND;
    s->encoder->width = picture->width;
    s->encoder->height = picture->height;
    s->encoder->pix_fmt = picture->format;
    s->encoder->color_range = picture->color_range;
    s->encoder->time_base = (AVRational){1, 25};
    s->encoder->thread_count = 1;
    if (id == AV_CODEC_ID_MJPEG) {
        s->encoder->flags |= AV_CODEC_FLAG_QSCALE;
        s->encoder->global_quality = FF_QP2LAMBDA * jpeg_quantiser(quality);
        s->encoder->qmin = 1;
        /* Huffman codes made for each picture save a tenth of its bytes and take six bytes of memory per pixel. */
        av_opt_set(s->encoder->priv_data, "huffman", "default", 0);
    }
    s->encoder_quality = quality;
    return avcodec_open2(s->encoder, codec, NULL);
}

static int encode(bs_video_scaler *s, enum AVCodecID id, AVFrame *picture, int quality)
{
    int code = open_encoder(s, id, picture, quality);
    if (code < 0)
        return code;
    av_packet_unref(s->encoded);
    picture->quality = s->encoder->global_quality;
    picture->pict_type = AV_PICTURE_TYPE_NONE;
    picture->pts = s->stills++; /* some encoders insist on time going forward */
    code = avcodec_send_frame(s->encoder, picture);
    return code < 0 ? code : avcodec_receive_packet(s->encoder, s->encoded);
}

static int still_jpeg(bs_video_scaler *s, const bs_video_frame *frame, int quality, int max_width)
{
    int width = frame->width, height = frame->height;
    if (max_width > 0 && width > max_width)
        bs_canvas_size(frame->width, frame->height, max_width, &width, &height);
    int code = ensure(s->still.out, AV_PIX_FMT_YUVJ420P, width, height);
    s->still.out->color_range = AVCOL_RANGE_JPEG;
    if (code >= 0)
        code = scale_and_turn(&s->still, frame->picture, s->still.out);
    return code < 0 ? code : encode(s, AV_CODEC_ID_MJPEG, s->still.out, quality);
}

static int still_png(bs_video_scaler *s, const bs_video_frame *frame)
{
    const int code = make_rgb(&s->rgb, frame);
    return code < 0 ? code : encode(s, AV_CODEC_ID_PNG, s->rgb.out, 0);
}

bs_status bs_video_frame_encode(bs_video_scaler *scaler, const bs_video_frame *frame, bs_still_format format,
                                int quality, int max_width, const void **data, size_t *size, bs_error *err)
{
    const int code = format == BS_STILL_PNG ? still_png(scaler, frame) : still_jpeg(scaler, frame, quality, max_width);
    if (code < 0)
        return bs_av_fail(err, BS_ERR_FAILED, code, "a picture could not be encoded");
    *data = scaler->encoded->data;
    *size = (size_t)scaler->encoded->size;
    return BS_OK;
}
