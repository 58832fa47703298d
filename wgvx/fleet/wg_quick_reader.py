"""wg-quick(8)'s files, as far as a plan can take them over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wgvx import keys
from wgvx.config import ConfigError, EndpointName, Interface, Prefix, values
from wgvx.config.table import key_shown, reason, shown
from wgvx.config.values import Kind as Form
from wgvx.config.values import T


@dataclass(slots=True)
class QuickPeer:
    """`[Peer]`."""

    name: str | None
    """Of the comment over it, if that is a single word."""
    public_key: bytes = b""
    preshared_key: bytes | None = field(default=None, repr=False)
    endpoint: EndpointName | None = None
    allowed_ips: tuple[Prefix, ...] = ()
    keepalive: int = 0


@dataclass(slots=True)
class QuickFile:
    """One node."""

    path: Path
    private_key: bytes = field(default=b"", repr=False)
    addresses: tuple[Interface, ...] = ()
    listen_port: int | None = None
    mtu: int | None = None
    peers: list[QuickPeer] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Keys that a plan has no use for."""


def read_quick(path: Path) -> QuickFile:
    """Read one file; ConfigError for what wg-quick would not take either."""
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
    found = QuickFile(path)
    section = ""
    for number, key, value, comment in _lines(text):
        at = f"{path}:{number}"
        if key == "[peer]":
            section = key
            found.peers.append(QuickPeer(comment))
        elif key.startswith("["):
            if key != "[interface]":
                found_name = key_shown(key.strip("[]"))
                raise ConfigError(f"{at}: found [{found_name}], want [Interface] or [Peer]")
            section = key
        elif section == "[interface]":
            _interface(found, at, key, value)
        elif section == "[peer]":
            _peer(found.peers[-1], at, key, value)
        else:
            raise ConfigError(
                f"{at}: {key_shown(key)}: found it before any section, want [Interface] first"
            )
    if not found.private_key or not found.addresses:
        missing = "Address" if found.private_key else "PrivateKey"
        raise ConfigError(f"{path}: [Interface], {missing}: missing, want it in the file")
    for position, peer in enumerate(found.peers, 1):
        if not peer.public_key:
            raise ConfigError(f"{path}: [Peer] {position}, PublicKey: missing")
    return found


def _lines(text: str) -> Iterator[tuple[int, str, str, str | None]]:
    """Line number, key in small letters or section, value, and the comment over a section."""
    comment = None
    for number, line in enumerate(text.splitlines(), 1):
        content, _, after = line.partition("#")
        content = content.strip()
        if content.startswith("["):
            yield number, content.lower(), "", comment
        elif content:
            key, _, value = content.partition("=")
            yield number, key.strip().lower(), value.strip(), None
        comment = after.strip() if not content and after.strip() else None


def _interface(found: QuickFile, at: str, key: str, value: str) -> None:
    match key:
        case "privatekey":
            found.private_key = _read(at, key, value, values.KEY)
        case "address":
            each = (_read(at, key, one.strip(), values.INTERFACE) for one in value.split(","))
            found.addresses += tuple(each)
        case "listenport":
            found.listen_port = _number(at, key, value, 65535)
        case "mtu":
            found.mtu = _number(at, key, value, 65535)
        case _:
            found.left_out.append(key_shown(key))


def _peer(peer: QuickPeer, at: str, key: str, value: str) -> None:
    match key:
        case "publickey":
            peer.public_key = _read(at, key, value, values.KEY)
        case "presharedkey":
            peer.preshared_key = _read(at, key, value, values.KEY)
        case "endpoint":
            peer.endpoint = _read(at, key, value, values.ENDPOINT)
        case "allowedips":
            each = (one.strip() for one in value.split(","))
            peer.allowed_ips += tuple(_read(at, key, one, values.PREFIX) for one in each if one)
        case "persistentkeepalive":
            peer.keepalive = 0 if value == "off" else _number(at, key, value, 65535)
        case _:
            raise ConfigError(f"{at}: [Peer], {key_shown(key)}: there is no such key")


def _read(at: str, key: str, value: str, form: Form[T]) -> T:
    try:
        return form.parse(value)
    except ValueError:
        found = shown(value, form.secret)
        raise ConfigError(f"{at}: {key}: found {found}, want {form.wanted}") from None


def _number(at: str, key: str, value: str, high: int) -> int:
    if value.isascii() and value.isdigit() and len(value) < 10 and int(value) <= high:
        return int(value)
    raise ConfigError(f"{at}: {key}: found {shown(value)}, want a whole number up to {high}")


def public_key(node: QuickFile) -> bytes:
    """The public key of a node."""
    return keys.public_key(node.private_key)
