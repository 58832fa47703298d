"""Text to values: every form that a string in the file can have, and how it is described.

A parser raises ValueError and leaves the wording to its :class:`Kind`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Generic, NamedTuple, TypeVar

from wgvx import keys
from wgvx.config.model import Address, EndpointName, Forward, Interface, Prefix

T = TypeVar("T")


class Kind(NamedTuple, Generic[T]):
    """A form of text: how to read it, and what to tell who wrote something else."""

    parse: Callable[[str], T]
    wanted: str
    secret: bool = False
    """Never show what was found."""


def parse_address(text: str) -> Address:
    """A unicast address without a scope, such as another VTEP's."""
    address = ip_address(text)
    if "%" in text or not is_unicast(address):
        raise ValueError
    return address


def parse_interface(text: str) -> Interface:
    """An address of our own with its prefix length; without one, a host's."""
    _check_length(text)
    interface = ip_interface(text)
    if not is_unicast(interface.ip):
        raise ValueError
    return interface


def parse_prefix(text: str) -> Prefix:
    """A prefix as wg(8) takes it: a bare address is a host, host bits are masked."""
    _check_length(text)
    return ip_network(text, strict=False)


def has_host_bits(text: str) -> bool:
    """Whether :func:`parse_prefix` masks anything in a prefix."""
    _, _, length = text.partition("/")
    if length in ("", "128" if ":" in text else "32"):
        return False  # A host: by far the most of a long list.
    interface = ip_interface(text)
    return interface.ip != interface.network.network_address


def is_unicast(address: Address) -> bool:
    """Whether a host can have it and others reach it there."""
    broadcast = address == IPv4Address("255.255.255.255")
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or broadcast)


def _check_length(text: str) -> None:
    """Refuse what the ipaddress module takes and wg(8) does not: netmasks and scopes."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not re.fullmatch(r"[0-9]{1,3}", length)):
        raise ValueError


_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_SCOPE = re.compile(r"[A-Za-z0-9_.+-]{1,15}")
"""Of an IPv6 address: an interface by its number or its name, of whose characters these are taken.
What a kernel would take besides means something to a shell, to systemd or to Ansible."""


def parse_endpoint(text: str) -> EndpointName:
    """host:port, a.b.c.d:port or [IPv6]:port, an IPv6 scope allowed."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port_text) or not 0 < int(port_text) < 65536:
        raise ValueError
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        _, percent, scope = host.partition("%")
        if ip_address(host).version != 6 or (percent and not _SCOPE.fullmatch(scope)):
            raise ValueError
    elif re.fullmatch(r"[0-9.]+", host):
        # Only digits and dots is meant as an address: never ask DNS for 300.1.1.1.
        IPv4Address(host)
    elif len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError
    return EndpointName(host, int(port_text))


def parse_socket(text: str) -> str | EndpointName:
    """A Unix socket's path, which has a slash in it, or host and port."""
    return parse_path(text) if "/" in text else parse_endpoint(text)


_FORWARD_HOST = r"(\[[^\]]+\]|[^\[\]:]*)"
_FORWARD = re.compile(rf"(?:{_FORWARD_HOST}:)?([0-9]+):{_FORWARD_HOST}:([0-9]+)")


def _parse_forward(text: str, default: str) -> Forward:
    """[host:]port:host:port, IPv6 addresses in brackets; `default` is the first host where it is
    left out, and "" or "*" is every address.
    """
    found = _FORWARD.fullmatch(text)
    if not found:
        raise ValueError
    host = default if found[1] is None else found[1]
    if host in ("", "*"):
        listen = EndpointName("", parse_endpoint(f"any:{found[2]}").port)
    else:
        listen = parse_endpoint(f"{host}:{found[2]}")
    return Forward(listen, parse_endpoint(f"{found[3]}:{found[4]}"))


def parse_listener(text: str) -> EndpointName:
    """[host:]port, where to listen: without a host on the loopback address; "" or "*" is every
    address."""
    host, colon, port = text.rpartition(":")
    if host in ("", "*"):
        name = "" if colon else "127.0.0.1"
        return EndpointName(name, parse_endpoint(f"any:{port}").port)
    return parse_endpoint(text)


def parse_local_forward(text: str) -> Forward:
    """As of `ssh -L`: without a host it listens on the loopback address."""
    return _parse_forward(text, "127.0.0.1")


