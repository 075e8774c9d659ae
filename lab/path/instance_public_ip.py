"""A VM with an instance-level public IP is translated 1:1, both ways, all ports, all protocols.

Owns the address's way to the VM, the VM's way out by it, and the names that lead to it: they are names under that of
the VM's cloud service, so without a service there are none. The source port stays as it is:
nothing is shared, so no SNAT port is used (Outbound connections, 2017-05-31, "VM with an instance-level public IP").
"""

from collections.abc import Iterator
from math import ceil

from lab.azure import public_ips
from lab.azure.model import Network, VirtualNetwork
from lab.path import outbound_idle, wiring
from lab.plan import CtTarget, DestinationNat, Item, Provenance, Rule, SourceNat, Terminal, Timeout

_SOURCE = "Outbound connections, 2017-05-31: VM with an instance-level public IP"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24): of what comes in"
_NAMES = "Instance level public IP, 2016-02-10: A records are created as for a service"


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield, for each VM with an address of its own, the routes to it and the two translations."""
    for vnet in network.virtual_networks:
        edge = wiring.load_balancer(vnet)
        yield from _idle(network, vnet)
        for vm in network.vms_of(vnet):
            if vm.instance_public_ip is None:
                continue
            why = Provenance("instance_public_ip", vm.name, _SOURCE)
            public, private = str(vm.instance_public_ip.address), str(vm.private_ip_address)
            yield from wiring.public_address(vnet, vm.instance_public_ip.address, why)
            yield Rule(
                place=edge,
                table="nat",
                chain="PREROUTING",
                destination=f"{public}/32",
                target=DestinationNat(private),
                why=why,
            )
            if network.nat_gateway_of(vnet.name, vm.subnet) is None:  # by which its own flows leave
                yield from _outward(edge, public, private, why)
            service = network.service_of(vm.name)
            if service is not None:
                why = Provenance("instance_public_ip", vm.name, _NAMES)
                label = vm.instance_public_ip.domain_name_label
                for name in public_ips.instance_names(service, vm.name, label):
                    yield from wiring.public_name(network, name, vm.instance_public_ip.address, why)


def _outward(edge: str, public: str, private: str, why: Provenance) -> Iterator[Item]:
    """Yield the way of flows that a VM opens."""
    yield Rule(
        place=edge,
        table="nat",
        chain="POSTROUTING",
        source=f"{private}/32",
        target=SourceNat(public),
        why=why,
    )
    # No SNAT port is asked for.
    yield Rule(
        place=edge,
        table="mangle",
        chain="PREROUTING",
        source=f"{private}/32",
        target=Terminal("ACCEPT"),
        why=why,
    )
    yield Rule(
        place=edge,
        table="filter",
        chain="FORWARD",
        source=f"{private}/32",
        ctstate="NEW",
        target=Terminal("ACCEPT"),
        why=why,
    )


def _idle(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield how long TCP flows to VMs' own addresses may be idle, where that is not what all other flows may."""
    scale, place = network.overrides.time_scale, wiring.load_balancer(vnet)
    made: dict[str, Timeout] = {}
    for vm in network.vms_of(vnet):
        own = vm.instance_public_ip
        if own is None:
            continue
        nominal_s = own.idle_timeout_min * 60
        by_default = nominal_s == network.profile.idle_timeout_s
        if by_default and not outbound_idle.differs(network, vnet):
            continue
        name = f"o{own.idle_timeout_min}"
        why = Provenance("instance_public_ip", f"addresses of {own.idle_timeout_min} min", _IDLE)
        made[name] = Timeout(place=place, name=name, seconds=ceil(nominal_s / scale), nominal_s=nominal_s, why=why)
        yield Rule(
            place=place,
            table="raw",
            chain="PREROUTING",
            destination=f"{own.address}/32",
            protocol="tcp",
            target=CtTarget(name),
            why=Provenance("instance_public_ip", f"{vm.name}, {own.idle_timeout_min} min", _IDLE),
        )
    yield from made.values()
