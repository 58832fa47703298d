/* Frames of any kind to the userspace stack: lwIP and its glue, with a connection that is there, a
 * listener and a UDP socket. Checksums are not looked at, and nothing is random.
 *
 * Records: two bytes of length, and a frame without its destination, which is the stack's, or where the
 * source has the bit of a group, everybody's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../stack/inside.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"

static const uint8_t MAC[6] = {2, 0, 0, 0, 0, 9};

static uint16_t next_port;

/* In place of random.c. */

uint32_t stack_random(void)
{
    return 0x01010101;
}

uint16_t stack_random_port(void)
{
    return next_port++;
}

static void drain(int fd)
{
    char buffer[65536];
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
}

static void take_events(struct stack *stack, int *host)
{
    stack_event event;
    while (stack_take_event(stack, &event)) {
        bool made = event.what == STACK_ACCEPTED || event.what == STACK_CONNECTED;
        if (made && *host < 0) {
            int ends[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends))
                abort();
            if (stack_join(stack, event.id, ends[1], (const uint8_t *)"hello", 5)) {
                static const uint8_t more[20000]; /* several segments are in flight */
                *host = ends[0];
                send(*host, more, sizeof more, MSG_DONTWAIT);
            } else {
                close(ends[0]);
                close(ends[1]);
            }
        } else if (made) {
            stack_drop(stack, event.id);
        } else if (event.what == STACK_RECEIVED) {
            uint8_t data[100];
            stack_address from;
            while (stack_udp_take(stack, event.id, &from, data, sizeof data) >= 0)
                ;
        }
    }
    if (stack_failure(stack)) {
        fprintf(stderr, "assertion: %s\n", stack_failure(stack));
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2], host = -1;
    next_port = 50000;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends))
        abort();
    struct stack *stack = stack_open(ends[1], MAC, 1350, 64);
    if (!stack)
        abort();
    stack_address four = {.length = 4, .ip = {10, 0, 0, 9}};
    stack_address six = {.length = 16, .ip = {0xfd, 0, 0, 10, [15] = 9}};
    stack_add_address(stack, &four, 24);
    stack_add_address(stack, &six, 64);
    stack_start(stack);
    stack_address any = {.port = 80};
    stack_listen(stack, &any);
    stack_udp_open(stack);
    stack_address far = {.length = 4, .ip = {10, 0, 0, 2}, .port = 80};
    stack_connect(stack, &far);
    far = (stack_address){.length = 16, .ip = {0xfd, 0, 0, 10, [15] = 2}, .port = 80};
    stack_connect(stack, &far);
    while (size > 2) {
        size_t length = (size_t)(data[0] & 0x7F) << 8 | data[1];
        data += 2, size -= 2;
        uint8_t frame[2048];
        memcpy(frame, MAC, 6);
        if (length > size)
            length = size;
        size_t copied = length < sizeof frame - 6 ? length : sizeof frame - 6;
        memcpy(frame + 6, data, copied);
        if (copied > 6 && frame[6] & 1)
            memset(frame, 0xFF, 6);
        send(ends[0], frame, copied + 6, MSG_DONTWAIT);
        data += length, size -= length;
        stack_serve(stack);
        take_events(stack, &host);
        drain(ends[0]);
        if (host >= 0)
            drain(host);
    }
    /* What waits for its rest hangs together by pointers that are not aligned: it would seem lost. */
    for (int second = 0; second <= IP_REASS_MAXAGE; second++) {
        ip_reass_tmr();
        ip6_reass_tmr();
    }
    stack_close(stack);
    if (host >= 0)
        close(host);
    close(ends[0]);
    close(ends[1]);
    return 0;
}
