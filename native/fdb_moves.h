/* Stations of one network that moved: which, from where to where, when last and how often.
 * Twin of wgvx/vxlan/moves.py. Not locked. */
#ifndef WGVX_FDB_MOVES_H
#define WGVX_FDB_MOVES_H

#include "fdb.h"

#define MOVES_KEPT 128
/* RFC 7432, section 15.1: see moves.MOVE_WINDOW. */
#define MOVE_WINDOW UINT64_C(180000000000)

struct fdb_moves {
    uint64_t total;
    uint32_t count;
    struct fdb_move items[MOVES_KEPT]; /* whoever moved last comes last */
};

/* Whether a station is to stay where it is. */
bool fdb_moves_holds(const struct fdb_moves *, const uint8_t *mac, uint64_t now);
/* One more. With the limit-th move within a window, 0 for none, the station is held. */
void fdb_moves_record(struct fdb_moves *, const uint8_t *mac, const struct place *from,
                      const struct place *to, uint32_t limit, uint64_t now);

#endif
