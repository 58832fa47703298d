/* mac1, mac2 and cookie replies (paper, section 5.4.4 and 5.4.7): what a handshake message has to
 * show before anybody spends a DH on it. Twin of wgvx/wireguard/cookie.py.
 *
 * One `struct macs` belongs to one thread. Primitives are libcrypto's.
 */
#ifndef WGVX_COOKIE_H
#define WGVX_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COOKIE_REPLY_LENGTH 64
#define COOKIE_NONCE_LENGTH 24
#define MAC_LENGTH 16

struct macs; /* a thread's contexts of libcrypto */

struct macs *macs_new(void); /* NULL without memory, or where libcrypto has no BLAKE2s */
void macs_free(struct macs *);

/* MAC(key, input): keyed BLAKE2s of 16 bytes; a key is 16 or 32 bytes. */
void macs_mac(struct macs *, const uint8_t *key, size_t key_length, const uint8_t *input,
              size_t length, uint8_t out[MAC_LENGTH]);

/* mac1 of a whole message 1 or 2, whose last 32 bytes are mac1 and mac2; mac1_key is
 * HASH(LABEL_MAC1 || S_pub). Constant time. */
bool mac1_valid(struct macs *, const uint8_t mac1_key[32], const uint8_t *message, size_t length);

/* cookie := MAC(secret, source address || port, big-endian). */
void cookie_make(struct macs *, const uint8_t secret[32], const uint8_t *ip, size_t ip_length,
                 uint16_t port, uint8_t cookie[MAC_LENGTH]);

/* mac2 of a whole message under a cookie; an all-zero mac2 is none. Constant time. */
bool mac2_valid(struct macs *, const uint8_t cookie[MAC_LENGTH], const uint8_t *message,
                size_t length);

/* The nonce of the `number`-th reply: random to everybody who does not have the key, and never the
 * same twice. */
void cookie_nonce(struct macs *, const uint8_t nonce_key[32], uint64_t number,
                  uint8_t nonce[COOKIE_NONCE_LENGTH]);

/* Message 3 that answers `message`: cookie_key is HASH(LABEL_COOKIE || S_pub). */
void cookie_reply(struct macs *, const uint8_t cookie_key[32],
                  const uint8_t nonce[COOKIE_NONCE_LENGTH], const uint8_t cookie[MAC_LENGTH],
                  const uint8_t *message, size_t length, uint8_t out[COOKIE_REPLY_LENGTH]);

#endif
