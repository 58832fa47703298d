/* One hash table has the rows of unicast MACs, learned and fixed (static and permanent) ones; a
 * list of each keeps their order. Rows of group MACs and the flood list, few and configured, are
 * apart.
 *
 * Threads: what changes a table takes the mutex, but for calls that the caller keeps apart from all
 * others. Looking up takes no lock: `version` is odd while rows are changed, and who meets an odd
 * one, or another one afterwards, reads again, a few times, then under the mutex. All that such
 * readers touch is atomic, loaded with acquire and stored with release order: so none of their
 * loads moves below the second load of the version, and no store of a change above the one that
 * makes it odd. A refresh changes no more than a time, and so no version. The order lists belong to
 * the mutex. A table that was outgrown may still be read: fdb_age() or fdb_flush() frees it. */
#include "fdb.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "hash.h"

#define SECOND UINT64_C(1000000000)
#define FIRST_CAPACITY 16
#define LAST_CAPACITY (UINT32_C(1) << 30)

#define LOAD(x) atomic_load_explicit(&(x), memory_order_acquire)
#define STORE(x, value) atomic_store_explicit(&(x), value, memory_order_release)

/* --- rows of unicast MACs --------------------------------------------------------------------- */

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

/* Entries are numbered from 1; 0 is none. */
struct links {
    uint32_t previous, next;
};

struct list {
    uint32_t first, last, count;
};

/* One piece of memory. */
struct table {
    struct table *outgrown; /* the one before, which may still be read */
    uint32_t capacity;
    uint32_t mask; /* of the slots: open addressing, linear probing, at most two thirds taken */
    struct entry *entries;
    struct links *links;     /* apart: neighbours in the order are not neighbours here */
    _Atomic uint64_t *slots; /* hash << 32 | entry; 0: free */
};

struct group {
    struct vteps vteps;
    uint32_t room;
    uint64_t mac;
    struct group *previous, *next; /* in the order they were added */
    struct group *chain;
};

struct fdb {
    /* Read for every frame, seldom written. */
    _Atomic uint64_t version;
    struct table *_Atomic table;
    struct hash_seed seed;
    uint64_t ageing;
    uint32_t max_entries;
    bool learning;

    _Alignas(64) pthread_mutex_t mutex;
    struct list learned; /* the least recently refreshed first: ageing stops at a fresh one */
    struct list fixed;
    uint32_t unused; /* once used; chained by `next` */
    uint32_t used;   /* entries that ever were */

    struct group flood; /* the first of the groups */
    struct group *last_group;
    struct group **buckets;
    uint32_t bucket_count; /* a power of two, or 0 */
    uint32_t group_count;
    size_t group_rows;
};

static inline uint64_t mac_number(const uint8_t *mac)
{
    uint32_t low;
    uint16_t high;
    memcpy(&low, mac, 4);
    memcpy(&high, mac + 4, 2);
    return low | (uint64_t)high << 32;
}

static inline void mac_bytes(uint64_t number, uint8_t *mac)
{
    uint32_t low = (uint32_t)number;
    uint16_t high = (uint16_t)(number >> 32);
    memcpy(mac, &low, 4);
    memcpy(mac + 4, &high, 2);
}

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

/* Clocks of two threads may differ by a moment: what was refreshed after `now` is fresh. */
static inline bool is_aged(const struct fdb *fdb, uint64_t refreshed, uint64_t now)
{
    return fdb->ageing && now > refreshed && now - refreshed >= fdb->ageing;
}

static inline uint32_t hash_of(const struct fdb *fdb, uint64_t mac)
{
    return hash_keyed(&fdb->seed, mac);
}

/* The entry of a MAC, or 0. */
static inline uint32_t find(const struct table *table, uint64_t mac, uint32_t hash)
{
    uint32_t i = hash & table->mask;
    /* Counted, as a reader that is overtaken by changes may never see a free slot. */
    for (uint32_t tries = 0; tries <= table->mask; tries++, i = (i + 1) & table->mask) {
        uint64_t slot = LOAD(table->slots[i]);
        if (!slot)
            return 0;
        if (slot >> 32 == hash &&
            (LOAD(table->entries[(uint32_t)slot].head) & MAC_BITS) == mac)
            return (uint32_t)slot;
    }
    return 0;
}

