"""One TAP in the broker's care: made or adopted, configured, and given back as it was found.

Runs in the broker only, with the network namespace of the device entered.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from socket import AF_INET, AF_INET6

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wgvx.ports import gso, mend, netlink, tun
from wgvx.ports.errors import PortDeniedError, PortError
from wgvx.ports.netlink import Message
from wgvx.ports.request import TapRequest

IFF_UP = 1
IFF_TAP_TYPE = 2  # IFLA_TUN_TYPE of a TAP, 1 is a TUN
IFA_F_NODAD = 0x02
REATTACH_SECONDS = 2.0


@dataclass(frozen=True)
class Found:
    """An adopted TAP before we touched it."""

    mtu: int
    mac: bytes
    up: bool
    master: int
    """Index of the bridge it is a member of, or 0."""
    addresses: tuple[Message, ...]
    attach_flags: int
    """IFF_NO_PI and IFF_VNET_HDR as its last reader chose them, IFF_MULTI_QUEUE as it was made."""
    offload: int
    header_size: int
    gso_sizes: gso.Sizes | None


@dataclass(frozen=True)
class Step:
    """One thing to set, and the command that does it by hand. `command` continues `ip`."""

    command: str
    apply: Callable[[], object]


class Device:
    """A TAP with open descriptors `fds`, one a queue. `found` is None for one that we made."""

    def __init__(self, ip: IPRoute, request: TapRequest, rootless: bool) -> None:
        """Make or adopt the device and configure it. On :class:`PortError` nothing is left."""
        self._ip = ip
        self._rootless = rootless
        self.name = request.name
        self.found: Found | None = None
        link = self._get(ifname=request.name)
        # Before we attach: with a first carrier the kernel adds a link-local address.
        addresses = tuple(ip.get_addr(index=link["index"])) if link is not None else ()
        self._flags = self._choose_flags(link, request)
        self.fds = self._open(link, request.queues)
        try:
            if link is not None:
                self.index = int(link["index"])
                self.found = self._look(link, addresses)
                # As its last reader left it the kernel may send packets that only a reader of the
                # virtio-net header can finish.
                tun.set_offload(self._fd, 0)
            else:
                (self.index,) = ip.link_lookup(ifname=request.name)
            if request.vnet_header:
                tun.set_header_size(self._fd, tun.VNET_HEADER)
            self._configure(request)
            if request.gso_max_size is not None:
                # For speed alone, and perhaps not ours to set, or too much for this device.
                with contextlib.suppress(OSError):
                    gso.limit(self.index, request.gso_max_size)
        except BaseException:
            self.give_back()
            raise

    # Making and adopting.

    def _get(self, **which: str | int) -> Message | None:
        """The device by `ifname` or `index`, None where there is none."""
        try:
            (link,) = self._ip.link("get", **which)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise
        return link

    def _choose_flags(self, link: Message | None, request: TapRequest) -> int:
        """What each descriptor says as it attaches: it is the device's from then on."""
        flags = tun.IFF_TAP | tun.IFF_NO_PI
        if request.vnet_header:
            flags |= tun.IFF_VNET_HDR
        if link is not None:
            return flags | self._adoptable(link)
        return flags | (tun.IFF_MULTI_QUEUE if request.queues > 1 else 0)

    def _open(self, link: Message | None, queues: int) -> list[int]:
        """Attach to the device, which is made where there is none, once for each queue."""
        only_new = tun.IFF_TUN_EXCL if link is None else 0
        fds: list[int] = []
        try:
            for queue in range(queues if self._flags & tun.IFF_MULTI_QUEUE else 1):
                try:
                    fds.append(tun.open_node())
                except OSError as error:
                    raise mend.tun_node(error) from error
                try:
                    tun.attach(fds[-1], self.name, self._flags | (0 if queue else only_new))
                except OSError as error:
                    raise self._why_not_attached(error) from error
        except PortError:
            for fd in fds:
                os.close(fd)
            raise
        return fds

    @property
    def _fd(self) -> int:
        """For what is the device's and not a queue's."""
        return self.fds[0]

    def _adoptable(self, link: Message) -> int:
        """Check that an existing device can be adopted, and return the flag it asks for."""
        info = link.get_attr("IFLA_LINKINFO")
        kind = info.get_attr("IFLA_INFO_KIND") if info else None
        data = info.get_attr("IFLA_INFO_DATA") if info else None
        if kind != "tun" or (data and data.get_attr("IFLA_TUN_TYPE") != IFF_TAP_TYPE):
            what = "TUN" if kind == "tun" else kind or "hardware or loopback"
            raise PortError(
                f"{self.name} is a {what} device and not a TAP: choose another `tap` name, or "
                f"remove it: `ip link delete {self.name}`"
            )
        if data and data.get_attr("IFLA_TUN_MULTI_QUEUE"):
            if data.get_attr("IFLA_TUN_NUM_QUEUES"):
                raise PortError(self._busy())
            return tun.IFF_MULTI_QUEUE
        return 0

    def _why_not_attached(self, error: OSError) -> PortError:
        if error.errno in (errno.EPERM, errno.EACCES):
            return mend.no_namespace(error) if self._rootless else mend.no_net_admin(self.name)
        if error.errno == errno.EBUSY:
            return PortError(self._busy())
        return PortError(f"TAP {self.name}: {error.strerror}")

    def _busy(self) -> str:
        return (
            f"TAP {self.name} is in use by another process: end that one (`fuser -v {tun.NODE}` "
            "shows who), or choose another `tap` name"
        )

    # Configuring.

    def _configure(self, request: TapRequest) -> None:
        """Set what differs from the request; name the commands where we are not allowed to."""
        denied = []
        for step in self._steps(request):
            try:
                step.apply()
            except NetlinkError as error:
                if error.code == errno.EPERM:
                    denied.append(step.command)
                else:
                    raise PortError(self._why_not_set(step, error, request)) from error
            except OSError as error:
                raise PortError(f"TAP {self.name}: ip {step.command}: {error.strerror}") from error
        if denied:
            commands = " && ".join(f"ip {command}" for command in denied)
            raise PortDeniedError(
                f"TAP {self.name} is yours to open but not to configure: `{commands}` as root"
            )

    def _steps(self, request: TapRequest) -> Iterator[Step]:
        """What is left to do, in order: the MAC before the device comes up, as its link-local
        address is made from it; the MTU before it joins a bridge, which takes the smallest."""
        ip, index, name = self._ip, self.index, self.name
        link = self._get(index=index)
        if link is None:
            raise PortError(f"TAP {name} disappeared while it was set up")
        if netlink.mac(link) != request.mac:
            yield Step(
                f"link set dev {name} address {request.mac.hex(':')}",
                partial(tun.set_mac, self._fd, request.mac),
            )
        if link.get_attr("IFLA_MTU") != request.mtu:
            yield Step(
                f"link set dev {name} mtu {request.mtu}",
                partial(ip.link, "set", index=index, mtu=request.mtu),
            )
        if request.bridge is not None:
            bridge = self._bridge(request.bridge)
            if (link.get_attr("IFLA_MASTER") or 0) != bridge:
                yield Step(
                    f"link set dev {name} master {request.bridge}",
                    partial(ip.link, "set", index=index, master=bridge),
                )
        if not link["flags"] & IFF_UP:
            yield Step(f"link set dev {name} up", partial(ip.link, "set", index=index, state="up"))
        present = {
            (a["family"], netlink.local(a), a["prefixlen"]) for a in ip.get_addr(index=index)
        }
        for address in request.addresses:
            family = AF_INET if address.version == 4 else AF_INET6
            prefixlen = address.network.prefixlen
            if (family, str(address.ip), prefixlen) not in present:
                # Nobody else has this address by configuration: use it at once, without
                # duplicate address detection (RFC 4862, section 5.4), which takes a second.
                yield Step(
                    f"address add {address} dev {name}" + (" nodad" if family == AF_INET6 else ""),
                    partial(
                        ip.addr,
                        "add",
                        index=index,
                        family=family,
                        address=str(address.ip),
                        prefixlen=prefixlen,
                        flags=IFA_F_NODAD if family == AF_INET6 else 0,
                    ),
                )

    def _bridge(self, name: str) -> int:
        link = self._get(ifname=name)
        if link is None and self._rootless:
            raise PortError(
                f"TAP {self.name}: a rootless namespace is new and has no bridge {name}: leave "
                "`bridge` out, or run as root without --rootless"
            )
        if link is None:
            raise PortError(
                f"TAP {self.name}: no bridge {name} in its network namespace: "
                f"`ip link add {name} type bridge && ip link set {name} up`"
            )
        info = link.get_attr("IFLA_LINKINFO")
        if info is None or info.get_attr("IFLA_INFO_KIND") != "bridge":
            raise PortError(
                f"TAP {self.name}: {name} is a device but not a bridge: "
                "name a bridge, or leave `bridge` out"
            )
        return int(link["index"])

    def _why_not_set(self, step: Step, error: NetlinkError, request: TapRequest) -> str:
        reason = os.strerror(error.code)
        if step.command.startswith("address") and error.code in (errno.EACCES, errno.EOPNOTSUPP):
            reason = (
                "IPv6 is switched off here: `sysctl -w net.ipv6.conf.all.disable_ipv6=0 "
                "net.ipv6.conf.default.disable_ipv6=0` as root"
            )
        elif error.code in (errno.EINVAL, errno.ERANGE) and " mtu " in step.command:
            reason = f"the kernel does not take an MTU of {request.mtu}"
        return f"TAP {self.name}: `ip {step.command}`: {reason}"

    # Giving back.

    def _look(self, link: Message, addresses: tuple[Message, ...]) -> Found:
        """Remember an adopted device: `link` and `addresses` were read before we attached."""
        info = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
        flags = tun.IFF_NO_PI
        if info:
            flags = 0 if info.get_attr("IFLA_TUN_PI") else tun.IFF_NO_PI
            flags |= tun.IFF_VNET_HDR if info.get_attr("IFLA_TUN_VNET_HDR") else 0
            flags |= tun.IFF_MULTI_QUEUE if info.get_attr("IFLA_TUN_MULTI_QUEUE") else 0
        return Found(
            mtu=link.get_attr("IFLA_MTU"),
            mac=netlink.mac(link),
            up=bool(link["flags"] & IFF_UP),
            master=link.get_attr("IFLA_MASTER") or 0,
            addresses=addresses,
            attach_flags=flags,
            offload=netlink.offload(self.name),
            header_size=tun.header_size(self._fd),
            gso_sizes=gso.read(self.index),
        )

    def give_back(self) -> None:
        """Restore an adopted device, then let go of its descriptors. Says what it could not."""
        if self.found is not None:
            for restore in self._restorations(self.found):
                try:
                    restore()
                except (NetlinkError, OSError) as error:
                    code = error.code if isinstance(error, NetlinkError) else error.errno
                    if code in (errno.ENODEV, errno.EBADFD):
                        break  # deleted meanwhile by its owner
                    # Not ours to change means that we did not change it.
                    if code != errno.EPERM:
                        reason = os.strerror(code or 0)
                        print(f"wgvx: TAP {self.name} not as it was: {reason}", file=sys.stderr)
        for fd in self.fds:
            os.close(fd)
        if self.found is not None:
            self._restore_attach_flags(self.found)

    def _restorations(self, found: Found) -> Iterator[Callable[[], object]]:
        """Each restores what differs by then: addresses last, as IPv6 loses its own with a small
        MTU and on the way down."""
        ip, index = self._ip, self.index
        yield partial(tun.set_offload, self._fd, found.offload)
        yield partial(tun.set_header_size, self._fd, found.header_size)
        link = self._get(index=index)
        if link is None:
            return
        if (link.get_attr("IFLA_MASTER") or 0) != found.master:
            yield partial(ip.link, "set", index=index, master=found.master)
        if found.gso_sizes is not None and gso.read(index) != found.gso_sizes:
            yield partial(gso.write, index, found.gso_sizes)
        if netlink.mac(link) != found.mac:
            yield partial(tun.set_mac, self._fd, found.mac)
        if link.get_attr("IFLA_MTU") != found.mtu:
            yield partial(ip.link, "set", index=index, mtu=found.mtu)
        if bool(link["flags"] & IFF_UP) != found.up:
            yield partial(ip.link, "set", index=index, state="up" if found.up else "down")
        before = {netlink.identity(a): a for a in found.addresses}
        now = {netlink.identity(a): a for a in ip.get_addr(index=index)}
        for identity in now.keys() - before.keys():
            yield partial(ip.addr, "del", **netlink.address_request(now[identity]))
        for identity, address in before.items():
            if identity not in now:
                yield partial(ip.addr, "add", **netlink.address_request(address))

    def _restore_attach_flags(self, found: Found) -> None:
        """Header flags are what the last reader asked for: attach once more as the former one.

        The node's own descriptor may still be closing, so a busy device is asked again.
        """
        theirs = tun.IFF_TAP | found.attach_flags
        if theirs == self._flags:
            return
        deadline = time.monotonic() + REATTACH_SECONDS
        while self._get(ifname=self.name) is not None:
            fd = tun.open_node()
            try:
                tun.attach(fd, self.name, theirs)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    return
            finally:
                os.close(fd)
            time.sleep(0.02)
