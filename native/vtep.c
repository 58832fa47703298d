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

static bool is_own_mac(const struct network *network, const uint8_t *mac)
{
    for (const struct port *port = network->ports; port; port = port->next)
        if (port->has_mac && !memcmp(port->mac, mac, 6))
            return true;
    return false;
}

static bool learn(struct lane *lane, struct network *network, const uint8_t *mac,
                  const struct place *place, uint64_t now)
{
    if (lane->last_learned.network == network && !memcmp(lane->last_learned.mac, mac, 6) &&
        !memcmp(&lane->last_learned.place, place, sizeof *place))
        return true; /* In this very burst: nothing has changed since. */
    if (!fdb_learn(network->fdb, mac, place, now))
        return false;
    lane->last_learned.network = network;
    memcpy(lane->last_learned.mac, mac, 6);
    lane->last_learned.place = *place;
    return true;
}

enum reason vtep_outbound(struct lane *lane, struct port *port, const uint8_t *frame,
                          uint32_t length, uint64_t now, struct forwarding *to)
{
    struct network *network = port->network;
    struct place here = {.port = port->id};
    if (length < ETHERNET_HEADER)
        return SHORT_FRAME;
    if (!is_valid_source(frame + 6))
        return BAD_SOURCE_MAC;
    if (is_reserved_group(frame))
        return RESERVED_GROUP;
    if (!learn(lane, network, frame + 6, &here, now))
        return STATIC_MOVED;
    *to = (struct forwarding){0};
    if (!is_group(frame) && fdb_lookup(network->fdb, frame, now, &to->one)) {
        if (to->one.vtep_length) {
            to->remotes = (struct vteps){1, &to->one};
            return PASSED;
        }
        if (to->one.port == port->id)
            return SAME_PORT;
        to->port = map_get(&lane->dp->ports, to->one.port);
        return PASSED;
    }
    to->everywhere = true;
    to->remotes = *fdb_replication(network->fdb, frame);
    if (!to->remotes.count && !network->ports->next)
        return NO_REMOTE;
    return PASSED;
}

enum reason vtep_inbound(struct lane *lane, struct network *network, const uint8_t *source,
                         unsigned address_length, const uint8_t *frame, uint32_t length,
                         uint64_t now, struct port **out)
{
    struct place from = {.vtep_length = (uint8_t)address_length}, where;
    *out = NULL;
    if (network->accept && !allowed_ips_lookup(network->accept, source, address_length))
        return VTEP_NOT_ACCEPTED;
    if (length < ETHERNET_HEADER)
        return SHORT_FRAME;
    if (is_own_mac(network, frame + 6))
        return OWN_MAC;
    if (network->learning && !is_valid_source(frame + 6))
        return BAD_SOURCE_MAC;
    if (is_reserved_group(frame))
        return RESERVED_GROUP;
    memcpy(from.vtep, source, address_length);
    if (!learn(lane, network, frame + 6, &from, now))
        return STATIC_MOVED;
    if (!is_group(frame) && fdb_lookup(network->fdb, frame, now, &where) && !where.vtep_length)
        *out = map_get(&lane->dp->ports, where.port);
    return PASSED;
}
