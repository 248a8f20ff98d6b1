/* The inner loops of a crop (see crop_kernels.h). This file is compiled once as portable C and, on x86-64, once more
 * for AVX2 (BS_CROP_KERNELS names the set that comes out); the AVX2 set gathers eight taps at a time. */
#include <string.h>

#include "pose/crop_kernels.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX2__
/* Four coordinates, rounded half to even; what lies far outside any picture (or is not a number) only has to stay an
 * int32. */
static inline __m128i to_coordinates(__m256d v)
{
    const __m256d limit = _mm256_set1_pd(1 << 28);
    v = _mm256_max_pd(v, _mm256_sub_pd(_mm256_setzero_pd(), limit)); /* the second operand where v is not a number */
    return _mm256_cvtpd_epi32(_mm256_min_pd(v, limit));
}

/* The same operations in the same order as the portable one, four columns at a time; a block of 64 is never cut. */
static void coordinates_of_block(const double m[9], double x0, double y0, double w0, int count, int32_t *x, int32_t *y)
{
    const __m256d one = _mm256_set1_pd(1 << BS_COORD_BITS), step = _mm256_set1_pd(4);
    __m256d x1 = _mm256_setr_pd(0, 1, 2, 3);
    for (int i = 0; i < count; i += 4, x1 = _mm256_add_pd(x1, step)) {
        const __m256d below = _mm256_add_pd(_mm256_set1_pd(w0), _mm256_mul_pd(_mm256_set1_pd(m[6]), x1));
        const __m256d w = _mm256_div_pd(one, below);
        const __m256d vx = _mm256_add_pd(_mm256_set1_pd(x0), _mm256_mul_pd(_mm256_set1_pd(m[0]), x1));
        const __m256d vy = _mm256_add_pd(_mm256_set1_pd(y0), _mm256_mul_pd(_mm256_set1_pd(m[3]), x1));
        _mm_storeu_si128((__m128i *)(x + i), to_coordinates(_mm256_mul_pd(vx, w)));
        _mm_storeu_si128((__m128i *)(y + i), to_coordinates(_mm256_mul_pd(vy, w)));
    }
}
#else
/* Rounded half to even by adding and subtracting 1.5 * 2^52; what lies far outside any picture (or is not a number)
 * only has to stay an int32. */
static inline int32_t to_coordinate(double v)
{
    const double limit = 1 << 28;
    v = v > -limit ? v : -limit;
    v = v < limit ? v : limit;
    return (int32_t)((v + 0x1.8p52) - 0x1.8p52);
}

static void coordinates_of_block(const double m[9], double x0, double y0, double w0, int count, int32_t *x, int32_t *y)
{
    for (int i = 0; i < count; i++) {
        const double x1 = i;
        const double w = (1 << BS_COORD_BITS) / (w0 + m[6] * x1);
        x[i] = to_coordinate((x0 + m[0] * x1) * w);
        y[i] = to_coordinate((y0 + m[3] * x1) * w);
    }
}
#endif

static void coordinates(const double m[9], int row, int count, int32_t *x, int32_t *y)
{
    const double j = row;
    for (int block = 0; block < count; block += 64) {
        const double xb = block;
        const double x0 = m[0] * xb + m[1] * j + m[2];
        const double y0 = m[3] * xb + m[4] * j + m[5];
        const double w0 = m[6] * xb + m[7] * j + m[8];
        coordinates_of_block(m, x0, y0, w0, count - block < 64 ? count - block : 64, x + block, y + block);
    }
}

static inline int32_t sample(const bs_taps *t, const uint8_t *p)
{
    uint16_t word = *p;
    if (t->bytes == 2) {
        memcpy(&word, p, 2);
        if (t->swap)
            word = (uint16_t)(word << 8 | word >> 8);
    }
    return word >> t->shift & t->mask;
}

static inline int32_t tap(const bs_taps *t, int32_t x, int32_t y)
{
    const int32_t one_x = 1 << t->frac_x, one_y = 1 << t->frac_y;
    const int32_t x0 = x >> t->frac_x, y0 = y >> t->frac_y, ax = x & (one_x - 1), ay = y & (one_y - 1);
    const uint8_t *p = t->base + y0 * t->stride + (ptrdiff_t)x0 * t->step;
    const ptrdiff_t right = ax ? t->step : 0, below = ay ? t->stride : 0; /* no weight, no look: it may lie outside */
    return (sample(t, p) * (one_x - ax) + sample(t, p + right) * ax) * (one_y - ay) +
           (sample(t, p + below) * (one_x - ax) + sample(t, p + below + right) * ax) * ay;
}

