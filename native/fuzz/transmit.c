/* Frames from a TAP, with their virtio-net headers.
 *
 * One byte of settings, then records: a byte (bits 0 and 1: port; 2: lengths, checksums and the
 * virtio-net header mended; 3: no virtio-net header; 4: 64 KB of the last byte behind the frame;
 * 7: a change), two bytes of length, and so many bytes: a virtio-net header and a frame.
 */
#include <stdlib.h>

#include "node.h"
#include "packets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct node node;
    node_start(&node, take8(&input));
    while (input.left) {
        uint8_t flags = take8(&input);
        uint16_t wanted = take16(&input);
        struct bytes body = take(&input, wanted);
        if (flags & 0x80) {
            node_edit(&node, &body);
            continue;
        }
        struct vnet_header header = {0};
        struct bytes head = take(&body, flags & 8 ? 0 : VNET_HEADER_LENGTH);
        if (head.left)
            memcpy(&header, head.data, head.left);
        uint32_t length = (uint32_t)body.left;
        if (flags & 16 && length)
            length += 65535 - length % 4096;
        if (length > MAX_FRAME)
            length = MAX_FRAME;
        uint8_t *frame = malloc(length + (length == 0));
        if (body.left)
            memset(frame, body.data[body.left - 1], length);
        memcpy(frame, body.data, body.left < length ? body.left : length);
        if (flags & 4)
            mend_large(frame, length, header.gso_size, &header);
        wgvx_transmit(node.dp, (flags & 3) + 1, flags & 8 ? NULL : (const uint8_t *)&header, frame,
                      length, node.now);
        node_check(&node);
        free(frame);
    }
    node_stop(&node);
    return 0;
}
