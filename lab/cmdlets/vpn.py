"""VNet to VNet connection (2015-05-15) cmdlets: shared keys, gateways, connections.

And the network configuration file.
"""

from collections.abc import Iterable
from typing import Any

from lab.azure.model import GatewaySku, Routing
from lab.cmdlets.session import MODEL, CmdletSession, meant, named
from lab.formats import netcfg
from lab.operations.netcfg import ImportConfiguration
from lab.operations.vpn import BUILD_S, Connect, CreateGateway, DeleteGateway, SetKey
from lab.powershell.binding import Cmdlet, Given, Parameter
from lab.powershell.values import Thing, Value

_ROUTING: dict[str, Routing] = {"StaticRouting": "static", "DynamicRouting": "dynamic"}
_SKUS: dict[str, GatewaySku] = {
    "Basic": "Basic", "Default": "Standard", "Standard": "Standard", "HighPerformance": "HighPerformance",
}  # fmt: skip
_NETWORK = Parameter(name="VNetName", required=True, position=0)
_SITE = Parameter(name="LocalNetworkSiteName", required=True, position=1)
#: What Get-AzureVNetConnection shows of a tunnel (mt167479; dn620981), in its order.
_CONNECTION = (
    "ConnectivityState", "EgressBytesTransferred", "IngressBytesTransferred", "LastConnectionEstablished",
    "LastEventID", "LastEventMessage", "LastEventTimeStamp", "LocalNetworkSiteName",
)  # fmt: skip


def _answer(desk: CmdletSession) -> Thing:
    """Return the result of an operation on gateways (vpn-gateway-howto-vnet-vnet-portal-classic.md, 2023-10-06)."""
    return Thing(
        kind="Microsoft.WindowsAzure.Management.Network.Models.GatewayGetOperationStatusResponse",
        properties={
            "Error": None,
            "HttpStatusCode": "OK",
            "Id": str(desk.new_id()),
            "Status": "Successful",
            "RequestId": desk.new_id().hex,
            "StatusCode": "OK",
        },
    )


def _network(desk: CmdletSession, given: Given) -> str:
    return meant(given.text("VNetName"), [v.name for v in desk.network.virtual_networks])


def _site(desk: CmdletSession, given: Given) -> str:
    return meant(given.text("LocalNetworkSiteName"), [s.name for s in desk.network.local_networks])


def _set_key(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(SetKey(_network(desk, given), _site(desk, given), given.text("SharedKey")))
    return [_answer(desk)]


def _set_gateway(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(Connect(_network(desk, given), _site(desk, given), connect=given.flag("Connect")))
    return [_answer(desk)]


def _new_gateway(desk: CmdletSession, given: Given) -> Iterable[Value]:
    routing = _ROUTING[given.maybe("GatewayType") or "StaticRouting"]
    sku: GatewaySku = "Basic" if routing == "static" else "Standard"
    size = given.maybe("GatewaySKU")
    ready = desk.effects.now() + BUILD_S / desk.network.overrides.time_scale
    desk.perform(CreateGateway(_network(desk, given), routing, _SKUS[size] if size else sku, ready))
    return [_answer(desk)]


def _remove_gateway(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(DeleteGateway(_network(desk, given)))
    return [_answer(desk)]


def _reported(desk: CmdletSession, given: Given) -> Any:
    """Return what a gateway says of itself.

    Raises:
        UsageError: there is no such virtual network, or it has no gateway.

    """
    network = named("virtual network", given.text("VNetName"), [v.name for v in desk.network.virtual_networks])
    known = desk.effects.gateways()
    return known[named("gateway of", network, known, missing="NotProvisioned, HTTP 404")]


def _get_gateway(desk: CmdletSession, given: Given) -> Iterable[Value]:
    found = _reported(desk, given)
    event = found["LastEvent"]
    shown = {
        "GatewayType": found["GatewayType"],
        "State": found["State"],
        "VIPAddress": found["VipAddress"],
        "LastEventTimeStamp": event["Timestamp"],
        "LastEventID": event["Id"],
        "LastEventMessage": event["Message"],
        "LastEventData": event["Data"],
        "GatewaySKU": found["GatewaySKU"],
        "DefaultSite": found["DefaultSite"],
        **desk.operation("Get-AzureVNetGateway"),
    }
    return [
        Thing(
            kind=f"{MODEL}VirtualNetworkGatewayContext",
            properties=shown,
        )
    ]


def _get_connection(desk: CmdletSession, given: Given) -> Iterable[Value]:
    operation = desk.operation("Get-AzureVNetConnection")
    kind = f"{MODEL}GatewayConnectionContext"
    return [
        Thing(kind=kind, properties={**{name: connection[name] for name in _CONNECTION}, **operation})
        for connection in _reported(desk, given)["Connections"]
    ]


def _set_config(desk: CmdletSession, given: Given) -> Iterable[Value]:
    file = given.text("ConfigurationPath")
    desk.perform(ImportConfiguration(netcfg.read(desk.effects.read(file), file), file))
    return [desk.succeeded("Set-AzureVNetConfig")]


def _get_config(desk: CmdletSession, given: Given) -> Iterable[Value]:
    text = netcfg.write(desk.network)
    file = given.maybe("ExportToFile")
    if file is not None:
        desk.effects.write(file, text)
    kind = f"{MODEL}VirtualNetworkConfigContext"
    return [Thing(kind=kind, properties={"XMLConfiguration": text, **desk.operation("Get-AzureVNetConfig")})]


CMDLETS: tuple[Cmdlet[CmdletSession], ...] = (
    Cmdlet(
        name="Set-AzureVNetGatewayKey",
        parameters=(_NETWORK, _SITE, Parameter(name="SharedKey", required=True, position=2, is_secret=True)),
        run=_set_key,
    ),
    Cmdlet(
        name="Set-AzureVNetGateway",
        parameters=(
            Parameter(name="Connect", kind="switch", sets=("connect",), required=True),
            Parameter(name="Disconnect", kind="switch", sets=("disconnect",), required=True),
            _NETWORK,
            _SITE,
        ),
        run=_set_gateway,
    ),
    Cmdlet(
        name="New-AzureVNetGateway",
        parameters=(
            _NETWORK,
            Parameter(name="GatewayType", accepts=tuple(_ROUTING), position=1),
            Parameter(name="GatewaySKU", accepts=tuple(_SKUS)),
        ),
        run=_new_gateway,
    ),
    Cmdlet(name="Remove-AzureVNetGateway", parameters=(_NETWORK,), run=_remove_gateway),
    Cmdlet(name="Get-AzureVNetGateway", parameters=(_NETWORK,), run=_get_gateway),
    Cmdlet(name="Get-AzureVNetConnection", parameters=(_NETWORK,), run=_get_connection),
    Cmdlet(
        name="Set-AzureVNetConfig",
        parameters=(Parameter(name="ConfigurationPath", required=True, position=0),),
        run=_set_config,
    ),
    Cmdlet(
        name="Get-AzureVNetConfig",
        parameters=(Parameter(name="ExportToFile", position=0),),
        run=_get_config,
    ),
)
