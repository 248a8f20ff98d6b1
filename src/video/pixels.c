/* What pictures are: pixel formats as bs_image components, shapes, orientations, and turning planes (see av.h). */
#include <stdlib.h>
#include <string.h>

#include <libavutil/imgutils.h>

#include "av.h"

AVRational bs_sane_sar(AVRational sar)
{
    if (sar.num <= 0 || sar.den <= 0 || sar.num > (int64_t)sar.den * 4 || sar.den > (int64_t)sar.num * 4)
        return (AVRational){1, 1};
    return sar;
}

void bs_displayed_size(int width, int height, AVRational sar, bs_orientation orientation, int *displayed_width,
                       int *displayed_height)
{
    sar = bs_sane_sar(sar);
    int w = (int)av_rescale(width, sar.num, sar.den);
    if (w < 1)
        w = 1;
    *displayed_width = bs_orientation_swaps(orientation) ? height : w;
    *displayed_height = bs_orientation_swaps(orientation) ? w : height;
}

/* The matrix says where a stored pixel goes: x' = m[0] x + m[3] y, y' = m[1] x + m[4] y (ISO 14496-12, 6.2.2).
 * Angles between are taken for the nearest quarter turn. */
bs_orientation bs_orientation_of_matrix(const int32_t matrix[9])
{
    const int64_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
    if (llabs(a) + llabs(d) >= llabs(b) + llabs(c)) {
        if (a >= 0)
            return d >= 0 ? BS_ORIENT_NORMAL : BS_ORIENT_FLIP;
        return d > 0 ? BS_ORIENT_MIRROR : BS_ORIENT_ROTATE_180;
    }
    if (b >= 0)
        return c > 0 ? BS_ORIENT_TRANSPOSE : BS_ORIENT_ROTATE_90;
    return c > 0 ? BS_ORIENT_ROTATE_270 : BS_ORIENT_TRANSVERSE;
}

/* Unsaid means BT.601 at every size: swscale's rule, and so MediaPipe's through OpenCV or ffmpeg. */
bs_color_matrix bs_matrix_of(enum AVColorSpace space)
{
    switch (space) {
    case AVCOL_SPC_BT709:
    case AVCOL_SPC_SMPTE240M: return BS_MATRIX_BT709;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL: return BS_MATRIX_BT2020;
    default: return BS_MATRIX_BT601;
    }
}

int64_t bs_picture_bytes(enum AVPixelFormat format, int width, int height)
{
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(format);
    if (!desc)
        return 0;
    const int row = 64 << (desc->nb_components > 2 ? desc->log2_chroma_w : 0);
    const int bytes = av_image_get_buffer_size(format, FFALIGN(width, row), FFALIGN(height, 32), 64);
    return bytes > 0 ? bytes : 0;
}

/* Grey is full range unless said otherwise, as swscale has it. */
bool bs_is_full_range(enum AVPixelFormat format, enum AVColorRange range)
{
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(format);
    switch (format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ411P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ444P: return true;
    default: break;
    }
    if (desc && (desc->flags & AV_PIX_FMT_FLAG_RGB))
        return true;
    if (range == AVCOL_RANGE_UNSPECIFIED)
        return desc && desc->nb_components <= 2;
    return range == AVCOL_RANGE_JPEG;
}

void bs_frame_set_orientation(AVFrame *frame, bs_orientation orientation)
{
    frame->opaque = (void *)(intptr_t)orientation;
}

bs_orientation bs_frame_orientation(const AVFrame *frame)
{
    return (bs_orientation)(intptr_t)frame->opaque;
}

