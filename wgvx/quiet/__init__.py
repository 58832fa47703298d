"""Quiet Layer 2: what keeps a network's frames to everywhere few, and its loops short.

Sans-IO, as the core: ``now`` comes in, frames go out through the data plane. Each of the features
is a file; :mod:`wgvx.quiet.network` gives them the frames that they watch.
"""
