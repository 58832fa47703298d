"""The frame that finds loops: sent out of a port, it must not come back.

To :data:`~wgvx.vxlan.watch.PROBE_GROUP`, padded to Ethernet's minimum::

    magic "loop" | version 1 | hops | VNI | port | sequence | node | carrier | tag
          4           1          1      4     4       4         8       8       12  bytes

What a node that carries it changes, ``hops`` and ``carrier``, is not under the tag.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wgvx.vxlan.ethernet import HEADER_LENGTH
from wgvx.vxlan.watch import ETHERTYPE_PROBE, PROBE_GROUP
from wgvx.wireguard.crypto import mac, same

MAX_HOPS = 16
NOBODY = bytes(8)
"""As carrier: no node that detects loops had a part in it."""

_MOVED = b"move"
_LAYOUT = struct.Struct("!4sBBIII8s8s12s")
_TAGGED = struct.Struct("!III8s")
_MAGIC = b"loop"
_VERSION = 1
_TAG_LENGTH = 12


class Probe(NamedTuple):
    """What one says."""

    vni: int
    port: int
    """The port of the node that it left by."""
    sequence: int
    node: bytes
    """Whose it is: 8 bytes."""
    hops: int = MAX_HOPS
    """How often it may still be carried on."""
    carrier: bytes = NOBODY
    """Of the nodes that carried it, the greatest."""
    tag: bytes = b""
    """Tells its sender that it is his own."""

    def is_made_with(self, key: bytes) -> bool:
        """Whether the tag is right: only who has the key can have made it."""
        return same(_tag(self, key), self.tag)


def frame(probe: Probe, key: bytes) -> bytes:
    """A new one, to be sent."""
    return _frame(source_mac(probe, key), probe._replace(tag=_tag(probe, key)))


def carried(data: bytes, probe: Probe, by: bytes) -> bytes:
    """The same frame, one hop further."""
    return _frame(data[6:12], probe._replace(hops=probe.hops - 1, carrier=max(probe.carrier, by)))


def parse(data: bytes) -> Probe | None:
    """The probe in a frame; None where there is none, or one of another version."""
    if len(data) < HEADER_LENGTH + _LAYOUT.size:
        return None
    magic, version, hops, vni, port, sequence, node, carrier, tag = _LAYOUT.unpack_from(
        data, HEADER_LENGTH
    )
    if magic != _MAGIC or version != _VERSION:
        return None
    return Probe(vni, port, sequence, node, hops, carrier, tag)


def moved(data: bytes) -> bytes:
    """Another frame to the group, with the source of ``data``: the stations that were behind its
    sender are elsewhere now.
    """
    return data[:HEADER_LENGTH] + (_MOVED + bytes((_VERSION,))).ljust(_LAYOUT.size, b"\0")


def is_moved(data: bytes) -> bool:
    """Whether this is such a one."""
    return data[HEADER_LENGTH : HEADER_LENGTH + 5] == _MOVED + bytes((_VERSION,))


def source_mac(probe: Probe, key: bytes) -> bytes:
    """A locally administered address of the port's own: with the device's, a bridge that it comes
    back to would find somebody to have its own address.
    """
    drawn = mac(key, b"source" + probe.port.to_bytes(4, "big"))
    return bytes((drawn[0] & 0xFC | 0x02, *drawn[1:6]))


def _frame(source: bytes, probe: Probe) -> bytes:
    payload = _LAYOUT.pack(
        *(_MAGIC, _VERSION, probe.hops),
        *(probe.vni, probe.port, probe.sequence, probe.node, probe.carrier, probe.tag),
    )
    return PROBE_GROUP + source + ETHERTYPE_PROBE.to_bytes(2, "big") + payload


def _tag(probe: Probe, key: bytes) -> bytes:
    says = _TAGGED.pack(probe.vni, probe.port, probe.sequence, probe.node)
    return mac(key, says, length=_TAG_LENGTH)
