"""A peering is a wire between the routers of two virtual networks, and what may pass it.

Owns these wires, the routes to the spaces of peers and to what is behind their gateways, and the filter where a peering
enters and leaves a network. Routes are those of the peer's own ranges: what is behind a peer is not reached
(virtual-network-peering-overview.md, 2025-07-16: not transitive).

What comes from a peer must have a source of its space, or of a site behind the gateway that it lends, unless forwarded
traffic is allowed (virtual-network-manage-peering.md, 2024-06-27). The router then asks less of such a source than of
others (``wiring``): it cannot tell by its routes where that came from. Where access is off on either side, nothing
passes.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address

from lab.azure import peerings
from lab.azure.model import Network, VirtualNetwork
from lab.azure.peerings import Link
from lab.path import wiring
from lab.plan import CHAIN_MAX, Address, Item, Jump, Provenance, Route, Rule, Terminal, VethPair, short
from lab.plan import interface_to as to

_MANAGE = "virtual-network-manage-peering.md (2024-06-27)"
_OVERVIEW = "virtual-network-peering-overview.md (2025-07-16)"
_GLOBAL = f"{_OVERVIEW}: a Basic load balancer is not reached from another region"
#: Of the wires' ends: one for each network at the other end.
_FIRST_END = int(IPv4Address("169.254.128.0"))


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the wires of connected peerings, the routes by them, and their filters."""
    numbers = {vnet.name: number for number, vnet in enumerate(network.virtual_networks)}
    for vnet in network.virtual_networks:
        for link in peerings.links(network, vnet):
            if vnet.name < link.remote.name:
                yield _wire(vnet, link.remote)
            yield from _routes(network, vnet, link, _FIRST_END + numbers[link.remote.name])
            yield from _filter(network, vnet, link)


def _why(vnet: VirtualNetwork, link: Link, source: str, what: str = "") -> Provenance:
    return Provenance("peering", f"{vnet.name}/{link.own.name}{what}", source)


def _wire(one: VirtualNetwork, other: VirtualNetwork) -> VethPair:
    near, far = wiring.router(one), wiring.router(other)
    why = Provenance("peering", f"{one.name} and {other.name}", _OVERVIEW)
    return VethPair(place=near, interface=to(far), peer_place=far, peer_interface=to(near), why=why)


def _routes(network: Network, vnet: VirtualNetwork, link: Link, end: int) -> Iterator[Item]:
    here, wire = wiring.router(vnet), to(wiring.router(link.remote))
    yield Address(place=here, interface=wire, address=str(IPv4Address(end)), why=_why(vnet, link, _OVERVIEW))
    for prefix in link.remote.address_space:
        yield Route(place=here, destination=str(prefix), interface=wire, why=_why(vnet, link, _OVERVIEW))
    if link.lends_gateway:
        for site in network.sites_of(link.remote.name):
            for prefix in site.address_space:
                if not peerings.covers(network, vnet, prefix):
                    why = _why(vnet, link, _MANAGE, f", {site.name} by its gateway")
                    yield Route(place=here, destination=str(prefix), interface=wire, why=why)


def _filter(network: Network, vnet: VirtualNetwork, link: Link) -> Iterator[Item]:
    """Yield what may pass: it is asked of every packet, before security groups let through what they know."""
    here, wire = wiring.router(vnet), to(wiring.router(link.remote))

    def rule(chain: str, target: Terminal | Jump, why: Provenance, **match: str) -> Rule:
        return Rule(place=here, table="filter", chain=chain, target=target, why=why, **match)  # type: ignore[arg-type]

    if not link.own.allow_virtual_network_access:
        off = _why(vnet, link, _MANAGE, ", access is off")
        yield rule("FORWARD", Terminal("DROP"), off, in_interface=wire)
        yield rule("FORWARD", Terminal("DROP"), off, out_interface=wire)
        return
    if vnet.location != link.remote.location:
        yield from _basic_frontends(network, vnet, link, wire)
    if link.own.allow_forwarded_traffic:
        # The edge's wire has an address as well, so a foreign source would pass there, too.
        for prefix in link.remote.address_space:
            why = _why(vnet, link, _OVERVIEW, ", from no other side")
            edge = to(wiring.load_balancer(vnet))
            yield rule("FORWARD", Terminal("DROP"), why, in_interface=edge, source=str(prefix))
        return
    chain = short(f"peering/{link.own.name}", CHAIN_MAX)
    entry = _why(vnet, link, _MANAGE, ", what originates there")
    yield rule("FORWARD", Jump(chain), entry, in_interface=wire)
    sources = [*link.remote.address_space]
    if link.lends_gateway:
        sources += [prefix for site in network.sites_of(link.remote.name) for prefix in site.address_space]
    for prefix in sources:
        yield rule(chain, Terminal("RETURN"), entry, source=str(prefix))
    yield rule(chain, Terminal("DROP"), _why(vnet, link, _MANAGE, ", no forwarded traffic"))


def _basic_frontends(network: Network, vnet: VirtualNetwork, link: Link, wire: str) -> Iterator[Item]:
    """Yield what keeps the private frontends of Basic load balancers from networks of other regions."""
    for lb, frontend in network.private_frontends():
        if frontend.virtual_network == vnet.name and lb.sku == "Basic":
            yield Rule(
                place=wiring.router(vnet),
                table="raw",
                chain="PREROUTING",
                in_interface=wire,
                destination=f"{frontend.address}/32",
                target=Terminal("DROP"),
                why=_why(vnet, link, _GLOBAL, f", {lb.name}/{frontend.name}"),
            )
