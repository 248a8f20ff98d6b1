/* The mapped models, as the engine sees them. */
#ifndef BS_POSE_MODELS_H
#define BS_POSE_MODELS_H

#include <bodyscript/pose.h>

#include "nn/nn.h"

/* NULL where the kind was not asked for in bs_models_open. Lives as long as `models`. */
const bs_nn_model *bs_models_detector(const bs_models *models);
const bs_nn_model *bs_models_landmark(const bs_models *models, bs_model_kind kind);

#endif
