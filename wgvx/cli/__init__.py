"""The wgvx command, one module per command."""
