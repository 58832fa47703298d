/* Where lwIP asks us. Included by its sources. */
#ifndef WGVX_STACK_HOOKS_H
#define WGVX_STACK_HOOKS_H

#include <stdint.h>

#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"

/* Initial sequence numbers that nobody can foretell. */
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) stack_random()

/* The next hop of an IPv6 destination: itself where it is on the link, else the gateway. */
#define LWIP_HOOK_ND6_GET_GW(netif, destination) stack_next_hop6(netif, destination)
const ip6_addr_t *stack_next_hop6(struct netif *, const ip6_addr_t *destination);

/* 1: eaten. lwIP does not see that what it puts together becomes too large for it. */
#define LWIP_HOOK_IP6_INPUT(packet, netif) stack_refuse_fragment6(packet)
int stack_refuse_fragment6(struct pbuf *);

/* Each segment that comes for a connection or a listener, before lwIP acts on it. */
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, length, contiguous, rest, packet)                  \
    stack_look_at_segment(pcb, header, length, contiguous)
struct tcp_pcb;
struct tcp_hdr;
int stack_look_at_segment(struct tcp_pcb *, const struct tcp_hdr *, uint16_t length,
                          uint16_t contiguous);

/* How many segments of one connection may wait for those before them. */
uint16_t stack_out_of_order_room(void);

#endif
