"""Bytes through TCP between any two places, held against each other at the end."""

from __future__ import annotations

import itertools

from tests.netns.lab import Place, eventually

PORT = 9000

# netcat goes on until its input ends, so the listener's is a pipe that nobody closes.
LISTEN = """
mkfifo hold-$2; exec 3<>hold-$2
echo listening
busybox nc -l -p "$1" <&3 >got-$2
sha256sum <got-$2
"""
SEND = """
head -c "$3" /dev/urandom >blob-$4
sha256sum <blob-$4
busybox nc "$1" "$2" <blob-$4
rm blob-$4
"""

_numbers = itertools.count(1)


def copy(source: Place, sink: Place, address: str, size: int, *, timeout: float = 60) -> None:
    """Random bytes from ``source`` to ``address``, which is ``sink``'s: they arrive unchanged."""
    number = str(next(_numbers))
    port = str(PORT + int(number) % 1000)
    listener = sink.start("sh", "-ec", LISTEN, "listen", port, number, log="listen")
    eventually(lambda: "listening" in listener.stdout, "it listens")
    eventually(
        lambda: f":{port}" in sink.run("ss", "-Hltn").stdout, f"{port} is open: {listener}", 10
    )
    sent = source.run(
        "sh", "-ec", SEND, "send", address, port, str(size), number, timeout=timeout
    ).stdout
    assert listener.wait() == 0, listener
    assert listener.stdout.split("\n")[1] == sent.strip(), listener
