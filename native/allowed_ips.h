/* Cryptokey routing: which peer the longest prefix around an address belongs to.
 * Twin of wgvx/wireguard/allowed_ips.py. Not locked: readers and writers are kept apart by callers;
 * look-ups may run in several threads at once.
 */
#ifndef WGVX_ALLOWED_IPS_H
#define WGVX_ALLOWED_IPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prefix;

/* A peer's end: embedded in it, all zero at first. Prefixes in the order they were given. */
struct prefix_owner {
    struct prefix *first, *last;
    size_t count;
};

struct prefix {
    struct prefix_owner *owner;
    struct prefix *previous, *next; /* of the same owner */
    uint8_t address_length;         /* 4 or 16 */
    uint8_t length;                 /* bits */
    uint8_t network[16];            /* host bits zero; IPv4: the rest zero */
};

struct allowed_ips;

struct allowed_ips *allowed_ips_new(void);
/* Owners are left as they are: their lists dangle, or they are gone already. */
void allowed_ips_free(struct allowed_ips *);

/* Give a prefix (host bits zero) to an owner; whoever had this very prefix loses it. Given again to
 * its owner it keeps its place. False without memory: nothing changed. */
bool allowed_ips_insert(struct allowed_ips *, const uint8_t *network, unsigned address_length,
                        unsigned length, struct prefix_owner *);
/* False where it was not the owner's. */
bool allowed_ips_remove(struct allowed_ips *, const uint8_t *network, unsigned address_length,
                        unsigned length, struct prefix_owner *);
void allowed_ips_remove_owner(struct allowed_ips *, struct prefix_owner *);

/* NULL where nothing covers it. */
struct prefix_owner *allowed_ips_lookup(const struct allowed_ips *, const uint8_t *address,
                                        unsigned address_length);

#endif
