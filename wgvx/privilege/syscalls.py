"""The system calls that a node makes once it is set up, as a filter (seccomp(2)) of libseccomp.

Everything else fails with EPERM and nothing more: what is missing here, on a libc or a kernel that
nobody has tried, costs one function and not the network. What is not here on purpose: to open, make
or change a file; to run a program or become another process; to reach another process; a socket of
AF_UNIX, AF_PACKET and the like; memory that can be run; namespaces, keys, BPF, io_uring. Python and
its libraries cope: a module that was not imported before cannot be any more, and a traceback has no
source lines.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

# For as long as a process is of use, whatever it does.
_ALWAYS: Final = """
    accept accept4 brk clock_getres clock_gettime clock_nanosleep close dup dup2 dup3
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 exit exit_group fstat futex
    getegid geteuid getgid getpeername getpid getppid getrandom getresgid getresuid getsockname
    gettid gettimeofday getuid lseek madvise membarrier mremap munmap nanosleep
    pipe2 poll ppoll read readv recvfrom recvmmsg recvmsg restart_syscall rseq
    rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield sendmmsg sendmsg
    sendto set_robust_list shutdown sigaltstack time timerfd_settime wait4 waitid write writev
"""

# asm-generic: fcntl.h, ioctls.h, mman-common.h; linux/sched.h
_FCNTL: Final = (1, 2, 3, 4, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_IOCTL: Final = (0x541B, 0x5421, 0x5450, 0x5451)  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_AT_EMPTY_PATH: Final = 0x1000
_PROT_EXEC: Final = 0x4
_THREAD: Final = 0x00010900  # CLONE_VM | CLONE_SIGHAND | CLONE_THREAD
_NOT_OF_THREADS: Final = 0x7E02E080  # every CLONE_NEW*, VFORK, PTRACE, PARENT, NEWNS, NEWTIME

# What is set on sockets of the underlay, of VMs and of the stack's clients.
_OPTIONS: Final = {
    socket.SOL_SOCKET: (
        socket.SO_REUSEADDR,
        socket.SO_REUSEPORT,
        socket.SO_SNDBUF,
        socket.SO_RCVBUF,
        socket.SO_LINGER,
        32,  # SO_SNDBUFFORCE
        33,  # SO_RCVBUFFORCE
        35,  # SO_TIMESTAMPNS
        64,  # SO_TIMESTAMPNS_NEW
    ),
    socket.IPPROTO_IP: (8, 10, 13),  # IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVTOS
    # IPV6_MTU_DISCOVER, V6ONLY, RECVPKTINFO, RECVTCLASS, AUTOFLOWLABEL
    socket.IPPROTO_IPV6: (23, 26, 49, 66, 70),
    socket.IPPROTO_TCP: (socket.TCP_NODELAY,),
    socket.IPPROTO_UDP: (103, 104),  # UDP_SEGMENT, UDP_GRO
}
_OTHER_OPTIONS: Final = 0xFFFFFFC0
"""Those of SOL_SOCKET that nobody here reads: SO_PEERPIDFD (77) among them, with which a process at
the other end of a Unix socket can be signalled."""

# asm-generic/unistd.h, and the same on x86: older libraries do not know the names.
IO_URING_SETUP: Final = 425
_CLONE3: Final = 435

_MACHINES: Final = ("x86_64", "aarch64", "riscv64")
"""Whose system calls take their arguments as assumed here."""

_TYPE: Final = 0xF
_INT: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Needs:
    """Which kinds of Internet sockets this node will open."""

    datagrams: bool = False
    streams: bool = False


@dataclass(frozen=True)
class Call:
    """One that is let through where in each argument, by number, the bits of a mask are as given:
    (argument, mask, bits)."""

    name: str
    where: tuple[tuple[int, int, int], ...] = ()


class NoFilter(Exception):  # noqa: N818 - says what is missing
    """There can be no filter; the message says why, ``mend`` what to do about it if anything."""

    def __init__(self, why: str, mend: str | None = None) -> None:
        super().__init__(why)
        self.mend = mend


def allowed(needs: Needs) -> Iterator[Call]:
    """All that is let through."""
    for name in _ALWAYS.split():
        yield Call(name)
    for command in _FCNTL:
        yield Call("fcntl", ((1, _INT, command),))
    for request in _IOCTL:
        yield Call("ioctl", ((1, _INT, request),))
    for level, options in _OPTIONS.items():
        for option in options:
            yield Call("setsockopt", ((1, _INT, level), (2, _INT, option)))
    yield Call("getsockopt", ((1, _INT, socket.SOL_SOCKET), (2, _OTHER_OPTIONS, 0)))
    # Children, and not the process groups of theirs.
    yield Call("pidfd_send_signal", ((3, _INT, 0),))
    # fstat(2), as newer libraries call it.
    yield Call("newfstatat", ((3, _AT_EMPTY_PATH, _AT_EMPTY_PATH),))
    for name in ("mmap", "mprotect"):
        yield Call(name, ((2, _PROT_EXEC, 0),))
    yield Call("tgkill", ((0, _INT, os.getpid()),))  # abort(3)
    # Threads of ours alone: they have no more than we have.
    yield Call("prctl", ((0, _INT, 15),))  # PR_SET_NAME
    yield Call("clone", ((0, _THREAD | _NOT_OF_THREADS, _THREAD),))
    yield from _sockets(needs)


def _sockets(needs: Needs) -> Iterator[Call]:
    # Questions about routes.
    yield Call(
        "socket",
        ((0, _INT, socket.AF_NETLINK), (1, _TYPE, socket.SOCK_RAW), (2, _INT, 0)),
    )
    # uvloop's, for signals. Not of datagrams, which can be sent to any path.
    yield Call("socketpair", ((0, _INT, socket.AF_UNIX), (1, _TYPE, socket.SOCK_STREAM)))
    # Of no other protocol: the kernel would load a module for it.
    for kind, protocol, wanted in (
        (socket.SOCK_DGRAM, socket.IPPROTO_UDP, needs.datagrams),
        (socket.SOCK_STREAM, socket.IPPROTO_TCP, needs.streams),
    ):
        for family in (socket.AF_INET, socket.AF_INET6) if wanted else ():
            for number in (0, protocol):
                yield Call("socket", ((0, _INT, family), (1, _TYPE, kind), (2, _INT, number)))
    if needs.datagrams or needs.streams:
        yield Call("bind")
        yield Call("connect")


def without(number: int, make: Callable[[], T]) -> T:
    """What ``make`` makes while this system call seems not to be there. In a thread of its own, as
    a filter stays for as long as the thread does; where there can be no filter, in ours."""
    made: list[T] = []

    def work() -> None:
        try:
            seccomp = _library()
            rules = seccomp.SyscallFilter(seccomp.ALLOW)
            rules.add_rule(seccomp.ERRNO(errno.ENOSYS), number)
            rules.load()
        except (NoFilter, OSError):
            return
        made.append(make())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return made[0] if made else make()


def install(needs: Needs) -> int:
    """Let nothing else through from now on, in every thread; how many system calls there are.
    no_new_privs is set already. Raises NoFilter."""
    seccomp = _library()
    names = set()
    try:
        rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
        rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
        with contextlib.suppress(OSError):  # It is not asked for, and older kernels make all slow.
            rules.set_attr(seccomp.Attr.CTL_SSB, 1)
        for call in allowed(needs):
            number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, call.name)
            if number < 0:
                continue  # This architecture has no such call.
            where = [seccomp.Arg(n, seccomp.MASKED_EQ, mask, bits) for n, mask, bits in call.where]
            rules.add_rule(seccomp.ALLOW, number, *where)
            names.add(call.name)
        # Whose arguments no filter can see: the C library then takes clone.
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), _CLONE3)
        rules.load()
    except OSError as error:
        raise NoFilter(f"the kernel takes none: {error.strerror}") from error
    return len(names)


def _library() -> Any:
    machine = platform.machine()
    if machine not in _MACHINES or sys.maxsize < 1 << 32:
        raise NoFilter(f"wgvx has no list of them for this machine ({machine})")
    try:
        import pyseccomp  # it looks for libseccomp, which is not everywhere
    except ModuleNotFoundError as error:
        raise NoFilter(str(error), "`pip install pyseccomp`") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise NoFilter(str(error), "`apt-get install libseccomp2`") from error
    return pyseccomp
