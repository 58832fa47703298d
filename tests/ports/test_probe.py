"""`wgvx doctor`: everything is really tried, and what is missing is named with its mend."""

from __future__ import annotations

import errno
import importlib.util
import json
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.netns.lab import Namespace
from tests.ports.conftest import descriptors
from tests.ports.ordinary import ROOT, User
from wgvx import offloads, probe
from wgvx.ports import mend
from wgvx.ports.errors import PortError
from wgvx.ports.provision import TapRequest
from wgvx.probe import machine, network, ports, taps
from wgvx.probe.finding import Finding
from wgvx.probe.surroundings import Surroundings, surroundings

DOCTOR = "import sys; from wgvx.cli.main import main; sys.exit(main(['doctor', *sys.argv[1:]]))"
DOCTOR_COMMAND = (sys.executable, "-c", DOCTOR, "--json")
# Root that may make no device node, as in most containers.
NO_MKNOD = ("setpriv", "--bounding-set=-mknod", "--inh-caps=-mknod")
HERE = "TAP in this network namespace"
ROOTLESS = "TAP in a user and network namespace"
FAST = ("TSO on a TAP", "multi-queue TAP")


WITHOUT_TAP = 0 if importlib.util.find_spec(ports.STACK_MODULE) else 1
"""Exit status where the userspace stack is the only way to run a node."""


def doctor(*around: str, shell: str = "true") -> tuple[int, dict[str, Any]]:
    """Exit status and findings by name, as root inside other namespaces."""
    done = subprocess.run(
        [*around, "sh", "-ec", f'{shell}; exec "$@"', "sh", *DOCTOR_COMMAND],
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
    assert findings[HERE]["mend"].startswith("this takes CAP_NET_ADMIN: `")
    assert [way for way in report["ways"] if "--rootless" in way]
    # What works needs no mend, and what does not has a meaning.
    assert all(f["mend"] is None for f in report["findings"] if f["ok"])
    assert all(f["meaning"] for f in report["findings"])
    table = {row.pop("what"): row for row in report["ports"]}
    assert [what for what, row in table.items() if row["ok"]] == [
        *(ports.PASSED, ports.NAMESPACES, ports.STREAM, ports.DGRAM),
        *([ports.STACK] if importlib.util.find_spec(ports.STACK_MODULE) else []),
    ]
    assert all((row["mend"] is None) is row["ok"] for row in table.values())
    assert f"mode tap user {user.uid}" in table[ports.BEFOREHAND]["mend"]


def test_as_text(user: User) -> None:
    done = user.python(DOCTOR)
    assert (done.returncode, done.stderr) == (0, "")
    table, mends, kinds, cures, ways = done.stdout.split("\n\n")
    assert re.search(rf"^{ROOTLESS} +yes ", table, re.MULTILINE)
    assert re.search(rf"^{HERE} +no ", table, re.MULTILINE)
    assert f"  {HERE}: this takes CAP_NET_ADMIN: `" in mends
    assert re.search(rf"^{ports.NAMESPACES} +yes +`wgvx up NAME --rootless`$", kinds, re.MULTILINE)
    assert re.search(rf"^{ports.HERE} +no ", kinds, re.MULTILINE)
    assert f"  {ports.BEFOREHAND}: `" in cures
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
        shell = f'mount -t tmpfs none /dev/net; exec {shlex.join(NO_MKNOD)} "$@"'
        status, findings = doctor(*host.wrap("unshare", "--mount"), shell=shell)
        assert status == WITHOUT_TAP
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
        assert status == WITHOUT_TAP
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


# The table of ports.

OPEN = Finding("/dev/net/tun", True, "open")
ABSENT = Finding("/dev/net/tun", False, "no TAP without it", "there is no /dev/net/tun: MODPROBE")
NO_POWER = taps.Attempt("this takes CAP_NET_ADMIN")
NO_NODE = taps.Attempt("there is no /dev/net/tun: MODPROBE")
NO_NAMESPACE = taps.Attempt("refused")


def table(
    where: Surroundings,
    here: taps.Attempt = NO_POWER,
    rootless: taps.Attempt = NO_NAMESPACE,
    tun: Finding = OPEN,
) -> dict[str, Finding]:
    return {row.what: row for row in ports.table(where, here, rootless, tun)}


@pytest.fixture
def nothing_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "forbidding_sysctl", lambda: None)


