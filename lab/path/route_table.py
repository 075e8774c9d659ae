"""A route table leads what the VMs of its subnets send, before any other way is looked for.

Owns a table of routes for each subnet that has one, asked by the wire that a packet comes from, and what lets a VM pass
on what is not its own. A route of a user's goes before a system route of its prefix, the longest prefix before both:
what a system route decides is thrown back to the tables that are asked afterwards (virtual-networks-udr-overview.md,
2023-05-27). Route tables are asked for answers as well, whichever way the packet that they answer came.

Where answers may go another way than packets came, a router cannot tell by its routes where a source is, and asks less
of wires whose end has an address (``wiring``); a filter knows the sources of each VM's wire. Without IP forwarding
nothing that is for others is given to it (diagnose-network-routing-problem.md, 2018-05-30). To the internet leaves only
what has the appliance's own address. A packet for an appliance of a peer is led to it there by the same routes again.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from lab.azure import peerings, routes
from lab.azure.model import PLATFORM_ADDRESS, NatGateway, Network, Subnet, VirtualMachine, VirtualNetwork
from lab.azure.routes import EffectiveRoute
from lab.path import marks, wiring
from lab.plan import (
    CHAIN_MAX,
    NODE_INTERFACE,
    Address,
    Item,
    Jump,
    Policy,
    Provenance,
    Route,
    RoutingRule,
    Rule,
    SourceNat,
    Sysctl,
    Terminal,
    short,
)
from lab.plan import interface_to as to

_UDR = "virtual-networks-udr-overview.md (2023-05-27)"
_FORWARDING = "diagnose-network-routing-problem.md (2018-05-30)"
#: Asked before answers are led back to the load balancer, and after flows with floating IP.
_PRIORITY, _FIRST_TABLE = 1100, 1 << 17
#: Of the ends of appliances' wires.
_FIRST_END = int(IPv4Address("169.254.192.0"))


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the tables of subnets, and what appliances need."""
    number = 0
    for vnet in network.virtual_networks:
        if routes.answers_stray(network, vnet):
            yield from _sources(network, vnet)
        yield from _appliances(network, vnet)
        for subnet in vnet.subnets:
            number += 1
            if routes.table(network, subnet) is not None:
                yield from _subnet(network, vnet, subnet, _FIRST_TABLE + number)


def _why(vnet: VirtualNetwork, subnet: Subnet, route: EffectiveRoute | None = None) -> Provenance:
    name = f"/{route.name}" if route is not None and route.name else ""
    return Provenance("route_table", f"{vnet.name}/{subnet.name}: {subnet.route_table}{name}", _UDR)


def _subnet(network: Network, vnet: VirtualNetwork, subnet: Subnet, table: int) -> Iterator[Item]:
    here = wiring.router(vnet)
    found = [route for route in routes.effective(network, vnet, subnet) if route.active]
    for vm in network.running(vnet):
        for number, interface in enumerate(vm.network_interfaces):
            if interface.subnet == subnet.name:
                wire = to(wiring.wire(vm.name, number))
                why = _why(vnet, subnet)
                yield RoutingRule(place=here, in_interface=wire, table=table, priority=_PRIORITY, why=why)
    own = Provenance("route_table", f"{vnet.name}/{subnet.name}: the platform's address", _UDR)
    yield Route(place=here, destination=f"{PLATFORM_ADDRESS}/32", table=table, back=True, why=own)
    far: dict[str, VirtualNetwork] = {}
    for route in found:
        target = routes.appliance(network, vnet, route.next_hop) if route.next_hop and route.source == "User" else None
        if target is not None and target.virtual_network != vnet.name:
            far[target.virtual_network] = network.virtual_network(target.virtual_network)
        yield _at_home(network, vnet, subnet, route, target, table)
    for remote in far.values():
        # The peer's router finds its appliance by the same routes: only a packet of this subnet is asked there.
        there, wire = wiring.router(remote), to(here)
        source, why = str(subnet.address_prefix), _why(vnet, subnet)
        yield RoutingRule(place=there, source=source, in_interface=wire, table=table, priority=_PRIORITY, why=why)
        for route in found:
            hop = route.next_hop if route.source == "User" else None
            target = routes.appliance(network, vnet, hop) if hop else None
            mine = target if target is not None and target.virtual_network == remote.name else None
            yield _to_appliance(there, vnet, subnet, route, mine, table)


def _to_appliance(
    place: str, vnet: VirtualNetwork, subnet: Subnet, route: EffectiveRoute, target: VirtualMachine | None, table: int
) -> Route:
    """Return the way to an appliance at its own router; to one that forwards nothing there is none."""
    wire = to(target.name) if target is not None and forwards(target) else None
    return Route(
        place=place,
        destination=str(route.prefix),
        interface=wire,
        table=table,
        back=target is None,
        why=_why(vnet, subnet, route),
    )


