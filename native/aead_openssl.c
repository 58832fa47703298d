/* ChaCha20-Poly1305 from OpenSSL's libcrypto: its ChaCha20 and its Poly1305, put together here as
 * RFC 8439 says, chosen by measurement against its own combination of the two.
 *
 * - ChaCha20 makes 8 blocks in less than twice the time of one. So the block that Poly1305's key is
 *   from and the first of the text are made in one call, in a buffer.
 * - After an update of less than four blocks, libcrypto's Poly1305 for AVX-512 leaves the upper
 *   halves of the vector registers in use, and SSE code after it, libc's or ours, pays 100 ns and
 *   more. The combination ends with such an update, of the two lengths. Here they stand where the
 *   tag goes, behind the text, and are part of its update.
 * - EVP itself takes 50 ns. core_dispatch.h has what is below it.
 */
#include "aead.h"

#include <endian.h>
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHACHA20_BLOCK 64
#define POLY1305_BLOCK 16
#define POLY1305_KEY_LENGTH 32

#define HEAD (7 * CHACHA20_BLOCK) /* of the text; makes 8 with Poly1305's: the width of AVX2 */

/* A provider's functions with a context of its own, or EVP's with EVP's. */
struct chacha20 {
    void *context;
    OSSL_FUNC_cipher_freectx_fn *free;
    OSSL_FUNC_cipher_encrypt_init_fn *init;
    OSSL_FUNC_cipher_update_fn *update;
};

struct poly1305 {
    void *context;
    OSSL_FUNC_mac_freectx_fn *free;
    OSSL_FUNC_mac_init_fn *init;
    OSSL_FUNC_mac_update_fn *update;
    OSSL_FUNC_mac_final_fn *final;
};

struct openssl {
    EVP_CIPHER *cipher; /* these two keep the provider loaded */
    EVP_MAC *mac;
    struct chacha20 chacha20;
    struct poly1305 poly1305;
    uint8_t buffer[CHACHA20_BLOCK + HEAD]; /* a message's first blocks, with its key of Poly1305 */
};

/* --- the provider's functions ----------------------------------------------------------------- */

static const OSSL_DISPATCH *find(const OSSL_ALGORITHM *algorithm, const char *name)
{
    for (; algorithm && algorithm->algorithm_names; algorithm++)
        if (strcasecmp(algorithm->algorithm_names, name) == 0)
            return algorithm->implementation;
    return NULL;
}

static bool chacha20_of_provider(struct chacha20 *chacha20, const EVP_CIPHER *cipher)
{
    const OSSL_PROVIDER *provider = EVP_CIPHER_get0_provider(cipher);
    OSSL_FUNC_cipher_newctx_fn *new = NULL;
    int no_store;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(provider, OSSL_OP_CIPHER, &no_store);
    for (const OSSL_DISPATCH *f = find(all, "ChaCha20"); f && f->function_id; f++)
        switch (f->function_id) {
        case OSSL_FUNC_CIPHER_NEWCTX:
            new = OSSL_FUNC_cipher_newctx(f);
            break;
        case OSSL_FUNC_CIPHER_FREECTX:
            chacha20->free = OSSL_FUNC_cipher_freectx(f);
            break;
        case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            chacha20->init = OSSL_FUNC_cipher_encrypt_init(f);
            break;
        case OSSL_FUNC_CIPHER_UPDATE:
            chacha20->update = OSSL_FUNC_cipher_update(f);
            break;
        }
    OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_CIPHER, all);
    if (!new || !chacha20->free || !chacha20->init || !chacha20->update)
        return false;
    chacha20->context = new(OSSL_PROVIDER_get0_provider_ctx(provider));
    return chacha20->context;
}

