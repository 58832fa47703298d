/* The data plane as Python sees it: made, configured, asked. Every function here takes all locks. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane.h"
#include "ip.h"
#include "stream.h"

#define DEFAULT_MTU 1420
#define DEFAULT_SEGMENTS 64

static const char *const reason_names[REASONS] = {
    [MALFORMED] = "malformed", [BAD_MAC1] = "bad_mac1", [BAD_MAC2] = "bad_mac2",
    [HANDSHAKE_RATE] = "handshake_rate", [HANDSHAKE_REPLAY] = "handshake_replay",
    [HANDSHAKE_FAILED] = "handshake_failed", [HANDSHAKE_TIMEOUT] = "handshake_timeout",
    [UNKNOWN_INDEX] = "unknown_index", [AUTH_FAILED] = "auth_failed", [REPLAYED] = "replayed",
    [KEY_EXPIRED] = "key_expired", [INNER_MALFORMED] = "inner_malformed",
    [SOURCE_NOT_ALLOWED] = "source_not_allowed", [NO_ROUTE] = "no_route",
    [NO_ENDPOINT] = "no_endpoint", [STAGED_OVERFLOW] = "staged_overflow", [TTL] = "ttl",
    [BAD_CHECKSUM] = "bad_checksum", [FRAGMENT] = "fragment", [SLOW_PATH] = "slow_path",
    [NOT_VXLAN] = "not_vxlan", [RESERVED_BITS] = "reserved_bits", [UNKNOWN_VNI] = "unknown_vni",
    [VTEP_NOT_ACCEPTED] = "vtep_not_accepted", [SHORT_FRAME] = "short_frame",
    [OWN_MAC] = "own_mac", [BAD_SOURCE_MAC] = "bad_source_mac",
    [RESERVED_GROUP] = "reserved_group", [STATIC_MOVED] = "static_moved",
    [STICKY_MOVED] = "sticky_moved", [MOVE_DAMPED] = "move_damped",
    [PORT_BLOCKED] = "port_blocked", [BROADCAST_LIMIT] = "broadcast_limit",
    [MULTICAST_LIMIT] = "multicast_limit", [UNKNOWN_LIMIT] = "unknown_limit",
    [SAME_PORT] = "same_port", [NO_REMOTE] = "no_remote", [TOO_BIG] = "too_big",
    [ECN_CE] = "ecn_ce", [PORT_FULL] = "port_full",
    [PORT_DOWN] = "port_down", [SOCKET_FULL] = "socket_full",
    [UNREACHABLE] = "unreachable", [CONGESTED] = "congested",
};

const char *wgvx_reason_name(uint32_t position)
{
    return position < REASONS ? reason_names[position] : NULL;
}

const char *wgvx_aead_name(uint32_t position)
{
    for (uint32_t i = 0; aead_libraries[i]; i++)
        if (i == position)
            return aead_libraries[i]->name;
    return NULL;
}

bool wgvx_aead_works(const char *name)
{
    struct aead aead;
    if (!aead_start(&aead, name))
        return false;
    aead_stop(&aead);
    return true;
}

/* --- life -------------------------------------------------------------------------------------- */

wgvx *wgvx_new(const char *aead)
{
    struct wgvx *dp = calloc(1, sizeof *dp);
    if (!dp)
        return NULL;
    dp->mtu = DEFAULT_MTU;
    dp->gso_segments = DEFAULT_SEGMENTS;
    pthread_mutex_init(&dp->gate, NULL);
    pthread_mutex_init(&dp->retired_lock, NULL);
    dp->notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    dp->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    dp->allowed_ips = allowed_ips_new();
    dp->lanes[0] = dp->python = lane_new(dp, 0, aead);
    if (!dp->python || !dp->allowed_ips || dp->notify_fd < 0 || dp->wake_fd < 0) {
        wgvx_free(dp);
        return NULL;
    }
    dp->aead_name = dp->python->aead.library->name;
    return dp;
}

void wgvx_free(wgvx *dp)
{
    if (!dp)
        return;
    wgvx_stop(dp);
    struct peer *peer;
    struct network *network;
    for (uint32_t i = 0; (peer = map_each(&dp->peers, &i));)
        peer_free(dp->python, peer);
    sweep(dp);
    for (uint32_t i = 0; (network = map_each(&dp->networks, &i));)
        network_free(network);
    for (uint32_t i = 0; i <= MAX_WORKERS; i++)
        lane_free(dp->lanes[i]);
    allowed_ips_free(dp->allowed_ips);
    free(dp->peers.slots);
    free(dp->keypairs.slots);
    free(dp->handshakes.slots);
    free(dp->networks.slots);
    free(dp->ports.slots);
    free(dp->retired.items);
    free(dp->addresses.items);
    free(dp->udp_ports.items);
    if (dp->notify_fd >= 0)
        close(dp->notify_fd);
    if (dp->wake_fd >= 0)
        close(dp->wake_fd);
    explicit_bzero(dp, sizeof *dp);
    free(dp);
}

