"""TAPs for whoever takes frames unfinished: several queues, virtio-net headers, large segments."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

import pytest

from tests.netns.lab import Namespace
from wgvx.ports import gso, tun
from wgvx.ports.errors import PortError, PortGone
from wgvx.ports.provision import Provisioner, TapRequest
from wgvx.ports.request import MAX_QUEUES
from wgvx.ports.tap import TapPort

MAC = bytes.fromhex("020000000001")
PEER = bytes.fromhex("020000000002")
ADDRESSES = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
FAR = {socket.AF_INET: "10.0.0.2", socket.AF_INET6: "fd00::2"}
ETHERTYPE = {socket.AF_INET: b"\x08\x00", socket.AF_INET6: b"\x86\xdd"}
UDP_AT = {socket.AF_INET: 34, socket.AF_INET6: 54}
UDP_SEGMENT = 103
NEEDS_CSUM, GSO_UDP_L4 = 1, 5  # linux/virtio_net.h
VNET_HEADER = struct.Struct("=BBHHHH")
FRAME = (MAC + PEER + b"\x88\xb5").ljust(60)


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with contextlib.closing(Provisioner.start(rootless=False)) as made:
        yield made


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return socket.AddressFamily(request.param)


def request(host: Namespace, **fields: object) -> TapRequest:
    return TapRequest(**{"name": "tap0", "mac": MAC, "mtu": 1350, "netns": host.name, **fields})  # type: ignore[arg-type] # the fields of one test


def link(host: Namespace) -> dict[str, Any]:
    (found,) = host.ip_json("-details", "link", "show", "dev", "tap0")
    return found


def info(host: Namespace) -> dict[str, Any]:
    data: dict[str, Any] = link(host)["linkinfo"]["info_data"]
    return data


def features(host: Namespace) -> set[str]:
    """What the kernel may leave unfinished in a packet for this device."""
    from pyroute2.ethtool.ioctl import IoctlEthtool

    with host.entered():
        ethtool = IoctlEthtool("tap0")
        try:
            active = ethtool.get_features()
            return {name for name in active.keys() if active.is_active(name)}  # noqa: SIM118 - iterating gives rows
        finally:
            ethtool.close()


def udp_frames(fds: tuple[int, ...], family: int) -> Iterator[bytes]:
    """What the kernel sends by UDP, headers before it, past its own chatter."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for fd in select.select(fds, [], [], 0.5)[0]:
            data = os.read(fd, 70000)
            protocol = 23 if family == socket.AF_INET else 20
            frame = data[VNET_HEADER.size :]
            if frame[12:14] == ETHERTYPE[socket.AddressFamily(family)] and frame[protocol] == 17:
                yield data
    raise AssertionError("no such frame within 5 s")


def send_segments(host: Namespace, family: int, size: int, count: int, port: int = 9) -> None:
    """`count` datagrams of one flow in one call."""
    with host.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        sock.sendto(bytes(size * count), (FAR[socket.AddressFamily(family)], port))


def add_neighbours(host: Namespace) -> None:
    for address in FAR.values():
        host.ip("neighbour", "add", address, "lladdr", PEER.hex(":"), "dev", "tap0")


# Requests.


@pytest.mark.parametrize("queues", [0, -1, MAX_QUEUES + 1])
def test_a_number_of_queues_that_cannot_be(queues: int) -> None:
    with pytest.raises(PortError, match=rf"{queues} queues: it has 1 to 64"):
        TapRequest("tap0", MAC, 1350, queues=queues).check()


def test_a_request_survives_the_way_to_the_broker() -> None:
    asked = TapRequest("tap0", MAC, 1350, queues=3, vnet_header=True, gso_max_size=59_000)
    assert TapRequest.from_json(asked.to_json()) == asked


# What a port asks the kernel for.