static bool poly1305_of_provider(struct poly1305 *poly1305, const EVP_MAC *mac)
{
    const OSSL_PROVIDER *provider = EVP_MAC_get0_provider(mac);
    OSSL_FUNC_mac_newctx_fn *new = NULL;
    int no_store;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(provider, OSSL_OP_MAC, &no_store);
    for (const OSSL_DISPATCH *f = find(all, "Poly1305"); f && f->function_id; f++)
        switch (f->function_id) {
        case OSSL_FUNC_MAC_NEWCTX:
            new = OSSL_FUNC_mac_newctx(f);
            break;
        case OSSL_FUNC_MAC_FREECTX:
            poly1305->free = OSSL_FUNC_mac_freectx(f);
            break;
        case OSSL_FUNC_MAC_INIT:
            poly1305->init = OSSL_FUNC_mac_init(f);
            break;
        case OSSL_FUNC_MAC_UPDATE:
            poly1305->update = OSSL_FUNC_mac_update(f);
            break;
        case OSSL_FUNC_MAC_FINAL:
            poly1305->final = OSSL_FUNC_mac_final(f);
            break;
        }
    OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_MAC, all);
    if (!new || !poly1305->free || !poly1305->init || !poly1305->update || !poly1305->final)
        return false;
    poly1305->context = new(OSSL_PROVIDER_get0_provider_ctx(provider));
    return poly1305->context;
}

/* --- EVP's, for a provider that does not show them under these names -------------------------- */

static void evp_cipher_free(void *context)
{
    EVP_CIPHER_CTX_free(context);
}

static int evp_cipher_init(void *context, const unsigned char *key, size_t key_length,
                           const unsigned char *iv, size_t iv_length, const OSSL_PARAM *params)
{
    (void)key_length, (void)iv_length;
    return EVP_EncryptInit_ex2(context, NULL, key, iv, params);
}

static int evp_cipher_update(void *context, unsigned char *out, size_t *written, size_t size,
                             const unsigned char *in, size_t length)
{
    int n = 0;
    int done = length <= size && EVP_EncryptUpdate(context, out, &n, in, (int)length);
    *written = (size_t)n;
    return done;
}

static bool chacha20_of_evp(struct chacha20 *chacha20, const EVP_CIPHER *cipher)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    *chacha20 = (struct chacha20){context, evp_cipher_free, evp_cipher_init, evp_cipher_update};
    return context && EVP_EncryptInit_ex2(context, cipher, NULL, NULL, NULL);
}

static void evp_mac_free(void *context)
{
    EVP_MAC_CTX_free(context);
}

static int evp_mac_init(void *context, const unsigned char *key, size_t length,
                        const OSSL_PARAM *params)
{
    return EVP_MAC_init(context, key, length, params);
}

static int evp_mac_update(void *context, const unsigned char *data, size_t length)
{
    return EVP_MAC_update(context, data, length);
}

static int evp_mac_final(void *context, unsigned char *tag, size_t *written, size_t size)
{
    return EVP_MAC_final(context, tag, written, size);
}

static bool poly1305_of_evp(struct poly1305 *poly1305, EVP_MAC *mac)
{
    *poly1305 = (struct poly1305){EVP_MAC_CTX_new(mac), evp_mac_free, evp_mac_init, evp_mac_update,
                                  evp_mac_final};
    return poly1305->context;
}

/* --- the combination -------------------------------------------------------------------------- */

static void openssl_stop(struct aead *aead)
{
    struct openssl *openssl = aead->state;
    if (openssl->chacha20.context)
        openssl->chacha20.free(openssl->chacha20.context);
    if (openssl->poly1305.context)
        openssl->poly1305.free(openssl->poly1305.context);
    EVP_CIPHER_free(openssl->cipher);
    EVP_MAC_free(openssl->mac);
    OPENSSL_cleanse(openssl, sizeof *openssl);
    free(openssl);
}

static bool openssl_start(struct aead *aead)
{
    struct openssl *openssl = aead->state = calloc(1, sizeof *openssl);
    if (!openssl)
        return false;
    openssl->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
    openssl->mac = EVP_MAC_fetch(NULL, "Poly1305", NULL);
    if (openssl->cipher && openssl->mac &&
        (chacha20_of_provider(&openssl->chacha20, openssl->cipher) ||
         chacha20_of_evp(&openssl->chacha20, openssl->cipher)) &&
        (poly1305_of_provider(&openssl->poly1305, openssl->mac) ||
         poly1305_of_evp(&openssl->poly1305, openssl->mac)))
        return true;
    openssl_stop(aead);
    return false;
}

