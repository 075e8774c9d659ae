"""Internal load balancers of Azure's own files: private frontends, HA ports, and what is not played of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.azure import profile
from lab.azure.model import Network
from lab.formats import azure_files, azure_topology
from lab.formats.azure_topology import Imported
from lab.predict.outbound import Outbound
from lab.topology.imported import playable

FIXTURE = Path(__file__).parents[2] / "fixtures" / "azure" / "ha-ports" / "azuredeploy.json"
_NETWORK = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network"
_VNET = f"{_NETWORK}/virtualNetworks/v"
_LB = f"{_NETWORK}/loadBalancers/lb"


def _imported(*texts: str) -> tuple[Network, Imported]:
    read = azure_files.read([(Path(f"{number}.json"), text) for number, text in enumerate(texts)])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1], probes=True)
    _, network, now = playable(made, "case.lab.yaml")
    return network, now


def test_ha_ports_of_a_template_are_a_rule_for_all_ports_of_both_protocols() -> None:
    network, made = _imported(FIXTURE.read_text())
    assert [line for line in made.left if line.warning] == []
    (balancer,) = network.load_balancers
    (frontend,) = balancer.frontends
    assert (str(frontend.address), frontend.virtual_network, frontend.subnet) == ("10.40.1.100", "hub", "trust")
    assert [(r.protocol, r.frontend_port, r.backend_port) for r in balancer.load_balancing_rules] == [
        ("tcp", 0, 0),
        ("udp", 0, 0),
    ]
    assert {r.load_distribution for r in balancer.load_balancing_rules} == {"SourceIP"}
    assert balancer.pools[0].members == ("nva1", "nva2")
    ways = {way.vm: way.kind for way in Outbound(network).all()}
    assert ways == {"nva1": "none", "nva2": "none", "client": "default outbound"}


def _resources(frontend: dict[str, Any], sku: str = "Standard", **rule: Any) -> str:
    """Return a VM behind a load balancer with one frontend and one rule."""
    subnet = f"{_VNET}/subnets/s"
    whole = {
        "frontendIPConfiguration": {"id": f"{_LB}/frontendIPConfigurations/f"},
        "backendAddressPool": {"id": f"{_LB}/backendAddressPools/p"},
        "protocol": "Tcp",
        "frontendPort": 80,
        "backendPort": 8080,
        **rule,
    }
    vnet = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    vnet["subnets"] = [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]  # type: ignore[assignment]
    balancer = {
        "frontendIPConfigurations": [{"name": "f", "properties": frontend}],
        "backendAddressPools": [{"name": "p"}],
        "loadBalancingRules": [{"name": "r", "properties": whole}],
    }
    part = {"subnet": {"id": subnet}, "loadBalancerBackendAddressPools": [{"id": f"{_LB}/backendAddressPools/p"}]}
    listed = [
        {"id": _VNET, "properties": vnet},
        {"id": _LB, "sku": {"name": sku}, "properties": balancer},
        {"id": f"{_NETWORK}/networkInterfaces/vm", "properties": {"ipConfigurations": [{"name": "c", **part}]}},
    ]
    return json.dumps(listed)


@pytest.mark.parametrize("sku", ["Basic", "Standard"])
@pytest.mark.parametrize("own", [{}, {"privateIPAddress": "10.0.0.77", "privateIPAllocationMethod": "Static"}])
def test_a_private_frontend_has_its_address_or_is_allocated_one(own: dict[str, str], sku: str) -> None:
    frontend = {"subnet": {"id": f"{_VNET}/subnets/S".upper()}, **own}
    network, made = _imported(_resources(frontend, sku))
    assert [line for line in made.left if line.warning] == []
    (one,) = network.load_balancers[0].frontends
    assert one.private
    assert str(one.address) == own.get("privateIPAddress", "10.0.0.5")
    assert [way.kind for way in Outbound(network).all()] == ["none" if sku == "Standard" else "default outbound"]


@pytest.mark.parametrize(
    ("frontend", "said"),
    [
        ({"subnet": {"id": f"{_VNET}/subnets/gone"}}, "/subnets/gone: it is not in the topology"),
        ({}, "neither a public IP nor a subnet of it is known"),
        ({"subnet": {"id": f"{_VNET}/subnets/s"}, "privateIPAddressVersion": "IPv6"}, "only IPv4 is played"),
        ({"publicIPPrefix": {"id": f"{_NETWORK}/publicIPPrefixes/x"}}, "neither a public IP nor a subnet"),
    ],
)
def test_a_frontend_that_is_not_played_is_told(frontend: dict[str, Any], said: str) -> None:
    network, made = _imported(_resources(frontend))
    assert network.load_balancers == ()
    assert any(said in str(line) and line.warning for line in made.left), made.left
    # A Standard load balancer takes the default way out from its VMs, even an internal one.
    assert any("load balancer" in line.found and line.way_out for line in made.left)


@pytest.mark.parametrize(
    ("sku", "rule", "said"),
    [
        ("Basic", {"protocol": "All", "frontendPort": 0, "backendPort": 0}, "only an internal Standard load balancer"),
        ("Standard", {"protocol": "Tcp", "frontendPort": 0, "backendPort": 0}, "no rule without a protocol"),
        ("Standard", {"protocol": "All"}, "an HA-ports rule has protocol: All and both ports 0"),
        ("Standard", {"protocol": "Esp"}, "no rule without a protocol"),
    ],
)
def test_a_rule_that_is_not_played_is_told(sku: str, rule: dict[str, Any], said: str) -> None:
    network, made = _imported(_resources({"subnet": {"id": f"{_VNET}/subnets/s"}}, sku, **rule))
    assert network.load_balancers[0].load_balancing_rules == ()
    assert any(said in str(line) and line.warning for line in made.left), made.left
