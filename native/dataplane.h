/* What the parts of the data plane share: its tables, and the lane that a thread works in.
 *
 * Theory of operation. A packet's way is inbound.c or outbound.c, read top to bottom; session.c has
 * what it changes of its peer, output.c where it ends up. Tables (peers, prefixes, networks) change
 * only in calls from Python, which hold every lane's lock; a worker holds the lock of its own lane
 * for the length of a burst. So within a burst tables stand still, and what several workers change
 * of one peer they change under that peer's lock. A keypair that a packet retires stays where it is,
 * marked, until the next call from Python sweeps it up.
 */
#ifndef WGVX_DATAPLANE_H
#define WGVX_DATAPLANE_H

#include <pthread.h>
#include <string.h>

#include "aead.h"
#include "allowed_ips.h"
#include "bucket.h"
#include "coalesce.h"
#include "cookie.h"
#include "fdb.h"
#include "map.h"
#include "members.h"
#include "replay.h"
#include "segment.h"
#include "wgvx.h"

#define SECOND UINT64_C(1000000000)
#define MAX_WORKERS 64
#define MAX_PACKET 65535
#define MAX_FRAME (65535 + 14 + 8)

/* In the order of wgvx.drops.Reason. */
enum reason {
    MALFORMED, BAD_MAC1, BAD_MAC2, HANDSHAKE_RATE, HANDSHAKE_REPLAY, HANDSHAKE_FAILED,
    HANDSHAKE_TIMEOUT, UNKNOWN_INDEX, AUTH_FAILED, REPLAYED, KEY_EXPIRED, INNER_MALFORMED,
    SOURCE_NOT_ALLOWED, NO_ROUTE, NO_ENDPOINT, STAGED_OVERFLOW, TTL, BAD_CHECKSUM, FRAGMENT,
    SLOW_PATH, NOT_VXLAN, RESERVED_BITS, UNKNOWN_VNI, VTEP_NOT_ACCEPTED, SHORT_FRAME, OWN_MAC,
    BAD_SOURCE_MAC, RESERVED_GROUP, STATIC_MOVED, STICKY_MOVED, MOVE_DAMPED, PORT_BLOCKED,
    BROADCAST_LIMIT, MULTICAST_LIMIT, UNKNOWN_LIMIT, SAME_PORT, NO_REMOTE, TOO_BIG, ECN_CE,
    PORT_FULL, PORT_DOWN, SOCKET_FULL, UNREACHABLE, CONGESTED,
    REASONS,
    PASSED = REASONS /* not dropped */
};

/* The bits of wgvx.wireguard.sessions.Event. */
enum { NEED_HANDSHAKE = 1, CONFIRMED = 2, ROAMED = 4, ARM_TX = 8, ARM_RX = 16 };

/* --- sessions ---------------------------------------------------------------------------------- */

/* A session's keys, indices, role, birth and counters (paper, section 6.3). */
struct keypair {
    struct peer *peer;
    uint32_t local_index, remote_index;
    uint64_t birth;
    uint64_t send_counter;
    bool initiator;
    bool may_send;
    bool rekey_asked;
    bool retired; /* in no slot any more; swept up by the next call from Python */
    uint8_t send_key[AEAD_KEY_LENGTH], receive_key[AEAD_KEY_LENGTH];
    struct replay replay;
};

struct staged {
    struct staged *next;
    uint32_t length;
    uint8_t packet[];
};

struct peer {
    struct prefix_owner prefixes; /* first: what a look-up in the allowed IPs finds */
    uint32_t id;
    pthread_mutex_t lock; /* taken where several workers run */
    struct keypair *current, *previous, *next;
    bool has_endpoint;
    wgvx_endpoint endpoint;
    uint32_t endpoint_generation; /* counts its changes */
    bool has_refused, refused_on_any;
    wgvx_endpoint refused;  /* see DataPlane.give_up_local_address */
    uint64_t gso_off_until;       /* EMSGSIZE belongs to a path */
    struct staged *staged, **staged_end;
    uint32_t staged_count;
    uint64_t rx_bytes, tx_bytes;
    uint64_t last_tx, last_rx, first_unanswered_tx, first_unanswered_rx;
    bool more_unanswered_rx;
    uint8_t armed;  /* of ARM_TX and ARM_RX: told, and not yet let go by the timer */
    uint32_t asked; /* events that wait in a lane to be taken */
};

/* --- networks ---------------------------------------------------------------------------------- */

