"""The VPN gateways, sites and connections of a template; a shared key is a parameter without a value."""

from lab.azure.model import GATEWAY_SUBNET, LocalNetwork, VpnGateway
from lab.formats.azure_template_parts import Body, Parts


def add(parts: Parts) -> None:
    """Add the gateways, the sites, and the tunnels between them."""
    network = parts.network
    for gateway in network.vpn_gateways:
        _gateway(parts, gateway)
    for site in network.local_networks:
        _site(parts, site)
    #: Both ends of a tunnel have one key, so equal keys are one parameter.
    keys: dict[str, str] = {}
    for connection in network.connections:
        name = f"{connection.virtual_network}-to-{connection.local_network}"
        if network.gateway(connection.virtual_network) is None:
            told = f'virtual network "{connection.virtual_network}" has no gateway, which a connection of Azure needs'
            parts.left.append(f'connection "{name}": {told}')
            continue
        ends = (
            parts.reference("virtualNetworkGateways", connection.virtual_network),
            parts.reference("localNetworkGateways", connection.local_network),
        )
        properties: Body = {
            "connectionType": "IPsec",
            "virtualNetworkGateway1": {"id": ends[0], "properties": {}},
            "localNetworkGateway2": {"id": ends[1], "properties": {}},
        }
        if connection.shared_key is not None:
            key = keys.setdefault(connection.shared_key, f"sharedKey{len(keys) + 1}")
            parts.parameters.setdefault(key, {"type": "securestring"})
            properties["sharedKey"] = f"[parameters('{key}')]"
        parts.add("connections", name, parts.location(connection.virtual_network), properties, ends)


def _public_ip_of(vnet: str) -> str:
    return f"{vnet}-gateway"


def _gateway(parts: Parts, gateway: VpnGateway) -> None:
    home = gateway.virtual_network
    location = parts.location(home)
    basic = gateway.sku == "Basic"
    public = parts.public_ip(
        _public_ip_of(home), location, address=gateway.address, sku="Basic" if basic else "Standard"
    )
    subnet = parts.child_reference("virtualNetworks", "subnets", home, GATEWAY_SUBNET)
    configuration = {
        "privateIPAllocationMethod": "Dynamic",
        "subnet": {"id": subnet},
        "publicIPAddress": {"id": public},
    }
    properties: Body = {
        "gatewayType": "Vpn",
        "vpnType": "PolicyBased" if gateway.routing == "static" else "RouteBased",
        "sku": {"name": gateway.sku, "tier": gateway.sku},
        "ipConfigurations": [{"name": "default", "properties": configuration}],
    }
    depends = [public, parts.reference("virtualNetworks", home)]
    parts.add("virtualNetworkGateways", home, location, properties, depends)


def _site(parts: Parts, site: LocalNetwork) -> None:
    """Add a site; where a gateway of the template is its device, Azure is asked for that gateway's address."""
    users = [c.virtual_network for c in parts.network.connections if c.local_network == site.name]
    location = parts.location(users[0]) if users else parts.location_where(lambda _: True)
    other = next((g for g in parts.network.vpn_gateways if g.address == site.vpn_gateway_address), None)
    properties: Body = {
        "localNetworkAddressSpace": {"addressPrefixes": [str(prefix) for prefix in site.address_space]},
        "gatewayIpAddress": str(site.vpn_gateway_address),
    }
    depends: list[str] = []
    if other is not None:
        public = parts.reference("publicIPAddresses", _public_ip_of(other.virtual_network))
        properties["gatewayIpAddress"] = f"[reference({public[1:-1]}).ipAddress]"
        depends = [public, parts.reference("virtualNetworkGateways", other.virtual_network)]
    parts.add("localNetworkGateways", site.name, location, properties, depends)
