"""Stacks in place of TAPs, and what leads to them."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.config.files import NETWORK, NODE, PEER, read
from wgvx.config import Config, ConfigError, EndpointName, Forward, StackAttach
from wgvx.config.userspace import DEFAULT_SOCKS5, Services, in_userspace, with_services

ADDRESS = 'address = ["10.0.0.1/24", "fd00:a::1/64"]\n'
PROXY = EndpointName("127.0.0.1", 9999)
FORWARD = Forward(EndpointName("127.0.0.1", 80), EndpointName("10.0.0.2", 80))
REVERSE = Forward(EndpointName("", 80), EndpointName("127.0.0.1", 80))


def stack_of(config: Config) -> StackAttach:
    (attach,) = config.networks[0].attach
    assert isinstance(attach, StackAttach)
    return attach


def test_a_tap_becomes_a_stack_of_its_name_mac_and_addresses(tmp_path: Path) -> None:
    before = read(tmp_path, NODE + NETWORK + ADDRESS)
    (tap,) = before.networks[0].attach
    after = in_userspace(before, Services())
    stack = stack_of(after)
    assert (stack.name, stack.mac) == (tap.name, tap.mac)
    assert stack.addresses == (ip_interface("10.0.0.1/24"), ip_interface("fd00:a::1/64"))
    assert after.networks[0].addresses == ()
    assert stack.socks5 == DEFAULT_SOCKS5


def test_what_is_asked_for_is_all_there_is(tmp_path: Path) -> None:
    config = read(tmp_path, NODE + NETWORK + ADDRESS)
    stack = stack_of(in_userspace(config, Services(http=PROXY, forward=(FORWARD,))))
    assert (stack.socks5, stack.http) == (None, PROXY)
    assert (stack.forward, stack.reverse) == ((FORWARD,), ())


def test_services_are_added_to_those_of_the_file(tmp_path: Path) -> None:
    entry = '{ type = "stack", name = "x", address = ["10.0.0.9/24"], socks5 = "127.0.0.1:1080" }'
    config = read(tmp_path, f"{NODE}{NETWORK}attach = [{entry}]\n")
    assert with_services(config, Services()) is config
    stack = stack_of(with_services(config, Services(http=PROXY, reverse=(REVERSE,))))
    assert (stack.socks5, stack.http, stack.reverse) == (DEFAULT_SOCKS5, PROXY, (REVERSE,))


@pytest.mark.parametrize(
    ("services", "why"),
    [
        (Services(socks5=PROXY, http=PROXY), 'http: "127.0.0.1:9999" is taken by socks5 of a'),
        (Services(forward=(FORWARD, FORWARD)), 'forward: "127.0.0.1:80" is taken by forward of a'),
        (
            Services(reverse=(Forward(EndpointName("10.0.0.7", 80), FORWARD.target),)),
            'reverse: found "10.0.0.7:80", want one of the stack\'s addresses, or none',
        ),
        (
            Services(forward=(Forward(FORWARD.listen, EndpointName("10.0.0.1", 80)),)),
            "which leads to the stack itself",
        ),
    ],
)
def test_services_that_cannot_be(tmp_path: Path, services: Services, why: str) -> None:
    config = read(tmp_path, NODE + NETWORK + ADDRESS)
    with pytest.raises(ConfigError) as caught:
        in_userspace(config, services)
    assert str(caught.value).startswith(f"{config.path}: [[network]] (vni 4200), ")
    assert why in str(caught.value)


def test_a_namespace_is_said_to_be_of_no_use(tmp_path: Path) -> None:
    config = read(tmp_path, NODE + NETWORK + ADDRESS + 'netns = "blue"\n')
    said = (
        "network 4200: netns blue is for a TAP, and there is none: the stack is in this process, "
        "its proxies and forwards are in this namespace"
    )
    assert said not in config.warnings
    assert said in in_userspace(config, Services()).warnings


def test_what_is_odd_about_a_tap_alone_is_not_said_of_a_stack(tmp_path: Path) -> None:
    inside = PEER + 'endpoint = "10.0.0.9:51820"\n'
    config = read(
        tmp_path, NODE.replace("[node]", "[node]\nmtu = 1300") + inside + NETWORK + ADDRESS
    )
    tap = "the tunnel is routed into itself"
    both = "network 4200: MTU 1230 is below 1280"
    assert [sum(text in one for one in config.warnings) for text in (tap, both)] == [1, 1]
    stack = in_userspace(config, Services())
    assert [sum(text in one for one in stack.warnings) for text in (tap, both)] == [0, 1]


def test_a_vm_stays_a_vm(tmp_path: Path) -> None:
    entry = '{ type = "stream", name = "x", listen = "/x" }'
    config = read(tmp_path, f"{NODE}{NETWORK}attach = [{entry}]\n")
    assert in_userspace(config, Services()) == config
    with pytest.raises(ConfigError, match="and there is none"):
        in_userspace(config, Services(socks5=PROXY))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("", "address: missing, want an address of its own on the overlay"),
        (
            'address = ["10.0.0.1/24", "10.0.1.1/24"]\n',
            "address: found more of IPv4, want 1 at most for a stack",
        ),
        (
            'address = ["10.0.0.0/24"]\n',
            'address: found "10.0.0.0/24", that of the network itself, want a host\'s',
        ),
        ('bridge = "br0"\n', 'bridge: found "br0", want it left out'),
    ],
)
def test_a_tap_that_cannot_be_a_stack(tmp_path: Path, more: str, why: str) -> None:
    config = read(tmp_path, NODE + NETWORK + more)
    with pytest.raises(ConfigError) as caught:
        in_userspace(config, Services())
    assert f"{config.path}: [[network]] (vni 4200), {why}" in str(caught.value)


def test_services_want_one_stack(tmp_path: Path) -> None:
    second = '[[network]]\nvni = 4201\ntap = "t1"\naddress = ["10.1.0.1/24"]\n'
    config = read(tmp_path, NODE + NETWORK + ADDRESS + second)
    with pytest.raises(ConfigError, match="a, t1: a node has one stack at most"):
        in_userspace(config, Services(socks5=PROXY))
