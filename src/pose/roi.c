/* Regions of interest (see roi.h). */
#include <math.h>

#include "pose/arctangent.h"
#include "pose/roi.h"

/* Into [-pi, pi): in double, stored as float, like MediaPipe's NormalizeRadians. */
static float wrap(float angle)
{
    double a = angle;
    return (float)(a - 2 * M_PI * floor((a + M_PI) / (2 * M_PI)));
}

bs_roi bs_roi_from_points(bs_point hips, bs_point scale, int width, int height)
{
    const float w = (float)width, h = (float)height;
    const float x0 = hips.x * w, y0 = hips.y * h, x1 = scale.x * w, y1 = scale.y * h;
    const float size = 2.0f * sqrtf((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0));
    const float upright = (float)(M_PI * 90 / 180);
    return (bs_roi){
        .x_center = x0 / w,
        .y_center = y0 / h,
        .width = size / w,
        .height = size / h,
        .rotation = wrap(upright - bs_atan2f(-(y1 - y0), x1 - x0)),
    };
}

bs_roi bs_roi_expand(bs_roi roi, int width, int height)
{
    const float w = (float)width, h = (float)height;
    const float a = roi.width * w, b = roi.height * h;
    const float side = a > b ? a : b;
    roi.width = side / w * 1.25f;
    roi.height = side / h * 1.25f;
    return roi;
}

bool bs_roi_usable(const bs_roi *roi)
{
    return roi->width > 0 && roi->height > 0 && isfinite(roi->width) && isfinite(roi->height) &&
           isfinite(roi->x_center) && isfinite(roi->y_center) && isfinite(roi->rotation);
}

float bs_roi_iou(const bs_roi *a, const bs_roi *b)
{
    const float ax0 = a->x_center - a->width / 2, ax1 = a->x_center + a->width / 2;
    const float ay0 = a->y_center - a->height / 2, ay1 = a->y_center + a->height / 2;
    const float bx0 = b->x_center - b->width / 2, bx1 = b->x_center + b->width / 2;
    const float by0 = b->y_center - b->height / 2, by1 = b->y_center + b->height / 2;
    const float w = fminf(ax1, bx1) - fmaxf(ax0, bx0), h = fminf(ay1, by1) - fmaxf(ay0, by0);
    if (!(w > 0 && h > 0))
        return 0;
    const float both = w * h, either = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - both;
    return either > 0 ? both / either : 0;
}
