"""lab/path/floating_ip.py: frontends that VMs have themselves, up to their wires."""

from ipaddress import IPv4Address

import msgspec

from lab.azure.model import Network
from lab.path import floating_ip, load_balancer, marks
from lab.plan import Item, Route, RoutingRule, Rule, Sysctl
from tests import worlds

_TO_SQL1, _TO_SQL2 = 0xA010004, 0xA010005


def listener(rule: str = "enable_floating_ip: true") -> Network:
    """Return two VMs behind port 1433 of a frontend that only the first has itself, and port 80 as usual."""
    return worlds.network(
        f"""
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{sql1: {{subnet: v/s, loopback_addresses: [40.1.1.1]}}, sql2: {{subnet: v/s}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{sql: [sql1, sql2]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      sql: {{frontend: f, backend_pool: sql, probe: alive, frontend_port: 1433, backend_port: 1433, {rule}}}
      web: {{frontend: f, backend_pool: sql, probe: alive, frontend_port: 80, backend_port: 80}}
    inbound_nat_rules:
      nat: {{frontend: f, virtual_machine: sql2, frontend_port: 22, backend_port: 22, {rule}}}
"""
    )


def items(network: Network, *down: str) -> list[Item]:
    return list(floating_ip.items(network, frozenset(down)))


def rules_at(place: str, network: Network, *down: str) -> list[str]:
    return [str(i) for i in items(network, *down) if isinstance(i, Rule) and i.place == place]


def test_the_edge_marks_what_a_rule_is_for_and_its_answers_and_lets_new_flows_in() -> None:
    assert [rule for rule in rules_at("lb.v", listener()) if "1433" in rule] == [
        "-t raw -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 1433 -j MARK --set-mark 0x8000000",
        "-t raw -A PREROUTING -s 40.1.1.1/32 -i router.v -p tcp --sport 1433 -j MARK --set-mark 0x8000000",
        "-t filter -A FORWARD -d 40.1.1.1/32 -o router.v -p tcp --dport 1433 --ctstate NEW -j ACCEPT",
    ]


def test_the_router_picks_a_member_that_the_flow_remembers() -> None:
    assert [rule for rule in rules_at("router.v", listener()) if "nat" not in rule and "22" not in rule] == [
        "-t mangle -A PREROUTING -j CONNMARK --restore-mark --mask 0xfffffff",
        "-t mangle -A PREROUTING -d 40.1.1.1/32 -i lb.v -p tcp --dport 1433 --mark 0x0/0xfffffff -j lb/sql",
        "-t mangle -A lb/sql -j HMARK --hmark-tuple src,sport,dst,dport,proto --hmark-mod 2 --hmark-rnd 99536897",
        f"-t mangle -A lb/sql --mark 1 -j MARK --set-mark {_TO_SQL1:#x}",
        f"-t mangle -A lb/sql --mark 2 -j MARK --set-mark {_TO_SQL2:#x}",
        "-t mangle -A lb/sql -j CONNMARK --save-mark --mask 0xfffffff",
    ]


def test_marks_lead_to_tables_that_know_the_frontend_only() -> None:
    found = items(listener())
    assert [(i.place, i.mark, i.table) for i in found if isinstance(i, RoutingRule)] == [
        ("lb.v", marks.TO_ROUTER, marks.TO_ROUTER),
        ("router.v", _TO_SQL1, _TO_SQL1),
        ("router.v", _TO_SQL2, _TO_SQL2),
    ]
    assert [(i.place, str(i)) for i in found if isinstance(i, Route)] == [
        ("lb.v", f"route 40.1.1.1/32 via 169.254.1.1 dev router.v table {marks.TO_ROUTER}"),
        ("router.v", f"route 40.1.1.1/32 dev sql1 table {_TO_SQL1}"),
        ("router.v", f"route 40.1.1.1/32 dev sql2 table {_TO_SQL2}"),
    ]
    assert {(i.place, i.key) for i in found if isinstance(i, Sysctl)} == {
        ("lb.v", "net.ipv4.conf.all.src_valid_mark"),
        ("router.v", "net.ipv4.conf.all.src_valid_mark"),
    }


def test_a_member_that_is_down_gets_no_new_flow_and_keeps_its_way() -> None:
    found = rules_at("router.v", listener(), "lb/alive/sql1")
    assert f"-t mangle -A lb/sql -j MARK --set-mark {_TO_SQL2:#x}" in found
    assert not [rule for rule in found if f"{_TO_SQL1:#x}" in rule]
    assert _TO_SQL1 in [i.mark for i in items(listener(), "lb/alive/sql1") if isinstance(i, RoutingRule)]


def test_with_all_members_down_nothing_is_let_in_and_nothing_goes_round() -> None:
    down = ("lb/alive/sql1", "lb/alive/sql2")
    assert [rule for rule in rules_at("lb.v", listener(), *down) if "1433" in rule and "FORWARD" in rule] == []
    assert "-t mangle -A lb/sql -j DROP" in rules_at("router.v", listener(), *down)


def test_what_is_not_translated_meets_no_rule_that_translates() -> None:
    found = [str(i) for i in load_balancer.items(listener(), frozenset()) if isinstance(i, Rule)]
    assert [rule for rule in found if "1433" in rule or "--dport 22 " in rule] == []
    assert [rule for rule in found if "--dport 80 " in rule]


def test_without_such_a_rule_nothing_is_asked_for() -> None:
    assert items(listener("idle_timeout_in_minutes: 4")) == []


def test_a_vms_mark_does_not_depend_on_who_else_is_there() -> None:
    network = listener()
    assert [marks.to_vm(vm) for vm in network.virtual_machines] == [_TO_SQL1, _TO_SQL2]


def test_private_ranges_and_tags_share_no_mark() -> None:
    (vm, _) = listener().virtual_machines
    found = set()
    for address in ("10.0.0.4", "172.16.0.4", "172.31.0.4", "192.168.0.4", "100.64.0.4", "100.127.0.4"):
        found.add(marks.to_vm(msgspec.structs.replace(vm, private_ip_address=IPv4Address(address))))
    assert len(found) == 6
    assert all(mark & (marks.FROM_VNET | marks.NOT_FROM_INTERNET | marks.TO_VNET) == 0 for mark in found)
    assert all(mark & marks.FLOATING_MASK == mark != marks.TO_ROUTER for mark in found)
