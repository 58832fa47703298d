"""What netlink and ethtool tell of a device, in the words in which it is set again."""

from __future__ import annotations

from typing import Any

from pyroute2.ethtool.ioctl import IoctlEthtool

from wgvx.ports import tun

# What of an address' flags is the administrator's and not the kernel's (linux/if_addr.h): NODAD,
# HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
IFA_F_CHOSEN = 0x02 | 0x10 | 0x100 | 0x200 | 0x400

# ethtool's name of a feature, and what a reader of the TAP says to get it (TUNSETOFFLOAD).
_OFFLOADS = (
    ("tx-checksum-ip-generic", tun.TUN_F_CSUM),
    ("tx-tcp-segmentation", tun.TUN_F_TSO4),
    ("tx-tcp6-segmentation", tun.TUN_F_TSO6),
    ("tx-tcp-ecn-segmentation", tun.TUN_F_TSO_ECN),
    ("tx-udp-segmentation", tun.TUN_F_USO4 | tun.TUN_F_USO6),
)

Message = Any  # a netlink message as pyroute2 gives it, which has no types


def mac(link: Message) -> bytes:
    return bytes.fromhex(link.get_attr("IFLA_ADDRESS").replace(":", ""))


def local(address: Message) -> str:
    """The address itself, which on a point-to-point link is not IFA_ADDRESS."""
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))


def identity(address: Message) -> tuple[int, str, str, int]:
    """What makes it another address of the device, and not the same one changed."""
    return (
        address["family"],
        local(address),
        address.get_attr("IFA_ADDRESS"),
        address["prefixlen"],
    )


def address_request(message: Message) -> dict[str, Any]:
    """An address as read, in the words of a request."""
    fields: dict[str, Any] = {
        "index": message["index"],
        "family": message["family"],
        "address": message.get_attr("IFA_ADDRESS"),
        "prefixlen": message["prefixlen"],
        "scope": message["scope"],
        "flags": (message.get_attr("IFA_FLAGS") or message["flags"]) & IFA_F_CHOSEN,
    }
    for key, attribute in (
        ("local", "IFA_LOCAL"),
        ("broadcast", "IFA_BROADCAST"),
        ("label", "IFA_LABEL"),
    ):
        if message.get_attr(attribute) is not None:
            fields[key] = message.get_attr(attribute)
    times = message.get_attr("IFA_CACHEINFO")
    if times is not None:
        fields["preferred_lft"] = times["ifa_preferred"]
        fields["valid_lft"] = times["ifa_valid"]
    return fields


def offload(name: str) -> int:
    """The TUN_F_* that the TAP's reader asked for last: there is no TUNGETOFFLOAD."""
    ethtool = IoctlEthtool(name)
    try:
        features = ethtool.get_features()
        return sum(flag for feature, flag in _OFFLOADS if features.is_active(feature))
    except (OSError, KeyError):
        return 0  # a kernel without these names; what we set ourselves is 0 as well
    finally:
        ethtool.close()
