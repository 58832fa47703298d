/* What the parts of the stack know of each other.
 *
 * Theory of operation: everything happens in calls of Python's event loop, which waits for one epoll
 * descriptor. stack_serve() takes frames from the node's descriptor into lwIP, runs its timers, and
 * then pumps the connections to which something happened: lwIP's callbacks do no more than note it
 * (`mark`), so that no connection is touched while lwIP is in the middle of it. Hosts' sockets are
 * watched edge-triggered: what they are ready for is remembered until it was used up.
 *
 * Frames out wait in one buffer. While the node does not take them, lwIP is refused more and keeps its
 * segments: nothing is lost on this way.
 */
#ifndef WGVX_STACK_INSIDE_H
#define WGVX_STACK_INSIDE_H

#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lwip/init.h"
#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"
#include "stack.h"

#if LWIP_VERSION_MAJOR * 10000 + LWIP_VERSION_MINOR * 100 + LWIP_VERSION_REVISION < 20103
#error "lwIP 2.1.3 or newer is needed"
#endif

#define MAX_CONNECTIONS 2048
#define SOURCES 1024 /* places that addresses count at, crowd.c */
#define MAX_LISTENERS 64
#define MAX_UDP 128
#define MAX_FRAME 65535
#define FRAMES_AT_ONCE 64
#define OUT_ROOM (256u << 10)
#define ADDRESSES 16

struct connection;
struct udp_socket;
struct listener;

struct frames {
    int fd;
    bool blocked; /* the node did not take all of it: its descriptor is watched */
    unsigned count, first;
    uint32_t used;
    struct mmsghdr messages[FRAMES_AT_ONCE];
    struct iovec parts[FRAMES_AT_ONCE];
    uint8_t out[OUT_ROOM];
    struct mmsghdr received[FRAMES_AT_ONCE];
    struct iovec received_parts[FRAMES_AT_ONCE];
    uint8_t *in; /* FRAMES_AT_ONCE of frame_room each */
    uint32_t frame_room;
};

struct prefix6 {
    ip6_addr_t address;
    uint8_t length;
};

struct stack {
    int epoll, timer;
    uint64_t timer_at; /* milliseconds; UINT64_MAX: not armed */
    bool ready; /* lwIP knows of it */
    bool more;  /* work was left for the next turn */
    const char *failure;
    bool trapped;
    jmp_buf trap;
    struct netif netif;
    uint8_t mac[6];
    uint16_t mtu;
    uint8_t addresses4, addresses6;
    struct prefix6 prefixes[LWIP_IPV6_NUM_ADDRESSES];
    ip6_addr_t gateway6;
    bool has_gateway6;
    struct frames frames;
    struct connection *connections[MAX_CONNECTIONS];
    uint32_t max_connections, max_incoming; /* no more at a time, and of those that come to us */
    uint32_t connection_count, incoming, generation;
    uint32_t untold; /* connections that have an event */
    uint16_t sources[SOURCES]; /* connections that came from there */
    uint64_t source_key;
    size_t queued, held, doomed; /* bytes of all connections: out, in, and what is about to go */
    stack_counts counts;
    struct connection *marked, **marked_end;
    size_t turn_bytes; /* that passed in this turn */
    struct listener *listeners[MAX_LISTENERS];
    struct udp_socket *udp[MAX_UDP];
    uint32_t next_event; /* where take_event looks on */
    uint8_t scratch[65535];
};

extern struct stack *the_stack;

/* Whatever calls lwIP from outside begins with this: an assertion that fails ends there. */
#define ENTER(stack, failed)                                                                       \
    do {                                                                                           \
        if ((stack)->failure)                                                                      \
            return failed;                                                                         \
        (stack)->trapped = true;                                                                   \
        if (setjmp((stack)->trap))                                                                 \
            return failed;                                                                         \
    } while (0)
/* And ends with this: what is to be sent is, and the timer is set. */
void stack_settle(struct stack *);

bool stack_address_to_lwip(const stack_address *, ip_addr_t *);
void stack_address_from_lwip(const ip_addr_t *, uint16_t port, stack_address *);
uint16_t stack_random_port(void);
uint64_t stack_now(void); /* milliseconds */
/* A number for the thing in this slot of so many, not 0, nor soon given again. */
uint32_t stack_new_id(struct stack *, uint32_t slot, uint32_t slots);

/* frames.c */
bool frames_open(struct stack *, int fd);
void frames_close(struct stack *);
err_t frames_put(struct netif *, struct pbuf *); /* lwIP's linkoutput */
void frames_flush(struct stack *);
void frames_ready(struct stack *, uint32_t events);

/* connection.c */
void connections_pump(struct stack *);
void connections_ready(struct stack *, uint32_t slot, uint32_t events);
void connections_close(struct stack *);
bool connections_take_event(struct stack *, stack_event *);
void connections_sweep(void *);
bool connection_accepted(struct stack *, struct tcp_pcb *, uint32_t listener);

/* listener.c */
void listeners_close(struct stack *);

/* datagram.c */
void udp_sockets_close(struct stack *);
bool udp_sockets_take_event(struct stack *, stack_event *);

/* What an epoll event is about. */
#define ABOUT_FRAMES UINT64_C(0x100000000)
#define ABOUT_TIMER UINT64_C(0x200000000)

#endif