/* Without the lock. False: changed meanwhile. */
static inline bool try_read(const struct fdb *fdb, uint64_t mac, uint32_t hash, bool *known,
                            struct view *view)
{
    uint64_t version = LOAD(fdb->version);
    const struct table *table = LOAD(fdb->table);
    uint32_t found = find(table, mac, hash);
    *known = found;
    if (found)
        *view = view_of(&table->entries[found]);
    return !(version & 1) && LOAD(fdb->version) == version;
}

static bool read_locked(struct fdb *fdb, uint64_t mac, uint32_t hash, struct view *view)
{
    bool known;
    pthread_mutex_lock(&fdb->mutex);
    try_read(fdb, mac, hash, &known, view);
    pthread_mutex_unlock(&fdb->mutex);
    return known;
}

/* False where a MAC is unknown. */
static inline bool read_row(struct fdb *fdb, uint64_t mac, uint32_t hash, struct view *view)
{
    bool known;
    for (int tries = 0; tries < 4; tries++)
        if (try_read(fdb, mac, hash, &known, view))
            return known;
    /* Not for ever: whoever changes it may have been put off its core meanwhile. */
    return read_locked(fdb, mac, hash, view);
}

/* --- changes: with the mutex, or kept apart --------------------------------------------------- */

static void begin_change(struct fdb *fdb)
{
    STORE(fdb->version, LOAD(fdb->version) + 1);
}

static void end_change(struct fdb *fdb)
{
    STORE(fdb->version, LOAD(fdb->version) + 1);
}

static void append(struct table *table, struct list *list, uint32_t entry)
{
    table->links[entry] = (struct links){list->last, 0};
    *(list->last ? &table->links[list->last].next : &list->first) = entry;
    list->last = entry;
    list->count++;
}

static void unlink_entry(struct table *table, struct list *list, uint32_t entry)
{
    struct links links = table->links[entry];
    *(links.previous ? &table->links[links.previous].next : &list->first) = links.next;
    *(links.next ? &table->links[links.next].previous : &list->last) = links.previous;
    list->count--;
}

static struct list *list_of(struct fdb *fdb, uint64_t head)
{
    return head & FIXED ? &fdb->fixed : &fdb->learned;
}

static void take_slot(struct table *table, uint32_t hash, uint32_t entry)
{
    uint32_t i = hash & table->mask;
    while (LOAD(table->slots[i]))
        i = (i + 1) & table->mask;
    STORE(table->slots[i], (uint64_t)hash << 32 | entry);
}

static void free_slot(struct table *table, uint32_t hash, uint32_t entry)
{
    uint32_t mask = table->mask, hole = hash & mask;
    while ((uint32_t)LOAD(table->slots[hole]) != entry)
        hole = (hole + 1) & mask;
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    uint64_t slot;
    for (uint32_t i = (hole + 1) & mask; (slot = LOAD(table->slots[i])); i = (i + 1) & mask) {
        if (((i - (uint32_t)(slot >> 32)) & mask) >= ((i - hole) & mask)) {
            STORE(table->slots[hole], slot);
            hole = i;
        }
    }
    STORE(table->slots[hole], 0);
}

static struct table *make_table(uint32_t capacity)
{
    uint32_t slots = 2;
    while (slots < capacity + capacity / 2)
        slots *= 2;
    size_t entries_size = ((size_t)capacity + 1) * sizeof(struct entry);
    size_t links_size = ((size_t)capacity + 1) * sizeof(struct links);
    size_t size = 64 + entries_size + slots * sizeof(uint64_t) + links_size;
    uint8_t *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory)
        return NULL;
    struct table *table = (struct table *)memory;
    *table = (struct table){.capacity = capacity, .mask = slots - 1};
    table->entries = (struct entry *)(memory + 64);
    table->slots = (_Atomic uint64_t *)(memory + 64 + entries_size);
    table->links = (struct links *)(memory + 64 + entries_size + slots * sizeof(uint64_t));
    memset(table->slots, 0, slots * sizeof(uint64_t));
    return table;
}

