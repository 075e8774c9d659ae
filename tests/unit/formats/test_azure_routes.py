"""Peerings, route tables and appliances of Azure's files become those of a topology."""

import json
from pathlib import Path
from typing import Any

from lab.azure import peerings, profile
from lab.azure.model import Network
from lab.formats import azure_files, azure_topology
from lab.formats.azure_topology import Imported
from lab.topology.imported import playable

FIXTURES = Path(__file__).parents[2] / "fixtures" / "arm"
_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"


def _imported(texts: dict[str, str]) -> tuple[Network, Imported]:
    read = azure_files.read([(Path(name), text) for name, text in texts.items()])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1])
    return playable(made, "case.lab.yaml", azure_files.head("case"))[1], made


def _case(name: str) -> tuple[Network, Imported]:
    parts = ("azuredeploy.json", "azuredeploy.parameters.json")
    return _imported({part: (FIXTURES / name / part).read_text() for part in parts})


def _vnet(name: str, space: str, **peering: Any) -> dict[str, Any]:
    halves = [{"name": f"to-{remote}", "properties": {"remoteVirtualNetwork": {"id": f"{_ID}/virtualNetworks/{remote}"},
                                                     **more}} for remote, more in peering.items()]  # fmt: skip
    return {
        "id": f"{_ID}/virtualNetworks/{name}",
        "type": "Microsoft.Network/virtualNetworks",
        "name": name,
        "properties": {"addressSpace": {"addressPrefixes": [space]}, "virtualNetworkPeerings": halves},
    }


def test_a_quickstart_with_peerings_has_both_halves() -> None:
    network, _ = _case("vnet-peering")
    states = {peerings.state(network, vnet, half) for vnet in network.virtual_networks for half in vnet.peerings}
    assert states == {"Connected"}


def test_a_quickstart_with_an_appliance_is_led_through_it() -> None:
    network, made = _case("udr-appliance")
    led = [s.route_table for vnet in network.virtual_networks for s in vnet.subnets if s.route_table]
    assert led
    assert {table.name for table in network.route_tables} >= set(led)
    assert [vm.name for vm in network.virtual_machines if vm.enable_ip_forwarding]
    assert "routetables" not in "\n".join(str(line) for line in made.left if line.warning)


def test_a_route_without_a_word_is_left_out_and_warned_of() -> None:
    routes = [
        {"name": "tag", "properties": {"addressPrefix": "Storage", "nextHopType": "Internet"}},
        {"name": "shut", "properties": {"addressPrefix": "10.0.0.0/8", "nextHopType": "None"}},
    ]
    table = {
        "id": f"{_ID}/routeTables/t",
        "type": "Microsoft.Network/routeTables",
        "name": "t",
        "properties": {"routes": routes, "disableBgpRoutePropagation": True},
    }
    network, made = _imported({"r.json": json.dumps({"data": [table]})})
    (found,) = network.route_tables
    assert [route.name for route in found.routes] == ["shut"]
    assert found.disable_bgp_route_propagation
    assert [line.place for line in made.left if line.warning and "next hop has no word" in line.effect]
