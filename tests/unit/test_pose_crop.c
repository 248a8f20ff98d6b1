/* crop: any layout, depth and orientation of the same picture gives the same crop; nothing outside it is read. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "pose/crop.h"

enum { OUT = 256 * 256 * 3 };

/* A layout, and where its planes' samples lie. */
typedef struct layout {
    const char *name;
    bs_color_model model;
    int shift_x, shift_y;
    int plane_step[3]; /* bytes per sample column of a plane; 0: no such plane */
    bool plane_chroma[3];
    bs_component component[3];
    bool big_endian;
} layout;

static const layout layouts[] = {
    {"rgb24", BS_COLOR_RGB, 0, 0, {3}, {0}, {{0, 3, 0, 0, 8}, {0, 3, 1, 0, 8}, {0, 3, 2, 0, 8}}, false},
    {"bgra", BS_COLOR_RGB, 0, 0, {4}, {0}, {{0, 4, 2, 0, 8}, {0, 4, 1, 0, 8}, {0, 4, 0, 0, 8}}, false},
    {"gbrp", BS_COLOR_RGB, 0, 0, {1, 1, 1}, {0}, {{2, 1, 0, 0, 8}, {0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}}, false},
    {"rgb48be", BS_COLOR_RGB, 0, 0, {6}, {0}, {{0, 6, 0, 0, 16}, {0, 6, 2, 0, 16}, {0, 6, 4, 0, 16}}, true},
    {"gray", BS_COLOR_GRAY, 0, 0, {1}, {0}, {{0, 1, 0, 0, 8}}, false},
    {"gray12le", BS_COLOR_GRAY, 0, 0, {2}, {0}, {{0, 2, 0, 0, 12}}, false},
    {"yuv444p", BS_COLOR_YUV, 0, 0, {1, 1, 1}, {0, 1, 1}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}, false},
    {"yuv422p", BS_COLOR_YUV, 1, 0, {1, 1, 1}, {0, 1, 1}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}, false},
    {"yuv420p", BS_COLOR_YUV, 1, 1, {1, 1, 1}, {0, 1, 1}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}, false},
    {"yuv410p", BS_COLOR_YUV, 2, 2, {1, 1, 1}, {0, 1, 1}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}, false},
    {"yuv411p", BS_COLOR_YUV, 2, 0, {1, 1, 1}, {0, 1, 1}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}, false},
    {"nv12", BS_COLOR_YUV, 1, 1, {1, 2}, {0, 1}, {{0, 1, 0, 0, 8}, {1, 2, 0, 0, 8}, {1, 2, 1, 0, 8}}, false},
    {"nv21", BS_COLOR_YUV, 1, 1, {1, 2}, {0, 1}, {{0, 1, 0, 0, 8}, {1, 2, 1, 0, 8}, {1, 2, 0, 0, 8}}, false},
    {"yuyv422", BS_COLOR_YUV, 1, 0, {2}, {0}, {{0, 2, 0, 0, 8}, {0, 4, 1, 0, 8}, {0, 4, 3, 0, 8}}, false},
    {"yuv420p10le",
     BS_COLOR_YUV,
     1,
     1,
     {2, 2, 2},
     {0, 1, 1},
     {{0, 2, 0, 0, 10}, {1, 2, 0, 0, 10}, {2, 2, 0, 0, 10}},
     false},
    {"yuv420p10be",
     BS_COLOR_YUV,
     1,
     1,
     {2, 2, 2},
     {0, 1, 1},
     {{0, 2, 0, 0, 10}, {1, 2, 0, 0, 10}, {2, 2, 0, 0, 10}},
     true},
    {"yuv444p16le",
     BS_COLOR_YUV,
     0,
     0,
     {2, 2, 2},
     {0, 1, 1},
     {{0, 2, 0, 0, 16}, {1, 2, 0, 0, 16}, {2, 2, 0, 0, 16}},
     false},
    {"p010le", BS_COLOR_YUV, 1, 1, {2, 4}, {0, 1}, {{0, 2, 0, 6, 10}, {1, 4, 0, 6, 10}, {1, 4, 2, 6, 10}}, false},
};
enum { LAYOUTS = sizeof(layouts) / sizeof(layouts[0]), YUV420P = 8 };

