"""What pyproject.toml cannot say: the native data plane is compiled, where that can be."""

from setuptools import setup

setup(cffi_modules=["native/build.py:make_ffi"])
