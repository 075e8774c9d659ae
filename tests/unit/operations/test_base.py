"""lab/operations/base.py and lab/operations/: an operation makes another network, or is refused and changes nothing."""

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from lab.azure.model import Network, SecurityRule
from lab.operations import base
from lab.operations.base import Operation, Refused
from lab.operations.security_rule import AddRule, RemoveRule
from lab.operations.vpn import AddLocalNetwork, Connect, SetLocalNetwork
from tests import worlds

FAR = AddLocalNetwork("far", (IPv4Network("10.9.0.0/16"),), IPv4Address("5.4.3.2"))


def rule(name: str = "new", priority: int = 110, **more: object) -> SecurityRule:
    values = {"direction": "Inbound", "access": "Deny", "protocol": "Tcp", **more}
    return SecurityRule(name=name, priority=priority, **values)  # type: ignore[arg-type]


def names(network: Network, group: str = "front") -> list[str]:
    found = network.security_group(group)
    assert found is not None
    return [r.name for r in found.rules]


def test_a_rule_is_added_and_removed_and_nothing_else_changes() -> None:
    before = worlds.guarded()
    after = base.changed(before, AddRule("front", rule()))
    assert names(after) == [*names(before), "new"]
    assert msgspec.structs.replace(after, network_security_groups=before.network_security_groups) == before
    assert base.changed(after, RemoveRule("front", "new")) == before
    assert base.changed(after, RemoveRule("front", "NEW")) == before


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (
            AddRule("frnt", rule()),
            (
                'nsg rule add frnt new: network_security_groups: no network security group "frnt"; '
                'it must name one of the lab; did you mean "front"?'
            ),
        ),
        (
            RemoveRule("front", "allow-htpp"),
            (
                'nsg rule remove front allow-htpp: network_security_groups.front: no rule "allow-htpp"; '
                'it must name a rule of the group; did you mean "allow-http"?'
            ),
        ),
        (
            RemoveRule("front", "DenyAllInbound"),
            (
                'nsg rule remove front DenyAllInbound: network_security_groups.front: default rule "DenyAllInbound"; '
                "a default rule cannot be removed (security-overview.md (2018-07-20): default rules); "
                "override it by a rule with a lower priority"
            ),
        ),
        (
            RemoveRule("front", "AllowVNetInBound"),
            (
                "nsg rule remove front AllowVNetInBound: network_security_groups.front: default rule "
                '"AllowVnetInBound"; a default rule cannot be removed (security-overview.md (2018-07-20): default '
                "rules); override it by a rule with a lower priority"
            ),
        ),
        (
            AddRule("front", rule(priority=100)),
            (
                "nsg rule add front new: network_security_groups.front.2.priority: "
                '100 is also the priority of "allow-http", Inbound; '
                "a priority is unique in its direction (virtual-networks-nsg.md, 2016-02-11); "
                "choose a priority that is free"
            ),
        ),
    ],
)
def test_a_refusal_names_the_operation_the_rule_and_its_source(operation: Operation, said: str) -> None:
    before = worlds.guarded()
    with pytest.raises(Refused) as caught:
        base.changed(before, operation)
    assert str(caught.value) == said
    assert before == worlds.guarded()


def test_all_that_an_operation_breaks_is_said_at_once() -> None:
    with pytest.raises(Refused) as caught:
        base.changed(worlds.guarded(), AddRule("front", rule(name="Allow-HTTP", priority=99)))
    assert [problem.path[-1] for problem in caught.value.problems] == ["name", "priority"]


def test_what_an_operation_made_is_named_as_a_file_would_have_it() -> None:
    before = worlds.guarded()
    after = base.changed(before, AddRule("front", rule()))
    assert base.parts(after) - base.parts(before) == {"network_security_groups.front.rules.new"}
    assert base.parts(before) < base.parts(after)
    after = base.changed(before, FAR)
    (vnet,) = before.virtual_networks
    connected = base.changed(after, Connect(vnet.name, "far"))
    assert base.parts(connected) - base.parts(before) == {"local_networks.far", f"connections.{vnet.name} to far"}


def test_what_is_changed_is_not_made() -> None:
    before = base.changed(worlds.guarded(), FAR)
    after = base.changed(before, SetLocalNetwork("far", None, IPv4Address("5.4.3.3")))
    assert after != before
    assert base.parts(after) == base.parts(before)


def test_of_what_is_gone_with_what_holds_it_only_that_is_named() -> None:
    assert base.outermost(["a.b", "a.b.c", "a.bc", "a.b.d.e", "f.g"]) == ("a.b", "a.bc", "f.g")
