"""UDP sockets through the real loopback: what a datagram carries, and how they fail."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.underlay import (
    UdpSocket,
    UnderlayError,
    endpoint_from_sockaddr,
    format_endpoint,
    gso_segments,
    offload,
    open_sockets,
    opening,
)
from wgvx.underlay import udp as udp_module
from wgvx.wireguard.sessions import Endpoint

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ALL = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
CE, AF21 = 0x03, 0x88

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")

Opener = Callable[..., list[UdpSocket]]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """As open_sockets; closed at the end."""
    kept: list[UdpSocket] = []

    def opener(port: int = 0, fwmark: int = 0, workers: int = 1) -> list[UdpSocket]:
        sockets = open_sockets(port, fwmark, workers)
        kept.extend(sockets)
        return sockets

    yield opener
    for one in kept:
        one.close()


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return socket.AddressFamily(request.param)


@pytest.fixture
def udp(opened: Opener, family: socket.AddressFamily) -> UdpSocket:
    """Ours, of one family."""
    return opened()[family == socket.AF_INET6]


@pytest.fixture
def far(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """Somebody else's plain socket."""
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.bind((LOOPBACK[family], 0))
        made.settimeout(5)
        yield made


def packed(family: socket.AddressFamily, text: str) -> bytes:
    return socket.inet_pton(family, text)


def endpoint(of: socket.socket, local: bytes = b"") -> Endpoint:
    return endpoint_from_sockaddr(of.getsockname())._replace(local=local)


def receive(udp: UdpSocket) -> Datagram:
    assert select.select([udp], [], [], 5)[0]
    (datagram,) = udp.receive(1)
    return datagram


# Both families, one port.


def test_any_free_port_is_one_port_of_both_families(opened: Opener) -> None:
    ipv4, ipv6 = opened(0)
    assert (ipv4.address_length, ipv6.address_length) == (4, 16)
    assert ipv4.port == ipv6.port > 0


def test_a_port_that_is_free_in_one_family_only_is_not_taken(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = opened(0)[0].port
    attempts: list[int] = []
    really = opening._open_pair

    def first_meets_a_busy_one(port: int, fwmark: int) -> list[UdpSocket]:
        attempts.append(port)
        return really(busy if len(attempts) == 1 else port, fwmark)

    monkeypatch.setattr(opening, "_open_pair", first_meets_a_busy_one)
    assert opened(0)[0].port != busy
    assert attempts == [0, 0]


def test_port_0_does_not_try_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def never(port: int, _fwmark: int) -> list[UdpSocket]:
        attempts.append(port)
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(opening, "_open_pair", never)
    with pytest.raises(UnderlayError):
        open_sockets(0, 0)
    assert 2 < len(attempts) < 100


def test_an_address_in_use_names_the_port_and_the_mend(family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind((ALL[family], 0))
        port = other.getsockname()[1]
        with pytest.raises(UnderlayError) as caught:
            open_sockets(port, 0)
    assert caught.value.code == errno.EADDRINUSE
    assert f"UDP port {port} is already in use" in str(caught.value)
    assert "`listen_port`" in str(caught.value)


def without(
    monkeypatch: pytest.MonkeyPatch, refused: int, code: int, *, at_bind: bool = False
) -> None:
    """A host that refuses sockets of a family."""

    class Socket(socket.socket):
        def __init__(self, family: int, kind: int, proto: int = 0) -> None:
            if family == refused and not at_bind:
                raise OSError(code, os.strerror(code))
            super().__init__(family, kind, proto)

        def bind(self, address: object) -> None:
            if self.family == refused and at_bind:
                raise OSError(code, os.strerror(code))
            super().bind(address)  # type: ignore[arg-type]  # as socket's own

    monkeypatch.setattr(socket, "socket", Socket)


@pytest.mark.parametrize(
    ("code", "at_bind"), [(errno.EAFNOSUPPORT, False), (errno.EADDRNOTAVAIL, True)]
)
def test_a_host_without_ipv6_has_ipv4_alone(
    code: int, at_bind: bool, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, socket.AF_INET6, code, at_bind=at_bind)
    (ipv4,) = opened()
    assert ipv4.address_length == 4


def test_any_other_failure_of_ipv6_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, socket.AF_INET6, errno.EMFILE)
    with pytest.raises(UnderlayError, match="Too many open files") as caught:
        open_sockets(0, 0)
    assert caught.value.code == errno.EMFILE


def test_a_privileged_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, socket.AF_INET, errno.EACCES, at_bind=True)
    with pytest.raises(UnderlayError, match=r"UDP port 53 needs privilege.*above 1023"):
        open_sockets(53, 0)


