/* What is not transport data: type, length, mac1, mac2, cookie replies.
 *
 * One byte of settings, then records: a byte (bits 0 and 1: whose; 2: mac1 mended; 3: mac2 mended;
 * 4: the demand changes; 6 and 7: what it answers is awaited from now on, or no more), one byte of
 * length, so many bytes, and zeros up to the type's length where bit 5 says so.
 */
#include <stdlib.h>

#include "../ip.h"
#include "must.h"
#include "node.h"

static const uint8_t mac1_key[32] = {1}, cookie_key[32] = {2};
static const uint8_t secret[32] = {3}, nonce_key[32] = {4};

static uint32_t whole(uint32_t type)
{
    return type == 1 ? 148 : type == 2 ? 92 : type == 3 ? 64 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct node node;
    uint8_t settings = take8(&input);
    node_start(&node, settings);
    struct macs *macs = macs_new();
    if (!(settings & 16))
        wgvx_set_public_key(node.dp, mac1_key, cookie_key);
    while (input.left) {
        uint8_t flags = take8(&input), message[256] = {0}, cookie[MAC_LENGTH];
        struct bytes body = take(&input, take8(&input));
        wgvx_endpoint endpoint = node_endpoint(FIRST_PEER + (flags & 3) % PEERS);
        uint32_t length = (uint32_t)body.left;
        if (flags & 16) {
            uint64_t until = flags & 8 ? node.now + SECOND : node.now - SECOND;
            wgvx_demand_mac2(node.dp, secret, nonce_key, until);
        }
        memcpy(message, body.data, body.left);
        uint32_t index = get_le32(message + (get_le32(message) == 2 ? 8 : 4));
        if (flags & 64)
            wgvx_open_handshake(node.dp, index);
        if (flags & 128)
            wgvx_close_handshake(node.dp, index);
        if (flags & 32 && whole(get_le32(message)))
            length = whole(get_le32(message));
        if (flags & 4 && length >= 36)
            macs_mac(macs, mac1_key, 32, message, length - 32, message + length - 32);
        if (flags & 8 && length >= 36) {
            cookie_make(macs, secret, endpoint.ip, 4, endpoint.port, cookie);
            macs_mac(macs, cookie, MAC_LENGTH, message, length - 16, message + length - 16);
        }
        uint8_t *copy = malloc(length + (length == 0));
        memcpy(copy, message, length);
        wgvx_receive(node.dp, copy, length, length, &endpoint, 0, node.now);
        free(copy);
        wgvx_counts pending = wgvx_pending(node.dp);
        MUST(pending.handshakes + pending.messages <= 1);
        if (pending.handshakes) {
            const wgvx_handshake *handed = wgvx_take_handshake(node.dp, 0);
            MUST(handed->length == length && !memcmp(handed->data, message, length));
            MUST(!memcmp(&handed->endpoint, &endpoint, sizeof endpoint));
            MUST(whole(get_le32(message)) == length);
        }
        if (pending.messages) {
            wgvx_message reply = wgvx_take_message(node.dp, 0);
            MUST(reply.length == COOKIE_REPLY_LENGTH && get_le32(reply.data) == 3);
            MUST(!memcmp(reply.data + 4, message + 4, 4) && length >= reply.length);
        }
        node_check(&node);
    }
    macs_free(macs);
    node_stop(&node);
    return 0;
}
