"""Single parts of native/, compiled by themselves, so that each is held against its Python twin."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cffi
import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
BUILT = ROOT / "build" / "parts"
FLAGS = ["-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]


def build_parts(
    name: str,
    cdef: str,
    sources: Sequence[str],
    *,
    source: str | None = None,
    libraries: Sequence[str] = (),
) -> tuple[Any, Any]:
    """(ffi, lib) of files of native/; ``source`` (default: their headers) is what cffi compiles.

    Built once for each content of native/, WGVX_CFLAGS (sanitizers, say) and Python.
    """
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no compiler: apt-get install gcc libc6-dev python3-dev")
    flags = [*FLAGS, *os.environ.get("WGVX_CFLAGS", "").split()]
    if source is None:
        headers = [Path(file).with_suffix(".h").name for file in sources]
        source = "".join(f'#include "{h}"\n' for h in headers if (NATIVE / h).exists())
    digest = hashlib.sha256(repr((cdef, sources, source, flags, sys.version)).encode())
    for path in sorted(NATIVE.glob("*.[ch]")):
        digest.update(path.read_bytes())
    module = f"parts_{name}_{digest.hexdigest()[:16]}"
    folder = BUILT / module
    folder.mkdir(parents=True, exist_ok=True)
    # One builds, the others wait.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = list(folder.glob(f"{module}*.so"))
        if not found:
            builder = cffi.FFI()
            builder.cdef(cdef)
            builder.set_source(
                module,
                source,
                sources=[str(NATIVE / file) for file in sources],
                include_dirs=[str(NATIVE)],
                libraries=list(libraries),
                extra_compile_args=flags,
                extra_link_args=[flag for flag in flags if flag.startswith("-fsanitize")],
            )
            found = [Path(builder.compile(tmpdir=str(folder)))]
    spec = importlib.util.spec_from_file_location(module, found[0])
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.ffi, loaded.lib
