"""One node's configuration: a TOML file in, frozen dataclasses out, errors that teach.

`model` is what comes out, `table` and `values` read TOML and the text in it, `attach` and
`load` compose them, `locate` finds the file, `advice` says what is valid yet hardly meant.
"""

from wgvx.config.advice import mtu_warnings, overlaps, peer_labels
from wgvx.config.load import load
from wgvx.config.locate import called, find, node_name, node_names
from wgvx.config.model import (
    Address,
    AttachConfig,
    Config,
    DgramAttach,
    EndpointName,
    FdbEntry,
    Forward,
    Interface,
    NetworkConfig,
    NodeConfig,
    PeerConfig,
    Prefix,
    SocketAddress,
    StackAttach,
    StreamAttach,
    TapAttach,
    default_remotes,
    derive_mac,
    flood_list,
)
from wgvx.config.table import ConfigError
from wgvx.config.values import (
    format_mac,
    parse_endpoint,
    parse_listener,
    parse_local_forward,
    parse_mac,
    parse_remote_forward,
)

__all__ = [
    "Address",
    "AttachConfig",
    "Config",
    "ConfigError",
    "DgramAttach",
    "EndpointName",
    "FdbEntry",
    "Forward",
    "Interface",
    "NetworkConfig",
    "NodeConfig",
    "PeerConfig",
    "Prefix",
    "SocketAddress",
    "StackAttach",
    "StreamAttach",
    "TapAttach",
    "called",
    "default_remotes",
    "derive_mac",
    "find",
    "flood_list",
    "format_mac",
    "load",
    "mtu_warnings",
    "node_name",
    "node_names",
    "overlaps",
    "parse_endpoint",
    "parse_listener",
    "parse_local_forward",
    "parse_mac",
    "parse_remote_forward",
    "peer_labels",
]
