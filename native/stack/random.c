/* Sequence numbers, ports and identifiers that nobody can foretell. */
#include <sys/random.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

uint32_t stack_random(void)
{
    static uint8_t pool[256]; /* getentropy() gives so many at a time */
    static unsigned left;
    uint32_t word;
    if (left < sizeof word) {
        if (getentropy(pool, sizeof pool))
            abort(); /* cannot be, and to go on would be to hand out what is known */
        left = sizeof pool;
    }
    left -= (unsigned)sizeof word;
    memcpy(&word, pool + left, sizeof word);
    memset(pool + left, 0, sizeof word);
    return word;
}

/* RFC 6056: one of the dynamic ports. */
uint16_t stack_random_port(void)
{
    return (uint16_t)(49152 + stack_random() % (65536 - 49152));
}
