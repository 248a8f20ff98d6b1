/* Smoothing over time (see smooth.h). Which value is float and which double decides last bits, and a last bit
 * of the next region decides crop samples: the types below are MediaPipe's. */
#include <math.h>
#include <string.h>

#include "pose/smooth.h"

float bs_low_pass_next(bs_low_pass *f, float value, float alpha)
{
    float result = value;
    if (f->initialised)
        result = (float)((double)(alpha * value) + (1.0 - (double)alpha) * (double)f->stored);
    f->raw = value;
    f->stored = result;
    f->initialised = true;
    return result;
}

/* The next values pass through unchanged. */
static void reset(bs_one_euro *f)
{
    f->frequency = 30;
    f->last_ns = -1;
    memset(f->value, 0, sizeof(f->value));
    memset(f->derivative, 0, sizeof(f->derivative));
}

void bs_one_euro_init(bs_one_euro *f, float min_cutoff, float beta, float derivative_cutoff)
{
    f->min_cutoff = min_cutoff;
    f->beta = beta;
    f->derivative_cutoff = derivative_cutoff;
    reset(f);
}

static float smoothing_factor(double cutoff, double frequency)
{
    const double te = 1.0 / frequency, tau = 1.0 / (2 * M_PI * cutoff);
    return (float)(1.0 / (1.0 + tau / te));
}

void bs_one_euro_next(bs_one_euro *f, int64_t time_ns, float scale, float *values, int count)
{
    if (time_ns <= f->last_ns)
        return;
    if (f->last_ns > 0 && time_ns != 0)
        f->frequency = 1.0 / ((double)(time_ns - f->last_ns) * 1e-9);
    f->last_ns = time_ns;
    const float derivative_alpha = smoothing_factor(f->derivative_cutoff, f->frequency);
    for (int i = 0; i < count; i++) {
        bs_low_pass *value = &f->value[i];
        double change = 0;
        if (value->initialised)
            change = ((double)values[i] - (double)value->raw) * (double)scale * f->frequency;
        const float speed = bs_low_pass_next(&f->derivative[i], (float)change, derivative_alpha);
        const double cutoff = f->min_cutoff + f->beta * fabs((double)speed);
        values[i] = bs_low_pass_next(value, values[i], smoothing_factor(cutoff, f->frequency));
    }
}

/* mediapipe/modules/pose_landmark/pose_landmark_filtering.pbtxt */
void bs_smoother_init(bs_smoother *s, bool landmarks)
{
    memset(s, 0, sizeof(*s));
    s->landmarks = landmarks;
    bs_one_euro_init(&s->image, 0.05f, 80.0f, 1.0f);
    bs_one_euro_init(&s->world, 0.1f, 40.0f, 1.0f);
    bs_one_euro_init(&s->aux, 0.01f, 10.0f, 1.0f);
}

/* To pixels, through the filter, and back to fractions. Without a filter the way there and back is still gone:
 * it can change the last bit, and MediaPipe goes it. */
static void smooth_in_pixels(bs_one_euro *filter, int64_t time_ns, float scale, bs_landmark *l, int count, float width,
                             float height)
{
    float v[BS_ONE_EURO_VALUES];
    for (int i = 0; i < count; i++) {
        v[3 * i] = l[i].x * width;
        v[3 * i + 1] = l[i].y * height;
        v[3 * i + 2] = l[i].z * width;
    }
    if (filter)
        bs_one_euro_next(filter, time_ns, scale, v, 3 * count);
    for (int i = 0; i < count; i++) {
        l[i].x = v[3 * i] / width;
        l[i].y = v[3 * i + 1] / height;
        l[i].z = v[3 * i + 2] / width;
    }
}

void bs_smoother_next(bs_smoother *s, bs_body *body, int64_t time_us, int width, int height)
{
    const int64_t t = time_us * 1000;
    const float w = (float)width, h = (float)height;
    bs_landmark *aux = body->landmark + BS_AUX_HIPS;
    /* the scale comes from the unsmoothed points and the region before it is enlarged (15.4) */
    const bs_roi raw = bs_roi_from_points((bs_point){aux[0].x, aux[0].y}, (bs_point){aux[1].x, aux[1].y}, width,
                                          height);
    const float object_scale = (raw.width * w + raw.height * h) / 2.0f;
    const bool filter = object_scale >= 1e-6f;
    const float value_scale = filter ? 1.0f / object_scale : 1.0f;

    smooth_in_pixels(filter ? &s->aux : NULL, t, value_scale, aux, 2, w, h);
    smooth_in_pixels(s->landmarks && filter ? &s->image : NULL, t, value_scale, body->landmark, BS_LANDMARKS, w, h);
    if (!s->landmarks)
        return;
    for (int i = 0; i < BS_LANDMARKS; i++)
        body->landmark[i].visibility = bs_low_pass_next(&s->visibility[i], body->landmark[i].visibility, 0.1f);
    _Static_assert(sizeof(body->world) == sizeof(float) * BS_ONE_EURO_VALUES, "world landmarks are plain floats");
    bs_one_euro_next(&s->world, t, 1.0f, &body->world[0].x, BS_ONE_EURO_VALUES);
}

void bs_smoother_miss(bs_smoother *s)
{
    reset(&s->image);
    reset(&s->aux);
}
