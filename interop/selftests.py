"""Which of the kernel's VXLAN selftests became which test here, and why some did not."""

from __future__ import annotations

SELFTESTS = {
    "forwarding/vxlan_bridge_1d.sh: flood": "test_flood",
    "forwarding/vxlan_bridge_1d.sh: flood, unresolved FDB entry": "test_flood",
    "forwarding/vxlan_bridge_1d.sh: unicast": "test_unicast",
    "forwarding/vxlan_bridge_1d.sh: envelope TTL": "test_headers_of_tunnel_packets",
    "forwarding/vxlan_bridge_1d.sh: envelope TOS": "test_headers_of_tunnel_packets",
    "forwarding/vxlan_bridge_1d.sh: ECN encap": "test_headers_of_tunnel_packets",
    "forwarding/vxlan_bridge_1d.sh: ECN decap": "test_ecn_decap",
    "forwarding/vxlan_bridge_1d.sh: learning": "test_learning",
    "forwarding/vxlan_bridge_1d.sh: deletion of a learned entry": "test_learning",
    "forwarding/vxlan_bridge_1d.sh: ageing": "test_ageing",
    "forwarding/vxlan_bridge_1d.sh: nolearning": "test_ends_that_do_not_learn",
    "forwarding/vxlan_bridge_1d.sh: learning toggled": "test_learning_toggled",
    "forwarding/vxlan_bridge_1d.sh: behind a bridge": (
        "test_three_sites.test_a_machine_moves_from_site_to_site"
    ),
    "forwarding/vxlan_bridge_1d_ipv6.sh": "as vxlan_bridge_1d.sh: the bench with IPv6 tunnels",
    "forwarding/vxlan_bridge_1d_port_8472.sh": "no: udp_port is a number like another",
    "forwarding/vxlan_bridge_1q.sh": "no: wgvx has no VLAN-aware bridge; tags pass as they are",
    "forwarding/vxlan_bridge_1q_mc_ul.sh": "no: a WireGuard underlay has no multicast",
    "forwarding/vxlan_reserved.sh: default": "test_reserved_bits",
    "forwarding/vxlan_reserved.sh: reserved_bits MASK": "no: wgvx has no such setting",
    "forwarding/vxlan_asymmetric.sh": "test_two_networks_over_one_tunnel",
    "forwarding/vxlan_symmetric.sh": "no: routing between VNIs is the host's, not the VTEP's",
    "forwarding/dual_vxlan_bridge.sh": "test_two_networks_over_one_tunnel",
    "forwarding/q_in_vni.sh": "test_traffic.test_every_kind_of_frame_arrives_as_it_was_sent",
    "test_vxlan_fdb_changelink.sh": "test_learning_toggled",
    "fdb_flush.sh": "test_fdb.test_flush",
    "fdb_notify.sh": "no: netlink notifications, which wgvx has none of",
    "test_vxlan_mdb.sh": "no: wgvx has group MACs in its FDB and no MDB",
    "test_vxlan_nh.sh": "no: next-hop objects",
    "test_vxlan_nolocalbypass.sh": "no: two devices of one host; wgvx never sends to itself",
    "test_vxlan_under_vrf.sh": "no: VRFs of the underlay are WireGuard's socket's business",
    "test_vxlan_vnifiltering.sh": "no: one device for many VNIs; wgvx has a network for each",
    "test_bridge_neigh_suppress.sh": "no: wgvx does not answer ARP or ND for others",
}
"""Script in tools/testing/selftests/net of Linux, and its case -> test, or why there is none.

A test without a module is one of test_vxlan_selftests.py.
"""
