/* fdb.c's rows of MACs that may have several VTEPs: groups, and the flood list, whose MAC is 0. Few
 * and configured; not locked: readers and writers are kept apart by callers. */
#ifndef WGVX_FDB_GROUPS_H
#define WGVX_FDB_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fdb.h"
#include "hash.h"

struct group {
    struct vteps vteps;
    uint32_t room;
    uint64_t mac;
    struct group *previous, *next; /* in the order they were added */
    struct group *chain;
};

struct fdb_groups {
    struct group flood; /* the first of the groups */
    struct group *last;
    struct group **buckets;
    uint32_t bucket_count; /* a power of two, or 0 */
    uint32_t count;
    struct hash_seed seed;
    size_t rows; /* without those of the flood list */
};

void fdb_groups_init(struct fdb_groups *, const struct hash_seed *);
void fdb_groups_destroy(struct fdb_groups *);

/* NULL where a MAC has no VTEP. */
struct group *fdb_groups_find(const struct fdb_groups *, uint64_t mac);
/* 0, also where it was there already; -1 without memory. */
int fdb_groups_add(struct fdb_groups *, uint64_t mac, const struct place *vtep);
/* Without a VTEP: from all. Returns whether there was one. A group that has none left is freed. */
bool fdb_groups_delete(struct fdb_groups *, struct group *, const struct place *vtep /* or NULL */);

#endif
