/* What a TAP hands over, cut into the frames that travel: TCP and UDP segmentation (v4, v6) and
 * checksum completion, as the kernel's own software segmentation would do it, byte for byte.
 */
#ifndef WGVX_SEGMENT_H
#define WGVX_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* struct virtio_net_hdr of linux/virtio_net.h, little-endian hosts and native-endian TAPs. */
struct vnet_header {
    uint8_t flags;    /* 1: NEEDS_CSUM */
    uint8_t gso_type; /* 0 none, 1 TCPv4, 4 TCPv6, 5 UDP_L4; 0x80 is added for ECN */
    uint16_t hdr_len; /* not to be trusted */
    uint16_t gso_size;
    uint16_t csum_start; /* from the beginning of the frame */
    uint16_t csum_offset;
};

#define VNET_HEADER_LENGTH 10

enum {
    VNET_NEEDS_CSUM = 1,
    VNET_TCPV4 = 1,
    VNET_TCPV6 = 4,
    VNET_UDP_L4 = 5,
    VNET_ECN = 0x80,
    /* Where a checksum is, from csum_start. */
    VNET_TCP_CHECK = 16,
    VNET_UDP_CHECK = 6,
};

/* A frame being cut. Opaque but for count and most. */
struct segments {
    const uint8_t *frame;
    uint32_t length;
    uint32_t count;        /* how many frames it makes, at least 1 */
    uint32_t most;         /* how many of them are wanted: all, unless it is changed */
    uint32_t next;         /* the number of the next one */
    uint16_t gso_size;     /* payload bytes of every frame but the last; 0: the frame is whole */
    uint8_t gso_type;
    uint16_t l3, l4;       /* offsets of the IP and the TCP or UDP header */
    uint16_t head;         /* bytes of headers that every frame begins with */
    uint16_t csum_start, csum_offset; /* of a whole frame to complete; csum_start 0: nothing is */
    /* Private: sums of what all frames have in common. */
    uint64_t l2_sum;       /* all before the IP header */
    uint64_t ip_sum;       /* of the IP header, less lengths, the IPv4 ID and checksum */
    uint64_t pseudo_sum;   /* of the pseudo-header, less the length */
    uint64_t l4_sum;       /* of the TCP or UDP header, less all that differs */
};

/* False where the header contradicts the frame: such a frame is dropped. VLAN tags, IPv4 options
 * and IPv6 extension headers before TCP or UDP are all right. The frame stays where it is until it
 * has been cut. */
bool segments_begin(struct segments *, const struct vnet_header *, const uint8_t *frame,
                    size_t length);

/* The length of the next frame, while next < count. */
size_t segments_length(const struct segments *);

/* Writes the next frame, its checksums complete, and returns the sum of all its bytes. */
uint64_t segments_next(struct segments *, uint8_t *to);

#endif
