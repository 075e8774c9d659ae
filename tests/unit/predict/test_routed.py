"""lab/predict/routed.py: the way out of VMs whose route tables lead to an appliance, or nowhere."""

import pytest

from lab import topology
from lab.azure.model import Network
from lab.predict import explain, routed
from lab.predict.forecast import Service
from lab.predict.outbound import WayOut
from tests.rootlab import TOPOLOGIES

_TEXT = """\
name: led
profile: 2022-03
internet: {far: {address: 198.51.100.20, services: [http:80]}}
virtual_networks:
  v: {address_space: [10.1.0.0/16], subnets: {apps: {address_prefix: 10.1.0.0/24, route_table: t}, nva: 10.1.1.0/24}}
route_tables: {t: {routes: {all: {address_prefix: 0.0.0.0/0, next_hop_type: HOP}}}}
virtual_machines:
  app: {subnet: v/apps, instance_public_ip: {name: own, address: 203.0.113.50}}
  nva: {subnet: v/nva, private_ip_address: 10.1.1.4, enable_ip_forwarding: FORWARDS, masquerade: MASKS}
"""


def _network(hop: str, *, forwards: bool = True, masks: bool = True) -> Network:
    text = _TEXT.replace("HOP", hop).replace("FORWARDS", str(forwards).lower()).replace("MASKS", str(masks).lower())
    return topology.parse(text, "led.lab.yaml")


def _app(network: Network) -> WayOut:
    return {way.vm: way for way in routed.ways(network)}["app"]


_TO_NVA = "VirtualAppliance, next_hop_ip_address: 10.1.1.4"


def test_a_default_route_to_an_appliance_goes_before_a_public_ip_of_the_vms_own() -> None:
    network = _network(_TO_NVA)
    way, nva = _app(network), routed.ways(network)[1]
    assert (way.kind, way.addresses) == ("default outbound", nva.addresses)
    assert way.because.startswith("route `all` of subnet `v/apps` leads to nva, which passes it on")
    assert [found.way for found in way.considered][:1] == ["user-defined route"]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (_network("None"), "route all to None"),
        (_network("VirtualAppliance, next_hop_ip_address: 10.1.1.9"), "route all: no appliance at 10.1.1.9"),
        (_network(_TO_NVA, forwards=False, masks=False), "route all: no appliance at 10.1.1.4"),
        (_network(_TO_NVA, masks=False), "route all: nva keeps the source"),
    ],
)
def test_a_default_route_that_leads_to_no_way_out_leaves_none(network: Network, reason: str) -> None:
    assert (_app(network).kind, _app(network).supplies, _app(network).reason) == ("none", (), reason)


def test_a_default_route_to_the_internet_changes_nothing() -> None:
    assert _app(_network("Internet")).kind == "instance-level public IP"


def test_the_way_out_is_the_one_that_a_flow_takes() -> None:
    """Of the bundled network with route tables; one of its hosts has a route of its own, and is left out."""
    network = topology.load(TOPOLOGIES / "routes.lab.yaml")
    for way in routed.ways(network):
        found = explain.explain(network, way.vm, "api", Service("tcp", 80))
        seen = {end.address for end in found.hops[-1].packet.sources} if found.predicted.access == "Allow" else set()
        assert seen == set(way.addresses), way.vm
    by_appliance = [way for way in routed.ways(network) if way.reason == "route all to nva"]
    assert {supply.sharers for way in by_appliance for supply in way.supplies} == {len(by_appliance) + 1} == {4}
