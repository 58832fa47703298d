/* A stream of frames, each behind its length, in pieces: as many frames as a reader who has all of it
 * finds, and each does what it does by itself.
 *
 * One byte of settings, then pieces: two bytes of length and so many bytes.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "../ip.h"
#include "../stream.h"
#include "../worker.h"
#include "must.h"
#include "node.h"

#define PORT 1
#define FAR_BUFFER (1 << 20)

/* What leaves has nowhere to go, where a worker would send it. */
static bool counts(uint32_t reason)
{
    return reason != UNREACHABLE && reason != SOCKET_FULL && reason != PORT_DOWN;
}

static void compare(struct node *streamed, struct node *framed)
{
    uint64_t one[REASONS], other[REASONS];
    wgvx_network_state ours = {0}, theirs = {0};
    wgvx_drops(streamed->dp, one);
    wgvx_drops(framed->dp, other);
    for (uint32_t reason = 0; reason < REASONS; reason++)
        MUST(!counts(reason) || one[reason] == other[reason]);
    wgvx_get_network(streamed->dp, VNI, &ours);
    wgvx_get_network(framed->dp, VNI, &theirs);
    MUST(ours.tx_frames == theirs.tx_frames && ours.fdb_entries == theirs.fdb_entries);
}

/* All whole frames of the stream, the simple way. */
static void transmit_all(struct node *node, const uint8_t *stream, size_t length)
{
    for (size_t at = 0; length - at >= 4;) {
        uint32_t wanted = get32(stream + at);
        if (wanted > MAX_FRAME || length - at - 4 < wanted)
            return;
        wgvx_transmit(node->dp, PORT, NULL, stream + at + 4, wanted, node->now);
        node_check(node);
        at += 4 + wanted;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct node streamed, framed;
    uint8_t settings = take8(&input), *all = malloc(size + 1);
    size_t length = 0;
    int fds[2], room = FAR_BUFFER;
    node_start(&streamed, settings);
    node_start(&framed, settings);
    MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    MUST(wgvx_set_port(streamed.dp, 1, PORT, fds[0], WGVX_STREAM, false, false));
    struct lane *lane = streamed.dp->lanes[1];
    struct port *port = map_get(&streamed.dp->ports, PORT);
    lane->fused = true;
    lane->now = streamed.now;
    bool there = true;
    while (input.left && there) {
        struct bytes piece = take(&input, take16(&input));
        MUST(!piece.left || write(fds[1], piece.data, piece.left) == (ssize_t)piece.left);
        memcpy(all + length, piece.data, piece.left);
        length += piece.left;
        begin_burst(lane);
        there = pump_port(lane, port, false);
    }
    transmit_all(&framed, all, length);
    compare(&streamed, &framed);
    close(fds[0]);
    close(fds[1]);
    free(all);
    node_stop(&streamed);
    node_stop(&framed);
    return 0;
}
