/* TCP connections: what passes between a connection of lwIP and a host's socket.
 *
 * Towards the host bytes wait in lwIP's own buffers; the far end's window opens (tcp_recved) as the
 * host takes them. From the host no more is read than lwIP has room for. An end of either passes on
 * once all before it has, and a reset at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"

#define PIECES 1024 /* that wait for the host; small ones may fill less than the window */
#define PARTS 64
/* What a turn of the event loop is spent on: of one connection, and of all. */
#define TURN_BYTES (256u << 10)
#define TURN_TOTAL (2u << 20)
#define SWEEP_MS 10000
/* A connection with one end closed and nothing passing has been left by the other. */
#define HALF_CLOSED_MS (10 * 60 * 1000)
#define INITIAL_RTO_MS 1000
#define KEEP_IDLE_MS 120000
#define KEEP_INTERVAL_MS 15000
#define KEEP_COUNT 4
#define PORT_TRIES 32

struct connection {
    uint32_t id, slot, listener;
    struct tcp_pcb *pcb; /* NULL: lwIP has let go of it */
    int fd;              /* -1: not joined */
    int event;           /* that Python is to take; 0: none */
    bool connecting, was_reset;
    bool readable, writable;
    bool host_ended, told_overlay; /* end of file read, FIN sent */
    bool overlay_ended, told_host; /* FIN received, SHUT_WR done */
    bool marked;
    struct connection *next_marked;
    uint64_t active_at;
    stack_address remote;
    uint32_t first, count, used; /* used: bytes of the first piece that are gone already */
    struct pbuf *pieces[PIECES];
};

static void mark(struct connection *connection)
{
    struct stack *stack = the_stack;
    if (connection->marked)
        return;
    connection->marked = true;
    connection->next_marked = NULL;
    *stack->marked_end = connection;
    stack->marked_end = &connection->next_marked;
}

static void unmark(struct stack *stack, struct connection *connection)
{
    struct connection **link = &stack->marked;
    while (*link && *link != connection)
        link = &(*link)->next_marked;
    if (!*link)
        return;
    *link = connection->next_marked;
    if (!*link)
        stack->marked_end = link;
}

static struct connection *find(struct stack *stack, uint32_t id)
{
    struct connection *connection = stack->connections[id % MAX_CONNECTIONS];
    return connection && connection->id == id ? connection : NULL;
}

static struct connection *make(struct stack *stack)
{
    uint32_t slot = 0;
    while (slot < MAX_CONNECTIONS && stack->connections[slot])
        slot++;
    if (slot == MAX_CONNECTIONS)
        return NULL;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    connection->slot = slot;
    connection->id = stack_new_id(stack, slot, MAX_CONNECTIONS);
    connection->fd = -1;
    connection->active_at = stack_now();
    stack->connections[slot] = connection;
    stack->connection_count++;
    return connection;
}

/* lwIP will not call back any more. */
static struct tcp_pcb *let_go(struct connection *connection)
{
    struct tcp_pcb *pcb = connection->pcb;
    connection->pcb = NULL;
    if (pcb) {
        tcp_arg(pcb, NULL);
        tcp_recv(pcb, NULL);
        tcp_sent(pcb, NULL);
        tcp_err(pcb, NULL);
    }
    return pcb;
}

static void discard(struct connection *connection)
{
    for (; connection->count; connection->count--)
        pbuf_free(connection->pieces[connection->first++ % PIECES]);
}

static void end(struct stack *stack, struct connection *connection, bool reset)
{
    struct tcp_pcb *pcb = let_go(connection);
    if (pcb && reset)
        tcp_abort(pcb);
    else if (pcb)
        tcp_close(pcb);
    discard(connection);
    if (connection->fd >= 0) {
        if (reset) {
            struct linger linger = {.l_onoff = 1};
            setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        }
        close(connection->fd);
    }
    if (connection->marked)
        unmark(stack, connection);
    stack->connections[connection->slot] = NULL;
    stack->connection_count--;
    free(connection);
}

