"""wgvx: an encrypted Layer-2 network in userspace, VXLAN over WireGuard."""

__version__ = "0.1.0"
