"""Plans and wg-quick's files of somebody who means harm: refused, or harmless in all that is
rendered."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.plans import FLEET, fleet, write
from wgvx import keys
from wgvx.config import ConfigError
from wgvx.fleet.importing import imported
from wgvx.fleet.read import read, read_text

PRIVATE, PSK = (keys.encode(bytes([number] * 32)) for number in (1, 2))
PUBLIC = keys.encode(keys.public_key(bytes([3] * 32)))
HARMLESS = re.compile(r"[A-Za-z0-9_.:/@%+\[\]-]*")
"""What no shell, TOML, YAML, INI file, nftables or Ansible takes for anything but text."""
PIECES = st.sampled_from(
    [
        *("a", "b1", "-", ".", "..", "/", "%", "%i", ":", "[", "]", "[fe80::1%", "]:1"),
        *('"', "'", "\\", "\n", "\r", "\0", "\u2028", "\x85", "\x1b[2J", "\t", " ", "#", ";", "|"),
        *("$(id)", "`id`", "${x}", "{{x}}", "{%x%}", "!!x", "*", "&a", "- ", ": ", "é"),
        *("192.0.2.1:1", "\U0001f600"),
    ]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module", name="folder")
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


PLACES = st.fixed_dictionaries(
    {},
    optional={
        "site": TEXTS,
        "endpoint": TEXTS | TEXTS.map(lambda scope: f"[fe80::1%{scope}]:1"),
        "tenant": TEXTS,
        "bridge": TEXTS,
        "image": TEXTS,
        "public_key_file": TEXTS,
    },
)


@given(PLACES)
def test_a_plan(folder: Path, places: dict[str, str]) -> None:
    def line(key: str, place: str, default: str | None = None) -> str:
        value = places.get(place, default)
        return "" if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}\n"

    text = (
        f"{FLEET}{line('image', 'image')}[[site]]\n{line('name', 'site', 'a')}"
        f"{line('endpoint', 'endpoint', '192.0.2.1:1')}"
        f"{line('public_key_file', 'public_key_file')}"
        f"[[tenant]]\n{line('name', 'tenant', 'blue')}vni = 1\n{line('bridge', 'bridge', 'br0')}"
    )
    path, said = write(folder, text), ""
    try:
        plan = read(path)
        (site,), (tenant,) = plan.sites.values(), plan.tenants.values()
        for value in (site.name, site.endpoint, tenant.name, tenant.bridge, plan.image):
            assert HARMLESS.fullmatch(str(value)), value
    except ConfigError as error:
        said = str(error)
    assert said.isprintable()


LINES = st.lists(
    st.sampled_from(
        [
            *("[Interface]", "[Peer]", "# home", "[", "=", f"PrivateKey = {PRIVATE}", PRIVATE),
            *("Address = 10.9.0.1/24, fd00::1/64", "Address = 255.255.255.254", "Address = ::/0"),
            *(f"PublicKey = {PUBLIC}", f"PublicKey = {PSK}", f"PresharedKey = {PSK}"),
            *("AllowedIPs = 0.0.0.0/0, ::/0", "AllowedIPs = 0.0.0.0, ::", "AllowedIPs = 10.9.0.2"),
            *("AllowedIPs = 255.255.255.255/32", "MTU = 0", "MTU = 65535", f"ListenPort = {PSK}"),
            *("Endpoint = [fe80::1%{{x}}]:1", "Endpoint = a.example:1", "PostUp = rm -rf /"),
        ]
    )
    | st.tuples(st.sampled_from(["", "Endpoint = ", "Address = ", "MTU = "]), TEXTS).map("".join),
    max_size=10,
)


@given(LINES)
def test_a_file_of_wg_quick(folder: Path, lines: list[str]) -> None:
    start = f"[Interface]\nPrivateKey = {PRIVATE}\nAddress = 10.9.0.1/24\n"
    file = folder / "a.conf"
    file.write_text(start + "\n".join(lines), "utf-8")
    said: list[str] = []
    try:
        found = imported([file])
        said = found.notes
        assert PRIVATE not in found.text
        assert "PostUp" not in found.text
        plan = read_text(found.text, folder / "imported.toml")
        for site in plan.sites.values():
            assert HARMLESS.fullmatch(str(site.endpoint))
    except ConfigError as error:
        said.append(str(error))
    for text in said:
        assert text.isprintable()
        assert not any(key.lower()[:43] in text.lower() for key in (PRIVATE, PSK))


def test_what_is_accepted_is_rendered(tmp_path: Path) -> None:
    """The strangest that a plan takes."""
    text = (
        f'{FLEET}image = "r.example:5000/a_b/c.d:1@sha256:0"\n[[site]]\nname = "0--1"\n'
        'endpoint = "[fe80::1%wlan-0.7+a_b]:1"\n[[tenant]]\nname = "no"\nvni = 0\n'
        'bridge = "br0.1-_"\n'
    )
    assert [node.name for node in fleet(tmp_path, text).nodes()] == ["0--1"]
