"""Where the packets of a subnet go: system routes, those of its route table, and which of them are in force.

By virtual-networks-udr-overview.md (2023-05-27). The longest prefix wins; of equal ones a user's route goes before one
of a gateway, and that before a system route, which then is Invalid.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from lab.azure import peerings
from lab.azure.model import Network, RouteTable, Subnet, UserRoute, VirtualMachine, VirtualNetwork
from lab.errors import Problem

Source = Literal["Default", "User", "VirtualNetworkGateway"]
NextHopType = Literal["VnetLocal", "VNetPeering", "VirtualNetworkGateway", "VirtualAppliance", "Internet", "None"]

_UDR = "virtual-networks-udr-overview.md (2023-05-27)"
EVERYWHERE = IPv4Network("0.0.0.0/0")
#: What a virtual network sends nowhere unless it is of its own space (2023-05-27; four ranges).
NOWHERE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
#: Routes of one table.
_MOST = 400


class EffectiveRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route of a subnet; ``name``: of a user's.

    One that another overrides is not asked. One that is ``lost`` is, and leads to no appliance that is there.
    """

    source: Source
    prefix: IPv4Network
    next_hop_type: NextHopType
    next_hop: IPv4Address | None = None
    name: str = ""
    active: bool = True
    lost: bool = False

    @property
    def state(self) -> str:
        """As Azure prints it."""
        return "Active" if self.active and not self.lost else "Invalid"


def table(network: Network, subnet: Subnet) -> RouteTable | None:
    """Return the route table of a subnet."""
    return next((one for one in network.route_tables if one.name == subnet.route_table), None)


def answers_stray(network: Network, vnet: VirtualNetwork) -> bool:
    """Tell whether packets of a network may come where their answers do not go: its routers cannot tell by routes."""
    if any(subnet.route_table for subnet in vnet.subnets):
        return True
    forwarded = any(link.own.allow_forwarded_traffic for link in peerings.links(network, vnet))
    return forwarded or any(vm.enable_ip_forwarding for vm in network.running(vnet))


def appliance(network: Network, vnet: VirtualNetwork, address: IPv4Address) -> VirtualMachine | None:
    """Return the VM that a network reaches directly at a next hop: of its own, or of a peer."""
    near = {vnet.name, *(link.remote.name for link in peerings.links(network, vnet) if link.is_open)}
    vms = (vm for vm in network.virtual_machines if vm.virtual_network in near)
    return next((vm for vm in vms if vm.private_ip_address == address), None)


def effective(network: Network, vnet: VirtualNetwork, subnet: Subnet) -> tuple[EffectiveRoute, ...]:
    """Return all routes of a subnet, system routes first, as Azure lists them."""
    own = table(network, subnet)
    user = tuple(_user(network, vnet, route) for route in own.routes) if own else ()
    taken = {route.prefix for route in user}
    # A default route to an appliance or gateway takes the routes to nowhere away (the example of the page).
    led = any(r.prefix == EVERYWHERE and r.next_hop_type in ("VirtualAppliance", "VirtualNetworkGateway") for r in user)
    # Of system routes of one prefix the first is in force: what is near goes before what leads nowhere.
    found = [
        msgspec.structs.replace(route, active=route.prefix not in taken)
        for route in {route.prefix: route for route in reversed(list(_system(network, vnet, own)))}.values()
        if not (led and route.source == "Default" and route.next_hop_type == "None")
    ]
    return (*reversed(found), *user)


def _user(network: Network, vnet: VirtualNetwork, route: UserRoute) -> EffectiveRoute:
    hop = route.next_hop_ip_address
    return EffectiveRoute(
        source="User",
        prefix=route.address_prefix,
        next_hop_type=route.next_hop_type,
        next_hop=hop,
        name=route.name,
        lost=hop is not None and appliance(network, vnet, hop) is None,
    )


def _system(network: Network, vnet: VirtualNetwork, own: RouteTable | None) -> Iterator[EffectiveRoute]:
    def route(prefix: IPv4Network, kind: NextHopType) -> EffectiveRoute:
        return EffectiveRoute(source="Default", prefix=prefix, next_hop_type=kind)

    for prefix in vnet.address_space:
        yield route(prefix, "VnetLocal")
    for link in peerings.links(network, vnet):
        for prefix in link.remote.address_space:
            yield route(prefix, "VNetPeering")
    if own is None or not own.disable_bgp_route_propagation:
        lent = [link.remote.name for link in peerings.links(network, vnet) if link.lends_gateway]
        for name in (vnet.name, *lent):
            gateway = network.gateway(name)
            spaces = (prefix for site in network.sites_of(name) for prefix in site.address_space)
            for prefix in spaces if gateway is not None else ():
                if gateway is not None and not peerings.covers(network, vnet, prefix):
                    yield EffectiveRoute(
                        source="VirtualNetworkGateway",
                        prefix=prefix,
                        next_hop_type="VirtualNetworkGateway",
                        next_hop=gateway.address,
                    )
    yield route(EVERYWHERE, "Internet")
    for prefix in NOWHERE:
        # A space that is such a range, or holds it, has the route for it.
        if not any(prefix.subnet_of(space) for space in vnet.address_space):
            yield route(prefix, "None")


