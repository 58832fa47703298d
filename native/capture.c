/* Copies of what passes: frames at ports, datagrams on the underlay. Each thread has its own, up to a
 * bound between two looks; what has no room is counted, and nothing waits. */
#include "dataplane.h"

#define ROOM (2u << 20)

struct capture {
    uint32_t used;
    uint64_t lost, now;
    uint8_t data[ROOM];
};

static void add(struct lane *lane, wgvx_captured *head, const uint8_t *data)
{
    struct capture *capture = lane->capture;
    uint32_t snaplen = lane->dp->capture_snaplen;
    if (lane->now)
        capture->now = lane->now; /* Not each of Python's calls says what time it is. */
    head->at = capture->now;
    head->captured = head->length < snaplen ? head->length : snaplen;
    uint32_t needed = (uint32_t)sizeof *head + ((head->captured + 7) & ~7u);
    if (needed > ROOM - capture->used) {
        capture->lost++;
        return;
    }
    memcpy(capture->data + capture->used, head, sizeof *head);
    memcpy(capture->data + capture->used + sizeof *head, data, head->captured);
    capture->used += needed;
}

void capture_frame(struct lane *lane, uint8_t what, uint32_t port, const uint8_t *frame,
                   uint32_t length)
{
    wgvx_captured head = {.length = length, .port = port, .what = what};
    if (lane->dp->capture_kinds & WGVX_CAPTURE_FRAMES)
        add(lane, &head, frame);
}

void capture_datagram(struct lane *lane, uint8_t what, const wgvx_endpoint *endpoint, uint8_t tos,
                      const uint8_t *data, uint32_t length)
{
    wgvx_captured head = {.length = length, .what = what, .tos = tos, .endpoint = *endpoint};
    if (lane->dp->capture_kinds & WGVX_CAPTURE_DATAGRAMS)
        add(lane, &head, data);
}

bool capture_begin(struct lane *lane)
{
    if (!lane->capture && lane->dp->capture_kinds)
        lane->capture = calloc(1, sizeof *lane->capture);
    return lane->capture || !lane->dp->capture_kinds;
}

void capture_end(struct lane *lane)
{
    free(lane->capture);
    lane->capture = NULL;
}

bool wgvx_set_capture(wgvx *dp, uint8_t kinds, uint32_t snaplen)
{
    bool ok = true;
    lock_all(dp);
    dp->capture_kinds = kinds;
    dp->capture_snaplen = snaplen;
    for (uint32_t i = 0; kinds && i <= MAX_WORKERS; i++)
        ok = (!dp->lanes[i] || capture_begin(dp->lanes[i])) && ok;
    if (!ok)
        dp->capture_kinds = 0;
    for (uint32_t i = 0; !dp->capture_kinds && i <= MAX_WORKERS; i++)
        if (dp->lanes[i])
            capture_end(dp->lanes[i]);
    unlock_all(dp);
    return ok;
}

uint32_t wgvx_captured_bytes(wgvx *dp)
{
    uint32_t used = 0;
    lock_all(dp);
    for (uint32_t i = 0; i <= MAX_WORKERS; i++)
        if (dp->lanes[i] && dp->lanes[i]->capture)
            used += dp->lanes[i]->capture->used;
    unlock_all(dp);
    return used;
}

uint32_t wgvx_take_captured(wgvx *dp, uint8_t *out, uint32_t room, uint64_t *lost)
{
    uint32_t used = 0;
    *lost = 0;
    lock_all(dp);
    for (uint32_t i = 0; i <= MAX_WORKERS; i++) {
        struct capture *capture = dp->lanes[i] ? dp->lanes[i]->capture : NULL;
        if (!capture || capture->used > room - used)
            continue;
        memcpy(out + used, capture->data, capture->used);
        used += capture->used;
        *lost += capture->lost;
        capture->used = 0;
        capture->lost = 0;
    }
    unlock_all(dp);
    return used;
}
