#include "fdb_groups.h"

#include <stdlib.h>
#include <string.h>

static struct group **bucket(const struct fdb_groups *groups, uint64_t mac)
{
    return &groups->buckets[hash_keyed(&groups->seed, mac) & (groups->bucket_count - 1)];
}

struct group *fdb_groups_find(const struct fdb_groups *groups, uint64_t mac)
{
    if (!mac)
        return (struct group *)&groups->flood;
    if (!groups->count)
        return NULL;
    struct group *group = *bucket(groups, mac);
    while (group && group->mac != mac)
        group = group->chain;
    return group;
}

static bool grow_buckets(struct fdb_groups *groups)
{
    struct fdb_groups larger = {.seed = groups->seed};
    larger.bucket_count = groups->bucket_count ? groups->bucket_count * 2 : 8;
    larger.buckets = calloc(larger.bucket_count, sizeof(struct group *));
    if (!larger.buckets)
        return false;
    for (struct group *group = groups->flood.next; group; group = group->next) {
        struct group **head = bucket(&larger, group->mac);
        group->chain = *head;
        *head = group;
    }
    free(groups->buckets);
    groups->buckets = larger.buckets;
    groups->bucket_count = larger.bucket_count;
    return true;
}

static struct group *make_group(struct fdb_groups *groups, uint64_t mac)
{
    if (groups->count == groups->bucket_count && !grow_buckets(groups))
        return NULL;
    struct group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    struct group **head = bucket(groups, mac);
    group->mac = mac;
    group->chain = *head;
    *head = group;
    group->previous = groups->last;
    groups->last->next = group;
    groups->last = group;
    groups->count++;
    return group;
}

static void drop_group(struct fdb_groups *groups, struct group *group)
{
    struct group **link = bucket(groups, group->mac);
    while (*link != group)
        link = &(*link)->chain;
    *link = group->chain;
    group->previous->next = group->next;
    *(group->next ? &group->next->previous : &groups->last) = group->previous;
    groups->count--;
    free(group->vteps.places);
    free(group);
}

void fdb_groups_init(struct fdb_groups *groups, const struct hash_seed *seed)
{
    *groups = (struct fdb_groups){.seed = *seed, .last = &groups->flood};
}

void fdb_groups_destroy(struct fdb_groups *groups)
{
    while (groups->flood.next)
        drop_group(groups, groups->flood.next);
    free(groups->flood.vteps.places);
    free(groups->buckets);
}

/* As fdb.h has it out: bytes that mean nothing are zero. */
static struct place normal(const struct place *place)
{
    struct place normal = {.vtep_length = place->vtep_length};
    if (place->vtep_length)
        memcpy(normal.vtep, place->vtep, place->vtep_length == 16 ? 16 : 4);
    else
        normal.port = place->port;
    return normal;
}

static bool same_vtep(const struct place *a, const struct place *b)
{
    return a->vtep_length == b->vtep_length && !memcmp(a->vtep, b->vtep, a->vtep_length);
}

static bool add_vtep(struct group *group, const struct place *vtep)
{
    if (group->vteps.count == group->room) {
        uint32_t room = group->room ? group->room * 2 : 2;
        struct place *places = realloc(group->vteps.places, room * sizeof *places);
        if (!places)
            return false;
        group->vteps.places = places;
        group->room = room;
    }
    group->vteps.places[group->vteps.count++] = normal(vtep);
    return true;
}

int fdb_groups_add(struct fdb_groups *groups, uint64_t mac, const struct place *vtep)
{
    struct group *group = fdb_groups_find(groups, mac);
    for (uint32_t i = 0; group && i < group->vteps.count; i++)
        if (same_vtep(&group->vteps.places[i], vtep))
            return 0;
    if (!group)
        group = make_group(groups, mac);
    if (!group)
        return -1;
    if (!add_vtep(group, vtep)) {
        if (!group->vteps.count && group != &groups->flood)
            drop_group(groups, group);
        return -1;
    }
    groups->rows += group != &groups->flood;
    return 0;
}

bool fdb_groups_delete(struct fdb_groups *groups, struct group *group, const struct place *vtep)
{
    struct vteps *vteps = &group->vteps;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < vteps->count; i++)
        if (vtep && !same_vtep(&vteps->places[i], vtep))
            vteps->places[kept++] = vteps->places[i];
    uint32_t gone = vteps->count - kept;
    vteps->count = kept;
    if (group != &groups->flood) {
        groups->rows -= gone;
        if (!kept)
            drop_group(groups, group);
    }
    return gone;
}
