"""A stack's own addresses and the ways through it: how they are written, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

from wgvx.config import values
from wgvx.config.model import Interface, StackAttach, not_a_hosts
from wgvx.config.table import Table, shown

MAXIMUM_ADDRESSES: Mapping[int, int] = {4: 1, 6: 8}
"""By IP version, how many a stack has: lwIP's own limit, and ours (native/stack/lwipopts.h)."""


def read_stack(entry: Table, network: Table, name: str, mac: bytes, alone: bool) -> StackAttach:
    """An entry of `attach`. ``alone``: it is the network's only one, and may have its address."""
    addresses: tuple[Interface, ...] | None = entry.many("address", values.STACK_ADDRESS)
    if alone and "address" in network:
        if addresses is not None:
            network.fail("address", "found an address in attach too, want one of the two")
        addresses = network.many("address", values.STACK_ADDRESS)
    stack = StackAttach(
        name,
        mac,
        addresses or (),
        gateways=entry.many("gateway", values.ADDRESS) or (),
        dns=entry.many("dns", values.ADDRESS) or (),
        socks5=entry.one("socks5", values.PROXY),
        http=entry.one("http", values.PROXY),
        forward=entry.many("forward", values.LOCAL_FORWARD) or (),
        reverse=entry.many("reverse", values.REMOTE_FORWARD) or (),
    )
    for key, what in faults(stack):
        table = network if key == "address" and "address" not in entry else entry
        (table if key in table else entry).fail(key, what)
    return stack


def faults(stack: StackAttach) -> Iterator[tuple[str, str]]:
    """What such a stack cannot be for: the key, and in words what was found and is wanted."""
    yield from _address_faults(stack.addresses)
    own = {address.ip for address in stack.addresses}
    for version in (4, 6):
        if sum(gateway.version == version for gateway in stack.gateways) > 1:
            yield "gateway", f"found several of IPv{version}, want one of a family at most"
    for gateway in stack.gateways:
        if gateway in own:
            yield "gateway", f"found {shown(str(gateway))}, the stack's own, want another host's"
        if not any(gateway in address.network for address in stack.addresses):
            found = f"found {shown(str(gateway))}"
            yield "gateway", f"{found}, want an address within a prefix of `address`"
    for forward in stack.forward:
        with suppress(ValueError):
            if ip_address(forward.target.host) in own:
                found = f"found {shown(str(forward))}, which leads to the stack itself"
                yield "forward", f"{found}, want another host's port: there is nothing behind it"
    for forward in stack.reverse:
        host = forward.listen.host
        if host and ip_address(host) not in own:
            found = f"found {shown(str(forward.listen))}"
            yield "reverse", f"{found}, want one of the stack's addresses, or none"


def _address_faults(addresses: tuple[Interface, ...]) -> Iterator[tuple[str, str]]:
    if not addresses:
        yield "address", f"missing, want {values.STACK_ADDRESS.wanted}"
    for version, most in MAXIMUM_ADDRESSES.items():
        if sum(address.version == version for address in addresses) > most:
            yield "address", f"found more of IPv{version}, want {most} at most for a stack"
    for address in addresses:
        if (whose := not_a_hosts(address)) is not None:
            yield "address", f'found "{address}", {whose}, want a host\'s'
