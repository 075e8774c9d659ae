"""lab/path/outbound_idle.py: the timers of an edge whose outbound rules have timeouts of their own."""

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.plan import CtTarget, IdleReset, Plan, Rule, SnatPolicy, Sysctl, Timeout
from tests import worlds


def world(*rules: str) -> Network:
    named = zip("ab", rules, strict=True)
    listed = "\n".join(f"      {name}: {{frontends: [{name}], backend_pool: {name}, {rule}}}" for name, rule in named)
    return worlds.network(
        f"""
profile: 2022-03
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{a: {{subnet: v/s}}, b: {{subnet: v/s}}}}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {{a: 40.1.1.1, b: 40.1.1.2}}
    backend_address_pools: {{a: [a], b: [b]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      web: {{frontend: a, backend_pool: a, probe: alive, frontend_port: 80, backend_port: 80,
            disable_outbound_snat: true}}
    outbound_rules:
{listed}
"""
    )


def timer(plan: Plan, name: str) -> int:
    return next(s.value for s in plan.of(Sysctl) if s.key.endswith(f"nf_conntrack_{name}") and s.place == "lb.v")  # type: ignore[return-value]


def policy(plan: Plan) -> SnatPolicy:
    return next(iter(plan.of(SnatPolicy)))


def test_rules_of_four_minutes_leave_the_timers_as_they_are() -> None:
    plan = compile_network(world("protocol: All", "protocol: All, idle_timeout_in_minutes: 4"))
    assert timer(plan, "tcp_timeout_established") == 240
    assert (policy(plan).kernel_s, policy(plan).tcp_idle, list(plan.of(Timeout))) == (0, (), [])


def test_the_timers_of_tcp_are_the_longest_of_a_rule() -> None:
    plan = compile_network(world("protocol: All", "protocol: All, idle_timeout_in_minutes: 30"))
    assert (timer(plan, "tcp_timeout_established"), timer(plan, "tcp_timeout_syn_sent")) == (1800, 1800)
    assert (timer(plan, "udp_timeout"), timer(plan, "udp_timeout_stream")) == (240, 240)
    assert (policy(plan).kernel_s, policy(plan).idle_s) == (1800, 240)
    assert policy(plan).tcp_idle == (("40.1.1.2", 1800),)


def test_all_other_flows_have_their_timeouts_named() -> None:
    plan = compile_network(world("protocol: All", "protocol: All, idle_timeout_in_minutes: 30"))
    assert {t.name: t.seconds for t in plan.of(Timeout)} == {"4": 240, "d": 240}
    named = [r.target.timeout for r in plan.of(Rule) if isinstance(r.target, CtTarget) and r.place == "lb.v"]
    assert named == ["4", "d", ""]


def test_a_rule_for_udp_has_no_timeout_of_tcp() -> None:
    plan = compile_network(world("protocol: All", "protocol: Udp, idle_timeout_in_minutes: 30, enable_tcp_reset: true"))
    assert (policy(plan).kernel_s, list(plan.of(IdleReset))) == (0, [])


def test_flows_of_a_rule_with_tcp_reset_are_told() -> None:
    plan = compile_network(world("enable_tcp_reset: true", "idle_timeout_in_minutes: 5, enable_tcp_reset: true"))
    assert [(r.outbound, str(r)) for r in plan.of(IdleReset)] == [
        (True, "TCP reset of flows from 40.1.1.1 that are idle for 240 s"),
        (True, "TCP reset of flows from 40.1.1.2 that are idle for 300 s"),
    ]
