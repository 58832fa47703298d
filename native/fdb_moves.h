/* Stations of one network that moved: which, from where to where, when last and how often.
 * Twin of wgvx/vxlan/moves.py. Not locked. */
#ifndef WGVX_FDB_MOVES_H
#define WGVX_FDB_MOVES_H

#include "fdb.h"

#define MOVES_KEPT 128

struct fdb_moves {
    uint32_t count;
    struct fdb_move items[MOVES_KEPT]; /* whoever moved last comes last */
};

void fdb_moves_record(struct fdb_moves *, const uint8_t *mac, const struct place *from,
                      const struct place *to, uint64_t now);

#endif
