#include "replay.h"

/* A ring of 128 words: counter c is bit c % 64 of word (c / 64) % 128. With the highest counter in
 * word w, words w - 127 to w are kept, and (highest - 8128) / 64 = w - 127: so the ring holds all
 * that the window needs, however far into its word the highest is. */
bool replay_accept(struct replay *replay, uint64_t counter)
{
    uint64_t word = counter / 64;
    if (counter >= replay->highest_plus_one) {
        if (replay->highest_plus_one) { /* else the ring is zero as it is */
            uint64_t ahead = word - (replay->highest_plus_one - 1) / 64;
            if (ahead > REPLAY_WORDS)
                ahead = REPLAY_WORDS;
            while (ahead)
                replay->seen[(word - --ahead) % REPLAY_WORDS] = 0;
        }
        replay->highest_plus_one = counter + 1;
    } else if (replay->highest_plus_one - 1 - counter > REPLAY_WINDOW) {
        return false;
    }
    uint64_t bit = UINT64_C(1) << counter % 64;
    uint64_t *seen = &replay->seen[word % REPLAY_WORDS];
    if (*seen & bit)
        return false;
    *seen |= bit;
    return true;
}
