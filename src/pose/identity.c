/* Who is who (see identity.h). Everybody seen is compared with everybody known, and the nearest pairs are taken first,
 * each person once. Near is: where the known one's movement would have led them, of their size, in their colours.
 * Whoever crosses another's way is told apart by the first and the last.
 *
 * The constants were chosen on composed clips in which two or three people cross, meet and turn back, so that it is
 * known who is who; docs/people.md has the figures. */
#include <math.h>
#include <string.h>

#include "pose/identity.h"

/* An id waits this long for its person. */
static const float id_waits = 2.5f;
/* How movement is followed: mean over this time; and how soon it is no longer believed in. Seconds. */
static const float speed_time = 0.2f, ahead_time = 0.3f;
/* Colours change over this time with those seen, as long as nobody else's region overlaps by this much. */
static const float colors_time = 0.3f, alone_iou = 0.2f;
/* What one known and one seen differ in: distance in sides of their regions, plus these times the logarithm of their
 * sizes' ratio and the difference of colours; somebody put aside comes after those in view, and somebody known for less
 * than a second or so (perhaps a second look at the same body) after those known for long. */
static const float size_weight = 0.3f, color_weight = 4.0f, lost_cost = 0.1f, newcomer_cost = 0.15f;
/* Further off, colours aside, nobody is taken for the same. */
static const float farthest = 0.8f;

/* Somebody known: in view in the last picture, or put aside. */
typedef struct known {
    const bs_track *track;
    float age; /* seconds since they were seen */
    bool lost, taken;
} known;

static float seconds_between(int64_t from_us, int64_t to_us)
{
    const double seconds = ((double)to_us - (double)from_us) * 1e-6;
    return seconds > 0 ? (float)seconds : 0;
}

bs_colors bs_colors_of_body(bs_pose *pose, const bs_view *view, const bs_body *body)
{
    const bs_landmark *l = body->landmark;
    const float w = (float)view->width / 2, h = (float)view->height / 2;
    const float x = (l[BS_LEFT_SHOULDER].x + l[BS_RIGHT_SHOULDER].x) * w;
    const float y = (l[BS_LEFT_SHOULDER].y + l[BS_RIGHT_SHOULDER].y) * h;
    const float dx = (l[BS_LEFT_HIP].x + l[BS_RIGHT_HIP].x) * w - x,
                dy = (l[BS_LEFT_HIP].y + l[BS_RIGHT_HIP].y) * h - y;
    const float torso = fmaxf(hypotf(dx, dy), 1);
    /* from the shoulders to the knees, as narrow as somebody seen from the side */
    const bs_crop_region region = {.cx = x + 0.8f * dx,
                                   .cy = y + 0.8f * dy,
                                   .width = 0.4f * torso,
                                   .height = 1.6f * torso,
                                   .rotation = -atan2f(dx, dy)};
    float *pixels = bs_nn_input(pose->landmark);
    bs_crop(view->image, &region, BS_CROP_LANDMARK, pose->kernels, pixels);

    enum { ROWS = BS_LANDMARK_SIZE / BS_BANDS, DOWN = 4, ACROSS = 8 };
    const float samples = (float)(ROWS / DOWN) * (BS_LANDMARK_SIZE / ACROSS);
    bs_colors colors = {0};
    for (int row = 0; row < BS_LANDMARK_SIZE; row += DOWN)
        for (int column = 0; column < BS_LANDMARK_SIZE; column += ACROSS)
            for (int c = 0; c < 3; c++)
                colors.rgb[row / ROWS][c] += pixels[(row * BS_LANDMARK_SIZE + column) * 3 + c] / samples;
    return colors;
}

static float colors_apart(const bs_colors *a, const bs_colors *b)
{
    float sum = 0;
    for (int i = 0; i < BS_BANDS; i++)
        for (int c = 0; c < 3; c++)
            sum += fabsf(a->rgb[i][c] - b->rgb[i][c]);
    return sum / (BS_BANDS * 3);
}

/* How far `seen` is from where `k` is expected, in sides of their regions. */
static float places_apart(const known *k, const bs_track *seen)
{
    const bs_roi *was = &k->track->roi, *is = &seen->roi;
    const float ahead = ahead_time * (1 - expf(-k->age / ahead_time));
    const float x = was->x_center + k->track->vx * ahead - is->x_center;
    const float y = was->y_center + k->track->vy * ahead - is->y_center;
    return hypotf(x / ((was->width + is->width) / 2), y / ((was->height + is->height) / 2)) +
           size_weight * fabsf(logf(was->width / is->width)) + (k->lost ? lost_cost : 0) +
           newcomer_cost * expf(-k->track->followed);
}

