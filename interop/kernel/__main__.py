"""python -m interop.kernel build | run COMMAND... | shell"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from interop.kernel import qemu
from interop.kernel.guest import Guest
from interop.kernel.image import image
from interop.kernel.packages import CannotBuildError
from tests.netns.lab import Lab, Place

COMMAND_TIMEOUT = 3600.0


class Here(Place):
    """This very process's surroundings: a guest without a network needs no privilege."""

    def wrap(self, *command: str) -> list[str]:
        return list(command)


def run(*command: str) -> int:
    """Run a command in a guest of its own."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            guest = Guest(Here(lab, lab.folder))
            guest.ready()
            done = guest.run(*command, check=False, timeout=COMMAND_TIMEOUT)
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # the logs that a test would want
                lab.close()
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["build"]:
                print(image().kernel, image().initramfs, sep="\n")
                return 0
            case ["run", command, *more]:
                return run(command, *more)
            case ["shell"]:
                command_line = qemu.command(image())
                os.execv(command_line[0], command_line)
            case _:
                print(f"usage: {__doc__}", file=sys.stderr)
                return 2
    except CannotBuildError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
