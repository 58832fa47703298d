"""Keys: made once, kept to themselves, renewed on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.plans import FLEET, MESH, TENANT, nodes, planned, site
from wgvx import keys
from wgvx.config import ConfigError
from wgvx.fleet.keyring import Keyring

A, B = (keys.encode(keys.public_key(bytes([number] * 32))) for number in (1, 2))
NODES = FLEET + 'private_keys = "nodes"\n' + site("a", at=1) + site("b", at=2) + TENANT


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    first = Keyring(plan)
    made = first.private("a"), first.public("a"), first.preshared("a", "b")
    assert made[0] is not None
    assert made[1] == keys.encode(keys.public_key(keys.decode(made[0])))
    assert first.preshared("b", "a") == made[2]
    assert first.unsaved_public() == {made[1]}
    first.save()
    assert first.unsaved == 0
    again = Keyring(plan)
    assert (again.private("a"), again.public("a"), again.preshared("a", "b")) == made
    assert again.unsaved == 0


def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    keyring = Keyring(plan)
    keyring.private("a")
    keyring.preshared("a", "b")
    keyring.save()
    folder = tmp_path / "fleet.keys"
    assert {path.name for path in folder.rglob("*")} == {"a.key", "psk", "a+b"}
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    # Not in what Python would show of them either.
    shown = repr(nodes(tmp_path, MESH)["a"])
    for path in folder.rglob("*"):
        assert path.is_dir() or path.read_text().strip() not in shown


def test_private_keys_that_stay_on_their_nodes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        nodes(tmp_path, NODES)
    told = str(caught.value)
    assert '[[site]] (name "a"): its private key stays on the node' in told
    assert "wgvx genkey > /etc/wgvx/a.key) && wgvx pubkey < /etc/wgvx/a.key" in told
    folder = tmp_path / "fleet.keys"
    folder.mkdir()
    (folder / "a.pub").write_text(A + "\n")
    (folder / "b.pub").write_text(B + "\n")
    found = nodes(tmp_path, NODES)
    assert found["a"].private_key is None
    assert found["b"].peers[0].public_key == A
    assert not list(folder.glob("*.key"))


def test_one_private_key_that_stays_on_its_node(tmp_path: Path) -> None:
    text = FLEET + site("a", f'public_key = "{A}"', at=1) + site("b", at=2)
    found = nodes(tmp_path, text)
    assert (found["a"].private_key, found["a"].public_key) == (None, A)
    assert found["b"].private_key is not None


def test_without_preshared_keys(tmp_path: Path) -> None:
    found = nodes(tmp_path, MESH.replace("[fleet]", "[fleet]\npreshared_keys = false"))
    assert {peer.preshared_key for node in found.values() for peer in node.peers} == {None}


def test_renewal(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    before = Keyring(plan)
    pairs = ("a", "b"), ("a", "c"), ("b", "c")
    old = {name: before.private(name) for name in "abc"}
    old_psks = [before.preshared(*both) for both in pairs]
    before.save()
    after = Keyring(plan)
    after.renew(["b"])
    after.save()
    new = {name: Keyring(plan).private(name) for name in "abc"}
    assert [name for name in "abc" if new[name] != old[name]] == ["b"]
    new_psks = [Keyring(plan).preshared(*both) for both in pairs]
    assert [a == b for a, b in zip(old_psks, new_psks, strict=True)] == [False, True, False]


def test_renewal_of_what_is_on_the_node(tmp_path: Path) -> None:
    plan = planned(tmp_path, NODES)
    folder = tmp_path / "fleet.keys"
    folder.mkdir()
    (folder / "a.pub").write_text(A)
    with pytest.raises(ConfigError, match=r"want its new public key in .*a\.next\.pub"):
        Keyring(plan).renew(["a"])
    (folder / "a.next.pub").write_text(B)
    keyring = Keyring(plan)
    keyring.renew(["a"])
    keyring.save()
    assert Keyring(plan).public("a") == B
    assert not (folder / "a.next.pub").exists()
    told = planned(tmp_path, FLEET + site("a", f'public_key = "{A}"'))
    with pytest.raises(ConfigError, match="its public key is the plan's to say"):
        Keyring(told).renew(["a"])


def test_who_is_gone_is_forgotten(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    keyring = Keyring(plan)
    for name in "abc":
        keyring.private(name)
    for both in ("ab", "ac", "bc"):
        keyring.preshared(*both)
    keyring.save()
    smaller = planned(tmp_path, FLEET + site("a", at=1) + site("c") + TENANT)
    gone = Keyring(smaller).forget(smaller, [("a", "c")])
    assert [path.name for path in gone] == ["b.key", "a+b", "b+c"]
    assert {path.name for path in (tmp_path / "fleet.keys").rglob("*")} == {
        *("a.key", "c.key", "psk", "a+c")
    }


def test_a_file_without_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "fleet.keys"
    folder.mkdir()
    (folder / "a.key").write_text("secret\n")
    with pytest.raises(ConfigError, match=r"a\.key: found no key in it, want 32 bytes") as caught:
        nodes(tmp_path, MESH)
    assert "secret" not in str(caught.value)
