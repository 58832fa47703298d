"""From what is written on a command line to a file and a node's name."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from wgvx.config.table import ConfigError, shown

SYSTEM_DIRECTORY = Path("/etc/wgvx")

_NODE_NAME = re.compile(r"[A-Za-z0-9_=+.-]{1,15}")


def node_name(path_or_name: str) -> str:
    """The name of the node that `path_or_name` means, whether or not there is such a file.

    What has a slash or ends in ".toml" is a path, and its stem counts. ConfigError for a name
    that no node can have.
    """
    name = called(path_or_name)
    if not _NODE_NAME.fullmatch(name):
        raise ConfigError(
            f"{shown(path_or_name)}: found {shown(name)} as the node's name, "
            "want 1 to 15 of the characters A-Z a-z 0-9 _ = + . -"
        )
    return name


def called(path_or_name: str) -> str:
    """The same of what may be no name that a node can have."""
    return Path(path_or_name).stem if _is_path(path_or_name) else path_or_name


def find(name: str) -> Path:
    """The file that `name` means: a path, or a bare name in the places for configuration files.

    These are $XDG_CONFIG_HOME/wgvx (by default ~/.config/wgvx) and /etc/wgvx, in this order.
    ConfigError, naming the places, where there is none.
    """
    stem = node_name(name)
    if _is_path(name):
        try:
            Path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(f"{name}: no such file, want a node's TOML file") from None
        except OSError:
            pass  # reading it will tell why
        return Path(name)
    looked = []
    for directory in _directories():
        path = directory / f"{stem}.toml"
        try:
            if not stat.S_ISDIR(path.stat().st_mode):
                return path
            looked.append(f"{path} (a directory)")
        except (FileNotFoundError, NotADirectoryError):
            looked.append(str(path))
        except OSError as error:
            looked.append(f"{path} ({error.strerror})")
    here = next((near for near in (f"./{stem}.toml", f"./{stem}") if Path(near).is_file()), None)
    hint = f"; did you mean {here}?" if here else "; a path has a slash or ends in .toml"
    raise ConfigError(f"{name}: no such node file, looked for {' and '.join(looked)}{hint}")


def node_names() -> list[str]:
    """The bare names that :func:`find` knows, as far as this user may look."""
    names = set()
    for directory in _directories():
        try:
            names |= {path.stem for path in directory.iterdir() if path.suffix == ".toml"}
        except OSError:
            continue
    return sorted(filter(_NODE_NAME.fullmatch, names))


def _is_path(path_or_name: str) -> bool:
    return "/" in path_or_name or path_or_name.endswith(".toml")


def _directories() -> list[Path]:
    """Where bare names are looked up, the user's own place first."""
    # The XDG base directory specification: a relative path is to be ignored.
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        home = Path(configured) if configured.startswith("/") else Path("~/.config").expanduser()
    except RuntimeError:  # no $HOME, and a uid that nobody knows
        return [SYSTEM_DIRECTORY]
    return [home / "wgvx", SYSTEM_DIRECTORY]
