/* fpeak: what the core's float32 units can do, measured: the yardstick of bench_nn. */
#ifndef FPEAK_H
#define FPEAK_H

/* Runs independent chains of fused multiply-adds with the registers of `isa` ("avx2", "avx512", "neon") for some
 * milliseconds and returns thousand millions of floating-point operations a second (a fused multiply-add is two).
 * 0 where there is no such measurement: "portable", or an instruction set of another machine. */
double fpeak_gflops(const char *isa);

#endif
