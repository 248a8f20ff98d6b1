/* The segmentation mask (see mask.h). */
#include <math.h>

#include "pose/mask.h"
#include "pose/sigmoid.h"

enum { SIDE = BS_LANDMARK_SIZE };

/* The map from pixels of the picture to pixels of the mask, float32 in MediaPipe's order. */
static void map_of(const bs_crop_region *r, int width, int height, double m[6])
{
    const float c = cosf(r->rotation), s = sinf(r->rotation), w = r->width, h = r->height;
    const float gx = 1.0f / (float)width, gy = 1.0f / (float)height;
    const float m0 = w * c * gx, m1 = -h * s * gx, m3 = (-0.5f * w * c + 0.5f * h * s + r->cx) * gx;
    const float m4 = w * s * gy, m5 = h * c * gy, m7 = (-0.5f * h * c - 0.5f * w * s + r->cy) * gy;
    const float d = w * gx, rd = 1.0f / ((m5 * m0 - m1 * m4) * d);
    m[0] = 256.0f * ((m5 * d) * rd) * gx;
    m[1] = 256.0f * (-(m1 * d) * rd) * gy;
    m[2] = 256.0f * (-(d * (m5 * m3 - m1 * m7)) * rd);
    m[3] = 256.0f * (-(m4 * d) * rd) * gx;
    m[4] = 256.0f * ((m0 * d) * rd) * gy;
    m[5] = 256.0f * (-(d * (m0 * m7 - m4 * m3)) * rd);
}

static float at(const float *mask, int x, int y)
{
    return x >= 0 && x < SIDE && y >= 0 && y < SIDE ? mask[y * SIDE + x] : 0.0f;
}

/* Fixed point of 1/1024 pixel, as an int that cannot overflow when two are added. */
static int fixed(double v)
{
    const double limit = 1 << 28;
    return (int)rint(fmin(fmax(v * 1024, -limit), limit));
}

void bs_mask_warp(const float *logits, const bs_crop_region *region, int width, int height, float *scratch, float *out)
{
    double m[6];
    map_of(region, width, height, m);
    for (int i = 0; i < SIDE * SIDE; i++)
        scratch[i] = bs_sigmoid(logits[i]);
    for (int y = 0; y < height; y++) {
        const int row_x = fixed(m[1] * y + m[2]) + 16, row_y = fixed(m[4] * y + m[5]) + 16;
        for (int x = 0; x < width; x++) {
            const int px = (row_x + fixed(m[0] * x)) >> 5, py = (row_y + fixed(m[3] * x)) >> 5;
            const int x0 = px >> 5, y0 = py >> 5;
            const float fx = (float)(px & 31) / 32.0f, fy = (float)(py & 31) / 32.0f;
            *out++ = at(scratch, x0, y0) * (1 - fx) * (1 - fy) + at(scratch, x0 + 1, y0) * fx * (1 - fy) +
                     at(scratch, x0, y0 + 1) * (1 - fx) * fy + at(scratch, x0 + 1, y0 + 1) * fx * fy;
        }
    }
}
