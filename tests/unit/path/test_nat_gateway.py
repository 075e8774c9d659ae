"""lab/path/nat_gateway.py: what the plan has for a NAT gateway, and what it has no longer at the load balancer."""

from pathlib import Path

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.path.marks import CAME_IN
from lab.plan import Namespace, Plan, RoutingRule, Rule, SnatPolicy, SnatPool, SnatRange, Sysctl
from lab.topology import load

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def network(name: str = "nat-gateway", profile: str | None = None) -> Network:
    return load(TOPOLOGIES / f"{name}.lab.yaml", profile=profile)


def plan(name: str = "nat-gateway", profile: str | None = None) -> Plan:
    return compile_network(network(name, profile))


def test_each_gateway_has_a_place_and_every_vm_of_its_subnets_all_of_its_ports() -> None:
    made = plan()
    assert {item.place for item in made.of(Namespace) if item.role == "nat gateway"} == {"nat.natgw", "nat.single"}
    given = {pool.node: pool.ranges for pool in made.of(SnatPool) if pool.place == "nat.natgw"}
    addresses = ("40.117.230.1", "40.117.230.4", "40.117.230.5")
    assert given == dict.fromkeys(
        ("deep", "own", "plain", "ruled"), tuple(SnatRange(address, 1024, 65535) for address in addresses)
    )


def test_the_load_balancer_gives_vms_behind_a_gateway_no_port_and_no_address() -> None:
    made = plan()
    assert [pool.node for pool in made.of(SnatPool) if pool.place == "lb.vnet1"] == ["free"]
    own = [rule for rule in made.of(Rule) if rule.place == "lb.vnet1" and rule.why.rule == "instance_public_ip"]
    assert [(rule.table, rule.chain) for rule in own] == [("nat", "PREROUTING")]


def test_the_router_asks_for_answers_then_for_what_is_private_then_for_the_gateway() -> None:
    asked = sorted((rule for rule in plan().of(RoutingRule)), key=lambda rule: (rule.priority, rule.source or ""))
    assert [(rule.mark, rule.source, rule.specific) for rule in asked] == [
        (CAME_IN, None, False),
        (0, None, True),
        (0, "10.1.0.0/24", False),
        (0, "10.1.1.0/24", False),
        (0, "10.1.2.0/24", False),
    ]
    tables = [rule.table for rule in asked[2:]]
    assert tables[0] == tables[1] != tables[2]


def test_timers_are_those_of_the_revision_and_of_the_gateway() -> None:
    for profile, rst_s, half_open_s in (("2022-03", 20, 25), ("2026-07", 16, 30)):
        made = plan("nat-timers", profile)
        (policy,) = [item for item in made.of(SnatPolicy) if item.place == "nat.natgw"]
        assert (policy.fin_s, policy.rst_s, policy.udp_s, policy.idle_s) == (65 / 30, rst_s / 30, 65 / 30, 10)
        values = {
            item.key.rpartition("conntrack_")[2]: item.value for item in made.of(Sysctl) if item.place == "nat.natgw"
        }
        assert values["tcp_timeout_established"] == 10
        assert values["udp_timeout"] == 8
        assert values["tcp_timeout_syn_sent"] == -(-half_open_s // 30)
        assert values["tcp_loose"] == 0
