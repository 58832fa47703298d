"""The underlay: UDP sockets of both families on one port, with addresses and TOS per datagram."""

from wgvx.underlay.endpoints import endpoint_from_sockaddr, format_endpoint, format_host
from wgvx.underlay.offload import gso_segments
from wgvx.underlay.opening import open_sockets
from wgvx.underlay.udp import UdpSocket, UnderlayError

__all__ = [
    "UdpSocket",
    "UnderlayError",
    "endpoint_from_sockaddr",
    "format_endpoint",
    "format_host",
    "gso_segments",
    "open_sockets",
]
