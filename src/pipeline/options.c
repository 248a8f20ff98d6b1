/* The options of a job and what their zero values choose (see bodyscript/pipeline.h). */
#include <bodyscript/pipeline.h>

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
    return options->model >= 0 ? (bs_model_kind)options->model : of_mode[options->mode];
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
