/* Peers and their sessions as Python sees them. Every function here takes all locks. */
#include <errno.h>

#include "dataplane.h"

/* --- peers ------------------------------------------------------------------------------------- */

bool wgvx_add_peer(wgvx *dp, uint32_t id)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return false;
    peer->id = id;
    peer->staged_end = &peer->staged;
    pthread_mutex_init(&peer->lock, NULL);
    enter(dp, 0);
    bool added = map_put(&dp->peers, id, peer);
    leave(dp);
    if (!added)
        free(peer);
    return added;
}

void wgvx_remove_peer(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer) {
        for (uint32_t number = 0; number <= MAX_WORKERS; number++)
            if (dp->lanes[number])
                lane_forget_peer(dp->lanes[number], peer);
        allowed_ips_remove_owner(dp->allowed_ips, &peer->prefixes);
        map_remove(&dp->peers, id);
        peer_free(dp->python, peer);
        begin_burst(dp->python);
    }
    leave(dp);
}

void wgvx_set_endpoint(wgvx *dp, uint32_t id, const wgvx_endpoint *endpoint)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer) {
        peer->has_endpoint = endpoint != NULL;
        if (endpoint)
            peer->endpoint = *endpoint;
        peer->endpoint_generation++;
        peer->gso_off_until = 0;
    }
    leave(dp);
}

bool wgvx_get_endpoint(wgvx *dp, uint32_t id, wgvx_endpoint *endpoint)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    bool has = peer && peer->has_endpoint;
    if (has)
        *endpoint = peer->endpoint;
    leave(dp);
    return has;
}

bool wgvx_add_allowed_ip(wgvx *dp, uint32_t id, const uint8_t *network, uint8_t address_length,
                         uint8_t length)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    bool added = peer && allowed_ips_insert(dp->allowed_ips, network, address_length, length,
                                            &peer->prefixes);
    leave(dp);
    return added;
}

bool wgvx_remove_allowed_ip(wgvx *dp, uint32_t id, const uint8_t *network, uint8_t address_length,
                            uint8_t length)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    bool removed = peer && allowed_ips_remove(dp->allowed_ips, network, address_length, length,
                                              &peer->prefixes);
    leave(dp);
    return removed;
}

void wgvx_clear_allowed_ips(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        allowed_ips_remove_owner(dp->allowed_ips, &peer->prefixes);
    leave(dp);
}

uint32_t wgvx_allowed_ip_count(wgvx *dp, uint32_t id)
{
    const struct peer *peer = find_peer(dp, id);
    return peer ? (uint32_t)peer->prefixes.count : 0;
}

uint32_t wgvx_allowed_ips(wgvx *dp, uint32_t id, uint8_t (*prefixes)[18], uint32_t room)
{
    const struct peer *peer = find_peer(dp, id);
    uint32_t count = 0;
    if (!peer)
        return 0;
    for (const struct prefix *one = peer->prefixes.first; one && count < room; one = one->next) {
        prefixes[count][0] = one->address_length;
        prefixes[count][1] = one->length;
        memcpy(prefixes[count] + 2, one->network, 16);
        count++;
    }
    return count;
}

bool wgvx_route(wgvx *dp, const uint8_t *address, uint8_t address_length, uint32_t *id)
{
    const struct peer *peer = route(dp, address, address_length);
    if (peer)
        *id = peer->id;
    return peer;
}

void wgvx_get_peer(wgvx *dp, uint32_t id, wgvx_peer_state *state)
{
    enter(dp, 0);
    const struct peer *peer = find_peer(dp, id);
    if (peer)
        *state = (wgvx_peer_state){
            .rx_bytes = peer->rx_bytes,
            .tx_bytes = peer->tx_bytes,
            .last_tx = peer->last_tx,
            .last_rx = peer->last_rx,
            .first_unanswered_tx = peer->first_unanswered_tx,
            .first_unanswered_rx = peer->first_unanswered_rx,
            .more_unanswered_rx = peer->more_unanswered_rx,
        };
    leave(dp);
}

/* --- sessions ---------------------------------------------------------------------------------- */

bool wgvx_index_peer(wgvx *dp, uint32_t index, uint32_t *id)
{
    enter(dp, 0);
    const struct keypair *keypair = map_get(&dp->keypairs, index);
    bool found = keypair && !keypair->retired;
    if (found)
        *id = keypair->peer->id;
    leave(dp);
    return found;
}

bool wgvx_open_handshake(wgvx *dp, uint32_t index)
{
    enter(dp, 0);
    bool opened = map_put(&dp->handshakes, index, dp); /* any pointer will do */
    leave(dp);
    return opened;
}

void wgvx_close_handshake(wgvx *dp, uint32_t index)
{
    enter(dp, 0);
    map_remove(&dp->handshakes, index);
    leave(dp);
}

