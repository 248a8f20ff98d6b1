/* SHA-256 (FIPS 180-4), streaming: the identity of a model file or an input file.
 *
 *     bs_sha256 h;
 *     bs_sha256_init(&h);
 *     bs_sha256_update(&h, bytes, count);   // any number of times
 *     bs_sha256_hex(&h, text);              // ends it
 *
 * Uses the SHA instructions of an x86-64 CPU where it has them (about 2 GB/s), else portable C.
 * Errors: none. Threads: plain data, one thread at a time. */
#ifndef BODYSCRIPT_SHA256_H
#define BODYSCRIPT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BS_SHA256_HEX = 65 }; /* 64 digits and the NUL */

typedef struct bs_sha256 {
    uint32_t state[8];
    uint64_t length;   /* bytes taken so far */
    uint8_t block[64]; /* the last, unfinished block */
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
} bs_sha256;

void bs_sha256_init(bs_sha256 *h);
void bs_sha256_init_portable(bs_sha256 *h); /* without the CPU's own instructions: for the test that both agree */
void bs_sha256_update(bs_sha256 *h, const void *data, size_t size);

/* Ends the hash and writes it as 64 lower-case hex digits. `h` must be initialised again before further use. */
void bs_sha256_hex(bs_sha256 *h, char hex[BS_SHA256_HEX]);

#ifdef __cplusplus
}
#endif
#endif
