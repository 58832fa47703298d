/* A VTEP's rules between local ports and remote VTEPs: where a frame goes, and what it teaches.
 * Twin of wgvx/vxlan/vtep.py.
 */
#include "dataplane.h"
#include "ip.h"

static bool is_group(const uint8_t *mac)
{
    return mac[0] & 1;
}

static bool is_valid_source(const uint8_t *mac)
{
    static const uint8_t zero[6];
    return !is_group(mac) && memcmp(mac, zero, 6);
}

/* 01:80:c2:00:00:01 to 0f: a bridge never forwards them (IEEE 802.1Q, table 8-1). */
static bool is_reserved_group(const uint8_t *mac)
{
    return !memcmp(mac, "\x01\x80\xc2\0\0", 5) && mac[5] >= 1 && mac[5] <= 0x0F;
}

/* Whether hosts join this group before they are sent to: see ethernet.is_joined. */
static bool is_joined(const uint8_t *mac)
{
    if (mac[0] == 0x33 && mac[1] == 0x33)
        return mac[2] != 0xFF && (mac[2] | mac[3] | mac[4]);
    return mac[0] == 0x01 && mac[1] == 0x00 && mac[2] == 0x5E && (mac[3] | mac[4]);
}

static bool is_own_mac(const struct network *network, const uint8_t *mac)
{
    for (const struct port *port = network->ports; port; port = port->next)
        if (port->has_mac && !memcmp(port->mac, mac, 6))
            return true;
    return false;
}

static enum reason learn(struct lane *lane, struct network *network, const uint8_t *mac,
                         const struct place *place, uint64_t now)
{
    static const enum reason reasons[] = {
        [FDB_LEARNED] = PASSED, [FDB_IS_STATIC] = STATIC_MOVED, [FDB_IS_STICKY] = STICKY_MOVED,
        [FDB_IS_HELD] = MOVE_DAMPED};
    if (lane->last_learned.network == network && !memcmp(lane->last_learned.mac, mac, 6) &&
        !memcmp(&lane->last_learned.place, place, sizeof *place))
        return PASSED; /* In this very burst: nothing has changed since. */
    enum reason reason = reasons[fdb_learn(network->fdb, mac, place, now)];
    if (reason != PASSED)
        return reason;
    lane->last_learned.network = network;
    memcpy(lane->last_learned.mac, mac, 6);
    lane->last_learned.place = *place;
    return PASSED;
}

enum reason vtep_enter(struct lane *lane, struct port *port, const uint8_t *frame, uint32_t length,
                       uint64_t now, bool *watched)
{
    struct network *network = port->network;
    struct place here = {.port = port->id};
    if (length < ETHERNET_HEADER)
        return SHORT_FRAME;
    if (!is_valid_source(frame + 6))
        return BAD_SOURCE_MAC;
    if (is_reserved_group(frame))
        return RESERVED_GROUP;
    uint8_t kind = watched_kind(network, frame, length);
    if (kind != WATCH_PROBES) { /* Its source may be ours, and it may come by a blocked port. */
        if (port->blocked)
            return PORT_BLOCKED;
        enum reason reason = learn(lane, network, frame + 6, &here, now);
        if (reason != PASSED)
            return reason;
    }
    return may_hand_up(lane, network, kind, length, now, watched);
}

enum reason vtep_arrive(struct lane *lane, struct network *network, const struct place *from,
                        const uint8_t *frame, uint32_t length, uint64_t now, bool *watched)
{
    if (network->accept && !allowed_ips_lookup(network->accept, from->vtep, from->vtep_length))
        return VTEP_NOT_ACCEPTED;
    if (length < ETHERNET_HEADER)
        return SHORT_FRAME;
    uint8_t kind = watched_kind(network, frame, length);
    if (kind != WATCH_PROBES) {
        if (is_own_mac(network, frame + 6))
            return OWN_MAC;
        if (network->learning && !is_valid_source(frame + 6))
            return BAD_SOURCE_MAC;
        if (is_reserved_group(frame))
            return RESERVED_GROUP;
        enum reason reason = learn(lane, network, frame + 6, from, now);
        if (reason != PASSED)
            return reason;
    }
    return may_hand_up(lane, network, kind, length, now, watched);
}

/* NULL: everywhere. Behind a VLAN tag nobody sees who joins, and it goes everywhere. */
static const struct members *members_of(const struct network *network, const uint8_t *frame,
                                        uint64_t now)
{
    bool v6 = frame[0] & 2;
    if (now < __atomic_load_n(&network->unheard_until, __ATOMIC_RELAXED))
        return NULL;
    if (!is_joined(frame) || get16(frame + 12) != (v6 ? 0x86DD : 0x0800))
        return NULL;
    const struct members *members = members_find(&network->members, frame);
    const char *others = v6 ? "\x33\x33\0\0\0\0" : "\x01\0\x5e\0\0\0";
    return members ? members : members_find(&network->members, (const uint8_t *)others);
}

/* All places that a group's frame goes to, or one that the FDB does not place. */
static void everywhere(const struct lane *lane, const struct network *network, const uint8_t *frame,
                       uint64_t now, struct forwarding *to)
{
    const struct members *members = lane->only ? lane->only : members_of(network, frame, now);
    to->everywhere = true;
    to->members = members;
    to->remotes = *fdb_replication(network->fdb, frame);
    if (lane->only || (members && !fdb_has_group(network->fdb, frame)))
        /* Entries made by hand hold, but for a frame that Python sends on. */
        to->remotes = members->remotes;
}

bool goes_to(const struct forwarding *to, const struct port *port)
{
    if (!to->everywhere)
        return port == to->port;
    if (!to->members || port == to->from)
        return port != to->from;
    for (uint32_t i = 0; i < to->members->port_count; i++)
        if (to->members->places[i].port == port->id)
            return true;
    return false;
}

static bool has_port(const struct forwarding *to, const struct network *network)
{
    for (const struct port *port = network->ports; port; port = port->next)
        if (goes_to(to, port))
            return true;
    return false;
}

enum reason vtep_forward(struct lane *lane, struct network *network, const struct place *origin,
                         struct port *from, const uint8_t *frame, uint32_t count, uint64_t now,
                         struct forwarding *to)
{
    *to = (struct forwarding){.from = from, .allowed = count};
    if (!is_group(frame) && fdb_lookup(network->fdb, frame, now, &to->one)) {
        if (!to->one.vtep_length) {
            if (from && to->one.port == from->id)
                return SAME_PORT;
            to->port = map_get(&lane->dp->ports, to->one.port);
            return PASSED;
        }
        if (from) {
            to->remotes = (struct vteps){1, &to->one};
            return PASSED;
        }
    }
    everywhere(lane, network, frame, now, to);
    if (!from)
        to->remotes.count = 0; /* Split horizon. */
    else if (!to->remotes.count && !has_port(to, network))
        return NO_REMOTE;
    to->allowed = limit(network, frame, origin, from, count, now, &to->refused);
    return to->allowed ? PASSED : to->refused;
}
