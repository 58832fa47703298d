"""WireGuard, sans-IO: bytes and `now` go in, bytes and effects come out."""
