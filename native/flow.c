/* The UDP source port by which the underlay spreads flows. Twin of wgvx/vxlan/flow.py. */
#include <pthread.h>

#include "ip.h"

#define FIRST_SOURCE_PORT 49152
#define MULTIPLIER UINT32_C(0x9E3779B1)
#define POLYNOMIAL UINT32_C(0xEDB88320)

/* CRC-32 of zlib and Ethernet, four bytes at a step. */
static uint32_t table[4][256];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (int step = 1; step < 4; step++)
        for (uint32_t byte = 0; byte < 256; byte++)
            table[step][byte] =
                table[step - 1][byte] >> 8 ^ table[0][table[step - 1][byte] & 0xFF];
}

uint32_t flow_crc32(const uint8_t *data, uint32_t length)
{
    pthread_once(&filled, fill);
    uint32_t crc = ~UINT32_C(0);
    for (; length >= 4; data += 4, length -= 4) {
        crc ^= get_le32(data);
        crc = table[3][crc & 0xFF] ^ table[2][crc >> 8 & 0xFF] ^ table[1][crc >> 16 & 0xFF] ^
              table[0][crc >> 24];
    }
    for (; length; data++, length--)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xFF];
    return ~crc;
}

static bool has_ports(uint8_t protocol)
{
    return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == 132;
}

/* The bytes that all frames of a flow have in common: see flow.flow_key. */
static uint32_t flow_key(uint8_t key[64], const uint8_t *frame, uint32_t length,
                         const struct inner *inner)
{
    const uint8_t *ip = frame + inner->l3;
    uint32_t used = 14, upper;
    uint8_t protocol;
    memcpy(key, frame, 12);
    put16(key + 12, inner->ethertype);
    if (inner->version == 4) {
        protocol = ip[9];
        memcpy(key + used, ip + 12, 8);
        key[used + 8] = protocol;
        used += 9;
        if (get16(ip + 6) & 0x3FFF)
            return used; /* Later fragments have no ports: so the first goes without them too. */
        upper = inner->l3 + (ip[0] & 0x0Fu) * 4;
    } else if (inner->version == 6) {
        protocol = ip[6];
        memcpy(key + used, ip + 8, 32);
        key[used + 32] = protocol;
        used += 33;
        upper = inner->l3 + IPV6_HEADER;
    } else {
        return used;
    }
    if (has_ports(protocol) && length >= upper + 4) {
        memcpy(key + used, frame + upper, 4);
        used += 4;
    }
    return used;
}

uint16_t flow_source_port(const uint8_t *frame, uint32_t length, const struct inner *inner)
{
    uint8_t key[64];
    pthread_once(&filled, fill);
    uint32_t crc = flow_crc32(key, flow_key(key, frame, length, inner));
    return (uint16_t)(FIRST_SOURCE_PORT + ((crc * MULTIPLIER) >> 18));
}
