"""Random rules: two evaluations of them agree, and a rule is called shadowed if and only if nothing is left to it."""

from ipaddress import IPv4Address
from itertools import product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.azure import security_groups as groups
from lab.azure.model import Network, SecurityGroup, SecurityRule
from lab.flow import PortRange
from lab.verify.claims.kit import nsg_oracle
from tests import worlds

_SOURCES = (
    "VirtualNetwork",
    "AzureLoadBalancer",
    "Internet",
    "10.1.0.0/24",
    "10.1.1.4/32",
    "198.51.100.0/24",
    "0.0.0.0/1",
)
_RANGES = tuple(PortRange(*ends) for ends in ((80, 80), (0, 80), (81, 443), (81, 65535), (443, 443)))
_ADDRESSES = (
    "10.1.1.4",
    "10.1.1.5",
    "10.1.0.9",
    "168.63.129.16",
    "198.51.100.30",
    "8.8.8.8",
    "200.1.1.1",
    "198.51.101.1",
)
_PORTS = (1, 80, 81, 442, 443, 444, 65535)
_OWN = "10.1.0.4"


@st.composite
def _rules(draw: st.DrawFn) -> tuple[SecurityRule, ...]:
    priorities = draw(st.permutations(range(100, 106)))[: draw(st.integers(0, 6))]
    return tuple(
        SecurityRule(
            name=f"r{priority}",
            priority=priority,
            direction="Inbound",
            access=draw(st.sampled_from(("Allow", "Deny"))),
            protocol=draw(st.sampled_from(("*", "Tcp", "Udp"))),
            sources=tuple(draw(st.lists(st.sampled_from(_SOURCES), max_size=2))),
            destination_ports=tuple(draw(st.lists(st.sampled_from(_RANGES), max_size=2))),
        )
        for priority in priorities
    )


def _with(rules: tuple[SecurityRule, ...]) -> Network:
    group = (SecurityGroup(name="front", rules=rules),)
    return msgspec.structs.replace(worlds.guarded(), network_security_groups=group)


@settings(max_examples=60, deadline=None)
@given(_rules())
def test_the_claims_and_the_forecast_say_the_same_of_a_flow_without_knowing_each_other(
    rules: tuple[SecurityRule, ...],
) -> None:
    network = _with(rules)
    web = network.vm("web")
    assert web is not None
    kinds: tuple[groups.Protocol, ...] = ("tcp", "udp", "icmp")
    for protocol, source, port in product(kinds, _ADDRESSES, _PORTS):
        asked = groups.Packet(
            protocol=protocol,
            source=IPv4Address(source),
            source_port=40000,
            destination=IPv4Address(_OWN),
            destination_port=0 if protocol == "icmp" else port,
        )
        (forecast,) = groups.Groups(network).decisions(web, "Inbound", asked)
        (restated,) = nsg_oracle.answers(network, web, "Inbound", protocol, source, port)
        assert (forecast.priority, forecast.access == "Allow") == (restated.priority, restated.allows), asked


@settings(max_examples=60, deadline=None)
@given(_rules())
def test_a_rule_is_shadowed_if_and_only_if_it_decides_about_nothing(rules: tuple[SecurityRule, ...]) -> None:
    """Every set of flows that the rules tell apart has one of these packets."""
    network = _with(rules)
    web = network.vm("web")
    assert web is not None
    kinds: tuple[groups.Protocol, ...] = ("tcp", "udp", "icmp", "other")
    deciding = {
        groups.Groups(network)
        .decisions(
            web,
            "Inbound",
            groups.Packet(
                protocol=protocol,
                source=IPv4Address(source),
                source_port=40000,
                destination=IPv4Address(destination),
                destination_port=port,
            ),
        )[0]
        .rule
        for protocol, source, destination, port in product(kinds, _ADDRESSES, (_OWN, "200.1.1.1"), (*_PORTS, 0))
    }
    inbound = [e for e in groups.Groups(network).effective(web) if e.direction == "Inbound"]
    assert {e.rule.name for e in inbound if not e.shadowed_by} == deciding
