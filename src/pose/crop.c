/* Crops (see crop.h): geometry, the way from a picture's description to planes, and the row loop. */
#include <math.h>
#include <string.h>

#include "pose/crop.h"
#include "pose/detector.h"

/* -- geometry ------------------------------------------------------------------------------------ */

/* The corners of the region, in the order bottom left, top left, top right, bottom right: float32, by way of
 * degrees, as cv::RotatedRect computes them (modules/core/src/types.cpp). */
static void corners_of(const bs_crop_region *r, float corner[4][2])
{
    const float degrees = (float)((double)(r->rotation * 180.0f) / M_PI);
    const double angle = (double)degrees * M_PI / 180.0;
    const float b = (float)cos(angle) * 0.5f, a = (float)sin(angle) * 0.5f;
    corner[0][0] = r->cx - a * r->height - b * r->width;
    corner[0][1] = r->cy + b * r->height - a * r->width;
    corner[1][0] = r->cx + a * r->height - b * r->width;
    corner[1][1] = r->cy - b * r->height - a * r->width;
    for (int i = 0; i < 2; i++) {
        corner[2 + i][0] = 2 * r->cx - corner[i][0];
        corner[2 + i][1] = 2 * r->cy - corner[i][1];
    }
}

/* Gaussian elimination with partial pivoting on 8 equations, as OpenCV's LU: the solution replaces b. */
static void solve(double a[8][8], double b[8])
{
    for (int i = 0; i < 8; i++) {
        int pivot = i;
        for (int j = i + 1; j < 8; j++)
            if (fabs(a[j][i]) > fabs(a[pivot][i]))
                pivot = j;
        if (pivot != i) {
            double row[8], value = b[i];
            memcpy(row, a[i], sizeof(row));
            memcpy(a[i], a[pivot], sizeof(row));
            memcpy(a[pivot], row, sizeof(row));
            b[i] = b[pivot];
            b[pivot] = value;
        }
        const double d = -1 / a[i][i];
        for (int j = i + 1; j < 8; j++) {
            const double factor = a[j][i] * d;
            for (int k = i + 1; k < 8; k++)
                a[j][k] += factor * a[i][k];
            b[j] += factor * b[i];
        }
    }
    for (int i = 7; i >= 0; i--) {
        double s = b[i];
        for (int k = i + 1; k < 8; k++)
            s -= a[i][k] * b[k];
        b[i] = s / a[i][i];
    }
}

/* By cofactors times 1 / determinant, as cv::invert does for 3 × 3. */
static void invert(const double s[9], double t[9])
{
    const double d = 1. / (s[0] * (s[4] * s[8] - s[5] * s[7]) - s[1] * (s[3] * s[8] - s[5] * s[6]) +
                           s[2] * (s[3] * s[7] - s[4] * s[6]));
    t[0] = (s[4] * s[8] - s[5] * s[7]) * d;
    t[1] = (s[2] * s[7] - s[1] * s[8]) * d;
    t[2] = (s[1] * s[5] - s[2] * s[4]) * d;
    t[3] = (s[5] * s[6] - s[3] * s[8]) * d;
    t[4] = (s[0] * s[8] - s[2] * s[6]) * d;
    t[5] = (s[2] * s[3] - s[0] * s[5]) * d;
    t[6] = (s[3] * s[7] - s[4] * s[6]) * d;
    t[7] = (s[1] * s[6] - s[0] * s[7]) * d;
    t[8] = (s[0] * s[4] - s[1] * s[3]) * d;
}

/* The map from crop to picture: the inverse of the homography from the region's corners to the crop's.
 * It is affine in truth; what matters is its rounding (blazepose.md 5.3). */
