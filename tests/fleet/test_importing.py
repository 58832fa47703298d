"""A plan out of wg-quick's files leaves the tunnels as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.plans import MESH, TWO_HUBS, fleet
from wgvx import keys
from wgvx.cli.main import main
from wgvx.config import ConfigError
from wgvx.fleet.importing import imported
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read
from wgvx.fleet.wg_quick import wg_quick_file
from wgvx.fleet.wg_quick_reader import QuickFile, read_quick

PRIVATE = [keys.encode(bytes([number] * 32)) for number in range(4)]
PUBLIC = [keys.encode(keys.public_key(bytes([number] * 32))) for number in range(4)]
PSK = keys.encode(b"p" * 32)


def quick_files(there: Fleet, folder: Path) -> list[Path]:
    """What wg-quick would be given for a fleet."""
    folder.mkdir()
    for node in there.nodes():
        (folder / f"{node.name}.conf").write_text(wg_quick_file(node))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("text", [MESH, TWO_HUBS])
def test_what_was_rendered_is_taken_over_as_it_is(text: str, tmp_path: Path) -> None:
    there = fleet(tmp_path, text)
    files = quick_files(there, tmp_path / "quick")
    plan = tmp_path / "new.toml"
    assert main(["fleet", "import", str(plan), *map(str, files)]) == 0
    assert main(["fleet", "render", str(plan)]) == 0
    for node in there.nodes():
        again = read_quick(tmp_path / f"new.rendered/nodes/{node.name}/wg-quick/{node.name}.conf")
        before = read_quick(tmp_path / f"quick/{node.name}.conf")
        assert again.private_key == before.private_key
        assert {address.ip for address in again.addresses} == {
            address.ip for address in before.addresses
        }
        assert (again.listen_port, again.mtu) == (before.listen_port, before.mtu)
        assert _ways(again) == _ways(before)


def _ways(file: QuickFile) -> list[tuple[object, ...]]:
    """Each peer, and how it is reached; prefixes may be larger, for the plan's own is."""
    return sorted(
        (peer.public_key, peer.preshared_key, str(peer.endpoint), peer.keepalive)
        for peer in file.peers
    )


HAND = f"""\
[Interface]
PrivateKey = {PRIVATE[1]}
Address = 10.9.0.1/32   # host
address = fd00:9::1/128
DNS = 9.9.9.9
PostUp = iptables -A FORWARD -i %i -j ACCEPT

# phone
[Peer]
PublicKey = {PUBLIC[2]}
PresharedKey={PSK}
AllowedIPs = 10.9.0.77/32, fd00:9::77/128
PersistentKeepalive = off

# the new office, behind the old one
[Peer]
PublicKey = {PUBLIC[3]}
Endpoint = office.example:7000
AllowedIPs = 10.9.0.3/32, 192.168.7.0/24
"""


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "Home_1.conf"
    file.write_text(HAND)
    found = imported([file])
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(found.text)
    plan = read(plan_file)
    assert list(plan.sites) == ["home-1", "phone", "the-new-offi"]
    assert [str(prefix) for prefix in plan.tunnel] == ["10.9.0.0/25", "fd00:9::/121"]
    home, phone, office = plan.sites.values()
    assert (str(home.tunnel), home.public_key, home.endpoint) == ("10.9.0.1", None, None)
    # Who has no file keeps its private key where it is.
    assert phone.public_key == keys.decode(PUBLIC[2])
    assert str(phone.tunnel) == "10.9.0.77"
    assert str(office.endpoint) == "office.example:7000"
    assert not plan.hubs
    assert found.private == {"home-1": PRIVATE[1]}
    assert found.preshared == {("home-1", "phone"): PSK}
    assert found.notes == [
        f"{file}: not taken over: dns, postup",
        'site "home-1": not taken over: 192.168.7.0/24 behind "the-new-offi", which is no site\'s',
    ]
    assert PSK not in repr(found)
    assert PRIVATE[1] not in repr(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PrivateKey = x\n", ":1: privatekey: found it before any section"),
        ("[Interface]\nPrivateKey = x\n", ":2: privatekey: found 1 characters, want a key"),
        ("[Interface]\n", r": \[Interface\], PrivateKey: missing"),
        (f"[Interface]\nPrivateKey = {PRIVATE[1]}\n", r": \[Interface\], Address: missing"),
        (HAND + "Endpoint = there\n", ':20: endpoint: found "there", want "host:port"'),
        (HAND + "Colour = red\n", r":20: \[Peer\], colour: there is no such key"),
        (HAND + "[Peer]\n", r": \[Peer\] 3, PublicKey: missing"),
        (HAND + "[Pear]\n", r":20: found \[pear\], want \[Interface\] or \[Peer\]"),
        (HAND.replace(PUBLIC[2], PUBLIC[1]), "has itself as a peer"),
        (HAND.replace("off", "often"), ':13: persistentkeepalive: found "often"'),
    ],
)
def test_a_file_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        imported([file])
    assert PRIVATE[1] not in str(caught.value)


def test_two_files_that_contradict_each_other(tmp_path: Path) -> None:
    there = fleet(tmp_path, MESH)
    files = quick_files(there, tmp_path / "quick")
    text = files[0].read_text()
    first = read_quick(files[0]).peers[0].preshared_key
    assert first is not None
    files[0].write_text(text.replace(keys.encode(first), PSK))
    with pytest.raises(ConfigError, match="sites a and b have different preshared keys"):
        imported(files)
    with pytest.raises(ConfigError, match="has the key of another file"):
        imported([files[1], files[1]])


def test_a_plan_is_not_overwritten(tmp_path: Path) -> None:
    there = fleet(tmp_path, MESH)
    files = quick_files(there, tmp_path / "quick")
    assert main(["fleet", "import", str(tmp_path / "fleet.toml"), *map(str, files)]) == 2
    assert (tmp_path / "fleet.toml").read_text() == MESH