def _at_home(
    network: Network,
    vnet: VirtualNetwork,
    subnet: Subnet,
    route: EffectiveRoute,
    target: VirtualMachine | None,
    table: int,
) -> Route:
    """Return a route at the subnet's own router."""
    here, why = wiring.router(vnet), _why(vnet, subnet, route)
    interface: str | None = None
    via: str | None = None
    back = False
    inside = any(route.prefix.subnet_of(p) for p in (*vnet.address_space, *peerings.reached(network, vnet)))
    match route.next_hop_type:
        case "VirtualAppliance" if target is not None and target.virtual_network == vnet.name:
            return _to_appliance(here, vnet, subnet, route, target, table)
        case "VirtualAppliance" if target is not None:
            interface = to(wiring.router(network.virtual_network(target.virtual_network)))
        case "Internet" if route.source == "User" and inside:
            interface, via = to(wiring.load_balancer(vnet)), wiring.LOAD_BALANCER_SIDE
        case "VirtualNetworkGateway" if route.source == "User":
            interface = _gateway(network, vnet)
        case "None" | "VirtualAppliance":
            pass
        case "VnetLocal":
            back = route.source == "Default" or any(route.prefix.subnet_of(p) for p in vnet.address_space)
        case _:
            back = True
    return Route(
        place=here, destination=str(route.prefix), interface=interface, via=via, table=table, back=back, why=why
    )


def _gateway(network: Network, vnet: VirtualNetwork) -> str | None:
    """Return the wire to a network's own gateway, or to the peer that lends one."""
    if network.gateway(vnet.name) is not None:
        return to(f"gw.{vnet.name}")
    lent = (link.remote for link in peerings.links(network, vnet) if link.lends_gateway)
    return next((to(wiring.router(remote)) for remote in lent), None)


def forwards(vm: VirtualMachine) -> bool:
    """Tell whether a VM is given what is for others, and passes it on."""
    return vm.enable_ip_forwarding and vm.power_state == "Started"


def _sources(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what keeps VMs from speaking with another's address, where a router cannot tell it by its routes.

    The end of a wire that has an address is one whose sources it checks loosely.
    """
    here, floating, end = wiring.router(vnet), network.floating(), _FIRST_END
    for vm in network.running(vnet):
        for number, interface in enumerate(vm.network_interfaces):
            end += 1
            wire = to(wiring.wire(vm.name, number))
            why = Provenance("route_table", f"sources of {wiring.wire(vm.name, number)}", _UDR)
            yield Address(place=here, interface=wire, address=str(IPv4Address(end)), why=why)
            if vm.enable_ip_forwarding and not number:
                continue
            chain = short(f"source/{wiring.wire(vm.name, number)}", CHAIN_MAX)
            rule = Rule(place=here, table="filter", chain=chain, target=Terminal("RETURN"), why=why)
            yield msgspec.structs.replace(rule, chain="FORWARD", in_interface=wire, target=Jump(chain))
            yield msgspec.structs.replace(rule, source=f"{interface.private_ip_address}/32")
            for address in floating.get(vm.name, ()) if not number else ():
                mark = {"mark": marks.to_vm(vm), "mark_mask": marks.FLOATING_MASK}
                yield msgspec.structs.replace(rule, source=f"{address}/32", **mark)
            yield msgspec.structs.replace(rule, target=Terminal("DROP"))


def _appliances(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what lets VMs pass on what is not their own."""
    here = wiring.router(vnet)
    outer = [to(wiring.load_balancer(vnet)), *(to(f"nat.{g.name}") for g in _nat_gateways(network, vnet))]
    for vm in (vm for vm in network.running(vnet) if vm.enable_ip_forwarding):
        why = Provenance("route_table", f"{vm.name} forwards", _FORWARDING)
        leaves = Provenance("route_table", f"{vm.name} to the internet: its own address alone", _UDR)
        chain = short(f"forwarded/{vm.name}", CHAIN_MAX)
        rule = Rule(place=here, table="filter", chain=chain, target=Terminal("RETURN"), why=leaves)
        for wire in outer:
            yield msgspec.structs.replace(
                rule, chain="FORWARD", in_interface=to(vm.name), out_interface=wire, target=Jump(chain)
            )
        yield msgspec.structs.replace(rule, source=f"{vm.private_ip_address}/32")
        yield msgspec.structs.replace(rule, target=Terminal("DROP"))
        values = {"ip_forward": 1, "conf.all.rp_filter": 0, "conf.default.rp_filter": 0, "conf.all.send_redirects": 0}
        for key, value in (values | {"conf.default.send_redirects": 0}).items():
            yield Sysctl(place=vm.name, key=f"net.ipv4.{key}", value=value, why=why)
        if vm.masquerade:
            yield from _masquerade(vm)


def _nat_gateways(network: Network, vnet: VirtualNetwork) -> list[NatGateway]:
    found = (network.nat_gateway_of(vnet.name, subnet.name) for subnet in vnet.subnets)
    return list(dict.fromkeys(gateway for gateway in found if gateway is not None))


def _masquerade(vm: VirtualMachine) -> Iterator[Item]:
    """Yield what gives forwarded packets to public addresses the appliance's own."""
    why = Provenance("route_table", f"{vm.name} masquerades", _UDR)
    yield Policy(place=vm.name, table="nat", chain="POSTROUTING", verdict="ACCEPT", why=why)
    rule = Rule(
        place=vm.name,
        table="nat",
        chain="POSTROUTING",
        out_interface=NODE_INTERFACE,
        target=SourceNat(str(vm.private_ip_address)),
        why=why,
    )
    for prefix in routes.NOWHERE:
        yield msgspec.structs.replace(rule, destination=str(prefix), target=Terminal("ACCEPT"))
    yield rule
