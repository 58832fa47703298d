"""The key log: the keys in it are those that the messages were made with. That Wireshark decrypts
with them is shown in interop/.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from tests.support.engines import Wire, peer_config, private_key
from wgvx import keys
from wgvx.keylog import KeyLog
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.sessions import HandshakeKeys

INITIATION, RESPONSE = 1, 2
PSK = b"p" * 32
KEYS = HandshakeKeys(b"s" * 32, b"r" * 32, b"e" * 32, PSK)


@pytest.mark.parametrize(("logging_node", "kind"), [(1, INITIATION), (2, RESPONSE)])
def test_the_keys_of_each_handshake(logging_node: int, kind: int) -> None:
    logged: list[HandshakeKeys] = []
    wire = Wire()
    first, second = (
        wire.add(
            number,
            [peer_config(3 - number, preshared_key=PSK)],
            key_log=logged.append if number == logging_node else None,
        )
        for number in (1, 2)
    )
    first.knows(second)
    first.send(second)
    (message,) = wire.sent_by((first, second)[logging_node - 1], kind)
    (found,) = logged
    assert found.static_private == private_key(logging_node)
    assert found.remote_static == dh_public(private_key(3 - logging_node))
    assert found.preshared_key == PSK
    # The ephemeral public key stands behind the indices.
    at = 8 if kind == INITIATION else 12
    assert dh_public(found.ephemeral_private) == message.data[at : at + 32]


def test_lines_are_appended_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for keys_ in (KEYS, KEYS._replace(preshared_key=bytes(32))):
        log = KeyLog(path)
        log.write(keys_)
        log.close()
    static, remote, ephemeral, psk = (keys.encode(key) for key in KEYS)
    always = (
        f"LOCAL_STATIC_PRIVATE_KEY = {static}",
        f"REMOTE_STATIC_PUBLIC_KEY = {remote}",
        f"LOCAL_EPHEMERAL_PRIVATE_KEY = {ephemeral}",
    )
    assert path.read_text().splitlines() == [*always, f"PRESHARED_KEY = {psk}", *always]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        KeyLog(tmp_path / "link")
    assert not (tmp_path / "target").exists()


def test_a_full_disk_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = KeyLog(tmp_path / "keys")
    monkeypatch.setattr(os, "write", full)
    with caplog.at_level(logging.WARNING):
        log.write(KEYS)
        log.write(KEYS)
    log.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/keys: No space left on device; keys are missing in it"
    ]