bool wgvx_install(wgvx *dp, uint32_t id, uint32_t local_index, uint32_t remote_index,
                  const uint8_t *send_key, const uint8_t *receive_key, bool initiator,
                  uint64_t now)
{
    struct keypair *keypair = calloc(1, sizeof *keypair);
    if (!keypair)
        return false;
    keypair->local_index = local_index;
    keypair->remote_index = remote_index;
    keypair->birth = now;
    keypair->initiator = initiator;
    keypair->may_send = true;
    memcpy(keypair->send_key, send_key, AEAD_KEY_LENGTH);
    memcpy(keypair->receive_key, receive_key, AEAD_KEY_LENGTH);
    enter(dp, now);
    struct peer *peer = find_peer(dp, id);
    bool installed = peer && map_put(&dp->keypairs, local_index, keypair);
    if (installed) {
        keypair->peer = peer;
        peer_install(dp->python, peer, keypair);
    }
    leave(dp);
    if (!installed) {
        explicit_bzero(keypair, sizeof *keypair);
        free(keypair);
    }
    return installed;
}

void wgvx_forget_local_address(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        peer_forget_local_address(peer);
    leave(dp);
}

int wgvx_send_probe(wgvx *dp, uint32_t id, const uint8_t *packet, uint32_t length, uint64_t now)
{
    enter(dp, now);
    struct lane *lane = dp->python;
    struct peer *peer = map_get(&dp->peers, id);
    struct keypair *keypair = peer ? PEEK(peer->current) : NULL;
    uint8_t *message = NULL;
    int code = ENOTCONN;
    if (keypair && peer->has_endpoint && keypair_can_send(keypair, now)) {
        if (lane->fused)
            flush(lane); /* Nothing else is to leave with the probe. */
        message = reserve(lane, length + 64);
        code = message ? 0 : ENOMEM;
    }
    if (message) {
        memcpy(message + TRANSPORT_HEADER, packet, length);
        seal(lane, peer, keypair, message, length, now);
        if (lane->fused)
            code = flush_probe(lane, peer->endpoint.ip_length == 16);
    }
    leave(dp);
    return code;
}

void wgvx_give_up_local_address(wgvx *dp, uint32_t id, const wgvx_endpoint *endpoint)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        peer_give_up_local_address(peer, endpoint);
    leave(dp);
}

void wgvx_allow_local_address(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        peer->has_refused = false;
    leave(dp);
}

void wgvx_received_handshake(wgvx *dp, uint32_t id, const wgvx_endpoint *endpoint, uint32_t length,
                             uint64_t now)
{
    enter(dp, now);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        peer_heard(dp->python, peer, endpoint, length, now);
    leave(dp);
}

#define HANDSHAKE_TOS 0x88 /* DSCP AF41, as the kernel sends them */

void wgvx_send_handshake(wgvx *dp, uint32_t id, const uint8_t *message, uint32_t length,
                         uint64_t now)
{
    enter(dp, now);
    struct peer *peer = find_peer(dp, id);
    uint8_t *room = peer && peer->has_endpoint ? reserve(dp->python, length) : NULL;
    if (room) {
        memcpy(room, message, length);
        peer_sent(peer, length, now);
        send_message(dp->python, peer, NULL, length, HANDSHAKE_TOS);
    }
    leave(dp);
}

void wgvx_reply(wgvx *dp, const wgvx_endpoint *endpoint, const uint8_t *message, uint32_t length)
{
    enter(dp, 0);
    uint8_t *room = reserve(dp->python, length);
    if (room) {
        memcpy(room, message, length);
        send_message(dp->python, NULL, endpoint, length, 0);
    }
    leave(dp);
}

bool wgvx_send_staged(wgvx *dp, uint32_t id, uint64_t now, bool or_keepalive)
{
    enter(dp, now);
    struct peer *peer = find_peer(dp, id);
    bool sent = peer && peer_send_staged(dp->python, peer, now, or_keepalive);
    leave(dp);
    return sent;
}

uint32_t wgvx_drop_staged(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    uint32_t dropped = peer ? peer_drop_staged(peer) : 0;
    leave(dp);
    return dropped;
}

void wgvx_forget_keys(wgvx *dp, uint32_t id)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer)
        peer_forget_keys(dp->python, peer);
    leave(dp);
}

void wgvx_expire_sending_keys(wgvx *dp)
{
    enter(dp, 0);
    struct keypair *keypair;
    for (uint32_t i = 0; (keypair = map_each(&dp->keypairs, &i));)
        keypair->may_send = false;
    leave(dp);
}

void wgvx_disarm(wgvx *dp, uint32_t id, uint32_t events)
{
    enter(dp, 0);
    struct peer *peer = find_peer(dp, id);
    if (peer) {
        peer->armed &= (uint8_t)~events;
        if (events & ARM_TX)
            peer->first_unanswered_tx = 0;
        if (events & ARM_RX) {
            peer->first_unanswered_rx = 0;
            peer->more_unanswered_rx = false;
        }
    }
    leave(dp);
}
