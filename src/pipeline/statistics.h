/* How far the numbers of a job can be trusted: counted while the frames come, in memory that does not grow.
 *
 * Threads: one at a time. */
#ifndef BS_PIPELINE_STATISTICS_H
#define BS_PIPELINE_STATISTICS_H

#include <bodyscript/pipeline.h>

typedef struct bs_statistics {
    int width, height; /* of the displayed picture: distances are reckoned in pixels */
    int64_t analysed, found, detected, tracked, swapped, outside, feet_outside;
    int64_t people; /* persons found, over all frames */
    double visibility;
    bs_pose_result last; /* of the frame before, for the comparison of left and right */
    int64_t last_time_us;
} bs_statistics;

void bs_statistics_init(bs_statistics *statistics, int width, int height);
void bs_statistics_add(bs_statistics *statistics, const bs_pose_result *result, int64_t time_us);
/* Fills the frame counts, quality, suspects and the advice, which knows what the job did; frames_damaged must be in
 * `out` already. */
void bs_statistics_finish(const bs_statistics *statistics, const bs_process_options *options, bs_summary *out);

/* Mean visibility of a person's landmarks, 0–1. */
float bs_mean_visibility(const bs_person *person);

#endif
