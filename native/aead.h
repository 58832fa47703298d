/* ChaCha20-Poly1305 (RFC 8439) as WireGuard uses it, from whichever library is best here.
 *
 * One `struct aead` belongs to one thread. Keys are passed with each call: a library that profits
 * from knowing that the key is the last one's again remembers it itself.
 */
#ifndef WGVX_AEAD_H
#define WGVX_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_LENGTH 32
#define AEAD_TAG_LENGTH 16

struct aead;

struct aead_library {
    const char *name; /* as `wgvx show` prints it: "openssl", "ipsec-mb" */
    /* False where the library, its version or this CPU cannot serve, or where the next in
     * aead_libraries[] serves full packets faster. */
    bool (*start)(struct aead *);
    void (*stop)(struct aead *);
    /* Seals text[0..length) in place, without additional data, and writes the tag behind it. The
     * nonce is four zero bytes and the counter, little-endian (paper, section 5.4.6). */
    void (*seal)(struct aead *, const uint8_t key[AEAD_KEY_LENGTH], uint64_t counter,
                 uint8_t *text, size_t length);
    /* Opens text[0..length), whose tag stands at text + length, in place. False where it does not
     * authenticate: what is in `text` then is not to be used. */
    bool (*open)(struct aead *, const uint8_t key[AEAD_KEY_LENGTH], uint64_t counter,
                 uint8_t *text, size_t length);
};

struct aead {
    const struct aead_library *library;
    void *state;
};

extern const struct aead_library aead_ipsec_mb, aead_openssl;

/* The libraries that were built in, best first; ends with NULL. */
extern const struct aead_library *const aead_libraries[];

/* The best library that works here, or the one of that name. False where there is none: then
 * aead->library is NULL. */
bool aead_start(struct aead *, const char *name);
/* Forgets the keys. */
void aead_stop(struct aead *);

static inline void aead_seal(struct aead *aead, const uint8_t *key, uint64_t counter,
                             uint8_t *text, size_t length)
{
    aead->library->seal(aead, key, counter, text, length);
}

static inline bool aead_open(struct aead *aead, const uint8_t *key, uint64_t counter,
                             uint8_t *text, size_t length)
{
    return aead->library->open(aead, key, counter, text, length);
}

#endif
