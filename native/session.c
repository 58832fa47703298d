/* What a packet changes of its peer: key slots, counters, stamps, staged packets.
 * Twin of wgvx/wireguard/keypair.py and wgvx/dataplane/peer.py.
 */
#include "dataplane.h"
#include "ip.h"

#define REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
#define REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13)) /* 2^64 - 2^13 - 1 */
#define REKEY_AFTER_TIME (120 * SECOND)
#define REJECT_AFTER_TIME (180 * SECOND)
#define REKEY_ON_RECEIVE_AFTER (165 * SECOND) /* REJECT_AFTER - KEEPALIVE_ - REKEY_TIMEOUT */
#define MAX_STAGED_PACKETS 128

/* "After REJECT-AFTER-MESSAGES transport data messages or after the current secure session is
 * REJECT-AFTER-TIME seconds old, WireGuard will refuse to send any more" (section 6.2). */
bool keypair_can_send(const struct keypair *keypair, uint64_t now)
{
    return keypair->may_send && now - keypair->birth < REJECT_AFTER_TIME &&
           PEEK(keypair->send_counter) < REJECT_AFTER_MESSAGES;
}

/* "After sending REKEY-AFTER-MESSAGES [...] or, if it is the initiator, after sending a transport
 * data message when the session is REKEY-AFTER-TIME seconds old" (section 6.2). */
bool keypair_wants_rekey_on_send(const struct keypair *keypair, uint64_t counter, uint64_t now)
{
    return counter + 1 > REKEY_AFTER_MESSAGES ||
           (keypair->initiator && now - keypair->birth >= REKEY_AFTER_TIME);
}

/* "if the session is (REJECT-AFTER-TIME - KEEPALIVE-TIMEOUT - REKEY-TIMEOUT) seconds old" the
 * initiator asks for a new one upon receiving, once (section 6.2). */
bool keypair_wants_rekey_on_receive(const struct keypair *keypair, uint64_t now)
{
    return keypair->may_send && keypair->initiator && !keypair->rekey_asked &&
           now - keypair->birth >= REKEY_ON_RECEIVE_AFTER;
}

enum reason keypair_open(struct lane *lane, struct keypair *keypair, uint8_t *message,
                         uint32_t length, uint64_t now)
{
    uint64_t counter = get_le64(message + 8);
    if (now - keypair->birth >= REJECT_AFTER_TIME || counter >= REJECT_AFTER_MESSAGES)
        return KEY_EXPIRED;
    if (!aead_open(&lane->aead, keypair->receive_key, counter, message + TRANSPORT_HEADER,
                   length - TRANSPORT_HEADER - AEAD_TAG_LENGTH))
        return AUTH_FAILED;
    /* Only a packet that authenticates touches the replay window. */
    peer_lock(lane->dp, keypair->peer);
    bool fresh = replay_accept(&keypair->replay, counter);
    peer_unlock(lane->dp, keypair->peer);
    return fresh ? PASSED : REPLAYED;
}

/* --- slots ------------------------------------------------------------------------------------- */

static void retire(struct lane *lane, struct keypair *keypair)
{
    struct wgvx *dp = lane->dp;
    if (!keypair || keypair->retired)
        return;
    __atomic_store_n(&keypair->retired, true, __ATOMIC_RELEASE);
    pthread_mutex_lock(&dp->retired_lock);
    struct keypair **place = list_add(dp->retired);
    if (place)
        *place = keypair; /* Without memory it stays in the table, marked, until its peer goes. */
    pthread_mutex_unlock(&dp->retired_lock);
}

void sweep(struct wgvx *dp)
{
    for (uint32_t i = 0; i < dp->retired.count; i++) {
        struct keypair *keypair = dp->retired.items[i];
        if (map_get(&dp->keypairs, keypair->local_index) == keypair)
            map_remove(&dp->keypairs, keypair->local_index);
        explicit_bzero(keypair, sizeof *keypair);
        free(keypair);
    }
    dp->retired.count = 0;
}

