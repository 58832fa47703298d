"""ARP and neighbour suppression: who is behind a VTEP is answered for, not asked for everywhere.

As Linux' ``neigh_suppress`` on a bridge port does, and as RFC 9161 describes for EVPN. A network
learns which station has which address from what the stations say of themselves, and answers a
broadcast ARP request or a multicast neighbor solicitation that enters at a port, to that port
alone, where it is for an address known to be behind a VTEP.

What is not answered goes on as ever:

- requests from the tunnel: whoever is here answers himself;
- probes, announcements and duplicate address detection, or two stations with one address would
  never hear of each other;
- a request whose own sender is new, has moved, or has another MAC than before, so that those far
  away learn of that;
- a request for an address that two stations say they have: both are to hear it, and who is asked
  for to answer; or whoever spoke last would be all that anybody hears of, as on no Ethernet;
- unicast requests: they ask whether a neighbour is still there;
- IPv6: for whoever has not advertised himself, as no one else knows whether he is a router
  (RFC 9161, section 3.2, item e), and what is secured by RFC 3971;
- anything malformed, fragmented, behind extension headers or VLAN tags.

Only a station's own messages keep it known, for the network's ``ageing``, and not the answers given
for it: so one that is gone is asked for everywhere again after that, at the latest.
"""

from __future__ import annotations

from typing import Any

from wgvx.quiet import arp, ndp
from wgvx.quiet.feature import Feature, Surroundings
from wgvx.quiet.neighbours import Neighbour, Neighbours
from wgvx.vxlan.ethernet import BROADCAST, ETHERTYPE_ARP, is_valid_source
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.ip import is_martian
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import Watch

_SECOND = 1_000_000_000
_AGEING = 300 * _SECOND
"""Where the network's stations never age: one that is gone must be noticed all the same."""
_CLEANING = 10 * _SECOND


class Suppression(Feature):
    """One network's."""

    name = "suppress"
    kinds = Watch.ARP | Watch.NEIGHBOURS

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._neighbours = Neighbours()
        self._answered = 0
        self._cleaning: int | None = None

    def handle(self, origin: Local | Remote, frame: bytes, now: int) -> bool:
        """True: it was a request, and has been answered."""
        if self._cleaning is None:
            self._cleaning = now + _CLEANING
        is_arp = frame[12] << 8 | frame[13] == ETHERTYPE_ARP
        answer = self._arp(origin, frame, now) if is_arp else self._ndp(origin, frame, now)
        if answer is None or not isinstance(origin, Local):
            return False
        self._answered += 1
        self._around.bridge.send_frame(
            self._around.vni, Forwarding((origin.port,), ()), answer, now
        )
        return True

    def next_deadline(self) -> int | None:
        """Now and then, those who are long silent are forgotten."""
        return self._cleaning

    def expire(self, now: int) -> None:
        """Forget them."""
        self._neighbours.expire(self._since(now))
        self._cleaning = now + _CLEANING if len(self._neighbours) else None

    def show(self, now: int) -> dict[str, Any]:  # noqa: ARG002
        """Addresses known, and requests answered since the network has this."""
        return {"neighbours": len(self._neighbours), "answered": self._answered}

    def _since(self, now: int) -> int:
        return now - (self._around.ageing() or _AGEING)

    # --- what is heard -------------------------------------------------------------------------

    def _arp(self, origin: Local | Remote, frame: bytes, now: int) -> bytes | None:
        message = arp.parse(frame)
        if message is None:
            return None
        asker = message.sender
        if is_martian(asker):  # 0.0.0.0: a probe (RFC 5227).
            return None
        sender = self._hear(asker, message.sender_mac, origin, frame, now)
        if message.operation != arp.REQUEST or frame[:6] != BROADCAST or asker == message.target:
            return None
        there = self._behind_vtep(message.target, sender, now)
        if there is None or there.mac == message.sender_mac:
            return None
        return arp.reply(there.mac, message.target, message.sender_mac, asker)

    def _ndp(self, origin: Local | Remote, frame: bytes, now: int) -> bytes | None:
        message = ndp.parse(frame)
        if message is None:
            return None
        if message.type == ndp.ADVERTISEMENT:
            self._advertised(message, origin, frame, now)
            return None
        asker, mac = message.source, message.link_layer_address
        if mac is None or is_martian(asker):
            return None
        sender = self._hear(asker, mac, origin, frame, now)
        if message.type != ndp.SOLICITATION:
            if sender is not None and sender.flags is not None and message.lifetime:
                sender.flags |= ndp.ROUTER
            return None
        target = message.target
        if message.destination != ndp.solicited_node(target) or message.is_secured:
            return None
        there = self._behind_vtep(target, sender, now)
        if there is None or there.flags is None or there.mac == mac:
            return None
        flags = there.flags | ndp.SOLICITED
        return ndp.advertisement(there.mac, target, flags, mac, asker)

    def _hear(
        self, address: bytes, mac: bytes, origin: Local | Remote, frame: bytes, now: int
    ) -> Neighbour | None:
        """A frame says that the station ``mac`` has the address. It is believed of its sender."""
        if mac == frame[6:12] and is_valid_source(mac):
            return self._neighbours.hear(address, mac, origin, now, self._since(now))
        known = self._neighbours.get(address, 0)
        if known is not None and known.mac != mac:
            known.contested = now
        return None

    def _advertised(
        self, message: ndp.Message, origin: Local | Remote, frame: bytes, now: int
    ) -> None:
        """Its flags say what it is; one without Override "does not override an existing"
        neighbour (RFC 4861, section 7.2.5), and one without a MAC speaks for its sender's.
        """
        if is_martian(message.target):
            return
        before = self._neighbours.get(message.target, self._since(now))
        mac = message.link_layer_address
        if mac is None:
            if before is None or before.mac != frame[6:12]:
                return
            mac = before.mac
        elif before is not None and before.mac != mac and not message.flags & ndp.OVERRIDE:
            return
        neighbour = self._hear(message.target, mac, origin, frame, now)
        if neighbour is not None:
            neighbour.flags = message.flags & (ndp.ROUTER | ndp.OVERRIDE)

    # --- who is answered for -------------------------------------------------------------------

    def _behind_vtep(self, target: bytes, asker: Neighbour | None, now: int) -> Neighbour | None:
        """Who has the target, if behind a VTEP, and if there is nothing new about who asks."""
        since = self._since(now)
        there = self._neighbours.get(target, since)
        if asker is None or asker.is_news or there is None or isinstance(there.where, Local):
            return None
        if there.contested is not None and there.contested >= since:
            return None
        return there
