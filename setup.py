"""What pyproject.toml cannot say: what is in C is compiled, where that can be."""

import runpy

from setuptools import setup

modules = ["native/build.py:make_ffi"]
if runpy.run_path("native/stack/build.py")["is_here"]():
    modules.append("native/stack/build.py:make_ffi")

setup(
    cffi_modules=modules,
    # Also where no source is newer: a library may have come since.
    options={"build_ext": {"force": True}},
)