void connections_close(struct stack *stack)
{
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++)
        if (stack->connections[i])
            end(stack, stack->connections[i], true);
}

uint32_t stack_connections(const struct stack *stack)
{
    return stack->connection_count;
}

/* --- what lwIP calls --------------------------------------------------------------------------- */

static err_t on_received(void *argument, struct tcp_pcb *pcb, struct pbuf *piece, err_t error)
{
    struct connection *connection = argument;
    (void)pcb, (void)error;
    if (!piece) {
        connection->overlay_ended = true;
    } else {
        if (connection->count == PIECES)
            return ERR_MEM; /* lwIP keeps it and offers it again */
        connection->pieces[(connection->first + connection->count++) % PIECES] = piece;
    }
    mark(connection);
    return ERR_OK;
}

static err_t on_sent(void *argument, struct tcp_pcb *pcb, u16_t length)
{
    (void)pcb, (void)length;
    mark(argument);
    return ERR_OK;
}

static void on_error(void *argument, err_t error)
{
    struct connection *connection = argument;
    connection->pcb = NULL;
    if (connection->connecting) {
        connection->connecting = false;
        connection->event = error == ERR_RST ? STACK_REFUSED : STACK_TIMED_OUT;
    } else if (error == ERR_CLSD) {
        connection->overlay_ended = true; /* both ends have closed, all is acknowledged */
    } else {
        connection->was_reset = true;
    }
    mark(connection);
}

static void take_on(struct connection *connection, struct tcp_pcb *pcb)
{
    connection->pcb = pcb;
    tcp_arg(pcb, connection);
    tcp_recv(pcb, on_received);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb); /* The host's own TCP has waited for more already. */
    ip_set_option(pcb, SOF_KEEPALIVE);
    /* RFC 6298, 2.1; lwIP begins with three seconds. */
    pcb->rto = pcb->sv = LWIP_MIN(pcb->sv, INITIAL_RTO_MS / TCP_SLOW_INTERVAL);
    pcb->keep_idle = KEEP_IDLE_MS;
    pcb->keep_intvl = KEEP_INTERVAL_MS;
    pcb->keep_cnt = KEEP_COUNT;
}

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct connection *connection = argument;
    (void)pcb, (void)error;
    connection->connecting = false;
    connection->event = STACK_CONNECTED;
    return ERR_OK;
}

bool connection_accepted(struct stack *stack, struct tcp_pcb *pcb, uint32_t listener)
{
    struct connection *connection = make(stack);
    if (!connection)
        return false;
    take_on(connection, pcb);
    connection->listener = listener;
    connection->event = STACK_ACCEPTED;
    stack_address_from_lwip(&pcb->remote_ip, pcb->remote_port, &connection->remote);
    return true;
}

/* --- what Python calls ------------------------------------------------------------------------- */

uint32_t stack_connect(struct stack *stack, const stack_address *address)
{
    ENTER(stack, 0);
    ip_addr_t ip;
    if (!stack_address_to_lwip(address, &ip) || !address->length)
        return 0;
    struct connection *connection = make(stack);
    if (!connection)
        return 0;
    struct tcp_pcb *pcb = tcp_new_ip_type(IP_GET_TYPE(&ip));
    if (pcb) {
        take_on(connection, pcb);
        connection->connecting = true;
        const ip_addr_t *any = IP_IS_V6(&ip) ? IP6_ADDR_ANY : IP4_ADDR_ANY;
        err_t error = ERR_USE;
        for (int i = 0; i < PORT_TRIES && error == ERR_USE; i++)
            error = tcp_bind(pcb, any, stack_random_port());
        if (error == ERR_OK && tcp_connect(pcb, &ip, address->port, on_connected) == ERR_OK) {
            stack_settle(stack);
            return connection->id;
        }
    }
    end(stack, connection, true);
    stack_settle(stack);
    return 0;
}

