/* Half-precision weights to float32 panels with F16C, for avx2.c and avx512.c (see vector.h). */
#ifndef BS_NN_X86_PACK_H
#define BS_NN_X86_PACK_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

static inline void widen8(const uint8_t *from, float *to)
{
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)));
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
        _mm256_storeu_ps(out + (size_t)(2 * i) * width, _mm256_cvtph_ps(_mm_unpacklo_epi64(a[i], a[i + 4])));
        _mm256_storeu_ps(out + (size_t)(2 * i + 1) * width, _mm256_cvtph_ps(_mm_unpackhi_epi64(a[i], a[i + 4])));
    }
}

#endif
