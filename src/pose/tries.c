/* The extra tries of the modes smart and quality (see tries.h). The constants were chosen on the photos and clips of
 * docs/modes.md. */
#include <math.h>

#include "pose/tries.h"

/* A body at least this visible is not tried again. */
static const float good_visibility = 0.65f;
/* An enhanced look is kept only where it is this much more visible than the plain one: enhancement itself makes the
 * model a little more certain. */
static const float worthwhile = 0.03f;
/* Somebody whom the detector saw only in an enhanced or enlarged picture must be seen this well, in two looks. */
static const float credible_visibility = 0.45f, credible_overlap = 0.5f, credible_score = 0.7f;
/* Whom the detector is unsure of and the landmark model either, or hardly sees, is taken for a pattern. */
static const float doubtful_score = 0.7f, doubtful_presence = 0.7f, doubtful_visibility = 0.4f;

/* Of the detector's suppression, as in tracker_one.c. */
static const float nms_iou = 0.3f;

/* What each picture adds to smart's budget. */
static const float budget_refill = 0.6f;

/* How many of the people in a part of the picture are looked at. */
enum { PER_PART = 2 };

float bs_body_visibility(const bs_body *body)
{
    float sum = 0;
    int inside = 0;
    for (int k = 0; k < BS_LANDMARKS; k++) {
        const bs_landmark *l = &body->landmark[k];
        if (l->x >= 0 && l->x <= 1 && l->y >= 0 && l->y <= 1) {
            sum += l->visibility;
            inside++;
        }
    }
    return inside ? sum / (float)inside : 0;
}

void bs_tries_refill(bs_pose *pose)
{
    if (pose->options.static_image_mode || pose->options.mode == BS_MODE_QUALITY)
        pose->tries_left = 1000; /* single photos do not wait for each other */
    else
        pose->tries_left = fminf(pose->tries_left + budget_refill, BS_TRIES_MOST);
}

/* Takes one try from the budget; false where none is left. */
static bool may_try(bs_pose *pose)
{
    if (pose->tries_left < 1)
        return false;
    pose->tries_left -= 1;
    return true;
}

/* One search: what every step of it needs. */
typedef struct search {
    bs_pose *pose;
    const bs_view *view;
    bs_attempt *best;
    bool all;   /* quality: do not stop at the first good one */
    bool *last; /* whether the best look is the last one taken */
    bs_error *err;
} search;

static float visibility_of(const bs_attempt *a)
{
    return a->look.found ? bs_body_visibility(&a->look.body) : 0;
}

static bool is_good(const bs_attempt *a)
{
    return visibility_of(a) >= good_visibility;
}

static bool is_doubtful(const bs_attempt *a)
{
    return a->look.found && a->status == BS_DETECTED && a->score < doubtful_score &&
           (a->look.body.presence < doubtful_presence || visibility_of(a) < doubtful_visibility);
}

/* Whether a plain guess is dropped for doubts: on single photos, and for the heavy model, which is quicker to see
 * people in patterns, as long as nobody has been seen clearly in the video. Then, and always in smart, MediaPipe's
 * own guesses are kept: people who turn away or leave look just like that, and whoever asks for more than the mode
 * fast must not get less. */
static bool doubts_count(const search *s)
{
    return s->pose->options.static_image_mode || (s->all && !s->pose->seen_clearly);
}

/* Keeps `a` where it is better than the best by `margin`. */
static void keep(search *s, const bs_attempt *a, float margin)
{
    *s->last = false;
    if (!a->look.found || (s->best->look.found && visibility_of(a) < visibility_of(s->best) + margin))
        return;
    const bool detector_ran = s->best->detector_ran;
    *s->best = *a;
    s->best->detector_ran = detector_ran;
    *s->last = true;
}

