"""What comes out of a file: the contract's defaults, and every key."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.files import (
    NETWORK,
    NODE,
    OWN_PUBLIC,
    PEER,
    PRIVATE,
    PSK,
    B,
    read,
)
from wgvx import config, keys
from wgvx.config import (
    AttachConfig,
    DgramAttach,
    EndpointName,
    FdbEntry,
    Forward,
    SocketAddress,
    StackAttach,
    StreamAttach,
    TapAttach,
    default_remotes,
    derive_mac,
    parse_local_forward,
)


def test_defaults_are_the_contracts(tmp_path: Path) -> None:
    loaded = read(tmp_path, NODE + PEER + NETWORK)
    assert (loaded.name, loaded.path) == ("a", tmp_path / "a.toml")
    node, (peer,), (network,) = loaded.node, loaded.peers, loaded.networks
    assert (node.listen_port, node.fwmark, node.forward) == (51820, 0, False)
    assert node.mtu is None
    assert node.probe_mtu
    assert network.clamp_mss
    assert node.state_dir is None
    assert peer.preshared_key is None
    assert peer.endpoint is None
    assert peer.persistent_keepalive == 0
    assert (network.udp_port, network.learning, network.ageing) == (4789, True, 300)
    assert network.max_entries == 65536
    assert network.remotes is None
    assert network.accept is None
    assert (network.mtu, network.bridge, network.netns) == (None, None, None)
    assert (network.addresses, network.fdb) == ((), ())
    mac = derive_mac(keys.decode(OWN_PUBLIC), 4200, "a")
    assert network.attach == (TapAttach("a", mac),)
    assert loaded.warnings == ()


def test_the_contracts_example_as_a_whole(tmp_path: Path) -> None:
    for name, key in (("a.key", PRIVATE + "\n"), ("ab.psk", PSK)):
        (tmp_path / name).write_text(key)
        (tmp_path / name).chmod(0o600)
    loaded = read(
        tmp_path,
        f"""
[node]
private_key_file = "a.key"
listen_port = 51821
address = ["10.254.0.1/24", "fd00::1/64"]
mtu = 1420
fwmark = 0x10
forward = true
state_dir = "state"

[[peer]]
name = "b"
public_key = "{B}"
preshared_key_file = "ab.psk"
endpoint = "[2001:db8::2]:51820"
allowed_ips = ["10.254.0.2/32", "10.9.9.9/8", "10.254.0.2"]
persistent_keepalive = 25

