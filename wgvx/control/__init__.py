"""How a running node is asked and told."""
