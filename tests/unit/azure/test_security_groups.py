"""lab/azure/security_groups.py: what groups say of a flow, without any kernel."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest

from lab.azure import security_groups as groups
from lab.azure.model import PLATFORM_ADDRESS, Direction, Network, SecurityGroup, SecurityRule
from lab.azure.profile import resolve
from lab.flow import PortRange
from lab.topology import load
from tests import worlds

_OWN = "10.1.0.4"


def vm(network: Network, name: str = "web") -> groups.VirtualMachine:
    found = network.vm(name)
    assert found is not None
    return found


def packet(source: str, destination: str, protocol: groups.Protocol = "tcp", port: int = 80) -> groups.Packet:
    return groups.Packet(
        protocol=protocol,
        source=IPv4Address(source),
        source_port=40000,
        destination=IPv4Address(destination),
        destination_port=port,
    )


def said(network: Network, direction: Direction, asked: groups.Packet, of: str = "web") -> list[tuple[str, str, str]]:
    return [(d.group, d.rule, d.access) for d in groups.Groups(network).decisions(vm(network, of), direction, asked)]


def with_rules(*rules: SecurityRule, **changes: object) -> Network:
    network = worlds.guarded()
    changed = (SecurityGroup(name="front", rules=rules),)
    return msgspec.structs.replace(network, network_security_groups=changed, **changes)


def rule(name: str, priority: int, access: str = "Deny", **more: object) -> SecurityRule:
    values = {"direction": "Inbound", "protocol": "*", "access": access, **more}
    return SecurityRule(name=name, priority=priority, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direction", "source", "destination", "protocol", "port", "decides"),
    [
        ("Inbound", "198.51.100.20", _OWN, "tcp", 80, ("allow-http", "Allow")),
        ("Inbound", "198.51.100.20", _OWN, "udp", 80, ("DenyAllInbound", "Deny")),
        ("Inbound", "198.51.100.20", _OWN, "tcp", 81, ("DenyAllInbound", "Deny")),
        ("Inbound", "10.1.1.4", _OWN, "tcp", 81, ("AllowVnetInBound", "Allow")),
        ("Inbound", "10.1.1.4", _OWN, "icmp", 0, ("AllowVnetInBound", "Allow")),
        ("Inbound", str(PLATFORM_ADDRESS), _OWN, "tcp", 81, ("AllowAzureLoadBalancerInBound", "Allow")),
        ("Outbound", _OWN, "198.51.100.20", "tcp", 80, ("no-internet", "Deny")),
        ("Outbound", _OWN, "10.1.1.4", "tcp", 80, ("AllowVnetOutBound", "Allow")),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(
    direction: Direction, source: str, destination: str, protocol: groups.Protocol, port: int, decides: tuple[str, str]
) -> None:
    found = said(worlds.guarded(), direction, packet(source, destination, protocol, port))
    assert found == [("front", *decides)]


def test_a_vm_without_a_group_is_asked_nothing_and_its_host_is_always_heard() -> None:
    network = worlds.guarded()
    assert said(network, "Inbound", packet("198.51.100.20", "10.1.1.4"), "db") == []
    assert said(network, "Outbound", packet(_OWN, str(PLATFORM_ADDRESS), "udp", 53)) == []


def test_probes_are_filtered_in_the_revisions_that_say_so() -> None:
    deny = rule("no-probe", 100, sources=("AzureLoadBalancer",))
    probe = packet(str(PLATFORM_ADDRESS), _OWN)
    assert said(with_rules(deny), "Inbound", probe) == [("front", "no-probe", "Deny")]
    later = msgspec.structs.replace(resolve("seeds"), nsg_filters_platform=False)
    assert said(with_rules(deny, profile=later), "Inbound", probe) == []


@pytest.mark.parametrize(("direction", "order"), [("Inbound", ["subnet", "VM"]), ("Outbound", ["VM", "subnet"])])
def test_a_flow_passes_the_groups_of_the_subnet_and_the_vm_from_the_outside_in(
    direction: Direction, order: list[str]
) -> None:
    network = worlds.guarded()
    machines = tuple(msgspec.structs.replace(v, network_security_group="front") for v in network.virtual_machines)
    both = msgspec.structs.replace(network, virtual_machines=machines)
    assert [f.on for f in groups.Groups(both).filters(vm(both), direction)] == order


def test_what_the_first_group_denies_the_second_is_not_asked() -> None:
    network = worlds.guarded()
    machines = tuple(msgspec.structs.replace(v, network_security_group="own") for v in network.virtual_machines)
    own = SecurityGroup(name="own", rules=())
    all_of = (*network.network_security_groups, own)
    both = msgspec.structs.replace(network, virtual_machines=machines, network_security_groups=all_of)
    http = packet("198.51.100.20", _OWN)
    assert said(both, "Inbound", http) == [("front", "allow-http", "Allow"), ("own", "DenyAllInbound", "Deny")]
    assert [g for g, _, _ in said(both, "Inbound", packet("198.51.100.20", _OWN, port=81))] == ["front"]


@pytest.mark.parametrize(
    ("sku", "profile", "guards"), [("Standard", "2018-12", 1), ("Standard", "2017-05b", 0), ("Basic", "2018-12", 0)]
)
def test_a_standard_load_balancers_vm_is_closed_to_the_internet_without_a_group(
    sku: str, profile: str, guards: int
) -> None:
    network = msgspec.structs.replace(worlds.nat_rule_only(sku), profile=resolve(profile))
    found = groups.Groups(network).filters(vm(network, "vm"), "Inbound")
    assert [f.group for f in found] == [groups.STANDARD] * guards
    assert groups.Groups(network).filters(vm(network, "vm"), "Outbound") == ()
    if guards:
        assert said(network, "Inbound", packet("198.51.100.20", _OWN, port=22), "vm")[0][2] == "Deny"
        assert said(network, "Inbound", packet(str(PLATFORM_ADDRESS), _OWN), "vm")[0][2] == "Allow"


def test_the_default_rules_have_the_names_of_their_revision() -> None:
    assert [r.name for r in groups.defaults(resolve("2017-05b"))][:3] == [
        "ALLOW VNET INBOUND", "ALLOW AZURE LOAD BALANCER INBOUND", "DENY ALL INBOUND",
    ]  # fmt: skip
    assert [r.priority for r in groups.defaults(resolve("seeds"))] == [65000, 65001, 65500] * 2


@pytest.mark.parametrize(("protocol", "ports", "matched"), [
    ("*", (), {"tcp", "udp", "icmp", "other"}), ("*", (PortRange(1, 65535),), {"tcp", "udp"}),
    ("Tcp", (), {"tcp"}), ("Udp", (), {"udp"}), ("Icmp", (), {"icmp"}),
])  # fmt: skip
def test_ports_leave_a_rule_for_all_protocols_those_that_have_any(
    protocol: str, ports: tuple[PortRange, ...], matched: set[str]
) -> None:
    network = with_rules(rule("r", 100, protocol=protocol, destination_ports=ports))
    kinds: tuple[groups.Protocol, ...] = ("tcp", "udp", "icmp", "other")
    denied = {k for k in kinds if said(network, "Inbound", packet("10.1.1.4", _OWN, k))[0][1] == "r"}
    assert denied == matched


def test_internet_is_all_but_the_virtual_network_and_the_platforms_own_address() -> None:
    network = worlds.guarded()
    found = groups.prefixes(network, network.virtual_networks[0], "Internet")
    assert sum(prefix.num_addresses for prefix in found) == 2**32 - 2**16 - 1
    inside = [IPv4Network("10.1.0.0/16"), IPv4Network(f"{PLATFORM_ADDRESS}/32")]
    assert not any(prefix.overlaps(other) for prefix in found for other in inside)


def test_a_rule_is_shadowed_by_rules_that_together_leave_it_nothing() -> None:
    network = with_rules(
        rule("low", 100, destination_ports=(PortRange(0, 1023),), protocol="Tcp"),
        rule("high", 110, destination_ports=(PortRange(1024, 65535),), protocol="Tcp"),
        rule("elsewhere", 115, sources=("10.2.0.0/16",)),
        rule("web", 120, "Allow", destination_ports=(PortRange(80, 80), PortRange(8080, 8080)), protocol="Tcp"),
        rule("dns", 130, "Allow", destination_ports=(PortRange(53, 53),)),
        rule("all", 140),
    )
    shadows = {
        e.rule.name: e.shadowed_by for e in groups.Groups(network).effective(vm(network)) if e.direction == "Inbound"
    }
    assert shadows["web"] == ("low", "high")
    assert {name for name, by in shadows.items() if by} == {
        "web", "AllowVnetInBound", "AllowAzureLoadBalancerInBound", "DenyAllInbound",
    }  # fmt: skip


def test_effective_rules_come_in_the_order_they_are_asked_with_tags_expanded() -> None:
    network = worlds.guarded()
    found = groups.Groups(network).effective(vm(network))
    assert [(e.direction, e.rule.priority) for e in found] == [
        ("Inbound", 100), ("Inbound", 65000), ("Inbound", 65001), ("Inbound", 65500),
        ("Outbound", 100), ("Outbound", 65000), ("Outbound", 65001), ("Outbound", 65500),
    ]  # fmt: skip
    assert found[1].expanded_sources == found[1].expanded_destinations == ("10.1.0.0/16",)
    assert found[2].expanded_sources == (f"{PLATFORM_ADDRESS}/32",)


def test_the_virtual_network_of_a_rule_is_also_what_tunnels_connect() -> None:
    """N-NS-2."""
    network = load(Path(__file__).parents[3] / "topologies" / "vnet-to-vnet.lab.yaml")
    first, second, _platform = network.virtual_networks
    assert groups.spaces(network, first) == (IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16"))
    assert groups.spaces(network, second) == (IPv4Network("10.2.0.0/16"), IPv4Network("10.1.0.0/16"))