/* Takes over id, movement and colours. `alone`: what is seen in their place are their own colours. */
static void go_on(bs_track *seen, const known *k, bool alone)
{
    const bs_track *was = k->track;
    const float faster = 1 - expf(-k->age / speed_time), other = alone ? 1 - expf(-k->age / colors_time) : 0;
    seen->id = was->id;
    seen->followed = was->followed + (k->lost ? 0 : k->age);
    seen->vx = was->vx;
    seen->vy = was->vy;
    if (k->age > 0) {
        seen->vx += faster * ((seen->roi.x_center - was->roi.x_center) / k->age - was->vx);
        seen->vy += faster * ((seen->roi.y_center - was->roi.y_center) / k->age - was->vy);
    }
    for (int i = 0; i < BS_BANDS; i++)
        for (int c = 0; c < 3; c++)
            seen->colors.rgb[i][c] = was->colors.rgb[i][c] + other * (seen->colors.rgb[i][c] - was->colors.rgb[i][c]);
}

static int list_known(const bs_pose *pose, int64_t time_us, known *list)
{
    int n = 0;
    for (int i = 0; i < pose->tracks; i++)
        list[n++] = (known){&pose->track[i], seconds_between(pose->tracks_us, time_us), false, false};
    for (int i = 0; i < pose->lost_tracks; i++) {
        const float age = seconds_between(pose->lost[i].time_us, time_us);
        if (age <= id_waits)
            list[n++] = (known){&pose->lost[i].track, age, true, false};
    }
    return n;
}

/* Whether nobody else, seen or known, is where `which` is. */
static bool is_alone(const bs_track *seen, int count, int which, const known *list, int n, int own)
{
    bool alone = true;
    for (int i = 0; i < count; i++)
        alone &= i == which || bs_roi_iou(&seen[which].roi, &seen[i].roi) < alone_iou;
    for (int i = 0; i < n; i++)
        alone &= i == own || bs_roi_iou(&seen[which].roi, &list[i].track->roi) < alone_iou;
    return alone;
}

/* Pairs those seen with those known, the nearest first; own[i] is seen[i]'s, or -1. */
static void pair(const bs_track *seen, int count, known *list, int n, int *own)
{
    for (int i = 0; i < count; i++)
        own[i] = -1;
    for (;;) {
        float nearest = INFINITY;
        int who = -1, whose = -1;
        for (int i = 0; i < count; i++) {
            for (int k = 0; k < n && own[i] < 0; k++) {
                const float place = list[k].taken ? INFINITY : places_apart(&list[k], &seen[i]);
                const float all = place + color_weight * colors_apart(&list[k].track->colors, &seen[i].colors);
                if (place < farthest && all < nearest) {
                    nearest = all;
                    who = i;
                    whose = k;
                }
            }
        }
        if (who < 0)
            return;
        own[who] = whose;
        list[whose].taken = true;
    }
}

/* Those whom nobody continues wait; where there are too many, the ones who have waited longest go. */
static void put_aside(bs_pose *pose, const known *list, int n)
{
    bs_lost_track waiting[2 * BS_MAX_PEOPLE];
    int count = 0;
    for (int i = 0; i < pose->lost_tracks; i++)
        for (int k = 0; k < n; k++)
            if (list[k].track == &pose->lost[i].track && !list[k].taken)
                waiting[count++] = pose->lost[i];
    for (int i = 0; i < pose->tracks; i++)
        if (!list[i].taken)
            waiting[count++] = (bs_lost_track){pose->track[i], pose->tracks_us};
    const int gone = count > BS_MAX_PEOPLE ? count - BS_MAX_PEOPLE : 0;
    pose->lost_tracks = count - gone;
    memcpy(pose->lost, waiting + gone, (size_t)pose->lost_tracks * sizeof(waiting[0]));
}

void bs_identify(bs_pose *pose, bs_track *seen, int count, int64_t time_us)
{
    known list[2 * BS_MAX_PEOPLE];
    int own[BS_MAX_PEOPLE];
    bool alone[BS_MAX_PEOPLE];
    const int n = list_known(pose, time_us, list);
    pair(seen, count, list, n, own);
    for (int i = 0; i < count; i++)
        alone[i] = is_alone(seen, count, i, list, n, own[i]);
    for (int i = 0; i < count; i++) {
        if (own[i] < 0)
            seen[i].id = pose->next_id++;
        else
            go_on(&seen[i], &list[own[i]], alone[i]);
    }
    put_aside(pose, list, n);
    pose->tracks = count;
    pose->tracks_us = time_us;
    memcpy(pose->track, seen, (size_t)count * sizeof(seen[0]));
}
