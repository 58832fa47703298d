"""Why a packet was dropped: one flat list, shared by every layer.

A function that refuses a packet raises :class:`Drop` with one :class:`Reason`. The data plane
catches it at the one place where a packet's way ends and counts it there, so that a packet counts
under exactly one reason and a reason exists for every way to be refused.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Every drop counter, by the name that ``wgvx show --json`` prints."""

    # The outer datagram and the handshake.
    MALFORMED = "malformed"
    """Not a WireGuard message: unknown type, wrong length, reserved bytes set."""
    BAD_MAC1 = "bad_mac1"
    BAD_MAC2 = "bad_mac2"
    """Under load, without a valid cookie. A cookie reply was sent."""
    HANDSHAKE_RATE = "handshake_rate"
    """Over the per-source or per-peer limit, or the handshake queue was full."""
    HANDSHAKE_REPLAY = "handshake_replay"
    """An initiation whose timestamp is not greater than the last accepted one."""
    HANDSHAKE_FAILED = "handshake_failed"
    """A handshake or cookie message that does not authenticate, or is from no peer of ours."""
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    """A staged packet whose handshake was given up."""

    # Transport data.
    UNKNOWN_INDEX = "unknown_index"
    AUTH_FAILED = "auth_failed"
    REPLAYED = "replayed"
    KEY_EXPIRED = "key_expired"

    # Cryptokey routing and the inner packet.
    INNER_MALFORMED = "inner_malformed"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    NO_ROUTE = "no_route"
    NO_ENDPOINT = "no_endpoint"
    STAGED_OVERFLOW = "staged_overflow"
    TTL = "ttl"
    """A hub received a packet whose TTL or hop limit does not allow another hop."""
    BAD_CHECKSUM = "bad_checksum"
    FRAGMENT = "fragment"
    """A fragment that overlaps, is too many or too large, or whose rest never came."""
    SLOW_PATH = "slow_path"
    """Over the bounded rate of packets that leave the fast path (echo requests, loop probes)."""

    # The overlay.
    NOT_VXLAN = "not_vxlan"
    RESERVED_BITS = "reserved_bits"
    UNKNOWN_VNI = "unknown_vni"
    VTEP_NOT_ACCEPTED = "vtep_not_accepted"
    SHORT_FRAME = "short_frame"
    OWN_MAC = "own_mac"
    BAD_SOURCE_MAC = "bad_source_mac"
    RESERVED_GROUP = "reserved_group"
    STATIC_MOVED = "static_moved"
    STICKY_MOVED = "sticky_moved"
    """A station of a network with ``sticky`` was heard elsewhere than where it is."""
    MOVE_DAMPED = "move_damped"
    """A station that moved too often is held where it is for a while, and was heard elsewhere."""
    PORT_BLOCKED = "port_blocked"
    """From or to an attachment that is blocked, for frames loop through it."""
    BROADCAST_LIMIT = "broadcast_limit"
    """Over the network's limit of frames a second of this kind; so for the next two."""
    MULTICAST_LIMIT = "multicast_limit"
    UNKNOWN_LIMIT = "unknown_limit"
    SAME_PORT = "same_port"
    """The destination lives on the very attachment the frame came from."""
    NO_REMOTE = "no_remote"
    TOO_BIG = "too_big"
    ECN_CE = "ecn_ce"

    # The edges of the process.
    PORT_FULL = "port_full"
    PORT_DOWN = "port_down"
    """Nobody is connected to the port: a VM that is not running."""
    SOCKET_FULL = "socket_full"
    """The system had no room for what was to be sent."""
    UNREACHABLE = "unreachable"
    """The system refused to send: no route, no address of that family, a firewall."""
    CONGESTED = "congested"
    """More came in than we could open, for so long that one packet went unopened, for its sender
    to slow down."""


class Drop(Exception):  # noqa: N818 - an outcome of a packet, not an error of the program
    """Raised where a packet ends its way, with the reason it is counted under."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
