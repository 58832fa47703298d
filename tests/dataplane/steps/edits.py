"""Steps that edit tables: peers, networks and ports, forwarding tables, settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.dataplane.rig import SECOND, US, mac, tunnel
from tests.dataplane.steps.calls import Place, Say, Tell
from tests.dataplane.steps.frames import any_frames, macs
from tests.dataplane.steps.handshakes import Demand
from tests.dataplane.steps.step import Step, families, numbers, pick
from tests.dataplane.twins import PUBLIC_KEY, Twins, elsewhere
from wgvx.dataplane.interface import Network
from wgvx.vxlan.ethernet import HEADER_LENGTH, ZERO_GROUP_IPV4, ZERO_GROUP_IPV6, is_group
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.limits import Limits
from wgvx.vxlan.mss import Mss
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import Watch
from wgvx.wireguard.allowed_ips import masked
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES


@dataclass(frozen=True)
class AddPeer:
    """A new peer, with a session or without, and the packets that it may be about to send."""

    connected: bool

    def run(self, twins: Twins) -> None:
        if len(twins.peers) < 6:
            twins.add_peer()
            if self.connected:
                twins.connect(max(twins.peers), initiator=self.connected)


@dataclass(frozen=True)
class RemovePeer:
    peer: int

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is not None:
            twins.remove_peer(number)


@dataclass(frozen=True)
class Exhaust:
    """A peer's counter comes to where no more is accepted."""

    peer: int
    left: int

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is not None and twins.peers[number].sessions:
            session = twins.peers[number].sessions[-1]
            session.send_counter = REJECT_AFTER_MESSAGES - self.left


@dataclass(frozen=True)
class GiveUp:
    """The address that a peer uses, or one that it does not."""

    peer: int
    current: bool

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is not None:
            endpoint = twins.reference.endpoint(number) if self.current else None
            if endpoint is None:
                endpoint = elsewhere(twins.peers[number].endpoint, self.peer)
            twins.both("give_up_local_address", number, endpoint)


@dataclass(frozen=True)
class AddNetwork:
    network: Network
    ports: int

    def run(self, twins: Twins) -> None:
        if self.network.vni not in twins.networks:
            twins.add_network(self.network)
            for _ in range(self.ports):
                AddPort(self.network.vni, None).run(twins)


@dataclass(frozen=True)
class SetNetwork:
    """Other settings; the port stays."""

    network: Network

    def run(self, twins: Twins) -> None:
        known = twins.networks.get(self.network.vni)
        if known is not None:
            twins.set_network(replace(self.network, udp_port=known.udp_port))


@dataclass(frozen=True)
class AddPort:
    vni: int
    mac: bytes | None

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks and len(twins.ports) < 8:
            address = self.mac
            if address is not None:  # Each its own: others, no port has.
                address = address[:4] + bytes([1, len(twins.ports)])
            twins.add_port(self.vni, address)


@dataclass(frozen=True)
class EditFdb:
    """``static`` None: an entry; otherwise a flush."""

    name: str
    vni: int
    arguments: tuple[Any, ...]
    static: bool = False

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks:
            more = {"static": self.static} if self.name == "fdb_flush" else {}
            twins.both(self.name, self.vni, *self.arguments, **more)


@dataclass(frozen=True)
class SetGroup:
    """Where frames to a group, or to all others, go."""

    vni: int
    mac: bytes
    ports: tuple[int, ...]
    remotes: tuple[bytes, ...] | None
    """None: nothing is said of it any more."""

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks:
            known = tuple(dict.fromkeys(pick(port, twins.ports) or 0 for port in self.ports))
            members = None if self.remotes is None else Forwarding(known, self.remotes)
            twins.both("set_group", self.vni, self.mac, members)


@dataclass(frozen=True)
class SetBlocked:
    port: int
    blocked: bool

    def run(self, twins: Twins) -> None:
        twins.both("set_blocked", pick(self.port, twins.ports), self.blocked)


@dataclass(frozen=True)
class ForwardFrame:
    """A frame that goes on, where everywhere is some places alone."""

    vni: int
    origin: int | bytes
    ports: tuple[int, ...]
    remotes: tuple[bytes, ...]
    frame: bytes

    def run(self, twins: Twins) -> None:
        own = [port for port, vni in twins.network_of_port.items() if vni == self.vni]
        known = tuple(dict.fromkeys(pick(port, own) or 0 for port in self.ports))
        to = Forwarding(known, self.remotes)
        if isinstance(self.origin, bytes):
            origin: Local | Remote = Remote(self.origin)
        else:
            origin = Local(pick(self.origin, own) or 0)
        if own:
            twins.both("forward_frame", self.vni, origin, self.frame, twins.now, to)


@dataclass(frozen=True)
class ForgetPort:
    port: int

    def run(self, twins: Twins) -> None:
        twins.both("forget_port", pick(self.port, twins.ports))


