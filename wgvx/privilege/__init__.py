"""Least privilege from the inside: a node without power, and a helper that keeps what is needed."""
