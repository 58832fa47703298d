/* The hot loops of the whole program. They add 64-bit words, whose halves and quarters count the
 * same modulo 0xFFFF, in vectors as wide as this CPU has them.
 */
#include "checksum.h"

#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t halves(uint64_t word)
{
    return (word & 0xFFFFFFFF) + (word >> 32);
}

/* 8 bytes at a step, then what is left. Copies too unless `to` is NULL. */
INLINE uint64_t run_8(uint8_t *to, const uint8_t *from, size_t length)
{
    uint64_t sum = 0, eight;
    size_t at = 0;
    for (; length - at >= 8; at += 8) {
        memcpy(&eight, from + at, 8);
        if (to)
            memcpy(to + at, &eight, 8);
        sum += halves(eight);
    }
    if (length & 4) {
        uint32_t four;
        memcpy(&four, from + at, 4);
        if (to)
            memcpy(to + at, &four, 4);
        sum += four;
        at += 4;
    }
    if (length & 2) {
        uint16_t two;
        memcpy(&two, from + at, 2);
        if (to)
            memcpy(to + at, &two, 2);
        sum += two;
        at += 2;
    }
    if (length & 1) {
        uint16_t padded = 0;
        memcpy(&padded, from + at, 1);
        if (to)
            to[at] = from[at];
        sum += padded;
    }
    return sum;
}

/* The same in vectors of so many bytes. In each lane `whole` is the sum of the words modulo 2^64
 * and `high` that of their upper halves. The sum of their lower halves stays below 2^64, so it is
 * whole - high * 2^32 modulo 2^64: that saves the masking of every word.
 *
 * A macro, because a function that is inlined into one of another target has had its vectors
 * lowered for its own.
 */
#define VECTORS(width, target)                                                                  \
    typedef uint64_t vector_##width __attribute__((vector_size(width)));                        \
    target INLINE uint64_t run_##width(uint8_t *to, const uint8_t *from, size_t length)         \
    {                                                                                           \
        vector_##width whole = {0}, high = {0}, words;                                          \
        size_t at = 0;                                                                          \
        for (; length - at >= width; at += width) {                                             \
            memcpy(&words, from + at, width);                                                   \
            if (to)                                                                             \
                memcpy(to + at, &words, width);                                                 \
            whole += words;                                                                     \
            high += words >> 32;                                                                \
        }                                                                                       \
        uint64_t sum = run_8(to ? to + at : NULL, from + at, length - at);                      \
        whole -= high << 32;                                                                    \
        for (int lane = 0; lane < width / 8; lane++)                                            \
            sum += halves(whole[lane]) + high[lane];                                            \
        return sum;                                                                             \
    }                                                                                           \
    target static uint64_t add_##width(const uint8_t *data, size_t length)                      \
    {                                                                                           \
        return length < width ? run_8(NULL, data, length) : run_##width(NULL, data, length);    \
    }                                                                                           \
    target static uint64_t copy_##width(uint8_t *to, const uint8_t *from, size_t length)        \
    {                                                                                           \
        return length < width ? run_8(to, from, length) : run_##width(to, from, length);        \
    }

/* What every CPU of an architecture has: SSE2, NEON, or the compiler makes do with words. */
VECTORS(16, )

/* Pointers rather than the compiler's clones: those need ifuncs, which not every libc has and
 * sanitizers do not like. They are set before main, and right even earlier.
 */
static uint64_t (*add)(const uint8_t *, size_t) = add_16;
static uint64_t (*copy)(uint8_t *, const uint8_t *, size_t) = copy_16;

#ifdef __x86_64__

VECTORS(32, __attribute__((target("avx2"))))
VECTORS(64, __attribute__((target("avx512f"))))

static bool has_32(void)
{
    return __builtin_cpu_supports("avx2");
}

/* The first CPUs with AVX-512 slowed all their cores down for it; those with VBMI2 do not. */
static bool has_64(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vbmi2");
}

__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (has_64()) {
        add = add_64;
        copy = copy_64;
    } else if (has_32()) {
        add = add_32;
        copy = copy_32;
    }
}

#endif

uint64_t checksum_add(const uint8_t *data, size_t length)
{
    return add(data, length);
}

uint64_t checksum_copy(uint8_t *to, const uint8_t *from, size_t length)
{
    return copy(to, from, length);
}
