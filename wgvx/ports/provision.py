"""Makes the TAPs and namespaces of a node, and unmakes them: the node's end of the broker."""

from __future__ import annotations

import array
import json
import logging
import os
import socket
import subprocess
from typing import Any, ClassVar

from wgvx.ports import child
from wgvx.ports.errors import PortDeniedError, PortError
from wgvx.ports.request import MAX_QUEUES, TapRequest
from wgvx.ports.tap import TapPort

log = logging.getLogger(__name__)

__all__ = ["Provisioner", "TapRequest"]

ANSWER_SECONDS = 30.0
END_SECONDS = 10.0
MAX_ANSWER = 65536
MAX_FDS = MAX_QUEUES + 1  # and a network namespace; the kernel allows 253 (SCM_MAX_FD)


class Provisioner:
    """Owns every TAP and namespace of one node. Calls block; make them before the event loop runs
    or off it. `close` ends it all and may be called at any time, more than once."""

    descriptors: ClassVar[bool] = True

    def __init__(self, rootless: bool) -> None:
        self._rootless = rootless
        self._ports: list[TapPort] = []
        self._user_fd = -1
        self._net_fds: dict[str | None, int] = {}
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(ANSWER_SECONDS)
        with theirs:
            # A session of its own: a terminal's ^C is for the node, which then closes us.
            self._broker = subprocess.Popen(
                child.command("wgvx.ports.broker", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    @classmethod
    def start(cls, rootless: bool) -> Provisioner:
        """Start the broker and, `rootless`, make a user and a network namespace.

        Raises :class:`PortError` where namespaces cannot be had; nothing is left then.
        """
        provisioner = cls(rootless)
        try:
            _, fds = provisioner._ask("start", rootless=rootless)
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
        reply, fds = self._ask("tap", **request.to_json())
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
        reply, _ = self._ask("ready")
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
        self._sock.close()
        try:
            self._broker.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._broker.kill()
            self._broker.wait()

    def _ask(self, op: str, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """One request, its answer and the descriptors that came with it, close-on-exec."""
        try:
            self._sock.sendall(json.dumps({"op": op, **fields}).encode())
            answer, fds = self._receive()
        except TimeoutError as error:
            raise PortError(f"setting up ports took longer than {ANSWER_SECONDS:.0f} s") from error
        except OSError as error:
            raise PortError(f"the helper that sets up ports is gone: {error.strerror}") from error
        if not answer:
            raise PortError("the helper that sets up ports ended; the reason stands above")
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise (PortDeniedError if reply["denied"] else PortError)(reply["error"])
        return reply, fds

    def _receive(self) -> tuple[bytes, list[int]]:
        """One message and its descriptors. Not socket.recv_fds, which ignores its flags: what
        comes would be inherited by every program that the node starts."""
        fds = array.array("i")
        answer, ancillary, _, _ = self._sock.recvmsg(
            MAX_ANSWER, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data)
        return answer, list(fds)
