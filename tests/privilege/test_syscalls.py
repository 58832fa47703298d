"""What somebody who has taken over a confined node finds: tried in processes that confine
themselves as a node does."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import ctypes, errno, fcntl, mmap, os, resource, signal, socket, sys, threading
from wgvx.privilege.confinement import ALL, confine
from wgvx.privilege.syscalls import Needs

libc = ctypes.CDLL(None, use_errno=True)
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def call(function, *arguments):
    if function(*arguments) in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "")

NUMBERS = {"x86_64": {"keyctl": 250, "bpf": 321, "clone": 56}}.get(
    os.uname().machine, {"keyctl": 219, "bpf": 280, "clone": 220})  # asm-generic/unistd.h

def vain(what, attempt):
    try:
        attempt()
    except OSError as error:
        assert error.errno == errno.EPERM, f"{what}: {error!r}"
    else:
        raise SystemExit(f"{what}: it worked")
"""

IN_VAIN = {
    "open for reading": 'open("/etc/passwd")',
    "open for writing": 'open("/tmp/wgvx-test-open", "w")',
    "open beside an open folder": 'os.open("passwd", os.O_RDONLY, dir_fd=folder)',
    "make a folder": 'os.mkdir("/tmp/wgvx-test-folder")',
    "unlink": 'os.unlink("/tmp/wgvx-test-not-there")',
    "rename": 'os.rename("/tmp/wgvx-test-not-there", "/tmp/wgvx-test")',
    "change modes": 'os.chmod("/", 0o755)',
    "list a folder": 'os.listdir("/")',
    "look at a file": 'os.stat("/etc/passwd")',
    "memory with a name": 'os.memfd_create("x")',
    "run a program": 'os.execv("/bin/true", ["true"])',
    "fork": "os.fork()",
    "namespaces": "call(libc.unshare, 0x10000000)",
    "chroot": 'os.chroot("/")',
    "mount": 'call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None)',
    "become somebody": "os.setuid(os.getuid())",
    "groups": "os.setgroups([])",
    "ptrace": "call(libc.ptrace, 0, 0, 0, 0)",
    "another's memory": "call(libc.process_vm_readv, os.getppid(), 0, 0, 0, 0, 0)",
    "kill": "os.kill(os.getppid(), 0)",
    "another's descriptors": "os.pidfd_open(os.getppid())",
    "memory to run": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "memory made to run": "call(libc.mprotect, page, 4096, mmap.PROT_READ | mmap.PROT_EXEC)",
    "a Unix socket": "socket.socket(socket.AF_UNIX)",
    "a Unix socket of datagrams": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "a UDP socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a TCP socket": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "another netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)",
    "another address": 'own.bind(("127.0.0.1", 0))',
    "connect": 'own.connect(("127.0.0.1", 9))',
    "a filter on a socket": "own.setsockopt(socket.SOL_SOCKET, 26, bytes(16))",
    "a device for a socket": 'own.setsockopt(socket.SOL_SOCKET, 25, b"lo")',
    "signals from a descriptor": "fcntl.fcntl(own, 8, os.getppid())",
    "limits": "resource.prlimit(os.getppid(), 7)",
    "the kernel's keys": "call(libc.syscall, NUMBERS['keyctl'], 0, 0, 0, 0, 0)",
    "BPF": "call(libc.syscall, NUMBERS['bpf'], 0, 0, 0)",
    "io_uring": "call(libc.syscall, 425, 8, bytes(120))",
    "the clock": "call(libc.settimeofday, bytes(16), None)",
    "the host's name": 'socket.sethostname("x")',
    "capabilities": 'call(libc.capset, bytes((0x22, 5, 8, 0x20)) + bytes(4), b"\\xff" * 24)',
}


def run(body: str) -> None:
    """A program that confines itself."""
    text = textwrap.dedent(PRELUDE) + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_to_find() -> None:
    attempts = "\n".join(f"vain({what!r}, lambda: {how})" for what, how in IN_VAIN.items())
    run(
        """
        folder = os.open("/etc", os.O_RDONLY)
        area = mmap.mmap(-1, 4096)
        page = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area)))
        assert confine(ALL, Needs()).seccomp
        """
        + "\n"
        + textwrap.indent(attempts, " " * 8)
    )


