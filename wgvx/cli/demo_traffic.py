"""Traffic for ``wgvx demo``, run inside a node's namespace: no tool needs to be installed.

``ping ADDRESS COUNT``, ``receive PORT``, ``send ADDRESS PORT SECONDS``; each prints one JSON line.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any

CHUNK = 256 * 1024
ECHO_REQUEST = 8
PATIENCE = 10.0


def ping(address: str, count: int) -> list[float]:
    """Round-trip times in milliseconds; lost ones are left out. Needs uid 0 of the namespace."""
    times = []
    identifier = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(1.0)
        raw.connect((address, 0))
        for sequence in range(count):
            begun = time.perf_counter()
            raw.send(_echo_request(identifier, sequence))
            try:
                while raw.recv(2048)[24:28] != struct.pack("!HH", identifier, sequence):
                    pass
            except TimeoutError:
                continue
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.05)
    return times


def _echo_request(identifier: int, sequence: int) -> bytes:
    body = struct.pack("!HH", identifier, sequence) + bytes(48)
    words = struct.unpack(f"!{len(body) // 2}H", body)
    total = (ECHO_REQUEST << 8) + sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBH", ECHO_REQUEST, 0, ~total & 0xFFFF) + body


def receive(port: int) -> dict[str, Any]:
    """Take one connection; what came, how fast, and its digest."""
    with socket.create_server(("", port)) as server:
        server.settimeout(PATIENCE)
        print(json.dumps("listening"), flush=True)
        connection, _ = server.accept()
    digest = hashlib.blake2s()
    received = 0
    with connection:
        connection.settimeout(PATIENCE)
        begun = time.perf_counter()
        while data := connection.recv(CHUNK):
            digest.update(data)
            received += len(data)
        return {
            "bytes": received,
            "seconds": time.perf_counter() - begun,
            "digest": digest.hexdigest(),
        }


def send(address: str, port: int, seconds: float) -> dict[str, Any]:
    """Send random data for a while; how much, and its digest."""
    digest = hashlib.blake2s()
    block = os.urandom(CHUNK)
    sent = 0
    with socket.create_connection((address, port), PATIENCE) as connection:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            connection.sendall(block)
            digest.update(block)
            sent += len(block)
    return {"bytes": sent, "digest": digest.hexdigest()}


def main() -> int:
    """Run what the arguments say."""
    action, *arguments = sys.argv[1:]
    result: Any
    if action == "ping":
        result = ping(arguments[0], int(arguments[1]))
    elif action == "receive":
        result = receive(int(arguments[0]))
    else:
        result = send(arguments[0], int(arguments[1]), float(arguments[2]))
    print(json.dumps(result), flush=True)
    return 0
