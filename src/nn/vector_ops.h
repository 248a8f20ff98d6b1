/* Everything but convolutions with many inputs per output, over vectors of channels. Included once per vector width,
 * with NAME(f) to make names of, and the vector (see vector.h). Channels from `begin` to `end` are a multiple of
 * LANES; the caller does the rest. */

/* --- Depthwise ------------------------------------------------------------------------------------------
 * A block is PIXELS outputs × VECTORS vectors of channels, eight accumulators together: a multiply-add takes four
 * cycles, two start in each, so that eight must be under way. A weight is loaded once for all PIXELS outputs.
 * Taps are those inside the image: `rows` × `cols` of them from `in` on; `w` points to the first one's weights, which
 * lie column by column: tap (i, j) at w[(j·kernel_h + i)·w_tap]. */
typedef struct NAME(window) {
    size_t step;     /* floats between the inputs of neighbouring outputs of the block */
    size_t row, col; /* … between rows and columns of taps */
    size_t w_tap, w_col;
    size_t out_step; /* … between neighbouring outputs */
    int rows, cols;
    VEC low, high;
} NAME(window);

#define D_EACH_1(X) X(0)
#define D_EACH_2(X) D_EACH_1(X) X(1)
#define D_EACH_4(X) D_EACH_2(X) X(2) X(3)
#define D_EACH_8(X) D_EACH_4(X) X(4) X(5) X(6) X(7)

/* PIXELS × 1 vector. */
#define D_BIAS(t)  VEC sum##t = v_load(bias);
#define D_FMA(t)   sum##t = v_fma(v_load(p + t * w->step), x, sum##t);
#define D_STORE(t) v_store(out + t * w->out_step, v_min(v_max(sum##t, w->low), w->high));
#define D_PIXELS(function, EACH) \
    static inline void NAME(function)(const NAME(window) * w, const float *in, const float *weights, \
                                      const float *bias, float *out) \
    { \
        EACH(D_BIAS) \
        for (int j = 0; j < w->cols; j++, in += w->col, weights += w->w_col) { \
            const float *p = in, *q = weights; \
            for (int i = 0; i < w->rows; i++, p += w->row, q += w->w_tap) { \
                const VEC x = v_load(q); \
                EACH(D_FMA) \
            } \
        } \
        EACH(D_STORE) \
    }
D_PIXELS(depthwise8, D_EACH_8)
D_PIXELS(depthwise4, D_EACH_4)
D_PIXELS(depthwise1, D_EACH_1)

/* 4 pixels × 2 vectors, 1 pixel × 8 vectors. */
#define D_BIAS2(t) VEC sum##t = v_load(bias), tum##t = v_load(bias + LANES);
#define D_FMA2(t) \
    sum##t = v_fma(v_load(p + t * w->step), x, sum##t); \
    tum##t = v_fma(v_load(p + t * w->step + LANES), y, tum##t);
