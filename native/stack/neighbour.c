/* Who on the link answers. */
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
