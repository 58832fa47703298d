"""TCP through the tunnel is held to the network's MSS; TCP between its ports is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, mac, tunnel
from tests.dataplane.steps.flows import TYPES, syn
from tests.dataplane.test_frames_out import unwrap
from tests.vxlan.packets import ethernet
from wgvx.dataplane.interface import Network
from wgvx.vxlan.mss import Mss, clamp

MOST = Mss(1310, 1290)
OTHER_PORT = PORT + 1


def asking(version: int, mss: int, destination: int, source: int, flags: int = 2) -> bytes:
    packet = bytearray(syn(version, b"\2\4" + mss.to_bytes(2, "big")))
    packet[(20 if version == 4 else 40) + 13] = flags
    return ethernet(bytes(packet), TYPES[version], destination=mac(destination), source=mac(source))


@pytest.fixture
def clamping(dataplane_class: DataPlaneClass) -> Rig:
    rig = Rig(dataplane_class, networks=(Network(VNI, mss=MOST),))
    rig.dataplane.add_port(VNI, OTHER_PORT, None)
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    return rig


def out(rig: Rig, frame: bytes) -> bytes:
    ((_, plaintext),) = rig.opened(rig.transmit(frame))
    return unwrap(plaintext)[1]


def arriving(rig: Rig, frame: bytes) -> bytes:
    ((_, arrived),) = rig.receive(carrying(frame)).frames
    return arrived


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("way", "ends"), [(out, (2, US)), (arriving, (US, 2))])
def test_through_the_tunnel(
    clamping: Rig, way: Callable[[Rig, bytes], bytes], ends: tuple[int, int], version: int
) -> None:
    large = asking(version, 1460, *ends)
    assert clamp(large, MOST) != large
    assert way(clamping, large) == clamp(large, MOST)
    for untouched in (
        asking(version, 1200, *ends),
        asking(version, 1460, *ends, flags=0x10),
    ):
        assert way(clamping, untouched) == untouched
    clamping.dataplane.set_network(Network(VNI))
    assert way(clamping, large) == large


def test_to_several_vteps_and_to_another_port(clamping: Rig) -> None:
    clamping.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    large = asking(4, 1460, 9, US)  # To nobody knows where.
    burst = clamping.transmit(large)
    assert burst.frames == [(OTHER_PORT, large)]
    ((_, plaintext),) = clamping.opened(burst)
    assert unwrap(plaintext)[1] == clamp(large, MOST)


def test_between_ports(clamping: Rig) -> None:
    large = asking(4, 1460, US, 9)
    assert clamping.transmit(large, port=OTHER_PORT).frames == [(PORT, large)]
