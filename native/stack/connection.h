/* A connection, for the parts that share in it: connection.c, relay.c, crowd.c, recovery.c. */
#ifndef WGVX_STACK_CONNECTION_H
#define WGVX_STACK_CONNECTION_H

#include "inside.h"
#include "lwip/priv/tcp_priv.h"

#define PIECES 1024 /* that wait for the host; small ones may fill less than the window */
#define SACK_RANGES 32

struct recovery {
    bool active;
    uint32_t point;  /* it is over once all before it is acknowledged */
    uint32_t resent; /* what begins before has been sent again, */
    uint32_t pass;   /* and has arrived before what begins here, or is lost again */
    uint32_t count;
    struct {
        uint32_t left, right;
    } sacked[SACK_RANGES]; /* in order, and apart */
};

struct connection {
    uint32_t id, slot, listener;
    struct tcp_pcb *pcb; /* NULL: lwIP has let go of it */
    int fd;              /* -1: not joined */
    int event;           /* that Python is to take; 0: none */
    bool incoming, connecting, was_reset;
    bool readable, writable;
    bool host_ended, told_overlay; /* end of file read, FIN sent */
    bool overlay_ended, told_host; /* FIN received, SHUT_WR done */
    bool marked;
    struct connection *next_marked;
    uint64_t active_at;
    stack_address remote;
    uint16_t source; /* of one that has come: where it counts, crowd.c */
    size_t queued;   /* bytes from the host that are not acknowledged */
    size_t doomed;   /* of those held, what goes with it in this turn */
    size_t held;     /* bytes that wait for the host, in pieces: */
    uint32_t first, count, used; /* used: bytes of the first piece that are gone already */
    struct pbuf *pieces[PIECES];
    struct recovery recovery;
};

/* connection.c */
/* Something happened to it: it is pumped in this turn, or in the next one. */
void connection_mark(struct connection *);
void connection_end(struct stack *, struct connection *, bool reset);
/* NULL where lwIP's connection is none of ours, or not yet. */
struct connection *connection_of(const struct tcp_pcb *);

/* relay.c */
void connection_pump(struct stack *, struct connection *);

/* crowd.c */
/* Whether another connection may come from there; one that is there may have had to go for it. */
bool crowd_admits(struct stack *, const ip_addr_t *from);
uint16_t crowd_source(const struct stack *, const ip_addr_t *);
void crowd_trim(struct stack *);
/* At the end: lwIP outlives the stack. */
void crowd_clear(void);
void crowd_trim_handshakes(struct stack *, const struct tcp_pcb_listen *);
/* More bytes wait for hosts than may. */
void crowd_relieve(struct stack *);

/* recovery.c */
/* What the options of a segment say of those before it, before lwIP looks at it. */
void recovery_note(struct connection *, const uint8_t *options, size_t length);
/* Before what there is to send is sent. */
void recovery_go_on(struct connection *);

#endif
