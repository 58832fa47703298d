"""The keys of a fleet: a folder beside the plan, 0700, each file 0600.

    PLAN.keys/berlin.key          the private key of site berlin, unless it stays on the node
    PLAN.keys/berlin.pub          its public key, where the private key stays on the node
    PLAN.keys/psk/berlin+paris    the preshared key of a pair, its names in order

A missing key is made; `save` writes what was made. No key is ever part of a message or a `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wgvx import keys
from wgvx.config import ConfigError
from wgvx.config.table import reason
from wgvx.fleet import files
from wgvx.fleet.plan import Plan, PrivateKeys, Site

Pair = tuple[str, str]


def pair(a: str, b: str) -> Pair:
    """Two sites in the order in which their preshared key is filed."""
    return (a, b) if a < b else (b, a)


class Keyring:
    """The keys that are there, and those that were made since and are not written yet."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = plan.beside("keys")
        self._private: dict[str, str] = {}
        self._public: dict[str, str] = {}
        self._preshared: dict[Pair, str] = {}
        self._unsaved: dict[Path, str] = {}

    @property
    def unsaved(self) -> int:
        """How many keys were made and not written yet."""
        return len(self._unsaved)

    def unsaved_public(self) -> set[str]:
        """The public keys, base64, that nobody has been told yet."""
        private = (key for path, key in self._unsaved.items() if path.suffix == ".key")
        return {keys.encode(keys.public_key(keys.decode(key))) for key in private}

    def private(self, name: str) -> str | None:
        """A site's private key, base64; None where it stays on the node."""
        site = self._plan.sites[name]
        if self.stays_on_node(site):
            return None
        if name not in self._private:
            self._private[name] = self._kept(self._key_path(name), keys.generate_private)
        return self._private[name]

    def public(self, name: str) -> str:
        """A site's public key, base64; ConfigError where it has not come back yet."""
        if name not in self._public:
            self._public[name] = self._find_public(name)
        return self._public[name]

    def preshared(self, a: str, b: str) -> str | None:
        """The preshared key of two sites, base64; None where the plan has none."""
        if not self._plan.preshared_keys:
            return None
        both = pair(a, b)
        if both not in self._preshared:
            self._preshared[both] = self._kept(self._psk_path(both), keys.generate_preshared)
        return self._preshared[both]

    def stays_on_node(self, site: Site) -> bool:
        """Whether a site's private key is none of ours."""
        return site.public_key is not None or self._plan.private_keys is PrivateKeys.NODES

    def renew(self, names: Iterable[str]) -> None:
        """New private keys for some sites, and a new preshared key for each of their pairs.

        Where a private key stays on the node, its new public key has to be in `SITE.next.pub`.
        ConfigError where it is not, and where the plan itself says the key.
        """
        renewed = set(names)
        for name in renewed:
            site = self._plan.sites[name]
            if site.public_key is not None:
                raise ConfigError(
                    f'{self._plan.path}: [[site]] (name "{name}"): its public key is the plan\'s '
                    "to say, want the new one there, then wgvx fleet render"
                )
            if self.stays_on_node(site):
                self._renew_public(name)
            else:
                self._private[name] = self._new(self._key_path(name), keys.generate_private)
                self._public.pop(name, None)
        for both in self._filed_pairs():
            if renewed & set(both):
                self._preshared[both] = self._new(self._psk_path(both), keys.generate_preshared)

    def adopt(self, private: Mapping[str, str], preshared: Mapping[Pair, str]) -> None:
        """Keys that were made elsewhere, by site and by pair, base64; ConfigError where the folder
        has another."""
        for name, key in private.items():
            self._private[name] = self._adopted(self._key_path(name), key)
        for both, key in preshared.items():
            self._preshared[both] = self._adopted(self._psk_path(both), key)

    def save(self) -> None:
        """Write what was made."""
        if not self._unsaved:
            return
        (self._folder / "psk").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for path, key in self._unsaved.items():
            files.write(path, key + "\n", files.SECRET_MODE)
            # It is in SITE.pub now.
            if path.suffix == ".pub":
                path.with_suffix(".next.pub").unlink(missing_ok=True)
        os.sync()  # One for all: a key that nodes have must not be lost here.
        self._unsaved.clear()

    def forget(self, plan: Plan, pairs: Iterable[Pair]) -> list[Path]:
        """Delete the keys of sites that `plan` does not have, and of pairs not among `pairs`.

        Returns what was deleted.
        """
        kept = {self._psk_path(both).name for both in pairs}
        stale = [
            path
            for path in self._folder.glob("*.*")
            if path.suffix in (".key", ".pub") and path.name.split(".")[0] not in plan.sites
        ]
        stale += [path for path in self._folder.glob("psk/*") if path.name not in kept]
        for path in stale:
            path.unlink()
        return sorted(stale)

    def _find_public(self, name: str) -> str:
        site = self._plan.sites[name]
        if site.public_key is not None:
            return keys.encode(site.public_key)
        private = self.private(name)
        if private is not None:
            return keys.encode(keys.public_key(keys.decode(private)))
        path = self._folder / f"{name}.pub"
        key = _read(path)
        if key is None:
            raise ConfigError(
                f'{self._plan.path}: [[site]] (name "{name}"): its private key stays on the node '
                f"and its public key is not here yet, want it in {path}. On the node: "
                + site.kind.make_key(name)
            )
        return key

    def _renew_public(self, name: str) -> None:
        path = self._folder / f"{name}.next.pub"
        key = _read(path)
        if key is None:
            raise ConfigError(
                f'{self._plan.path}: [[site]] (name "{name}"): its private key stays on the node, '
                f"want its new public key in {path}. On the node: "
                + self._plan.sites[name].kind.make_key(f"{name}.next")
            )
        self._public[name] = self._made(self._folder / f"{name}.pub", key)

    def _kept(self, path: Path, generate: Callable[[], bytes]) -> str:
        """The key of a file that may have to be made first."""
        return _read(path) or self._new(path, generate)

    def _new(self, path: Path, generate: Callable[[], bytes]) -> str:
        return self._made(path, keys.encode(generate()))

    def _made(self, path: Path, key: str) -> str:
        self._unsaved[path] = key
        return key

    def _adopted(self, path: Path, key: str) -> str:
        if _read(path) not in (None, key):
            raise ConfigError(f"{path}: found another key, want a plan of a new name")
        return self._made(path, key)

    def _key_path(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _psk_path(self, both: Pair) -> Path:
        return self._folder / "psk" / "+".join(both)

    def _filed_pairs(self) -> list[Pair]:
        """The pairs whose preshared key is there or was made."""
        filed = (path.name.partition("+") for path in self._folder.glob("psk/[!.]*+*"))
        return sorted({pair(a, b) for a, _, b in filed} | self._preshared.keys())


def _read(path: Path) -> str | None:
    """The key in a file, checked; None where there is no such file."""
    try:
        return files.read_key(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
    except ValueError:
        raise ConfigError(
            f"{path}: found no key in it, want 32 bytes as 44 characters of base64"
        ) from None
