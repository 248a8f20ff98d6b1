/* Any bytes through the whole job: from the demuxer to landmarks in a CSV file and the overlay. */
#include <stdio.h>

#include <bodyscript/bodyscript.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bs_models *models;

static bool over(void *opaque)
{
    return ++*(int *)opaque > 50; /* asked every 20 ms: a second of work */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bs_error err = {0};
    if (!models && bs_models_open(&models, NULL, BS_MODEL_BIT(BS_MODEL_LITE), &err) != BS_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    const bs_input input = {.fd = fuzz_file(data, size), .name = "fuzz"};
    const int csv = fuzz_file(data, 0), video = fuzz_file(data, 0);

    bs_process_options options = bs_process_defaults();
    options.model = BS_MODEL_LITE;
    options.interval = 30;
    options.max_duration_us = 1000000;
    options.max_width = 64;
    options.threads = 1;
    options.memory_limit = 96 << 20;
    bs_outputs outputs = bs_outputs_none();
    outputs.csv_fd = csv;
    outputs.video_fd = size % 4 == 0 ? video : -1;
    int asked = 0;
    const bs_callbacks callbacks = {.cancelled = over, .opaque = &asked};
    bs_summary summary;
    bs_process(models, &input, &options, &outputs, &callbacks, &summary, &err);
    close(input.fd);
    close(csv);
    close(video);
    return 0;
}
