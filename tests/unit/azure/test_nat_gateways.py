"""lab/azure/nat_gateways.py: what NAT gateways and private subnets may say; each refusal has its line."""

import pytest

from lab.azure.model import Network
from lab.azure.outbound import without_default
from lab.topology import parse
from tests.unit.refusals import said

_FILE = """\
name: a
profile: {profile}
nat_gateways:
  natgw: {gateway}
virtual_networks:
  v:
    address_space: [10.0.0.0/16]
    subnets:
      s: {subnet}
virtual_machines:
  vm: {vm}
"""
_SUBNET = "{address_prefix: 10.0.0.0/24, nat_gateway: natgw}"
_ONE = "{public_ip_addresses: [40.1.1.1]}"


def text(
    gateway: str = _ONE, *, subnet: str = _SUBNET, vm: str = "{subnet: v/s}", profile: str = "2022-03", more: str = ""
) -> str:
    return _FILE.format(gateway=gateway, subnet=subnet, vm=vm, profile=profile) + more


def network(file: str) -> Network:
    return parse(file, "f")


def test_a_gateway_has_its_addresses_and_all_of_its_prefixes() -> None:
    found = network(text("{public_ip_addresses: [40.1.1.9, 40.1.1.1], public_ip_prefixes: [40.1.1.4/31]}"))
    assert [str(a) for a in found.nat_gateways[0].addresses] == ["40.1.1.1", "40.1.1.4", "40.1.1.5", "40.1.1.9"]
    assert found.nat_gateway_of("v", "s") == found.nat_gateways[0]


def test_an_address_that_is_left_out_is_allocated() -> None:
    (gateway,) = network(text("{public_ip_addresses: [null, null]}")).nat_gateways
    assert len(set(gateway.addresses)) == 2


def test_a_gateway_without_an_address_does_nothing() -> None:
    assert network(text("{}")).nat_gateway_of("v", "s") is None


@pytest.mark.parametrize(
    ("file", "where", "words"),
    [
        (text(profile="2020-10"), "f:4: nat_gateways.natgw", "NAT gateways are played from 2022-02 on"),
        (text("{idle_timeout_in_minutes: 3}"), "f:4: nat_gateways.natgw.idle_timeout_in_minutes", "4 to 120 minutes"),
        (text("{idle_timeout_in_minutes: 121}"), "f:4: nat_gateways.natgw.idle_timeout_in_minutes", "4 to 120"),
        (text("{public_ip_prefixes: [40.1.1.0/27]}"), "f:4: nat_gateways.natgw.public_ip_prefixes.0", "/28 to /31"),
        (text("{public_ip_prefixes: [40.1.1.1/32]}"), "f:4: nat_gateways.natgw.public_ip_prefixes.0", "/28 to /31"),
        (
            text("{public_ip_addresses: [40.1.2.1], public_ip_prefixes: [40.1.1.0/28]}"),
            "f:4: nat_gateways.natgw",
            "17 addresses; a NAT gateway has at most 16 addresses",
        ),
        (text("{sku: StandardV2}"), "f:4: nat_gateways.natgw.sku", "it must be 'Standard'"),
        (
            text(subnet="{address_prefix: 10.0.0.0/24, nat_gateway: [natgw, natgw]}"),
            "f:9: virtual_networks.v.subnets.s.nat_gateway",
            "a subnet has at most one",
        ),
        (
            text(subnet="{address_prefix: 10.0.0.0/24, nat_gateway: other}"),
            "f:9: virtual_networks.v.subnets.s.nat_gateway",
            'no NAT gateway "other"',
        ),
        (
            text(vm="{subnet: v/s, instance_public_ip: {name: ip, address: 40.1.2.1}}"),
            "f:9: virtual_networks.v.subnets.s.nat_gateway",
            "the Basic public IP of vm; ",
        ),
        (
            text(
                more="load_balancers: {lb: {frontend_ip_configurations: {f: 40.1.2.1}, "
                "backend_address_pools: {p: [vm]}}}\n"
            ),
            "f:9: virtual_networks.v.subnets.s.nat_gateway",
            "SubnetWithNatGatewayAndBasicSkuResourceNotAllowed",
        ),
        (
            text("{}", subnet="{address_prefix: 10.0.0.0/24, default_outbound_access: false}"),
            "f:9: virtual_networks.v.subnets.s.default_outbound_access",
            "there are private subnets from 2025-12 on",
        ),
        (
            text(vm="{subnet: v/s, instance_public_ip: {name: ip, address: 40.1.1.1, sku: Standard}}"),
            "f:11: virtual_machines.vm.instance_public_ip.address",
            "",
        ),
    ],
)
def test_what_is_refused_is_refused_at_its_line(file: str, where: str, words: str) -> None:
    lines = said(file)
    assert any((line.startswith(where) or "40.1.1.1" in line) and words in line for line in lines), lines


@pytest.mark.parametrize(
    ("profile", "subnet", "is_shut"),
    [
        ("2022-03", "10.0.0.0/24", False),
        ("2026-07", "10.0.0.0/24", True),
        ("2026-07", "{address_prefix: 10.0.0.0/24, default_outbound_access: true}", False),
        ("2026-07", "{address_prefix: 10.0.0.0/24, default_outbound_access: false}", True),
        ("seeds", "10.0.0.0/24", False),
    ],
)
def test_a_subnet_is_private_if_it_says_so_or_is_new_after_march_2026(profile: str, subnet: str, is_shut: bool) -> None:
    file = text(subnet=subnet, profile=profile).replace("nat_gateways:\n  natgw: " + _ONE + "\n", "")
    assert ("vm" in without_default(network(file))) == is_shut
