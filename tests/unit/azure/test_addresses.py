"""lab/azure/addresses.py, and that every place where a user writes an address or a range goes by it."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.azure.addresses import read_address, read_prefix, read_whole, unusable
from lab.cli.arguments import read_prefixes
from lab.errors import LabError, TopologyError, UsageError
from lab.formats import netcfg
from lab.operations.base import Refused, changed
from lab.operations.netcfg import ImportConfiguration
from lab.operations.vpn import AddLocalNetwork, AddNetwork, SetLocalNetwork
from lab.topology import parse, parse_acl_rule
from tests.unit.formats.test_netcfg import SAMPLE

RANGES = ["127.0.0.0/8", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/4", "169.254.0.0/16", "168.63.129.16/32"]
_NET = "name: a\nvirtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}, %s}}\n"
_SITE = "name: a\nlocal_networks: {s: {address_space: [%s], vpn_gateway_address: %s}}\n"
_DEVICE = "name: a\nlocal_networks: {s: {address_space: [10.9.0.0/16], vpn_gateway_address: %s, vpn_device: {}}}\n"
_EMPTY = parse("name: a\n", "f")


def _imported(old: str, new: str) -> None:
    assert old in SAMPLE
    changed(_EMPTY, ImportConfiguration(netcfg.read(SAMPLE.replace(old, new), "f"), "f"))


def _vip(address: str) -> str:
    vm = "virtual_machines: {vm: {}}\n"
    return f"name: a\n{vm}cloud_services: {{s: {{virtual_machines: [vm], virtual_ips: {{V: {{address: {address}}}}}}}}}"


_TAKES_A_RANGE: dict[str, Callable[[str], object]] = {
    "a virtual network": lambda r: parse(f"name: a\nvirtual_networks: {{v: {{address_space: [{r}]}}}}", "f"),
    "one of several prefixes": lambda r: parse(
        f"name: a\nvirtual_networks: {{v: {{address_space: [10.0.0.0/9, {r}]}}}}", "f"
    ),
    "a local network": lambda r: parse(_SITE % (r, "131.1.1.1"), "f"),
    "network add": lambda r: changed(_EMPTY, AddNetwork("n", "China North", read_prefixes([r]))),
    "local-network add": lambda r: changed(_EMPTY, AddLocalNetwork("n", read_prefixes([r]), IPv4Address("131.1.1.1"))),
    "local-network set": lambda r: changed(
        parse(_SITE % ("10.9.0.0/16", "131.1.1.1"), "f"), SetLocalNetwork("s", address_space=read_prefixes([r]))
    ),
    "a network of a configuration file": lambda r: _imported("10.21.0.0/16", r),
    "a site of a configuration file": lambda r: _imported("10.3.0.0/16", r),
}  # fmt: skip
_TAKES_AN_ADDRESS: dict[str, Callable[[str], object]] = {
    "an outside host": lambda a: parse(f"name: a\ninternet: {{h: {{address: {a}}}}}", "f"),
    "a frontend": lambda a: parse(f"name: a\nload_balancers: {{l: {{frontend_ip_configurations: {{f: {a}}}}}}}", "f"),
    "a VIP": lambda a: parse(_vip(a), "f"),
    "a reserved address": lambda a: parse(f"name: a\nreserved_ips: {{r: {{address: {a}}}}}", "f"),
    "a VM's own": lambda a: parse(
        f"name: a\nvirtual_machines: {{m: {{instance_public_ip: {{name: i, address: {a}}}}}}}", "f"
    ),
    "a gateway": lambda a: parse(
        _NET.replace("s: 10", "GatewaySubnet: 10") % ""
        + f"vpn_gateways: {{v: {{routing: dynamic, address: {a}}}}}",
        "f",
    ),
    "a VPN device": lambda a: parse(_SITE % ("10.9.0.0/16", a), "f"),
    "a VPN device of the lab": lambda a: parse(_DEVICE % a, "f"),
    "local-network add": lambda a: changed(_EMPTY, AddLocalNetwork("n", (IPv4Network("10.9.0.0/16"),), IPv4Address(a))),
    "a DNS server": lambda a: parse(_NET % f"dns_servers: [{a}]", "f"),
    "a DNS server of a configuration file": lambda a: _imported('IPAddress="10.1.0.1"', f'IPAddress="{a}"'),
    "a VPN device of a configuration file": lambda a: _imported("131.4.5.6", a),
}  # fmt: skip


@pytest.mark.parametrize("place", _TAKES_A_RANGE)
@pytest.mark.parametrize("unused", RANGES)
def test_a_range_that_no_host_can_have_is_refused_wherever_one_is_written(place: str, unused: str) -> None:
    with pytest.raises(LabError) as caught:
        _TAKES_A_RANGE[place](unused)
    assert caught.value.exit_code == 2
    assert f"{unused} overlaps {unused} (" in str(caught.value)


@pytest.mark.parametrize("place", _TAKES_AN_ADDRESS)
@pytest.mark.parametrize("unused", RANGES)
def test_an_address_that_no_host_can_have_is_refused_wherever_one_is_written(place: str, unused: str) -> None:
    address = str(IPv4Network(unused)[-1])
    if address == "168.63.129.16" and place.startswith("a DNS server"):
        _TAKES_AN_ADDRESS[place](address)  # the platform's own resolver, which a network may name
        return
    with pytest.raises(LabError) as caught:
        _TAKES_AN_ADDRESS[place](address)
    assert caught.value.exit_code == 2
    assert f"{unused} (" in str(caught.value)


#: What Python reads as a range, and Azure does not.
_NO_RANGES = ["10.2.0.0/0.0.255.255", "10.2.0.0/255.255.0.0", "10.2.0.0/\uff116", "\uff110.2.0.0/16", "10.2.0.0/+16",
              "10.2/16", "10.2.0.0/33", "10.2.0.0/ 16", "10.2.0.0/", "/16", "010.2.0.0/16", ""]  # fmt: skip


@pytest.mark.parametrize("text", _NO_RANGES)
@pytest.mark.parametrize("place", _TAKES_A_RANGE)
def test_what_is_no_range_of_azures_is_refused_wherever_one_is_written(place: str, text: str) -> None:
    in_yaml = place in ("a virtual network", "one of several prefixes", "a local network")
    with pytest.raises((TopologyError, UsageError)):
        _TAKES_A_RANGE[place](f"'{text}'" if in_yaml else text)


@pytest.mark.parametrize("place", _TAKES_A_RANGE)
def test_a_range_without_its_length_is_refused_with_the_length_that_it_may_be_meant_with(place: str) -> None:
    with pytest.raises(LabError, match=r"a range needs its length, such as 10\.2\.0\.0/16; add it"):
        _TAKES_A_RANGE[place]("10.2.0.0")


def test_subnets_and_access_rules_need_a_length_too() -> None:
    with pytest.raises(TopologyError, match="a range needs its length"):
        parse("name: a\nvirtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0}}}", "f")
    with pytest.raises(UsageError, match="a range needs its length"):
        parse_acl_rule({"order": 1, "action": "permit", "remote_subnet": "65.0.0.0"})


def test_a_security_rule_may_name_one_address() -> None:
    rule = "{name: r, priority: 100, direction: Inbound, access: Allow, source_address_prefix: 10.1.0.4}"
    (group,) = parse(f"name: a\nnetwork_security_groups: {{g: [{rule}]}}", "f").network_security_groups
    assert group.rules[0].sources == ("10.1.0.4/32",)


@pytest.mark.parametrize(
    "address", ["\uff110.1.0.4", "10.1.0.04", "10.1.0", "0x0a.1.0.4", "10.1.0.4/32", " 10.1.0.4", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not an IPv4 address, such as"):
        read_address(address)


def test_host_bits_are_cleared_only_where_the_documents_clear_them() -> None:
    assert str(read_prefix("175.1.0.1/24", host_bits=True)) == "175.1.0.0/24"
    with pytest.raises(ValueError, match=r"has host bits set; the prefix is 175\.1\.0\.0/24"):
        read_prefix("175.1.0.1/24")


@pytest.mark.parametrize(
    ("text", "number"), [("80", 80), ("\uff180", None), ("", None), ("-1", None), ("1" * 19, None)]
)
def test_numbers_have_the_digits_0_to_9(text: str, number: int | None) -> None:
    assert read_whole(text) == number


@pytest.mark.parametrize("service", ["http:\uff180", "tcp:8\uff10"])
def test_ports_have_the_digits_0_to_9(service: str) -> None:
    with pytest.raises(TopologyError, match="not KIND:PORT"):
        parse(f"name: a\nvirtual_machines: {{m: {{services: ['{service}']}}}}", "f")
    with pytest.raises(TopologyError):
        parse("name: a\nvirtual_machines: {a: {}, b: {}}\nexpect: [{from: a, to: 'b:\uff180/tcp'}]", "f")


@pytest.mark.parametrize("usable", ["10.0.0.0/8", "100.64.0.0/10", "192.0.2.0/24", "168.63.129.0/28", "126.0.0.0/8"])
def test_other_ranges_are_usable(usable: str) -> None:
    assert unusable(IPv4Network(usable)) == ""
    assert unusable(IPv4Network(usable)[1]) == ""


def test_a_range_that_takes_in_an_address_given_out_before_is_refused() -> None:
    network = parse("name: a\nvirtual_machines: {vm: {}}", "f")
    default = network.virtual_networks[0].default_outbound_address
    with pytest.raises(Refused, match=f"holds {default}, the default outbound address of"):
        changed(network, AddNetwork("n", "China North", (IPv4Network(f"{default}/24", strict=False),)))
