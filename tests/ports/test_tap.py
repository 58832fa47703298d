"""A TAP made as root: configured as asked, frames both ways, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.netns.lab import Namespace, eventually
from wgvx.ports.errors import PortError, PortGone
from wgvx.ports.provision import Provisioner, TapRequest
from wgvx.ports.tap import TapPort

pytestmark = pytest.mark.netns

MAC = bytes.fromhex("020000000001")
PEER = bytes.fromhex("020000000002")
ETH_P_ALL = 3
# IEEE 802 "local experimental": the kernel neither sends nor answers it.
ETHERTYPE = b"\x88\xb5"


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with contextlib.closing(Provisioner.start(rootless=False)) as made:
        yield made


def request(host: Namespace, **fields: object) -> TapRequest:
    return TapRequest(**{"name": "tap0", "mac": MAC, "mtu": 1350, "netns": host.name, **fields})  # type: ignore[arg-type] # the fields of one test


def link(host: Namespace, name: str = "tap0") -> dict[str, object]:
    (found,) = host.ip_json("-details", "link", "show", "dev", name)
    return found


def addresses(host: Namespace) -> dict[str, dict[str, object]]:
    (found,) = host.ip_json("address", "show", "dev", "tap0")
    return {f"{a['local']}/{a['prefixlen']}": a for a in found["addr_info"]}


def read_until(port: TapPort, wanted: Callable[[bytes], bool]) -> bytes:
    """The first such frame, past the kernel's own chatter."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        frame = port.read()
        if frame is None:
            select.select([port], [], [], 0.5)
        elif wanted(frame):
            return frame
    raise AssertionError("no such frame within 5 s")


def test_made_as_asked(host: Namespace, provisioner: Provisioner) -> None:
    asked = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
    port = provisioner.tap(request(host, addresses=asked))
    made = link(host)
    assert made["mtu"] == 1350
    assert made["address"] == "02:00:00:00:00:01"
    assert {"UP", "LOWER_UP"} <= set(made["flags"])  # type: ignore[call-overload] # a list of names
    info = made["linkinfo"]["info_data"]  # type: ignore[index] # nested JSON
    assert info == {
        "type": "tap",
        "pi": False,
        "vnet_hdr": False,
        "multi_queue": False,
        "persist": False,
    }
    found = addresses(host)
    assert {"10.0.0.1/24", "fd00::1/64"} <= set(found)
    assert "tentative" not in found["fd00::1/64"]
    assert (port.type, port.name, port.mac, port.mtu) == ("tap", "tap0", MAC, 1350)


def test_the_mac_is_set_before_the_link_local_address_is_made(
    host: Namespace, provisioner: Provisioner
) -> None:
    provisioner.tap(request(host))
    # Modified EUI-64 of the MAC (RFC 4291, appendix A).
    eventually(lambda: "fe80::ff:fe00:1/64" in addresses(host), "a link-local address")


def test_in_the_callers_namespace(host: Namespace) -> None:
    with host.entered(), contextlib.closing(Provisioner.start(rootless=False)) as provisioner:
        provisioner.tap(request(host, netns=None))
        assert link(host)["mtu"] == 1350
        assert provisioner.namespace(None) is None


def test_an_ipv6_address_can_be_bound_at_once(host: Namespace, provisioner: Provisioner) -> None:
    provisioner.tap(request(host, addresses=(ip_interface("fd00::1/64"),), mtu=1280))
    with host.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("fd00::1", 0))


def test_frames_go_both_ways(host: Namespace, provisioner: Provisioner) -> None:
    port = provisioner.tap(request(host))
    with host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets:
        packets.bind(("tap0", ETH_P_ALL))
        packets.settimeout(5)
        for size in (14, 60, 1364, 1368):  # to the MTU, and with a VLAN tag to it
            frame = (MAC + PEER + ETHERTYPE).ljust(size, b"i")
            assert port.write(frame)
            while (heard := packets.recv(65535))[12:14] != ETHERTYPE:
                pass
            assert heard == frame
        for size in (14, 60, 1364):
            frame = (PEER + MAC + ETHERTYPE).ljust(size, b"o")
            packets.send(frame)
            assert read_until(port, lambda f: f[12:14] == ETHERTYPE) == frame


