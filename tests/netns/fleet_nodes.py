"""A fleet brought up on the hosts of the lab from what `wgvx fleet render` wrote, nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from itertools import permutations
from pathlib import Path
from typing import Any

from tests.netns.lab import Completed, Lab, Namespace, Process, eventually, unique_name
from tests.netns.nodes import WGVX
from tests.netns.traffic import assert_ping
from wgvx.cli.main import main

MOUNTED = 'mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; exec "$@"'
"""`sh -c` with a folder, the place where it is to be seen, and the command that sees it there: each
command of the lab has a mount namespace of its own."""


class RenderedNode:
    """A node of a fleet: its files are all that it has."""

    KIND: str
    """The folder of its files."""

    def __init__(self, host: Namespace, name: str) -> None:
        self.host = host
        self.name = name
        self.installed = host.folder / self.KIND
        """What is in /etc on other machines."""

    def install(self, nodes: Path) -> bool:
        """Copy its files out of a folder of nodes; false where that has none of it."""
        source = nodes / self.name / self.KIND
        if source.is_dir():
            shutil.copytree(source, self.installed, dirs_exist_ok=True)
        return source.is_dir()

    def start(self) -> None:
        """Bring it up from its files."""
        raise NotImplementedError

    def reload(self) -> None:
        """Have it take up its files as they are now."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take it down."""
        raise NotImplementedError

    def _seen_at(self, folder: Path, place: str, *command: str) -> tuple[str, ...]:
        return ("sh", "-c", MOUNTED, "sh", str(folder), place, *command)


class RenderedWgvx(RenderedNode):
    """Run by `wgvx up`."""

    KIND = "wgvx"
    process: Process | None = None

    @property
    def file(self) -> Path:
        return self.installed / f"{self.name}.toml"

    def start(self, *under: str) -> None:
        """Bring it up, `under` another program if need be."""
        state = self.host.folder / "state"
        state.mkdir(exist_ok=True)
        up = self._seen_at(state, "/var/lib/wgvx", *under, WGVX, "up", str(self.file))
        process = self.process = self.host.start(*up, log=self.name)
        line = f"wgvx: {self.name} ready\n"
        eventually(lambda: line in process.stdout, f"{self.name} is ready: {process}", 60)
        assert "warning" not in process.stderr, process

    def reload(self) -> None:
        self.host.run(WGVX, "reload", self.name)

    def stop(self) -> None:
        assert self.process is not None
        self.process.end()

    def show(self) -> dict[str, Any]:
        told = self.host.run(WGVX, "show", self.name, "--json").stdout
        found: dict[str, Any] = json.loads(told)
        return found

    def fdb(self) -> str:
        return self.host.run(WGVX, "fdb", self.name).stdout


class RenderedKernel(RenderedNode):
    """Run by wg-quick(8), with wireguard-go where the kernel has no WireGuard."""

    KIND = "wg-quick"

    def quick(self, *arguments: str) -> Completed:
        """A command that finds the files in /etc/wireguard."""
        return self.host.run(*self._seen_at(self.installed, "/etc/wireguard", *arguments))

    def start(self) -> None:
        self.host.env["WG_QUICK_USERSPACE_IMPLEMENTATION"] = "wireguard-go"
        try:
            self.quick("wg-quick", "up", self.name)
        finally:
            # wg-quick leaves it to itself; after `stop` it is gone.
            for pid in self._daemons():
                self.host.lab.at_end.callback(_end, pid, self.name)

    def reload(self) -> None:
        """As docs/fleet.md has it."""
        sync = f"wg syncconf {self.name} <(wg-quick strip {self.name})"
        self.quick("bash", "-c", f"{sync} && /etc/wireguard/{self.name}-vxlan.sh up")

    def stop(self) -> None:
        self.quick("wg-quick", "down", self.name)
        assert self.host.links() == {"lo", "eth0"}

    def _daemons(self) -> list[int]:
        pids = self.host.run("ip", "netns", "pids", self.host.name).stdout.split()
        return [int(pid) for pid in pids if _is_daemon(int(pid), self.name)]

    def filtered(self) -> int:
        """How many packets the filter has dropped."""
        rules = self.host.run("nft", "list", "table", "inet", f"wgvx-{self.name}").stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", rules)))

    def fdb(self, device: str) -> str:
        return self.host.run("bridge", "fdb", "show", "dev", device).stdout


def _is_daemon(pid: int, name: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[:2] == [b"wireguard-go", name.encode()]


def _end(pid: int, name: str) -> None:
    if _is_daemon(pid, name):
        os.kill(pid, signal.SIGKILL)


class RenderedFleet:
    """A plan, its files, and a host for each of its sites, all on one LAN.

    A plan is written with `{a}` for the name of site a - the real one is no other test's, for it
    names sockets that all namespaces share - and `{a_ip}` for its underlay address.
    """

    def __init__(self, lab: Lab, sites: str, plan: str) -> None:
        """`sites` are one letter each."""
        self.names = {site: unique_name(site.lower()) for site in sites}
        hosts = [lab.host(site) for site in sites]
        lab.lan(*hosts)
        self.hosts = dict(zip(sites, hosts, strict=True))
        self.path = lab.folder / "fleet.toml"
        self.nodes: dict[str, RenderedNode] = {}
        self.render(plan)

    @property
    def rendered(self) -> Path:
        return self.path.with_name("fleet.rendered")

    @property
    def rollout(self) -> Path:
        return self.path.with_name("fleet.rollout")

    def render(self, plan: str) -> None:
        """Write the plan, and all that follows from it; a new node gets its files."""
        places = {f"{site}_ip": host.address(4) for site, host in self.hosts.items()}
        self.path.write_text(plan.format(**self.names, **places))
        assert main(["fleet", "render", str(self.path)]) == 0
        self.facts = checked(self.path)
        kinds = {site["name"]: site["kind"] for site in self.facts["sites"]}
        for site, name in self.names.items():
            if name in kinds and site not in self.nodes:
                made = RenderedWgvx if kinds[name] == "wgvx" else RenderedKernel
                self.nodes[site] = made(self.hosts[site], name)
                assert self.nodes[site].install(self.rendered / "nodes")

    def bring_out(self, folder: Path) -> None:
        """What the playbook does: every node's files, then all take them up, together."""
        concerned = [node for node in self.nodes.values() if node.install(folder)]
        with ThreadPoolExecutor(len(concerned)) as pool:
            for done in [pool.submit(node.reload) for node in concerned]:
                done.result()

    def overlay(self, tenant: str) -> dict[str, str]:
        """The overlay address of each of a tenant's sites."""
        (found,) = (one for one in self.facts["tenants"] if one["name"] == tenant)
        return {
            site: found["sites"][name][0].partition("/")[0]
            for site, name in self.names.items()
            if name in found["sites"]
        }

    def assert_pings(self, tenant: str) -> None:
        """Within a tenant everybody reaches everybody."""
        addresses = self.overlay(tenant)
        for a, b in permutations(addresses, 2):
            assert_ping(self.nodes[a].host, addresses[b], timeout=20, count=2)


def checked(plan: Path) -> dict[str, Any]:
    """What `wgvx fleet check --json` tells of a plan."""
    told = io.StringIO()
    with redirect_stdout(told):
        assert main(["fleet", "check", str(plan), "--json"]) == 0
    found: dict[str, Any] = json.loads(told.getvalue())
    return found
