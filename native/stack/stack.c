/* The stack as a whole: its interface, addresses, timers and turns. */
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/mld6.h"
#include "lwip/prot/ip6.h"
#include "lwip/timeouts.h"

#define SWEEP_MS 10000
#define FAR (UINT32_C(1) << 30) /* more than any window */
#define UNFRAGMENTED 256 /* bytes of headers between that of IPv6 and that of a fragment */
#define OUT_OF_ORDER 512
#define OUT_OF_ORDER_TOTAL 65536
#define EVENTS_AT_ONCE 64

struct stack *the_stack;
static bool initialised; /* lwip_init() is for once in a process */

void stack_assert_failed(const char *message)
{
    struct stack *stack = the_stack;
    if (!stack || !stack->trapped)
        abort();
    stack->failure = message;
    stack->trapped = false;
    longjmp(stack->trap, 1);
}

uint64_t stack_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint32_t stack_new_id(struct stack *stack, uint32_t slot, uint32_t slots)
{
    stack->generation = stack->generation % (UINT32_MAX / slots - 1) + 1;
    return stack->generation * slots + slot;
}

u32_t sys_now(void)
{
    return (u32_t)stack_now();
}

/* --- addresses --------------------------------------------------------------------------------- */

bool stack_address_to_lwip(const stack_address *from, ip_addr_t *to)
{
    memset(to, 0, sizeof *to);
    switch (from->length) {
    case 0:
        IP_SET_TYPE(to, IPADDR_TYPE_ANY);
        return true;
    case 4:
        IP_SET_TYPE(to, IPADDR_TYPE_V4);
        memcpy(&ip_2_ip4(to)->addr, from->ip, 4);
        return true;
    case 16:
        IP_SET_TYPE(to, IPADDR_TYPE_V6);
        memcpy(ip_2_ip6(to)->addr, from->ip, 16);
        return true;
    default:
        return false;
    }
}

void stack_address_from_lwip(const ip_addr_t *from, uint16_t port, stack_address *to)
{
    memset(to, 0, sizeof *to);
    to->port = port;
    to->length = IP_IS_V6(from) ? 16 : 4;
    if (IP_IS_V6(from))
        memcpy(to->ip, ip_2_ip6(from)->addr, 16);
    else
        memcpy(to->ip, &ip_2_ip4(from)->addr, 4);
}

bool stack_add_address(struct stack *stack, const stack_address *address, uint8_t prefix)
{
    ENTER(stack, false);
    ip_addr_t ip;
    if (!stack_address_to_lwip(address, &ip))
        return false;
    if (IP_IS_V4(&ip)) {
        ip4_addr_t mask;
        if (stack->addresses4++)
            return false; /* lwIP's interfaces have one */
        ip4_addr_set_u32(&mask, lwip_htonl(prefix ? UINT32_MAX << (32 - prefix) : 0));
        netif_set_addr(&stack->netif, ip_2_ip4(&ip), &mask, netif_ip4_gw(&stack->netif));
        return true;
    }
    s8_t slot = (s8_t)(stack->addresses6 + 1); /* after the link-local one */
    if (slot >= LWIP_IPV6_NUM_ADDRESSES)
        return false;
    stack->prefixes[stack->addresses6++] = (struct prefix6){*ip_2_ip6(&ip), prefix};
    netif_ip6_addr_set(&stack->netif, slot, ip_2_ip6(&ip));
    netif_ip6_addr_set_valid_life(&stack->netif, slot, IP6_ADDR_LIFE_INFINITE);
    netif_ip6_addr_set_pref_life(&stack->netif, slot, IP6_ADDR_LIFE_INFINITE);
    netif_ip6_addr_set_state(&stack->netif, slot, IP6_ADDR_PREFERRED);
    return true;
}

void stack_set_gateway(struct stack *stack, const stack_address *address)
{
    ENTER(stack, );
    ip_addr_t ip;
    if (!stack_address_to_lwip(address, &ip))
        return;
    if (IP_IS_V4(&ip)) {
        netif_set_gw(&stack->netif, ip_2_ip4(&ip));
    } else {
        stack->gateway6 = *ip_2_ip6(&ip);
        stack->has_gateway6 = true;
    }
}

