#include "cookie.h"

#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define MACS_LENGTH (2 * MAC_LENGTH)
#define COOKIE_REPLY_TYPE 3

struct macs {
    EVP_MAC_CTX *mac, *nonce; /* BLAKE2s of 16 and of 24 bytes */
    EVP_CIPHER_CTX *chacha20, *chacha20_poly1305;
};

/* Nothing of libcrypto that is called with it fails but by a bug. Then nothing may be let in, and
 * nothing may go out. */
static void must(int done)
{
    if (!done)
        abort();
}

static EVP_MAC_CTX *new_blake2s(size_t size)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
    EVP_MAC_CTX *context = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;
    EVP_MAC_free(algorithm); /* the context holds it */
    if (context && !EVP_MAC_CTX_set_params(context, params)) {
        EVP_MAC_CTX_free(context);
        return NULL;
    }
    return context;
}

static EVP_CIPHER_CTX *new_cipher(const char *name)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *context = cipher ? EVP_CIPHER_CTX_new() : NULL;
    if (context && !EVP_EncryptInit_ex2(context, cipher, NULL, NULL, NULL)) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    EVP_CIPHER_free(cipher); /* the context holds it */
    return context;
}

struct macs *macs_new(void)
{
    struct macs *macs = calloc(1, sizeof *macs);
    if (!macs)
        return NULL;
    macs->mac = new_blake2s(MAC_LENGTH);
    macs->nonce = new_blake2s(COOKIE_NONCE_LENGTH);
    macs->chacha20 = new_cipher("ChaCha20");
    macs->chacha20_poly1305 = new_cipher("ChaCha20-Poly1305");
    if (macs->mac && macs->nonce && macs->chacha20 && macs->chacha20_poly1305)
        return macs;
    macs_free(macs);
    return NULL;
}

void macs_free(struct macs *macs)
{
    if (!macs)
        return;
    EVP_MAC_CTX_free(macs->mac);
    EVP_MAC_CTX_free(macs->nonce);
    EVP_CIPHER_CTX_free(macs->chacha20);
    EVP_CIPHER_CTX_free(macs->chacha20_poly1305);
    free(macs);
}

/* The key is set each time: that is 2 ns of 330 for a message 1. */
static void blake2s(EVP_MAC_CTX *context, const uint8_t *key, size_t key_length,
                    const uint8_t *input, size_t length, uint8_t *out, size_t out_length)
{
    size_t written;
    must(EVP_MAC_init(context, key, key_length, NULL));
    must(EVP_MAC_update(context, input, length));
    must(EVP_MAC_final(context, out, &written, out_length));
}

void macs_mac(struct macs *macs, const uint8_t *key, size_t key_length, const uint8_t *input,
              size_t length, uint8_t out[MAC_LENGTH])
{
    blake2s(macs->mac, key, key_length, input, length, out, MAC_LENGTH);
}

static bool mac_valid(struct macs *macs, const uint8_t *key, size_t key_length,
                      const uint8_t *message, size_t length)
{
    uint8_t mac[MAC_LENGTH];
    macs_mac(macs, key, key_length, message, length, mac);
    return CRYPTO_memcmp(mac, message + length, MAC_LENGTH) == 0;
}

bool mac1_valid(struct macs *macs, const uint8_t mac1_key[32], const uint8_t *message,
                size_t length)
{
    return mac_valid(macs, mac1_key, 32, message, length - MACS_LENGTH);
}

void cookie_make(struct macs *macs, const uint8_t secret[32], const uint8_t *ip, size_t ip_length,
                 uint16_t port, uint8_t cookie[MAC_LENGTH])
{
    uint8_t source[16 + 2];
    port = htobe16(port);
    memcpy(source, ip, ip_length);
    memcpy(source + ip_length, &port, sizeof port);
    macs_mac(macs, secret, 32, source, ip_length + sizeof port, cookie);
}