/* A picture whose planes each end exactly at a page that must not be touched. */
typedef struct picture {
    bs_image image;
    void *map[3];
    size_t mapped[3];
} picture;

static int columns_of(const layout *l, int plane, int width)
{
    const int s = l->plane_chroma[plane] ? l->shift_x : 0;
    return (width + (1 << s) - 1) >> s;
}

static picture make(const layout *l, int width, int height)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    picture p = {.image = {.width = width,
                           .height = height,
                           .model = l->model,
                           .full_range = l->model != BS_COLOR_YUV,
                           .chroma_shift_x = (uint8_t)l->shift_x,
                           .chroma_shift_y = (uint8_t)l->shift_y,
                           .big_endian = l->big_endian,
                           .matrix = BS_MATRIX_BT709}};
    memcpy(p.image.component, l->component, sizeof(l->component));
    for (int i = 0; i < 3 && l->plane_step[i]; i++) {
        const int s = l->plane_chroma[i] ? l->shift_y : 0, rows = (height + (1 << s) - 1) >> s;
        size_t stride = (size_t)columns_of(l, i, width) * (size_t)l->plane_step[i];
        if (!strcmp(l->name, "yuyv422"))
            stride = (size_t)((width + 1) / 2 * 4);
        const size_t bytes = stride * (size_t)rows;
        p.mapped[i] = (bytes + page - 1) / page * page + page;
        p.map[i] = mmap(NULL, p.mapped[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(p.map[i] != MAP_FAILED);
        assert_int_equal(mprotect((uint8_t *)p.map[i] + p.mapped[i] - page, page, PROT_NONE), 0);
        p.image.data[i] = (uint8_t *)p.map[i] + p.mapped[i] - page - bytes;
        p.image.stride[i] = (ptrdiff_t)stride;
    }
    return p;
}

static void drop(picture *p)
{
    for (int i = 0; i < 3; i++)
        if (p->map[i])
            munmap(p->map[i], p->mapped[i]);
}

static void put(picture *p, int c, int x, int y, double value)
{
    const bs_component *k = &p->image.component[c];
    const unsigned word = (unsigned)lrint(value * ((1 << k->depth) - 1)) << k->shift;
    uint8_t *at = (uint8_t *)p->image.data[k->plane] + y * p->image.stride[k->plane] + (ptrdiff_t)x * k->step +
                  k->offset;
    if (k->depth + k->shift <= 8) {
        *at = (uint8_t)word;
        return;
    }
    at[p->image.big_endian] = (uint8_t)word;
    at[!p->image.big_endian] = (uint8_t)(word >> 8);
}

/* Smooth colours, so that subsampled chroma loses little; `at` are fractions of the picture. */
static void colour(double x, double y, double rgb[3])
{
    rgb[0] = 0.5 + 0.3 * sin(5 * x + 2 * y);
    rgb[1] = 0.5 + 0.3 * cos(4 * y - 3 * x);
    rgb[2] = 0.5 + 0.3 * sin(6 * x * y);
}

/* Paints `colour`; the picture's own matrix (BT.709 here) and video range make the samples. */
static void paint(picture *p)
{
    const bs_image *im = &p->image;
    for (int c = 0; c < (im->model == BS_COLOR_GRAY ? 1 : 3); c++) {
        const bool chroma = im->model == BS_COLOR_YUV && c > 0;
        const int sx = chroma ? im->chroma_shift_x : 0, sy = chroma ? im->chroma_shift_y : 0;
        const double most = (1 << im->component[c].depth) - 1, unit = (1 << im->component[c].depth) / 256.0;
        for (int y = 0; y < (im->height + (1 << sy) - 1) >> sy; y++) {
            for (int x = 0; x < (im->width + (1 << sx) - 1) >> sx; x++) {
                double rgb[3];
                colour(((x + 0.5) * (1 << sx) - 0.5) / im->width, ((y + 0.5) * (1 << sy) - 0.5) / im->height, rgb);
                const double luma = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
                if (im->model == BS_COLOR_RGB)
                    put(p, c, x, y, rgb[c]);
                else if (im->model == BS_COLOR_GRAY)
                    put(p, c, x, y, luma);
                else if (c == 0)
                    put(p, c, x, y, (16 + 219 * luma) * unit / most);
                else
                    put(p, c, x, y,
                        (128 + 224 * (c == 1 ? (rgb[2] - luma) / 1.8556 : (rgb[0] - luma) / 1.5748)) * unit / most);
            }
        }
    }
}

static uint32_t random_state;
static uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void fill_random(picture *p)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 3 && p->map[i]; i++)
        for (uint8_t *b = (uint8_t *)p->image.data[i]; b < (uint8_t *)p->map[i] + p->mapped[i] - page; b++)
            *b = (uint8_t)random_bits();
}

