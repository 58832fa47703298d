/* A node on the fuzzer's bench, as tests/dataplane/rig.py has it: peer n (2, 3, 4) is reached at
 * 198.18.0.n and has the tunnel addresses 10.254.0.n and fd00:fe::n; the node is number 1.
 */
#ifndef WGVX_FUZZ_NODE_H
#define WGVX_FUZZ_NODE_H

#include <stdio.h>

#include "../dataplane.h"
#include "../ip.h"
#include "../segment.h"

#define US 1
#define FIRST_PEER 2
#define PEERS 3
#define VNI 42      /* port 1 */
#define OTHER_VNI 43 /* ports 2 and 3, another UDP port, no learning */
#define UDP_PORT 4789
#define OTHER_UDP_PORT 8472

/* Stops the fuzzer where something is not as it must be. */
#define MUST(condition)                                                            \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            __builtin_trap();                                                      \
        }                                                                          \
    } while (0)

/* --- what the fuzzer wrote, read from the front; 0 past its end --------------------------------- */

struct bytes {
    const uint8_t *data;
    size_t left;
};

uint8_t take8(struct bytes *);
uint16_t take16(struct bytes *); /* big-endian */
/* At most so many. */
struct bytes take(struct bytes *, size_t wanted);

/* --- packets ------------------------------------------------------------------------------------ */

/* RFC 1071, word by word: independent of ../checksum.c. 0 where a right checksum is in it. */
uint16_t naive_checksum(uint32_t before, const uint8_t *data, size_t length);
uint32_t naive_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t length);
/* Make the lengths and checksums of a tunnel packet, or of a frame, say what is there, so that the
 * noise reaches what is behind them. */
void mend_packet(uint8_t *ip, uint32_t length);
void mend_frame(uint8_t *frame, uint32_t length);
/* As mend_frame, but the checksum field holds the pseudo-header's sum and *header says the rest. */
void mend_large(uint8_t *frame, uint32_t length, uint16_t gso_size, struct vnet_header *header);
/* Wraps frame[0..length) into a tunnel packet from peer `from` to node `to`; returns its length,
 * or 0 where there is no room. */
uint32_t wrap(uint8_t *packet, uint32_t room, const uint8_t *frame, uint32_t length, unsigned from,
              unsigned to, bool ipv6, uint32_t vni, uint16_t port);

/* --- the node ----------------------------------------------------------------------------------- */

struct node {
    wgvx *dp;
    uint64_t now;
    uint32_t mtu, largest_mtu;
    bool is_peer[FIRST_PEER + PEERS];
    uint8_t generation[FIRST_PEER + PEERS]; /* of the peer's newest session */
    uint64_t counter[FIRST_PEER + PEERS];
    uint64_t datagrams, dropped;
};

void node_start(struct node *, uint8_t settings);
void node_stop(struct node *);
wgvx_endpoint node_endpoint(unsigned peer);
/* 16 bytes of header, the plaintext and a tag: what peer sends. `to` has room for it. */
uint32_t node_seal(struct node *, unsigned peer, const uint8_t *plaintext, uint32_t length,
                   uint8_t *to);
/* Datagrams as UDP_GRO hands them over. Takes and checks all that comes of it. `data` is freed. */
void node_receive(struct node *, uint8_t *data, uint32_t length, uint32_t size,
                  const wgvx_endpoint *, uint8_t tos);
/* A change of tables, keys, settings or time. */
void node_edit(struct node *, struct bytes *);
/* All that the last call left, checked and cleared. */
void node_check(struct node *);

#endif
