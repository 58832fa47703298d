"""A node that makes no interface: a TCP/IP stack in the process stands in for each of its TAPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wgvx.config.advice import warnings
from wgvx.config.attach import MAXIMUM_ADDRESSES
from wgvx.config.model import (
    Config,
    EndpointName,
    Forward,
    NetworkConfig,
    StackAttach,
    TapAttach,
)
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
    networks = tuple(map(_without_taps, config.networks))
    names = [attach.name for _, attach in _stacks(networks)]
    if len(names) > 1:
        raise ConfigError(
            f"{config.path}: {', '.join(names)}: a node has one stack at most, for lwIP is one for "
            "a process: run a node for each"
        )
    if networks != config.networks:
        services = services or Services(socks5=DEFAULT_SOCKS5)
    return with_services(replace(config, networks=networks), services)


def with_services(config: Config, services: Services) -> Config:
    """More ways to the stack of a node. Raises ConfigError where it has none."""
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
    attach = tuple(richer if one is stack else one for one in network.attach)
    changed = replace(network, attach=attach)
    networks = tuple(changed if one is network else one for one in config.networks)
    config = replace(config, networks=networks)
    found = dict.fromkeys((*config.warnings, *warnings(config)))
    return replace(config, warnings=tuple(found))


def stack_of(config: Config) -> StackAttach | None:
    """A node's only stack."""
    return next((one for one in config.attachments if isinstance(one, StackAttach)), None)


def _stacks(networks: Sequence[NetworkConfig]) -> list[tuple[NetworkConfig, StackAttach]]:
    return [
        (network, attach)
        for network in networks
        for attach in network.attach
        if isinstance(attach, StackAttach)
    ]


def _without_taps(network: NetworkConfig) -> NetworkConfig:
    taps = [attach for attach in network.attach if isinstance(attach, TapAttach)]
    if not taps:
        return network
    if network.bridge is not None:
        raise ConfigError(
            f"network {network.vni}: a stack in this process joins no bridge: leave out `bridge`"
        )
    if not network.addresses:
        raise ConfigError(
            f"network {network.vni}: a stack in this process wants an `address` of its own, such "
            'as ["10.0.0.1/24"]'
        )
    for version, most in MAXIMUM_ADDRESSES.items():
        if sum(address.version == version for address in network.addresses) > most:
            raise ConfigError(
                f"network {network.vni}: a stack in this process has {most} address of "
                f"IPv{version} at most: leave the others out of `address`"
            )
    attach = tuple(
        StackAttach(one.name, one.mac, network.addresses, (), (), None, None, (), ())
        if isinstance(one, TapAttach)
        else one
        for one in network.attach
    )
    return replace(network, attach=attach, addresses=())
