"""Where a network's frames enter and leave: `tap`, or the entries of `attach`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import NoReturn

from wgvx.config import values
from wgvx.config.model import (
    AttachConfig,
    DgramAttach,
    SocketAddress,
    StackAttach,
    StreamAttach,
    TapAttach,
    derive_mac,
)
from wgvx.config.places import Taken, places_of
from wgvx.config.stack import read_stack
from wgvx.config.table import Table

KEYS: Mapping[str, tuple[str, ...]] = {
    "tap": ("mac",),
    "stream": ("listen", "connect"),
    "dgram": ("local", "remote"),
    "stack": ("mac", "address", "gateway", "dns", "socks5", "http", "forward", "reverse"),
}
"""By type, what an entry may have besides `type` and `name`."""


@dataclass(frozen=True, slots=True)
class Written:
    """An attachment and where it was written, for messages."""

    attach: AttachConfig
    table: Table
    key: str
    """The key of `table` that names it."""


class Attachments:
    """Reads those of one network after the other, so that no name is given twice.

    `node` is the node's name, `own_key` its public key, `networks` all tables of networks.
    """

    def __init__(self, node: str, own_key: bytes, networks: tuple[Table, ...]) -> None:
        self._node = node
        self._own_key = own_key
        self._networks = networks
        self._owners: dict[tuple[str | None, str], Table] = {}
        self._taken = Taken[str]()
        self._stack: Table | None = None

    def read(self, table: Table, vni: int, netns: str | None) -> tuple[Written, ...]:
        """What `tap` or `attach` say; with neither, one TAP named after the node."""
        if "attach" not in table:
            name = table.one("tap", values.DEVICE) or self._default_tap(table)
            mac = table.one("mac", values.STATION_MAC) or derive_mac(self._own_key, vni, name)
            written: tuple[Written, ...] = (Written(TapAttach(name, mac), table, "tap"),)
        else:
            if "tap" in table:
                table.fail("tap", "found attach beside it, want one of the two")
            entries = table.tables("attach")
            if not entries:
                table.fail("attach", 'found an empty list, want [{ type = "tap", name = "blue0" }]')
            _refuse_what_one_has(table, entries)
            written = tuple(
                Written(self._entry(entry, table, vni, len(entries) == 1), entry, "name")
                for entry in entries
            )
        for one in written:
            self._own(one, vni, netns)
        _macs_once(written)
        return written

    def _own(self, written: Written, vni: int, netns: str | None) -> None:
        attach, table = written.attach, written.table
        if isinstance(attach, StackAttach):
            if self._stack is not None:
                table.fail(
                    "type",
                    f'found a second "stack" beside that of {self._stack.place}, '
                    "want one for a node: lwIP is one for a process",
                )
            self._stack = table
        owner = self._owners.setdefault((netns, attach.name), table)
        if owner is not table:
            self._refuse_taken(written, owner, vni)
        for place in places_of(attach):
            if (other := self._taken.take(place, f"{table.place}, {place.key}")) is not None:
                table.fail(place.key, f'"{place.address}" is taken by {other}, want another place')

    def _default_tap(self, table: Table) -> str:
        try:
            return values.parse_device(self._node)
        except ValueError:
            table.missing(
                "tap", f'a name: that of the node, "{self._node}", cannot name an interface'
            )

    # --- one entry ---------------------------------------------------------------------------

    def _entry(self, entry: Table, network: Table, vni: int, alone: bool) -> AttachConfig:
        known = ", ".join(f'"{kind}"' for kind in KEYS)
        kind = entry.one("type", values.TEXT)
        if kind is None:
            entry.missing("type", f"one of {known}")
        if kind not in KEYS:
            entry.refuse("type", kind, f"one of {known}")
        for key in entry.values:
            if key not in ("type", "name", *KEYS[kind]):
                others = [f'"{other}"' for other, keys in KEYS.items() if key in keys]
                entry.fail(key, f'no key of the type "{kind}", but of {" and ".join(others)}')
        form = values.DEVICE if kind == "tap" else values.PORT
        name = entry.one("name", form)
        if name is None:
            entry.missing("name", form.wanted)
        if kind == "stream":
            return _stream(entry, name)
        if kind == "dgram":
            return _dgram(entry, name)
        mac = self._mac(entry, network, vni, name, alone)
        if kind == "tap":
            return TapAttach(name, mac)
        return read_stack(entry, network, name, mac, alone)

    def _mac(self, entry: Table, network: Table, vni: int, name: str, alone: bool) -> bytes:
        mac = entry.one("mac", values.STATION_MAC)
        if alone and "mac" in network:
            if mac is not None:
                network.fail("mac", "found a mac in attach too, want one of the two")
            mac = network.one("mac", values.STATION_MAC)
        return mac or derive_mac(self._own_key, vni, name)

    # --- what is taken -----------------------------------------------------------------------

    def _refuse_taken(self, written: Written, owner: Table, vni: int) -> NoReturn:
        """Refuse a name that `owner` has already, and tell one that nobody in the file has."""
        table, key, name = written.table, written.key, written.attach.name
        taken = {self._node, *_written_devices(self._networks)}
        names = chain((f"blue{vni}",), (f"blue{number}" for number in count()))
        free = next(one for one in names if one not in taken)
        what = "the TAP" if isinstance(written.attach, TapAttach) else "the name"
        if key in table:
            found = f'{what} "{name}" is taken by {owner.place}'
            if "name" not in owner and "tap" not in owner:
                found += ", whose tap is left out, so it is named after the node"
        else:
            found = (
                f'left out, so it is named after the node, and {what} "{name}" is taken by '
                f"{owner.place}"
            )
        table.fail(key, f'{found}, want another name, such as {key} = "{free}"')


def _written_devices(tables: tuple[Table, ...]) -> Iterator[str]:
    """The interface names that the networks of a file mention, whether or not they are valid."""
    for table in tables:
        entries = table.tables("attach")
        values_of = [table.values.get("tap"), table.values.get("bridge")]
        values_of += [entry.values.get("name") for entry in entries]
        yield from (value for value in values_of if isinstance(value, str))


def _refuse_what_one_has(table: Table, entries: tuple[Table, ...]) -> None:
    """Of several attachments, or one without an interface: which would be meant?"""
    kinds = [entry.values.get("type") for entry in entries]
    if len(entries) > 1:
        found = f"found {len(entries)} attachments beside it"
        mends = {
            "mac": '{ type = "tap", name = "blue0", mac = "..." } in attach',
            "address": "one attachment, or addresses set on the interfaces from outside",
            "bridge": "one attachment: two in one bridge are a loop",
        }
    else:
        found = f'found an attachment of the type "{kinds[0]}" beside it'
        of_a_vm = kinds[0] in ("stream", "dgram")
        mends = dict.fromkeys(
            ("mac", "address", "bridge") if of_a_vm else (), "none: it is the VM's own"
        )
        if kinds[0] == "stack":
            mends = {"bridge": 'a "tap": a stack in this process is no interface'}
    for key, instead in mends.items():
        if key in table:
            table.fail(key, f"{found}, want {instead}")


def _macs_once(attachments: tuple[Written, ...]) -> None:
    macs: set[bytes] = set()
    for written in attachments:
        mac = written.attach.mac
        if mac is not None and mac in macs:
            written.table.fail("mac", "found that of another attachment, want each once")
        macs.add(mac or b"")


# --- types ---------------------------------------------------------------------------------------


def _socket_address(entry: Table, key: str) -> SocketAddress | None:
    address = entry.one(key, values.SOCKET)
    if not isinstance(address, str):
        return address
    path = entry.document.path.absolute().parent / address
    if len(str(path).encode()) > values.MAXIMUM_SOCKET_PATH:
        entry.refuse(key, str(path), f"a path of {values.MAXIMUM_SOCKET_PATH} bytes at most")
    return path


def _stream(entry: Table, name: str) -> StreamAttach:
    listen, connect = _socket_address(entry, "listen"), _socket_address(entry, "connect")
    if listen is not None and connect is not None:
        entry.fail("connect", "found listen beside it, want one of the two")
    address = listen or connect
    if address is None:
        entry.missing("listen", f"where the VM connects to, {values.SOCKET.wanted}; or connect")
    return StreamAttach(name, address, listen=listen is not None)


def _dgram(entry: Table, name: str) -> DgramAttach:
    local, remote = _socket_address(entry, "local"), _socket_address(entry, "remote")
    if local is None:
        entry.missing("local", f"where the VM sends to, {values.SOCKET.wanted}")
    if remote is None:
        entry.missing("remote", f"where the VM receives, {values.SOCKET.wanted}")
    if type(local) is not type(remote):
        entry.fail("remote", "found a path and an address, want two of one kind")
    if local == remote:
        entry.refuse("remote", str(remote), "another place than `local`: each end has its own")
    return DgramAttach(name, local, remote)
