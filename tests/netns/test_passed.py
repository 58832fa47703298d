"""A TAP passed in: wgvx without any privilege, on a TAP that its parent has made."""

from __future__ import annotations

import sys

import pytest

from tests.netns.lab import Lab, Namespace, Process
from tests.netns.nodes import PORT, WGVX, WgvxNode
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping

pytestmark = pytest.mark.netns

# Root makes the TAP and becomes the command, its descriptor open.
PARENT = """
import os, sys
from wgvx.ports import tun
name, header, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
fd = tun.open_node()
tun.attach(fd, name, tun.IFF_TAP | tun.IFF_NO_PI | (tun.IFF_VNET_HDR if header else 0))
os.set_inheritable(fd, True)
os.execvp(command[0], [*command, "--tap-fd", str(fd)])
"""


class PassedNode(WgvxNode):
    """Started by root, which keeps nothing but makes the TAP, as an ordinary user."""

    def __init__(self, user: OrdinaryUser, maker: Namespace, *, header: bool) -> None:
        address = {family: maker.address(family) for family in (4, 6)}
        super().__init__(user, "a", 1, address=address)
        self.user, self.maker, self.header = user, maker, header
        self.tap = "blue0"

    def launch(self, *args: str) -> Process:
        self.write()
        names = ("HOME", "XDG_RUNTIME_DIR")
        environment = ("env", *(f"{name}={self.user.env[name]}" for name in names))
        command = (*self.user.become, WGVX, "up", str(self.config_path), *args)
        parent = (sys.executable, "-c", PARENT, self.tap, str(int(self.header)))
        self.process = self.maker.start(*environment, *parent, *command, log=self.name)
        return self.process


@pytest.mark.parametrize("dataplane", ["native", "reference"])
@pytest.mark.parametrize("header", [False, True], ids=["bare", "virtio"])
def test_a_passed_tap_carries_the_overlay(lab: Lab, dataplane: str, header: bool) -> None:
    hosts = lab.host("a"), lab.host("b")
    lab.lan(*hosts)
    user = OrdinaryUser(lab, hosts[0])
    node = PassedNode(user, hosts[0], header=header)
    other = WgvxNode(hosts[1], "b", 2)
    node.add_peer(other.id, underlay=4)
    other.add_peer(node.id, underlay=4)
    node.networks = [{"vni": 4200, "tap": "blue0"}]
    other.start()
    node.start("--dataplane", dataplane)
    hosts[0].ip("link", "set", "blue0", "mtu", "1350", "up")
    hosts[0].ip("address", "add", f"{node.address[4]}/24", "dev", "blue0")
    assert_ping(hosts[0], other.address[4])
    assert_ping(hosts[1], node.address[4])
    node.stop()


def test_what_is_no_tap_is_said(lab: Lab) -> None:
    host = lab.host("a")
    node = WgvxNode(host, "a", 1, port=PORT)
    process = node.launch("--tap-fd", "0")
    assert process.wait() == 1
    assert "--tap-fd 0: it is no TAP" in process.stderr
