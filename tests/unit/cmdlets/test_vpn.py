"""VNet to VNet connection (2015-05-15) cmdlets over the operations of networks and gateways."""

import re

import pytest

from lab.cmdlets import runner
from lab.errors import LabError
from tests.unit.cmdlets.pure import PureLab

_NETWORKS = """\
name: a
virtual_networks:
  VNet1: {location: China North, address_space: [10.1.0.0/16], subnets: {GatewaySubnet: 10.1.255.0/27}}
  VNet2: {location: China East, address_space: [10.2.0.0/16], subnets: {GatewaySubnet: 10.2.255.0/27}}
local_networks:
  VNet1: {address_space: [10.1.0.0/16], vpn_gateway_address: 5.4.3.1}
  VNet2: {address_space: [10.2.0.0/16], vpn_gateway_address: 5.4.3.2}
connections:
  - {virtual_network: VNet1, local_network: VNet2}
  - {virtual_network: VNet2, local_network: VNet1}
vpn_gateways: {VNet1: {routing: dynamic}}
overrides: {time_scale: 60}
"""
_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_MESSAGE = "The connectivity state for the local network site 'VNet2' changed from Not Connected to Connected."
_ANSWER = rf"""Error          :
HttpStatusCode : OK
Id             : {_GUID}
Status         : Successful
RequestId      : [0-9a-f]{{32}}
StatusCode     : OK"""


@pytest.fixture
def lab() -> PureLab:
    return PureLab(_NETWORKS)


def keys(lab: PureLab) -> list[str | None]:
    return [c.shared_key for c in lab.made.connections]


@pytest.mark.parametrize("before", ["PS C:> ", "PS C:&gt; ", "````PS C:&gt; ", ""])
def test_the_keys_of_seed_003(lab: PureLab, before: str) -> None:
    after = "````" if before.startswith("`") else ""
    printed = lab.play(
        f"{before}Set-AzureVNetGatewayKey -VNetName VNet1 -LocalNetworkSiteName VNet2 -SharedKey A1b2C3D4{after}\n\n"
        f"{before}Set-AzureVNetGatewayKey -VNetName VNet2 -LocalNetworkSiteName VNet1 -SharedKey A1b2C3D4{after}\n"
    )
    assert re.fullmatch(f"{_ANSWER}\n\n{_ANSWER}", printed)
    assert keys(lab) == ["A1b2C3D4", "A1b2C3D4"]
    assert lab.operations == ["gateway key set VNet1 VNet2", "gateway key set VNet2 VNet1"]


def test_a_key_that_is_refused_is_not_shown(lab: PureLab) -> None:
    with pytest.raises(runner.Stopped) as stopped:
        lab.play("Set-AzureVNetGatewayKey VNet1 VNet2 -SharedKey not-a-key")
    assert "not-a-key" not in str(stopped.value)
    assert "a key of 9 characters, not shown here" in str(stopped.value)
    assert stopped.value.exit_code == 2


def test_a_gateway_is_made_disconnected_connected_and_removed(lab: PureLab) -> None:
    lab.play(
        "New-AzureVNetGateway -VNetName vnet2 -GatewayType DynamicRouting -GatewaySKU HighPerformance\n"
        "Set-AzureVNetGateway -Disconnect -LocalNetworkSiteName VNET2 -VNetName VNET1\n"
    )
    gateway = lab.made.gateway("VNet2")
    assert gateway is not None
    assert (gateway.routing, gateway.sku, gateway.ready_at) == ("dynamic", "HighPerformance", 1000.0 + 15 * 60 / 60)
    assert [c.connect for c in lab.made.connections] == [False, True]
    lab.play("Set-AzureVNetGateway -Connect VNet1 VNet2; Remove-AzureVNetGateway VNet2; New-AzureVNetGateway VNet2\n")
    gateway = lab.made.gateway("VNet2")
    assert gateway is not None
    assert (gateway.routing, gateway.sku) == ("static", "Basic")
    assert [c.connect for c in lab.made.connections] == [True, True]