/* A look at a person whom the detector has just found, in its own enhancement. */
static bs_attempt attempt_at(const search *s, const bs_detection *d, bs_strategy strategy, bs_strategy enhancement)
{
    return (bs_attempt){
        .look = {.roi = bs_roi_of_detection(d, s->view), .enhancement = enhancement, .rules = s->best->look.rules},
        .strategy = strategy,
        .status = BS_DETECTED,
        .score = d->score};
}

/* Whether somebody found by unusual means is really there: a second look, at the region that the first one leads to,
 * must find the same person. Patterns that look like a person rarely do so twice. `a` becomes the second look. */
static bs_status confirm(const search *s, bs_attempt *a, bool *credible)
{
    *credible = false;
    if (!a->look.found || visibility_of(a) < credible_visibility)
        return BS_OK;
    bs_attempt second = *a;
    second.look.roi = bs_roi_of_body(&a->look.body, s->view);
    const bs_status rc = bs_look_at(s->pose, s->view, &second.look, s->err);
    if (rc < 0 || !second.look.found)
        return rc;
    *credible = bs_roi_iou(&a->look.roi, &second.look.roi) >= credible_overlap &&
                visibility_of(&second) >= credible_visibility;
    if (*credible)
        *a = second;
    return BS_OK;
}

/* -- nobody was found ---------------------------------------------------------------------------- */

/* The track led astray, or to something poor: what does the detector say? */
static bs_status detect_again(search *s)
{
    int count = 0;
    if (s->best->detector_ran || !may_try(s->pose))
        return BS_OK;
    bs_status rc = bs_detect(s->pose, s->view, NULL, BS_STRATEGY_ORIGINAL, nms_iou, 1, &count, s->err);
    s->best->detector_ran = true;
    *s->last = false;
    if (rc < 0 || !count)
        return rc;
    bs_attempt a = attempt_at(s, &s->pose->detections[0], BS_STRATEGY_REDETECTED, BS_STRATEGY_ORIGINAL);
    rc = bs_look_at(s->pose, s->view, &a.look, s->err);
    if (rc >= 0 && !is_doubtful(&a))
        keep(s, &a, worthwhile);
    return rc;
}

/* Detects in one part of the picture (NULL: all of it), enhanced or not, and keeps the best credible person. */
static bs_status detect_in(search *s, const bs_crop_region *part, bs_strategy strategy, bs_strategy enhancement)
{
    bs_detection found[PER_PART];
    int count = 0;
    if (!may_try(s->pose))
        return BS_OK;
    *s->last = false;
    bs_status rc = bs_detect(s->pose, s->view, part, enhancement, nms_iou, PER_PART, &count, s->err);
    for (int i = 0; i < count; i++)
        found[i] = s->pose->detections[i];
    for (int i = 0; i < count && rc >= 0; i++) {
        bool credible = false;
        if (found[i].score < credible_score || !may_try(s->pose))
            continue;
        bs_attempt a = attempt_at(s, &found[i], strategy, enhancement);
        rc = bs_look_at(s->pose, s->view, &a.look, s->err);
        if (rc >= 0)
            rc = confirm(s, &a, &credible);
        if (rc >= 0 && credible)
            keep(s, &a, 0);
    }
    return rc;
}

/* Overlapping squares of a share of the picture's longer side, each step half a square. */
typedef struct grid {
    float side;
    int across, down;
} grid;

static grid grid_of(const bs_view *view, float share)
{
    const float w = (float)view->width, h = (float)view->height, side = share * fmaxf(w, h);
    return (grid){side, w > side ? (int)ceilf((w - side) / (side / 2)) + 1 : 1,
                  h > side ? (int)ceilf((h - side) / (side / 2)) + 1 : 1};
}

static bs_crop_region part_of(const bs_view *view, const grid *g, int i)
{
    const float x = g->across > 1 ? (float)(i % g->across) / (float)(g->across - 1) : 0.5f;
    const float y = g->down > 1 ? (float)(i / g->across) / (float)(g->down - 1) : 0.5f;
    return (bs_crop_region){.cx = g->side / 2 + x * ((float)view->width - g->side),
                            .cy = g->side / 2 + y * ((float)view->height - g->side),
                            .width = g->side,
                            .height = g->side};
}