/* The initiator has heard the responder, so its session is `current` at once. The responder must
 * not use its own before the first packet under it arrives, so it waits in `next`. */
void peer_install(struct lane *lane, struct peer *peer, struct keypair *new)
{
    struct keypair *before[3] = {peer->current, peer->previous, peer->next};
    if (new->initiator) {
        /* An unconfirmed `next` outlives `current`: the peer may be about to use it. */
        peer->previous = peer->next ? peer->next : peer->current;
        peer->next = NULL;
        peer->current = new;
    } else {
        peer->previous = NULL;
        peer->next = new;
    }
    for (int i = 0; i < 3; i++)
        if (before[i] && before[i] != peer->current && before[i] != peer->previous &&
            before[i] != peer->next)
            retire(lane, before[i]);
}

bool peer_confirm(struct lane *lane, struct peer *peer, struct keypair *keypair)
{
    if (keypair != peer->next)
        return false;
    retire(lane, peer->previous);
    peer->previous = peer->current;
    POKE(peer->current, keypair);
    peer->next = NULL;
    return true;
}

void peer_forget_keys(struct lane *lane, struct peer *peer)
{
    retire(lane, peer->current);
    retire(lane, peer->previous);
    retire(lane, peer->next);
    peer->current = peer->previous = peer->next = NULL;
}

/* --- events and stamps ------------------------------------------------------------------------- */

void peer_ask(struct lane *lane, struct peer *peer, uint32_t events)
{
    if (!events)
        return;
    uint32_t before = __atomic_fetch_or(&peer->asked, events, __ATOMIC_ACQ_REL);
    if (before)
        return; /* It waits to be taken already. */
    struct peer **place = list_add(lane->asking);
    if (place)
        *place = peer;
    else
        __atomic_store_n(&peer->asked, 0, __ATOMIC_RELEASE);
}

static bool same_remote(const wgvx_endpoint *a, const wgvx_endpoint *b)
{
    return a->ip_length == b->ip_length && a->port == b->port && a->scope == b->scope &&
           !memcmp(a->ip, b->ip, a->ip_length);
}

/* On whatever interface: see PeerState._is_at. */
static bool same_endpoint(const wgvx_endpoint *a, const wgvx_endpoint *b)
{
    return same_remote(a, b) && a->local_length == b->local_length &&
           !memcmp(a->local, b->local, a->local_length);
}

static void without_local_address(wgvx_endpoint *endpoint)
{
    endpoint->local_length = 0;
    endpoint->interface = 0;
}

void peer_forget_local_address(struct peer *peer)
{
    without_local_address(&peer->endpoint);
    peer->endpoint_generation++;
}

void peer_give_up_local_address(struct peer *peer, const wgvx_endpoint *endpoint)
{
    if (!peer->has_endpoint || !same_endpoint(endpoint, &peer->endpoint))
        return;
    peer_forget_local_address(peer);
    peer->refused = *endpoint;
    peer->has_refused = peer->refused_on_any = true;
}

static bool is_refused(const struct peer *peer, const wgvx_endpoint *endpoint)
{
    const wgvx_endpoint *refused = &peer->refused;
    return endpoint->ip_length == refused->ip_length &&
           endpoint->local_length == refused->local_length &&
           !memcmp(endpoint->ip, refused->ip, refused->ip_length) &&
           !memcmp(endpoint->local, refused->local, refused->local_length) &&
           (peer->refused_on_any || endpoint->interface == refused->interface);
}

