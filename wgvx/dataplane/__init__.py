"""What happens to every packet: the interface and its implementations."""