def test_what_a_node_does_goes_on() -> None:
    run(
        """
        import asyncio, time
        from wgvx.route import route_interface
        from wgvx.rtnetlink import Netlink, interface_index
        a, b = socket.socketpair()
        assert confine(ALL, Needs()).seccomp
        assert interface_index("lo") > 0
        assert route_interface(Netlink(), bytes((127, 0, 0, 1)), bytes((127, 0, 0, 1)), 0) == 1
        threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        a.send(os.urandom(8))
        assert len(b.recv(9)) == 8
        b.setblocking(False)
        assert [bytes(1 << 22) for _ in range(4)]
        asyncio.new_event_loop().run_until_complete(asyncio.sleep(0.01))
        """
    )


def test_every_thread_has_it() -> None:
    run(
        """
        import time
        ready, go = threading.Event(), threading.Event()
        seen = []
        def work():
            ready.set()
            go.wait()
            try:
                open("/etc/passwd")
            except OSError as error:
                seen.append(error.errno)
        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
        assert confine(ALL, Needs()).seccomp
        go.set()
        thread.join()
        assert seen == [errno.EPERM], seen
        """
    )


def test_threads_are_no_processes() -> None:
    run(
        """
        assert confine(ALL, Needs()).seccomp
        for flags in (17, 0x4111, 0x10000000 | 0x10900, 0x20000000 | 0x10900):
            vain(hex(flags), lambda: call(libc.syscall, NUMBERS["clone"], flags, 0, 0, 0, 0))
        """
    )


def test_children_may_be_ended_and_nobody_else() -> None:
    run(
        """
        from wgvx.ports.child import Child
        child = Child(["sleep", "60"])
        assert confine(ALL, Needs()).seccomp
        vain("by its number", lambda: os.kill(child.pid, 0))
        vain("a parent", lambda: os.kill(os.getppid(), 0))
        vain("all", lambda: os.kill(-1, 0))
        vain("a thread of another", lambda: call(libc.tgkill, os.getppid(), os.getppid(), 0))
        vain("a group", lambda: signal.pidfd_send_signal(child.pidfd, 0, None, 4))
        child.kill()
        assert child.wait() == -signal.SIGKILL
        child.kill()
        """
    )


def test_whoever_connects_is_not_ours_to_end() -> None:
    run(
        """
        ours, theirs = socket.socketpair()
        assert confine(ALL, Needs()).seccomp
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        vain("SO_PEERPIDFD", lambda: ours.getsockopt(socket.SOL_SOCKET, 77))
        """
    )


@pytest.mark.parametrize(("need", "kind"), [("datagrams", "DGRAM"), ("streams", "STREAM")])
def test_internet_sockets_by_need(need: str, kind: str) -> None:
    other = {"DGRAM": "STREAM", "STREAM": "DGRAM"}[kind]
    run(
        f"""
        assert confine(ALL, Needs({need}=True)).seccomp
        protocol, odd = {{"DGRAM": (17, 136), "STREAM": (6, 262)}}["{kind}"]
        for family in (socket.AF_INET, socket.AF_INET6):
            socket.socket(family, socket.SOCK_{kind}, protocol)
            vain("another protocol", lambda: socket.socket(family, socket.SOCK_{kind}, odd))
            one = socket.socket(family, socket.SOCK_{kind} | socket.SOCK_NONBLOCK)
            one.bind(("", 0))
            vain("the other kind", lambda: socket.socket(family, socket.SOCK_{other}))
        vain("Unix", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_{kind}))
        """
    )


def test_a_loop_without_io_uring() -> None:
    """An io_uring opens files, filter or not; uvloop would have one."""
    pytest.importorskip("uvloop")
    run(
        """
        import uvloop
        from pathlib import Path
        from wgvx.privilege.confinement import make_loop
        loop = make_loop(uvloop.new_event_loop)()
        open_ = [os.readlink(p) for p in Path("/proc/self/fd").iterdir() if p.is_symlink()
                 and os.path.lexists(p)]
        assert not [what for what in open_ if "io_uring" in what], open_
        loop.close()
        """
    )


def test_steps_one_by_one() -> None:
    run(
        """
        from pathlib import Path
        from wgvx.privilege.confinement import parse
        def status():
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text()
                         .splitlines())
            return [lines[key].strip() for key in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd")]
        assert status()[:2] == ["0", "0"]
        confine(parse("caps"), Needs())
        nnp, seccomp, effective, bounding = status()
        assert (nnp, seccomp, int(effective, 16)) == ("0", "0", 0)
        assert os.getuid() != 0 or int(bounding, 16) == 0
        confine(parse("nnp"), Needs())
        assert status()[:2] == ["1", "0"]
        """
    )