# A pair for each worker.


def test_one_worker_shares_its_port_with_nobody(opened: Opener) -> None:
    for one in opened():
        assert one.worker == 1
        assert one._socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


def test_each_worker_has_both_families_on_one_port(opened: Opener) -> None:
    sockets = opened(0, 0, 3)
    assert len({one.port for one in sockets}) == 1
    found = sorted((one.worker, one.address_length) for one in sockets)
    assert found == [(worker, length) for worker in (1, 2, 3) for length in (4, 16)]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_keep_other_nodes_off_their_port(workers: int, opened: Opener) -> None:
    """SO_REUSEPORT alone would let in any process of the same user."""
    port = opened(0, 0, 2)[0].port
    with pytest.raises(UnderlayError, match=f"UDP port {port} is already in use"):
        open_sockets(port, 0, workers)


def test_a_flow_stays_with_one_worker_and_flows_spread(
    opened: Opener, family: socket.AddressFamily
) -> None:
    sockets = [one for one in opened(0, 0, 4) if one.family == family]
    heard: dict[int, set[int]] = {}
    flows = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(32)]
    try:
        for flow in (*flows, *flows):
            flow.sendto(b"x", (LOOPBACK[family], sockets[0].port))
    finally:
        for flow in flows:
            flow.close()
    count = 0
    while count < 2 * len(flows):
        ready = select.select(sockets, [], [], 5)[0]
        assert ready
        for one in ready:
            for datagram in one.receive(64):
                heard.setdefault(datagram.endpoint.port, set()).add(one.worker)
                count += 1
    assert all(len(workers) == 1 for workers in heard.values())
    assert len(set.union(*heard.values())) > 1


def test_every_worker_sends_from_the_port(
    opened: Opener, far: socket.socket, family: socket.AddressFamily
) -> None:
    for one in opened(0, 0, 3):
        if one.family == family:
            assert one.send(Datagram(b"x", endpoint(far))) is None
            assert far.recvfrom(10)[1][1] == one.port


def test_a_failure_half_way_closes_every_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[UdpSocket] = []

    class OnlyThree(UdpSocket):
        def __init__(self, *args: Any, **options: Any) -> None:
            if len(made) == 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(opening, "UdpSocket", OnlyThree)
    with pytest.raises(UnderlayError, match="Too many open files"):
        open_sockets(0, 0, 2)
    assert [one.fileno() for one in made] == [-1, -1, -1]


# Many datagrams in one call.


