/* The skeleton over the picture (see draw.h).
 *
 * Lines are capsules and joints are discs: coverage of a sample is one minus its distance beyond the edge, which
 * antialiases in one formula (a box filter seen from afar). Luma is drawn at full size, each chroma plane at its own
 * half size with the same shapes, so colours do not bleed further than 4:2:0 makes them. Only the rows and columns
 * that a shape can reach are visited. */
#include <math.h>
#include <stdlib.h>

#include <libavutil/frame.h>

#include "draw.h"

typedef struct yuv {
    uint8_t y, cb, cr;
} yuv;

typedef struct colour {
    uint8_t r, g, b;
} colour;

/* Warm for the left, cold for the right, as MediaPipe draws them; further people in further pairs. */
static const colour left_colours[] = {{255, 138, 0}, {255, 70, 150}, {255, 220, 0}, {255, 90, 60}};
static const colour right_colours[] = {{0, 217, 231}, {70, 230, 110}, {80, 140, 255}, {170, 110, 255}};
static const colour middle_colour = {236, 236, 236}, outline_colour = {20, 20, 20}, joint_colour = {255, 255, 255};

enum { FACE_LAST = BS_MOUTH_RIGHT };

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
static void reach(const capsule *c, float y, float margin, float *left, float *right)
{
    float from = 0, to = 1;
    const float dy = c->by - c->ay;
    if (fabsf(dy) > 1e-3f) {
        const float t0 = (y - margin - c->ay) / dy, t1 = (y + margin - c->ay) / dy;
        from = fmaxf(0, fminf(t0, t1));
        to = fminf(1, fmaxf(t0, t1));
    }
    const float x0 = c->ax + from * (c->bx - c->ax), x1 = c->ax + to * (c->bx - c->ax);
    *left = fminf(x0, x1) - margin;
    *right = fmaxf(x0, x1) + margin;
}

/* Without a branch, so that the compiler makes vectors of it: half of the overlay's time is spent here. Coverage is
 * what the distance from the axis leaves of the pixel, clamped to one. */
static void blend_row(uint8_t *row, int from, int to, float y, const capsule *c, uint8_t value, float alpha)
{
    const float dx = c->bx - c->ax, dy = c->by - c->ay, length = dx * dx + dy * dy;
    const float inverse = length > 0 ? 1 / length : 0, py = y - c->ay, along = py * dy, edge = c->r + 0.5f;
    const float ax = c->ax, target = (float)value;
    for (int x = from; x <= to; x++) {
        const float px = (float)x - ax;
        float t = (px * dx + along) * inverse;
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        const float ex = px - t * dx, ey = py - t * dy;
        float coverage = edge - sqrtf(ex * ex + ey * ey);
        coverage = (coverage < 0 ? 0 : coverage > 1 ? 1 : coverage) * alpha;
        const float before = (float)row[x];
        row[x] = (uint8_t)(before + (target - before) * coverage + 0.5f);
    }
}

static void fill(uint8_t *plane, ptrdiff_t stride, int width, int height, const capsule *c, uint8_t value, float alpha)
{
    const float margin = c->r + 1;
    const int top = (int)fmaxf(0, floorf(fminf(c->ay, c->by) - margin));
    const int bottom = (int)fminf((float)height - 1, ceilf(fmaxf(c->ay, c->by) + margin));
    for (int y = top; y <= bottom; y++) {
        float left, right;
        reach(c, (float)y, margin, &left, &right);
        const int from = (int)fmaxf(0, floorf(left)), to = (int)fminf((float)width - 1, ceilf(right));
        uint8_t *const row = plane + y * stride;
        blend_row(row, from, to, (float)y, c, value, alpha);
    }
}

static void draw_capsule(AVFrame *f, capsule c, yuv value, float alpha)
{
    fill(f->data[0], f->linesize[0], f->width, f->height, &c, value.y, alpha);
    /* Chroma samples lie between two columns' and rows' centres: (x - 0.5) / 2. */
    const capsule half = {(c.ax - 0.5f) / 2, (c.ay - 0.5f) / 2, (c.bx - 0.5f) / 2, (c.by - 0.5f) / 2, c.r / 2};
    fill(f->data[1], f->linesize[1], f->width / 2, f->height / 2, &half, value.cb, alpha);
    fill(f->data[2], f->linesize[2], f->width / 2, f->height / 2, &half, value.cr, alpha);
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
    const int i = person < 0 ? 0 : person % 4;
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