static bool within(const ip6_addr_t *address, const struct prefix6 *prefix)
{
    const uint8_t *a = (const uint8_t *)address->addr, *p = (const uint8_t *)prefix->address.addr;
    unsigned whole = prefix->length / 8, rest = prefix->length % 8;
    return !memcmp(a, p, whole) && (!rest || !((a[whole] ^ p[whole]) >> (8 - rest)));
}

const ip6_addr_t *stack_next_hop6(struct netif *netif, const ip6_addr_t *destination)
{
    const struct stack *stack = netif->state;
    for (int i = 0; i < stack->addresses6; i++)
        if (within(destination, &stack->prefixes[i]))
            return destination;
    return stack->has_gateway6 ? &stack->gateway6 : destination;
}

/* --- life -------------------------------------------------------------------------------------- */

static err_t set_up(struct netif *netif)
{
    const struct stack *stack = netif->state;
    netif->name[0] = 'w';
    netif->name[1] = 'g';
    netif->hwaddr_len = 6;
    memcpy(netif->hwaddr, stack->mac, 6);
    netif->mtu = stack->mtu;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = frames_put;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_MLD6;
    return ERR_OK;
}

struct stack *stack_open(int frames, const uint8_t *mac, uint16_t mtu, uint32_t connections)
{
    if (the_stack)
        return NULL;
    struct stack *stack = calloc(1, sizeof *stack);
    if (!stack)
        return NULL;
    the_stack = stack;
    stack->timer_at = UINT64_MAX;
    stack->marked_end = &stack->marked;
    memcpy(stack->mac, mac, 6);
    stack->mtu = mtu;
    stack->max_connections = LWIP_MIN(connections, MAX_CONNECTIONS);
    stack->max_incoming = LWIP_MAX(stack->max_connections / 2, 1);
    stack->source_key = (uint64_t)stack_random() << 32 | stack_random();
    stack->epoll = epoll_create1(EPOLL_CLOEXEC);
    stack->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ABOUT_TIMER};
    if (stack->epoll < 0 || stack->timer < 0 ||
        epoll_ctl(stack->epoll, EPOLL_CTL_ADD, stack->timer, &event) ||
        !frames_open(stack, frames)) {
        stack_close(stack);
        return NULL;
    }
    if (!initialised)
        lwip_init();
    initialised = stack->ready = true;
    netif_add_noaddr(&stack->netif, stack, set_up, netif_input);
    netif_set_default(&stack->netif);
    sys_timeout(SWEEP_MS, connections_sweep, stack);
    return stack;
}

void stack_start(struct stack *stack)
{
    ENTER(stack, );
    netif_create_ip6_linklocal_address(&stack->netif, 1);
    netif_set_link_up(&stack->netif);
    netif_set_up(&stack->netif);
    stack_settle(stack);
}

static void take_down(struct stack *stack)
{
    ENTER(stack, );
    connections_close(stack);
    listeners_close(stack);
    udp_sockets_close(stack);
    crowd_clear();
    frames_flush(stack);
    sys_untimeout(connections_sweep, stack);
    netif_remove(&stack->netif);
    stack->trapped = false;
}

void stack_close(struct stack *stack)
{
    if (stack->ready)
        take_down(stack);
    frames_close(stack);
    if (stack->epoll >= 0)
        close(stack->epoll);
    if (stack->timer >= 0)
        close(stack->timer);
    if (stack->failure)
        return; /* What lwIP still knows of it is never used again, and neither is lwIP. */
    the_stack = NULL;
    free(stack);
}

const char *stack_failure(const struct stack *stack)
{
    return stack->failure;
}

void stack_count(const struct stack *stack, stack_counts *counts)
{
    *counts = stack->counts;
}

int stack_descriptor(const struct stack *stack)
{
    return stack->epoll;
}

/* --- where lwIP asks ---------------------------------------------------------------------------- */

static bool far_apart(uint32_t one, uint32_t other)
{
    return one - other + FAR > 2 * FAR;
}

