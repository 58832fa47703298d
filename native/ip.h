/* Tunnel packets and inner frames, byte by byte: what wgvx/vxlan/ip.py, ethernet.py and ecn.py say. */
#ifndef WGVX_IP_H
#define WGVX_IP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "checksum.h"

#define ETHERNET_HEADER 14
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define UDP_HEADER 8
#define VXLAN_HEADER 8
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58
#define ECN_CE_MARK 3

static inline uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint32_t get_le32(const uint8_t *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void put_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t get_le64(const uint8_t *at)
{
    return get_le32(at) | (uint64_t)get_le32(at + 4) << 32;
}

static inline void put_le64(uint8_t *at, uint64_t value)
{
    put_le32(at, (uint32_t)value);
    put_le32(at + 4, (uint32_t)(value >> 32));
}

/* A 16-bit number as a part of a checksum's sum, which is in the byte order of memory. */
static inline uint64_t sum_of(uint32_t value)
{
    uint8_t bytes[2];
    uint16_t word;
    put16(bytes, value);
    memcpy(&word, bytes, 2);
    return word;
}

/* The checksum field, to be stored as bytes, for a sum. */
static inline void put_checksum(uint8_t *at, uint64_t sum)
{
    uint16_t check = (uint16_t)~checksum_fold(sum);
    memcpy(at, &check, 2);
}

/* UDP: "an all zero transmitted checksum value means that the transmitter generated no checksum". */
static inline void put_udp_checksum(uint8_t *at, uint64_t sum)
{
    uint16_t check = (uint16_t)~checksum_fold(sum);
    if (!check)
        check = 0xFFFF;
    memcpy(at, &check, 2);
}

/* The one's complement sum of numbers, 0 for 0 alone, as ip.complement has it. */
static inline uint16_t complement(uint32_t total)
{
    uint32_t folded = total % 0xFFFF;
    return (uint16_t)(0xFFFF - (folded ? folded : total ? 0xFFFF : 0));
}

/* A checksum field after one 16-bit word changed: RFC 1624, equation 3, HC' = ~(~HC + ~m + m'). */
static inline void replace_word(uint8_t *check, uint16_t old, uint16_t new)
{
    put16(check, complement((0xFFFFu - get16(check)) + (0xFFFFu - old) + new));
}

static inline uint8_t ecn_at(const uint8_t *ip)
{
    return ip[0] >> 4 == 4 ? ip[1] & 3 : ip[1] >> 4 & 3;
}

/* The IPv4 checksum is updated, not computed anew: one that was wrong stays wrong. */
static inline void set_ecn(uint8_t *ip, uint8_t ecn)
{
    if (ip[0] >> 4 == 4) {
        uint16_t old = get16(ip);
        ip[1] = (uint8_t)((ip[1] & ~3) | ecn);
        replace_word(ip + 10, old, get16(ip));
    } else {
        ip[1] = (uint8_t)((ip[1] & 0xCF) | ecn << 4);
    }
}

/* RFC 6040 as Linux does it: CE goes out as ECT(0), so a mark at the far end was made on the way. */
static inline uint8_t ecn_encapsulate(uint8_t inner)
{
    return inner == ECN_CE_MARK ? 2 : inner;
}

/* Whether no host can have it: RFC 1812, section 5.3.7, and RFC 4291, section 2.5. */
static inline bool is_martian(const uint8_t *address, unsigned length)
{
    static const uint8_t zero[16];
    if (length == 4)
        return address[0] == 127 || address[0] >> 4 == 14 || !memcmp(address, zero, 4) ||
               !memcmp(address, "\xff\xff\xff\xff", 4);
    return address[0] == 0xFF || (!memcmp(address, zero, 15) && address[15] <= 1);
}

/* Whether a hub may forward to it: not where no host is, nor to a link-local. */
static inline bool is_routable(const uint8_t *address, unsigned length)
{
    if (is_martian(address, length))
        return false;
    if (length == 4)
        return !(address[0] == 0xA9 && address[1] == 0xFE);
    return !(address[0] == 0xFE && (address[1] & 0xC0) == 0x80);
}

/* --- inner frames ------------------------------------------------------------------------------ */

/* What of a frame of at least 14 bytes its EtherType, behind at most 8 VLAN tags, promises. */
struct inner {
    uint16_t ethertype;
    uint8_t version; /* 4, 6; 0: no IP, or not all of its fixed header there */
    uint32_t l3;     /* where the payload begins */
};

static inline struct inner inner_of(const uint8_t *frame, uint32_t length)
{
    struct inner inner = {get16(frame + 12), 0, ETHERNET_HEADER};
    for (int tags = 0; tags < 8; tags++) {
        if ((inner.ethertype != 0x8100 && inner.ethertype != 0x88A8) || length < inner.l3 + 4)
            break;
        inner.ethertype = get16(frame + inner.l3 + 2);
        inner.l3 += 4;
    }
    uint32_t room = length - inner.l3;
    if (inner.ethertype == 0x0800) {
        if (room >= IPV4_HEADER && frame[inner.l3] >= 0x45 && frame[inner.l3] <= 0x4F)
            inner.version = 4;
    } else if (inner.ethertype == 0x86DD && room >= IPV6_HEADER && frame[inner.l3] >> 4 == 6) {
        inner.version = 6;
    }
    return inner;
}

/* The UDP source port of a frame's flow, 49152..65535: see wgvx/vxlan/flow.py. */
/* CRC-32 of zlib and Ethernet. */
uint32_t flow_crc32(const uint8_t *data, uint32_t length);
uint16_t flow_source_port(const uint8_t *frame, uint32_t length, const struct inner *);

#endif