/* The bits of wgvx.vxlan.watch.Watch. */
enum { WATCH_ARP = 1, WATCH_NEIGHBOURS = 2, WATCH_GROUPS = 4, WATCH_PROBES = 8 };

/* Frames that go everywhere: broadcast, multicast, unknown; see limits.c. */
#define LIMITS 3
/* VTEPs with one hash share their buckets. */
#define VTEP_SLOTS 64

struct port {
    uint32_t id;
    struct network *network;
    struct port *next; /* of the network, in the order they were added */
    bool has_mac;
    uint8_t mac[6];
    bool blocked;    /* nothing in, nothing out, but loop probes */
    struct bucket limits[LIMITS];
    uint8_t framing; /* WGVX_VNET, WGVX_BARE or WGVX_STREAM */
    bool tso, uso;   /* a TAP that takes them */
    bool ends;       /* a socket on which a read of nothing is its end */
    bool gone_told;
    int gone_errno;           /* why its descriptors are of no use any more; 0: they are */
    uint32_t reader;          /* the first worker that has a descriptor */
    int fds[MAX_WORKERS + 1]; /* by worker, -1 for none */
    struct stream *stream;    /* NULL: it is none */
};

/* Python's own lane, and a worker without a queue of its own, use the first one's. */
static inline int port_descriptor(const struct port *port, uint32_t worker)
{
    return port->fds[worker] >= 0 ? port->fds[worker] : port->fds[1];
}

struct network {
    uint32_t vni;
    uint16_t udp_port;
    bool learning;
    uint8_t header[8]; /* VXLAN */
    struct fdb *fdb;
    struct allowed_ips *accept; /* NULL: all */
    struct prefix_owner accepted;
    struct port *ports, **ports_end;
    uint64_t rx_frames, tx_frames; /* added to atomically */
    uint8_t watch;
    uint16_t mss[2]; /* of TCP, IPv4 and IPv6, crossing the tunnel; 0: no limit */
    struct members_table members;
    uint32_t limits[LIMITS]; /* a second; 0: none */
    pthread_mutex_t lock;    /* of all buckets: frames to everywhere, and watched ones, are few */
    struct bucket handed_up, probes_handed_up;
    uint64_t unheard_until; /* groups go everywhere; atomically */
    struct bucket vtep_limits[VTEP_SLOTS][LIMITS];
};

/* --- what a thread works with ------------------------------------------------------------------- */

/* A datagram in the lane's arena. */
struct message {
    uint32_t offset, length;
    uint32_t next; /* of its run; 0: the last */
    uint32_t run;
};

/* Datagrams that may leave in one send: one peer, one endpoint, one TOS, one size but the last. */
struct run {
    struct peer *peer; /* NULL: to somebody who has proven nothing */
    uint32_t generation;
    wgvx_endpoint endpoint;
    uint8_t tos;
    bool closed;
    uint32_t size, count, bytes;
    uint32_t first, last; /* positions of messages plus one */
};

struct frame_out {
    struct frame frame;
    struct port *port;
};

#define LIST(type)          \
    struct {                \
        type *items;        \
        uint32_t count, room; \
    }

struct rare {
    uint8_t *data; /* a copy */
    uint32_t length, peer;
};

/* A frame in place of which Python says what goes on. */
struct watched {
    uint8_t *data; /* a copy */
    uint32_t length, vni;
    struct place origin;
};

#define OPEN_RUNS 16

struct lane {
    struct wgvx *dp;
    pthread_mutex_t lock;
    struct aead aead;
    struct macs *macs;
    bool fused;     /* a worker's, or Python's while workers run: what is put out goes out by itself */
    uint32_t number; /* 0: Python's; otherwise the worker's */
    uint64_t drops[REASONS];

    uint8_t *arena; /* sealed datagrams */
    uint32_t arena_used, arena_room;
    LIST(struct message) messages;
    LIST(struct run) runs;
    uint32_t open_runs[OPEN_RUNS]; /* by peer: position of its latest run plus one */
    LIST(struct frame_out) frames;
    LIST(uint8_t *) kept; /* the bytes of some of them, while Python has not taken them */
    LIST(struct peer *) asking; /* peers with events */
    LIST(wgvx_handshake) handshakes;
    LIST(struct rare) rare;
    LIST(struct watched) watched;
    bool stopped; /* a rare packet has to be dealt with first */

