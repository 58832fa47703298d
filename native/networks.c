/* Bridge domains as Python sees them. Every function here takes all locks. */
#include <sys/random.h>

#include "dataplane.h"
#include "fdb_moves.h"
#include "ip.h"
#include "stream.h"

struct place place_of(const wgvx_place *given)
{
    struct place place = {.vtep_length = given->vtep_length};
    if (place.vtep_length)
        memcpy(place.vtep, given->vtep, place.vtep_length);
    else
        place.port = given->port;
    return place;
}

struct place *places_of(const wgvx_place *given, uint32_t count)
{
    struct place *places = given ? malloc((count + 1) * sizeof *places) : NULL;
    for (uint32_t i = 0; places && i < count; i++)
        places[i] = place_of(&given[i]);
    return places;
}

static struct place vtep_place(const uint8_t *vtep, uint8_t length)
{
    struct place place = {.vtep_length = length};
    memcpy(place.vtep, vtep, length);
    return place;
}

void network_free(struct network *network)
{
    for (struct port *port = network->ports, *next; port; port = next) {
        next = port->next;
        stream_free(port->stream);
        free(port);
    }
    members_destroy(&network->members);
    pthread_mutex_destroy(&network->lock);
    fdb_free(network->fdb);
    allowed_ips_free(network->accept);
    free(network);
}

static bool set_accept(struct network *network, const wgvx_network_settings *settings)
{
    if (!settings->accept)
        return true;
    network->accept = allowed_ips_new();
    bool ok = network->accept;
    for (uint32_t i = 0; ok && i < settings->accepted; i++) {
        const uint8_t *prefix = settings->accept[i];
        ok = allowed_ips_insert(network->accept, prefix + 2, prefix[0], prefix[1],
                                &network->accepted);
    }
    return ok;
}

static void set_rules(struct network *network, const wgvx_network_settings *settings)
{
    struct fdb_settings of_fdb = {.learning = settings->learning,
                                  .sticky = settings->sticky,
                                  .ageing = settings->ageing,
                                  .max_entries = settings->max_entries,
                                  .move_limit = settings->move_limit};
    fdb_set(network->fdb, &of_fdb);
    network->learning = settings->learning;
    network->watch = settings->watch;
    memcpy(network->mss, settings->mss, sizeof network->mss);
    memcpy(network->limits, settings->limits, sizeof network->limits);
}

static bool listen_on(struct wgvx *dp, uint16_t port)
{
    if (is_vxlan_port(dp, port))
        return true;
    uint16_t *place = list_add(dp->udp_ports);
    if (place)
        *place = port;
    return place;
}

bool wgvx_add_network(wgvx *dp, uint32_t vni, uint16_t udp_port,
                      const wgvx_network_settings *settings)
{
    static const struct fdb_settings unset;
    struct network *network = calloc(1, sizeof *network);
    if (!network)
        return false;
    network->vni = vni;
    network->udp_port = udp_port;
    network->header[0] = 0x08; /* the I flag; what is reserved is zero */
    network->header[4] = (uint8_t)(vni >> 16);
    put16(network->header + 5, vni & 0xFFFF);
    network->ports_end = &network->ports;
    network->fdb = fdb_new(&unset);
    pthread_mutex_init(&network->lock, NULL);
    struct hash_seed *seed = &network->members.seed;
    bool ready = network->fdb && getrandom(seed, sizeof *seed, 0) == sizeof *seed;
    lock_all(dp);
    bool added = ready && set_accept(network, settings) && listen_on(dp, udp_port) &&
                 map_put(&dp->networks, vni, network);
    if (added)
        set_rules(network, settings);
    unlock_all(dp);
    if (!added)
        network_free(network);
    return added;
}

bool wgvx_set_network(wgvx *dp, uint32_t vni, const wgvx_network_settings *settings)
{
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    bool set = false;
    if (network) {
        struct allowed_ips *before = network->accept;
        network->accept = NULL;
        network->accepted = (struct prefix_owner){0};
        set = set_accept(network, settings);
        allowed_ips_free(set ? before : network->accept);
        if (set)
            set_rules(network, settings);
        else
            network->accept = before;
    }
    unlock_all(dp);
    return set;
}

bool wgvx_set_group(wgvx *dp, uint32_t vni, const uint8_t *mac, const wgvx_place *places,
                    uint32_t count)
{
    struct place *own = places_of(places, count);
    if (places && !own)
        return false;
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    bool set = network && members_set(&network->members, mac, own, count);
    unlock_all(dp);
    free(own);
    return set;
}

void wgvx_set_blocked(wgvx *dp, uint32_t id, bool blocked)
{
    lock_all(dp);
    struct port *port = map_get(&dp->ports, id);
    if (port)
        port->blocked = blocked;
    unlock_all(dp);
}

void wgvx_forget_port(wgvx *dp, uint32_t id)
{
    lock_all(dp);
    struct port *port = map_get(&dp->ports, id);
    if (port)
        fdb_flush(port->network->fdb, &(struct place){.port = id}, false);
    unlock_all(dp);
}

