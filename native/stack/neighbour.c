/* Who on the link answers, and who is not listened to. */
#include "hooks.h"
#include "inside.h"
#include "lwip/etharp.h"
#include "lwip/priv/nd6_priv.h"

static bool answers4(struct stack *stack, const ip4_addr_t *destination)
{
    struct netif *netif = &stack->netif;
    if (!ip4_addr_netcmp(destination, netif_ip4_addr(netif), netif_ip4_netmask(netif)))
        destination = netif_ip4_gw(netif);
    struct eth_addr *mac;
    const ip4_addr_t *found;
    return etharp_find_addr(netif, destination, &mac, &found) >= 0;
}

static bool answers6(struct stack *stack, const ip6_addr_t *destination)
{
    if (!ip6_addr_islinklocal(destination))
        destination = stack_next_hop6(&stack->netif, destination);
    for (int i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++)
        if (neighbor_cache[i].state > ND6_INCOMPLETE &&
            ip6_addr_cmp_zoneless(&neighbor_cache[i].next_hop_address, destination))
            return true;
    return false;
}

bool stack_answers(struct stack *stack, const stack_address *address)
{
    ENTER(stack, false);
    ip_addr_t ip;
    bool answers = stack_address_to_lwip(address, &ip) && address->length &&
                   (IP_IS_V6(&ip) ? answers6(stack, ip_2_ip6(&ip)) : answers4(stack, ip_2_ip4(&ip)));
    stack->trapped = false;
    return answers;
}

/* The linker has nd6_input() called so, and what calls it call the one below: whatever headers or
 * fragments a message came in, here is what it is. Routers have no say in a configuration that is
 * static. */
void __real_nd6_input(struct pbuf *, struct netif *);

void __wrap_nd6_input(struct pbuf *message, struct netif *netif)
{
    const struct icmp6_hdr *header = message->payload;
    bool router = header->type == ICMP6_TYPE_RA || header->type == ICMP6_TYPE_RD;
    /* RFC 8201, 4: never less than any link takes. lwIP believes all, and would cut to pieces of 0. */
    uint32_t mtu = header->type == ICMP6_TYPE_PTB ? lwip_ntohl(header->data) : IP6_MIN_MTU_LENGTH;
    bool absurd = mtu < IP6_MIN_MTU_LENGTH || mtu > netif->mtu;
    if (!router && !absurd) {
        __real_nd6_input(message, netif);
        return;
    }
    if (router)
        the_stack->counts.router_messages++;
    else
        the_stack->counts.mtu_refused++;
    pbuf_free(message);
}
