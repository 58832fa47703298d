/* The sliding window of section 5.4.6 (RFC 6479). Twin of wgvx/wireguard/replay.py. */
#ifndef WGVX_REPLAY_H
#define WGVX_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_WINDOW 8128
#define REPLAY_WORDS (8192 / 64)

/* All zero at first. */
struct replay {
    uint64_t highest_plus_one;
    uint64_t seen[REPLAY_WORDS];
};

/* Mark a counter (below 2^64 - 1) as seen; false when it was, or is too old to tell: accepted iff
 * counter >= highest - 8128 and not seen before. */
bool replay_accept(struct replay *, uint64_t counter);

#endif