bool wgvx_add_port(wgvx *dp, uint32_t vni, uint32_t id, const uint8_t *mac)
{
    struct port *port = calloc(1, sizeof *port);
    if (!port)
        return false;
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    bool added = network && map_put(&dp->ports, id, port);
    if (added) {
        port->id = id;
        port->network = network;
        for (uint32_t worker = 0; worker <= MAX_WORKERS; worker++)
            port->fds[worker] = -1;
        if (mac) {
            port->has_mac = true;
            memcpy(port->mac, mac, 6);
            added = fdb_add_permanent(network->fdb, mac, id);
        }
        *network->ports_end = port;
        network->ports_end = &port->next;
    }
    unlock_all(dp);
    if (!map_get(&dp->ports, id))
        free(port);
    return added;
}

void wgvx_get_network(wgvx *dp, uint32_t vni, wgvx_network_state *state)
{
    lock_all(dp);
    const struct network *network = map_get(&dp->networks, vni);
    if (network)
        *state = (wgvx_network_state){network->rx_frames, network->tx_frames,
                                      fdb_entry_count(network->fdb), fdb_move_count(network->fdb)};
    unlock_all(dp);
}

int wgvx_fdb_add(wgvx *dp, uint32_t vni, const uint8_t *mac, const uint8_t *vtep,
                 uint8_t vtep_length, uint8_t *replaced, uint8_t *replaced_length)
{
    struct place place = vtep_place(vtep, vtep_length), before = {0};
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    int result = network ? fdb_add(network->fdb, mac, &place, &before) : -1;
    unlock_all(dp);
    *replaced_length = before.vtep_length;
    memcpy(replaced, before.vtep, 16);
    return result;
}

bool wgvx_fdb_delete(wgvx *dp, uint32_t vni, const uint8_t *mac, const uint8_t *vtep,
                     uint8_t vtep_length)
{
    struct place place = vtep_place(vtep, vtep_length);
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    bool deleted = network && fdb_delete(network->fdb, mac, vtep_length ? &place : NULL);
    unlock_all(dp);
    return deleted;
}

uint32_t wgvx_fdb_flush(wgvx *dp, uint32_t vni, const uint8_t *vtep, uint8_t vtep_length,
                        bool static_too)
{
    struct place place = vtep_place(vtep, vtep_length);
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    size_t gone = network ? fdb_flush(network->fdb, vtep_length ? &place : NULL, static_too) : 0;
    unlock_all(dp);
    return (uint32_t)gone;
}

uint32_t wgvx_fdb_flood(wgvx *dp, uint32_t vni, wgvx_place *out, uint32_t room)
{
    static const uint8_t flood[6];
    lock_all(dp);
    const struct network *network = map_get(&dp->networks, vni);
    const struct vteps *vteps = network ? fdb_replication(network->fdb, flood) : NULL;
    uint32_t count = vteps ? vteps->count : 0;
    for (uint32_t i = 0; i < count && i < room; i++) {
        out[i].vtep_length = vteps->places[i].vtep_length;
        memcpy(out[i].vtep, vteps->places[i].vtep, 16);
    }
    unlock_all(dp);
    return count;
}

struct rows {
    wgvx_row *rows;
    uint32_t room, count;
};

static void add_row(const struct fdb_row *row, void *into)
{
    struct rows *rows = into;
    if (rows->count < rows->room) {
        wgvx_row *out = &rows->rows[rows->count];
        memcpy(out->mac, row->mac, 6);
        out->state = row->state;
        out->vtep_length = row->where.vtep_length;
        memcpy(out->vtep, row->where.vtep, 16);
        out->port = row->where.port;
        out->age_seconds = row->age_seconds;
    }
    rows->count++;
}

uint32_t wgvx_fdb_rows(wgvx *dp, uint32_t vni, uint64_t now, wgvx_row *out, uint32_t room)
{
    struct rows rows = {out, room, 0};
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    if (network)
        fdb_rows(network->fdb, now, add_row, &rows);
    unlock_all(dp);
    return rows.count;
}

uint32_t wgvx_fdb_moves(wgvx *dp, uint32_t vni, wgvx_move *out, uint32_t room)
{
    struct fdb_move moves[MOVES_KEPT];
    lock_all(dp);
    struct network *network = map_get(&dp->networks, vni);
    uint32_t count = network ? fdb_moves(network->fdb, moves, MOVES_KEPT) : 0;
    unlock_all(dp);
    for (uint32_t i = 0; i < count && i < room; i++) {
        const struct fdb_move *move = &moves[i];
        out[i] = (wgvx_move){.from_length = move->from.vtep_length,
                             .to_length = move->to.vtep_length,
                             .from_port = move->from.port,
                             .to_port = move->to.port,
                             .at = move->at,
                             .times = move->times,
                             .held_until = move->held_until,
                             .window = move->window,
                             .recent = move->recent};
        memcpy(out[i].mac, move->mac, 6);
        memcpy(out[i].from_vtep, move->from.vtep, 16);
        memcpy(out[i].to_vtep, move->to.vtep, 16);
    }
    return count < room ? count : room;
}
