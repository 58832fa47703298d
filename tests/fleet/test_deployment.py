"""What runs nodes is valid by the judgement of the tools that it is for, and does what it says."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.plans import FLEET, MESH, TENANT, fleet, site
from wgvx import keys
from wgvx.config import load
from wgvx.fleet.files import write_tree
from wgvx.fleet.render import tree

TOOLS = Path(sys.executable).parent
PUBLIC = keys.encode(keys.public_key(bytes([1] * 32)))
MIXED = MESH.replace('name = "b"', 'name = "b"\nkind = "kernel"')
ON_NODE = FLEET + site("a", f'public_key = "{PUBLIC}"', at=1) + site("b", at=2) + TENANT
BRIDGED = MESH.replace('prefix = ["10.0.0.0/24"]', 'bridge = "br0"')
PLANS = {"mixed": MIXED, "key on the node": ON_NODE, "named like YAML": MESH.replace('"a"', '"no"')}


def rendered(folder: Path, text: str) -> Path:
    write_tree(folder / "out", tree(fleet(folder, text)))
    return folder / "out"


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a tool to its end, which has to be a good one."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Ansible.


def at_home(folder: Path) -> dict[str, str]:
    """An environment in which Ansible leaves nothing in anybody's home."""
    home = folder / "home"
    home.mkdir()
    return {
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / "ansible"),
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_PIPELINING": "1",  # quicker
    }


@pytest.mark.timeout(180)
def test_ansible_lint_has_no_complaint(tmp_path: Path) -> None:
    out = rendered(tmp_path, MIXED)
    command = (TOOLS / "ansible-lint", "--offline", "--strict", "--profile", "production")
    run(*command, "deploy.yaml", "inventory.yaml", cwd=out / "ansible", env=at_home(tmp_path))


@pytest.mark.parametrize("plan", PLANS)
def test_the_inventory_has_every_site_under_its_kind(plan: str, tmp_path: Path) -> None:
    there = fleet(tmp_path, PLANS[plan])
    found = yaml.safe_load((rendered(tmp_path, PLANS[plan]) / "ansible/inventory.yaml").read_text())
    for name, one in there.plan.sites.items():
        host = found[one.kind]["hosts"].pop(name)
        assert host == ({"ansible_host": one.endpoint.host} if one.endpoint else {})
    assert found == {"wgvx": {"hosts": {}}, "kernel": {"hosts": {}}}


STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"$STUB_LOG"\n'
SYSTEMCTL = STUB + (
    'if [ "$1" = show ]; then echo LoadState=loaded; echo ActiveState=active; fi\n'
    'if [ "$1" = is-enabled ]; then echo enabled; fi\n'
)
PRIVATELY = """
for folder in /etc/wgvx /etc/wireguard /etc/systemd/system; do
    mkdir -p "$folder"
    mount --bind "$MACHINE$folder" "$folder"
done
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo ./dev test tests/fleet")
@pytest.mark.timeout(180)
def test_the_playbook_brings_files_out(tmp_path: Path) -> None:
    """On a machine that is all nodes at once, whose /etc is in a folder of ours and whose programs
    only write down that they were called."""
    out = rendered(tmp_path, MIXED)
    stubs, machine, log = tmp_path / "stubs", tmp_path / "machine", tmp_path / "log"
    stubs.mkdir()
    for name in ("wg", "wg-quick", "nft", "ip", "bridge", "systemctl"):
        (stubs / name).write_text(SYSTEMCTL if name == "systemctl" else STUB)
        (stubs / name).chmod(0o755)
    for folder in ("wgvx", "wireguard", "systemd/system"):
        (machine / "etc" / folder).mkdir(parents=True)
    env = at_home(tmp_path)
    env |= {"PATH": f"{stubs}:{env['PATH']}", "STUB_LOG": str(log), "MACHINE": str(machine)}

    def play(files: Path) -> tuple[str, list[str]]:
        """What Ansible says, and what was called."""
        log.write_text("")
        variables = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "fleet_files": str(files),
        }
        told = run(
            *("unshare", "--mount", "sh", "-c", PRIVATELY, "sh", "ansible-playbook"),
            *("--inventory", "inventory.yaml", "--extra-vars", json.dumps(variables)),
            "deploy.yaml",
            cwd=out / "ansible",
            env=env,
        )
        return told, log.read_text().splitlines()

    _, called = play(out / "nodes")
    assert "systemctl reload wgvx@a" in called
    assert any(re.match(r"wg syncconf b /dev/fd/\d+", line) for line in called)
    assert "nft -f /etc/wireguard/b.nft" in called
    got = {
        str(path.relative_to(machine / "etc")): path.stat().st_mode & 0o777
        for path in machine.rglob("*")
        if path.is_file()
    }
    assert got == {
        "wgvx/a.toml": 0o600,
        "wgvx/c.toml": 0o600,
        "wireguard/b.conf": 0o600,
        "wireguard/b.nft": 0o600,
        "wireguard/b-vxlan.sh": 0o700,
        "systemd/system/wgvx@.service": 0o644,
    }
    assert (machine / "etc/wgvx/a.toml").read_text() == (out / "nodes/a/wgvx/a.toml").read_text()

    # Again, with a step of a rollout that concerns site c alone: nobody else is disturbed.
    step = tmp_path / "step"
    shutil.copytree(out / "nodes/c", step / "c")
    changed = step / "c/wgvx/c.toml"
    changed.write_text(changed.read_text() + "# changed\n")
    told, called = play(step)
    assert re.search(r"^c +: ok=\d+ +changed=2 ", told, re.MULTILINE), told
    assert re.search(r"^a +: ok=\d+ +changed=0 ", told, re.MULTILINE), told
    assert re.search(r"^b +: ok=\d+ +changed=0 ", told, re.MULTILINE), told
    assert not any("reload wgvx@a" in line or line.startswith("wg ") for line in called)


# Containers.


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("version", [(), ("-k", "1.29")], ids=["newest", "oldest"])
def test_kubernetes_has_such_objects(plan: str, version: tuple[str, ...], tmp_path: Path) -> None:
    out = rendered(tmp_path, PLANS[plan])
    files = sorted(out.glob("nodes/*/kubernetes/*.yaml"))
    assert len(files) == 2 * len(list(out.glob("nodes/*")))
    said = run(TOOLS / "kubernetes-validate", "--strict", *version, *files, cwd=out)
    assert "failed" not in said


def test_a_secret_holds_the_very_file(tmp_path: Path) -> None:
    out = rendered(tmp_path, MIXED)
    (secret,) = documents(out / "nodes/a/kubernetes/secret.yaml")
    (pod,) = documents(out / "nodes/a/kubernetes/pod.yaml")
    assert secret["stringData"]["a.toml"] == (out / "nodes/a/wgvx/a.toml").read_text()
    (node,) = (one for one in pod["spec"]["volumes"] if one["name"] == "node")
    assert node["secret"]["secretName"] == secret["metadata"]["name"]
    text = tmp_path / "a.toml"
    text.touch(0o600)
    text.write_text(secret["stringData"]["a.toml"])
    assert load(text).warnings == ()


def test_a_key_that_stays_is_mounted_where_the_file_looks(tmp_path: Path) -> None:
    out = rendered(tmp_path, ON_NODE)
    (pod,) = documents(out / "nodes/a/kubernetes/pod.yaml")
    (wgvx,) = pod["spec"]["initContainers"]
    assert {"name": "key", "mountPath": "/etc/wgvx", "readOnly": True} in wgvx["volumeMounts"]
    (compose,) = documents(out / "nodes/a/compose/compose.yaml")
    assert "/etc/wgvx/a.key:/etc/wgvx/a.key:ro" in compose["services"]["wgvx"]["volumes"]
    (other,) = documents(out / "nodes/b/kubernetes/pod.yaml")
    assert "key" not in [volume["name"] for volume in other["spec"]["volumes"]]


@pytest.mark.parametrize("text", [MIXED, ON_NODE, BRIDGED], ids=["mixed", "on node", "bridged"])
def test_compose_takes_its_file(text: str, tmp_path: Path) -> None:
    compose = TOOLS / "docker-compose"
    if platform.machine() != "x86_64" and not compose.exists():
        pytest.skip(f"docker-compose has no wheel for {platform.machine()}")
    out = rendered(tmp_path, text)
    command = (compose, "--file", "compose.yaml", "config", "--format=json")
    service = json.loads(run(*command, cwd=out / "nodes/a/compose"))["services"]["wgvx"]
    assert service["cap_add"] == ["NET_ADMIN"]
    assert ("network_mode" in service) == (text == BRIDGED)


def test_a_bridge_is_the_hosts_and_no_pods(tmp_path: Path) -> None:
    out = rendered(tmp_path, BRIDGED)
    assert not (out / "nodes/a/kubernetes").exists()


# systemd.


def test_the_unit_has_no_fault(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("missing: apt-get install -y systemd")
    unit = tmp_path / "wgvx@.service"
    text = (rendered(tmp_path, MESH) / "systemd/wgvx@.service").read_text()
    # Where it is looked for is systemd's to know; here it is in nobody's path.
    unit.write_text(re.sub(r"(?m)^(Exec\w+=)wgvx", rf"\1{TOOLS}/wgvx", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True
    )
    assert "wgvx@" not in done.stderr, done.stderr


def test_the_unit_leaves_little(tmp_path: Path) -> None:
    """By systemd's own measure, of 0 to 100: what is left is the network, a TAP, and to be root."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("missing: apt-get install -y systemd")
    unit = tmp_path / "wgvx@.service"
    unit.write_text((rendered(tmp_path, MESH) / "systemd/wgvx@.service").read_text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
