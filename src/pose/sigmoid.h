/* The logistic function in float32 with the C library's expf, as MediaPipe computes it. */
#ifndef BS_POSE_SIGMOID_H
#define BS_POSE_SIGMOID_H

#include <math.h>

static inline float bs_sigmoid(float v)
{
    return 1.0f / (1.0f + expf(-v));
}

#endif
