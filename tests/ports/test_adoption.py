"""TAPs that were there before: taken over, and given back as they were found."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Namespace, eventually
from tests.ports.ordinary import ROOT, User
from wgvx.ports import gso, tun
from wgvx.ports.errors import PortError
from wgvx.ports.provision import Provisioner, TapRequest

pytun = pytest.importorskip("pytun", reason="needs python-pytun: ./dev test, with a compiler")
pytestmark = pytest.mark.netns

MAC = bytes.fromhex("020000000001")
REQUEST_ADDRESSES = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
OFFLOADS = 0x6F  # CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TUNGETVNETHDRSZ, TUNSETVNETHDRSZ = 0x800454D7, 0x400454D8


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with contextlib.closing(Provisioner.start(rootless=False)) as made:
        yield made


def request(host: Namespace, **fields: object) -> TapRequest:
    defaults = {"name": "tap0", "mac": MAC, "mtu": 1350, "netns": host.name}
    return TapRequest(**{**defaults, "addresses": REQUEST_ADDRESSES, **fields})  # type: ignore[arg-type] # the fields of one test


def make(host: Namespace, name: str = "tap0", flags: int = 0) -> None:
    """A persistent TAP made by somebody else, with nobody attached."""
    with host.entered():
        device = pytun.TunTapDevice(name, pytun.IFF_TAP | (flags or pytun.IFF_NO_PI))
        device.persist(True)
        device.close()


def features(host: Namespace) -> list[str]:
    """What the kernel may leave unfinished in a packet for this device."""
    from pyroute2.ethtool.ioctl import IoctlEthtool

    with host.entered():
        ethtool = IoctlEthtool("tap0")
        try:
            active = ethtool.get_features()
            return sorted(name for name in active.keys() if active.is_active(name))  # noqa: SIM118 - iterating gives rows
        finally:
            ethtool.close()


def look(host: Namespace) -> dict[str, Any]:
    """All that iproute2 and ethtool tell of the TAP, without what goes with time or a reader."""
    (found,) = host.ip_json("-details", "address", "show", "dev", "tap0")
    # These show whether there is or ever was a reader, and the carrier settles a moment later.
    for changing in ("operstate", "flags", "qdisc"):
        found.pop(changing, None)
    (link,) = host.ip_json("link", "show", "dev", "tap0")
    found["up"] = "UP" in link["flags"]
    found["features"] = features(host)
    found["addr_info"].sort(key=lambda a: a["local"])
    return dict(found)


def header_size(host: Namespace, flags: int, new: int | None = None) -> int:
    """Attach as another reader would: the size of the header, and set a new one."""
    with host.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", flags))
        (size,) = struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))
        if new is not None:
            fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", new))
            fcntl.ioctl(fd, TUNSETOFFLOAD, OFFLOADS)
        return int(size)
    finally:
        os.close(fd)


def prepare(host: Namespace, kind: str) -> None:
    """The TAP of somebody who has plans of his own with it."""
    make(host, flags=pytun.IFF_TAP if kind == "with packet information" else 0)
    host.ip("link", "set", "tap0", "address", "02:aa:aa:aa:aa:aa", "mtu", "1400")
    if kind == "down":
        return
    if kind == "in a bridge":
        host.ip("link", "add", "br9", "type", "bridge")
        host.ip("link", "set", "tap0", "master", "br9", "up")
        return
    host.ip("link", "set", "tap0", "up")
    host.ip("address", "add", "192.0.2.1/24", "broadcast", "192.0.2.255", "dev", "tap0")
    host.ip("address", "add", "192.0.2.7/24", "dev", "tap0", "label", "tap0:x")
    host.ip("address", "add", "198.51.100.1", "peer", "198.51.100.2", "dev", "tap0")
    host.ip("address", "add", "2001:db8::1/64", "dev", "tap0", "nodad")
    if kind == "with offloads":
        # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        header_size(host, 0x5002, new=12)


KINDS = ("up", "down", "in a bridge", "with packet information", "with offloads")


# What a reader of unfinished frames asks for, and one of finished frames.
READERS: dict[str, dict[str, object]] = {
    "finished": {},
    "unfinished": {"vnet_header": True, "queues": 4, "gso_max_size": 30_000},
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_given_back_as_found(
    host: Namespace, provisioner: Provisioner, kind: str, reader: str
) -> None:
    prepare(host, kind)
    before = look(host)
    port = provisioner.tap(request(host, **READERS[reader]))
    provisioner.ready()
    assert len(port.fds) == 1  # as it was made, whatever is asked for
    during = look(host)
    assert (during["mtu"], during["address"]) == (1350, "02:00:00:00:00:01")
    assert during["up"]
    locals_during = {a["local"] for a in during["addr_info"]}
    assert locals_during >= {"10.0.0.1", "fd00::1"} | {a["local"] for a in before["addr_info"]}
    assert "tx-tcp-segmentation" not in during["features"]
    if reader == "unfinished":
        assert during["linkinfo"]["info_data"]["vnet_hdr"] is True
        assert during["gso_max_size"] == 30_000
        assert tun.header_size(port.fileno()) == 10
        assert "tso" in port.set_offload(True, True)
        assert "tx-tcp-segmentation" in features(host)
    assert port.write(bytes(60))
    provisioner.close()
    assert look(host) == before
    if kind == "with offloads":
        assert "tx-tcp-segmentation" in before["features"]
        assert header_size(host, 0x5002) == 12


def test_a_bridge_is_left_for_the_old_one(host: Namespace, provisioner: Provisioner) -> None:
    prepare(host, "in a bridge")
    host.ip("link", "add", "br0", "type", "bridge")
    before = look(host)
    provisioner.tap(request(host, bridge="br0", addresses=()))
    assert look(host)["master"] == "br0"
    provisioner.close()
    assert look(host) == before
    assert before["master"] == "br9"


def test_ipv6_lost_to_a_small_mtu_comes_back(host: Namespace, provisioner: Provisioner) -> None:
    prepare(host, "up")
    before = look(host)
    provisioner.tap(request(host, mtu=1200, addresses=REQUEST_ADDRESSES[:1]))
    during = {a["local"] for a in look(host)["addr_info"]}
    assert "2001:db8::1" not in during
    provisioner.close()
    assert look(host) == before


def test_a_failure_half_way_gives_back(host: Namespace, provisioner: Provisioner) -> None:
    prepare(host, "up")
    before = look(host)
    with pytest.raises(PortError, match="nosuch"):
        provisioner.tap(request(host, bridge="nosuch"))
    assert look(host) == before
    # And at once, so that a second attempt can follow.
    provisioner.tap(request(host))


def test_several_are_given_back(host: Namespace, lab: Any, provisioner: Provisioner) -> None:
    prepare(host, "up")
    other = lab.host("q")
    prepare(other, "down")
    before = look(host), look(other)
    provisioner.tap(request(host))
    provisioner.tap(request(other))
    provisioner.tap(request(other, name="tap1"))
    provisioner.close()
    assert (look(host), look(other)) == before
    assert other.links() == {"lo", "tap0"}


def test_what_was_right_already_stays(host: Namespace, provisioner: Provisioner) -> None:
    make(host)
    host.ip("link", "set", "tap0", "address", MAC.hex(":"), "mtu", "1350", "up")
    host.ip("address", "add", "10.0.0.1/24", "dev", "tap0")
    host.ip("address", "add", "fd00::1/64", "dev", "tap0", "nodad")
    before = look(host)
    provisioner.tap(request(host))
    provisioner.close()
    assert look(host) == before


def test_its_owner_may_delete_it_meanwhile(
    host: Namespace, provisioner: Provisioner, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(host, "up")
    provisioner.tap(request(host))
    provisioner.ready()
    host.ip("link", "delete", "tap0")
    provisioner.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("reader", READERS)
def test_a_multi_queue_tap_is_adopted(
    host: Namespace, provisioner: Provisioner, reader: str
) -> None:
    make(host, flags=pytun.IFF_NO_PI | pytun.IFF_MULTI_QUEUE)
    before = look(host)
    port = provisioner.tap(request(host, **READERS[reader]))
    assert len(port.fds) == READERS[reader].get("queues", 1)
    assert look(host)["linkinfo"]["info_data"]["numqueues"] == len(port.fds)
    port.set_offload(True, True)
    assert port.write(bytes(60))
    provisioner.close()
    assert look(host) == before


def test_each_familys_largest_segment_is_given_back(
    host: Namespace, provisioner: Provisioner
) -> None:
    make(host)
    index = look(host)["ifindex"]
    theirs = gso.Sizes(50_000, 40_000)
    with host.entered():
        gso.write(index, theirs)
        if gso.read(index) != theirs:
            pytest.skip("needs Linux 6.3 or newer")
    provisioner.tap(request(host, gso_max_size=45_000))
    with host.entered():
        assert gso.read(index) == gso.Sizes(45_000, 45_000)
    provisioner.close()
    with host.entered():
        assert gso.read(index) == theirs


def test_a_smaller_segment_than_ours_is_left_as_it_is(
    host: Namespace, provisioner: Provisioner
) -> None:
    make(host)
    host.ip("link", "set", "tap0", "gso_max_size", "20000")
    provisioner.tap(request(host, gso_max_size=45_000))
    assert look(host)["gso_max_size"] == 20_000


NODE = """
import json, sys, time
from wgvx.ports.provision import Provisioner
from wgvx.ports.request import TapRequest
provisioner = Provisioner.start(rootless=False)
port = provisioner.tap(TapRequest.from_json(json.loads(sys.argv[1])))
port.set_offload(True, True)
provisioner.ready()
print(provisioner._channel.process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "kind", ["up", "with packet information", "with offloads", "with many queues"]
)
def test_given_back_after_the_node_was_killed(host: Namespace, kind: str, reader: str) -> None:
    if kind == "with many queues":
        make(host, flags=pytun.IFF_NO_PI | pytun.IFF_MULTI_QUEUE)
    else:
        prepare(host, kind)
    before = look(host)
    with subprocess.Popen(
        [sys.executable, "-c", NODE, json.dumps(request(host, **READERS[reader]).to_json())],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as node:
        assert node.stdout is not None
        broker = int(node.stdout.readline())
        assert look(host)["mtu"] == 1350
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(broker, number)  # a service manager ends the whole group: not the broker yet
        time.sleep(0.1)
        assert look(host)["mtu"] == 1350
        node.kill()
    eventually(lambda: look(host) == before, "the TAP is as it was")
    eventually(lambda: not Path(f"/proc/{broker}").exists(), "the broker has ended")


# As an ordinary user, who may attach to a TAP that is his and set its MAC, and no more.

ADOPT = """
import json, sys
from wgvx.ports.errors import PortError
from wgvx.ports.provision import Provisioner
from wgvx.ports.request import TapRequest
provisioner = Provisioner.start(rootless=False)
result = {}
try:
    port = provisioner.tap(TapRequest.from_json(json.loads(sys.argv[1])))
    provisioner.ready()
    result["written"] = port.write(bytes(60))
    result["offloads"] = sorted(port.set_offload(True, True))
    result["queues"] = len(port.fds)
except PortError as error:
    result["error"] = str(error)
finally:
    provisioner.close()
print(json.dumps(result))
"""


def adopt(host: Namespace, user: User, **fields: object) -> dict[str, Any]:
    asked = request(host, **{"netns": None, "addresses": (), **fields})
    return user.facts(ADOPT, json.dumps(asked.to_json()), around=host.wrap())


def own(host: Namespace, user: User, *settings: str) -> None:
    host.ip("tuntap", "add", "dev", "tap0", "mode", "tap", "user", str(user.uid))
    host.ip("link", "set", "tap0", *settings)


def test_an_ordinary_user_adopts_what_is_ready(host: Namespace, user: User) -> None:
    own(host, user, "mtu", "1350", "up")
    host.ip("address", "add", "10.0.0.1/24", "dev", "tap0")
    before = look(host)
    assert adopt(host, user, addresses=REQUEST_ADDRESSES[:1])["written"] is True
    after = look(host)
    # It got a carrier for the first time, and with it the kernel's link-local address.
    after["addr_info"] = [a for a in after["addr_info"] if a["scope"] != "link"]
    assert after == before


def test_an_ordinary_user_reads_unfinished_frames(host: Namespace, user: User) -> None:
    """All of it but the size of a segment, which is no reason to fail."""
    own(host, user, "mtu", "1350", "up")
    before = look(host)
    adopted = adopt(host, user, **READERS["unfinished"])
    assert (adopted["written"], adopted["queues"]) == (True, 1)
    assert "tso" in adopted["offloads"]
    after = look(host)
    after["addr_info"] = [a for a in after["addr_info"] if a["scope"] != "link"]
    assert after == before


def test_an_ordinary_user_has_many_queues(host: Namespace, user: User) -> None:
    owner = ("user", str(user.uid))
    host.ip("tuntap", "add", "dev", "tap0", "mode", "tap", *owner, "multi_queue")
    host.ip("link", "set", "tap0", "mtu", "1350", "up")
    assert adopt(host, user, **READERS["unfinished"])["queues"] == 4


def test_an_ordinary_user_is_told_what_is_not_ready(host: Namespace, user: User) -> None:
    own(host, user, "mtu", "1400")
    before = look(host)
    error = adopt(host, user, addresses=REQUEST_ADDRESSES)["error"]
    assert "`ip link set dev tap0 mtu 1350 && ip link set dev tap0 up && " in error
    assert "ip address add 10.0.0.1/24 dev tap0 && " in error
    assert "ip address add fd00::1/64 dev tap0 nodad` as root" in error
    assert "address 02:00" not in error  # the MAC takes no privilege
    assert look(host) == before
    # The commands are the mend.
    for command in error.split("`")[1].split(" && "):
        host.run(*command.split())
    assert adopt(host, user, addresses=REQUEST_ADDRESSES)["written"] is True


def test_an_ordinary_user_makes_none(host: Namespace, user: User) -> None:
    error = adopt(host, user)["error"]
    assert error == "TAP tap0: this takes CAP_NET_ADMIN"


def test_an_ordinary_user_gets_nobody_elses(host: Namespace, user: User) -> None:
    host.ip("tuntap", "add", "dev", "tap0", "mode", "tap", "user", "1")
    assert "CAP_NET_ADMIN" in adopt(host, user)["error"]


def test_an_ordinary_user_enters_no_named_namespace(host: Namespace, user: User) -> None:
    error = adopt(host, user, netns=host.name)["error"]
    assert host.name in error
    assert "--rootless" in error