bool stack_join(struct stack *stack, uint32_t id, int fd, const uint8_t *first, uint32_t length)
{
    ENTER(stack, false);
    struct connection *connection = find(stack, id);
    if (!connection || connection->fd >= 0 || connection->connecting)
        return false;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = connection->slot};
    if (!connection->pcb || length > UINT16_MAX || epoll_ctl(stack->epoll, EPOLL_CTL_ADD, fd, &event) ||
        (length &&
         tcp_write(connection->pcb, first, (u16_t)length, TCP_WRITE_FLAG_COPY) != ERR_OK)) {
        epoll_ctl(stack->epoll, EPOLL_CTL_DEL, fd, NULL);
        end(stack, connection, true);
        stack_settle(stack);
        return false;
    }
    connection->fd = fd;
    connection->event = 0;
    connection->readable = connection->writable = true;
    mark(connection);
    connections_pump(stack);
    stack_settle(stack);
    return true;
}

void stack_drop(struct stack *stack, uint32_t id)
{
    ENTER(stack, );
    struct connection *connection = find(stack, id);
    if (connection && connection->fd < 0)
        end(stack, connection, true);
    stack_settle(stack);
}

bool connections_take_event(struct stack *stack, stack_event *event)
{
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        uint32_t slot = stack->next_event++ % MAX_CONNECTIONS;
        struct connection *connection = stack->connections[slot];
        if (!connection || !connection->event)
            continue;
        *event = (stack_event){.what = connection->event,
                               .id = connection->id,
                               .listener = connection->listener,
                               .remote = connection->remote};
        connection->event = 0;
        if (event->what == STACK_REFUSED || event->what == STACK_TIMED_OUT)
            end(stack, connection, true);
        return true;
    }
    return false;
}

/* --- the bytes --------------------------------------------------------------------------------- */

static void taken(struct connection *connection, size_t length)
{
    for (size_t left = length; connection->pcb && left;) {
        u16_t some = (u16_t)LWIP_MIN(left, UINT16_MAX);
        tcp_recved(connection->pcb, some);
        left -= some;
    }
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
            mark(connection);
            break;
        }
        size_t wanted = LWIP_MIN(LWIP_MIN(room(pcb), budget), sizeof stack->scratch);
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

static void pump(struct stack *stack, struct connection *connection)
{
    if (connection->fd < 0) /* Python has yet to say what becomes of it. */
        return;
    connection->active_at = stack_now();
    if (connection->was_reset || !give_host(stack, connection)) {
        end(stack, connection, true);
        return;
    }
    if (connection->pcb && !take_host(stack, connection)) {
        end(stack, connection, true);
        return;
    }
    struct tcp_pcb *pcb = connection->pcb;
    /* The rest of what is to be sent holds on to its place here, so that all of it is bounded. */
    if (connection->told_host && (!pcb || (connection->told_overlay && pcb->snd_buf == TCP_SND_BUF)))
        end(stack, connection, false);
    else if (pcb)
        tcp_output(pcb);
}

void connections_pump(struct stack *stack)
{
    struct connection *first = stack->marked, *last_seen = NULL;
    /* Only those marked by now: what marks itself again waits for the next turn. */
    for (struct connection *one = first; one; one = one->next_marked)
        last_seen = one;
    while (stack->marked) {
        struct connection *connection = stack->marked;
        bool last = connection == last_seen;
        stack->marked = connection->next_marked;
        if (!stack->marked)
            stack->marked_end = &stack->marked;
        connection->marked = false;
        pump(stack, connection);
        if (last || stack->turn_bytes > TURN_TOTAL)
            break;
    }
    stack->more |= stack->marked != NULL;
}

void connections_ready(struct stack *stack, uint32_t slot, uint32_t events)
{
    struct connection *connection = stack->connections[slot];
    if (!connection)
        return;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        connection->writable = true;
    mark(connection);
}

void connections_sweep(void *argument)
{
    struct stack *stack = argument;
    uint64_t now = stack_now();
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *connection = stack->connections[i];
        if (connection && connection->fd >= 0 &&
            (connection->host_ended || connection->overlay_ended) &&
            now - connection->active_at > HALF_CLOSED_MS) {
            connection->was_reset = true;
            mark(connection);
        }
    }
    sys_timeout(SWEEP_MS, connections_sweep, stack);
}
