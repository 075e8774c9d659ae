"""Rules with floating IP (direct server return): up to the VM the frontend's address stays the destination.

Its answers come from that address. Owns the way of such flows, which no address translation shows: the edge marks
what a rule is for, and routes it to the router instead of the blackhole; the router picks the member by the hash of the
flow, has the flow remember it, and routes to its wire. The guest must have the address on a loopback interface, or does
not know that it is meant (load-balancer-multivip-overview.md, 2016-08-11, rule type 2).

A flow that a guest opens from the frontend's address answers none: the router drops it as it drops any source
that is not the sender's own, and no load balancer translates it.
"""

from collections.abc import Iterator, Mapping
from itertools import chain as chained

from lab.azure.model import (
    InboundNatRule,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
    VirtualNetwork,
    natural,
)
from lab.flow import PortRange
from lab.path import distribution, marks, wiring
from lab.plan import (
    CHAIN_MAX,
    FlowMark,
    Item,
    Jump,
    Provenance,
    Route,
    RoutingRule,
    Rule,
    SetMark,
    Sysctl,
    Terminal,
    short,
)
from lab.plan import interface_to as to

_SOURCE = "load-balancer-multivip-overview.md (2016-08-11)"


def items(network: Network, down: frozenset[str]) -> Iterator[Item]:
    """Yield the way of every rule with floating IP."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    for vnet in network.virtual_networks:
        rules = [(lb, r) for lb in network.load_balancers_of(vnet) for r in lb.rules() if r.floating_ip]
        if not rules:
            continue
        yield from _shared(vnet)
        yield from dict.fromkeys(chained.from_iterable(_routes(vms, vnet, lb, rule) for lb, rule in rules))
        for lb, rule in rules:
            members = distribution.members(vms, lb, rule, down)
            if not lb.is_private(rule):
                yield from _at_edge(vnet, lb, rule, members)
            yield from _at_router(vnet, lb, rule, members)


def _shared(vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what all such rules of a virtual network need."""
    edge, inside = wiring.load_balancer(vnet), wiring.router(vnet)
    why = Provenance("floating_ip", f"frontends of {vnet.name} that VMs have themselves", _SOURCE)
    for place in (edge, inside):
        # The way back that the source is checked by is looked up as the answer will be.
        yield Sysctl(place=place, key="net.ipv4.conf.all.src_valid_mark", value=1, why=why)
    yield RoutingRule(place=edge, mark=marks.TO_ROUTER, mask=marks.FLOATING_MASK, table=marks.TO_ROUTER, why=why)
    yield Rule(
        place=inside, table="mangle", chain="PREROUTING", target=FlowMark("restore", marks.FLOATING_MASK), why=why
    )


def _routes(
    vms: Mapping[str, VirtualMachine], vnet: VirtualNetwork, lb: LoadBalancer, rule: LoadBalancingRule | InboundNatRule
) -> Iterator[Item]:
    """Yield the routes to a rule's frontend: at the edge to the router, there to each VM that may be picked.

    To VMs that have the address as well: one that has left the pool keeps its flows.
    """
    edge, inside = wiring.load_balancer(vnet), wiring.router(vnet)
    frontend = lb.frontend(rule.frontend)
    destination = f"{frontend.address}/32"
    why = Provenance("floating_ip", f"{lb.name}/{frontend.name}", _SOURCE)
    if not frontend.private:
        yield Route(
            place=edge,
            destination=destination,
            interface=to(inside),
            via=wiring.ROUTER_SIDE,
            table=marks.TO_ROUTER,
            why=why,
        )
    owners = {
        vm.name for vm in vms.values() if vm.virtual_network == vnet.name and frontend.address in vm.loopback_addresses
    }
    for name in sorted(owners | set(lb.targets(rule)), key=natural):
        mark = marks.to_vm(vms[name])
        own = Provenance("floating_ip", f"VM {name}", _SOURCE)
        yield RoutingRule(place=inside, mark=mark, mask=marks.FLOATING_MASK, table=mark, why=own)
        # What is for a VM that does not run is lost, and does not go back to where it came from.
        wire = to(name) if vms[name].power_state == "Started" else None
        yield Route(place=inside, destination=destination, interface=wire, table=mark, why=own)


def _at_edge(
    vnet: VirtualNetwork,
    lb: LoadBalancer,
    rule: LoadBalancingRule | InboundNatRule,
    members: tuple[VirtualMachine, ...],
) -> Iterator[Item]:
    edge, inside = wiring.load_balancer(vnet), to(wiring.router(vnet))
    address, port = f"{lb.frontend(rule.frontend).address}/32", PortRange(rule.frontend_port, rule.frontend_port)
    why = Provenance("floating_ip", f"{lb.name}/{rule.name}", _SOURCE)
    mark = SetMark(marks.TO_ROUTER, whole=True)
    yield Rule(
        place=edge,
        table="raw",
        chain="PREROUTING",
        destination=address,
        protocol=rule.protocol,
        destination_ports=port,
        target=mark,
        why=why,
    )
    yield Rule(
        place=edge,
        table="raw",
        chain="PREROUTING",
        in_interface=inside,
        source=address,
        protocol=rule.protocol,
        source_ports=port,
        target=mark,
        why=why,
    )
    if members:
        yield Rule(
            place=edge,
            table="filter",
            chain="FORWARD",
            out_interface=inside,
            destination=address,
            protocol=rule.protocol,
            destination_ports=port,
            ctstate="NEW",
            target=Terminal("ACCEPT"),
            why=why,
        )


def _at_router(
    vnet: VirtualNetwork,
    lb: LoadBalancer,
    rule: LoadBalancingRule | InboundNatRule,
    members: tuple[VirtualMachine, ...],
) -> Iterator[Item]:
    place = wiring.router(vnet)
    why = Provenance("floating_ip", f"{lb.name}/{rule.name}", _SOURCE)
    name = f"{lb.name}/{rule.name}" if rule.ports else f"{lb.name}/{rule.name}/{rule.protocol}"
    chain = short(name, CHAIN_MAX)
    yield Rule(
        place=place,
        table="mangle",
        chain="PREROUTING",
        # What is for a private frontend comes by any wire.
        in_interface=None if lb.is_private(rule) else to(wiring.load_balancer(vnet)),
        destination=f"{lb.frontend(rule.frontend).address}/32",
        protocol=rule.protocol,
        destination_ports=rule.ports,
        mark=0,
        mark_mask=marks.FLOATING_MASK,
        target=Jump(chain),
        why=why,
    )
    if not members:
        # Without a mark it would go back to where it came from.
        yield Rule(place=place, table="mangle", chain=chain, target=Terminal("DROP"), why=why)
        return
    if len(members) > 1:
        yield Rule(place=place, table="mangle", chain=chain, target=distribution.pick(rule, len(members)), why=why)
    for number, vm in enumerate(members, start=1):
        yield Rule(
            place=place,
            table="mangle",
            chain=chain,
            mark=number if len(members) > 1 else None,
            target=SetMark(marks.to_vm(vm), whole=True),
            why=Provenance("floating_ip", f"{lb.name}/{rule.name} to {vm.name}", _SOURCE),
        )
    yield Rule(place=place, table="mangle", chain=chain, target=FlowMark("save", marks.FLOATING_MASK), why=why)