    /* What the burst's last packet found: good until the burst ends, for tables stand still. */
    struct {
        uint8_t source[16];
        uint8_t length;
        struct prefix_owner *owner;
    } last_source;
    struct {
        struct network *network; /* NULL: nothing */
        uint8_t mac[6];
        struct place place;
    } last_learned;
    uint8_t *scratch; /* MAX_FRAME bytes: a segment that goes to several VTEPs */
    const struct members *only; /* in place of everywhere; NULL but in wgvx_forward_frame() */

    uint64_t now;           /* of the burst */
    struct capture *capture; /* copies of what passes; NULL: nobody looks */
    int sockets[2];         /* IPv4, IPv6; -1 for none */
    struct worker *worker;  /* its buffers; NULL for Python's */
    struct sender *sender;
    struct coalesced *joined;
    bool probing;  /* what is sent is a probe: a refusal is its answer, and counts nowhere */
    int refusal;   /* of the probe: an errno */
    bool notified; /* Python was told that there is something to take */
};

struct address {
    uint8_t length;
    uint8_t bytes[16];
};

struct wgvx {
    struct map peers, keypairs, networks, ports;
    struct map handshakes; /* indices of initiations that may yet be answered */
    struct allowed_ips *allowed_ips;
    LIST(struct keypair *) retired;
    pthread_mutex_t retired_lock;
    LIST(struct address) addresses;
    const struct address *source4, *source6; /* our first of each family */
    uint32_t mtu;
    bool forward;
    uint32_t identification;
    LIST(uint16_t) udp_ports;

    bool has_key;
    uint8_t mac1_key[32], cookie_key[32];
    uint8_t cookie_secret[32], nonce_key[32];
    uint64_t demand_mac2_until;
    uint64_t cookies_made;

    struct lane *python;
    struct lane *lanes[MAX_WORKERS + 1]; /* [0] is Python's */
    uint32_t workers;                    /* running */
    pthread_mutex_t gate;                /* held by a call from Python: workers wait between bursts */
    int waiting;
    int stop;
    int notify_fd;
    int wake_fd;
    bool gso; /* UDP_SEGMENT is used, until the system refuses it */
    uint32_t gso_segments;
    const char *aead_name;
    uint8_t capture_kinds; /* WGVX_CAPTURE_FRAMES, WGVX_CAPTURE_DATAGRAMS */
    uint32_t capture_snaplen;
};

/* --- locks ------------------------------------------------------------------------------------- */

static inline void peer_lock(struct wgvx *dp, struct peer *peer)
{
    if (dp->workers > 1)
        pthread_mutex_lock(&peer->lock);
}

static inline void peer_unlock(struct wgvx *dp, struct peer *peer)
{
    if (dp->workers > 1)
        pthread_mutex_unlock(&peer->lock);
}

/* What is read of a peer without its lock, while another worker may change it: old or new, either
 * will do. Changed under the lock. */
#define PEEK(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define POKE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

static inline struct peer *find_peer(const struct wgvx *dp, uint32_t id)
{
    return map_get(&dp->peers, id);
}

static inline void drop(struct lane *lane, enum reason reason)
{
    lane->drops[reason]++;
}

static inline bool is_own_address(const struct wgvx *dp, const uint8_t *address, unsigned length)
{
    for (uint32_t i = 0; i < dp->addresses.count; i++)
        if (dp->addresses.items[i].length == length &&
            !memcmp(dp->addresses.items[i].bytes, address, length))
            return true;
    return false;
}

static inline bool is_vxlan_port(const struct wgvx *dp, uint16_t port)
{
    for (uint32_t i = 0; i < dp->udp_ports.count; i++)
        if (dp->udp_ports.items[i] == port)
            return true;
    return false;
}

static inline struct peer *route(const struct wgvx *dp, const uint8_t *address, unsigned length)
{
    return (struct peer *)allowed_ips_lookup(dp->allowed_ips, address, length);
}

/* Room for one more in a LIST; evaluates to a pointer to it, or NULL without memory. */
#define list_add(list)                                                                          \
    (list_grow((void **)&(list).items, &(list).room, (list).count + 1, sizeof *(list).items)    \
         ? &(list).items[(list).count++]                                                        \
         : NULL)
bool list_grow(void **items, uint32_t *room, uint32_t wanted, size_t size);

/* --- session.c --------------------------------------------------------------------------------- */

