"""Route tables and peerings of a template."""

from lab.azure.model import PLATFORM_NETWORK, RouteTable, VirtualNetwork
from lab.formats.azure_template_parts import Body, Parts


def route_table(parts: Parts, table: RouteTable) -> None:
    """Add a route table."""
    location = parts.location_where(lambda subnet: subnet.route_table == table.name)
    routes = []
    for route in table.routes:
        body: Body = {"addressPrefix": str(route.address_prefix), "nextHopType": route.next_hop_type}
        if route.next_hop_ip_address is not None:
            body["nextHopIpAddress"] = str(route.next_hop_ip_address)
        routes.append({"name": parts.child("routes", table.name, route.name), "properties": body})
    properties = {"disableBgpRoutePropagation": table.disable_bgp_route_propagation, "routes": routes}
    parts.add("routeTables", table.name, location, properties)


def peerings(parts: Parts) -> None:
    """Add the halves of peerings: each waits for both of its networks."""
    for vnet in parts.network.virtual_networks:
        if vnet.name != PLATFORM_NETWORK:
            _of_network(parts, vnet)


def _of_network(parts: Parts, vnet: VirtualNetwork) -> None:
    own = parts.reference("virtualNetworks", vnet.name)
    version = next(one["apiVersion"] for one in parts.resources if one["type"] == "Microsoft.Network/virtualNetworks")
    for half in vnet.peerings:
        remote = parts.reference("virtualNetworks", half.remote_virtual_network)
        name = parts.child("virtualNetworkPeerings", vnet.name, half.name)
        parts.resources.append(
            {
                "type": "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
                "apiVersion": version,
                "name": f"{parts.name('virtualNetworks', vnet.name)}/{name}",
                "dependsOn": [own, remote],
                "properties": {
                    "remoteVirtualNetwork": {"id": remote},
                    "allowVirtualNetworkAccess": half.allow_virtual_network_access,
                    "allowForwardedTraffic": half.allow_forwarded_traffic,
                    "allowGatewayTransit": half.allow_gateway_transit,
                    "useRemoteGateways": half.use_remote_gateways,
                },
            }
        )
