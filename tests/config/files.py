"""Pieces of configuration files, and how tests read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgvx import keys
from wgvx.config import Config, ConfigError, load

PRIVATE = keys.encode(bytes(range(32)))
OWN_PUBLIC = keys.encode(keys.public_key(bytes(range(32))))
B = keys.encode(keys.public_key(b"b" * 32))
C = keys.encode(keys.public_key(b"c" * 32))
PSK = keys.encode(b"p" * 32)

NODE = f'[node]\nprivate_key = "{PRIVATE}"\naddress = ["10.254.0.1/24"]\n'
PEER = f'[[peer]]\nname = "b"\npublic_key = "{B}"\nallowed_ips = ["10.254.0.2/32"]\n'
NETWORK = "[[network]]\nvni = 4200\n"
NODE_LESS_KEY = '[node]\naddress = ["10.254.0.1/24"]\n'
FDB = "fdb = [{ mac = %s, vtep = %s }]\n"


def write(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def read(folder: Path, text: str) -> Config:
    return load(write(folder, text))


def refusal(folder: Path, text: str) -> str:
    """The message for `text`, without the path."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message.removeprefix(str(path))