bool keypair_can_send(const struct keypair *, uint64_t now);
/* Of the message that left under `counter`. */
bool keypair_wants_rekey_on_send(const struct keypair *, uint64_t counter, uint64_t now);
bool keypair_wants_rekey_on_receive(const struct keypair *, uint64_t now);
/* Opens a whole transport message in place, its plaintext behind 16 bytes of header. */
enum reason keypair_open(struct lane *, struct keypair *, uint8_t *message, uint32_t length,
                         uint64_t now);
/* Puts a new session into its slot. */
void peer_install(struct lane *, struct peer *, struct keypair *);
/* The routing table chooses our address. */
void peer_forget_local_address(struct peer *);
void peer_give_up_local_address(struct peer *, const wgvx_endpoint *);
/* Something authenticated arrived. */
void peer_heard(struct lane *, struct peer *, const wgvx_endpoint *, uint32_t length, uint64_t now);
/* A packet under this key authenticated; true when it was the first under `next`. */
bool peer_confirm(struct lane *, struct peer *, struct keypair *);
void peer_data_received(struct lane *, struct peer *, uint64_t now);
void peer_data_sent(struct lane *, struct peer *, uint64_t now);
void peer_sent(struct peer *, uint32_t length, uint64_t now);
void peer_stage(struct lane *, struct peer *, const uint8_t *packet, uint32_t length);
uint32_t peer_drop_staged(struct peer *);
bool peer_send_staged(struct lane *, struct peer *, uint64_t now, bool or_keepalive);
void peer_forget_keys(struct lane *, struct peer *);
void peer_ask(struct lane *, struct peer *, uint32_t events);
void peer_free(struct lane *, struct peer *);
/* Frees what packets retired; the caller holds every lock. */
void sweep(struct wgvx *);

/* --- inbound.c --------------------------------------------------------------------------------- */

/* As wgvx_receive. */
uint32_t receive(struct lane *, uint8_t *data, uint32_t length, uint32_t size,
                 const wgvx_endpoint *, uint8_t tos, uint64_t now);
/* A frame from a VTEP, to ports: joined to others where `out` says where its headers are. */
enum reason forward_from_vtep(struct lane *, struct network *, const struct place *origin,
                              struct frame *out, uint64_t now);
/* As wgvx_deliver; returns why not. `sum` of the segment's bytes. */
enum reason deliver_udp(struct lane *, const uint8_t *source, const uint8_t *destination,
                        unsigned address_length, uint8_t ecn, uint8_t *segment, uint32_t length,
                        uint64_t now);
/* A handshake message of whatever type but transport data. */
enum reason hand_up(struct lane *, const uint8_t *message, uint32_t length, const wgvx_endpoint *,
                    uint64_t now);

/* --- vtep.c ------------------------------------------------------------------------------------ */

/* Which way frames go: to one VTEP, to one port, or everywhere. */
struct forwarding {
    struct vteps remotes;
    struct place one; /* what remotes points to, for a single one */
    struct port *port;
    bool everywhere;
    const struct members *members; /* everywhere is these alone; NULL: all */
    struct port *from;             /* NULL: they came from a VTEP */
    uint32_t allowed;              /* so many of them; why not the others: */
    enum reason refused;
};

/* A frame entered on a local port: see Vtep.enter. *watched: it is to be handed up. */
enum reason vtep_enter(struct lane *, struct port *, const uint8_t *frame, uint32_t length,
                       uint64_t now, bool *watched);
/* A frame came out of the tunnel from a VTEP: see Vtep.arrive. */
enum reason vtep_arrive(struct lane *, struct network *, const struct place *from,
                        const uint8_t *frame, uint32_t length, uint64_t now, bool *watched);
/* Where `count` frames with this one's header go: see Vtep.forward. `from`: the port that `origin`
 * is; NULL: it is a VTEP. */
enum reason vtep_forward(struct lane *, struct network *, const struct place *origin,
                         struct port *from, const uint8_t *frame, uint32_t count, uint64_t now,
                         struct forwarding *);
/* Whether that includes a port. */
bool goes_to(const struct forwarding *, const struct port *);

/* --- limits.c, watch.c ------------------------------------------------------------------------- */

/* How many of `count` frames may go everywhere, and why not the others. */
uint32_t limit(struct network *, const uint8_t *destination, const struct place *origin,
               struct port *from, uint32_t count, uint64_t now, enum reason *);
