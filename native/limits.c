/* Storm control: how many frames a second may be sent everywhere. Twin of wgvx/vxlan/limits.py. */
#include "dataplane.h"
#include "ip.h"

static const uint8_t broadcast[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
static const enum reason reasons[LIMITS] = {BROADCAST_LIMIT, MULTICAST_LIMIT, UNKNOWN_LIMIT};

uint32_t limit(struct network *network, const uint8_t *destination, const struct place *origin,
               struct port *port, uint32_t count, uint64_t now, enum reason *reason)
{
    int kind = !(destination[0] & 1) ? 2 : memcmp(destination, broadcast, 6) ? 1 : 0;
    uint32_t rate = network->limits[kind];
    *reason = reasons[kind];
    if (!rate)
        return count;
    struct bucket *buckets =
        port ? port->limits
             : network->vtep_limits[flow_crc32(origin->vtep, origin->vtep_length) % VTEP_SLOTS];
    pthread_mutex_lock(&network->lock);
    uint32_t taken = bucket_take(&buckets[kind], rate, count, now);
    pthread_mutex_unlock(&network->lock);
    return taken;
}
