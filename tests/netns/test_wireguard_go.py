"""wgvx against another implementation: wireguard-go with the kernel's VXLAN device on top."""

from __future__ import annotations

import pytest

from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import WgvxNode, preshared_key
from tests.netns.traffic import (
    assert_neighbours,
    assert_ping,
    copy_over_tcp,
    ping,
)
from tests.netns.vxlan_nodes import GoNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

MEGABYTES_100 = 100_000_000


def wgvx_and_go(
    lab: Lab,
    *,
    caller: str,
    underlay: int = 4,
    overlay: int = 4,
    psks: tuple[str | None, str | None] = (None, None),
    mtus: tuple[int, int] | None = None,
) -> tuple[WgvxNode, GoNode]:
    """Both running; only ``caller`` knows the other's endpoint, so it must send message 1.

    ``mtus`` are tunnel and overlay MTU; left out, wgvx finds them itself (1420 and 1350 here).
    """
    hosts = lab.host("w"), lab.host("g")
    lab.lan(*hosts)
    ours = WgvxNode(hosts[0], "w", 1, overlay=overlay)
    tunnel_mtu, overlay_mtu = mtus or (1420, 1350)
    theirs = GoNode(hosts[1], "g", overlay=overlay, tunnel_mtu=tunnel_mtu, mtu=overlay_mtu)
    if mtus is not None:
        ours.node["mtu"] = tunnel_mtu
        ours.networks[0]["mtu"] = overlay_mtu
    ours.add_peer(theirs.id, underlay=underlay if caller == "wgvx" else None, psk=psks[0])
    theirs.start()
    # The caller comes last: each calls as soon as it can, and where nobody answers the next try is
    # REKEY_TIMEOUT later.
    if caller == "wgvx":
        theirs.add_peer(ours.id, underlay=None, psk=psks[1])
    ours.start()
    if caller == "go":
        theirs.add_peer(ours.id, underlay=underlay, psk=psks[1])
    return ours, theirs


@pytest.mark.parametrize("overlay", [4, 6])
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("caller", ["wgvx", "go"])
def test_neighbours(lab: Lab, caller: str, underlay: int, overlay: int) -> None:
    ours, theirs = wgvx_and_go(lab, caller=caller, underlay=underlay, overlay=overlay)
    ends = [(ours.host, ours.tap, ours.address), (theirs.host, theirs.tap, theirs.address)]
    if caller == "go":
        ends.reverse()
    (a, a_if, a_address), (b, b_if, b_address) = ends
    assert_neighbours(a, a_if, b, b_if, b_address.values())
    assert_neighbours(b, b_if, a, a_if, a_address.values())
    assert theirs.latest_handshake(ours.id) > 0
    # The initiator counts the handshake when the response is there, the responder on message 1
    # or on the first data: the same second, or the next.
    handshake = ours.peer(theirs.id)["latest_handshake"]
    assert abs(handshake - theirs.latest_handshake(ours.id)) <= 1
    ours.stop()


@pytest.mark.parametrize(("caller", "family"), [("wgvx", 4), ("go", 6)])
def test_bulk_arrives_intact(lab: Lab, caller: str, family: int) -> None:
    ours, theirs = wgvx_and_go(lab, caller=caller)
    if caller == "wgvx":
        assert_ping(ours.host, theirs.address[family])
        copy_over_tcp(ours.host, theirs.host, theirs.address[family], MEGABYTES_100)
    else:
        assert_ping(theirs.host, ours.address[family])
        copy_over_tcp(theirs.host, ours.host, ours.address[family], MEGABYTES_100)
    drops = ours.show()["drops"]
    for reason in ("auth_failed", "bad_checksum", "inner_malformed", "malformed", "too_big"):
        assert drops[reason] == 0, drops


# Overlay MTU that fills an underlay of 1500 to the byte: 1500 - (20|40) - 8 - 32 is the tunnel's,
# and - (20|40) - 8 - 8 - 14 leaves the overlay's.
@pytest.mark.parametrize(
    ("underlay", "overlay", "mtus"),
    [
        (4, 4, (1440, 1390)),
        (4, 6, (1440, 1370)),
        (6, 4, (1420, 1370)),
        (6, 6, (1420, 1350)),
        (4, 4, None),
    ],
)
def test_full_size_and_not_one_byte_more(
    lab: Lab, underlay: int, overlay: int, mtus: tuple[int, int] | None
) -> None:
    ours, theirs = wgvx_and_go(lab, caller="wgvx", underlay=underlay, overlay=overlay, mtus=mtus)
    mtu = mtus[1] if mtus else 1350
    assert ours.network()["mtu"] == mtu
    assert_ping(ours.host, theirs.address[4])
    ways = [(ours.host, theirs.address), (theirs.host, ours.address)]
    for host, far in ways:
        # IPv4 20 or IPv6 40, and 8 of ICMP.
        assert ping(host, far[4], size=mtu - 28, df=True)
        assert not ping(host, far[4], size=mtu - 27, df=True)
        assert ping(host, far[6], size=mtu - 48, df=True)
        assert not ping(host, far[6], size=mtu - 47, df=True)
    if mtus:
        # With a TAP that someone enlarged it is wgvx that holds the limit.
        ours.host.ip("link", "set", ours.tap, "mtu", "1500")
        before = ours.drops("too_big")
        assert ping(ours.host, theirs.address[4], size=mtu - 28, df=True)
        assert not ping(ours.host, theirs.address[4], size=mtu - 27, df=True)
        assert ours.drops("too_big") == before + 1
    for host in (ours.host, theirs.host):
        assert _fragments_made(host) == 0


def _fragments_made(host: Namespace) -> int:
    """How many fragments this host's IP has cut, both families."""
    ip4 = host.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (line.split() for line in ip4 if line.startswith("Ip:"))
    ip6 = dict(line.split() for line in host.run("cat", "/proc/net/snmp6").stdout.splitlines())
    return int(values[names.index("FragCreates")]) + int(ip6["Ip6FragCreates"])


@pytest.mark.parametrize("caller", ["wgvx", "go"])
def test_preshared_key(lab: Lab, caller: str) -> None:
    psk = preshared_key()
    ours, theirs = wgvx_and_go(lab, caller=caller, psks=(psk, psk))
    if caller == "wgvx":
        assert_ping(ours.host, theirs.address[4])
    else:
        assert_ping(theirs.host, ours.address[4])


def test_wrong_preshared_key(lab: Lab) -> None:
    ours, theirs = wgvx_and_go(lab, caller="wgvx", psks=(preshared_key(), preshared_key()))
    # "A wrong preshared key shows only at the initiator, at the response."
    eventually(lambda: ours.drops("handshake_failed") > 0, "the response does not authenticate")
    assert not ping(ours.host, theirs.address[4])
    assert ours.peer(theirs.id)["latest_handshake"] == 0