void peer_heard(struct lane *lane, struct peer *peer, const wgvx_endpoint *endpoint,
                uint32_t length, uint64_t now)
{
    peer->rx_bytes += length;
    peer->last_rx = now;
    peer->first_unanswered_tx = 0;
    if (peer->has_endpoint && same_endpoint(endpoint, &peer->endpoint))
        return;
    wgvx_endpoint heard = *endpoint;
    if (peer->has_refused && is_refused(peer, endpoint)) {
        without_local_address(&heard);
        if (peer->has_endpoint && same_endpoint(&heard, &peer->endpoint))
            return;
    }
    bool moved = !peer->has_endpoint || !same_remote(endpoint, &peer->endpoint);
    peer->endpoint = heard;
    POKE(peer->has_endpoint, true);
    POKE(peer->endpoint_generation, peer->endpoint_generation + 1);
    if (moved) {
        POKE(peer->gso_off_until, 0);
        peer_ask(lane, peer, ROAMED);
    }
}

void peer_sent(struct peer *peer, uint32_t length, uint64_t now)
{
    peer->tx_bytes += length;
    peer->last_tx = now;
    peer->first_unanswered_rx = 0;
    peer->more_unanswered_rx = false;
    peer->refused_on_any = false;
}

static void arm(struct lane *lane, struct peer *peer, uint8_t event)
{
    if (peer->armed & event)
        return;
    peer->armed |= event;
    peer_ask(lane, peer, event);
}

void peer_data_received(struct lane *lane, struct peer *peer, uint64_t now)
{
    if (peer->first_unanswered_rx) {
        peer->more_unanswered_rx = true;
        return;
    }
    peer->first_unanswered_rx = now;
    arm(lane, peer, ARM_RX);
}

void peer_data_sent(struct lane *lane, struct peer *peer, uint64_t now)
{
    if (peer->first_unanswered_tx)
        return;
    peer->first_unanswered_tx = now;
    arm(lane, peer, ARM_TX);
}

/* --- staged packets ---------------------------------------------------------------------------- */

static struct staged *unstage(struct peer *peer)
{
    struct staged *first = peer->staged;
    if (!first)
        return NULL;
    peer->staged = first->next;
    if (!peer->staged)
        peer->staged_end = &peer->staged;
    peer->staged_count--;
    return first;
}

void peer_stage(struct lane *lane, struct peer *peer, const uint8_t *packet, uint32_t length)
{
    struct staged *staged = malloc(sizeof *staged + length);
    if (!staged || peer->staged_count >= MAX_STAGED_PACKETS) {
        free(staged ? unstage(peer) : NULL);
        drop(lane, STAGED_OVERFLOW);
    }
    if (staged) {
        staged->next = NULL;
        staged->length = length;
        memcpy(staged->packet, packet, length);
        *peer->staged_end = staged;
        peer->staged_end = &staged->next;
        peer->staged_count++;
    }
}

uint32_t peer_drop_staged(struct peer *peer)
{
    uint32_t dropped = peer->staged_count;
    struct staged *staged;
    while ((staged = unstage(peer)))
        free(staged);
    return dropped;
}

bool peer_send_staged(struct lane *lane, struct peer *peer, uint64_t now, bool or_keepalive)
{
    struct keypair *keypair = PEEK(peer->current);
    if (!keypair || !keypair_can_send(keypair, now))
        return false;
    peer_lock(lane->dp, peer);
    struct staged *staged = peer->staged, *next; /* Another worker may stage more meanwhile. */
    peer->staged = NULL;
    peer->staged_end = &peer->staged;
    peer->staged_count = 0;
    peer_unlock(lane->dp, peer);
    if (!staged && or_keepalive) {
        uint8_t *message = reserve(lane, TRANSPORT_HEADER + AEAD_TAG_LENGTH);
        if (message)
            seal(lane, peer, keypair, message, 0, now);
    }
    for (; staged; staged = next) {
        next = staged->next;
        uint8_t *message = reserve(lane, staged->length + 64);
        if (message) {
            memcpy(message + TRANSPORT_HEADER, staged->packet, staged->length);
            seal(lane, peer, keypair, message, staged->length, now);
        }
        free(staged);
    }
    return true;
}

void peer_free(struct lane *lane, struct peer *peer)
{
    peer_forget_keys(lane, peer);
    peer_drop_staged(peer);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}
