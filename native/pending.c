/* What a data plane leaves for Python: its calls' output, and what workers could not do alone. */
#include "dataplane.h"

wgvx_counts wgvx_pending(wgvx *dp)
{
    const struct lane *lane = dp->python;
    return (wgvx_counts){
        .messages = lane->fused ? 0 : lane->messages.count,
        .frames = lane->fused ? 0 : lane->frames.count,
        .events = lane->asking.count,
        .handshakes = lane->handshakes.count,
        .rare = lane->rare.count,
        .watched = lane->watched.count,
    };
}

wgvx_message wgvx_take_message(wgvx *dp, uint32_t position)
{
    const struct lane *lane = dp->python;
    const struct message *message = &lane->messages.items[position];
    const struct run *run = &lane->runs.items[message->run];
    return (wgvx_message){lane->arena + message->offset, message->length, run->tos, &run->endpoint};
}

wgvx_frame wgvx_take_frame(wgvx *dp, uint32_t position)
{
    const struct frame_out *out = &dp->python->frames.items[position];
    return (wgvx_frame){out->frame.data, out->frame.length, out->port->id};
}

/* From here on, what a worker asks for this peer waits in its own lane again. */
wgvx_event wgvx_take_event(wgvx *dp, uint32_t position)
{
    struct peer *peer = dp->python->asking.items[position];
    return (wgvx_event){peer->id, __atomic_exchange_n(&peer->asked, 0, __ATOMIC_ACQ_REL)};
}

const wgvx_handshake *wgvx_take_handshake(wgvx *dp, uint32_t position)
{
    return &dp->python->handshakes.items[position];
}

wgvx_rare wgvx_take_rare(wgvx *dp, uint32_t position)
{
    const struct rare *rare = &dp->python->rare.items[position];
    return (wgvx_rare){rare->data, rare->length, rare->peer};
}

wgvx_watched wgvx_take_watched(wgvx *dp, uint32_t position)
{
    const struct watched *watched = &dp->python->watched.items[position];
    wgvx_watched taken = {.data = watched->data, .length = watched->length, .vni = watched->vni};
    taken.port = watched->origin.port;
    taken.vtep_length = watched->origin.vtep_length;
    memcpy(taken.vtep, watched->origin.vtep, 16);
    return taken;
}

void wgvx_clear(wgvx *dp)
{
    struct lane *lane = dp->python;
    if (!lane->fused) {
        clear_messages(lane);
        lane->frames.count = 0;
        for (uint32_t i = 0; i < lane->kept.count; i++)
            free(lane->kept.items[i]);
        lane->kept.count = 0;
    }
    for (uint32_t i = 0; i < lane->rare.count; i++)
        free(lane->rare.items[i].data);
    for (uint32_t i = 0; i < lane->watched.count; i++)
        free(lane->watched.items[i].data);
    lane->asking.count = lane->handshakes.count = lane->rare.count = lane->watched.count = 0;
}

/* One list's items behind another's. Without memory they stay where they are, for the next time. */
#define move_all(from, to)                                                                  \
    while ((from).count && list_grow((void **)&(to).items, &(to).room,                      \
                                     (to).count + (from).count, sizeof *(to).items)) {      \
        memcpy((to).items + (to).count, (from).items, (from).count * sizeof *(to).items);   \
        (to).count += (from).count;                                                         \
        (from).count = 0;                                                                   \
    }

void wgvx_collect(wgvx *dp)
{
    lock_all(dp);
    for (uint32_t number = 1; number <= dp->workers; number++) {
        struct lane *lane = dp->lanes[number];
        move_all(lane->asking, dp->python->asking);
        move_all(lane->handshakes, dp->python->handshakes);
        move_all(lane->rare, dp->python->rare);
        move_all(lane->watched, dp->python->watched);
        lane->notified = false;
    }
    unlock_all(dp);
}