const char *wgvx_aead(const wgvx *dp)
{
    return dp->aead_name;
}

void enter(struct wgvx *dp, uint64_t now)
{
    lock_all(dp);
    dp->python->now = now;
    sweep(dp);
    begin_burst(dp->python);
}

void leave(struct wgvx *dp)
{
    if (dp->python->fused)
        flush(dp->python);
    sweep(dp);
    unlock_all(dp);
}

/* --- first level ------------------------------------------------------------------------------- */

uint32_t wgvx_receive(wgvx *dp, uint8_t *data, uint32_t length, uint32_t size,
                      const wgvx_endpoint *endpoint, uint8_t tos, uint64_t now)
{
    enter(dp, now);
    uint32_t done = receive(dp->python, data, length, size, endpoint, tos, now);
    leave(dp);
    return done;
}

void wgvx_transmit(wgvx *dp, uint32_t port, const uint8_t *header, const uint8_t *frame,
                   uint32_t length, uint64_t now)
{
    struct vnet_header vnet;
    if (header)
        memcpy(&vnet, header, VNET_HEADER_LENGTH);
    enter(dp, now);
    struct port *from = map_get(&dp->ports, port);
    if (length > MAX_FRAME)
        drop(dp->python, TOO_BIG); /* no TAP's */
    else if (from)
        transmit(dp->python, from, header ? &vnet : NULL, frame, length, now);
    leave(dp);
}

void wgvx_deliver(wgvx *dp, const uint8_t *source, const uint8_t *destination,
                  uint8_t address_length, uint8_t ecn, uint8_t *segment, uint32_t length,
                  uint64_t now)
{
    enter(dp, now);
    enum reason reason = deliver_udp(dp->python, source, destination, address_length, ecn, segment,
                                     length, now);
    if (reason != PASSED)
        drop(dp->python, reason);
    leave(dp);
}

bool wgvx_forward_frame(wgvx *dp, uint32_t vni, const wgvx_place *from, const uint8_t *frame,
                        uint32_t length, uint64_t now, const wgvx_place *to, uint32_t count)
{
    static const struct vnet_header none;
    struct place origin = place_of(from);
    struct segments segments;
    struct place *places = places_of(to, count);
    struct members *only = places ? members_new(places, count) : NULL;
    free(places);
    if (to && !only)
        return false;
    bool went = false;
    enter(dp, now);
    dp->python->only = only;
    struct network *network = map_get(&dp->networks, vni);
    struct port *port = origin.vtep_length ? NULL : map_get(&dp->ports, origin.port);
    if (network && origin.vtep_length) {
        struct frame out = {.data = (uint8_t *)(uintptr_t)frame, .length = length};
        enum reason reason = forward_from_vtep(dp->python, network, &origin, &out, now);
        if (reason != PASSED)
            drop(dp->python, reason);
        went = reason == PASSED;
    } else if (port && segments_begin(&segments, &none, frame, length)) {
        went = forward_from_port(dp->python, port, NULL, &segments, frame, length, now);
    }
    dp->python->only = NULL;
    leave(dp);
    free(only);
    return went;
}

void wgvx_send_frame(wgvx *dp, uint32_t vni, const wgvx_place *places, uint32_t count,
                     const uint8_t *frame, uint32_t length, uint64_t now)
{
    struct frame out = {.data = (uint8_t *)(uintptr_t)frame, .length = length};
    struct vteps remotes = {0, malloc((count + 1) * sizeof *remotes.places)};
    if (!remotes.places)
        return;
    enter(dp, now);
    struct network *network = map_get(&dp->networks, vni);
    for (uint32_t i = 0; network && i < count; i++) {
        struct place place = place_of(&places[i]);
        struct port *port = place.vtep_length ? NULL : map_get(&dp->ports, place.port);
        if (port)
            send_frame(dp->python, port, &out);
        else if (place.vtep_length)
            remotes.places[remotes.count++] = place;
    }
    if (network && remotes.count)
        send_to_remotes(dp->python, network, &remotes, frame, length, now);
    leave(dp);
    free(remotes.places);
}

