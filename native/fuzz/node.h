/* A node on the fuzzer's bench, as tests/dataplane/rig.py has it: peer n (2, 3, 4) is reached at
 * 198.18.0.n and has the tunnel addresses 10.254.0.n and fd00:fe::n; the node is number 1.
 */
#ifndef WGVX_FUZZ_NODE_H
#define WGVX_FUZZ_NODE_H

#include "../dataplane.h"
#include "bytes.h"

#define US 1
#define FIRST_PEER 2
#define PEERS 3
#define VNI 42      /* port 1 */
#define OTHER_VNI 43 /* ports 2 and 3, another UDP port, no learning */
#define UDP_PORT 4789
#define OTHER_UDP_PORT 8472

struct node {
    wgvx *dp;
    uint64_t now;
    uint32_t mtu, largest_mtu;
    bool is_peer[FIRST_PEER + PEERS];
    uint8_t generation[FIRST_PEER + PEERS]; /* of the peer's newest session */
    uint64_t counter[FIRST_PEER + PEERS];
    uint64_t dropped;
};

void node_start(struct node *, uint8_t settings);
void node_stop(struct node *);
/* A peer with its endpoint and its addresses, but without a session. */
void node_add_peer(struct node *, unsigned peer);
/* A new session of the peer: node_seal uses it from now on. */
void node_connect(struct node *, unsigned peer, bool initiator);
/* The keys of a peer's session. */
void node_keys(unsigned peer, uint8_t generation, uint8_t ours[32], uint8_t theirs[32]);
void node_set_mtu(struct node *, uint32_t mtu);
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
