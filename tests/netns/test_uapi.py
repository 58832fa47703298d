"""wg(8) on a running wgvx node: what WireGuard's own tool shows, sets and replaces."""

from __future__ import annotations

import contextlib
import socket
import stat
import subprocess

import pytest

from tests.netns.lab import Lab
from tests.netns.nodes import (
    UAPI_FOLDER,
    WgvxNode,
    endpoint,
    preshared_key,
    private_key,
    public_key,
    tunnel_address,
    wgvx_pair,
)
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def wg(node: WgvxNode, *args: str) -> str:
    return node.host.run("wg", *args).stdout


def dump(node: WgvxNode) -> tuple[list[str], dict[str, list[str]]]:
    """``wg show NAME dump``: the interface's fields, and each peer's by public key."""
    first, *peers = (line.split("\t") for line in wg(node, "show", node.name, "dump").splitlines())
    return first, {fields[0]: fields[1:] for fields in peers}


def allowed_ips(node: WgvxNode) -> dict[str, list[str]]:
    return {peer["public_key"]: sorted(peer["allowed_ips"]) for peer in node.show()["peers"]}


def test_show(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    psk = preshared_key()
    for node in (a, b):
        node.peers[0]["preshared_key"] = psk
    a.peers[0]["persistent_keepalive"] = 25
    a.node["fwmark"] = 0x1234
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])

    path = UAPI_FOLDER / f"{a.name}.sock"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    interface, peers = dump(a)
    assert interface == [a.id.private, a.id.public, str(a.id.port), "0x1234"]
    shown_psk, shown_endpoint, ips, handshake, received, sent, keepalive = peers[b.id.public]
    assert shown_psk == psk
    assert shown_endpoint == endpoint(b.id.address[4], b.id.port)
    assert ips == f"{tunnel_address(2, 4)}/32"
    assert int(handshake) == a.peer(b.id)["latest_handshake"]
    assert int(received) > 0
    assert int(sent) > 0
    assert keepalive == "25"
    pretty = wg(a, "show", a.name)
    assert f"peer: {b.id.public}" in pretty
    assert "latest handshake:" in pretty
    assert a.name in wg(a, "show", "interfaces").split()
    assert b.id.public in wg(a, "showconf", a.name)


def test_set_a_peer(lab: Lab) -> None:
    """A network that comes to life by wg(8) alone: the node starts with no peer."""
    a, b = wgvx_pair(lab)
    del a.peers[0]
    a.start()
    b.start()
    assert allowed_ips(a) == {}
    prefix = f"{tunnel_address(2, 4)}/32"
    peer = ("peer", b.id.public)
    wg(a, "set", a.name, *peer, "endpoint", "192.0.2.2:51820", "allowed-ips", prefix)
    # The flood list follows the peers.
    assert_ping(a.host, b.address[4])

    other = public_key(private_key())
    wg(a, "set", a.name, "peer", other, "allowed-ips", f"{prefix},10.9.0.0/16")
    # Over the UAPI the last one to name a prefix has it.
    assert allowed_ips(a) == {b.id.public: [], other: sorted(["10.9.0.0/16", prefix])}
    wg(a, "set", a.name, "peer", other, "remove")
    wg(a, "set", a.name, *peer, "allowed-ips", prefix, "persistent-keepalive", "5")
    assert allowed_ips(a) == {b.id.public: [prefix]}
    assert_ping(a.host, b.address[4])

    wg(a, "set", a.name, "peer", a.id.public, "allowed-ips", "10.8.0.0/16")
    assert set(allowed_ips(a)) == {b.id.public}  # our own key: ignored, and no error


