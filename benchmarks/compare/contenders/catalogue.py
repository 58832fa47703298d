"""All contenders, in the order of tables and plots."""

from __future__ import annotations

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.contenders.clear import ClearVxlan, Raw
from benchmarks.compare.contenders.fastd import Fastd
from benchmarks.compare.contenders.n2n import N2n
from benchmarks.compare.contenders.openvpn import OpenVpn
from benchmarks.compare.contenders.ports import Onetun, Slirp4netns, UserspaceStack, VmSocket
from benchmarks.compare.contenders.tinc import Tinc
from benchmarks.compare.contenders.wgvx import Wgvx, WgvxHub, name_of
from benchmarks.compare.contenders.wireguard import (
    Boringtun,
    DebianWireguardGo,
    KernelWireGuard,
    NewestWireguardGo,
    WireguardGoAlone,
    WireguardGoHub,
)
from benchmarks.compare.lab import Lab

RAW = Raw.name
REFERENCE = NewestWireguardGo.name
LAYER_3 = WireguardGoAlone.name
OTHER_LAYER_2 = (Fastd.name, Tinc.name, OpenVpn.name, N2n.name)

VARIANTS = (("native", "ipsec-mb"), ("native", "openssl"), ("reference", None))
"""Of wgvx: data plane and AEAD library."""
OURS = IPSEC_MB, OPENSSL, _ = tuple(name_of(*variant) for variant in VARIANTS)
OTHERS: tuple[type[Contender], ...] = (
    *(NewestWireguardGo, WireguardGoAlone, DebianWireguardGo, Boringtun, KernelWireGuard),
    *(Fastd, Tinc, OpenVpn, N2n),
)
PORTS: tuple[type[Wgvx], ...] = (VmSocket, UserspaceStack)
OTHER_PORTS: tuple[type[Contender], ...] = (Onetun, Slirp4netns)
NAMES = (
    *(ClearVxlan.name, *OURS, *(kind.name for kind in OTHERS)),
    *(kind.name for kind in (*PORTS, *OTHER_PORTS)),
)
"""Of everyone but the bare cable, which is always there."""


def pairs(lab: Lab) -> list[Contender]:
    """Everyone between a and b."""
    first = [Raw(lab, 1), ClearVxlan(lab, 2)]
    ours = [Wgvx(lab, 3 + place, *variant) for place, variant in enumerate(VARIANTS)]
    others: list[Contender] = [kind(lab, 10 + place) for place, kind in enumerate(OTHERS)]
    return [*first, *ours, *others]


def ports(lab: Lab) -> list[Contender]:
    """Where there is no TAP at a; and with one, to be held against."""
    fastest = VARIANTS[0]
    ours = [kind(lab, 40 + place, *fastest) for place, kind in enumerate(PORTS)]
    others: list[Contender] = [kind(lab, 44 + place) for place, kind in enumerate(OTHER_PORTS)]
    return [Wgvx(lab, 43, *fastest), *ours, *others]


def hubs(lab: Lab) -> list[Contender]:
    """Those that are measured around a hub, too, under the same names."""
    ours = [WgvxHub(lab, 30 + place, *variant) for place, variant in enumerate(VARIANTS)]
    return [*ours, WireguardGoHub(lab, 33)]