def parse_remote_forward(text: str) -> Forward:
    """As of `ssh -R`, but on the overlay: without a host, on all of the stack's addresses."""
    forward = _parse_forward(text, "")
    if forward.listen.host:
        parse_address(forward.listen.host)
    return forward


def parse_mac(text: str) -> bytes:
    """Six bytes from aa:bb:cc:dd:ee:ff. ValueError for any other form."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}", text):
        raise ValueError("not a MAC address: want six hex bytes such as 02:00:00:00:00:01")
    return bytes.fromhex(text.replace(":", ""))


def format_mac(mac: bytes) -> str:
    """Six bytes as aa:bb:cc:dd:ee:ff."""
    return mac.hex(":")


def parse_station_mac(text: str) -> bytes:
    """A MAC that an interface can own: unicast and not zero."""
    mac = parse_mac(text)
    if mac[0] & 1 or not any(mac):
        raise ValueError
    return mac


def parse_entry_mac(text: str) -> bytes:
    """A MAC of a static entry: unicast or multicast; all-zeros is the flood list, not an entry."""
    mac = parse_mac(text)
    if not any(mac):
        raise ValueError
    return mac


def parse_device(text: str) -> str:
    """A name that Linux takes for an interface."""
    # dev_valid_name(): 1 to 15 bytes, not "." or "..", no '/', ':' or white space. A '%' would be a
    # pattern that the kernel fills in.
    if (
        not 1 <= len(text.encode()) <= 15
        or text in (".", "..")
        or re.search(r"[/:%\s]", text)
        or not text.isprintable()
    ):
        raise ValueError
    return text


def parse_netns(text: str) -> str:
    """A name of a network namespace: one that a file can have."""
    if (
        not 1 <= len(text.encode()) <= 255
        or text.startswith(".")
        or re.search(r"[/\s]", text)
        or not text.isprintable()
    ):
        raise ValueError
    return text


def parse_label(text: str) -> str:
    """A name for people."""
    if not 1 <= len(text) <= 64 or not text.isprintable() or text != text.strip():
        raise ValueError
    return text


def parse_path(text: str) -> str:
    """A path; "~" is the shell's and would be taken literally here."""
    if not text or "\0" in text or text.startswith("~"):
        raise ValueError
    return text


KEY = Kind(keys.decode, "a key: 32 bytes as 44 characters of base64", secret=True)
ADDRESS = Kind(parse_address, 'a unicast address such as "10.254.0.2"')
INTERFACE = Kind(
    parse_interface, 'a unicast address with its prefix length such as "10.254.0.1/24"'
)
PREFIX = Kind(parse_prefix, 'an address or prefix such as "10.254.0.2/32"')
ENDPOINT = Kind(parse_endpoint, '"host:port", "192.0.2.2:51820" or "[2001:db8::2]:51820"')
MAXIMUM_SOCKET_PATH = 107
"""Bytes of sun_path in unix(7), without the last one, which is zero."""
SOCKET = Kind(
    parse_socket, 'a Unix socket, with a slash in it, such as "./vm1.sock", or "127.0.0.1:5555"'
)
PROXY = Kind(parse_endpoint, 'a place of this host such as "127.0.0.1:1080"')
STACK_ADDRESS = Kind(
    parse_interface,
    'an address of its own on the overlay with its prefix length such as "10.0.0.9/24"',
)
LOCAL_FORWARD = Kind(
    parse_local_forward, '"[host:]port:host:port" as of ssh -L, such as "8080:10.0.0.2:80"'
)
REMOTE_FORWARD = Kind(
    parse_remote_forward, '"[address:]port:host:port" as of ssh -R, such as "80:127.0.0.1:8080"'
)
STATION_MAC = Kind(parse_station_mac, 'a unicast MAC such as "02:00:00:00:00:01"')
ENTRY_MAC = Kind(
    parse_entry_mac, 'a MAC such as "02:00:00:00:00:02" (the flood list, all zeros, is "remotes")'
)
DEVICE = Kind(
    parse_device, 'an interface name of 1 to 15 bytes without "/", ":", "%" or white space'
)
PORT = Kind(
    parse_device, 'a name such as "vm1", of 1 to 15 bytes without "/", ":", "%" or white space'
)
NETNS = Kind(parse_netns, 'the name of a network namespace as "ip netns list" shows it')
LABEL = Kind(parse_label, "a name of 1 to 64 printable characters")
PATH = Kind(parse_path, 'a path, relative to this file or absolute, without "~"')
TEXT: Kind[str] = Kind(str, "text in quotes")