/* What a frame of 14 bytes or more is to its network: one of WATCH_*, or 0. */
uint8_t watched_kind(const struct network *, const uint8_t *frame, uint32_t length);
/* Whether one more of this kind may be handed to Python. */
enum reason may_hand_up(struct lane *, struct network *, uint8_t kind, uint32_t length, uint64_t now,
                        bool *watched);
void hand_up_frame(struct lane *, const struct network *, const struct place *origin,
                   const uint8_t *frame, uint32_t length);

/* --- networks.c -------------------------------------------------------------------------------- */

void network_free(struct network *);
struct place place_of(const wgvx_place *);
/* To be freed; NULL for none given, or without memory. */
struct place *places_of(const wgvx_place *, uint32_t count);

/* --- outbound.c -------------------------------------------------------------------------------- */

/* A frame from a port, with its virtio-net header or NULL. */
void transmit(struct lane *, struct port *, const struct vnet_header *, const uint8_t *frame,
              uint32_t length, uint64_t now);
/* It goes on, however it got here. */
/* False where all of it was dropped. */
bool forward_from_port(struct lane *, struct port *, const struct vnet_header *,
                       struct segments *, const uint8_t *frame, uint32_t length, uint64_t now);
/* A whole frame to some VTEPs. */
void send_to_remotes(struct lane *, struct network *, const struct vteps *, const uint8_t *frame,
                    uint32_t length, uint64_t now);
/* Cryptokey routing of a tunnel packet that stands at message + TRANSPORT_HEADER in the arena's
 * reserved room. Returns why not. */
enum reason route_packet(struct lane *, struct peer *, uint8_t *message, uint32_t length,
                         uint64_t now);
/* Pad, encrypt, send what stands at message + TRANSPORT_HEADER; 0 bytes are a keepalive. */
void seal(struct lane *, struct peer *, struct keypair *, uint8_t *message, uint32_t length,
          uint64_t now);

/* --- output.c ---------------------------------------------------------------------------------- */

#define TRANSPORT_HEADER 16

/* Room for a datagram of up to `length` bytes at the end of the arena; NULL without memory. */
uint8_t *reserve(struct lane *, uint32_t length);
/* What was reserved last, and filled, is a datagram to this peer's endpoint (or, without a peer, to
 * the one given). */
void send_message(struct lane *, struct peer *, const wgvx_endpoint *, uint32_t length, uint8_t tos);
void send_frame(struct lane *, struct port *, const struct frame *);
/* The same, where the port is not blocked. */
void deliver_frame(struct lane *, struct port *, const struct frame *);
/* Puts out all that is there: of use in a fused lane only. */
void flush(struct lane *);
void clear_messages(struct lane *);
/* A burst begins: what the last one found is no longer known to be so. */
void begin_burst(struct lane *);

/* --- capture.c --------------------------------------------------------------------------------- */

/* While somebody looks: where lane->capture is. `what` is WGVX_FRAME_IN and so on. */
void capture_frame(struct lane *, uint8_t what, uint32_t port, const uint8_t *frame,
                   uint32_t length);
void capture_datagram(struct lane *, uint8_t what, const wgvx_endpoint *, uint8_t tos,
                      const uint8_t *data, uint32_t length);
/* What a thread's copies need, if there are to be any; false without memory. */
bool capture_begin(struct lane *);
void capture_end(struct lane *);

/* --- socket.c, ports.c ------------------------------------------------------------------------- */

void flush_messages(struct lane *);
/* The same for the one probe that waits, to an endpoint of IPv6 or IPv4, which nobody may fragment;
 * the errno. No other lane may be sending. */
int flush_probe(struct lane *, bool v6);
void flush_frames(struct lane *);
/* A frame that is large or unfinished, to a port that takes neither: the first `most` of those that
 * it makes. */
void send_finished(struct lane *, struct port *, const struct vnet_header *, const uint8_t *frame,
                   uint32_t length, uint32_t most);

/* --- worker.c, and enter and leave of dataplane.c ---------------------------------------------------------------------------------- */

struct lane *lane_new(struct wgvx *, uint32_t number, const char *aead);
void lane_free(struct lane *);
void lane_forget_peer(struct lane *, const struct peer *);
/* A call from Python: all lanes stand still, and what packets retired is swept up. */
void enter(struct wgvx *, uint64_t now);
/* What the call left to be put out goes out by itself where workers run. */
void leave(struct wgvx *);
void lock_all(struct wgvx *);
void unlock_all(struct wgvx *);
/* Tell Python that a worker's lane has something for it. */
void notify(struct wgvx *);

#endif
