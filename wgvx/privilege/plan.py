"""What follows from a node's configuration for the time when it is confined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wgvx.config import (
    AttachConfig,
    Config,
    DgramAttach,
    EndpointName,
    StackAttach,
    StreamAttach,
    TapAttach,
)
from wgvx.hosts import is_numeric
from wgvx.privilege.orders import Plan
from wgvx.privilege.syscalls import Needs


def make_plan(
    config: Config, stamps: Path, files: Sequence[Path], workers: int, manager: str | None = None
) -> Plan:
    """``files`` are the sockets and locks of the node, ``manager`` is where a service manager
    listens."""
    streams, datagrams, ours = [], [], [str(path) for path in files]
    for attach in config.attachments:
        match attach:
            case StreamAttach(address=Path() as path):
                if attach.listen:
                    ours.append(str(path))
                else:
                    streams.append(str(path))
            case DgramAttach(local=Path() as local, remote=Path() as remote):
                ours.append(str(local))
                datagrams.append((str(local), str(remote)))
    return Plan(
        str(stamps),
        tuple(ours),
        tuple(streams),
        tuple(datagrams),
        workers,
        str(config.path),
        manager,
        tuple(
            (attach.name, network.netns)
            for network in config.networks
            for attach in network.attach
            if isinstance(attach, TapAttach)
        ),
    )


def names_wanted(config: Config) -> bool:
    """Whether there may be names to look up."""
    names: list[object] = [peer.endpoint for peer in config.peers]
    for attach in config.attachments:
        match attach:
            case StreamAttach():
                names.append(attach.address)
            case DgramAttach():
                names += [attach.local, attach.remote]
            case StackAttach():
                if not attach.dns:
                    return True  # Those who use it name hosts.
                names += [forward.target for forward in attach.reverse]
    return any(isinstance(name, EndpointName) and not is_address(name) for name in names)


def is_address(name: EndpointName) -> bool:
    """Whether nothing has to be looked up, not even the number of an interface (fe80::1%eth0)."""
    return "%" not in name.host and is_numeric(name)


def needs(config: Config) -> Needs:
    """What the node will still open itself."""
    attached = config.attachments
    return Needs(
        datagrams=any(map(_sends_on_the_host, attached)),
        streams=any(map(_connects_on_the_host, attached)),
    )


def _sends_on_the_host(attach: AttachConfig) -> bool:
    match attach:
        case DgramAttach():
            return isinstance(attach.local, EndpointName)
        case StackAttach():
            return attach.socks5 is not None  # UDP ASSOCIATE
    return False


def _connects_on_the_host(attach: AttachConfig) -> bool:
    match attach:
        case StreamAttach():
            return not attach.listen and isinstance(attach.address, EndpointName)
        case StackAttach():
            return bool(attach.reverse)
    return False