def test_set_keys(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    psk = a.host.write("new.psk", preshared_key() + "\n")
    wg(a, "set", a.name, "peer", b.id.public, "preshared-key", str(psk))
    wg(b, "set", b.name, "peer", a.id.public, "preshared-key", str(psk))
    a.id.private = private_key()
    file = a.host.write("new.key", a.id.private + "\n")
    wg(a, "set", a.name, "private-key", str(file))
    assert a.show()["public_key"] == a.id.public
    prefix = f"{tunnel_address(1, 4)}/32"
    (old,) = allowed_ips(b)
    wg(b, "set", b.name, "peer", old, "remove")
    options = ("allowed-ips", prefix, "preshared-key", str(psk))
    wg(b, "set", b.name, "peer", a.id.public, *options, "endpoint", "192.0.2.1:51820")
    assert_ping(b.host, a.address[4], timeout=15)


def test_set_listen_port(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    wg(a, "set", a.name, "listen-port", "40001")
    a.id.port = 40001
    assert a.show()["listen_port"] == 40001
    assert_ping(a.host, b.address[4])
    assert b.peer(a.id)["endpoint"] == "192.0.2.1:40001"
    # A port that is taken: an error, and the node goes on with the one it has.
    with contextlib.closing(a.host.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("0.0.0.0", 40002))
        done = a.host.run("wg", "set", a.name, "listen-port", "40002", check=False)
    assert done.returncode != 0
    assert a.show()["listen_port"] == 40001
    assert_ping(a.host, b.address[4])
    a.stop()


def test_setconf_and_syncconf(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    handshake = a.peer(b.id)["latest_handshake"]
    other = public_key(private_key())
    ours = [f"[Interface]\nPrivateKey = {a.id.private}\nListenPort = {a.id.port}"]
    ours.append(
        f"[Peer]\nPublicKey = {b.id.public}\nAllowedIPs = {tunnel_address(2, 4)}/32\n"
        f"Endpoint = {endpoint(b.id.address[4], b.id.port)}"
    )
    more = f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.254.0.8/32"

    # syncconf leaves alone what is as it should be: the session lives on.
    file = a.host.write("sync.conf", "\n".join([*ours, more]) + "\n")
    wg(a, "syncconf", a.name, str(file))
    assert set(allowed_ips(a)) == {b.id.public, other}
    assert a.peer(b.id)["latest_handshake"] == handshake
    assert_ping(a.host, b.address[4])

    # setconf replaces everything: the peers start anew.
    file = a.host.write("set.conf", "\n".join(ours) + "\n")
    wg(a, "setconf", a.name, str(file))
    assert set(allowed_ips(a)) == {b.id.public}
    assert_ping(a.host, b.address[4])

    bad = a.host.write("bad.conf", "[Interface]\nListenPort = 51820\n[Peer]\nPublicKey = x\n")
    assert a.host.run("wg", "setconf", a.name, str(bad), check=False).returncode != 0
    assert set(allowed_ips(a)) == {b.id.public}


NONSENSE = [
    b"nonsense\n\n",
    b"set=1\nlisten_port=70000\n\n",
    b"set=1\npublic_key=zz\n\n",
    b"set=1\nunknown_key=1\n\n",
    b"set=1\nno equals sign\n\n",
    b"get=1\n",
    b"\n\n",
    b"set=1\n" + b"x" * 100_000,
    b"\xff\x00" * 100,
]


def test_nonsense_changes_nothing(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    before = allowed_ips(a)
    for nonsense in NONSENSE:
        assert b"errno=0\n" not in _ask(a, nonsense), nonsense
    assert allowed_ips(a) == before == {b.id.public: [f"{tunnel_address(2, 4)}/32"]}
    assert a.process is not None
    assert a.id.private not in a.process.stderr
    a.stop()


def _ask(node: WgvxNode, request: bytes) -> bytes:
    """The first answer of the UAPI socket to raw bytes; nothing where it hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(UAPI_FOLDER / f"{node.name}.sock"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return client.recv(65536)
    return b""


def test_wg_exists_for_this_name_only_while_it_runs(lab: Lab) -> None:
    a, _ = wgvx_pair(lab)
    a.start()
    a.stop()
    shown = subprocess.run(["wg", "show", a.name], check=False, capture_output=True)
    assert shown.returncode != 0
