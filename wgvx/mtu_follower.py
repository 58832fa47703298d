"""What comes of probed paths: a line in the log, and the MTUs of TAPs that follow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from wgvx.config import NetworkConfig
from wgvx.engine import Engine, PeerInfo
from wgvx.keys import encode
from wgvx.mtu import IPV6_MINIMUM_MTU
from wgvx.paths.probes import Change
from wgvx.privilege.errands import Errands
from wgvx.route import Way, route_way
from wgvx.rtnetlink import Netlink
from wgvx.underlay import format_endpoint

log = logging.getLogger(__name__)

ASK_EVERY = 5_000_000_000
"""Nanoseconds between two looks at the routes."""
ROUTES_AT_ONCE = 256
"""Some 10 us each."""


@dataclass(slots=True)
class _Tap:
    network: NetworkConfig
    name: str
    least: int
    """Below it the TAP would lose IPv6, and its addresses with it."""
    mtu: int
    namespaces: tuple[int, int] | None
    """A rootless node's."""
    why_not: str | None
    """Why its MTU stays as it is."""


class MtuFollower:
    """Tells people what the paths of one node carry, and lets its TAPs follow. ``fwmark`` gives the
    mark that is sent with."""

    def __init__(self, engine: Engine, errands: Errands, fwmark: Callable[[], int]) -> None:
        self._engine = engine
        self._errands = errands
        self._fwmark = fwmark
        self._taps: list[_Tap] = []
        self._followed = engine.tunnel_mtu
        self._netlink: Netlink | None = None
        self._ways: dict[int, Way] = {}
        """By peer; those looked at longest ago come first."""
        self._ask_at = 0

    def add_tap(
        self,
        network: NetworkConfig,
        name: str,
        mtu: int,
        *,
        namespaces: tuple[int, int] | None,
        why_not: str | None,
    ) -> None:
        """One that was made with this MTU, in a rootless node's namespaces perhaps; ``why_not``:
        why it cannot have another."""
        if network.mtu is None:
            least = min(IPV6_MINIMUM_MTU, mtu)
            self._taps.append(_Tap(network, name, least, mtu, namespaces, why_not))

    def follow(self) -> None:
        """Do what changes of paths ask for; nothing where there were none."""
        changes = self._engine.paths.take_changes()
        if not changes and self._engine.tunnel_mtu == self._followed:
            return
        self._followed = self._engine.tunnel_mtu
        by_id = {info.id: info for info in self._engine.peers.values()}
        for change in changes:
            if change.peer in by_id:
                self._tell(by_id[change.peer], change)
        for tap in self._taps:
            mtu = max(tap.least, self._engine.overlay_mtu(tap.network))
            if mtu != tap.mtu:
                self._set(tap, mtu)

    def ask_routes(self, now: int) -> None:
        """Where the way to a peer is another one, or the kernel was told of another MTU, by an ICMP
        error perhaps, which anybody may have sent: ask the peer.
        """
        if now < self._ask_at:
            return
        self._ask_at = now + ASK_EVERY
        known = self._engine.paths.known()
        if not known:
            return
        with contextlib.suppress(OSError):
            self._netlink = self._netlink or Netlink()
        if self._netlink is None:
            return
        for gone in self._ways.keys() - known:
            del self._ways[gone]
        for peer in [*(known - self._ways.keys()), *self._ways][:ROUTES_AT_ONCE]:
            before = self._ways.pop(peer, None)
            self._ways[peer] = way = self._way(self._netlink, peer)
            if way.mtu if before is None else way != before:
                self._engine.paths.hint(peer)

    def _way(self, netlink: Netlink, peer: int) -> Way:
        endpoint = self._engine.dataplane.endpoint(peer)
        if endpoint is None:
            return Way()
        return route_way(netlink, endpoint.ip, endpoint.scope, self._fwmark())

    def close(self) -> None:
        """Idempotent."""
        if self._netlink is not None:
            self._netlink.close()

    def _tell(self, info: PeerInfo, change: Change) -> None:
        peer = describe(self._engine, info)
        if change.now is None:
            log.info("what the path to %s carries is not known any more", peer)
            return
        if self._engine.is_mtu_fixed:
            follows = f"[node] mtu stays {self._engine.paths.top}: "
            follows += "larger packets may be lost" if change.now < change.before else "all fits"
        else:
            follows = f"tunnel MTU {self._engine.tunnel_mtu}"
        level = logging.WARNING if change.now < change.before else logging.INFO
        text = "the path to %s carries tunnel packets of %d bytes, not %d; %s"
        log.log(level, text, peer, change.now, change.before, follows)

    def _set(self, tap: _Tap, mtu: int) -> None:
        why_not = tap.why_not
        if why_not is None:
            try:
                self._errands.set_tap_mtu(tap.name, mtu, tap.network.netns, tap.namespaces)
            except OSError as error:
                why_not = error.strerror or str(error)
        if why_not is None:
            log.info("TAP %s: MTU %d, it was %d", tap.name, mtu, tap.mtu)
            tap.mtu = mtu
        elif mtu < tap.mtu:
            log.warning(
                "TAP %s keeps MTU %d, and not %d: %s; TCP connections that begin are held to what "
                "fits, other large packets may be lost",
                *(tap.name, tap.mtu, mtu, why_not),
            )


def describe(engine: Engine, info: PeerInfo) -> str:
    """A peer, and where it is, for people."""
    endpoint = engine.dataplane.endpoint(info.id)
    peer = f"peer {info.name or encode(info.public_key)}"
    return peer if endpoint is None else f"{peer} at {format_endpoint(endpoint)}"
