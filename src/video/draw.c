/* The skeleton over the picture (see draw.h).
 *
 * Lines are capsules and joints are discs: coverage of a sample is one minus its distance beyond the edge, which
 * antialiases in one formula (a box filter seen from afar). Luma is drawn at full size, each chroma plane at its own
 * half size with the same shapes, so colours do not bleed further than 4:2:0 makes them. Only the rows and columns
 * that a shape can reach are visited. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <libavutil/frame.h>

#include "draw.h"

typedef struct yuv {
    uint8_t y, cb, cr;
} yuv;

typedef struct colour {
    uint8_t r, g, b;
} colour;

/* Warm for the left, cold for the right, as MediaPipe draws them; further people in further pairs. */
enum { PALETTES = 4 };
static const colour left_colours[PALETTES] = {{255, 138, 0}, {255, 70, 150}, {255, 220, 0}, {255, 90, 60}};
static const colour right_colours[PALETTES] = {{0, 217, 231}, {70, 230, 110}, {80, 140, 255}, {170, 110, 255}};
static const colour middle_colour = {236, 236, 236}, outline_colour = {20, 20, 20}, joint_colour = {255, 255, 255};

enum { FACE_LAST = BS_MOUTH_RIGHT };

/* fminf and fmaxf mind what is not a number, and are calls. */
static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

static uint8_t clamp_byte(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : lrint(value));
}

/* ITU-T H.273 with the luma weights of BT.601 or BT.709, limited range. */
static yuv to_yuv(colour c, bool bt709)
{
    const double kr = bt709 ? 0.2126 : 0.299, kb = bt709 ? 0.0722 : 0.114;
    const double luma = kr * c.r + (1 - kr - kb) * c.g + kb * c.b;
    return (yuv){clamp_byte(16 + luma * 219 / 255), clamp_byte(128 + (c.b - luma) / (1 - kb) * 112 / 255),
                 clamp_byte(128 + (c.r - luma) / (1 - kr) * 112 / 255)};
}

/* A capsule from a to b with radius r (a disc where they are the same), in the plane's own pixels. */
typedef struct capsule {
    float ax, ay, bx, by, r;
} capsule;

/* The columns that the capsule reaches in the row at y: of the part of its axis that is near enough. */
static inline void reach(const capsule *c, float y, float margin, float *left, float *right)
{
    float from = 0, to = 1;
    const float dx = c->bx - c->ax, dy = c->by - c->ay;
    if (fabsf(dy) > 1e-3f) {
        const float t0 = (y - margin - c->ay) / dy, t1 = (y + margin - c->ay) / dy;
        from = larger(0, smaller(t0, t1));
        to = smaller(1, larger(t0, t1));
    }
    const float x0 = c->ax + from * dx, x1 = c->ax + to * dx;
    *left = smaller(x0, x1) - margin;
    *right = larger(x0, x1) + margin;
}

enum { SPAN = 8 }; /* pixels at a time: a vector, and about what a line is wide */

/* A capsule with what is the same for all of its pixels. */
typedef struct stroke {
    capsule c;
    float dx, dy, inverse, edge; /* inverse: of the axis' length squared */
    float alpha;
    int planes; /* one, or two (chroma) that lie alike */
    uint8_t value[2];
} stroke;

/* Blends SPAN pixels of each plane, from column x on in the row at y. A pixel is covered by what the distance from the
 * axis leaves of it, clamped to one; beyond the capsule that is nothing, and pixels stay as they are. */
typedef void blend_span(const stroke *s, int x, float y, uint8_t *const pixel[2]);

static void blend_in_c(const stroke *s, int x, float y, uint8_t *const pixel[2])
{
    const float py = y - s->c.ay, along = py * s->dy;
    float coverage[SPAN];
    for (int i = 0; i < SPAN; i++) {
        const float px = (float)(x + i) - s->c.ax;
        const float t = smaller(larger((px * s->dx + along) * s->inverse, 0), 1);
        const float ex = px - t * s->dx, ey = py - t * s->dy;
        coverage[i] = smaller(larger(s->edge - sqrtf(ex * ex + ey * ey), 0), 1) * s->alpha;
    }
    for (int p = 0; p < s->planes; p++) {
        const float target = (float)s->value[p];
        for (int i = 0; i < SPAN; i++) {
            const float before = (float)pixel[p][i];
            pixel[p][i] = (uint8_t)(before + (target - before) * coverage[i] + 0.5f);
        }
    }
}

