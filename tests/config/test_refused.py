"""What is refused, by its message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import (
    FDB,
    NETWORK,
    NODE,
    NODE_LESS_KEY,
    OWN_PUBLIC,
    PEER,
    PRIVATE,
    PSK,
    B,
    C,
    refusal,
)
from wgvx import keys
from wgvx.config import (
    ConfigError,
    load,
)

KEY = f'private_key = "{PRIVATE}"\n'
STACK = 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"], %s }]\n'
ATTACH_TWO = 'attach = [{ type = "tap", name = "t0" }, { type = "tap", name = "t1" }]\n'

REFUSED = {
    # TOML and tables.
    "not toml": ("[node]\nmtu =\n", ":2: not TOML: Invalid value (column 6)"),
    "a value twice": (NODE + "mtu=1400\nmtu=1400\n", ":5: not TOML: Cannot overwrite a value"),
    "end of file": (NODE + "x = [", "not TOML"),
    "too many digits": ("x = " + "9" * 5000, "not TOML that can be read: a number"),
    "too deep": ("x = " + "[" * 5000, "nested too deep"),
    "empty": ("", ": the table [node] is missing"),
    "node as a list": (f"[[node]]\n{KEY}", ":1: node: found a list of 1, want one table, [node]"),
    "peer as a table": (
        NODE + PEER.replace("[[peer]]", "[peer]"),
        "peer: found a table, want tables, each [[peer]]",
    ),
    "peer as text": (f'peer = "b"\n{NODE}', ':1: peer: found "b", want tables, each [[peer]]'),
    # Unknown keys.
    "misspelt": (
        NODE + "listenport = 1\n",
        ':4: [node], listenport: there is no such key; did you mean "listen_port"?',
    ),
    "wg-quick's spelling": (NODE + "ListenPort = 1\n", 'did you mean "listen_port"?'),
    "wg-quick's table": (
        "[Interface]\n",
        ':1: Interface: there is no such key; did you mean "node"?',
    ),
    "wrong table": (
        NODE + "vni = 1\n",
        '[node], vni: there is no such key; "vni" belongs under [[network]]',
    ),
    "wrong tables": (NODE + "name = 'x'\n", '"name" belongs under [[peer]]'),
    "before any table": ("mtu = 1400\n" + NODE, '"mtu" belongs under [node] or [[network]]'),
    "nothing like it": (
        NODE + PEER + "zzz = 1\n",
        '[[peer]] 1 (name "b"), zzz: there is no such key; want one of name, public_key',
    ),
    "unknown in attach": (
        NODE + NETWORK + 'attach = [{ type = "tap", nam = "x" }]\n',
        ':6: [[network]] 1 (vni 4200), attach 1, nam: there is no such key; did you mean "name"?',
    ),
    # [node]
    "no key": (NODE_LESS_KEY, ":1: [node], private_key: missing, want private_key_file"),
    "two keys": (
        NODE + 'private_key_file = "a.key"\n',
        ":4: [node], private_key_file: found private_key beside it, want one of the two",
    ),
    "short key": (
        NODE.replace(PRIVATE, PRIVATE[:-1]),
        ":2: [node], private_key: found 43 characters, want a key: 32 bytes as 44 characters",
    ),
    "key of zeros": (NODE.replace(PRIVATE, keys.encode(bytes(32))), "found a key of zeros"),
    "key as number": (NODE_LESS_KEY + "private_key = 5\n", "private_key: found 5, want a key"),
    "key as key file": (
        NODE_LESS_KEY + f'private_key_file = "{PRIVATE}"\n',
        "private_key_file: found 44 characters, want a file's path; a key goes in private_key",
    ),
    "no key file": (
        NODE_LESS_KEY + 'private_key_file = "none.key"\n',
        'none.key" cannot be read: No such file or directory; want a readable key file',
    ),
    "folder as key file": (
        NODE_LESS_KEY + 'private_key_file = "."\n',
        "cannot be read: Is a directory",
    ),
    "home of the shell": (NODE_LESS_KEY + 'private_key_file = "~/a"\n', 'found "~/a", want a path'),
    "no address": (f"[node]\n{KEY}", "[node], address: missing, want this node's tunnel addresses"),
    "empty address": (f"[node]\n{KEY}address = []\n", "[node], address: missing, want"),
    "address as text": (
        f'[node]\n{KEY}address = "10.254.0.1/24"\n',
        ':3: [node], address: found "10.254.0.1/24", want a list in [ ], each a unicast address',
    ),
    "address no address": (
        NODE.replace("10.254.0.1/24", "10.254.0.256/24"),
        'found "10.254.0.256/24", want a unicast address with its prefix length',
    ),
    "address too long": (NODE.replace("/24", "/33"), 'found "10.254.0.1/33"'),
    "address with netmask": (NODE.replace("/24", "/255.255.255.0"), 'found "10.254.0.1/255'),
    "address multicast": (NODE.replace("10.254.0.1", "224.0.0.1"), 'found "224.0.0.1/24"'),
    "address unspecified": (NODE.replace("10.254.0.1/24", "::/64"), 'found "::/64"'),
    "address scoped": (NODE.replace("10.254.0.1/24", "fe80::1%a/64"), 'found "fe80::1%a/64"'),
    "address twice": (
        NODE.replace('"]', '", "10.254.0.1/32"]'),
        'address: found "10.254.0.1" twice, want each once',
    ),
    "port": (
        NODE + "listen_port = 65536\n",
        ":4: [node], listen_port: found 65536, want a whole number from 0 to 65535 (0: any free ",
    ),
    "port as text": (NODE + 'listen_port = "51820"\n', 'found "51820", want a whole number'),
    "port as truth": (NODE + "listen_port = true\n", "found true, want a whole number"),
    "port as float": (NODE + "listen_port = 1.0\n", "found 1.0, want a whole number"),
    "port as date": (NODE + "listen_port = 2020-01-01\n", "found a date or time, want"),
    "port negative": (NODE + "listen_port = -1\n", "found -1, want"),
    "port enormous": (
        NODE + "listen_port = 0x" + "f" * 9999 + "\n",
        "found a number of over 64 bits",
    ),
    "mtu low": (
        NODE + "mtu = 137\n",
        "[node], mtu: found 137, want a whole number from 138 to 65456",
    ),
    "mtu high": (NODE + "mtu = 65457\n", "[node], mtu: found 65457"),
    "fwmark": (NODE + "fwmark = 0x100000000\n", "fwmark: found 4294967296, want"),
    "forward": (NODE + "forward = 1\n", "[node], forward: found 1, want true or false"),
    "state_dir": (NODE + 'state_dir = ""\n', '[node], state_dir: found "", want a path'),
    # [[peer]]
    "no public key": (
        NODE + '[[peer]]\nname = "b"\n',
        ':4: [[peer]] 1 (name "b"), public_key: missing, want',
    ),
    "bad public key": (
        NODE + PEER + "[[peer]]\nname = 'c'\npublic_key = 'abc'\n",
        ':10: [[peer]] 2 (name "c"), public_key: found 3 characters, want a key',
    ),
    "own key": (NODE + PEER.replace(B, OWN_PUBLIC), "public_key: found this node's own key"),
    "peer twice": (
        NODE + PEER + f'[[peer]]\npublic_key = "{B}"\n',
        ':9: [[peer]] 2, public_key: found the key of [[peer]] 1 (name "b") again, want each once',
    ),
    "prefix twice": (
        NODE + PEER + f'[[peer]]\npublic_key = "{C}"\nallowed_ips = ["10.254.0.2"]\n',
        ':10: [[peer]] 2, allowed_ips: found "10.254.0.2/32" of [[peer]] 1 (name "b") again',
    ),
    "prefix twice after masking": (
        NODE
        + PEER.replace("2/32", "2/24")
        + f'[[peer]]\npublic_key = "{C}"\nallowed_ips = ["10.254.0.9/24"]\n',
        'found "10.254.0.0/24" of [[peer]] 1',
    ),
    "prefix": (
        NODE + PEER.replace("2/32", "2/"),
        'allowed_ips: found "10.254.0.2/", want an address',
    ),
    "prefix list": (
        NODE + PEER.replace('["10', '[1, "10'),
        "allowed_ips: found 1, want an address",
    ),
    "two psks": (
        NODE + PEER + f'preshared_key = "{PSK}"\npreshared_key_file = "x"\n',
        "preshared_key_file: found preshared_key beside it",
    ),
    "psk": (NODE + PEER + 'preshared_key = "x"\n', "preshared_key: found 1 characters, want a key"),
    "keepalive": (
        NODE + PEER + "persistent_keepalive = 65536\n",
        ':8: [[peer]] 1 (name "b"), persistent_keepalive: found 65536, want',
    ),
    "name": (
        NODE + PEER.replace('"b"', '"a\\u001b[31m"'),
        '[[peer]] 1 (name "a\\u001b[31m"), name: found',
    ),
    # [[network]]
    "no vni": (NODE + "[[network]]\n", ":4: [[network]] 1, vni: missing, want a whole number"),
    "vni": (
        NODE + "[[network]]\nvni = 16777216\n",
        ":5: [[network]] 1 (vni 16777216), vni: found 16777216, want a whole number from 0 to 16",
    ),
    "vni twice": (
        NODE + NETWORK + NETWORK + 'tap = "x"\n',
        ":7: [[network]] 2 (vni 4200), vni: found 4200 of [[network]] 1 (vni 4200) again",
    ),
    "tap and attach": (NODE + NETWORK + 'tap = "x"\n' + ATTACH_TWO, "tap: found attach beside it"),
    "tap too long": (
        NODE + NETWORK + 'tap = "a234567890123456"\n',
        'tap: found "a234567890123456", want an interface name of 1 to 15 bytes',
    ),
    "tap bytes": (NODE + NETWORK + 'tap = "éééééééé"\n', "tap: found"),
    "tap slash": (NODE + NETWORK + 'tap = "a/b"\n', 'tap: found "a/b"'),
    "tap space": (NODE + NETWORK + 'tap = "a b"\n', 'tap: found "a b"'),
    "tap dots": (NODE + NETWORK + 'tap = ".."\n', 'tap: found ".."'),
    "tap pattern": (NODE + NETWORK + 'tap = "tap%d"\n', 'tap: found "tap%d"'),
    "tap empty": (NODE + NETWORK + 'tap = ""\n', 'tap: found ""'),
    "tap twice": (
        NODE + NETWORK + "[[network]]\nvni = 4201\n",
        ":6: [[network]] 2 (vni 4201), tap: left out, so it is named after the node, and the TAP "
        '"a" is taken by [[network]] 1 (vni 4200), want another name, such as tap = "blue4201"',
    ),
    "tap of the node's name": (
        NODE + NETWORK + '[[network]]\nvni = 4201\ntap = "a"\n',
        ':8: [[network]] 2 (vni 4201), tap: the TAP "a" is taken by [[network]] 1 (vni 4200), '
        "whose tap is left out, so it is named after the node, want another name, such as",
    ),
    "tap twice, and the next name too": (
        NODE + NETWORK + 'tap = "blue0"\n[[network]]\nvni = 4201\ntap = "blue0"\n'
        '[[network]]\nvni = 1\nattach = [{ type = "tap", name = "blue4201" }]\n',
        'tap: the TAP "blue0" is taken by [[network]] 1 (vni 4200), want another name, such as '
        'tap = "blue1"',
    ),
    "attach empty": (NODE + NETWORK + "attach = []\n", "attach: found an empty list, want"),
    "attach no list": (
        NODE + NETWORK + 'attach = "x"\n',
        'attach: found "x", want a list such as [{ type = "tap", name = "blue0" }]',
    ),
    "attach of texts": (
        NODE + NETWORK + 'attach = ["tap"]\n',
        'attach: found "tap" in the list, want a list such as [{ type = "tap", name = "blue0" }]',
    ),
    "attach type": (
        NODE + NETWORK + 'attach = [{ type = "qemu", name = "x" }]\n',
        'attach 1, type: found "qemu", want one of "tap"',
    ),
    "attach without type": (
        NODE + NETWORK + 'attach = [{ name = "x" }]\n',
        'attach 1, type: missing, want one of "tap"',
    ),
    "attach without name": (
        NODE + NETWORK + 'attach = [{ type = "tap" }]\n',
        "attach 1, name: missing",
    ),
    "a VM that cannot be called so": (
        NODE + NETWORK + 'attach = [{ type = "stream", name = "a b", listen = "/x" }]\n',
        'attach 1, name: found "a b", want a name such as "vm1", of 1 to 15 bytes without',
    ),
    "attach key of another type": (
        NODE + NETWORK + 'attach = [{ type = "tap", name = "x", listen = "/x" }]\n',
        'attach 1, listen: no key of the type "tap", but of "stream"',
    ),
    "stream without a place": (
        NODE + NETWORK + 'attach = [{ type = "stream", name = "x" }]\n',
        "attach 1, listen: missing, want where the VM connects to, a Unix socket, with",
    ),
    "stream both ways": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stream", name = "x", listen = "/x", connect = "/y" }]\n',
        "attach 1, connect: found listen beside it, want one of the two",
    ),
    "stream nowhere": (
        NODE + NETWORK + 'attach = [{ type = "stream", name = "x", listen = "vm1" }]\n',
        'attach 1, listen: found "vm1", want a Unix socket, with a slash in it, such as "./vm1',
    ),
    "stream too long a path": (
        NODE + NETWORK + f'attach = [{{ type = "stream", name = "x", listen = "/{"x" * 107}" }}]\n',
        "want a path of 107 bytes at most",
    ),
    "one socket for two": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stream", name = "x", listen = "/s" },'
        + ' { type = "stream", name = "y", listen = "/s" }]\n',
        'attach 2, listen: "/s" is taken by [[network]] 1 (vni 4200), attach 1, listen',
    ),
    "dgram at both ends": (
        NODE + NETWORK + 'attach = [{ type = "dgram", name = "x", local = "/x", remote = "/x" }]\n',
        'attach 1, remote: found "/x", want another place than `local`',
    ),
    "one port for two proxies": (
        NODE + NETWORK + STACK % 'socks5 = "127.0.0.1:1080", http = "127.0.0.1:1080"',
        'attach 1, http: "127.0.0.1:1080" is taken by [[network]] 1 (vni 4200), attach 1, socks5',
    ),
    "one port for a proxy and a forward of every address": (
        NODE + NETWORK + STACK % 'http = "localhost:80", forward = ["*:80:10.0.0.2:80"]',
        'attach 1, forward: "*:80" is taken by [[network]] 1 (vni 4200), attach 1, http, want',
    ),
    "one port for two forwards": (
        NODE + NETWORK + STACK % 'forward = ["80:10.0.0.2:80", "0.0.0.0:80:10.0.0.3:80"]',
        'attach 1, forward: "0.0.0.0:80" is taken by [[network]] 1 (vni 4200), attach 1, forward',
    ),
    "one port for two ways back": (
        NODE + NETWORK + STACK % 'reverse = ["80:127.0.0.1:1", "10.0.0.9:80:127.0.0.1:2"]',
        'attach 1, reverse: "10.0.0.9:80" is taken by [[network]] 1 (vni 4200), attach 1, reverse',
    ),
    "a forward to the stack": (
        NODE + NETWORK + STACK % 'forward = ["80:10.0.0.9:80"]',
        'attach 1, forward: found "127.0.0.1:80:10.0.0.9:80", which leads to the stack itself',
    ),
    "a stack that is its own gateway": (
        NODE + NETWORK + STACK % 'gateway = ["10.0.0.9"]',
        'attach 1, gateway: found "10.0.0.9", the stack\'s own',
    ),
    "a proxy without a host": (
        NODE + NETWORK + STACK % 'socks5 = "1080"',
        'attach 1, socks5: found "1080", want a place of this host such as "127.0.0.1:1080"',
    ),
    **{
        f"a stack at {whose}": (
            NODE + NETWORK + (STACK % "dns = []").replace("10.0.0.9", address),
            f'attach 1, address: found "{address}/24", {whose}, want a host\'s',
        )
        for address, whose in (
            ("10.0.0.0", "that of the network itself"),
            ("10.0.0.255", "the broadcast address of its network"),
        )
    },
    "dgram without remote": (
        NODE + NETWORK + 'attach = [{ type = "dgram", name = "x", local = "/x" }]\n',
        "attach 1, remote: missing, want where the VM receives",
    ),
    "dgram of two kinds": (
        NODE
        + NETWORK
        + 'attach = [{ type = "dgram", name = "x", local = "/x", remote = "127.0.0.1:1" }]\n',
        "attach 1, remote: found a path and an address, want two of one kind",
    ),
    "a VM's address": (
        NODE
        + NETWORK
        + 'address = ["10.0.0.1/24"]\nattach = [{ type = "stream", name = "x", listen = "/x" }]\n',
        'address: found an attachment of the type "stream" beside it, want none: it is the VM',
    ),
    "a stack in a bridge": (
        NODE
        + NETWORK
        + 'bridge = "br0"\nattach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"] }]\n',
        'bridge: found an attachment of the type "stack" beside it, want a "tap"',
    ),
    "stack without address": (
        NODE + NETWORK + 'attach = [{ type = "stack", name = "x" }]\n',
        "attach 1, address: missing, want an address of its own on the overlay with its prefix",
    ),
    "stack with a gateway elsewhere": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"],'
        + ' gateway = ["10.1.0.1"] }]\n',
        'attach 1, gateway: found "10.1.0.1", want an address within a prefix of `address`',
    ),
    "stack with a forward to nowhere": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"],'
        + ' forward = ["8080:80"] }]\n',
        'attach 1, forward: found "8080:80", want "[host:]port:host:port" as of ssh -L',
    ),
    "two stacks": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"] },'
        + ' { type = "stack", name = "y", address = ["10.0.0.8/24"] }]\n',
        'attach 2, type: found a second "stack" beside that of [[network]] 1 (vni 4200), attach 1',
    ),
    "a stack with two addresses of IPv4": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24", "10.0.0.8/24"] }]\n',
        "attach 1, address: found more of IPv4, want 1 at most for a stack",
    ),
    "a stack that listens elsewhere": (
        NODE
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"],'
        + ' reverse = ["10.0.0.8:80:127.0.0.1:80"] }]\n',
        'attach 1, reverse: found "10.0.0.8:80", want one of the stack\'s addresses, or none',
    ),
    "attach name twice": (
        NODE + NETWORK + ATTACH_TWO.replace("t1", "t0"),
        'attach 2, name: the TAP "t0" is taken by [[network]] 1 (vni 4200), attach 1',
    ),
    "attach mac twice": (
        NODE + NETWORK + ATTACH_TWO.replace(" }", ', mac = "02:00:00:00:00:01" }'),
        "attach 2, mac: found that of another attachment",
    ),
    "mac for two": (
        NODE + NETWORK + ATTACH_TWO + 'mac = "02:00:00:00:00:01"\n',
        ':7: [[network]] 1 (vni 4200), mac: found 2 attachments beside it, want { type = "tap"',
    ),
    "address for two": (
        NODE + NETWORK + ATTACH_TWO + 'address = ["10.0.0.1/24"]\n',
        "address: found 2 attachments beside it",
    ),
    "bridge for two": (
        NODE + NETWORK + ATTACH_TWO + 'bridge = "br0"\n',
        "bridge: found 2 attachments beside it, want one attachment",
    ),
    "mac in both": (
        NODE + NETWORK + 'mac = "02:00:00:00:00:01"\n'
        'attach = [{ type = "tap", name = "x", mac = "02:00:00:00:00:02" }]\n',
        "mac: found a mac in attach too",
    ),
    "mac": (
        NODE + NETWORK + 'mac = "02:00:00:00:01"\n',
        'mac: found "02:00:00:00:01", want a unicast MAC such as',
    ),
    "mac multicast": (
        NODE + NETWORK + 'mac = "01:00:5e:00:00:01"\n',
        'mac: found "01:00:5e:00:00:01"',
    ),
    "mac zero": (NODE + NETWORK + 'mac = "00:00:00:00:00:00"\n', 'mac: found "00:00:00:00:00:00"'),
    "overlay mtu": (
        NODE + NETWORK + "mtu = 67\n",
        "(vni 4200), mtu: found 67, want a whole number from 68 to",
    ),
    "bridge and address": (
        NODE + NETWORK + 'bridge = "br0"\naddress = ["10.0.0.1/24"]\n',
        "bridge: found address beside it, want one of the two",
    ),
    "bridge itself": (
        NODE + NETWORK + 'tap = "x"\nbridge = "x"\n',
        'bridge: found "x", want the name of an existing bridge',
    ),
    "netns": (
        NODE + NETWORK + 'netns = "a/b"\n',
        'netns: found "a/b", want the name of a network namespace',
    ),
    "udp_port": (
        NODE + NETWORK + "udp_port = 0\n",
        "udp_port: found 0, want a whole number from 1 to 65535",
    ),
    "remote": (
        NODE + NETWORK + 'remotes = ["b"]\n',
        'remotes: found "b", want a unicast address such as',
    ),
    "remote prefix": (NODE + NETWORK + 'remotes = ["10.254.0.2/32"]\n', "remotes: found"),
    "remote multicast": (
        NODE + NETWORK + 'remotes = ["239.1.1.1"]\n',
        'remotes: found "239.1.1.1"',
    ),
    "remote twice": (
        NODE + NETWORK + 'remotes = ["10.0.0.1", "10.0.0.1"]\n',
        'remotes: found "10.0.0.1" twice',
    ),
    "remote family": (
        NODE + NETWORK + 'remotes = ["fd00::2"]\n',
        'remotes: found "fd00::2", want an address of a family in which [node] address has one '
        "(add an IPv6 address there)",
    ),
    "accept": (
        NODE + NETWORK + 'accept = ["10.254.0.2/40"]\n',
        'accept: found "10.254.0.2/40", want',
    ),
    "learning": (NODE + NETWORK + "learning = 'no'\n", 'learning: found "no", want true or false'),
    "ageing": (NODE + NETWORK + "ageing = 0\n", "ageing: found 0, want a whole number from 1 to"),
    "max_entries": (NODE + NETWORK + "max_entries = 0\n", "max_entries: found 0, want"),
    # fdb
    "fdb without vtep": (
        NODE + NETWORK + 'fdb = [{ mac = "02:00:00:00:00:02" }]\n',
        ":6: [[network]] 1 (vni 4200), fdb 1, vtep: missing",
    ),
    "fdb without mac": (
        NODE + NETWORK + 'fdb = [{ vtep = "10.254.0.2" }]\n',
        "fdb 1, mac: missing",
    ),
    "fdb mac": (
        NODE + NETWORK + FDB % ('"x"', '"10.254.0.2"'),
        'fdb 1, mac: found "x", want a MAC',
    ),
    "fdb flood list": (
        NODE + NETWORK + FDB % ('"00:00:00:00:00:00"', '"10.254.0.2"'),
        '(the flood list, all zeros, is "remotes")',
    ),
    "fdb own mac": (
        NODE
        + NETWORK
        + 'mac = "02:00:00:00:00:01"\n'
        + FDB % ('"02:00:00:00:00:01"', '"10.254.0.2"'),
        "fdb 1, mac: found 02:00:00:00:00:01 of this network's own attachment",
    ),
    "fdb family": (
        NODE + NETWORK + FDB % ('"02:00:00:00:00:02"', '"fd00::2"'),
        'fdb 1, vtep: found "fd00::2", want an address of a family',
    ),
    "fdb unicast at two": (
        NODE + NETWORK + 'fdb = [{ mac = "02:00:00:00:00:02", vtep = "10.254.0.2" },'
        ' { mac = "02:00:00:00:00:02", vtep = "10.254.0.3" }]\n',
        "fdb 2, mac: found 02:00:00:00:00:02 at 10.254.0.2 too, want one VTEP for a unicast MAC",
    ),
    "fdb twice": (
        NODE + NETWORK + 'fdb = [{ mac = "33:33:00:00:00:02", vtep = "10.254.0.2" },'
        ' { mac = "33:33:00:00:00:02", vtep = "10.254.0.2" }]\n',
        "fdb 2, vtep: found 33:33:00:00:00:02 at 10.254.0.2 twice",
    ),
}


@pytest.mark.parametrize(("text", "part"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_place_key_and_what_is_wanted(tmp_path: Path, text: str, part: str) -> None:
    message = refusal(tmp_path, text)
    assert part in message if not part.startswith(":") else message.startswith(part)
    for secret in (PRIVATE, B, C, PSK, OWN_PUBLIC):
        assert secret[:40] not in message


@pytest.mark.parametrize(
    "endpoint",
    [
        *("b", "b:", ":51820", "b:0", "b:65536", "b:-1", "b:1_0", "b:http", "b:٣"),
        *("300.1.1.1:5", "1.2.3:5", "fe80::1:51820", "[192.0.2.2]:5", "[2001:db8::2]", "[b]:5"),
        *("a b:5", "-b:5", "b..c:5", "é:5", "a" * 64 + ":5", "a." * 130 + "b:5", "b/c:5"),
        *(f"[fe80::1%{scope}]:5" for scope in ("", "e" * 16, "{{x}}", "$(x)", "a#b", "a;b", "é")),
    ],
)
def test_bad_endpoints(tmp_path: Path, endpoint: str) -> None:
    message = refusal(tmp_path, NODE + PEER + f'endpoint = "{endpoint}"\n')
    assert message.startswith(':8: [[peer]] 1 (name "b"), endpoint: found ')
    assert message.endswith('want "host:port", "192.0.2.2:51820" or "[2001:db8::2]:51820"')


def test_no_line_is_guessed_where_text_may_look_like_keys(tmp_path: Path) -> None:
    text = 'x = """\n[node]\nmtu = 1\n"""\n'
    assert refusal(tmp_path, text).startswith(": x: there is no such key")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "dir.toml").mkdir()
    with pytest.raises(ConfigError, match=r"dir\.toml: cannot be read: Is a directory"):
        load(tmp_path / "dir.toml")
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_bytes(b"[node]\n# \xff\n")
    with pytest.raises(ConfigError, match=r"a\.toml:2: not TOML: a byte that is not UTF-8"):
        load(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_bytes(b"#" * ((1 << 24) + 1))
    with pytest.raises(ConfigError, match="found more than 16 MiB"):
        load(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "nothing"), (b"\xff" * 44, "44 bytes"), (PRIVATE[:-1].encode(), "43 bytes")],
)
def test_bad_key_files(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.key").write_bytes(content)
    message = refusal(tmp_path, NODE_LESS_KEY + 'private_key_file = "a.key"\n')
    assert f'found {found} in "{tmp_path / "a.key"}", want a key: 32 bytes' in message
    assert PRIVATE[:40] not in message
