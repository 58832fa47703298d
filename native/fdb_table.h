/* The hash table of fdb.c's rows of unicast MACs, learned and fixed (static and permanent) ones; a
 * list of each keeps their order.
 *
 * Threads: what changes a table takes the mutex, but for calls that the caller keeps apart from all
 * others. Looking up takes no lock: `version` is odd while rows are changed, and who meets an odd
 * one, or another one afterwards, reads again, a few times, then under the mutex. All that such
 * readers touch is atomic, loaded with acquire and stored with release order: so none of their
 * loads moves below the second load of the version, and no store of a change above the one that
 * makes it odd. A refresh changes no more than a time, and so no version. The order lists belong to
 * the mutex. Storage that was outgrown may still be read: fdb_table_shrink() frees it.
 *
 * What frames ask for is inline. */
#ifndef WGVX_FDB_TABLE_H
#define WGVX_FDB_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fdb.h"
#include "hash.h"

#define LOAD(x) atomic_load_explicit(&(x), memory_order_acquire)
#define STORE(x, value) atomic_store_explicit(&(x), value, memory_order_release)

/* --- rows ------------------------------------------------------------------------------------- */

/* An entry's head: its MAC, how long the address of its VTEP is (0: local), whether it is fixed. */
#define MAC_BITS ((UINT64_C(1) << 48) - 1)
#define LENGTH_BITS (UINT64_C(0xFF) << 48)
#define FIXED (UINT64_C(1) << 56)

/* What look-ups read; two to a cache line. */
struct entry {
    _Atomic uint64_t head;
    _Atomic uint64_t where[2]; /* the VTEP's address, or the port */
    _Atomic uint64_t refreshed;
};

struct view {
    uint64_t head;
    uint64_t where[2];
    uint64_t refreshed;
};

/* The head without a MAC. */
static inline struct view packed(const struct place *place)
{
    struct view view = {.head = (uint64_t)place->vtep_length << 48};
    if (place->vtep_length == 16)
        memcpy(view.where, place->vtep, 16);
    else if (place->vtep_length)
        memcpy(view.where, place->vtep, 4);
    else
        view.where[0] = place->port;
    return view;
}

static inline struct place unpacked(const struct view *view)
{
    struct place place = {.vtep_length = (view->head & LENGTH_BITS) >> 48};
    if (place.vtep_length)
        memcpy(place.vtep, view->where, 16);
    else
        place.port = (uint32_t)view->where[0];
    return place;
}

static inline bool same_place(const struct view *a, const struct view *b)
{
    return !((a->head ^ b->head) & LENGTH_BITS) && a->where[0] == b->where[0] &&
           a->where[1] == b->where[1];
}

static inline struct view view_of(const struct entry *entry)
{
    return (struct view){LOAD(entry->head), {LOAD(entry->where[0]), LOAD(entry->where[1])},
                         LOAD(entry->refreshed)};
}

/* --- the table -------------------------------------------------------------------------------- */

/* Entries are numbered from 1; 0 is none. */
struct links {
    uint32_t previous, next;
};

struct list {
    uint32_t first, last, count;
};

/* One piece of memory. */
struct storage {
    struct storage *outgrown; /* the one before, which may still be read */
    uint32_t capacity;
    uint32_t mask; /* of the slots: open addressing, linear probing, at most two thirds taken */
    struct entry *entries;
    struct links *links;     /* apart: neighbours in the order are not neighbours here */
    _Atomic uint64_t *slots; /* hash << 32 | entry; 0: free */
};

struct fdb_table {
    /* Read for every frame, seldom written: one cache line, which is why settings that are fdb.c's
     * alone are here too. */
    _Atomic uint64_t version;
    struct storage *_Atomic storage;
    struct hash_seed seed;
    uint64_t ageing;
    uint32_t max_entries; /* learned ones; 0: no end of them */
    bool learning;

    _Alignas(64) pthread_mutex_t mutex;
    struct list learned; /* the least recently refreshed first: ageing stops at a fresh one */
    struct list fixed;
    uint32_t unused; /* once used; chained by `next` */
    uint32_t used;   /* entries that ever were */
};

/* Of one that is all zero but for its settings. False without memory, or without a seed. */
bool fdb_table_init(struct fdb_table *);
void fdb_table_destroy(struct fdb_table *);

/* --- reading ---------------------------------------------------------------------------------- */

static inline uint32_t hash_of(const struct fdb_table *table, uint64_t mac)
{
    return hash_keyed(&table->seed, mac);
}

/* The entry of a MAC, or 0. */
static inline uint32_t find(const struct storage *storage, uint64_t mac, uint32_t hash)
{
    uint32_t i = hash & storage->mask;
    /* Counted, as a reader that is overtaken by changes may never see a free slot. */
    for (uint32_t tries = 0; tries <= storage->mask; tries++, i = (i + 1) & storage->mask) {
        uint64_t slot = LOAD(storage->slots[i]);
        if (!slot)
            return 0;
        if (slot >> 32 == hash &&
            (LOAD(storage->entries[(uint32_t)slot].head) & MAC_BITS) == mac)
            return (uint32_t)slot;
    }
    return 0;
}

/* Without the lock. False: changed meanwhile. */
static inline bool try_read(const struct fdb_table *table, uint64_t mac, uint32_t hash,
                            bool *known, struct view *view)
{
    uint64_t version = LOAD(table->version);
    const struct storage *storage = LOAD(table->storage);
    uint32_t found = find(storage, mac, hash);
    *known = found;
    if (found)
        *view = view_of(&storage->entries[found]);
    return !(version & 1) && LOAD(table->version) == version;
}

static inline bool read_locked(struct fdb_table *table, uint64_t mac, uint32_t hash,
                               struct view *view)
{
    bool known;
    pthread_mutex_lock(&table->mutex);
    try_read(table, mac, hash, &known, view);
    pthread_mutex_unlock(&table->mutex);
    return known;
}

/* False where a MAC is unknown. */
static inline bool read_row(struct fdb_table *table, uint64_t mac, uint32_t hash,
                            struct view *view)
{
    bool known;
    for (int tries = 0; tries < 4; tries++)
        if (try_read(table, mac, hash, &known, view))
            return known;
    /* Not for ever: whoever changes it may have been put off its core meanwhile. */
    return read_locked(table, mac, hash, view);
}

/* --- changes: with the mutex, or kept apart --------------------------------------------------- */

static inline void append(struct storage *storage, struct list *list, uint32_t entry)
{
    storage->links[entry] = (struct links){list->last, 0};
    *(list->last ? &storage->links[list->last].next : &list->first) = entry;
    list->last = entry;
    list->count++;
}

static inline void unlink_entry(struct storage *storage, struct list *list, uint32_t entry)
{
    struct links links = storage->links[entry];
    *(links.previous ? &storage->links[links.previous].next : &list->first) = links.next;
    *(links.next ? &storage->links[links.next].previous : &list->last) = links.previous;
    list->count--;
}

/* A row of a MAC that has none. False without memory. */
bool fdb_table_insert(struct fdb_table *, const struct view *);
/* Does not move it from list to list. */
void fdb_table_rewrite(struct fdb_table *, uint32_t entry, const struct view *);
void fdb_table_erase(struct fdb_table *, uint32_t entry);
/* All at once: a million one by one would hold up all threads. */
void fdb_table_erase_learned(struct fdb_table *);
/* Kept apart: gives back what was outgrown, and what a table took that is nearly empty now. */
void fdb_table_shrink(struct fdb_table *);

#endif
