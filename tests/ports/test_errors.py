"""Every way that a port cannot be had, and the mend that the message names."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.netns.lab import RUN_NETNS, Namespace, unique_name
from tests.ports.ordinary import ROOT, User
from wgvx import probe
from wgvx.ports import mend
from wgvx.ports.errors import PortDeniedError, PortError
from wgvx.ports.provision import Provisioner, TapRequest
from wgvx.probe import ports
from wgvx.probe.finding import Finding

MAC = bytes.fromhex("020000000001")

# Root that may make no device node, as in most containers.
NO_MKNOD = ("setpriv", "--bounding-set=-mknod", "--inh-caps=-mknod")

MAKE = """
import sys
from wgvx.ports.errors import PortDeniedError, PortError
from wgvx.ports.provision import Provisioner, TapRequest
try:
    provisioner = Provisioner.start(rootless=sys.argv[1] == "rootless")
    try:
        provisioner.tap(TapRequest("tap0", bytes.fromhex("020000000001"), 1350))
        print("made")
    finally:
        provisioner.close()
except PortError as error:
    print("denied:" if isinstance(error, PortDeniedError) else "error:", error)
"""


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with contextlib.closing(Provisioner.start(rootless=False)) as made:
        yield made


def refusal(provisioner: Provisioner, host: Namespace, **fields: object) -> str:
    """The message of the error; the namespace is left as it was."""
    before = host.links()
    asked = {"name": "tap0", "mac": MAC, "mtu": 1350, "netns": host.name, **fields}
    with pytest.raises(PortError) as caught:
        provisioner.tap(TapRequest(**asked))  # type: ignore[arg-type] # the fields of one test
    assert host.links() == before
    return str(caught.value)


def as_root(*around: str, kind: str = "here", shell: str = "true") -> str:
    """What making a TAP says as root inside other namespaces, after a shell command there."""
    done = subprocess.run(
        [*around, "sh", "-ec", f'{shell}; exec "$@"', "sh", sys.executable, "-c", MAKE, kind],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    "name", ["", "x" * 16, "ä" * 8, "a b", "a/b", "a:b", "tap%d", ".", "..", "a\n"]
)
def test_a_name_that_no_device_can_have(name: str) -> None:
    with pytest.raises(PortError, match="1 to 15 bytes"):
        TapRequest(name, MAC, 1350).check()


@pytest.mark.parametrize("name", ["x" * 15, "tap0", "wg-1.2_3+4=5", "ä" * 7])
def test_a_name_that_a_device_can_have(name: str) -> None:
    TapRequest(name, MAC, 1350).check()


def test_an_ipv6_address_on_a_mtu_without_ipv6() -> None:
    addresses = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
    TapRequest("tap0", MAC, 1280, addresses).check()
    TapRequest("tap0", MAC, 1279, addresses[:1]).check()
    with pytest.raises(PortError, match=r"fd00::1/64 needs .* 1280 .* 1279"):
        TapRequest("tap0", MAC, 1279, addresses).check()


def test_a_request_survives_the_way_to_the_broker() -> None:
    addresses = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
    asked = TapRequest("tap0", MAC, 1350, addresses, "br0", "blue")
    assert TapRequest.from_json(asked.to_json()) == asked


@pytest.mark.netns
class TestAsRoot:
    def test_bad_name(self, host: Namespace, provisioner: Provisioner) -> None:
        assert "1 to 15 bytes" in refusal(provisioner, host, name="x" * 16)

    def test_no_bridge(self, host: Namespace, provisioner: Provisioner) -> None:
        message = refusal(provisioner, host, bridge="br0")
        assert "no bridge br0" in message
        assert "`ip link add br0 type bridge && ip link set br0 up`" in message

    def test_not_a_bridge(self, host: Namespace, provisioner: Provisioner) -> None:
        assert "lo is a device but not a bridge" in refusal(provisioner, host, bridge="lo")

    def test_not_a_tap(self, host: Namespace, provisioner: Provisioner) -> None:
        host.ip("link", "add", "br0", "type", "bridge")
        host.ip("tuntap", "add", "dev", "tun0", "mode", "tun")
        assert "br0 is a bridge device and not a TAP" in refusal(provisioner, host, name="br0")
        assert "tun0 is a TUN device and not a TAP" in refusal(provisioner, host, name="tun0")
        message = refusal(provisioner, host, name="lo")
        assert "not a TAP" in message
        assert "another `tap` name" in message

    @pytest.mark.parametrize("queues", ["", "multi_queue"])
    def test_in_use_by_another(
        self, host: Namespace, provisioner: Provisioner, queues: str
    ) -> None:
        if queues:
            host.ip("tuntap", "add", "dev", "tap0", "mode", "tap", queues)
        with contextlib.closing(Provisioner.start(rootless=False)) as other:
            other.tap(TapRequest("tap0", MAC, 1350, netns=host.name))
            message = refusal(provisioner, host)
        assert "in use by another process" in message
        assert "fuser" in message

    def test_twice_by_one_node(self, host: Namespace, provisioner: Provisioner) -> None:
        provisioner.tap(TapRequest("tap0", MAC, 1350, netns=host.name))
        assert "in use" in refusal(provisioner, host)

    def test_no_such_netns(self, host: Namespace, provisioner: Provisioner) -> None:
        name = unique_name("no")
        message = refusal(provisioner, host, netns=name)
        assert f"no network namespace {name}: `ip netns add {name}`" in message

    def test_a_left_over_of_a_netns(self, host: Namespace, provisioner: Provisioner) -> None:
        name = unique_name("no")
        path = RUN_NETNS / name
        path.touch()
        try:
            assert f"`ip netns delete {name}" in refusal(provisioner, host, netns=name)
        finally:
            path.unlink()
        # And the broker came back from there.
        provisioner.tap(TapRequest("tap0", MAC, 1350, netns=host.name))

    def test_a_mtu_that_the_kernel_refuses(self, host: Namespace, provisioner: Provisioner) -> None:
        assert "does not take an MTU of 20" in refusal(provisioner, host, mtu=20)
        assert "does not take an MTU of 65536" in refusal(provisioner, host, mtu=65536)

    def test_ipv6_switched_off(self, host: Namespace, provisioner: Provisioner) -> None:
        host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        message = refusal(provisioner, host, addresses=(ip_interface("fd00::1/64"),))
        assert "net.ipv6.conf.all.disable_ipv6=0" in message
        provisioner.tap(
            TapRequest("tap0", MAC, 1350, (ip_interface("10.0.0.1/24"),), netns=host.name)
        )

    def test_a_mac_that_no_device_can_have(self, host: Namespace, provisioner: Provisioner) -> None:
        message = refusal(provisioner, host, mac=bytes.fromhex("030000000001"))
        assert "address 03:00:00:00:00:01" in message

    def test_no_tun_node(self, host: Namespace) -> None:
        shell = f'mount -t tmpfs none /dev/net; exec {shlex.join(NO_MKNOD)} "$@"'
        message = as_root(*host.wrap("unshare", "--mount"), shell=shell)
        assert message.startswith("denied: there is no /dev/net/tun")
        assert "modprobe tun" in message
        assert "--device /dev/net/tun" in message

    def test_no_tun_node_but_the_right_to_make_one(self, host: Namespace) -> None:
        """Root of a container with NET_ADMIN: the node is gone again at once."""
        before = set(Path("/dev").iterdir())
        message = as_root(*host.wrap("unshare", "--mount"), shell="mount -t tmpfs none /dev/net")
        assert message == "made"
        assert set(Path("/dev").iterdir()) == before

    def test_no_tun_driver(self, host: Namespace) -> None:
        """A node of a device that no driver has, as where the module is not loaded."""
        shell = "mount -t tmpfs -o dev none /dev/net; mknod /dev/net/tun c 10 254"
        assert "modprobe tun" in as_root(*host.wrap("unshare", "--mount"), shell=shell)

    def test_no_net_admin(self, host: Namespace) -> None:
        """Root of a container."""
        drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        message = as_root(*host.wrap(*drop))
        assert message == "denied: TAP tap0: this takes CAP_NET_ADMIN"

    @pytest.mark.parametrize("kind", ["user", "net"])
    def test_no_namespaces_left(self, host: Namespace, kind: str) -> None:
        """The limit binds the user namespace in which it is set, and those below."""
        message = as_root(
            *host.wrap("unshare", "--user", "--map-root-user", "--mount"),
            kind="rootless",
            shell=f"echo 0 > /proc/sys/user/max_{kind}_namespaces",
        )
        assert message.startswith("denied: ")
        assert f"`sysctl -w user.max_{kind}_namespaces=10000`" in message

    def test_a_tun_node_that_others_may_not_open(self, host: Namespace, user: User) -> None:
        shell = "mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200"
        done = subprocess.run(
            host.wrap("unshare", "--mount", "sh", "-ec", f'{shell}; exec "$@"', "sh")
            + user.command(MAKE, "rootless"),
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            env=user.env,
        )
        assert done.stderr == ""
        assert "`chmod 666 /dev/net/tun`" in done.stdout


def test_rootless_works_where_nothing_is_in_the_way(user: User) -> None:
    done = user.python(MAKE, "rootless")
    assert (done.stdout.strip(), done.stderr) == ("made", "")


# What cannot be had on the machine that tests: other people's kernels and sandboxes.


@pytest.mark.parametrize(
    ("sysctl", "value", "cure"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "userns=0`"),
        ("kernel/unprivileged_userns_clone", "0", "userns_clone=1`"),
        ("user/max_user_namespaces", "0", "max_user_namespaces=10000`"),
    ],
)
def test_a_sysctl_that_forbids_namespaces_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sysctl: str, value: str, cure: str
) -> None:
    monkeypatch.setattr(mend, "_SYSCTL", tmp_path)
    path = tmp_path / sysctl
    path.parent.mkdir()
    path.write_text(f"{value}\n")
    message = str(mend.no_namespace(OSError(errno.EPERM, "")))
    assert sysctl.replace("/", ".") in message
    assert cure in message
    path.write_text("7\n")
    assert cure not in str(mend.no_namespace(OSError(errno.EPERM, "")))


@pytest.mark.parametrize(
    ("code", "filters", "words"),
    [
        (errno.EPERM, 2, "seccomp=unconfined"),
        (errno.EPERM, 0, "AppArmor"),
        (errno.ENOSPC, 2, "limit"),
        (errno.EINVAL, 2, "CONFIG_USER_NS"),
        (errno.ENOSYS, 2, "CONFIG_USER_NS"),
    ],
)
def test_other_reasons_for_no_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, filters: int, words: str
) -> None:
    status = tmp_path / "status"
    status.write_text(f"NoNewPrivs:\t0\nSeccomp:\t{filters}\nSeccomp_filters:\t0\n")
    monkeypatch.setattr(mend, "_SYSCTL", tmp_path)
    monkeypatch.setattr(mend, "_STATUS", status)
    said = str(mend.no_namespace(OSError(code, os.strerror(code))))
    assert words in said
    assert (code == errno.EPERM and filters == 2) is ("seccomp=unconfined" in said)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENODEV, "modprobe tun"),
        (errno.EPERM, "--device /dev/net/tun"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_other_reasons_for_no_tun_node(code: int, words: str) -> None:
    assert words in str(mend.tun_node(OSError(code, os.strerror(code))))


def test_what_would_have_it_allowed_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PortDeniedError("it is closed", "`open it`")
    assert str(denied) == "it is closed: `open it`"
    cures = {"it is closed: `open it`": "`open it`", None: "`open it`", "`sudo it`": "`sudo it`"}
    for found, cure in cures.items():
        rows = {what: Finding(what, False, "no", found) for what in (ports.HERE, ports.NAMESPACES)}
        monkeypatch.setattr(probe, "_look_at_ports", lambda rows=rows: (rows,))
        for rootless in (False, True):
            why, cured, *_ = probe.other_ways(denied, rootless).splitlines()
            assert (why, cured) == ("it is closed", f"to have it: {cure}")
