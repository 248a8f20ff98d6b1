/* Enhancements of a crop (see enhance.h). */
#include <math.h>
#include <string.h>

#include "pose/enhance.h"

enum { FIELDS = 8, BINS = 256 };

static float lightness(const float *p)
{
    return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
}

static float clamp01(float v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static int bin_of(float v)
{
    return (int)(clamp01(v) * (BINS - 1) + 0.5f);
}

/* The new lightness of every old one in one field, from its clipped histogram. */
static void field_curve(const float *pixels, int size, int fx, int fy, float curve[BINS])
{
    const float clip_limit = 3.0f;
    const int side = size / FIELDS;
    int count[BINS] = {0};
    for (int y = fy * side; y < (fy + 1) * side; y++)
        for (int x = fx * side; x < (fx + 1) * side; x++)
            count[bin_of(lightness(pixels + 3 * (y * size + x)))]++;
    const int limit = (int)(clip_limit * (float)(side * side) / BINS) + 1;
    int excess = 0;
    for (int i = 0; i < BINS; i++) {
        if (count[i] > limit) {
            excess += count[i] - limit;
            count[i] = limit;
        }
    }
    float sum = 0;
    for (int i = 0; i < BINS; i++) {
        sum += (float)count[i] + (float)excess / BINS;
        curve[i] = sum / (float)(side * side);
    }
}

/* Makes a pixel lighter or darker, its colour differences kept. */
static void shift_lightness(float *p, float by)
{
    for (int c = 0; c < 3; c++)
        p[c] = clamp01(p[c] + by);
}

/* The fields on both sides of a place, and the weight of the second. */
static int between_fields(int at, int side, int *next, float *weight)
{
    const float f = ((float)at + 0.5f) / (float)side - 0.5f;
    const int first = f < 0 ? 0 : (int)f;
    *next = first + 1 < FIELDS ? first + 1 : FIELDS - 1;
    *weight = f < 0 ? 0 : f - (float)first;
    return first;
}

void bs_enhance_clahe(float *pixels, int size)
{
    float curve[FIELDS][FIELDS][BINS];
    for (int fy = 0; fy < FIELDS; fy++)
        for (int fx = 0; fx < FIELDS; fx++)
            field_curve(pixels, size, fx, fy, curve[fy][fx]);
    for (int y = 0; y < size; y++) {
        int y1;
        float wy;
        const int y0 = between_fields(y, size / FIELDS, &y1, &wy);
        for (int x = 0; x < size; x++) {
            int x1;
            float wx, *p = pixels + 3 * (y * size + x);
            const int x0 = between_fields(x, size / FIELDS, &x1, &wx);
            const float old = lightness(p);
            const int b = bin_of(old);
            const float top = curve[y0][x0][b] + wx * (curve[y0][x1][b] - curve[y0][x0][b]);
            const float bottom = curve[y1][x0][b] + wx * (curve[y1][x1][b] - curve[y1][x0][b]);
            shift_lightness(p, top + wy * (bottom - top) - old);
        }
    }
}

void bs_enhance_bright(float *pixels, int size)
{
    double sum = 0;
    for (int i = 0; i < size * size; i++)
        sum += lightness(pixels + 3 * i);
    const float mean = fmaxf((float)(sum / (size * size)), 0.01f);
    const float gamma = fminf(fmaxf(logf(0.5f) / logf(fminf(mean, 0.99f)), 0.35f), 0.75f);
    float curve[BINS];
    for (int i = 0; i < BINS; i++)
        curve[i] = powf((float)i / (BINS - 1), gamma);
    for (int i = 0; i < 3 * size * size; i++)
        pixels[i] = curve[bin_of(pixels[i])];
}

void bs_enhance_lower(float *pixels, int size)
{
    /* a landmark crop's centre is the hips: from a little above them downwards */
    const int from = size * 7 / 16, full = size * 9 / 16;
    float row[3 * BS_LANDMARK_SIZE], curve[FIELDS][BINS];
    const float gamma = 0.75f;
    /* one curve per column of fields over the lower half, so that the legs are not stretched field by field */
    const int side = size / FIELDS;
    for (int fx = 0; fx < FIELDS; fx++) {
        float field[BINS];
        memset(curve[fx], 0, sizeof(curve[fx]));
        for (int fy = FIELDS / 2; fy < FIELDS; fy++) {
            field_curve(pixels, size, fx, fy, field);
            for (int i = 0; i < BINS; i++)
                curve[fx][i] += field[i] / (FIELDS - FIELDS / 2);
        }
    }
    for (int y = from; y < size; y++) {
        const float share = y >= full ? 1.0f : (float)(y - from) / (float)(full - from);
        float *p = pixels + 3 * y * size;
        memcpy(row, p, (size_t)size * 3 * sizeof(float));
        for (int x = 0; x < size; x++, p += 3) {
            int x1;
            float wx;
            const int x0 = between_fields(x, side, &x1, &wx);
            const float old = lightness(row + 3 * x);
            const int b = bin_of(old);
            const float equalised = curve[x0][b] + wx * (curve[x1][b] - curve[x0][b]);
            const float lifted = powf(clamp01(old), gamma);
            shift_lightness(p, share * (0.5f * (equalised + lifted) - old));
        }
    }
}

void bs_enhance_mirror(float *pixels, int size)
{
    for (int y = 0; y < size; y++) {
        float *left = pixels + 3 * y * size, *right = left + 3 * (size - 1);
        for (; left < right; left += 3, right -= 3) {
            float pixel[3];
            memcpy(pixel, left, sizeof(pixel));
            memcpy(left, right, sizeof(pixel));
            memcpy(right, pixel, sizeof(pixel));
        }
    }
}

/* The landmark on the other side of the body; the nose is its own. */
static int other_side(int k)
{
    if (k >= BS_LEFT_EYE_INNER && k <= BS_LEFT_EYE_OUTER)
        return k + 3;
    if (k >= BS_RIGHT_EYE_INNER && k <= BS_RIGHT_EYE_OUTER)
        return k - 3;
    if (k >= BS_LEFT_EAR && k < BS_LANDMARKS) /* pairs: left is odd */
        return k % 2 ? k + 1 : k - 1;
    return k;
}

void bs_body_unmirror(bs_body *body)
{
    const bs_body mirrored = *body;
    const float last = (float)(BS_LANDMARK_SIZE - 1) / BS_LANDMARK_SIZE; /* column 0 was column 255 */
    for (int k = 0; k < BS_BODY_LANDMARKS; k++) {
        body->landmark[k] = mirrored.landmark[other_side(k)];
        body->landmark[k].x = last - body->landmark[k].x;
    }
    for (int k = 0; k < BS_LANDMARKS; k++) {
        body->world[k] = mirrored.world[other_side(k)];
        body->world[k].x = -body->world[k].x;
    }
}
