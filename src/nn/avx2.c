/* Kernels for AVX2 with FMA and F16C: 16 registers of 8 floats. Twelve accumulators with three vectors of weights and
 * one broadcast pixel fill them; 24 outputs × 4 pixels loads 7 times for 12 multiply-adds. */
#include "vector_common.h"
#include "x86_pack.h"
#include "vector_m256.h"
#include "vector_ops.h"
#define V_OPS(function, channels) function##_8

static inline int vector_channels(int channels)
{
    return channels / 8 * 8;
}

#include "vector_panels_24.h"
#include "vector.h"

const bs_nn_kernels bs_nn_avx2 = {.name = "avx2", .scratch = scratch_of, .run = run};
