/* Frames for a TAP joined into the large ones that its kernel takes in one write (receive
 * coalescing): neighbours of one TCP or UDP flow, so that their order is kept. Cut again as the
 * kernel cuts them, they are what they were, byte for byte.
 */
#ifndef WGVX_COALESCE_H
#define WGVX_COALESCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "segment.h"

/* A frame to be written. `data` may be changed in its first 128 bytes and must stay until it is
 * out. */
struct frame {
    uint8_t *data;
    uint32_t length;
    /* Where a candidate has its IP and its TCP or UDP header; l4 0: it goes alone. The one who
     * fills this in has verified: IPv4 without options or fragmentation, IPv6 without extension
     * headers, its whole length there and no trailer behind it, the IPv4 header checksum and the
     * checksum over L4 right. */
    uint16_t l3, l4;
    struct vnet_header header; /* of a frame that goes alone; all zero in most */
};

#define COALESCE_MAX_FRAMES 128

/* A large frame in the making. */
struct coalesced {
    struct vnet_header header;
    uint32_t frames;      /* how many are in it; 0: none */
    uint32_t length;      /* bytes, without the virtio-net header */
    bool closed;          /* takes no more: the last one was shorter, or pushed */
    /* The rest is for coalesce.c alone. */
    struct frame first;
    uint16_t payload;     /* of every frame but the last */
    uint16_t head;        /* bytes of headers */
    uint32_t next_seq;
    uint16_t next_id;
    uint8_t last_flags;
    /* The virtio-net header, the first frame, payloads. */
    struct iovec parts[2 + COALESCE_MAX_FRAMES];
    bool tcp;
};

/* Begin with a frame, whatever it is. */
void coalesce_begin(struct coalesced *, const struct frame *);

/* Add one; false where it does not fit to what is there: write that first, then begin anew.
 * tcp, udp: which of them may be joined at all. max_frames of 2..COALESCE_MAX_FRAMES. */
bool coalesce_add(struct coalesced *, const struct frame *, bool tcp, bool udp,
                  unsigned max_frames);

/* What to give writev: the virtio-net header (10 bytes) first. Returns how many parts.
 * They point into `struct coalesced` too: it stays where it is until they are out. */
int coalesce_finish(struct coalesced *);

#endif
