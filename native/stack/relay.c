/* The bytes: what passes between a connection of lwIP and a host's socket.
 *
 * Towards the host bytes wait in lwIP's own buffers; the far end's window opens (tcp_recved) as the
 * host takes them. From the host no more is read than lwIP has room for. An end of either passes on
 * once all before it has, and a reset at once.
 */
#include <errno.h>
#include <string.h>

#include "connection.h"

#define PARTS 64
/* What a turn of the event loop is spent on: of one connection, and of all. */
#define TURN_BYTES (256u << 10)
/* Bytes on their way out for all connections; one that has none may always have some. */
#define QUEUED_TOTAL (128u << 20)

static void taken(struct connection *connection, size_t length)
{
    for (size_t left = length; connection->pcb && left;) {
        u16_t some = (u16_t)LWIP_MIN(left, UINT16_MAX);
        tcp_recved(connection->pcb, some);
        left -= some;
    }
    connection->held -= length;
    the_stack->held -= length;
    while (length) {
        struct pbuf *piece = connection->pieces[connection->first % PIECES];
        size_t here = LWIP_MIN(length, piece->tot_len - (size_t)connection->used);
        length -= here;
        connection->used += (uint32_t)here;
        if (connection->used == piece->tot_len) {
            pbuf_free(piece);
            connection->first++;
            connection->count--;
            connection->used = 0;
        }
    }
}

/* The pieces that wait, as so many parts. */
static size_t gather(const struct connection *connection, struct iovec *parts)
{
    size_t used = connection->used, filled = 0;
    for (uint32_t i = 0; i < connection->count; i++) {
        const struct pbuf *part = connection->pieces[(connection->first + i) % PIECES];
        for (; part && filled < PARTS; part = part->next) {
            if (part->len <= used) {
                used -= part->len;
                continue;
            }
            parts[filled++] = (struct iovec){(uint8_t *)part->payload + used, part->len - used};
            used = 0;
        }
    }
    return filled;
}

/* False where the host has broken off. */
static bool give_host(struct stack *stack, struct connection *connection)
{
    while (connection->writable && connection->count) {
        struct iovec parts[PARTS];
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = gather(connection, parts)};
        ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            taken(connection, (size_t)sent);
            stack->turn_bytes += (size_t)sent;
        } else if (errno == EAGAIN) {
            connection->writable = false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    if (!connection->count && connection->overlay_ended && !connection->told_host) {
        shutdown(connection->fd, SHUT_WR);
        connection->told_host = true;
    }
    return true;
}

/* How many bytes lwIP will take for sure. */
static size_t room(const struct tcp_pcb *pcb)
{
    size_t segment = LWIP_MIN(pcb->mss, pcb->snd_wnd_max / 2);
    if (!segment)
        segment = LWIP_MAX(pcb->mss, 1);
    size_t queued = pcb->snd_queuelen + 4u;
    size_t pieces = queued < TCP_SND_QUEUELEN ? (TCP_SND_QUEUELEN - queued) / 2 : 0;
    size_t bytes = LWIP_MIN(pcb->snd_buf, pieces * segment);
    /* Not in driblets, unless there is nothing to wait for. */
    return bytes < segment && pcb->snd_queuelen ? 0 : bytes;
}

/* False where the host has broken off. */
static bool take_host(struct stack *stack, struct connection *connection)
{
    struct tcp_pcb *pcb = connection->pcb;
    for (size_t budget = TURN_BYTES; connection->readable && !connection->host_ended;) {
        if (!budget) {
            connection_mark(connection);
            break;
        }
        size_t wanted = LWIP_MIN(LWIP_MIN(room(pcb), budget), sizeof stack->scratch);
        if (stack->queued > QUEUED_TOTAL && pcb->snd_buf < TCP_SND_BUF)
            break; /* what it has in flight will bring it back here */
        if (!wanted)
            break;
        ssize_t got = recv(connection->fd, stack->scratch, wanted, MSG_DONTWAIT);
        if (got > 0) {
            budget -= (size_t)got;
            stack->turn_bytes += (size_t)got;
            if (tcp_write(pcb, stack->scratch, (u16_t)got, TCP_WRITE_FLAG_COPY) != ERR_OK)
                return false;
        } else if (got == 0) {
            connection->host_ended = true;
        } else if (errno == EAGAIN) {
            connection->readable = false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    if (connection->host_ended && !connection->told_overlay)
        connection->told_overlay = tcp_shutdown(pcb, 0, 1) == ERR_OK;
    return true;
}

void connection_pump(struct stack *stack, struct connection *connection)
{
    if (connection->fd < 0) /* Python has yet to say what becomes of it. */
        return;
    connection->active_at = stack_now();
    if (connection->was_reset || !give_host(stack, connection)) {
        connection_end(stack, connection, true);
        return;
    }
    if (connection->pcb && !take_host(stack, connection)) {
        connection_end(stack, connection, true);
        return;
    }
    struct tcp_pcb *pcb = connection->pcb;
    size_t queued = pcb ? TCP_SND_BUF - pcb->snd_buf : 0;
    stack->queued += queued - connection->queued;
    connection->queued = queued;
    /* The rest of what is to be sent holds on to its place here, so that all of it is bounded. */
    if (connection->told_host && (!pcb || (connection->told_overlay && pcb->snd_buf == TCP_SND_BUF)))
        connection_end(stack, connection, false);
    else if (pcb) {
        recovery_go_on(connection);
        tcp_output(pcb);
    }
}
