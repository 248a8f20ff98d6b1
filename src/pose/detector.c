/* Decoding of the detector (see detector.h). float32 throughout, in MediaPipe's order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pose/detector.h"
#include "pose/sigmoid.h"

/* Three grids: stride 8, stride 16, and three merged layers of stride 32. */
static const struct {
    int first, grid, per_cell;
} anchor_groups[] = {{0, 28, 2}, {1568, 14, 2}, {1960, 7, 6}};

bs_point bs_anchor(int index)
{
    const int g = index < anchor_groups[1].first ? 0 : index < anchor_groups[2].first ? 1 : 2;
    const int cell = (index - anchor_groups[g].first) / anchor_groups[g].per_cell, grid = anchor_groups[g].grid;
    return (bs_point){((float)(cell % grid) + 0.5f) / (float)grid, ((float)(cell / grid) + 0.5f) / (float)grid};
}

/* False for a box that MediaPipe drops. */
static bool decode_one(const float *r, int index, bs_detection *d)
{
    const float scale = BS_DETECTOR_SIZE;
    const bs_point anchor = bs_anchor(index);
    const float xc = r[0] / scale + anchor.x, yc = r[1] / scale + anchor.y;
    const float w = r[2] / scale, h = r[3] / scale;
    if (!(w >= 0 && h >= 0))
        return false;
    d->xmin = xc - w / 2;
    d->ymin = yc - h / 2;
    d->width = (xc + w / 2) - d->xmin;
    d->height = (yc + h / 2) - d->ymin;
    for (int k = 0; k < BS_DETECTOR_KEYPOINTS; k++) {
        d->keypoint[k].x = r[4 + 2 * k] / scale + anchor.x;
        d->keypoint[k].y = r[5 + 2 * k] / scale + anchor.y;
    }
    return true;
}

int bs_detections_decode(const float *boxes, const float *logits, float threshold, bs_detection *out)
{
    int n = 0;
    for (int i = 0; i < BS_ANCHORS; i++) {
        const float logit = fminf(fmaxf(logits[i], -100.0f), 100.0f);
        out[n].score = bs_sigmoid(logit);
        if (out[n].score >= threshold && decode_one(boxes + BS_DETECTOR_VALUES * i, i, &out[n]))
            n++;
    }
    return n;
}

static float iou(const bs_detection *a, const bs_detection *b)
{
    const float ax1 = a->xmin + a->width, ay1 = a->ymin + a->height;
    const float bx1 = b->xmin + b->width, by1 = b->ymin + b->height;
    const float w = fminf(ax1, bx1) - fmaxf(a->xmin, b->xmin), h = fminf(ay1, by1) - fmaxf(a->ymin, b->ymin);
    if (w < 0 || h < 0)
        return 0;
    const float both = w * h;
    const float either = (ax1 - a->xmin) * (ay1 - a->ymin) + (bx1 - b->xmin) * (by1 - b->ymin) - both;
    return either > 0 ? both / either : 0;
}

/* The weighted mean of a cluster; the score stays that of its best member. */
typedef struct cluster {
    float weight, xmin, ymin, xmax, ymax;
    bs_point keypoint[BS_DETECTOR_KEYPOINTS];
} cluster;

static void cluster_add(cluster *c, const bs_detection *d)
{
    const float s = d->score;
    c->weight += s;
    c->xmin += s * d->xmin;
    c->ymin += s * d->ymin;
    c->xmax += s * (d->xmin + d->width);
    c->ymax += s * (d->ymin + d->height);
    for (int k = 0; k < BS_DETECTOR_KEYPOINTS; k++) {
        c->keypoint[k].x += s * d->keypoint[k].x;
        c->keypoint[k].y += s * d->keypoint[k].y;
    }
}

static void cluster_mean(const cluster *c, bs_detection *out)
{
    out->xmin = c->xmin / c->weight;
    out->ymin = c->ymin / c->weight;
    out->width = c->xmax / c->weight - out->xmin;
    out->height = c->ymax / c->weight - out->ymin;
    for (int k = 0; k < BS_DETECTOR_KEYPOINTS; k++) {
        out->keypoint[k].x = c->keypoint[k].x / c->weight;
        out->keypoint[k].y = c->keypoint[k].y / c->weight;
    }
}

/* Descending by score, stable: an insertion sort, for there are rarely more than a few dozen. */
static void sort_by_score(bs_detection *d, int count)
{
    for (int i = 1; i < count; i++) {
        const bs_detection moved = d[i];
        int j = i;
        for (; j > 0 && d[j - 1].score < moved.score; j--)
            d[j] = d[j - 1];
        d[j] = moved;
    }
}

int bs_detections_suppress(bs_detection *detections, int count, float iou_threshold, int max)
{
    bs_detection kept[BS_MAX_PEOPLE];
    int n = 0;
    sort_by_score(detections, count);
    if (max > BS_MAX_PEOPLE)
        max = BS_MAX_PEOPLE;
    while (count && n < max) {
        const bs_detection top = detections[0];
        cluster c = {0};
        int rest = 0;
        for (int i = 0; i < count; i++) {
            if (iou(&detections[i], &top) > iou_threshold)
                cluster_add(&c, &detections[i]);
            else
                detections[rest++] = detections[i];
        }
        kept[n] = top;
        if (c.weight > 0)
            cluster_mean(&c, &kept[n]);
        n++;
        if (rest == count) /* an empty box overlaps nothing, not even itself */
            break;
        count = rest;
    }
    memcpy(detections, kept, (size_t)n * sizeof(kept[0]));
    return n;
}

void bs_detections_unletterbox(bs_detection *detections, int count, float left, float top)
{
    const float width = 1.0f - (left + left), height = 1.0f - (top + top);
    for (bs_detection *d = detections; d < detections + count; d++) {
        d->xmin = (d->xmin - left) / width;
        d->ymin = (d->ymin - top) / height;
        d->width /= width;
        d->height /= height;
        for (int k = 0; k < BS_DETECTOR_KEYPOINTS; k++) {
            d->keypoint[k].x = (d->keypoint[k].x - left) / width;
            d->keypoint[k].y = (d->keypoint[k].y - top) / height;
        }
    }
}
