"""What pyproject.toml cannot say: the native data plane is compiled, where that can be."""

from setuptools import setup

setup(
    cffi_modules=["native/build.py:make_ffi"],
    # Also where no source is newer: a library may have come since.
    options={"build_ext": {"force": True}},
)
