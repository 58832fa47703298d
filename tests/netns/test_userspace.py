"""A stack in place of the TAP, as asked for on the command line, and the choice of what works."""

from __future__ import annotations

import sys

import pytest

from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import WGVX, WgvxNode
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("proxied")]

FETCH = ("curl", "--silent", "--show-error", "--fail", "--max-time", "20", "--retry", "5")
PAGE = "what stands on the overlay\n"


@pytest.fixture
def hosts(lab: Lab) -> tuple[Namespace, Namespace]:
    made = lab.host("a"), lab.host("b")
    lab.lan(*made)
    return made


@pytest.fixture
def user(lab: Lab, hosts: tuple[Namespace, Namespace]) -> OrdinaryUser:
    return OrdinaryUser(lab, hosts[0])


@pytest.fixture
def node(user: OrdinaryUser, hosts: tuple[Namespace, Namespace]) -> WgvxNode:
    """Of an ordinary user; with a TAP and its address in the file, as ever."""
    address = {family: hosts[0].address(family) for family in (4, 6)}
    return WgvxNode(user, "a", 1, address=address)


@pytest.fixture
def server(node: WgvxNode, hosts: tuple[Namespace, Namespace]) -> WgvxNode:
    """Its peer, with a page on the overlay."""
    other = WgvxNode(hosts[1], "b", 2)
    node.add_peer(other.id, underlay=4)
    other.add_peer(node.id, underlay=4)
    other.start()
    (hosts[1].folder / "page").write_text(PAGE)
    serve = (sys.executable, "-m", "http.server", "--bind", other.address[4], "8000")
    process = hosts[1].start(*serve, log="http")
    eventually(lambda: ":8000" in hosts[1].run("ss", "-Hltn").stdout, f"it serves: {process}")
    return other


def up(node: WgvxNode, *args: str) -> tuple[str, ...]:
    node.write()
    return (WGVX, "up", str(node.config_path), *args)


@pytest.mark.parametrize("confine", ["caps,nnp,seccomp", "none"])
def test_a_command_finds_the_overlay_by_its_environment(
    node: WgvxNode, server: WgvxNode, confine: str
) -> None:
    url = f"http://{server.address[4]}:8000/page"
    options = ("--userspace", "--confine", confine)
    done = node.place.run(*up(node, *options, "--", *FETCH, url), check=False)
    assert (done.returncode, done.stdout) == (0, PAGE), done.stderr
    # Whatever the proxies of whoever calls, and whatever ways were asked for.
    misled = ("env", "http_proxy=http://127.0.0.1:9", "NO_PROXY=*")
    forward = ("-L", f"8080:{server.address[4]}:8000")
    done = node.place.run(*misled, *up(node, *options, *forward, "--", *FETCH, url), check=False)
    assert (done.returncode, done.stdout) == (0, PAGE), done.stderr
    # It is where it was, as who it was.
    done = node.place.run(*up(node, *options, "--", "sh", "-c", "id -u; exit 7"), check=False)
    assert done.returncode == 7
    assert done.stdout == node.place.run("id", "-u").stdout


def test_forwards_of_the_command_line(node: WgvxNode, server: WgvxNode) -> None:
    (node.place.folder / "mine").write_text("what is here\n")
    serve = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "8001")
    node.place.start(*serve, log="http")
    forwards = (f"-L8080:{server.address[4]}:8000", "-R", "80:127.0.0.1:8001")
    node.start("--auto", *forwards, "--http", "0.0.0.0:3128")
    assert node.process is not None
    assert "warning: network 4200: http 0.0.0.0:3128 is not on the loopback" in node.process.stderr
    assert [one["type"] for one in node.network()["attach"]] == ["stack"]
    assert node.place.run(*FETCH, "http://127.0.0.1:8080/page").stdout == PAGE
    theirs = server.place.run(*FETCH, f"http://{node.address[4]}/mine")
    assert theirs.stdout == "what is here\n"
    node.stop()


def test_auto_takes_a_tap_here_where_that_is_allowed(
    hosts: tuple[Namespace, Namespace],
) -> None:
    node = WgvxNode(hosts[0], "a", 1)
    node.start("--auto")
    assert node.tap in hosts[0].links()
    assert node.process is not None
    assert "--auto: TAP in this network namespace, the simplest" in node.process.stderr
    assert "instead" not in node.process.stderr
    node.stop()


def test_auto_runs_no_command_here_and_says_why(node: WgvxNode) -> None:
    done = node.place.run(*up(node, "--auto", "--", "true"))
    assert "--auto: TAP in a namespace of its own (--rootless), for COMMAND never" in done.stderr


def test_auto_goes_on_to_what_is_allowed_and_says_why(node: WgvxNode, server: WgvxNode) -> None:
    node.start("--auto")
    assert node.process is not None
    said = node.process.stderr
    assert "no TAP in this network namespace: TAP" in said
    assert "this takes CAP_NET_ADMIN" in said
    assert "instead: TAP in a namespace of its own (--rootless)" in said
    assert_ping(server.place, node.address[4])
    node.stop()


def test_ways_to_no_stack_are_refused(node: WgvxNode) -> None:
    done = node.place.run(*up(node, "--socks5", "127.0.0.1:1080"), check=False)
    assert done.returncode == 2
    assert "there is none: --userspace puts one in the place of the TAP" in done.stderr
    done = node.place.run(*up(node, "--userspace", "-L", "80"), check=False)
    assert done.returncode == 2
    assert "found '80', want \"[host:]port:host:port\"" in done.stderr
