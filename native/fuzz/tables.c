/* Prefixes, replay windows and stations, edited and asked at random: the first two against models
 * of a few lines, stations against what their own rows say.
 *
 * One byte of which, then records of five bytes: what, whose, two bytes of a number, how long.
 */
#include <stdlib.h>

#include "../dataplane.h"
#include "bytes.h"
#include "must.h"

#define OWNERS 4
#define MOST 64

/* --- prefixes ----------------------------------------------------------------------------------- */

struct route {
    uint8_t address_length, bits, network[16];
    unsigned owner;
};

struct routes {
    struct route items[MOST];
    unsigned count;
};

static bool covers(const struct route *route, const uint8_t *address, unsigned length)
{
    if (route->address_length != length)
        return false;
    for (unsigned bit = 0; bit < route->bits; bit++)
        if ((route->network[bit / 8] ^ address[bit / 8]) >> (7 - bit % 8) & 1)
            return false;
    return true;
}

static void make_address(uint8_t *address, uint16_t number, unsigned length)
{
    memset(address, 0, 16);
    /* Few that differ in the middle, many at both ends. */
    address[0] = (uint8_t)(number >> 12) * 0x11;
    address[length / 2] = (uint8_t)(number >> 8 & 0x0F);
    address[length - 1] = (uint8_t)number;
}

static int find(const struct routes *routes, const uint8_t *network, unsigned length, unsigned bits)
{
    for (unsigned i = 0; i < routes->count; i++)
        if (routes->items[i].address_length == length && routes->items[i].bits == bits &&
            !memcmp(routes->items[i].network, network, 16))
            return (int)i;
    return -1;
}

/* The order they were given is kept. */
static void forget(struct routes *routes, unsigned at)
{
    routes->count--;
    memmove(routes->items + at, routes->items + at + 1,
            (routes->count - at) * sizeof *routes->items);
}

static void check_owner(const struct routes *routes, const struct prefix_owner *owner, unsigned who)
{
    const struct prefix *prefix = owner->first;
    size_t count = 0;
    for (unsigned i = 0; i < routes->count; i++) {
        if (routes->items[i].owner != who)
            continue;
        MUST(prefix && prefix->length == routes->items[i].bits);
        MUST(!memcmp(prefix->network, routes->items[i].network, 16));
        prefix = prefix->next;
        count++;
    }
    MUST(!prefix && owner->count == count);
}

