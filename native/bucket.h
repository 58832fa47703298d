/* A token bucket, by whole nanoseconds. Twin of wgvx/vxlan/bucket.py. */
#ifndef WGVX_BUCKET_H
#define WGVX_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket { /* all zero: full */
    uint64_t spent; /* of the second's worth of nanoseconds that it holds */
    uint64_t counted;
    bool used;
};

/* How many of `count` may pass at `rate` a second (1 to 1,000,000,000); they are spent. */
static inline uint32_t bucket_take(struct bucket *bucket, uint32_t rate, uint32_t count,
                                   uint64_t now)
{
    const uint64_t second = UINT64_C(1000000000);
    if (!bucket->used || now > bucket->counted) {
        uint64_t passed = bucket->used ? now - bucket->counted : 0;
        bucket->spent -= passed < bucket->spent ? passed : bucket->spent;
        bucket->counted = now;
        bucket->used = true;
    }
    uint64_t cost = second / rate, most = (second - bucket->spent) / cost;
    uint32_t taken = most < count ? (uint32_t)most : count;
    bucket->spent += taken * cost;
    return taken;
}

#endif