def test_as_many_segments_as_are_told_leave_and_no_more(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    most = gso_segments()
    if most == 1:
        pytest.skip("this kernel has no UDP_SEGMENT")
    far.setsockopt(offload.SOL_UDP, offload.UDP_SEGMENT, 100)
    far.sendto(bytes(100 * most), (LOOPBACK[family], udp.port))
    assert [len(datagram.data) for datagram in udp.receive(2 * most)] == [100] * most
    with pytest.raises(OSError, match="Invalid argument"):
        far.sendto(bytes(100 * most + 1), (LOOPBACK[family], udp.port))


def test_what_arrives_can_be_joined(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    if not udp.join_received() or gso_segments() == 1:
        pytest.skip("this kernel has no UDP_GRO")
    far.setsockopt(offload.SOL_UDP, offload.UDP_SEGMENT, 100)
    far.sendto(bytes(2050), (LOOPBACK[family], udp.port))
    (datagram,) = udp.receive(10)
    assert len(datagram.data) == 2050


class Refusing(socket.socket):
    """A system without offloads: an old kernel, or a sandbox."""

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        if level == offload.SOL_UDP:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        super().setsockopt(level, option, *value)


def test_a_system_without_offloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Refusing)
    assert gso_segments() == 1
    (ipv4, *rest) = open_sockets(0, 0)
    assert ipv4.join_received() is False
    for one in (ipv4, *rest):
        one.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EIO, 1),
        (errno.EOPNOTSUPP, 1),
        (errno.ENETUNREACH, offload.SURE_SEGMENTS),
        (errno.EPERM, offload.SURE_SEGMENTS),
    ],
)
@pytest.mark.parametrize("call", ["send", "connect"])
def test_segments_where_they_cannot_be_tried(
    code: int, told: int, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a send says may be about the feature; what the way there says is not."""

    class Failing(socket.socket):
        def send(self, *_: Any) -> int:
            raise OSError(code, os.strerror(code))

        def connect(self, *args: Any) -> None:
            if call == "connect":
                raise OSError(code, os.strerror(code))
            super().connect(*args)

    monkeypatch.setattr(socket, "socket", Failing)
    assert gso_segments() == (told if call == "send" else offload.SURE_SEGMENTS)


# Marks.


@pytest.mark.skipif(os.geteuid() != 0, reason="a mark needs root")
@pytest.mark.parametrize("fwmark", [1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_every_mark_that_a_file_can_say(fwmark: int, opened: Opener) -> None:
    for one in opened(0, fwmark):
        mark = one._socket.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        assert mark & 0xFFFFFFFF == fwmark


def test_a_mark_without_the_privilege_names_it() -> None:
    script = (
        "import os; from wgvx.underlay import *\n"
        "if os.geteuid() == 0: os.setuid(61234)\n"
        "try: open_sockets(0, 7)\n"
        "except UnderlayError as error: print(error.code, error)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.startswith("1 fwmark 7 needs CAP_NET_ADMIN"), done
    assert done.stderr == ""


# What a datagram carries.


@pytest.mark.parametrize("tos", [0, 1, 2, CE, AF21])
def test_tos_both_ways(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily, tos: int
) -> None:
    level, option, ask = (
        (socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS)
    )
    far.setsockopt(level, option, tos)
    far.setsockopt(level, ask, 1)
    far.sendto(b"in", (LOOPBACK[family], udp.port))
    datagram = receive(udp)
    assert (datagram.data, datagram.tos) == (b"in", tos)
    assert datagram.endpoint.remote() == endpoint(far).remote()
    assert datagram.endpoint.local == packed(family, LOOPBACK[family])

    assert udp.send(Datagram(b"out", datagram.endpoint, tos)) is None
    data, control, _, source = far.recvmsg(100, 100)
    assert (data, source[:2]) == (b"out", (LOOPBACK[family], udp.port))
    seen = [value for _, kind, value in control if kind == option]
    assert [value[0] for value in seen] == [tos]


def test_the_answer_leaves_from_the_address_that_was_addressed(opened: Opener) -> None:
    ipv4 = opened()[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(5)
        far.sendto(b"x", ("127.0.0.2", ipv4.port))
        datagram = receive(ipv4)
        assert datagram.endpoint.local == packed(socket.AF_INET, "127.0.0.2")
        assert ipv4.send(Datagram(b"y", datagram.endpoint)) is None
        assert far.recvfrom(10) == (b"y", ("127.0.0.2", ipv4.port))


def test_a_local_address_that_is_gone_falls_over(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    gone = {socket.AF_INET: "192.0.2.77", socket.AF_INET6: "2001:db8::77"}[family]
    assert udp.send(Datagram(b"x", endpoint(far, packed(family, gone)))) is None
    data, source = far.recvfrom(10)
    assert (data, source[:2]) == (b"x", (LOOPBACK[family], udp.port))


def test_what_cannot_be_sent_is_said_and_never_raised(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    assert udp.send(Datagram(bytes(65536), endpoint(far))) is Reason.UNREACHABLE
    assert udp.send(Datagram(b"x", endpoint(far)._replace(port=0))) is Reason.UNREACHABLE
    unroutable = {socket.AF_INET: "255.255.255.255", socket.AF_INET6: "ff02::1"}[family]
    udp.send(Datagram(b"x", Endpoint(packed(family, unroutable), 9)))
    # Nobody there: the error that comes back belongs to no later packet.
    assert udp.send(Datagram(b"x", Endpoint(packed(family, LOOPBACK[family]), 1))) is None
    assert udp.receive(10) == []
    assert udp.send(Datagram(b"after", endpoint(far))) is None
    assert far.recv(10) == b"after"


def test_the_largest_datagram_there_can_be(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    largest = {socket.AF_INET: 65507, socket.AF_INET6: 65527}[family]
    data = os.urandom(largest)
    far.sendto(data, (LOOPBACK[family], udp.port))
    datagram = receive(udp)
    assert datagram.data == data
    assert udp.send(Datagram(data, datagram.endpoint)) is None
    assert far.recv(70000) == data


def test_a_budget_is_kept_and_nothing_is_lost(
    udp: UdpSocket, far: socket.socket, family: socket.AddressFamily
) -> None:
    sent = [bytes([number]) for number in range(5)]
    for data in (b"", *sent):
        far.sendto(data, (LOOPBACK[family], udp.port))
    assert select.select([udp], [], [], 5)[0]
    seen = [datagram.data for datagram in udp.receive(2)]
    assert len(seen) == 2
    seen += [datagram.data for datagram in udp.receive(64)]
    assert seen == [b"", *sent]
    assert udp.receive(64) == []


def test_no_datagram_says_do_not_fragment(udp: UdpSocket, family: socket.AddressFamily) -> None:
    """As the kernel's WireGuard: too large for the path is fragmented, by us or on the way."""
    dont, omit = 0, 5  # linux/in.h: both leave DF clear, omit ignores forged ICMP as well
    level, option, wanted = (
        (socket.IPPROTO_IP, udp_module._IP_MTU_DISCOVER, omit)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, udp_module._IPV6_MTU_DISCOVER, dont)
    )
    assert udp._socket.getsockopt(level, option) == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs root")
