"""The kernel's own suites, case by case: which test here plays one, or why none does.

They are in tools/testing/selftests of Linux. A test is ``module::name``; what has none begins
with "none: ".
"""

from __future__ import annotations

NETNS_SH = {
    "ping, IPv4 and IPv6, both ways": "test_traffic::test_neighbours",
    "TCP, IPv4 and IPv6": "test_traffic::test_tcp_arrives_whole",
    "UDP, IPv4 and IPv6": "test_netns_traffic::test_udp",
    "4, 5 and 50 TCP streams in parallel": "test_netns_traffic::test_parallel_tcp",
    "exact byte counters, latest handshake": (
        "test_netns_traffic::test_each_byte_is_counted_and_the_handshake_told"
    ),
    "huge MTU": "test_mtu::test_tunnels_larger_than_the_underlay",
    "outer IPv6": "test_mtu::test_an_underlay_filled_to_the_byte",
    "route MTU 1299, padding": "test_netns_routes::test_padding_stops_at_the_mtu_of_the_route",
    "roaming, IPv4 and IPv6": "test_roaming::test_to_other_addresses_families_and_ports",
    "more specific prefix on another peer: no delivery, yet the endpoint moves": (
        "test_netns_routes::test_a_prefix_of_another_peer_blocks_but_the_endpoint_moves"
    ),
    "change of the private key, handshake at once": "test_contact::test_we_get_a_new_key",
    "tunnel in tunnel": "test_netns_routes::test_a_tunnel_in_the_tunnel",
    "routing loop": "test_netns_routes::test_a_routing_loop_ends_when_the_other_end_is_heard",
    "NAT with conntrack of 2 s": "test_roaming::test_a_nat_that_forgets",
    "persistent keepalive of 1 s": "test_roaming::test_a_keepalive_each_second_holds_a_nat_open",
    "bound to the interface": "test_netns_routes::test_bound_to_the_overlay",
    "fwmark and default route, as wg-quick": (
        "test_netns_routes::test_everything_but_the_tunnel_goes_through_the_tunnel"
    ),
    "onion routing, self-loop": (
        "test_netns_routes::test_a_peer_behind_a_peer_and_one_that_is_ourselves"
    ),
    "source address sticky, falls over when removed": (
        "test_netns_routes::test_the_source_is_where_we_were_called"
    ),
    "reply to sender": "test_netns_routes::test_the_source_is_where_we_were_called",
    "better route in mid-session": "test_netns_routes::test_a_better_route_in_mid_session",
    "130,560 allowed IPs of one peer": "test_netns_keys::test_130560_prefixes_of_one_peer",
    "40 peers of 52 prefixes": "test_netns_keys::test_40_peers_of_52_prefixes",
    "peers without allowed IPs": "test_netns_keys::test_peers_without_prefixes",
    "keys and PSK set, shown, cleared": "test_netns_keys::test_keys_are_set_shown_and_cleared",
    "ourselves as a peer: ignored": "test_netns_keys::test_ourselves_as_a_peer_is_ignored",
    "private key clamped on read-back": (
        "test_netns_keys::test_a_private_key_is_clamped_on_read_back"
    ),
    "overlapping prefixes replaced over and over": (
        "test_netns_keys::test_overlapping_prefixes_move_over_and_over"
    ),
    "keys of small order send nothing": "test_netns_keys::test_keys_of_small_order_send_nothing",
    "devices created and destroyed: no leak": (
        "test_netns_keys::test_nodes_that_come_and_go_leave_nothing"
    ),
    "peers created and destroyed: no leak": (
        "test_netns_keys::test_peers_that_come_and_go_leave_nothing"
    ),
    "device moved between namespaces": (
        "none: wgvx's socket stays where it was started. Its TAP may be in another namespace: "
        "tests/netns/test_pair.py"
    ),
}
"""wireguard/netns.sh, over the overlay."""

VXLAN = {
    "vxlan_bridge_1d.sh: flood": "test_vxlan_selftests::test_flood",
    "vxlan_bridge_1d.sh: flood, unresolved FDB entry": "test_vxlan_selftests::test_flood",
    "vxlan_bridge_1d.sh: unicast": "test_vxlan_selftests::test_unicast",
    "vxlan_bridge_1d.sh: envelope TTL": "test_vxlan_selftests::test_headers_of_tunnel_packets",
    "vxlan_bridge_1d.sh: envelope TOS": "test_vxlan_selftests::test_headers_of_tunnel_packets",
    "vxlan_bridge_1d.sh: ECN encap": "test_vxlan_selftests::test_headers_of_tunnel_packets",
    "vxlan_bridge_1d.sh: ECN decap": "test_vxlan_selftests::test_ecn_decap",
    "vxlan_bridge_1d.sh: learning": "test_vxlan_selftests::test_learning",
    "vxlan_bridge_1d.sh: deletion of a learned entry": "test_vxlan_selftests::test_learning",
    "vxlan_bridge_1d.sh: ageing": "test_vxlan_selftests::test_ageing",
    "vxlan_bridge_1d.sh: nolearning": "test_vxlan_selftests::test_ends_that_do_not_learn",
    "vxlan_bridge_1d.sh: learning toggled": "test_vxlan_selftests::test_learning_toggled",
    "vxlan_bridge_1d.sh: behind a bridge": (
        "test_three_sites::test_a_machine_moves_from_site_to_site"
    ),
    "vxlan_bridge_1d_ipv6.sh": "test_vxlan_selftests::bench",
    "vxlan_bridge_1d_port_8472.sh": "none: udp_port is a number like another",
    "vxlan_bridge_1q.sh": "none: wgvx has no VLAN-aware bridge; tags pass as they are",
    "vxlan_bridge_1q_mc_ul.sh": "none: a WireGuard underlay has no multicast",
    "vxlan_reserved.sh: default": "test_vxlan_selftests::test_reserved_bits",
    "vxlan_reserved.sh: reserved_bits MASK": "none: wgvx has no such setting",
    "vxlan_asymmetric.sh": "test_vxlan_selftests::test_two_networks_over_one_tunnel",
    "vxlan_symmetric.sh": "none: routing between VNIs is the host's, not the VTEP's",
    "dual_vxlan_bridge.sh": "test_vxlan_selftests::test_two_networks_over_one_tunnel",
    "q_in_vni.sh": "test_traffic::test_every_kind_of_frame_arrives_as_it_was_sent",
    "test_vxlan_fdb_changelink.sh": "test_vxlan_selftests::test_learning_toggled",
    "fdb_flush.sh": "test_fdb::test_flush",
    "fdb_notify.sh": "none: netlink notifications, which wgvx has none of",
    "test_vxlan_mdb.sh": "none: wgvx has group MACs in its FDB and no MDB",
    "test_vxlan_nh.sh": "none: next-hop objects",
    "test_vxlan_nolocalbypass.sh": "none: two devices of one host; wgvx never sends to itself",
    "test_vxlan_under_vrf.sh": "none: VRFs of the underlay are WireGuard's socket's business",
    "test_vxlan_vnifiltering.sh": "none: one device for many VNIs; wgvx has a network for each",
    "test_bridge_neigh_suppress.sh": "none: wgvx does not answer ARP or ND for others",
}
"""net/ and net/forwarding/, the scripts for VXLAN."""