#ifdef __x86_64__
/* The same operations in the same order, so that the overlay is the same on every machine. */
__attribute__((target("avx2"))) static void blend_avx2(const stroke *s, int x, float y, uint8_t *const pixel[2])
{
    const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1);
    const __m256 columns = _mm256_add_ps(_mm256_set1_ps((float)x), _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256 px = _mm256_sub_ps(columns, _mm256_set1_ps(s->c.ax)), py = _mm256_set1_ps(y - s->c.ay);
    const __m256 dx = _mm256_set1_ps(s->dx), dy = _mm256_set1_ps(s->dy);
    __m256 t = _mm256_add_ps(_mm256_mul_ps(px, dx), _mm256_mul_ps(py, dy));
    t = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(t, _mm256_set1_ps(s->inverse)), zero), one);
    const __m256 ex = _mm256_sub_ps(px, _mm256_mul_ps(t, dx)), ey = _mm256_sub_ps(py, _mm256_mul_ps(t, dy));
    const __m256 distance = _mm256_sqrt_ps(_mm256_add_ps(_mm256_mul_ps(ex, ex), _mm256_mul_ps(ey, ey)));
    __m256 coverage = _mm256_max_ps(_mm256_sub_ps(_mm256_set1_ps(s->edge), distance), zero);
    coverage = _mm256_mul_ps(_mm256_min_ps(coverage, one), _mm256_set1_ps(s->alpha));
    for (int p = 0; p < s->planes; p++) {
        const __m256 before = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((__m128i *)pixel[p])));
        const __m256 way = _mm256_sub_ps(_mm256_set1_ps((float)s->value[p]), before);
        const __m256 after = _mm256_add_ps(before, _mm256_mul_ps(way, coverage));
        const __m256i whole = _mm256_cvttps_epi32(_mm256_add_ps(after, _mm256_set1_ps(0.5f)));
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64((__m128i *)pixel[p], _mm_packus_epi16(words, words));
    }
}
#endif

static blend_span *blend_of_this_cpu(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return blend_avx2;
#endif
    return blend_in_c;
}

/* The last pixels of a row, fewer than a span. */
static void blend_rest(blend_span *blend, const stroke *s, int x, float y, uint8_t *const pixel[2], size_t count)
{
    uint8_t copy[2][SPAN] = {{0}};
    uint8_t *const at[2] = {copy[0], copy[1]};
    for (int p = 0; p < s->planes; p++)
        memcpy(copy[p], pixel[p], count);
    blend(s, x, y, at);
    for (int p = 0; p < s->planes; p++)
        memcpy(pixel[p], copy[p], count);
}

static void fill(uint8_t *const plane[2], ptrdiff_t stride, int width, int height, const stroke *s)
{
    blend_span *const blend = blend_of_this_cpu();
    const capsule *const c = &s->c;
    const float margin = c->r + 1;
    const int top = (int)larger(0, smaller(c->ay, c->by) - margin);
    const int bottom = (int)smaller((float)height - 1, larger(c->ay, c->by) + margin + 1);
    for (int y = top; y <= bottom; y++) {
        float left, right;
        reach(c, (float)y, margin, &left, &right);
        const int from = (int)larger(0, left), to = (int)smaller((float)width - 1, right + 1);
        for (int x = from; x <= to; x += SPAN) {
            uint8_t *const pixel[2] = {plane[0] + y * stride + x, plane[s->planes - 1] + y * stride + x};
            if (x + SPAN <= width)
                blend(s, x, (float)y, pixel);
            else
                blend_rest(blend, s, x, (float)y, pixel, (size_t)(width - x));
        }
    }
}

static stroke stroke_of(capsule c, float alpha)
{
    const float dx = c.bx - c.ax, dy = c.by - c.ay, length = dx * dx + dy * dy;
    return (stroke){.c = c,
                    .dx = dx,
                    .dy = dy,
                    .inverse = length > 0 ? 1 / length : 0,
                    .edge = c.r + 0.5f,
                    .alpha = alpha,
                    .planes = 1};
}

static void draw_capsule(AVFrame *f, capsule c, yuv value, float alpha)
{
    stroke luma = stroke_of(c, alpha);
    luma.value[0] = value.y;
    fill(&f->data[0], f->linesize[0], f->width, f->height, &luma);
    /* Chroma samples lie between two columns' and rows' centres: (x - 0.5) / 2. */
    const capsule half = {(c.ax - 0.5f) / 2, (c.ay - 0.5f) / 2, (c.bx - 0.5f) / 2, (c.by - 0.5f) / 2, c.r / 2};
    stroke chroma = stroke_of(half, alpha);
    chroma.planes = 2;
    chroma.value[0] = value.cb;
    chroma.value[1] = value.cr;
    fill(&f->data[1], f->linesize[1], (f->width + 1) / 2, (f->height + 1) / 2, &chroma);
}

/* -1: the person's left, 1: right, 0: the middle. From the eyes on, MediaPipe's indices alternate, left first; the eyes
 * come in threes. */
static int side_of(int landmark)
{
    if (landmark == BS_NOSE)
        return 0;
    if (landmark <= BS_RIGHT_EYE_OUTER)
        return landmark <= BS_LEFT_EYE_OUTER ? -1 : 1;
    return landmark & 1 ? -1 : 1;
}

