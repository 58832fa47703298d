/* The whole border between C and Python. cffi reads this file as it stands, but for the lines that
 * begin with '#': plain declarations only.
 *
 * Every call takes all the locks it needs; one that finds workers running waits until they are
 * between two bursts. Times are nanoseconds of CLOCK_BOOTTIME. Addresses are packed, 4 or 16 bytes.
 */
#ifndef WGVX_H
#define WGVX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wgvx wgvx; /* one data plane */

/* Where a peer is, and the address of ours it uses; local_length 0: not known. `interface` is the
 * index of the one that an IPv4 peer was heard on, 0: not known. */
typedef struct {
    uint8_t ip_length;
    uint8_t local_length;
    uint16_t port;
    uint32_t scope;
    uint32_t interface;
    uint8_t ip[16];
    uint8_t local[16];
} wgvx_endpoint;

/* A port, with vtep_length 0, or a VTEP. */
typedef struct {
    uint8_t vtep_length;
    uint8_t vtep[16];
    uint32_t port;
} wgvx_place;

/* --- what a call leaves to be put out, and what it asks of Python ------------------------------ */

/* A datagram to send. The pointers of these four are valid until the next call. */
typedef struct {
    const uint8_t *data;
    uint32_t length;
    uint8_t tos;
    const wgvx_endpoint *endpoint;
} wgvx_message;

/* A frame to deliver on a port. */
typedef struct {
    const uint8_t *data;
    uint32_t length;
    uint32_t port;
} wgvx_frame;

/* Events of a peer: the bits of wgvx.wireguard.sessions.Event. */
typedef struct {
    uint32_t peer;
    uint32_t events;
} wgvx_event;

/* A handshake message of valid type, length, mac1 and, where it is demanded, mac2. */
typedef struct {
    uint32_t length;
    uint8_t data[148];
    wgvx_endpoint endpoint;
} wgvx_handshake;

/* A tunnel packet for one of our addresses that only Python deals with: fragments, pings,
 * extension headers. */
typedef struct {
    const uint8_t *data;
    uint32_t length;
    uint32_t peer;
} wgvx_rare;

/* A frame that its network watches: it goes nowhere unless Python says so. vtep_length 0: it entered
 * on `port`; otherwise it came from that VTEP. */
typedef struct {
    const uint8_t *data;
    uint32_t length, vni, port;
    uint8_t vtep_length;
    uint8_t vtep[16];
} wgvx_watched;

typedef struct {
    uint32_t messages, frames, events, handshakes, rare, watched;
} wgvx_counts;

/* How much Python's calls, and what wgvx_collect brought, have left. Where workers run, messages and
 * frames are out already. */
wgvx_counts wgvx_pending(wgvx *);
wgvx_message wgvx_take_message(wgvx *, uint32_t position);
wgvx_frame wgvx_take_frame(wgvx *, uint32_t position);
wgvx_event wgvx_take_event(wgvx *, uint32_t position);
const wgvx_handshake *wgvx_take_handshake(wgvx *, uint32_t position);
wgvx_rare wgvx_take_rare(wgvx *, uint32_t position);
wgvx_watched wgvx_take_watched(wgvx *, uint32_t position);
/* All of it was taken. */
void wgvx_clear(wgvx *);
/* Bring over what workers left for Python. */
void wgvx_collect(wgvx *);

/* --- what passes, for those who look ------------------------------------------------------------ */

/* The bits of wgvx.dataplane.captured.Capture, and the numbers of its Passed. */
enum { WGVX_CAPTURE_FRAMES = 1, WGVX_CAPTURE_DATAGRAMS = 2 };
enum { WGVX_FRAME_IN, WGVX_FRAME_OUT, WGVX_DATAGRAM_IN, WGVX_DATAGRAM_OUT };

/* `captured` bytes of its `length` follow, and padding to a multiple of 8. */
typedef struct {
    uint64_t at;
    uint32_t length, captured;
    uint32_t port; /* a frame's */
    uint8_t what, tos;
    wgvx_endpoint endpoint; /* a datagram's */
} wgvx_captured;

/* Copy what passes from now on, of each no more than `snaplen` bytes; 0: nothing any more. False
 * without memory. */
