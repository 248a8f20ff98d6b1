/* The vector of 8 floats, for avx2.c, and for avx512.c where the number of channels asks for it (see vector.h). */
#define VEC         __m256
#define LANES       8
#define NAME(f)     f##_8
#define v_load      _mm256_loadu_ps
#define v_store     _mm256_storeu_ps
#define v_set1      _mm256_set1_ps
#define v_broadcast _mm256_broadcast_ss
#define v_fma       _mm256_fmadd_ps
#define v_add       _mm256_add_ps
#define v_sub       _mm256_sub_ps
#define v_mul       _mm256_mul_ps
#define v_max       _mm256_max_ps
#define v_min       _mm256_min_ps
