"""Makes the TAPs and namespaces of a node, and unmakes them: the node's end of the broker."""

from __future__ import annotations

import logging
import os
from typing import ClassVar

from wgvx.ports.channel import Channel
from wgvx.ports.errors import PortError
from wgvx.ports.request import TapRequest
from wgvx.ports.tap import TapPort

log = logging.getLogger(__name__)

__all__ = ["Provisioner", "TapRequest"]


class Provisioner:
    """Owns every TAP and namespace of one node. Calls block; make them before the event loop runs
    or off it. `close` ends it all and may be called at any time, more than once."""

    descriptors: ClassVar[bool] = True

    def __init__(self, rootless: bool, channel: Channel) -> None:
        self._rootless = rootless
        self._channel = channel
        self._ports: list[TapPort] = []
        self._user_fd = -1
        self._net_fds: dict[str | None, int] = {}

    @classmethod
    def start(cls, rootless: bool, channel: Channel | None = None) -> Provisioner:
        """Start the broker and, `rootless`, make a user and a network namespace. With a `channel`
        that is there already, its process is the broker, and stays when all is unmade.

        Raises :class:`PortError` where namespaces cannot be had; nothing is left then.
        """
        provisioner = (
            Provisioner(rootless, Channel("wgvx.ports.broker"))
            if channel is None
            else _Guest(rootless, channel)
        )
        try:
            _, fds = provisioner._channel.ask("start", rootless=rootless)
            if rootless:
                provisioner._user_fd, provisioner._net_fds[None] = fds
        except BaseException:
            provisioner.close()
            raise
        return provisioner

    def tap(self, request: TapRequest) -> TapPort:
        """Make the TAP, or adopt the one of that name, and configure it.

        `request.netns`: None is the namespace of the caller, or rootless the first of our own; a
        name is /run/netns/NAME, or rootless one more of our own for each name. Raises
        :class:`PortError`; what was made before stays until `close`.
        """
        reply, fds = self._channel.ask("tap", **request.to_json())
        if self._rootless:
            net_fd = fds.pop()
            if request.netns in self._net_fds:
                os.close(net_fd)
            else:
                self._net_fds[request.netns] = net_fd
        port = TapPort(
            tuple(fds), request.name, request.mac, request.mtu, vnet_header=request.vnet_header
        )
        self._ports.append(port)
        if reply["adopted"]:
            log.info("TAP %s was there: it is adopted, and given back at the end", request.name)
        return port

    def namespace(self, netns: str | None) -> tuple[int, int] | None:
        """Descriptors of the user and the network namespace, for `namespace.enter`; they stay
        ours. None where not rootless. Raises :class:`PortError` for a name that no TAP has."""
        if not self._rootless:
            return None
        if netns not in self._net_fds:
            known = ", ".join(sorted(name for name in self._net_fds if name is not None))
            raise PortError(
                f"this node has no namespace {netns}: "
                + (
                    f"it has {known} and the default one"
                    if known
                    else "it has the default one only"
                )
            )
        return self._user_fd, self._net_fds[netns]

    def ready(self) -> None:
        """Set-up is complete: the broker goes, unless it must restore a TAP at the end."""
        reply, _ = self._channel.ask("ready")
        if not reply["stays"]:
            self._end_broker()

    def close(self) -> None:
        """Remove every TAP that was made, restore every one that was adopted, let go of the
        namespaces. They go when the last process inside ends."""
        for port in self._ports:
            port.close()
        self._ports.clear()
        self._end_broker()
        for fd in (self._user_fd, *self._net_fds.values()):
            if fd >= 0:
                os.close(fd)
        self._user_fd = -1
        self._net_fds.clear()

    def _end_broker(self) -> None:
        self._channel.close()


class _Guest(Provisioner):
    """On somebody else's channel, whose process has more to do."""

    def ready(self) -> None:
        """Nothing goes."""

    def _end_broker(self) -> None:
        try:
            self._channel.ask("unmake")
        except PortError as error:
            log.warning("what was set up for TAPs may be left: %s", error)