bool wgvx_set_capture(wgvx *, uint8_t kinds, uint32_t snaplen);
/* How many bytes there are to take now. */
uint32_t wgvx_captured_bytes(wgvx *);
/* Copies, by thread, as far as there is room for all of a thread's; how many bytes, and how many more
 * packets there were that a thread had no room for. The rest stays. */
uint32_t wgvx_take_captured(wgvx *, uint8_t *out, uint32_t room, uint64_t *lost);

/* --- life -------------------------------------------------------------------------------------- */

/* NULL where there is no memory, or no such AEAD library; NULL takes the best. */
wgvx *wgvx_new(const char *aead);
void wgvx_free(wgvx *); /* stops the workers first */
const char *wgvx_aead(const wgvx *);
/* The names of the AEAD libraries built in, and whether one works here; NULL past the last. */
const char *wgvx_aead_name(uint32_t position);
bool wgvx_aead_works(const char *name);
/* The drop reasons in the order of wgvx.drops.Reason; NULL past the last. */
const char *wgvx_reason_name(uint32_t position);

/* --- first level: buffers ---------------------------------------------------------------------- */

/* Datagrams of one sender and TOS, each of `size` bytes but the last, which may be shorter, as
 * UDP_GRO delivers them. `data` is changed. Returns how many bytes were dealt with: less than
 * `length` where a rare packet has to be dealt with first. */
uint32_t wgvx_receive(wgvx *, uint8_t *data, uint32_t length, uint32_t size,
                      const wgvx_endpoint *, uint8_t tos, uint64_t now);
/* A frame that entered on a port; `header` is a virtio-net header of 10 bytes, or NULL.
 * What is pending refers to `frame`, which stays until that is taken; so it is with
 * wgvx_forward_frame() and wgvx_send_frame(). */
void wgvx_transmit(wgvx *, uint32_t port, const uint8_t *header, const uint8_t *frame,
                   uint32_t length, uint64_t now);
/* What came of a rare packet: a UDP segment for us, put together and parsed down to it. `segment` is changed. */
void wgvx_deliver(wgvx *, const uint8_t *source, const uint8_t *destination, uint8_t address_length,
                  uint8_t ecn, uint8_t *segment, uint32_t length, uint64_t now);
/* What came of a watched frame: it goes on from where it was, where everywhere is these places
 * alone, ports before VTEPs, if `to` is not NULL; false: it was dropped ... */
bool wgvx_forward_frame(wgvx *, uint32_t vni, const wgvx_place *origin, const uint8_t *frame,
                        uint32_t length, uint64_t now, const wgvx_place *to, uint32_t count);
/* ... or a frame goes to some places alone, blocked ports among them. */
void wgvx_send_frame(wgvx *, uint32_t vni, const wgvx_place *places, uint32_t count,
                     const uint8_t *frame, uint32_t length, uint64_t now);
/* ...or a tunnel packet of our own. */
void wgvx_route_out(wgvx *, const uint8_t *packet, uint32_t length, uint64_t now);
uint32_t wgvx_next_identification(wgvx *);
/* Frames joined as for a TAP that takes TSO and USO, for tests. */
uint32_t wgvx_coalesce_pending(wgvx *, uint8_t *out, uint32_t room);

/* --- the node ---------------------------------------------------------------------------------- */

void wgvx_set_public_key(wgvx *, const uint8_t *mac1_key, const uint8_t *cookie_key); /* or NULL */
bool wgvx_set_addresses(wgvx *, const uint8_t (*addresses)[16], const uint8_t *lengths,
                        uint32_t count);
void wgvx_set_mtu(wgvx *, uint32_t mtu);
void wgvx_set_forward(wgvx *, bool forward);
void wgvx_count(wgvx *, uint32_t reason, uint64_t more);
void wgvx_drops(wgvx *, uint64_t *counts); /* one for each reason */
void wgvx_age(wgvx *, uint64_t now);
/* Until then, messages 1 and 2 need a mac2 made with this secret; others get a cookie. */
void wgvx_demand_mac2(wgvx *, const uint8_t *secret, const uint8_t *nonce_key, uint64_t until);

/* --- peers: false where there is none of that number, or no memory ------------------------------ */

