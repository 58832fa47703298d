"""`wgvx doctor`: everything is really tried, and what is missing is named with its mend."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.netns.lab import Namespace
from tests.ports.conftest import descriptors
from tests.ports.ordinary import ROOT, User
from wgvx import probe

DOCTOR = "import sys; from wgvx.cli.main import main; sys.exit(main(['doctor', *sys.argv[1:]]))"
DOCTOR_COMMAND = shlex.join([sys.executable, "-c", DOCTOR, "--json"])
HERE = "TAP in this network namespace"
ROOTLESS = "TAP in a user and network namespace"


def doctor(*around: str, shell: str = "true") -> tuple[int, dict[str, Any]]:
    """Exit status and findings by name, as root inside other namespaces."""
    done = subprocess.run(
        [*around, "sh", "-ec", f"{shell}; {DOCTOR_COMMAND}"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/root"},
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] is (done.returncode == 0) is bool(report["ways"])
    return done.returncode, {f.pop("what"): f for f in report["findings"]}


def test_as_an_ordinary_user(user: User) -> None:
    done = user.python(DOCTOR, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    findings = {f["what"]: f for f in report["findings"]}
    assert findings[ROOTLESS]["ok"] is True
    assert findings[HERE]["ok"] is False
    assert "--rootless" in findings[HERE]["mend"]
    assert [way for way in report["ways"] if "--rootless" in way]
    # What works needs no mend, and what does not has a meaning.
    assert all(f["mend"] is None for f in report["findings"] if f["ok"])
    assert all(f["meaning"] for f in report["findings"])


def test_as_text(user: User) -> None:
    done = user.python(DOCTOR)
    assert (done.returncode, done.stderr) == (0, "")
    table, mends, ways = done.stdout.split("\n\n")
    assert re.search(rf"^{ROOTLESS} +yes ", table, re.MULTILINE)
    assert re.search(rf"^{HERE} +no ", table, re.MULTILINE)
    assert f"  {HERE}: this takes CAP_NET_ADMIN" in mends
    assert "`wgvx up NAME --rootless`" in ways


@pytest.mark.netns
class TestAsRoot:
    def test_everything_there(self, host: Namespace) -> None:
        host.ip("link", "set", "lo", "up")
        status, findings = doctor(*host.wrap())
        assert status == 0
        for what in ("UDP socket", "UDP_SEGMENT", "UDP_GRO", "IPv6", HERE, "/dev/net/tun"):
            assert findings[what]["ok"], findings[what]
        assert host.links() == {"lo"}

    def test_no_tun_node(self, host: Namespace) -> None:
        status, findings = doctor(
            *host.wrap("unshare", "--mount"), shell="mount -t tmpfs none /dev/net"
        )
        assert status == 1
        for what in ("/dev/net/tun", HERE, ROOTLESS):
            assert findings[what]["ok"] is False
            assert "--device /dev/net/tun" in findings[what]["mend"]

    def test_root_of_a_container(self, host: Namespace) -> None:
        """No namespaces and no NET_ADMIN: nothing works, and each says what would."""
        drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        status, findings = doctor(
            *host.wrap("unshare", "--user", "--map-root-user", *drop),
            shell="echo 0 > /proc/sys/user/max_user_namespaces",
        )
        assert status == 1
        assert "--cap-add NET_ADMIN" in findings[HERE]["mend"]
        assert "user.max_user_namespaces" in findings[ROOTLESS]["mend"]

    def test_no_ipv6(self, host: Namespace) -> None:
        status, findings = doctor(
            *host.wrap(),
            shell="echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up",
        )
        assert status == 0
        assert findings["IPv6"]["ok"] is False
        assert "disable_ipv6=0" in findings["IPv6"]["mend"]
        assert findings["UDP_GRO"]["ok"]


def test_offloads_are_seen_to_work_or_not() -> None:
    """Without loopback, and by making the kernel refuse: the reason is told."""

    def refused() -> None:
        raise OSError(95, "Operation not supported")

    finding = probe._offload("UDP_GRO", "gain", refused)
    assert finding.ok is False
    assert "Operation not supported" in finding.meaning


def test_nothing_stays_open() -> None:
    before = descriptors()
    probe.look()
    assert descriptors() == before
