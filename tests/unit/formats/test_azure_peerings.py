"""Peerings of Azure's own files and of Terraform: halves in both networks, switches, and what is not played of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.azure import peerings, profile
from lab.azure.model import Network
from lab.formats import azure_files, azure_topology
from lab.topology.imported import playable

FIXTURE = Path(__file__).parents[2] / "fixtures" / "arm" / "vnet-peering"
_NETWORK = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network"


def _imported(*texts: str) -> tuple[Network, str]:
    read = azure_files.read([(Path(f"{number}.json"), text) for number, text in enumerate(texts)])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1], probes=True)
    text, network, now = playable(made, "case.lab.yaml")
    assert topology.parse(text, "case.lab.yaml") == network
    return network, "\n".join(f"{'warning' if one.warning else 'note'}: {one}" for one in now.left)


def _states(network: Network) -> dict[str, list[str]]:
    return {v.name: [peerings.state(network, v, p) for p in v.peerings] for v in network.virtual_networks}


def test_halves_that_a_template_has_as_resources_of_their_own_are_joined() -> None:
    network, left = _imported(*(file.read_text() for file in sorted(FIXTURE.glob("*.json"))))
    assert "warning" not in left, left
    assert set(map(tuple, _states(network).values())) == {("Connected",)}


def _vnet(name: str, number: int, *halves: dict[str, Any]) -> dict[str, Any]:
    listed = [{"name": f"half{n}", "properties": one} for n, one in enumerate(halves)]
    properties = {"addressSpace": {"addressPrefixes": [f"10.{number}.0.0/16"]}, "virtualNetworkPeerings": listed}
    return {"id": f"{_NETWORK}/virtualNetworks/{name}", "properties": properties}


def _to(name: str, **more: Any) -> dict[str, Any]:
    # What Azure prints of its own accord is beside the switches.
    printed = {"peeringState": "Connected", "peeringSyncLevel": "FullyInSync", "peerCompleteVnets": True}
    printed |= {"remoteAddressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "doNotVerifyRemoteGateways": False}
    return {"remoteVirtualNetwork": {"id": f"{_NETWORK}/VIRTUALNETWORKS/{name}"}, **printed, **more}


def test_switches_are_those_that_azure_printed() -> None:
    one = _vnet("one", 1, _to("two", allowVirtualNetworkAccess=False, allowForwardedTraffic=True))
    two = _vnet("two", 2, _to("one", allowVirtualNetworkAccess=True, allowGatewayTransit=False))
    network, left = _imported(json.dumps([one, two]))
    assert "warning" not in left, left
    halves = {v.name: v.peerings[0] for v in network.virtual_networks}
    assert (halves["one"].allow_virtual_network_access, halves["one"].allow_forwarded_traffic) == (False, True)
    assert (halves["two"].allow_virtual_network_access, halves["two"].allow_forwarded_traffic) == (True, False)


@pytest.mark.parametrize(
    ("half", "said", "kept"),
    [
        (_to("gone"), "is not in the topology: the two networks do not reach each other", 0),
        (_to("two", peeringState="Disconnected"), "a half that is disconnected", 0),
        (_to("two", peerCompleteVnets=False), "whole networks are peered, not subnets of them", 1),
        (_to("two", somethingNew=1), "no word for this property", 1),
    ],
)
def test_what_is_not_played_of_a_peering_is_told(half: dict[str, Any], said: str, kept: int) -> None:
    network, left = _imported(json.dumps([_vnet("one", 1, half), _vnet("two", 2)]))
    assert said in left
    assert len(network.virtual_networks[0].peerings) == kept


def test_peerings_of_a_terraform_plan_are_joined() -> None:
    def one(kind: str, name: str, **values: Any) -> dict[str, Any]:
        values |= {"name": name, "resource_group_name": "rg"}
        return {"address": f"{kind}.{name}", "mode": "managed", "type": kind, "name": name, "values": values}

    resources, said = [], []
    for number, (here, there) in enumerate((("one", "two"), ("two", "one"))):
        resources.append(one("azurerm_virtual_network", here, address_space=[f"10.{number}.0.0/16"]))
        switches = {"allow_virtual_network_access": True, "peer_complete_virtual_networks_enabled": True}
        peering = one("azurerm_virtual_network_peering", f"to-{there}", virtual_network_name=here, **switches)
        resources.append(peering)
        references = {"references": [f"azurerm_virtual_network.{there}.id", f"azurerm_virtual_network.{there}"]}
        said.append({**peering, "values": None, "expressions": {"remote_virtual_network_id": references}})
    plan = {
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": resources}},
        "configuration": {"root_module": {"resources": said}},
    }
    network, left = _imported(json.dumps(plan))
    assert "warning" not in left, left
    assert _states(network) == {"one": ["Connected"], "two": ["Connected"]}
