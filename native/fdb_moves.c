/* A short array that is searched and shifted: a move is rare, and has its price elsewhere. */
#include "fdb_moves.h"

#include <string.h>

/* Where a station is, or else where room is made for it. */
static uint32_t place_of(struct fdb_moves *moves, const uint8_t *mac)
{
    for (uint32_t i = moves->count; i-- > 0;)
        if (!memcmp(moves->items[i].mac, mac, 6))
            return i;
    uint32_t at = moves->count < MOVES_KEPT ? moves->count++ : 0;
    moves->items[at] = (struct fdb_move){0};
    return at;
}

bool fdb_moves_holds(const struct fdb_moves *moves, const uint8_t *mac, uint64_t now)
{
    for (uint32_t i = moves->count; i-- > 0;)
        if (!memcmp(moves->items[i].mac, mac, 6))
            return now < moves->items[i].held_until;
    return false;
}

void fdb_moves_record(struct fdb_moves *moves, const uint8_t *mac, const struct place *from,
                      const struct place *to, uint32_t limit, uint64_t now)
{
    uint32_t at = place_of(moves, mac), last = moves->count - 1;
    const struct fdb_move *before = &moves->items[at];
    struct fdb_move move = {.from = *from, .to = *to, .at = now, .times = before->times + 1,
                            .window = now, .recent = 1};
    memcpy(move.mac, mac, 6);
    if (before->times && now < before->window + MOVE_WINDOW) {
        move.window = before->window;
        move.recent = before->recent + 1;
    }
    if (limit && move.recent >= limit) {
        move.window = move.held_until = now + MOVE_WINDOW;
        move.recent = 0;
    }
    memmove(moves->items + at, moves->items + at + 1, (last - at) * sizeof move);
    moves->items[last] = move;
    moves->total++;
}