static void taps_in_c(const bs_taps *t, const int32_t *x, const int32_t *y, int count, int32_t *out)
{
    for (int i = 0; i < count; i++)
        out[i] = tap(t, x[i], y[i]);
}

static void pixels_in_c(const bs_taps component[3], const int32_t *x, const int32_t *y, int from, int count,
                        int32_t *out)
{
    for (int i = from; i < count; i++)
        for (int p = 0; p < 3; p++)
            out[3 * i + p] = tap(&component[p], x[i], y[i]);
}

/* The first of the four samples that a coordinate needs, moved inside, and their weights. */
static inline int32_t cubic_start(const bs_cubic *c, int32_t v, const int16_t **weight)
{
    const int32_t start = (v >> c->frac) - 1, last = c->size - 4;
    const int32_t from = start < 0 ? 0 : start > last ? last : start;
    *weight = c->weight[from - start + 2][v & ((1 << c->frac) - 1)];
    return from;
}

static inline int32_t cubic_tap(const bs_taps *t, const bs_cubic *across, const bs_cubic *down, int32_t x, int32_t y)
{
    const int16_t *wx, *wy;
    const int32_t x0 = cubic_start(across, x, &wx), y0 = cubic_start(down, y, &wy);
    const uint8_t *p = t->base + y0 * t->stride + (ptrdiff_t)x0 * t->step;
    int32_t sum = 0;
    for (int i = 0; i < 4; i++, p += t->stride)
        sum += wy[i] * (sample(t, p) * wx[0] + sample(t, p + t->step) * wx[1] + sample(t, p + 2 * t->step) * wx[2] +
                        sample(t, p + 3 * t->step) * wx[3]);
    return sum;
}

static void cubic_in_c(const bs_taps chroma[2], const bs_cubic *across, const bs_cubic *down, const int32_t *x,
                       const int32_t *y, int from, int count, int32_t *const out[2])
{
    for (int i = from; i < count; i++)
        for (int p = 0; p < 2; p++)
            out[p][i] = cubic_tap(&chroma[p], across, down, x[i], y[i]);
}

#ifdef __AVX2__
/* Where the crop will look some rows later, into the cache: a crop reads a line here and there, in an order that the
 * processor does not guess, and would wait for memory at each. */
static inline void fetch_ahead(const bs_taps *t, ptrdiff_t at)
{
    const uintptr_t p = (uintptr_t)t->base + (uintptr_t)(at + t->ahead);
    _mm_prefetch((const char *)p, _MM_HINT_T0);
    _mm_prefetch((const char *)(p + (uintptr_t)t->stride), _MM_HINT_T0);
}

/* Four bytes of each of eight rows from byte `offset`, without reading past the row's end: the load is moved back
 * where it would, and the word shifted. What lies past the end has no weight. */
static inline __m256i gather(const uint8_t *base, __m256i row, __m256i offset, __m256i last)
{
    const __m256i from = _mm256_min_epi32(offset, last);
    const __m256i word = _mm256_i32gather_epi32((const int *)base, _mm256_add_epi32(row, from), 1);
    return _mm256_srlv_epi32(word, _mm256_slli_epi32(_mm256_sub_epi32(offset, from), 3));
}

typedef struct gather_plan {
    __m256i last; /* the last byte offset from which four bytes can be read */
    __m256i pick; /* one gather: moves the two taps into the word's halves */
    bool two;     /* the taps lie too far apart for one gather */
    __m256i swap;
} gather_plan;

/* The two horizontal neighbours as 16-bit halves of a word. */
static inline __m256i pair(const bs_taps *t, const gather_plan *g, __m256i row, __m256i offset)
{
    __m256i p = _mm256_shuffle_epi8(gather(t->base, row, offset, g->last), g->pick);
    if (g->two) {
        const __m256i next = _mm256_add_epi32(offset, _mm256_set1_epi32(t->step));
        /* a neighbour beyond the row's end is read from a place inside; its weight is 0 */
        const __m256i end = _mm256_add_epi32(g->last, _mm256_set1_epi32(4 - t->bytes));
        const __m256i q = _mm256_shuffle_epi8(gather(t->base, row, _mm256_min_epi32(next, end), g->last), g->pick);
        p = _mm256_or_si256(p, _mm256_slli_epi32(q, 16));
    }
    if (t->swap)
        p = _mm256_shuffle_epi8(p, g->swap);
    p = _mm256_srl_epi16(p, _mm_cvtsi32_si128(t->shift));
    return _mm256_and_si256(p, _mm256_set1_epi16((short)t->mask));
}

