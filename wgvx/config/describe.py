"""An attachment in the words of the file, for programs."""

from __future__ import annotations

from typing import Any

from wgvx.config.model import AttachConfig, DgramAttach, StackAttach, StreamAttach


def describe(attach: AttachConfig) -> dict[str, Any]:
    """What JSON says of it: type, name, and by the keys of the file where it listens or goes to."""
    described: dict[str, Any] = {"type": attach.type, "name": attach.name}
    match attach:
        case StreamAttach():
            described["listen" if attach.listen else "connect"] = str(attach.address)
        case DgramAttach():
            described |= {"local": str(attach.local), "remote": str(attach.remote)}
        case StackAttach():
            described |= {
                "address": _texts(attach.addresses),
                "gateway": _texts(attach.gateways),
                "dns": _texts(attach.dns),
                "socks5": None if attach.socks5 is None else str(attach.socks5),
                "http": None if attach.http is None else str(attach.http),
                "forward": _texts(attach.forward),
                "reverse": _texts(attach.reverse),
            }
    return described


def _texts(items: tuple[object, ...]) -> list[str]:
    return [str(item) for item in items]
