/* Numbers to pointers: open addressing, linear probing, no tombstones. For tables that callers lock. */
#ifndef WGVX_MAP_H
#define WGVX_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct map {
    struct map_slot {
        uint32_t key;
        void *value; /* NULL: free */
    } *slots;
    uint32_t size; /* a power of two, or 0 */
    uint32_t used;
};

static inline uint32_t map_home(const struct map *map, uint32_t key)
{
    return (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (map->size - 1);
}

static inline void *map_get(const struct map *map, uint32_t key)
{
    if (!map->size)
        return NULL;
    for (uint32_t i = map_home(map, key); map->slots[i].value; i = (i + 1) & (map->size - 1))
        if (map->slots[i].key == key)
            return map->slots[i].value;
    return NULL;
}

static inline void map_place(struct map *map, uint32_t key, void *value)
{
    uint32_t i = map_home(map, key);
    while (map->slots[i].value && map->slots[i].key != key)
        i = (i + 1) & (map->size - 1);
    map->used += !map->slots[i].value;
    map->slots[i] = (struct map_slot){key, value};
}

/* A value that is not NULL. False without memory: nothing changed. */
static inline bool map_put(struct map *map, uint32_t key, void *value)
{
    if (map->used * 2 >= map->size) {
        struct map larger = {NULL, map->size ? map->size * 2 : 16, 0};
        larger.slots = calloc(larger.size, sizeof *larger.slots);
        if (!larger.slots)
            return false;
        for (uint32_t i = 0; i < map->size; i++)
            if (map->slots[i].value)
                map_place(&larger, map->slots[i].key, map->slots[i].value);
        free(map->slots);
        *map = larger;
    }
    map_place(map, key, value);
    return true;
}

static inline void map_remove(struct map *map, uint32_t key)
{
    if (!map->size)
        return;
    uint32_t mask = map->size - 1, hole = map_home(map, key);
    while (map->slots[hole].value && map->slots[hole].key != key)
        hole = (hole + 1) & mask;
    if (!map->slots[hole].value)
        return;
    map->used--;
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    for (uint32_t i = (hole + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
        uint32_t home = map_home(map, map->slots[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].value = NULL;
}

/* for (i = 0; (value = map_each(&map, &i));) visits all; the map must not change meanwhile. */
static inline void *map_each(const struct map *map, uint32_t *position)
{
    while (*position < map->size) {
        void *value = map->slots[(*position)++].value;
        if (value)
            return value;
    }
    return NULL;
}

#endif
