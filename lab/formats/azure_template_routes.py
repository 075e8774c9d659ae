"""Route tables of a template."""

from lab.azure.model import RouteTable
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
