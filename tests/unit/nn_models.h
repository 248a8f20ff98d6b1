/* The pose models for tests of the inference engine: from $BODYSCRIPT_MODELS, else build/models of the project.
 * A test program without them exits with 77 (skipped) and says so. */
#ifndef NN_MODELS_H
#define NN_MODELS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nn/nn.h"

typedef struct test_model {
    const char *file;
    float low, high; /* the range of its input */
} test_model;

static const test_model test_models[] = {
    {"pose_detection.tflite", -1, 1},
    {"pose_landmark_lite.tflite", 0, 1},
    {"pose_landmark_full.tflite", 0, 1},
    {"pose_landmark_heavy.tflite", 0, 1},
};
enum { TEST_MODELS = sizeof(test_models) / sizeof(test_models[0]) };

static inline const char *test_model_path(int model, char path[4096])
{
    const char *folder = getenv("BODYSCRIPT_MODELS");
    snprintf(path, 4096, "%s/%s", folder && *folder ? folder : BS_SOURCE_DIR "/build/models", test_models[model].file);
    return path;
}

static inline void skip_without_models(void)
{
    char path[4096];
    for (int i = 0; i < TEST_MODELS; i++)
        if (access(test_model_path(i, path), R_OK) != 0) {
            printf("skipped: there is no model '%s' (./dev setup fetches the models)\n", path);
            exit(77);
        }
}

/* The input of blazepose.md 21.1: a low-discrepancy sequence over the whole range. */
static inline void fill_test_input(const test_model *model, const bs_nn_model *graph, float *input)
{
    bs_nn_shape s = bs_nn_model_input_shape(graph);
    for (size_t i = 0; i < (size_t)s.height * s.width * s.channels; i++) {
        double q = (double)i * 0.6180339887498949;
        q -= floor(q);
        input[i] = (float)(model->low + (double)(model->high - model->low) * q);
    }
}

#endif
