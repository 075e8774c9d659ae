"""Virtual network peerings: what two halves make, what is reached through them, and what is refused.

By virtual-network-manage-peering.md (2024-06-27) and virtual-network-peering-overview.md (2025-07-16). A network has a
half of its own for each other one. Two halves that name each other are one peering; it carries what is between the two
networks and nothing else: what is behind the other one is not reached through it.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations
from typing import Any, Literal

import msgspec

from lab.azure.model import LocalNetwork, Network, Peering, VirtualNetwork
from lab.errors import Problem

State = Literal["Initiated", "Connected", "Disconnected"]

_MANAGE = "virtual-network-manage-peering.md (2024-06-27)"
_OVERVIEW = "virtual-network-peering-overview.md (2025-07-16)"
#: Peerings of one network.
_MOST = 500


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A peering that is connected, as one of its networks has it."""

    own: Peering
    theirs: Peering
    remote: VirtualNetwork

    @property
    def is_open(self) -> bool:
        """Whether both networks let each other in."""
        return self.own.allow_virtual_network_access and self.theirs.allow_virtual_network_access

    @property
    def lends_gateway(self) -> bool:
        """Whether the other network's gateway is used through it."""
        return self.own.use_remote_gateways and self.theirs.allow_gateway_transit

    @property
    def gives_gateway(self) -> bool:
        """Whether the other network uses the gateway of this one."""
        return self.own.allow_gateway_transit and self.theirs.use_remote_gateways


def half(vnet: VirtualNetwork | None, remote: str) -> Peering | None:
    """Return the half that a network has of its peering with another one."""
    return next((p for p in vnet.peerings if p.remote_virtual_network == remote), None) if vnet else None


def state(network: Network, vnet: VirtualNetwork, peering: Peering) -> State:
    """Return the state of a half: alone it is Initiated, and Disconnected after the other half was deleted."""
    if peering.disconnected:
        return "Disconnected"
    other = half(network.vnet(peering.remote_virtual_network), vnet.name)
    return "Connected" if other is not None and not other.disconnected else "Initiated"


def links(network: Network, vnet: VirtualNetwork) -> tuple[Link, ...]:
    """Return the peerings of a network that are connected."""
    found = []
    for own in vnet.peerings:
        remote = network.vnet(own.remote_virtual_network)
        theirs = half(remote, vnet.name)
        if remote is not None and theirs is not None and state(network, vnet, own) == "Connected":
            found.append(Link(own=own, theirs=theirs, remote=remote))
    return tuple(found)


def link(network: Network, vnet: str, remote: str) -> Link | None:
    """Return the connected peering of two networks, as the first has it."""
    found = network.vnet(vnet)
    return next((one for one in links(network, found) if one.remote.name == remote), None) if found else None


def sites(network: Network, vnet: VirtualNetwork) -> tuple[LocalNetwork, ...]:
    """Return the local networks that a network reaches through another one's gateway."""
    lent = (one.remote.name for one in links(network, vnet) if one.lends_gateway)
    return tuple(site for name in lent for site in network.sites_of(name))


def users(network: Network, vnet: VirtualNetwork) -> tuple[VirtualNetwork, ...]:
    """Return the networks that use the gateway of a network."""
    return tuple(one.remote for one in links(network, vnet) if one.gives_gateway)


def tagged(network: Network, vnet: VirtualNetwork) -> tuple[IPv4Network, ...]:
    """Return what peerings add to the tag VirtualNetwork: the space of peers, unless access to them is off."""
    if not vnet.peerings:
        return ()
    spaces = (
        p for one in links(network, vnet) if one.own.allow_virtual_network_access for p in one.remote.address_space
    )
    return tuple(sorted({*spaces, *(p for site in sites(network, vnet) for p in site.address_space)}))


def reached(network: Network, vnet: VirtualNetwork) -> tuple[IPv4Network, ...]:
    """Return the ranges beside its own that a network has a route to: peers, and what is behind gateways."""
    found = {p for one in links(network, vnet) for p in one.remote.address_space}
    found |= {p for site in (*network.sites_of(vnet.name), *sites(network, vnet)) for p in site.address_space}
    return tuple(sorted(found))


def covers(network: Network, vnet: VirtualNetwork, prefix: IPv4Network) -> bool:
    """Tell whether a range is within the space of a peer, which then is reached through no gateway."""
    return any(prefix.subnet_of(space) for one in links(network, vnet) for space in one.remote.address_space)


def shown(network: Network, vnet: VirtualNetwork, peering: Peering) -> dict[str, Any]:
    """Return a half as Azure's list of peerings has it."""
    remote = network.vnet(peering.remote_virtual_network)
    return {
        "name": peering.name,
        "virtualNetwork": vnet.name,
        "remoteVirtualNetwork": peering.remote_virtual_network,
        "remoteAddressSpace": [str(prefix) for prefix in remote.address_space] if remote else [],
        "peeringState": state(network, vnet, peering),
        "allowVirtualNetworkAccess": peering.allow_virtual_network_access,
        "allowForwardedTraffic": peering.allow_forwarded_traffic,
        "allowGatewayTransit": peering.allow_gateway_transit,
        "useRemoteGateways": peering.use_remote_gateways,
    }


