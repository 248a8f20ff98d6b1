/* The four model files: where they lie, that they are what the engine expects, and their hashes. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bodyscript/sha256.h>

#include "pose/detector.h"
#include "pose/landmarks.h"
#include "pose/models.h"

/* Where `meson install` and the Debian package put them. */
static const char made_dir[] = BS_DATA_DIR "/models", packaged_dir[] = "/usr/share/bodyscript/models";
static const char detector_file[] = "pose_detection.tflite";

struct bs_models {
    char dir[PATH_MAX];
    bs_nn_model *detector;
    bs_nn_model *landmark[BS_MODEL_KINDS];
    pthread_mutex_t lock; /* guards sha256 */
    char sha256[BS_MODEL_KINDS][BS_SHA256_HEX];
};

/* Writes `dir`/`name`; false where it does not fit. */
static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return n >= 0 && n < PATH_MAX;
}

static bool holds_detector(const char *dir)
{
    char path[PATH_MAX];
    return join(path, dir, detector_file) && access(path, R_OK) == 0;
}

/* The folder `models` beside the running program. */
static bool beside_program(char out[PATH_MAX])
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n < 0)
        return false;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return join(out, program, "models");
}

static bs_status find_dir(char out[PATH_MAX], const char *dir, bs_error *err)
{
    const char *chosen = dir ? dir : getenv("BODYSCRIPT_MODELS");
    char beside[PATH_MAX];
    if (!chosen || !*chosen) {
        if (!beside_program(beside))
            strcpy(beside, made_dir);
        chosen = holds_detector(beside) ? beside : holds_detector(made_dir) ? made_dir : packaged_dir;
        if (!holds_detector(chosen))
            return bs_fail(err, BS_ERR_INPUT,
                           "no pose models in '%s', '%s' or '%s': run ./dev setup, or set BODYSCRIPT_MODELS to the "
                           "folder that holds %s",
                           beside, made_dir, packaged_dir, detector_file);
    }
    if (strlen(chosen) >= PATH_MAX)
        return bs_fail(err, BS_ERR_USAGE, "the path of the models folder is too long");
    if (!holds_detector(chosen))
        return bs_fail(err, BS_ERR_INPUT, "no pose models in '%s': BODYSCRIPT_MODELS is to be the folder that holds %s",
                       chosen, detector_file);
    strcpy(out, chosen);
    return BS_OK;
}

static bool shape_is(bs_nn_shape s, int height, int width, int channels)
{
    return s.height == height && s.width == width && s.channels == channels;
}

static int output_size(const bs_nn_model *m, int output)
{
    const bs_nn_shape s = bs_nn_model_output_shape(m, output);
    return s.height * s.width * s.channels;
}

/* A well-formed .tflite that is not a model of this family must not reach the decoders. */
static bool is_detector(const bs_nn_model *m)
{
    return shape_is(bs_nn_model_input_shape(m), BS_DETECTOR_SIZE, BS_DETECTOR_SIZE, 3) &&
           bs_nn_model_output_count(m) == 2 && output_size(m, 0) == BS_ANCHORS * BS_DETECTOR_VALUES &&
           output_size(m, 1) == BS_ANCHORS;
}

static bool is_landmark(const bs_nn_model *m)
{
    static const int sizes[BS_OUTPUTS] = {
        [BS_OUT_LANDMARKS] = BS_MODEL_LANDMARKS * BS_LANDMARK_VALUES,
        [BS_OUT_PRESENCE] = 1,
        [BS_OUT_MASK] = BS_LANDMARK_SIZE * BS_LANDMARK_SIZE,
        [BS_OUT_HEATMAP] = BS_HEATMAP_SIZE * BS_HEATMAP_SIZE * BS_MODEL_LANDMARKS,
        [BS_OUT_WORLD] = BS_MODEL_LANDMARKS * 3,
    };
    bool right = shape_is(bs_nn_model_input_shape(m), BS_LANDMARK_SIZE, BS_LANDMARK_SIZE, 3) &&
                 bs_nn_model_output_count(m) == BS_OUTPUTS;
    for (int i = 0; right && i < BS_OUTPUTS; i++)
        right = output_size(m, i) == sizes[i];
    return right;
}

static bs_status open_model(bs_nn_model **out, const char *dir, const char *file, bool (*is_right)(const bs_nn_model *),
                            bs_error *err)
{
    char path[PATH_MAX];
    if (!join(path, dir, file))
        return bs_fail(err, BS_ERR_USAGE, "the path of the models folder is too long");
    bs_status rc = bs_nn_model_open(out, path, err);
    if (rc < 0)
        return rc;
    if (!is_right(*out)) {
        bs_nn_model_close(out);
        return bs_fail(err, BS_ERR_INPUT, "'%s' is a .tflite file, but not the MediaPipe pose model of that name",
                       path);
    }
    return BS_OK;
}

bs_status bs_models_open(bs_models **out, const char *dir, unsigned kinds, bs_error *err)
{
    bs_status rc;
    if (!kinds || kinds & ~BS_MODEL_ALL)
        return bs_fail(err, BS_ERR_USAGE,
                       "no landmark model asked for: kinds must be one or more of lite, full, heavy");
    bs_models *m = calloc(1, sizeof(*m));
    if (!m)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the list of models");
    pthread_mutex_init(&m->lock, NULL);

    rc = find_dir(m->dir, dir, err);
    if (rc < 0)
        goto out;
    rc = open_model(&m->detector, m->dir, detector_file, is_detector, err);
    for (int k = 0; k < BS_MODEL_KINDS && rc >= 0; k++) {
        char file[64];
        if (!(kinds & BS_MODEL_BIT(k)))
            continue;
        snprintf(file, sizeof(file), "pose_landmark_%s.tflite", bs_model_name(k));
        rc = open_model(&m->landmark[k], m->dir, file, is_landmark, err);
    }
    if (rc < 0)
        goto out;
    *out = m;
    m = NULL;
out:
    bs_models_close(&m);
    return rc;
}

void bs_models_close(bs_models **models)
{
    if (!models || !*models)
        return;
    bs_models *m = *models;
    bs_nn_model_close(&m->detector);
    for (int k = 0; k < BS_MODEL_KINDS; k++)
        bs_nn_model_close(&m->landmark[k]);
    pthread_mutex_destroy(&m->lock);
    free(m);
    *models = NULL;
}

const char *bs_models_dir(const bs_models *models)
{
    return models->dir;
}

const char *bs_models_sha256(bs_models *models, bs_model_kind kind)
{
    if ((unsigned)kind >= BS_MODEL_KINDS || !models->landmark[kind])
        return "";
    pthread_mutex_lock(&models->lock);
    char *hex = models->sha256[kind];
    if (!*hex) {
        size_t size;
        const void *data = bs_nn_model_data(models->landmark[kind], &size);
        bs_sha256 h;
        bs_sha256_init(&h);
        bs_sha256_update(&h, data, size);
        bs_sha256_hex(&h, hex);
    }
    pthread_mutex_unlock(&models->lock);
    return hex;
}

const bs_nn_model *bs_models_detector(const bs_models *models)
{
    return models->detector;
}

const bs_nn_model *bs_models_landmark(const bs_models *models, bs_model_kind kind)
{
    return (unsigned)kind < BS_MODEL_KINDS ? models->landmark[kind] : NULL;
}
