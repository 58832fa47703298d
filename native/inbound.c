/* The way of a datagram in, top to bottom: receive -> transport (open, replay, roam, inner source)
 * -> deliver (UDP, VXLAN, learning) or relay (a hub's). Twin of the same in
 * wgvx/dataplane/reference.py, and as there each refusal has one reason.
 */
#include "dataplane.h"
#include "ip.h"
#include "mss.h"

#define TRANSPORT 4
#define TRANSPORT_MINIMUM (TRANSPORT_HEADER + AEAD_TAG_LENGTH)
/* Between two bursts, as many rare packets wait for Python. */
#define MAX_RARE 256

/* A packet on its way: what the steps tell each other. */
struct packet {
    struct peer *peer;
    uint8_t *ip;
    uint32_t length; /* its IP length, without padding */
    const uint8_t *source, *destination;
    unsigned address_length;
};

/* --- VXLAN ------------------------------------------------------------------------------------- */

/* Whether the I flag is set and all that is reserved is zero; the VNI. RFC 7348 would ignore
 * reserved bits, Linux drops them, for a bit that it does not know may change what the rest means. */
static enum reason parse_vxlan(const uint8_t *header, uint32_t length, uint32_t *vni)
{
    if (length < VXLAN_HEADER || !(header[0] & 0x08))
        return NOT_VXLAN;
    if (header[0] != 0x08 || header[1] | header[2] | header[3] | header[7])
        return RESERVED_BITS;
    *vni = (uint32_t)header[4] << 16 | get16(header + 5);
    return PASSED;
}

/* RFC 6040, figure 4: what the tunnel packet's codepoint tells the frame. */
static enum reason ecn_decapsulate(uint8_t outer, uint8_t *frame, const struct inner *inner,
                                   bool *changed)
{
    if (!(outer & 1) || !inner->version)
        return PASSED; /* Not-ECT and ECT(0) outside change nothing. */
    uint8_t *ip = frame + inner->l3, ecn = ecn_at(ip);
    if (outer == ECN_CE_MARK) {
        if (ecn == 0)
            return ECN_CE;
        *changed = ecn != ECN_CE_MARK;
    } else {
        *changed = ecn == 2;
    }
    if (*changed)
        set_ecn(ip, outer);
    return PASSED;
}

/* --- what may be joined ------------------------------------------------------------------------- */

/* Where the frame has a TCP or UDP segment whose checksum is worth knowing: IPv4 without options or
 * fragmentation, IPv6 without extension headers, no trailer. */
static uint32_t candidate(const uint8_t *frame, uint32_t length, const struct inner *inner)
{
    const uint8_t *ip = frame + inner->l3;
    uint32_t room = length - inner->l3, l4;
    if (inner->version == 4) {
        if (ip[0] != 0x45 || get16(ip + 2) != room || get16(ip + 6) & 0x3FFF ||
            checksum_fold(checksum_add(ip, IPV4_HEADER)) != 0xFFFF)
            return 0;
        l4 = IPV4_HEADER;
        room -= l4;
        if (!(ip[9] == PROTOCOL_TCP && room >= 20) && !(ip[9] == PROTOCOL_UDP && room >= UDP_HEADER))
            return 0;
    } else if (inner->version == 6) {
        if (get16(ip + 4) + (uint32_t)IPV6_HEADER != room)
            return 0;
        l4 = IPV6_HEADER;
        room -= l4;
        if (!(ip[6] == PROTOCOL_TCP && room >= 20) && !(ip[6] == PROTOCOL_UDP && room >= UDP_HEADER))
            return 0;
    } else {
        return 0;
    }
    return inner->l3 + l4;
}

/* Whether the checksum over L4, whose bytes sum to `sum`, is right. */
static bool is_l4_right(const uint8_t *frame, uint32_t length, const struct inner *inner,
                        uint32_t l4, uint64_t sum)
{
    const uint8_t *ip = frame + inner->l3;
    uint64_t pseudo = sum_of(length - l4);
    if (inner->version == 4)
        pseudo += checksum_add(ip + 12, 8) + sum_of(ip[9]);
    else
        pseudo += checksum_add(ip + 8, 32) + sum_of(ip[6]);
    return checksum_fold(sum + pseudo) == 0xFFFF;
}

/* --- decapsulation ----------------------------------------------------------------------------- */

