/* Frames that a network may want to look at before they go on. Twin of wgvx/vxlan/watch.py; and what
 * of them waits for Python.
 */
#include "dataplane.h"
#include "ip.h"

#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86DD
#define ETHERTYPE_PROBE 0x88B6 /* local experimental */
#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_IGMP 2
#define PROTOCOL_PIM 103

#define WATCHED_A_SECOND 1000
#define WATCHED_BYTES 256 /* a long frame counts as one more for each */
#define UNHEARD (UINT64_C(260) * 1000000000)
/* Between two bursts, as many of a worker wait for Python; and as many probes beyond them, which are
 * needed most when a storm fills the rest.
 */
#define MAX_WATCHED 256
#define MAX_PROBES 64

/* PIM also carries data from router to router; what all of them are to hear does not. */
static uint8_t kind_of_ipv4(const uint8_t *frame)
{
    uint8_t protocol = frame[ETHERNET_HEADER + 9];
    if (protocol == PROTOCOL_PIM)
        return memcmp(frame, "\x01\0\x5e\0\0\x0d", 6) ? 0 : WATCH_GROUPS;
    return protocol == PROTOCOL_IGMP ? WATCH_GROUPS : 0;
}

/* ICMPv6 is looked for behind the fixed header, and behind one of hop-by-hop options. */
static uint8_t kind_of_ipv6(const uint8_t *frame, uint32_t length)
{
    uint32_t at = ETHERNET_HEADER + IPV6_HEADER;
    if (length <= at)
        return 0;
    uint8_t protocol = frame[ETHERNET_HEADER + 6];
    if (protocol == PROTOCOL_PIM)
        return memcmp(frame, "\x33\x33\0\0\0\x0d", 6) ? 0 : WATCH_GROUPS;
    if (protocol == PROTOCOL_HOP_BY_HOP && length > at + 1) {
        protocol = frame[at];
        at += 8 + 8u * frame[at + 1];
    }
    if (protocol != PROTOCOL_ICMPV6 || at >= length)
        return 0;
    uint8_t type = frame[at];
    if ((type >= 130 && type <= 132) || type == 143 || type == 151)
        return WATCH_GROUPS;
    return type >= 133 && type <= 137 ? WATCH_NEIGHBOURS : 0;
}

uint8_t watched_kind(const struct network *network, const uint8_t *frame, uint32_t length)
{
    if (!network->watch)
        return 0;
    uint8_t kind = 0;
    switch (get16(frame + 12)) {
    case ETHERTYPE_ARP:
        kind = WATCH_ARP;
        break;
    case ETHERTYPE_IPV4:
        kind = length > ETHERNET_HEADER + 9 ? kind_of_ipv4(frame) : 0;
        break;
    case ETHERTYPE_IPV6:
        kind = kind_of_ipv6(frame, length);
        break;
    case ETHERTYPE_PROBE:
        if (!memcmp(frame, "\x03wgvx", 6))
            kind = WATCH_PROBES;
        break;
    }
    return kind & network->watch;
}

enum reason may_hand_up(struct lane *lane, struct network *network, uint8_t kind, uint32_t length,
                        uint64_t now, bool *watched)
{
    *watched = false;
    if (!kind)
        return PASSED;
    bool probe = kind == WATCH_PROBES;
    uint32_t count = probe ? 1 : 1 + length / WATCHED_BYTES;
    if (!lane->fused || lane->watched.count < MAX_WATCHED + (probe ? MAX_PROBES : 0)) {
        pthread_mutex_lock(&network->lock);
        *watched = bucket_take(probe ? &network->probes_handed_up : &network->handed_up,
                               WATCHED_A_SECOND, count, now) == count;
        pthread_mutex_unlock(&network->lock);
    }
    if (!*watched && kind == WATCH_GROUPS) /* Who listens may have said so in it. */
        __atomic_store_n(&network->unheard_until, now + UNHEARD, __ATOMIC_RELAXED);
    return !*watched && probe ? SLOW_PATH : PASSED;
}

void hand_up_frame(struct lane *lane, const struct network *network, const struct place *origin,
                   const uint8_t *frame, uint32_t length)
{
    uint8_t *copy = malloc(length);
    struct watched *watched = copy ? list_add(lane->watched) : NULL;
    if (!watched) {
        free(copy);
        drop(lane, SLOW_PATH);
        return;
    }
    memcpy(copy, frame, length);
    *watched = (struct watched){copy, length, network->vni, *origin};
}
