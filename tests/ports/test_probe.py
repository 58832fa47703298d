"""`wgvx doctor`: everything is really tried, and what is missing is named with its mend."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.netns.lab import Namespace
from tests.ports.conftest import descriptors
from tests.ports.ordinary import ROOT, User
from wgvx import offloads, probe
from wgvx.ports.errors import PortError
from wgvx.ports.provision import TapRequest
from wgvx.probe import machine, network, taps
from wgvx.probe.finding import Finding

DOCTOR = "import sys; from wgvx.cli.main import main; sys.exit(main(['doctor', *sys.argv[1:]]))"
DOCTOR_COMMAND = shlex.join([sys.executable, "-c", DOCTOR, "--json"])
HERE = "TAP in this network namespace"
ROOTLESS = "TAP in a user and network namespace"
FAST = ("TSO on a TAP", "multi-queue TAP")


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
        for what in ("UDP socket", "UDP_SEGMENT", "UDP_GRO", "IPv6", HERE, "/dev/net/tun", *FAST):
            assert findings[what]["ok"], findings[what]
        assert re.search(r"up to (64|128) datagrams", findings["UDP_SEGMENT"]["meaning"])
        assert host.links() == {"lo"}

    def test_no_tun_node(self, host: Namespace) -> None:
        status, findings = doctor(
            *host.wrap("unshare", "--mount"), shell="mount -t tmpfs none /dev/net"
        )
        assert status == 1
        for what in ("/dev/net/tun", HERE, ROOTLESS):
            assert findings[what]["ok"] is False
            assert "--device /dev/net/tun" in findings[what]["mend"]
        for what in FAST:
            assert findings[what] == {
                "ok": False,
                "meaning": "not tried: there is no TAP",
                "mend": None,
            }

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

    def refused() -> str:
        raise OSError(95, "Operation not supported")

    finding = network._offload("UDP_GRO", refused)
    assert finding.ok is False
    assert "Operation not supported" in finding.meaning


def test_nothing_stays_open() -> None:
    before = descriptors()
    probe.look()
    assert descriptors() == before


# What makes TAPs fast.

USO = "USO on a TAP"


def test_every_offload_is_told_by_its_name() -> None:
    found = [
        *taps.features(taps.Attempt(None, frozenset({"tso", "uso"}), queues=True)),
        network.udp_segment(),
        network.udp_gro(),
    ]
    assert all(finding.ok and finding.mend is None for finding in found)
    named = [finding.meaning.partition(": ")[0] for finding in found]
    assert [name for name in named if name in offloads.NAMES] == list(offloads.NAMES)


@pytest.mark.parametrize(
    ("attempted", "missing"),
    [
        (taps.Attempt(None, frozenset({"tso"}), queues=True), {USO: "6.2"}),
        (taps.Attempt(None, frozenset(), queues=True), {USO: "6.2", FAST[0]: "2.6.27"}),
        (taps.Attempt(None, frozenset({"tso", "uso"})), {FAST[1]: "3.8"}),
    ],
)
def test_the_kernel_that_would_do_is_named(
    attempted: taps.Attempt, missing: dict[str, str]
) -> None:
    found = {finding.what: finding for finding in taps.features(attempted)}
    assert set(found) == {USO, *FAST}
    assert {what for what, finding in found.items() if not finding.ok} == set(missing)
    for what, version in missing.items():
        assert f"Linux {version} or newer" in str(found[what].mend)


class Plain:
    """A Provisioner of a system that knows nothing but plain TAPs."""

    @classmethod
    def start(cls, rootless: bool) -> Plain:
        assert rootless
        return cls()

    def tap(self, request: TapRequest) -> None:
        if request.vnet_header or request.queues > 1:
            raise PortError("Invalid argument")

    def close(self) -> None:
        """Nothing was made."""


def test_plain_taps_are_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "Provisioner", Plain)
    assert taps.attempt(rootless=True) == taps.Attempt(None, frozenset(), queues=False)


# The native data plane.

BUILD = "`apt-get install gcc libc6-dev python3-dev libssl-dev`, and install wgvx again"
DATAPLANE, IPSEC_MB = "native data plane", "ipsec-mb"


def native(
    monkeypatch: pytest.MonkeyPatch,
    libraries: dict[str, bool] | None,
    *,
    built: bool = True,
    cpu: str = "x86_64",
) -> dict[str, Finding]:
    """What is found where the module is there or not, and loads (`libraries`) or not."""
    spec = object() if built else None
    module = None if libraries is None else SimpleNamespace(aead_names=lambda: libraries)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(platform, "machine", lambda: cpu)
    monkeypatch.setitem(sys.modules, "wgvx.dataplane.native", module)
    return {finding.what: finding for finding in machine.native()}


def test_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    found = native(monkeypatch, None, built=False, cpu="aarch64")
    assert found[DATAPLANE].ok is False
    assert "reference" in found[DATAPLANE].meaning
    assert found[DATAPLANE].mend == BUILD
    mend = native(monkeypatch, None, built=False)[DATAPLANE].mend
    assert mend == f"`apt-get install libipsec-mb-dev` (optional, faster), {BUILD}"


def test_built_but_not_for_this(monkeypatch: pytest.MonkeyPatch) -> None:
    found = native(monkeypatch, None)
    assert set(found) == {DATAPLANE}
    assert found[DATAPLANE].ok is False
    assert "does not load: " in found[DATAPLANE].meaning
    assert found[DATAPLANE].mend == BUILD


@pytest.mark.parametrize("cpu", ["x86_64", "AMD64"])
@pytest.mark.parametrize(
    ("libraries", "said", "mend"),
    [
        ({"ipsec-mb": True, "openssl": True}, "encrypted by ipsec-mb or openssl", None),
        (
            {"openssl": True},
            "encrypted by openssl",
            "`apt-get install libipsec-mb-dev`, and install wgvx again (optional)",
        ),
        (
            {"ipsec-mb": False, "openssl": True},
            "encrypted by openssl",
            "`apt-get install libipsec-mb-dev` (optional)",
        ),
    ],
)
def test_libraries_that_encrypt(
    libraries: dict[str, bool],
    said: str,
    mend: str | None,
    cpu: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = native(monkeypatch, libraries, cpu=cpu)
    assert found[DATAPLANE].ok is True
    assert found[DATAPLANE].meaning.endswith(said)
    assert found[IPSEC_MB].mend == mend
    assert found[IPSEC_MB].ok is (mend is None)


def test_other_cpus_have_no_ipsec_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(native(monkeypatch, {"openssl": True}, cpu="aarch64")) == {DATAPLANE}


def test_no_library_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    found = native(monkeypatch, {"openssl": False})
    assert set(found) == {DATAPLANE}
    assert found[DATAPLANE].ok is False
    assert "FIPS" in str(found[DATAPLANE].mend)