static void map_of(const bs_crop_region *region, int size, double m[9])
{
    const double to[4][2] = {{0, size}, {0, 0}, {size, 0}, {size, size}};
    float corner[4][2];
    double a[8][8] = {0}, p[9];
    corners_of(region, corner);
    for (int i = 0; i < 4; i++) {
        const double x = corner[i][0], y = corner[i][1];
        const double first[8] = {x, y, 1, 0, 0, 0, -x * to[i][0], -y * to[i][0]};
        const double second[8] = {0, 0, 0, x, y, 1, -x * to[i][1], -y * to[i][1]};
        memcpy(a[i], first, sizeof(first));
        memcpy(a[i + 4], second, sizeof(second));
        p[i] = to[i][0];
        p[i + 4] = to[i][1];
    }
    solve(a, p);
    p[8] = 1;
    invert(p, m);
}

/* -- the picture --------------------------------------------------------------------------------- */

enum { MAX_SIDE = 65535 };

static int component_count(const bs_image *image)
{
    return image->model == BS_COLOR_GRAY ? 1 : 3;
}

static bool is_subsampled(const bs_image *image, int c)
{
    return image->model == BS_COLOR_YUV && c > 0;
}

static int subsampled(int size, int shift)
{
    return (size + (1 << shift) - 1) >> shift;
}

bs_status bs_image_check(const bs_image *image, bs_error *err)
{
    if (image->width < 1 || image->height < 1 || image->width > MAX_SIDE || image->height > MAX_SIDE)
        return bs_fail(err, BS_ERR_USAGE, "a picture of %d x %d pixels: both sides must be 1 to %d", image->width,
                       image->height, MAX_SIDE);
    if ((unsigned)image->orientation > BS_ORIENT_ROTATE_270 || (unsigned)image->model > BS_COLOR_GRAY ||
        (unsigned)image->matrix > BS_MATRIX_BT2020 || image->chroma_shift_x > 2 || image->chroma_shift_y > 2)
        return bs_fail(err, BS_ERR_USAGE,
                       "the picture's description has an unknown orientation, colour model, matrix "
                       "or chroma subsampling");
    for (int c = 0; c < component_count(image); c++) {
        const bs_component *k = &image->component[c];
        const int width = is_subsampled(image, c) ? subsampled(image->width, image->chroma_shift_x) : image->width;
        if (k->plane > 3 || !image->data[k->plane] || k->depth < 1 || k->depth + k->shift > 16)
            return bs_fail(err, BS_ERR_USAGE, "component %d of the picture has no plane, or not 1 to 16 bits", c);
        const int bytes = k->depth + k->shift > 8 ? 2 : 1;
        const int64_t stride = image->stride[k->plane];
        if (k->step < bytes || k->offset + (int64_t)(width - 1) * k->step + bytes > (stride < 0 ? -stride : stride))
            return bs_fail(err, BS_ERR_USAGE,
                           "a row of %d samples of component %d does not fit into the stride of its "
                           "plane, %lld bytes",
                           width, c, (long long)stride);
    }
    return BS_OK;
}

/* MediaPipe's own arithmetic applies: what is interpolated are 8-bit R, G, B. */
static bool is_exact(const bs_image *image)
{
    for (int c = 0; c < component_count(image); c++)
        if (image->component[c].depth != 8)
            return false;
    return image->model == BS_COLOR_RGB || (image->model == BS_COLOR_GRAY && image->full_range);
}

static bs_taps plane_of(const bs_image *image, int c)
{
    const bs_component *k = &image->component[c];
    const int sx = is_subsampled(image, c) ? image->chroma_shift_x : 0;
    const int sy = is_subsampled(image, c) ? image->chroma_shift_y : 0;
    const int bytes = k->depth + k->shift > 8 ? 2 : 1;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    const bool swap = bytes == 2 && !image->big_endian;
#else
    const bool swap = bytes == 2 && image->big_endian;
#endif
    return (bs_taps){
        .base = image->data[k->plane] + k->offset,
        .stride = image->stride[k->plane],
        .width = subsampled(image->width, sx),
        .height = subsampled(image->height, sy),
        .step = k->step,
        .bytes = bytes,
        .shift = k->shift,
        .mask = (1 << k->depth) - 1,
        .swap = swap,
        .frac_x = BS_COORD_BITS + sx,
        .frac_y = BS_COORD_BITS + sy,
    };
}

