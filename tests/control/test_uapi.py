"""The UAPI: what get shows, what a set does, and that a bad one changes nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.sites import (
    NETWORK,
    VNI,
    config,
    deliver,
    joined,
    make_node,
    peer,
    peer_of,
    point,
    port_of,
    private,
    public,
    running,
)
from tests.support.running import Run
from wgvx.control.uapi import Operation, get
from wgvx.keys import clamped
from wgvx.node import Node
from wgvx.pump import clock
from wgvx.vxlan.fdb import FLOOD, Remote

KEY = "11" * 32
INVALID, NO_EQUALS = "errno=-22\n\n", "errno=-71\n\n"
DONE = "errno=0\n\n"


def tell(node: Node, *lines: str) -> str | None:
    """The answer to one operation."""
    operation = Operation()
    for line in lines:
        operation.read(line)
    return operation.answer(node)


def set_(node: Node, *lines: str) -> str | None:
    return tell(node, "set=1", *lines)


def shown(node: Node) -> list[tuple[str, str]]:
    """What get says, but for the counters."""
    pairs = [line.partition("=") for line in get(node).splitlines() if line]
    return [(key, value) for key, _, value in pairs if not key.endswith("x_bytes")]


def of(node: Node, key: str) -> list[str]:
    return [value for name, value in shown(node) if name == key]


def hexed(number: int) -> str:
    return public(number).hex()


# What get says.


def test_get_of_a_new_node(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        there = peer(2, 'endpoint = "127.0.0.1:9"', "persistent_keepalive = 25")
        async with running(config(tmp_path, 1, there, NETWORK)) as node:
            answer = tell(node, "get=1")
            assert answer is not None
            assert answer.endswith("\nerrno=0\n\n")
            pairs = [line.partition("=")[::2] for line in answer.splitlines() if line]
            counted = dict(pairs)
            assert pairs == [
                ("private_key", clamped(private(1)).hex()),
                ("listen_port", str(node.listen_port)),
                ("public_key", hexed(2)),
                ("preshared_key", "00" * 32),
                ("protocol_version", "1"),
                ("endpoint", "127.0.0.1:9"),
                ("last_handshake_time_sec", "0"),
                ("last_handshake_time_nsec", "0"),
                ("tx_bytes", counted["tx_bytes"]),
                ("rx_bytes", "0"),
                ("persistent_keepalive_interval", "25"),
                ("allowed_ip", "10.254.0.2/32"),
                ("allowed_ip", "fd00::2/128"),
                ("errno", "0"),
            ]

    run(scenario())


def test_what_was_set_is_shown(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, NETWORK)) as node:
            assert (
                set_(
                    node,
                    f"private_key={KEY}",
                    f"public_key={hexed(2)}",
                    f"preshared_key={'22' * 32}",
                    "endpoint=[::1]:9",
                    "persistent_keepalive_interval=7",
                    "allowed_ip=10.9.8.7/8",
                    "allowed_ip=fd00::2",
                )
                == DONE
            )
            assert shown(node)[0] == ("private_key", clamped(bytes.fromhex(KEY)).hex())
            assert shown(node)[2:] == [
                ("public_key", hexed(2)),
                ("preshared_key", "22" * 32),
                ("protocol_version", "1"),
                ("endpoint", "[::1]:9"),
                ("last_handshake_time_sec", "0"),
                ("last_handshake_time_nsec", "0"),
                ("persistent_keepalive_interval", "7"),
                ("allowed_ip", "10.0.0.0/8"),
                ("allowed_ip", "fd00::2/128"),
                ("errno", "0"),
            ]
            assert set_(node, "private_key=" + "00" * 32) == DONE
            assert of(node, "private_key") == []
            assert set_(node, f"public_key={hexed(2)}", "preshared_key=" + "00" * 32) == DONE
            assert of(node, "preshared_key") == ["00" * 32]

    run(scenario())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["get=2"],
        ["get"],
        ["set=2"],
        ["set"],
        ["nonsense"],
        ["get=1", "x=1"],
        ["x", "get=1"],
    ],
    ids=str,
)
def test_an_unknown_operation_ends_the_connection(
    lines: list[str], run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, NETWORK)) as node:
            assert tell(node, *lines) is None

    run(scenario())


# What a set does.


@pytest.mark.parametrize("bad", ["allowed_ip=10.0.0.0/99", "nonsense"])
def test_a_bad_line_in_the_middle_changes_nothing(bad: str, run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            before = shown(node)
            answer = set_(
                node,
                f"private_key={KEY}",
                "listen_port=0",
                "replace_peers=true",
                f"public_key={hexed(3)}",
                "allowed_ip=10.0.0.0/8",
                bad,
                f"public_key={hexed(4)}",
            )
            assert answer == (NO_EQUALS if bad == "nonsense" else INVALID)
            assert shown(node) == before
            assert node.engine.device.public_key == public(1)

    run(scenario())


def test_the_first_mistake_is_the_one_that_is_told(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1)) as node:
            assert set_(node, "nonsense", "listen_port=x") == NO_EQUALS
            assert set_(node, "listen_port=x", "nonsense") == INVALID
            assert set_(node) == DONE

    run(scenario())


def test_replace_peers_remove_and_update_only(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), peer(3), NETWORK)) as node:
            assert set_(node, f"public_key={hexed(4)}", "update_only=true") == DONE
            assert of(node, "public_key") == [hexed(2), hexed(3)]
            assert set_(node, f"public_key={hexed(4)}", "remove=true") == DONE
            assert of(node, "public_key") == [hexed(2), hexed(3)]
            update = (f"public_key={hexed(3)}", "update_only=true", "allowed_ip=10.3.0.0/16")
            assert set_(node, *update) == DONE
            assert "10.3.0.0/16" in of(node, "allowed_ip")
            assert set_(node, f"public_key={hexed(2)}", "remove=true") == DONE
            assert of(node, "public_key") == [hexed(3)]
            assert set_(node, "replace_peers=true", f"public_key={hexed(5)}") == DONE
            assert of(node, "public_key") == [hexed(5)]
            assert of(node, "allowed_ip") == []
            assert set_(node, "replace_peers=true") == DONE
            assert of(node, "public_key") == []

    run(scenario())


def test_our_own_key_as_a_peer_is_ignored(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            answer = set_(
                node,
                f"public_key={hexed(1)}",
                "allowed_ip=10.254.0.2/32",
                f"public_key={hexed(3)}",
            )
            assert answer == DONE
            assert of(node, "public_key") == [hexed(2), hexed(3)]
            assert of(node, "allowed_ip") == ["10.254.0.2/32", "fd00::2/128"]

    run(scenario())


def test_a_private_key_that_is_a_peers_removes_the_peer(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), peer(3), NETWORK)) as node:
            assert set_(node, f"private_key={private(2).hex()}", f"public_key={hexed(2)}") == DONE
            assert of(node, "public_key") == [hexed(3)]
            assert flood(node) == ["10.254.0.3"]

    run(scenario())


def test_saying_the_same_private_key_expires_nothing(run: Run, tmp_path: Path) -> None:
    """`wg syncconf` says it every time."""

    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            known = near.engine.device.latest_handshake(peer_of(near, 2).id)
            for spelling in (private(1), clamped(private(1))):
                assert set_(near, f"private_key={spelling.hex()}") == DONE
                await deliver(port_of(near), port_of(far), b"after " + spelling)
            assert near.engine.device.latest_handshake(peer_of(near, 2).id) == known

    run(scenario())


def test_a_new_private_key_is_used_at_once(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(tmp_path, 1, peer(2), NETWORK)) as near,
            running(config(tmp_path, 2, peer(1), peer(3), NETWORK)) as far,
        ):
            point(near, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(near), port_of(far), b"before")
            assert set_(near, f"private_key={private(3).hex()}") == DONE
            far.dataplane.add_allowed_ip(peer_of(far, 3).id, (bytes((10, 254, 0, 1)), 32))
            await asyncio.sleep(0.03)  # Less, and an initiation is refused for its rate.
            await deliver(port_of(near), port_of(far), b"after")
            assert far.engine.device.latest_handshake(peer_of(far, 3).id)

    run(scenario())


def test_an_allowed_ip_moves_between_peers(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), peer(3), NETWORK)) as node:
            assert set_(node, f"public_key={hexed(3)}", "allowed_ip=10.254.0.2/32") == DONE
            ids = [peer_of(node, number).id for number in (2, 3)]
            address = bytes((10, 254, 0, 2))
            assert node.dataplane.route(address) == ids[1]
            assert (address, 32) not in node.dataplane.allowed_ips(ids[0])
            # Taken away by one that has it not: nothing happens.
            assert set_(node, f"public_key={hexed(2)}", "allowed_ip=-10.254.0.2/32") == DONE
            assert node.dataplane.route(address) == ids[1]
            assert set_(node, f"public_key={hexed(3)}", "allowed_ip=-10.254.0.2/32") == DONE
            assert node.dataplane.route(address) is None
            assert set_(node, f"public_key={hexed(3)}", "replace_allowed_ips=true") == DONE
            assert node.dataplane.allowed_ips(ids[1]) == []

    run(scenario())


def test_the_listen_port_changes_while_running(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            old = near.listen_port
            assert set_(near, "listen_port=0") == DONE
            assert of(near, "listen_port") == [str(near.listen_port)] != [str(old)]
            await deliver(port_of(near), port_of(far), b"after")
            await deliver(port_of(far), port_of(near), b"back")
            taken = set_(near, f"listen_port={far.listen_port}", "replace_peers=true")
            assert taken == f"errno={-errno.EADDRINUSE}\n\n"
            assert of(near, "public_key") == [hexed(2)]
            await deliver(port_of(far), port_of(near), b"still")

    run(scenario())


def test_an_endpoint_and_a_keepalive_speak_at_once(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(tmp_path, 1, peer(2))) as near,
            running(config(tmp_path, 2, peer(1))) as far,
        ):
            lines = (
                f"endpoint=127.0.0.1:{far.listen_port}",
                "persistent_keepalive_interval=9",
            )
            assert set_(near, f"public_key={hexed(2)}", *lines) == DONE
            for _ in range(500):
                if far.engine.device.latest_handshake(peer_of(far, 1).id):
                    break
                await asyncio.sleep(0.01)
            assert far.engine.device.latest_handshake(peer_of(far, 1).id)

    run(scenario())


# The flood list follows the peers.


def flood(node: Node) -> list[str]:
    return [
        socket.inet_ntoa(row.where.vtep)
        for row in node.dataplane.fdb_rows(VNI, clock())
        if row.mac == FLOOD and isinstance(row.where, Remote)
    ]


def test_the_flood_list_follows_the_peers_and_keeps_hand_edits(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), peer(3), NETWORK)) as node:
            plane = node.dataplane
            assert flood(node) == ["10.254.0.2", "10.254.0.3"]
            plane.fdb_add(VNI, FLOOD, bytes((10, 254, 0, 99)))
            plane.fdb_delete(VNI, FLOOD, bytes((10, 254, 0, 2)))
            assert set_(node, f"public_key={hexed(4)}", "allowed_ip=10.254.0.4/32") == DONE
            assert flood(node) == ["10.254.0.3", "10.254.0.99", "10.254.0.4"]
            assert set_(node, f"public_key={hexed(3)}", "remove=true") == DONE
            assert flood(node) == ["10.254.0.99", "10.254.0.4"]
            # A peer's first host address is another one.
            lines = ("replace_allowed_ips=true", "allowed_ip=10.0.0.0/8", "allowed_ip=10.254.0.5")
            assert set_(node, f"public_key={hexed(4)}", *lines) == DONE
            assert flood(node) == ["10.254.0.99", "10.254.0.5"]
            assert set_(node, "replace_peers=true") == DONE
            assert flood(node) == ["10.254.0.99"]

    run(scenario())


def test_remotes_that_are_configured_do_not_follow(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        remotes = NETWORK + 'remotes = ["10.254.0.2"]\n'
        async with running(config(tmp_path, 1, peer(2), remotes)) as node:
            assert (
                set_(node, "replace_peers=true", f"public_key={hexed(3)}", "allowed_ip=10.254.0.3")
                == DONE
            )
            assert flood(node) == ["10.254.0.2"]

    run(scenario())


# In any order.


PEERS = st.integers(1, 4).map(lambda number: f"public_key={hexed(number)}")
PREFIXES = st.sampled_from(["10.254.0.2/32", "10.254.0.3/32", "10.0.0.0/8", "fd00::2/128", "::/0"])
CHANGES = st.lists(
    PEERS
    | PREFIXES.map(lambda prefix: f"allowed_ip={prefix}")
    | PREFIXES.map(lambda prefix: f"allowed_ip=-{prefix}")
    | st.sampled_from(
        [
            *("remove=true", "update_only=true", "replace_allowed_ips=true"),
            *("endpoint=127.0.0.1:9", "persistent_keepalive_interval=0"),
            *("persistent_keepalive_interval=1", f"preshared_key={KEY}"),
        ]
    ),
    max_size=8,
)
HEADS = st.lists(
    st.sampled_from(
        [
            "replace_peers=true",
            f"private_key={private(1).hex()}",
            f"private_key={private(2).hex()}",
            "private_key=" + "00" * 32,
        ]
    ),
    max_size=2,
)


def test_no_order_of_changes_raises(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:

            @settings(max_examples=150)
            @given(HEADS, CHANGES)
            def change(head: list[str], lines: list[str]) -> None:
                assert set_(node, *head, *lines) in (DONE, INVALID)
                prefixes = of(node, "allowed_ip")
                assert len(prefixes) == len(set(prefixes))
                keys = of(node, "public_key")
                assert len(keys) == len(set(keys))
                own = node.engine.device.public_key
                assert own is None or own.hex() not in keys
                node._on_timer()

            change()

    run(scenario())


def test_a_node_that_is_not_configured_for_it_survives_a_node_with_no_key(
    run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        node = make_node(config(tmp_path, 1, peer(2, 'endpoint = "127.0.0.1:9"'), NETWORK))
        await node.start()
        assert set_(node, "private_key=" + "00" * 32) == DONE
        port_of(node).inject(b"\xff" * 6 + port_of(node).mac + bytes(50))
        await asyncio.sleep(0.02)
        assert set_(node, f"public_key={hexed(1)}") == DONE  # No longer our own.
        assert of(node, "public_key") == [hexed(2), hexed(1)]
        await node.close()

    run(scenario())