static bs_crop_region square(float cx, float cy, float side, float rotation)
{
    return (bs_crop_region){.cx = cx, .cy = cy, .width = side, .height = side, .rotation = rotation};
}

static float *crop_of(const bs_image *image, bs_crop_region region, bs_crop_kind kind, const char *isa)
{
    float *out = calloc(OUT, sizeof(float));
    assert_non_null(out);
    bs_crop(image, &region, kind, bs_crop_kernels_for(isa), out);
    return out;
}

static void every_kernel_set_gives_the_same_crop_and_stays_inside_the_planes(void **state)
{
    static const int sizes[][2] = {{1, 1}, {2, 3}, {3, 2}, {5, 7}, {64, 48}, {127, 33}};
    random_state = 1;
    for (int l = 0; l < LAYOUTS; l++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            const int w = sizes[s][0], h = sizes[s][1];
            picture p = make(&layouts[l], w, h);
            fill_random(&p);
            assert_int_equal(bs_image_check(&p.image, NULL), BS_OK);
            for (int kind = 0; kind < 2; kind++) {
                const bs_crop_region r = square(0.4f * w, 0.6f * h, 1.3f * (w > h ? w : h), kind ? 0.7f : 0);
                float *best = crop_of(&p.image, r, kind, NULL), *portable = crop_of(&p.image, r, kind, "portable");
                assert_memory_equal(best, portable, OUT * sizeof(float));
                free(best);
                free(portable);
            }
            drop(&p);
        }
    }
}

/* Lays the displayed picture `p` down as `o`, so that turning it back by `o` shows `p` again. */
static picture lay_down(const layout *l, const picture *p, bs_orientation o)
{
    const int w = p->image.width, h = p->image.height;
    picture q = make(l, bs_orientation_swaps(o) ? h : w, bs_orientation_swaps(o) ? w : h);
    q.image.orientation = o;
    for (int c = 0; c < (l->model == BS_COLOR_GRAY ? 1 : 3); c++) {
        const bs_component *k = &p->image.component[c];
        const int s = l->model == BS_COLOR_YUV && c > 0 ? l->shift_x : 0, pw = w >> s, ph = h >> s;
        for (int y = 0; y < ph; y++) {
            for (int x = 0; x < pw; x++) {
                const int to[8][2] = {{x, y}, {pw - 1 - x, y}, {pw - 1 - x, ph - 1 - y}, {x, ph - 1 - y},
                                      {y, x}, {y, pw - 1 - x}, {ph - 1 - y, pw - 1 - x}, {ph - 1 - y, x}};
                uint8_t *to_plane = (uint8_t *)q.image.data[k->plane] + k->offset;
                const uint8_t *from = p->image.data[k->plane] + k->offset + y * p->image.stride[k->plane] +
                                      (ptrdiff_t)x * k->step;
                memcpy(to_plane + to[o][1] * q.image.stride[k->plane] + (ptrdiff_t)to[o][0] * k->step, from, 1);
            }
        }
    }
    return q;
}

