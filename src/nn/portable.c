/* Portable kernels: the definition of every operator's bits, in plain C, and what the vector files leave out.
 * They are written to be read; fmaf is the hardware's instruction where there is one, and exact where not. */
#include <math.h>
#include <string.h>

#include "kernels.h"

/* --- Weights ------------------------------------------------------------------------------------------- */

float bs_nn_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff, bits;
    float value;
    if (rest < 0x0400) { /* zero and sub-normals: rest · 2^-24, exact */
        value = (float)rest * 0x1p-24f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    } else if (rest < 0x7c00) {
        bits = sign | ((rest << 13) + ((127u - 15u) << 23));
    } else {
        bits = sign | 0x7f800000u | rest << 13;
    }
    memcpy(&value, &bits, 4);
    return value;
}

static float value_at(const bs_nn_weights *w, size_t i)
{
    float single;
    if (w->value_bytes == 2)
        return bs_nn_half_to_float((uint16_t)bs_nn_index(w->data, 2, i));
    uint32_t bits = bs_nn_index(w->data, 4, i);
    memcpy(&single, &bits, 4);
    return single;
}

void bs_nn_weights_get(const bs_nn_weights *w, size_t first, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = w->data ? value_at(w, first + i) : 0;
}

void bs_nn_weights_row(const bs_nn_weights *w, int row, int columns, float *out, int stride)
{
    if (!w->segments) {
        for (int i = 0; i < columns; i++)
            out[(size_t)i * stride] = value_at(w, (size_t)row * columns + i);
        return;
    }
    for (int i = 0; i < columns; i++)
        out[(size_t)i * stride] = 0;
    size_t end = bs_nn_index(w->segments, w->segment_bytes, (size_t)row + 1);
    for (size_t p = bs_nn_index(w->segments, w->segment_bytes, row); p < end; p++)
        out[(size_t)bs_nn_index(w->indices, w->index_bytes, p) * stride] = value_at(w, p);
}

/* --- Operators ----------------------------------------------------------------------------------------- */

/* Clamps, adds the other tensor's element and stores: the end of every operator. */
static void finish(const bs_nn_step *s, size_t pixel, int channel, float value)
{
    size_t at = pixel * s->out_shape.channels + channel;
    value = bs_nn_clamp(value, s->low, s->high);
    if (s->other_channels) {
        float other = channel < s->other_channels ? s->other[pixel * s->other_channels + channel] : 0.0f;
        value = bs_nn_clamp(value + other, s->add_low, s->add_high);
    }
    s->out[at] = value;
}

static float tap(const bs_nn_step *s, int y, int x, int channel)
{
    if (y < 0 || y >= s->in_shape.height || x < 0 || x >= s->in_shape.width)
        return 0.0f;
    return s->in[((size_t)y * s->in_shape.width + x) * s->in_shape.channels + channel];
}

/* Rows of the output from `begin` to `end`. The filter of one output channel at a time is in `scratch`. */
static void conv(const bs_nn_step *s, float *scratch, int begin, int end)
{
    const int channels = s->in_shape.channels, width = s->out_shape.width;
    const int taps = s->kernel_h * s->kernel_w * channels;
    for (int o = 0; o < s->out_shape.channels; o++) {
        float bias;
        bs_nn_weights_get(&s->bias, (size_t)o, 1, &bias);
        bs_nn_weights_row(&s->weights, o, taps, scratch, 1);
        for (int y = begin; y < end; y++)
            for (int x = 0; x < width; x++) {
                const float *w = scratch;
                float sum = bias;
                for (int i = 0; i < s->kernel_h; i++)
                    for (int j = 0; j < s->kernel_w; j++)
                        for (int c = 0; c < channels; c++)
                            sum = fmaf(tap(s, y * s->stride_h - s->pad_top + i, x * s->stride_w - s->pad_left + j, c),
                                       *w++, sum);
                finish(s, (size_t)y * width + x, o, sum);
            }
    }
}

