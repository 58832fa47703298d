"""Sizes, rates and times as people read them."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """ "1 peer", "2 peers": ``what`` is one of them."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def ago(seconds: float) -> str:
    """How long ago, coarsely."""
    return f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """In the unit that gives a number from 2 on, more or less."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h"
    return f"{whole // 86400} d"


def data_size(count: int) -> str:
    """Bytes."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def data_rate(bytes_a_second: float | None) -> str:
    """In bits a second, as links are measured; "-" where it is not known yet."""
    if bytes_a_second is None:
        return "-"
    rate = bytes_a_second * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.0f} {unit}" if unit == "bit/s" or rate >= 100 else f"{rate:.1f} {unit}"
        rate /= 1000
    return f"{rate:.2f} Gbit/s"


def event_rate(a_second: float | None) -> str:
    """Of packets or frames; "-" where it is not known yet."""
    if a_second is None:
        return "-"
    return f"{a_second:.1f}" if 0 < a_second < 10 else f"{a_second:.0f}"
