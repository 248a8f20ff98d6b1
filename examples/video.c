/* A whole video's landmarks as CSV, by the pipeline: decoded, tracked and written in one pass.
 *
 *     video WALK.mp4 pose_data.csv
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bodyscript/bodyscript.h>

static void show_progress(void *opaque, const bs_progress *progress)
{
    (void)opaque;
    fprintf(stderr, "\r%lld frames", (long long)progress->frames_done);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: video VIDEO OUTPUT.csv\n");
        return 2;
    }
    int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) {
        fprintf(stderr, "video: '%s' cannot be written: %s\n", argv[2], strerror(errno));
        return 1;
    }

    bs_error err = {0};
    bs_models *models = NULL;
    bs_summary summary;
    bs_process_options options = bs_process_defaults();
    options.interval = 1;        /* every frame */
    options.max_duration_us = 0; /* all of it */
    bs_outputs outputs = bs_outputs_none();
    outputs.csv_fd = fd;
    const bs_input input = {.path = argv[1], .fd = -1};
    const bs_callbacks callbacks = {.progress = show_progress};

    bs_status status = bs_models_open(&models, NULL, BS_MODEL_BIT(bs_process_model(&options)), &err);
    if (status == BS_OK)
        status = bs_process(models, &input, &options, &outputs, &callbacks, &summary, &err);
    if (status == BS_OK)
        fprintf(stderr, "\r%lld frames, a person in %.0f %% of them, %.1f s, %.0f MB\n%s%s",
                (long long)summary.frames_analysed, 100 * summary.detection_rate, summary.seconds,
                (double)summary.peak_memory / (1 << 20), summary.advice, summary.advice[0] ? "\n" : "");
    else
        fprintf(stderr, "video: %s\n", err.text);

    bs_models_close(&models);
    if (close(fd) < 0 && status == BS_OK) {
        fprintf(stderr, "video: '%s' cannot be written: %s\n", argv[2], strerror(errno));
        status = BS_ERR_IO;
    }
    if (status != BS_OK)
        unlink(argv[2]);
    return bs_exit_code(status);
}
