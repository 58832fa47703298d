"""Builds ``wgvx._native`` out of native/*.c: cffi in API mode, the border is wgvx.h.

setup.py names this module; ``python native/build.py`` builds in place. Where there is no compiler,
or no libcrypto to compile against, wgvx installs without it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

import cffi

HERE = Path(__file__).parent
FLAGS = ["-O2", "-std=gnu17", "-D_GNU_SOURCE", "-fvisibility=hidden", "-pthread"]
IPSEC_MB = "intel-ipsec-mb.h"


def _border() -> str:
    """wgvx.h without what is the preprocessor's."""
    lines = (HERE / "wgvx.h").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def _has_header(name: str) -> bool:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    try:
        done = subprocess.run(
            [*compiler, "-E", "-"], input=f"#include <{name}>\n", text=True, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


def make_ffi() -> cffi.FFI:
    """The builder that cffi's setuptools hook asks for."""
    builder = cffi.FFI()
    builder.cdef(_border())
    flags = [*FLAGS, *os.environ.get("WGVX_CFLAGS", "").split()]
    macros = [("WGVX_HAVE_IPSEC_MB", "1")] if _has_header(IPSEC_MB) else []
    builder.set_source(
        "wgvx._native",
        '#include "wgvx.h"',
        # Relative to the project's root, as setuptools wants it.
        sources=[f"native/{path.name}" for path in sorted(HERE.glob("*.c"))],
        depends=[f"native/{path.name}" for path in sorted(HERE.glob("*.h"))],
        include_dirs=["native"],
        libraries=["crypto", "dl", "m", "pthread"],
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=[flag for flag in flags if flag.startswith("-fsanitize")],
        optional=True,
    )
    return builder


if __name__ == "__main__":
    os.chdir(HERE.parent)
    make_ffi().compile(verbose=True)
