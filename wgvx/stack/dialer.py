"""Connections over the stack to wherever a client names."""

from __future__ import annotations

from wgvx.stack.glue import Connection, Stack
from wgvx.stack.names import Names


class Dialer:
    """Looks names up and tries their addresses in turn."""

    def __init__(self, stack: Stack, names: Names) -> None:
        self.stack, self.names = stack, names

    async def connect(self, host: str, port: int) -> Connection:
        """Raises what :meth:`Stack.connect` does, of the last address, or NameNotFoundError."""
        addresses = await self.names.addresses(host)
        for address in addresses[:-1]:
            try:
                return await self.stack.connect(address, port)
            except OSError:
                continue
        return await self.stack.connect(addresses[-1], port)
