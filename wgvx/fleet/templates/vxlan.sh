#!/bin/sh
# Written by wgvx fleet render: what is changed here is lost at the next one.
#
# The tenants of $node on its WireGuard device: a VXLAN device for each, and who may send to it.
#   up      make what is missing, set what differs, remove what is too much; may be run again
#   down    remove it all
set -eu

wg=$node
local=$vtep
alias="wgvx fleet $node"
here=$$(dirname "$$0")
zero=00:00:00:00:00:00

# lacking HAVE WANT: the words of WANT that HAVE lacks.
lacking() {
    for word in $$2; do
        case " $$1 " in *" $$word "*) ;; *) echo "$$word" ;; esac
    done
}

# The devices that an earlier run has made.
devices() {
    grep -lxF "$$alias" /sys/class/net/*/ifalias 2>/dev/null | cut -d/ -f5
}

# vxlan DEVICE VNI PORT MTU MAC
vxlan() {
    is="vxlan id $$2 local $$local dev $$wg .* dstport $$3 "
    have=$$(ip -details link show dev "$$1" 2>/dev/null || true)
    if ! echo "$$have" | grep -q "$$is"; then
        # What is no VXLAN device is somebody else's: to make ours is refused then.
        case $$have in *" vxlan id "*) ip link delete dev "$$1" ;; esac
        ip link add dev "$$1" type vxlan id "$$2" dstport "$$3" local "$$local" dev "$$wg" \
            noudp6zerocsumtx noudp6zerocsumrx
        ip link set dev "$$1" alias "$$alias"
    fi
    ip link set dev "$$1" mtu "$$4" address "$$5" up
}

# addresses DEVICE ADDRESS...
addresses() {
    device=$$1
    shift
    have=$$(ip -oneline address show dev "$$device" scope global | sed -n 's/.* inet6\{0,1\} \([^ ]*\).*/\1/p' | tr '\n' ' ')
    for address in $$(lacking "$$*" "$$have"); do ip address delete "$$address" dev "$$device"; done
    for address in $$(lacking "$$have" "$$*"); do ip address add "$$address" dev "$$device"; done
}

# flood DEVICE VTEP...: where broadcast and unknown addresses go.
flood() {
    device=$$1
    shift
    have=$$(bridge fdb show dev "$$device" | sed -n "s/^$$zero dst \([^ ]*\).*/\1/p" | tr '\n' ' ')
    {
        lacking "$$*" "$$have" | sed "s/.*/fdb delete $$zero dst & dev $$device/"
        lacking "$$have" "$$*" | sed "s/.*/fdb append $$zero dst & dev $$device/"
    } | bridge -batch -
}

up() {
$forward
    nft -f "$$here/$$wg.nft"
    wanted="$devices"
    for device in $$(lacking "$$wanted" "$$(devices)"); do ip link delete dev "$$device"; done
$networks
}

down() {
    for device in $$(devices); do ip link delete dev "$$device"; done
    nft delete table inet "wgvx-$$wg" 2>/dev/null || true
}

case $${1:-} in
up | down) "$$1" ;;
*)
    echo "usage: $$0 up|down" >&2
    exit 2
    ;;
esac
