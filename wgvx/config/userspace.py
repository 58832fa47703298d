"""A node that makes no interface: a TCP/IP stack in the process stands in for each of its TAPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from wgvx.config.advice import warnings
from wgvx.config.model import (
    AttachConfig,
    Config,
    EndpointName,
    Forward,
    NetworkConfig,
    StackAttach,
    TapAttach,
)
from wgvx.config.places import Taken, places_of
from wgvx.config.stack import faults
from wgvx.config.table import ConfigError

DEFAULT_SOCKS5 = EndpointName("127.0.0.1", 1080)
"""Where a proxy listens when nothing else was said: a stack that nothing leads to is of no use."""


@dataclass(frozen=True, slots=True)
class Services:
    """How the host reaches a stack, and is reached from it; see :class:`StackAttach`."""

    socks5: EndpointName | None = None
    http: EndpointName | None = None
    forward: tuple[Forward, ...] = ()
    reverse: tuple[Forward, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.socks5 or self.http or self.forward or self.reverse)


def in_userspace(config: Config, services: Services) -> Config:
    """The same node with stacks in place of TAPs, which keep their names, MACs and addresses.

    ``services`` are those of its only stack; without any, a SOCKS5 proxy. Raises ConfigError where
    a TAP has no address or is in a bridge, or there is no one stack for the services.
    """
    networks = tuple(_without_taps(config, network) for network in config.networks)
    names = [attach.name for _, attach in _stacks(networks)]
    if len(names) > 1:
        raise ConfigError(
            f"{config.path}: {', '.join(names)}: a node has one stack at most, for lwIP is one for "
            "a process: run a node for each"
        )
    if networks != config.networks:
        services = services or Services(socks5=DEFAULT_SOCKS5)
    return with_services(_changed(config, networks), services)


def with_services(config: Config, services: Services) -> Config:
    """More ways to the stack of a node. Raises ConfigError where it has none, or they cannot be."""
    if not services:
        return config
    stacks = _stacks(config.networks)
    if not stacks:
        raise ConfigError(
            f"{config.path}: proxies and forwards on the command line lead to a stack, and there "
            "is none: --userspace puts one in the place of the TAP"
        )
    ((network, stack),) = stacks
    richer = replace(
        stack,
        socks5=services.socks5 or stack.socks5,
        http=services.http or stack.http,
        forward=(*stack.forward, *services.forward),
        reverse=(*stack.reverse, *services.reverse),
    )
    for key, what in faults(richer):
        _refuse(config, network, key, what)
    attach = tuple(richer if one is stack else one for one in network.attach)
    changed = replace(network, attach=attach)
    networks = tuple(changed if one is network else one for one in config.networks)
    config = _changed(config, networks)
    _refuse_what_is_taken(config)
    return config


def stack_of(config: Config) -> StackAttach | None:
    """A node's only stack."""
    return next((one for one in config.attachments if isinstance(one, StackAttach)), None)


def proxy_of(socks5: EndpointName) -> str:
    """A SOCKS5 proxy as ALL_PROXY has it. The h: it looks names up itself, on the overlay."""
    return f"socks5h://{socks5}"


def _changed(config: Config, networks: tuple[NetworkConfig, ...]) -> Config:
    """With other networks, and the warnings that are of these."""
    before = warnings(config)
    config = replace(
        config,
        networks=networks,
        warnings=tuple(text for text in config.warnings if text not in before),
    )
    return replace(config, warnings=(*config.warnings, *warnings(config)))


def _stacks(networks: Sequence[NetworkConfig]) -> list[tuple[NetworkConfig, StackAttach]]:
    return [
        (network, attach)
        for network in networks
        for attach in network.attach
        if isinstance(attach, StackAttach)
    ]


def _without_taps(config: Config, network: NetworkConfig) -> NetworkConfig:
    if not any(isinstance(attach, TapAttach) for attach in network.attach):
        return network
    if network.bridge is not None:
        found = f'found "{network.bridge}", want it left out: a stack in this process joins none'
        _refuse(config, network, "bridge", found)
    attach: list[AttachConfig] = []
    for one in network.attach:
        if isinstance(one, TapAttach):
            stack = StackAttach(one.name, one.mac, network.addresses, (), (), None, None, (), ())
            for key, what in faults(stack):
                _refuse(config, network, key, f"{what}: a stack stands in for the TAP")
            attach.append(stack)
        else:
            attach.append(one)
    return replace(network, attach=tuple(attach), addresses=())


def _refuse_what_is_taken(config: Config) -> None:
    """What the command line adds may be where something listens already."""
    taken = Taken[str]()
    for network in config.networks:
        for attach in network.attach:
            for place in places_of(attach):
                owner = f"{place.key} of {attach.name}"
                if (other := taken.take(place, owner)) is not None:
                    what = f'"{place.address}" is taken by {other}, want another place'
                    _refuse(config, network, place.key, what)


def _refuse(config: Config, network: NetworkConfig, key: str, what: str) -> NoReturn:
    raise ConfigError(f"{config.path}: [[network]] (vni {network.vni}), {key}: {what}")
