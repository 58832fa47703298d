#!/bin/sh
# Makes the guest usable, then becomes the agent, or with "interop.shell" a shell on the console.
export PATH=/bin HOME=/lab
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
for name in 0-stdin 1-stdout 2-stderr; do ln -s "fd/${name%-*}" "/dev/${name#*-}"; done
mount -t debugfs debugfs /sys/kernel/debug
modprobe -a virtio_pci virtio_net virtio_console virtio_rng

# As in the lab: addresses are usable at once, without duplicate address detection, also in the
# namespaces to come.
echo 1 >/proc/sys/net/core/devconf_inherit_init_net
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up

cd /lab
case $(cat /proc/cmdline) in
*interop.shell*)
    setsid -c sh </dev/ttyS0 >/dev/ttyS0 2>&1
    poweroff -f
    ;;
esac
exec agent
