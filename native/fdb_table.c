#include "fdb_table.h"

#include <stdlib.h>
#include <sys/random.h>

#define FIRST_CAPACITY 16
#define LAST_CAPACITY (UINT32_C(1) << 30)

/* --- slots ------------------------------------------------------------------------------------ */

static void take_slot(struct storage *storage, uint32_t hash, uint32_t entry)
{
    uint32_t i = hash & storage->mask;
    while (LOAD(storage->slots[i]))
        i = (i + 1) & storage->mask;
    STORE(storage->slots[i], (uint64_t)hash << 32 | entry);
}

static void free_slot(struct storage *storage, uint32_t hash, uint32_t entry)
{
    uint32_t mask = storage->mask, hole = hash & mask;
    while ((uint32_t)LOAD(storage->slots[hole]) != entry)
        hole = (hole + 1) & mask;
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    uint64_t slot;
    for (uint32_t i = (hole + 1) & mask; (slot = LOAD(storage->slots[i])); i = (i + 1) & mask) {
        if (((i - (uint32_t)(slot >> 32)) & mask) >= ((i - hole) & mask)) {
            STORE(storage->slots[hole], slot);
            hole = i;
        }
    }
    STORE(storage->slots[hole], 0);
}

/* --- storage ---------------------------------------------------------------------------------- */

static struct storage *make_storage(uint32_t capacity)
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
    struct storage *storage = (struct storage *)memory;
    *storage = (struct storage){.capacity = capacity, .mask = slots - 1};
    storage->entries = (struct entry *)(memory + 64);
    storage->slots = (_Atomic uint64_t *)(memory + 64 + entries_size);
    storage->links = (struct links *)(memory + 64 + entries_size + slots * sizeof(uint64_t));
    memset(storage->slots, 0, slots * sizeof(uint64_t));
    return storage;
}

static void free_outgrown(struct fdb_table *table)
{
    struct storage *storage = LOAD(table->storage);
    for (struct storage *outgrown; (outgrown = storage->outgrown);) {
        storage->outgrown = outgrown->outgrown;
        free(outgrown);
    }
}

bool fdb_table_init(struct fdb_table *table)
{
    struct storage *storage = make_storage(FIRST_CAPACITY);
    if (!storage || getrandom(&table->seed, sizeof table->seed, 0) != sizeof table->seed) {
        free(storage);
        return false;
    }
    STORE(table->storage, storage);
    pthread_mutex_init(&table->mutex, NULL);
    return true;
}

void fdb_table_destroy(struct fdb_table *table)
{
    free_outgrown(table);
    free(LOAD(table->storage));
    pthread_mutex_destroy(&table->mutex);
}

/* Twice as large, but not beyond what the cap and the fixed rows can fill. More may have been learned
 * than a cap that was lowered since allows. */
static uint32_t next_capacity(const struct fdb_table *table, uint32_t capacity)
{
    uint64_t limit = LAST_CAPACITY;
    if (table->max_entries) {
        uint64_t fixed = 1, learned = table->max_entries;
        if (learned < table->learned.count)
            learned = table->learned.count;
        while (fixed <= table->fixed.count)
            fixed *= 2;
        if (limit > learned + fixed)
            limit = learned + fixed;
    }
    return (uint32_t)(limit < (uint64_t)capacity * 2 ? limit : (uint64_t)capacity * 2);
}

static bool grow(struct fdb_table *table)
{
    struct storage *storage = LOAD(table->storage);
    uint32_t capacity = next_capacity(table, storage->capacity);
    struct storage *larger = capacity > storage->capacity ? make_storage(capacity) : NULL;
    if (!larger)
        return false;
    memcpy(larger->entries, storage->entries, ((size_t)table->used + 1) * sizeof *storage->entries);
    memcpy(larger->links, storage->links, ((size_t)table->used + 1) * sizeof *storage->links);
    for (uint32_t i = 0; i <= storage->mask; i++) {
        uint64_t slot = LOAD(storage->slots[i]);
        if (slot)
            take_slot(larger, (uint32_t)(slot >> 32), (uint32_t)slot);
    }
    larger->outgrown = storage;
    STORE(table->storage, larger);
    return true;
}

