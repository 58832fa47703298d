/* Software segmentation with the rules of Linux: inet_gso_segment, ipv6_gso_segment,
 * tcp_gso_segment, __udp_gso_segment and skb_checksum_help.
 */
#include "segment.h"

#include "ip.h"

#define TCP_HEADER 20
#define FIN_PSH 0x09
#define CWR 0x80
#define FRAGMENT_MASK 0x3FFF /* MF and the offset */

_Static_assert(sizeof(struct vnet_header) == VNET_HEADER_LENGTH, "as the kernel lays it out");

/* 16 bits as they are in memory, to be added to a sum. */
static uint16_t word_at(const uint8_t *at)
{
    uint16_t word;
    memcpy(&word, at, 2);
    return word;
}

/* One's complement subtraction. */
static uint64_t less(uint64_t sum, uint64_t word)
{
    return sum + (0xFFFF ^ word);
}

/* --- is it what the virtio-net header says? --------------------------------------------------- */

static bool is_tcp(const struct segments *s)
{
    return s->gso_type != VNET_UDP_L4;
}

static bool is_ipv6(const struct segments *s)
{
    return s->frame[s->l3] >> 4 == 6;
}

/* Where TCP or UDP begins; 0 where `protocol` is not what follows. */
static size_t ipv4_upper(const struct segments *s, uint8_t protocol)
{
    const uint8_t *ip = s->frame + s->l3;
    if (get16(ip + 2) != s->length - s->l3 || get16(ip + 6) & FRAGMENT_MASK || ip[9] != protocol)
        return 0;
    return s->l3 + (ip[0] & 0x0Fu) * 4;
}

/* Hop-by-hop options, routing headers, destination options: what the kernel's own segmentation
 * passes over, in any order. */
static bool is_extension(uint8_t next_header)
{
    return next_header == 0 || next_header == 43 || next_header == 60;
}

static size_t ipv6_upper(const struct segments *s, uint8_t protocol)
{
    const uint8_t *ip = s->frame + s->l3;
    if (get16(ip + 4) != s->length - s->l3 - IPV6_HEADER)
        return 0;
    uint8_t next_header = ip[6];
    size_t at = s->l3 + IPV6_HEADER;
    while (is_extension(next_header)) {
        if (at + 8 > s->length)
            return 0;
        next_header = s->frame[at];
        at += 8 + s->frame[at + 1] * 8u;
    }
    return next_header == protocol ? at : 0;
}

/* Length of the TCP or UDP header; 0 where it is not all there or, for UDP, not as long as IP. */
static size_t upper_header(const struct segments *s, size_t at)
{
    const uint8_t *upper = s->frame + at;
    size_t room = s->length > at ? s->length - at : 0, length;
    if (!is_tcp(s))
        return room >= UDP_HEADER && get16(upper + 4) == room ? UDP_HEADER : 0;
    if (room < TCP_HEADER)
        return 0;
    length = (upper[12] >> 4) * 4u;
    return length >= TCP_HEADER && length <= room ? length : 0;
}

/* Sets l4 and head. `version` is that of IP at l3, 0 without. */
static bool check_gso(struct segments *s, const struct vnet_header *header, uint8_t version)
{
    uint8_t protocol = is_tcp(s) ? PROTOCOL_TCP : PROTOCOL_UDP;
    uint16_t csum_offset = is_tcp(s) ? VNET_TCP_CHECK : VNET_UDP_CHECK;
    /* A sum of the pseudo-header must be there: large frames without one are of no kernel. */
    if (!s->csum_start || !header->gso_size || !version)
        return false;
    if (is_tcp(s) && version != (s->gso_type == VNET_TCPV4 ? 4 : 6))
        return false;
    size_t l4 = version == 4 ? ipv4_upper(s, protocol) : ipv6_upper(s, protocol);
    if (!l4 || header->csum_start != l4 || header->csum_offset != csum_offset)
        return false;
    size_t length = upper_header(s, l4);
    if (!length || l4 + length > UINT16_MAX)
        return false;
    s->l4 = (uint16_t)l4;
    s->head = (uint16_t)(l4 + length);
    return true;
}

/* The checksum to complete is there and behind the Ethernet header. */
static bool check_csum(struct segments *s, const struct vnet_header *header)
{
    if (header->csum_start < ETHERNET_HEADER ||
        (size_t)header->csum_start + header->csum_offset + 2 > s->length)
        return false;
    s->csum_start = header->csum_start;
    s->csum_offset = header->csum_offset;
    s->l4 = header->csum_start;
    return true;
}

/* --- what all segments have in common --------------------------------------------------------- */

static void sum_headers(struct segments *s)
{
    const uint8_t *ip = s->frame + s->l3, *l4 = s->frame + s->l4;
    s->l2_sum = checksum_add(s->frame, s->l3);
    s->ip_sum = checksum_add(ip, (size_t)s->l4 - s->l3);
    if (is_ipv6(s))
        s->ip_sum = less(s->ip_sum, word_at(ip + 4));
    else
        s->ip_sum = less(less(less(s->ip_sum, word_at(ip + 2)), word_at(ip + 4)), word_at(ip + 10));
    s->l4_sum = checksum_add(l4, (size_t)s->head - s->l4);
    if (is_tcp(s)) {
        s->l4_sum = less(less(s->l4_sum, word_at(l4 + 4)), word_at(l4 + 6));
        s->l4_sum = less(less(s->l4_sum, word_at(l4 + 12)), word_at(l4 + VNET_TCP_CHECK));
    } else {
        s->l4_sum = less(less(s->l4_sum, word_at(l4 + 4)), word_at(l4 + VNET_UDP_CHECK));
    }
    /* As the kernel, from what its stack has put there, not from the addresses: with an IPv6
     * routing header the destination that counts is another one. */
    s->pseudo_sum = less(word_at(l4 + s->csum_offset), sum_of(s->length - s->l4));
}

