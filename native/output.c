/* Where a burst's packets end up: datagrams in an arena, in runs that leave in one send each, and
 * frames where they stand. In a fused lane all of it goes out when the burst ends, or when there is
 * no more room; otherwise it waits to be taken.
 */
#include "dataplane.h"

/* A worker's arena: enough for several full sends. What is in it goes out before it is full. */
#define FUSED_ARENA (256u << 10)
#define FUSED_FULL (FUSED_ARENA - 66000u)
#define MAX_SEND 65507u
#define MAX_MESSAGES 1024u
#define MAX_FRAMES 1024u

bool list_grow(void **items, uint32_t *room, uint32_t wanted, size_t size)
{
    if (wanted <= *room)
        return true;
    uint32_t more = *room ? *room : 16;
    while (more < wanted)
        more *= 2;
    void *larger = realloc(*items, more * size);
    if (!larger)
        return false;
    *items = larger;
    *room = more;
    return true;
}

uint8_t *reserve(struct lane *lane, uint32_t length)
{
    uint32_t needed = lane->arena_used + length;
    if (needed > lane->arena_room) {
        uint32_t room = lane->arena_room ? lane->arena_room : FUSED_ARENA;
        while (room < needed)
            room *= 2;
        uint8_t *larger = realloc(lane->arena, room);
        if (!larger)
            return NULL;
        lane->arena = larger;
        lane->arena_room = room;
    }
    return lane->arena + lane->arena_used;
}

/* The run that a datagram of this size can join, or NULL. */
static struct run *open_run(struct lane *lane, const struct peer *peer, uint32_t length,
                            uint8_t tos)
{
    uint32_t position = lane->open_runs[peer->id % OPEN_RUNS];
    if (!position)
        return NULL;
    struct run *run = &lane->runs.items[position - 1];
    if (run->peer != peer || run->closed || run->tos != tos || length > run->size ||
        run->generation != PEEK(peer->endpoint_generation) || run->bytes + length > MAX_SEND ||
        run->count >= lane->dp->gso_segments)
        return NULL;
    return run;
}

/* The run of somebody who has proven nothing, if the last one was his, too: a flood's answers. */
static struct run *same_stranger(struct lane *lane, const wgvx_endpoint *endpoint, uint32_t length)
{
    struct run *run = lane->runs.count ? &lane->runs.items[lane->runs.count - 1] : NULL;
    if (!run || run->peer || run->closed || run->size != length ||
        run->count >= lane->dp->gso_segments || memcmp(&run->endpoint, endpoint, sizeof *endpoint))
        return NULL;
    return run;
}

static struct run *new_run(struct lane *lane, struct peer *peer, const wgvx_endpoint *endpoint,
                           uint32_t length, uint8_t tos)
{
    struct run *run = list_add(lane->runs);
    if (!run)
        return NULL;
    *run = (struct run){.peer = peer, .tos = tos, .size = length};
    if (endpoint)
        run->endpoint = *endpoint;
    if (peer) {
        peer_lock(lane->dp, peer); /* Another worker may hear it from elsewhere. */
        run->endpoint = peer->endpoint;
        run->generation = peer->endpoint_generation;
        peer_unlock(lane->dp, peer);
        lane->open_runs[peer->id % OPEN_RUNS] = lane->runs.count;
    }
    return run;
}

void send_message(struct lane *lane, struct peer *peer, const wgvx_endpoint *endpoint,
                  uint32_t length, uint8_t tos)
{
    struct message *message = list_add(lane->messages);
    if (!message)
        return;
    struct run *run =
        peer ? open_run(lane, peer, length, tos) : same_stranger(lane, endpoint, length);
    if (!run)
        run = new_run(lane, peer, endpoint, length, tos);
    if (!run) {
        lane->messages.count--;
        return;
    }
    *message = (struct message){lane->arena_used, length, 0, (uint32_t)(run - lane->runs.items)};
    if (run->last)
        lane->messages.items[run->last - 1].next = lane->messages.count;
    else
        run->first = lane->messages.count;
    run->last = lane->messages.count;
    run->count++;
    run->bytes += length;
    run->closed = length < run->size;
    if (lane->capture)
        capture_datagram(lane, WGVX_DATAGRAM_OUT, &run->endpoint, tos,
                         lane->arena + lane->arena_used, length);
    lane->arena_used += length;
    if (lane->fused && (lane->arena_used >= FUSED_FULL || lane->messages.count >= MAX_MESSAGES))
        flush_messages(lane);
}

void send_frame(struct lane *lane, struct port *port, const struct frame *frame)
{
    struct frame_out *out = list_add(lane->frames);
    if (!out)
        return;
    *out = (struct frame_out){*frame, port};
    if (lane->capture)
        capture_frame(lane, WGVX_FRAME_OUT, port->id, frame->data, frame->length);
    if (lane->fused && lane->frames.count >= MAX_FRAMES)
        flush_frames(lane);
}

void deliver_frame(struct lane *lane, struct port *port, const struct frame *frame)
{
    if (port->blocked)
        drop(lane, PORT_BLOCKED);
    else
        send_frame(lane, port, frame);
}

void flush(struct lane *lane)
{
    if (lane->frames.count)
        flush_frames(lane);
    if (lane->messages.count)
        flush_messages(lane);
}

void clear_messages(struct lane *lane)
{
    lane->arena_used = 0;
    lane->messages.count = 0;
    lane->runs.count = 0;
    memset(lane->open_runs, 0, sizeof lane->open_runs);
}

void begin_burst(struct lane *lane)
{
    lane->last_source.length = 0;
    lane->last_learned.network = NULL;
}
