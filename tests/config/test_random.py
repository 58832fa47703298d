"""Random files: one loads or is refused, and never gives its secrets away."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.config.files import (
    FDB,
    NETWORK,
    NODE,
    PEER,
    PRIVATE,
    PSK,
)
from wgvx import config
from wgvx.config import (
    ConfigError,
    load,
    overlaps,
)

MUTANT_SOURCE = (
    NODE
    + "listen_port = 51820\nmtu = 1420\nforward = false\n"
    + PEER
    + f'preshared_key = "{PSK}"\nendpoint = "192.0.2.2:51820"\npersistent_keepalive = 25\n'
    + NETWORK
    + 'attach = [{ type = "tap", name = "t0" }]\naddress = ["10.0.0.1/24"]\n'
    + 'remotes = ["10.254.0.2"]\naccept = ["10.254.0.2/32"]\n'
    + FDB % ('"02:00:00:00:00:02"', '"10.254.0.2"')
)
VALUES = st.sampled_from(
    [
        *("true", "-1", "0", "1e400", "nan", "1979-05-27", "07:32:00", '""', '"\\u0000"', "[]"),
        *("[[]]", "{}", "[{}]", "[1]", '[""]', '"10.0.0.1"', '["::ffff:10.0.0.1/120"]', "0xffff"),
        *('"[::1%\\n]:5"', '"%s"' % ("A" * 300), '"\\U0010ffff"', '["0.0.0.0/0", "::/0"]'),
        *('"/"', '"../../../dev/null"', "{ mac = 1 }", "99999999999999999999999"),
    ]
)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """The file above with lines changed, lost, doubled or swapped, and characters replaced."""
    lines = MUTANT_SOURCE.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines[at])
            case 2:
                key = lines[at].partition(" = ")[0]
                lines[at] = f"{key} = {draw(VALUES)}"
            case 3:
                keys_known = sorted(set().union(*config.table.KEYS.values()))
                lines[at] = f"{draw(st.sampled_from(keys_known))} = {draw(VALUES)}"
            case 4:
                cut = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + draw(st.text(max_size=3)) + lines[at][cut + 1 :]
    return "\n".join(lines)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutants())
def test_whatever_the_file_it_loads_or_is_refused_without_its_secrets(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        loaded = load(path)
    except ConfigError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert message.removeprefix(str(path)).isprintable()
        assert PRIVATE[:40] not in message
        assert PSK[:40] not in message
    else:
        assert loaded.node.addresses
        assert all(0 <= network.vni < 1 << 24 for network in loaded.networks)
        overlaps(loaded)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load(path)
