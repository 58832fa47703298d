"""Any number of nodes of any kinds in one Layer 2, and what each of them knows of its stations."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from interop.frames import SETTLE, Recording, recording, send_frames
from interop.matches import DATAPLANES, WGVX
from interop.pair import MakeFar
from interop.peers import Far
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import VNI, WgvxNode, tunnel_address
from tests.netns.traffic import BROADCAST, frame

LEARNT_WITHIN = 5.0

_stations = itertools.count(1)


def new_station() -> str:
    """A MAC that nobody has used yet."""
    number = next(_stations)
    return f"02:57:00:00:{number >> 8:02x}:{number & 255:02x}"


def make_mesh(
    lab: Lab,
    make_far: MakeFar,
    *kinds: str,
    overlay: int = 4,
    prepare: Callable[[list[Far]], None] | None = None,
) -> list[Far]:
    """Nodes on one switch, each with all others as peers, running.

    A kind is an implementation, or one of our data planes. ``prepare`` may still change our
    configurations; the others run by then.
    """
    hosts = [lab.host(kind[0]) for kind in kinds]
    lab.lan(*hosts)
    nodes = [
        make_far(WGVX if kind in DATAPLANES else kind, host, kind[0], overlay=overlay)
        for kind, host in zip(kinds, hosts, strict=True)
    ]
    for node in nodes:
        if not isinstance(node, WgvxNode):
            node.start()
    for node, other in itertools.permutations(nodes, 2):
        node.add_peer(other.id, underlay=4)
    if prepare is not None:
        prepare(nodes)
    for node, kind in zip(nodes, kinds, strict=True):
        if isinstance(node, WgvxNode):
            node.start("--dataplane", kind)
    return nodes


def vtep(node: Far) -> str:
    """A node's own tunnel address."""
    return tunnel_address(node.id.index, node.overlay)


def whereabouts(node: Far, mac: str, *, vni: int = VNI, device: str | None = None) -> str | None:
    """The VTEP that a MAC is behind, as a node sees it.

    ``device`` is the kernel's for that VNI, the first one left out.
    """
    if not isinstance(node, WgvxNode):
        row = node.lookup(mac, device)
        return str(row["dst"]) if row else None
    found = [row["vtep"] for row in node.fdb() if row["mac"] == mac and row["vni"] == vni]
    assert len(found) <= 1, found
    return found[0] if found else None


def assert_learns(
    node: Far, mac: str, behind: Far, *, vni: int = VNI, device: str | None = None
) -> None:
    """What a node knows of a MAC, or will within seconds, is that it is behind another node."""
    eventually(
        lambda: whereabouts(node, mac, vni=vni, device=device) == vtep(behind),
        f"{node.name} has {mac} behind {behind.name}",
        LEARNT_WITHIN,
    )


def add_static(node: Far, mac: str, remote: str) -> None:
    """A static entry of a node's first network; one more where the MAC may have several."""
    if isinstance(node, WgvxNode):
        node.wgvx("fdb", node.name, "--vni", str(VNI), "add", mac, remote)
    elif mac.startswith("00:00"):
        node.place.run("bridge", "fdb", "append", mac, "dst", remote, "dev", node.tap)
    else:
        node.place.run("bridge", "fdb", "add", mac, "dst", remote, "dev", node.tap, "static")


def delete(node: Far, mac: str, remote: str) -> None:
    """Take an entry from a node's first network."""
    if isinstance(node, WgvxNode):
        node.wgvx("fdb", node.name, "--vni", str(VNI), "del", mac, remote)
    else:
        node.place.run("bridge", "fdb", "del", mac, "dst", remote, "dev", node.tap)


def speak(
    node: Far, station: str, *payloads: bytes, to: str = BROADCAST, device: str | None = None
) -> None:
    """A station at a node's interface sends a frame for each payload, without any an empty one."""
    frames = [frame(to, station, payload) for payload in payloads or [b""]]
    send_frames(node.place, device or node.tap, frames)


@contextlib.contextmanager
def recordings(
    nodes: Iterable[Far], interfaces: Sequence[str] | None = None
) -> Iterator[list[Recording]]:
    """What arrives at several nodes, by default on their first network's interface."""
    nodes = list(nodes)
    taps = interfaces or [node.tap for node in nodes]
    with contextlib.ExitStack() as stack:
        yield [
            # The last one to begin is the first to end: once it has waited, no other has to.
            stack.enter_context(recording(node.place, tap, settle=0 if left else SETTLE))
            for node, tap, left in zip(nodes, taps, reversed(range(len(nodes))), strict=True)
        ]