static gather_plan plan_gathers(const bs_taps *t)
{
    gather_plan g = {.last = _mm256_set1_epi32((t->width - 1) * t->step + t->bytes - 4), .two = t->step + t->bytes > 4};
    const char z = -128;
    char bytes[16];
    for (int i = 0; i < 4; i++) {
        const char at = (char)(4 * i), second = g.two ? z : (char)(at + t->step);
        bytes[4 * i] = at;
        bytes[4 * i + 1] = t->bytes == 2 ? (char)(at + 1) : z;
        bytes[4 * i + 2] = second;
        bytes[4 * i + 3] = t->bytes == 2 && !g.two ? (char)(second + 1) : z;
    }
    g.pick = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
    g.swap = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    return g;
}

/* Eight samples. Narrow: every product's operands fit 16 bits, so that one instruction does two taps. */
static inline __m256i taps_of_eight(const bs_taps *t, const gather_plan *g, const int32_t *x, const int32_t *y,
                                    bool narrow)
{
    const __m256i vx = _mm256_loadu_si256((const __m256i *)x), vy = _mm256_loadu_si256((const __m256i *)y);
    const __m256i one_x = _mm256_set1_epi32(1 << t->frac_x), one_y = _mm256_set1_epi32(1 << t->frac_y);
    const __m256i one = _mm256_set1_epi32(1), zero = _mm256_setzero_si256();
    const __m256i ax = _mm256_and_si256(vx, _mm256_sub_epi32(one_x, one));
    const __m256i ay = _mm256_and_si256(vy, _mm256_sub_epi32(one_y, one));
    const __m256i offset = _mm256_mullo_epi32(_mm256_sra_epi32(vx, _mm_cvtsi32_si128(t->frac_x)),
                                              _mm256_set1_epi32(t->step));
    const __m256i stride = _mm256_set1_epi32((int)t->stride);
    const __m256i row = _mm256_mullo_epi32(_mm256_sra_epi32(vy, _mm_cvtsi32_si128(t->frac_y)), stride);
    const __m256i below = _mm256_add_epi32(row, _mm256_andnot_si256(_mm256_cmpeq_epi32(ay, zero), stride));
    const __m256i at = _mm256_add_epi32(row, offset);
    fetch_ahead(t, _mm256_extract_epi32(at, 0));
    fetch_ahead(t, _mm256_extract_epi32(at, 7));
    const __m256i top = pair(t, g, row, offset), bottom = pair(t, g, below, offset);
    const __m256i bx = _mm256_sub_epi32(one_x, ax), by = _mm256_sub_epi32(one_y, ay);
    if (narrow) {
        const __m256i wx = _mm256_or_si256(bx, _mm256_slli_epi32(ax, 16));
        const __m256i wy = _mm256_or_si256(by, _mm256_slli_epi32(ay, 16));
        const __m256i a = _mm256_madd_epi16(top, wx), b = _mm256_madd_epi16(bottom, wx);
        return _mm256_madd_epi16(_mm256_or_si256(a, _mm256_slli_epi32(b, 16)), wy);
    }
    const __m256i low = _mm256_set1_epi32(0xffff);
    const __m256i a = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_and_si256(top, low), bx),
                                       _mm256_mullo_epi32(_mm256_srli_epi32(top, 16), ax));
    const __m256i b = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_and_si256(bottom, low), bx),
                                       _mm256_mullo_epi32(_mm256_srli_epi32(bottom, 16), ax));
    return _mm256_add_epi32(_mm256_mullo_epi32(a, by), _mm256_mullo_epi32(b, ay));
}

/* Whether a plane can be reached by 32-bit offsets, so many bytes at a time. */
static bool fits_offsets(const bs_taps *t, int bytes)
{
    const int64_t bytes_in_row = (int64_t)(t->width - 1) * t->step + t->bytes;
    const int64_t stride = t->stride < 0 ? -t->stride : t->stride;
    return bytes_in_row >= bytes && stride * t->height + bytes_in_row < INT32_MAX;
}