/* A free entry, or 0. */
static uint32_t take_entry(struct fdb_table *table)
{
    uint32_t entry = table->unused;
    if (entry) {
        table->unused = LOAD(table->storage)->links[entry].next;
        return entry;
    }
    if (table->used == LOAD(table->storage)->capacity && !grow(table))
        return 0;
    return ++table->used;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void begin_change(struct fdb_table *table)
{
    STORE(table->version, LOAD(table->version) + 1);
}

static void end_change(struct fdb_table *table)
{
    STORE(table->version, LOAD(table->version) + 1);
}

static struct list *list_of(struct fdb_table *table, uint64_t head)
{
    return head & FIXED ? &table->fixed : &table->learned;
}

static void write_entry(struct entry *entry, const struct view *view)
{
    STORE(entry->head, view->head);
    STORE(entry->where[0], view->where[0]);
    STORE(entry->where[1], view->where[1]);
    STORE(entry->refreshed, view->refreshed);
}

bool fdb_table_insert(struct fdb_table *table, const struct view *view)
{
    uint32_t number = take_entry(table);
    if (!number)
        return false;
    struct storage *storage = LOAD(table->storage);
    begin_change(table);
    write_entry(&storage->entries[number], view);
    take_slot(storage, hash_of(table, view->head & MAC_BITS), number);
    end_change(table);
    append(storage, list_of(table, view->head), number);
    return true;
}

void fdb_table_rewrite(struct fdb_table *table, uint32_t number, const struct view *view)
{
    begin_change(table);
    write_entry(&LOAD(table->storage)->entries[number], view);
    end_change(table);
}

void fdb_table_erase(struct fdb_table *table, uint32_t number)
{
    struct storage *storage = LOAD(table->storage);
    uint64_t head = LOAD(storage->entries[number].head);
    unlink_entry(storage, list_of(table, head), number);
    begin_change(table);
    free_slot(storage, hash_of(table, head & MAC_BITS), number);
    end_change(table);
    storage->links[number].next = table->unused;
    table->unused = number;
}

void fdb_table_erase_learned(struct fdb_table *table)
{
    struct storage *storage = LOAD(table->storage);
    if (!table->learned.count)
        return;
    begin_change(table);
    memset(storage->slots, 0, ((size_t)storage->mask + 1) * sizeof *storage->slots);
    storage->links[table->learned.last].next = table->unused;
    table->unused = table->learned.first;
    table->learned = (struct list){0};
    for (uint32_t i = table->fixed.first; i; i = storage->links[i].next)
        take_slot(storage, hash_of(table, LOAD(storage->entries[i].head) & MAC_BITS), i);
    end_change(table);
}

/* --- shrinking -------------------------------------------------------------------------------- */

static void move_list(struct fdb_table *table, struct list *list, struct storage *to)
{
    const struct storage *from = LOAD(table->storage);
    struct list moved = {0};
    for (uint32_t i = list->first; i; i = from->links[i].next) {
        struct view view = view_of(&from->entries[i]);
        write_entry(&to->entries[++table->used], &view);
        take_slot(to, hash_of(table, view.head & MAC_BITS), table->used);
        append(to, &moved, table->used);
    }
    *list = moved;
}

void fdb_table_shrink(struct fdb_table *table)
{
    free_outgrown(table);
    struct storage *storage = LOAD(table->storage);
    uint64_t rows = (uint64_t)table->learned.count + table->fixed.count;
    if (storage->capacity <= 1024 || rows * 8 > storage->capacity)
        return;
    struct storage *smaller = make_storage(rows * 2 > FIRST_CAPACITY ? rows * 2 : FIRST_CAPACITY);
    if (!smaller)
        return;
    begin_change(table);
    table->used = table->unused = 0;
    move_list(table, &table->fixed, smaller);
    move_list(table, &table->learned, smaller);
    STORE(table->storage, smaller);
    end_change(table);
    free(storage);
}
