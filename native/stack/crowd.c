/* Who gives way where there is no room.
 *
 * What anybody on the overlay can have us keep is bounded, and shared out by source address: of those
 * who have most, the one that has been silent for longest goes. A source that stays small is let in.
 */
#include <string.h>

#include "connection.h"

#define MAX_TIME_WAIT 1024
#define MAX_ORPHANS 256 /* that lwIP still sends a last segment of */
/* Connections of sources that have no more than the newcomer's are safe for so long. */
#define SILENT_MS 10000

/* Two addresses seldom share a place, and nobody can foretell which. */
uint16_t crowd_source(const struct stack *stack, const ip_addr_t *address)
{
    stack_address packed;
    stack_address_from_lwip(address, 0, &packed);
    uint64_t hash = stack->source_key;
    for (unsigned i = 0; i < sizeof packed.ip; i++)
        hash = (hash ^ packed.ip[i]) * (stack->source_key | 1), hash ^= hash >> 29;
    return (uint16_t)(hash % SOURCES);
}

bool crowd_admits(struct stack *stack, const ip_addr_t *from)
{
    uint16_t source = crowd_source(stack, from);
    uint32_t own = stack->sources[source], most = LWIP_MAX(stack->max_incoming / 4, 1);
    if (own < most && stack->incoming < stack->max_incoming &&
        stack->connection_count < stack->max_connections)
        return true;
    struct connection *victim = NULL;
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *one = stack->connections[i];
        if (!one || !one->incoming || (own >= most && one->source != source))
            continue;
        uint16_t weight = stack->sources[one->source];
        uint16_t heaviest = victim ? stack->sources[victim->source] : 0;
        if (weight > heaviest || (weight == heaviest && one->active_at < victim->active_at))
            victim = one;
    }
    if (!victim || (stack->sources[victim->source] <= own + 1 &&
                    stack_now() - victim->active_at < SILENT_MS)) {
        stack->counts.connections_refused++;
        return false;
    }
    stack->counts.connections_gave_way++;
    connection_end(stack, victim, true);
    return true;
}

void crowd_relieve(struct stack *stack)
{
    struct connection *victim = NULL;
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *one = stack->connections[i];
        if (one && !one->was_reset && (!victim || one->held > victim->held))
            victim = one;
    }
    if (!victim)
        return;
    stack->counts.memory_full++;
    victim->was_reset = true;
    victim->doomed = victim->held;
    stack->doomed += victim->doomed;
    connection_mark(victim);
}

/* --- what lwIP keeps of connections that are no more ------------------------------------------- */

void crowd_trim(struct stack *stack)
{
    unsigned waiting = 0, orphans = 0;
    struct tcp_pcb *next;
    for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb; pcb = next) { /* the last one to come is first */
        next = pcb->next;
        if (++waiting > MAX_TIME_WAIT) {
            tcp_abort(pcb);
            stack->counts.time_wait_full++;
        }
    }
    struct tcp_pcb *last = NULL;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) { /* the last one heard first */
        if (!pcb->callback_arg && ++orphans)
            last = pcb;
    }
    if (orphans > MAX_ORPHANS) { /* one for each that is made: they do not grow */
        tcp_abort(last);
        stack->counts.orphans_full++;
    }
}

void crowd_clear(void)
{
    while (tcp_active_pcbs)
        tcp_abort(tcp_active_pcbs);
    while (tcp_tw_pcbs)
        tcp_abort(tcp_tw_pcbs);
}

void crowd_trim_handshakes(struct stack *stack, const struct tcp_pcb_listen *listener)
{
    if (listener->accepts_pending < listener->backlog)
        return;
    uint16_t weights[SOURCES] = {0}, heaviest = 0;
    struct tcp_pcb *victim = NULL;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        if (pcb->state == SYN_RCVD && pcb->listener == listener)
            weights[crowd_source(stack, &pcb->remote_ip)]++;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
        if (pcb->state != SYN_RCVD || pcb->listener != listener)
            continue;
        uint16_t weight = weights[crowd_source(stack, &pcb->remote_ip)];
        if (weight >= heaviest) { /* the oldest one is last */
            heaviest = weight;
            victim = pcb;
        }
    }
    if (!victim)
        return;
    stack->counts.handshakes_full++;
    tcp_abandon(victim, 0); /* no reset: its address may be anybody's */
}