/* The first tap along an axis, so that the second lies inside too, and the second's weight: all of it where the first
 * was moved back from the last sample. Without a gather that is cheaper than leaving out what has no weight. */
static inline __m256i first_tap(__m256i v, int frac, int size, __m256i *second)
{
    const __m256i first = _mm256_min_epi32(_mm256_sra_epi32(v, _mm_cvtsi32_si128(frac)), _mm256_set1_epi32(size - 2));
    *second = _mm256_sub_epi32(v, _mm256_sll_epi32(first, _mm_cvtsi32_si128(frac)));
    return first;
}

/* The weights of both taps in one word: the first's and, so many bits higher, the second's. */
static inline __m256i both_taps(int frac, __m256i second, int bits)
{
    return _mm256_or_si256(_mm256_sub_epi32(_mm256_set1_epi32(1 << frac), second), _mm256_slli_epi32(second, bits));
}

static inline int16_t load2(const uint8_t *p)
{
    int16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline __m128i eight_pairs(const uint8_t *p, const int32_t at[8])
{
    return _mm_setr_epi16(load2(p + at[0]), load2(p + at[1]), load2(p + at[2]), load2(p + at[3]), load2(p + at[4]),
                          load2(p + at[5]), load2(p + at[6]), load2(p + at[7]));
}

/* Eight samples of a plane of bytes, one beside the other. */
static inline __m256i bytes_of_eight(const bs_taps *t, const int32_t *x, const int32_t *y)
{
    __m256i ax, ay;
    const __m256i x0 = first_tap(_mm256_loadu_si256((const __m256i *)x), t->frac_x, t->width, &ax);
    const __m256i y0 = first_tap(_mm256_loadu_si256((const __m256i *)y), t->frac_y, t->height, &ay);
    int32_t at[8];
    _mm256_storeu_si256((__m256i *)at, _mm256_add_epi32(_mm256_mullo_epi32(y0, _mm256_set1_epi32((int)t->stride)), x0));
    fetch_ahead(t, at[0]);
    fetch_ahead(t, at[7]);
    const __m256i wide = both_taps(t->frac_x, ax, 8);
    const __m128i wx = _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    const __m128i top = _mm_maddubs_epi16(eight_pairs(t->base, at), wx);
    const __m128i bottom = _mm_maddubs_epi16(eight_pairs(t->base + t->stride, at), wx);
    const __m256i rows = _mm256_set_m128i(_mm_unpackhi_epi16(top, bottom), _mm_unpacklo_epi16(top, bottom));
    return _mm256_madd_epi16(rows, both_taps(t->frac_y, ay, 16));
}

/* Eight bytes of each of four places, from byte `at` of the row; near the row's end without reading past it (see
 * gather). */
static inline __m256i four_pixel_pairs(const uint8_t *p, const int32_t row[4], const int32_t at[4], int32_t last,
                                       bool near_end)
{
    uint64_t v[4];
    for (int k = 0; k < 4; k++) {
        const int32_t from = near_end && at[k] > last ? last : at[k];
        memcpy(&v[k], p + row[k] + from, sizeof(v[k]));
        if (near_end)
            v[k] >>= 8 * (at[k] - from);
    }
    return _mm256_setr_epi64x((int64_t)v[0], (int64_t)v[1], (int64_t)v[2], (int64_t)v[3]);
}

static void pixels(const bs_taps component[3], const int32_t *x, const int32_t *y, int count, int32_t *out)
{
    const bs_taps *t = &component[0];
    const uint8_t *base = t->base;
    for (int p = 1; p < 3; p++)
        base = component[p].base < base ? component[p].base : base;
    char bytes[16]; /* for each component its two taps, side by side */
    int most = 0;
    memset(bytes, -128, sizeof(bytes));
    for (int p = 0; p < 3; p++) {
        const int offset = (int)(component[p].base - base);
        most = offset > most ? offset : most;
        for (int half = 0; half < 2; half++) {
            bytes[8 * half + 2 * p] = (char)(8 * half + offset);
            bytes[8 * half + 2 * p + 1] = (char)(8 * half + offset + t->step);
        }
    }
    const __m256i pick = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256i even = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2), odd = _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3);
    const int32_t last = (t->width - 1) * t->step + most + 1 - 8; /* from there eight bytes can be read */
    const int fast = fits_offsets(t, 8 - most) && t->height > 1 ? count : 0;
    int i = 0;
    for (; i + 8 <= fast; i += 8) {
        __m256i ax, ay;
        const __m256i x0 = first_tap(_mm256_loadu_si256((const __m256i *)(x + i)), t->frac_x, t->width, &ax);
        const __m256i y0 = first_tap(_mm256_loadu_si256((const __m256i *)(y + i)), t->frac_y, t->height, &ay);
        int32_t row[8], at[8];
        _mm256_storeu_si256((__m256i *)row, _mm256_mullo_epi32(y0, _mm256_set1_epi32((int)t->stride)));
        const __m256i across = _mm256_mullo_epi32(x0, _mm256_set1_epi32(t->step));
        _mm256_storeu_si256((__m256i *)at, across);
        const bool near_end = _mm256_movemask_epi8(_mm256_cmpgt_epi32(across, _mm256_set1_epi32(last)));
        fetch_ahead(t, row[0] + at[0]);
        fetch_ahead(t, row[7] + at[7]);
        __m256i wx = both_taps(t->frac_x, ax, 8), wy = both_taps(t->frac_y, ay, 16);
        wx = _mm256_or_si256(wx, _mm256_slli_epi32(wx, 16));
        for (int k = 0; k < 8; k += 4) {
            const __m256i w = _mm256_permutevar8x32_epi32(wx, twice);
            const __m256i a = _mm256_shuffle_epi8(four_pixel_pairs(base, row + k, at + k, last, near_end), pick);
            const __m256i b = _mm256_shuffle_epi8(four_pixel_pairs(base + t->stride, row + k, at + k, last, near_end),
                                                  pick);
            const __m256i top = _mm256_maddubs_epi16(a, w), bottom = _mm256_maddubs_epi16(b, w);
            const __m256i v0 = _mm256_madd_epi16(_mm256_unpacklo_epi16(top, bottom),
                                                 _mm256_permutevar8x32_epi32(wy, even));
            const __m256i v1 = _mm256_madd_epi16(_mm256_unpackhi_epi16(top, bottom),
                                                 _mm256_permutevar8x32_epi32(wy, odd));
            int32_t *const to = out + 3 * (i + k); /* the fourth of each is nothing, and overwritten by the next */
            const __m128i last_of_four = _mm256_extracti128_si256(v1, 1);
            _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(v0));
            _mm_storeu_si128((__m128i *)(to + 3), _mm256_castsi256_si128(v1));
            _mm_storeu_si128((__m128i *)(to + 6), _mm256_extracti128_si256(v0, 1));
            _mm_storel_epi64((__m128i *)(to + 9), last_of_four);
            to[11] = _mm_extract_epi32(last_of_four, 2);
            wx = _mm256_permute4x64_epi64(wx, 0xee);
            wy = _mm256_permute4x64_epi64(wy, 0xee);
        }
    }
    pixels_in_c(component, x, y, i, count, out);
}

