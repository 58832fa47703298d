"""Throughput, latency and cost of a whole tunnel between two network namespaces, as root.

Every contender is up all the time and has its turn in every round, so that what changes on the
machine meanwhile changes it for all. Ratios are taken within a round. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Metrics = dict[str, float | None]

WARM_UP = 1
GRACE = 20.0
"""Seconds beyond its own time after which a command is given up."""
TUNNEL_MTU = 1420
OVERLAY_MTU = 1350
VNI = 4200

UNITS = {
    "tcp_mbit": "Mbit/s, one stream",
    "cpu_s_per_gb": "s of CPU, both daemons, per GB of TCP payload",
    "retransmits": "TCP segments sent again",
    "ping_idle_us": "us, median round trip, idle",
    "ping_idle_p99_us": "us, 99th percentile, idle",
    "ping_loaded_us": "us, median round trip, under TCP load",
    "ping_loaded_p99_us": "us, 99th percentile, under TCP load",
    "udp64_kpps": "1,000/s, 64-byte UDP payloads received",
    "rss_mib": "MiB resident, both daemons, at the end of the round",
}
HIGHER_IS_BETTER = {"tcp_mbit", "udp64_kpps"}


# --- processes and namespaces ---------------------------------------------------------------------


class Process:
    """A daemon in a namespace; gone with this script, however that ends."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = command
        self.log = log
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        self.pid = self._popen.pid

    def check(self) -> None:
        """Raise if it has ended."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"{' '.join(self.command)} ended:\n{self.log.read_text()}")

    def has_printed(self, text: str) -> bool:
        return text in self.log.read_text()

    def end(self) -> None:
        """Ask, wait, kill."""
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(5)
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait(5)

    def family(self) -> list[int]:
        """Its process id and those of all that descend from it."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    found.extend(int(child) for child in children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        ticks = 0
        for pid in self.family():
            with contextlib.suppress(OSError):
                # proc_pid_stat(5): behind the name, utime and stime are fields 12 and 13.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory now."""
        total = 0
        for pid in self.family():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE")


class Host:
    """One end: a network namespace, its underlay address, and what runs in it."""

    def __init__(self, label: str, index: int, folder: Path) -> None:
        self.label = label
        self.index = index
        self.folder = folder
        self.name = f"wgvxb{os.getpid()}{label}"
        self.underlay = f"192.0.2.{index}"
        self.processes: list[Process] = []
        self.run_outside("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def close(self) -> None:
        for process in reversed(self.processes):
            process.end()
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    @staticmethod
    def run_outside(*command: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=GRACE, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def run(self, *command: str, timeout: float = GRACE) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            self._inside(*command), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str) -> Process:
        """Start a command that stays."""
        log = self.folder / f"{self.label}-{len(self.processes)}.log"
        # It must not outlive us even where we are killed.
        process = Process(self._inside("setpriv", "--pdeathsig", "KILL", *command), log)
        self.processes.append(process)
        return process

    def ip(self, *args: str) -> None:
        self.run("ip", *args)

    def _inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]


def wait_for(probe: Callable[[], bool], process: Process, what: str) -> None:
    """Ask until it is so, for a bounded time, while the process lives."""
    deadline = time.monotonic() + GRACE
    while not probe():
        process.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not after {GRACE:g} s\n{process.log.read_text()}")
        time.sleep(0.02)


# --- who is measured ------------------------------------------------------------------------------


class Contender(ABC):
    """A way from host a to host b."""

    name: str
    subnet: str
    """The first three numbers of its addresses; host n has .n."""

    def __init__(self, a: Host, b: Host) -> None:
        self.hosts = (a, b)
        self.daemons: list[Process] = []

    @abstractmethod
    def start(self) -> None:
        """Bring it up at both ends."""

    def address(self, host: Host) -> str:
        return f"{self.subnet}.{host.index}"

    def cpu_seconds(self) -> float:
        return sum(daemon.cpu_seconds() for daemon in self.daemons)

    def rss_bytes(self) -> int:
        return sum(daemon.rss_bytes() for daemon in self.daemons)