static void all_eight_orientations_show_the_same_picture_bit_for_bit(void **state)
{
    static const int which[] = {0, 4, YUV420P, 11};
    random_state = 2;
    for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
        const layout *l = &layouts[which[i]];
        picture p = make(l, 60, 44);
        fill_random(&p);
        for (int kind = 0; kind < 2; kind++) {
            const bs_crop_region r = square(25, 30, 50, kind ? -0.4f : 0);
            float *upright = crop_of(&p.image, r, kind, NULL);
            for (int o = 1; o < 8; o++) {
                picture q = lay_down(l, &p, (bs_orientation)o);
                assert_int_equal(bs_image_displayed_width(&q.image), 60);
                float *turned = crop_of(&q.image, r, kind, NULL);
                assert_memory_equal(upright, turned, OUT * sizeof(float));
                free(turned);
                drop(&q);
            }
            free(upright);
        }
        drop(&p);
    }
}

static void a_quarter_turn_clockwise_brings_the_left_edge_to_the_top(void **state)
{
    uint8_t rgb[2 * 3 * 3] = {0}; /* 3 wide, 2 high; white at the top left of the stored picture */
    rgb[0] = rgb[1] = rgb[2] = 255;
    bs_image image = bs_image_rgb24(rgb, 3, 2, 9);
    image.orientation = BS_ORIENT_ROTATE_90; /* displayed 2 wide, 3 high; white at its top right */
    float *out = crop_of(&image, square(1, 0, 0.001f, 0), BS_CROP_LANDMARK, NULL);
    assert_float_equal(out[(128 * 256 + 128) * 3], 1, 1e-6);
    free(out);
}

static void every_layout_of_one_picture_gives_nearly_the_same_crop(void **state)
{
    const bs_crop_region r = square(90, 70, 100, 0.3f);
    picture rgb = make(&layouts[0], 192, 144);
    paint(&rgb);
    float *expected = crop_of(&rgb.image, r, BS_CROP_LANDMARK, NULL);
    for (int l = 1; l < LAYOUTS; l++) {
        picture p = make(&layouts[l], 192, 144);
        paint(&p);
        float *out = crop_of(&p.image, r, BS_CROP_LANDMARK, NULL);
        double worst = 0;
        for (int i = 0; i < OUT / 3; i++) {
            const float *e = expected + 3 * i;
            const double luma = 0.2126 * e[0] + 0.7152 * e[1] + 0.0722 * e[2];
            for (int c = 0; c < 3; c++)
                worst = fmax(worst, fabs(out[3 * i + c] - (p.image.model == BS_COLOR_GRAY ? luma : e[c])));
        }
        if (worst > 2.5 / 255)
            fail_msg("%s is off by %.2f grey levels", layouts[l].name, worst * 255);
        free(out);
        drop(&p);
    }
    free(expected);
    drop(&rgb);
}

static void full_range_and_video_range_mean_the_same_colours(void **state)
{
    uint8_t full[3] = {128, 90, 200}, video[3]; /* one pixel of 4:4:4 each */
    video[0] = (uint8_t)lrint(16 + full[0] * 219 / 255.0);
    video[1] = (uint8_t)lrint(128 + (full[1] - 128) * 224 / 255.0);
    video[2] = (uint8_t)lrint(128 + (full[2] - 128) * 224 / 255.0);
    bs_image a = {.width = 1,
                  .height = 1,
                  .data = {full},
                  .stride = {3},
                  .model = BS_COLOR_YUV,
                  .full_range = true,
                  .component = {{0, 3, 0, 0, 8}, {0, 3, 1, 0, 8}, {0, 3, 2, 0, 8}}};
    bs_image b = a;
    b.data[0] = video;
    b.full_range = false;
    float *fa = crop_of(&a, square(0, 0, 2, 0), BS_CROP_LANDMARK, NULL),
          *fb = crop_of(&b, square(0, 0, 2, 0), BS_CROP_LANDMARK, NULL);
    for (int c = 0; c < 3; c++)
        assert_float_equal(fa[c], fb[c], 2.0 / 255);
    assert_float_equal(fa[0], (128 + 1.402 * (200 - 128)) / 255, 0.51 / 255); /* BT.601, ITU-T T.871 */
    assert_float_equal(fa[2], (128 + 1.772 * (90 - 128)) / 255, 0.51 / 255);
    free(fa);
    free(fb);
}

