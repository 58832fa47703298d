/* The whole border between the userspace stack in C and Python. cffi reads this file as it stands, but
 * for the lines that begin with '#': plain declarations only.
 *
 * One thread makes all calls. lwIP is one for a process, so there is one stack at a time. Where an
 * assertion of lwIP fails, the stack ends there and then: calls return 0, false or -1 from then on,
 * and stack_failure() says what it was.
 */
#ifndef WGVX_STACK_H
#define WGVX_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stack;

/* Packed, 4 or 16 bytes; length 0: any. */
typedef struct {
    uint8_t length;
    uint8_t ip[16];
    uint16_t port;
} stack_address;

/* --- life -------------------------------------------------------------------------------------- */

/* `frames` is a non-blocking socket of a bare frame a message, the caller's to close after the stack;
 * there are at most so many connections at a time, and never more than 2048; half of them may be such as
 * came to a listener, and an eighth from one address. NULL where there is no memory, or a stack already.
 */
struct stack *stack_open(int frames, const uint8_t *mac, uint16_t mtu, uint32_t connections);
void stack_close(struct stack *); /* resets all connections */
/* Once, with the addresses; the prefix is in bits. False where there are too many. */
bool stack_add_address(struct stack *, const stack_address *, uint8_t prefix);
void stack_set_gateway(struct stack *, const stack_address *);
/* Begin to serve. */
void stack_start(struct stack *);
/* NULL while all is well. */
const char *stack_failure(const struct stack *);

/* Readable when stack_serve() has something to do, timers included. */
int stack_descriptor(const struct stack *);
/* A bounded turn: frames, timers, the bytes of connections. */
void stack_serve(struct stack *);

/* What was refused or given up for want of room, or for being a router's. */
typedef struct {
    uint64_t handshakes_full;       /* half-open ones, the oldest of whoever has most */
    uint64_t connections_refused;   /* that came */
    uint64_t connections_gave_way;  /* silent ones, or of whoever has most, for one that came */
    uint64_t time_wait_full;        /* forgotten before their time */
    uint64_t orphans_full;          /* closed ones whose last segment is not acknowledged */
    uint64_t memory_full;           /* connections reset whose host did not read */
    uint64_t datagrams_full;        /* that a UDP socket had no room for */
    uint64_t router_messages;       /* advertisements and redirects */
    uint64_t segments_refused;      /* of TCP, whose numbers are nowhere near the awaited ones */
    uint64_t mtu_refused;           /* path MTUs that cannot be */
    uint64_t fragments_refused;     /* of IPv6, whose whole would be too large */
} stack_counts;
void stack_count(const struct stack *, stack_counts *);

/* --- events ------------------------------------------------------------------------------------ */

enum {
    STACK_CONNECTED = 1, /* of stack_connect() */
    STACK_REFUSED,       /* of it, too: a reset */
    STACK_TIMED_OUT,     /* and that nobody answered */
    STACK_ACCEPTED,      /* a connection has come to a listener */
    STACK_RECEIVED,      /* a UDP socket has something to take */
};
typedef struct {
    int what;
    uint32_t id;
    uint32_t listener;
    stack_address remote;
} stack_event;
bool stack_take_event(struct stack *, stack_event *);

/* --- TCP --------------------------------------------------------------------------------------- */

/* Numbers of connections, listeners and UDP sockets are never 0, which stands for: no room. */
uint32_t stack_connect(struct stack *, const stack_address *);
uint32_t stack_listen(struct stack *, const stack_address *);
void stack_unlisten(struct stack *, uint32_t listener);
/* Join a connection to a host's stream socket, which becomes the stack's; `first` is what was read
 * from it already. From here on bytes, half-closes and resets pass by themselves. False where the
 * connection is gone: the socket stays the caller's. */
bool stack_join(struct stack *, uint32_t connection, int socket, const uint8_t *first, uint32_t length);
/* Whether the station on the link that leads to this address, itself or the gateway, has told its MAC. */
bool stack_answers(struct stack *, const stack_address *);
/* Reset a connection that is not joined. */
void stack_drop(struct stack *, uint32_t connection);
/* Reset at most so many connections, while frames still pass: as many as are left. */
uint32_t stack_reset(struct stack *, uint32_t most);
/* How many connections there are. */
uint32_t stack_connections(const struct stack *);

/* --- UDP --------------------------------------------------------------------------------------- */

/* A socket with a port of its own that nobody can foretell. */
uint32_t stack_udp_open(struct stack *);
void stack_udp_close(struct stack *, uint32_t udp);
bool stack_udp_send(struct stack *, uint32_t udp, const stack_address *, const uint8_t *data,
                    uint32_t length);
/* The next datagram: its length, at most `room` of it written; -1 where none waits. */
int stack_udp_take(struct stack *, uint32_t udp, stack_address *from, uint8_t *data, uint32_t room);

#endif
