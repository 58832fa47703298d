/* TCP connections from their beginning to their end. The bytes in between: relay.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "lwip/timeouts.h"

#define TURN_TOTAL (2u << 20) /* bytes that a turn of the event loop is spent on */
#define HELD_TOTAL (128u << 20) /* bytes that wait for hosts */
#define SWEEP_MS 10000
/* A connection with one end closed and nothing passing has been left by the other. */
#define HALF_CLOSED_MS (10 * 60 * 1000)
#define INITIAL_RTO_MS 1000
#define KEEP_IDLE_MS 120000
#define KEEP_INTERVAL_MS 15000
#define KEEP_COUNT 4
#define PORT_TRIES 32

void connection_mark(struct connection *connection)
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
    if (stack->connection_count >= stack->max_connections || slot == MAX_CONNECTIONS)
        return NULL;
    crowd_trim(stack);
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

/* What Python is to take of it, 0 for nothing. */
static void tell(struct stack *stack, struct connection *connection, int event)
{
    stack->untold += (event != 0) - (connection->event != 0);
    connection->event = event;
}

static void discard(struct connection *connection)
{
    for (; connection->count; connection->count--)
        pbuf_free(connection->pieces[connection->first++ % PIECES]);
    the_stack->held -= connection->held;
}

void connection_end(struct stack *stack, struct connection *connection, bool reset)
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
    tell(stack, connection, 0);
    stack->queued -= connection->queued;
    stack->doomed -= connection->doomed;
    if (connection->incoming) {
        stack->incoming--;
        stack->sources[connection->source]--;
    }
    stack->connections[connection->slot] = NULL;
    stack->connection_count--;
    free(connection);
}

void connections_close(struct stack *stack)
{
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++)
        if (stack->connections[i])
            connection_end(stack, stack->connections[i], true);
}

uint32_t stack_reset(struct stack *stack, uint32_t most)
{
    ENTER(stack, 0);
    for (uint32_t i = 0; i < MAX_CONNECTIONS && most; i++) {
        if (!stack->connections[i])
            continue;
        connection_end(stack, stack->connections[i], true);
        most--;
    }
    stack_settle(stack);
    return stack->connection_count;
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
        connection->held += piece->tot_len;
        the_stack->held += piece->tot_len;
        if (the_stack->held - the_stack->doomed > HELD_TOTAL)
            crowd_relieve(the_stack);
    }
    connection_mark(connection);
    return ERR_OK;
}

static err_t on_sent(void *argument, struct tcp_pcb *pcb, u16_t length)
{
    (void)pcb, (void)length;
    connection_mark(argument);
    return ERR_OK;
}

static void on_error(void *argument, err_t error)
{
    struct connection *connection = argument;
    connection->pcb = NULL;
    if (connection->connecting) {
        connection->connecting = false;
        tell(the_stack, connection, error == ERR_RST ? STACK_REFUSED : STACK_TIMED_OUT);
    } else if (error == ERR_CLSD) {
        connection->overlay_ended = true; /* both ends have closed, all is acknowledged */
    } else {
        connection->was_reset = true;
    }
    connection_mark(connection);
}

struct connection *connection_of(const struct tcp_pcb *pcb)
{
    return pcb->recv == on_received ? pcb->callback_arg : NULL;
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
    tell(the_stack, connection, STACK_CONNECTED);
    return ERR_OK;
}

bool connection_accepted(struct stack *stack, struct tcp_pcb *pcb, uint32_t listener)
{
    struct connection *connection = crowd_admits(stack, &pcb->remote_ip) ? make(stack) : NULL;
    if (!connection)
        return false;
    take_on(connection, pcb);
    connection->listener = listener;
    connection->incoming = true;
    connection->source = crowd_source(stack, &pcb->remote_ip);
    stack->incoming++;
    stack->sources[connection->source]++;
    tell(stack, connection, STACK_ACCEPTED);
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
    connection_end(stack, connection, true);
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
        connection_end(stack, connection, true);
        stack_settle(stack);
        return false;
    }
    connection->fd = fd;
    tell(stack, connection, 0);
    connection->readable = connection->writable = true;
    connection_mark(connection);
    connections_pump(stack);
    stack_settle(stack);
    return true;
}

void stack_drop(struct stack *stack, uint32_t id)
{
    ENTER(stack, );
    struct connection *connection = find(stack, id);
    if (connection && connection->fd < 0)
        connection_end(stack, connection, true);
    stack_settle(stack);
}

bool connections_take_event(struct stack *stack, stack_event *event)
{
    for (uint32_t i = 0; stack->untold && i < MAX_CONNECTIONS; i++) {
        uint32_t slot = stack->next_event++ % MAX_CONNECTIONS;
        struct connection *connection = stack->connections[slot];
        if (!connection || !connection->event)
            continue;
        *event = (stack_event){.what = connection->event,
                               .id = connection->id,
                               .listener = connection->listener,
                               .remote = connection->remote};
        tell(stack, connection, 0);
        if (event->what == STACK_REFUSED || event->what == STACK_TIMED_OUT)
            connection_end(stack, connection, true);
        return true;
    }
    return false;
}

/* --- turns ------------------------------------------------------------------------------------- */

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
        connection_pump(stack, connection);
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
    connection_mark(connection);
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
            connection_mark(connection);
        }
    }
    sys_timeout(SWEEP_MS, connections_sweep, stack);
}