bool segments_begin(struct segments *s, const struct vnet_header *header, const uint8_t *frame,
                    size_t length)
{
    struct inner inner = {0};
    *s = (struct segments){.frame = frame, .length = (uint32_t)length, .count = 1, .most = 1};
    if (header->flags & VNET_NEEDS_CSUM && !check_csum(s, header))
        return false;
    if (length >= ETHERNET_HEADER)
        inner = inner_of(frame, s->length);
    if (inner.version)
        s->l3 = (uint16_t)inner.l3;
    if (!header->gso_type)
        return true;

    s->gso_type = header->gso_type;
    if (s->gso_type == (VNET_TCPV4 | VNET_ECN) || s->gso_type == (VNET_TCPV6 | VNET_ECN))
        s->gso_type &= (uint8_t)~VNET_ECN;
    if (s->gso_type != VNET_TCPV4 && s->gso_type != VNET_TCPV6 && s->gso_type != VNET_UDP_L4)
        return false;
    if (!check_gso(s, header, inner.version))
        return false;
    uint32_t payload = s->length - s->head;
    if (payload <= header->gso_size) {
        s->gso_type = 0; /* It fits: no more than its checksum is missing. */
        return true;
    }
    s->gso_size = header->gso_size;
    s->most = s->count = (payload + s->gso_size - 1) / s->gso_size;
    sum_headers(s);
    s->csum_start = 0;
    return true;
}

/* --- cutting ---------------------------------------------------------------------------------- */

static bool is_last(const struct segments *s)
{
    return s->next + 1 == s->count;
}

size_t segments_length(const struct segments *s)
{
    if (is_last(s))
        return s->length - (size_t)s->next * s->gso_size;
    return (size_t)s->head + s->gso_size;
}

static uint64_t write_whole(const struct segments *s, uint8_t *to)
{
    if (!s->csum_start)
        return checksum_copy(to, s->frame, s->length);
    uint8_t *start = to + s->csum_start, *field = start + s->csum_offset;
    uint64_t before = checksum_copy(to, s->frame, s->csum_start);
    uint64_t after = checksum_copy(start, s->frame + s->csum_start, s->length - s->csum_start);
    uint16_t pseudo = word_at(field);
    /* Not UDP alone: skb_checksum_help does so for all. */
    put_udp_checksum(field, after);
    if ((s->csum_start | s->csum_offset) & 1) /* No protocol's, but a raw socket may say so. */
        return checksum_add(to, s->length);
    return less(before + after, pseudo) + word_at(field);
}

/* Writes what differs in the IP header; its sum. `length`: of the packet. */
static uint64_t finish_ip(const struct segments *s, uint8_t *ip, uint32_t length)
{
    if (is_ipv6(s)) {
        put16(ip + 4, length - IPV6_HEADER);
        return s->ip_sum + word_at(ip + 4);
    }
    put16(ip + 2, length);
    put16(ip + 4, get16(ip + 4) + s->next);
    uint64_t sum = s->ip_sum + word_at(ip + 2) + word_at(ip + 4);
    put_checksum(ip + 10, sum);
    return sum + word_at(ip + 10);
}

/* The same for UDP. `payload`: the sum over it. */
static uint64_t finish_udp(const struct segments *s, uint8_t *udp, uint32_t length,
                           uint64_t payload)
{
    put16(udp + 4, length);
    uint64_t sum = s->l4_sum + word_at(udp + 4) + payload;
    put_udp_checksum(udp + VNET_UDP_CHECK, sum + s->pseudo_sum + sum_of(length));
    return sum + word_at(udp + VNET_UDP_CHECK);
}

static uint64_t finish_tcp(const struct segments *s, uint8_t *tcp, uint32_t length,
                           uint64_t payload)
{
    uint32_t seq = (uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6);
    seq += s->next * s->gso_size;
    put16(tcp + 4, seq >> 16);
    put16(tcp + 6, seq);
    if (s->next)
        tcp[13] &= (uint8_t)~CWR;
    if (!is_last(s))
        tcp[13] &= (uint8_t)~FIN_PSH;
    uint64_t sum = s->l4_sum + word_at(tcp + 4) + word_at(tcp + 6) + word_at(tcp + 12) + payload;
    put_checksum(tcp + VNET_TCP_CHECK, sum + s->pseudo_sum + sum_of(length));
    return sum + word_at(tcp + VNET_TCP_CHECK);
}

static uint64_t write_segment(const struct segments *s, uint8_t *to)
{
    uint32_t length = (uint32_t)segments_length(s);
    const uint8_t *from = s->frame + s->head + (size_t)s->next * s->gso_size;
    memcpy(to, s->frame, s->head);
    uint64_t sum = checksum_copy(to + s->head, from, length - s->head);
    uint8_t *l4 = to + s->l4;
    uint32_t l4_length = length - s->l4;
    sum = is_tcp(s) ? finish_tcp(s, l4, l4_length, sum) : finish_udp(s, l4, l4_length, sum);
    return s->l2_sum + finish_ip(s, to + s->l3, length - s->l3) + sum;
}

uint64_t segments_next(struct segments *s, uint8_t *to)
{
    uint64_t sum = s->gso_size ? write_segment(s, to) : write_whole(s, to);
    s->next++;
    return sum;
}