int stack_look_at_segment(struct tcp_pcb *pcb, const struct tcp_hdr *header, uint16_t length,
                          uint16_t contiguous)
{
    if (pcb->state == LISTEN) {
        if (TCPH_FLAGS(header) & TCP_SYN)
            crowd_trim_handshakes(the_stack, (const struct tcp_pcb_listen *)pcb);
        return ERR_OK;
    }
    /* lwIP compares numbers that are half of all apart, takes the one for within reach of the other,
     * and an assertion fails. RFC 9293, 3.10.7.4: no segment may be so far from what is awaited. */
    bool is_far = pcb->state != SYN_SENT && far_apart(header->seqno, pcb->rcv_nxt);
    if (pcb->state >= ESTABLISHED && TCPH_FLAGS(header) & TCP_ACK)
        is_far |= far_apart(header->ackno, pcb->snd_nxt);
    if (is_far) {
        the_stack->counts.segments_refused++;
        return ERR_VAL;
    }
    struct connection *connection = pcb->state == TIME_WAIT ? NULL : connection_of(pcb);
    if (connection && length && length == contiguous)
        recovery_note(connection, (const uint8_t *)(header + 1), length);
    return ERR_OK;
}

int stack_refuse_fragment6(struct pbuf *packet)
{
    const uint8_t *bytes = packet->payload;
    uint32_t at = IP6_HLEN, end = LWIP_MIN(packet->len, IP6_HLEN + (bytes[4] << 8 | bytes[5]));
    uint8_t header = bytes[6];
    while (end - at >= IP6_FRAG_HLEN && (header == IP6_NEXTH_HOPBYHOP || header == IP6_NEXTH_ROUTING ||
                                         header == IP6_NEXTH_DESTOPTS)) {
        header = bytes[at];
        at = LWIP_MIN(at + 8 * (1u + bytes[at + 1]), end);
    }
    if (header != IP6_NEXTH_FRAGMENT || end - at < IP6_FRAG_HLEN)
        return 0; /* none, or lwIP sees that it is not all there */
    uint32_t offset = (bytes[at + 2] << 8 | bytes[at + 3]) & IP6_FRAG_OFFSET_MASK;
    if (at <= IP6_HLEN + UNFRAGMENTED && offset + (end - at) <= UINT16_MAX - IP6_HLEN - UNFRAGMENTED)
        return 0;
    the_stack->counts.fragments_refused++;
    pbuf_free(packet);
    return 1;
}

uint16_t stack_out_of_order_room(void)
{
    uint32_t shares = LWIP_MAX(the_stack->connection_count, 1);
    return (uint16_t)LWIP_MIN(OUT_OF_ORDER, LWIP_MAX(OUT_OF_ORDER_TOTAL / shares, 16));
}

/* --- turns ------------------------------------------------------------------------------------- */

static void arm(struct stack *stack)
{
    uint64_t at = UINT64_MAX, now = stack_now();
    uint32_t sleep = sys_timeouts_sleeptime();
    if (stack->more)
        at = 0;
    else if (sleep != UINT32_MAX)
        at = now + sleep;
    if (at == stack->timer_at)
        return;
    stack->timer_at = at;
    struct itimerspec when = {0};
    if (at != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(at / 1000);
        when.it_value.tv_nsec = (long)(at % 1000) * 1000000 + 1; /* 0 would disarm it */
    }
    timerfd_settime(stack->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void stack_settle(struct stack *stack)
{
    frames_flush(stack);
    arm(stack);
    stack->trapped = false;
}

static void timer_ready(struct stack *stack)
{
    uint64_t times;
    if (read(stack->timer, &times, sizeof times) > 0)
        stack->timer_at = UINT64_MAX;
}

void stack_serve(struct stack *stack)
{
    ENTER(stack, );
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(stack->epoll, events, EVENTS_AT_ONCE, 0);
    stack->more = false;
    stack->turn_bytes = 0;
    for (int i = 0; i < count; i++) {
        uint64_t about = events[i].data.u64;
        if (about == ABOUT_FRAMES)
            frames_ready(stack, events[i].events);
        else if (about == ABOUT_TIMER)
            timer_ready(stack);
        else
            connections_ready(stack, (uint32_t)about, events[i].events);
    }
    sys_check_timeouts();
    connections_pump(stack);
    stack_settle(stack);
}

bool stack_take_event(struct stack *stack, stack_event *event)
{
    ENTER(stack, false);
    memset(event, 0, sizeof *event);
    bool found = connections_take_event(stack, event) || udp_sockets_take_event(stack, event);
    stack->trapped = false;
    return found;
}
