"""The file with which Wireshark decrypts a capture: "extract-handshakes" format, a line per key."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from wgvx.keys import encode
from wgvx.wireguard.noise import NO_PRESHARED_KEY
from wgvx.wireguard.sessions import HandshakeKeys

log = logging.getLogger(__name__)


def own_line(static_private: bytes) -> str:
    """The key that all handshakes of a node have."""
    return f"LOCAL_STATIC_PRIVATE_KEY = {encode(static_private)}"


def in_lines(keys: HandshakeKeys) -> bytes:
    """The keys of one handshake."""
    lines = [
        own_line(keys.static_private),
        f"REMOTE_STATIC_PUBLIC_KEY = {encode(keys.remote_static)}",
        f"LOCAL_EPHEMERAL_PRIVATE_KEY = {encode(keys.ephemeral_private)}",
    ]
    if keys.preshared_key != NO_PRESHARED_KEY:
        lines.append(f"PRESHARED_KEY = {encode(keys.preshared_key)}")
    return "".join(f"{line}\n" for line in lines).encode("ascii")


class KeyLog:
    """Appends each handshake's private keys to a file that its owner alone can read.

    Raises OSError where the file cannot be opened. What later cannot be written is left out, with
    one warning: a full disk must not stop a node.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._warned = False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)

    def write(self, keys: HandshakeKeys) -> None:
        """Before the message that these keys made is sent, so that a live capture finds them."""
        try:
            os.write(self._descriptor, in_lines(keys))
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("%s: %s; keys are missing in it", self._path, error.strerror)

    def close(self) -> None:
        """The file stays."""
        os.close(self._descriptor)