def test_an_error_says_what_was_done_before_it_and_is_kept(lab: PureLab) -> None:
    with pytest.raises(runner.Stopped) as stopped:
        lab.play("Set-AzureVNetGateway -Disconnect VNet1 VNet2\nNew-AzureVNetGateway -VNetName VNet1\n")
    assert str(stopped.value) == (
        "s.ps1:2:1: New-AzureVNetGateway: gateway create VNet1: vpn_gateways.VNet1: is there already; a network has "
        "one gateway, created when NotProvisioned (HTTP 409); "
        "its routing cannot be changed; delete it first, and lose its address: lab gateway delete a VNet1\n"
        "done before it, and kept: gateway disconnect VNet1 VNet2"
    )
    with pytest.raises(runner.Stopped, match=r"\nnothing was changed$"):
        lab.play("New-AzureVNetGateway -VNetName VNet1\n")


def test_what_is_shown_of_a_gateway_and_its_connections(lab: PureLab) -> None:
    event = {"Timestamp": "2026-01-02T03:04:05Z", "Id": 23401, "Message": "changed", "Data": ""}
    lab.reported["VNet1"] = {
        "GatewayType": "DynamicRouting", "State": "Provisioned", "VipAddress": "203.0.113.1", "GatewaySKU": "Standard",
        "DefaultSite": "", "LastEvent": event,
        "Connections": [
            {
                "ConnectivityState": "Connected", "EgressBytesTransferred": 661530, "IngressBytesTransferred": 519207,
                "LastConnectionEstablished": "2026-01-02T03:04:05Z", "LastEventID": 23401,
                "LastEventMessage": _MESSAGE,
                "LastEventTimeStamp": "2026-01-02T03:04:05Z", "LocalNetworkSiteName": "VNet2", "Reason": "",
            }
        ],
    }  # fmt: skip
    assert re.fullmatch(
        rf"""ConnectivityState         : Connected
EgressBytesTransferred    : 661530
IngressBytesTransferred   : 519207
LastConnectionEstablished : 2026-01-02T03:04:05Z
LastEventID               : 23401
LastEventMessage          : {_MESSAGE}
LastEventTimeStamp        : 2026-01-02T03:04:05Z
LocalNetworkSiteName      : VNet2
OperationDescription      : Get-AzureVNetConnection
OperationId               : {_GUID}
OperationStatus           : Succeeded""",
        lab.play("Get-AzureVnetConnection -VNetName VNET1"),
    )
    assert lab.play("$g = Get-AzureVNetGateway VNet1\n$g.State, $g.VIPAddress, $g.GatewayType, $g.LastEventID") == (
        "Provisioned\n203.0.113.1\nDynamicRouting\n23401"
    )
    for cmdlet in ("Get-AzureVNetGateway", "Get-AzureVNetConnection"):
        with pytest.raises(LabError, match='no gateway of "VNet2"; NotProvisioned, HTTP 404'):
            lab.play(f"{cmdlet} VNet2")
        with pytest.raises(LabError, match='no virtual network "VNet3"; it must be one of the lab'):
            lab.play(f"{cmdlet} VNet3")


def test_a_configuration_goes_out_and_comes_back(lab: PureLab) -> None:
    before = lab.made
    printed = lab.play("Get-AzureVNetConfig -ExportToFile a.xml\nSet-AzureVNetConfig -ConfigurationPath a.xml")
    assert lab.files["a.xml"].startswith("<?xml")
    assert lab.made == before
    first, second = printed.split("\n\n")
    assert first.splitlines()[2].startswith('<?xml version="1.0" encoding="utf-8"?>... Get-AzureVNetConfig')
    assert re.fullmatch(
        "OperationDescription OperationId {26}OperationStatus\n-{20} -{11} {26}-{15}\n"
        rf"Set-AzureVNetConfig  {_GUID} Succeeded",
        second,
    )
    lab.files["bad.xml"] = "<a/>"
    with pytest.raises(runner.Stopped, match=r"bad\.xml: a; the root is NetworkConfiguration"):
        lab.play("Set-AzureVNetConfig bad.xml")