static void outside_the_picture_the_detector_sees_black_and_the_landmark_model_the_edge(void **state)
{
    uint8_t rgb[4 * 4 * 3];
    memset(rgb, 200, sizeof(rgb));
    const bs_image image = bs_image_rgb24(rgb, 4, 4, 12);
    float *d = crop_of(&image, square(2, 2, 8, 0), BS_CROP_DETECTOR, NULL);
    float *l = crop_of(&image, square(2, 2, 8, 0), BS_CROP_LANDMARK, NULL);
    assert_float_equal(d[0], -1, 0);
    assert_float_equal(d[(112 * 224 + 112) * 3], 200 * 2.0 / 255 - 1, 1e-6);
    assert_float_equal(l[0], 200 / 255.0, 1e-6);
    assert_float_equal(l[(128 * 256 + 128) * 3], 200 / 255.0, 1e-6);
    free(d);
    free(l);
}

static void rows_may_lie_in_any_order(void **state)
{
    picture p = make(&layouts[YUV420P], 40, 30);
    random_state = 3;
    fill_random(&p);
    bs_image upside_down = p.image; /* the last row first, and said so */
    upside_down.orientation = BS_ORIENT_FLIP;
    for (int i = 0; i < 3; i++) {
        const int rows = i ? 15 : 30;
        upside_down.data[i] += (rows - 1) * upside_down.stride[i];
        upside_down.stride[i] = -upside_down.stride[i];
    }
    assert_int_equal(bs_image_check(&upside_down, NULL), BS_OK);
    float *a = crop_of(&p.image, square(20, 15, 44, 0.1f), BS_CROP_LANDMARK, NULL);
    float *b = crop_of(&upside_down, square(20, 15, 44, 0.1f), BS_CROP_LANDMARK, NULL);
    assert_memory_equal(a, b, OUT * sizeof(float));
    free(a);
    free(b);
    drop(&p);
}

static void a_region_that_is_not_a_number_is_no_crash(void **state)
{
    uint8_t rgb[12] = {0};
    const bs_image image = bs_image_rgb24(rgb, 2, 2, 6);
    free(crop_of(&image, square(NAN, 1, 2, 0), BS_CROP_LANDMARK, NULL));
    free(crop_of(&image, square(1e30f, -1e30f, 1e30f, 1), BS_CROP_LANDMARK, NULL));
    free(crop_of(&image, square(1, 1, 1e-40f, 0), BS_CROP_DETECTOR, NULL));
}

static void a_picture_that_contradicts_itself_is_refused(void **state)
{
    uint8_t rgb[12] = {0};
    bs_error err = {0};
    bs_image image = bs_image_rgb24(rgb, 2, 2, 5);
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE); /* a row needs 6 bytes */
    image = bs_image_rgb24(rgb, 0, 2, 6);
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE);
    image = bs_image_rgb24(rgb, 70000, 1, 210000);
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE);
    image = bs_image_rgb24(NULL, 2, 2, 6);
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE);
    image = bs_image_rgb24(rgb, 2, 2, 6);
    image.component[1].depth = 17;
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE);
    image = bs_image_rgb24(rgb, 2, 2, 6);
    image.orientation = (bs_orientation)9;
    assert_int_equal(bs_image_check(&image, &err), BS_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_set_gives_the_same_crop_and_stays_inside_the_planes),
        cmocka_unit_test(all_eight_orientations_show_the_same_picture_bit_for_bit),
        cmocka_unit_test(a_quarter_turn_clockwise_brings_the_left_edge_to_the_top),
        cmocka_unit_test(every_layout_of_one_picture_gives_nearly_the_same_crop),
        cmocka_unit_test(full_range_and_video_range_mean_the_same_colours),
        cmocka_unit_test(outside_the_picture_the_detector_sees_black_and_the_landmark_model_the_edge),
        cmocka_unit_test(rows_may_lie_in_any_order),
        cmocka_unit_test(a_region_that_is_not_a_number_is_no_crash),
        cmocka_unit_test(a_picture_that_contradicts_itself_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