class Raw(Contender):
    """The bare veth pair, the measure of the others."""

    name = "raw"
    subnet = "192.0.2"

    def start(self) -> None:
        a, b = self.hosts
        a.ip("link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", b.name)
        for host in self.hosts:
            host.ip("address", "add", f"{self.address(host)}/24", "dev", "eth0")
            host.ip("link", "set", "eth0", "mtu", "1500", "up")


class Wgvx(Contender):
    """``wgvx up`` at both ends."""

    name = "wgvx"
    subnet = "10.0.0"
    port = 51820

    def __init__(self, a: Host, b: Host, dataplane: str | None) -> None:
        super().__init__(a, b)
        self._options = ["--dataplane", dataplane] if dataplane else []

    def start(self) -> None:
        keys = {host.index: new_key() for host in self.hosts}
        for host, other in zip(self.hosts, reversed(self.hosts), strict=True):
            name = f"b{os.getpid()}{host.label}"
            config = host.folder / f"{name}.toml"
            config.touch(0o600)
            config.write_text(
                f"""
                [node]
                private_key = "{keys[host.index]}"
                listen_port = {self.port}
                address = ["10.254.0.{host.index}/24"]
                mtu = {TUNNEL_MTU}
                state_dir = "{host.folder / name}"
                [[peer]]
                public_key = "{public_key(keys[other.index])}"
                endpoint = "{other.underlay}:{self.port}"
                allowed_ips = ["10.254.0.{other.index}/32"]
                [[network]]
                vni = {VNI}
                tap = "wgvx0"
                mtu = {OVERLAY_MTU}
                address = ["{self.address(host)}/24"]
                """
            )
            daemon = host.start(*wgvx_command(), "up", str(config), *self._options)
            self.daemons.append(daemon)
            wait_for(partial(daemon.has_printed, f"wgvx: {name} ready"), daemon, "wgvx is ready")


class WireguardGo(Contender):
    """wireguard-go with the kernel's VXLAN device on top."""

    name = "wireguard-go"
    subnet = "10.1.0"
    port = 51821

    def start(self) -> None:
        keys = {host.index: new_key() for host in self.hosts}
        for host, other in zip(self.hosts, reversed(self.hosts), strict=True):
            device = f"wgb{os.getpid()}{host.label}"
            daemon = host.start("wireguard-go", "-f", device)
            self.daemons.append(daemon)
            socket = Path(f"/var/run/wireguard/{device}.sock")
            wait_for(socket.is_socket, daemon, "wireguard-go answers")
            key = host.folder / f"{device}.key"
            key.touch(0o600)
            key.write_text(keys[host.index])
            host.run("wg", "set", device, "private-key", str(key), "listen-port", str(self.port))
            peer = ("peer", public_key(keys[other.index]), "allowed-ips")
            remote, local = f"10.254.1.{other.index}", f"10.254.1.{host.index}"
            place = f"{other.underlay}:{self.port}"
            host.run("wg", "set", device, *peer, f"{remote}/32", "endpoint", place)
            host.ip("address", "add", f"{local}/24", "dev", device)
            host.ip("link", "set", device, "mtu", str(TUNNEL_MTU), "up")
            vxlan = ("type", "vxlan", "id", str(VNI), "dstport", "4789")
            ends = ("dev", device, "local", local, "remote", remote)
            host.ip("link", "add", "vx0", *vxlan, *ends)
            host.ip("address", "add", f"{self.address(host)}/24", "dev", "vx0")
            host.ip("link", "set", "vx0", "mtu", str(OVERLAY_MTU), "up")


def wgvx_command() -> list[str]:
    beside = Path(sys.executable).with_name("wgvx")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "wgvx"]


def new_key() -> str:
    return Host.run_outside(*wgvx_command(), "genkey").strip()


def public_key(private: str) -> str:
    return Host.run_outside(*wgvx_command(), "pubkey", stdin=private + "\n").strip()


# --- what is measured -----------------------------------------------------------------------------


