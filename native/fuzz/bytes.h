/* What the fuzzer wrote, read from the front; 0 past its end. */
#ifndef WGVX_FUZZ_BYTES_H
#define WGVX_FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t left;
};

uint8_t take8(struct bytes *);
uint16_t take16(struct bytes *); /* big-endian */
/* At most so many. */
struct bytes take(struct bytes *, size_t wanted);

#endif
