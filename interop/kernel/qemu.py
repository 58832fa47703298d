"""The QEMU command line of a guest.

TCG and not KVM: it is there on every host, also in a virtual machine or a container. One CPU: with
two, in threads of their own, a guest under a flood was seen to hang where the kernel patches its
own code (QEMU 7.2); and it is no faster.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from interop.kernel.image import Image
from interop.kernel.packages import path_of

MACHINE = (
    *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
    *("-machine", "pc", "-accel", "tcg,thread=single", "-cpu", "qemu64,+rdrand"),
)
RANDOM = (
    *("-object", "rng-random,id=random,filename=/dev/urandom"),
    *("-device", "virtio-rng-pci,rng=random"),
)
# panic=-1: a panic ends the guest at once. What saves time: no tests of ciphers, no waiting for
# timers to be checked, no shuffling of addresses, and random numbers at once from RDRAND.
# clocksource=hpet: the rate of the TSC is measured while booting, on a busy host wrong by up to
# eight times, and the guest's time then runs as much faster.
KERNEL_OPTIONS = (
    "console=ttyS0 panic=-1 oops=panic loglevel=5 mitigations=off random.trust_cpu=1 "
    "clocksource=hpet tsc=reliable no_timer_check nokaslr cryptomgr.notests"
)
MEMORY = 256


def command(
    image: Image,
    taps: Sequence[str] = (),
    *,
    sockets: Sequence[str] = (),
    agent: str | None = None,
    memory: int = MEMORY,
) -> list[str]:
    """QEMU with its console on standard output, interface ``taps[n]`` being the guest's ethN;
    behind them come ``sockets``, each a -netdev without its id.

    ``agent`` is the Unix socket that leads to the guest's agent; without one the guest runs a shell
    on its console.
    """
    options = KERNEL_OPTIONS if agent else f"{KERNEL_OPTIONS} interop.shell"
    words = [
        *(path_of("qemu-system-x86_64"), *MACHINE, "-smp", "1", "-m", f"{memory}M"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", options),
        # A terminal's ^C is for the shell in the guest.
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]
    if agent is not None:  # the first of the virtio devices: so the guest knows its name
        words += ["-chardev", f"socket,id=agent,path={agent},server=on,wait=off"]
        words += ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,nr=1"]
    words += RANDOM
    wires = [*(f"tap,ifname={tap},script=no,downscript=no" for tap in taps), *sockets]
    for number, wire in enumerate(wires):
        words += ["-netdev", f"{wire},id=eth{number}"]
        # Guests share a LAN, so the address must be no other guest's.
        mac = f"52:54:00:{os.urandom(3).hex(':')}"
        words += ["-device", f"virtio-net-pci,netdev=eth{number},mac={mac},romfile="]
    return words
