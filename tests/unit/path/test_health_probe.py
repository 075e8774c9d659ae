"""lab/path/health_probe.py: who is asked, and how."""

import msgspec
import pytest

from lab.azure.model import Network
from lab.path import distribution, health_probe
from lab.plan import Backends, HealthCheck
from tests import worlds


def checks(network: Network) -> list[HealthCheck]:
    return [i for i in health_probe.items(network, frozenset()) if isinstance(i, HealthCheck)]


def backends(network: Network) -> list[Backends]:
    return [i for i in health_probe.items(network, frozenset()) if isinstance(i, Backends)]


def probing(profile: str, probe: str = "port: 80", sku: str = "Basic", members: str = "a, b") -> Network:
    """Return two VMs behind a frontend with one probe."""
    return worlds.network(
        f"""
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{a: {{subnet: v/s}}, b: {{subnet: v/s}}}}
load_balancers:
  lb1:
    sku: {sku}
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [{members}]}}
    probes: {{p: {{{probe}}}}}
    load_balancing_rules:
      r: {{frontend: f, backend_pool: p, probe: p, frontend_port: 81, backend_port: 80}}
"""
    )


_ALL_UP = "port: 80, no_healthy_backends_behavior: AllProbedUp"


@pytest.mark.parametrize(
    ("probe", "down", "wanted"),
    [
        ("port: 80", "a b", []),
        (_ALL_UP, "a b", ["a", "b"]),
        (_ALL_UP, "a", ["b"]),
        (_ALL_UP, "", ["a", "b"]),
    ],
)
def test_all_members_are_led_to_where_none_answers_if_the_probe_says_so(probe: str, down: str, wanted: list[str]):
    network = probing("2026-07", probe)
    (lb,) = network.load_balancers
    vms = {vm.name: vm for vm in network.virtual_machines}
    keys = frozenset(f"lb1/p/{name}" for name in down.split())
    assert [vm.name for vm in distribution.members(vms, lb, lb.load_balancing_rules[0], keys)] == wanted


def test_tcp_flows_of_members_that_are_all_led_to_do_not_end() -> None:
    assert [item.ends_tcp for probe in ("port: 80", _ALL_UP) for item in backends(probing("2026-07", probe))] == [
        True,
        False,
    ]


def test_every_member_of_a_rules_pool_is_probed_from_the_platforms_address() -> None:
    found = checks(worlds.load_balanced(2, probe_port=81))
    assert [(i.key, i.source, f"{i.address}:{i.port}{i.request_path}", i.interval_s) for i in found] == [
        ("lb1/alive/web1", "168.63.129.16", "10.1.0.4:81/", 5.0),
        ("lb1/alive/web2", "168.63.129.16", "10.1.0.5:81/", 5.0),
    ]


def test_a_time_scale_makes_probes_come_as_many_times_sooner() -> None:
    (check,) = checks(worlds.load_balanced(1, time_scale=50))
    assert (check.interval_s, check.timeout_s) == (0.1, 0.62)


def test_a_probe_that_no_rule_uses_is_not_sent() -> None:
    network = worlds.network("load_balancers: {lb: {frontend_ip_configurations: {f: }, probes: {p: {port: 80}}}}")
    assert checks(network) == []


def test_several_rules_with_one_probe_ask_each_member_once() -> None:
    assert [check.key for check in checks(worlds.several_frontends())] == ["lb1/alive/many"]


@pytest.mark.parametrize(
    ("profile", "probe", "wanted"),
    # claims.md C-8: interval, timeout, failures, successes, and whether another answer than 200 is one failure of many.
    [
        ("2016-10", "port: 80", (15.0, 15.0, 2, 2, True)),
        ("2016-10", "port: 80, protocol: Http", (15.0, 31.0, 2, 2, True)),
        ("2018-12", "port: 80, protocol: Http, interval_in_seconds: 6, number_of_probes: 4", (6.0, 31.0, 4, 4, False)),
        ("seeds", "port: 80, protocol: Http", (15.0, 31.0, 2, 2, False)),
        ("seeds", "port: 80", (15.0, 15.0, 2, 2, True)),
        ("2022-03", "port: 80", (15.0, 15.0, 2, 2, True)),
        ("2026-07", "port: 80, number_of_probes: 3", (5.0, 5.0, 1, 1, True)),
        ("2026-07", "port: 80, number_of_probes: 3, probe_threshold: 4", (5.0, 5.0, 4, 4, True)),
        ("2026-07", "port: 80, protocol: Http", (5.0, 30.0, 1, 1, False)),
    ],
)
def test_a_probe_is_as_its_revision_says(profile: str, probe: str, wanted: tuple[object, ...]) -> None:
    for check in checks(probing(profile, probe)):
        found = (check.interval_s, check.timeout_s, check.failures, check.successes, check.wrong_answer_counts)
        assert found == wanted


@pytest.mark.parametrize(
    ("profile", "sku", "members", "ends"),
    [
        ("seeds", "Basic", "a, b", True), ("seeds", "Standard", "a, b", False), ("seeds", "Standard", "a", False),
        ("2026-07", "Basic", "a", True), ("2026-07", "Standard", "a, b", False), ("2026-07", "Standard", "a", True),
    ],
)  # fmt: skip
def test_with_all_members_down_tcp_flows_end_by_sku_and_revision(
    profile: str, sku: str, members: str, ends: bool
) -> None:
    """N-HP-10."""
    (item,) = backends(probing(profile, sku=sku, members=members))
    assert item.ends_tcp == ends


def test_probes_are_logged_every_minute_for_basic_load_balancers_alone() -> None:
    """N-ML-1."""
    (basic,), (standard,) = backends(probing("seeds")), backends(probing("seeds", sku="Standard"))
    assert (basic.log_s, standard.log_s) == (60.0, 0.0)
    assert basic.resource.endswith("/RESOURCEGROUPS/WORLD/PROVIDERS/MICROSOFT.NETWORK/LOADBALANCERS/LB1")


def test_members_of_a_rule_without_a_probe_have_no_check_and_no_log() -> None:
    network = probing("2026-07")
    (lb,) = network.load_balancers
    bare = msgspec.structs.replace(
        lb, load_balancing_rules=tuple(msgspec.structs.replace(r, probe=None) for r in lb.load_balancing_rules)
    )
    network = msgspec.structs.replace(network, load_balancers=(bare,))
    (item,) = backends(network)
    assert checks(network) == []
    assert ([m.check for m in item.members], item.log_s) == (["", ""], 0.0)
