"""The port of each attachment, of whatever type."""

from __future__ import annotations

from collections.abc import Mapping

from wgvx.config import AttachConfig, DgramAttach, NetworkConfig, StackAttach, StreamAttach
from wgvx.ports.errors import PortError
from wgvx.ports.maker import Port, PortMaker
from wgvx.ports.outside import Outside
from wgvx.ports.passed import passed_tap
from wgvx.ports.request import TapRequest
from wgvx.ports.stack import StackPort
from wgvx.ports.vm import DgramPort, StreamPort


def make_port(
    network: NetworkConfig,
    attach: AttachConfig,
    mtu: int,
    *,
    maker: PortMaker | None,
    passed: Mapping[str, int],
    queues: int,
    vnet_header: bool,
    gso_max_size: int | None,
    outside: Outside,
) -> Port:
    """Of this overlay MTU. ``maker`` makes TAPs, ``passed`` are descriptors of some, by name;
    ``outside`` is for VMs' ports, the others as in :class:`TapRequest`. Raises PortError.
    """
    match attach:
        case StreamAttach():
            return StreamPort(attach, outside)
        case DgramAttach():
            return DgramPort(attach, outside)
        case StackAttach():
            return StackPort(attach, mtu, outside)
    if attach.name in passed:
        if network.addresses or network.bridge:
            raise PortError(
                f"TAP {attach.name} was passed in: give it its addresses and its bridge where it "
                f"was made, and leave `address` and `bridge` out of network {network.vni}"
            )
        return passed_tap(passed[attach.name], attach.name, mtu)
    assert maker is not None, "a node with TAPs is given a maker of them"
    return maker.tap(
        TapRequest(
            attach.name,
            attach.mac,
            mtu,
            network.addresses,
            network.bridge,
            network.netns,
            queues=queues,
            vnet_header=vnet_header,
            gso_max_size=gso_max_size,
        )
    )
