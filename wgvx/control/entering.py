"""What is said to who would enter a node that has no namespace."""

from __future__ import annotations

from wgvx.config import Config, TapAttach
from wgvx.config.userspace import proxy_of, stack_of


def no_namespace(config: Config) -> str:
    """Why there is nothing to enter, and how the overlay is reached instead."""
    stack = stack_of(config)
    name = f"node {config.name}"
    if stack is not None:
        why = f"{name} has no namespace to enter: a stack in its process is on the overlay"
        if stack.socks5 is not None:
            proxy = proxy_of(stack.socks5)
            return f"{why}; run the command directly, with its proxy: ALL_PROXY={proxy} COMMAND"
        if stack.http is not None:
            return f"{why}; run the command directly, by its proxy for HTTP CONNECT at {stack.http}"
        if stack.forward:
            forwards = ", ".join(map(str, stack.forward))
            return f"{why}, and its forwards alone lead there: {forwards}"
        return f"{why}, and nothing leads to it from here: `wgvx up --socks5 HOST:PORT` would"
    if config.networks and not any(isinstance(one, TapAttach) for one in config.attachments):
        return f"{name} has no namespace to enter: VMs alone are on its networks, and not this host"
    return (
        f"{name} has no namespace of its own: it was not started with --rootless or a command; "
        "run the command directly"
    )
