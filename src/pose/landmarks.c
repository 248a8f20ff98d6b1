/* Decoding of the landmark model (see landmarks.h). float32 throughout, sums in row order. */
#include <math.h>
#include <string.h>

#include "pose/landmarks.h"
#include "pose/sigmoid.h"

enum { HEATMAP = BS_HEATMAP_SIZE };

const bs_landmark_rules bs_rules_solution = {.refine_radius = 4, .keep_aspect = true};
const bs_landmark_rules bs_rules_tasks = {.refine_radius = 3, .keep_aspect = false};

/* Pads to a square without moving the centre. */
static void pad_to_square(bs_crop_region *r)
{
    const float aspect = r->height / r->width;
    if (1.0f > aspect) {
        r->pad_top = (1.0f - aspect) / 2.0f;
        r->height = r->width;
    } else {
        r->pad_left = (1.0f - 1.0f / aspect) / 2.0f;
        r->width = r->height;
    }
}

bs_crop_region bs_region_of_roi(const bs_roi *roi, int width, int height, bool keep_aspect)
{
    const float w = (float)width, h = (float)height;
    bs_crop_region r = {.cx = roi->x_center * w,
                        .cy = roi->y_center * h,
                        .width = roi->width * w,
                        .height = roi->height * h,
                        .rotation = roi->rotation};
    if (keep_aspect)
        pad_to_square(&r);
    return r;
}

bs_crop_region bs_region_of_picture(int width, int height)
{
    const bs_roi whole = {0.5f, 0.5f, 1.0f, 1.0f, 0.0f};
    return bs_region_of_roi(&whole, width, height, true);
}

/* Moves one landmark to the centre of gravity of its heatmap around the regressed place, where the heatmap is
 * sure enough. Source: refine_landmarks_from_heatmap_calculator.cc. */
static void refine(bs_landmark *l, const float *heatmap, int k, int radius)
{
    const float fx = l->x * HEATMAP, fy = l->y * HEATMAP;
    if (!(fx > -1 && fx < HEATMAP && fy > -1 && fy < HEATMAP)) /* truncation: (-1, 0) is cell 0 */
        return;
    const int cc = (int)fx, cr = (int)fy;
    const int c0 = cc > radius ? cc - radius : 0, c1 = cc + radius < HEATMAP ? cc + radius : HEATMAP - 1;
    const int r0 = cr > radius ? cr - radius : 0, r1 = cr + radius < HEATMAP ? cr + radius : HEATMAP - 1;
    float sum = 0, most = 0, sx = 0, sy = 0;
    for (int row = r0; row <= r1; row++) {
        for (int col = c0; col <= c1; col++) {
            const float c = bs_sigmoid(heatmap[(row * HEATMAP + col) * BS_MODEL_LANDMARKS + k]);
            sum += c;
            most = fmaxf(most, c);
            sx += (float)col * c;
            sy += (float)row * c;
        }
    }
    if (most >= 0.5f && sum > 0) {
        l->x = sx / HEATMAP / sum;
        l->y = sy / HEATMAP / sum;
    }
}

void bs_body_decode(bs_body *body, const float *landmarks, const float *heatmap, const float *world,
                    const bs_landmark_rules *rules)
{
    for (int k = 0; k < BS_BODY_LANDMARKS; k++) {
        const float *r = landmarks + BS_LANDMARK_VALUES * k;
        body->landmark[k] = (bs_landmark){r[0] / BS_LANDMARK_SIZE, r[1] / BS_LANDMARK_SIZE, r[2] / BS_LANDMARK_SIZE,
                                          bs_sigmoid(r[3]), bs_sigmoid(r[4])};
        refine(&body->landmark[k], heatmap, k, rules->refine_radius);
    }
    memcpy(body->world, world, sizeof(body->world));
}

/* landmark_letterbox_removal_calculator.cc, landmark_projection_calculator.cc, world_landmark_projection_calculator.cc
 */
void bs_body_project(bs_body *body, const bs_roi *roi, const bs_crop_region *region)
{
    const float left = region->pad_left, top = region->pad_top;
    const float c = cosf(roi->rotation), s = sinf(roi->rotation);
    for (bs_landmark *l = body->landmark; l < body->landmark + BS_BODY_LANDMARKS; l++) {
        const float u = (l->x - left) / (1.0f - (left + left)) - 0.5f;
        const float v = (l->y - top) / (1.0f - (top + top)) - 0.5f;
        l->x = (c * u - s * v) * roi->width + roi->x_center;
        l->y = (s * u + c * v) * roi->height + roi->y_center;
        l->z = l->z / (1.0f - (left + left)) * roi->width;
    }
    for (bs_world_landmark *w = body->world; w < body->world + BS_LANDMARKS; w++)
        *w = (bs_world_landmark){c * w->x - s * w->y, s * w->x + c * w->y, w->z};
}