@pytest.mark.usefixtures("nothing_forbids")
class TestMends:
    """One command, or one line of a manifest, for where it is to be typed."""

    def test_on_a_host(self) -> None:
        rows = table(Surroundings.HOST)
        assert rows[ports.HERE].mend == "`sudo wgvx up NAME`"
        assert "`sudo ip tuntap add dev blue0 mode tap user " in str(rows[ports.BEFOREHAND].mend)
        assert rows[ports.NAMESPACES].mend == "refused"

    def test_without_the_driver(self) -> None:
        rows = table(Surroundings.HOST, NO_NODE, NO_NODE, ABSENT)
        for what in (ports.HERE, ports.BEFOREHAND, ports.NAMESPACES):
            assert rows[what].mend == ABSENT.mend
            assert rows[what].meaning == "/dev/net/tun cannot be opened"

    def test_in_a_container(self) -> None:
        rows = table(Surroundings.CONTAINER, NO_NODE, NO_NAMESPACE, ABSENT)
        here, beforehand, namespaces = (
            str(rows[what].mend) for what in (ports.HERE, ports.BEFOREHAND, ports.NAMESPACES)
        )
        assert "--cap-add NET_ADMIN --device /dev/net/tun` to `docker run`" in here
        assert "add: [NET_ADMIN, MKNOD]" in here
        assert "`--device /dev/net/tun`" in beforehand
        assert "nsenter --net --target PID ip tuntap add" in beforehand
        assert "hostPath: {path: /dev/net/tun" in beforehand
        assert "--security-opt seccomp=unconfined" in namespaces
        assert "seccompProfile: {type: Unconfined}" in namespaces

    def test_what_is_there_is_not_asked_for(self) -> None:
        rows = table(Surroundings.CONTAINER, rootless=NO_NODE)
        assert "--device" not in str(rows[ports.HERE].mend)
        assert "seccomp" not in str(rows[ports.NAMESPACES].mend)

    def test_in_a_pod(self) -> None:
        rows = table(Surroundings.KUBERNETES, NO_NODE, NO_NAMESPACE, ABSENT)
        cures = [str(rows[what].mend) for what in (ports.HERE, ports.BEFOREHAND, ports.NAMESPACES)]
        assert not [cure for cure in cures if "docker" in cure or "nsenter" in cure]
        assert cures[0].startswith("`securityContext: {")


def test_a_sysctl_is_the_mend_where_it_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "forbidding_sysctl", lambda: "user.max_user_namespaces=7")
    for where in Surroundings:
        cure = table(where)[ports.NAMESPACES].mend
        assert cure == "`sysctl -w user.max_user_namespaces=7` as root of the host"


def test_no_folder_to_write_in_leaves_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    rows = table(Surroundings.CONTAINER)
    for what in (ports.STREAM, ports.DGRAM):
        assert rows[what].ok
        assert "127.0.0.1:" in rows[what].meaning


@pytest.mark.netns
def test_a_tap_made_beforehand_is_found(host: Namespace, user: User) -> None:
    """Neither a TUN nor somebody else's."""
    host.ip("tuntap", "add", "dev", "tun0", "mode", "tun", "user", str(user.uid))
    host.ip("tuntap", "add", "dev", "tap0", "mode", "tap", "user", "1")
    host.ip("tuntap", "add", "dev", "tap1", "mode", "tap", "group", "1")

    def row() -> Finding:
        report = json.loads(user.python(DOCTOR, "--json", around=host.wrap()).stdout)
        found = [Finding(**row) for row in report["ports"]]
        return next(row for row in found if row.what == ports.BEFOREHAND)

    assert not row().ok
    host.ip("tuntap", "add", "dev", "tap2", "mode", "tap", "user", str(user.uid))
    assert (row().ok, row().meaning) == (True, '`wgvx up NAME` with `tap = "tap2"`')


def test_where_we_are(tmp_path: Path) -> None:
    assert surroundings(tmp_path, {}) is Surroundings.HOST
    assert surroundings(tmp_path, {"container": "lxc"}) is Surroundings.CONTAINER
    for mark in (".dockerenv", "run/.containerenv"):
        root = tmp_path / mark.replace("/", "-")
        (root / mark).parent.mkdir(parents=True)
        (root / mark).touch()
        assert surroundings(root, {}) is Surroundings.CONTAINER
        pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        assert surroundings(root, pod) is Surroundings.KUBERNETES


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
