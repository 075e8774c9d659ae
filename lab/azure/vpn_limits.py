"""What must hold of gateways, local networks and connections; every refusal with its source.

A part of ``invariants``, which yields what is yielded here.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from lab.azure.addresses import Overlaps, Ranges, crossing
from lab.azure.model import (
    GATEWAY_SUBNET,
    PLATFORM_SPACE,
    Connection,
    GatewaySku,
    LocalNetwork,
    Network,
    VirtualNetwork,
)
from lab.errors import Problem

_TUNNELS_2015 = "VNet to VNet connection, 2015-05-15, requirements"
_SKUS = "vpn-gateway-table-gwtype-legacy-aggtput-include.md"
_DNS_SERVERS = 20
_OVERLAP = f"address spaces of a virtual network and its local networks must not overlap ({_TUNNELS_2015})"
#: Tunnels of one gateway, other virtual networks and local sites counted together.
_TUNNELS: dict[GatewaySku, tuple[int, str]] = {
    "Basic": (10, _TUNNELS_2015),
    "Standard": (10, _TUNNELS_2015),
    "HighPerformance": (30, _SKUS),
}


def violations(network: Network) -> Iterator[Problem]:
    """Yield everything about tunnels that the documents or the lab do not allow."""
    for gateway in network.vpn_gateways:
        vnet = network.vnet(gateway.virtual_network)
        if vnet is not None and not any(s.name == GATEWAY_SUBNET for s in vnet.subnets):
            yield Problem(
                path=("vpn_gateways", vnet.name),
                found=f'"{vnet.name}" has no subnet "{GATEWAY_SUBNET}"',
                must="a gateway needs a subnet of that very name, /29 or larger (VNet to VNet connection, "
                "2015-05-15, add a gateway subnet)",
                advice=f"add one to the network's subnets, such as {GATEWAY_SUBNET}: {_suggestion(vnet)}",
            )
        if gateway.routing == "static" and gateway.sku != "Basic":
            yield Problem(
                path=("vpn_gateways", gateway.virtual_network, "sku"),
                found=f"static routing with {gateway.sku}",
                must=f"only a Basic gateway is policy-based ({_SKUS})",
                advice="use sku: Basic, or routing: dynamic",
            )
    for site in network.local_networks:
        yield from _local_network(site)
    for vnet in network.virtual_networks:
        yield from _connections(network, vnet)
        if len(vnet.dns_servers) > _DNS_SERVERS:
            yield Problem(
                path=("virtual_networks", vnet.name, "dns_servers"),
                found=f"{len(vnet.dns_servers)} servers",
                must=f"a virtual network has at most {_DNS_SERVERS} DNS servers (azure-subscription-service-limits.md)",
                advice="remove some",
            )


def change_violations(before: Network, after: Network) -> Iterator[Problem]:
    """Yield what a running network may not become."""
    for vnet in after.virtual_networks:
        old = before.vnet(vnet.name)
        if old is not None and old.location != vnet.location:
            yield Problem(
                path=("virtual_networks", vnet.name, "location"),
                found=f'"{vnet.location}", and the network that runs is in "{old.location}"',
                must="the location of a virtual network cannot be changed after it was created (VNet to VNet "
                "connection, 2015-05-15, create)",
                advice="keep it, or take the lab down first",
            )


def _suggestion(vnet: VirtualNetwork) -> IPv4Network:
    """Return a range of a virtual network that is free for a gateway: the last of its size, mostly."""
    space = vnet.address_space[0]
    length = max(27, min(29, space.prefixlen + 1))
    size = 1 << (32 - length)
    start, taken = int(space.broadcast_address) + 1 - size, Ranges(s.address_prefix for s in vnet.subnets)
    while start >= int(space.network_address):
        wanted = IPv4Network((start, length))
        if (other := taken.overlapping(wanted)) is None:
            return wanted
        start = min(start, int(other.network_address)) - size
    return space


def _local_network(site: LocalNetwork) -> Iterator[Problem]:
    path = ("local_networks", site.name)
    overlaps = Overlaps(site.address_space)
    for index, prefix in enumerate(site.address_space):
        where = (*path, "address_space", str(index))
        for before in overlaps.before(index):
            yield Problem(
                path=where,
                found=f"{prefix} overlaps {site.address_space[before]}",
                must="prefixes of one address space must not overlap",
                advice="remove one of the two",
            )
        if prefix.overlaps(PLATFORM_SPACE):
            yield Problem(
                path=where,
                found=f"{prefix} overlaps {PLATFORM_SPACE}, where VMs without a virtual network live",
                must=f"tunnels connect virtual networks and sites, not VMs or services outside them ({_TUNNELS_2015})",
                advice="place the VM in a virtual network",
            )
        if site.vpn_gateway_address in prefix:
            yield Problem(
                path=where,
                found=f"{prefix} holds the site's own VPN device address {site.vpn_gateway_address}",
                must="the device must be reachable without its tunnel",
                advice="choose a private range",
            )
    device = site.vpn_device
    if device is not None and not any(device.private_ip_address in prefix for prefix in site.address_space):
        yield Problem(
            path=(*path, "vpn_device", "private_ip_address"),
            found=f"{device.private_ip_address} is outside the site's prefixes",
            must="the host of a site has one of the site's addresses",
            advice="change the address, or leave it out to have one allocated",
        )


def _connections(network: Network, vnet: VirtualNetwork) -> Iterator[Problem]:
    mine = [(i, c) for i, c in enumerate(network.connections) if c.virtual_network == vnet.name]
    gateway = network.gateway(vnet.name)
    tunnels: dict[IPv4Address, Connection] = {}
    for _, connection in mine:
        tunnels.setdefault(network.local_network(connection.local_network).vpn_gateway_address, connection)
    sites = [network.local_network(connection.local_network) for connection in tunnels.values()]
    spaces = [(vnet.name, prefix) for prefix in vnet.address_space]
    spaces += [(site.name, prefix) for site in sites for prefix in site.address_space]
    overlaps, end = Overlaps([prefix for _, prefix in spaces]), len(vnet.address_space)
    for index, connection in mine:
        path = ("connections", str(index))
        site = network.local_network(connection.local_network)
        if (other := tunnels[site.vpn_gateway_address]) is not connection:
            yield Problem(
                path=path,
                found=f'"{vnet.name}" has a tunnel to {site.vpn_gateway_address} already, to "{other.local_network}"',
                must=f"redundant tunnels between a pair of networks are not supported ({_TUNNELS_2015})",
                advice="remove one of the two",
            )
            continue
        first, end = end, end + len(site.address_space)
        for one, before in ((i, b) for i in range(first, end) for b in overlaps.before(i) if b < first):
            owner_name, taken = spaces[before]
            yield Problem(
                path=path,
                found=f'{spaces[one][1]} of "{site.name}" overlaps {taken} of "{owner_name}"',
                must=_OVERLAP,
                advice="choose ranges that are apart",
            )
        yield from _far_gateway(network, vnet, connection, path)
    if gateway is None:
        return
    most, source = (1, _SKUS) if gateway.routing == "static" else _TUNNELS[gateway.sku]
    for index, connection in mine[most:]:
        what = "static routing" if gateway.routing == "static" else gateway.sku
        yield Problem(
            path=("connections", str(index)),
            found=f'tunnel {most + 1} of "{vnet.name}" ({what}), to "{connection.local_network}"',
            must=f"such a gateway has at most {most} ({source})",
            advice="remove connections, or use sku: HighPerformance, which has 30"
            if most == 10
            else "remove connections",
        )
        return


def _far_gateway(
    network: Network, vnet: VirtualNetwork, connection: Connection, path: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield what a tunnel between two virtual networks may not be."""
    site = network.local_network(connection.local_network)
    far = next((g for g in network.vpn_gateways if g.address == site.vpn_gateway_address), None)
    if far is None or far.virtual_network == vnet.name:
        # A site with the gateway's own address is allowed, and never connects: VNet to VNet connection, 2015-05-15,
        # mixed-up addresses.
        return
    for gateway in (network.gateway(vnet.name), far):
        if gateway is not None and gateway.routing == "static":
            yield Problem(
                path=path,
                found=f'the gateway of "{gateway.virtual_network}" has static routing',
                must=f"tunnels between virtual networks need dynamic routing on both sides ({_TUNNELS_2015})",
                advice=f"use vpn_gateways.{gateway.virtual_network}.routing: dynamic; in a lab that runs, "
                "delete the gateway and create it again, with another address",
            )
    peer = network.vnet(far.virtual_network)
    told = set(site.address_space)
    for prefix, other in crossing(vnet.address_space, peer.address_space if peer else ()):
        if other not in told:
            yield Problem(
                path=path,
                found=f'{prefix} of "{vnet.name}" overlaps {other} of "{far.virtual_network}"',
                must=_OVERLAP,
                advice="choose ranges that are apart",
            )
