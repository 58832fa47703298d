"""The far end of everyday use: somebody else's WireGuard device with the kernel's VXLAN on top."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.netns.lab import Namespace, Place, Process, eventually, unique_name
from tests.netns.nodes import (
    FLOOD_MAC,
    PORT,
    UAPI_FOLDER,
    VNI,
    Identity,
    endpoint,
    host_prefix,
    overlay_address,
    private_key,
    tunnel_address,
)
from tests.netns.traffic import mac_of

IPV6_MINIMUM_MTU = 1280


@dataclass(frozen=True)
class KnownPeer:
    """A peer as it was added, to be added again after a restart."""

    id: Identity
    underlay: int | None
    psk: str | None
    keepalive: int | None


class VxlanNode:
    """A WireGuard device, configured by wg(8), and a VXLAN device whose packets it carries.

    What makes the WireGuard device is a subclass's to say.
    """

    def __init__(
        self,
        place: Place,
        label: str,
        index: int,
        *,
        address: dict[int, str],
        overlay: int = 4,
        tunnel_mtu: int = 1420,
        mtu: int = 1350,
    ) -> None:
        self.place = place
        self.id = Identity(unique_name(label), index, private_key(), PORT, address)
        self.name = self.id.name
        """Of the WireGuard device."""
        self.tap = "vx0"
        """Of the VXLAN device: what a TAP is to wgvx."""
        self.address = {family: overlay_address(index, family) for family in (4, 6)}
        self.overlay = overlay
        self.tunnel_mtu = tunnel_mtu
        self.mtu = mtu
        self._peers: list[KnownPeer] = []

    def make_device(self) -> None:
        """Make the WireGuard device called ``name``."""
        raise NotImplementedError

    def remove_device(self) -> None:
        """Undo :meth:`make_device`."""
        raise NotImplementedError

    @property
    def local(self) -> str:
        """The VTEP's address."""
        return tunnel_address(self.id.index, self.overlay)

    def start(self) -> None:
        """Make the device, give it its key and tunnel address, and put a VXLAN device on it."""
        self.make_device()
        key = self.place.write(f"{self.name}.key", self.id.private + "\n")
        self.wg("set", self.name, "private-key", str(key), "listen-port", str(self.id.port))
        ip = self.place.ip
        length = 24 if self.overlay == 4 else 64
        ip("address", "add", f"{self.local}/{length}", "dev", self.name)
        ip("link", "set", self.name, "mtu", str(self.tunnel_mtu), "up")
        self.add_vxlan(self.tap, VNI)
        ip("address", "add", f"{self.address[4]}/24", "dev", self.tap)
        if self.mtu >= IPV6_MINIMUM_MTU:  # below it, Linux has no IPv6 on a device
            ip("address", "add", f"{self.address[6]}/64", "dev", self.tap)

    def add_vxlan(self, device: str, vni: int, *options: str) -> None:
        """A VXLAN device on our tunnel, up."""
        more = options or ("dstport", "4789")
        kind = ("type", "vxlan", "id", str(vni), *more, "local", self.local, "dev", self.name)
        self.place.ip("link", "add", device, *kind)
        self.place.ip("link", "set", device, "mtu", str(self.mtu), "up")

    def stop(self) -> None:
        """Remove both devices."""
        self.place.ip("link", "del", self.tap)
        self.remove_device()

    def restart(self) -> None:
        """Go away without a word and come back with the same keys and MAC, remembering nothing."""
        mac = mac_of(self.place, self.tap)
        self.stop()
        self.start()
        self.place.ip("link", "set", self.tap, "address", mac)
        peers, self._peers = self._peers, []
        for peer in peers:
            self.add_peer(
                peer.id, underlay=peer.underlay, psk=peer.psk, persistent_keepalive=peer.keepalive
            )

    def add_peer(
        self,
        other: Identity,
        *,
        underlay: int | None,
        psk: str | None = None,
        persistent_keepalive: int | None = None,
    ) -> None:
        """As :meth:`WgvxNode.add_peer`, and a flood entry for it; the device must be there."""
        self._peers.append(KnownPeer(other, underlay, psk, persistent_keepalive))
        remote = tunnel_address(other.index, self.overlay)
        options = ["allowed-ips", host_prefix(remote)]
        if underlay is not None:
            options += ["endpoint", endpoint(other.address[underlay], other.port)]
        if psk is not None:
            file = self.place.write(f"{self.name}-{other.name}.psk", psk + "\n")
            options += ["preshared-key", str(file)]
        if persistent_keepalive is not None:
            options += ["persistent-keepalive", str(persistent_keepalive)]
        self.wg("set", self.name, "peer", other.public, *options)
        self.place.run("bridge", "fdb", "append", FLOOD_MAC, "dst", remote, "dev", self.tap)

    def fdb(self, device: str | None = None) -> list[dict[str, Any]]:
        """A VXLAN device's own forwarding table, as bridge(8) tells it."""
        shown = self.place.run("bridge", "-json", "fdb", "show", "dev", device or self.tap)
        rows: list[dict[str, Any]] = json.loads(shown.stdout)
        # Of a device that is a port, the bridge's table is told as well.
        return [row for row in rows if "self" in row["flags"]]

    def lookup(self, mac: str, device: str | None = None) -> dict[str, Any] | None:
        """The row of a MAC in the forwarding table, if it has one."""
        rows = [row for row in self.fdb(device) if row["mac"] == mac]
        assert len(rows) <= 1, rows
        return rows[0] if rows else None

    def wg(self, *args: str) -> str:
        return self.place.run("wg", *args).stdout

    def _shown(self, what: str, other: Identity) -> list[str]:
        for line in self.wg("show", self.name, what).splitlines():
            key, *values = line.split("\t")
            if key == other.public:
                return values
        raise AssertionError(f"{self.name} knows no such peer")

    def latest_handshake(self, other: Identity) -> int:
        """Unix seconds, 0 for never."""
        return int(self._shown("latest-handshakes", other)[0])

    def transfer(self, other: Identity) -> tuple[int, int]:
        """Bytes received from a peer and sent to it."""
        received, sent = self._shown("transfer", other)
        return int(received), int(sent)

    def endpoint(self, other: Identity) -> str | None:
        """Where it believes a peer to be."""
        (found,) = self._shown("endpoints", other)
        return None if found == "(none)" else found


class DaemonNode(VxlanNode):
    """A WireGuard in a process of its own, which answers wg(8) over a socket."""

    def __init__(
        self,
        host: Namespace,
        label: str,
        *,
        overlay: int = 4,
        tunnel_mtu: int = 1420,
        mtu: int = 1350,
    ) -> None:
        super().__init__(
            host,
            label,
            host.index,
            address={4: host.address(4), 6: host.address(6)},
            overlay=overlay,
            tunnel_mtu=tunnel_mtu,
            mtu=mtu,
        )
        self.host = host
        self.process: Process | None = None

    def command(self) -> list[str]:
        """What runs in the foreground and makes the device."""
        raise NotImplementedError

    def make_device(self) -> None:
        self.process = self.host.start(*self.command(), log=self.name)
        uapi = UAPI_FOLDER / f"{self.name}.sock"
        eventually(uapi.is_socket, f"it answers: {self.process}")

    def remove_device(self) -> None:
        assert self.process is not None
        self.process.end()
        eventually(lambda: self.name not in self.host.links(), f"{self.name} is gone")


class GoNode(DaemonNode):
    """wireguard-go, of which every Debian has one."""

    def command(self) -> list[str]:
        # Without -f it would leave for the background, out of our reach.
        return ["wireguard-go", "-f", self.name]
