/* What holds of all that comes out of a node, whatever went in. */
#include <stdlib.h>

#include "must.h"
#include "node.h"
#include "packets.h"

static void check_tunnel_packet(const uint8_t *ip, uint32_t length, bool *ours)
{
    bool v4 = ip[0] >> 4 == 4;
    uint8_t address[16];
    uint32_t head = v4 ? (ip[0] & 0x0Fu) * 4 : IPV6_HEADER;
    MUST(v4 || ip[0] >> 4 == 6);
    MUST(length >= (v4 ? IPV4_HEADER : IPV6_HEADER));
    uint32_t says = v4 ? get16(ip + 2) : IPV6_HEADER + get16(ip + 4);
    MUST(says <= length && length - says < 16);
    for (uint32_t i = says; i < length; i++)
        MUST(!ip[i]);
    if (v4)
        MUST(head >= IPV4_HEADER && head <= says && !naive_checksum(0, ip, head));
    MUST(ip[v4 ? 8 : 7]);
    put_address(address, US, !v4);
    *ours = !memcmp(ip + (v4 ? 12 : 8), address, v4 ? 4 : 16);
    if (!*ours)
        return;
    const uint8_t *udp = ip + head;
    MUST(ip[v4 ? 9 : 6] == PROTOCOL_UDP && head == (v4 ? IPV4_HEADER : IPV6_HEADER));
    MUST(get16(udp + 4) == says - head && get16(udp + 6));
    MUST(get16(udp) >= 49152);
    MUST(!naive_checksum(naive_pseudo(ip, PROTOCOL_UDP, says - head), udp, says - head));
    MUST(udp[8] == 8 && !(udp[9] | udp[10] | udp[11] | udp[15]));
    uint32_t vni = (uint32_t)udp[12] << 16 | get16(udp + 13);
    MUST(vni == VNI ? get16(udp + 2) == UDP_PORT
                    : vni == OTHER_VNI && get16(udp + 2) == OTHER_UDP_PORT);
}

static void check_message(struct node *node, const wgvx_message *message)
{
    uint8_t ours[32], theirs[32];
    const uint8_t *data = message->data;
    bool is_ours;
    MUST(message->length >= 32);
    if (get_le32(data) != 4)
        return; /* A cookie reply: the handshake target's. */
    uint32_t index = get_le32(data + 4), text = message->length - 32;
    MUST(index >> 16 == 1);
    unsigned peer = index >> 8 & 0xFF;
    MUST(peer >= FIRST_PEER && peer < FIRST_PEER + PEERS);
    node_keys(peer, index & 0xFF, ours, theirs);
    struct aead aead;
    aead_start(&aead, NULL);
    MUST(aead_open(&aead, ours, get_le64(data + 8), (uint8_t *)(uintptr_t)data + 16, text));
    aead_stop(&aead);
    MUST(text <= node->largest_mtu);
    MUST(message->tos < 3);
    if (text)
        check_tunnel_packet(data + 16, text, &is_ours);
}

/* The frames that a frame and its virtio-net header make, one behind the other. */
static uint32_t cut(const struct vnet_header *header, const uint8_t *frame, uint32_t length,
                    uint8_t *to, uint32_t room)
{
    struct segments segments;
    uint32_t used = 0;
    MUST(segments_begin(&segments, header, frame, length));
    while (segments.next < segments.count) {
        uint32_t one = (uint32_t)segments_length(&segments);
        MUST(used + 4 + one <= room);
        put_le32(to + used, one);
        segments_next(&segments, to + used + 4);
        used += 4 + one;
    }
    return used;
}

static uint32_t room_for(const struct vnet_header *header, uint32_t length)
{
    if (!header->gso_type)
        return length + 4;
    uint32_t count = length / (header->gso_size ? header->gso_size : 1) + 2;
    return length + count * 600;
}

/* Joined and cut again, frames are what they were. Unfinished ones are compared finished. */
static void check_frames(struct node *node)
{
    struct lane *lane = node->dp->python;
    uint32_t room = 0, joined_room = 0, expected = 0, found = 0;
    for (uint32_t i = 0; i < lane->frames.count; i++) {
        const struct frame *frame = &lane->frames.items[i].frame;
        MUST(frame->length >= ETHERNET_HEADER && frame->length <= MAX_FRAME);
        MUST(!frame->l4 || (frame->l3 < frame->l4 && frame->l4 < frame->length));
        room += room_for(&frame->header, frame->length);
        joined_room += 4 + VNET_HEADER_LENGTH + frame->length;
    }
    uint8_t *before = malloc(room + 1), *after = malloc(room + 1);
    uint8_t *joined = malloc(joined_room + 1);
    for (uint32_t i = 0; i < lane->frames.count; i++) {
        const struct frame *frame = &lane->frames.items[i].frame;
        expected += cut(&frame->header, frame->data, frame->length, before + expected,
                        room - expected);
    }
    uint32_t used = wgvx_coalesce_pending(node->dp, joined, joined_room);
    MUST(used || !lane->frames.count);
    for (uint32_t at = 0; at < used;) {
        struct vnet_header header;
        uint32_t length = get_le32(joined + at);
        MUST(length >= VNET_HEADER_LENGTH && at + 4 + length <= used);
        memcpy(&header, joined + at + 4, VNET_HEADER_LENGTH);
        /* On memory of its own, so that each byte too far is seen. */
        uint8_t *alone = malloc(length - VNET_HEADER_LENGTH);
        memcpy(alone, joined + at + 4 + VNET_HEADER_LENGTH, length - VNET_HEADER_LENGTH);
        found += cut(&header, alone, length - VNET_HEADER_LENGTH, after + found, room - found);
        free(alone);
        at += 4 + length;
    }
    MUST(found == expected && !memcmp(before, after, found));
    free(before);
    free(after);
    free(joined);
}

static uint64_t total_drops(struct node *node)
{
    uint64_t counts[REASONS], total = 0;
    wgvx_drops(node->dp, counts);
    for (int reason = 0; reason < REASONS; reason++)
        total += counts[reason];
    return total;
}

void node_check(struct node *node)
{
    wgvx_counts pending = wgvx_pending(node->dp);
    for (uint32_t i = 0; i < pending.messages; i++) {
        wgvx_message message = wgvx_take_message(node->dp, i);
        check_message(node, &message);
    }
    if (pending.frames)
        check_frames(node);
    for (uint32_t i = 0; i < pending.events; i++) {
        wgvx_event event = wgvx_take_event(node->dp, i);
        MUST(event.peer >= FIRST_PEER && event.peer < FIRST_PEER + PEERS);
        MUST(event.events && event.events < 32);
    }
    for (uint32_t i = 0; i < pending.rare; i++) {
        wgvx_rare rare = wgvx_take_rare(node->dp, i);
        MUST(rare.length >= IPV4_HEADER && rare.length <= MAX_PACKET);
        MUST(rare.data[0] >> 4 == 4 || rare.data[0] >> 4 == 6);
    }
    uint64_t dropped = total_drops(node);
    MUST(dropped >= node->dropped);
    node->dropped = dropped;
    wgvx_clear(node->dp);
}
