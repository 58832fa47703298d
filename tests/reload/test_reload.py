"""A node's file read again while the node runs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.sites import (
    NETWORK,
    VNI,
    config,
    deliver,
    dropped,
    joined,
    peer,
    peer_of,
    point,
    port_of,
    public,
    running,
)
from tests.support.running import Run
from wgvx import keys
from wgvx.config import Config, ConfigError
from wgvx.control import uapi
from wgvx.drops import Reason
from wgvx.node import Node
from wgvx.privilege import errands
from wgvx.privilege.errands import Errands
from wgvx.reload.plan import Running, make_plan
from wgvx.reload.reloader import Reloader
from wgvx.reload.reloader import running as snapshot
from wgvx.underlay import UnderlayError, open_sockets
from wgvx.vxlan.fdb import FLOOD

PSK = f'preshared_key = "{keys.encode(bytes(32))}"'.replace("A", "B", 1)
MAC = bytes.fromhex("020000000099")


async def reload(node: Node) -> list[str]:
    """What was changed."""
    changes, _ = await Reloader(node).reload()
    return list(changes)


def free_port() -> int:
    (one, *others) = open_sockets(0, 0, 1)
    port = one.port
    for each in (one, *others):
        each.close()
    return port


def flood(node: Node) -> set[bytes]:
    return {vtep for mac, vtep in snapshot(node).entries[VNI] if mac == FLOOD}


def test_what_does_not_change_goes_on(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            info = peer_of(near, 2)
            endpoint = near.dataplane.endpoint(info.id)
            known = near.engine.device.latest_handshake(info.id)
            assert await reload(near) == []
            config(tmp_path, 1, peer(3), peer(2, 'name = "far"', PSK), NETWORK + "ageing = 5\n")
            assert await reload(near) == [
                f"network {VNI}: ageing: 300 -> 5",
                "peer 1: added",
                'peer "far": name, preshared_key',
                f"network {VNI}: remotes: 1 added, 0 gone",
            ]
            for number in range(3):
                await deliver(port_of(near), port_of(far), bytes([number]))
                await deliver(port_of(far), port_of(near), bytes([number]))
            assert peer_of(near, 2) is info
            assert near.dataplane.endpoint(info.id) == endpoint
            assert near.engine.device.latest_handshake(info.id) == known
            assert set(dropped(near)) <= {Reason.NO_ENDPOINT}
            assert flood(near) == {bytes((10, 254, 0, 2)), bytes((10, 254, 0, 3))}

    run(scenario())


def test_a_file_that_cannot_be_used_changes_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            before = snapshot(node)
            path = node.config.path
            good = path.read_text()
            for bad, wanted in (
                (good.replace("/32", "/33"), 'allowed_ips: found "10.254.0.2/33"'),
                (good + "nonsense = 1\n", "nonsense"),
                (good.replace("vni = 4200", "vni = 4201"), "vni 4201 is new"),
                (good.replace("vni = 4200", "vni = 4201"), "vni 4200 is missing"),
                (good.replace('"m0"', '"m1"'), "tap or attach: found tap m1, want tap m0"),
                (good + "mtu = 1300\n", "mtu: found 1300, want none"),
                (good + "udp_port = 8472\n", "udp_port: found 8472, want 4789"),
                (good + 'address = ["10.0.0.1/24"]\n', "address: found 10.0.0.1/24, want none"),
                (good.replace("[node]", "[node]\nmtu = 1400"), "[node], mtu: found 1400"),
                (peer(3) + NETWORK, "[node] is missing"),
            ):
                path.write_text(bad)
                with pytest.raises(ConfigError) as refused:
                    await reload(node)
                assert wanted in str(refused.value)
                assert str(path) in str(refused.value)
                assert snapshot(node) == before
            path.unlink()
            with pytest.raises(ConfigError, match="cannot be read"):
                await reload(node)
            assert snapshot(node) == before

    run(scenario())


def test_a_port_that_is_taken_changes_nothing(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(tmp_path, 1, peer(2), NETWORK)) as node,
            running(config(tmp_path, 2, peer(1), NETWORK)) as other,
        ):
            before = snapshot(node)
            text = node.config.path.read_text().replace(peer(2), peer(3))
            for port in (other.listen_port, before.listen_port):
                node.config.path.write_text(
                    text.replace("listen_port = 0", f"listen_port = {port}\nfwmark = 0")
                )
                if port == other.listen_port:
                    with pytest.raises(UnderlayError):
                        await reload(node)
                    assert snapshot(node) == before
                else:
                    assert len(await reload(node)) == 3  # A peer for another, and the flood list.

    run(scenario())


def test_another_port_and_another_key(run: Run, tmp_path: Path) -> None:
    """The peers that have been told go on as well."""

    async def scenario() -> None:
        async with joined(tmp_path) as (near, far):
            await deliver(port_of(near), port_of(far), b"before")
            mac = port_of(near).mac
            with_key = near.config.path.read_text().replace(
                keys.encode(bytes([1]) * 32), keys.encode(bytes([7]) * 32)
            )
            port = free_port()
            near.config.path.write_text(
                with_key.replace("listen_port = 0", f"listen_port = {port}")
            )
            before = near.listen_port
            assert await reload(near) == [
                f"listen_port: {before} -> {port}",
                "private_key: another one",
            ]
            assert (near.listen_port, port_of(near).mac) == (port, mac)
            seven = peer(7).replace("10.254.0.7", "10.254.0.1").replace("fd00::7", "fd00::1")
            config(tmp_path, 2, seven, NETWORK)
            assert (await reload(far))[0].endswith(": removed")
            await deliver(port_of(near), port_of(far), b"after")
            assert set(far.engine.peers) == {public(7)}
            assert await reload(near) == await reload(far) == []

    run(scenario())


def test_the_file_is_the_truth(run: Run, tmp_path: Path) -> None:
    """What `wg set` and `wgvx fdb` changed goes, what the network taught stays."""

    async def scenario() -> None:
        there = peer(2, 'endpoint = "127.0.0.1:9"', "persistent_keepalive = 25", PSK)
        async with running(config(tmp_path, 1, there, peer(4), NETWORK)) as node:
            before = snapshot(node)
            learned = b"".join((bytes(6 * [255]), b"\x02\0\0\0\0\x77", bytes(50)))
            assert port_of(node).inject(learned)
            await asyncio.sleep(0.01)
            asked = uapi.Operation()
            for line in (
                "set=1",
                *(f"public_key={public(3).hex()}", "allowed_ip=10.254.0.2/32"),
                *(f"public_key={public(2).hex()}", "endpoint=127.0.0.1:7"),
                *("persistent_keepalive_interval=0", f"preshared_key={bytes(32).hex()}"),
                *(f"public_key={public(4).hex()}", "remove=true"),
            ):
                asked.read(line)
            assert asked.answer(node) == "errno=0\n\n"
            node.dataplane.fdb_add(VNI, MAC, bytes((10, 254, 0, 2)))
            node.dataplane.fdb_add(VNI, FLOOD, bytes((10, 254, 0, 9)))
            node.dataplane.fdb_delete(VNI, FLOOD, bytes((10, 254, 0, 2)))
            assert snapshot(node) != before
            assert await reload(node) == [
                f"peer {keys.encode(public(3))}: removed",
                "peer 1: preshared_key, endpoint, persistent_keepalive, allowed_ips",
                "peer 2: added",
                f"network {VNI}: remotes: 2 added, 2 gone",
                f"network {VNI}: fdb: 0 added, 1 gone",
            ]
            assert snapshot(node) == before
            await asyncio.sleep(0.01)
            endpoint = node.dataplane.endpoint(peer_of(node, 2).id)
            assert endpoint is not None
            assert endpoint.port == 9
            rows = node.dataplane.fdb_rows(VNI, 0)
            assert learned[6:12] in [row.mac for row in rows]

    run(scenario())


def test_an_endpoint_that_was_learned_stays_until_the_file_has_another(
    run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        def port() -> int:
            endpoint = node.dataplane.endpoint(peer_of(node, 2).id)
            assert endpoint is not None
            return endpoint.port

        async with running(config(tmp_path, 1, peer(2, 'endpoint = "127.0.0.1:9"'))) as node:
            point(node, 2, "127.0.0.1", 10)  # It roamed.
            for endpoint, changes, expected in (
                ('endpoint = "127.0.0.1:9"', [], 10),
                ("", ["peer 1: endpoint"], 10),
                ('endpoint = "127.0.0.1:11"', ["peer 1: endpoint"], 11),
            ):
                config(tmp_path, 1, peer(2, endpoint))
                assert await reload(node) == changes
                await asyncio.sleep(0.01)
                assert port() == expected

    run(scenario())


def test_a_name_wants_somebody_who_looks_it_up(tmp_path: Path) -> None:
    old = config(tmp_path, 1, peer(2))
    new = config(tmp_path, 1, peer(2, 'endpoint = "far.test:9"'))
    start = Running(old, public(1), 1, 0, {}, {}, {}, looks_up_names=False)
    with pytest.raises(ConfigError, match=r"peer 1, endpoint: found far.test:9, want an address"):
        make_plan(start, new)
    assert make_plan(replace(start, looks_up_names=True), new).steps
    with_scope = config(tmp_path, 1, peer(2, 'endpoint = "127.0.0.1:9"'))
    assert make_plan(start, with_scope).steps


def test_an_entry_of_our_own_mac_is_refused(run: Run, tmp_path: Path) -> None:
    """One that the port has from a private key which is no longer in the file."""

    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            mac = port_of(node).mac.hex(":")
            entry = f'fdb = [{{ mac = "{mac}", vtep = "10.254.0.2" }}]\n'
            text = config(tmp_path, 7, peer(2), NETWORK + entry).path.read_text()
            node.config.path.write_text(text)
            with pytest.raises(ConfigError, match=f"found {mac} of this network's own port"):
                await reload(node)

    run(scenario())


def test_a_signal_is_answered_in_the_log(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            reloader = Reloader(node)
            for text in (peer(3), "x = 1\n"):
                config_text = node.config.path.read_text().replace(peer(2), text)
                node.config.path.write_text(config_text + ("" if text == peer(3) else text))
                reloader.reload_soon()
                reloader.reload_soon()
                assert reloader._task is not None
                await reloader._task
            await reloader.close()

    with caplog.at_level(logging.INFO):
        run(scenario())
    said = [record.getMessage() for record in caplog.records if "reload" in record.getMessage()]
    assert len(said) == 2
    assert said[0].startswith(f"reloaded: peer {keys.encode(public(2))}: removed; peer 1: added")
    assert said[1].startswith("not reloaded: ")
    assert "there is no such key" in said[1]


def test_a_signal_that_comes_while_the_file_is_read_is_not_lost(run: Run, tmp_path: Path) -> None:
    """What it was sent for may have been written since."""

    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            reads = 0

            class Slow(Errands):
                async def load(self, path: Path) -> Config:
                    nonlocal reads
                    reads += 1
                    found = await super().load(path)
                    if reads == 1:
                        config(tmp_path, 1, peer(2), peer(3), NETWORK)
                        for _ in range(1000):
                            reloader.reload_soon()
                    return found

            node.errands = Slow()
            reloader = Reloader(node)
            reloader.reload_soon()
            assert reloader._task is not None
            await reloader._task
            assert public(3) in node.engine.peers
            assert reads == 2

    run(scenario())


def test_a_file_that_nobody_writes_to_ends_one_reload_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "READING_SECONDS", 0.2)

    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            path = node.config.path
            path.unlink()
            os.mkfifo(path)
            reloader = Reloader(node)
            with pytest.raises(ConfigError, match="took longer than"):
                await reloader.reload()
            os.close(os.open(path, os.O_RDWR))  # Whoever still waits there is let go.
            path.unlink()
            config(tmp_path, 1, peer(2), peer(3), NETWORK)
            changes, _ = await reloader.reload()
            assert changes[0] == "peer 2: added"

    run(scenario())


# --- whatever there was, and whatever there is now: as if it had been started so -----------------

POOL = [f"10.254.0.{n}/32" for n in (2, 3, 4)] + ["10.9.0.0/16", "fd00::2/128", "fd00:9::/32"]


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Peers and networks."""
    numbers = draw(st.lists(st.sampled_from([2, 3, 4, 5]), unique=True))
    prefixes = draw(st.permutations(POOL))
    owners = draw(st.lists(st.sampled_from([*numbers, 0]), min_size=len(POOL), max_size=len(POOL)))
    text = ""
    for number in numbers:
        own = [p for p, owner in zip(prefixes, owners, strict=True) if owner == number]
        text += f'[[peer]]\npublic_key = "{keys.encode(public(number))}"\nallowed_ips = {own}\n'
        for line in (
            f'name = "{draw(st.sampled_from("ab"))}"',
            f"persistent_keepalive = {draw(st.sampled_from([0, 25]))}",
            f'endpoint = "127.0.0.1:{draw(st.sampled_from([7, 9]))}"',
            PSK,
        ):
            text += f"{line}\n" if draw(st.booleans()) else ""
    remotes = st.lists(st.sampled_from(["10.254.0.2", "10.254.0.9", "fd00::2"]), unique=True)
    entries: st.SearchStrategy[Sequence[str]] = st.lists(
        st.sampled_from(["02:00:00:00:00:99", "02:00:00:00:00:98", "33:33:00:00:00:01"]),
        unique=True,
    )
    for vni in (4200, 4201):
        text += f'[[network]]\nvni = {vni}\ntap = "m{vni}"\n'
        for mac in draw(entries):
            vtep = draw(st.sampled_from(["10.254.0.2", "10.254.0.3"]))
            text += f'[[network.fdb]]\nmac = "{mac}"\nvtep = "{vtep}"\n'
        head, _, rest = text.rpartition(f"vni = {vni}\n")
        for line in (
            f"remotes = {draw(remotes)}",
            f"accept = {draw(st.lists(st.sampled_from(POOL), unique=True))}",
            f"ageing = {draw(st.sampled_from([1, 300]))}",
            f"max_entries = {draw(st.sampled_from([1, 9]))}",
            f"learning = {draw(st.sampled_from(['true', 'false']))}",
            f"move_limit = {draw(st.sampled_from([0, 5]))}",
            f"clamp_mss = {draw(st.sampled_from(['true', 'false']))}",
            f"suppress = {draw(st.sampled_from(['true', 'false']))}",
        ):
            rest = f"{line}\n{rest}" if draw(st.booleans()) else rest
        text = f"{head}vni = {vni}\n{rest}"
    return text


def comparable(node: Node) -> object:
    """All that there is to tell of a node, but its UDP port."""
    networks = node.engine.networks
    routes = [node.dataplane.route(bytes((10, 254, 0, number))) for number in range(2, 6)]
    by_id = {info.id: info.public_key for info in node.engine.peers.values()}
    peers = [by_id.get(r or 0) for r in routes]
    return replace(snapshot(node), listen_port=0), networks, peers, node.engine.paths.on


@settings(max_examples=60)
@given(tables(), tables(), st.booleans())
def test_as_if_it_had_been_started_so(shared: Path, before: str, after: str, forward: bool) -> None:
    async def scenario() -> None:
        lines = [f"{key} = {str(forward).lower()}" for key in ("forward", "probe_mtu")]
        old = config(shared, 1, before)
        async with running(old) as node:
            new = config(shared, 1, after, lines=lines)
            async with running(new) as fresh:
                await Reloader(node).reload()
                assert comparable(node) == comparable(fresh)
                assert await reload(node) == []

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples."""
    return tmp_path_factory.mktemp("reload")
