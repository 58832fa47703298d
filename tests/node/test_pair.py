"""Two nodes and real UDP between them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from pathlib import Path

import pytest

from tests.node.sites import (
    NETWORK,
    config,
    deliver,
    dropped,
    frame,
    joined,
    peer,
    peer_of,
    point,
    port_of,
    private,
    public,
    running,
    until,
)
from tests.support.running import Run
from wgvx.drops import Reason
from wgvx.node import Node
from wgvx.underlay import UnderlayError, format_endpoint
from wgvx.wireguard import noise
from wgvx.wireguard.cookie import CookieHolder

MALFORMED_LENGTHS = (0, 1, 3, 4, 31, 32, 64, 92, 148, 1500, 65507)


def address_of(node: Node, number: int) -> str | None:
    """Where a node believes its peer to be."""
    endpoint = node.dataplane.endpoint(peer_of(node, number).id)
    return format_endpoint(endpoint) if endpoint else None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_frames_go_both_ways(host: str, run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, host) as (near, far):
            await deliver(port_of(near), port_of(far), b"there")
            await deliver(port_of(far), port_of(near), b"back")
            # The far end was never told where the near one is.
            shown = f"[{host}]" if ":" in host else host
            assert address_of(far, 1) == f"{shown}:{near.listen_port}"
            for one, other in ((near, 2), (far, 1)):
                counters = one.dataplane.peer_counters(peer_of(one, other).id)
                assert counters.rx_bytes > 148
                assert one.engine.device.latest_handshake(peer_of(one, other).id) > 0
                assert dropped(one) == {}

    run(scenario())


def test_a_burst_over_many_turns_arrives_in_order(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"first")
            sent = [
                frame(port_of(near), port_of(far), number.to_bytes(4, "big"))
                for number in range(300)
            ]
            for one in sent:
                assert port_of(near).inject(one)
            arrived: list[bytes] = []

            def all_there() -> bool:
                arrived.extend(port_of(far).take())
                return len(arrived) >= len(sent)

            await until(all_there)
            assert arrived == sent

    run(scenario())


def test_a_host_without_ipv6(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def __init__(
            self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, kind, proto, fileno)

    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            with monkeypatch.context() as patched:
                patched.setattr(socket, "socket", Socket)
                async with running(config(tmp_path, 1, peer(2), NETWORK)) as near:
                    point(near, 2, "127.0.0.1", far.listen_port)
                    await deliver(port_of(near), port_of(far), b"there")
                    await deliver(port_of(far), port_of(near), b"back")
                    # An endpoint of the family that is not there: dropped by name, no more.
                    point(near, 2, "::1", far.listen_port)
                    port_of(near).inject(frame(port_of(near), port_of(far), b"nowhere"))
                    await until(lambda: dropped(near).get(Reason.UNREACHABLE, 0) > 0)

    run(scenario())


def test_garbage_of_every_length_does_not_end_the_loop(run: Run, tmp_path: Path) -> None:
    draw = random.Random(7)

    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            before = sum(far.dataplane.drops().values())
            sent = 0
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for kind in range(6):
                    for length in MALFORMED_LENGTHS:
                        head = kind.to_bytes(4, "little")
                        data = (head + draw.randbytes(length))[:length]
                        attacker.sendto(data, ("127.0.0.1", far.listen_port))
                        sent += 1
                        await asyncio.sleep(0)
            await until(lambda: sum(far.dataplane.drops().values()) - before == sent)
            assert set(dropped(far)) <= {
                Reason.MALFORMED,
                Reason.BAD_MAC1,
                Reason.UNKNOWN_INDEX,
            }
            await deliver(port_of(near), port_of(far), b"after")
            assert address_of(far, 1) == f"127.0.0.1:{near.listen_port}"

    run(scenario())


def test_oversized_and_short_frames_do_not_end_the_loop(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            # Tunnel MTU - IPv4 - UDP - VXLAN: the largest frame, whatever the port's own MTU.
            largest = near.tunnel_mtu - 20 - 8 - 8
            assert (near.tunnel_mtu, port_of(near).mtu) == (1420, 1350)
            for size in (0, 1, 13, largest + 1, 9000, 70000):
                assert port_of(near).inject(frame(port_of(near), port_of(far), bytes(size))[:size])
            fits = frame(port_of(near), port_of(far), bytes(largest))[:largest]
            assert port_of(near).inject(fits)
            seen: list[bytes] = []

            def arrived() -> bool:
                seen.extend(port_of(far).take())
                return fits in seen

            await until(arrived)
            assert dropped(near)[Reason.SHORT_FRAME] == 3
            assert dropped(near)[Reason.TOO_BIG] == 3
            assert not any(len(one) > largest for one in seen)

    run(scenario())


def test_the_answer_leaves_from_the_address_that_was_addressed(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, "127.0.0.2") as (near, far):
            await deliver(port_of(near), port_of(far), b"there")
            await deliver(port_of(far), port_of(near), b"back")
            # Had the far end answered from another address, the near one would have roamed there.
            assert address_of(near, 2) == f"127.0.0.2:{far.listen_port}"
            endpoint = far.dataplane.endpoint(peer_of(far, 1).id)
            assert endpoint is not None
            assert socket.inet_ntoa(endpoint.local) == "127.0.0.2"
            # That address goes away: a packet falls over to another, and the peer follows.
            gone = endpoint._replace(local=socket.inet_aton("192.0.2.77"))
            far.dataplane.set_endpoint(peer_of(far, 1).id, gone)
            await deliver(port_of(far), port_of(near), b"from elsewhere")
            assert address_of(near, 2) == f"127.0.0.1:{far.listen_port}"
            assert dropped(far) == {}

    run(scenario())


def test_another_listen_port_while_running(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            old = near.listen_port
            near.set_listen_port(old)
            assert near.listen_port == old
            near.set_listen_port(0)
            assert near.listen_port != old
            await deliver(port_of(near), port_of(far), b"after")
            await deliver(port_of(far), port_of(near), b"and back")
            assert address_of(far, 1) == f"127.0.0.1:{near.listen_port}"
            # One that is taken: it stays where it was, and goes on.
            stayed = near.listen_port
            with pytest.raises(UnderlayError, match=f"UDP port {far.listen_port} is already"):
                near.set_listen_port(far.listen_port)
            assert near.listen_port == stayed
            await deliver(port_of(far), port_of(near), b"still")
            # The old port was given back.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", old))

    run(scenario())


def test_an_initiation_flood_leaves_the_data_flowing(run: Run, tmp_path: Path) -> None:
    """More than a queue of handshakes with good mac1 and no peer behind them."""

    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            _, message = noise.create_initiation(
                static_private=private(9),
                static_public=public(9),
                remote_static=public(2),
                ephemeral_private=private(8),
                sender_index=5,
                timestamp=bytes(12),
            )
            stranger = CookieHolder(public(2)).add_macs(message.pack(), 1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for number in range(2000):
                    attacker.sendto(stranger, ("127.0.0.1", far.listen_port))
                    if number % 200 == 0:
                        await asyncio.sleep(0)
            await deliver(port_of(near), port_of(far), b"during")
            await until(lambda: not far.engine.has_handshakes())
            assert set(dropped(far)) <= {
                Reason.HANDSHAKE_FAILED,
                Reason.HANDSHAKE_RATE,
                Reason.BAD_MAC2,
            }

    run(scenario())
