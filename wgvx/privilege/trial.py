"""Gives up all that a node does, to see whether it can: exit status 0, or 1 with the reason on the
first line and the mend, if there is one, on the second."""

from __future__ import annotations

import sys

from wgvx.privilege.capabilities import drop_capabilities, refuse_new_privileges
from wgvx.privilege.syscalls import Needs, NoFilter, install


def main() -> int:
    try:
        drop_capabilities()
        refuse_new_privileges()
        install(Needs())
    except NoFilter as missing:
        print(missing)
        if missing.mend is not None:
            print(missing.mend)
        return 1
    except OSError as error:
        print(error.strerror)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
