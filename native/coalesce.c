/* What Linux' GRO does (tcp_gro_receive, udp_gro_receive), but stricter: joined is only what
 * segmentation gives back byte for byte.
 */
#include "coalesce.h"

#include "ip.h"

#define TCP_HEADER 20
#define TCP_ACK 0x10
#define TCP_PSH 0x08
/* Behind the data offset: reserved bits, then flags. */
#define TCP_FLAGS_MASK 0x0FFF
/* The longest IP packet. Of IPv6 too: kernels that know no BIG TCP take no more. */
#define MAX_PACKET 65535
/* Two VLAN tags: large frames behind many, kernels drop. So all headers are within 128 bytes. */
#define MAX_L3 (ETHERNET_HEADER + 2 * 4)

/* A frame that may be joined to another. */
struct piece {
    bool tcp;
    uint8_t flags;
    uint16_t head;
    uint32_t payload;
};

/* --- what may be joined ----------------------------------------------------------------------- */

static bool inspect_ip(const struct frame *frame, uint8_t *protocol)
{
    const uint8_t *ip = frame->data + frame->l3;
    if (ip[0] >> 4 == 6) {
        *protocol = ip[6];
        return frame->l4 == frame->l3 + IPV6_HEADER;
    }
    *protocol = ip[9];
    /* 0xFFFF is as right as 0, but not what comes out of a computation. */
    return ip[0] == 0x45 && frame->l4 == frame->l3 + IPV4_HEADER && get16(ip + 10) != 0xFFFF;
}

static bool inspect_tcp(const struct frame *frame, struct piece *piece)
{
    const uint8_t *tcp = frame->data + frame->l4;
    if (frame->length < frame->l4 + (size_t)TCP_HEADER)
        return false;
    unsigned header = (tcp[12] >> 4) * 4u;
    piece->head = (uint16_t)(frame->l4 + header);
    piece->flags = tcp[13];
    return header >= TCP_HEADER &&
           (get16(tcp + 12) & TCP_FLAGS_MASK & ~TCP_PSH) == TCP_ACK &&
           get16(tcp + VNET_TCP_CHECK) != 0xFFFF && !get16(tcp + 18);
}

static bool inspect_udp(const struct frame *frame, struct piece *piece)
{
    const uint8_t *udp = frame->data + frame->l4;
    if (frame->length < frame->l4 + (size_t)UDP_HEADER)
        return false;
    piece->head = (uint16_t)(frame->l4 + UDP_HEADER);
    piece->flags = 0;
    return get16(udp + 4) == frame->length - frame->l4 && get16(udp + VNET_UDP_CHECK);
}

/* False for a frame that goes alone. */
static bool inspect(const struct frame *frame, struct piece *piece)
{
    uint8_t protocol;
    if (!frame->l4 || frame->l3 > MAX_L3)
        return false;
    if (frame->header.flags & VNET_NEEDS_CSUM || frame->header.gso_type)
        return false;
    if (!inspect_ip(frame, &protocol))
        return false;
    piece->tcp = protocol == PROTOCOL_TCP;
    if (piece->tcp ? !inspect_tcp(frame, piece)
                   : protocol != PROTOCOL_UDP || !inspect_udp(frame, piece))
        return false;
    if (frame->length <= piece->head)
        return false;
    piece->payload = frame->length - piece->head;
    return true;
}

/* --- what belongs together -------------------------------------------------------------------- */

static bool same(const uint8_t *one, const uint8_t *other, size_t from, size_t to)
{
    return !memcmp(one + from, other + from, to - from);
}

static bool same_ip(const struct coalesced *c, const uint8_t *ip)
{
    const uint8_t *first = c->first.data + c->first.l3;
    if (first[0] >> 4 == 6)
        return same(first, ip, 0, 4) && same(first, ip, 6, IPV6_HEADER);
    /* Also with DF and an ID that never changes: segmentation would count it up. */
    return same(first, ip, 0, 2) && get16(ip + 4) == c->next_id && same(first, ip, 6, 10) &&
           same(first, ip, 12, IPV4_HEADER);
}

static bool same_tcp(const struct coalesced *c, const uint8_t *tcp)
{
    const uint8_t *first = c->first.data + c->first.l4;
    return same(first, tcp, 0, 4) && get32(tcp + 4) == c->next_seq && same(first, tcp, 8, 13) &&
           same(first, tcp, 14, 16) && same(first, tcp, TCP_HEADER, c->head - c->first.l4);
}