static void taps(const bs_taps *t, const int32_t *x, const int32_t *y, int count, int32_t *out)
{
    int i = 0;
    if (t->bytes == 1 && t->step == 1 && !t->shift && t->mask == 255 && t->frac_x <= 6 && t->height > 1 &&
        fits_offsets(t, 2)) {
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_si256((__m256i *)(out + i), bytes_of_eight(t, x + i, y + i));
    } else if (fits_offsets(t, 4)) {
        const gather_plan g = plan_gathers(t);
        const bool narrow = t->bytes == 1 && t->frac_x <= 7;
        for (; i + 8 <= count; i += 8) {
            const __m256i v = narrow ? taps_of_eight(t, &g, x + i, y + i, true)
                                     : taps_of_eight(t, &g, x + i, y + i, false);
            _mm256_storeu_si256((__m256i *)(out + i), v);
        }
    }
    taps_in_c(t, x + i, y + i, count - i, out + i);
}

/* How the four neighbours of a row are loaded: one load of a row must hold all of them, and no more than the row. */
typedef enum cubic_load { LOAD_BYTES, LOAD_EVERY_OTHER_BYTE, LOAD_WORDS, LOAD_ONE_BY_ONE } cubic_load;

static cubic_load cubic_load_of(const bs_taps *t)
{
    if (t->bytes == 1 && !t->shift && t->mask == 255)
        return t->step == 1 ? LOAD_BYTES : t->step == 2 ? LOAD_EVERY_OTHER_BYTE : LOAD_ONE_BY_ONE;
    return t->bytes == 2 && t->step == 2 && !t->swap ? LOAD_WORDS : LOAD_ONE_BY_ONE;
}