static void free_outgrown(struct fdb *fdb)
{
    struct table *table = LOAD(fdb->table);
    for (struct table *outgrown; (outgrown = table->outgrown);) {
        table->outgrown = outgrown->outgrown;
        free(outgrown);
    }
}

/* Twice as large, but not beyond what the cap and the fixed rows can fill. */
static uint32_t next_capacity(const struct fdb *fdb, uint32_t capacity)
{
    uint64_t limit = LAST_CAPACITY;
    if (fdb->max_entries) {
        uint64_t fixed = 1;
        while (fixed <= fdb->fixed.count)
            fixed *= 2;
        if (limit > fdb->max_entries + fixed)
            limit = fdb->max_entries + fixed;
    }
    return (uint32_t)(limit < (uint64_t)capacity * 2 ? limit : (uint64_t)capacity * 2);
}

static bool grow(struct fdb *fdb)
{
    struct table *table = LOAD(fdb->table);
    uint32_t capacity = next_capacity(fdb, table->capacity);
    struct table *larger = capacity > table->capacity ? make_table(capacity) : NULL;
    if (!larger)
        return false;
    memcpy(larger->entries, table->entries, ((size_t)fdb->used + 1) * sizeof *table->entries);
    memcpy(larger->links, table->links, ((size_t)fdb->used + 1) * sizeof *table->links);
    for (uint32_t i = 0; i <= table->mask; i++) {
        uint64_t slot = LOAD(table->slots[i]);
        if (slot)
            take_slot(larger, (uint32_t)(slot >> 32), (uint32_t)slot);
    }
    larger->outgrown = table;
    STORE(fdb->table, larger);
    return true;
}

/* A free entry, or 0. */
static uint32_t take_entry(struct fdb *fdb)
{
    uint32_t entry = fdb->unused;
    if (entry) {
        fdb->unused = LOAD(fdb->table)->links[entry].next;
        return entry;
    }
    if (fdb->used == LOAD(fdb->table)->capacity && !grow(fdb))
        return 0;
    return ++fdb->used;
}

static void write_entry(struct entry *entry, const struct view *view)
{
    STORE(entry->head, view->head);
    STORE(entry->where[0], view->where[0]);
    STORE(entry->where[1], view->where[1]);
    STORE(entry->refreshed, view->refreshed);
}

/* False without memory. */
static bool insert(struct fdb *fdb, const struct view *view)
{
    uint32_t number = take_entry(fdb);
    if (!number)
        return false;
    struct table *table = LOAD(fdb->table);
    begin_change(fdb);
    write_entry(&table->entries[number], view);
    take_slot(table, hash_of(fdb, view->head & MAC_BITS), number);
    end_change(fdb);
    append(table, list_of(fdb, view->head), number);
    return true;
}

static void rewrite(struct fdb *fdb, uint32_t number, const struct view *view)
{
    begin_change(fdb);
    write_entry(&LOAD(fdb->table)->entries[number], view);
    end_change(fdb);
}

static void erase(struct fdb *fdb, uint32_t number)
{
    struct table *table = LOAD(fdb->table);
    uint64_t head = LOAD(table->entries[number].head);
    unlink_entry(table, list_of(fdb, head), number);
    begin_change(fdb);
    free_slot(table, hash_of(fdb, head & MAC_BITS), number);
    end_change(fdb);
    table->links[number].next = fdb->unused;
    fdb->unused = number;
}

static size_t age_learned(struct fdb *fdb, uint64_t now)
{
    struct table *table = LOAD(fdb->table);
    size_t removed = 0;
    for (; fdb->learned.first; removed++) {
        if (!is_aged(fdb, LOAD(table->entries[fdb->learned.first].refreshed), now))
            break;
        erase(fdb, fdb->learned.first);
    }
    return removed;
}

