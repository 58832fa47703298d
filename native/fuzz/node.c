#include "node.h"

#include <stdlib.h>

#define VXLAN_AROUND (UDP_HEADER + VXLAN_HEADER)

/* --- what the fuzzer wrote ---------------------------------------------------------------------- */

uint8_t take8(struct bytes *from)
{
    if (!from->left)
        return 0;
    from->left--;
    return *from->data++;
}

uint16_t take16(struct bytes *from)
{
    uint16_t high = take8(from);
    return (uint16_t)(high << 8 | take8(from));
}

struct bytes take(struct bytes *from, size_t wanted)
{
    struct bytes taken = {from->data, wanted < from->left ? wanted : from->left};
    from->data += taken.left;
    from->left -= taken.left;
    return taken;
}

/* --- packets ------------------------------------------------------------------------------------ */

uint16_t naive_checksum(uint32_t before, const uint8_t *data, size_t length)
{
    uint64_t sum = before;
    for (size_t i = 0; i < length; i++)
        sum += i & 1 ? data[i] : (uint32_t)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

uint32_t naive_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t length)
{
    bool v4 = ip[0] >> 4 == 4;
    const uint8_t *addresses = ip + (v4 ? 12 : 8);
    uint16_t sum = (uint16_t)~naive_checksum(0, addresses, v4 ? 8 : 32);
    return sum + protocol + length;
}

/* Where in an IP packet a TCP or UDP header begins and ends; 0 where there is none. */
static uint32_t upper_of(const uint8_t *ip, uint32_t length, uint8_t *protocol, uint32_t *end)
{
    uint32_t at, head;
    if (length >= IPV4_HEADER && ip[0] >> 4 == 4) {
        *protocol = ip[9];
        at = (ip[0] & 0x0Fu) * 4;
        if (at < IPV4_HEADER)
            return 0;
    } else if (length >= IPV6_HEADER && ip[0] >> 4 == 6) {
        *protocol = ip[6];
        at = IPV6_HEADER;
        while ((*protocol == 0 || *protocol == 43 || *protocol == 60) && at + 8 <= length) {
            *protocol = ip[at];
            at += 8 + ip[at + 1] * 8u;
        }
    } else {
        return 0;
    }
    if (at > length || (*protocol != PROTOCOL_TCP && *protocol != PROTOCOL_UDP))
        return 0;
    head = UDP_HEADER;
    if (*protocol == PROTOCOL_TCP) {
        if (at + 20 > length)
            return 0;
        head = (ip[at + 12] >> 4) * 4u;
        if (head < 20)
            return 0;
    }
    *end = at + head;
    return at + head <= length ? at : 0;
}

static void mend_lengths(uint8_t *ip, uint32_t length)
{
    if (length >= IPV4_HEADER && ip[0] >> 4 == 4) {
        uint32_t head = (ip[0] & 0x0Fu) * 4;
        put16(ip + 2, length);
        put16(ip + 10, 0);
        if (head >= IPV4_HEADER && head <= length)
            put16(ip + 10, naive_checksum(0, ip, head));
    } else if (length >= IPV6_HEADER && ip[0] >> 4 == 6) {
        put16(ip + 4, length - IPV6_HEADER);
    }
}

static void mend_ip(uint8_t *ip, uint32_t length, bool pseudo_only)
{
    uint8_t protocol;
    uint32_t end, at;
    mend_lengths(ip, length);
    at = upper_of(ip, length, &protocol, &end);
    if (!at)
        return;
    uint8_t *field = ip + at + (protocol == PROTOCOL_TCP ? VNET_TCP_CHECK : VNET_UDP_CHECK);
    uint32_t pseudo = naive_pseudo(ip, protocol, length - at);
    if (protocol == PROTOCOL_UDP)
        put16(ip + at + 4, length - at);
    put16(field, 0);
    uint16_t check = naive_checksum(pseudo, ip + at, pseudo_only ? 0 : length - at);
    if (pseudo_only)
        check = (uint16_t)~check;
    else if (protocol == PROTOCOL_UDP && !check)
        check = 0xFFFF;
    put16(field, check);
}

static uint32_t l3_of(const uint8_t *frame, uint32_t length)
{
    uint32_t l3 = ETHERNET_HEADER;
    if (length < ETHERNET_HEADER)
        return length;
    for (int tags = 0; tags < 8 && l3 + 4 <= length; tags++, l3 += 4)
        if (get16(frame + l3 - 2) != 0x8100 && get16(frame + l3 - 2) != 0x88A8)
            break;
    return l3;
}

static bool has_ip(const uint8_t *frame, uint32_t length, uint32_t l3)
{
    if (l3 >= length)
        return false;
    uint16_t type = get16(frame + l3 - 2);
    return (type == 0x0800 && frame[l3] >> 4 == 4) || (type == 0x86DD && frame[l3] >> 4 == 6);
}

