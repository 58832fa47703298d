/* UDP sockets; their datagrams pass through Python. */
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define WAITING 64
#define PORT_TRIES 32

struct datagram {
    struct pbuf *data;
    stack_address from;
};

struct udp_socket {
    uint32_t id;
    struct udp_pcb *pcb;
    uint32_t first, count;
    bool told;
    struct datagram waiting[WAITING];
};

static struct udp_socket *find(struct stack *stack, uint32_t id)
{
    struct udp_socket *udp = stack->udp[id % MAX_UDP];
    return udp && udp->id == id ? udp : NULL;
}

static void on_received(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                        const ip_addr_t *from, u16_t port)
{
    struct udp_socket *udp = argument;
    (void)pcb;
    if (udp->count == WAITING) {
        pbuf_free(data); /* as a full socket buffer would */
        the_stack->counts.datagrams_full++;
        return;
    }
    struct datagram *datagram = &udp->waiting[(udp->first + udp->count++) % WAITING];
    datagram->data = data;
    stack_address_from_lwip(from, port, &datagram->from);
}

uint32_t stack_udp_open(struct stack *stack)
{
    ENTER(stack, 0);
    uint32_t slot = 0;
    while (slot < MAX_UDP && stack->udp[slot])
        slot++;
    if (slot == MAX_UDP)
        return 0;
    struct udp_socket *udp = calloc(1, sizeof *udp);
    if (!udp)
        return 0;
    udp->pcb = udp_new_ip_type(IPADDR_TYPE_ANY);
    err_t error = udp->pcb ? ERR_USE : ERR_MEM;
    for (int i = 0; i < PORT_TRIES && error == ERR_USE; i++)
        error = udp_bind(udp->pcb, IP_ANY_TYPE, stack_random_port());
    if (error != ERR_OK) {
        if (udp->pcb)
            udp_remove(udp->pcb);
        free(udp);
        return 0;
    }
    udp_recv(udp->pcb, on_received, udp);
    udp->id = stack_new_id(stack, slot, MAX_UDP);
    stack->udp[slot] = udp;
    stack_settle(stack);
    return udp->id;
}

static void end(struct stack *stack, struct udp_socket *udp)
{
    udp_remove(udp->pcb);
    for (; udp->count; udp->count--)
        pbuf_free(udp->waiting[udp->first++ % WAITING].data);
    stack->udp[udp->id % MAX_UDP] = NULL;
    free(udp);
}

void stack_udp_close(struct stack *stack, uint32_t id)
{
    ENTER(stack, );
    struct udp_socket *udp = find(stack, id);
    if (udp)
        end(stack, udp);
    stack_settle(stack);
}

void udp_sockets_close(struct stack *stack)
{
    for (uint32_t i = 0; i < MAX_UDP; i++)
        if (stack->udp[i])
            end(stack, stack->udp[i]);
}

bool stack_udp_send(struct stack *stack, uint32_t id, const stack_address *to, const uint8_t *data,
                    uint32_t length)
{
    ENTER(stack, false);
    struct udp_socket *udp = find(stack, id);
    ip_addr_t ip;
    if (!udp || !to->length || length > UINT16_MAX - 8 || !stack_address_to_lwip(to, &ip))
        return false;
    struct pbuf *packet = pbuf_alloc(PBUF_TRANSPORT, (u16_t)length, PBUF_RAM);
    if (!packet)
        return false;
    memcpy(packet->payload, data, length);
    err_t error = udp_sendto(udp->pcb, packet, &ip, to->port);
    pbuf_free(packet);
    stack_settle(stack);
    return error == ERR_OK;
}

int stack_udp_take(struct stack *stack, uint32_t id, stack_address *from, uint8_t *data, uint32_t room)
{
    ENTER(stack, -1);
    struct udp_socket *udp = find(stack, id);
    int length = -1;
    if (udp && udp->count) {
        struct datagram *datagram = &udp->waiting[udp->first++ % WAITING];
        udp->count--;
        *from = datagram->from;
        length = datagram->data->tot_len;
        pbuf_copy_partial(datagram->data, data, (u16_t)LWIP_MIN(room, UINT16_MAX), 0);
        pbuf_free(datagram->data);
    }
    if (udp && !udp->count)
        udp->told = false;
    stack->trapped = false;
    return length;
}

bool udp_sockets_take_event(struct stack *stack, stack_event *event)
{
    for (uint32_t i = 0; i < MAX_UDP; i++) {
        struct udp_socket *udp = stack->udp[i];
        if (!udp || !udp->count || udp->told)
            continue;
        udp->told = true;
        *event = (stack_event){.what = STACK_RECEIVED, .id = udp->id};
        return true;
    }
    return false;
}