void bs_nn_plain_depthwise(const bs_nn_step *s, float *scratch, int begin, int end, int first)
{
    const int channels = s->in_shape.channels, width = s->out_shape.width;
    float *bias = scratch, *weights = scratch + channels;
    bs_nn_weights_get(&s->bias, 0, (size_t)channels, bias);
    bs_nn_weights_get(&s->weights, 0, (size_t)channels * s->kernel_h * s->kernel_w, weights);
    for (int y = begin; y < end; y++)
        for (int x = 0; x < width; x++)
            for (int c = first; c < channels; c++) {
                float sum = bias[c];
                for (int j = 0; j < s->kernel_w; j++)
                    for (int i = 0; i < s->kernel_h; i++)
                        sum = fmaf(tap(s, y * s->stride_h - s->pad_top + i, x * s->stride_w - s->pad_left + j, c),
                                   weights[(i * s->kernel_w + j) * channels + c], sum);
                finish(s, (size_t)y * width + x, c, sum);
            }
}

void bs_nn_plain_max_pool(const bs_nn_step *s, int begin, int end, int first)
{
    const bs_nn_shape in = s->in_shape;
    for (int y = begin; y < end; y++)
        for (int x = 0; x < s->out_shape.width; x++)
            for (int c = first; c < in.channels; c++) {
                float best = -INFINITY;
                for (int i = 0; i < s->kernel_h; i++)
                    for (int j = 0; j < s->kernel_w; j++) {
                        int iy = y * s->stride_h - s->pad_top + i, ix = x * s->stride_w - s->pad_left + j;
                        if (iy < 0 || iy >= in.height || ix < 0 || ix >= in.width)
                            continue;
                        float v = s->in[((size_t)iy * in.width + ix) * in.channels + c];
                        best = v > best ? v : best;
                    }
                finish(s, (size_t)y * s->out_shape.width + x, c, best);
            }
}

/* tensorflow/lite/kernels/internal/reference/resize_bilinear.h, half-pixel centres, exactly ×2. */
void bs_nn_plain_resize(const bs_nn_step *s, int begin, int end, int first)
{
    const bs_nn_shape in = s->in_shape;
    for (int y = begin; y < end; y++) {
        int top = (y - 1) >> 1, bottom = top + 1;
        float ay = y & 1 ? 0.25f : 0.75f;
        top = top < 0 ? 0 : top;
        bottom = bottom >= in.height ? in.height - 1 : bottom;
        for (int x = 0; x < s->out_shape.width; x++) {
            int left = (x - 1) >> 1, right = left + 1;
            float ax = x & 1 ? 0.25f : 0.75f;
            left = left < 0 ? 0 : left;
            right = right >= in.width ? in.width - 1 : right;
            for (int c = first; c < in.channels; c++) {
                const float tl = tap(s, top, left, c), tr = tap(s, top, right, c);
                const float bl = tap(s, bottom, left, c), br = tap(s, bottom, right, c);
                const float t = tl + (tr - tl) * ax, b = bl + (br - bl) * ax;
                finish(s, (size_t)y * s->out_shape.width + x, c, t + (b - t) * ay);
            }
        }
    }
}

void bs_nn_plain_add(const bs_nn_step *s, int begin, int end)
{
    const int width = s->out_shape.width, channels = s->out_shape.channels;
    for (size_t p = (size_t)begin * width; p < (size_t)end * width; p++)
        for (int c = 0; c < channels; c++)
            finish(s, p, c, s->in[p * channels + c]);
}

/* --- What the vector files leave to this one ----------------------------------------------------------- */