void mend_frame(uint8_t *frame, uint32_t length)
{
    uint32_t l3 = l3_of(frame, length);
    if (has_ip(frame, length, l3))
        mend_ip(frame + l3, length - l3, false);
}

void mend_large(uint8_t *frame, uint32_t length, uint16_t gso_size, struct vnet_header *header)
{
    uint32_t l3 = l3_of(frame, length), end, at;
    uint8_t protocol;
    *header = (struct vnet_header){0};
    if (!has_ip(frame, length, l3))
        return;
    mend_ip(frame + l3, length - l3, true);
    at = upper_of(frame + l3, length - l3, &protocol, &end);
    if (!at)
        return;
    bool tcp = protocol == PROTOCOL_TCP, v4 = frame[l3] >> 4 == 4;
    *header = (struct vnet_header){
        .flags = VNET_NEEDS_CSUM,
        .gso_type = gso_size ? tcp ? v4 ? VNET_TCPV4 : VNET_TCPV6 : VNET_UDP_L4 : 0,
        .gso_size = gso_size,
        .csum_start = (uint16_t)(l3 + at),
        .csum_offset = tcp ? VNET_TCP_CHECK : VNET_UDP_CHECK,
    };
}

/* A tunnel packet's UDP may say less than IP; if it carries VXLAN, the frame is mended too. */
void mend_packet(uint8_t *ip, uint32_t length)
{
    uint8_t protocol;
    uint32_t end, at = upper_of(ip, length, &protocol, &end);
    if (at && protocol == PROTOCOL_UDP && length - at > VXLAN_AROUND)
        mend_frame(ip + at + VXLAN_AROUND, length - at - VXLAN_AROUND);
    mend_ip(ip, length, false);
}

static void put_address(uint8_t *at, unsigned number, bool ipv6)
{
    static const uint8_t v4[4] = {10, 254, 0, 0}, v6[16] = {0xFD, 0, 0, 0xFE};
    memcpy(at, ipv6 ? v6 : v4, ipv6 ? 16 : 4);
    at[ipv6 ? 15 : 3] = (uint8_t)number;
}

uint32_t wrap(uint8_t *packet, uint32_t room, const uint8_t *frame, uint32_t length, unsigned from,
              unsigned to, bool ipv6, uint32_t vni, uint16_t port)
{
    uint32_t head = ipv6 ? IPV6_HEADER : IPV4_HEADER, total = head + VXLAN_AROUND + length;
    if (total > room || total > 65535)
        return 0;
    memset(packet, 0, head + VXLAN_AROUND);
    packet[0] = ipv6 ? 0x60 : 0x45;
    packet[ipv6 ? 6 : 9] = PROTOCOL_UDP;
    packet[ipv6 ? 7 : 8] = 64;
    put_address(packet + (ipv6 ? 8 : 12), from, ipv6);
    put_address(packet + (ipv6 ? 24 : 16), to, ipv6);
    uint8_t *udp = packet + head;
    put16(udp, 50000);
    put16(udp + 2, port);
    udp[8] = 0x08;
    udp[12] = (uint8_t)(vni >> 16);
    put16(udp + 13, vni & 0xFFFF);
    memcpy(udp + VXLAN_AROUND, frame, length);
    mend_ip(packet, total, false);
    return total;
}

/* --- the node ----------------------------------------------------------------------------------- */

static void keys_of(unsigned peer, uint8_t generation, uint8_t ours[32], uint8_t theirs[32])
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

static void connect_peer(struct node *node, unsigned peer, bool initiator)
{
    uint8_t ours[32], theirs[32], generation = ++node->generation[peer];
    keys_of(peer, generation, ours, theirs);
    node->counter[peer] = 0;
    uint32_t index = index_of(peer, generation), owner;
    if (wgvx_index_peer(node->dp, index, &owner))
        return; /* 256 generations later: an index is never taken twice. */
    wgvx_install(node->dp, peer, index, index | 0x10000, ours, theirs, initiator, node->now);
}

static void add_peer(struct node *node, unsigned peer)
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

static void set_mtu(struct node *node, uint32_t mtu)
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
    set_mtu(node, settings & 2 ? 65535 : 1420);
    for (unsigned peer = FIRST_PEER; peer < FIRST_PEER + PEERS; peer++) {
        add_peer(node, peer);
        if (!(settings & 4) || peer == FIRST_PEER)
            connect_peer(node, peer, peer != 3);
    }
    wgvx_add_network(node->dp, VNI, UDP_PORT, true, 300 * SECOND, 8, NULL, 0);
    wgvx_add_port(node->dp, VNI, 1, own);
    wgvx_add_network(node->dp, OTHER_VNI, OTHER_UDP_PORT, settings & 8, 0, 0, accept, 1);
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
    keys_of(peer, node->generation[peer], ours, theirs);
    put_le32(to, 4);
    put_le32(to + 4, index_of(peer, node->generation[peer]));
    put_le64(to + 8, node->counter[peer]);
    memcpy(to + TRANSPORT_HEADER, plaintext, length);
    aead_seal(&aead, theirs, node->counter[peer]++, to + TRANSPORT_HEADER, length);
    aead_stop(&aead);
    return TRANSPORT_HEADER + length + AEAD_TAG_LENGTH;
}

