"""The cases of the kernel's own suite that configure: see :mod:`interop.selftests`.

Whatever wg(8) is told is told to both ends, and both ends tell the same of it.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from interop.capture import INITIATION
from interop.changing import wg_set
from interop.matches import ONE, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import CHANGEABLE, Far
from interop.wiretap import Wiretap
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import (
    WgvxNode,
    endpoint,
    preshared_key,
    private_key,
    public_key,
)
from tests.netns.traffic import assert_ping, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]
on_one = pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
on_standing = pytest.mark.parametrize("standing", CHANGEABLE, ids=str, indirect=True)

# The points of small order of Curve25519, as the numbers they are: 0, 1, two of order 8, and p - 1,
# p, p + 1 (RFC 7748 takes them modulo p).
P = 2**255 - 19
LOW_ORDER = (
    *(0, 1, P - 1, P, P + 1),
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
FIRST_PORT = 7000


def shown(node: Far, what: str) -> dict[str, list[str]]:
    """``wg show NAME WHAT``, by peer."""
    lines = node.place.run("wg", "show", node.name, what).stdout.splitlines()
    return {key: values for key, *values in (line.split("\t") for line in lines)}


def prefixes(node: Far) -> dict[str, set[str]]:
    """The allowed IPs of each peer."""
    told = shown(node, "allowed-ips")
    return {key: set(" ".join(values).split()) - {"(none)"} for key, values in told.items()}


def secret(node: Far, name: str, key: str) -> str:
    """A key as wg(8) takes it: a file."""
    return str(node.place.write(name, key + "\n"))


def load(node: Far, verb: str, text: str) -> None:
    """``wg VERB NAME`` with a configuration in wg(8)'s format."""
    file = node.place.write("more.conf", text)
    node.place.run("wg", verb, node.name, str(file))


@on_standing
def test_keys_are_set_shown_and_cleared(standing: Pair) -> None:
    peer, psk = public_key(private_key()), preshared_key()
    for node, other in standing.ways:
        wg_set(node, "peer", peer, "preshared-key", secret(node, "psk", psk))
        assert shown(node, "preshared-keys")[peer] == [psk]
        wg_set(node, "peer", peer, "preshared-key", "/dev/null")
        assert shown(node, "preshared-keys")[peer] == ["(none)"]
        wg_set(node, "peer", peer, "remove")
        assert peer not in shown(node, "peers")

        wg_set(node, "private-key", "/dev/null")
        assert list(shown(node, "private-key")) == ["(none)"]
        assert list(shown(node, "public-key")) == ["(none)"]
        assert not ping(node.place, other.address[4])
        wg_set(node, "private-key", secret(node, "private", node.id.private))
        assert list(shown(node, "private-key")) == [node.id.private]
        assert list(shown(node, "public-key")) == [node.id.public]
        assert_ping(node.place, other.address[4])


@on_standing
def test_a_private_key_is_clamped_on_read_back(standing: Pair) -> None:
    raw = bytearray(b"\xff" * 32)
    given = base64.b64encode(raw).decode()
    raw[0], raw[31] = 0xF8, 0x7F
    for node, other in standing.ways:
        wg_set(node, "private-key", secret(node, "odd", given))
        assert list(shown(node, "private-key")) == [base64.b64encode(raw).decode()]
        wg_set(node, "private-key", secret(node, "private", node.id.private))
        assert_ping(node.place, other.address[4])


@on_standing
def test_ourselves_as_a_peer_is_ignored(standing: Pair) -> None:
    for node, other in standing.ways:
        before = prefixes(node)
        wg_set(node, "peer", node.id.public, "allowed-ips", "10.8.0.0/16")
        assert prefixes(node) == before
        # And who becomes a peer of ours by our change of key is one no more.
        private = private_key()
        wg_set(node, "peer", public_key(private), "allowed-ips", "10.8.0.0/16")
        assert public_key(private) in shown(node, "peers")
        wg_set(node, "private-key", secret(node, "new", private))
        assert public_key(private) not in shown(node, "peers")
        wg_set(node, "private-key", secret(node, "private", node.id.private))
        assert_ping(node.place, other.address[4])


@on_standing
def test_peers_without_prefixes(standing: Pair) -> None:
    peers = [public_key(private_key()) for _ in range(3)]
    for node, other in standing.ways:
        wg_set(node, "peer", peers[0], "peer", peers[1], "allowed-ips", "", "peer", peers[2])
        told = prefixes(node)
        assert [told[peer] for peer in peers] == [set(), set(), set()]
        assert_ping(node.place, other.address[4], count=1)
        for peer in peers:
            wg_set(node, "peer", peer, "remove")


@on_standing
def test_overlapping_prefixes_move_over_and_over(standing: Pair) -> None:
    """The last to name a prefix has it; longer and shorter ones stay where they are."""
    peers = [public_key(private_key()) for _ in range(3)]
    nested = [f"10.9.0.0/{length}" for length in (16, 20, 24, 32)] + ["fd09::/32", "fd09::/128"]
    for node, other in standing.ways:
        for turn in range(6):
            peer = peers[turn % 3]
            wg_set(node, "peer", peer, "allowed-ips", ",".join(nested[turn % 2 :: 2]))
            told = prefixes(node)
            assert told[peer] == set(nested[turn % 2 :: 2])
            everything = [prefix for peer in peers for prefix in told.get(peer, ())]
            assert sorted(everything) == sorted(nested if turn else nested[::2])
        assert_ping(node.place, other.address[4], count=1)
        for peer in peers:
            wg_set(node, "peer", peer, "remove")