class Iperf:
    """An iperf3 server at b for one test, and its client at a."""

    def __init__(self, contender: Contender, seconds: float, *options: str) -> None:
        a, b = contender.hosts
        address = contender.address(b)
        server = b.start("iperf3", "--server", "--one-off", "--bind", address)
        wait_for(lambda: _listens(server.pid), server, "iperf3 listens")
        self._server = server
        self._timeout = seconds + GRACE
        self.client = a.start(
            *("iperf3", "--client", address, "--time", f"{seconds:g}", "--json", *options)
        )

    def result(self) -> dict[str, Any]:
        """What the client reports at its end, or, where it gave up, nothing."""
        deadline = time.monotonic() + self._timeout
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < deadline:
                self.client.check()
                time.sleep(0.05)
        for process in (self.client, self._server):
            process.end()
        try:
            end: dict[str, Any] = json.loads(self.client.log.read_text()).get("end", {})
        except ValueError:
            end = {}
        return end


def _listens(pid: int) -> bool:
    """Whether somebody listens on iperf3's port in the namespace of this process."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                # proc(5): local address and port in hexadecimal; state 0A is LISTEN.
                if fields[1].endswith(":1451") and fields[3] == "0A":
                    return True
    return False


def measure_tcp(contender: Contender, seconds: float) -> Metrics:
    before = contender.cpu_seconds()
    end = Iperf(contender, seconds).result()
    used = contender.cpu_seconds() - before
    received = end.get("sum_received", {})
    payload = received.get("bytes", 0)
    return {
        "tcp_mbit": received["bits_per_second"] / 1e6 if payload else None,
        "cpu_s_per_gb": used / (payload / 1e9) if payload and contender.daemons else None,
        "retransmits": end.get("sum_sent", {}).get("retransmits"),
    }


def measure_udp(contender: Contender, seconds: float) -> Metrics:
    """Sent as fast as the sender can; what arrives counts."""
    options = ("--udp", "--length", "64", "--bitrate", "0")
    end = Iperf(contender, seconds, *options).result()
    # The sum of a UDP test: the sender's packets, and the receiver's losses.
    total = end.get("sum", {})
    arrived = total.get("packets", 0) - total.get("lost_packets", 0)
    return {"udp64_kpps": arrived / total["seconds"] / 1e3 if total.get("seconds") else None}


def measure_ping(contender: Contender, seconds: float, prefix: str) -> Metrics:
    """100 pings a second, each 56 bytes."""
    a, b = contender.hosts
    count = max(20, int(seconds * 100))
    command = ("ping", "-n", "-i", "0.01", "-W", "1", "-c", str(count), contender.address(b))
    done = subprocess.run(
        ["ip", "netns", "exec", a.name, *command],
        capture_output=True,
        text=True,
        timeout=seconds + GRACE,
        check=False,
    )
    times = sorted(float(t) * 1e3 for t in re.findall(r"time=([\d.]+) ms", done.stdout))
    enough = len(times) >= count // 2
    return {
        f"{prefix}_us": statistics.median(times) if enough else None,
        f"{prefix}_p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] if enough else None,
    }


def measure_loaded_ping(contender: Contender, seconds: float) -> Metrics:
    load = Iperf(contender, seconds + 2 * WARM_UP)
    time.sleep(WARM_UP)
    metrics = measure_ping(contender, seconds, "ping_loaded")
    load.result()
    return metrics


def measure(contender: Contender, seconds: float) -> Metrics:
    """One turn of one contender."""
    return {
        **measure_ping(contender, seconds, "ping_idle"),
        **measure_tcp(contender, seconds),
        **measure_loaded_ping(contender, seconds),
        **measure_udp(contender, seconds),
        "rss_mib": contender.rss_bytes() / 2**20 if contender.daemons else None,
    }


# --- what is made of it ---------------------------------------------------------------------------

Round = dict[str, Metrics]


def medians(rounds: list[Round], name: str, against: str | None = None) -> Metrics:
    """Per metric the median over the rounds, of the figure or of its ratio in the same round."""
    result: Metrics = {}
    for metric in UNITS:
        figures = []
        for one in rounds:
            value = one[name].get(metric)
            base = 1.0 if against is None else one[against].get(metric)
            if value is not None and base:
                figures.append(value / base)
        result[metric] = round(statistics.median(figures), 4) if figures else None
    return result


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GRACE, check=False)
    except OSError:
        return None
    return (done.stdout or done.stderr).partition("\n")[0]


def versions() -> dict[str, str | None]:
    return {
        "wgvx": first_line(*wgvx_command(), "--version"),
        "python": platform.python_version(),
        "iperf3": first_line("iperf3", "--version"),
        "wireguard-go": first_line("wireguard-go", "--version"),
    }


def table(report: dict[str, Any]) -> str:
    """The medians as text; in brackets the ratio to raw."""
    names = list(report["median"])
    lines = ["".join(["".ljust(20), *(name.rjust(22) for name in names)])]
    for metric, unit in UNITS.items():
        cells = [metric.ljust(20)]
        for name in names:
            value = report["median"][name][metric]
            ratio = report["ratio_to_raw"].get(name, {}).get(metric)
            text = "-" if value is None else f"{value:.5g}"
            cells.append((text if ratio is None else f"{text} ({ratio:.3g})").rjust(22))
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        lines.append("".join(cells) + f"   {unit}; {better} is better")
    return "\n".join(lines)


# --- all together ---------------------------------------------------------------------------------

PEERS: dict[str, type[Contender]] = {WireguardGo.name: WireguardGo}


def sweep() -> None:
    """Remove what a run left that was killed."""
    for path in [*Path("/run/netns").glob("wgvxb*"), *Path(tempfile.gettempdir()).glob("wgvxb*")]:
        owner = re.match(r"wgvxb(\d+)", path.name)
        if owner is None or Path(f"/proc/{owner[1]}").exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            Host.run_outside("ip", "netns", "del", path.name)


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces that are gone afterwards, whatever happens."""
    with contextlib.ExitStack() as stack:
        prefix = f"wgvxb{os.getpid()}-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        hosts = []
        for index, label in enumerate("ab", 1):
            host = Host(label, index, folder)
            stack.callback(host.close)
            hosts.append(host)
        yield hosts[0], hosts[1]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; the whole report."""
    rounds: list[Round] = []
    sweep()
    with two_hosts() as (a, b):
        contenders: list[Contender] = [Raw(a, b)]
        if not args.without_wgvx:
            contenders.append(Wgvx(a, b, args.dataplane))
        contenders += [PEERS[peer](a, b) for peer in args.peer]
        for contender in contenders:
            contender.start()
            # The first packets make the handshake and teach the addresses.
            a.run("ping", "-c", "3", "-i", "0.2", "-W", "5", contender.address(b))
        for number in range(args.rounds):
            # Each round another one begins.
            turn = number % len(contenders)
            figures = {
                contender.name: measure(contender, args.seconds)
                for contender in contenders[turn:] + contenders[:turn]
            }
            rounds.append(figures)
            done = ", ".join(f"{n} {m['tcp_mbit'] or 0:.0f} Mbit/s" for n, m in figures.items())
            print(f"round {number + 1} of {args.rounds}: {done}", file=sys.stderr, flush=True)
        names = [contender.name for contender in contenders]
    report: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "parameters": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "dataplane": args.dataplane,
            "underlay_mtu": 1500,
            "tunnel_mtu": TUNNEL_MTU,
            "overlay_mtu": OVERLAY_MTU,
        },
        "units": UNITS,
        "median": {name: medians(rounds, name) for name in names},
    }
    for base in names:
        if base != Wgvx.name:
            report[f"ratio_to_{base}"] = {
                name: medians(rounds, name, base) for name in names if name not in (base, Raw.name)
            }
    report["rounds"] = rounds
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=5, metavar="N", help="per measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the whole report")
    parser.add_argument("--dataplane", choices=["native", "reference"])
    parser.add_argument(
        "--peer", action="append", default=[], choices=sorted(PEERS), help="measured beside wgvx"
    )
    parser.add_argument("--without-wgvx", action="store_true", help="measure the others alone")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    if os.geteuid() != 0:
        parser.error("must be root: it makes network namespaces")
    wanted = ["ip", "iperf3", "ping", "setpriv", *(["wireguard-go", "wg"] if args.peer else [])]
    if missing := [tool for tool in wanted if shutil.which(tool) is None]:
        parser.error(f"not found: {', '.join(missing)}")
    # As an exception, so that what was made is unmade.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = run(args)
    print(table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