def test_df_is_clear_on_the_wire(opened: Opener) -> None:
    ipv4 = opened()[0]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        far.bind(("127.0.0.1", 0))
        raw.settimeout(5)
        for local in (b"", packed(socket.AF_INET, "127.0.0.3")):
            assert ipv4.send(Datagram(b"df?", endpoint(far, local))) is None
            while True:
                packet = raw.recv(70000)
                if packet[20:22] == ipv4.port.to_bytes(2, "big"):
                    break
            assert packet[28:] == b"df?"
            assert packet[6] & 0x40 == 0


# Endpoints as text.


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("192.0.2.1:51820", Endpoint(b"\xc0\0\2\1", 51820)),
        ("[2001:db8::1]:9", Endpoint(b"\x20\x01\x0d\xb8" + bytes(11) + b"\1", 9)),
        ("[fe80::1%2]:9", Endpoint(b"\xfe\x80" + bytes(13) + b"\1", 9, 2)),
    ],
)
def test_an_endpoint_as_text(text: str, made: Endpoint) -> None:
    assert format_endpoint(made) == text
    host, port = text.rsplit(":", 1)
    address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0][4]
    assert endpoint_from_sockaddr(address) == made  # type: ignore[arg-type]  # never of bytes here


@given(
    st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4),
    st.integers(1, 65535),
)
def test_any_endpoint_reads_back(ip: bytes, port: int) -> None:
    host, _, service = format_endpoint(Endpoint(ip, port)).rpartition(":")
    address = socket.getaddrinfo(
        host.strip("[]"), service, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0][4]
    assert endpoint_from_sockaddr(address) == Endpoint(ip, port)  # type: ignore[arg-type]  # as above
