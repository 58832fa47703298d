"""The commands that need no running node, and what all commands share."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.files import NETWORK, NODE, PEER, PRIVATE, B, C, write
from tests.test_mtu import MEASURED, UNDERLAYS
from wgvx import __version__, keys
from wgvx.cli import main as cli
from wgvx.cli import output
from wgvx.cli.main import COMMANDS, main


def wgvx(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A process of its own, as users have it."""
    return subprocess.run(
        [sys.executable, "-m", "wgvx", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def on_a_terminal(*arguments: str, columns: int, **environment: str) -> str:
    """What `wgvx` writes to a terminal of so many columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wgvx", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **environment},
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError as error:  # how Linux ends a terminal
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(leader)
    assert process.wait(20) == 0
    return shown.decode().replace("\r\n", "\n")


# The command as such.


def test_help_lists_every_command_and_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"    {command.name} " in shown
        assert command.summary in shown
    assert "first steps:" in shown


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_of_a_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: wgvx {name}" in shown
    assert f"  wgvx {name}" in shown or f"; wgvx {name}" in shown  # the example
    assert "exit status: 0" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: wgvx"),
        (["nosuch"], "wgvx: there is no command 'nosuch': `wgvx --help` lists them"),
        (["shwo"], "wgvx: there is no command 'shwo': did you mean show?"),
        (["help", "shwo"], "did you mean show?"),
        (
            ["genkey", "more"],
            "usage: wgvx genkey [-h]\nwgvx genkey: error: unrecognized arguments: more",
        ),
        (["fdb", "a", "--nope"], "usage: wgvx fdb NAME"),
        (["up", "ua", "bash"], "put `--` before the command: wgvx up ua -- bash\n"),
        (["up", "--rootless", "ua", "sh", "-c", "a b"], "wgvx up --rootless ua -- sh -c 'a b'\n"),
        (["exec", "ua", "ua"], "usage: wgvx exec NAME [--netns N] -- COMMAND"),
        (["exec", "ua", "ua"], "put `--` before the command: wgvx exec ua -- ua\n"),
        (["exec", "ua", "--nope", "true"], "unrecognized arguments: --nope true"),
        (["up", "ua", "more", "--", "true"], "unrecognized arguments: more"),
        (["check"], "the following arguments are required: NAME"),
        (["mtu"], "--underlay, --outer, --overlay"),
        (["mtu", "--underlay", "x", "--outer", "4", "--overlay", "4"], "invalid int value: 'x'"),
        (["mtu", "--underlay", "1500", "--outer", "5", "--overlay", "4"], "argument --outer"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["help"], ["help", "up"], ["help", "fdb"]])
def test_help_is_a_command_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert main([*arguments[1:], "--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("action", ["add", "del", "flush"])
def test_help_of_an_fdb_action_teaches(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fdb", "a", action, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"  wgvx fdb a {action}" in shown
    assert "exit status: 0" in shown
    for part in (
        ("in all networks", "The flood list")
        if action == "flush"
        else ("six bytes in hex", "02:00:00:00:00:02")
    ):
        assert part in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wgvx {__version__}\n"


def test_only_the_chosen_command_is_imported() -> None:
    script = (
        "import sys; from wgvx.cli.main import main; main(['genkey']);"
        "print([m for m in sys.modules if m in ('asyncio', 'rich', 'tomllib', 'wgvx.config')"
        " or m.startswith('wgvx.cli.') and m[9:] not in ('main', 'output', 'genkey')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
        (output.UserError("no luck"), 1, "wgvx: no luck\n"),
        (output.UserError("not so", 2), 2, "wgvx: not so\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "wgvx: /x: Permission denied\n"),
    ],
)
def test_how_a_command_can_end(
    raised: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_key: bytes) -> str:
        raise raised

    monkeypatch.setattr(keys, "encode", fail)
    assert main(["genkey"]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arguments: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["genkey"])


def test_a_reader_that_has_seen_enough_and_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wgvx", "genkey"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("No space left on device") == 1
    assert "Traceback" not in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "wgvx", "genkey"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# Keys.


def test_genkey_pubkey_and_genpsk() -> None:
    private, psk = wgvx("genkey"), wgvx("genpsk")
    assert (private.returncode, private.stderr) == (psk.returncode, psk.stderr) == (0, "")
    assert len(keys.decode(psk.stdout.removesuffix("\n"))) == 32
    key = keys.decode(private.stdout.removesuffix("\n"))
    public = wgvx("pubkey", stdin=private.stdout)
    assert public.stdout == keys.encode(keys.public_key(key)) + "\n"
    assert (public.returncode, public.stderr) == (0, "")


@pytest.mark.parametrize(
    ("stdin", "found"),
    [
        ("", "nothing"),
        ("\n", "nothing"),
        (PRIVATE[:-1], "43 bytes"),
        (f"{PRIVATE}\n{PRIVATE}", "89 bytes"),
        ("é", "2 bytes"),
        ("A" * 5000, "4096 bytes"),
    ],
)
def test_pubkey_of_what_is_no_key(
    stdin: str, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    assert main(["pubkey"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"wgvx: standard input: found {found}, want a private key")
    assert captured.out == ""
    assert PRIVATE[:40] not in captured.err


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True)])
def test_a_key_into_a_file_that_others_can_read(tmp_path: Path, mode: int, warned: bool) -> None:
    path = tmp_path / "a.key"
    path.touch()
    path.chmod(mode)
    with path.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "wgvx", "genkey"],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=True,
        )
    assert ("others can read" in done.stderr) == warned
    assert len(path.read_text()) == 45


# mtu


@pytest.mark.parametrize(("outer", "overlay"), MEASURED)
def test_mtu_as_json(outer: int, overlay: int, capsys: pytest.CaptureFixture[str]) -> None:
    overhead, expected = MEASURED[outer, overlay]
    for underlay, size in zip(UNDERLAYS, expected, strict=True):
        arguments = ["--underlay", underlay, "--outer", outer, "--overlay", overlay, "--json"]
        assert main(["mtu", *map(str, arguments)]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["mtu"], shown["overhead"]) == (size, overhead)
        assert underlay - sum(step["bytes"] for step in shown["steps"]) == size
        # The measured table's star: a tunnel below 1280 has no IPv6 addresses on Linux.
        starred = overlay == 6 and underlay == 1280
        assert any("IPv6 tunnel addresses" in note for note in shown["notes"]) == starred


def test_mtu_shows_the_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mtu", "--underlay", "1280", "--outer", "4", "--overlay", "6", "--vlan"]) == 0
    assert capsys.readouterr().out == (
        "                            bytes\n"
        "underlay MTU                 1280\n"
        "- outer IPv4 header           -20\n"
        "- outer UDP header             -8\n"
        "- WireGuard header and tag    -32\n"
        "= tunnel MTU                 1220\n"
        "- tunnel IPv6 header          -40\n"
        "- tunnel UDP header            -8\n"
        "- VXLAN header                 -8\n"
        "- inner Ethernet header       -14\n"
        "- inner VLAN tag               -4\n"
        "= overlay MTU                1146\n"
        "note: a tunnel MTU below 1280 carries no IPv6 on Linux: peers cannot use IPv6 tunnel"
        " addresses here\n"
        "note: an overlay MTU below 1280 carries no IPv6: it will not run there\n"
    )


@pytest.mark.parametrize("underlay", ["-1", "0", "177", "65537"])
def test_mtu_of_an_underlay_that_carries_nothing(
    underlay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mtu", "--underlay", underlay, "--outer", "4", "--overlay", "4"]) == 2
    assert f"--underlay: found {underlay}, want 178 to 65536" in capsys.readouterr().err


# check

FILE = (
    NODE
    + PEER
    + 'endpoint = "127.0.0.1:51820"\n'
    + f'[[peer]]\npublic_key = "{C}"\nendpoint = "vpn.example.org:51820"\n'
    + 'allowed_ips = ["10.254.0.0/24"]\npersistent_keepalive = 25\n'
    + NETWORK
    + 'address = ["10.0.0.1/24"]\nmac = "02:00:00:00:00:01"\n'
    + '[[network]]\nvni = 4201\ntap = "blue"\nmtu = 1200\nremotes = ["10.9.0.1"]\n'
)


@pytest.fixture
def loopback_mtu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route to the peer with a numeric address has an MTU of 1500."""
    monkeypatch.setattr(
        "wgvx.cli.check.route_mtu", lambda host, _port: 1500 if host == "127.0.0.1" else None
    )


@pytest.mark.usefixtures("loopback_mtu")
def test_check_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, FILE)
    assert main(["check", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert PRIVATE not in captured.out
    own = keys.encode(keys.public_key(keys.decode(PRIVATE)))
    for line in (
        f'{path}: valid, node "a"',
        f"  public key: {own}",
        f"  public key: {B}",
        "  endpoint: vpn.example.org:51820",
        "  keepalive: every 25 s",
        "  tap: a, MAC 02:00:00:00:00:01",
        "  floods to: 10.254.0.2 (the first host address of each peer)",
        "  floods to: 10.9.0.1",
        '  peer "b" at 127.0.0.1:51820: route MTU 1500',
        "  peer 2 at vpn.example.org:51820: no route known (a name is not looked up here)",
        "  tunnel: 1500 (the lowest of these routes) - 40 outer IP - 8 UDP - 32 WireGuard = 1420",
        "  network 4200: 1420 - 40 tunnel IP - 8 UDP - 8 VXLAN - 14 Ethernet = 1350",
        "  network 4201: 1200, as its mtu says",
        '  10.254.0.2/32 of peer "b" lies within 10.254.0.0/24 of peer 2: the longer prefix wins',
        "  network 4201: remotes has 10.9.0.1, which no peer's allowed_ips covers",
        "  network 4201: MTU 1200 is below 1280: IPv6 will not run on it",
    ):
        assert line in captured.out.splitlines(), line
    assert captured.out.count("IPv6 will not run") == 1


def test_check_explains_the_ways_through_a_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(
        tmp_path,
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "apps", address = ["10.0.0.9/24"],'
        + ' socks5 = "127.0.0.1:1080", forward = ["81:10.0.0.2:80", "*:82:10.0.0.2:80"],'
        + ' reverse = ["80:127.0.0.1:8000"] }]\n',
    )
    main(["check", str(file)])
    said = capsys.readouterr().out
    for line in (
        "names from: this host's resolver",
        "SOCKS5: waits at 127.0.0.1:1080",
        "forward: waits at 127.0.0.1:81, leads to 10.0.0.2:80 on the overlay",
        "forward: waits at port 82 here, leads to 10.0.0.2:80 on the overlay",
        "reverse: waits at port 80 on the overlay, leads to 127.0.0.1:8000 here",
    ):
        assert line in said, said
    assert "addresses: none" not in said


def test_check_misses_the_folder_of_a_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = '{ type = "stream", name = "vm%d", listen = "%s/vm.sock" }'
    entries = ", ".join([entry % (1, "."), entry % (2, "none")])
    assert main(["check", str(write(tmp_path, f"{NODE}{NETWORK}attach = [{entries}]\n"))]) == 0
    said = capsys.readouterr().out
    assert f"network 4200: vm2, listen: there is no folder {tmp_path}/none yet\n" in said
    assert "vm1, listen" not in said


@pytest.mark.usefixtures("loopback_mtu")
def test_check_explains_a_quiet_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = "sticky = true\nmove_limit = 5\nbroadcast_limit = 100\nsuppress = true\n"
    path = write(tmp_path, FILE + quiet)
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  quiet: off" in lines
    assert "  quiet: sticky, move_limit 5, broadcast_limit 100, suppress" in lines


@pytest.mark.usefixtures("loopback_mtu")
def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", str(write(tmp_path, FILE))]) == 0
    captured = capsys.readouterr()
    assert PRIVATE not in captured.out
    shown = json.loads(captured.out)
    assert (shown["name"], shown["mtu"], shown["mtu_source"]) == ("a", 1420, "routes")
    assert shown["probe_mtu"]
    assert all(network["clamp_mss"] for network in shown["networks"])
    assert [peer["route_mtu"] for peer in shown["peers"]] == [1500, None]
    assert [network["mtu"] for network in shown["networks"]] == [1350, 1200]
    assert shown["networks"][0]["attach"] == [
        {"type": "tap", "name": "a", "mac": "02:00:00:00:00:01"}
    ]
    assert [network["remotes"] for network in shown["networks"]] == [["10.254.0.2"], ["10.9.0.1"]]
    assert [network["suppress"] for network in shown["networks"]] == [False, False]
    assert [network["move_limit"] for network in shown["networks"]] == [0, 0]
    assert len(shown["overlaps"]) == 1
    assert len(shown["warnings"]) == 2


@pytest.mark.usefixtures("loopback_mtu")
def test_check_of_a_tunnel_mtu_that_the_route_cannot_carry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mtu, warned in ((1440, False), (1441, True)):
        text = FILE.replace("[[peer]]", f"mtu = {mtu}\n[[peer]]", 1)
        assert main(["check", str(write(tmp_path, text))]) == 0
        shown = capsys.readouterr().out
        assert f"  tunnel: {mtu}, as [node] mtu says" in shown
        assert (f"makes {mtu + 60} bytes and the route carries 1500" in shown) == warned


def test_check_without_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write(tmp_path, NODE + NETWORK))]) == 0
    shown = capsys.readouterr().out
    assert "  floods to: none\n" in shown
    assert "1500 (no route known) - 40 outer IP - 8 UDP - 32 WireGuard = 1420" in shown