static uint64_t total_drops(struct node *node)
{
    uint64_t counts[REASONS], total = 0;
    wgvx_drops(node->dp, counts);
    for (int reason = 0; reason < REASONS; reason++)
        total += counts[reason];
    return total;
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

/* --- changes ------------------------------------------------------------------------------------ */

static void edit_peer(struct node *node, unsigned peer, uint8_t what, struct bytes *from)
{
    uint8_t address[16], prefix;
    wgvx_endpoint endpoint = node_endpoint(peer);
    switch (what) {
    case 0:
        if (node->is_peer[peer])
            wgvx_remove_peer(node->dp, peer);
        else
            add_peer(node, peer);
        node->is_peer[peer] = wgvx_allowed_ip_count(node->dp, peer) > 0;
        break;
    case 1:
    case 2:
        if (node->is_peer[peer])
            connect_peer(node, peer, what == 1);
        break;
    case 3:
        wgvx_forget_keys(node->dp, peer);
        break;
    case 4:
        endpoint.port = take8(from);
        endpoint.local_length = endpoint.port & 1 ? 4 : 0;
        wgvx_set_endpoint(node->dp, peer, endpoint.port ? &endpoint : NULL);
        break;
    case 5: /* Somebody else's address: prefixes move. */
    case 6:
        put_address(address, FIRST_PEER + take8(from) % PEERS, what == 6);
        prefix = what == 6 ? 128 : 32;
        if (node->is_peer[peer])
            wgvx_add_allowed_ip(node->dp, peer, address, what == 6 ? 16 : 4, prefix);
        break;
    case 7:
        wgvx_clear_allowed_ips(node->dp, peer);
        break;
    case 8:
        wgvx_send_staged(node->dp, peer, node->now, take8(from) & 1);
        break;
    case 9:
        wgvx_drop_staged(node->dp, peer);
        break;
    case 10:
        wgvx_disarm(node->dp, peer, take8(from));
        break;
    case 11:
        wgvx_forget_local_address(node->dp, peer);
        break;
    }
}

static void edit_fdb(struct node *node, struct bytes *from)
{
    uint8_t what = take8(from), mac[6] = {2, 0, 0, 0, 0, take8(from)};
    uint8_t vtep[16], replaced[16], replaced_length;
    uint32_t vni = what & 1 ? VNI : OTHER_VNI;
    unsigned number = FIRST_PEER + (what >> 1) % PEERS;
    bool ipv6 = what & 8;
    put_address(vtep, number, ipv6);
    if (mac[5] >= 0xF0)
        memset(mac, mac[5] & 1 ? 0xFF : 0, 6);
    switch (what >> 5) {
    case 0:
        wgvx_fdb_delete(node->dp, vni, mac, vtep, what & 16 ? 0 : ipv6 ? 16 : 4);
        break;
    case 1:
        wgvx_fdb_flush(node->dp, vni, vtep, mac[5] & 1 ? 0 : ipv6 ? 16 : 4, what & 16);
        break;
    default:
        wgvx_fdb_add(node->dp, vni, mac, vtep, ipv6 ? 16 : 4, replaced, &replaced_length);
    }
    wgvx_row rows[32];
    wgvx_fdb_rows(node->dp, vni, node->now, rows, 32);
}

void node_edit(struct node *node, struct bytes *from)
{
    static const uint64_t jumps[] = {1, SECOND, 10 * SECOND, 120 * SECOND, 165 * SECOND,
                                     180 * SECOND, 300 * SECOND};
    uint8_t what = take8(from);
    if (what < 0xA0) {
        edit_peer(node, FIRST_PEER + what % PEERS, what / PEERS % 12, from);
    } else if (what < 0xC0) {
        edit_fdb(node, from);
    } else if (what < 0xD0) {
        node->now += jumps[what % (sizeof jumps / sizeof *jumps)];
    } else if (what < 0xD8) {
        set_mtu(node, take16(from));
    } else if (what < 0xE0) {
        wgvx_set_forward(node->dp, what & 1);
    } else if (what < 0xE8) {
        wgvx_age(node->dp, node->now);
    } else if (what < 0xEC) {
        wgvx_expire_sending_keys(node->dp);
    }
    node_check(node);
}

/* --- checks ------------------------------------------------------------------------------------- */

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
    keys_of(peer, index & 0xFF, ours, theirs);
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
    uint8_t *before = malloc(room + 1), *after = malloc(room + 1), *joined = malloc(joined_room + 1);
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
