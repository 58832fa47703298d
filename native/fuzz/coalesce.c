/* Frames of TCP and UDP flows, built from a few bytes each, on the whole way in: sealed, joined as
 * by UDP_GRO, opened, decapsulated, joined for the TAP, and cut again (node_check).
 *
 * One byte of settings, then seven bytes for a frame: what is odd about it, flow, flags, two bytes
 * of payload length, and two of how far its number is off.
 */
#include <stdlib.h>

#include "must.h"
#include "node.h"
#include "packets.h"

#define FLOWS 4
#define SIZE 1500

struct flow {
    uint32_t seq;
    uint16_t id;
};

static uint32_t put_tags(uint8_t *frame, uint8_t odd)
{
    uint32_t l3 = ETHERNET_HEADER;
    for (int tags = odd & 3; tags; tags--, l3 += 4) {
        put16(frame + l3 - 2, 0x8100);
        put16(frame + l3, 7);
    }
    return l3;
}

static uint32_t build(uint8_t *frame, struct flow *flows, struct bytes *from)
{
    uint8_t odd = take8(from), which = take8(from), flags = take8(from);
    uint16_t payload = take16(from) % 1200, off = take16(from);
    struct flow *flow = &flows[which % FLOWS];
    bool ipv6 = which & 4, tcp = !(which & 8);
    memset(frame, 0, SIZE);
    memcpy(frame, "\2\0\0\0\0\1\2\0\0\0\0\2", 12);
    uint32_t l3 = put_tags(frame, which >> 4), head = ipv6 ? IPV6_HEADER : IPV4_HEADER;
    uint32_t options = tcp ? (which >> 6) * 4u : 0;
    put16(frame + l3 - 2, ipv6 ? 0x86DD : 0x0800);
    uint8_t *ip = frame + l3, *l4 = ip + head;
    ip[0] = ipv6 ? 0x60 : 0x45;
    ip[1] = ipv6 ? (uint8_t)((odd & 3) << 4) : odd & 3;
    ip[ipv6 ? 6 : 9] = tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
    ip[ipv6 ? 7 : 8] = 64;
    if (!ipv6) {
        put16(ip + 4, flow->id += odd & 4 ? (uint16_t)(1 + off) : 1);
        put16(ip + 6, odd & 8 ? 0x4000 : 0);
    }
    put16(l4, 1000u + which % FLOWS);
    put16(l4 + 2, 5201);
    uint32_t upper = UDP_HEADER;
    if (tcp) {
        upper = 20 + options;
        uint32_t seq = flow->seq + (odd & 16 ? off : 0);
        put16(l4 + 4, seq >> 16);
        put16(l4 + 6, seq);
        l4[12] = (uint8_t)(upper / 4 << 4 | (odd >> 5 & 1));
        l4[13] = flags & 1 ? flags : 0x10;
        put16(l4 + 14, flags & 2 ? off : 500);
        flow->seq += payload;
    }
    uint32_t length = l3 + head + upper + payload;
    for (uint32_t i = 0; i < payload; i++)
        l4[upper + i] = (uint8_t)(i + off);
    mend_frame(frame, length);
    if (odd & 64) /* All but right. */
        frame[off % length] ^= (uint8_t)(1 + (flags >> 2));
    if (odd & 128)
        length += off % 8; /* A trailer. */
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct node node;
    struct flow flows[FLOWS] = {{0}, {0xFFFFF000, 0xFFFE}, {1000, 7}, {0x7FFFFFFF, 0}};
    uint8_t settings = take8(&input), frame[SIZE + 64], packet[2048] = {0}, message[2048 + 64];
    wgvx_endpoint endpoint = node_endpoint(FIRST_PEER);
    uint8_t *burst = malloc(65536);
    uint32_t used = 0, gro = 0;
    node_start(&node, settings & ~4);
    while (input.left) {
        uint32_t length = build(frame, flows, &input);
        length = wrap(packet, sizeof packet, frame, length, FIRST_PEER, US, settings & 16, VNI,
                      UDP_PORT);
        MUST(length);
        length = (length + 15) & ~15u; /* wrap() left zeros there, or what was before: padding. */
        uint32_t sealed = node_seal(&node, FIRST_PEER, packet, length, message);
        if (used && (sealed > gro || used % gro || used + sealed > 65535)) {
            uint8_t *run = malloc(used);
            memcpy(run, burst, used);
            node_receive(&node, run, used, gro, &endpoint, settings >> 5 & 3);
            used = 0;
        }
        if (!used)
            gro = sealed;
        memcpy(burst + used, message, sealed);
        used += sealed;
    }
    uint8_t *run = malloc(used + (used == 0));
    memcpy(run, burst, used);
    if (used)
        node_receive(&node, run, used, gro, &endpoint, settings >> 5 & 3);
    else
        free(run);
    free(burst);
    node_stop(&node);
    return 0;
}
