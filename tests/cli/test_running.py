"""The commands around a running node, as processes of their own and as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cli.place import PATIENCE, Place, children, ended, eventually, line
from tests.config.files import FDB, NETWORK, NODE, PEER, write
from wgvx import keys
from wgvx.cli import demo
from wgvx.cli.main import main
from wgvx.config import load

# up and down


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_cleanly(number: signal.Signals, place: Place) -> None:
    process = place.up()
    assert len(children(process.pid)) == 1  # The helper.
    assert place.left() == ["a.lock", "a.sock"]
    process.send_signal(number)
    assert ended(process) == (0, "")
    assert place.left() == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("0.0.0.0", place.port))


def test_a_signal_twice_is_one_end(place: Place) -> None:
    process = place.up()
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "")
    assert place.left() == []


def test_the_life_of_a_node(place: Place) -> None:
    process = place.up()
    second = place.wgvx("up", "a")
    assert (second.returncode, second.stdout) == (1, "")
    assert "node a runs already: stop it with `wgvx down a`" in second.stderr

    shown = json.loads(place.wgvx("show", "a", "--json").stdout)
    assert (shown["name"], shown["listen_port"]) == ("a", place.port)
    assert shown["networks"] == []
    (only,) = json.loads(place.wgvx("show", "--json").stdout)
    assert only == shown
    assert place.wgvx("fdb", "a", "--json").stdout == "[]\n"

    inside = place.wgvx("exec", "a", "--", "true")
    assert inside.returncode == 2
    assert "--rootless" in inside.stderr
    assert "run the command directly" in inside.stderr
    empty = place.wgvx("fdb", "a")
    assert empty.stdout == "node a has no networks, so nothing to forward\n"

    # Not the file but the node is what counts.
    (place.folder / "wgvx" / "a.toml").rename(place.folder / "elsewhere")
    down = place.wgvx("down", "a")
    assert (down.returncode, down.stdout, down.stderr) == (0, "", "")
    assert place.left() == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("0.0.0.0", place.port))
    assert ended(process) == (0, "")
    for command in (["down", "a"], ["show", "a"], ["fdb", "a"]):
        gone = place.wgvx(*command)
        assert gone.returncode == 1
        assert gone.stderr.startswith("wgvx: no node a is running")
    assert place.wgvx("exec", "a", "--", "true").returncode == 125


def test_up_again_after_a_kill(place: Place) -> None:
    process = place.up()
    process.kill()
    ended(process)
    assert place.left() == ["a.lock", "a.sock"]
    gone = place.wgvx("down", "a")
    assert gone.returncode == 1
    assert gone.stderr.startswith("wgvx: no node a is running")
    again = place.up()
    assert place.wgvx("down", "a").returncode == 0
    assert ended(again) == (0, "")
    assert place.left() == []


def test_down_of_many_at_once(place: Place) -> None:
    process = place.up()
    downs = [place.start("down", "a") for _ in range(3)]
    results = [down.communicate(timeout=PATIENCE)[1] for down in downs]
    assert ended(process) == (0, "")
    assert [down.returncode for down in downs].count(0) >= 1
    # Whoever came too late was told so.
    assert all(
        down.returncode == 0 or "wgvx: " in said for down, said in zip(downs, results, strict=True)
    )
    assert "Traceback" not in "".join(results)


def test_an_address_in_use(place: Place) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", place.port))
        plain = place.wgvx("up", "a")
        assert (plain.returncode, plain.stdout) == (1, "")
        assert f"UDP port {place.port} is already in use" in plain.stderr
        assert place.wgvx("up", "a", "--", "true").returncode == 125
    assert place.left() == []


def test_a_name_that_never_answers_delays_neither_ready_nor_the_end(place: Place) -> None:
    """.invalid is nobody's (RFC 6761); a machine without a name server is as good."""
    text = (place.folder / "wgvx" / "a.toml").read_text()
    place.write("a", text + PEER + 'endpoint = "host.invalid:51820"\n')
    place.own()
    begun = time.monotonic()
    process = place.up()
    assert time.monotonic() - begun < 10
    begun = time.monotonic()
    process.terminate()
    status, said = ended(process)
    assert time.monotonic() - begun < 5
    assert status == 0
    assert "host.invalid:51820 has no address yet" in said
    assert "Traceback" not in said