static inline __m128i load4(const uint8_t *p)
{
    return _mm_loadu_si32(p);
}

static inline __m128i load8(const uint8_t *p)
{
    return _mm_loadl_epi64((const __m128i *)p);
}

/* Four samples of two rows as 16 bits, from each row in turn: of the first plane, which begin at `a`, in the lower
 * half, of the second in the upper one. Scalar loads are sooner done than a gather. */
static inline __m256i two_rows(const bs_taps chroma[2], cubic_load how, const uint8_t *a, const uint8_t *b)
{
    const uint8_t *a1 = a + chroma[0].stride, *b1 = b + chroma[1].stride;
    if (how == LOAD_BYTES) {
        const __m128i first = _mm_unpacklo_epi8(load4(a), load4(a1)), second = _mm_unpacklo_epi8(load4(b), load4(b1));
        return _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(first, second));
    }
    const __m128i first = _mm_unpacklo_epi16(load8(a), load8(a1)), second = _mm_unpacklo_epi16(load8(b), load8(b1));
    const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    if (how == LOAD_EVERY_OTHER_BYTE)
        return _mm256_and_si256(v, _mm256_set1_epi16(0xff));
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(chroma[0].shift)),
                            _mm256_set1_epi16((short)chroma[0].mask));
}

static inline __m256i both_rows(const int16_t w[2])
{
    int32_t v;
    memcpy(&v, w, sizeof(v));
    return _mm256_set1_epi32(v);
}

/* Where the 4 × 4 samples of eight places begin, and which weights they take. */
typedef struct cubic_places {
    int32_t x[8], y[8];         /* of the first sample */
    int32_t across[8], down[8]; /* number of the weights: moved × 128 + phase */
} cubic_places;

static inline void cubic_starts(const bs_cubic *c, const int32_t *v, int32_t *from, int32_t *weight)
{
    const __m256i at = _mm256_loadu_si256((const __m256i *)v);
    const __m256i start = _mm256_sub_epi32(_mm256_sra_epi32(at, _mm_cvtsi32_si128(c->frac)), _mm256_set1_epi32(1));
    const __m256i inside = _mm256_max_epi32(_mm256_min_epi32(start, _mm256_set1_epi32(c->size - 4)),
                                            _mm256_setzero_si256());
    const __m256i moved = _mm256_add_epi32(_mm256_sub_epi32(inside, start), _mm256_set1_epi32(2));
    const __m256i phase = _mm256_and_si256(at, _mm256_set1_epi32((1 << c->frac) - 1));
    _mm256_storeu_si256((__m256i *)from, inside);
    _mm256_storeu_si256((__m256i *)weight, _mm256_add_epi32(_mm256_slli_epi32(moved, 7), phase));
}

/* The weighted samples of one place, to be added up: of the first plane in the lower half, of the second in the upper
 * one. Down first: one instruction weighs two rows; whole numbers add up in any order. */
static inline __m256i cubic_products(const bs_taps chroma[2], cubic_load how, const bs_cubic *across,
                                     const bs_cubic *down, const cubic_places *places, int i)
{
    const ptrdiff_t x = (ptrdiff_t)places->x[i] * chroma[0].step, y = places->y[i];
    const uint8_t *a = chroma[0].base + y * chroma[0].stride + x, *b = chroma[1].base + y * chroma[1].stride + x;
    const int16_t *wx = (const int16_t *)across->weight + 4 * places->across[i];
    const int16_t *wy = (const int16_t *)down->weight + 4 * places->down[i];
    const __m256i upper = _mm256_madd_epi16(two_rows(chroma, how, a, b), both_rows(wy));
    const __m256i lower = _mm256_madd_epi16(two_rows(chroma, how, a + 2 * chroma[0].stride, b + 2 * chroma[1].stride),
                                            both_rows(wy + 2));
    const __m128i w = _mm_cvtepi16_epi32(load8((const uint8_t *)wx));
    return _mm256_mullo_epi32(_mm256_add_epi32(upper, lower), _mm256_broadcastsi128_si256(w));
}