/* The n-th way of finding somebody: the whole picture equalised, brightened, then its parts, large and small.
 * *group tells which of these; *any is false where there is no n-th way. */
static bs_status detect_in_nth_way(search *s, int n, int *group, bool *any)
{
    static const float shares[] = {0.6f, 0.4f};
    *any = true;
    *group = n;
    if (n < 2) {
        const bs_strategy enhancement = n ? BS_STRATEGY_BRIGHT : BS_STRATEGY_CLAHE;
        return detect_in(s, NULL, enhancement, enhancement);
    }
    n -= 2;
    for (int i = 0; i < 2; i++) {
        const grid g = grid_of(s->view, shares[i]);
        *group = 2 + i;
        if (n < g.across * g.down) {
            const bs_crop_region part = part_of(s->view, &g, n);
            return detect_in(s, &part, BS_STRATEGY_TILED, BS_STRATEGY_ORIGINAL);
        }
        n -= g.across * g.down;
    }
    *any = false;
    return BS_OK;
}

/* Goes through the ways of finding somebody until one does (quality: to the end of its group, for the best), or the
 * budget is spent: then the next picture goes on where this one stopped. */
static bs_status find_somebody(search *s)
{
    bs_pose *pose = s->pose;
    bs_status rc = detect_again(s);
    int found_in = -1;
    if (pose->options.static_image_mode || s->all)
        pose->next_way = 0;
    while (rc >= 0 && pose->tries_left >= 1 && (!s->best->look.found || s->all)) {
        int group;
        bool any;
        rc = detect_in_nth_way(s, pose->next_way, &group, &any);
        pose->next_way = any ? pose->next_way + 1 : 0;
        if (!any || (found_in >= 0 && group != found_in))
            break;
        if (s->best->look.found && found_in < 0)
            found_in = group;
    }
    if (s->best->look.found)
        pose->next_way = 0;
    return rc;
}

/* -- somebody was found, but is hardly visible --------------------------------------------------- */

static bs_status see_better(search *s)
{
    static const bs_strategy enhancements[] = {BS_STRATEGY_CLAHE, BS_STRATEGY_BRIGHT, BS_STRATEGY_MIRRORED,
                                               BS_STRATEGY_LOWER_ENHANCED};
    bs_status rc = s->best->status == BS_TRACKED ? detect_again(s) : BS_OK;
    const bs_attempt plain = *s->best;
    for (size_t i = 0; i < sizeof(enhancements) / sizeof(enhancements[0]) && rc >= 0; i++) {
        if ((!s->all && is_good(s->best)) || plain.look.enhancement == enhancements[i] || !may_try(s->pose))
            continue;
        bs_attempt a = plain;
        a.strategy = a.look.enhancement = enhancements[i];
        rc = bs_look_at(s->pose, s->view, &a.look, s->err);
        if (rc >= 0)
            keep(s, &a, s->best->look.enhancement == plain.look.enhancement ? worthwhile : 0);
    }
    return rc;
}

bs_status bs_try_harder(bs_pose *pose, const bs_view *view, bs_attempt *attempt, bool *last, bs_error *err)
{
    search s = {pose, view, attempt, pose->options.mode == BS_MODE_QUALITY, last, err};
    bs_status rc = BS_OK;
    *last = true;
    if (pose->options.mode < BS_MODE_SMART)
        return BS_OK;
    if (is_doubtful(attempt) && doubts_count(&s))
        attempt->look.found = false;
    if (!attempt->look.found)
        rc = find_somebody(&s);
    if (rc >= 0 && attempt->look.found && !is_good(attempt))
        rc = see_better(&s);
    if (rc >= 0 && attempt->look.found)
        pose->seen_clearly |= attempt->look.body.presence >= doubtful_presence &&
                              visibility_of(attempt) >= credible_visibility;
    return rc;
}
