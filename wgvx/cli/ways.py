"""How the frames of a node's TAPs are had: the choice of ``wgvx up``."""

from __future__ import annotations

import argparse
import os
import socket
from dataclasses import replace
from enum import Enum

from wgvx.cli.output import usage
from wgvx.config import Config, EndpointName
from wgvx.config.userspace import (
    DEFAULT_SOCKS5,
    Services,
    in_userspace,
    proxy_of,
    stack_of,
    with_services,
)

PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")
"""Of the environment, by which programs find a proxy, or none; in small letters, too."""


class Way(Enum):
    """One of them, in words."""

    HERE = "TAP in this network namespace"
    ROOTLESS = "TAP in a namespace of its own (--rootless)"
    USERSPACE = "stack in this process (--userspace)"

    def services(self, config: Config, asked: Services, *, with_command: bool) -> Services:
        """Those that were asked for, and what else a COMMAND needs this way."""
        if self is Way.USERSPACE and with_command:
            return for_a_command(config, asked)
        return asked

    def change(self, config: Config, services: Services) -> Config:
        """The node as it is run this way. Raises ConfigError."""
        make = in_userspace if self is Way.USERSPACE else with_services
        return make(config, services)


def ways_to_take(
    args: argparse.Namespace, config: Config, services: Services, *, with_command: bool
) -> tuple[Way, ...]:
    """Those that may be taken, the best one first. A COMMAND is never run in our own namespaces,
    where it would reach the overlay and all else."""
    if args.auto:
        if services and stack_of(config) is None:
            _refuse_taps(args, "proxies and forwards lead to a stack in their place")
            return (Way.USERSPACE,)  # What was asked for leads to a stack.
        return (Way.ROOTLESS, Way.USERSPACE) if with_command else tuple(Way)
    if args.userspace:
        _refuse_taps(args, "--userspace puts a stack in their place")
        return (Way.USERSPACE,)
    return (Way.ROOTLESS if args.rootless or with_command else Way.HERE,)


def why_first(way: Way) -> str:
    """Of what --auto begins with."""
    match way:
        case Way.HERE:
            return "the simplest, where it is allowed"
        case Way.ROOTLESS:
            return "for COMMAND never runs in our own namespaces"
        case Way.USERSPACE:
            return "to which proxies and forwards lead"


def _refuse_taps(args: argparse.Namespace, why: str) -> None:
    if args.tap_fd:
        usage(f"--tap-fd passes TAPs in, and {why}: leave one of the two out")


def services_of(args: argparse.Namespace) -> Services:
    """The proxies and forwards of the command line."""
    return Services(args.socks5, args.http, tuple(args.local), tuple(args.remote))


def for_a_command(config: Config, services: Services) -> Services:
    """With a proxy that COMMAND can be told of, at a free port unless one was chosen."""
    stack = stack_of(config)
    if services.socks5 is not None or (stack is not None and stack.socks5 is not None):
        return services
    with socket.socket() as probe:
        probe.bind((DEFAULT_SOCKS5.host, 0))
        return replace(services, socks5=EndpointName(DEFAULT_SOCKS5.host, probe.getsockname()[1]))


def command_environment(config: Config) -> dict[str, str]:
    """Ours; beside a stack with its SOCKS5 proxy for everything, and no other."""
    stack = stack_of(config)
    if stack is None or stack.socks5 is None:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if name.upper() not in PROXIES}
    proxy = proxy_of(stack.socks5)
    return kept | {"ALL_PROXY": proxy, "all_proxy": proxy}
