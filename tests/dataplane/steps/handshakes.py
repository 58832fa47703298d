"""Steps of the handshake: messages that arrive, cookies, and sessions that come of it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.dataplane.rig import SECOND
from tests.dataplane.steps.calls import Place, Say, Tell
from tests.dataplane.steps.step import Step, numbers, pick
from tests.dataplane.twins import PUBLIC_KEY, Twins, elsewhere
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard import cookie
from wgvx.wireguard.crypto import mac
from wgvx.wireguard.sessions import CookieDemand, Endpoint, Event

SECRETS = (b"s" * 32, b"t" * 32)
INDICES = (7, 8)


@dataclass(frozen=True)
class Handshake:
    """A handshake message to us, with its macs right or wrong."""

    kind: int
    mac1: bool
    mac2: str
    peer: int
    index: int
    """Which of ours it claims to answer: one of INDICES, or else a session's."""
    change: int

    def run(self, twins: Twins) -> None:
        length = {1: 148, 2: 92, 3: 64}.get(self.kind, 40)
        endpoint = elsewhere(Endpoint(b"\xc6\x12\0\2", 51820), self.peer)
        index = self.index
        if index not in INDICES:
            held = [session for peer in twins.peers.values() for session in peer.sessions]
            index = held[self.peer % len(held)].remote_index if held else 0
        message = bytes([self.kind, 0, 0, 0]) + bytes(range(self.change, self.change + length - 4))
        at = 8 if self.kind == 2 else 4
        message = message[:at] + index.to_bytes(4, "little") + message[at + 4 :]
        if self.mac1 and length > 64:
            mac1 = mac(cookie.mac1_key(PUBLIC_KEY), message[:-32])
            message = message[:-32] + mac1 + message[-16:]
        if self.mac2 != "noise" and length > 64:
            secret = SECRETS[self.mac2 == "old"]
            mac2 = mac(cookie.make_cookie(secret, endpoint), message[:-16])
            message = message[:-16] + (bytes(16) if self.mac2 == "none" else mac2)
        message += bytes(self.change == 99)
        twins.receive([Datagram(message, endpoint, 0x88)])


@dataclass(frozen=True)
class Demand:
    """From now on, and for so many seconds, messages need a mac2."""

    seconds: int

    def run(self, twins: Twins) -> None:
        until = twins.now + self.seconds * SECOND
        twins.both("demand_cookies", CookieDemand(SECRETS[0], b"n" * 32, until))


@dataclass(frozen=True)
class Install:
    """A new session of a peer."""

    peer: int
    initiator: bool

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is not None:
            twins.connect(number, initiator=self.initiator)


handshakes = st.builds(
    Handshake,
    st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["right", "right", "none", "old", "noise"]),
    numbers,
    st.sampled_from([7, 7, 8, 9]),
    st.sampled_from([0, 1, 2, 99]),
)
disarmed = st.sampled_from([Event.ARM_TX, Event.ARM_RX, Event.ARM_TX | Event.ARM_RX])
handshaking: st.SearchStrategy[Step] = st.one_of(
    st.builds(Install, numbers, st.booleans()),
    st.builds(Install, numbers, st.booleans()),
    st.builds(Tell, st.just("disarm"), numbers, st.tuples(disarmed)),
    st.builds(Tell, st.just("drop_staged"), numbers, st.just((Reason.HANDSHAKE_TIMEOUT,))),
    st.builds(Tell, st.just("send_staged"), numbers, st.tuples(st.booleans())),
    st.builds(Tell, st.just("send_handshake"), numbers, st.just((bytes(148),)), st.just(True)),
    st.builds(Place, st.sampled_from(["received_handshake", "reply"]), numbers, numbers),
    st.builds(Say, st.just("open_handshake"), st.sampled_from(INDICES).map(lambda n: (n,))),
    st.builds(Say, st.just("close_handshake"), st.sampled_from(INDICES).map(lambda n: (n,))),
)
