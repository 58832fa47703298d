"""Serves the UAPI socket where wg(8) looks for it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from wgvx.control import uapi
from wgvx.control.unix import UnixServer, in_use, send
from wgvx.node import Node

log = logging.getLogger(__name__)

FOLDER = Path("/var/run/wireguard")
FOLDER_MODE = 0o755
MODE = 0o700

LONGEST_LINE = 4096
LONGEST_REQUEST = 64 << 20
"""Bytes of one request: a million allowed IPs fit."""


class UapiServer:
    """Answers wg(8) until closed. Where the folder cannot be written there is none, said once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._path = FOLDER / f"{node.config.name}.sock"
        self._server = UnixServer(
            self._path, MODE, LONGEST_LINE, self._converse, node.errands.unlink
        )

    @property
    def path(self) -> Path | None:
        """The socket's, if there is one."""
        return self._path if self._server.serves else None

    async def start(self) -> None:
        """Begin to answer, if the socket can be had."""
        try:
            FOLDER.mkdir(mode=FOLDER_MODE, exist_ok=True)
            if in_use(self._path):
                log.warning("%s is another program's: wg(8) will not see this node", self._path)
                return
            await self._server.start()
        except OSError as error:
            name = self._node.config.name
            if isinstance(error, PermissionError):
                why = " (that takes root)"
            else:
                why = f" ({self._path}: {error.strerror or error})"
            log.info("wg(8) cannot see this node%s; `wgvx show %s` can", why, name)

    async def close(self) -> None:
        """Answer no more; the socket is gone."""
        await self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (operation := await _operation(reader)) is not None:
            reply = operation.answer(self._node)
            if reply is None:
                break
            await send(writer, reply.encode())


async def _operation(reader: asyncio.StreamReader) -> uapi.Operation | None:
    """Read up to an empty line; None at the end of the stream (wg(8) probes with an empty
    connection). ValueError for a request that is too long or no text.
    """
    operation = uapi.Operation()
    length = 0
    while raw := await reader.readline():
        line = raw.decode().removesuffix("\n")
        if not line:
            return operation
        operation.read(line)
        length += len(raw)
        if length > LONGEST_REQUEST:
            raise ValueError("request too long")
    return None