#define D_STORE2(t) \
    v_store(out + t * w->out_step, v_min(v_max(sum##t, w->low), w->high)); \
    v_store(out + t * w->out_step + LANES, v_min(v_max(tum##t, w->low), w->high));
static inline void NAME(depthwise4x2)(const NAME(window) * w, const float *in, const float *weights, const float *bias,
                                      float *out)
{
    D_EACH_4(D_BIAS2)
    for (int j = 0; j < w->cols; j++, in += w->col, weights += w->w_col) {
        const float *p = in, *q = weights;
        for (int i = 0; i < w->rows; i++, p += w->row, q += w->w_tap) {
            const VEC x = v_load(q), y = v_load(q + LANES);
            D_EACH_4(D_FMA2)
        }
    }
    D_EACH_4(D_STORE2)
}

#define D_BIAS_C(t)  VEC sum##t = v_load(bias + t * LANES);
#define D_FMA_C(t)   sum##t = v_fma(v_load(p + t * LANES), v_load(q + t * LANES), sum##t);
#define D_STORE_C(t) v_store(out + t * LANES, v_min(v_max(sum##t, w->low), w->high));
static inline void NAME(depthwise1x8)(const NAME(window) * w, const float *in, const float *weights, const float *bias,
                                      float *out)
{
    D_EACH_8(D_BIAS_C)
    for (int j = 0; j < w->cols; j++, in += w->col, weights += w->w_col) {
        const float *p = in, *q = weights;
        for (int i = 0; i < w->rows; i++, p += w->row, q += w->w_tap) {
            D_EACH_8(D_FMA_C)
        }
    }
    D_EACH_8(D_STORE_C)
}

/* `count` neighbouring outputs, `channels` channels of each. */
static void NAME(depthwise_run)(const NAME(window) * w, const float *in, const float *weights, const float *bias,
                                float *out, int count, int channels)
{
    for (; count >= 8; count -= 8, in += 8 * w->step, out += 8 * w->out_step)
        for (int c = 0; c < channels; c += LANES)
            NAME(depthwise8)(w, in + c, weights + c, bias + c, out + c);
    for (; count >= 4; count -= 4, in += 4 * w->step, out += 4 * w->out_step) {
        int c = 0;
        for (; c + 2 * LANES <= channels; c += 2 * LANES)
            NAME(depthwise4x2)(w, in + c, weights + c, bias + c, out + c);
        for (; c < channels; c += LANES)
            NAME(depthwise4)(w, in + c, weights + c, bias + c, out + c);
    }
    for (; count > 0; count--, in += w->step, out += w->out_step) {
        int c = 0;
        for (; c + 8 * LANES <= channels; c += 8 * LANES)
            NAME(depthwise1x8)(w, in + c, weights + c, bias + c, out + c);
        for (; c < channels; c += LANES)
            NAME(depthwise1)(w, in + c, weights + c, bias + c, out + c);
    }
}

/* Channels from `begin` to `end`, whose weights and biases are given, of rows from `top` to `bottom`. Columns whose
 * whole window is inside the image go along rows; the few others go down columns, where the window's columns are the
 * same for all, and one by one in the corners. */
static void NAME(depthwise_rows)(const bs_nn_step *s, const float *weights, const float *bias, int begin, int end,
                                 int top, int bottom)
{
    const size_t channels = (size_t)s->in_shape.channels;
    const span xs = whole_windows(s->in_shape.width, s->out_shape.width, s->kernel_w, s->stride_w, s->pad_left);
    const span ys = whole_windows(s->in_shape.height, s->out_shape.height, s->kernel_h, s->stride_h, s->pad_top);
    NAME(window) w = {.row = channels * (size_t)s->in_shape.width, .col = channels, .w_tap = (size_t)(end - begin)};
    w.w_col = w.w_tap * (size_t)s->kernel_h;
    w.low = v_set1(s->low);
    w.high = v_set1(s->high);
    for (int y = top; y < bottom; y++) {
        const span ty = taps_inside(y, s->in_shape.height, s->kernel_h, s->stride_h, s->pad_top);
        for (int x = 0; x < s->out_shape.width; x++) {
            const bool whole = x == xs.begin && xs.begin < xs.end;
            if (!whole && y > ys.begin && y > top && y < ys.end)
                continue; /* done from the row at the top of the run of whole windows */
            const span tx = taps_inside(x, s->in_shape.width, s->kernel_w, s->stride_w, s->pad_left);
            const bool run = y >= ys.begin && y < ys.end;
            const int count = whole ? xs.end - xs.begin : run ? min_int(ys.end, bottom) - y : 1;
            w.step = whole ? channels * (size_t)s->stride_w : w.row * (size_t)s->stride_h;
            w.out_step = whole ? channels : channels * (size_t)s->out_shape.width;
            w.rows = ty.end - ty.begin;
            w.cols = tx.end - tx.begin;
            const float *in = s->in + (size_t)max_int(y * s->stride_h - s->pad_top, 0) * w.row +
                              (size_t)max_int(x * s->stride_w - s->pad_left, 0) * channels + begin;
            NAME(depthwise_run)
            (&w, in, weights + (size_t)tx.begin * w.w_col + (size_t)ty.begin * w.w_tap, bias,
             s->out + ((size_t)y * s->out_shape.width + x) * channels + begin, count, end - begin);
            if (whole)
                x = xs.end - 1;
        }
    }
}

#undef D_EACH_1
#undef D_EACH_2
#undef D_EACH_4
#undef D_EACH_8
#undef D_BIAS
#undef D_FMA
#undef D_STORE
#undef D_PIXELS
#undef D_BIAS2
#undef D_FMA2
#undef D_STORE2
#undef D_BIAS_C
#undef D_FMA_C
#undef D_STORE_C

/* --- The others ----------------------------------------------------------------------------------------- */

static void NAME(add_run)(const bs_nn_step *s, size_t begin, size_t end)
{
    const VEC low = v_set1(s->add_low), high = v_set1(s->add_high);
    for (size_t i = begin; i + LANES <= end; i += LANES)
        v_store(s->out + i, v_min(v_max(v_add(v_load(s->in + i), v_load(s->other + i)), low), high));
}

static void NAME(max_pool_pixel)(const bs_nn_step *s, const float *in, float *out, int end)
{
    const size_t channels = (size_t)s->in_shape.channels, row = channels * (size_t)s->in_shape.width;
    const VEC low = v_set1(s->low), high = v_set1(s->high);
    for (int c = 0; c < end; c += LANES) {
        VEC best = v_set1(-INFINITY);
        for (int i = 0; i < s->kernel_h; i++)
            for (int j = 0; j < s->kernel_w; j++)
                best = v_max(v_load(in + (size_t)i * row + (size_t)j * channels + c), best);
        v_store(out + c, v_min(v_max(best, low), high));
    }
}

/* One output pixel between four inputs; `other` (or NULL) is added. No fused operation: the reference has none. */
static void NAME(resize_pixel)(const bs_nn_step *s, const float *const corner[4], float ax, float ay,
                               const float *other, float *out, int end)
{
    const VEC x = v_set1(ax), y = v_set1(ay), low = v_set1(s->add_low), high = v_set1(s->add_high);
    for (int c = 0; c < end; c += LANES) {
        const VEC tl = v_load(corner[0] + c), tr = v_load(corner[1] + c);
        const VEC bl = v_load(corner[2] + c), br = v_load(corner[3] + c);
        const VEC t = v_add(tl, v_mul(v_sub(tr, tl), x)), b = v_add(bl, v_mul(v_sub(br, bl), x));
        VEC v = v_add(t, v_mul(v_sub(b, t), y));
        if (other)
            v = v_min(v_max(v_add(v, v_load(other + c)), low), high);
        v_store(out + c, v);
    }
}
