/* Prefixes hang on nodes. A node of level k stands for the 8k leading bits that its prefixes have
 * in common, and has those of 8k + 1 to 8k + 8 bits (level 0 also that of 0 bits): up to 511, as
 * the bits of one heap-numbered binary tree, so that which of them cover an address is read from
 * one cache line. Nodes are found by hash, not one from the other: a look-up asks for all levels in
 * use at once (at most 4 or 16, however many lengths are), and its cache misses overlap. */
#include "allowed_ips.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define MAX_LEVELS 16
#define WORDS 8 /* of 64 bits: 511 places in the tree, and place 0 that is none */

/* The owner is here too, so that a look-up need not touch the prefix. */
struct value {
    struct prefix_owner *owner;
    struct prefix *prefix;
};

struct node {
    uint64_t tree[WORDS];   /* which prefixes there are: bit 1 the root, below i are 2i, 2i + 1 */
    uint16_t before[WORDS]; /* how many there are in the words before */
    uint64_t high, low;     /* the leading bits */
    struct value one;
    struct value *many; /* in the order of the tree; NULL: just `one` */
    uint16_t count, room;
    uint8_t level;
} __attribute__((aligned(64)));

struct level {
    uint64_t high_mask, low_mask;
    uint8_t number;
};

struct family {
    struct node *nodes; /* without gaps */
    /* Open addressing, linear probing; twice as many as nodes fit. A slot has a node's place in
     * nodes + 1 (0: free) and, in the bits left over, the upper ones of its hash: so small they
     * stay in the cache, and a miss seldom gets to a node. */
    uint32_t *slots;
    uint32_t room; /* for nodes; a power of two, or 0 */
    uint32_t count;
    uint32_t level_count;
    struct level levels[MAX_LEVELS]; /* those in use, longest prefixes first */
    uint32_t nodes_of_level[MAX_LEVELS];
};

struct allowed_ips {
    struct family families[2]; /* IPv4, IPv6 */
};

/* An address or network, left-aligned. */
struct bits {
    uint64_t high, low;
};

/* Where a prefix is, or would be. */
struct position {
    struct family *family;
    struct bits leading;
    unsigned level;
    unsigned place; /* in the tree */
    uint32_t hash;
};

static inline uint64_t big_endian_64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(value) : value;
}

static inline struct bits load(const uint8_t *address, unsigned address_length)
{
    if (address_length == 16)
        return (struct bits){big_endian_64(address), big_endian_64(address + 8)};
    uint32_t value;
    memcpy(&value, address, sizeof value);
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        value = __builtin_bswap32(value);
    return (struct bits){(uint64_t)value << 32, 0};
}

static uint64_t mask(unsigned leading)
{
    return leading == 0 ? 0 : leading >= 64 ? UINT64_MAX : UINT64_MAX << (64 - leading);
}

static struct level level_of(unsigned number)
{
    unsigned low = number > 8 ? 8 * number - 64 : 0;
    return (struct level){mask(8 * number), mask(low), (uint8_t)number};
}

/* The byte after the leading ones. */
static inline unsigned byte_at(struct bits bits, unsigned level)
{
    uint64_t half = level < 8 ? bits.high : bits.low;
    return half >> (56 - 8 * (level % 8)) & 0xFF;
}

static inline uint32_t slot_mask(const struct family *family)
{
    return family->room * 2 - 1;
}

