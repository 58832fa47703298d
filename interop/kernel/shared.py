"""One guest for all tests, since booting takes longer than most of them.

Each stand-in is a namespace of the guest with one of its interfaces; both are given back when the
test's lab closes.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

from interop.kernel.guest import Guest, GuestNamespace, become_bridge
from tests.netns.lab import Lab, Namespace

INTERFACES = 4
"""As many can stand in at a time."""

_numbers = itertools.count(1)


def interfaces() -> list[str]:
    """The guest's own, by name."""
    return [f"eth{number}" for number in range(INTERFACES)]


class StandIn(GuestNamespace):
    """A namespace of the guest in the place of a host of the lab."""

    def __init__(self, guest: Guest, host: Namespace, interface: str, mtu: str) -> None:
        super().__init__(guest, f"n{next(_numbers)}")
        self.lab = host.lab  # What runs here ends with that host.
        self.logs = host.folder
        self.index = host.index
        self._guest = guest
        self._interface = interface
        self._host = host
        guest.ip("link", "set", interface, "netns", self.name)
        self.ip("link", "set", interface, "name", "eth0", "mtu", mtu, "up")
        for family, length in ((4, 24), (6, 64)):
            nodad = ("nodad",) if family == 6 else ()
            self.ip("address", "add", f"{self.address(family)}/{length}", "dev", "eth0", *nodad)

    def address(self, family: int) -> str:
        """The underlay address of the host that this stands in for."""
        return self._host.address(family)

    def give_back(self) -> None:
        """The namespace goes; the interface returns to the guest under its old name."""
        self.ip("link", "set", "eth0", "down")
        self.ip("link", "set", "eth0", "name", self._interface)
        self.ip("link", "set", self._interface, "netns", "1")
        self._guest.run("ip", "netns", "del", self.name)


class SharedGuest:
    """Boots when somebody first asks for a stand-in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lab: Lab | None = None
        self._free = interfaces()
        self._guest: Guest | None = None
        self._home: Namespace | None = None

    def _boot(self) -> tuple[Guest, Namespace]:
        if self._guest is None or self._home is None:
            folder = self._folder / f"guest-{next(_numbers)}"
            folder.mkdir()
            self._lab = Lab(folder)
            self._home = home = self._lab.host("guest")
            for interface in self._free:
                home.ip("tuntap", "add", f"tap-{interface}", "mode", "tap")
                home.ip("link", "add", f"br-{interface}", "type", "bridge")
                for device in (f"tap-{interface}", f"br-{interface}"):
                    home.ip("link", "set", device, "mtu", "9000")
                home.ip("link", "set", f"tap-{interface}", "master", f"br-{interface}", "up")
                home.ip("link", "set", f"br-{interface}", "up")
            self._guest = Guest(home, taps=[f"tap-{interface}" for interface in self._free])
            self._guest.ready()
        return self._guest, self._home

    def stand_in(self, host: Namespace) -> StandIn:
        """A place in the guest that has taken over a host's eth0: its addresses and its MTU.

        The host itself is no more than a bridge afterwards.
        """
        guest, home = self._boot()
        interface = self._free.pop(0)
        port = f"{interface}-{host.index}"
        host.ip("link", "add", "guest", "type", "veth", "peer", port, "netns", home.name)
        mtu = become_bridge(host)
        home.ip("link", "set", port, "mtu", mtu, "master", f"br-{interface}", "up")
        made = StandIn(guest, host, interface, mtu)

        def release() -> None:
            if self._guest is not guest:
                return  # It hung, and went with all that it had.
            try:
                made.give_back()
            except (AssertionError, subprocess.TimeoutExpired):
                self._give_up()  # The next one who asks gets a new one.
            else:
                self._free.append(interface)

        host.lab.at_end.callback(release)
        return made

    def _give_up(self) -> None:
        self.close()
        self._guest = self._home = None
        self._free = interfaces()

    def close(self) -> None:
        """End the guest."""
        if self._lab is not None:
            self._lab.close()