@pytest.mark.parametrize(
    ("unknown", "wanted", "accepted"),
    [
        (0, (True, True), {"tso", "uso"}),
        (0, (True, False), {"tso"}),
        (0, (False, True), {"uso"}),
        (0, (False, False), set()),
        (tun.TUN_F_USO4, (True, True), {"tso"}),  # before Linux 6.2
        (tun.TUN_F_USO4, (False, True), set()),
        (tun.TUN_F_USO4 | tun.TUN_F_TSO4, (True, True), set()),
        (0xFF, (True, True), set()),
    ],
)
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTTY, errno.EPERM])
def test_what_an_older_kernel_does_not_know_is_left_out(
    unknown: int,
    wanted: tuple[bool, bool],
    accepted: set[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[int] = []

    def set_offload(_fd: int, flags: int) -> None:
        if flags & unknown:
            raise OSError(code, os.strerror(code))
        said.append(flags)

    monkeypatch.setattr(tun, "set_offload", set_offload)
    port = TapPort((7,), "tap0", MAC, 1350, vnet_header=True)
    assert port.set_offload(*wanted) == accepted
    names = {0x0E: "tso", 0x60: "uso"}
    meant = [{name for bits, name in names.items() if flags & bits == bits} for flags in said]
    assert meant in ([], [accepted])
    assert all(flags & 1 for flags in said)


def test_a_device_that_is_gone_takes_no_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_fd: int, _flags: int) -> None:
        raise OSError(errno.EBADFD, os.strerror(errno.EBADFD))

    monkeypatch.setattr(tun, "set_offload", gone)
    with pytest.raises(PortGone, match="tap0"):
        TapPort((7,), "tap0", MAC, 1350, vnet_header=True).set_offload(True, True)
    with pytest.raises(PortGone, match="tap0"):
        TapPort((), "tap0", MAC, 1350, vnet_header=True).set_offload(True, True)


# With real TAPs.


@pytest.mark.netns
class TestAsRoot:
    @pytest.mark.parametrize("queues", [2, MAX_QUEUES])
    def test_a_descriptor_for_each_queue(
        self, host: Namespace, provisioner: Provisioner, queues: int
    ) -> None:
        port = provisioner.tap(request(host, queues=queues))
        provisioner.ready()
        assert len(set(port.fds)) == queues
        assert port.fileno() == port.fds[0]
        assert info(host)["multi_queue"] is True
        assert info(host)["numqueues"] == queues
        for fd in port.fds:
            assert os.get_blocking(fd) is False
            assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            assert os.write(fd, FRAME) == len(FRAME)
        assert port.write(FRAME)
        port.close()
        assert host.links() == {"lo"}
        assert port.fileno() == -1

    def test_flows_spread_over_the_queues_and_stay(
        self, host: Namespace, provisioner: Provisioner
    ) -> None:
        port = provisioner.tap(request(host, queues=4, vnet_header=True, addresses=ADDRESSES))
        add_neighbours(host)
        seen: dict[int, set[int]] = {}
        for flow in (*range(1, 33), *range(1, 33)):
            with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("10.0.0.1", 20000 + flow))
                sock.sendto(b"x", (FAR[socket.AF_INET], flow))
        deadline = time.monotonic() + 5
        heard = 0
        while heard < 64 and time.monotonic() < deadline:
            for fd in select.select(port.fds, [], [], 0.5)[0]:
                frame = os.read(fd, 2000)[VNET_HEADER.size :]
                if frame[12:14] == ETHERTYPE[socket.AF_INET] and frame[23] == 17:
                    seen.setdefault(int.from_bytes(frame[36:38], "big"), set()).add(fd)
                    heard += 1
        assert heard == 64
        assert len(seen) == 32
        assert all(len(queues) == 1 for queues in seen.values())
        assert len(set.union(*seen.values())) > 1

    def test_the_callers_own_read_and_write_know_no_header(
        self, host: Namespace, provisioner: Provisioner
    ) -> None:
        port = provisioner.tap(request(host, vnet_header=True))
        assert info(host)["vnet_hdr"] is True
        assert port.vnet_header is True
        with host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:
            packets.bind(("tap0", 3))
            packets.settimeout(5)
            assert port.write(FRAME)
            while (heard := packets.recv(65535))[12:14] != FRAME[12:14]:
                pass
            assert heard == FRAME
            packets.send(FRAME)
            deadline = time.monotonic() + 5
            while (frame := port.read()) is None or frame[12:14] != FRAME[12:14]:
                assert time.monotonic() < deadline
            assert frame == FRAME
        assert port.write(bytes(13)) is False
        port.close()
        with pytest.raises(PortGone):
            port.write(FRAME)

    def test_unless_asked_the_kernel_finishes_every_frame(
        self, host: Namespace, provisioner: Provisioner, family: int
    ) -> None:
        port = provisioner.tap(request(host, vnet_header=True, addresses=ADDRESSES))
        add_neighbours(host)
        send_segments(host, family, 1000, 2)
        frames = udp_frames(port.fds, family)
        for data in (next(frames), next(frames)):
            assert data[: VNET_HEADER.size] == bytes(VNET_HEADER.size)
            assert len(data) == VNET_HEADER.size + UDP_AT[socket.AddressFamily(family)] + 8 + 1000

    def test_a_segment_comes_whole_with_the_header_that_explains_it(
        self, host: Namespace, provisioner: Provisioner, family: int
    ) -> None:
        port = provisioner.tap(request(host, vnet_header=True, queues=2, addresses=ADDRESSES))
        if "uso" not in port.set_offload(True, True):
            pytest.skip("needs Linux 6.2 or newer")
        add_neighbours(host)
        send_segments(host, family, 1000, 20)
        data = next(udp_frames(port.fds, family))
        at = UDP_AT[socket.AddressFamily(family)]
        assert len(data) == VNET_HEADER.size + at + 8 + 20 * 1000
        flags, kind, _, size, start, offset = VNET_HEADER.unpack_from(data)
        assert (flags, kind, size) == (NEEDS_CSUM, GSO_UDP_L4, 1000)
        assert (start, offset) == (at, 6)

    def test_each_offload_by_itself(self, host: Namespace, provisioner: Provisioner) -> None:
        port = provisioner.tap(request(host, vnet_header=True))
        tso, uso = "tx-tcp-segmentation", "tx-udp-segmentation"
        for wanted in ((True, True), (True, False), (False, True), (False, False)):
            names = {name for name, on in zip(("tso", "uso"), wanted, strict=True) if on}
            assert port.set_offload(*wanted) == names
            assert {tso, uso} & features(host) == {
                feature for feature, on in zip((tso, uso), wanted, strict=True) if on
            }
            assert "tx-checksum-ip-generic" in features(host)

    def test_without_a_header_nothing_is_asked_for(
        self, host: Namespace, provisioner: Provisioner
    ) -> None:
        port = provisioner.tap(request(host))
        before = features(host)
        assert port.set_offload(True, True) == frozenset()
        assert features(host) == before
        assert "tx-tcp-segmentation" not in before

    def test_no_segment_exceeds_the_size_asked_for(
        self, host: Namespace, provisioner: Provisioner, family: int
    ) -> None:
        port = provisioner.tap(
            request(host, vnet_header=True, gso_max_size=20_000, addresses=ADDRESSES)
        )
        assert link(host)["gso_max_size"] == 20_000
        if "uso" not in port.set_offload(True, True):
            pytest.skip("needs Linux 6.2 or newer")
        add_neighbours(host)
        header = VNET_HEADER.size + UDP_AT[socket.AddressFamily(family)] + 8
        send_segments(host, family, 1000, 19)
        assert len(next(udp_frames(port.fds, family))) == header + 19_000
        send_segments(host, family, 1000, 21)
        frames = udp_frames(port.fds, family)
        assert [len(next(frames)) for _ in range(21)] == [header + 1000] * 21

    def test_a_size_above_what_it_has_changes_nothing(
        self, host: Namespace, provisioner: Provisioner
    ) -> None:
        provisioner.tap(request(host, gso_max_size=200_000))
        assert link(host)["gso_max_size"] == 65536

    def test_sizes_are_those_of_iproute2(self, host: Namespace, provisioner: Provisioner) -> None:
        provisioner.tap(request(host))
        index = link(host)["ifindex"]
        with host.entered():
            assert gso.read(index) in (gso.Sizes(65536, 65536), gso.Sizes(65536))
        host.ip("link", "set", "tap0", "gso_max_size", "30000")
        with host.entered():
            first = gso.read(index)
            assert first in (gso.Sizes(30000, 30000), gso.Sizes(30000))
            if first is not None and first.ipv4 is not None:
                gso.write(index, gso.Sizes(40000, 20000))
                assert gso.read(index) == gso.Sizes(40000, 20000)
            gso.write(index, gso.Sizes(25000))
            assert link(host)["gso_max_size"] == 25000
            with pytest.raises(OSError, match="Invalid argument"):
                gso.write(index, gso.Sizes(10_000_000))
            with pytest.raises(OSError, match="No such device"):
                gso.read(index + 1000)
