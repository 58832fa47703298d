"""The program behind `namespace.enter`: goes into the namespaces and becomes the command.

Usage: enter USER_FD NET_FD WAIT_FD -- COMMAND [ARGUMENT ...]

WAIT_FD is read from before; at its end without a byte COMMAND is not wanted any more. -1: no wait,
and no namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys

from wgvx.ports import userns

CANNOT_ENTER = 125
CANNOT_RUN = 126
NOT_FOUND = 127


def main() -> int:
    user_fd, net_fd, wait_fd = map(int, sys.argv[1:4])
    command = sys.argv[5:]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # To end by it is no error of ours.
    if wait_fd >= 0:
        if not os.read(wait_fd, 1):
            return CANNOT_ENTER
        os.close(wait_fd)
    if user_fd >= 0:
        try:
            _go_into(user_fd, net_fd)
        except OSError as error:
            print(f"wgvx: the namespace cannot be entered: {error.strerror}", file=sys.stderr)
            return CANNOT_ENTER
    # What Python changed at its start would go on to the command.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(command[0], command)
    except OSError as error:
        # A folder of PATH that may not be searched is no command that may not be run.
        found = "/" in command[0] or shutil.which(command[0], os.F_OK)
        if isinstance(error, FileNotFoundError) or not found:
            reason = error.strerror if "/" in command[0] else "command not found"
            print(f"wgvx: {command[0]}: {reason}", file=sys.stderr)
            return NOT_FOUND
        print(f"wgvx: {command[0]}: {error.strerror}", file=sys.stderr)
        return CANNOT_RUN


def _go_into(user_fd: int, net_fd: int) -> None:
    userns.setns(user_fd, userns.CLONE_NEWUSER)
    userns.setns(net_fd, userns.CLONE_NEWNET)
    # Nothing changes for the user who made the namespace. Any other, root above all, would have no
    # id in it, and with the next execve(2) no power.
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.close(user_fd)
    os.close(net_fd)


if __name__ == "__main__":
    sys.exit(main())
