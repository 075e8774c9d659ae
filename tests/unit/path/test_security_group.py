"""lab/path/security_group.py: the packet filter of a router."""

import msgspec

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.plan import Rule, Sysctl
from lab.topology import load
from tests import worlds
from tests.rootlab import TOPOLOGIES


def rules(network: Network, chain: str) -> list[str]:
    found = [r for r in compile_network(network).of(Rule) if r.place.startswith("router.") and r.chain == chain]
    return [str(rule).removeprefix(f"-t filter -A {chain} ") for rule in found]


def test_a_network_without_a_group_has_no_filter_and_tracks_nothing() -> None:
    plan = compile_network(worlds.three_ways_out())
    assert {r.chain for r in plan.of(Rule) if r.place == "router.v"} == {"OUTPUT"}
    assert [s.key for s in plan.of(Sysctl) if s.place == "router.v" and "conntrack" in s.key] == []


def test_what_began_passes_first_and_each_group_is_entered_by_its_subnet() -> None:
    assert rules(worlds.guarded(), "FORWARD") == [
        "--ctstatus CONFIRMED -j ACCEPT",
        "-d 168.63.129.16/32 -j ACCEPT",
        "-s 10.1.0.0/16 -j MARK --or-mark 0x30000000",
        "-d 10.1.0.0/16 -j MARK --or-mark 0x40000000",
        "-s 168.63.129.16/32 -j MARK --or-mark 0x20000000",
        "-s 10.1.0.0/24 -j nsg-out/front",
        "-d 10.1.0.0/24 -j nsg-in/front",
    ]


def test_rules_come_by_priority_and_tags_are_marks() -> None:
    assert rules(worlds.guarded(), "nsg-in/front") == [
        "-p tcp --dport 80 --mark 0x0/0x20000000 -j RETURN",
        "--mark 0x50000000/0x50000000 -j RETURN",
        "-s 168.63.129.16/32 -j RETURN",
        "-j DROP",
    ]
    assert rules(worlds.guarded(), "nsg-out/front")[0] == "--mark 0x0/0x40000000 -j DROP"


def test_outbound_the_vms_group_comes_before_the_subnets_and_inbound_after_it() -> None:
    network = worlds.guarded()
    machines = tuple(msgspec.structs.replace(v, network_security_group="front") for v in network.virtual_machines)
    jumps = [
        rule for rule in rules(msgspec.structs.replace(network, virtual_machines=machines), "FORWARD") if "nsg" in rule
    ]
    assert jumps == [
        "-i db -j nsg-out/front",
        "-i web -j nsg-out/front",
        "-s 10.1.0.0/24 -j nsg-out/front",
        "-d 10.1.0.0/24 -j nsg-in/front",
        "-o db -j nsg-in/front",
        "-o web -j nsg-in/front",
    ]


def test_a_group_has_its_chains_once_however_many_vms_it_guards() -> None:
    def count(vms: int) -> int:
        text = f"""
virtual_networks:
  v: {{address_space: [10.1.0.0/16], subnets: {{s: {{address_prefix: 10.1.0.0/16, network_security_group: g}}}}}}
virtual_machines: {{{", ".join(f"vm{n}: {{subnet: v/s}}" for n in range(vms))}}}
network_security_groups: {{g: []}}
"""
        return len(list(compile_network(worlds.network(text)).of(Rule)))

    assert count(40) == count(1)


def test_a_vm_of_a_standard_load_balancer_is_shut_by_what_its_sku_says() -> None:
    network = load(TOPOLOGIES / "nsg.lab.yaml")
    (jump,) = [rule for rule in rules(network, "FORWARD") if "-o shut" in rule]
    assert jump == "-o shut -j nsg-in/(Standard-SKU)"
    assert rules(network, "nsg-in/(Standard-SKU)")[-1] == "-j DROP"
