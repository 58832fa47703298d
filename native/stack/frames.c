/* Frames between the node's descriptor and lwIP, many at a call. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/etharp.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

#define ETHERNET 18 /* with a tag, which lwIP then does not take */
#define TURN_BATCHES 4

static void watch(struct stack *stack, bool for_room)
{
    struct epoll_event event = {.events = EPOLLIN | (for_room ? EPOLLOUT : 0u),
                                .data.u64 = ABOUT_FRAMES};
    epoll_ctl(stack->epoll, EPOLL_CTL_MOD, stack->frames.fd, &event);
}

bool frames_open(struct stack *stack, int fd)
{
    struct frames *frames = &stack->frames;
    frames->fd = fd;
    frames->frame_room = stack->mtu + ETHERNET;
    frames->in = malloc((size_t)FRAMES_AT_ONCE * frames->frame_room);
    if (!frames->in)
        return false;
    for (unsigned i = 0; i < FRAMES_AT_ONCE; i++) {
        frames->received_parts[i] =
            (struct iovec){frames->in + (size_t)i * frames->frame_room, frames->frame_room};
        frames->received[i].msg_hdr =
            (struct msghdr){.msg_iov = &frames->received_parts[i], .msg_iovlen = 1};
        frames->messages[i].msg_hdr =
            (struct msghdr){.msg_iov = &frames->parts[i], .msg_iovlen = 1};
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ABOUT_FRAMES};
    return epoll_ctl(stack->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void frames_close(struct stack *stack)
{
    free(stack->frames.in);
}

/* --- out --------------------------------------------------------------------------------------- */

void frames_flush(struct stack *stack)
{
    struct frames *frames = &stack->frames;
    while (frames->first < frames->count) {
        int sent = sendmmsg(frames->fd, frames->messages + frames->first,
                            frames->count - frames->first, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            frames->first += (unsigned)sent;
        } else if (errno == EAGAIN) {
            if (!frames->blocked)
                watch(stack, true);
            frames->blocked = true;
            return;
        } else if (errno != EINTR) {
            frames->first++; /* that one cannot be sent: it is lost, as on any wire */
        }
    }
    frames->first = frames->count = 0;
    frames->used = 0;
    if (frames->blocked) {
        frames->blocked = false;
        watch(stack, false);
    }
}

err_t frames_put(struct netif *netif, struct pbuf *packet)
{
    struct stack *stack = netif->state;
    struct frames *frames = &stack->frames;
    if (frames->count == FRAMES_AT_ONCE || frames->used + packet->tot_len > OUT_ROOM) {
        if (!frames->blocked)
            frames_flush(stack);
        if (frames->blocked)
            return ERR_MEM;
    }
    uint8_t *out = frames->out + frames->used;
    pbuf_copy_partial(packet, out, packet->tot_len, 0);
    frames->parts[frames->count++] = (struct iovec){out, packet->tot_len};
    frames->used += packet->tot_len;
    return ERR_OK;
}

/* --- in ---------------------------------------------------------------------------------------- */

/* What is flooded for want of knowing better is not all ours, and lwIP looks at no destination; it
 * also looks at some of a header before it looks whether it is all there. */
static bool is_for_us(const struct stack *stack, const struct mmsghdr *message)
{
    const uint8_t *frame = message->msg_hdr.msg_iov->iov_base;
    if (message->msg_len < SIZEOF_ETH_HDR || !(frame[0] & 1 || !memcmp(frame, stack->mac, 6)))
        return false;
    uint32_t payload = message->msg_len - SIZEOF_ETH_HDR;
    switch (frame[12] << 8 | frame[13]) {
    case ETHTYPE_IP:
        return payload >= IP_HLEN;
    case ETHTYPE_ARP:
        return payload >= SIZEOF_ETHARP_HDR;
    case ETHTYPE_IPV6:
        return payload >= IP6_HLEN;
    default:
        return false;
    }
}

static void take(struct stack *stack)
{
    struct frames *frames = &stack->frames;
    for (int batch = 0; batch < TURN_BATCHES; batch++) {
        int got = recvmmsg(frames->fd, frames->received, FRAMES_AT_ONCE, MSG_DONTWAIT, NULL);
        for (int i = 0; i < got; i++) {
            const struct mmsghdr *message = &frames->received[i];
            if (message->msg_len == 0) { /* the node has closed its end */
                epoll_ctl(stack->epoll, EPOLL_CTL_DEL, frames->fd, NULL);
                return;
            }
            if (message->msg_hdr.msg_flags & MSG_TRUNC || !is_for_us(stack, message))
                continue;
            struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)message->msg_len, PBUF_RAM);
            if (!packet)
                continue;
            memcpy(packet->payload, frames->received_parts[i].iov_base, message->msg_len);
            stack->netif.input(packet, &stack->netif);
        }
        if (got < FRAMES_AT_ONCE)
            return;
    }
}

void frames_ready(struct stack *stack, uint32_t events)
{
    if (events & EPOLLOUT) {
        frames_flush(stack);
        if (!stack->frames.blocked)
            tcp_txnow(); /* segments that were refused */
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        take(stack);
}
