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
        (HAND.replace("off", "1" * 5000), ":13: persistentkeepalive: found 5000 characters"),
        (HAND.replace("off", "\x1b[2J"), r':13: persistentkeepalive: found "\\u001b\[2J"'),
        (HAND + "[\x1b[2J]\n", r':20: found \["\\u001b\[2j"\], want'),
        # A key where none belongs.
        (PRIVATE[1], ":1: 43 characters: found it before any section"),
        (HAND + PRIVATE[1], r":20: \[Peer\], 43 characters: there is no such key"),
        (HAND + f"[{PRIVATE[1]}]", r":20: found \[44 characters\], want"),
        (HAND.replace("office.example:7000", PRIVATE[1]), ":18: endpoint: found 44 characters"),
        (HAND.replace("10.9.0.1/32", PRIVATE[1]), ":3: address: found 44 characters"),
        (HAND.replace("off", PRIVATE[1]), ":13: persistentkeepalive: found 44 characters"),
    ],
)
def test_a_file_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        imported([file])
    said_lower = str(caught.value).lower()
    assert PRIVATE[1][:8].lower() not in said_lower
    assert "\x1b" not in said_lower


def test_what_is_left_out_is_named_without_keys_and_escapes(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text(HAND.replace("DNS", f"{PRIVATE[1]}\n\x1b[2J"))
    assert imported([file]).notes[0] == (
        f'{file}: not taken over: "\\u001b[2j", 43 characters, postup'
    )


@pytest.mark.parametrize("address", ["0.0.0.0/32", "255.255.255.255/32", "::/128", "ff02::1/128"])
def test_a_host_that_is_none_is_not_taken_for_one(address: str, tmp_path: Path) -> None:
    """No prefix, however large, has room for it."""
    file = tmp_path / "a.conf"
    file.write_text(HAND.replace("10.9.0.77/32, fd00:9::77/128", address))
    assert f"not taken over: {address} behind" in imported([file]).notes[1]


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


def test_keys_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of an earlier plan of this name, which may be all that is left of it."""
    there = fleet(tmp_path, MESH)
    files = quick_files(there, tmp_path / "quick")
    (tmp_path / "new.keys").mkdir()
    key = tmp_path / "new.keys/a.key"
    key.write_text(PRIVATE[1] + "\n")
    assert main(["fleet", "import", str(tmp_path / "new.toml"), *map(str, files)]) == 2
    assert f"{key}: found another key, want a plan of a new name" in capsys.readouterr().err
    assert key.read_text() == PRIVATE[1] + "\n"
    assert not (tmp_path / "new.toml").exists()