typedef struct palette {
    yuv side[3], outline, joint; /* side: left, middle, right */
} palette;

static palette palette_of(const AVFrame *canvas, int person)
{
    const bool bt709 = canvas->colorspace == AVCOL_SPC_BT709;
    const int i = person < 0 ? 0 : person % PALETTES;
    return (palette){{to_yuv(left_colours[i], bt709), to_yuv(middle_colour, bt709), to_yuv(right_colours[i], bt709)},
                     to_yuv(outline_colour, bt709),
                     to_yuv(joint_colour, bt709)};
}

/* A landmark on the canvas; alpha 0 where it is not to be seen. */
typedef struct dot {
    float x, y, alpha;
} dot;

static float fade(float visibility)
{
    const float t = (visibility - 0.1f) / 0.5f;
    return t <= 0 ? 0 : t >= 1 ? 1 : t * t * (3 - 2 * t);
}

/* Canvas pixels from fractions of the picture, which may be centred between bars. Returns the skeleton's extent. */
static float place_dots(const AVFrame *f, const bs_landmark *landmark, float opacity, dot *dots)
{
    const float left = (float)f->crop_left, top = (float)f->crop_top;
    const float width = (float)f->width - left - (float)f->crop_right;
    const float height = (float)f->height - top - (float)f->crop_bottom;
    float min_x = 1e9f, max_x = -1e9f, min_y = 1e9f, max_y = -1e9f;
    for (int i = 0; i < BS_LANDMARKS; i++) {
        const bs_landmark *const l = &landmark[i];
        const bool usable = isfinite(l->x) && isfinite(l->y) && fabsf(l->x) < 8 && fabsf(l->y) < 8;
        dots[i] = (dot){.alpha = usable ? fade(l->visibility) * opacity : 0};
        if (dots[i].alpha <= 0)
            continue;
        dots[i].x = left + l->x * width - 0.5f;
        dots[i].y = top + l->y * height - 0.5f;
        min_x = fminf(min_x, dots[i].x), max_x = fmaxf(max_x, dots[i].x);
        min_y = fminf(min_y, dots[i].y), max_y = fmaxf(max_y, dots[i].y);
    }
    return max_x < min_x ? 0 : hypotf(max_x - min_x, max_y - min_y);
}

/* Half a line's width: by the person's size, within what suits the picture. */
static float line_radius(const AVFrame *f, float extent)
{
    const float picture = (float)(f->width < f->height ? f->width : f->height);
    const float most = fmaxf(1, picture * 0.005f), wanted = extent * 0.006f;
    return wanted < 0.7f ? 0.7f : wanted > most ? most : wanted;
}

static void draw_bones(AVFrame *f, const dot *dots, const palette *p, float radius, bool outline)
{
    for (int i = 0; i < BS_CONNECTIONS; i++) {
        const int a = bs_connections[i][0], b = bs_connections[i][1];
        const float alpha = fminf(dots[a].alpha, dots[b].alpha);
        if (alpha <= 0)
            continue;
        const int side = side_of(a) == side_of(b) ? side_of(a) : 0;
        const float r = a <= FACE_LAST && b <= FACE_LAST ? radius * 0.6f : radius;
        const capsule line = {dots[a].x, dots[a].y, dots[b].x, dots[b].y, outline ? r + fmaxf(0.8f, r * 0.4f) : r};
        draw_capsule(f, line, outline ? p->outline : p->side[side + 1], outline ? alpha * 0.55f : alpha * 0.95f);
    }
}

static void draw_joints(AVFrame *f, const dot *dots, const palette *p, float radius)
{
    for (int i = 0; i < BS_LANDMARKS; i++) {
        if (dots[i].alpha <= 0)
            continue;
        const float r = i <= FACE_LAST ? radius * 0.8f : radius * 1.7f;
        const capsule rim = {dots[i].x, dots[i].y, dots[i].x, dots[i].y, r + fmaxf(0.6f, radius * 0.35f)};
        const capsule disc = {dots[i].x, dots[i].y, dots[i].x, dots[i].y, r};
        draw_capsule(f, rim, p->joint, dots[i].alpha * 0.9f);
        draw_capsule(f, disc, p->side[side_of(i) + 1], dots[i].alpha);
    }
}

void bs_draw_skeleton(bs_video_frame *canvas, const bs_landmark landmark[BS_LANDMARKS], int person, float opacity)
{
    AVFrame *const f = canvas->picture;
    dot dots[BS_LANDMARKS];
    const float extent = place_dots(f, landmark, opacity, dots);
    if (extent <= 0)
        return;
    const palette p = palette_of(f, person);
    const float radius = line_radius(f, extent);
    draw_bones(f, dots, &p, radius, true);
    draw_bones(f, dots, &p, radius, false);
    draw_joints(f, dots, &p, radius);
}