/* --- what every frame asks -------------------------------------------------------------------- */

static void refresh(struct fdb *fdb, uint32_t number, struct view *view, uint64_t now)
{
    struct table *table = LOAD(fdb->table);
    struct entry *entry = &table->entries[number];
    struct view before = view_of(entry);
    view->refreshed = before.refreshed;
    if (!same_place(&before, view))
        rewrite(fdb, number, view);
    if (now <= before.refreshed)
        return;
    STORE(entry->refreshed, now);
    if (fdb->learned.last != number) {
        unlink_entry(table, &fdb->learned, number);
        append(table, &fdb->learned, number);
    }
}

static void learn_new(struct fdb *fdb, struct view *view, uint64_t now)
{
    if (fdb->max_entries && fdb->learned.count >= fdb->max_entries) {
        age_learned(fdb, now);
        if (fdb->learned.count >= fdb->max_entries)
            return;
    }
    view->refreshed = now;
    insert(fdb, view);
}

bool fdb_learn(struct fdb *fdb, const uint8_t *mac, const struct place *where, uint64_t now)
{
    if (!fdb->learning)
        return true;
    uint64_t number = mac_number(mac);
    uint32_t hash = hash_of(fdb, number);
    struct view view = packed(where), row;
    view.head |= number;
    if (read_row(fdb, number, hash, &row)) {
        bool same = same_place(&row, &view);
        if (row.head & FIXED)
            return same;
        if (same && now <= row.refreshed)
            return true;
    }
    pthread_mutex_lock(&fdb->mutex);
    uint32_t found = find(LOAD(fdb->table), number, hash);
    if (found)
        refresh(fdb, found, &view, now);
    else
        learn_new(fdb, &view, now);
    pthread_mutex_unlock(&fdb->mutex);
    return true;
}

bool fdb_lookup(struct fdb *fdb, const uint8_t *mac, uint64_t now, struct place *where)
{
    struct view row;
    uint64_t number = mac_number(mac);
    if (!read_row(fdb, number, hash_of(fdb, number), &row))
        return false;
    if (!(row.head & FIXED) && is_aged(fdb, row.refreshed, now))
        return false;
    *where = unpacked(&row);
    return true;
}

/* --- rows of group MACs ----------------------------------------------------------------------- */

/* Of one that may have several VTEPs; the flood list's is all zero. */
static inline bool is_many(const uint8_t *mac)
{
    return mac[0] & 1 || !mac_number(mac);
}

static struct group **bucket(const struct fdb *fdb, uint64_t mac)
{
    return &fdb->buckets[hash_of(fdb, mac) & (fdb->bucket_count - 1)];
}

static struct group *find_group(const struct fdb *fdb, uint64_t mac)
{
    if (!mac)
        return (struct group *)&fdb->flood;
    if (!fdb->group_count)
        return NULL;
    struct group *group = *bucket(fdb, mac);
    while (group && group->mac != mac)
        group = group->chain;
    return group;
}

const struct vteps *fdb_replication(const struct fdb *fdb, const uint8_t *mac)
{
    const struct group *group = mac[0] & 1 ? find_group(fdb, mac_number(mac)) : NULL;
    return group ? &group->vteps : &fdb->flood.vteps;
}

static bool grow_buckets(struct fdb *fdb)
{
    struct fdb larger = {.seed = fdb->seed};
    larger.bucket_count = fdb->bucket_count ? fdb->bucket_count * 2 : 8;
    larger.buckets = calloc(larger.bucket_count, sizeof(struct group *));
    if (!larger.buckets)
        return false;
    for (struct group *group = fdb->flood.next; group; group = group->next) {
        struct group **head = bucket(&larger, group->mac);
        group->chain = *head;
        *head = group;
    }
    free(fdb->buckets);
    fdb->buckets = larger.buckets;
    fdb->bucket_count = larger.bucket_count;
    return true;
}

