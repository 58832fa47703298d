"""What a TAP shall be, as it is told to the broker."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from wgvx.ports.errors import PortError

IFNAMSIZ = 16
MAX_QUEUES = 64
"""As many as a node has workers at most; Linux itself allows 256."""
IPV6_MIN_MTU = 1280  # RFC 8200, section 5; Linux takes IPv6 away from a device below it


@dataclass(frozen=True, slots=True)
class TapRequest:
    """One TAP: made where there is none called `name`, adopted where there is.

    `mac` is 6 bytes, `mtu` the overlay MTU. `addresses` are added to those it has. `bridge` is an
    existing bridge in the same network namespace. `netns` says which one that is.

    `queues` descriptors are wanted, one for each reader; an adopted TAP that was made with one
    queue gives one. With `vnet_header` each frame comes and goes behind a virtio-net header of 10
    bytes. No segment larger than `gso_max_size` bytes is handed over, where that can be set.
    """

    name: str
    mac: bytes
    mtu: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    bridge: str | None = None
    netns: str | None = None
    queues: int = 1
    vnet_header: bool = False
    gso_max_size: int | None = None

    def check(self) -> None:
        """Raise :class:`PortError` where the kernel could only answer with a riddle."""
        name = self.name
        # dev_valid_name(); "%" is a template for the kernel to fill in.
        if (
            not 0 < len(name.encode()) < IFNAMSIZ
            or name in (".", "..")
            or any(c in "/:%" or c.isspace() for c in name)
        ):
            raise PortError(
                f"TAP {name!r}: a device name has 1 to {IFNAMSIZ - 1} bytes, and none of them "
                "is a blank, '/', ':' or '%'"
            )
        if not 0 < self.queues <= MAX_QUEUES:
            raise PortError(f"TAP {name}: {self.queues} queues: it has 1 to {MAX_QUEUES}")
        if self.mtu < IPV6_MIN_MTU:
            for address in self.addresses:
                if address.version == 6:
                    raise PortError(
                        f"TAP {name}: {address} needs an overlay MTU of {IPV6_MIN_MTU} or more, "
                        f"but it is {self.mtu}: raise `mtu`, or leave the IPv6 address out"
                    )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mac": self.mac.hex(":"),
            "mtu": self.mtu,
            "addresses": [str(address) for address in self.addresses],
            "bridge": self.bridge,
            "netns": self.netns,
            "queues": self.queues,
            "vnet_header": self.vnet_header,
            "gso_max_size": self.gso_max_size,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TapRequest:
        return cls(
            name=fields["name"],
            mac=bytes.fromhex(fields["mac"].replace(":", "")),
            mtu=fields["mtu"],
            addresses=tuple(ipaddress.ip_interface(a) for a in fields["addresses"]),
            bridge=fields["bridge"],
            netns=fields["netns"],
            queues=fields["queues"],
            vnet_header=fields["vnet_header"],
            gso_max_size=fields["gso_max_size"],
        )