def test_nobody_reads_what_up_says(place: Place) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        place.command("up", "a"),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env=place.env,
    )
    os.close(writing)
    place.started.append(process)
    assert ended(process) == (1, "")
    assert place.left() == []


def test_a_full_disk_for_what_up_says(place: Place) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            place.command("up", "a"),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=place.env,
        )
    place.started.append(process)
    assert ended(process) == (1, "wgvx: standard output: No space left on device\n")
    assert place.left() == []


def test_a_runtime_folder_too_long_for_a_socket(place: Place) -> None:
    deep = place.run / ("x" * 100)
    deep.mkdir()
    place.own()
    place.env["XDG_RUNTIME_DIR"] = str(deep)
    failed = place.wgvx("up", "a")
    assert failed.returncode == 1
    assert "AF_UNIX path too long" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert place.left() == []


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--offload", "tso,nonsense"], {}, "'nonsense' is none of tso, uso, gso, gro"),
        (["--offload", ""], {}, "is none of tso"),
        (["--offload", "tso,none"], {}, "'none' is none of tso"),
        *((["--workers", n], {}, f"{n!r} is no number from 1 to 64") for n in ("0", "65", "²", "")),
        (["--workers", "-1"], {}, "'-1' is no number from 1 to 64"),
        (
            ["--workers", "2", "--dataplane", "reference"],
            {},
            "--workers 2: the reference data plane runs in one thread",
        ),
        (["--dataplane", "nonsense"], {}, "invalid choice: 'nonsense'"),
        (
            [],
            {"WGVX_DATAPLANE": "nonsense"},
            "--dataplane and WGVX_DATAPLANE take native or reference",
        ),
        (["--key-log", "/nowhere/keys"], {}, "--key-log /nowhere/keys: No such file"),
        (["--"], {}, "a COMMAND is wanted after --"),
        (["--tap-fd", "5"], {}, "--tap-fd: descriptor 5 is not open: whoever starts wgvx has to"),
        (["--tap-fd", "t0=99999999999"], {}, "descriptor 99999999999 is not open"),
        (["--userspace", "--tap-fd", "0"], {}, "--tap-fd passes TAPs in, and --userspace puts a"),
        (
            ["--auto", "--tap-fd", "0", "--http", "127.0.0.1:8080"],
            {},
            "--tap-fd passes TAPs in, and proxies and forwards lead to a stack in their place",
        ),
        (["--socks5", "1080"], {}, 'found \'1080\', want "host:port" such as "127.0.0.1:1080"'),
        (["--nonsense"], {}, "unrecognized arguments"),
    ],
)
def test_bad_usage_of_up(
    arguments: list[str], environment: dict[str, str], said: str, place: Place
) -> None:
    place.env.update(environment)
    done = place.wgvx("up", "a", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert place.left() == []


@pytest.mark.parametrize("command", ["up", "check"])
def test_a_static_entry_of_our_own_mac_is_bad_configuration(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "02:00:00:00:00:01"
    lines = f'mac = "{own}"\n' + FDB % (f'"{own}"', '"10.254.0.2"')
    path = write(tmp_path, NODE + PEER + NETWORK + lines)
    assert main([command, str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{path}:" in said
    assert f"found {own} of this network's own attachment" in said


# COMMAND


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", "test $(id -u) = 0 && exit 7"], 7),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["/nonexistent/command"], 127),
        (["/"], 126),
    ],
)
def test_the_exit_status_of_a_command(command: list[str], status: int, rootless: Place) -> None:
    process = rootless.start("up", "a", "--", *command)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert "wgvx: a ready" in stderr.splitlines()
    assert rootless.left() == []


def test_signals_while_a_command_runs(rootless: Place) -> None:
    """SIGINT is left to it, SIGTERM and SIGHUP are passed on."""
    script = "trap 'echo int' INT; trap 'echo hup' HUP; trap 'echo term; exit 5' TERM; echo set; "
    process = rootless.start("up", "a", "--", "sh", "-c", script + "while :; do sleep 0.05; done")
    assert line(process) == "set"
    process.send_signal(signal.SIGINT)
    assert line(process, 0.3) == ""
    process.send_signal(signal.SIGHUP)
    assert line(process) == "hup"
    process.send_signal(signal.SIGTERM)
    assert line(process) == "term"
    assert process.wait(PATIENCE) == 5
    assert rootless.left() == []


def test_down_ends_the_command_too(rootless: Place) -> None:
    process = rootless.start("up", "a", "--", "sh", "-c", "echo set; exec sleep 60")
    assert line(process) == "set"
    assert rootless.wgvx("exec", "a", "--", "sh", "-c", "exit 9").returncode == 9
    assert rootless.wgvx("down", "a").returncode == 0
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert rootless.left() == []


# demo


def test_the_demo_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    refusal = [sys.executable, "-c", "import sys; sys.exit('wgvx: no namespace for this user')"]
    monkeypatch.setattr("wgvx.cli.demo.child.command", lambda *_: refusal)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's stay.
    monkeypatch.setattr(demo, "SECONDS", 0.3)
    assert main(["demo"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    shown = captured.out
    assert "No namespace can be had here" in shown
    assert "The reason: no namespace for this user" in shown
    assert f"{demo.PINGS} of {demo.PINGS} answered" in shown
    assert "0 frames, 0 MB" not in shown
    for row in ("flood list", "dynamic", "local", "listening port"):
        assert row in shown
    assert "handshake" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_demo_where_namespaces_are_refused(place: Place) -> None:
    """For real: in a user namespace that allows no others."""
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    probe = subprocess.run(
        [*inside, script, "sh", sys.executable, "-c", "import wgvx"],
        check=False,
        capture_output=True,
        text=True,
        env=place.env,
    )
    if probe.returncode != 0:
        pytest.skip(f"no user namespace to refuse others in: {probe.stderr.strip()}")
    done = subprocess.run(
        [*inside, script, "sh", sys.executable, "-m", "wgvx", "demo"],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env=place.env,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the nodes get memory ports instead" in done.stdout
    assert "user.max_user_namespaces" in done.stdout
    assert f"{demo.PINGS} of {demo.PINGS} answered" in done.stdout
    assert place.left() == []


def test_a_demo_that_is_stopped_cleans_up(rootless: Place) -> None:
    process = rootless.start("demo")
    eventually(lambda: sum(name.endswith(".sock") for name in rootless.left()) == 2)
    assert list(rootless.folder.glob("wgvx-demo-*"))
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert rootless.left() == []
    assert not list(rootless.folder.glob("wgvx-demo-*"))


# A file that changes between two starts.


def test_the_stamps_are_kept_where_they_should_be(place: Place) -> None:
    text = (place.folder / "wgvx" / "a.toml").read_text()
    place.write("a", text + PEER + 'endpoint = "127.0.0.1:9"\npersistent_keepalive = 1\n')
    place.own()
    folder = place.folder / "state" / "wgvx"
    process = place.up()
    eventually(lambda: folder.exists() and bool(list(folder.iterdir())))
    (stamps,) = folder.iterdir()
    reserved = int(stamps.read_text())
    assert reserved > time.time_ns() + 40 * 10**9
    process.terminate()
    assert ended(process)[0] == 0
    assert int(stamps.read_text()) < time.time_ns()
    config = load(place.folder / "wgvx" / "a.toml")
    assert keys.public_key(config.node.private_key).hex() not in stamps.name
