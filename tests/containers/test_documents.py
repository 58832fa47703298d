"""What docs/containers/ shows is valid by the judgement of the tools that it is for."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers.documents import (
    COMPOSE,
    FOLDER,
    MANIFESTS,
    RESTRICTED,
    RESTRICTED_VM,
    containers,
    objects,
    security,
)
from wgvx import keys
from wgvx.config import load

TOOLS = Path(sys.executable).parent
OLDEST_KUBERNETES = "1.29"  # the first with sidecars unasked for


def run(*command: str | Path) -> str:
    """Run a tool to its end, which has to be a good one."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=FOLDER, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(name: str) -> Path:
    path = TOOLS / name
    if platform.machine() != "x86_64" and not path.exists():
        pytest.skip(f"{name} has no wheel for {platform.machine()}")
    return path


def test_the_dockerfile_has_no_fault() -> None:
    assert run(tool("hadolint"), "Dockerfile") == ""


def test_compose_takes_its_file() -> None:
    taken = json.loads(run(tool("docker-compose"), "--file", COMPOSE, "config", "--format=json"))
    wgvx, application = taken["services"]["wgvx"], taken["services"]["application"]
    assert wgvx["cap_add"] == ["NET_ADMIN"]
    assert application["network_mode"] == "service:wgvx"
    assert "cap_add" not in application


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", [(), ("-k", OLDEST_KUBERNETES)], ids=["newest", "oldest"])
def test_kubernetes_has_such_objects(manifest: Path, version: tuple[str, ...]) -> None:
    said = run(TOOLS / "kubernetes-validate", "--strict", *version, manifest)
    assert "failed" not in said


@pytest.mark.parametrize("manifest", [RESTRICTED, RESTRICTED_VM], ids=lambda path: path.stem)
def test_the_restricted_pods_keep_to_their_profile(manifest: Path) -> None:
    """Kubernetes' pod security standards, "restricted", as far as these pods go into it."""
    (pod,) = objects(manifest, "Pod")
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
    for volume in pod["spec"]["volumes"]:
        assert set(volume) - {"name"} <= {"configMap", "emptyDir", "secret"}
    for container in containers(pod):
        asked = security(pod, container)
        assert asked["allowPrivilegeEscalation"] is False
        assert asked["capabilities"] == {"drop": ["ALL"]}
        assert asked["runAsNonRoot"] is True
        assert asked["runAsUser"] != 0
        assert asked["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPort" in port for port in container.get("ports", ()))


def _configurations() -> dict[str, str]:
    found = {"compose": (FOLDER / "a.toml").read_text()}
    for manifest in MANIFESTS:
        (config_map,) = objects(manifest, "ConfigMap")
        found[manifest.stem] = config_map["data"]["a.toml"]
    return found


@pytest.mark.parametrize("name", _configurations())
def test_the_configurations_load_without_a_warning(name: str, tmp_path: Path) -> None:
    """As they stand, but for the keys."""
    text = _configurations()[name]
    private = tmp_path / "a.key"
    private.touch(0o600)
    private.write_text(keys.encode(bytes([1] * 32)))
    text = re.sub(r'(?<=private_key_file = ")[^"]*', str(private), text)
    public = keys.encode(keys.public_key(bytes([2] * 32)))
    text = re.sub(r'(?<=public_key = ")[^"]*', public, text)
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert load(file).warnings == ()
