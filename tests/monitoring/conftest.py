"""Programs that watch nodes: a browser and a Prometheus, each of its own, so not in every run."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cli.conftest import place, user
from tests.cli.place import Place, line
from wgvx import keys

__all__ = ["place", "user"]

collect_ignore_glob = [] if os.environ.get("WGVX_NIGHTLY") == "1" else ["test_*.py"]
"""WGVX_NIGHTLY=1 ./dev unit tests/monitoring"""

PATIENCE = 20.0
BODY = bytes(200_000)


class Watched:
    """Nodes a and b of an ordinary user, with traffic between their stacks."""

    def __init__(self, place: Place) -> None:
        self.ports = {name: free_port() for name in "ab"}
        """Where they listen for HTTP."""
        self.listen = {name: free_port(socket.SOCK_DGRAM) for name in "ab"}
        """Their UDP ports."""
        self._web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plenty)
        self._forward = free_port()
        self._stopped = threading.Event()
        reverse = f'reverse = ["80:127.0.0.1:{self._web.server_port}"]'
        forward = f'forward = ["{self._forward}:10.0.0.2:80"]'
        place.write("a", self._file("a", 1, "b", 2, forward))
        place.write("b", self._file("b", 2, "a", 1, reverse))
        place.own()
        for name, port in self.ports.items():
            node = place.start("up", name, "--metrics", str(port))
            assert line(node) == f"wgvx: {name} ready", node.communicate()
        self._threads = [
            threading.Thread(target=self._web.serve_forever),
            threading.Thread(target=self._fetch),
        ]
        for thread in self._threads:
            thread.start()

    def _file(self, name: str, number: int, other: str, far: int, way: str) -> str:
        public = keys.encode(keys.public_key(bytes([far]) * 32))
        return (
            f'[node]\nprivate_key = "{keys.encode(bytes([number]) * 32)}"\n'
            f'address = ["10.254.0.{number}/24"]\nlisten_port = {self.listen[name]}\n'
            f'[[peer]]\nname = "<b>{other}</b>"\npublic_key = "{public}"\n'
            f'endpoint = "127.0.0.1:{self.listen[other]}"\nallowed_ips = ["10.254.0.{far}/32"]\n'
            f'[[network]]\nvni = 4200\naddress = ["10.0.0.{number}/24"]\n'
            f'attach = [{{ type = "stack", name = "{name}0", {way} }}]\n'
        )

    def _fetch(self) -> None:
        """Traffic, and packets that are dropped."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            while not self._stopped.wait(0.2):
                for port in self.listen.values():
                    stranger.sendto(b"no message of WireGuard's", ("127.0.0.1", port))
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{self._forward}/", timeout=5).read()

    def close(self) -> None:
        self._stopped.set()
        self._web.shutdown()
        self._web.server_close()
        for thread in self._threads:
            thread.join()


class _Plenty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def watched(place: Place) -> Iterator[Watched]:
    if importlib.util.find_spec("wgvx._stack") is None:
        pytest.skip("the userspace stack is not built: ./dev lwip")
    made = Watched(place)
    try:
        yield made
    finally:
        made.close()
