#include "members.h"

#include <stdlib.h>
#include <string.h>

static uint64_t number_of(const uint8_t *mac)
{
    uint64_t number = 0;
    memcpy(&number, mac, 6);
    return number;
}

static struct members **bucket(const struct members_table *table, const uint8_t *mac)
{
    return &table->buckets[hash_keyed(&table->seed, number_of(mac)) & (table->bucket_count - 1)];
}

void members_destroy(struct members_table *table)
{
    for (uint32_t i = 0; i < table->bucket_count; i++)
        for (struct members *members = table->buckets[i], *next; members; members = next) {
            next = members->chain;
            free(members);
        }
    free(table->buckets);
}

const struct members *members_find(const struct members_table *table, const uint8_t *mac)
{
    if (!table->count)
        return NULL;
    const struct members *members = *bucket(table, mac);
    while (members && memcmp(members->mac, mac, 6))
        members = members->chain;
    return members;
}

static bool grow(struct members_table *table)
{
    struct members_table larger = *table;
    larger.bucket_count = table->bucket_count ? table->bucket_count * 2 : 16;
    larger.buckets = calloc(larger.bucket_count, sizeof *larger.buckets);
    if (!larger.buckets)
        return false;
    for (uint32_t i = 0; i < table->bucket_count; i++)
        for (struct members *members = table->buckets[i], *next; members; members = next) {
            next = members->chain;
            struct members **head = bucket(&larger, members->mac);
            members->chain = *head;
            *head = members;
        }
    free(table->buckets);
    *table = larger;
    return true;
}

struct members *members_new(const struct place *places, uint32_t count)
{
    struct members *members = calloc(1, sizeof *members + count * sizeof *places);
    if (!members)
        return NULL;
    memcpy(members->places, places, count * sizeof *places);
    while (members->port_count < count && !places[members->port_count].vtep_length)
        members->port_count++;
    members->remotes = (struct vteps){count - members->port_count,
                                      members->places + members->port_count};
    return members;
}

static struct members **find_link(const struct members_table *table, const uint8_t *mac)
{
    struct members **link = bucket(table, mac);
    while (*link && memcmp((*link)->mac, mac, 6))
        link = &(*link)->chain;
    return link;
}

bool members_set(struct members_table *table, const uint8_t *mac, const struct place *places,
                 uint32_t count)
{
    struct members *members = places ? members_new(places, count) : NULL;
    if (places && !members)
        return false;
    if (table->count == table->bucket_count && !grow(table)) {
        free(members);
        return false;
    }
    struct members **link = find_link(table, mac), *before = *link;
    if (members) {
        memcpy(members->mac, mac, 6);
        members->chain = before ? before->chain : NULL;
        *link = members;
    } else if (before) {
        *link = before->chain;
    }
    table->count += (members != NULL) - (before != NULL);
    free(before);
    return true;
}
