/* TAPs: a read is a virtio-net header and a frame, large and unfinished perhaps; a write likewise,
 * of neighbouring frames joined into one.
 */
#include <errno.h>
#include <unistd.h>

#include "ip.h"
#include "worker.h"

/* How much one turn takes from a TAP before the others have theirs. */
#define TURN_FRAMES 64
/* UDP_MAX_SEGMENTS of every kernel that takes USO. */
#define MAX_UDP_SEGMENTS 64
#define TURN_BYTES (256u << 10)
/* As much as one send takes goes out at once, while it is in the cache. */
#define FLUSH_BYTES 32768u

/* tun_chr_write_iter(): the device is down, a frame that it does not take, memory or queue full. */
static bool is_refusal(int code)
{
    return code == EAGAIN || code == EIO || code == EINVAL || code == EFAULT || code == EMSGSIZE ||
           code == ENOBUFS || code == ENOMEM || code == EINTR;
}

static void gone(struct lane *lane, const struct port *port, int code)
{
    struct wgvx *dp = lane->dp;
    if (dp->gone_port >= 0)
        return;
    dp->gone_errno = code;
    __atomic_store_n(&dp->gone_port, (int)port->id, __ATOMIC_RELEASE);
    notify(dp);
}

bool pump_tap(struct lane *lane, struct port *port)
{
    uint8_t *buffer = lane->worker->tap;
    int fd = port->fds[lane->number];
    uint32_t bytes = 0;
    for (int i = 0; i < TURN_FRAMES && bytes < TURN_BYTES; i++) {
        ssize_t got = read(fd, buffer, VNET_HEADER_LENGTH + MAX_FRAME);
        if (got < 0) {
            if (errno == EAGAIN || errno == EINTR)
                break;
            gone(lane, port, errno);
            return false;
        }
        if (got < VNET_HEADER_LENGTH)
            continue;
        struct vnet_header header;
        memcpy(&header, buffer, VNET_HEADER_LENGTH);
        transmit(lane, port, &header, buffer + VNET_HEADER_LENGTH,
                 (uint32_t)got - VNET_HEADER_LENGTH, lane->now);
        bytes += (uint32_t)got;
        if (lane->frames.count)
            flush_frames(lane); /* They stand in the buffer that the next read fills. */
        if (lane->arena_used >= FLUSH_BYTES)
            flush_messages(lane);
    }
    flush(lane);
    return true;
}

static void write_joined(struct lane *lane, struct port *port, struct coalesced *joined)
{
    /* Python's own lane, and a worker without a queue of its own, use the first one's. */
    int fd = port->fds[lane->number] >= 0 ? port->fds[lane->number] : port->fds[1];
    int parts = coalesce_finish(joined);
    if (fd >= 0 && writev(fd, joined->parts, parts) >= 0)
        return;
    lane->drops[PORT_FULL] += joined->frames;
    if (fd >= 0 && !is_refusal(errno))
        gone(lane, port, errno);
}

void flush_frames(struct lane *lane)
{
    struct coalesced *joined = lane->joined;
    struct port *port = NULL;
    joined->frames = 0;
    for (uint32_t i = 0; i < lane->frames.count; i++) {
        const struct frame_out *out = &lane->frames.items[i];
        if (joined->frames && out->port == port &&
            coalesce_add(joined, &out->frame, port->tso, port->uso, MAX_UDP_SEGMENTS))
            continue;
        if (joined->frames)
            write_joined(lane, port, joined);
        port = out->port;
        coalesce_begin(joined, &out->frame);
    }
    if (joined->frames)
        write_joined(lane, port, joined);
    lane->frames.count = 0;
}
