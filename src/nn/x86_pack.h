/* Half-precision weights to float32 panels, for avx2.c, avx512.c and sse2.c (see vector.h). */
#ifndef BS_NN_X86_PACK_H
#define BS_NN_X86_PACK_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __F16C__
static inline void store_halves(__m128i eight, float *to)
{
    _mm256_storeu_ps(to, _mm256_cvtph_ps(eight));
}
#else
/* Four halves in the low half of each lane. What bs_nn_half_to_float() does, without its branches. */
static inline __m128 widen4(__m128i half)
{
    const __m128i rest = _mm_and_si128(half, _mm_set1_epi32(0x7fff));
    const __m128i sign = _mm_slli_epi32(_mm_xor_si128(half, rest), 16);
    const __m128i is_small = _mm_cmplt_epi32(rest, _mm_set1_epi32(0x0400)); /* zero and sub-normals: rest · 2^-24 */
    const __m128i is_large = _mm_cmpgt_epi32(rest, _mm_set1_epi32(0x7bff)); /* infinity and NaN */
    const __m128i small = _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(rest), _mm_set1_ps(0x1p-24f)));
    __m128i bits = _mm_add_epi32(_mm_slli_epi32(rest, 13), _mm_set1_epi32((127 - 15) << 23));
    bits = _mm_or_si128(bits, _mm_and_si128(is_large, _mm_set1_epi32(0x7f800000)));
    bits = _mm_or_si128(_mm_and_si128(is_small, small), _mm_andnot_si128(is_small, bits));
    return _mm_castsi128_ps(_mm_or_si128(bits, sign));
}

static inline void store_halves(__m128i eight, float *to)
{
    _mm_storeu_ps(to, widen4(_mm_unpacklo_epi16(eight, _mm_setzero_si128())));
    _mm_storeu_ps(to + 4, widen4(_mm_unpackhi_epi16(eight, _mm_setzero_si128())));
}
#endif

static inline void widen8(const uint8_t *from, float *to)
{
    store_halves(_mm_loadu_si128((const __m128i *)from), to);
}

/* 8 outputs (rows `row_bytes` apart) × 8 taps to out[tap · width + output]: transposed as halves, which are half as
 * many bytes to move, then widened. */
static inline void pack8x8(const uint8_t *from, size_t row_bytes, float *out, size_t width)
{
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(from + (size_t)i * row_bytes));
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        a[4 * i] = _mm_unpacklo_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 1] = _mm_unpackhi_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 2] = _mm_unpacklo_epi32(b[4 * i + 1], b[4 * i + 3]);
        a[4 * i + 3] = _mm_unpackhi_epi32(b[4 * i + 1], b[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        store_halves(_mm_unpacklo_epi64(a[i], a[i + 4]), out + (size_t)(2 * i) * width);
        store_halves(_mm_unpackhi_epi64(a[i], a[i + 4]), out + (size_t)(2 * i + 1) * width);
    }
}

#endif
