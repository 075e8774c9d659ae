"""lab/azure/peerings.py: what two halves make, and what may be said of them; each refusal has its line."""

import pytest

from lab.azure import peerings, security_groups
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.operations.base import Refused, changed
from lab.operations.peering import CreatePeering, DeletePeering, SetPeering, Switches
from lab.plan import Route, Sysctl
from lab.topology import parse
from tests.unit.refusals import said

_FILE = """\
name: a
virtual_networks:
  hub: {{address_space: [10.0.0.0/16], subnets: {{GatewaySubnet: 10.0.255.0/27}}, peerings: {{{hub}}}}}
  spoke: {{address_space: [10.1.0.0/16], peerings: {{{spoke}}}}}
  third: {{address_space: [{third}], peerings: {{{of_third}}}}}
"""
_TUNNEL = """\
vpn_gateways: {hub: {routing: dynamic}}
local_networks:
  site: {address_space: [SPACE], vpn_gateway_address: 203.0.113.9}
connections: [{virtual_network: hub, local_network: site, shared_key: abc123}]
"""


def half(remote: str, more: str = "") -> str:
    return f"to-{remote}: {{remote_virtual_network: {remote}{', ' if more else ''}{more}}}"


def text(
    hub: str = half("spoke"),
    spoke: str = half("hub"),
    *,
    third: str = "10.2.0.0/16",
    of_third: str = "",
    more: str = "",
) -> str:
    return _FILE.format(hub=hub, spoke=spoke, third=third, of_third=of_third) + more


def network(file: str) -> Network:
    return parse(file, "f")


def states(found: Network) -> dict[str, str]:
    return {f"{v.name}/{p.name}": peerings.state(found, v, p) for v in found.virtual_networks for p in v.peerings}


def test_a_half_alone_is_initiated_and_two_are_connected() -> None:
    assert states(network(text(spoke=""))) == {"hub/to-spoke": "Initiated"}
    assert set(states(network(text())).values()) == {"Connected"}


def test_a_half_whose_other_half_was_deleted_is_disconnected_until_it_is_deleted() -> None:
    found = changed(network(text()), DeletePeering("spoke", "to-hub"))
    assert states(found) == {"hub/to-spoke": "Disconnected"}
    assert peerings.links(found, found.virtual_network("hub")) == ()
    with pytest.raises(Refused, match="RemotePeeringIsDisconnected"):
        changed(found, CreatePeering("spoke", "again", "hub"))
    again = changed(changed(found, DeletePeering("hub", "to-spoke")), CreatePeering("spoke", "again", "hub"))
    assert states(again) == {"spoke/again": "Initiated"}


def test_both_halves_are_deleted_as_the_portal_does_it() -> None:
    assert states(changed(network(text()), DeletePeering("spoke", "to-hub", both=True))) == {}


def test_an_operation_is_held_against_the_rules_of_files() -> None:
    found = network(text(third="10.1.128.0/17"))
    with pytest.raises(Refused, match="VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"):
        changed(found, CreatePeering("hub", "x", "third"))
    with pytest.raises(Refused, match="no peering"):
        changed(found, SetPeering("hub", "x", Switches(allow_gateway_transit=True)))
    with pytest.raises(Refused, match="is there already"):
        changed(found, CreatePeering("hub", "to-spoke", "third"))


def test_a_switch_changes_what_it_names_alone() -> None:
    found = changed(network(text()), SetPeering("hub", "to-spoke", Switches(allow_forwarded_traffic=True)))
    (own,) = found.virtual_network("hub").peerings
    assert (own.allow_forwarded_traffic, own.allow_virtual_network_access) == (True, True)


def test_the_tag_has_the_space_of_peers_that_have_access() -> None:
    found = network(text(hub=half("spoke", "allow_virtual_network_access: false")))
    assert list(map(str, security_groups.spaces(found, found.virtual_network("hub")))) == ["10.0.0.0/16"]
    spoke = security_groups.spaces(found, found.virtual_network("spoke"))
    assert list(map(str, spoke)) == ["10.1.0.0/16", "10.0.0.0/16"]


def routes(found: Network, place: str) -> dict[str, str | None]:
    return {r.destination: r.interface for r in compile_network(found).of(Route) if r.place == place}


def test_what_is_behind_a_lent_gateway_is_led_to_the_peer() -> None:
    lent = (half("spoke", "allow_gateway_transit: true"), half("hub", "use_remote_gateways: true"))
    found = network(text(*lent, more=_TUNNEL.replace("SPACE", "192.168.0.0/24")))
    assert routes(found, "router.spoke")["192.168.0.0/24"] == "router.hub"
    assert routes(found, "gw.hub")["10.1.0.0/16"] == "router.hub"
    assert "192.168.0.0/24" not in routes(network(text()), "router.spoke")
    tag = security_groups.spaces(found, found.virtual_network("spoke"))
    assert "192.168.0.0/24" in map(str, tag)


def test_a_peering_goes_before_a_tunnel_to_the_same_range() -> None:
    found = network(text(more=_TUNNEL.replace("SPACE", "10.1.0.0/16")))
    assert routes(found, "router.hub")["10.1.0.0/16"] == "router.spoke"


@pytest.mark.parametrize(("allowed", "value"), [("false", 1), ("true", 2)])
def test_sources_are_checked_loosely_only_where_forwarded_traffic_is_let_in(allowed: str, value: int) -> None:
    found = compile_network(network(text(hub=half("spoke", f"allow_forwarded_traffic: {allowed}"))))
    checks = {s.place: s.value for s in found.of(Sysctl) if s.key == "net.ipv4.conf.all.rp_filter"}
    assert (checks["router.hub"], checks["router.spoke"]) == (value, 1)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (text(hub=half("hub")), '"hub" itself; a peering joins two virtual networks'),
        (text(hub=half("nowhere")), 'no virtual network "nowhere"'),
        (
            text(hub=half("spoke") + ", again: {remote_virtual_network: spoke}"),
            '2 peerings with "spoke"; a virtual network has one peering with another one',
        ),
        (text(hub=half("third"), third="10.0.128.0/17"), 'spaces of "hub" and "third" overlap at 10.0.128.0/17'),
        (
            text(hub=f"{half('spoke')}, {half('third')}", third="10.1.0.0/16"),
            'peered with "hub" as well, overlap at 10.1.0.0/16',
        ),
        (text(spoke=half("hub", "use_remote_gateways: true")), '"hub" has no gateway'),
        (text(hub=half("spoke", "allow_virtual_network_access: maybe")), "allow_virtual_network_access"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(file: str, words: str) -> None:
    assert words in "\n".join(said(file))
