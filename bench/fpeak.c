/* fpeak: twelve chains, as many as fit into the registers, so that latency never waits, and nothing is read from
 * memory. */
#include "fpeak.h"

#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { CHAINS = 12, ROUNDS = 200000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Twelve accumulators, each in a register of its own; in assembly, so that a compiler neither spills nor folds them. */
#define DEFINE_CHAINS(name, target_attribute, type, set, constraint, fma) \
    target_attribute static void name(void) \
    { \
        const type a = set(0.999f), b = set(1e-3f); \
        type c0 = b, c1 = b, c2 = b, c3 = b, c4 = b, c5 = b, c6 = b, c7 = b, c8 = b, c9 = b, c10 = b, c11 = b; \
        for (int r = 0; r < ROUNDS; r++) { \
            FOUR(c0, c1, c2, c3, constraint, fma); \
            FOUR(c4, c5, c6, c7, constraint, fma); \
            FOUR(c8, c9, c10, c11, constraint, fma); \
        } \
    }
#define FOUR(c0, c1, c2, c3, constraint, fma) \
    __asm__ volatile(fma(0) fma(1) fma(2) fma(3) \
                     : "+" constraint(c0), "+" constraint(c1), "+" constraint(c2), "+" constraint(c3) \
                     : constraint(a), constraint(b))

#if defined(__x86_64__)
#define X86_FMA(n) "vfmadd213ps %5, %4, %" #n "\n\t"
DEFINE_CHAINS(chains_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, "x", X86_FMA)
DEFINE_CHAINS(chains_avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, "v", X86_FMA)
#elif defined(__aarch64__)
#define NEON_FMA(n) "fmla %" #n ".4s, %4.4s, %5.4s\n\t"
DEFINE_CHAINS(chains_neon, , float32x4_t, vdupq_n_f32, "w", NEON_FMA)
#endif

double fpeak_gflops(const char *isa)
{
    void (*chains)(void) = NULL;
    int lanes = 0;
#if defined(__x86_64__)
    if (!strcmp(isa, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        chains = chains_avx2, lanes = 8;
    else if (!strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f"))
        chains = chains_avx512, lanes = 16;
#elif defined(__aarch64__)
    if (!strcmp(isa, "neon"))
        chains = chains_neon, lanes = 4;
#endif
    if (!chains)
        return 0;
    double start = now();
    chains();
    return 2.0 * lanes * CHAINS * ROUNDS / (now() - start) * 1e-9;
}
