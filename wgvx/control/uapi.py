"""The WireGuard UAPI of a userspace device, so that wg(8) works on a running node.

Text: ``get=1`` or ``set=1``, key=value lines, an empty line. A ``set`` is read whole before any of
it is applied, so that a bad one changes nothing; it is read line by line as it comes in, for it may
hold a hundred thousand prefixes and packets are not to wait for it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from wgvx.control.prefix import format_prefix, parse_prefix
from wgvx.engine import Engine, PeerInfo
from wgvx.keys import clamped
from wgvx.node import Node
from wgvx.pump import clock
from wgvx.rtnetlink import interface_index
from wgvx.underlay import UnderlayError, format_endpoint
from wgvx.wireguard.allowed_ips import Prefix
from wgvx.wireguard.constants import SECOND
from wgvx.wireguard.noise import NO_PRESHARED_KEY
from wgvx.wireguard.sessions import Endpoint

NO_KEY = bytes(32)


class UapiError(Exception):
    """A request refused; ``code`` is a positive errno."""

    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode.get(code, str(code)))
        self.code = code


# --- get ---------------------------------------------------------------------------------------


def get(node: Node) -> str:
    """The whole device. wg(8) wants an errno that is not negative."""
    device = node.engine.device
    lines: list[tuple[str, object]] = []
    if device.private_key is not None:
        lines.append(("private_key", clamped(device.private_key).hex()))
    lines.append(("listen_port", node.listen_port))
    if node.fwmark:
        lines.append(("fwmark", node.fwmark))
    for info in node.engine.peers.values():
        lines += _get_peer(node, info)
    lines.append(("errno", 0))
    return "".join(f"{key}={value}\n" for key, value in lines) + "\n"


def _get_peer(node: Node, info: PeerInfo) -> list[tuple[str, object]]:
    device, dataplane = node.engine.device, node.dataplane
    endpoint = dataplane.endpoint(info.id)
    seconds, nanoseconds = divmod(device.latest_handshake(info.id), SECOND)
    counters = dataplane.peer_counters(info.id)
    lines: list[tuple[str, object]] = [
        ("public_key", info.public_key.hex()),
        ("preshared_key", device.preshared_key(info.id).hex()),
        ("protocol_version", 1),
    ]
    if endpoint is not None:
        lines.append(("endpoint", format_endpoint(endpoint)))
    lines += [
        ("last_handshake_time_sec", seconds),
        ("last_handshake_time_nsec", nanoseconds),
        ("tx_bytes", counters.tx_bytes),
        ("rx_bytes", counters.rx_bytes),
        ("persistent_keepalive_interval", device.persistent_keepalive(info.id)),
    ]
    lines += [("allowed_ip", format_prefix(prefix)) for prefix in dataplane.allowed_ips(info.id)]
    return lines


# --- set ---------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False)  # Holds keys.
class _Peer:
    public_key: bytes
    remove: bool = False
    update_only: bool = False
    preshared_key: bytes | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: list[tuple[bool, Prefix]] = field(default_factory=list)
    """(give, prefix); False takes it away."""


@dataclass(slots=True, repr=False)  # Holds keys.
class Request:
    """What a ``set`` asks for, as far as it was read."""

    private_key: bytes | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: list[_Peer] = field(default_factory=list)


def _key(value: str) -> bytes:
    key = bytes.fromhex(value)
    if len(key) != 32 or len(value) != 64:
        raise ValueError(value)
    return key


def _true(value: str) -> bool:
    if value != "true":
        raise ValueError(value)
    return True


def _number(value: str, highest: int) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(value)
    number = int(value)
    if number > highest:
        raise ValueError(value)
    return number


def _fwmark(value: str) -> int:
    number = int(value, 0)
    if not 0 <= number < 2**32:
        raise ValueError(value)
    return number


def _private_key(value: str) -> bytes:
    key = _key(value)
    return key if key == NO_KEY else clamped(key)


def _endpoint(value: str) -> Endpoint:
    host, _, port = value.rpartition(":")
    number = _number(port, 65535)
    if number == 0:
        raise ValueError(value)
    if not (host.startswith("[") and host.endswith("]")):
        return Endpoint(socket.inet_pton(socket.AF_INET, host), number)
    host, percent, zone = host[1:-1].partition("%")
    scope = 0
    if percent:  # wg(8) writes what getnameinfo(3) gives: the name of the interface.
        scope = _number(zone, 2**32 - 1) if zone.isdigit() else interface_index(zone)
    return Endpoint(socket.inet_pton(socket.AF_INET6, host), number, scope)


def _allowed_ip(value: str) -> tuple[bool, Prefix]:
    return value[:1] != "-", parse_prefix(value[1:] if value[:1] in ("+", "-") else value)


def read_set_line(request: Request, line: str) -> None:
    """Read one line after ``set=1``. Raises UapiError: EINVAL for a bad key or value, EPROTO for a
    line without "=".
    """
    key, equals, value = line.partition("=")
    if not equals:
        raise UapiError(errno.EPROTO)
    try:
        if key == "public_key":
            request.peers.append(_Peer(_key(value)))
        elif request.peers:
            _PEER_KEYS[key](request.peers[-1], value)
        else:
            _DEVICE_KEYS[key](request, value)
    except (ValueError, KeyError, OSError):
        raise UapiError(errno.EINVAL) from None


def _setter(name: str, read: Callable[[str], object]) -> Callable[[object, str], None]:
    return lambda target, value: setattr(target, name, read(value))


_DEVICE_KEYS: dict[str, Callable[[Request, str], None]] = {
    "private_key": _setter("private_key", _private_key),
    "listen_port": _setter("listen_port", lambda value: _number(value, 65535)),
    "fwmark": _setter("fwmark", _fwmark),
    "replace_peers": _setter("replace_peers", _true),
}


def _protocol_version(_peer: _Peer, value: str) -> None:
    if value != "1":
        raise ValueError(value)


_PEER_KEYS: dict[str, Callable[[_Peer, str], None]] = {
    "remove": _setter("remove", _true),
    "update_only": _setter("update_only", _true),
    "preshared_key": _setter("preshared_key", _key),
    "endpoint": _setter("endpoint", _endpoint),
    "persistent_keepalive_interval": _setter(
        "persistent_keepalive", lambda value: _number(value, 65535)
    ),
    "replace_allowed_ips": _setter("replace_allowed_ips", _true),
    "allowed_ip": lambda peer, value: peer.allowed_ips.append(_allowed_ip(value)),
    "protocol_version": _protocol_version,
}


def apply(node: Node, request: Request) -> None:
    """Apply a request read whole. Raises UapiError where the kernel refuses a port or a mark."""
    engine, now = node.engine, clock()
    try:
        if request.listen_port is not None:
            node.set_listen_port(request.listen_port)
        if request.fwmark is not None:
            node.set_fwmark(request.fwmark)
    except UnderlayError as error:
        raise UapiError(error.code) from None
    if request.private_key is not None:
        _set_private_key(engine, request.private_key, now)
    if request.replace_peers:
        for public_key in list(engine.peers):
            engine.remove_peer(public_key)
    for peer in request.peers:
        _apply_peer(node, peer, now)
    engine.follow_peers()
    node.settle()


def _set_private_key(engine: Engine, key: bytes, now: int) -> None:
    """The key that we have already expires no session: `wg syncconf` says it every time."""
    held = engine.device.private_key
    if key != (NO_KEY if held is None else clamped(held)):
        engine.set_private_key(None if key == NO_KEY else key, now)


def _apply_peer(node: Node, peer: _Peer, now: int) -> None:
    engine, dataplane = node.engine, node.dataplane
    if peer.public_key == engine.device.public_key:
        return  # "A peer with our own public key is ignored", as by the kernel.
    info = engine.peers.get(peer.public_key)
    if peer.remove:
        if info is not None:
            engine.remove_peer(peer.public_key)
        return
    if info is None:
        if peer.update_only:
            return
        info = engine.add_peer(peer.public_key)
    if peer.preshared_key is not None:
        psk = peer.preshared_key
        engine.device.set_preshared_key(info.id, None if psk == NO_PRESHARED_KEY else psk)
    if peer.replace_allowed_ips:
        dataplane.clear_allowed_ips(info.id)
    for give, prefix in peer.allowed_ips:
        if give:
            dataplane.add_allowed_ip(info.id, prefix)
        else:
            dataplane.remove_allowed_ip(info.id, prefix)
    if peer.endpoint is not None:
        info.endpoint_name = None  # The operator's word stands in place of the name.
        engine.set_endpoint(info, peer.endpoint, now)
    if peer.persistent_keepalive is not None:
        engine.device.set_persistent_keepalive(info.id, peer.persistent_keepalive, now)


# --- one operation -----------------------------------------------------------------------------


class Operation:
    """One operation, read line by line up to the empty one, then answered."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._request = Request()
        self._error: UapiError | None = None

    def read(self, line: str) -> None:
        """Take in one line, without its end."""
        if self._kind is None:
            self._kind = line
        elif self._kind != "set=1":
            self._kind = ""  # Nothing but a set has more than one line.
        elif self._error is None:
            try:
                read_set_line(self._request, line)
            except UapiError as error:
                self._error = error

    def answer(self, node: Node) -> str | None:
        """The reply; None for an unknown operation, which ends the connection."""
        if self._kind == "get=1":
            return get(node)
        if self._kind != "set=1":
            return None
        try:
            if self._error is not None:
                raise self._error
            apply(node, self._request)
        except UapiError as error:
            return f"errno={-error.code}\n\n"
        return "errno=0\n\n"