static struct group *make_group(struct fdb *fdb, uint64_t mac)
{
    if (fdb->group_count == fdb->bucket_count && !grow_buckets(fdb))
        return NULL;
    struct group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    struct group **head = bucket(fdb, mac);
    group->mac = mac;
    group->chain = *head;
    *head = group;
    group->previous = fdb->last_group;
    fdb->last_group->next = group;
    fdb->last_group = group;
    fdb->group_count++;
    return group;
}

static void drop_group(struct fdb *fdb, struct group *group)
{
    struct group **link = bucket(fdb, group->mac);
    while (*link != group)
        link = &(*link)->chain;
    *link = group->chain;
    group->previous->next = group->next;
    *(group->next ? &group->next->previous : &fdb->last_group) = group->previous;
    fdb->group_count--;
    free(group->vteps.places);
    free(group);
}

/* As fdb.h has it out: bytes that mean nothing are zero. */
static struct place normal(const struct place *place)
{
    struct view view = packed(place);
    return unpacked(&view);
}

static bool same_vtep(const struct place *a, const struct place *b)
{
    return a->vtep_length == b->vtep_length && !memcmp(a->vtep, b->vtep, a->vtep_length);
}

static bool add_vtep(struct group *group, const struct place *vtep)
{
    if (group->vteps.count == group->room) {
        uint32_t room = group->room ? group->room * 2 : 2;
        struct place *places = realloc(group->vteps.places, room * sizeof *places);
        if (!places)
            return false;
        group->vteps.places = places;
        group->room = room;
    }
    group->vteps.places[group->vteps.count++] = normal(vtep);
    return true;
}

static int add_to_group(struct fdb *fdb, uint64_t mac, const struct place *vtep)
{
    struct group *group = find_group(fdb, mac);
    for (uint32_t i = 0; group && i < group->vteps.count; i++)
        if (same_vtep(&group->vteps.places[i], vtep))
            return 0;
    if (!group)
        group = make_group(fdb, mac);
    if (!group)
        return -1;
    if (!add_vtep(group, vtep)) {
        if (!group->vteps.count && group != &fdb->flood)
            drop_group(fdb, group);
        return -1;
    }
    fdb->group_rows += group != &fdb->flood;
    return 0;
}

/* Without a VTEP: from all. Returns whether there was one. */
static bool delete_from_group(struct fdb *fdb, struct group *group, const struct place *vtep)
{
    struct vteps *vteps = &group->vteps;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < vteps->count; i++)
        if (vtep && !same_vtep(&vteps->places[i], vtep))
            vteps->places[kept++] = vteps->places[i];
    uint32_t gone = vteps->count - kept;
    vteps->count = kept;
    if (group != &fdb->flood) {
        fdb->group_rows -= gone;
        if (!kept)
            drop_group(fdb, group);
    }
    return gone;
}

/* --- what is configured ----------------------------------------------------------------------- */

struct fdb *fdb_new(bool learning, uint64_t ageing, uint32_t max_entries)
{
    struct fdb *fdb = aligned_alloc(_Alignof(struct fdb), sizeof *fdb);
    struct table *table = make_table(FIRST_CAPACITY);
    struct hash_seed seed;
    if (!fdb || !table || getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        free(fdb);
        free(table);
        return NULL;
    }
    memset(fdb, 0, sizeof *fdb);
    fdb->learning = learning;
    fdb->ageing = ageing;
    fdb->max_entries = max_entries;
    fdb->seed = seed;
    fdb->last_group = &fdb->flood;
    STORE(fdb->table, table);
    pthread_mutex_init(&fdb->mutex, NULL);
    return fdb;
}

void fdb_free(struct fdb *fdb)
{
    if (!fdb)
        return;
    free_outgrown(fdb);
    free(LOAD(fdb->table));
    while (fdb->flood.next)
        drop_group(fdb, fdb->flood.next);
    free(fdb->flood.vteps.places);
    free(fdb->buckets);
    pthread_mutex_destroy(&fdb->mutex);
    free(fdb);
}

