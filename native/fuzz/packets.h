/* Frames and tunnel packets: what the fuzzer wrote made right, and the sums that tell so. */
#ifndef WGVX_FUZZ_PACKETS_H
#define WGVX_FUZZ_PACKETS_H

#include "../ip.h"
#include "../segment.h"

/* RFC 1071, word by word: independent of ../checksum.c. 0 where a right checksum is in it. */
uint16_t naive_checksum(uint32_t before, const uint8_t *data, size_t length);
uint32_t naive_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t length);
/* Make the lengths and checksums of a tunnel packet, or of a frame, say what is there, so that the
 * noise reaches what is behind them. */
void mend_packet(uint8_t *ip, uint32_t length);
void mend_frame(uint8_t *frame, uint32_t length);
/* As mend_frame, but the checksum field holds the pseudo-header's sum and *header says the rest. */
void mend_large(uint8_t *frame, uint32_t length, uint16_t gso_size, struct vnet_header *header);
/* The tunnel address of peer or node `number`: 4 bytes, or 16. */
void put_address(uint8_t *at, unsigned number, bool ipv6);
/* Wraps frame[0..length) into a tunnel packet from peer `from` to node `to`; returns its length,
 * or 0 where there is no room. */
uint32_t wrap(uint8_t *packet, uint32_t room, const uint8_t *frame, uint32_t length, unsigned from,
              unsigned to, bool ipv6, uint32_t vni, uint16_t port);

#endif