def many_prefixes() -> list[str]:
    """130,560: each host of 255 networks of 256 addresses in IPv4, and as many in IPv6."""
    numbers = [(high, low) for high in range(1, 256) for low in range(256)]
    ipv4 = [f"10.9.{high}.{low}/32" for high, low in numbers]
    return ipv4 + [f"fd09::{high:x}:{low:x}/128" for high, low in numbers]


@pytest.mark.nightly
@on_standing
def test_130560_prefixes_of_one_peer(standing: Pair) -> None:
    peer, wanted = public_key(private_key()), many_prefixes()
    assert len(wanted) == 130_560
    for node, other in standing.ways:
        text = f"[Peer]\nPublicKey = {peer}\n"
        load(node, "addconf", text + "".join(f"AllowedIPs = {prefix}\n" for prefix in wanted))
        assert prefixes(node)[peer] == set(wanted)
        assert_ping(node.place, other.address[4], count=1)
        wg_set(node, "peer", peer, "allowed-ips", "")
        assert prefixes(node)[peer] == set()
        wg_set(node, "peer", peer, "remove")


@on_standing
def test_40_peers_of_52_prefixes(standing: Pair) -> None:
    wanted = {
        public_key(private_key()): {f"10.{peer + 9}.{n}.0/24" for n in range(1, 27)}
        | {f"fd09:{peer:x}:{n:x}::/48" for n in range(1, 27)}
        for peer in range(1, 41)
    }
    text = "".join(
        f"[Peer]\nPublicKey = {peer}\nAllowedIPs = {', '.join(allowed)}\n"
        for peer, allowed in wanted.items()
    )
    for node, other in standing.ways:
        before = prefixes(node)
        load(node, "addconf", text)
        assert prefixes(node) == before | wanted
        assert_ping(node.place, other.address[4], count=1)
        wg_set(node, *(word for peer in wanted for word in ("peer", peer, "remove")))
        assert prefixes(node) == before


@pytest.mark.parametrize("match", CHANGEABLE, ids=str, indirect=True)
def test_keys_of_small_order_send_nothing(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """Not one datagram; to a good key that nobody has either, there is a call."""
    taps: list[Wiretap] = []
    pair = make_pair(lab, match, make_far, prepare=lambda _: taps.append(Wiretap(*lab.hosts)))
    (tap,) = taps
    keys = [base64.b64encode(number.to_bytes(32, "little")).decode() for number in LOW_ORDER]
    ports = range(FIRST_PORT, FIRST_PORT + len(keys))
    for node, other in pair.ways:
        assert_ping(node.place, other.address[4], count=1)
        tap.datagrams(*ports)
        settings: list[str] = []
        for key, port in zip(keys, ports, strict=True):
            where = endpoint(other.id.address[4], port)
            settings += ["peer", key, "persistent-keepalive", "1", "endpoint", where]
        wg_set(node, *settings)
        time.sleep(1)
        assert tap.datagrams(*ports) == ([], [])
        good = public_key(private_key())
        where = endpoint(other.id.address[4], ports[0])
        wg_set(node, "peer", good, "persistent-keepalive", "1", "endpoint", where)
        (called,) = eventually(
            lambda: [one for way in tap.datagrams(*ports) for one in way], "it calls whom it can"
        )
        assert called[0] == INITIATION
    tap.close()


@on_standing
def test_peers_that_come_and_go_leave_nothing(standing: Pair) -> None:
    """In wgvx, of which the memory and the descriptors can be told."""
    ours = standing.ours
    assert ours.process is not None

    def come_and_go() -> None:
        for _ in range(10):
            peers = [public_key(private_key()) for _ in range(50)]
            load(ours, "addconf", "".join(f"[Peer]\nPublicKey = {peer}\n" for peer in peers))
            gone = [word for peer in peers for word in ("peer", peer, "remove")]
            wg_set(ours, *gone)

    descriptors, _ = resources(ours)
    come_and_go()
    _, memory = resources(ours)
    come_and_go()
    # A connection of wg(8) may take a moment to close at our end, too.
    eventually(lambda: resources(ours)[0] <= descriptors, "all descriptors are back")
    assert resources(ours)[1] < memory + (2 << 20)
    assert_ping(ours.place, standing.theirs.address[4])
    assert len(ours.show()["peers"]) == 1


def resources(node: WgvxNode) -> tuple[int, int]:
    """Open descriptors, and bytes of memory, of a node's processes."""
    assert node.process is not None
    folders = [Path("/proc", str(pid)) for pid in node.process.family()]
    pages = sum(int((folder / "statm").read_text().split()[1]) for folder in folders)
    descriptors = sum(len(list((folder / "fd").iterdir())) for folder in folders)
    return descriptors, pages * os.sysconf("SC_PAGE_SIZE")


@on_one
def test_nodes_that_come_and_go_leave_nothing(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """Neither links, sockets, files nor processes (``stop`` looks), and the next one is heard."""
    pair = make_pair(lab, match, make_far)
    we_call = pair.first is pair.ours
    for _ in range(4 if we_call else 2):
        # A caller with a session needs 15 s to see that the other end has it no more.
        assert_ping(pair.first.place, pair.second.address[4], timeout=30, count=1)
        pair.ours.stop()
        pair.ours.start("--dataplane", match.dataplane)
