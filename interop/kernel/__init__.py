"""A kernel with WireGuard in it, on any host: Debian's, unmodified, in QEMU without KVM.

    python -m interop.kernel build            # kernel and initramfs, into interop/out/
    python -m interop.kernel run uname -a     # one command in a guest of its own
    python -m interop.kernel shell            # a shell in one

In a test, :class:`interop.kernel.guest.Guest` is such a guest, and a place like a namespace of the
lab; :class:`interop.peers.KernelNode` is a WireGuard node in any place.
"""
