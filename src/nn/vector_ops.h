/* Everything but convolutions with many inputs per output, over vectors of channels. Included once per vector width,
 * with NAME(f) to make names of, and the vector (see vector.h). Channels from `begin` to `end` are a multiple of
 * LANES; the caller does the rest. */

/* --- Depthwise ------------------------------------------------------------------------------------------
 * A block is 8 outputs × 1 vector of channels, 4 × 2 or 1 × 8: eight accumulators, because a multiply-add takes four
 * cycles, two start in each, and so eight must be under way. A weight is loaded once for all outputs of the block.
 * Taps are those inside the image: `rows` × `cols` of them from `in` on; `weights` are the first one's, and lie column
 * by column. Blocks are functions of their own, and outputs come in groups of four with a pointer each, so that all
 * strides stay in registers (inlined, GCC 12 reloads them from the stack between multiply-adds: half the speed). */
typedef struct NAME(window) {
    size_t step;     /* bytes between the inputs of neighbouring outputs of the block */
    size_t row, col; /* … between rows and columns of taps */
    size_t w_tap, w_col;
    size_t out_step; /* floats between neighbouring outputs */
    int rows, cols;
    VEC low, high;
} NAME(window);

#define D_AT(pointer, bytes) v_load((const float *)((pointer) + (bytes)))

/* SIZE: the rows and columns of taps, or 0 where they are `w`'s. Known sizes are unrolled: the
 * short loops themselves cost up to a quarter of the time (253 against 195 us at 64x64x144, AVX2). */
#define D_BLOCK(function, SIZE, VECTORS, DECLARE, MULTIPLY, STORE) \
    static __attribute__((noinline)) void NAME(function)( \
        const NAME(window) * w, const float *in, const float *weights, const float *bias, float *out, int channels) \
    { \
        const size_t step = w->step, step3 = 3 * step, row = w->row, tap = w->w_tap; \
        (void)step3; \
        for (int c = 0; c < channels; c += VECTORS * LANES) { \
            const char *column = (const char *)(in + c), *w_column = (const char *)(weights + c); \
            DECLARE \
            _Pragma("GCC unroll 5") for (int j = 0; j < (SIZE ? SIZE : w->cols); j++) \
            { \
                const char *p0 = column, *p1 = p0 + 4 * step, *q = w_column; \
                (void)p1; \
                _Pragma("GCC unroll 5") for (int i = 0; i < (SIZE ? SIZE : w->rows); i++) \
                { \
                    MULTIPLY \
                    p0 += row; \
                    p1 += row; \
                    q += tap; \
                } \
                column += w->col; \
                w_column += w->w_col; \
            } \
            STORE \
        } \
    }

#define D_SUM(v, t)        VEC sum##v##_##t = v_load(bias + c + v * LANES);
#define D_FMA(v, t, g, by) sum##v##_##t = v_fma(D_AT(p##g, (by) + v * LANES * sizeof(float)), x##v, sum##v##_##t);
#define D_OUT(v, t)        v_store(out + c + v * LANES + t * w->out_step, v_min(v_max(sum##v##_##t, w->low), w->high));
#define D_X(v)             const VEC x##v = D_AT(q, v * LANES * sizeof(float));

#define D_4(X, v)    X(v, 0) X(v, 1) X(v, 2) X(v, 3)
#define D_8(X, v)    D_4(X, v) X(v, 4) X(v, 5) X(v, 6) X(v, 7)
#define D_FMA_4(v)   D_FMA(v, 0, 0, 0) D_FMA(v, 1, 0, step) D_FMA(v, 2, 0, 2 * step) D_FMA(v, 3, 0, step3)
#define D_FMA_8(v)   D_FMA_4(v) D_FMA(v, 4, 1, 0) D_FMA(v, 5, 1, step) D_FMA(v, 6, 1, 2 * step) D_FMA(v, 7, 1, step3)
#define D_VECTORS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define D_SUM_1(v)   D_SUM(v, 0)
#define D_FMA_1(v)   D_X(v) D_FMA(v, 0, 0, 0)
#define D_OUT_1(v)   D_OUT(v, 0)