@dataclass(frozen=True)
class SendFrame:
    """A frame to some places alone."""

    vni: int
    ports: tuple[int, ...]
    remotes: tuple[bytes, ...]
    frame: bytes

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks:
            known = tuple(pick(port, twins.ports) or 0 for port in self.ports)
            to = Forwarding(known, self.remotes)
            twins.both("send_frame", self.vni, to, self.frame, twins.now)


vteps = st.builds(tunnel, st.sampled_from([2, 2, 3, 4, 5, US]), families)
vnis = st.sampled_from([42, 42, 43, 44, 46])
prefixes = st.builds(
    masked,
    st.builds(tunnel, st.integers(0, 6), families),
    st.sampled_from([0, 8, 24, 29, 30, 31, 32]),
) | st.builds(masked, st.builds(tunnel, st.integers(0, 6), st.just(6)), st.integers(96, 128))
networks = st.builds(
    Network,
    st.sampled_from([44, 45]),
    udp_port=st.sampled_from([4789, 4790]),
    learning=st.booleans(),
    ageing=st.sampled_from([0, SECOND, 300 * SECOND]),
    max_entries=st.sampled_from([0, 1, 2, 3]),
    accept=st.none() | st.lists(prefixes, max_size=3).map(tuple),
    sticky=st.sampled_from([False, False, True]),
    move_limit=st.sampled_from([0, 0, 1, 3]),
    limits=st.builds(Limits, *[st.sampled_from([0, 0, 1, 3, 1000])] * 3),
    watch=st.integers(0, 15).map(Watch),
    mss=st.builds(Mss, st.sampled_from([0, 1, 536, 1310]), st.sampled_from([0, 536, 1290])),
)
addresses = st.lists(st.builds(tunnel, st.sampled_from([US, US, 2, 77]), families), max_size=4)

peer_edits: st.SearchStrategy[Step] = st.one_of(
    st.builds(AddPeer, st.booleans()),
    st.builds(RemovePeer, numbers),
    st.builds(Exhaust, numbers, st.integers(0, 2)),
    st.builds(Tell, st.just("add_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.just("add_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.just("remove_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.sampled_from(["clear_allowed_ips", "forget_keys"]), numbers),
    st.builds(Tell, st.sampled_from(["forget_local_address", "allow_local_address"]), numbers),
    st.builds(GiveUp, numbers, st.booleans()),
    st.builds(Place, st.just("set_endpoint"), numbers, st.sampled_from([0, 1, 2, 3, 4, 5, 9])),
)
node_edits: st.SearchStrategy[Step] = st.one_of(
    st.builds(Demand, st.sampled_from([0, 1, 60])),
    st.just(Say("expire_sending_keys")),
    st.builds(Say, st.just("set_forward"), st.tuples(st.booleans())),
    st.builds(Say, st.just("set_addresses"), st.tuples(addresses)),
    st.builds(Say, st.just("set_public_key"), st.sampled_from([(PUBLIC_KEY,), (None,)])),
    st.builds(
        Say,
        st.just("set_mtu"),
        st.sampled_from([1420, 1419, 1280, 1381, 577, 100, 68, 20, 0, 9001, 65535]).map(
            lambda mtu: (mtu,)
        ),
    ),
    st.builds(AddNetwork, networks, st.integers(0, 3)),
    st.builds(SetNetwork, st.builds(lambda vni, one: replace(one, vni=vni), vnis, networks)),
    st.builds(AddPort, vnis, st.none() | st.just(mac(0))),
    st.builds(SetBlocked, numbers, st.booleans()),
    st.builds(ForgetPort, numbers),
    st.builds(
        SetGroup,
        vnis,
        st.sampled_from([ZERO_GROUP_IPV4, ZERO_GROUP_IPV6]) | macs.filter(is_group),
        st.lists(numbers, max_size=3).map(tuple),
        st.none() | st.lists(vteps, max_size=2, unique=True).map(tuple),
    ),
    st.builds(
        ForwardFrame,
        vnis,
        numbers | vteps,
        st.lists(numbers, max_size=2).map(tuple),
        st.lists(vteps, max_size=2, unique=True).map(tuple),
        any_frames.filter(lambda frame: len(frame) >= HEADER_LENGTH),
    ),
    st.builds(
        SendFrame,
        vnis,
        st.lists(numbers, max_size=2).map(tuple),
        st.lists(vteps, max_size=2).map(tuple),
        any_frames.filter(lambda frame: len(frame) >= HEADER_LENGTH),
    ),
)
fdb_edits: st.SearchStrategy[Step] = st.one_of(
    st.builds(EditFdb, st.just("fdb_add"), vnis, st.tuples(macs, vteps)),
    st.builds(EditFdb, st.just("fdb_add"), vnis, st.tuples(macs, vteps)),
    st.builds(EditFdb, st.just("fdb_delete"), vnis, st.tuples(macs, st.none() | vteps)),
    st.builds(EditFdb, st.just("fdb_flush"), vnis, st.tuples(st.none() | vteps), st.booleans()),
)