/* How far, in bytes, a place of the plane lies from the one that the crop looks at some rows later. */
static ptrdiff_t rows_ahead(const bs_image *image, const bs_taps *t, const double m[9])
{
    enum { ROWS = 6 };
    const bs_orientation o = image->orientation;
    const bool swaps = bs_orientation_swaps(o);
    const double x = (bs_orientation_from_right(o) ? -ROWS : ROWS) * (swaps ? m[4] : m[1]);
    const double y = (bs_orientation_from_bottom(o) ? -ROWS : ROWS) * (swaps ? m[1] : m[4]);
    const double most = MAX_SIDE; /* the map may hold what is no number */
    const ptrdiff_t columns = lrint(ldexp(fmin(fmax(x, -most), most), BS_COORD_BITS - t->frac_x));
    const ptrdiff_t rows = lrint(ldexp(fmin(fmax(y, -most), most), BS_COORD_BITS - t->frac_y));
    return rows * t->stride + columns * t->step;
}

/* From weighted sums of component samples to R, G, B of 0–255, and a half more, to be rounded down: ITU-T H.273,
 * 8.3 and equations 38 to 40. */
static void conversion_of(const bs_image *image, const int weight_bits[3], float m[9], float bias[3])
{
    static const double kr[] = {0.299, 0.2126, 0.2627}, kb[] = {0.114, 0.0722, 0.0593};
    double scale[3], zero[3];
    for (int c = 0; c < 3; c++) {
        const int from = component_count(image) == 1 ? 0 : c;
        const int depth = image->component[from].depth;
        const bool chroma = is_subsampled(image, c);
        const double unit = ldexp(1, depth - 8), most = ldexp(1, depth) - 1;
        const bool full = image->full_range || image->model == BS_COLOR_RGB;
        zero[c] = chroma ? 128 * unit : full ? 0 : 16 * unit;
        scale[c] = 1 / (full ? most : (chroma ? 224 : 219) * unit);
        zero[c] *= scale[c];
        scale[c] = ldexp(scale[c], -weight_bits[c]);
    }
    const double r = kr[image->matrix], b = kb[image->matrix], g = 1 - r - b;
    const double yuv[9] = {1, 0, 2 - 2 * r, 1, -(2 - 2 * b) * b / g, -(2 - 2 * r) * r / g, 1, 2 - 2 * b, 0};
    const double same[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    const double *from = image->model == BS_COLOR_YUV ? yuv : same;
    for (int i = 0; i < 3; i++) {
        double offset = 0;
        for (int c = 0; c < 3; c++) {
            m[3 * i + c] = (float)(255 * from[3 * i + c] * scale[c]);
            offset -= from[3 * i + c] * zero[c];
        }
        bias[i] = (float)(255 * offset + 0.5);
    }
}

/* -- rows ---------------------------------------------------------------------------------------- */

/* One crop under way. */
typedef struct crop {
    const bs_image *image;
    const bs_crop_kernels *kernels;
    bs_crop_kind kind;
    int size;
    bool exact;
    int planes; /* 1 where R, G and B are the same */
    bs_taps plane[3];
    bool interleaved; /* the three components of a pixel lie beside each other */
    bool cubic;       /* chroma is subsampled, and interpolated by cubics */
    bs_cubic across, down;
    float matrix[9], bias[3]; /* to RGB, where it is not exact */
    float value[256];         /* the detector's value of each 8-bit sample */
} crop;

/* 5.4: [-1, 1] by a fused multiply-add. */
static void fill_values(crop *c)
{
    for (int i = 0; i < 256; i++)
        c->value[i] = fmaf((float)i, 2.0f / 255.0f, -1.0f);
}

static inline int32_t clamp(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* From 1/32 pixel of the displayed picture to 1/32 pixel of the stored one, still unclamped. */
static void to_stored(const bs_image *image, int32_t *x, int32_t *y, int count)
{
    const bs_orientation o = image->orientation;
    const int32_t right = (image->width - 1) << BS_COORD_BITS, bottom = (image->height - 1) << BS_COORD_BITS;
    const bool flip_x = bs_orientation_from_right(o), flip_y = bs_orientation_from_bottom(o);
    if (o == BS_ORIENT_NORMAL)
        return;
    for (int i = 0; i < count; i++) {
        const int32_t sx = bs_orientation_swaps(o) ? y[i] : x[i], sy = bs_orientation_swaps(o) ? x[i] : y[i];
        x[i] = flip_x ? right - sx : sx;
        y[i] = flip_y ? bottom - sy : sy;
    }
}

/* The weights at one phase between two chroma samples c and c + 1, of the samples c - 1 … c + 2. Every pixel has its
 * chroma by a cubic (libswscale's bicubic, parameters 0 and 0.6) from samples that lie in the middle of the pixels that
 * share them: that is how the RGB pictures of the reference data were made. Between two pixels the crop is linear.
 * The outermost of the five samples that two pixels need has next to no weight; its neighbour takes it over. */
static void cubic_weights(int phase, float w[4])
{
    static const float before[4] = {-0.028125f, 0.240625f, 0.871875f, -0.084375f}; /* a quarter before sample c */
    const int at = phase + 16, pixel = at / 32; /* pixel 0: before c + 1/4, 1: before c + 3/4, 2: before c + 5/4 */
    const float a = (float)(at % 32) / 32;
    memset(w, 0, 4 * sizeof(w[0]));
    for (int side = 0; side < 2; side++) { /* the pixels on both sides of the place, at c + (2 n - 1) / 4 */
        const int n = pixel + side;
        const float share = side ? a : 1 - a;
        for (int i = 0; i < 4; i++) {
            /* even n: a quarter before sample c + n / 2; odd n: a quarter after sample c + (n - 1) / 2, mirrored */
            const int tap = n % 2 ? (n - 1) / 2 + 2 - i : n / 2 - 2 + i;
            const int kept = tap < -1 ? -1 : tap > 2 ? 2 : tap;
            w[kept + 1] += share * before[i];
        }
    }
    if (phase == 0) { /* on a sample: both outermost ones are left out, so that a mirrored picture gives the same */
        w[2] += w[3];
        w[3] = 0;
        w[0] = w[2] = (w[0] + w[2]) / 2;
    }
}

static void fill_cubic(bs_cubic *c, int size, int frac, int bits)
{
    c->size = size;
    c->frac = frac;
    const int one = 1 << frac;
    for (int phase = 0; phase < one; phase++) {
        /* whole numbers for the phases up to the middle; the others are these, mirrored */
        const int near = phase <= one / 2 ? phase : one - phase;
        float w[4] = {0, 1 - (float)near / (float)one, (float)near / (float)one, 0};
        int whole[4];
        if (frac == BS_COORD_BITS + 1)
            cubic_weights(near, w);
        for (int i = 0; i < 4; i++)
            whole[i] = (int)lrintf(w[i] * (float)(1 << bits));
        const int rest = (1 << bits) - whole[0] - whole[1] - whole[2] - whole[3];
        whole[1] += near == one / 2 ? rest / 2 : rest;
        whole[2] += near == one / 2 ? rest - rest / 2 : 0;
        if (near != phase) {
            const int mirrored[4] = {whole[3], whole[2], whole[1], whole[0]};
            memcpy(whole, mirrored, sizeof(whole));
        }
        for (int moved = -2; moved <= 2; moved++) { /* what lies outside is what lies at the edge */
            int16_t *out = c->weight[moved + 2][phase];
            memset(out, 0, 4 * sizeof(out[0]));
            for (int i = 0; i < 4; i++)
                out[i - moved < 0 ? 0 : i - moved > 3 ? 3 : i - moved] += (int16_t)whole[i];
        }
    }
}

/* Clamped into the picture: continuing the edge outside is the same as clamping the coordinate. */
static void clamp_to_picture(const bs_image *image, int32_t *x, int32_t *y, int count)
{
    const int32_t right = (image->width - 1) << BS_COORD_BITS, bottom = (image->height - 1) << BS_COORD_BITS;
    for (int i = 0; i < count; i++) {
        x[i] = clamp(x[i], 0, right);
        y[i] = clamp(y[i], 0, bottom);
    }
}

/* From pixels to the samples of a chroma plane, which lie in the middle of the pixels that share them. */
static void to_chroma(const bs_taps *t, const int32_t *x, const int32_t *y, int count, bool inside, int32_t *px,
                      int32_t *py)
{
    const int32_t half = 1 << (BS_COORD_BITS - 1);
    const int32_t shift_x = half - (half << (t->frac_x - BS_COORD_BITS));
    const int32_t shift_y = half - (half << (t->frac_y - BS_COORD_BITS));
    const int32_t right = (t->width - 1) << t->frac_x, bottom = (t->height - 1) << t->frac_y;
    for (int i = 0; i < count; i++) {
        px[i] = inside ? clamp(x[i] + shift_x, 0, right) : x[i] + shift_x;
        py[i] = inside ? clamp(y[i] + shift_y, 0, bottom) : y[i] + shift_y;
    }
}

/* The weighted sums of all planes at a row of coordinates of the stored picture, clamped into it; of interleaved
 * components those of a pixel side by side, from sum[0][0] on. */
static void sample_planes(const crop *c, const int32_t *x, const int32_t *y, int32_t sum[3][BS_CROP_MAX])
{
    int32_t px[BS_CROP_MAX], py[BS_CROP_MAX];
    if (c->interleaved) {
        c->kernels->pixels(c->plane, x, y, c->size, sum[0]);
        return;
    }
    if (c->cubic) {
        int32_t *const chroma[2] = {sum[1], sum[2]};
        to_chroma(&c->plane[1], x, y, c->size, false, px, py);
        c->kernels->cubic(&c->plane[1], &c->across, &c->down, px, py, c->size, chroma);
    }
    for (int p = 0; p < (c->cubic ? 1 : c->planes); p++) {
        const bool subsampled_plane = c->plane[p].frac_x + c->plane[p].frac_y > 2 * BS_COORD_BITS;
        if (subsampled_plane)
            to_chroma(&c->plane[p], x, y, c->size, true, px, py);
        c->kernels->taps(&c->plane[p], subsampled_plane ? px : x, subsampled_plane ? py : y, c->size, sum[p]);
    }
}

/* The weight, of 32, of the two taps along one axis that lie inside a picture of `size` pixels. */
static int32_t inside(int32_t v, int size)
{
    const int32_t at = v >> BS_COORD_BITS, after = v & 31;
    return (at >= 0 && at < size ? 32 - after : 0) + (at + 1 >= 0 && at + 1 < size ? after : 0);
}

/* Whether all of a row of coordinates lies inside the stored picture, where no border is ever seen. */
static bool row_is_inside(const crop *c, const int32_t *x, const int32_t *y)
{
    const int32_t right = (c->image->width - 1) << BS_COORD_BITS, bottom = (c->image->height - 1) << BS_COORD_BITS;
    bool in = true;
    for (int i = 0; i < c->size; i++)
        in &= x[i] >= 0 && x[i] <= right && y[i] >= 0 && y[i] <= bottom;
    return in;
}

static void exact_row(const crop *c, int32_t sum[3][BS_CROP_MAX], const int32_t *weight, float *out)
{
    int32_t *pixels = sum[0], beside[3 * BS_CROP_MAX];
    if (!c->interleaved) {
        pixels = beside;
        for (int i = 0; i < c->size; i++)
            for (int k = 0; k < 3; k++)
                beside[3 * i + k] = sum[c->planes == 1 ? 0 : k][i];
    }
    if (c->kind == BS_CROP_LANDMARK) { /* 5.4: [0, 1] by one multiplication */
        for (int i = 0; i < 3 * c->size; i++)
            out[i] = (float)((pixels[i] + 512) >> 10) * (1.0f / 255.0f);
        return;
    }
    /* Taps along an axis are either all inside, or the ones inside all show the same clamped sample:
     * what the taps outside added has the weight that is missing. */
    for (int i = 0; weight && i < 3 * c->size; i++)
        pixels[i] = (int32_t)((int64_t)pixels[i] * weight[i / 3] >> 2 * BS_COORD_BITS);
    for (int i = 0; i < 3 * c->size; i++)
        out[i] = c->value[(pixels[i] + 512) >> 10];
}

static void converted_row(const crop *c, int32_t sum[3][BS_CROP_MAX], float *out)
{
    const int32_t *const plane[3] = {sum[0], sum[c->planes == 1 ? 0 : 1], sum[c->planes == 1 ? 0 : 2]};
    c->kernels->convert(c->matrix, c->bias, plane, c->size, out);
}

/* The detector's row where the picture is not RGB: each of the four pixels around a sample is converted and rounded to
 * 8 bits on its own, then interpolated, as from an RGB picture. Clipped colours make a difference of several grey
 * levels, and the choice between overlapping detections sees it. The landmark crop, taken on every picture, does
 * without. */
static void pixelwise_row(const crop *c, const int32_t *x, const int32_t *y, const int32_t *weight, float *out)
{
    int32_t sum[3][BS_CROP_MAX], px[BS_CROP_MAX], py[BS_CROP_MAX], total[3 * BS_CROP_MAX] = {0};
    const int32_t whole = ~((1 << BS_COORD_BITS) - 1), one = 1 << BS_COORD_BITS;
    for (int corner = 0; corner < 4; corner++) {
        const bool right = corner & 1, below = corner >> 1;
        for (int i = 0; i < c->size; i++) {
            px[i] = (x[i] & whole) + (right ? one : 0);
            py[i] = (y[i] & whole) + (below ? one : 0);
        }
        clamp_to_picture(c->image, px, py, c->size); /* beyond the last pixel: that has no weight */
        sample_planes(c, px, py, sum);
        const int32_t *const plane[3] = {sum[0], sum[c->planes == 1 ? 0 : 1], sum[c->planes == 1 ? 0 : 2]};
        c->kernels->convert(c->matrix, c->bias, plane, c->size, out);
        for (int i = 0; i < c->size; i++) {
            const int32_t ax = x[i] & (one - 1), ay = y[i] & (one - 1);
            const int32_t w = (right ? ax : one - ax) * (below ? ay : one - ay);
            for (int k = 0; k < 3; k++)
                total[3 * i + k] += w * (int32_t)(out[3 * i + k] * 255.0f + 0.5f);
        }
    }
    for (int i = 0; i < 3 * c->size; i++) {
        const int32_t t = weight ? (int32_t)((int64_t)total[i] * weight[i / 3] >> 2 * BS_COORD_BITS) : total[i];
        out[i] = c->value[(t + 512) >> 10];
    }
}

static void crop_row(const crop *c, const double m[9], int row, float *out)
{
    int32_t x[BS_CROP_MAX], y[BS_CROP_MAX], share[BS_CROP_MAX], sum[3][BS_CROP_MAX];
    c->kernels->coordinates(m, row, c->size, x, y);
    to_stored(c->image, x, y, c->size);
    const bool black_border = c->kind == BS_CROP_DETECTOR && !row_is_inside(c, x, y);
    const int32_t *weight = black_border ? share : NULL;
    for (int i = 0; black_border && i < c->size; i++)
        share[i] = inside(x[i], c->image->width) * inside(y[i], c->image->height);
    clamp_to_picture(c->image, x, y, c->size);
    if (!c->exact && c->kind == BS_CROP_DETECTOR) {
        pixelwise_row(c, x, y, weight, out);
        return;
    }
    sample_planes(c, x, y, sum);
    if (c->exact)
        exact_row(c, sum, weight, out);
    else
        converted_row(c, sum, out);
}

/* Cubics are for chroma that is subsampled by two along one axis or both, in planes of at least four samples. */
static bool wants_cubics(const crop *c)
{
    const bs_taps *t = &c->plane[1];
    return c->image->model == BS_COLOR_YUV && (t->frac_x > BS_COORD_BITS || t->frac_y > BS_COORD_BITS) &&
           t->frac_x <= BS_COORD_BITS + 1 && t->frac_y <= BS_COORD_BITS + 1 && t->width >= 4 && t->height >= 4 &&
           t->step == c->plane[2].step && t->bytes == c->plane[2].bytes && t->mask < 1 << 15 &&
           c->plane[2].mask < 1 << 15;
}

static bool is_interleaved(const crop *c)
{
    const bs_component *k = c->image->component;
    const bs_taps *t = c->plane;
    int first = k[0].offset, last = k[0].offset;
    bool is = c->planes == 3 && c->image->model == BS_COLOR_RGB && (t[0].step == 3 || t[0].step == 4);
    for (int p = 0; is && p < 3; p++) {
        first = k[p].offset < first ? k[p].offset : first;
        last = k[p].offset > last ? k[p].offset : last;
        is = k[p].plane == k[0].plane && t[p].step == t[0].step && t[p].bytes == 1 && !t[p].shift && t[p].mask == 255;
    }
    return is && last - first < t[0].step;
}

extern const bs_crop_kernels bs_crop_kernels_portable;
#ifdef __x86_64__
extern const bs_crop_kernels bs_crop_kernels_avx2;
#endif

const bs_crop_kernels *bs_crop_kernels_for(const char *isa)
{
#ifdef __x86_64__
    const bool allowed = !isa || strcmp(isa, "avx2") == 0 || strcmp(isa, "avx512") == 0;
    if (allowed && __builtin_cpu_supports("avx2"))
        return &bs_crop_kernels_avx2;
#endif
    return &bs_crop_kernels_portable;
}

void bs_crop(const bs_image *image, const bs_crop_region *region, bs_crop_kind kind, const bs_crop_kernels *kernels,
             float *out)
{
    crop c = {.image = image,
              .kernels = kernels,
              .kind = kind,
              .size = kind == BS_CROP_DETECTOR ? BS_DETECTOR_SIZE : BS_LANDMARK_SIZE,
              .exact = is_exact(image),
              .planes = component_count(image)};
    double m[9];
    int weight_bits[3];
    for (int p = 0; p < 3; p++)
        c.plane[p] = plane_of(image, p < c.planes ? p : 0);
    c.interleaved = is_interleaved(&c);
    c.cubic = wants_cubics(&c);
    /* as fine as 32-bit sums allow: 10 bits of sample, 2 × 10 of weights, and a cubic's overshoot */
    const int cubic_bits = c.plane[1].mask < 1 << 10 ? 10 : 7;
    if (c.cubic) {
        fill_cubic(&c.across, c.plane[1].width, c.plane[1].frac_x, cubic_bits);
        fill_cubic(&c.down, c.plane[1].height, c.plane[1].frac_y, cubic_bits);
    }
    for (int p = 0; p < 3; p++)
        weight_bits[p] = c.cubic && p ? 2 * cubic_bits : c.plane[p].frac_x + c.plane[p].frac_y;
    if (kind == BS_CROP_DETECTOR)
        fill_values(&c);
    conversion_of(image, weight_bits, c.matrix, c.bias);
    map_of(region, c.size, m);
    for (int p = 0; p < 3; p++)
        c.plane[p].ahead = rows_ahead(image, &c.plane[p], m);
    for (int row = 0; row < c.size; row++, out += 3 * c.size)
        crop_row(&c, m, row, out);
}
