"""lab/azure/outbound_rules.py and the ranges that outbound rules give: what fits, what is refused, who has what."""

import msgspec
import pytest

from lab.azure import outbound_rules
from lab.azure.model import Network
from lab.errors import TopologyError
from lab.path.outbound_snat import ranges
from tests import worlds


def world(
    out: str, *, profile: str = "2022-03", members: int = 2, sku: str = "Standard", rules: str = "", snat: str = ""
) -> Network:
    names = ", ".join(f"vm{number}" for number in range(1, members + 1))
    machines = ", ".join(f"vm{number}: {{subnet: v/s}}" for number in range(1, members + 1))
    return worlds.network(
        f"""
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/16}}}}}}
virtual_machines: {{{machines}}}
load_balancers:
  lb:
    sku: {sku}
    frontend_ip_configurations: {{one: 40.1.1.1, two: 40.1.1.2}}
    backend_address_pools: {{p: [{names}]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules: {{{rules}}}
    outbound_rules:
{out}
"""
    )


def out(name: str = "o", ports: int = 0, frontends: str = "one", more: str = "") -> str:
    return f"      {name}: {{frontends: [{frontends}], backend_pool: p, allocated_outbound_ports: {ports}{more}}}\n"


def rule(name: str, port: int, frontend: str = "one", snat: str = "true") -> str:
    return (
        f"{name}: {{frontend: {frontend}, backend_pool: p, probe: alive, frontend_port: {port}, backend_port: {port}, "
        f"disable_outbound_snat: {snat}}}"
    )


def refusal(text: str, **more: object) -> str:
    with pytest.raises(TopologyError) as refused:
        world(text, **more)  # type: ignore[arg-type]
    return str(refused.value)


def shares(network: Network) -> dict[str, list[str]]:
    return {vm: [str(share) for share in found] for vm, found in ranges(network).items()}


def test_each_vm_of_the_pool_has_its_number_of_ports() -> None:
    assert shares(world(out(ports=64))) == {"vm1": ["40.1.1.1:1024-1087"], "vm2": ["40.1.1.1:1088-1151"]}


def test_the_number_is_of_all_addresses_together_in_whole_blocks() -> None:
    found = shares(world(out(ports=24, frontends="one, two")))
    assert found["vm1"] == ["40.1.1.1:1024-1039", "40.1.1.2:1024-1031"]
    assert found["vm2"] == ["40.1.1.1:1040-1055", "40.1.1.2:1032-1039"]


def test_all_ports_of_an_address_can_be_given_to_one_vm() -> None:
    assert shares(world(out(ports=64000), members=1)) == {"vm1": ["40.1.1.1:1024-65023"]}


def test_blocks_that_rules_take_are_beside_the_number() -> None:
    found = shares(world(out(ports=16), rules=rule("r", 1030)))
    assert found == {"vm1": ["40.1.1.1:1032-1047"], "vm2": ["40.1.1.1:1048-1063"]}
    found = shares(world(out(ports=16), rules=rule("r", 1041)))
    assert found == {"vm1": ["40.1.1.1:1024-1039"], "vm2": ["40.1.1.1:1048-1063"]}


def test_without_a_number_the_table_says_it() -> None:
    assert shares(world(out()))["vm2"] == ["40.1.1.1:2048-3071"]


def test_a_rule_of_one_protocol_leaves_the_other_without_a_way_out() -> None:
    assert shares(world(out(ports=8, more=", protocol: Udp"), members=1)) == {"vm1": ["40.1.1.1:1024-1031/udp"]}


def test_a_load_balancing_rule_that_translates_nothing_links_nothing() -> None:
    assert shares(world("      {}", rules=rule("r", 80))) == {}


@pytest.mark.parametrize(
    ("members", "addresses", "blocks", "most"),
    # 8 x floor((64,000 x addresses - 8 x blocks) / members / 8), worked out by hand.
    [(1, 1, 0, 64000), (2, 1, 0, 32000), (10, 1, 0, 6400), (10, 1, 1, 6392), (3, 1, 1, 21328), (7, 2, 2, 18280)],
)
def test_the_most_that_each_vm_can_have(members: int, addresses: int, blocks: int, most: int) -> None:
    taken = ", ".join(rule(f"r{n}", 80 + 8 * n) for n in range(blocks))
    frontends = "one, two" if addresses == 2 else "one"
    network = world(out(ports=most, frontends=frontends), members=members, rules=taken)
    (lb,) = network.load_balancers
    assert outbound_rules.available(network.profile, lb, lb.outbound_rules[0]) == most
    if most < 64000:
        said = refusal(out(ports=most + 8, frontends=frontends), members=members, rules=taken)
        assert f"Outbound Ports {most + 8} for Outbound Rule o exceeds total number of available ports {most}" in said


@pytest.mark.parametrize(
    ("said", "text", "more"),
    [
        ("IsNotAMultipleOfEight", out(ports=1001), {}),
        ("ExceedsTotalNumberOfAllowedPortsPerRule", out(ports=64008), {"members": 1}),
        ("MoreThanOneOutboundRuleUsing", out() + out("second"), {}),
        ("MoreThanOneOutboundRuleUsing", out() + out("second", more=", protocol: Tcp"), {}),
        ("LoadBalancingRuleMustDisableSNAT", out(), {"rules": rule("r", 80, snat="false")}),
        ("only a Standard load balancer", out(), {"sku": "Basic"}),
        ("only a Standard load balancer", "      {}", {"sku": "Basic", "rules": rule("r", 80)}),
        ("from revision 2018-12 on", out(), {"profile": "2018-02"}),
        ("from revision 2018-12 on", out(), {"profile": "seeds"}),
        ("4 to 120 minutes", out(more=", idle_timeout_in_minutes: 121"), {}),
        ("4 to 66 minutes", out(more=", idle_timeout_in_minutes: 67"), {"profile": "2018-12"}),
        ("4 to 120 minutes", out(more=", idle_timeout_in_minutes: 3"), {}),
        ("no frontend", out(frontends="gone"), {}),
    ],
)
def test_what_does_not_go_is_refused(said: str, text: str, more: dict[str, str]) -> None:
    assert said in refusal(text, **more)


def test_two_rules_share_a_frontend_for_different_protocols() -> None:
    both = out(more=", protocol: Tcp") + out("second", more=", protocol: Udp")
    assert len(world(both).load_balancers[0].outbound_rules) == 2


@pytest.mark.parametrize(
    ("rules", "said"), [(600, ""), (601, "601 outbound rules; a Standard load balancer has at most 600")]
)
def test_a_load_balancer_has_at_most_600_outbound_rules(rules: int, said: str) -> None:
    lb = world(out()).load_balancers[0]
    many = tuple(msgspec.structs.replace(lb.outbound_rules[0], name=f"o{n}") for n in range(rules))
    found = outbound_rules.violations(world(out()).profile, msgspec.structs.replace(lb, outbound_rules=many))
    assert [str(p.found) for p in found if "at most 600" in p.must] == ([said.partition(";")[0]] if said else [])
