"""A node with nothing at all: no TAP, no namespace, no capability; the overlay through a proxy."""

from __future__ import annotations

import hashlib
import random
import socket
import sys
from pathlib import Path

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("proxied")]

# A name server that knows web.test alone, and UDP's echo beside it.
FAR_END = """
import select, socket, sys
import dns.message, dns.rrset
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for sock, port in zip(sockets, (53, 7)):
    sock.bind((sys.argv[1], port))
while True:
    for sock in select.select(sockets, [], [])[0]:
        data, sender = sock.recvfrom(4096)
        if sock is sockets[0]:
            question = dns.message.from_wire(data)
            answer = dns.message.make_response(question)
            if question.question[0].rdtype == dns.rdatatype.A:
                row = dns.rrset.from_text("web.test.", 60, "IN", "A", sys.argv[1])
                answer.answer.append(row)
            data = answer.to_wire()
        sock.sendto(data, sender)
"""

# A datagram to the echo and back, through UDP ASSOCIATE.
ASSOCIATE = """
import socket, sys
control = socket.create_connection(("127.0.0.1", 1080))
control.sendall(bytes((5, 1, 0, 5, 3, 0, 1)) + bytes(6))
reply = b""
while len(reply) < 12:
    reply += control.recv(12 - len(reply))
relay = socket.inet_ntoa(reply[6:10]), int.from_bytes(reply[10:12], "big")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    datagram = bytes((0, 0, 0, 3, 8)) + b"web.test" + (7).to_bytes(2, "big") + b"there and back"
    sock.sendto(datagram, relay)
    print(sock.recv(1000)[10:].decode())
"""

SIZE = 20_000_000


@pytest.mark.parametrize("dataplane", ["native", "reference"])
def test_without_any_privilege_the_overlay_is_reached_and_reaches_back(
    lab: Lab, dataplane: str
) -> None:
    hosts = lab.host("a"), lab.host("b")
    lab.lan(*hosts)
    user = OrdinaryUser(lab, hosts[0])
    user.become = [*user.become, "setpriv", "--no-new-privs", "--inh-caps=-all"]
    address = {family: hosts[0].address(family) for family in (4, 6)}
    node, other = WgvxNode(user, "a", 1, address=address), WgvxNode(hosts[1], "b", 2)
    node.add_peer(other.id, underlay=4)
    other.add_peer(node.id, underlay=4)
    node.networks[0]["attach"] = [
        {
            "type": "stack",
            "name": "apps",
            "socks5": "127.0.0.1:1080",
            "http": "127.0.0.1:8080",
            "reverse": ["80:127.0.0.1:8000"],
            "dns": [other.address[4]],
        }
    ]
    other.start()
    node.start("--dataplane", dataplane)
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert [one["type"] for one in node.network()["attach"]] == ["stack"]
    for family in (4, 6):
        assert_ping(hosts[1], node.address[family])

    size = SIZE if dataplane == "native" else SIZE // 10
    body = random.Random(1).randbytes(size)
    wanted = hashlib.sha256(body).hexdigest()
    serve = (sys.executable, "-m", "http.server", "--bind")
    (hosts[1].folder / "body").write_bytes(body)
    hosts[1].start(*serve, other.address[4], "8000", log="http")
    (user.folder / "body").write_bytes(body)
    hosts[0].start(*serve, "127.0.0.1", "8000", "--directory", str(user.folder), log="http")
    get = ("curl", "--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "")

    def download(host: int, *options: str) -> str:
        target = hosts[host].folder / "got"
        done = hosts[host].run(*get, *options, "--output", str(target), check=False)
        return hashlib.sha256(target.read_bytes()).hexdigest() if done.returncode == 0 else ""

    hosts[1].start(sys.executable, "-c", FAR_END, other.address[4], log="far")
    url = f"http://{other.address[4]}:8000/body"
    eventually(lambda: download(0, "--socks5", "127.0.0.1:1080", url) == wanted, "SOCKS5 works")
    proxy = ("--proxytunnel", "--proxy", "http://127.0.0.1:8080")
    assert download(0, *proxy, url) == wanted
    by_name = "http://web.test:8000/body"
    assert download(0, "--socks5-hostname", "127.0.0.1:1080", by_name) == wanted
    assert hosts[0].run(sys.executable, "-c", ASSOCIATE).stdout == "there and back\n"
    eventually(
        lambda: download(1, f"http://{node.address[4]}/body") == wanted, "the way back works"
    )
    with hosts[1].socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect((node.address[4], 80))
        # On its way through the stack, and not only half made there.
        way = (
            "ss",
            "--tcp",
            "--numeric",
            "--no-header",
            "state",
            "established",
            "dport",
            "= :8000",
        )
        eventually(lambda: hosts[0].run(*way).stdout, "it has reached the server")
        node.stop()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_port_that_is_taken_is_named(lab: Lab) -> None:
    host = lab.host("a")
    node = WgvxNode(host, "a", 1)
    node.networks[0]["attach"] = [{"type": "stack", "name": "apps", "socks5": "192.0.2.99:1080"}]
    process = node.launch()
    assert process.wait() == 1
    assert "stack apps: socks5 192.0.2.99:1080: Cannot assign requested address" in process.stderr