bool bs_describe(const AVFrame *frame, bs_image *out)
{
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(frame->format);
    const uint64_t cannot = AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BAYER | AV_PIX_FMT_FLAG_FLOAT |
                            AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL;
    if (!desc || (desc->flags & cannot) || frame->format == AV_PIX_FMT_XYZ12LE || frame->format == AV_PIX_FMT_XYZ12BE)
        return false;

    const bool rgb = desc->flags & AV_PIX_FMT_FLAG_RGB;
    const int components = desc->nb_components >= 3 ? 3 : 1;
    bs_image image = {
        .width = frame->width,
        .height = frame->height,
        .model = components == 1 ? BS_COLOR_GRAY
                 : rgb           ? BS_COLOR_RGB
                                 : BS_COLOR_YUV,
        .chroma_shift_x = desc->log2_chroma_w,
        .chroma_shift_y = desc->log2_chroma_h,
        .full_range = bs_is_full_range(frame->format, frame->color_range),
        .big_endian = desc->flags & AV_PIX_FMT_FLAG_BE,
        .matrix = bs_matrix_of(frame->colorspace),
        .orientation = bs_frame_orientation(frame),
    };
    for (int i = 0; i < components; i++) {
        const AVComponentDescriptor *const c = &desc->comp[i];
        /* What is not made of whole bytes (RGB565 and its kin), and depths beyond a word, swscale takes apart. */
        if (c->depth < 8 || c->depth + c->shift > 16 || c->plane > 3)
            return false;
        image.component[i] = (bs_component){.plane = (uint8_t)c->plane,
                                            .step = (uint8_t)c->step,
                                            .offset = (uint8_t)c->offset,
                                            .shift = (uint8_t)c->shift,
                                            .depth = (uint8_t)c->depth};
    }
    for (int p = 0; p < 4; p++) {
        image.data[p] = frame->data[p];
        image.stride[p] = frame->linesize[p];
    }
    *out = image;
    return true;
}

bool bs_format_turns(enum AVPixelFormat format, bs_orientation orientation)
{
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(format);
    if (!desc || (desc->flags & (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_BAYER)))
        return false;
    if (bs_orientation_swaps(orientation) && desc->log2_chroma_w != desc->log2_chroma_h)
        return false;
    for (int i = 0; i < desc->nb_components; i++)
        if (desc->comp[i].step != (desc->comp[i].depth + desc->comp[i].shift + 7) / 8)
            return false; /* shares its plane with another component */
    return true;
}

/* One plane of width × height samples as displayed; the source is walked by column where rows are columns. */
#define TURN(type) \
    for (int y = 0; y < height; y++) { \
        type *const to = (type *)(dst + y * dst_stride); \
        const uint8_t *const from = origin + y * step_y; \
        for (int x = 0; x < width; x++) \
            to[x] = *(const type *)(from + x * step_x); \
    }

static void turn_plane(const uint8_t *src, ptrdiff_t src_stride, uint8_t *dst, ptrdiff_t dst_stride, int width,
                       int height, int bytes, bs_orientation orientation)
{
    const bool swaps = bs_orientation_swaps(orientation);
    const bool from_right = bs_orientation_from_right(orientation),
               from_bottom = bs_orientation_from_bottom(orientation);
    const int src_width = swaps ? height : width, src_height = swaps ? width : height;
    const ptrdiff_t right = from_right ? -bytes : bytes, down = from_bottom ? -src_stride : src_stride;
    const uint8_t *const origin = src + (from_right ? (ptrdiff_t)(src_width - 1) * bytes : 0) +
                                  (from_bottom ? (src_height - 1) * src_stride : 0);
    const ptrdiff_t step_x = swaps ? down : right, step_y = swaps ? right : down;

    if (step_x == bytes) {
        av_image_copy_plane(dst, (int)dst_stride, origin, (int)step_y, width * bytes, height);
        return;
    }
    switch (bytes) {
    case 1: TURN(uint8_t) break;
    case 2: TURN(uint16_t) break;
    case 4: TURN(uint32_t) break;
    default:
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                memcpy(dst + y * dst_stride + (ptrdiff_t)x * bytes, origin + y * step_y + x * step_x, (size_t)bytes);
    }
}

void bs_turn_planes(const AVFrame *from, AVFrame *to, bs_orientation orientation)
{
    const AVPixFmtDescriptor *const desc = av_pix_fmt_desc_get(from->format);
    for (int i = 0; i < desc->nb_components; i++) {
        const bool chroma = (i == 1 || i == 2) && desc->nb_components >= 3 && !(desc->flags & AV_PIX_FMT_FLAG_RGB);
        const int p = desc->comp[i].plane;
        const int width = chroma ? AV_CEIL_RSHIFT(to->width, desc->log2_chroma_w) : to->width;
        const int height = chroma ? AV_CEIL_RSHIFT(to->height, desc->log2_chroma_h) : to->height;
        turn_plane(from->data[p], from->linesize[p], to->data[p], to->linesize[p], width, height, desc->comp[i].step,
                   orientation);
    }
}

void bs_turn_rgb24(const AVFrame *from, AVFrame *to, bs_orientation orientation)
{
    turn_plane(from->data[0], from->linesize[0], to->data[0], to->linesize[0], to->width, to->height, 3, orientation);
}
