#include "node.h"

#include <stdlib.h>

#include "must.h"
#include "packets.h"

void node_keys(unsigned peer, uint8_t generation, uint8_t ours[32], uint8_t theirs[32])
{
    memset(ours, (int)(peer << 4 | 1), 32);
    memset(theirs, (int)(peer << 4 | 2), 32);
    ours[0] = theirs[0] = generation;
}

wgvx_endpoint node_endpoint(unsigned peer)
{
    wgvx_endpoint endpoint = {.ip_length = 4, .port = 51820, .ip = {198, 18, 0, (uint8_t)peer}};
    return endpoint;
}

static uint32_t index_of(unsigned peer, uint8_t generation)
{
    return peer << 8 | generation;
}

void node_connect(struct node *node, unsigned peer, bool initiator)
{
    uint8_t ours[32], theirs[32], generation = ++node->generation[peer];
    node_keys(peer, generation, ours, theirs);
    node->counter[peer] = 0;
    uint32_t index = index_of(peer, generation), owner;
    if (wgvx_index_peer(node->dp, index, &owner))
        return; /* 256 generations later: an index is never taken twice. */
    wgvx_install(node->dp, peer, index, index | 0x10000, ours, theirs, initiator, node->now);
}

void node_add_peer(struct node *node, unsigned peer)
{
    uint8_t address[16];
    wgvx_endpoint endpoint = node_endpoint(peer);
    MUST(wgvx_add_peer(node->dp, peer));
    wgvx_set_endpoint(node->dp, peer, &endpoint);
    put_address(address, peer, false);
    wgvx_add_allowed_ip(node->dp, peer, address, 4, 32);
    put_address(address, peer, true);
    wgvx_add_allowed_ip(node->dp, peer, address, 16, 128);
    node->is_peer[peer] = true;
}

void node_set_mtu(struct node *node, uint32_t mtu)
{
    node->mtu = mtu;
    if (mtu > node->largest_mtu)
        node->largest_mtu = mtu;
    wgvx_set_mtu(node->dp, mtu);
}

void node_start(struct node *node, uint8_t settings)
{
    static const uint8_t flood[6], own[6] = {2, 0, 0, 0, 0, US};
    const uint8_t addresses[2][16] = {{10, 254, 0, US}, {0xFD, 0, 0, 0xFE, [15] = US}};
    const uint8_t lengths[2] = {4, 16};
    const uint8_t accept[1][18] = {{4, 24, 10, 254, 0, 0}};
    uint8_t address[16], ignored[16], ignored_length;
    *node = (struct node){.now = 1000 * SECOND};
    node->dp = wgvx_new(NULL);
    MUST(node->dp);
    wgvx_set_addresses(node->dp, addresses, lengths, 2);
    wgvx_set_forward(node->dp, settings & 1);
    node_set_mtu(node, settings & 2 ? 65535 : 1420);
    for (unsigned peer = FIRST_PEER; peer < FIRST_PEER + PEERS; peer++) {
        node_add_peer(node, peer);
        if (!(settings & 4) || peer == FIRST_PEER)
            node_connect(node, peer, peer != 3);
    }
    wgvx_network_settings rules = {.learning = true, .ageing = 300 * SECOND, .max_entries = 8};
    wgvx_add_network(node->dp, VNI, UDP_PORT, &rules);
    wgvx_add_port(node->dp, VNI, 1, own);
    rules = (wgvx_network_settings){.learning = settings & 8, .accept = accept, .accepted = 1};
    wgvx_add_network(node->dp, OTHER_VNI, OTHER_UDP_PORT, &rules);
    wgvx_add_port(node->dp, OTHER_VNI, 2, NULL);
    wgvx_add_port(node->dp, OTHER_VNI, 3, own);
    put_address(address, 2, false);
    wgvx_fdb_add(node->dp, VNI, flood, address, 4, ignored, &ignored_length);
    put_address(address, 3, true);
    wgvx_fdb_add(node->dp, VNI, flood, address, 16, ignored, &ignored_length);
    wgvx_fdb_add(node->dp, OTHER_VNI, flood, address, 16, ignored, &ignored_length);
}

void node_stop(struct node *node)
{
    wgvx_free(node->dp);
}

uint32_t node_seal(struct node *node, unsigned peer, const uint8_t *plaintext, uint32_t length,
                   uint8_t *to)
{
    uint8_t ours[32], theirs[32];
    struct aead aead;
    aead_start(&aead, NULL);
    node_keys(peer, node->generation[peer], ours, theirs);
    put_le32(to, 4);
    put_le32(to + 4, index_of(peer, node->generation[peer]));
    put_le64(to + 8, node->counter[peer]);
    memcpy(to + TRANSPORT_HEADER, plaintext, length);
    aead_seal(&aead, theirs, node->counter[peer]++, to + TRANSPORT_HEADER, length);
    aead_stop(&aead);
    return TRANSPORT_HEADER + length + AEAD_TAG_LENGTH;
}

void node_receive(struct node *node, uint8_t *data, uint32_t length, uint32_t size,
                  const wgvx_endpoint *endpoint, uint8_t tos)
{
    uint32_t done = 0;
    do {
        uint32_t now = wgvx_receive(node->dp, data + done, length - done, size, endpoint, tos,
                                    node->now);
        MUST(now <= length - done && (now || !length));
        done += now;
        node_check(node);
    } while (done < length);
    free(data);
}
