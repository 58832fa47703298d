/* The Internet checksum (RFC 1071).
 *
 * A sum is a one's complement sum of 16-bit words kept in 64 bits, not folded, in the byte order of
 * memory (RFC 1071, section 2 (B)): sums of parts may be added as long as every part but the last
 * is of even length. checksum_fold() brings it to 16 bits: 0xFFFF where a right checksum was
 * included, in either byte order.
 */
#ifndef WGVX_CHECKSUM_H
#define WGVX_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_add(const uint8_t *data, size_t length);

/* The same of what it copies. The two do not overlap. */
uint64_t checksum_copy(uint8_t *to, const uint8_t *from, size_t length);

/* 0..0xFFFF; as in wgvx/vxlan/ip.py only all-zero data sums to 0, any other multiple to 0xFFFF. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

#endif
