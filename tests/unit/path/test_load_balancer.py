"""lab/path/load_balancer.py: from a frontend to a VM, and who is down. Time is invented."""

import pytest

from lab.model import Network
from lab.path import load_balancer
from lab.path.load_balancer import Health
from lab.plan import HealthCheck, Route, Rule
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
         "shop/vm1-web to vm1", "seed 000: endpoint"),
        ("-t nat -A PREROUTING -d 40.1.1.2/32 -p tcp --dport 81 -j shop/set", "shop/set", _SET),
        ("-t nat -A shop/set -p tcp --mark 1 -j DNAT --to-destination 10.1.0.4:8181", "shop/set to vm1", _SET),
        ("-t nat -A shop/set -p tcp --mark 2 -j DNAT --to-destination 10.1.0.5:8181", "shop/set to vm2", _SET),
        ("probe shop/set/vm1: Tcp 10.1.0.4:8181 every 15 s, down after 2", "shop/set of vm1", _SET),
        ("probe shop/set/vm2: Tcp 10.1.0.5:8181 every 15 s, down after 2", "shop/set of vm2", _SET),
    }  # fmt: skip


_SET = "seed 000: load-balanced set"


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


def test_every_member_of_a_rules_pool_is_probed_from_the_platforms_address() -> None:
    found = [
        i
        for i in load_balancer.items(worlds.load_balanced(2, probe_port=81), frozenset())
        if isinstance(i, HealthCheck)
    ]
    assert [
        (i.key, i.source, f"{i.address}:{i.port}{i.request_path}", i.interval_s, i.number_of_probes) for i in found
    ] == [
        ("lb1/alive/web1", "168.63.129.16", "10.1.0.4:81/", 5.0, 2),
        ("lb1/alive/web2", "168.63.129.16", "10.1.0.5:81/", 5.0, 2),
    ]


def test_a_time_scale_makes_probes_come_as_many_times_sooner() -> None:
    network = worlds.load_balanced(1, time_scale=50)
    (check,) = (i for i in load_balancer.items(network, frozenset()) if isinstance(i, HealthCheck))
    assert check.interval_s == 0.1


def test_a_probe_that_no_rule_uses_is_not_sent() -> None:
    network = worlds.network("load_balancers: {lb: {frontend_ip_configurations: {f: }, probes: {p: {port: 80}}}}")
    assert [i for i in load_balancer.items(network, frozenset()) if isinstance(i, HealthCheck)] == []


def test_several_rules_with_one_probe_ask_each_member_once() -> None:
    found = [i.key for i in load_balancer.items(worlds.several_frontends(), frozenset()) if isinstance(i, HealthCheck)]
    assert found == ["lb1/alive/many"]


# --- who is down ------------------------------------------------------------------------------

_GOOD, _BAD = "success", "Tcp 10.1.0.4:80: no answer"


def after(*results: str, count: int = 2) -> Health:
    """Return what is known after results at 10, 20, 30 … seconds."""
    state = Health()
    for number, result in enumerate(results, start=1):
        state = state.after(result, count, 10.0 * number)
    return state


def test_a_member_is_down_and_not_judged_until_its_first_probe() -> None:
    assert Health() == Health(up=False, failures=0, judged=False, since_s=0.0, reason="not probed yet")


def test_the_first_success_brings_a_member_up_at_once() -> None:
    assert after(_GOOD) == Health(up=True, failures=0, judged=True, since_s=10.0, reason="answers its probe")


def test_the_first_failure_judges_a_member_as_down() -> None:
    assert after(_BAD) == Health(up=False, failures=1, judged=True, since_s=10.0, reason=_BAD)


def test_a_member_goes_down_after_as_many_failures_in_a_row_as_the_probe_says() -> None:
    assert [after(_GOOD, *[_BAD] * n, count=3).up for n in range(1, 5)] == [True, True, False, False]


def test_a_success_between_failures_counts_them_anew() -> None:
    assert after(_GOOD, _BAD, _GOOD, _BAD).up
    assert after(_GOOD, _BAD, _GOOD, _BAD).failures == 1


def test_one_success_brings_a_member_back() -> None:
    assert after(_GOOD, _BAD, _BAD, _GOOD) == Health(up=True, judged=True, since_s=40.0, reason="answers its probe")


def test_since_is_when_the_state_was_entered_not_when_it_was_last_seen() -> None:
    assert after(_GOOD, _GOOD, _GOOD).since_s == 10.0
    assert after(_GOOD, _BAD, _BAD, _BAD).since_s == 30.0
    assert after(_BAD, _BAD, _BAD).since_s == 10.0


def test_a_member_that_is_failing_keeps_its_last_reason() -> None:
    assert after(_GOOD, "first", "second").reason == "second"
