/* A worker: a thread that pumps its own sockets and TAP queues, burst by burst. */
#ifndef WGVX_WORKER_H
#define WGVX_WORKER_H

#include <sys/socket.h>

#include "codel.h"
#include "dataplane.h"

#define RX_MESSAGES 32u
#define RX_ROOM 65536u
#define TX_SENDS 64u
#define TX_PARTS 1024u
#define CONTROL_ROOM 192u

struct worker {
    pthread_t thread;
    bool running;
    int epoll;
    /* What arrives: RX_MESSAGES buffers of RX_ROOM bytes. Pages that are never used cost nothing. */
    uint8_t *rx;
    struct mmsghdr rx_messages[RX_MESSAGES];
    struct iovec rx_parts[RX_MESSAGES];
    struct sockaddr_storage rx_sources[RX_MESSAGES];
    _Alignas(struct cmsghdr) uint8_t rx_control[RX_MESSAGES][CONTROL_ROOM];
    struct codel queues[2];   /* the receive buffers, IPv4's and IPv6's */
    uint64_t last_reads[2];   /* of them, in nanoseconds of CLOCK_REALTIME */
    uint32_t rx_batch; /* how many datagrams the next call asks for */
    uint8_t *tap;      /* a virtio-net header and a frame */
};

/* What is being sent: one for each lane that is fused. */
struct sender {
    struct mmsghdr messages[TX_SENDS];
    struct iovec parts[TX_PARTS];
    struct sockaddr_storage targets[TX_SENDS];
    _Alignas(struct cmsghdr) uint8_t control[TX_SENDS][CONTROL_ROOM];
    struct {
        struct run *run;
        uint32_t first; /* position of its first message plus one */
        uint32_t count;
    } jobs[TX_SENDS];
};

/* Receive and process what is there, within a budget. */
void pump_socket(struct lane *, unsigned family);
/* The same of a port; `may_write`: it has room again. False where it is gone. */
bool pump_port(struct lane *, struct port *, bool may_write);
/* What a port handed over was dealt with, and its buffer is about to be filled anew. */
void port_gave(struct lane *);
/* Python is told, once. */
void port_gone(struct lane *, struct port *, int code);
/* Whether the worker that reads a port is also woken when it has room. */
void watch_port(struct wgvx *, struct port *, bool room);

/* Nanoseconds of a clock. */
uint64_t clock_read(int clock);

#endif
