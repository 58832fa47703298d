"""From start to end: what fails half-way, what disappears, and what is left."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.config.files import FDB
from tests.node.sites import (
    NETWORK,
    config,
    deliver,
    dropped,
    frame,
    joined,
    make_node,
    peer,
    point,
    port_of,
    running,
    until,
)
from tests.support.running import Run, descriptors
from wgvx.config import ConfigError
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.drops import Reason
from wgvx.node import Node
from wgvx.ports.errors import PortError
from wgvx.ports.memory import MemoryPort
from wgvx.ports.memory_maker import MemoryMaker
from wgvx.ports.request import TapRequest
from wgvx.underlay import UnderlayError, open_sockets

TWO = NETWORK + '[[network]]\nvni = 4201\ntap = "m1"\n'
BRIDGE = (
    '[[network]]\nvni = 4200\nattach = [{ type = "tap", name = "m0" }, '
    '{ type = "tap", name = "m1" }]\n'
)


def test_a_place_for_a_vm_that_cannot_be_is_named_as_in_the_file(run: Run, tmp_path: Path) -> None:
    entry = '{ type = "stream", name = "vm1", listen = "none/vm.sock" }'
    configured = config(tmp_path, 1, f"[[network]]\nvni = 4200\nattach = [{entry}]\n")

    async def scenario() -> None:
        node = make_node(configured)
        with pytest.raises(PortError) as caught:
            await node.start()
        assert str(caught.value) == (
            f"{configured.path}: network 4200: VM vm1, listen: {tmp_path}/none/vm.sock: "
            "No such file or directory"
        )
        await node.close()

    run(scenario())


class BadMaker(MemoryMaker):
    """Fails at the second port, or when it is said to be ready."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.closed = 0

    def tap(self, request: TapRequest) -> MemoryPort:
        if self.at == request.name:
            raise PortError(f"TAP {request.name}: there is none to be had")
        return super().tap(request)

    def ready(self) -> None:
        if self.at == "ready":
            raise PortError("the helper is gone")

    def close(self) -> None:
        self.closed += 1
        super().close()


@pytest.mark.parametrize("at", ["m0", "m1", "ready"])
def test_a_start_that_fails_half_way_leaves_nothing(at: str, run: Run, tmp_path: Path) -> None:
    maker = BadMaker(at)

    async def scenario() -> None:
        before = descriptors()
        node = make_node(config(tmp_path, 1, peer(2, 'endpoint = "127.0.0.1:9"'), TWO), maker)
        with pytest.raises(PortError):
            await node.start()
        port = node.listen_port
        await node.close()
        assert descriptors() == before
        assert maker.closed == 1
        for one in open_sockets(port, 0):
            one.close()

    run(scenario())


def test_a_provision_that_fails_leaves_nothing(run: Run, tmp_path: Path) -> None:
    def provision() -> MemoryMaker:
        raise PortError("no namespace for this user")

    async def scenario() -> None:
        before = descriptors()
        node = Node(config(tmp_path, 1, TWO), ReferenceDataPlane(), provision)
        with pytest.raises(PortError, match="no namespace for this user"):
            await node.start()
        assert node.namespace(None) is None
        await node.close()
        assert descriptors() == before

    run(scenario())


