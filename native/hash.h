/* Hashes of the tables: of prefixes, which are configured, and of MACs, which attackers choose. */
#ifndef WGVX_HASH_H
#define WGVX_HASH_H

#include <stdint.h>

/* Mixes the bits of a prefix well enough that neighbours do not gather. */
static inline uint32_t hash_prefix(uint64_t high, uint64_t low, unsigned level)
{
    uint64_t h = high * UINT64_C(0x9E3779B97F4A7C15), l = low * UINT64_C(0xC2B2AE3D27D4EB4F);
    h = (h ^ h >> 32) + (l ^ l >> 32) + level;
    return (uint32_t)(h * UINT64_C(0xD6E8FEB86659FD93) >> 32);
}

struct hash_seed {
    uint64_t words[2];
};

static inline uint64_t hash_rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void hash_round(uint64_t v[4])
{
    v[0] += v[1], v[2] += v[3];
    v[1] = hash_rotate(v[1], 13) ^ v[0], v[3] = hash_rotate(v[3], 16) ^ v[2];
    v[0] = hash_rotate(v[0], 32);
    v[2] += v[1], v[0] += v[3];
    v[1] = hash_rotate(v[1], 17) ^ v[2], v[3] = hash_rotate(v[3], 21) ^ v[0];
    v[2] = hash_rotate(v[2], 32);
}

/* SipHash-1-3 of one word, without the block of the length, which is always the same. Nobody who
 * does not know the seed finds words that collide; a multiplication would be cheaper by 5 ns, and
 * differences that survive it whatever its seed are easy to find. */
static inline uint32_t hash_keyed(const struct hash_seed *seed, uint64_t word)
{
    uint64_t v[4] = {
        seed->words[0] ^ UINT64_C(0x736F6D6570736575),
        seed->words[1] ^ UINT64_C(0x646F72616E646F6D),
        seed->words[0] ^ UINT64_C(0x6C7967656E657261),
        seed->words[1] ^ UINT64_C(0x7465646279746573) ^ word,
    };
    hash_round(v);
    v[0] ^= word;
    v[2] ^= 0xFF;
    hash_round(v);
    hash_round(v);
    hash_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

#endif