/* A row that stays, in the place of one that does, if there is one. */
static bool fix(struct fdb *fdb, struct view *view, uint32_t found)
{
    view->head |= FIXED;
    if (!found)
        return insert(fdb, view);
    struct table *table = LOAD(fdb->table);
    if (!(LOAD(table->entries[found].head) & FIXED)) {
        unlink_entry(table, &fdb->learned, found);
        append(table, &fdb->fixed, found);
    }
    rewrite(fdb, found, view);
    return true;
}

static uint32_t find_row(const struct fdb *fdb, uint64_t mac, struct view *row)
{
    const struct table *table = LOAD(fdb->table);
    uint32_t found = find(table, mac, hash_of(fdb, mac));
    if (found)
        *row = view_of(&table->entries[found]);
    return found;
}

int fdb_add(struct fdb *fdb, const uint8_t *mac, const struct place *vtep, struct place *replaced)
{
    uint64_t number = mac_number(mac);
    if (is_many(mac))
        return add_to_group(fdb, number, vtep);
    struct view view = packed(vtep), row = {0};
    view.head |= number;
    uint32_t found = find_row(fdb, number, &row);
    if (row.head & FIXED && !(row.head & LENGTH_BITS))
        return -2;
    if (!fix(fdb, &view, found))
        return -1;
    if (!(row.head & FIXED) || same_place(&row, &view))
        return 0;
    *replaced = unpacked(&row);
    return 1;
}

static bool matches(const struct view *row, const struct place *vtep)
{
    if (!vtep)
        return true;
    struct view view = packed(vtep);
    return same_place(row, &view);
}

bool fdb_delete(struct fdb *fdb, const uint8_t *mac, const struct place *vtep)
{
    uint64_t number = mac_number(mac);
    struct group *group = is_many(mac) ? find_group(fdb, number) : NULL;
    if (group)
        return delete_from_group(fdb, group, vtep);
    struct view row;
    uint32_t found = find_row(fdb, number, &row);
    if (!found || !matches(&row, vtep))
        return false;
    if (row.head & FIXED && !(row.head & LENGTH_BITS))
        return false;
    erase(fdb, found);
    return true;
}

bool fdb_add_permanent(struct fdb *fdb, const uint8_t *mac, uint32_t port)
{
    uint64_t number = mac_number(mac);
    struct view view = packed(&(struct place){.port = port}), row;
    view.head |= number;
    return fix(fdb, &view, find_row(fdb, number, &row));
}

/* Erases those of a list that `place` matches (NULL: all) and that are local, or are not. */
static void erase_at(struct fdb *fdb, const struct list *list, const struct place *place,
                     bool local)
{
    struct table *table = LOAD(fdb->table);
    for (uint32_t i = list->first, next; i; i = next) {
        next = table->links[i].next;
        struct view row = view_of(&table->entries[i]);
        if (matches(&row, place) && local == !(row.head & LENGTH_BITS))
            erase(fdb, i);
    }
}

void fdb_remove_port(struct fdb *fdb, uint32_t port)
{
    struct place here = {.port = port};
    erase_at(fdb, &fdb->fixed, &here, true);
    erase_at(fdb, &fdb->learned, &here, true);
}

/* All at once: a million one by one would hold up all threads. */
static void erase_learned(struct fdb *fdb)
{
    struct table *table = LOAD(fdb->table);
    if (!fdb->learned.count)
        return;
    begin_change(fdb);
    memset(table->slots, 0, ((size_t)table->mask + 1) * sizeof *table->slots);
    table->links[fdb->learned.last].next = fdb->unused;
    fdb->unused = fdb->learned.first;
    fdb->learned = (struct list){0};
    for (uint32_t i = fdb->fixed.first; i; i = table->links[i].next)
        take_slot(table, hash_of(fdb, LOAD(table->entries[i].head) & MAC_BITS), i);
    end_change(fdb);
}

static void shrink(struct fdb *fdb);

