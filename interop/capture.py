"""A passive observer: what passes an interface, seen by tcpdump and told by tshark.

With wgvx's key log tshark opens the tunnel down to the inner frame. Nothing of wgvx takes part:
what is read here is what third parties see.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from interop.frames import ROOM
from interop.peers import Far
from tests.netns.lab import Namespace, eventually

INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4
KEEPALIVE_LENGTH = 32
SEPARATOR = "\t"
SETTLE = 0.3

_numbers = itertools.count(1)

# What is asked of tshark, in this order. A field has one value for each time that its protocol
# occurs in a packet, the outermost first.
FIELDS = (
    *("frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst"),
    *("ip.dsfield", "ip.flags.df", "ip.ttl", "ip.id", "ip.len"),
    *("ipv6.tclass", "ipv6.flow", "ipv6.hlim", "ipv6.plen"),
    *("udp.srcport", "udp.dstport", "udp.length", "udp.checksum", "udp.checksum.status"),
    *("wg.type", "wg.sender", "wg.receiver", "wg.counter"),
    *("vxlan.flags", "vxlan.vni", "vxlan.gbp", "vxlan.reserved8"),
    *("eth.dst", "eth.src", "eth.type", "_ws.col.Protocol", "_ws.col.Info"),
)
# Status of a checksum, as tshark tells it.
BAD, GOOD, UNVERIFIED, NOT_PRESENT = "0", "1", "2", "3"


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram with the IP header in front of it."""

    source: str
    destination: str
    tos: int
    df: bool
    """Of IPv6: that nobody may cut it on the way is in the protocol."""
    ttl: int
    ip_id: int | None
    flow_label: int | None
    source_port: int
    destination_port: int
    length: int
    """Of the payload, bytes."""
    ip_length: int
    """Of the packet, IP header included."""
    checksum: int
    checksum_status: str


@dataclass(frozen=True)
class Packet:
    """One message of WireGuard as it passed."""

    time: float
    """Unix seconds."""
    outer: Datagram
    kind: int
    sender_index: int | None
    receiver_index: int | None
    counter: int | None
    tunnel: Datagram | None
    """What was inside, where tshark could open it: VXLAN's datagram."""
    vni: int | None
    vxlan_flags: int | None
    vxlan_reserved: tuple[int, int] | None
    macs: tuple[str, str] | None
    """Destination and source of the inner frame."""
    ethertype: str | None
    protocol: str
    info: str

    @property
    def padding(self) -> int:
        """Zeros behind the tunnel packet; without one inside, all that was sealed."""
        sealed = self.outer.length - 32
        return sealed - (self.tunnel.ip_length if self.tunnel else 0)


def sent_by(node: Far, packets: Iterable[Packet]) -> list[Packet]:
    """Those that come from a node's own addresses."""
    return [packet for packet in packets if packet.outer.source in node.id.address.values()]


def of_kind(kind: int, packets: Iterable[Packet]) -> list[Packet]:
    """Those of one of WireGuard's four types."""
    return [packet for packet in packets if packet.kind == kind]


def keepalives(packets: Iterable[Packet]) -> list[Packet]:
    """Those that carry nothing."""
    return [p for p in of_kind(DATA, packets) if p.outer.length == KEEPALIVE_LENGTH]


