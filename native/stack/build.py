"""Builds ``wgvx._stack`` out of native/stack/*.c and lwIP: cffi in API mode, the border is stack.h.

setup.py names this module where lwIP's source is there (``./dev lwip`` brings it to native/lwip, or
WGVX_LWIP names a tree).
"""

from __future__ import annotations

import os
from pathlib import Path

import cffi

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FLAGS = ["-O2", "-std=gnu17", "-D_GNU_SOURCE", "-fvisibility=hidden"]
LINKED = ["-Wl,--wrap=nd6_input"]  # neighbour.c comes before it
NOT_OURS = {"dhcp.c", "dhcp6.c", "autoip.c", "igmp.c", "altcp.c", "altcp_alloc.c", "altcp_tcp.c"}


def lwip() -> Path:
    """Where lwIP's source is, or should be."""
    return Path(os.environ.get("WGVX_LWIP") or ROOT / "native" / "lwip").absolute()


def is_here() -> bool:
    return (lwip() / "src" / "core" / "tcp.c").exists()


def _border() -> str:
    """stack.h without what is the preprocessor's."""
    lines = (HERE / "stack.h").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def _lwip_sources() -> list[str]:
    core = lwip() / "src" / "core"
    found = [*core.glob("*.c"), *core.glob("ipv4/*.c"), *core.glob("ipv6/*.c")]
    found.append(lwip() / "src" / "netif" / "ethernet.c")
    return [os.path.relpath(path, ROOT) for path in sorted(found) if path.name not in NOT_OURS]


def make_ffi() -> cffi.FFI:
    """The builder that cffi's setuptools hook asks for."""
    builder = cffi.FFI()
    builder.cdef(_border())
    ours = [f"native/stack/{path.name}" for path in sorted(HERE.glob("*.c"))]
    flags = [*FLAGS, *os.environ.get("WGVX_CFLAGS", "").split()]
    builder.set_source(
        "wgvx._stack",
        '#include "stack.h"',
        # Relative to the project's root, as setuptools wants it.
        sources=[*ours, *_lwip_sources()],
        depends=[f"native/stack/{path.name}" for path in sorted(HERE.glob("*.h"))],
        include_dirs=["native/stack", os.path.relpath(lwip() / "src" / "include", ROOT)],
        extra_compile_args=flags,
        extra_link_args=[*LINKED, *(flag for flag in flags if flag.startswith("-fsanitize"))],
        optional=True,
    )
    return builder


if __name__ == "__main__":
    os.chdir(ROOT)
    make_ffi().compile(verbose=True)
