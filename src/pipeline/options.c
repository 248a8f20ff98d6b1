/* The options of a job and what their zero values choose (see bodyscript/pipeline.h). */
#include "pipeline/plan.h"

bs_process_options bs_process_defaults(void)
{
    return (bs_process_options){
        .mode = BS_MODE_FAST,
        .model = -1,
        .interval = 0,
        .people = 1,
        .max_width = 720,
        .max_duration_us = 10 * 1000000,
        .min_detection_confidence = 0.5f,
        .min_tracking_confidence = 0.5f,
        .smooth_landmarks = true,
    };
}

bs_model_kind bs_process_model(const bs_process_options *options)
{
    static const bs_model_kind of_mode[] = {
        [BS_MODE_ULTRA_FAST] = BS_MODEL_LITE,
        [BS_MODE_FAST] = BS_MODEL_FULL,
        [BS_MODE_SMART] = BS_MODEL_FULL,
        [BS_MODE_QUALITY] = BS_MODEL_HEAVY,
    };
    if (options->model >= 0)
        return (bs_model_kind)options->model;
    return of_mode[(unsigned)options->mode <= BS_MODE_QUALITY ? options->mode : BS_MODE_FAST];
}

int bs_process_interval(const bs_process_options *options)
{
    if (options->interval > 0)
        return options->interval;
    return options->mode == BS_MODE_QUALITY ? 1 : 3;
}

bs_outputs bs_outputs_none(void)
{
    return (bs_outputs){.csv_fd = -1, .json_fd = -1, .video_fd = -1, .preview_fd = -1, .thumbnail_fd = -1};
}

bs_status bs_process_options_check(const bs_process_options *options, bs_error *err)
{
    if (options->interval < 0)
        return bs_fail(err, BS_ERR_USAGE, "the interval is %d, but takes at least 1 (0: the mode's own)",
                       options->interval);
    if (options->people < 1 || options->people > BS_MAX_PEOPLE)
        return bs_fail(err, BS_ERR_USAGE, "the number of people is %d, but takes 1 to %d", options->people,
                       BS_MAX_PEOPLE);
    if (options->model >= BS_MODEL_KINDS || (unsigned)options->mode > BS_MODE_QUALITY)
        return bs_fail(err, BS_ERR_USAGE, "there is no such model or mode");
    if (!(options->min_detection_confidence >= 0 && options->min_detection_confidence <= 1) ||
        !(options->min_tracking_confidence >= 0 && options->min_tracking_confidence <= 1))
        return bs_fail(err, BS_ERR_USAGE, "min_detection_confidence and min_tracking_confidence must be 0 to 1");
    if (options->max_width < 0 || options->max_duration_us < 0)
        return bs_fail(err, BS_ERR_USAGE, "width and duration take 0 (no limit) or more");
    if (options->threads < 0 || options->threads > BS_PLAN_MOST_THREADS)
        return bs_fail(err, BS_ERR_USAGE, "the number of threads is %d, but takes 1 to %d (0: 2)", options->threads,
                       BS_PLAN_MOST_THREADS);
    return BS_OK;
}