static inline uint32_t hash_node(const struct node *node)
{
    return hash_prefix(node->high, node->low, node->level);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static inline const struct node *find(const struct family *family, uint64_t high, uint64_t low,
                                      unsigned level, uint32_t hash)
{
    uint32_t last = slot_mask(family), slot;
    for (uint32_t i = hash & last; (slot = family->slots[i]); i = (i + 1) & last) {
        if ((slot ^ hash) & ~last)
            continue;
        const struct node *node = &family->nodes[(slot & last) - 1];
        if (node->high == high && node->low == low && node->level == level)
            return node;
    }
    return NULL;
}

static struct node *find_node(const struct position *at)
{
    if (!at->family->room)
        return NULL;
    return (struct node *)find(at->family, at->leading.high, at->leading.low, at->level, at->hash);
}

static void take_slot(struct family *family, uint32_t hash, uint32_t node)
{
    uint32_t last = slot_mask(family), i = hash & last;
    while (family->slots[i])
        i = (i + 1) & last;
    family->slots[i] = (hash & ~last) | (node + 1);
}

static uint32_t slot_of(const struct family *family, const struct node *node)
{
    uint32_t last = slot_mask(family), number = (uint32_t)(node - family->nodes) + 1;
    uint32_t i = hash_node(node) & last;
    while ((family->slots[i] & last) != number)
        i = (i + 1) & last;
    return i;
}

/* Whoever stands behind the hole and was pushed past it moves into it. */
static void free_slot(struct family *family, uint32_t hole)
{
    uint32_t last = slot_mask(family), slot;
    for (uint32_t i = (hole + 1) & last; (slot = family->slots[i]); i = (i + 1) & last) {
        uint32_t home = hash_node(&family->nodes[(slot & last) - 1]);
        if (((i - home) & last) >= ((i - hole) & last)) {
            family->slots[hole] = slot;
            hole = i;
        }
    }
    family->slots[hole] = 0;
}

static bool grow(struct family *family)
{
    struct family larger = *family;
    larger.room = family->room ? family->room * 2 : 8;
    larger.nodes = aligned_alloc(_Alignof(struct node), larger.room * sizeof *larger.nodes);
    larger.slots = calloc((size_t)larger.room * 2, sizeof *larger.slots);
    if (!larger.nodes || !larger.slots) {
        free(larger.nodes);
        free(larger.slots);
        return false;
    }
    if (family->count)
        memcpy(larger.nodes, family->nodes, family->count * sizeof *family->nodes);
    for (uint32_t i = 0; i < family->count; i++)
        take_slot(&larger, hash_node(&family->nodes[i]), i);
    free(family->nodes);
    free(family->slots);
    *family = larger;
    return true;
}

static void list_levels(struct family *family)
{
    family->level_count = 0;
    for (unsigned number = MAX_LEVELS; number-- > 0;)
        if (family->nodes_of_level[number])
            family->levels[family->level_count++] = level_of(number);
}

static struct node *make_node(const struct position *at)
{
    struct family *family = at->family;
    if (family->count == family->room && !grow(family))
        return NULL;
    struct node *node = &family->nodes[family->count];
    *node = (struct node){
        .high = at->leading.high, .low = at->leading.low, .level = (uint8_t)at->level};
    take_slot(family, at->hash, family->count++);
    if (!family->nodes_of_level[at->level]++)
        list_levels(family);
    return node;
}

/* Without prefixes. The last node moves to where it was. */
static void drop_node(struct family *family, struct node *node)
{
    unsigned level = node->level;
    free_slot(family, slot_of(family, node));
    struct node *last = &family->nodes[--family->count];
    if (node != last) {
        family->slots[slot_of(family, last)] += (uint32_t)(node - last);
        *node = *last;
    }
    if (!--family->nodes_of_level[level])
        list_levels(family);
    if (!family->count) {
        free(family->nodes);
        free(family->slots);
        *family = (struct family){0};
    }
}

/* --- prefixes of a node ----------------------------------------------------------------------- */

static inline bool has(const struct node *node, unsigned place)
{
    return node->tree[place / 64] >> place % 64 & 1;
}

/* Without relying on an instruction that the oldest x86-64 lacks. */
static inline unsigned ones(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* How many prefixes come before this place. */
static inline unsigned rank(const struct node *node, unsigned place)
{
    uint64_t below = (UINT64_C(1) << place % 64) - 1;
    return node->before[place / 64] + ones(node->tree[place / 64] & below);
}

static inline const struct value *value_at(const struct node *node, unsigned place)
{
    return node->many ? &node->many[rank(node, place)] : &node->one;
}

/* The longest that covers what continues with this byte; 0 if none does. */
static inline unsigned longest(const struct node *node, unsigned byte)
{
    unsigned place = 256 + byte;
    for (; place >= 64; place /= 2)
        if (has(node, place))
            return place;
    if (!node->tree[0])
        return 0;
    while (place && !has(node, place))
        place /= 2;
    return place;
}

static bool make_room(struct node *node)
{
    if (!node->count || node->count < node->room)
        return true;
    uint16_t room = node->room ? node->room * 2 : 4;
    struct value *many = realloc(node->many, room * sizeof *many);
    if (!many)
        return false;
    if (!node->many)
        many[0] = node->one;
    node->many = many;
    node->room = room;
    return true;
}

static void count_place(struct node *node, unsigned place, int change)
{
    node->tree[place / 64] ^= UINT64_C(1) << place % 64;
    for (unsigned word = place / 64 + 1; word < WORDS; word++)
        node->before[word] = (uint16_t)(node->before[word] + change);
    node->count = (uint16_t)(node->count + change);
}

/* After make_room(). */
static void put_value(struct node *node, unsigned place, struct value value)
{
    struct value *values = node->many ? node->many : &node->one;
    unsigned at = rank(node, place);
    memmove(&values[at + 1], &values[at], (node->count - at) * sizeof *values);
    values[at] = value;
    count_place(node, place, 1);
}

static void take_value(struct node *node, unsigned place)
{
    unsigned at = rank(node, place);
    count_place(node, place, -1);
    if (!node->many)
        return;
    memmove(&node->many[at], &node->many[at + 1], (node->count - at) * sizeof *node->many);
    if (node->count > 1)
        return;
    node->one = node->many[0];
    free(node->many);
    node->many = NULL;
    node->room = 0;
}

/* --- prefixes of an owner --------------------------------------------------------------------- */

static void append(struct prefix_owner *owner, struct prefix *prefix)
{
    prefix->owner = owner;
    prefix->previous = owner->last;
    prefix->next = NULL;
    *(owner->last ? &owner->last->next : &owner->first) = prefix;
    owner->last = prefix;
    owner->count++;
}

static void unlink_prefix(struct prefix *prefix)
{
    struct prefix_owner *owner = prefix->owner;
    *(prefix->previous ? &prefix->previous->next : &owner->first) = prefix->next;
    *(prefix->next ? &prefix->next->previous : &owner->last) = prefix->previous;
    owner->count--;
}

/* --- the table -------------------------------------------------------------------------------- */

struct allowed_ips *allowed_ips_new(void)
{
    return calloc(1, sizeof(struct allowed_ips));
}

void allowed_ips_free(struct allowed_ips *ips)
{
    for (int i = 0; ips && i < 2; i++) {
        struct family *family = &ips->families[i];
        for (uint32_t n = 0; n < family->count; n++) {
            struct node *node = &family->nodes[n];
            for (unsigned v = 0; v < node->count; v++)
                free((node->many ? node->many : &node->one)[v].prefix);
            free(node->many);
        }
        free(family->nodes);
        free(family->slots);
    }
    free(ips);
}

static struct position locate(struct allowed_ips *ips, const uint8_t *network,
                              unsigned address_length, unsigned length)
{
    struct position at = {.family = &ips->families[address_length == 16]};
    at.level = length ? (length - 1) / 8 : 0;
    struct bits bits = load(network, address_length);
    struct level level = level_of(at.level);
    at.leading = (struct bits){bits.high & level.high_mask, bits.low & level.low_mask};
    unsigned depth = length - 8 * at.level;
    at.place = 1U << depth | byte_at(bits, at.level) >> (8 - depth);
    at.hash = hash_prefix(at.leading.high, at.leading.low, at.level);
    return at;
}

static bool add_prefix(const struct position *at, struct node *node, struct prefix *prefix,
                       struct prefix_owner *owner)
{
    if (!node)
        node = make_node(at);
    if (!node)
        return false;
    if (!make_room(node)) /* which a new node always has */
        return false;
    append(owner, prefix);
    put_value(node, at->place, (struct value){owner, prefix});
    return true;
}

bool allowed_ips_insert(struct allowed_ips *ips, const uint8_t *network, unsigned address_length,
                        unsigned length, struct prefix_owner *owner)
{
    struct position at = locate(ips, network, address_length, length);
    struct node *node = find_node(&at);
    if (node && has(node, at.place)) {
        struct value *value = (struct value *)value_at(node, at.place);
        if (value->owner != owner) {
            unlink_prefix(value->prefix);
            append(owner, value->prefix);
            value->owner = owner;
        }
        return true;
    }
    struct prefix *prefix = calloc(1, sizeof *prefix);
    if (!prefix)
        return false;
    prefix->address_length = (uint8_t)address_length;
    prefix->length = (uint8_t)length;
    memcpy(prefix->network, network, address_length);
    if (!add_prefix(&at, node, prefix, owner)) {
        free(prefix);
        return false;
    }
    return true;
}

bool allowed_ips_remove(struct allowed_ips *ips, const uint8_t *network, unsigned address_length,
                        unsigned length, struct prefix_owner *owner)
{
    struct position at = locate(ips, network, address_length, length);
    struct node *node = find_node(&at);
    if (!node || !has(node, at.place))
        return false;
    const struct value *value = value_at(node, at.place);
    if (value->owner != owner)
        return false;
    struct prefix *prefix = value->prefix;
    unlink_prefix(prefix);
    free(prefix);
    take_value(node, at.place);
    if (!node->count)
        drop_node(at.family, node);
    return true;
}

void allowed_ips_remove_owner(struct allowed_ips *ips, struct prefix_owner *owner)
{
    for (const struct prefix *prefix; (prefix = owner->first);) {
        uint8_t network[16];
        memcpy(network, prefix->network, sizeof network);
        allowed_ips_remove(ips, network, prefix->address_length, prefix->length, owner);
    }
}

struct prefix_owner *allowed_ips_lookup(const struct allowed_ips *ips, const uint8_t *address,
                                        unsigned address_length)
{
    const struct family *family = &ips->families[address_length == 16];
    struct bits bits = load(address, address_length);
    uint32_t hashes[MAX_LEVELS];
    for (uint32_t i = 0; i < family->level_count; i++) {
        const struct level *level = &family->levels[i];
        hashes[i] = hash_prefix(bits.high & level->high_mask, bits.low & level->low_mask,
                                level->number);
        __builtin_prefetch(&family->slots[hashes[i] & slot_mask(family)]);
    }
    for (uint32_t i = 0; i < family->level_count; i++) {
        const struct level *level = &family->levels[i];
        const struct node *node = find(family, bits.high & level->high_mask,
                                       bits.low & level->low_mask, level->number, hashes[i]);
        unsigned place = node ? longest(node, byte_at(bits, level->number)) : 0;
        if (place)
            return value_at(node, place)->owner;
    }
    return NULL;
}