static inline void cubic_at(const bs_taps chroma[2], cubic_load how, const bs_cubic *across, const bs_cubic *down,
                            const int32_t *x, const int32_t *y, int count, int32_t *const out[2])
{
    /* every other byte: the load of a row's last four samples may go one byte too far */
    const int32_t last_x = how == LOAD_EVERY_OTHER_BYTE ? across->size - 5 : across->size - 4;
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        cubic_places places;
        cubic_starts(across, x + i, places.x, places.across);
        cubic_starts(down, y + i, places.y, places.down);
        for (int p = 0; p < 2; p++)
            for (int k = 0; k < 8; k += 7)
                fetch_ahead(&chroma[p], (places.y[k] + 1) * chroma[p].stride + (ptrdiff_t)places.x[k] * chroma[p].step);
        bool beyond = false;
        for (int k = 0; how == LOAD_EVERY_OTHER_BYTE && k < 8; k++)
            beyond |= places.x[k] > last_x;
        if (beyond) {
            cubic_in_c(chroma, across, down, x, y, i, i + 8, out);
            continue;
        }
        for (int k = 0; k < 8; k += 4) {
            const __m256i first = _mm256_hadd_epi32(cubic_products(chroma, how, across, down, &places, k),
                                                    cubic_products(chroma, how, across, down, &places, k + 1));
            const __m256i second = _mm256_hadd_epi32(cubic_products(chroma, how, across, down, &places, k + 2),
                                                     cubic_products(chroma, how, across, down, &places, k + 3));
            const __m256i sums = _mm256_hadd_epi32(first, second);
            _mm_storeu_si128((__m128i *)(out[0] + i + k), _mm256_castsi256_si128(sums));
            _mm_storeu_si128((__m128i *)(out[1] + i + k), _mm256_extracti128_si256(sums, 1));
        }
    }
    cubic_in_c(chroma, across, down, x, y, i, count, out);
}

static void cubic(const bs_taps chroma[2], const bs_cubic *across, const bs_cubic *down, const int32_t *x,
                  const int32_t *y, int count, int32_t *const out[2])
{
    const bool alike = chroma[0].shift == chroma[1].shift && chroma[0].mask == chroma[1].mask &&
                       chroma[0].swap == chroma[1].swap;
    const cubic_load how = alike ? cubic_load_of(&chroma[0]) : LOAD_ONE_BY_ONE;
    if (how == LOAD_BYTES)
        cubic_at(chroma, LOAD_BYTES, across, down, x, y, count, out);
    else if (how == LOAD_EVERY_OTHER_BYTE)
        cubic_at(chroma, LOAD_EVERY_OTHER_BYTE, across, down, x, y, count, out);
    else if (how == LOAD_WORDS)
        cubic_at(chroma, LOAD_WORDS, across, down, x, y, count, out);
    else
        cubic_in_c(chroma, across, down, x, y, 0, count, out);
}
#else
static void cubic(const bs_taps chroma[2], const bs_cubic *across, const bs_cubic *down, const int32_t *x,
                  const int32_t *y, int count, int32_t *const out[2])
{
    cubic_in_c(chroma, across, down, x, y, 0, count, out);
}

static void taps(const bs_taps *t, const int32_t *x, const int32_t *y, int count, int32_t *out)
{
    taps_in_c(t, x, y, count, out);
}

static void pixels(const bs_taps component[3], const int32_t *x, const int32_t *y, int count, int32_t *out)
{
    pixels_in_c(component, x, y, 0, count, out);
}
#endif

static void convert(const float m[9], const float bias[3], const int32_t *const plane[3], int count, float *out)
{
    float channel[3][BS_CROP_MAX];
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < count; i++) {
            const float v = m[3 * k] * (float)plane[0][i] + m[3 * k + 1] * (float)plane[1][i] +
                            m[3 * k + 2] * (float)plane[2][i] + bias[k];
            int32_t n = (int32_t)v; /* a few hundred at most, whatever the samples are */
            n = n < 0 ? 0 : n;
            n = n > 255 ? 255 : n;
            channel[k][i] = (float)n * (1.0f / 255.0f);
        }
    }
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 3; k++)
            out[3 * i + k] = channel[k][i];
}

extern const bs_crop_kernels BS_CROP_KERNELS;
const bs_crop_kernels BS_CROP_KERNELS = {
    .coordinates = coordinates, .taps = taps, .pixels = pixels, .cubic = cubic, .convert = convert};
