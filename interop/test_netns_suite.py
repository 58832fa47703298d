"""The kernel's own suite, tools/testing/selftests/wireguard/netns.sh, case by case.

Each of its cases is played over the overlay, between wgvx and the other implementations; the table
says where. ``python -m interop.test_netns_suite`` prints it.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent

CASES = {
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
        "not here: wgvx's socket stays where it was started. Its TAP may be in another namespace: "
        "tests/netns/test_pair.py"
    ),
}
"""The case -> module::test, or why there is none."""


def table() -> str:
    """The cases in Markdown."""
    rows = [f"| {case} | {where} |" for case, where in CASES.items()]
    return "\n".join(["| netns.sh | here |", "|---|---|", *rows])


def test_the_table_names_tests_that_exist() -> None:
    for case, where in CASES.items():
        if where.startswith("not here: "):
            continue
        module, _, name = where.partition("::")
        text = (HERE / f"{module}.py").read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), case


def test_every_test_of_the_suite_is_in_the_table() -> None:
    for module in ("test_netns_traffic", "test_netns_routes", "test_netns_keys"):
        for name in re.findall(r"^def (test_\w+)\(", (HERE / f"{module}.py").read_text(), re.M):
            assert f"{module}::{name}" in CASES.values()


if __name__ == "__main__":
    print(table())
