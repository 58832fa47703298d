"""How nodes are run: a systemd unit, compose, Kubernetes, an Ansible inventory and a playbook."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

import yaml

from wgvx.fleet.files import SECRET_MODE, File
from wgvx.fleet.nodes import Node
from wgvx.fleet.plan import Kind, Plan
from wgvx.fleet.template import filled, verbatim
from wgvx.fleet.wgvx_file import HEADER


def fleet_files(plan: Plan) -> Iterator[tuple[str, File]]:
    """Those that are there once."""
    yield "systemd/wgvx@.service", File(verbatim("wgvx@.service"))
    yield "ansible/inventory.yaml", File(_inventory(plan))
    yield "ansible/deploy.yaml", File(filled("deploy.yaml"))


def container_files(node: Node, image: str, toml: str) -> Iterator[tuple[str, File]]:
    """A node as a container; `toml` is its file. One that joins a bridge needs the host's network,
    which compose has, and a pod has not."""
    bridged = any(network.bridge is not None for network in node.networks)
    yield "compose/compose.yaml", File(_compose(node, image, host=bridged))
    if not bridged:
        secret = filled("secret.yaml", node=node.name, toml=indent(toml, "    ").rstrip("\n"))
        yield "kubernetes/secret.yaml", File(secret, SECRET_MODE)
        yield "kubernetes/pod.yaml", File(_pod(node, image))


def _compose(node: Node, image: str, *, host: bool) -> str:
    key = f"{Kind.WGVX.folder}/{node.name}.key"
    port = f'    ports: ["{node.listen_port}:{node.listen_port}/udp"]\n'
    return filled(
        "compose.yaml",
        node=node.name,
        image=image,
        volumes="" if node.private_key else f"      - {key}:{key}:ro\n",
        network="    network_mode: host\n" if host else port,
    )


_KEY_MOUNT = """\
        - name: key
          mountPath: /etc/wgvx
          readOnly: true
"""
_KEY_VOLUME = """\
    - name: key # kubectl create secret generic wgvx-{node}-key --from-file={node}.key
      secret:
        secretName: wgvx-{node}-key
        defaultMode: 0400
"""


def _pod(node: Node, image: str) -> str:
    stays = node.private_key is None
    return filled(
        "pod.yaml",
        node=node.name,
        image=image,
        port=node.listen_port,
        mounts=_KEY_MOUNT if stays else "",
        volumes=_KEY_VOLUME.format(node=node.name) if stays else "",
    )


def _inventory(plan: Plan) -> str:
    """Every site under its kind, reached by its endpoint's host, or else by its name."""
    groups: dict[str, dict[str, object]] = {kind.value: {"hosts": {}} for kind in Kind}
    for name, site in plan.sites.items():
        hosts = groups[site.kind.value]["hosts"]
        assert isinstance(hosts, dict)
        hosts[name] = {} if site.endpoint is None else {"ansible_host": site.endpoint.host}
    dumped: str = yaml.safe_dump(groups, sort_keys=False)
    return HEADER + dumped
