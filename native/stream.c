/* Theory of operation: one worker reads the stream, any may write to it. What is to be sent is
 * gathered in a buffer of bounded size and leaves with one write a burst; while the far end does not
 * take it all, the worker that reads waits for room, too. Whole frames only are refused, so the far
 * end never sees half of one.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ip.h"
#include "stream.h"
#include "worker.h"

#define LENGTH_BYTES 4u
#define ROOM (256u << 10)
#define TURN_READS 4

struct stream {
    pthread_mutex_t lock; /* of what is below it: taken where several workers run */
    bool waiting;         /* the reading worker is told when there is room */
    uint32_t out_first, out_end;
    uint8_t out[ROOM];
    uint32_t in_end;
    uint8_t in[ROOM];
};

struct stream *stream_new(void)
{
    struct stream *stream = malloc(sizeof *stream);
    if (stream) {
        pthread_mutex_init(&stream->lock, NULL);
        stream_reset(stream);
    }
    return stream;
}

void stream_free(struct stream *stream)
{
    if (stream)
        pthread_mutex_destroy(&stream->lock);
    free(stream);
}

void stream_reset(struct stream *stream)
{
    stream->waiting = false;
    stream->out_first = stream->out_end = 0;
    stream->in_end = 0;
}

static void stream_lock(struct lane *lane, struct stream *stream)
{
    if (lane->dp->workers > 1)
        pthread_mutex_lock(&stream->lock);
}

static void stream_unlock(struct lane *lane, struct stream *stream)
{
    if (lane->dp->workers > 1)
        pthread_mutex_unlock(&stream->lock);
}

/* --- in ---------------------------------------------------------------------------------------- */

/* Gives on all whole frames of the buffer. False where what comes next cannot be one. */
static bool take_frames(struct lane *lane, struct port *port)
{
    struct stream *stream = port->stream;
    uint32_t at = 0;
    bool ok = true;
    while (stream->in_end - at >= LENGTH_BYTES) {
        uint32_t length = get32(stream->in + at);
        ok = length <= MAX_FRAME;
        if (!ok || stream->in_end - at - LENGTH_BYTES < length)
            break;
        transmit(lane, port, NULL, stream->in + at + LENGTH_BYTES, length, lane->now);
        port_gave(lane);
        at += LENGTH_BYTES + length;
    }
    stream->in_end -= at;
    memmove(stream->in, stream->in + at, stream->in_end);
    return ok;
}

bool pump_stream(struct lane *lane, struct port *port)
{
    struct stream *stream = port->stream;
    int fd = port->fds[lane->number], code = 0;
    for (int i = 0; i < TURN_READS && !code; i++) {
        /* There is always room: it holds more than the largest frame. */
        size_t room = ROOM - stream->in_end;
        ssize_t got = read(fd, stream->in + stream->in_end, room);
        if (got < 0) {
            code = errno == EINTR ? EAGAIN : errno;
            break;
        }
        stream->in_end += (uint32_t)got;
        code = got == 0 ? ECONNRESET : take_frames(lane, port) ? 0 : EPROTO;
        if (!code && (size_t)got < room)
            break; /* That was all. */
    }
    flush(lane);
    if (!code || code == EAGAIN)
        return true;
    port_gone(lane, port, code);
    return false;
}

/* --- out --------------------------------------------------------------------------------------- */

/* Whether the worker that reads is to be told when there is room. */
static void wait_for_room(struct lane *lane, struct port *port, bool wanted)
{
    struct stream *stream = port->stream;
    if (stream->waiting == wanted)
        return;
    stream->waiting = wanted;
    watch_port(lane->dp, port, wanted);
}

/* With the lock held. */
static void push(struct lane *lane, struct port *port)
{
    struct stream *stream = port->stream;
    int fd = port_descriptor(port, lane->number);
    while (fd >= 0 && stream->out_first < stream->out_end) {
        ssize_t sent = send(fd, stream->out + stream->out_first,
                            stream->out_end - stream->out_first, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            if (errno == EAGAIN)
                wait_for_room(lane, port, true);
            else
                port_gone(lane, port, errno);
            return;
        }
        stream->out_first += (uint32_t)sent;
    }
    stream->out_first = stream->out_end = 0;
    wait_for_room(lane, port, false);
}

bool stream_put(struct lane *lane, struct port *port, const uint8_t *frame, uint32_t length)
{
    struct stream *stream = port->stream;
    uint32_t needed = LENGTH_BYTES + length;
    stream_lock(lane, stream);
    if (stream->out_end + needed > ROOM && !stream->waiting)
        push(lane, port);
    if (stream->out_end + needed > ROOM && stream->out_first) {
        stream->out_end -= stream->out_first;
        memmove(stream->out, stream->out + stream->out_first, stream->out_end);
        stream->out_first = 0;
    }
    bool fits = stream->out_end + needed <= ROOM;
    if (fits) {
        put32(stream->out + stream->out_end, length);
        memcpy(stream->out + stream->out_end + LENGTH_BYTES, frame, length);
        stream->out_end += needed;
    }
    stream_unlock(lane, stream);
    return fits;
}

void stream_flush(struct lane *lane, struct port *port)
{
    stream_lock(lane, port->stream);
    push(lane, port);
    stream_unlock(lane, port->stream);
}
