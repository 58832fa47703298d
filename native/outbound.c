/* The way of a frame out, top to bottom: transmit -> forward_from_port (vtep.c) -> encapsulate (VXLAN, UDP, IP) ->
 * route_packet (allowed IPs, staging) -> seal. Twin of the same in wgvx/dataplane/reference.py.
 */
#include "dataplane.h"
#include "ip.h"
#include "mss.h"

/* What an arena needs around a frame: headers before it, padding and tag behind. */
#define AROUND (TRANSPORT_HEADER + IPV6_HEADER + UDP_HEADER + VXLAN_HEADER + 15 + AEAD_TAG_LENGTH)

/* --- one VTEP ---------------------------------------------------------------------------------- */

/* What all segments of a large frame have in common on their way to one VTEP. */
struct path {
    struct network *network;
    const struct place *remote;
    const struct address *source; /* NULL: we have no address of that family */
    struct peer *peer;            /* NULL: no prefix covers it */
    uint16_t source_port;
    uint8_t ecn;      /* of the tunnel packet */
    uint32_t head;    /* IP, UDP and VXLAN */
    uint64_t pseudo;  /* sum of what never changes: addresses, protocol, ports, VXLAN header */
};

static struct path path_to(const struct lane *lane, struct network *network,
                           const struct place *remote)
{
    const struct wgvx *dp = lane->dp;
    bool v4 = remote->vtep_length == 4;
    struct path path = {
        .network = network,
        .remote = remote,
        .source = v4 ? dp->source4 : dp->source6,
        .peer = route(dp, remote->vtep, remote->vtep_length),
        .head = (v4 ? IPV4_HEADER : IPV6_HEADER) + UDP_HEADER + VXLAN_HEADER,
    };
    if (path.source)
        path.pseudo = checksum_add(path.source->bytes, path.source->length) +
                      checksum_add(remote->vtep, remote->vtep_length) + sum_of(PROTOCOL_UDP) +
                      sum_of(network->udp_port) +
                      checksum_add(network->header, VXLAN_HEADER);
    return path;
}

/* The flow and the congestion codepoint of the first frame are those of all. It has to be finished:
 * where a checksum belongs is for the sender to say, were it into the IP header. */
static struct inner follow(struct path *paths, uint32_t count, const uint8_t *frame,
                           uint32_t length)
{
    struct inner inner = inner_of(frame, length);
    uint16_t source_port = flow_source_port(frame, length, &inner);
    uint8_t ecn = ecn_encapsulate(inner.version ? ecn_at(frame + inner.l3) : 0);
    for (uint32_t i = 0; i < count; i++) {
        paths[i].source_port = source_port;
        paths[i].ecn = ecn;
        paths[i].pseudo += sum_of(source_port);
    }
    return inner;
}

/* IPv4: no options, DF clear, a real checksum. IPv6: no extension headers, flow label 0. */
static void put_ip_header(uint8_t *packet, const struct path *path, uint32_t payload,
                          uint32_t identification)
{
    if (path->remote->vtep_length == 4) {
        memset(packet, 0, IPV4_HEADER);
        packet[0] = 0x45;
        packet[1] = path->ecn;
        put16(packet + 2, IPV4_HEADER + payload);
        put16(packet + 4, identification);
        packet[8] = 64;
        packet[9] = PROTOCOL_UDP;
        memcpy(packet + 12, path->source->bytes, 4);
        memcpy(packet + 16, path->remote->vtep, 4);
        put_checksum(packet + 10, checksum_add(packet, IPV4_HEADER));
    } else {
        memset(packet, 0, 8);
        packet[0] = 0x60;
        packet[1] = (uint8_t)(path->ecn << 4);
        put16(packet + 4, payload);
        packet[6] = PROTOCOL_UDP;
        packet[7] = 64;
        memcpy(packet + 8, path->source->bytes, 16);
        memcpy(packet + 24, path->remote->vtep, 16);
    }
}

/* The frame stands at message + TRANSPORT_HEADER + path->head; `sum` is that of its bytes. */
static enum reason encapsulate(struct lane *lane, const struct path *path, uint8_t *message,
                               uint32_t length, uint64_t sum, uint64_t now)
{
    struct wgvx *dp = lane->dp;
    uint8_t *packet = message + TRANSPORT_HEADER;
    uint32_t datagram = UDP_HEADER + VXLAN_HEADER + length;
    uint8_t *udp = packet + path->head - UDP_HEADER - VXLAN_HEADER;
    if (!path->source)
        return NO_ROUTE;
    if (length > dp->mtu)
        return TOO_BIG;
    /* Identifications count up: a peer may fragment our tunnel packets. */
    uint32_t identification = __atomic_add_fetch(&dp->identification, 1, __ATOMIC_RELAXED) & 0xFFFF;
    if (!path->peer)
        return NO_ROUTE;
    if (path->head + length > dp->mtu)
        return TOO_BIG;
    put_ip_header(packet, path, datagram, identification);
    put16(udp, path->source_port);
    put16(udp + 2, path->network->udp_port);
    put16(udp + 4, datagram);
    /* The length counts twice: in the pseudo-header and in the header. */
    put_udp_checksum(udp + 6, path->pseudo + 2 * sum_of(datagram) + sum);
    memcpy(udp + UDP_HEADER, path->network->header, VXLAN_HEADER);
    return route_packet(lane, path->peer, message, path->head + length, now);
}