# --- what is refused --------------------------------------------------------------------------


def violations(network: Network) -> Iterator[Problem]:
    """Yield what peerings of a network must not be."""
    for vnet in network.virtual_networks:
        if vnet.peerings:
            yield from _one_each(vnet)
            yield from _overlaps(network, vnet)
            yield from _gateways(network, vnet)


def _path(vnet: VirtualNetwork, *more: str) -> tuple[str, ...]:
    return ("virtual_networks", vnet.name, "peerings", *more)


def _one_each(vnet: VirtualNetwork) -> Iterator[Problem]:
    for peering in vnet.peerings:
        if peering.remote_virtual_network == vnet.name:
            yield Problem(
                path=_path(vnet, peering.name, "remote_virtual_network"),
                found=f'"{vnet.name}" itself',
                must="a peering joins two virtual networks",
                advice="name another virtual network",
            )
    for remote, count in Counter(p.remote_virtual_network for p in vnet.peerings).items():
        if count > 1:
            yield Problem(
                path=_path(vnet),
                found=f'{count} peerings with "{remote}"',
                must=f"a virtual network has one peering with another one ({_MANAGE})",
                advice="remove all but one",
            )
    if len(vnet.peerings) > _MOST:
        yield Problem(
            path=_path(vnet),
            found=f"{len(vnet.peerings):,} peerings",
            must=f"a virtual network has at most {_MOST} peerings (azure-virtual-network-limits.md, 2022-12-05)",
            advice="remove some",
        )


def _overlaps(network: Network, vnet: VirtualNetwork) -> Iterator[Problem]:
    """Yield peers whose address spaces overlap the network's own, or those of another peer."""
    peers = [
        (p, remote) for p in vnet.peerings if (remote := network.vnet(p.remote_virtual_network)) and remote != vnet
    ]
    for peering, remote in peers:
        if shared := _shared(vnet, remote):
            yield Problem(
                path=_path(vnet, peering.name),
                found=f'the address spaces of "{vnet.name}" and "{remote.name}" overlap at {shared}',
                must=f"address spaces of peered virtual networks must not overlap ({_MANAGE})",
                advice="change the address space of one of the two",
            )
    for (_, first), (peering, second) in combinations(peers, 2):
        if first != second and (shared := _shared(first, second)):
            yield Problem(
                path=_path(vnet, peering.name),
                found=f'the address spaces of "{second.name}" and "{first.name}", peered with "{vnet.name}" as well, '
                f"overlap at {shared}",
                must=f"peers of one virtual network must not overlap ({_MANAGE}): "
                "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
                advice="change the address space of one of the two, or remove its peering",
            )


def _shared(one: VirtualNetwork, other: VirtualNetwork) -> IPv4Network | None:
    """Return the first range that two networks both have."""
    pairs = ((a, b) for a in one.address_space for b in other.address_space if a.overlaps(b))
    return next((max(pair, key=lambda prefix: prefix.prefixlen) for pair in pairs), None)


def _gateways(network: Network, vnet: VirtualNetwork) -> Iterator[Problem]:
    using = [p for p in vnet.peerings if p.use_remote_gateways]
    for peering in using:
        path = _path(vnet, peering.name, "use_remote_gateways")
        remote = peering.remote_virtual_network
        theirs = half(network.vnet(remote), vnet.name)
        if network.gateway(remote) is None:
            yield Problem(
                path=path,
                found=f'"{remote}" has no gateway',
                must=f"a remote gateway must be there to be used ({_MANAGE}): RemoteVnetHasNoGateways",
                advice=f'give "{remote}" a VPN gateway, or leave use_remote_gateways out',
            )
        elif theirs is not None and not theirs.allow_gateway_transit:
            yield Problem(
                path=path,
                found=f'peering "{theirs.name}" of "{remote}" has allow_gateway_transit: false',
                must=f"a remote gateway is used where the other half has allow_gateway_transit ({_MANAGE})",
                advice=f'set allow_gateway_transit in "{theirs.name}", or leave use_remote_gateways out',
            )
        if network.gateway(vnet.name) is not None:
            yield Problem(
                path=path,
                found=f'"{vnet.name}" has a gateway of its own',
                must=f"a virtual network uses its own gateway or a remote one ({_OVERVIEW})",
                advice="remove one of the two",
            )
    for peering in using[1:]:
        yield Problem(
            path=_path(vnet, peering.name, "use_remote_gateways"),
            found=f'"{using[0].name}" uses a remote gateway as well',
            must=f"one peering of a virtual network may use remote gateways ({_OVERVIEW})",
            advice="leave use_remote_gateways in one of the two",
        )
