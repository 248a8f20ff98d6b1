/* Any bytes as a video or photo: probed, estimated, decoded, and its first frames brought into every form. */
#include <bodyscript/pipeline.h>

#include "input.h"
#include "video/reader.h"
#include "video/scale.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FRAMES = 24, MAX_PIXELS = 640 * 640 };

static void use(bs_video_scaler *scaler, const bs_video_frame *frame)
{
    bs_image image;
    bs_video_frame *canvas = NULL;
    bs_error err = {0};
    int width, height;
    if (frame->skipped)
        return;
    bs_video_frame_image(scaler, frame, &image, &err);
    bs_video_frame_rgb(scaler, frame, &image, &err);
    bs_canvas_size(frame->width, frame->height, 160, &width, &height);
    bs_video_frame_canvas(scaler, frame, width, height, &canvas, &err);
    bs_video_frame_unref(&canvas);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bs_input input = {.fd = fuzz_file(data, size), .name = "fuzz"};
    bs_video_reader *reader = NULL;
    bs_video_scaler *scaler = NULL;
    bs_error err = {0};
    const bs_video_reader_options options = {
        .threads = 1, .sound = size & 1, .only_every = size & 2 ? 3 : 1, .max_pixels = MAX_PIXELS};
    if (bs_video_reader_open(&reader, &input, &options, &err) == BS_OK &&
        bs_video_scaler_open(&scaler, &err) == BS_OK) {
        const bs_process_options process = bs_process_defaults();
        const bs_outputs outputs = bs_outputs_none();
        bs_estimate_parts parts;
        bs_estimate(bs_video_reader_info(reader), &process, &outputs, &parts, &err);
        bs_video_frame *frame = NULL;
        for (int i = 0; i < MAX_FRAMES && bs_video_reader_read(reader, &frame, &err) == BS_OK; i++) {
            use(scaler, frame);
            bs_video_frame_unref(&frame);
        }
    }
    bs_video_scaler_close(&scaler);
    bs_video_reader_close(&reader);
    close(input.fd);
    return 0;
}