/* --- all of them ------------------------------------------------------------------------------- */

static uint32_t to_one(struct lane *lane, struct segments *segments, struct path *path,
                       uint64_t now)
{
    uint32_t sent = 0;
    struct inner inner = {0};
    bool clamped = true;
    for (uint32_t i = 0; i < segments->most; i++) {
        uint32_t length = (uint32_t)segments_length(segments);
        uint8_t *message = reserve(lane, length + AROUND);
        if (!message)
            break;
        uint8_t *frame = message + TRANSPORT_HEADER + path->head;
        uint64_t sum = segments_next(segments, frame);
        if (i == 0)
            inner = follow(path, 1, frame, length);
        /* If the first is no SYN that asks for too much, none is. */
        clamped = clamped && mss_clamp(frame, length, &inner, path->network->mss);
        if (clamped)
            sum = checksum_add(frame, length);
        enum reason reason = encapsulate(lane, path, message, length, sum, now);
        if (reason == PASSED)
            sent++;
        else
            drop(lane, reason);
    }
    return sent;
}

/* Head-end replication: each copy is a packet. A segment's copies leave before the next one's. */
static uint32_t to_many(struct lane *lane, struct segments *segments, struct path *paths,
                        uint32_t count, uint64_t now)
{
    uint32_t sent = 0;
    struct inner inner = {0};
    bool clamped = true;
    for (uint32_t i = 0; i < segments->most; i++) {
        uint32_t length = (uint32_t)segments_length(segments);
        uint64_t sum = segments_next(segments, lane->scratch);
        if (i == 0)
            inner = follow(paths, count, lane->scratch, length);
        clamped = clamped && mss_clamp(lane->scratch, length, &inner, paths->network->mss);
        if (clamped)
            sum = checksum_add(lane->scratch, length);
        bool any = false;
        for (uint32_t j = 0; j < count; j++) {
            uint8_t *message = reserve(lane, length + AROUND);
            if (!message)
                break;
            memcpy(message + TRANSPORT_HEADER + paths[j].head, lane->scratch, length);
            enum reason reason = encapsulate(lane, &paths[j], message, length, sum, now);
            if (reason == PASSED)
                any = true;
            else
                drop(lane, reason);
        }
        sent += any;
    }
    return sent;
}

static void to_remotes(struct lane *lane, struct network *network, struct segments *segments,
                       const struct vteps *remotes, uint64_t now)
{
    uint32_t sent;
    if (remotes->count == 1) {
        struct path path = path_to(lane, network, remotes->places);
        sent = to_one(lane, segments, &path, now);
    } else {
        struct path *paths = malloc(remotes->count * sizeof *paths);
        if (!paths)
            return;
        for (uint32_t i = 0; i < remotes->count; i++)
            paths[i] = path_to(lane, network, &remotes->places[i]);
        sent = to_many(lane, segments, paths, remotes->count, now);
        free(paths);
    }
    __atomic_fetch_add(&network->tx_frames, sent, __ATOMIC_RELAXED);
}

static void to_port(struct lane *lane, struct port *port, const struct vnet_header *header,
                    const struct segments *segments, const uint8_t *frame, uint32_t length,
                    uint32_t most)
{
    /* As it came, large or unfinished, where the other port's kernel takes it like that. The bytes
     * are not changed, for a frame without l4 is never joined to another. */
    struct frame out = {.data = (uint8_t *)(uintptr_t)frame, .length = length};
    bool finished = !header || (!header->gso_type && !(header->flags & VNET_NEEDS_CSUM));
    if (header)
        out.header = *header;
    if (port->blocked)
        lane->drops[PORT_BLOCKED] += most;
    else if (most == segments->count && (finished || port->framing == WGVX_VNET))
        send_frame(lane, port, &out);
    else
        send_finished(lane, port, header, frame, length, most);
}