def test_check_of_a_bad_file_and_of_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, NODE + "mtu = true\n")
    for name, said in (
        (str(path), f"wgvx: {path}:4: [node], mtu: found true, want a whole number"),
        (str(tmp_path / "no.toml"), f"wgvx: {tmp_path / 'no.toml'}: no such file"),
        ("no-such-node", "wgvx: no-such-node: no such node file, looked for /"),
    ):
        assert main(["check", name]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(said)
        assert captured.out == ""


# What a terminal and a pipe see.


def test_a_terminal_is_not_too_narrow_and_colours_can_be_turned_off(tmp_path: Path) -> None:
    path = str(write(tmp_path, FILE))
    shown = on_a_terminal("check", path, columns=80)
    assert "\x1b[1m" in shown
    plain = on_a_terminal("check", path, columns=80, NO_COLOR="1", TERM="dumb")
    assert "\x1b[" not in plain
    assert f"public key: {B}" in plain
    narrow = on_a_terminal("check", path, columns=30, NO_COLOR="1", TERM="dumb")
    # Whoever copies a key from a narrow terminal gets no line break in it.
    assert f"public key: {B}\n" in narrow


def test_a_pipe_has_neither_colours_nor_cuts(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(
        ("name", "count", "[bold]what[/]"), [("a" * 300, 7, None), ("[red]b[/]", "-", "x  ")]
    )
    assert capsys.readouterr().out == (
        "name" + " " * 298 + "count  [bold]what[/]\n"
        + "a" * 300 + "      7  -\n"
        + "[red]b[/]" + " " * 297 + "-  x\n"
    )  # fmt: skip


def test_an_empty_table_has_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("mac", "vtep"), [])
    assert capsys.readouterr().out == "mac  vtep\n"


def test_a_locale_that_cannot_show_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, NODE + PEER.replace('"b"', '"Zürich"'))
    done = subprocess.run(
        [sys.executable, "-m", "wgvx", "check", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'peer "Z\\xfcrich"' in done.stdout
