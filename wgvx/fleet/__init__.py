"""One file for many nodes: a plan in, every node's files out.

`read` makes a `Plan` of a TOML file; `numbers` assigns addresses and `keyring` has the keys;
`topology` and `paths` work out who is whose peer and how large a frame may be; `nodes` puts it all
together for each node; `wgvx_file`, `wg_quick` and `networkd` write that down in their formats,
`render` makes a tree of files of it, `files` and `difference` write and compare such trees.
"""
