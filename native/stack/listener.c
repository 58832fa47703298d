/* Ports of the stack that connections may come to. */
#include <stdlib.h>

#include "inside.h"

#define BACKLOG 128 /* handshakes under way at a time */

struct listener {
    uint32_t id;
    struct tcp_pcb *pcb;
};

static err_t on_accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    const struct listener *listener = argument;
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    return connection_accepted(the_stack, pcb, listener->id) ? ERR_OK : ERR_MEM;
}

static struct tcp_pcb *listening(const ip_addr_t *ip, uint16_t port)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(IP_GET_TYPE(ip));
    if (!pcb)
        return NULL;
    struct tcp_pcb *made = NULL;
    ip_set_option(pcb, SOF_REUSEADDR);
    if (tcp_bind(pcb, ip, port) == ERR_OK)
        made = tcp_listen_with_backlog(pcb, BACKLOG);
    if (!made)
        tcp_close(pcb);
    return made;
}

uint32_t stack_listen(struct stack *stack, const stack_address *address)
{
    ENTER(stack, 0);
    uint32_t slot = 0;
    while (slot < MAX_LISTENERS && stack->listeners[slot])
        slot++;
    ip_addr_t ip;
    if (slot == MAX_LISTENERS || !stack_address_to_lwip(address, &ip))
        return 0;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return 0;
    listener->pcb = listening(&ip, address->port);
    if (!listener->pcb) {
        free(listener);
        return 0;
    }
    listener->id = stack_new_id(stack, slot, MAX_LISTENERS);
    tcp_arg(listener->pcb, listener);
    tcp_accept(listener->pcb, on_accepted);
    stack->listeners[slot] = listener;
    stack_settle(stack);
    return listener->id;
}

static void end(struct stack *stack, uint32_t slot)
{
    tcp_close(stack->listeners[slot]->pcb);
    free(stack->listeners[slot]);
    stack->listeners[slot] = NULL;
}

void stack_unlisten(struct stack *stack, uint32_t id)
{
    ENTER(stack, );
    uint32_t slot = id % MAX_LISTENERS;
    if (stack->listeners[slot] && stack->listeners[slot]->id == id)
        end(stack, slot);
    stack_settle(stack);
}

void listeners_close(struct stack *stack)
{
    for (uint32_t i = 0; i < MAX_LISTENERS; i++)
        if (stack->listeners[i])
            end(stack, i);
}
