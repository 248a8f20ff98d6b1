/* Any bytes as a model file: refused with a sentence, or a graph that can be planned and run without harm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MMAC = 400, MAX_MEMORY = 64 << 20, MAX_FILE = 8 << 20, GRAPH = 96 << 10 };

static void run(const bs_nn_model *model, unsigned outputs)
{
    bs_nn *nn = NULL;
    bs_error err = {0};
    const bs_nn_options options = {.outputs = outputs};
    if (bs_nn_open(&nn, model, &options, &err) == BS_OK && bs_nn_mmac(nn) < MAX_MMAC && bs_nn_memory(nn) < MAX_MEMORY) {
        const bs_nn_shape in = bs_nn_model_input_shape(model);
        memset(bs_nn_input(nn), 0, (size_t)in.height * (size_t)in.width * (size_t)in.channels * sizeof(float));
        bs_nn_run(nn, &err);
        for (int i = 0; i < bs_nn_model_output_count(model); i++)
            bs_nn_output(nn, i);
    }
    bs_nn_close(&nn);
}

static void try_model(const void *data, size_t size)
{
    bs_nn_model *model = NULL;
    bs_error err = {0};
    if (bs_nn_model_open_memory(&model, data, size, &err) == BS_OK) {
        run(model, 0);
        run(model, 1);
    }
    bs_nn_model_close(&model);
}

static uint8_t real[MAX_FILE], changed[MAX_FILE];

/* Reads the detector's file; 0 where the weights are not there. */
static size_t read_real(void)
{
    const char *dir = getenv("BODYSCRIPT_MODELS");
    char path[512];
    snprintf(path, sizeof(path), "%s/pose_detection.tflite", dir ? dir : "build/models");
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(real, 1, MAX_FILE, file) : 0;
    if (file)
        fclose(file);
    return size;
}

/* The first byte chooses: the rest is a file, or it is changes to a real one, five bytes each: where and what. The
 * graph lies in front of the weights, so most changes go there. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t length;
    static bool read;
    if (!read)
        length = read_real();
    read = true;
    if (size < 1)
        return 0;
    if ((data[0] & 1) || length == 0) {
        try_model(data + 1, size - 1);
        return 0;
    }
    memcpy(changed, real, length);
    for (size_t at = 1; at + 5 <= size; at += 5) {
        uint32_t where;
        memcpy(&where, data + at, 4);
        changed[(where & 0x80000000u ? where & 0x7fffffffu : where % GRAPH) % length] = data[at + 4];
    }
    try_model(changed, data[0] & 2 ? length - (data[0] >> 2) * (length / 80) : length);
    return 0;
}