void wgvx_route_out(wgvx *dp, const uint8_t *packet, uint32_t length, uint64_t now)
{
    enter(dp, now);
    bool v4 = packet[0] >> 4 == 4;
    struct peer *peer = route(dp, packet + (v4 ? 16 : 24), v4 ? 4 : 16);
    uint8_t *message = reserve(dp->python, length + 64);
    enum reason reason = SOCKET_FULL;
    if (message) {
        memcpy(message + TRANSPORT_HEADER, packet, length);
        reason = route_packet(dp->python, peer, message, length, now);
    }
    if (reason != PASSED)
        drop(dp->python, reason);
    leave(dp);
}

uint32_t wgvx_next_identification(wgvx *dp)
{
    return __atomic_add_fetch(&dp->identification, 1, __ATOMIC_RELAXED) & 0xFFFF;
}

uint32_t wgvx_coalesce_pending(wgvx *dp, uint8_t *out, uint32_t room)
{
    struct coalesced joined = {.frames = 0};
    struct lane *lane = dp->python;
    uint32_t used = 0;
    for (uint32_t i = 0; i <= lane->frames.count; i++) {
        const struct frame *frame = i < lane->frames.count ? &lane->frames.items[i].frame : NULL;
        if (frame && joined.frames &&
            coalesce_add(&joined, frame, true, true, COALESCE_MAX_FRAMES))
            continue;
        if (joined.frames) {
            int parts = coalesce_finish(&joined);
            uint32_t start = used;
            used += 4;
            for (int part = 0; part < parts; part++) {
                if (used + joined.parts[part].iov_len > room)
                    return 0;
                memcpy(out + used, joined.parts[part].iov_base, joined.parts[part].iov_len);
                used += (uint32_t)joined.parts[part].iov_len;
            }
            put_le32(out + start, used - start - 4);
        }
        if (frame)
            coalesce_begin(&joined, frame);
    }
    return used;
}

/* --- the node ---------------------------------------------------------------------------------- */

void wgvx_set_public_key(wgvx *dp, const uint8_t *mac1_key, const uint8_t *cookie_key)
{
    enter(dp, 0);
    dp->has_key = mac1_key != NULL;
    if (mac1_key) {
        memcpy(dp->mac1_key, mac1_key, 32);
        memcpy(dp->cookie_key, cookie_key, 32);
    }
    leave(dp);
}

bool wgvx_set_addresses(wgvx *dp, const uint8_t (*addresses)[16], const uint8_t *lengths,
                        uint32_t count)
{
    enter(dp, 0);
    bool ok = true;
    dp->addresses.count = 0;
    for (uint32_t i = 0; i < count && ok; i++) {
        struct address *address = list_add(dp->addresses);
        ok = address != NULL;
        if (ok) {
            address->length = lengths[i];
            memcpy(address->bytes, addresses[i], 16);
        }
    }
    dp->source4 = dp->source6 = NULL;
    for (uint32_t i = dp->addresses.count; i-- > 0;) {
        const struct address *address = &dp->addresses.items[i];
        *(address->length == 4 ? &dp->source4 : &dp->source6) = address;
    }
    leave(dp);
    return ok;
}

void wgvx_set_mtu(wgvx *dp, uint32_t mtu)
{
    enter(dp, 0);
    dp->mtu = mtu;
    leave(dp);
}

void wgvx_set_forward(wgvx *dp, bool forward)
{
    enter(dp, 0);
    dp->forward = forward;
    leave(dp);
}

void wgvx_count(wgvx *dp, uint32_t reason, uint64_t more)
{
    enter(dp, 0);
    if (reason < REASONS)
        dp->python->drops[reason] += more;
    leave(dp);
}

void wgvx_drops(wgvx *dp, uint64_t *counts)
{
    enter(dp, 0);
    memset(counts, 0, REASONS * sizeof *counts);
    for (uint32_t number = 0; number <= MAX_WORKERS; number++)
        for (uint32_t i = 0; dp->lanes[number] && i < REASONS; i++)
            counts[i] += dp->lanes[number]->drops[i];
    leave(dp);
}

/* A million rows are aged in one go: the least recently refreshed come first, and the rest is not looked at. */
void wgvx_age(wgvx *dp, uint64_t now)
{
    struct network *network;
    for (uint32_t i = 0; (network = map_each(&dp->networks, &i));) {
        enter(dp, now);
        fdb_age(network->fdb, now);
        leave(dp);
    }
}

void wgvx_demand_mac2(wgvx *dp, const uint8_t *secret, const uint8_t *nonce_key, uint64_t until)
{
    enter(dp, 0);
    memcpy(dp->cookie_secret, secret, 32);
    memcpy(dp->nonce_key, nonce_key, 32);
    dp->demand_mac2_until = until;
    leave(dp);
}
