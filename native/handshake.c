/* What a handshake message has to show before Python sees it: type, length, mac1, receiver index,
 * and under load mac2. A flood ends here.
 */
#include "dataplane.h"
#include "ip.h"

enum { INITIATION = 1, RESPONSE = 2, COOKIE_REPLY = 3 };

/* As many wait for Python; more is refused. */
#define MAX_HANDSHAKES 4096

static uint32_t length_of(uint32_t type)
{
    switch (type) {
    case INITIATION:
        return 148;
    case RESPONSE:
        return 92;
    case COOKIE_REPLY:
        return COOKIE_REPLY_LENGTH;
    }
    return 0;
}

/* Whether a response, or a cookie reply, answers something that we sent. */
static bool is_awaited(const struct wgvx *dp, uint32_t type, const uint8_t *message)
{
    uint32_t index = get_le32(message + (type == RESPONSE ? 8 : 4));
    if (map_get(&dp->handshakes, index))
        return true;
    /* A response of ours was answered with a cookie: its session is there already. */
    const struct keypair *keypair = type == COOKIE_REPLY ? map_get(&dp->keypairs, index) : NULL;
    return keypair && !keypair->retired;
}

/* "If it is under load [...] the responder may require mac2", and answers a message without it
 * with a cookie reply (section 5.4.7). */
static enum reason demand_cookie(struct lane *lane, const uint8_t *message, uint32_t length,
                                 const wgvx_endpoint *endpoint)
{
    struct wgvx *dp = lane->dp;
    uint8_t cookie[MAC_LENGTH], nonce[COOKIE_NONCE_LENGTH];
    cookie_make(lane->macs, dp->cookie_secret, endpoint->ip, endpoint->ip_length, endpoint->port,
                cookie);
    if (mac2_valid(lane->macs, cookie, message, length))
        return PASSED;
    uint8_t *reply = reserve(lane, COOKIE_REPLY_LENGTH);
    if (reply) {
        uint64_t number = __atomic_add_fetch(&dp->cookies_made, 1, __ATOMIC_RELAXED);
        cookie_nonce(lane->macs, dp->nonce_key, number, nonce);
        cookie_reply(lane->macs, dp->cookie_key, nonce, cookie, message, length, reply);
        send_message(lane, NULL, endpoint, COOKIE_REPLY_LENGTH, 0);
    }
    return BAD_MAC2;
}

enum reason hand_up(struct lane *lane, const uint8_t *message, uint32_t length,
                    const wgvx_endpoint *endpoint, uint64_t now)
{
    struct wgvx *dp = lane->dp;
    uint32_t type = length >= 4 ? get_le32(message) : 0;
    if (!length_of(type) || length_of(type) != length)
        return MALFORMED;
    /* "the responder [...] must discard any message whose mac1 is invalid" (section 5.3). */
    if (type != COOKIE_REPLY &&
        (!dp->has_key || !mac1_valid(lane->macs, dp->mac1_key, message, length)))
        return BAD_MAC1;
    if (type != INITIATION && !is_awaited(dp, type, message))
        return UNKNOWN_INDEX;
    if (type != COOKIE_REPLY && now < dp->demand_mac2_until) {
        enum reason reason = demand_cookie(lane, message, length, endpoint);
        if (reason != PASSED)
            return reason;
    }
    if (lane->fused && lane->handshakes.count >= MAX_HANDSHAKES)
        return HANDSHAKE_RATE;
    wgvx_handshake *waiting = list_add(lane->handshakes);
    if (!waiting)
        return HANDSHAKE_RATE;
    waiting->length = length;
    waiting->endpoint = *endpoint;
    memcpy(waiting->data, message, length);
    return PASSED;
}
