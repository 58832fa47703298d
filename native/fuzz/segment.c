/* Segmentation alone: a byte of settings, a virtio-net header, a frame. */
#include <stdlib.h>

#include "bytes.h"
#include "must.h"
#include "packets.h"

static uint16_t folded(uint64_t sum)
{
    uint16_t word = checksum_fold(sum);
    uint8_t bytes[2];
    memcpy(bytes, &word, 2);
    return get16(bytes);
}

/* A right checksum over the segment where the large frame's field was right. */
static void check_segment(const uint8_t *frame, uint32_t length, const struct segments *segments)
{
    const uint8_t *ip = frame + segments->l3;
    uint8_t protocol = segments->gso_type == VNET_UDP_L4 ? PROTOCOL_UDP : PROTOCOL_TCP;
    uint32_t upper = length - segments->l4;
    if (ip[0] >> 4 == 4)
        MUST(get16(ip + 2) == length - segments->l3 &&
             !naive_checksum(0, ip, (ip[0] & 0x0Fu) * 4));
    else
        MUST(get16(ip + 4) == length - segments->l3 - IPV6_HEADER);
    MUST(!naive_checksum(naive_pseudo(ip, protocol, upper), frame + segments->l4, upper));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct vnet_header header = {0};
    struct segments segments;
    uint8_t settings = take8(&input);
    struct bytes head = take(&input, VNET_HEADER_LENGTH);
    if (head.left)
        memcpy(&header, head.data, head.left);
    uint32_t length = (uint32_t)input.left, payload = 0;
    if (settings & 2 && length) /* A large one: the last byte again and again. */
        length += (uint32_t)settings << 8;
    uint8_t *frame = malloc(length + (length == 0));
    if (input.left)
        memset(frame, input.data[input.left - 1], length);
    memcpy(frame, input.data, input.left);
    if (settings & 1)
        mend_large(frame, length, header.gso_size, &header);
    if (segments_begin(&segments, &header, frame, length) && segments.count <= 4096) {
        MUST(segments.count >= 1);
        while (segments.next < segments.count) {
            uint32_t one = (uint32_t)segments_length(&segments);
            uint8_t *to = malloc(one + (one == 0));
            uint64_t sum = segments_next(&segments, to);
            MUST(naive_checksum(0, to, one) == (uint16_t)~folded(sum) ||
                 (folded(sum) == 0xFFFF && naive_checksum(0, to, one) == 0));
            if (segments.gso_size) {
                MUST(one > segments.head && one <= segments.head + segments.gso_size);
                MUST(!memcmp(to + segments.head, frame + segments.head + payload,
                             one - segments.head));
                payload += one - segments.head;
                /* Behind a routing header the pseudo-header is another one. */
                if (settings & 1 && segments.l4 - segments.l3 <= 60)
                    check_segment(to, one, &segments);
            } else {
                MUST(one == length);
            }
            free(to);
        }
        MUST(!segments.gso_size || segments.head + payload == length);
    }
    free(frame);
    return 0;
}
