"""Private frontends of load balancers: where a file has them, and the addresses that their subnets give them."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

import msgspec

from lab.azure import model
from lab.errors import Problem, did_you_mean
from lab.topology.shape import PrivateFrontend, Topology
from lab.topology.text import Position

#: What stands for a VM's name where a subnet gives a frontend its address: it comes after all VMs.
_FRONTEND = "\uffff"


def _described(raw: Topology) -> Iterator[tuple[str, str, PrivateFrontend]]:
    for name, lb in raw.load_balancers.items():
        for frontend, described in lb.frontend_ip_configurations.items():
            if isinstance(described, PrivateFrontend):
                yield name, frontend, described


def wanted(raw: Topology, subnet: str) -> dict[tuple[str, str], IPv4Address | None]:
    """Return the frontends in a subnet, each with the address it asks for, beside the interfaces of VMs there."""
    return {
        (_FRONTEND, f"{name}/{frontend}"): described.private_ip_address
        for name, frontend, described in _described(raw)
        if described.subnet == subnet
    }


def given(addresses: Mapping[tuple[str, str], IPv4Address]) -> dict[str, IPv4Address]:
    """Return the addresses that frontends were given, by ``LOAD_BALANCER/FRONTEND``."""
    return {frontend: address for (vm, frontend), address in addresses.items() if vm == _FRONTEND}


def address_path(interface: tuple[str, str]) -> Position:
    """Return where a file has the private address of an interface or a frontend."""
    vm, name = interface
    if vm != _FRONTEND:
        return (*model.interface_path(vm, name), "private_ip_address")
    lb, frontend = name.split("/")
    return ("load_balancers", lb, "frontend_ip_configurations", frontend, "private_ip_address")


def placed(raw: Topology, lb: model.LoadBalancer, addresses: Mapping[str, IPv4Address]) -> model.LoadBalancer:
    """Return a load balancer with its private frontends; those that a subnet gave no address are left out."""
    found = [
        model.Frontend(
            name=frontend,
            address=addresses[f"{name}/{frontend}"],
            virtual_network=described.subnet.split("/")[0],
            subnet=described.subnet.split("/")[1],
        )
        for name, frontend, described in _described(raw)
        if name == lb.name and f"{name}/{frontend}" in addresses
    ]
    frontends = sorted((*lb.frontends, *found), key=lambda frontend: model.natural(frontend.name))
    there = {frontend.name for frontend in frontends}
    return msgspec.structs.replace(
        lb,
        frontends=tuple(frontends),
        load_balancing_rules=tuple(rule for rule in lb.load_balancing_rules if rule.frontend in there),
        inbound_nat_rules=tuple(rule for rule in lb.inbound_nat_rules if rule.frontend in there),
        outbound_rules=tuple(rule for rule in lb.outbound_rules if there.issuperset(rule.frontends)),
    )


def dangling(raw: Topology, subnets: Iterable[str], cut: frozenset[str]) -> Iterator[Problem]:
    """Yield private frontends in a subnet that is not there."""
    known = list(subnets)
    for name, frontend, described in _described(raw):
        parts = {described.subnet, *described.subnet.split("/")}
        if described.subnet not in known and not parts & cut:
            yield Problem(
                path=("load_balancers", name, "frontend_ip_configurations", frontend, "subnet"),
                found=f'no subnet "{described.subnet}"',
                must="it must name a subnet of this file",
                advice=did_you_mean(described.subnet, known),
            )
