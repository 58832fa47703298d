/* Ports whose descriptor gives and takes one message a frame: a TAP, behind a virtio-net header (a
 * large and unfinished frame perhaps, neighbouring ones joined into one), or bare, as on a socket of
 * datagrams. Those that are a stream of bytes: stream.c.
 */
#include <errno.h>
#include <unistd.h>

#include "stream.h"
#include "worker.h"

/* How much one turn takes from a port before the others have theirs. */
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

void port_gone(struct lane *lane, struct port *port, int code)
{
    if (!__atomic_exchange_n(&port->gone_errno, code, __ATOMIC_ACQ_REL))
        notify(lane->dp);
}

void port_gave(struct lane *lane)
{
    if (lane->frames.count)
        flush_frames(lane); /* They stand in the buffer that the next read fills. */
    if (lane->arena_used >= FLUSH_BYTES)
        flush_messages(lane);
}

static bool pump_messages(struct lane *lane, struct port *port)
{
    uint8_t *buffer = lane->worker->tap;
    int fd = port->fds[lane->number];
    ssize_t head = port->framing == WGVX_VNET ? VNET_HEADER_LENGTH : 0;
    uint32_t bytes = 0;
    for (int i = 0; i < TURN_FRAMES && bytes < TURN_BYTES; i++) {
        ssize_t got = read(fd, buffer, (size_t)head + MAX_FRAME);
        if (got < 0 || (got == 0 && port->ends)) {
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                break;
            port_gone(lane, port, got ? errno : ECONNRESET);
            return false;
        }
        if (got < head)
            continue;
        struct vnet_header header;
        if (head)
            memcpy(&header, buffer, VNET_HEADER_LENGTH);
        transmit(lane, port, head ? &header : NULL, buffer + head, (uint32_t)(got - head),
                 lane->now);
        bytes += (uint32_t)got;
        port_gave(lane);
    }
    flush(lane);
    return true;
}

bool pump_port(struct lane *lane, struct port *port, bool may_write)
{
    if (port->framing != WGVX_STREAM)
        return pump_messages(lane, port);
    if (may_write)
        stream_flush(lane, port);
    return pump_stream(lane, port);
}

static void write_joined(struct lane *lane, struct port *port, struct coalesced *joined)
{
    int fd = port_descriptor(port, lane->number);
    if (fd < 0) {
        lane->drops[PORT_DOWN] += joined->frames;
        return;
    }
    if (port->framing == WGVX_STREAM) {
        if (!stream_put(lane, port, joined->first.data, joined->first.length))
            lane->drops[PORT_FULL] += joined->frames;
        return;
    }
    int parts = coalesce_finish(joined), skipped = port->framing == WGVX_BARE;
    if (writev(fd, joined->parts + skipped, parts - skipped) >= 0)
        return;
    lane->drops[PORT_FULL] += joined->frames;
    if (!is_refusal(errno))
        port_gone(lane, port, errno);
}

/* Python asks for it later. */
static void keep_frame(struct lane *lane, struct port *port, const struct frame *frame)
{
    struct frame kept = *frame;
    kept.data = malloc(frame->length);
    uint8_t **owned = kept.data ? list_add(lane->kept) : NULL;
    if (!owned) {
        free(kept.data);
        return;
    }
    memcpy(kept.data, frame->data, frame->length);
    *owned = kept.data;
    send_frame(lane, port, &kept);
}

void send_finished(struct lane *lane, struct port *port, const struct vnet_header *header,
                   const uint8_t *frame, uint32_t length, uint32_t most)
{
    struct segments segments;
    if (!segments_begin(&segments, header, frame, length))
        return;
    if (lane->fused)
        flush_frames(lane); /* The order is kept, and each segment goes out from the same place. */
    while (segments.next < segments.count && segments.next < most) {
        struct frame out = {.data = lane->scratch, .length = (uint32_t)segments_length(&segments)};
        segments_next(&segments, lane->scratch);
        if (!lane->fused) {
            keep_frame(lane, port, &out);
            continue;
        }
        if (lane->capture)
            capture_frame(lane, WGVX_FRAME_OUT, port->id, out.data, out.length);
        coalesce_begin(lane->joined, &out);
        write_joined(lane, port, lane->joined);
    }
    if (port->framing == WGVX_STREAM)
        stream_flush(lane, port);
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
        if (port && port != out->port && port->framing == WGVX_STREAM)
            stream_flush(lane, port);
        port = out->port;
        coalesce_begin(joined, &out->frame);
    }
    if (joined->frames)
        write_joined(lane, port, joined);
    if (port && port->framing == WGVX_STREAM)
        stream_flush(lane, port);
    lane->frames.count = 0;
}
