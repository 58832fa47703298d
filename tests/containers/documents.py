"""The documented ways to start a container, as options of ``podman run``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.netns.ordinary import REPOSITORY

FOLDER = REPOSITORY / "docs" / "containers"
COMPOSE = FOLDER / "compose.yaml"
SIDECAR = FOLDER / "kubernetes" / "sidecar.yaml"
RESTRICTED = FOLDER / "kubernetes" / "restricted.yaml"
RESTRICTED_VM = FOLDER / "kubernetes" / "restricted-vm.yaml"
MANIFESTS = (SIDECAR, RESTRICTED, RESTRICTED_VM)

Document = dict[str, Any]


def service(name: str) -> Document:
    """A service of the compose file."""
    found: Document = yaml.safe_load(COMPOSE.read_text())["services"][name]
    return found


def objects(manifest: Path, kind: str) -> list[Document]:
    """Those of one kind in a manifest of Kubernetes."""
    return [one for one in yaml.safe_load_all(manifest.read_text()) if one["kind"] == kind]


def containers(pod: Document) -> list[Document]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def security(pod: Document, container: Document) -> Document:
    """What holds for a container: its own word goes before the pod's."""
    return {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}


def compose_options(name: str) -> list[str]:
    """Those of a service."""
    asked = service(name)
    options: list[str] = []
    for key, option in (
        ("cap_drop", "--cap-drop"),
        ("cap_add", "--cap-add"),
        ("devices", "--device"),
        ("tmpfs", "--tmpfs"),
    ):
        options += (word for value in asked.get(key, ()) for word in (option, value))
    for value in asked.get("security_opt", ()):
        options += ["--security-opt", value.removesuffix(":true")]
    return options + _read_only(asked.get("read_only", False))


def pod_options(manifest: Path, name: str) -> list[str]:
    """Those of a container of the manifest's only pod."""
    (pod,) = objects(manifest, "Pod")
    (container,) = (one for one in containers(pod) if one["name"] == name)
    asked = security(pod, container)
    options = ["--user", f"{asked['runAsUser']}:{asked.get('runAsGroup', 0)}"]
    options += ["--env", "KUBERNETES_SERVICE_HOST=10.96.0.1"]  # as every pod has it
    for key, option in (("drop", "--cap-drop"), ("add", "--cap-add")):
        values = asked["capabilities"].get(key, ())
        options += (word for value in values for word in (option, value))
    for sysctl in asked.get("sysctls", ()):
        options += ["--sysctl", f"{sysctl['name']}={sysctl['value']}"]
    if not asked["allowPrivilegeEscalation"]:
        options += ["--security-opt", "no-new-privileges"]
    options += (word for path in _empty_folders(pod, container) for word in ("--tmpfs", path))
    return options + _read_only(asked["readOnlyRootFilesystem"])


def _empty_folders(pod: Document, container: Document) -> Iterator[str]:
    empty = {volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume}
    return (m["mountPath"] for m in container["volumeMounts"] if m["name"] in empty)


def _read_only(asked: bool) -> list[str]:
    # podman would have some folders writable all the same.
    return ["--read-only", "--read-only-tmpfs=false"] if asked else []
