/* An AEAD for fuzzing: the text stays as it is, and the tag says no more than that key, counter and
 * length are right. So what the fuzzer writes is what the parsers read, and what the data plane
 * sends lies open to be checked. In place of ../aead*.c.
 */
#include <string.h>

#include "../aead.h"

static void make_tag(const uint8_t *key, uint64_t counter, size_t length, uint8_t *tag)
{
    uint64_t words[2];
    memcpy(words, key, sizeof words);
    words[0] ^= counter;
    words[1] ^= length;
    memcpy(tag, words, sizeof words);
}

static bool start(struct aead *aead)
{
    aead->state = NULL;
    return true;
}

static void stop(struct aead *aead)
{
    (void)aead;
}

static void seal(struct aead *aead, const uint8_t *key, uint64_t counter, uint8_t *text,
                 size_t length)
{
    (void)aead;
    make_tag(key, counter, length, text + length);
}

static bool open(struct aead *aead, const uint8_t *key, uint64_t counter, uint8_t *text,
                 size_t length)
{
    uint8_t tag[AEAD_TAG_LENGTH];
    (void)aead;
    make_tag(key, counter, length, tag);
    return !memcmp(tag, text + length, sizeof tag);
}

static const struct aead_library library = {"fuzz", start, stop, seal, open};
const struct aead_library *const aead_libraries[] = {&library, NULL};

bool aead_start(struct aead *aead, const char *name)
{
    aead->library = !name || !strcmp(name, library.name) ? &library : NULL;
    return aead->library;
}

void aead_stop(struct aead *aead)
{
    aead->library = NULL;
}
