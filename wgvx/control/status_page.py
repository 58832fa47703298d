"""The status page: one static document, and the data that it draws."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wgvx.config import quiet
from wgvx.control.http import Response
from wgvx.control.metrics import peer_labels

_DOCUMENT: Final = Path(__file__).with_name("status_page.html")
_PEER_KEYS: Final = ("latest_handshake", "path_mtu", "rx_bytes", "tx_bytes")
_NETWORK_KEYS: Final = ("vni", "mtu", "fdb_entries", "rx_frames", "tx_frames", "moves")


def data(shown: Mapping[str, Any], *, now: float, started: float) -> dict[str, Any]:
    """What the page is told of :func:`wgvx.control.status.show`: no address of anybody, and of keys
    no more than the metrics have. ``now`` and ``started`` are Unix seconds."""
    peers = shown["peers"]
    return {
        "name": shown["name"],
        "now": now,
        "started": started,
        "listen_port": shown["listen_port"],
        "dataplane": shown["dataplane"],
        "aead": shown["aead"],
        "workers": shown["workers"],
        "tunnel_mtu": shown["tunnel_mtu"],
        "peers": [
            {"peer": label} | {key: peer[key] for key in _PEER_KEYS}
            for label, peer in zip(peer_labels(peers), peers, strict=True)
        ],
        "networks": [
            {key: network[key] for key in _NETWORK_KEYS}
            | {
                "quiet": quiet.words(network["quiet"]),
                "ports": [
                    {
                        "name": attach["name"],
                        "up": attach["name"] not in network["down"],
                        "blocked": attach["name"] in quiet.blocked(network["quiet"]),
                    }
                    for attach in network["attach"]
                ],
            }
            for network in shown["networks"]
        ],
        "drops": {reason: count for reason, count in shown["drops"].items() if count},
    }


def _policy(document: str) -> str:
    """A content security policy (CSP Level 3) under which nothing runs but what is in the document,
    and nothing is loaded but our own data."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", document, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in found)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashes('script')}",
            f"style-src {hashes('style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _page() -> Response:
    document = _DOCUMENT.read_text()
    headers = {"Content-Security-Policy": _policy(document)}
    return Response(document.encode(), "text/html; charset=utf-8", headers=headers)


PAGE: Final = _page()