static void prefixes(struct bytes *input)
{
    struct allowed_ips *table = allowed_ips_new();
    struct prefix_owner owners[OWNERS] = {0};
    struct routes routes = {.count = 0};
    while (input->left) {
        uint8_t what = take8(input), who = take8(input) % OWNERS, network[16], address[16];
        uint16_t number = take16(input);
        unsigned length = what & 1 ? 16 : 4, bits = take8(input) % (length * 8 + 1);
        make_address(address, number, length);
        memcpy(network, address, 16);
        for (unsigned bit = bits; bit < length * 8; bit++)
            network[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
        int at = find(&routes, network, length, bits);
        switch (what >> 1 & 7) {
        case 0:
            MUST(allowed_ips_remove(table, network, length, bits, &owners[who]) ==
                 (at >= 0 && routes.items[at].owner == who));
            if (at >= 0 && routes.items[at].owner == who)
                forget(&routes, (unsigned)at);
            break;
        case 1:
            allowed_ips_remove_owner(table, &owners[who]);
            for (unsigned i = routes.count; i-- > 0;)
                if (routes.items[i].owner == who)
                    forget(&routes, i);
            break;
        default:
            if (at >= 0 && routes.items[at].owner != who) {
                forget(&routes, (unsigned)at);
                at = -1;
            }
            if (at < 0 && routes.count == MOST)
                continue;
            MUST(allowed_ips_insert(table, network, length, bits, &owners[who]));
            if (at < 0) {
                struct route *route = &routes.items[routes.count++];
                *route = (struct route){(uint8_t)length, (uint8_t)bits, {0}, who};
                memcpy(route->network, network, 16);
            }
        }
        const struct route *best = NULL;
        for (unsigned i = 0; i < routes.count; i++)
            if (covers(&routes.items[i], address, length) &&
                (!best || routes.items[i].bits >= best->bits))
                best = &routes.items[i];
        MUST(allowed_ips_lookup(table, address, length) == (best ? &owners[best->owner] : NULL));
        check_owner(&routes, &owners[who], who);
    }
    allowed_ips_free(table);
}

/* --- replay windows ----------------------------------------------------------------------------- */

static void counters(struct bytes *input)
{
    struct replay replay = {0};
    uint64_t accepted[512], highest = 0, base = 0;
    unsigned count = 0;
    while (input->left && count < 512) {
        uint8_t what = take8(input);
        base += (uint64_t)take16(input) << (what & 63);
        uint64_t counter = base - take16(input);
        if (counter >= UINT64_MAX - 8192)
            continue;
        bool fresh = counter + REPLAY_WINDOW >= highest;
        for (unsigned i = 0; i < count; i++)
            fresh = fresh && accepted[i] != counter;
        MUST(replay_accept(&replay, counter) == fresh);
        if (fresh) {
            accepted[count++] = counter;
            highest = counter > highest ? counter : highest;
        }
    }
}

/* --- stations ----------------------------------------------------------------------------------- */

struct seen {
    struct fdb *fdb;
    uint64_t now;
    size_t rows, flood;
};

static void see(const struct fdb_row *row, void *into)
{
    static const uint8_t flood[6];
    struct seen *seen = into;
    struct place where;
    bool group = row->mac[0] & 1 || !memcmp(row->mac, flood, 6);
    seen->rows++;
    seen->flood += !memcmp(row->mac, flood, 6);
    if (group) {
        const struct vteps *vteps = fdb_replication(seen->fdb, row->mac);
        bool there = false;
        for (uint32_t i = 0; i < vteps->count; i++)
            there = there || !memcmp(&vteps->places[i], &row->where, sizeof row->where);
        MUST(there);
    } else {
        MUST(fdb_lookup(seen->fdb, row->mac, seen->now, &where));
        MUST(!memcmp(&where, &row->where, sizeof where));
    }
}

static void stations(struct bytes *input)
{
    uint8_t settings = take8(input);
    uint32_t most = settings >> 1 & 7;
    uint64_t ageing = settings & 16 ? 10 * SECOND : 0;
    struct fdb_settings rules = {.learning = settings & 1, .sticky = (settings & 96) == 96,
                                 .ageing = ageing, .max_entries = most,
                                 .move_limit = settings & 32 ? 2 : 0};
    struct fdb *fdb = fdb_new(&rules);
    struct seen seen = {.fdb = fdb, .now = SECOND};
    while (input->left) {
        uint8_t what = take8(input), who = take8(input);
        uint16_t number = take16(input);
        uint8_t mac[6] = {number & 0x8000 ? 1 : 2, 0, 0, 0, 0, (uint8_t)number};
        struct place place = {.vtep_length = who & 1 ? 16 : 4, .vtep = {10, who >> 2 & 3}}, was;
        if (who & 2)
            place = (struct place){.port = who >> 2 & 3};
        if ((number & 0xFF) == 0xFF)
            memset(mac, 0, 6);
        seen.now += (uint64_t)take8(input) << 26;
        bool unicast = !(mac[0] & 1) && (number & 0xFF) != 0xFF;
        switch (what % 8) {
        case 0:
            if (place.vtep_length)
                MUST(fdb_add(fdb, mac, &place, &was) >= (unicast ? -2 : 0));
            break;
        case 1:
            fdb_delete(fdb, mac, place.vtep_length ? &place : NULL);
            break;
        case 2:
            fdb_flush(fdb, place.vtep_length ? &place : NULL, number & 1);
            break;
        case 3:
            fdb_age(fdb, seen.now);
            break;
        case 4:
            if (unicast && who & 2)
                MUST(fdb_add_permanent(fdb, mac, place.port));
            break;
        case 5:
            if (number & 1)
                fdb_remove_port(fdb, who >> 2 & 3);
            break;
        default:
            if (unicast)
                fdb_learn(fdb, mac, &place, seen.now);
        }
        seen.rows = seen.flood = 0;
        fdb_rows(fdb, seen.now, see, &seen);
        /* Aged rows count until fdb_age() takes them out. */
        MUST(seen.rows - seen.flood <= fdb_entry_count(fdb));
        if (!ageing || what % 8 == 3)
            MUST(seen.rows - seen.flood == fdb_entry_count(fdb));
    }
    fdb_free(fdb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    switch (take8(&input) % 3) {
    case 0:
        prefixes(&input);
        break;
    case 1:
        counters(&input);
        break;
    default:
        stations(&input);
    }
    return 0;
}
