/* Groups whose frames go to some places alone: ports and VTEPs, by the group's MAC. Set by Python,
 * read by packets; not locked. */
#ifndef WGVX_MEMBERS_H
#define WGVX_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "fdb.h"
#include "hash.h"

struct members {
    uint8_t mac[6];
    struct members *chain;
    struct vteps remotes;   /* behind the ports */
    uint32_t port_count;
    struct place places[]; /* the ports first */
};

struct members_table {
    struct members **buckets;
    uint32_t bucket_count; /* a power of two, or 0 */
    uint32_t count;
    struct hash_seed seed;
};

void members_destroy(struct members_table *);
/* NULL where nothing was said of this MAC. */
const struct members *members_find(const struct members_table *, const uint8_t *mac);
/* `places`: the ports before the VTEPs. To be freed; NULL without memory. */
struct members *members_new(const struct place *places, uint32_t count);
/* NULL: nothing is said of it any more. False without memory: nothing changed. */
bool members_set(struct members_table *, const uint8_t *mac, const struct place *places,
                 uint32_t count);

#endif
