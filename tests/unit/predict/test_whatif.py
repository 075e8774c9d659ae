"""lab/predict/whatif.py: what becomes different for flows between two networks, and why."""

import msgspec

from lab.azure.model import Network
from lab.predict.forecast import Service
from lab.predict.whatif import Change, changes
from tests import worlds


def told(before: Network, after: Network, what: str) -> dict[str, tuple[str, str]]:
    return {c.sender: (c.before.value, c.after.value) for c in changes(before, after) if c.what == what}


def found(before: Network, after: Network, what: str) -> list[Change]:
    return [c for c in changes(before, after) if c.what == what]


def test_nothing_changes_between_a_network_and_itself() -> None:
    for network in (worlds.guarded(), worlds.load_balanced(2), worlds.classic()):
        assert changes(network, network) == ()


def test_a_rule_that_goes_changes_the_source_address_and_the_reason_names_the_pool() -> None:
    before = worlds.pool_without_rule()
    after = worlds.network(
        "internet: {far: {address: 198.51.100.20, services: [http:80, udp:9000]}, client: {address: 198.51.100.30}}\n"
        "virtual_networks:\n"
        "  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24, back: 10.1.1.0/24}}\n"
        "virtual_machines: {pooled: {subnet: vnet1/front}, alone: {subnet: vnet1/front}}\n"
        "load_balancers:\n  lb1:\n    frontend_ip_configurations: {public: 40.1.1.1}\n"
        "    backend_address_pools: {pool: [pooled]}\n"
        "    inbound_nat_rules:\n"
        "      ssh: {frontend: public, virtual_machine: pooled, frontend_port: 22, backend_port: 22}\n"
    )
    (change,) = found(before, after, "source address")
    assert (change.sender, change.after.value) == ("pooled", "40.1.1.1")
    assert change.reason.startswith("NAT rule ssh of lb1 (")
    assert "pool pool has no rule" in found(after, before, "source address")[0].reason
    (reached,) = {(c.to, c.services) for c in found(before, after, "reachability") if c.sender == "client"}
    assert reached == ("lb1/public", (Service("tcp", 22),))
    # The other VM has the platform's ports alone now.
    assert told(before, after, "SNAT ports")["alone"] == ("64,511 of 2 VMs", "64,511")


def test_a_standard_sku_closes_what_no_group_opens() -> None:
    before = worlds.balanced(1, profile="2019-05", sku="Basic")
    closed = found(before, worlds.balanced(1, profile="2019-05"), "reachability")
    assert {(c.sender, c.to, c.before.value, c.after.value) for c in closed} >= {
        ("far", "lb1/f1", "allowed", "denied"),
        ("client", "lb1/f1", "allowed", "denied"),
    }
    (reason,) = {c.reason for c in closed if c.sender == "far"}
    assert reason.startswith("rule DenyAllInbound of the Standard SKU (load-balancer-standard-overview.md (2017-09-28)")


def test_timers_and_ports_of_another_revision_are_told_with_their_texts() -> None:
    before, after = (worlds.balanced(2, profile=profile, sku="Basic") for profile in ("2017-09", "2019-05"))
    assert told(before, after, "SNAT ports")["web1"] == ("64,511 of 2 VMs", "1,024")
    assert "load-balancer-outbound-connections.md (2018-02-05)" in found(before, after, "SNAT ports")[0].reason
    release = found(before, after, "port release")
    assert [(c.sender, c.after.value) for c in release] == [
        ("every VM", "FIN of either + 240 s"),
        ("every VM", "RST + 15 s"),
    ]


def test_the_idle_timeout_of_a_rule_and_nodes_of_one_side_are_told() -> None:
    before = worlds.load_balanced(2)
    (lb,) = before.load_balancers
    rules = tuple(
        msgspec.structs.replace(rule, idle_timeout_min=15, tcp_reset=True) for rule in lb.load_balancing_rules
    )
    after = msgspec.structs.replace(
        before, load_balancers=(msgspec.structs.replace(lb, load_balancing_rules=rules),), internet=before.internet[:1]
    )
    (idle,) = found(before, after, "idle timeout")
    assert (idle.to, idle.before.value, idle.after.value) == ("lb1", "4 min, in silence", "15 min, both ends are reset")
    assert [(c.sender, c.after.value) for c in found(before, after, "there")] == [("far", "not there")]


def test_the_idle_timeout_of_an_outbound_rule_is_told() -> None:
    before, after = (
        worlds.network(
            f"""
profile: 2022-03
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb1:
    sku: Standard
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [vm]}}
    outbound_rules: {{out: {{frontends: [f], backend_pool: p{more}}}}}
"""
        )
        for more in ("", ", idle_timeout_in_minutes: 30, enable_tcp_reset: true")
    )
    (idle,) = found(before, after, "idle timeout")
    told = ("lb1", "4 min, in silence", "30 min, both ends are reset", "outbound rule out")
    assert (idle.sender, idle.before.value, idle.after.value, idle.reason) == told