bool mac2_valid(struct macs *macs, const uint8_t cookie[MAC_LENGTH], const uint8_t *message,
                size_t length)
{
    static const uint8_t none[MAC_LENGTH];
    length -= MAC_LENGTH;
    return memcmp(message + length, none, MAC_LENGTH) != 0 &&
           mac_valid(macs, cookie, MAC_LENGTH, message, length);
}

void cookie_nonce(struct macs *macs, const uint8_t nonce_key[32], uint64_t number,
                  uint8_t nonce[COOKIE_NONCE_LENGTH])
{
    number = htole64(number);
    blake2s(macs->nonce, nonce_key, 32, (const uint8_t *)&number, sizeof number, nonce,
            COOKIE_NONCE_LENGTH);
}

/* HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2): rows 0 and 3 of the state after ChaCha20's
 * rounds. Libcrypto gives a block of key stream, which is that plus the state before them. */
static void hchacha20(struct macs *macs, const uint8_t key[32], const uint8_t input[16],
                      uint8_t subkey[32])
{
    static const uint8_t zeros[64];
    uint32_t block[16], row3[4];
    int written;
    /* The IV of libcrypto's ChaCha20 is the whole row 3: counter and nonce. */
    must(EVP_EncryptInit_ex2(macs->chacha20, NULL, key, input, NULL));
    must(EVP_EncryptUpdate(macs->chacha20, (uint8_t *)block, &written, zeros, sizeof block));
    static const uint32_t row0[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(row3, input, sizeof row3);
    for (unsigned i = 0; i < 4; i++) {
        block[i] = htole32(le32toh(block[i]) - row0[i]);
        block[12 + i] = htole32(le32toh(block[12 + i]) - le32toh(row3[i]));
    }
    memcpy(subkey, block, 16);
    memcpy(subkey + 16, block + 12, 16);
    OPENSSL_cleanse(block, sizeof block);
}

/* XChaCha20-Poly1305 (the same draft, section 2.3) of a cookie, the tag behind it. */
static void seal_cookie(struct macs *macs, const uint8_t key[32], const uint8_t nonce[COOKIE_NONCE_LENGTH],
                        const uint8_t cookie[MAC_LENGTH], const uint8_t aad[MAC_LENGTH],
                        uint8_t out[2 * MAC_LENGTH])
{
    EVP_CIPHER_CTX *context = macs->chacha20_poly1305;
    OSSL_PARAM tag[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, out + MAC_LENGTH, MAC_LENGTH),
        OSSL_PARAM_END,
    };
    uint8_t subkey[32], inner_nonce[12] = {0};
    int written;
    hchacha20(macs, key, nonce, subkey);
    memcpy(inner_nonce + 4, nonce + 16, 8);
    must(EVP_EncryptInit_ex2(context, NULL, subkey, inner_nonce, NULL));
    must(EVP_EncryptUpdate(context, NULL, &written, aad, MAC_LENGTH));
    must(EVP_EncryptUpdate(context, out, &written, cookie, MAC_LENGTH));
    must(EVP_EncryptFinal_ex(context, out + MAC_LENGTH, &written));
    must(EVP_CIPHER_CTX_get_params(context, tag));
    OPENSSL_cleanse(subkey, sizeof subkey);
}

void cookie_reply(struct macs *macs, const uint8_t cookie_key[32],
                  const uint8_t nonce[COOKIE_NONCE_LENGTH], const uint8_t cookie[MAC_LENGTH],
                  const uint8_t *message, size_t length, uint8_t out[COOKIE_REPLY_LENGTH])
{
    const uint8_t *mac1 = message + length - MACS_LENGTH;
    memset(out, 0, 4);
    out[0] = COOKIE_REPLY_TYPE;
    memcpy(out + 4, message + 4, 4); /* whoever sent it is the receiver now */
    memcpy(out + 8, nonce, COOKIE_NONCE_LENGTH);
    seal_cookie(macs, cookie_key, nonce, cookie, mac1, out + 8 + COOKIE_NONCE_LENGTH);
}