[[network]]
vni = 4200
tap = "blue0"
address = ["10.0.0.1/24"]
mac = "02:00:00:00:00:01"
mtu = 1350
netns = "blue"
udp_port = 8472
remotes = ["10.254.0.2"]
accept = ["10.254.0.2"]
fdb = [
  {{ mac = "02:00:00:00:00:02", vtep = "10.254.0.2" }},
  {{ mac = "33:33:00:00:00:01", vtep = "10.254.0.2" }},
  {{ mac = "33:33:00:00:00:01", vtep = "10.254.0.3" }},
]
learning = false
ageing = 60
max_entries = 10
""",
    )
    node, (peer,), (network,) = loaded.node, loaded.peers, loaded.networks
    assert node.private_key == bytes(range(32))
    assert node.addresses == (ip_interface("10.254.0.1/24"), ip_interface("fd00::1/64"))
    assert (node.listen_port, node.mtu, node.fwmark, node.forward) == (51821, 1420, 16, True)
    assert not node.probe_mtu  # It was not asked for, and the MTU is said.
    assert node.state_dir == tmp_path / "state"
    assert peer.preshared_key == b"p" * 32
    assert peer.endpoint == EndpointName("2001:db8::2", 51820)
    # Host bits are masked as wg(8) does, a bare address is a host, and once is enough.
    assert peer.allowed_ips == (ip_network("10.254.0.2/32"), ip_network("10.0.0.0/8"))
    assert peer.persistent_keepalive == 25
    assert network.attach == (TapAttach("blue0", bytes.fromhex("020000000001")),)
    assert network.remotes == (ip_address("10.254.0.2"),)
    assert network.accept == (ip_network("10.254.0.2/32"),)
    group = bytes.fromhex("333300000001")
    assert network.fdb == (
        FdbEntry(bytes.fromhex("020000000002"), ip_address("10.254.0.2")),
        FdbEntry(group, ip_address("10.254.0.2")),
        FdbEntry(group, ip_address("10.254.0.3")),
    )
    assert (network.netns, network.udp_port, network.mtu) == ("blue", 8472, 1350)
    assert (network.learning, network.ageing, network.max_entries) == (False, 60, 10)
    (masked,) = loaded.warnings
    assert "10.9.9.9/8 is read as 10.0.0.0/8" in masked


def test_a_node_alone_is_valid_and_its_repr_keeps_its_key(tmp_path: Path) -> None:
    loaded = read(tmp_path, NODE + PEER + f'preshared_key = "{PSK}"\n')
    assert loaded.networks == ()
    for secret in (bytes(range(32)), b"p" * 32):
        assert repr(secret)[2:-1] not in repr(loaded)


def test_several_attachments_with_macs_of_their_own(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        NODE
        + NETWORK
        + 'attach = [{ type = "tap", name = "t0", mac = "02:00:00:00:00:09" },'
        + ' { type = "tap", name = "t1" }]\n',
    )
    first, second = loaded.networks[0].attach
    assert (first.name, first.mac) == ("t0", bytes.fromhex("020000000009"))
    assert (second.name, second.mac) == ("t1", derive_mac(keys.decode(OWN_PUBLIC), 4200, "t1"))


def attached(tmp_path: Path, entry: str, network: str = "") -> AttachConfig:
    """The one attachment that is written so."""
    loaded = read(tmp_path, f"{NODE}{NETWORK}{network}attach = [{{ {entry} }}]\n")
    (attach,) = loaded.networks[0].attach
    return attach


@pytest.mark.parametrize(
    ("written", "address", "other"),
    [
        ("/run/vm.sock", Path("/run/vm.sock"), "/run/vm.far"),
        ("127.0.0.1:5555", EndpointName("127.0.0.1", 5555), "127.0.0.1:5556"),
        ("[::1]:5555", EndpointName("::1", 5555), "[::1]:5556"),
    ],
)
def test_a_vm_is_waited_for_or_called(
    tmp_path: Path, written: str, address: SocketAddress, other: str
) -> None:
    for key in ("listen", "connect"):
        entry = f'type = "stream", name = "vm1", {key} = "{written}"'
        assert attached(tmp_path, entry) == StreamAttach("vm1", address, listen=key == "listen")
    entry = f'type = "dgram", name = "vm1", local = "{written}", remote = "{other}"'
    attach = attached(tmp_path, entry)
    assert isinstance(attach, DgramAttach)
    assert (attach.local, str(attach.remote)) == (address, other)


def test_the_same_number_elsewhere_is_another_place(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        NODE
        + NETWORK
        + 'attach = [{ type = "stream", name = "x", listen = "127.0.0.1:80" },'
        + ' { type = "dgram", name = "y", local = "127.0.0.1:80", remote = "127.0.0.1:81" },'
        + ' { type = "stack", name = "z", address = ["10.0.0.9/24"], socks5 = "127.0.0.2:80",'
        + ' http = "[::]:80", reverse = ["80:127.0.0.1:80"] }]\n',
    )
    assert len(loaded.networks[0].attach) == 3


@pytest.mark.parametrize("text", ["127.0.0.1:80:10.0.0.2:81", "*:80:[fd00::1]:81"])
def test_a_forward_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_local_forward(text)) == text


def test_a_socket_is_relative_to_the_file(tmp_path: Path) -> None:
    attach = attached(tmp_path, 'type = "stream", name = "vm1", listen = "./vm.sock"')
    assert isinstance(attach, StreamAttach)
    assert attach.address == tmp_path / "vm.sock"


def test_a_stack_with_all_it_may_have(tmp_path: Path) -> None:
    attach = attached(
        tmp_path,
        'type = "stack", name = "apps", address = ["10.0.0.9/24", "fd00:a::9/64"],'
        ' mac = "02:00:00:00:00:09", gateway = ["10.0.0.1"], dns = ["10.0.0.1", "fd00:a::1"],'
        ' socks5 = "127.0.0.1:1080", http = "[::1]:8080",'
        ' forward = ["8080:10.0.0.2:80", "*:2222:[fd00:a::2]:22"],'
        ' reverse = ["80:127.0.0.1:8000", "10.0.0.9:81:localhost:8001"]',
    )
    assert attach == StackAttach(
        "apps",
        bytes.fromhex("020000000009"),
        (ip_interface("10.0.0.9/24"), ip_interface("fd00:a::9/64")),
        (ip_address("10.0.0.1"),),
        dns=(ip_address("10.0.0.1"), ip_address("fd00:a::1")),
        socks5=EndpointName("127.0.0.1", 1080),
        http=EndpointName("::1", 8080),
        forward=(
            Forward(EndpointName("127.0.0.1", 8080), EndpointName("10.0.0.2", 80)),
            Forward(EndpointName("", 2222), EndpointName("fd00:a::2", 22)),
        ),
        reverse=(
            Forward(EndpointName("", 80), EndpointName("127.0.0.1", 8000)),
            Forward(EndpointName("10.0.0.9", 81), EndpointName("localhost", 8001)),
        ),
    )


def test_a_lone_stack_has_the_networks_address_and_mac(tmp_path: Path) -> None:
    network = 'address = ["10.0.0.9/24"]\nmac = "02:00:00:00:00:09"\n'
    attach = attached(tmp_path, 'type = "stack", name = "apps"', network)
    assert isinstance(attach, StackAttach)
    assert (attach.mac, attach.addresses) == (
        bytes.fromhex("020000000009"),
        (ip_interface("10.0.0.9/24"),),
    )


def test_one_tap_name_in_two_namespaces(tmp_path: Path) -> None:
    text = NODE + NETWORK + 'netns = "x"\n' + "[[network]]\nvni = 4201\n"
    assert [n.attach[0].name for n in read(tmp_path, text).networks] == ["a", "a"]


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**24 - 1), st.text(max_size=15))
def test_derived_macs_are_stable_local_and_unicast(key: bytes, vni: int, name: str) -> None:
    mac = derive_mac(key, vni, name)
    assert len(mac) == 6
    assert mac[0] & 3 == 2
    assert mac == derive_mac(key, vni, name)
    assert mac != derive_mac(key, vni ^ 1, name)
    assert mac != derive_mac(key, vni, name + "x")


def test_derived_mac_does_not_change_between_versions() -> None:
    # A changed MAC would be a new station to every host that knew the old one.
    assert derive_mac(bytes(32), 4200, "blue0") == bytes.fromhex("4ec8137c0ba9")


def test_default_remotes_are_one_host_per_peer_of_a_family_we_have(tmp_path: Path) -> None:
    node = read(tmp_path, NODE).node
    peers = [
        [ip_network("10.254.0.0/24"), ip_network("10.254.0.2/32"), ip_network("10.254.0.3/32")],
        [ip_network("fd00::2/128"), ip_network("10.254.0.4/32")],
        [ip_network("fd00::5/128")],
        [ip_network("10.1.0.0/16")],
        [],
    ]
    assert default_remotes(node, peers) == [ip_address("10.254.0.2"), ip_address("10.254.0.4")]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.2:51820", "192.0.2.2", 51820),
        ("[2001:db8::2]:1", "2001:db8::2", 1),
        ("[fe80::2%eth0]:65535", "fe80::2%eth0", 65535),
        ("[fe80::2%wlan-0.7+a_b]:1", "fe80::2%wlan-0.7+a_b", 1),
        ("vpn.example.org:51820", "vpn.example.org", 51820),
        ("host_1:51820", "host_1", 51820),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    endpoint = config.parse_endpoint(text)
    assert endpoint == EndpointName(host, port)
    assert str(endpoint) == text
