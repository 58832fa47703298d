/* Where lwIP asks us. Included by its sources. */
#ifndef WGVX_STACK_HOOKS_H
#define WGVX_STACK_HOOKS_H

#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"

/* Initial sequence numbers that nobody can foretell. */
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) stack_random()

/* The next hop of an IPv6 destination: itself where it is on the link, else the gateway. */
#define LWIP_HOOK_ND6_GET_GW(netif, destination) stack_next_hop6(netif, destination)
const ip6_addr_t *stack_next_hop6(struct netif *, const ip6_addr_t *destination);

/* 1: eaten. Routers have no say in a configuration that is static. */
#define LWIP_HOOK_IP6_INPUT(packet, netif) stack_refuse6(packet)
int stack_refuse6(struct pbuf *);

#endif
