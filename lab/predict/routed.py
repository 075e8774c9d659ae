"""The way out of every VM as route tables have it: by an appliance, or nowhere."""

from collections import Counter
from typing import Any

import msgspec

from lab.azure import routes
from lab.azure.model import Network, VirtualMachine
from lab.predict import documents
from lab.predict.outbound import ROUTE, Considered, Outbound, WayOut


def ways(network: Network) -> tuple[WayOut, ...]:
    """Return the way out of each VM, in the order of the file.

    A user's route for 0.0.0.0/0 decides before every other way; routes for a part of the internet are not told here.
    """
    outbound = Outbound(network)
    found = [_way(outbound, vm, ()) for vm in network.virtual_machines]
    led = Counter(last for _, last in found)
    return tuple(_shared(way, led[last]) if last else way for way, last in found)


def _shared(way: WayOut, led: int) -> WayOut:
    """Return the way of a VM that shares an appliance, and its ports, with the appliance and all that are led there."""
    supplies = tuple(
        msgspec.structs.replace(one, alone=False, sharers=led + (1 if one.alone else one.sharers))
        for one in way.supplies
    )
    return msgspec.structs.replace(way, supplies=supplies)


def _way(outbound: Outbound, vm: VirtualMachine, passed: tuple[str, ...]) -> tuple[WayOut, str]:
    """Return the way out of a VM, and the appliance that its flows leave by, "" if they leave by none.

    ``passed``: the VMs that they have been through before.
    """
    own = outbound.of(vm)
    led = _default_route(outbound.network, vm)
    if led is None or led.next_hop_type == "Internet" or vm.power_state == "Deallocated":
        return own, ""
    network, vnet = outbound.network, outbound.network.virtual_network(vm.virtual_network)
    name = f"route `{led.name}` of subnet `{vm.virtual_network}/{vm.subnet}`"
    found = routes.appliance(network, vnet, led.next_hop) if led.next_hop is not None else None
    if led.next_hop_type != "VirtualAppliance":
        because = f"{name} leads to {led.next_hop_type}, and not to the internet"
        return _led(own, because, f"route {led.name} to {led.next_hop_type}"), ""
    if found is None or not found.enable_ip_forwarding or found.name in (*passed, vm.name):
        because = f"{name} leads to {led.next_hop}, where no VM passes it on"
        return _led(own, because, f"route {led.name}: no appliance at {led.next_hop}"), ""
    if not found.masquerade:
        because = f"{name} leads to {found.name}, which passes it on with {vm.name}'s address: that leaves by no way"
        return _led(own, because, f"route {led.name}: {found.name} keeps the source"), ""
    there, last = _way(outbound, found, (*passed, vm.name))
    because = f"{name} leads to {found.name}, which passes it on with an address of its own; {there.because}"
    short = f"route {led.name} to {found.name}"
    supplies = tuple(msgspec.structs.replace(supply, bound_by=(short,)) for supply in there.supplies)
    return _led(own, because, short, kind=there.kind, supplies=supplies), last or found.name


def _default_route(network: Network, vm: VirtualMachine) -> routes.EffectiveRoute | None:
    """Return the user's route for all that no other route is for."""
    vnet = network.virtual_network(vm.virtual_network)
    subnet = next(one for one in vnet.subnets if one.name == vm.subnet)
    if subnet.route_table is None:
        return None
    found = routes.effective(network, vnet, subnet)
    return next((r for r in found if r.source == "User" and r.active and r.prefix == routes.EVERYWHERE), None)


def _led(own: WayOut, because: str, short: str, **changed: Any) -> WayOut:
    """Return the way of a VM whose flows a route leads; without ``changed`` they leave by none."""
    kind = changed.pop("kind", "none")
    taken = Considered(way=ROUTE, kind=kind, applies=True, because=because, document=documents.ROUTES, short=short)
    return msgspec.structs.replace(
        own,
        kind=kind,
        supplies=changed.get("supplies", ()),
        bound_by=(short,),
        because=because,
        document=documents.ROUTES,
        considered=(taken, *own.considered),
    )
