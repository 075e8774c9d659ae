"""lab/azure/invariants.py: what is just allowed.

What is refused, and in which words, is in tests/unit/errors.
"""

from collections.abc import Callable

import pytest

from lab.azure.invariants import violations
from lab.azure.model import Network
from tests import worlds
from tests.unit.refusals import NETWORK, said


@pytest.mark.parametrize(
    "world",
    [worlds.one_vm, worlds.one_vm_with_public_ip, worlds.pool_without_rule, worlds.nat_rule_only,
     worlds.several_frontends, worlds.two_networks, worlds.three_ways_out],
)  # fmt: skip
def test_a_good_network_has_no_violation(world: Callable[[], Network]) -> None:
    assert list(violations(world())) == []


@pytest.mark.parametrize(
    "text",
    [
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/29}}}",
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {a: 10.1.0.0/25, b: 10.1.0.128/25}}}",
        "virtual_networks: {a: {address_space: [10.1.0.0/16]}, b: {address_space: [10.1.0.0/16]}}",
        "internet: {h: {address: 198.51.100.1, services: [tcp:80, udp:80, dns:53]}}",
        "load_balancers: {lb: {frontend_ip_configurations: {f: }, probes: {p: {port: 1, interval_in_seconds: 60}}}}",
    ],
    ids=["/29", "adjacent subnets", "two networks alike", "one port, two transports", "120 s of probes"],
)
def test_what_is_at_the_limit_is_allowed(text: str) -> None:
    assert list(violations(worlds.network(text))) == []


@pytest.mark.parametrize("address", ["10.1.0.4", "10.1.0.254"])
def test_the_first_and_last_address_that_azure_leaves_are_allowed(address: str) -> None:
    text = f"{NETWORK}virtual_machines: {{vm: {{subnet: v/s, private_ip_address: {address}}}}}"
    assert str(worlds.network(text.partition("\n")[2]).virtual_machines[0].private_ip_address) == address


@pytest.mark.parametrize("address", ["168.63.129.16", "192.0.2.53", "0.0.0.0", "224.0.0.1", "240.0.0.1", "169.254.1.1"])
def test_an_address_that_no_public_host_can_have_is_refused(address: str) -> None:
    (line,) = said(f"name: a\ninternet: {{h: {{address: {address}}}}}")
    assert line.startswith(f"f:2: internet.h.address: {address} is not an address of a public host; ")


def test_one_frontend_port_may_be_used_once_for_each_transport() -> None:
    rule = "{frontend: f, virtual_machine: vm, protocol: %s, frontend_port: 53, backend_port: 53}"
    text = (
        NETWORK.partition("\n")[2] + "virtual_machines: {vm: {subnet: v/s}}\n"
        "load_balancers:\n  lb:\n    frontend_ip_configurations: {f: 40.1.1.1}\n"
        f"    inbound_nat_rules: {{a: {rule % 'Tcp'}, b: {rule % 'Udp'}}}\n"
    )
    assert list(violations(worlds.network(text))) == []
