/* Controlled delay (RFC 8289): when a queue has stood for too long, one packet goes, and its sender
 * slows down.
 *
 * The queue is the socket's receive buffer, and how long a datagram waited there the kernel's time
 * stamp tells. A TAP frees TCP's buffer as soon as it is read, so TCP never feels a queue of ours;
 * left alone it fills the receive buffer, whatever its size, and everything else waits behind it.
 * A full buffer would lose a whole UDP_SEGMENT send of dozens of packets; this loses one.
 */
#ifndef WGVX_CODEL_H
#define WGVX_CODEL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct codel {
    uint64_t first_above; /* when the wait will have been too long for an interval; 0: it is not */
    uint64_t drop_next;
    uint32_t count; /* packets dropped since the queue began to stand */
    bool dropping;
};

static inline uint64_t codel_interval(uint64_t interval, uint32_t count)
{
    return (uint64_t)((double)interval / sqrt(count));
}

/* Nothing was in the queue until just now: what comes out next waited for its reader alone. */
static inline void codel_was_empty(struct codel *codel)
{
    codel->first_above = 0;
    codel->dropping = false;
}

/* Whether what waited for `waited` nanoseconds is to be dropped. */
static inline bool codel_drops(struct codel *codel, uint64_t waited, uint64_t now,
                               uint64_t target, uint64_t interval)
{
    if (waited < target) {
        codel_was_empty(codel); /* or as good as */
        return false;
    }
    if (!codel->first_above) {
        codel->first_above = now + interval;
        return false;
    }
    if (!codel->dropping) {
        if (now < codel->first_above)
            return false;
        codel->dropping = true;
        /* "If we have been dropping recently, start where we left off." */
        bool recent = now - codel->drop_next < 16 * interval;
        codel->count = recent && codel->count > 2 ? codel->count - 2 : 1;
        codel->drop_next = now + codel_interval(interval, codel->count);
        return true;
    }
    if (now < codel->drop_next)
        return false;
    codel->count++;
    codel->drop_next += codel_interval(interval, codel->count);
    return true;
}

#endif
