/* Changes of tables, keys, settings and time. */
#include "node.h"
#include "packets.h"

static void edit_peer(struct node *node, unsigned peer, uint8_t what, struct bytes *from)
{
    uint8_t address[16], prefix;
    wgvx_endpoint endpoint = node_endpoint(peer);
    switch (what) {
    case 0:
        if (node->is_peer[peer])
            wgvx_remove_peer(node->dp, peer);
        else
            node_add_peer(node, peer);
        node->is_peer[peer] = wgvx_allowed_ip_count(node->dp, peer) > 0;
        break;
    case 1:
    case 2:
        if (node->is_peer[peer])
            node_connect(node, peer, what == 1);
        break;
    case 3:
        wgvx_forget_keys(node->dp, peer);
        break;
    case 4:
        endpoint.port = take8(from);
        endpoint.local_length = endpoint.port & 1 ? 4 : 0;
        wgvx_set_endpoint(node->dp, peer, endpoint.port ? &endpoint : NULL);
        break;
    case 5: /* Somebody else's address: prefixes move. */
    case 6:
        put_address(address, FIRST_PEER + take8(from) % PEERS, what == 6);
        prefix = what == 6 ? 128 : 32;
        if (node->is_peer[peer])
            wgvx_add_allowed_ip(node->dp, peer, address, what == 6 ? 16 : 4, prefix);
        break;
    case 7:
        wgvx_clear_allowed_ips(node->dp, peer);
        break;
    case 8:
        wgvx_send_staged(node->dp, peer, node->now, take8(from) & 1);
        break;
    case 9:
        wgvx_drop_staged(node->dp, peer);
        break;
    case 10:
        wgvx_disarm(node->dp, peer, take8(from));
        break;
    case 11:
        if (take8(from) & 1)
            wgvx_forget_local_address(node->dp, peer);
        else
            wgvx_give_up_local_address(node->dp, peer, &endpoint);
        break;
    }
}

static void edit_fdb(struct node *node, struct bytes *from)
{
    uint8_t what = take8(from), mac[6] = {2, 0, 0, 0, 0, take8(from)};
    uint8_t vtep[16], replaced[16], replaced_length;
    uint32_t vni = what & 1 ? VNI : OTHER_VNI;
    unsigned number = FIRST_PEER + (what >> 1) % PEERS;
    bool ipv6 = what & 8;
    put_address(vtep, number, ipv6);
    if (mac[5] >= 0xF0)
        memset(mac, mac[5] & 1 ? 0xFF : 0, 6);
    switch (what >> 5) {
    case 0:
        wgvx_fdb_delete(node->dp, vni, mac, vtep, what & 16 ? 0 : ipv6 ? 16 : 4);
        break;
    case 1:
        wgvx_fdb_flush(node->dp, vni, vtep, mac[5] & 1 ? 0 : ipv6 ? 16 : 4, what & 16);
        break;
    default:
        wgvx_fdb_add(node->dp, vni, mac, vtep, ipv6 ? 16 : 4, replaced, &replaced_length);
    }
    wgvx_row rows[32];
    wgvx_fdb_rows(node->dp, vni, node->now, rows, 32);
}

/* All that a network may be told while packets go through it. */
static void edit_network(struct node *node, struct bytes *from)
{
    static const uint8_t accept[1][18] = {{4, 24, 10, 254, 0, 0}};
    uint8_t what = take8(from), more = take8(from), mac[6] = {1, 0, 0x5E, 1, 0, more & 3};
    uint32_t vni = what & 1 ? VNI : OTHER_VNI;
    wgvx_network_settings rules = {
        .learning = what & 16,
        .sticky = what & 32,
        .ageing = what & 64 ? 10 * SECOND : 0,
        .max_entries = more & 7,
        .move_limit = more >> 3 & 3,
        .accept = what & 128 ? accept : NULL,
        .accepted = more >> 5 & 1,
        .limits = {more & 1, more & 64, more & 128},
        .watch = more >> 4,
    };
    wgvx_place places[2] = {{.port = 1 + (more & 3)}, {.vtep_length = more & 4 ? 16 : 4}};
    put_address(places[1].vtep, FIRST_PEER + more % PEERS, more & 4);
    static const uint8_t zero[6] = {1, 0, 0x5E};
    /* What is pending refers to it, until node_check() has looked. */
    static uint8_t frame[60];
    memcpy(frame, (uint8_t[14]){3, 'w', 'g', 'v', 'x', 0, 2, 0, 0, 0, 0, 9, 0x88, 0xB6}, 14);
    switch (what >> 1 & 3) {
    case 0:
        wgvx_set_network(node->dp, vni, &rules);
        break;
    case 1:
        wgvx_set_group(node->dp, vni, what & 16 ? mac : zero, what & 32 ? NULL : places,
                       (what >> 6 & 1) + 1);
        break;
    case 2:
        wgvx_set_blocked(node->dp, 1 + (more & 3), what & 16);
        if (what & 32)
            wgvx_forget_port(node->dp, 1 + (more & 3));
        break;
    default:
        memcpy(frame, mac, what & 16 ? 6 : 0);
        if (what & 32)
            wgvx_send_frame(node->dp, vni, places, 2, frame, sizeof frame, node->now);
        else
            wgvx_forward_frame(node->dp, vni, &places[what >> 6 & 1], frame, sizeof frame,
                               node->now, more & 8 ? places : NULL, 2);
    }
}

void node_edit(struct node *node, struct bytes *from)
{
    static const uint64_t jumps[] = {1, SECOND, 10 * SECOND, 120 * SECOND, 165 * SECOND,
                                     180 * SECOND, 300 * SECOND};
    uint8_t what = take8(from);
    if (what < 0xA0) {
        edit_peer(node, FIRST_PEER + what % PEERS, what / PEERS % 12, from);
    } else if (what < 0xC0) {
        edit_fdb(node, from);
    } else if (what < 0xD0) {
        node->now += jumps[what % (sizeof jumps / sizeof *jumps)];
    } else if (what < 0xD8) {
        node_set_mtu(node, take16(from));
    } else if (what < 0xE0) {
        wgvx_set_forward(node->dp, what & 1);
    } else if (what < 0xE8) {
        wgvx_age(node->dp, node->now);
    } else if (what < 0xEC) {
        wgvx_expire_sending_keys(node->dp);
    } else {
        edit_network(node, from);
    }
    node_check(node);
}
