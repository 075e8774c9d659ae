"""lab/path/load_balancer.py: from a frontend to a VM."""

import msgspec
import pytest

from lab.azure.model import Network
from lab.path import load_balancer
from lab.plan import Route, Rule
from tests import worlds


def rules_of(network: Network, *down: str) -> list[str]:
    return [str(i) for i in load_balancer.items(network, frozenset(down)) if isinstance(i, Rule)]


def test_an_inbound_nat_rule_leads_one_frontend_port_to_one_vm() -> None:
    assert rules_of(worlds.nat_rule_only()) == [
        "-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 50001 -j DNAT --to-destination 10.1.0.4:22"
    ]


def test_a_load_balancing_rule_picks_a_member_by_the_hash_of_the_flow() -> None:
    assert rules_of(worlds.load_balanced(2)) == [
        "-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80 -j lb1/web",
        "-t nat -A lb1/web -j HMARK --hmark-tuple src,sport,dst,dport,proto --hmark-mod 2 --hmark-rnd 99536897",
        "-t nat -A lb1/web -p tcp --mark 1 -j DNAT --to-destination 10.1.0.4:80",
        "-t nat -A lb1/web -p tcp --mark 2 -j DNAT --to-destination 10.1.0.5:80",
    ]


def test_a_pool_of_one_needs_no_hash() -> None:
    assert rules_of(worlds.load_balanced(1)) == [
        "-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80 -j lb1/web",
        "-t nat -A lb1/web -p tcp -j DNAT --to-destination 10.1.0.4:80",
    ]


def test_a_member_that_is_down_receives_no_new_flow() -> None:
    assert rules_of(worlds.load_balanced(3), "lb1/alive/web2") == [
        "-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80 -j lb1/web",
        "-t nat -A lb1/web -j HMARK --hmark-tuple src,sport,dst,dport,proto --hmark-mod 2 --hmark-rnd 99536897",
        "-t nat -A lb1/web -p tcp --mark 1 -j DNAT --to-destination 10.1.0.4:80",
        "-t nat -A lb1/web -p tcp --mark 2 -j DNAT --to-destination 10.1.0.6:80",
    ]


def test_a_pool_whose_members_are_all_down_leads_nowhere() -> None:
    assert rules_of(worlds.load_balanced(2), "lb1/alive/web1", "lb1/alive/web2") == [
        "-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80 -j lb1/web"
    ]


@pytest.mark.parametrize(
    ("distribution", "fields"),
    [("Default", "src,sport,dst,dport,proto"), ("SourceIP", "src,dst"), ("SourceIPProtocol", "src,dst,proto")],
)
def test_the_distribution_mode_says_what_is_hashed(distribution: str, fields: str) -> None:
    """load-balancer-distribution-mode.md (2016-10-24): 5-tuple, 2-tuple and 3-tuple."""
    assert f" --hmark-tuple {fields} " in rules_of(worlds.load_balanced(2, distribution=distribution))[1]


def test_a_pool_without_rule_has_its_frontends_address_and_nothing_more() -> None:
    found = list(load_balancer.items(worlds.pool_without_rule(), frozenset()))
    assert [(type(i), i.place) for i in found] == [(Route, "internet"), (Route, "lb.vnet1")]


def test_a_cloud_service_is_a_load_balancer_whose_rules_name_the_seed_that_has_them() -> None:
    found = [i for i in load_balancer.items(worlds.classic(), frozenset()) if not isinstance(i, Route)]
    assert {(str(i), i.why.entity, i.why.source) for i in found if "HMARK" not in str(i)} == {
        ("-t nat -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80 -j DNAT --to-destination 10.1.0.4:8080",
         "shop/vm1/web to vm1", "Multiple VIPs, 2015-07-23: endpoint"),
        ("-t nat -A PREROUTING -d 40.1.1.2/32 -p tcp --dport 81 -j shop/set", "shop/set", _SET),
        ("-t nat -A shop/set -p tcp --mark 1 -j DNAT --to-destination 10.1.0.4:8181", "shop/set to vm1", _SET),
        ("-t nat -A shop/set -p tcp --mark 2 -j DNAT --to-destination 10.1.0.5:8181", "shop/set to vm2", _SET),
    }  # fmt: skip


_SET = "Multiple VIPs, 2015-07-23: load-balanced set"


def test_the_vips_of_a_service_that_have_an_address_are_its_frontends() -> None:
    found = [i for i in load_balancer.items(worlds.classic(), frozenset()) if isinstance(i, Route)]
    assert {(i.place, i.destination, i.why.entity) for i in found} == {
        (place, f"40.1.1.{number}/32", f"shop/Vip{number}") for place in ("internet", "lb.vnet1") for number in (1, 2)
    }


def test_names_with_dashes_never_make_two_rules_share_a_chain() -> None:
    """Or the flows of one frontend would reach the VMs of another."""
    balancer = """
  %s:
    frontend_ip_configurations: {f: 40.1.1.%d}
    backend_address_pools: {p: [vm%d]}
    probes: {p: {port: 80}}
    load_balancing_rules: {%s: {frontend: f, backend_pool: p, probe: p, frontend_port: 80, backend_port: 80}}
"""
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm1: {subnet: v/s}, vm2: {subnet: v/s}}\n"
        f"load_balancers:{balancer % ('a', 1, 1, 'b-c')}{balancer % ('a-b', 2, 2, 'c')}"
    )
    jumps = [rule.rpartition(" ")[2] for rule in rules_of(network) if " -A PREROUTING " in rule]
    assert jumps == ["a/b-c", "a-b/c"]


def test_members_of_a_rule_without_a_probe_are_never_down() -> None:
    """N-HP-14: whatever the names of members that are down."""
    network = worlds.load_balanced(2)
    (lb,) = network.load_balancers
    (rule,) = lb.load_balancing_rules
    bare = msgspec.structs.replace(rule, probe=None)
    changed = msgspec.structs.replace(
        network, load_balancers=(msgspec.structs.replace(lb, load_balancing_rules=(bare,)),)
    )
    assert rules_of(changed, "lb1/None/web1", "lb1/alive/web1") == rules_of(network)