class Capture:
    """Everything that passes the first host's ``eth0`` from :meth:`start` to :meth:`stop`.

    The offloads of all hosts on that wire are switched off, so that what is seen is what would be
    on a real one, cut and with its checksums.
    """

    def __init__(self, host: Namespace, *others: Namespace) -> None:
        self.host = host
        self._others = others
        self.path = host.folder / f"capture-{next(_numbers)}.pcap"

    def start(self) -> None:
        """Returns when everything from now on will be in it."""
        for host in (self.host, *self._others):
            host.run("ethtool", "-K", "eth0", "gso", "off", "gro", "off", "tx", "off")
        self._process = self.host.start(
            *("tcpdump", "-i", "eth0", "-U", "--immediate-mode", *ROOM),
            *("-Z", "root", "-w", str(self.path), "udp or (ip[6:2] & 0x1fff != 0)"),
            log="tcpdump",
        )
        eventually(lambda: "listening on" in self._process.stderr, f"it captures: {self._process}")

    def stop(self) -> None:
        """The file is whole when this returns."""
        time.sleep(SETTLE)  # What has just passed is in tcpdump's ring, not yet in the file.
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        assert "\n0 packets dropped by kernel" in self._process.stderr, self._process

    def packets(self, key_log: Path | None = None, *, port: int = 51820) -> list[Packet]:
        """WireGuard's messages to or from a port, oldest first."""
        return [
            _parse(dict(zip(FIELDS, row, strict=True)))
            for row in self.fields(f"wg && udp.port == {port}", FIELDS, key_log)
        ]

    def fields(
        self, condition: str, fields: Iterable[str], key_log: Path | None = None
    ) -> list[list[str]]:
        """What tshark says of the packets that fulfil a display filter."""
        options = [
            *("-o", "udp.check_checksum:TRUE", "-o", "ip.defragment:TRUE"),
            *(("-o", f"wg.keylog_file:{key_log}") if key_log else ()),
        ]
        names = [argument for field in fields for argument in ("-e", field)]
        shape = ["-E", f"separator={SEPARATOR}", "-E", "occurrence=a", "-E", "aggregator=,"]
        command = ["tshark", "-r", str(self.path), "-Y", condition, *options]
        done = subprocess.run(
            [*command, "-T", "fields", *shape, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [line.split(SEPARATOR) for line in done.stdout.splitlines()]


def _number(values: list[str], at: int = 0) -> int | None:
    return int(values[at], 0) if len(values) > at and values[at] else None


def _parse(row: dict[str, str]) -> Packet:
    many = {name: value.split(",") if value else [] for name, value in row.items()}
    outer, rest = _datagram(many)
    tunnel = _datagram(rest)[0] if len(many["udp.srcport"]) > 1 else None
    frame = many["eth.type"][1:]
    reserved = (_number(many["vxlan.gbp"]), _number(many["vxlan.reserved8"]))
    kind = _number(many["wg.type"])
    assert kind is not None
    return Packet(
        time=float(row["frame.time_epoch"]),
        outer=outer,
        kind=kind,
        sender_index=_number(many["wg.sender"]),
        receiver_index=_number(many["wg.receiver"]),
        counter=_number(many["wg.counter"]),
        tunnel=tunnel,
        vni=_number(many["vxlan.vni"]),
        vxlan_flags=_number(many["vxlan.flags"]),
        vxlan_reserved=None if None in reserved else (reserved[0] or 0, reserved[1] or 0),
        macs=(many["eth.dst"][1], many["eth.src"][1]) if frame else None,
        ethertype=frame[0] if frame else None,
        protocol=row["_ws.col.Protocol"],
        info=row["_ws.col.Info"],
    )


def _datagram(many: dict[str, list[str]]) -> tuple[Datagram, dict[str, list[str]]]:
    """The outermost datagram, and the fields without it.

    Which IP it stands in cannot be told from the order of fields of two protocols, but from the
    lengths: UDP's is IP's without its header.
    """
    udp = _number(many["udp.length"])
    assert udp is not None
    v4 = _number(many["ip.len"]) == udp + 20
    rest = dict(many)
    for name in many:
        if name.startswith(("udp.", "ip." if v4 else "ipv6.")):
            rest[name] = many[name][1:]
    family = "ip" if v4 else "ipv6"
    ttl = _number(many["ip.ttl" if v4 else "ipv6.hlim"])
    tos = _number(many["ip.dsfield" if v4 else "ipv6.tclass"])
    ports = _number(many["udp.srcport"]), _number(many["udp.dstport"])
    checksum = _number(many["udp.checksum"])
    assert ttl is not None
    assert tos is not None
    assert ports[0] is not None
    assert ports[1] is not None
    assert checksum is not None
    datagram = Datagram(
        source=many[f"{family}.src"][0],
        destination=many[f"{family}.dst"][0],
        tos=tos,
        df=many["ip.flags.df"][0] in ("1", "True") if v4 else True,
        ttl=ttl,
        ip_id=_number(many["ip.id"]) if v4 else None,
        flow_label=None if v4 else _number(many["ipv6.flow"]),
        source_port=ports[0],
        destination_port=ports[1],
        length=udp - 8,
        ip_length=udp + (20 if v4 else 40),
        checksum=checksum,
        checksum_status=many["udp.checksum.status"][0],
    )
    return datagram, rest