/* XNNPACK's f32 sigmoid for AVX2 (src/f32-sigmoid, "rr1-p5-div"), one number at a time. */
static float logistic(float x)
{
    const float z = -fabsf(x);
    float n = fmaf(z, 0x1.715476p0f, 0x1.8000FEp23f);
    uint32_t bits;
    memcpy(&bits, &n, 4);
    bits <<= 23;
    float scale;
    memcpy(&scale, &bits, 4);
    n -= 0x1.8000FEp23f;
    float t = fmaf(n, -0x1.62E430p-1f, z);
    float p = fmaf(0x1.0F9F9Cp-7f, t, 0x1.573A1Ap-5f);
    p = fmaf(p, t, 0x1.555A80p-3f);
    p = fmaf(p, t, 0x1.FFFDC6p-2f);
    p = fmaf(p, t, 0x1.FFFFF6p-1f);
    t *= scale;
    const float e = fmaf(t, p, scale);
    float f = e / (e + 1.0f);
    if (z < -0x1.5D589Ep+6f)
        f = 0.0f;
    return x < 0 ? f : 1.0f - f;
}

static void pad(const bs_nn_step *s, int begin, int end)
{
    for (int y = begin; y < end; y++)
        for (int x = 0; x < s->out_shape.width; x++)
            for (int c = 0; c < s->out_shape.channels; c++) {
                int channel = c - s->pad_channels;
                bool inside = channel >= 0 && channel < s->in_shape.channels;
                finish(s, (size_t)y * s->out_shape.width + x, c,
                       inside ? tap(s, y - s->pad_top, x - s->pad_left, channel) : 0.0f);
            }
}

static void depth_to_space(const bs_nn_step *s, int begin, int end)
{
    const int channels = s->out_shape.channels, width = s->out_shape.width, b = s->block;
    for (int y = begin; y < end; y++)
        for (int x = 0; x < width; x++)
            memcpy(s->out + ((size_t)y * width + x) * channels,
                   s->in + ((size_t)(y / b) * s->in_shape.width + x / b) * s->in_shape.channels +
                       (y % b * b + x % b) * channels,
                   sizeof(float) * (size_t)channels);
}

void bs_nn_run_plain(const bs_nn_step *s, int part, int parts)
{
    int begin, end;
    bs_nn_share(s->out_shape.height, 1, part, parts, &begin, &end);
    switch (s->kind) {
    case BS_NN_PAD: pad(s, begin, end); break;
    case BS_NN_DEPTH_TO_SPACE: depth_to_space(s, begin, end); break;
    case BS_NN_CONCAT:
        if (part == 0)
            memcpy(s->out, s->in, sizeof(float) * (size_t)s->in_shape.channels);
        break;
    case BS_NN_LOGISTIC:
        for (size_t i = (size_t)begin * s->out_shape.width * s->out_shape.channels;
             i < (size_t)end * s->out_shape.width * s->out_shape.channels; i++)
            s->out[i] = logistic(s->in[i]);
        break;
    default: break;
    }
}

static size_t scratch_of(const bs_nn_step *s)
{
    size_t taps = (size_t)s->kernel_h * s->kernel_w * s->in_shape.channels;
    return s->kind == BS_NN_CONV ? taps : s->kind == BS_NN_DEPTHWISE ? taps + s->in_shape.channels : 0;
}

static void run(const bs_nn_step *s, float *scratch, int part, int parts)
{
    int begin, end;
    bs_nn_share(s->out_shape.height, 1, part, parts, &begin, &end);
    switch (s->kind) {
    case BS_NN_CONV: conv(s, scratch, begin, end); break;
    case BS_NN_DEPTHWISE: bs_nn_plain_depthwise(s, scratch, begin, end, 0); break;
    case BS_NN_MAX_POOL: bs_nn_plain_max_pool(s, begin, end, 0); break;
    case BS_NN_RESIZE: bs_nn_plain_resize(s, begin, end, 0); break;
    case BS_NN_ADD: bs_nn_plain_add(s, begin, end); break;
    default: bs_nn_run_plain(s, part, parts); break;
    }
}

const bs_nn_kernels bs_nn_portable = {.name = "portable", .scratch = scratch_of, .run = run};