bool wgvx_add_peer(wgvx *, uint32_t peer);
void wgvx_remove_peer(wgvx *, uint32_t peer);
void wgvx_set_endpoint(wgvx *, uint32_t peer, const wgvx_endpoint *); /* or NULL */
/* DataPlane.send_probe: 0 or an errno, ENOTCONN without endpoint or session. Where no workers run, the
 * one message left is to be sent by the caller. */
int wgvx_send_probe(wgvx *, uint32_t peer, const uint8_t *packet, uint32_t length, uint64_t now);
void wgvx_give_up_local_address(wgvx *, uint32_t peer, const wgvx_endpoint *);
void wgvx_allow_local_address(wgvx *, uint32_t peer);
bool wgvx_get_endpoint(wgvx *, uint32_t peer, wgvx_endpoint *);
bool wgvx_add_allowed_ip(wgvx *, uint32_t peer, const uint8_t *network, uint8_t address_length,
                         uint8_t length);
bool wgvx_remove_allowed_ip(wgvx *, uint32_t peer, const uint8_t *network, uint8_t address_length,
                            uint8_t length);
void wgvx_clear_allowed_ips(wgvx *, uint32_t peer);
uint32_t wgvx_allowed_ip_count(wgvx *, uint32_t peer);
/* 18 bytes each: address length, prefix length, network. Returns how many were written. */
uint32_t wgvx_allowed_ips(wgvx *, uint32_t peer, uint8_t (*prefixes)[18], uint32_t room);
bool wgvx_route(wgvx *, const uint8_t *address, uint8_t address_length, uint32_t *peer);

typedef struct {
    uint64_t rx_bytes, tx_bytes;
    uint64_t last_tx, last_rx, first_unanswered_tx, first_unanswered_rx;
    bool more_unanswered_rx;
} wgvx_peer_state;
void wgvx_get_peer(wgvx *, uint32_t peer, wgvx_peer_state *);

/* --- sessions ---------------------------------------------------------------------------------- */

bool wgvx_index_peer(wgvx *, uint32_t index, uint32_t *peer);
/* Sender indices of initiations that may yet be answered. */
bool wgvx_open_handshake(wgvx *, uint32_t index);
void wgvx_close_handshake(wgvx *, uint32_t index);
bool wgvx_install(wgvx *, uint32_t peer, uint32_t local_index, uint32_t remote_index,
                  const uint8_t *send_key, const uint8_t *receive_key, bool initiator,
                  uint64_t now);
void wgvx_forget_local_address(wgvx *, uint32_t peer);
void wgvx_received_handshake(wgvx *, uint32_t peer, const wgvx_endpoint *, uint32_t length,
                             uint64_t now);
void wgvx_send_handshake(wgvx *, uint32_t peer, const uint8_t *message, uint32_t length,
                         uint64_t now);
void wgvx_reply(wgvx *, const wgvx_endpoint *, const uint8_t *message, uint32_t length);
bool wgvx_send_staged(wgvx *, uint32_t peer, uint64_t now, bool or_keepalive);
uint32_t wgvx_drop_staged(wgvx *, uint32_t peer);
void wgvx_forget_keys(wgvx *, uint32_t peer);
void wgvx_expire_sending_keys(wgvx *);
void wgvx_disarm(wgvx *, uint32_t peer, uint32_t events);

/* --- networks ---------------------------------------------------------------------------------- */

typedef struct {
    bool learning, sticky;
    uint64_t ageing; /* nanoseconds */
    uint32_t max_entries, move_limit;
    const uint8_t (*accept)[18]; /* prefixes as above; NULL accepts all */
    uint32_t accepted;
    uint32_t limits[3]; /* broadcast, multicast and unknown unicast frames a second; 0: none */
    uint8_t watch;      /* bits of wgvx.vxlan.watch.Watch */
    uint16_t mss[2];    /* the most that a TCP SYN of IPv4, of IPv6 may ask for; 0: no limit */
} wgvx_network_settings;

bool wgvx_add_network(wgvx *, uint32_t vni, uint16_t udp_port, const wgvx_network_settings *);
/* Other settings for one that is there; what was learned stays. */
bool wgvx_set_network(wgvx *, uint32_t vni, const wgvx_network_settings *);
/* Where frames to a group that hosts join go, ports before VTEPs; NULL: everywhere. The family's
 * zero group stands for those of which nothing was said. */
