"""What a plan means, and what is refused, by its message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.plans import FLEET, HUBS, MESH, TENANT, TWO_HUBS, planned, refusal, site
from wgvx import keys
from wgvx.config import quiet
from wgvx.fleet.plan import Kind, PrivateKeys, Topology
from wgvx.fleet.read import SCHEMA
from wgvx.fleet.template import filled

KEY = keys.encode(keys.public_key(bytes(range(32))))

REFUSED = {
    # Tables and keys.
    "no fleet": (site("a"), ": the table [fleet] is missing, want one with tunnel"),
    "no site": (FLEET, ": found no [[site]], want one for each node"),
    "no tunnel": ("[fleet]\n" + site("a"), ":1: [fleet], tunnel: missing, want the prefix"),
    "misspelt": (
        FLEET + "topologie = 'mesh'\n",
        ':3: [fleet], topologie: there is no such key; did you mean "topology"?',
    ),
    "wg-quick's table": ("[Interface]\n", 'did you mean "site"?'),
    "wrong table": (FLEET + "vni = 1\n", '"vni" belongs under [[tenant]]'),
    "no name": (FLEET + "[[site]]\n", ":3: [[site]] 1, name: missing, want a name of 1 to 15"),
    "name twice": (
        FLEET + site("a") + site("a"),
        ':6: [[site]] 2 (name "a"), name: found "a" of [[site]] 1 (name "a") again',
    ),
    "name with a dot": (FLEET + site("a.b"), 'name: found "a.b", want a name of 1 to 15'),
    "a name of Ansible's": (
        FLEET + site("localhost"),
        "and none of all, default, lo, ungrouped, localhost",
    ),
    "a name of the kernel's": (FLEET + site("lo"), 'name: found "lo", want a name of 1 to 15'),
    "a device of the kernel's": (
        FLEET + site("a") + TENANT.replace("blue", "default"),
        'name: found "default", want a name of 1 to 15',
    ),
    "kind": (FLEET + site("a", 'kind = "linux"'), 'found "linux", want "wgvx" or "kernel"'),
    "topology": (
        FLEET + "topology = 'ring'\n" + site("a"),
        'found "ring", want "mesh" or "hub-and-spoke"',
    ),
    "endpoint without port": (
        FLEET + site("a", 'endpoint = "192.0.2.1"'),
        '[[site]] 1 (name "a"), endpoint: found "192.0.2.1", want "host:port"',
    ),
    "tunnel twice IPv4": (
        '[fleet]\ntunnel = ["10.1.0.0/16", "10.2.0.0/16"]\n' + site("a"),
        "found 2 prefixes, want one of each family at most",
    ),
    "tunnel of one": (
        '[fleet]\ntunnel = ["10.1.0.1/32"]\n' + site("a"),
        "found 10.1.0.1/32, want a prefix with room for two hosts or more",
    ),
    "tiny underlay": (FLEET + site("a", "underlay_mtu = 100"), "from 218 to 65536 bytes"),
    # Keys.
    "a key in two": (
        FLEET + site("a", f'public_key = "{KEY}"') + site("b", f'public_key = "{KEY}"'),
        'found the key of [[site]] 1 (name "a") again, want each once',
    ),
    "no key": (FLEET + site("a", 'public_key = "x"'), "found 1 characters, want a key"),
    "no key file": (
        FLEET + site("a", 'public_key_file = "none.pub"'),
        "cannot be read: No such file or directory",
    ),
    # Topology.
    "hub in a mesh": (
        FLEET + site("a", "hub = true", at=1),
        'there are no hubs in a mesh, want [fleet] topology = "hub-and-spoke"',
    ),
    "two behind NAT": (
        FLEET + site("a") + site("b") + TENANT,
        '[[site]] 2 (name "b"), endpoint: missing as that of "a" is, so neither can call the other',
    ),
    "no hub": (HUBS + site("a"), "want a [[site]] with hub = true for it"),
    "a hidden hub": (
        HUBS + site("a", "hub = true"),
        '[[site]] 1 (name "a"), endpoint: missing, want where the spokes reach this hub',
    ),
    "via nobody": (
        HUBS + site("a", "hub = true", at=1) + site("b", 'via = "c"'),
        '[[site]] 2 (name "b"), via: found "c", want a site with hub = true: a',
    ),
    # Tenants.
    "an unknown site": (
        MESH + 'sites = ["a", "d"]\n',
        '[[tenant]] 1 (name "blue"), sites: found "d", want sites of this plan: a, b, c',
    ),
    "a VNI twice": (
        MESH + TENANT.replace("blue", "red").replace("10.0.0", "10.0.1"),
        '[[tenant]] 2 (name "red"), vni: found 4200 of [[tenant]] 1 (name "blue") again',
    ),
    "named as a site": (
        MESH.replace("blue", "a"),
        '[[tenant]] 1 (name "a"), name: found "a", want a name that no site has',
    ),
    "nothing to number": (
        MESH.replace("prefix", "#"),
        "prefix: missing, want that of the overlay addresses",
    ),
    "bridge and prefix": (MESH + 'bridge = "br0"\n', "bridge: found prefix beside it"),
    "reserved elsewhere": (
        MESH + 'reserved = ["10.1.0.0/28"]\n',
        'reserved: found "10.1.0.0/28", want parts of this tenant\'s prefix',
    ),
    # Overlaps.
    "tunnel and endpoint": (
        FLEET + site("a", 'endpoint = "10.254.3.4:51820"'),
        ":2: [fleet], tunnel: found 10.254.0.0/16, which overlaps 10.254.3.4, the endpoint of site "
        '"a", want a prefix apart from it',
    ),
    "tunnel and underlay": (
        FLEET + site("a", 'underlay = ["10.0.0.0/8"]'),
        'which overlaps 10.0.0.0/8 in underlay of site "a"',
    ),
    "tenant and tunnel": (
        MESH.replace("10.0.0.0/24", "10.254.7.0/24"),
        '[[tenant]] 1 (name "blue"), prefix: found 10.254.7.0/24, which overlaps 10.254.0.0/16 in '
        "[fleet] tunnel",
    ),
    "tenant and endpoint": (
        MESH.replace("10.0.0.0/24", "192.0.2.0/24"),
        'which overlaps 192.0.2.2, the endpoint of site "b"',
    ),
    "tenant and underlay": (
        FLEET + site("a", 'underlay = ["10.0.0.128/25"]', at=1) + TENANT,
        'found 10.0.0.0/24, which overlaps 10.0.0.128/25 in underlay of site "a"',
    ),
    "two tenants at one site": (
        MESH + TENANT.replace("blue", "red").replace("4200", "1"),
        'which overlaps 10.0.0.0/24 in prefix of tenant "blue", and site "a" has both',
    ),
    # MTU.
    "IPv6 on a narrow path": (
        MESH.replace("10.0.0.0/24", "fd00:a::/64").replace(
            'name = "c"', 'name = "c"\nunderlay_mtu = 1400'
        ),
        "prefix: found IPv6, which needs an MTU of 1280, and the overlay's is 1250 for the "
        'underlay_mtu 1400 of site "c"',
    ),
    "IPv6 in a narrow tunnel": (
        MESH.replace("10.254.0.0/16", "fd00:fe::/64").replace(
            'name = "c"', 'name = "c"\nunderlay_mtu = 1300'
        ),
        '[fleet], tunnel: found IPv6, which needs an MTU of 1280, and site "a" has one of 1220',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    text, wanted = REFUSED[name]
    assert wanted in refusal(tmp_path, text)


def test_defaults(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    assert plan.topology is Topology.MESH
    assert plan.private_keys is PrivateKeys.HERE
    assert plan.preshared_keys
    assert plan.hubs == ()
    a, c = plan.sites["a"], plan.sites["c"]
    assert (a.kind, a.listen_port, a.keepalive, a.underlay_mtu) == (Kind.WGVX, 51820, 0, 1500)
    # Behind NAT it calls, and stays within reach.
    assert (c.endpoint, c.keepalive) == (None, 25)
    assert plan.tenants["blue"].sites == ("a", "b", "c")
    assert plan.tenants["blue"].udp_port == 4789


def test_it_listens_where_it_is_reached(tmp_path: Path) -> None:
    plan = planned(tmp_path, FLEET + site("a", 'endpoint = "a.example:7000"'))
    assert plan.sites["a"].listen_port == 7000
    forwarded = site("a", 'endpoint = "a.example:7000"', "listen_port = 51820")
    assert planned(tmp_path, FLEET + forwarded).sites["a"].listen_port == 51820


def test_the_public_key_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text(KEY + "\n")
    plan = planned(tmp_path, FLEET + site("a", 'public_key_file = "a.pub"'))
    assert plan.sites["a"].public_key == keys.decode(KEY)


def test_what_may_overlap(tmp_path: Path) -> None:
    """Hosts' networks of two sites, and prefixes of tenants that never meet."""
    lan = 'underlay = ["192.168.1.0/24"]'
    apart = (
        FLEET
        + "".join(site(name, lan, at=at) for at, name in enumerate("abcd", 1))
        + TENANT
        + 'sites = ["a", "b"]\n'
        + TENANT.replace("blue", "red").replace("4200", "1")
        + 'sites = ["c", "d"]\n'
        + '[[tenant]]\nname = "lan"\nvni = 3\nbridge = "br0"\n'
    )
    assert len(planned(tmp_path, apart).tenants) == 3
    # A tenant's prefix may be the hosts' network where the tenant is not.
    elsewhere = FLEET + site("a", at=1) + site("b", 'underlay = ["10.0.0.0/24"]', at=2) + TENANT
    assert planned(tmp_path, elsewhere + 'sites = ["a"]\n').tenants["blue"].sites == ("a",)


@pytest.mark.parametrize("text", [MESH, TWO_HUBS, filled("plan.toml")])
def test_the_examples_are_valid(text: str, tmp_path: Path) -> None:
    assert planned(tmp_path, text).tenants["blue"].vni == 4200


def test_the_plan_to_begin_with_names_every_key() -> None:
    """But for those that few will want, which docs/fleet.md has."""
    text = filled("plan.toml")
    rare = {"listen_port", "tunnel", "public_key", "public_key_file", "image", "udp_port"}
    rare |= set(quiet.KEYS)
    for table in ("fleet", "site", "tenant"):
        for key in set(SCHEMA.keys[table]) - rare:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, key
