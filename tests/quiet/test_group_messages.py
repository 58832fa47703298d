"""What IGMP and MLD messages say, and which of them say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quiet import group_messages as made
from tests.quiet.group_messages import ALLOW, BLOCK, IS_EX, IS_IN, TO_EX, TO_IN, record
from tests.vxlan.packets import address, mutated
from wgvx.quiet import igmp, mld
from wgvx.quiet.listeners import Message, Query, Report, Router

SECOND = 1_000_000_000
G, H = "239.1.2.3", "ff15::1:42"


def parse(frame: bytes) -> Message | None:
    return mld.parse(frame) if frame[12:14] == b"\x86\xdd" else igmp.parse(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (made.query(), Query(None, 10 * SECOND, 125 * SECOND, 2)),
        (
            made.query(flags=7, interval=0x8F, code=0x80),
            Query(None, 12_800_000_000, 248 * SECOND, 7),
        ),
        (made.query(flags=0, interval=0), Query(None, 10 * SECOND)),
        (made.query(source="0.0.0.0"), Query(None, 10 * SECOND)),
        (made.query(version=2, code=50), Query(None, 5 * SECOND)),
        (made.query(version=2, code=0, options=b""), Query(None, 10 * SECOND)),
        (made.query(G, code=10), Query(address(G), SECOND)),
        (made.query(G, code=10, flags=10), Query(address(G), SECOND, lowers=False)),
        (made.query(G, code=10, sources=1), Query(address(G), SECOND, lowers=False)),
        (made.mld_query(), Query(None, 10 * SECOND)),
        (made.mld_query(code=0x8001, interval=20), Query(None, 32_776_000_000, 20 * SECOND)),
        (made.mld_query(version=1, code=5000), Query(None, 5 * SECOND)),
        (made.mld_query(H, version=1, code=1000), Query(address(H), SECOND)),
        (made.old_report(G, version=1, options=b""), Report((address(G),), older=True)),
        (made.old_report(G), Report((address(G),), older=True)),
        (made.old_mld_report(H), Report((address(H),), older=True)),
        (made.old_mld_report(H, source="::"), Report((address(H),), older=True)),
        (made.leave(G), Report(())),
        (made.report(record(TO_EX, G), record(BLOCK, G, 2)), Report((address(G),))),
        (
            made.mld_report(record(IS_EX, H, 1, 3), record(ALLOW, "ff15::43", 1)),
            Report((address(H), address("ff15::43"))),
        ),
        (made.report(record(9, G), record(TO_EX, "192.0.2.1")), Report(())),
        (made.hello(), Router()),
        (made.mld_hello(), Router()),
        (made.in_ipv4(bytes((0x30, 20, 0, 0, 0, 125, 0, 2)), "224.0.0.106"), Router()),
        (made.in_ipv6(bytes((151, 20, 0, 0, 0, 125, 0, 2)), "ff02::6a"), Router()),
    ],
)
def test_what_is_said(frame: bytes, message: Message) -> None:
    assert parse(frame) == message


@pytest.mark.parametrize(
    ("kind", "sources", "listens"),
    [
        (IS_IN, 0, False),
        (IS_IN, 1, True),
        (IS_EX, 0, True),
        (IS_EX, 2, True),
        (TO_IN, 0, False),
        (TO_IN, 1, True),
        (TO_EX, 0, True),
        (TO_EX, 1, True),
        (ALLOW, 1, True),
        (ALLOW, 0, False),
        (BLOCK, 1, False),
    ],
)
def test_records(kind: int, sources: int, listens: bool) -> None:
    for group, make in ((G, made.report), (H, made.mld_report)):
        wanted = Report((address(group),) if listens else ())
        assert parse(make(record(kind, group, sources))) == wanted


@pytest.mark.parametrize(
    "frame",
    [
        made.query(ttl=2),
        made.query("10.0.0.1"),
        made.query(sources=1)[:-4],
        made.in_ipv4(bytes((0x11, 100, 0, 0, *bytes(6))), "224.0.0.1"),  # Neither version's.
        made.old_report("10.0.0.1"),
        made.old_report(G)[:-1] + b"\xff",  # The checksum.
        made.old_report(G, ttl=64),
        made.report(record(TO_EX, G), count=2),
        made.report(record(TO_EX, G, 1)[:-4]),
        made.report(record(TO_EX, G, 0, 1)[:-4]),
        made.in_ipv4(bytes((0x99, *bytes(7))), "224.0.0.1"),
        made.in_ipv4(b"\x16\0\0\0\xef", "224.0.0.1"),
        made.hello(ttl=2),
        made.in_ipv4(b"\x21\0\0\0", "224.0.0.13", protocol=103),
        made.mld_query(source="fd00::1"),
        made.mld_query(source="::"),
        made.mld_query(hop_limit=64),
        made.mld_query(options=None),
        made.mld_query(options=b"\x01\x04\0\0\0\0"),
        made.mld_query(options=b"\x05\x02\0\1\x01\0"),  # Another protocol's alert.
        made.mld_query(sources=2)[:-20],
        made.old_mld_report("fd00::1"),
        made.old_mld_report(H, source="fd00::1"),
        made.mld_report(record(TO_EX, H), count=9),
        made.old_mld_report(H)[:-1] + b"\xff",
        made.in_ipv6(bytes((143, 0, 0, 0)), "ff02::16"),
        made.in_ipv6(bytes((131, *bytes(19))), "ff02::16"),
        made.mld_hello(source="::"),
    ],
)
def test_nothing_is_said(frame: bytes) -> None:
    assert parse(frame) is None


def test_an_older_report_is_translated() -> None:
    """To what that very station would have said with the newest version."""
    wanted = made.report(record(IS_EX, G), tos=0xC0, flags=0x4000)
    assert igmp.newer_report(made.old_report(G), address(G)) == wanted
    assert mld.newer_report(made.old_mld_report(H), address(H)) == made.mld_report(record(IS_EX, H))


ALL = [
    made.query(G, sources=2),
    made.old_report(G),
    made.report(record(TO_EX, G, 2), record(ALLOW, G, 1, 1)),
    made.hello(),
    made.mld_query(H, sources=1),
    made.old_mld_report(H),
    made.mld_report(record(TO_EX, H, 2), record(ALLOW, H, 1, 1)),
    made.mld_hello(),
]


@given(st.binary(min_size=14, max_size=120) | mutated(ALL).filter(lambda frame: len(frame) >= 14))
def test_any_bytes(frame: bytes) -> None:
    for module in (igmp, mld):
        assert module.parse(frame) is None or isinstance(
            module.parse(frame), Query | Report | Router
        )


@given(
    st.binary(max_size=200), st.sampled_from([0x11, 0x12, 0x16, 0x17, 0x22, 0x30, 130, 131, 143])
)
def test_any_message_with_right_checksums(data: bytes, kind: int) -> None:
    message = bytes((kind, 0, 0, 0)) + data
    made_4, made_6 = made.in_ipv4(message, "224.0.0.1"), made.in_ipv6(message, "ff02::1")
    for frame in (made_4, made_6):
        assert parse(frame) is None or isinstance(parse(frame), Query | Report | Router)