#define D_BLOCKS(suffix, SIZE) \
    D_BLOCK(depthwise8##suffix, SIZE, 1, D_8(D_SUM, 0), D_X(0) D_FMA_8(0), D_8(D_OUT, 0)) \
    D_BLOCK(depthwise4x2##suffix, SIZE, 2, D_4(D_SUM, 0) D_4(D_SUM, 1), D_X(0) D_X(1) D_FMA_4(0) D_FMA_4(1), \
            D_4(D_OUT, 0) D_4(D_OUT, 1))
D_BLOCKS(, 0)
D_BLOCKS(_3x3, 3)
D_BLOCKS(_5x5, 5)
D_BLOCK(depthwise4, 0, 1, D_4(D_SUM, 0), D_X(0) D_FMA_4(0), D_4(D_OUT, 0))
D_BLOCK(depthwise1x8, 0, 8, D_VECTORS(D_SUM_1), D_VECTORS(D_FMA_1), D_VECTORS(D_OUT_1))
D_BLOCK(depthwise1, 0, 1, D_SUM(0, 0), D_FMA_1(0), D_OUT(0, 0))

/* 3 × 3 with stride 1, along a row. A column of inputs is loaded once and serves three outputs: it is the last one of
 * the first's window, the middle one of the second's, the first one of the third's. Nine weights, three sums and three
 * inputs are what 16 registers hold. */
#define D_COLUMN(SUMS) \
    { \
        const VEC x0 = D_AT(p, 0), x1 = D_AT(p, w->row), x2 = D_AT(p, 2 * w->row); \
        p += w->col; \
        SUMS \
    }
#define D_TAPS(sum, j) sum = v_fma(x2, w##j##2, v_fma(x1, w##j##1, v_fma(x0, w##j##0, sum)));
#define D_W(j, i)      const VEC w##j##i = D_AT(q, j * w->w_col + i * w->w_tap);
#define D_WEIGHTS      D_W(0, 0) D_W(0, 1) D_W(0, 2) D_W(1, 0) D_W(1, 1) D_W(1, 2) D_W(2, 0) D_W(2, 1) D_W(2, 2)

static __attribute__((noinline)) void NAME(depthwise_sliding)(const NAME(window) * w, const float *in,
                                                              const float *weights, const float *bias, float *out,
                                                              int count, int channels)
{
    for (int c = 0; c < channels; c += LANES) {
        const char *p = (const char *)(in + c), *q = (const char *)(weights + c);
        float *to = out + c;
        VEC first = v_load(bias + c), second = first;
        D_WEIGHTS
        D_COLUMN(D_TAPS(first, 0))
        D_COLUMN(D_TAPS(first, 1) D_TAPS(second, 0))
        for (int i = 0; i < count; i++) {
            VEC third = v_load(bias + c);
            D_COLUMN(D_TAPS(first, 2) D_TAPS(second, 1) D_TAPS(third, 0))
            v_store(to, v_min(v_max(first, w->low), w->high));
            to += w->out_step;
            first = second;
            second = third;
        }
    }
}

typedef void NAME(block)(const NAME(window) * w, const float *in, const float *weights, const float *bias, float *out,
                         int channels);

/* `count` neighbouring outputs, `channels` channels of each. The last block is moved back where it would stick out:
 * what it computes again comes out the same. */
static void NAME(depthwise_run)(const NAME(window) * w, const float *in, const float *weights, const float *bias,
                                float *out, int count, int channels)
{
    const size_t step = w->step / sizeof(float);
    const int pairs = channels / (2 * LANES) * (2 * LANES), eights = channels / (8 * LANES) * (8 * LANES);
    const int size = w->rows == w->cols ? w->rows : 0;
    NAME(block) *const by8 = size == 3 ? NAME(depthwise8_3x3) : size == 5 ? NAME(depthwise8_5x5) : NAME(depthwise8);
    NAME(block) *const by4x2 = size == 3   ? NAME(depthwise4x2_3x3)
                               : size == 5 ? NAME(depthwise4x2_5x5)
                                           : NAME(depthwise4x2);
    int done = 0;
    for (; size == 3 && w->step == w->col && done < count; done += SLIDING_RUN) {
        const int some = min_int(count - done, SLIDING_RUN);
        NAME(depthwise_sliding)
        (w, in + (size_t)done * step, weights, bias, out + (size_t)done * w->out_step, some, channels);
    }
    while (count >= 8 && count - done > 4) {
        const size_t at = (size_t)min_int(done, count - 8);
        by8(w, in + at * step, weights, bias, out + at * w->out_step, channels);
        done = (int)at + 8;
    }
    while (count >= 4 && done < count) {
        const size_t at = (size_t)min_int(done, count - 4);
        by4x2(w, in + at * step, weights, bias, out + at * w->out_step, pairs);
        NAME(depthwise4)
        (w, in + at * step + pairs, weights + pairs, bias + pairs, out + at * w->out_step + pairs, channels - pairs);
        done = (int)at + 4;
    }
    for (; done < count; done++) {
        const float *from = in + (size_t)done * step;
        float *to = out + (size_t)done * w->out_step;
        NAME(depthwise1x8)(w, from, weights, bias, to, eights);
        NAME(depthwise1)(w, from + eights, weights + eights, bias + eights, to + eights, channels - eights);
    }
}

/* Channels from `begin` to `end`, whose weights and biases are given, of rows from `top` to `bottom`. Columns whose
 * whole window is inside the image go along rows; the few others go down columns, where the window's columns are the
 * same for all, and one by one in the corners. */
static void NAME(depthwise_rows)(const bs_nn_step *s, const float *weights, const float *bias, int begin, int end,
                                 int top, int bottom)
{
    const size_t channels = (size_t)s->in_shape.channels, row = channels * (size_t)s->in_shape.width;
    const size_t tap = (size_t)(end - begin), column = tap * (size_t)s->kernel_h;
    const span xs = whole_windows(s->in_shape.width, s->out_shape.width, s->kernel_w, s->stride_w, s->pad_left);
    const span ys = whole_windows(s->in_shape.height, s->out_shape.height, s->kernel_h, s->stride_h, s->pad_top);
    NAME(window) w = {.row = row * sizeof(float), .col = channels * sizeof(float)};
    w.w_tap = tap * sizeof(float);
    w.w_col = column * sizeof(float);
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
            w.step = whole ? w.col * (size_t)s->stride_w : w.row * (size_t)s->stride_h;
            w.out_step = whole ? channels : channels * (size_t)s->out_shape.width;
            w.rows = ty.end - ty.begin;
            w.cols = tx.end - tx.begin;
            const float *in = s->in + (size_t)max_int(y * s->stride_h - s->pad_top, 0) * row +
                              (size_t)max_int(x * s->stride_w - s->pad_left, 0) * channels + begin;
            const float *first = weights + (size_t)tx.begin * column + (size_t)ty.begin * tap;
            float *out = s->out + ((size_t)y * s->out_shape.width + x) * channels + begin;
            NAME(depthwise_run)(&w, in, first, bias, out, count, end - begin);
            if (whole)
                x = xs.end - 1;
        }
    }
}

#undef D_AT
#undef D_BLOCK
#undef D_BLOCKS
#undef D_SUM
#undef D_FMA
#undef D_OUT
#undef D_X
#undef D_4
#undef D_8
#undef D_FMA_4
#undef D_FMA_8
#undef D_VECTORS
#undef D_SUM_1
#undef D_FMA_1
#undef D_OUT_1
#undef D_COLUMN
#undef D_TAPS
#undef D_W
#undef D_WEIGHTS

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