bool forward_from_port(struct lane *lane, struct port *port, const struct vnet_header *header,
                       struct segments *segments, const uint8_t *frame, uint32_t length,
                       uint64_t now)
{
    /* One frame or many, the FDB's answer is theirs all alike; so are the drops. */
    struct network *network = port->network;
    struct place here = {.port = port->id};
    struct forwarding to;
    enum reason reason =
        vtep_forward(lane, network, &here, port, frame, segments->count, now, &to);
    if (reason != PASSED) {
        lane->drops[reason] += segments->count;
        return false;
    }
    lane->drops[to.refused] += segments->count - to.allowed;
    for (struct port *other = network->ports; other; other = other->next)
        if (goes_to(&to, other))
            to_port(lane, other, header, segments, frame, length, to.allowed);
    segments->most = to.allowed;
    if (to.remotes.count)
        to_remotes(lane, network, segments, &to.remotes, now);
    return true;
}

void send_to_remotes(struct lane *lane, struct network *network, const struct vteps *remotes,
                     const uint8_t *frame, uint32_t length, uint64_t now)
{
    static const struct vnet_header none;
    struct segments segments;
    if (segments_begin(&segments, &none, frame, length))
        to_remotes(lane, network, &segments, remotes, now);
}

/* Watched frames are whole, or want for a checksum: what is cut is TCP or UDP. */
static void hand_up_segment(struct lane *lane, struct port *port, struct segments *segments)
{
    struct place here = {.port = port->id};
    uint32_t length = (uint32_t)segments_length(segments);
    segments_next(segments, lane->scratch);
    hand_up_frame(lane, port->network, &here, lane->scratch, length);
}

void transmit(struct lane *lane, struct port *port, const struct vnet_header *header,
              const uint8_t *frame, uint32_t length, uint64_t now)
{
    static const struct vnet_header none;
    struct segments segments;
    bool watched = false;
    if (lane->capture)
        capture_frame(lane, WGVX_FRAME_IN, port->id, frame, length);
    if (!segments_begin(&segments, header ? header : &none, frame, length)) {
        drop(lane, length < ETHERNET_HEADER ? SHORT_FRAME : INNER_MALFORMED);
        return;
    }
    enum reason reason = vtep_enter(lane, port, frame, length, now, &watched);
    if (reason != PASSED)
        lane->drops[reason] += segments.count;
    else if (watched)
        hand_up_segment(lane, port, &segments);
    else
        forward_from_port(lane, port, header, &segments, frame, length, now);
}

/* --- cryptokey routing and the end ------------------------------------------------------------- */

/* The peer's key, or the queue of staged packets. */
enum reason route_packet(struct lane *lane, struct peer *peer, uint8_t *message, uint32_t length,
                         uint64_t now)
{
    if (!peer)
        return NO_ROUTE;
    if (length > lane->dp->mtu)
        return TOO_BIG;
    if (!PEEK(peer->has_endpoint))
        return NO_ENDPOINT;
    struct keypair *keypair = PEEK(peer->current);
    if (keypair && keypair_can_send(keypair, now)) {
        seal(lane, peer, keypair, message, length, now);
        return PASSED;
    }
    peer_lock(lane->dp, peer);
    peer_stage(lane, peer, message + TRANSPORT_HEADER, length);
    peer_unlock(lane->dp, peer);
    peer_ask(lane, peer, NEED_HANDSHAKE);
    return PASSED;
}

/* Zeros "up to a multiple of 16 bytes" (section 5.4.6), but never past the tunnel's MTU. */
static uint32_t pad(uint8_t *packet, uint32_t length, uint32_t mtu)
{
    uint32_t padded = (length + 15) & ~15u, most = mtu > length ? mtu : length;
    if (padded > most)
        padded = most;
    memset(packet + length, 0, padded - length);
    return padded;
}

void seal(struct lane *lane, struct peer *peer, struct keypair *keypair, uint8_t *message,
          uint32_t length, uint64_t now)
{
    struct wgvx *dp = lane->dp;
    uint8_t *packet = message + TRANSPORT_HEADER;
    uint8_t tos = length ? ecn_encapsulate(ecn_at(packet)) : 0;
    uint32_t padded = pad(packet, length, dp->mtu);
    uint32_t total = TRANSPORT_HEADER + padded + AEAD_TAG_LENGTH;

    peer_lock(dp, peer);
    uint64_t counter = keypair->send_counter;
    POKE(keypair->send_counter, counter + 1);
    if (length)
        peer_data_sent(lane, peer, now);
    bool sent = peer->has_endpoint;
    if (sent)
        peer_sent(peer, total, now);
    peer_unlock(dp, peer);

    put_le32(message, 4);
    put_le32(message + 4, keypair->remote_index);
    put_le64(message + 8, counter);
    aead_seal(&lane->aead, keypair->send_key, counter, packet, padded);
    if (sent)
        send_message(lane, peer, NULL, total, tos);
    if (keypair_wants_rekey_on_send(keypair, counter, now))
        peer_ask(lane, peer, NEED_HANDSHAKE);
}
