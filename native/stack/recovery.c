/* Losses on the way out. lwIP by itself sends the first lost segment again after three duplicate ACKs,
 * then takes the next ACK for the end of it, and knows no selective acknowledgements: whatever else was
 * lost waits for a time-out. Here recovery goes on until all that was in flight is acknowledged: RFC 6675
 * with what the far end says it has (RFC 2018), RFC 6582 where it does not say.
 */
#include <string.h>

#include "connection.h"

#define DUPLICATES 3
#define SACK 5
#define AT_ONCE 8 /* segments sent again in a turn */

static uint32_t get32(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return lwip_ntohl(word);
}

static void add(struct recovery *recovery, uint32_t left, uint32_t right)
{
    uint32_t first = 0;
    while (first < recovery->count && TCP_SEQ_LT(recovery->sacked[first].right, left))
        first++;
    uint32_t end = first;
    for (; end < recovery->count && TCP_SEQ_LEQ(recovery->sacked[end].left, right); end++) {
        if (TCP_SEQ_LT(recovery->sacked[end].left, left))
            left = recovery->sacked[end].left;
        if (TCP_SEQ_GT(recovery->sacked[end].right, right))
            right = recovery->sacked[end].right;
    }
    if (first == end && recovery->count == SACK_RANGES)
        return; /* what is not known is sent once more than it had to be */
    memmove(&recovery->sacked[first + 1], &recovery->sacked[end],
            (recovery->count - end) * sizeof recovery->sacked[0]);
    recovery->count = recovery->count - (end - first) + 1;
    recovery->sacked[first].left = left;
    recovery->sacked[first].right = right;
}

void recovery_note(struct connection *connection, const uint8_t *options, size_t length)
{
    const struct tcp_pcb *pcb = connection->pcb;
    for (size_t at = 0; at < length && options[at];) {
        if (options[at] == 1) {
            at++;
            continue;
        }
        if (length - at < 2 || options[at + 1] < 2 || options[at + 1] > length - at)
            return;
        for (size_t block = at + 2; options[at] == SACK && block + 8 <= at + options[at + 1]; block += 8) {
            uint32_t left = get32(options + block), right = get32(options + block + 4);
            if (TCP_SEQ_LT(left, right) && TCP_SEQ_GT(left, pcb->lastack) &&
                TCP_SEQ_LEQ(right, pcb->snd_nxt))
                add(&connection->recovery, left, right);
            connection_mark(connection);
        }
        at += options[at + 1];
    }
}

/* How many bytes beyond the acknowledged ones have arrived. */
static uint32_t prune(struct recovery *recovery, uint32_t acknowledged)
{
    uint32_t gone = 0, bytes = 0;
    while (gone < recovery->count && TCP_SEQ_LEQ(recovery->sacked[gone].right, acknowledged))
        gone++;
    recovery->count -= gone;
    memmove(recovery->sacked, recovery->sacked + gone, recovery->count * sizeof recovery->sacked[0]);
    for (uint32_t i = 0; i < recovery->count; i++)
        bytes += recovery->sacked[i].right - recovery->sacked[i].left;
    return bytes;
}

static bool has_arrived(const struct recovery *recovery, uint32_t number)
{
    for (uint32_t i = 0; i < recovery->count; i++)
        if (TCP_SEQ_GEQ(number, recovery->sacked[i].left) && TCP_SEQ_LT(number, recovery->sacked[i].right))
            return true;
    return false;
}

/* As tcp_rexmit() does with the first one; false while somebody still has its buffer. */
static bool send_again(struct tcp_pcb *pcb, struct tcp_seg **link)
{
    struct tcp_seg *segment = *link;
    if (segment->p->ref != 1)
        return false;
    *link = segment->next;
    struct tcp_seg **place = &pcb->unsent;
    while (*place && TCP_SEQ_LT(lwip_ntohl((*place)->tcphdr->seqno), lwip_ntohl(segment->tcphdr->seqno)))
        place = &(*place)->next;
    segment->next = *place;
    *place = segment;
    if (!segment->next)
        pcb->unsent_oversize = 0; /* nothing is to be added to it */
    pcb->rttest = 0;
    return true;
}

static void fill_holes(struct tcp_pcb *pcb, struct recovery *recovery)
{
    uint32_t highest = recovery->count ? recovery->sacked[recovery->count - 1].right : pcb->lastack;
    unsigned sent = 0;
    if (TCP_SEQ_GEQ(highest, recovery->pass + (uint32_t)DUPLICATES * pcb->mss)) {
        recovery->resent = pcb->lastack;
        recovery->pass = pcb->snd_nxt;
    }
    for (struct tcp_seg **link = &pcb->unacked; *link && sent < AT_ONCE;) {
        uint32_t number = lwip_ntohl((*link)->tcphdr->seqno);
        bool lost = number == pcb->lastack ||
                    TCP_SEQ_LEQ(number + (uint32_t)DUPLICATES * pcb->mss, highest);
        if (!lost)
            break;
        if (TCP_SEQ_LT(number, recovery->resent) || has_arrived(recovery, number)) {
            link = &(*link)->next;
            continue;
        }
        if (!send_again(pcb, link))
            break;
        recovery->resent = number + 1;
        sent++;
    }
    if (sent)
        pcb->rtime = 0;
}

void recovery_go_on(struct connection *connection)
{
    struct tcp_pcb *pcb = connection->pcb;
    struct recovery *recovery = &connection->recovery;
    uint32_t arrived = prune(recovery, pcb->lastack);
    if (pcb->flags & TF_RTO || !pcb->unacked) { /* lwIP sends all of it again, or there is nothing */
        recovery->active = false;
        recovery->count = 0;
        return;
    }
    if (recovery->active && TCP_SEQ_GEQ(pcb->lastack, recovery->point))
        recovery->active = false;
    if (!recovery->active) {
        /* Windows that change hide duplicates from lwIP. */
        if (!(pcb->flags & TF_INFR) && arrived >= (uint32_t)DUPLICATES * pcb->mss)
            tcp_rexmit_fast(pcb);
        if (!(pcb->flags & TF_INFR))
            return;
        recovery->active = true;
        recovery->point = pcb->snd_nxt;
        recovery->resent = pcb->lastack + 1;
        recovery->pass = pcb->snd_nxt;
    }
    tcp_set_flags(pcb, TF_INFR);
    pcb->cwnd = pcb->ssthresh + arrived;
    fill_holes(pcb, recovery);
}