enum reason deliver_udp(struct lane *lane, const uint8_t *source, const uint8_t *destination,
                        unsigned address_length, uint8_t ecn, uint8_t *segment, uint32_t room,
                        uint64_t now)
{
    struct wgvx *dp = lane->dp;
    if (room < UDP_HEADER)
        return INNER_MALFORMED;
    uint32_t length = get16(segment + 4);
    if (length < UDP_HEADER || length > room)
        return INNER_MALFORMED;

    /* One pass over the bytes serves both checksums: the tunnel packet's own, and, of a frame that
     * may be joined to its neighbours, the inner one. */
    uint8_t *frame = segment + UDP_HEADER + VXLAN_HEADER;
    uint32_t frame_length = 0, l4 = 0;
    struct inner inner = {0};
    if (length >= UDP_HEADER + VXLAN_HEADER + ETHERNET_HEADER) {
        frame_length = length - UDP_HEADER - VXLAN_HEADER;
        inner = inner_of(frame, frame_length);
        l4 = candidate(frame, frame_length, &inner);
    }
    uint64_t l4_sum = l4 ? checksum_add(frame + l4, frame_length - l4) : 0;
    if (segment[6] | segment[7]) {
        uint32_t head = l4 ? UDP_HEADER + VXLAN_HEADER + l4 : length;
        uint64_t sum = l4_sum + checksum_add(segment, head) + checksum_add(source, address_length) +
                       checksum_add(destination, address_length) + sum_of(PROTOCOL_UDP) +
                       sum_of(length);
        if (checksum_fold(sum) != 0xFFFF)
            return BAD_CHECKSUM;
    } else if (address_length == 16) {
        return BAD_CHECKSUM;
    }

    uint16_t port = get16(segment + 2);
    uint32_t vni;
    if (!is_vxlan_port(dp, port))
        return NOT_VXLAN;
    enum reason reason = parse_vxlan(segment + UDP_HEADER, length - UDP_HEADER, &vni);
    if (reason != PASSED)
        return reason;
    struct network *network = map_get(&dp->networks, vni);
    if (!network || network->udp_port != port)
        return UNKNOWN_VNI;
    bool watched = false, changed = false;
    struct place origin = {.vtep_length = (uint8_t)address_length};
    memcpy(origin.vtep, source, address_length);
    frame_length = length - UDP_HEADER - VXLAN_HEADER;
    reason = vtep_arrive(lane, network, &origin, frame, frame_length, now, &watched);
    if (reason != PASSED)
        return reason;
    reason = ecn_decapsulate(ecn, frame, &inner, &changed);
    if (reason != PASSED)
        return reason;
    __atomic_fetch_add(&network->rx_frames, 1, __ATOMIC_RELAXED);
    if (watched) {
        hand_up_frame(lane, network, &origin, frame, frame_length);
        return PASSED;
    }
    struct frame out = {.data = frame, .length = frame_length};
    /* An IPv4 header checksum that an ECN mark has just updated is right as well. */
    if (l4 && is_l4_right(frame, frame_length, &inner, l4, l4_sum)) {
        out.l3 = (uint16_t)inner.l3;
        out.l4 = (uint16_t)l4;
    }
    if (mss_clamp(frame, frame_length, &inner, network->mss))
        out.l4 = 0; /* It goes alone, like any SYN. */
    return forward_from_vtep(lane, network, &origin, &out, now);
}

enum reason forward_from_vtep(struct lane *lane, struct network *network,
                              const struct place *origin, struct frame *out, uint64_t now)
{
    struct forwarding to;
    enum reason reason = vtep_forward(lane, network, origin, NULL, out->data, 1, now, &to);
    if (reason != PASSED)
        return reason;
    if (to.port) {
        deliver_frame(lane, to.port, out);
        return PASSED;
    }
    if (network->ports && network->ports->next)
        out->l3 = out->l4 = 0; /* Joining writes into the frame, and another port wants it too. */
    for (struct port *port = network->ports; port; port = port->next)
        if (goes_to(&to, port))
            deliver_frame(lane, port, out);
    return PASSED;
}

/* --- for us ------------------------------------------------------------------------------------- */

