"""Cryptokey routing (section 2 of the paper): which peer an address belongs to.

One table serves both ways: the destination of what we send chooses the peer, and the source of what
a peer sends must lead back to that very peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Prefix = tuple[bytes, int]
"""A packed network address (host bits zero) and its length in bits."""


def masked(address: bytes, length: int) -> Prefix:
    """The prefix of ``length`` bits around ``address``; host bits are cleared, as by wg(8)."""
    bits = len(address) * 8
    if not 0 <= length <= bits:
        raise ValueError(f"prefix length {length} is not in 0..{bits}")
    host_bits = bits - length
    network = int.from_bytes(address, "big") >> host_bits << host_bits
    return network.to_bytes(len(address), "big"), length


class _Family:
    """One address family: a table per prefix length, longest first."""

    __slots__ = ("_bits", "_levels", "_tables")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._tables: dict[int, dict[int, int]] = {}
        self._levels: list[tuple[int, dict[int, int]]] = []
        """(host bits, {network >> host bits: peer}), longest prefix first."""

    def _key(self, prefix: Prefix) -> tuple[int, int]:
        network, length = prefix
        host_bits = self._bits - length
        return host_bits, int.from_bytes(network, "big") >> host_bits

    def insert(self, prefix: Prefix, peer: int) -> int | None:
        """Returns the peer that had this very prefix before."""
        host_bits, key = self._key(prefix)
        table = self._tables.get(host_bits)
        if table is None:
            table = self._tables[host_bits] = {}
            self._levels = sorted(self._tables.items())
        previous = table.get(key)
        table[key] = peer
        return previous

    def remove(self, prefix: Prefix) -> None:
        host_bits, key = self._key(prefix)
        table = self._tables[host_bits]
        del table[key]
        if not table:
            del self._tables[host_bits]
            self._levels = sorted(self._tables.items())

    def lookup(self, address: int) -> int | None:
        for host_bits, table in self._levels:
            peer = table.get(address >> host_bits)
            if peer is not None:
                return peer
        return None


class AllowedIps:
    """Prefixes of all peers. A prefix belongs to one peer: the last insertion wins."""

    def __init__(self) -> None:
        self._families = {4: _Family(32), 16: _Family(128)}
        self._of_peer: dict[int, dict[Prefix, None]] = {}

    def insert(self, prefix: Prefix, peer: int) -> None:
        """Give a prefix (host bits zero) to a peer."""
        previous = self._families[len(prefix[0])].insert(prefix, peer)
        if previous is not None and previous != peer:
            del self._of_peer[previous][prefix]
        self._of_peer.setdefault(peer, {})[prefix] = None

    def replace(self, peer: int, prefixes: Iterable[Prefix]) -> None:
        """Let a peer have these prefixes and no others."""
        self.remove_peer(peer)
        for prefix in prefixes:
            self.insert(prefix, peer)

    def remove(self, prefix: Prefix, peer: int) -> bool:
        """Take a prefix from a peer; False when it was not the peer's."""
        if prefix not in self._of_peer.get(peer, {}):
            return False
        del self._of_peer[peer][prefix]
        self._families[len(prefix[0])].remove(prefix)
        return True

    def remove_peer(self, peer: int) -> None:
        """Take all prefixes from a peer."""
        for prefix in self._of_peer.pop(peer, {}):
            self._families[len(prefix[0])].remove(prefix)

    def lookup(self, address: bytes) -> int | None:
        """The peer with the longest prefix that covers a packed address (4 or 16 bytes)."""
        return self._families[len(address)].lookup(int.from_bytes(address, "big"))

    def of_peer(self, peer: int) -> Iterator[Prefix]:
        """The prefixes of a peer, in the order they were given."""
        return iter(self._of_peer.get(peer, {}))
