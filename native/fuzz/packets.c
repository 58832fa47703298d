#include "packets.h"

#define VXLAN_AROUND (UDP_HEADER + VXLAN_HEADER)

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

void put_address(uint8_t *at, unsigned number, bool ipv6)
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
