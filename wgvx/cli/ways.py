"""How the frames of a node's TAPs are had: the choice of ``wgvx up``."""

from __future__ import annotations

import argparse
from enum import Enum

from wgvx.config import Config, StackAttach
from wgvx.config.userspace import Services, in_userspace, with_services


class Way(Enum):
    """One of them, in words."""

    HERE = "TAP in this network namespace"
    ROOTLESS = "TAP in a namespace of its own (--rootless)"
    USERSPACE = "stack in this process (--userspace)"

    def change(self, config: Config, services: Services) -> Config:
        """The node as it is run this way. Raises ConfigError."""
        if self is Way.USERSPACE:
            return in_userspace(config, services)
        return with_services(config, services)


def ways_to_take(args: argparse.Namespace, *, with_command: bool) -> tuple[Way, ...]:
    """Those that may be taken, the best one first. A COMMAND is never run in our own namespaces,
    where it would reach the overlay and all else."""
    if args.auto:
        return (Way.ROOTLESS, Way.USERSPACE) if with_command else tuple(Way)
    if args.userspace:
        return (Way.USERSPACE,)
    return (Way.ROOTLESS if args.rootless or with_command else Way.HERE,)


def services_of(args: argparse.Namespace) -> Services:
    """The proxies and forwards of the command line."""
    return Services(args.socks5, args.http, tuple(args.local), tuple(args.remote))


def proxy_environment(config: Config) -> dict[str, str]:
    """What lets programs find the proxies of a node's stack; empty where it has none."""
    environment: dict[str, str] = {}
    for network in config.networks:
        for attach in network.attach:
            if not isinstance(attach, StackAttach):
                continue
            if attach.socks5 is not None:
                # The h: names are looked up by the proxy, on the overlay.
                environment |= _both_cases("ALL_PROXY", f"socks5h://{attach.socks5}")
            if attach.http is not None:
                environment |= _both_cases("HTTPS_PROXY", f"http://{attach.http}")
    return environment


def _both_cases(name: str, value: str) -> dict[str, str]:
    return {name: value, name.lower(): value}
