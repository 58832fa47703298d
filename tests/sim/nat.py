"""A home router: it knows who is inside only as long as there is traffic."""

from __future__ import annotations

from tests.sim.world import Remote
from tests.support.engines import SECOND
from wgvx.wireguard.sessions import Endpoint


class SymmetricNat:
    """The strictest kind: a public port per inside and remote endpoint, open to that remote alone.

    Traffic either way keeps a mapping for ``timeout`` nanoseconds; a new mapping has a new port.
    """

    def __init__(self, public_ip: bytes, timeout: int = 30 * SECOND) -> None:
        self.timeout = timeout
        self._ip = public_ip
        self._next_port = 40000
        self._ports: dict[tuple[Remote, Remote], int] = {}
        self._insides: dict[tuple[int, Remote], Endpoint] = {}
        self._used: dict[int, int] = {}
        """Public port to when it was last used."""

    def owns(self, public: Endpoint) -> bool:
        return public.ip == self._ip

    def outbound(self, inside: Endpoint, remote: Endpoint, now: int) -> Endpoint:
        key = inside.remote(), remote.remote()
        port = self._ports.get(key)
        if port is None or not self._is_alive(port, now):
            port = self._ports[key] = self._next_port
            self._next_port += 1
            self._insides[port, remote.remote()] = inside
        self._used[port] = now
        return Endpoint(self._ip, port)

    def inbound(self, public: Endpoint, remote: Endpoint, now: int) -> Endpoint | None:
        inside = self._insides.get((public.port, remote.remote()))
        if inside is None or not self._is_alive(public.port, now):
            return None
        self._used[public.port] = now
        return inside

    def _is_alive(self, port: int, now: int) -> bool:
        return now - self._used[port] < self.timeout
