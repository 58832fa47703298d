"""The bridge domains of the reference data plane: their tables, configured and shown."""

from __future__ import annotations

from wgvx.dataplane.interface import DataPlane, Network, NetworkCounters
from wgvx.vxlan import header
from wgvx.vxlan.fdb import Row
from wgvx.vxlan.moves import Move
from wgvx.vxlan.vtep import Forwarding, Vtep


class NetworkState:
    """A bridge domain: its VTEP, its VXLAN header, and what it counts."""

    def __init__(self, settings: Network) -> None:
        self.udp_port = settings.udp_port
        self.header = header.pack(settings.vni)
        self.vtep = Vtep(
            vni=settings.vni,
            udp_port=settings.udp_port,
            learning=settings.learning,
            ageing=settings.ageing,
            max_entries=settings.max_entries,
            accept=settings.accept,
        )
        self.rx_frames = 0
        self.tx_frames = 0
        self.set(settings)

    def set(self, settings: Network) -> None:
        """Other settings; what was learned stays."""
        self.mss = settings.mss
        self.vtep.set_accept(settings.accept)
        self.vtep.watch = settings.watch
        self.vtep.limiter.limits = settings.limits
        fdb = self.vtep.fdb
        fdb.learning = settings.learning
        fdb.ageing = settings.ageing
        fdb.max_entries = settings.max_entries
        fdb.sticky = settings.sticky
        fdb.move_limit = settings.move_limit


class ReferenceNetworks(DataPlane):
    """That part of :class:`~wgvx.dataplane.reference.ReferenceDataPlane`."""

    def __init__(self) -> None:
        super().__init__()
        self.networks: dict[int, NetworkState] = {}
        """By VNI."""
        self.udp_ports: set[int] = set()
        self.network_of_port: dict[int, NetworkState] = {}

    def add_network(self, network: Network) -> None:
        self.networks[network.vni] = NetworkState(network)
        self.udp_ports.add(network.udp_port)

    def set_network(self, network: Network) -> None:
        self.networks[network.vni].set(network)

    def add_port(self, vni: int, port: int, mac: bytes | None) -> None:
        network = self.networks[vni]
        network.vtep.add_port(port, mac)
        self.network_of_port[port] = network

    def set_blocked(self, port: int, blocked: bool) -> None:
        self.network_of_port[port].vtep.set_blocked(port, blocked)

    def forget_port(self, port: int) -> None:
        self.network_of_port[port].vtep.fdb.forget_port(port)

    def set_group(self, vni: int, mac: bytes, members: Forwarding | None) -> None:
        self.networks[vni].vtep.set_group(mac, members)

    def network_counters(self, vni: int) -> NetworkCounters:
        network = self.networks[vni]
        fdb = network.vtep.fdb
        return NetworkCounters(
            network.rx_frames, network.tx_frames, fdb.entry_count, fdb.moves.total
        )

    def fdb_add(self, vni: int, mac: bytes, vtep: bytes) -> bytes | None:
        return self.networks[vni].vtep.fdb.add(mac, vtep)

    def fdb_delete(self, vni: int, mac: bytes, vtep: bytes | None = None) -> bool:
        return self.networks[vni].vtep.fdb.delete(mac, vtep)

    def fdb_flush(self, vni: int, vtep: bytes | None = None, *, static: bool = False) -> int:
        return self.networks[vni].vtep.fdb.flush(vtep, static)

    def fdb_flood(self, vni: int) -> tuple[bytes, ...]:
        return self.networks[vni].vtep.fdb.flood

    def fdb_rows(self, vni: int, now: int) -> list[Row]:
        return self.networks[vni].vtep.fdb.rows(now)

    def fdb_moves(self, vni: int) -> list[Move]:
        return list(self.networks[vni].vtep.fdb.moves)
