/* Datagrams from the underlay, sealed so that the noise reaches what is inside them.
 *
 * One byte of settings, then records: a byte (bits 0 and 1: peer; 2 and 3: outer ECN; 4: joined to
 * the one before, as UDP_GRO does; 5: lengths and checksums mended; 6 and 7: sealed, a frame to be
 * wrapped and sealed, as it is, or a change), two bytes of length, and so many bytes.
 */
#include <stdlib.h>

#include "node.h"
#include "packets.h"

enum { PACKET, FRAME, RAW, OTHER };

struct burst {
    uint8_t *data;
    uint32_t length, size;
    wgvx_endpoint endpoint;
    uint8_t tos;
};

static void finish(struct node *node, struct burst *run)
{
    if (run->data)
        node_receive(node, run->data, run->length, run->size, &run->endpoint, run->tos);
    run->data = NULL;
    run->length = 0;
}

static void append(struct node *node, struct burst *run, const uint8_t *message, uint32_t length,
                   unsigned peer, uint8_t tos, bool join)
{
    wgvx_endpoint endpoint = node_endpoint(peer);
    bool fits = join && run->data && length && length <= run->size && run->tos == tos &&
                run->length % run->size == 0 && run->length + length <= 65535 &&
                !memcmp(&endpoint, &run->endpoint, sizeof endpoint);
    if (!fits) {
        finish(node, run);
        *run = (struct burst){.size = length, .endpoint = endpoint, .tos = tos};
    }
    /* Exactly as long as it is, so that each byte too far is seen. */
    uint8_t *larger = malloc(run->length + length + (run->length + length == 0));
    if (run->length)
        memcpy(larger, run->data, run->length);
    free(run->data);
    run->data = larger;
    memcpy(run->data + run->length, message, length);
    run->length += length;
}

static uint32_t packet_of(uint8_t how, unsigned peer, struct bytes body, uint8_t *packet)
{
    if (how != FRAME) {
        memcpy(packet, body.data, body.left);
        return (uint32_t)body.left;
    }
    uint8_t where = take8(&body), frame[4096];
    memcpy(frame, body.data, body.left);
    if (where & 0x40)
        mend_frame(frame, (uint32_t)body.left);
    return wrap(packet, 4096, frame, (uint32_t)body.left, peer,
                where & 2 ? FIRST_PEER + (where >> 4) % PEERS : US, where & 1,
                where & 4 ? OTHER_VNI : VNI, where & 8 ? OTHER_UDP_PORT : UDP_PORT);
}

static void deliver_rare(struct node *node, uint8_t flags, unsigned peer, struct bytes body)
{
    uint8_t address[2][16] = {{10, 254, 0, (uint8_t)peer}, {10, 254, 0, US}};
    uint8_t *segment = malloc(body.left + 1);
    memcpy(segment, body.data, body.left);
    wgvx_deliver(node->dp, address[0], address[1], 4, flags >> 2 & 3, segment,
                 (uint32_t)body.left, node->now);
    node_check(node);
    free(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct node node;
    struct burst run = {0};
    uint8_t packet[4096], message[4096 + 64];
    node_start(&node, take8(&input));
    while (input.left) {
        uint8_t flags = take8(&input), how = flags >> 6;
        unsigned peer = FIRST_PEER + (flags & 3) % PEERS;
        uint16_t wanted = take16(&input);
        struct bytes body = take(&input, wanted % 3800);
        if (how == OTHER) {
            finish(&node, &run);
            if (flags & 16)
                deliver_rare(&node, flags, peer, body);
            else
                node_edit(&node, &body);
            continue;
        }
        if (how == RAW) {
            append(&node, &run, body.data, (uint32_t)body.left, peer, flags >> 2 & 3, flags & 16);
            continue;
        }
        uint32_t length = packet_of(how, peer, body, packet);
        if (flags & 32)
            mend_packet(packet, length);
        length = node_seal(&node, peer, packet, length, message);
        append(&node, &run, message, length, peer, flags >> 2 & 3, flags & 16);
    }
    finish(&node, &run);
    node_stop(&node);
    return 0;
}