def chosen(routes: tuple[EffectiveRoute, ...], address: IPv4Address) -> EffectiveRoute:
    """Return the route that a packet to an address takes."""
    rank = {"User": 2, "VirtualNetworkGateway": 1, "Default": 0}
    matching = [route for route in routes if route.active and address in route.prefix]
    return max(matching, key=lambda route: (route.prefix.prefixlen, rank[route.source]))


def user_route(network: Network, vm: VirtualMachine, address: IPv4Address, subnet: str = "") -> EffectiveRoute | None:
    """Return the user's route, or the one to nowhere, that a VM's packets take; None: none does."""
    vnet = network.virtual_network(vm.virtual_network)
    home = next(one for one in vnet.subnets if one.name == (subnet or vm.subnet))
    if home.route_table is None:
        return None
    found = chosen(effective(network, vnet, home), address)
    return found if found.source == "User" or found.next_hop_type == "None" else None


def shown(route: EffectiveRoute) -> dict[str, object]:
    """Return a route in the fields of Azure's own answer."""
    return {
        "name": route.name or None,
        "source": route.source,
        "state": route.state,
        "addressPrefix": [str(route.prefix)],
        "nextHopType": route.next_hop_type,
        "nextHopIpAddress": [str(route.next_hop)] if route.next_hop else [],
    }


# --- what is refused --------------------------------------------------------------------------


def violations(network: Network) -> Iterator[Problem]:
    """Yield what route tables of a network must not be."""
    frontends = {frontend.address for _, frontend in network.private_frontends()}
    for one in network.route_tables:
        path = ("route_tables", one.name, "routes")
        if len(one.routes) > _MOST:
            yield Problem(
                path=path,
                found=f"{len(one.routes):,} routes",
                must=f"a route table has at most {_MOST} routes (azure-virtual-network-limits.md, 2022-12-05)",
                advice="remove some",
            )
        seen: dict[IPv4Network, str] = {}
        for route in one.routes:
            yield from _route((*path, route.name), route, frontends)
            other = seen.setdefault(route.address_prefix, route.name)
            if other != route.name:
                yield Problem(
                    path=(*path, route.name, "address_prefix"),
                    found=f'{route.address_prefix} is the prefix of "{other}" as well',
                    must=f"a route table has one route for a prefix ({_UDR})",
                    advice="remove one of the two",
                )
    for vnet in network.virtual_networks:
        for subnet in vnet.subnets:
            yield from _of_subnet(network, vnet, subnet)


def _route(path: tuple[str, ...], route: UserRoute, frontends: set[IPv4Address]) -> Iterator[Problem]:
    hop = route.next_hop_ip_address
    if (hop is None) == (route.next_hop_type == "VirtualAppliance"):
        yield Problem(
            path=(*path, "next_hop_ip_address"),
            found=f"{hop or 'no address'} with next_hop_type: {route.next_hop_type}",
            must=f"a route to a VirtualAppliance has the address of it, any other one has none ({_UDR})",
            advice="remove the address" if hop else "add the private address of the appliance",
        )
    elif hop in frontends:
        yield Problem(
            path=(*path, "next_hop_ip_address"),
            found=f"{hop} is a private frontend",
            must="the lab plays VMs as appliances, and no load balancer in front of them",
            advice="name the private address of a VM",
        )


def _of_subnet(network: Network, vnet: VirtualNetwork, subnet: Subnet) -> Iterator[Problem]:
    found = table(network, subnet)
    if found is None:
        return
    path = ("virtual_networks", vnet.name, "subnets", subnet.name, "route_table")
    lent = any(link.lends_gateway for link in peerings.links(network, vnet))
    for route in found.routes:
        if route.next_hop_type == "VirtualNetworkGateway" and network.gateway(vnet.name) is None and not lent:
            yield Problem(
                path=path,
                found=f'route "{route.name}" to a gateway, and "{vnet.name}" has none',
                must=f"a route to a VirtualNetworkGateway is for networks with a VPN gateway, or a lent one ({_UDR})",
                advice=f'give "{vnet.name}" a VPN gateway, or choose another table',
            )
    if subnet.name == "GatewaySubnet":
        yield Problem(
            path=path,
            found=f'route table "{found.name}" on GatewaySubnet',
            must="the lab plays route tables on subnets of VMs",
            advice="leave it out",
        )
