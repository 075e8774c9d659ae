"""lab/compile.py: the precedence of rules, and that no two claim one thing."""

from collections.abc import Iterable

import pytest

from lab import compile as compiling
from lab.azure.model import Network
from lab.errors import LabError
from lab.path import (
    cloud_service,
    floating_ip,
    health_probe,
    idle_timeout,
    instance_public_ip,
    internal_load_balancer,
    load_balancer,
    nat_gateway,
    outbound_idle,
    outbound_snat,
    peering,
    route_table,
    security_group,
    vpn_gateway,
    wiring,
)
from lab.plan import Address, Item, Jump, Namespace, Provenance, Route, Rule, Server, VethPair
from tests import worlds

_WHY = Provenance("test", "test")
_PLACE = Namespace(place="p", why=_WHY, role="vm")


def test_the_precedence_is_wiring_groups_tunnels_own_address_load_balancer_shared_address() -> None:
    wanted = [
        wiring.items,
        peering.items,
        route_table.items,
        security_group.items,
        vpn_gateway.items,
        cloud_service.items,
        nat_gateway.items,
        instance_public_ip.items,
        load_balancer.items,
        internal_load_balancer.items,
        floating_ip.items,
        idle_timeout.items,
        health_probe.items,
        outbound_idle.items,
        outbound_snat.items,
    ]
    assert [items for items, _ in compiling.RULES] == wanted


def test_every_line_of_the_precedence_says_why() -> None:
    assert all(reason for _, reason in compiling.RULES)


def test_a_vms_own_address_is_translated_before_any_shared_one() -> None:
    plan = compiling.compile(worlds.three_ways_out())
    order = [r.why.rule for r in plan.of(Rule) if (r.place, r.chain) == ("lb.v", "POSTROUTING")]
    assert order == ["instance_public_ip", *["outbound_snat"] * (len(order) - 1)]


def test_compiling_twice_gives_the_same_plan() -> None:
    assert compiling.compile(worlds.three_ways_out()) == compiling.compile(worlds.three_ways_out())


def test_members_that_are_down_change_inbound_rules_and_nothing_else() -> None:
    network = worlds.load_balanced(2)
    whole, less = compiling.compile(network), compiling.compile(network, frozenset({"lb1/alive/web1"}))
    changed = set(whole.items) ^ set(less.items)
    assert changed
    assert {(type(i), i.why.rule) for i in changed} == {(Rule, "load_balancer")}


@pytest.mark.parametrize(
    ("twice", "what"),
    [
        (_PLACE, "namespace p"),
        (VethPair(place="p", why=_WHY, interface="i", peer_place="p", peer_interface="j"), "interface p i"),
        (Address(place="p", why=_WHY, interface="lo", address="10.0.0.1"), "address p 10.0.0.1"),
        (Route(place="p", why=_WHY, destination="10.0.0.0/8"), "route p 10.0.0.0/8 None"),
        (Server(place="p", why=_WHY, node="n", kind="tcp", address="10.0.0.1", port=1, protocol="tcp"),
         "server p 10.0.0.1 1 tcp"),
        (Rule(place="p", why=_WHY, table="nat", chain="PREROUTING", target=Jump("c")), "chain p nat c"),
    ],
)  # fmt: skip
def test_two_rules_that_claim_one_thing_are_a_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch, twice: Item, what: str
) -> None:
    def items(_network: Network, _down: compiling.Down) -> Iterable[Item]:
        return [twice] if twice == _PLACE else [_PLACE, twice, twice]

    monkeypatch.setattr(compiling, "RULES", ((items, ""), (items, "")) if twice == _PLACE else ((items, ""),))
    with pytest.raises(LabError) as caught:
        compiling.compile(worlds.one_vm())
    assert str(caught.value) == f"plan: {what} is made 2 times; two rules claim it; report this"


def test_an_item_at_a_place_that_is_not_in_the_plan_is_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Route(place="nowhere", why=_WHY, destination="10.0.0.0/8")
    monkeypatch.setattr(compiling, "RULES", ((lambda _network, _down: [lost], ""),))
    with pytest.raises(LabError, match="at nowhere; every item's place must be in the plan; report this"):
        compiling.compile(worlds.one_vm())