static bool same_flow(const struct coalesced *c, const struct frame *frame,
                      const struct piece *piece)
{
    if (frame->l3 != c->first.l3 || frame->l4 != c->first.l4 || piece->head != c->head ||
        !same(c->first.data, frame->data, 0, frame->l3) || !same_ip(c, frame->data + frame->l3))
        return false;
    const uint8_t *l4 = frame->data + frame->l4;
    return piece->tcp ? same_tcp(c, l4) : same(c->first.data + c->first.l4, l4, 0, 4);
}

/* --- joining ---------------------------------------------------------------------------------- */

/* What is remembered of the last frame, whichever it is. */
static void follow(struct coalesced *c, const struct piece *piece)
{
    c->frames++;
    c->length += piece->payload;
    c->next_seq += piece->payload;
    c->next_id++;
    c->last_flags = piece->flags;
    c->closed = piece->payload < c->payload || piece->flags & TCP_PSH;
}

void coalesce_begin(struct coalesced *c, const struct frame *frame)
{
    struct piece piece;
    c->header = frame->header;
    c->first = *frame;
    c->parts[1] = (struct iovec){frame->data, frame->length};
    if (!inspect(frame, &piece)) {
        c->frames = 1;
        c->length = frame->length;
        c->closed = true;
        return;
    }
    c->tcp = piece.tcp;
    c->head = piece.head;
    c->payload = (uint16_t)piece.payload;
    c->frames = 0;
    c->length = piece.head;
    c->next_seq = get32(frame->data + frame->l4 + 4);
    c->next_id = get16(frame->data + frame->l3 + 4);
    follow(c, &piece);
}

bool coalesce_add(struct coalesced *c, const struct frame *frame, bool tcp, bool udp,
                  unsigned max_frames)
{
    struct piece piece;
    if (!c->frames || c->closed || c->frames >= max_frames || c->frames >= COALESCE_MAX_FRAMES)
        return false;
    if (!inspect(frame, &piece) || !(piece.tcp ? tcp : udp))
        return false;
    if (piece.payload > c->payload || c->length - c->first.l3 + piece.payload > MAX_PACKET)
        return false;
    if (!same_flow(c, frame, &piece))
        return false;
    c->parts[1 + c->frames] = (struct iovec){frame->data + piece.head, piece.payload};
    follow(c, &piece);
    return true;
}

/* --- the super-frame -------------------------------------------------------------------------- */

/* Returns the sum of the pseudo-header, less the protocol and the length. */
static uint64_t finish_ip(const struct coalesced *c, uint8_t *ip)
{
    uint32_t length = c->length - c->first.l3;
    if (ip[0] >> 4 == 6) {
        put16(ip + 4, length - IPV6_HEADER);
        return checksum_add(ip + 8, 32);
    }
    put16(ip + 2, length);
    put16(ip + 10, 0);
    put_checksum(ip + 10, checksum_add(ip, IPV4_HEADER));
    return checksum_add(ip + 12, 8);
}

static void finish_headers(struct coalesced *c)
{
    uint8_t *l4 = c->first.data + c->first.l4;
    uint32_t length = c->length - c->first.l4;
    uint16_t check = c->tcp ? VNET_TCP_CHECK : VNET_UDP_CHECK;
    uint64_t sum = finish_ip(c, c->first.data + c->first.l3) +
                   sum_of(c->tcp ? PROTOCOL_TCP : PROTOCOL_UDP) + sum_of(length);
    uint16_t partial = checksum_fold(sum);
    memcpy(l4 + check, &partial, 2);
    if (c->tcp)
        l4[13] = c->last_flags;
    else
        put16(l4 + 4, length);
    bool ipv6 = c->first.data[c->first.l3] >> 4 == 6;
    c->header = (struct vnet_header){
        .flags = VNET_NEEDS_CSUM,
        .gso_type = c->tcp ? ipv6 ? VNET_TCPV6 : VNET_TCPV4 : VNET_UDP_L4,
        .hdr_len = c->head,
        .gso_size = c->payload,
        .csum_start = c->first.l4,
        .csum_offset = check,
    };
}

int coalesce_finish(struct coalesced *c)
{
    if (c->frames > 1)
        finish_headers(c);
    c->parts[0] = (struct iovec){&c->header, VNET_HEADER_LENGTH};
    return (int)c->frames + 1;
}
