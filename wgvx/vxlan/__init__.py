"""The overlay, sans-IO: tunnel packets, VXLAN, the forwarding database."""