bool wgvx_set_group(wgvx *, uint32_t vni, const uint8_t *mac, const wgvx_place *places,
                    uint32_t count);
void wgvx_set_blocked(wgvx *, uint32_t port, bool blocked);

/* What was learned on a port. */
void wgvx_forget_port(wgvx *, uint32_t port);
bool wgvx_add_port(wgvx *, uint32_t vni, uint32_t port, const uint8_t *mac); /* or NULL */

typedef struct {
    uint64_t rx_frames, tx_frames, fdb_entries, moves;
} wgvx_network_state;
void wgvx_get_network(wgvx *, uint32_t vni, wgvx_network_state *);

/* As fdb_add of fdb.h: 0 added, 1 replaced another VTEP, -1 no memory, -2 a port's own MAC. */
int wgvx_fdb_add(wgvx *, uint32_t vni, const uint8_t *mac, const uint8_t *vtep, uint8_t vtep_length,
                 uint8_t *replaced, uint8_t *replaced_length);
/* vtep_length 0: whichever. */
bool wgvx_fdb_delete(wgvx *, uint32_t vni, const uint8_t *mac, const uint8_t *vtep,
                     uint8_t vtep_length);
uint32_t wgvx_fdb_flush(wgvx *, uint32_t vni, const uint8_t *vtep, uint8_t vtep_length,
                        bool static_too);
typedef struct {
    uint8_t mac[6];
    uint8_t state;       /* 0 dynamic, 1 static, 2 local */
    uint8_t vtep_length; /* 0: on a port */
    uint8_t vtep[16];
    uint32_t port;
    int64_t age_seconds; /* -1: does not age */
} wgvx_row;
/* The flood list. Returns how many VTEPs there are; writes at most `room` of them. */
uint32_t wgvx_fdb_flood(wgvx *, uint32_t vni, wgvx_place *vteps, uint32_t room);
/* Returns how many rows there are; writes at most `room` of them. */
uint32_t wgvx_fdb_rows(wgvx *, uint32_t vni, uint64_t now, wgvx_row *rows, uint32_t room);
/* As fdb_moves of fdb.h, of which there are 128 at most. */
typedef struct {
    uint8_t mac[6];
    uint8_t from_length, to_length; /* of the VTEP; 0: on a port */
    uint8_t from_vtep[16], to_vtep[16];
    uint32_t from_port, to_port;
    uint64_t at, times, held_until, window;
    uint32_t recent;
} wgvx_move;
uint32_t wgvx_fdb_moves(wgvx *, uint32_t vni, wgvx_move *moves, uint32_t room);

/* --- second level: workers, fused with IO -------------------------------------------------------- */

/* What worker number `worker` (from 1) reads. Descriptors stay the caller's. A socket may be set
 * again, to another descriptor or -1 for none, at any time. */
bool wgvx_set_socket(wgvx *, uint32_t worker, uint8_t address_length, int fd);
/* How frames stand in a port's descriptor: each a message behind a virtio-net header of 10 bytes, or
 * by itself; or in a stream of bytes, each behind its length. */
enum { WGVX_VNET, WGVX_BARE, WGVX_STREAM };
/* A descriptor of a port, for this worker; one may serve several. At any time, but only one set of
 * them: whatever was there is unset first. `tso`, `uso`: a TAP that takes such frames. */
bool wgvx_set_port(wgvx *, uint32_t worker, uint32_t port, int fd, int framing, bool tso, bool uso);
/* No worker reads the port or writes to it any more. */
void wgvx_unset_port(wgvx *, uint32_t port);
/* A port whose descriptor turned out to be of no use, each once, and the errno that told. */
bool wgvx_take_gone_port(wgvx *, uint32_t *port, int *code);
/* The most datagrams one UDP_SEGMENT send takes; 1: it is not used. */
void wgvx_set_gso(wgvx *, uint32_t segments);
/* Room in a worker's lists is bounded from here on. False where threads cannot be had. */
bool wgvx_start(wgvx *, uint32_t workers);
void wgvx_stop(wgvx *);
/* Readable while there is something to take in a worker's lane. Reading it is the caller's. */
int wgvx_notify_fd(const wgvx *);

/* UDP_SEGMENT is used: not switched off, nor refused by the system. */
bool wgvx_gso_works(wgvx *);

#endif
