"""What a set may say over the UAPI, line by line."""

from __future__ import annotations

import contextlib
import errno
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wgvx.control.prefix import format_prefix, parse_prefix
from wgvx.control.uapi import Request, UapiError, read_set_line
from wgvx.keys import clamped
from wgvx.wireguard.sessions import Endpoint

KEY = "11" * 32


def test_a_whole_request_is_read() -> None:
    request = Request()
    for line in (
        f"private_key={KEY}",
        "listen_port=51820",
        "fwmark=0x2a",
        "replace_peers=true",
        f"public_key={KEY}",
        "update_only=true",
        f"preshared_key={'22' * 32}",
        "endpoint=192.0.2.1:1",
        "persistent_keepalive_interval=25",
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.7/8",
        "allowed_ip=-fd00::1/128",
        "allowed_ip=+10.1.0.1",
        "protocol_version=1",
        f"public_key={'33' * 32}",
        "remove=true",
    ):
        read_set_line(request, line)
    assert request.private_key == clamped(bytes.fromhex(KEY))
    assert (request.listen_port, request.fwmark, request.replace_peers) == (51820, 42, True)
    first, second = request.peers
    assert (first.update_only, first.replace_allowed_ips, first.remove) == (True, True, False)
    assert first.endpoint == Endpoint(b"\xc0\0\2\1", 1)
    assert first.persistent_keepalive == 25
    assert first.allowed_ips == [
        (True, (b"\x0a\0\0\0", 8)),
        (False, (b"\xfd" + bytes(14) + b"\1", 128)),
        (True, (b"\x0a\1\0\1", 32)),
    ]
    assert second.remove


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("192.0.2.1:65535", Endpoint(b"\xc0\0\2\1", 65535)),
        ("[::1]:51820", Endpoint(bytes(15) + b"\1", 51820)),
        ("[fe80::1%7]:1", Endpoint(b"\xfe\x80" + bytes(13) + b"\1", 1, 7)),
        # wg(8) writes the interface's name, as getnameinfo(3) gives it.
        (
            "[fe80::1%lo]:1",
            Endpoint(b"\xfe\x80" + bytes(13) + b"\1", 1, socket.if_nametoindex("lo")),
        ),
    ],
)
def test_endpoints(value: str, made: Endpoint) -> None:
    request = Request()
    read_set_line(request, f"public_key={KEY}")
    read_set_line(request, f"endpoint={value}")
    assert request.peers[0].endpoint == made


DEVICE_LINES = [
    "private_key=",
    f"private_key={KEY[:-2]}",
    f"private_key={KEY}00",
    f"private_key={KEY[:-1]}g",
    f"private_key={KEY[:31]} {KEY[:32]}",
    "listen_port=-1",
    "listen_port=65536",
    "listen_port=",
    "listen_port=0x10",
    "listen_port= 1",
    "listen_port=1_0",
    "listen_port=\u0661",
    f"listen_port={'9' * 5000}",
    "fwmark=-1",
    "fwmark=4294967296",
    "fwmark=x",
    f"fwmark={'9' * 5000}",
    "replace_peers=false",
    "replace_peers=1",
    "no_such_key=1",
    "=",
    " private_key=1",
    # A peer's keys before any peer.
    "endpoint=192.0.2.1:1",
    "allowed_ip=10.0.0.0/8",
    "remove=true",
    "public_key=",
    f"public_key={KEY}0",
]

PEER_LINES = [
    "endpoint=",
    "endpoint=192.0.2.1",
    "endpoint=192.0.2.1:0",
    "endpoint=192.0.2.1:65536",
    "endpoint=192.0.2.1:-1",
    "endpoint=192.0.2:1",
    "endpoint=192.0.2.1%1:1",
    "endpoint=name.example:1",
    "endpoint=2001:db8::1:1",
    "endpoint=[192.0.2.1]:1",
    "endpoint=[2001:db8::1:1",
    "endpoint=[2001:db8::1]",
    "endpoint=[fe80::1%]:1",
    "endpoint=[fe80::1%no-such-if]:1",
    "endpoint=[fe80::1%99999999999]:1",
    "endpoint=[::1\0]:1",
    "endpoint=1.2.3.4\0:1",
    "allowed_ip=",
    "allowed_ip=10.0.0.0/33",
    "allowed_ip=10.0.0.0/-1",
    "allowed_ip=10.0.0.0/",
    "allowed_ip=10.0.0.0/255.0.0.0",
    "allowed_ip=10.0.0/8",
    "allowed_ip=fd00::/129",
    "allowed_ip=fe80::1%1/64",
    "allowed_ip=--10.0.0.0/8",
    "allowed_ip=+-10.0.0.0/8",
    "allowed_ip=\0",
    "allowed_ip=\ud800",
    "persistent_keepalive_interval=65536",
    "persistent_keepalive_interval=off",
    "preshared_key=11",
    "protocol_version=2",
    "update_only=false",
    "remove=",
    "replace_allowed_ips=yes",
    # The device's keys after a peer.
    f"private_key={KEY}",
    "listen_port=1",
    "replace_peers=true",
    "no_such_key=1",
]


@pytest.mark.parametrize("line", DEVICE_LINES, ids=lambda line: ascii(line[:40]))
def test_bad_lines_of_the_device(line: str) -> None:
    with pytest.raises(UapiError) as caught:
        read_set_line(Request(), line)
    assert caught.value.code == errno.EINVAL


@pytest.mark.parametrize("line", PEER_LINES, ids=lambda line: ascii(line[:40]))
def test_bad_lines_of_a_peer(line: str) -> None:
    request = Request()
    read_set_line(request, f"public_key={KEY}")
    with pytest.raises(UapiError) as caught:
        read_set_line(request, line)
    assert caught.value.code == errno.EINVAL


@pytest.mark.parametrize("line", ["nonsense", "private_key", " ", "set"])
def test_a_line_without_equals(line: str) -> None:
    with pytest.raises(UapiError) as caught:
        read_set_line(Request(), line)
    assert caught.value.code == errno.EPROTO


NAMES = st.sampled_from(
    [
        *("private_key", "listen_port", "fwmark", "replace_peers", "public_key", "remove"),
        *("update_only", "preshared_key", "endpoint", "persistent_keepalive_interval"),
        *("replace_allowed_ips", "allowed_ip", "protocol_version", "set", "get", ""),
    ]
)
TEXTS = st.text() | st.sampled_from([KEY, "true", "0", "1", "10.0.0.0/8", "::/0", "[::1]:1", "-"])
LINES = st.lists(st.text() | st.builds("{}={}".format, NAMES, TEXTS), max_size=8)


@settings(max_examples=500)
@given(LINES)
@example(["public_key=" + KEY, "endpoint=[%]:1"])
@example(["public_key=" + KEY, "allowed_ip=" + "9" * 10000])
def test_no_text_raises_anything_else(lines: list[str]) -> None:
    request = Request()
    with contextlib.suppress(UapiError):
        for line in lines:
            read_set_line(request, line)


@given(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32))
    | st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128))
)
def test_prefixes_both_ways(drawn: tuple[bytes, int]) -> None:
    address, length = drawn
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    made = parse_prefix(f"{socket.inet_ntop(family, address)}/{length}")
    bits = len(address) * 8
    kept = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
    assert made == (kept.to_bytes(len(address), "big"), length)
    assert parse_prefix(format_prefix(made)) == made