def test_the_kernel_answers_an_arp_request(host: Namespace, provisioner: Provisioner) -> None:
    port = provisioner.tap(request(host, addresses=(ip_interface("10.0.0.1/24"),)))
    ethernet_ipv4 = bytes.fromhex("0001080006040001")
    us, them = socket.inet_aton("10.0.0.2"), socket.inet_aton("10.0.0.1")
    port.write(b"\xff" * 6 + PEER + b"\x08\x06" + ethernet_ipv4 + PEER + us + bytes(6) + them)
    reply = read_until(port, lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\x00\x02")
    assert reply[:12] == PEER + MAC
    assert reply[22:32] == MAC + them


def test_large_sends_arrive_as_finished_packets(host: Namespace, provisioner: Provisioner) -> None:
    """The reader has no virtio-net header, so the kernel must segment and fill in checksums."""
    port = provisioner.tap(request(host, addresses=(ip_interface("10.0.0.1/24"),)))
    host.ip("neighbour", "add", "10.0.0.2", "lladdr", PEER.hex(":"), "dev", "tap0")
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
        sock.sendto(bytes(range(250)) * 8, ("10.0.0.2", 9))
    for _ in range(2):
        frame = read_until(port, lambda f: f[12:14] == b"\x08\x00" and f[23] == socket.IPPROTO_UDP)
        assert len(frame) == 14 + 20 + 8 + 1000
        pseudo = frame[26:34] + b"\x00\x11" + frame[38:40]
        assert checksum(pseudo + frame[34:]) == 0


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes; 0 when theirs is right."""
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_member_of_a_bridge(host: Namespace, provisioner: Provisioner) -> None:
    host.ip("link", "add", "br0", "type", "bridge")
    provisioner.tap(request(host, bridge="br0"))
    assert link(host)["master"] == "br0"
    provisioner.close()
    assert host.links() == {"lo", "br0"}


def test_refused_frames_are_no_error(host: Namespace, provisioner: Provisioner) -> None:
    port = provisioner.tap(request(host))
    assert port.write(bytes(13)) is False
    assert port.write(b"") is False
    host.ip("link", "set", "tap0", "down")
    assert port.write((MAC + PEER + ETHERTYPE).ljust(60)) is False
    host.ip("link", "set", "tap0", "up")
    assert port.write((MAC + PEER + ETHERTYPE).ljust(60)) is True


def test_the_descriptor_neither_blocks_nor_is_inherited(
    host: Namespace, provisioner: Provisioner
) -> None:
    port = provisioner.tap(request(host))
    assert os.get_blocking(port.fileno()) is False
    assert fcntl.fcntl(port.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    while port.read() is not None:
        pass


def loop_factories() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    factories: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
    with contextlib.suppress(ImportError):
        import uvloop

        factories.append(uvloop.new_event_loop)
    return factories


@pytest.mark.parametrize("new_loop", loop_factories())
def test_a_deleted_device_wakes_the_loop_and_is_gone(
    host: Namespace, provisioner: Provisioner, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    port = provisioner.tap(request(host))

    async def watch() -> str:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[str] = loop.create_future()

        def on_readable() -> None:
            try:
                port.read()
            except PortGone as error:
                loop.remove_reader(port.fileno())
                gone.set_result(str(error))

        loop.add_reader(port.fileno(), on_readable)
        loop.call_later(0.1, host.ip, "link", "delete", "tap0")
        return await asyncio.wait_for(gone, 5)

    loop = new_loop()
    try:
        assert "tap0" in loop.run_until_complete(watch())
    finally:
        loop.close()
    with pytest.raises(PortGone):
        port.write(bytes(60))


def test_a_closed_port_is_gone(host: Namespace, provisioner: Provisioner) -> None:
    port = provisioner.tap(request(host))
    port.close()
    port.close()
    assert host.links() == {"lo"}
    with pytest.raises(PortGone):
        port.read()
    with pytest.raises(PortGone):
        port.write(bytes(60))


def test_close_removes_everything_at_once(host: Namespace, provisioner: Provisioner) -> None:
    for number in range(3):
        provisioner.tap(request(host, name=f"tap{number}", mac=MAC[:5] + bytes([number])))
    provisioner.close()
    assert host.links() == {"lo"}
    provisioner.close()


def test_a_failure_half_way_leaves_nothing(host: Namespace, provisioner: Provisioner) -> None:
    provisioner.tap(request(host))
    with pytest.raises(PortError):
        provisioner.tap(request(host, name="tap1", bridge="nosuch"))
    assert host.links() == {"lo", "tap0"}
    provisioner.close()
    assert host.links() == {"lo"}


def test_ready_ends_the_broker_and_the_tap_stays(host: Namespace, provisioner: Provisioner) -> None:
    port = provisioner.tap(request(host))
    broker = provisioner._channel.process
    provisioner.ready()
    assert broker.returncode == 0
    assert port.write((MAC + PEER + ETHERTYPE).ljust(60))
    provisioner.close()
    assert host.links() == {"lo"}


def test_a_killed_broker_is_an_error_that_says_so(
    host: Namespace, provisioner: Provisioner
) -> None:
    provisioner._channel.process.kill()
    provisioner._channel.process.wait()
    with pytest.raises(PortError, match="helper"):
        provisioner.tap(request(host))


def test_the_broker_takes_nothing_from_the_current_folder(
    host: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may stand in anybody's folder."""
    trap = tmp_path / "pyroute2.py"
    trap.write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Provisioner.start(rootless=False)) as provisioner:
        provisioner.tap(request(host))
        assert link(host)["mtu"] == 1350


def test_a_ping_is_seen(host: Namespace, provisioner: Provisioner) -> None:
    """A program's packet, to an address that nobody has: the kernel asks for it on the TAP."""
    port = provisioner.tap(request(host, addresses=(ip_interface("10.0.0.1/24"),)))
    with subprocess.Popen(
        host.wrap("ping", "-c", "1", "-W", "1", "10.0.0.9"), stdout=subprocess.DEVNULL
    ) as ping:
        asked = read_until(port, lambda f: f[12:14] == b"\x08\x06")
        ping.kill()
    assert asked[38:42] == socket.inet_aton("10.0.0.9")
