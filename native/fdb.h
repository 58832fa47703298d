/* The forwarding database of one bridge domain. Twin of wgvx/vxlan/fdb.py, rule by rule.
 *
 * fdb_learn and fdb_lookup may be called by several threads at once; everything else is kept apart
 * from all other calls by the caller. Only what changes the table takes its lock: not a look-up,
 * and not fdb_learn of a row that has this place and was refreshed at `now` already. The threads'
 * clocks may differ by a moment; of two times of a refresh the later one stands. Growth leaves the
 * smaller table behind until fdb_age or fdb_flush.
 */
#ifndef WGVX_FDB_H
#define WGVX_FDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a MAC is: behind a VTEP, or on a port of ours. */
struct place {
    uint8_t vtep_length; /* 4 or 16; 0: local */
    uint8_t vtep[16];
    uint32_t port;
};

enum fdb_state { FDB_DYNAMIC, FDB_STATIC, FDB_LOCAL };

struct fdb_row {
    uint8_t mac[6];
    uint8_t state;    /* enum fdb_state */
    struct place where;
    int64_t age_seconds; /* since last refreshed; -1: does not age */
};

/* A station's last move, and how often it moved. */
struct fdb_move {
    uint8_t mac[6];
    struct place from, to;
    uint64_t at; /* as `now` of fdb_learn */
    uint64_t times;
    uint64_t held_until; /* when it may move again */
    uint64_t window;     /* when the counting of `recent` moves began */
    uint32_t recent;
};

struct fdb_settings {
    bool learning, sticky;
    uint64_t ageing; /* nanoseconds */
    uint32_t max_entries, move_limit;
};

/* VTEPs that a frame is replicated to. */
struct vteps {
    uint32_t count;
    struct place *places;
};

struct fdb;

struct fdb *fdb_new(const struct fdb_settings *);
void fdb_free(struct fdb *);

/* What every frame asks. fdb_learn: a row that says otherwise and stays is static or permanent, or
 * learned where the table is sticky, or held, having moved too often; without memory a new MAC is
 * not learned. `mac` has 6 bytes. fdb_lookup copies the place out. */
enum fdb_learned { FDB_LEARNED, FDB_IS_STATIC, FDB_IS_STICKY, FDB_IS_HELD };
enum fdb_learned fdb_learn(struct fdb *, const uint8_t *mac, const struct place *, uint64_t now);
bool fdb_lookup(struct fdb *, const uint8_t *mac, uint64_t now, struct place *);
/* Those of a group MAC that has some, else the flood list. Valid until the next edit. */
const struct vteps *fdb_replication(const struct fdb *, const uint8_t *mac);
bool fdb_has_group(const struct fdb *, const uint8_t *mac);

/* What is configured. fdb_set: other settings; what was learned stays. fdb_add: -2 for a port's own
 * MAC, -1 without memory, 0 added, 1 added and *replaced is the other VTEP that a static row had
 * until now. */
void fdb_set(struct fdb *, const struct fdb_settings *);
int fdb_add(struct fdb *, const uint8_t *mac, const struct place *vtep, struct place *replaced);
bool fdb_delete(struct fdb *, const uint8_t *mac, const struct place *vtep /* or NULL */);
size_t fdb_flush(struct fdb *, const struct place * /* or NULL */, bool static_too);
bool fdb_add_permanent(struct fdb *, const uint8_t *mac, uint32_t port);
void fdb_remove_port(struct fdb *, uint32_t port);

/* Upkeep and looking on. */
size_t fdb_age(struct fdb *, uint64_t now);
size_t fdb_entry_count(const struct fdb *);
/* Rows in the order of the Python twin; `visit` is called for each. */
void fdb_rows(struct fdb *, uint64_t now, void (*visit)(const struct fdb_row *, void *), void *);
/* Those that moved last, whoever moved last comes last; returns how many of at most `room`. */
uint32_t fdb_moves(const struct fdb *, struct fdb_move *out, uint32_t room);
uint64_t fdb_move_count(const struct fdb *); /* since the start */
bool fdb_learning(const struct fdb *);

#endif
