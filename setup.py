"""What pyproject.toml cannot say: what is in C is compiled, where that can be, and manual pages are
made."""

import runpy
import sys
from pathlib import Path

from setuptools import setup

# Only behind setuptools, which brings it where Python has none.
from distutils.command.install_data import install_data  # isort: skip

modules = ["native/build.py:make_ffi"]
if runpy.run_path("native/stack/build.py")["is_here"]():
    modules.append("native/stack/build.py:make_ffi")


class InstallPages(install_data):
    """The manual pages, into share/man."""

    def run(self):
        """Make them out of the parsers of this very source, and install them."""
        sys.path.insert(0, str(Path(__file__).parent))
        from docs.manual.build import write

        folder = Path(self.get_finalized_command("build").build_base, "man")
        self.data_files = [(f"share/man/{page.parent.name}", [str(page)]) for page in write(folder)]
        super().run()


setup(
    cmdclass={"install_data": InstallPages},
    data_files=[("share/man", [])],  # that there is something to install
    cffi_modules=modules,
    # Also where no source is newer: a library may have come since.
    options={"build_ext": {"force": True}},
)