/* Handed to Python: rare, and at a bounded rate. */
static enum reason hand_to_python(struct lane *lane, const struct packet *packet)
{
    if (lane->fused && lane->rare.count >= MAX_RARE)
        return SLOW_PATH;
    uint8_t *copy = malloc(packet->length);
    struct rare *rare = copy ? list_add(lane->rare) : NULL;
    if (!rare) {
        free(copy);
        return SLOW_PATH;
    }
    memcpy(copy, packet->ip, packet->length);
    *rare = (struct rare){copy, packet->length, packet->peer->id};
    lane->stopped = true;
    return PASSED;
}

static enum reason deliver(struct lane *lane, const struct packet *packet, uint64_t now)
{
    uint8_t *ip = packet->ip;
    uint32_t head;
    uint8_t protocol, ecn;
    if (packet->address_length == 4) {
        head = (ip[0] & 0x0Fu) * 4;
        if (head < IPV4_HEADER || head > packet->length)
            return INNER_MALFORMED;
        if (checksum_fold(checksum_add(ip, head)) != 0xFFFF)
            return BAD_CHECKSUM;
        if (get16(ip + 6) & 0x3FFF)
            return hand_to_python(lane, packet);
        protocol = ip[9];
        ecn = ip[1] & 3;
        if (protocol == PROTOCOL_ICMP)
            return hand_to_python(lane, packet);
    } else {
        head = IPV6_HEADER;
        protocol = ip[6];
        ecn = ip[1] >> 4 & 3;
        if (protocol == PROTOCOL_ICMPV6 || protocol == 0 || protocol == 43 || protocol == 44 ||
            protocol == 60)
            return hand_to_python(lane, packet);
    }
    if (protocol != PROTOCOL_UDP)
        return NOT_VXLAN;
    return deliver_udp(lane, packet->source, packet->destination, packet->address_length, ecn,
                       ip + head, packet->length - head, now);
}

/* --- for others: a hub -------------------------------------------------------------------------- */

/* TTL or hop limit less one. RFC 1812, 5.2.2: a router must verify the header checksum. */
static enum reason decrement_hop_limit(const struct packet *packet)
{
    uint8_t *ip = packet->ip;
    if (packet->address_length == 4) {
        uint32_t head = (ip[0] & 0x0Fu) * 4;
        if (head < IPV4_HEADER || head > packet->length)
            return INNER_MALFORMED;
        if (checksum_fold(checksum_add(ip, head)) != 0xFFFF)
            return BAD_CHECKSUM;
        if (ip[8] <= 1)
            return TTL;
        uint16_t old = get16(ip + 8);
        ip[8]--;
        replace_word(ip + 10, old, get16(ip + 8));
    } else {
        if (ip[7] <= 1)
            return TTL;
        ip[7]--;
    }
    return PASSED;
}

/* On to the peer with the longest prefix, never back to where it came from. */
static enum reason relay(struct lane *lane, const struct packet *packet, uint64_t now)
{
    if (!is_routable(packet->destination, packet->address_length))
        return NO_ROUTE;
    struct peer *to = route(lane->dp, packet->destination, packet->address_length);
    if (to == packet->peer)
        return NO_ROUTE;
    enum reason reason = decrement_hop_limit(packet);
    if (reason != PASSED)
        return reason;
    uint8_t *message = reserve(lane, packet->length + 64);
    if (!message)
        return SOCKET_FULL;
    memcpy(message + TRANSPORT_HEADER, packet->ip, packet->length);
    return route_packet(lane, to, message, packet->length, now);
}

/* --- the inner packet --------------------------------------------------------------------------- */

/* "the plaintext is checked to be a valid IP packet" (section 6): version and length. */
static bool parse_inner(uint8_t *plaintext, uint32_t length, struct packet *packet)
{
    uint8_t version = plaintext[0] >> 4;
    packet->ip = plaintext;
    if (version == 4 && length >= IPV4_HEADER) {
        packet->length = get16(plaintext + 2);
        packet->source = plaintext + 12;
        packet->destination = plaintext + 16;
        packet->address_length = 4;
        return packet->length >= IPV4_HEADER && packet->length <= length;
    }
    if (version == 6 && length >= IPV6_HEADER) {
        packet->length = IPV6_HEADER + get16(plaintext + 4);
        packet->source = plaintext + 8;
        packet->destination = plaintext + 24;
        packet->address_length = 16;
        return packet->length <= length;
    }
    return false;
}

