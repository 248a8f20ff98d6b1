/* Counts of what was found, and the one sentence of advice (see statistics.h). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/statistics.h"

enum {
    SWAP_WINDOW_US = 500000, /* beyond this a person may have turned round */
};

void bs_statistics_init(bs_statistics *statistics, int width, int height)
{
    memset(statistics, 0, sizeof(*statistics));
    statistics->width = width;
    statistics->height = height;
}

float bs_mean_visibility(const bs_person *person)
{
    float sum = 0;
    for (int i = 0; i < BS_LANDMARKS; i++)
        sum += person->landmark[i].visibility;
    return sum / BS_LANDMARKS;
}

static float distance(const bs_statistics *s, const bs_landmark *a, const bs_landmark *b)
{
    return hypotf((a->x - b->x) * (float)s->width, (a->y - b->y) * (float)s->height);
}

/* Shoulders to hips, the measure of a body in the picture. */
static float torso(const bs_statistics *s, const bs_landmark *l)
{
    return (distance(s, &l[BS_LEFT_SHOULDER], &l[BS_LEFT_HIP]) + distance(s, &l[BS_RIGHT_SHOULDER], &l[BS_RIGHT_HIP])) /
           2;
}

/* Whether the limbs of three joints lie much nearer to where the other side's were a moment ago than to their own
 * places: half as far in all, and by more than a body can have moved without it (0.15 of the torso per joint). */
static bool exchanged(const bs_statistics *s, const bs_landmark *before, const bs_landmark *now,
                      const uint8_t pair[3][2])
{
    float straight = 0, crossed = 0;
    for (int i = 0; i < 3; i++) {
        int l = pair[i][0], r = pair[i][1];
        straight += distance(s, &now[l], &before[l]) + distance(s, &now[r], &before[r]);
        crossed += distance(s, &now[l], &before[r]) + distance(s, &now[r], &before[l]);
    }
    return crossed < straight / 2 && straight - crossed > 6 * 0.15f * torso(s, now);
}

static bool seems_swapped(const bs_statistics *s, const bs_person *person)
{
    static const uint8_t arms[3][2] = {
        {BS_LEFT_SHOULDER, BS_RIGHT_SHOULDER}, {BS_LEFT_ELBOW, BS_RIGHT_ELBOW}, {BS_LEFT_WRIST, BS_RIGHT_WRIST}};
    static const uint8_t legs[3][2] = {
        {BS_LEFT_HIP, BS_RIGHT_HIP}, {BS_LEFT_KNEE, BS_RIGHT_KNEE}, {BS_LEFT_ANKLE, BS_RIGHT_ANKLE}};
    for (int i = 0; i < s->last.people; i++)
        if (s->last.person[i].id == person->id)
            return exchanged(s, s->last.person[i].landmark, person->landmark, arms) ||
                   exchanged(s, s->last.person[i].landmark, person->landmark, legs);
    return false;
}

static bool is_outside(const bs_landmark *l)
{
    return l->x < 0 || l->x > 1 || l->y < 0 || l->y > 1;
}

/* Ankles, heels and toes are the last six landmarks; most of them outside is "the feet are outside". */
static bool feet_are_outside(const bs_person *person)
{
    int count = 0;
    for (int i = BS_LEFT_ANKLE; i <= BS_RIGHT_FOOT_INDEX; i++)
        count += is_outside(&person->landmark[i]);
    return count >= 4;
}

void bs_statistics_add(bs_statistics *s, const bs_pose_result *result, int64_t time_us)
{
    s->analysed++;
    if (result->people > 0) {
        bool close = time_us - s->last_time_us <= SWAP_WINDOW_US, swapped = false;
        s->found++;
        s->detected += result->person[0].status == BS_DETECTED;
        s->tracked += result->person[0].status == BS_TRACKED;
        s->feet_outside += feet_are_outside(&result->person[0]);
        for (int i = 0; i < result->people; i++) {
            const bs_person *person = &result->person[i];
            s->people++;
            s->visibility += bs_mean_visibility(person);
            swapped |= close && seems_swapped(s, person);
            for (int j = 0; j < BS_LANDMARKS; j++)
                s->outside += is_outside(&person->landmark[j]);
        }
        s->swapped += swapped;
    }
    s->last.people = result->people;
    memcpy(s->last.person, result->person, (size_t)result->people * sizeof(result->person[0]));
    s->last_time_us = time_us;
}

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* What would look harder than the job did; "" after the hardest. */
static const char *harder_mode(const bs_process_options *options)
{
    switch (options->mode) {
    case BS_MODE_QUALITY: return "";
    case BS_MODE_SMART: return "; the mode quality looks harder";
    default: return "; the modes smart and quality look harder";
    }
}

/* What may tell left and right apart better than the job did. */
static const char *clearer_sides(const bs_process_options *options)
{
    bool closer = bs_process_interval(options) > 1, larger = bs_process_model(options) != BS_MODEL_HEAVY;
    return closer && larger ? "; a smaller interval or the model heavy may tell them apart"
           : closer         ? "; a smaller interval may tell them apart"
           : larger         ? "; the model heavy may tell them apart"
                            : "; which side is which is uncertain there";
}

/* Nothing is recommended that was done. */
static void give_advice(const bs_summary *s, int64_t found, const bs_process_options *options, char *out, size_t size)
{
    double swapped = share(s->swapped_suspect, found);
    out[0] = '\0';
    if (s->frames_analysed == 0)
        return;
    const bool spoilt = s->frames_damaged > s->frames_decoded / 5;
    if (spoilt && s->frames_damaged > 1)
        snprintf(out, size, "%" PRId64 " of the file's frames are damaged; people there may be missed or seen wrongly.",
                 s->frames_damaged);
    else if (found == 0)
        snprintf(out, size, "Nobody was found: a person should be seen whole, well lit and not too small%s.",
                 harder_mode(options));
    else if (s->detection_rate < 0.8)
        snprintf(out, size, "Nobody was found in %.0f %% of the frames%s.", 100 * (1 - s->detection_rate),
                 harder_mode(options));
    else if (s->feet_outside > 0.2)
        snprintf(out, size,
                 "The feet are outside the picture in %.0f %% of the frames; their landmarks are guesses there.",
                 100 * s->feet_outside);
    else if (swapped > 0.05)
        snprintf(out, size, "Left and right seem exchanged in %.0f %% of the frames%s.", 100 * swapped,
                 clearer_sides(options));
    else if (s->average_quality < 0.6)
        snprintf(out, size, "The body is hard to see (mean visibility %.2f); more light or a nearer view would help.",
                 s->average_quality);
    else if (s->input_truncated)
        snprintf(out, size, "The file was cut off before its end; what came after is missing.");
    else if (s->frames_damaged == 1)
        snprintf(out, size, "One frame is damaged in the file; landmarks there may be wrong.");
    else if (s->frames_damaged > 1)
        snprintf(out, size, "%" PRId64 " frames are damaged in the file; landmarks there may be wrong.",
                 s->frames_damaged);
}

void bs_statistics_finish(const bs_statistics *s, const bs_process_options *options, bs_summary *out)
{
    out->frames_analysed = s->analysed;
    out->frames_detected = s->detected;
    out->frames_tracked = s->tracked;
    out->frames_missing = s->analysed - s->found;
    out->average_quality = s->people ? s->visibility / (double)s->people : 0;
    out->detection_rate = share(s->found, s->analysed);
    out->swapped_suspect = s->swapped;
    out->landmarks_outside = s->outside;
    out->feet_outside = share(s->feet_outside, s->found);
    give_advice(out, s->found, options, out->advice, sizeof(out->advice));
}