size_t fdb_flush(struct fdb *fdb, const struct place *vtep, bool static_too)
{
    size_t before = fdb_entry_count(fdb);
    if (vtep)
        erase_at(fdb, &fdb->learned, vtep, false);
    else
        erase_learned(fdb);
    if (static_too) {
        erase_at(fdb, &fdb->fixed, vtep, false);
        for (struct group *group = fdb->flood.next, *next; group; group = next) {
            next = group->next;
            delete_from_group(fdb, group, vtep);
        }
    }
    size_t gone = before - fdb_entry_count(fdb);
    shrink(fdb);
    return gone;
}

/* --- upkeep and looking on -------------------------------------------------------------------- */

static void move_list(struct fdb *fdb, struct list *list, struct table *to)
{
    const struct table *from = LOAD(fdb->table);
    struct list moved = {0};
    for (uint32_t i = list->first; i; i = from->links[i].next) {
        struct view view = view_of(&from->entries[i]);
        write_entry(&to->entries[++fdb->used], &view);
        take_slot(to, hash_of(fdb, view.head & MAC_BITS), fdb->used);
        append(to, &moved, fdb->used);
    }
    *list = moved;
}

/* Gives back what a table took that is nearly empty now. */
static void shrink(struct fdb *fdb)
{
    free_outgrown(fdb);
    struct table *table = LOAD(fdb->table);
    uint64_t rows = (uint64_t)fdb->learned.count + fdb->fixed.count;
    if (table->capacity <= 1024 || rows * 8 > table->capacity)
        return;
    struct table *smaller = make_table(rows * 2 > FIRST_CAPACITY ? rows * 2 : FIRST_CAPACITY);
    if (!smaller)
        return;
    begin_change(fdb);
    fdb->used = fdb->unused = 0;
    move_list(fdb, &fdb->fixed, smaller);
    move_list(fdb, &fdb->learned, smaller);
    STORE(fdb->table, smaller);
    end_change(fdb);
    free(table);
}

size_t fdb_age(struct fdb *fdb, uint64_t now)
{
    size_t removed = age_learned(fdb, now);
    shrink(fdb);
    return removed;
}

size_t fdb_entry_count(const struct fdb *fdb)
{
    return (size_t)fdb->learned.count + fdb->fixed.count + fdb->group_rows;
}

bool fdb_learning(const struct fdb *fdb)
{
    return fdb->learning;
}

static struct fdb_row row_of(const struct view *view, uint64_t now)
{
    struct fdb_row row = {.where = unpacked(view), .age_seconds = -1};
    mac_bytes(view->head, row.mac);
    row.state = row.where.vtep_length ? FDB_STATIC : FDB_LOCAL;
    if (view->head & FIXED)
        return row;
    row.state = row.where.vtep_length ? FDB_DYNAMIC : FDB_LOCAL;
    row.age_seconds = now > view->refreshed ? (int64_t)((now - view->refreshed) / SECOND) : 0;
    return row;
}

static void visit_groups(const struct fdb *fdb, void (*visit)(const struct fdb_row *, void *),
                         void *with)
{
    for (const struct group *group = &fdb->flood; group; group = group->next) {
        for (uint32_t i = 0; i < group->vteps.count; i++) {
            struct fdb_row row = {
                .state = FDB_STATIC, .where = group->vteps.places[i], .age_seconds = -1};
            mac_bytes(group->mac, row.mac);
            visit(&row, with);
        }
    }
}

static void visit_list(const struct fdb *fdb, const struct list *list, uint64_t now,
                       void (*visit)(const struct fdb_row *, void *), void *with)
{
    const struct table *table = LOAD(fdb->table);
    for (uint32_t i = list->first; i; i = table->links[i].next) {
        struct view view = view_of(&table->entries[i]);
        if (!(view.head & FIXED) && is_aged(fdb, view.refreshed, now))
            continue;
        struct fdb_row row = row_of(&view, now);
        visit(&row, with);
    }
}

void fdb_rows(struct fdb *fdb, uint64_t now, void (*visit)(const struct fdb_row *, void *),
              void *with)
{
    visit_groups(fdb, visit, with);
    visit_list(fdb, &fdb->fixed, now, visit, with);
    visit_list(fdb, &fdb->learned, now, visit, with);
}
