/* See arctangent.h. The method and its constants are those of fdlibm (Sun Microsystems, 1993; e_atan2f.c and s_atanf.c
 * in glibc): the argument is brought near to zero by one of four angles whose tangent is known, and a polynomial of odd
 * powers does the rest. Every operation is in float32, rounded by itself. */
#include <math.h>

#include "pose/arctangent.h"

/* Angles as sums of two floats: what the first leaves over is the second. */
typedef struct angle {
    float value, rest;
} angle;

static const float quarter_turn = 0x1.921fb6p+0f, half_turn = 0x1.921fb6p+1f, half_turn_rest = -0x1.777a5cp-24f;

/* The arctangent of v >= 0. */
static float arctangent(float v)
{
    static const angle half = {0x1.dac67p-2f, 0x1.586ed2p-28f}, one = {0x1.921fb4p-1f, 0x1.4442d0p-25f},
                       one_and_half = {0x1.f730bcp-1f, 0x1.281f68p-25f}, infinite = {0x1.921fb4p+0f, 0x1.4442d0p-24f};
    static const float c[] = {0x1.555556p-2f, -0x1.99999ap-3f, 0x1.24924ap-3f, -0x1.c71c70p-4f,
                              0x1.745cdcp-4f, -0x1.3b0f2ap-4f, 0x1.10d66ap-4f, -0x1.dde2d6p-5f,
                              0x1.97b4b2p-5f, -0x1.2b4442p-5f, 0x1.0ad3aep-6f};
    const angle *base = 0;
    if (v >= 0x1p25f)
        return infinite.value + infinite.rest;
    if (v >= 39.0f / 16) {
        base = &infinite;
        v = -1 / v;
    } else if (v >= 19.0f / 16) {
        base = &one_and_half;
        v = (v - 1.5f) / (1 + 1.5f * v);
    } else if (v >= 11.0f / 16) {
        base = &one;
        v = (v - 1) / (v + 1);
    } else if (v >= 7.0f / 16) {
        base = &half;
        v = (2 * v - 1) / (2 + v);
    } else if (v < 0x1p-29f) {
        return v;
    }
    const float z = v * v, w = z * z;
    const float odd = z * (c[0] + w * (c[2] + w * (c[4] + w * (c[6] + w * (c[8] + w * c[10])))));
    const float even = w * (c[1] + w * (c[3] + w * (c[5] + w * (c[7] + w * c[9]))));
    if (!base)
        return v - v * (odd + even);
    return base->value - ((v * (odd + even) - base->rest) - v);
}

float bs_atan2f(float y, float x)
{
    if (y == 0)
        return signbit(x) ? copysignf(half_turn, y) : y;
    if (x == 0)
        return copysignf(quarter_turn, y);
    const float steep = arctangent(fabsf(y / x));
    return copysignf(x > 0 ? steep : half_turn - (steep - half_turn_rest), y);
}