def test_a_node_without_networks_provisions_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(config(tmp_path, 1, peer(2)), ReferenceDataPlane(), None)
        await node.start()
        assert node.namespace(None) is None
        await node.close()

    run(scenario())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_address_in_use_names_the_port(family: int, run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        before = descriptors()
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            if family == socket.AF_INET6:
                other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind(("", 0))
            port = other.getsockname()[1]
            configured = config(tmp_path, 1, NETWORK)
            node = make_node(replace(configured, node=replace(configured.node, listen_port=port)))
            with pytest.raises(UnderlayError, match=f"UDP port {port} is already in use"):
                await node.start()
            await node.close()
        assert descriptors() == before

    run(scenario())


def test_closing_before_the_start_and_twice(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        node = make_node(config(tmp_path, 1, NETWORK))
        node.stop()
        await node.close()
        node = make_node(config(tmp_path, 1, NETWORK))
        await node.start()
        await node.close()
        await node.close()

    run(scenario())


def test_a_stop_during_the_start_is_not_lost(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with running(config(tmp_path, 1, NETWORK)) as node:
            node.stop()
            node.stop(1)
            assert await node.ended() == 0
        node = make_node(config(tmp_path, 1, peer(2, 'endpoint = "127.0.0.1:9"'), NETWORK))
        loop.call_soon(node.stop)
        await node.start()
        assert await asyncio.wait_for(node.ended(), 1) == 0
        await node.close()

    run(scenario())


def test_nothing_goes_on_after_the_end(run: Run, tmp_path: Path) -> None:
    """What was ready in the very turn of the end finds no socket, and arms no timer."""

    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            node = make_node(config(tmp_path, 1, peer(2), NETWORK))
            await node.start()
            point(node, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(node), port_of(far), b"x")
            settled: list[int] = []
            node._loop.call_soon(node._serve_handshakes)
            node._serving = True
            await node.close()
            watched = node.engine.next_deadline

            def deadline(now: int) -> int:
                settled.append(now)
                return watched(now)

            node.engine.next_deadline = deadline  # type: ignore[method-assign]  # a spy
            for _ in range(3):
                await asyncio.sleep(0)
            assert settled == []

    run(scenario())


# A device that disappears.


def ends_with_one_message(node: Node, caplog: pytest.LogCaptureFixture, name: str) -> None:
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert errors == [f"port {name} is gone"]
    assert node._ended is not None
    assert node._ended.result() == 1


def test_a_port_that_is_gone_ends_the_node(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, TWO)) as node:
            port_of(node).vanish()
            assert await asyncio.wait_for(node.ended(), 5) == 1
            port_of(node, "m1").inject(b"x" * 60)
            await asyncio.sleep(0.02)
            ends_with_one_message(node, caplog, "m0")

    run(scenario())


def test_what_still_arrives_for_a_port_that_is_gone_is_told_once(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"x")
            sent = frame(port_of(near), port_of(far), b"y")
            port_of(far).vanish()
            for _ in range(20):
                port_of(near).inject(sent)
                await asyncio.sleep(0.001)
            assert await asyncio.wait_for(far.ended(), 5) == 1
            ends_with_one_message(far, caplog, "m0")

    run(scenario())


def test_a_port_that_is_gone_before_the_announcement_ends_the_node(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Vanishing(MemoryMaker):
        def ready(self) -> None:
            self.ports["m1"].vanish()

    configured = config(tmp_path, 1, BRIDGE)
    addressed = config(tmp_path, 1, NETWORK + 'address = ["10.0.0.1/24"]\n').networks[0].addresses
    network = replace(configured.networks[0], addresses=addressed)

    async def scenario() -> None:
        async with running(replace(configured, networks=(network,)), Vanishing()) as node:
            assert await asyncio.wait_for(node.ended(), 5) == 1
            ends_with_one_message(node, caplog, "m1")

    run(scenario())


def test_a_full_port_is_counted(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, BRIDGE)) as node:
            near, far = port_of(node), port_of(node, "m1")
            far.capacity = 2
            for number in range(5):
                near.inject(frame(near, far, bytes([number])))
            await until(lambda: dropped(node).get(Reason.PORT_FULL) == 3)
            assert len(far.take()) == 2

    run(scenario())


# The announcement.


def test_each_address_is_announced_once(run: Run, tmp_path: Path) -> None:
    addressed = NETWORK + 'address = ["10.0.0.1/24", "fd01::1/64"]\n'

    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            there = peer(2, f'endpoint = "127.0.0.1:{far.listen_port}"')
            async with running(config(tmp_path, 1, there, addressed)) as near:
                seen: list[bytes] = []

                def both() -> bool:
                    seen.extend(port_of(far).take())
                    return len(seen) >= 2

                await until(both)
                await asyncio.sleep(0.02)
                seen.extend(port_of(far).take())
                assert [one[12:14].hex() for one in seen] == ["0806", "86dd"]
                assert all(one[6:12] == port_of(near).mac for one in seen)

    run(scenario())


# A file that contradicts itself.


def test_a_static_entry_of_our_own_mac_is_refused(tmp_path: Path) -> None:
    own = "02:00:00:00:00:01"
    entry = FDB % (f'"{own}"', '"10.254.0.2"')
    with pytest.raises(ConfigError, match=f"{own} of this network's own attachment"):
        config(tmp_path, 1, peer(2), f'{NETWORK}mac = "{own}"\n{entry}')
    # One that was derived and not written is found as well.
    mac = config(tmp_path, 1, peer(2), NETWORK).networks[0].attach[0].mac
    assert mac is not None
    derived = mac.hex(":")
    entry = FDB % (f'"{derived}"', '"10.254.0.2"')
    with pytest.raises(ConfigError, match="own attachment"):
        config(tmp_path, 1, peer(2), NETWORK + entry)


def test_two_attachments_with_one_mac_are_refused(tmp_path: Path) -> None:
    twice = BRIDGE.replace(" }", ', mac = "02:00:00:00:00:01" }')
    with pytest.raises(ConfigError, match="want each once"):
        config(tmp_path, 1, twice)


def test_the_same_mac_in_two_networks_is_no_contradiction(run: Run, tmp_path: Path) -> None:
    lines = 'mac = "02:00:00:00:00:01"\n'
    tables = TWO.replace("[[network]]\nvni = 4201", f"{lines}[[network]]\nvni = 4201") + lines

    async def scenario() -> None:
        async with running(config(tmp_path, 1, tables)) as node:
            assert len(node.attachments) == 2

    run(scenario())
