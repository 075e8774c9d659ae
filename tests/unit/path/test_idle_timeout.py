"""lab/path/idle_timeout.py: how long flows of rules live."""

import pytest

from lab.azure.model import Network
from lab.path import idle_timeout
from lab.plan import IdleReset, Item, Rule, Timeout
from tests import worlds


def idle(rule: str, *, sku: str = "Basic", scale: int = 1, second: str = "") -> list[Item]:
    """Return what a rule for port 80, and perhaps one for 81, ask for."""
    return list(idle_timeout.items(network(rule, sku=sku, scale=scale, second=second), frozenset()))


def network(rule: str, *, sku: str = "Basic", scale: int = 1, second: str = "") -> Network:
    other = f"      other: {{frontend: f, backend_pool: p, probe: a, frontend_port: 81, backend_port: 81, {second}}}\n"
    return worlds.network(
        f"""
virtual_networks: {{v: {{address_space: [10.1.0.0/16, 10.3.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
overrides: {{time_scale: {scale}}}
load_balancers:
  lb:
    sku: {sku}
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [vm]}}
    probes: {{a: {{port: 80, interval_in_seconds: 60}}}}
    load_balancing_rules:
      web: {{frontend: f, backend_pool: p, probe: a, frontend_port: 80, backend_port: 80, {rule}}}
{other if second else ""}"""
    )


def test_what_is_as_long_as_every_flow_may_be_idle_asks_for_nothing() -> None:
    assert idle("idle_timeout_in_minutes: 4") == []


@pytest.mark.parametrize(("scale", "seconds"), [(1, 600), (60, 10), (240, 3)])
def test_a_rule_gives_its_flows_a_timeout_of_their_own(scale: int, seconds: int) -> None:
    rule, timeout = idle("idle_timeout_in_minutes: 10", scale=scale)
    assert isinstance(timeout, Timeout)
    assert (rule.place, timeout.place, timeout.name, timeout.seconds) == ("lb.v", "lb.v", "10", seconds)
    where = "-t raw -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 80"
    assert str(rule) == f"{where} -j CT --timeout 10 --ctevents helper"


def test_a_rule_that_is_a_little_more_patient_is_so_at_every_scale() -> None:
    _, timeout = idle("idle_timeout_in_minutes: 5", scale=120)
    assert isinstance(timeout, Timeout)
    assert (timeout.seconds, timeout.nominal_s) == (3, 300)


def test_rules_of_one_length_share_a_timeout() -> None:
    found = idle("idle_timeout_in_minutes: 10", second="idle_timeout_in_minutes: 10")
    assert [type(i) for i in found] == [Rule, Rule, Timeout]


def test_no_name_is_longer_than_the_kernel_hands_back() -> None:
    (_, timeout) = idle("idle_timeout_in_minutes: 30")
    assert isinstance(timeout, Timeout)
    assert len(timeout.name) <= 4


def test_datagrams_have_no_timeout_of_a_rule() -> None:
    assert idle("protocol: Udp, idle_timeout_in_minutes: 10, enable_tcp_reset: true", sku="Standard") == []


def test_with_floating_ip_the_router_forgets_as_the_edge_does() -> None:
    found = idle("enable_floating_ip: true")
    assert [(i.place, type(i)) for i in found] == [("router.v", Rule), ("router.v", Timeout)]


def test_a_reset_is_asked_for_with_what_leads_to_both_ends() -> None:
    ends, found = idle("enable_tcp_reset: true", sku="Standard", scale=60)
    assert str(ends).endswith("-j CT --ctevents destroy")
    assert isinstance(found, IdleReset)
    assert (found.place, found.address, found.port, found.idle_s) == ("lb.v", "40.1.1.1", 80, 4)
    assert (found.inner_interface, found.outer_interface) == ("router.v", "internet")
    assert found.inside == ("10.1.0.0/16", "10.3.0.0/16")
