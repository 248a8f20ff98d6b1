/* Kernels for AArch64's NEON: 32 registers of 4 floats. 24 outputs × 4 pixels or 16 × 6 are 24 accumulators. */
#include <arm_neon.h>

#include "vector_common.h"

#define VEC              float32x4_t
#define LANES            4
#define NAME(f)          f##_4
#define v_load           vld1q_f32
#define v_store          vst1q_f32
#define v_set1           vdupq_n_f32
#define v_broadcast      vld1q_dup_f32
#define v_fma(a, b, sum) vfmaq_f32(sum, a, b)
#define v_add            vaddq_f32
#define v_sub            vsubq_f32
#define v_mul            vmulq_f32
#define v_max            vmaxq_f32
#define v_min            vminq_f32
#include "vector_ops.h"
#define V_OPS(function, channels) function##_4

static inline int vector_channels(int channels)
{
    return channels / 4 * 4;
}

static inline void widen8(const uint8_t *from, float *to)
{
    const float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(from));
    vst1q_f32(to, vcvt_f32_f16(vget_low_f16(half)));
    vst1q_f32(to + 4, vcvt_high_f32_f16(half));
}

/* 8 outputs (rows `row_bytes` apart) × 8 taps to out[tap · width + output]: transposed as halves, then widened. */
static inline void pack8x8(const uint8_t *from, size_t row_bytes, float *out, size_t width)
{
    uint16x8_t a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = vreinterpretq_u16_u8(vld1q_u8(from + (size_t)i * row_bytes));
    for (int i = 0; i < 4; i++) { /* pairs of outputs: i and i + 4 */
        b[2 * i] = vzip1q_u16(a[i], a[i + 4]);
        b[2 * i + 1] = vzip2q_u16(a[i], a[i + 4]);
    }
    for (int i = 0; i < 2; i++) { /* b[2i] zipped with b[2i + 4]: outputs i, i + 2, i + 4, i + 6 */
        a[4 * i] = vzip1q_u16(b[2 * i], b[2 * i + 4]);
        a[4 * i + 1] = vzip2q_u16(b[2 * i], b[2 * i + 4]);
        a[4 * i + 2] = vzip1q_u16(b[2 * i + 1], b[2 * i + 5]);
        a[4 * i + 3] = vzip2q_u16(b[2 * i + 1], b[2 * i + 5]);
    }
    for (int i = 0; i < 4; i++) {
        const uint16x8_t even = vzip1q_u16(a[i], a[i + 4]), odd = vzip2q_u16(a[i], a[i + 4]);
        widen8((const uint8_t *)&even, out + (size_t)(2 * i) * width);
        widen8((const uint8_t *)&odd, out + (size_t)(2 * i + 1) * width);
    }
}

#include "vector_panels_24.h"
#include "vector.h"

const bs_nn_kernels bs_nn_neon = {.name = "neon", .scratch = scratch_of, .run = run};