/* "the source address of the packet [must be] one that routes to this peer" (section 2), and what
 * no host may send from is nobody's, however wide the peer's prefixes are. */
static bool is_source_allowed(struct lane *lane, const struct packet *packet)
{
    unsigned length = packet->address_length;
    if (lane->last_source.length == length &&
        !memcmp(lane->last_source.source, packet->source, length))
        return lane->last_source.owner == &packet->peer->prefixes;
    struct prefix_owner *owner = allowed_ips_lookup(lane->dp->allowed_ips, packet->source, length);
    if (is_own_address(lane->dp, packet->source, length) || is_martian(packet->source, length))
        owner = NULL;
    lane->last_source.length = (uint8_t)length;
    memcpy(lane->last_source.source, packet->source, length);
    lane->last_source.owner = owner;
    return owner == &packet->peer->prefixes;
}

static enum reason inner_packet(struct lane *lane, struct peer *peer, uint8_t *plaintext,
                                uint32_t length, uint8_t tos, uint64_t now)
{
    struct packet packet = {.peer = peer};
    if (!parse_inner(plaintext, length, &packet))
        return INNER_MALFORMED;
    if (!is_source_allowed(lane, &packet))
        return SOURCE_NOT_ALLOWED;
    uint8_t ecn = ecn_at(packet.ip);
    if ((tos & 3) == ECN_CE_MARK && (ecn == 1 || ecn == 2))
        set_ecn(packet.ip, ECN_CE_MARK);
    if (is_own_address(lane->dp, packet.destination, packet.address_length))
        return deliver(lane, &packet, now);
    return lane->dp->forward ? relay(lane, &packet, now) : NO_ROUTE;
}

/* --- the message -------------------------------------------------------------------------------- */

static enum reason transport(struct lane *lane, uint8_t *message, uint32_t length,
                             const wgvx_endpoint *endpoint, uint8_t tos, uint64_t now)
{
    struct keypair *keypair = map_get(&lane->dp->keypairs, get_le32(message + 4));
    if (!keypair || __atomic_load_n(&keypair->retired, __ATOMIC_ACQUIRE))
        return UNKNOWN_INDEX;
    enum reason reason = keypair_open(lane, keypair, message, length, now);
    if (reason != PASSED)
        return reason;

    /* From here on the packet is the peer's: whatever its content, the peer was heard. */
    struct peer *peer = keypair->peer;
    uint32_t inner = length - TRANSPORT_MINIMUM;
    peer_lock(lane->dp, peer);
    peer_heard(lane, peer, endpoint, length, now);
    bool confirmed = peer_confirm(lane, peer, keypair);
    peer_unlock(lane->dp, peer);
    if (confirmed) {
        peer_ask(lane, peer, CONFIRMED);
        peer_send_staged(lane, peer, now, false);
    }
    peer_lock(lane->dp, peer);
    if (peer->current && keypair_wants_rekey_on_receive(peer->current, now)) {
        peer->current->rekey_asked = true;
        peer_ask(lane, peer, NEED_HANDSHAKE);
    }
    if (inner)
        peer_data_received(lane, peer, now);
    peer_unlock(lane->dp, peer);
    if (!inner)
        return PASSED; /* A keepalive. */
    return inner_packet(lane, peer, message + TRANSPORT_HEADER, inner, tos, now);
}

static enum reason receive_one(struct lane *lane, uint8_t *message, uint32_t length,
                               const wgvx_endpoint *endpoint, uint8_t tos, uint64_t now)
{
    if (length >= TRANSPORT_MINIMUM && get_le32(message) == TRANSPORT)
        return transport(lane, message, length, endpoint, tos, now);
    return hand_up(lane, message, length, endpoint, now);
}

uint32_t receive(struct lane *lane, uint8_t *data, uint32_t length, uint32_t size,
                 const wgvx_endpoint *endpoint, uint8_t tos, uint64_t now)
{
    uint32_t done = 0;
    lane->stopped = false;
    do {
        uint32_t left = length - done, one = left < size ? left : size;
        if (lane->capture)
            capture_datagram(lane, WGVX_DATAGRAM_IN, endpoint, tos, data + done, one);
        enum reason reason = receive_one(lane, data + done, one, endpoint, tos, now);
        if (reason != PASSED)
            drop(lane, reason);
        done += one;
    } while (done < length && (lane->fused || !lane->stopped));
    return done;
}
