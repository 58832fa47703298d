/* The rules. fdb_table.c has the rows of unicast MACs, and says what threads may do with them;
 * fdb_groups.c has those of group MACs and the flood list, few and configured; fdb_moves.c, kept by
 * the table's mutex, who moved. */
#include "fdb.h"

#include <stdlib.h>
#include <string.h>

#include "fdb_groups.h"
#include "fdb_moves.h"
#include "fdb_table.h"

#define SECOND UINT64_C(1000000000)

struct fdb {
    struct fdb_table table;
    struct fdb_groups groups;
    struct fdb_moves moves;
    bool sticky;
    uint32_t move_limit;
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

/* Of one that may have several VTEPs; the flood list's is all zero. */
static inline bool is_many(const uint8_t *mac)
{
    return mac[0] & 1 || !mac_number(mac);
}

/* Clocks of two threads may differ by a moment: what was refreshed after `now` is fresh. */
static inline bool is_aged(const struct fdb *fdb, uint64_t refreshed, uint64_t now)
{
    return fdb->table.ageing && now > refreshed && now - refreshed >= fdb->table.ageing;
}

static size_t age_learned(struct fdb *fdb, uint64_t now)
{
    struct storage *storage = LOAD(fdb->table.storage);
    size_t removed = 0;
    for (; fdb->table.learned.first; removed++) {
        if (!is_aged(fdb, LOAD(storage->entries[fdb->table.learned.first].refreshed), now))
            break;
        fdb_table_erase(&fdb->table, fdb->table.learned.first);
    }
    return removed;
}

struct fdb *fdb_new(const struct fdb_settings *settings)
{
    struct fdb *fdb = aligned_alloc(_Alignof(struct fdb), sizeof *fdb);
    if (!fdb)
        return NULL;
    memset(fdb, 0, sizeof *fdb);
    fdb_set(fdb, settings);
    if (!fdb_table_init(&fdb->table)) {
        free(fdb);
        return NULL;
    }
    fdb_groups_init(&fdb->groups, &fdb->table.seed);
    return fdb;
}

void fdb_free(struct fdb *fdb)
{
    if (!fdb)
        return;
    fdb_table_destroy(&fdb->table);
    fdb_groups_destroy(&fdb->groups);
    free(fdb);
}

/* --- what every frame asks -------------------------------------------------------------------- */

static enum fdb_learned move(struct fdb *fdb, const struct view *from, const struct view *to,
                             uint64_t now)
{
    struct place before = unpacked(from), after = unpacked(to);
    uint8_t mac[6];
    mac_bytes(from->head, mac);
    if (fdb->sticky)
        return FDB_IS_STICKY;
    if (fdb->move_limit && fdb_moves_holds(&fdb->moves, mac, now))
        return FDB_IS_HELD;
    fdb_moves_record(&fdb->moves, mac, &before, &after, fdb->move_limit, now);
    return FDB_LEARNED;
}

static enum fdb_learned refresh(struct fdb *fdb, uint32_t number, struct view *view, uint64_t now)
{
    struct storage *storage = LOAD(fdb->table.storage);
    struct entry *entry = &storage->entries[number];
    struct view before = view_of(entry);
    view->refreshed = before.refreshed;
    if (!same_place(&before, view)) {
        if (!is_aged(fdb, before.refreshed, now)) {
            enum fdb_learned moved = move(fdb, &before, view, now);
            if (moved != FDB_LEARNED)
                return moved;
        }
        fdb_table_rewrite(&fdb->table, number, view);
    }
    if (now <= before.refreshed)
        return FDB_LEARNED;
    STORE(entry->refreshed, now);
    if (fdb->table.learned.last != number) {
        unlink_entry(storage, &fdb->table.learned, number);
        append(storage, &fdb->table.learned, number);
    }
    return FDB_LEARNED;
}

static void learn_new(struct fdb *fdb, struct view *view, uint64_t now)
{
    if (fdb->table.max_entries && fdb->table.learned.count >= fdb->table.max_entries) {
        age_learned(fdb, now);
        if (fdb->table.learned.count >= fdb->table.max_entries)
            return;
    }
    view->refreshed = now;
    fdb_table_insert(&fdb->table, view);
}

enum fdb_learned fdb_learn(struct fdb *fdb, const uint8_t *mac, const struct place *where,
                           uint64_t now)
{
    enum fdb_learned learned = FDB_LEARNED;
    if (!fdb->table.learning)
        return learned;
    uint64_t number = mac_number(mac);
    uint32_t hash = hash_of(&fdb->table, number);
    struct view view = packed(where), row;
    view.head |= number;
    if (read_row(&fdb->table, number, hash, &row)) {
        bool same = same_place(&row, &view);
        if (row.head & FIXED)
            return same ? FDB_LEARNED : FDB_IS_STATIC;
        if (same && now <= row.refreshed)
            return FDB_LEARNED;
    }
    pthread_mutex_lock(&fdb->table.mutex);
    uint32_t found = find(LOAD(fdb->table.storage), number, hash);
    if (found)
        learned = refresh(fdb, found, &view, now);
    else
        learn_new(fdb, &view, now);
    pthread_mutex_unlock(&fdb->table.mutex);
    return learned;
}

bool fdb_lookup(struct fdb *fdb, const uint8_t *mac, uint64_t now, struct place *where)
{
    struct view row;
    uint64_t number = mac_number(mac);
    if (!read_row(&fdb->table, number, hash_of(&fdb->table, number), &row))
        return false;
    if (!(row.head & FIXED) && is_aged(fdb, row.refreshed, now))
        return false;
    *where = unpacked(&row);
    return true;
}

const struct vteps *fdb_replication(const struct fdb *fdb, const uint8_t *mac)
{
    const struct group *group = mac[0] & 1 ? fdb_groups_find(&fdb->groups, mac_number(mac)) : NULL;
    return group ? &group->vteps : &fdb->groups.flood.vteps;
}

bool fdb_has_group(const struct fdb *fdb, const uint8_t *mac)
{
    return mac[0] & 1 && fdb_groups_find(&fdb->groups, mac_number(mac));
}

/* --- what is configured ----------------------------------------------------------------------- */

void fdb_set(struct fdb *fdb, const struct fdb_settings *settings)
{
    fdb->table.learning = settings->learning;
    fdb->table.ageing = settings->ageing;
    fdb->table.max_entries = settings->max_entries;
    fdb->sticky = settings->sticky;
    fdb->move_limit = settings->move_limit;
}

/* A row that stays, in the place of one that does, if there is one. */
static bool fix(struct fdb *fdb, struct view *view, uint32_t found)
{
    view->head |= FIXED;
    if (!found)
        return fdb_table_insert(&fdb->table, view);
    struct storage *storage = LOAD(fdb->table.storage);
    if (!(LOAD(storage->entries[found].head) & FIXED)) {
        unlink_entry(storage, &fdb->table.learned, found);
        append(storage, &fdb->table.fixed, found);
    }
    fdb_table_rewrite(&fdb->table, found, view);
    return true;
}

static uint32_t find_row(const struct fdb *fdb, uint64_t mac, struct view *row)
{
    const struct storage *storage = LOAD(fdb->table.storage);
    uint32_t found = find(storage, mac, hash_of(&fdb->table, mac));
    if (found)
        *row = view_of(&storage->entries[found]);
    return found;
}

int fdb_add(struct fdb *fdb, const uint8_t *mac, const struct place *vtep, struct place *replaced)
{
    uint64_t number = mac_number(mac);
    if (is_many(mac))
        return fdb_groups_add(&fdb->groups, number, vtep);
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
    struct group *group = is_many(mac) ? fdb_groups_find(&fdb->groups, number) : NULL;
    if (group)
        return fdb_groups_delete(&fdb->groups, group, vtep);
    struct view row;
    uint32_t found = find_row(fdb, number, &row);
    if (!found || !matches(&row, vtep))
        return false;
    if (row.head & FIXED && !(row.head & LENGTH_BITS))
        return false;
    fdb_table_erase(&fdb->table, found);
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
    struct storage *storage = LOAD(fdb->table.storage);
    for (uint32_t i = list->first, next; i; i = next) {
        next = storage->links[i].next;
        struct view row = view_of(&storage->entries[i]);
        if (matches(&row, place) && local == !(row.head & LENGTH_BITS))
            fdb_table_erase(&fdb->table, i);
    }
}

void fdb_remove_port(struct fdb *fdb, uint32_t port)
{
    struct place here = {.port = port};
    erase_at(fdb, &fdb->table.fixed, &here, true);
    erase_at(fdb, &fdb->table.learned, &here, true);
}

size_t fdb_flush(struct fdb *fdb, const struct place *place, bool static_too)
{
    size_t before = fdb_entry_count(fdb);
    if (place)
        erase_at(fdb, &fdb->table.learned, place, !place->vtep_length);
    else
        fdb_table_erase_learned(&fdb->table);
    if (static_too) {
        erase_at(fdb, &fdb->table.fixed, place, false);
        for (struct group *group = fdb->groups.flood.next, *next; group; group = next) {
            next = group->next;
            fdb_groups_delete(&fdb->groups, group, place);
        }
    }
    size_t gone = before - fdb_entry_count(fdb);
    fdb_table_shrink(&fdb->table);
    return gone;
}

/* --- upkeep and looking on -------------------------------------------------------------------- */

size_t fdb_age(struct fdb *fdb, uint64_t now)
{
    size_t removed = age_learned(fdb, now);
    fdb_table_shrink(&fdb->table);
    return removed;
}

size_t fdb_entry_count(const struct fdb *fdb)
{
    return (size_t)fdb->table.learned.count + fdb->table.fixed.count + fdb->groups.rows;
}

uint32_t fdb_moves(const struct fdb *fdb, struct fdb_move *out, uint32_t room)
{
    uint32_t count = fdb->moves.count < room ? fdb->moves.count : room;
    memcpy(out, fdb->moves.items, count * sizeof *out);
    return count;
}

uint64_t fdb_move_count(const struct fdb *fdb)
{
    return fdb->moves.total;
}

bool fdb_learning(const struct fdb *fdb)
{
    return fdb->table.learning;
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
    for (const struct group *group = &fdb->groups.flood; group; group = group->next) {
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
    const struct storage *storage = LOAD(fdb->table.storage);
    for (uint32_t i = list->first; i; i = storage->links[i].next) {
        struct view view = view_of(&storage->entries[i]);
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
    visit_list(fdb, &fdb->table.fixed, now, visit, with);
    visit_list(fdb, &fdb->table.learned, now, visit, with);
}