/* Nothing from here on fails but by a bug. Then not a byte may go out as if it were sealed. */
static void must(int done)
{
    if (!done)
        abort();
}

/* Encrypts, or decrypts, what comes next. */
static void crypt_next(struct chacha20 *chacha20, uint8_t *text, size_t length)
{
    size_t written;
    must(chacha20->update(chacha20->context, text, &written, length, text, length) &&
         written == length);
}

/* Poly1305's key to the buffer, and behind it the text's head, encrypted or decrypted. Returns the
 * head's length. */
static size_t crypt_head(struct openssl *openssl, const uint8_t *key, uint64_t counter,
                         const uint8_t *text, size_t length)
{
    struct chacha20 *chacha20 = &openssl->chacha20;
    size_t head = length < HEAD ? length : HEAD;
    uint64_t iv[2] = {0, htole64(counter)}; /* the first block is number 0 */
    must(chacha20->init(chacha20->context, key, AEAD_KEY_LENGTH, (const uint8_t *)iv, sizeof iv,
                        NULL));
    memset(openssl->buffer, 0, CHACHA20_BLOCK);
    memcpy(openssl->buffer + CHACHA20_BLOCK, text, head);
    /* Whole blocks: a part of one is made by itself, byte by byte. */
    crypt_next(chacha20, openssl->buffer,
               CHACHA20_BLOCK + (head + CHACHA20_BLOCK - 1) / CHACHA20_BLOCK * CHACHA20_BLOCK);
    return head;
}

/* Brings the text's head from the buffer, and does the same to the rest of it. */
static void crypt_rest(struct openssl *openssl, size_t head, uint8_t *text, size_t length)
{
    memcpy(text, openssl->buffer + CHACHA20_BLOCK, head);
    if (length > head)
        crypt_next(&openssl->chacha20, text + head, length - head);
}

/* Of the encrypted text, under the key in the buffer; writes over the 16 bytes behind the text. */
static void make_tag(struct openssl *openssl, uint8_t *text, size_t length,
                     uint8_t tag[AEAD_TAG_LENGTH])
{
    static const uint8_t zeros[POLY1305_BLOCK];
    struct poly1305 *poly1305 = &openssl->poly1305;
    const uint64_t lengths[2] = {0, htole64(length)}; /* the first of the additional data */
    size_t odd = length % POLY1305_BLOCK, written;
    memcpy(text + length, lengths, sizeof lengths);
    must(poly1305->init(poly1305->context, openssl->buffer, POLY1305_KEY_LENGTH, NULL));
    if (odd) { /* of peers that do not pad, and where the MTU leaves no room to */
        must(poly1305->update(poly1305->context, text, length) &&
             poly1305->update(poly1305->context, zeros, sizeof zeros - odd) &&
             poly1305->update(poly1305->context, text + length, sizeof lengths));
    } else
        must(poly1305->update(poly1305->context, text, length + sizeof lengths));
    must(poly1305->final(poly1305->context, tag, &written, AEAD_TAG_LENGTH) &&
         written == AEAD_TAG_LENGTH);
}

static void openssl_seal(struct aead *aead, const uint8_t *key, uint64_t counter, uint8_t *text,
                         size_t length)
{
    struct openssl *openssl = aead->state;
    size_t head = crypt_head(openssl, key, counter, text, length);
    crypt_rest(openssl, head, text, length);
    make_tag(openssl, text, length, text + length);
}

static bool openssl_open(struct aead *aead, const uint8_t *key, uint64_t counter, uint8_t *text,
                         size_t length)
{
    struct openssl *openssl = aead->state;
    uint8_t received[AEAD_TAG_LENGTH], tag[AEAD_TAG_LENGTH];
    size_t head = crypt_head(openssl, key, counter, text, length);
    memcpy(received, text + length, AEAD_TAG_LENGTH);
    make_tag(openssl, text, length, tag);
    if (CRYPTO_memcmp(received, tag, AEAD_TAG_LENGTH) != 0)
        return false;
    crypt_rest(openssl, head, text, length);
    return true;
}

const struct aead_library aead_openssl = {
    .name = "openssl",
    .start = openssl_start,
    .stop = openssl_stop,
    .seal = openssl_seal,
    .open = openssl_open,
};
