"""Stacks in place of TAPs, and what leads to them."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.config.files import NETWORK, NODE, read
from wgvx.config import Config, ConfigError, EndpointName, Forward, StackAttach
from wgvx.config.userspace import DEFAULT_SOCKS5, Services, in_userspace, with_services

ADDRESS = 'address = ["10.0.0.1/24", "fd00:a::1/64"]\n'
PROXY = EndpointName("127.0.0.1", 9999)
FORWARD = Forward(EndpointName("127.0.0.1", 80), EndpointName("10.0.0.2", 80))


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
    stack = stack_of(with_services(config, Services(http=PROXY, reverse=(FORWARD,))))
    assert (stack.socks5, stack.http, stack.reverse) == (DEFAULT_SOCKS5, PROXY, (FORWARD,))


def test_a_vm_stays_a_vm(tmp_path: Path) -> None:
    entry = '{ type = "stream", name = "x", listen = "/x" }'
    config = read(tmp_path, f"{NODE}{NETWORK}attach = [{entry}]\n")
    assert in_userspace(config, Services()) == config
    with pytest.raises(ConfigError, match="and there is none"):
        in_userspace(config, Services(socks5=PROXY))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("", "network 4200: a stack in this process wants an `address` of its own"),
        (
            'address = ["10.0.0.1/24", "10.0.1.1/24"]\n',
            "network 4200: a stack in this process has 1 address of IPv4 at most",
        ),
        ('bridge = "br0"\n', "network 4200: a stack in this process joins no bridge"),
    ],
)
def test_a_tap_that_cannot_be_a_stack(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        in_userspace(read(tmp_path, NODE + NETWORK + more), Services())


def test_services_want_one_stack(tmp_path: Path) -> None:
    second = '[[network]]\nvni = 4201\ntap = "t1"\naddress = ["10.1.0.1/24"]\n'
    config = read(tmp_path, NODE + NETWORK + ADDRESS + second)
    with pytest.raises(ConfigError, match="a, t1: a node has one stack at most"):
        in_userspace(config, Services(socks5=PROXY))
