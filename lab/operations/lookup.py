"""What an operation names: found, or refused with what was meant; and what it leaves, settled."""

import re
from collections.abc import Iterable
from typing import NoReturn, TypeVar

from lab.azure import cloud_services, public_ips
from lab.azure.model import (
    NAME,
    NAME_WORDS,
    PLATFORM_NETWORK,
    TITLE,
    TITLE_WORDS,
    CloudService,
    Endpoint,
    LocalNetwork,
    Network,
    Peering,
    ReservedIp,
    SecurityGroup,
    Subnet,
    VirtualIp,
    VirtualMachine,
    VirtualNetwork,
)
from lab.errors import Problem, did_you_mean
from lab.operations.base import Operation, Refused

_Named = TypeVar(
    "_Named", CloudService, LocalNetwork, Peering, ReservedIp, SecurityGroup, VirtualIp, VirtualMachine, VirtualNetwork
)


def refuse(operation: Operation, path: tuple[str, ...], found: str, must: str, advice: str) -> NoReturn:
    """Refuse an operation for one reason.

    Raises:
        Refused: always.

    """
    raise Refused(operation, [Problem(path=path, found=found, must=must, advice=advice)])


def name(operation: Operation, path: tuple[str, ...]) -> None:
    """Refuse an operation that makes something, the last of a path, without a name that a node or service may have.

    Raises:
        Refused: it has none.

    """
    if not re.fullmatch(NAME, path[-1]):
        refuse(operation, path[:-1], f'"{path[-1][:80]}"', NAME_WORDS, "choose another")


def title(operation: Operation, path: tuple[str, ...]) -> None:
    """Refuse an operation that makes something, the last of a path, without a name that other resources may have.

    Raises:
        Refused: it has none.

    """
    if not re.fullmatch(TITLE, path[-1]):
        refuse(operation, path[:-1], f'"{path[-1][:80]}"', TITLE_WORDS, "choose another")


def unused(
    operation: Operation,
    items: Iterable[_Named | Subnet],
    path: tuple[str, ...],
    must: str = "a name is given once",
) -> None:
    """Refuse an operation that makes something, the last of a path, if one of some resources has that name.

    Raises:
        Refused: one has it.

    """
    if path[-1] in [item.name for item in items]:
        refuse(operation, path, "is there already", must, "choose another")


def named(
    operation: Operation, items: Iterable[_Named], what: str, name: str, path: tuple[str, ...], of: str = "the lab"
) -> _Named:
    """Return the one of some resources that an operation names; ``what`` they are, and whose, is for the refusal.

    Raises:
        Refused: there is none of that name.

    """
    known = {item.name: item for item in items}
    if name not in known:
        _unknown(operation, path, what, name, known, of)
    return known[name]


def service(operation: Operation, network: Network, name: str) -> CloudService:
    """Return the cloud service that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    return named(operation, network.cloud_services, "cloud service", name, ("cloud_services",))


def endpoints(operation: Operation, owner: CloudService) -> None:
    """Refuse a service whose endpoints cannot be changed one by one, as those of virtual machines can.

    Raises:
        Refused: they are roles'.

    """
    if owner.roles:
        refuse(
            operation,
            ("cloud_services", owner.name, "endpoints"),
            f"endpoints of roles ({', '.join(role.name for role in owner.roles)})",
            "the endpoints of roles are in the service definition (.csdef), and a change of it takes a deployment "
            "upgrade (load-balancer-tcp-idle-timeout.md, 2016-10-24)",
            "change the file, then: lab up FILE",
        )


def virtual_ip(operation: Operation, owner: CloudService, name: str) -> VirtualIp:
    """Return the VIP that an operation names.

    Raises:
        Refused: the service has none of that name.

    """
    path = ("cloud_services", owner.name, "virtual_ips")
    return named(operation, owner.virtual_ips, "VIP", name, path, f'"{owner.name}"')


def virtual_machine(operation: Operation, network: Network, name: str) -> VirtualMachine:
    """Return the VM that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    return named(operation, network.virtual_machines, "virtual machine", name, ("virtual_machines",))


def service_of(operation: Operation, network: Network, vm: str) -> CloudService:
    """Return the cloud service of a VM whose endpoints an operation is about.

    Raises:
        Refused: there is no such VM, it is in no service, or it is an instance of a role.

    """
    virtual_machine(operation, network, vm)
    owner = network.service_of(vm)
    path = ("virtual_machines", vm)
    if owner is None:
        members = [name for s in network.cloud_services for name in s.virtual_machines]
        must = "endpoints are of VMs in a cloud service (Multiple VIPs, 2015-07-23)"
        refuse(operation, path, "in no cloud service", must, did_you_mean(vm, members))
    if owner.roles:
        must = (
            "endpoints of a role are in the service definition, whose change is an upgrade of the deployment "
            "(load-balancer-tcp-idle-timeout.md, 2016-10-24)"
        )
        advice = "change the file, then run `lab up FILE`"
        refuse(operation, path, f'an instance of a role of "{owner.name}"', must, advice)
    return owner


def endpoint(operation: Operation, owner: CloudService, vm: str, name: str) -> Endpoint:
    """Return the endpoint that an operation names.

    Raises:
        Refused: the VM has none of that name.

    """
    mine = {e.name: e for e in owner.endpoints if e.virtual_machine == vm}
    if name not in mine:
        path = ("cloud_services", owner.name, "endpoints")
        refuse(operation, path, f'no endpoint "{name}" of {vm}', f"it must name one of {vm}", did_you_mean(name, mine))
    return mine[name]


def load_balanced_set(operation: Operation, owner: CloudService, name: str) -> tuple[Endpoint, ...]:
    """Return the members of the load-balanced set that an operation names.

    Raises:
        Refused: the service has none of that name.

    """
    sets = owner.load_balanced_sets()
    if name not in sets:
        path = ("cloud_services", owner.name, "endpoints")
        _unknown(operation, path, "load-balanced set", name, sets, f'"{owner.name}"')
    return sets[name]


def virtual_network(operation: Operation, network: Network, name: str) -> VirtualNetwork:
    """Return the virtual network that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    return named(operation, network.virtual_networks, "virtual network", name, ("virtual_networks",))


def local_network(operation: Operation, network: Network, name: str) -> LocalNetwork:
    """Return the local network that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    return named(operation, network.local_networks, "local network", name, ("local_networks",))


def security_group(operation: Operation, network: Network, name: str) -> SecurityGroup:
    """Return the network security group that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    groups = network.network_security_groups
    return named(operation, groups, "network security group", name, ("network_security_groups",))


def subnet(operation: Operation, network: Network, reference: str) -> tuple[VirtualNetwork, Subnet]:
    """Return the subnet that an operation names, as ``NETWORK/SUBNET``.

    Raises:
        Refused: there is none of that name.

    """
    vnets = [v for v in network.virtual_networks if v.name != PLATFORM_NETWORK]
    known = {f"{v.name}/{s.name}": (v, s) for v in vnets for s in v.subnets}
    if reference not in known:
        _unknown(operation, ("virtual_networks",), "subnet", reference, known)
    return known[reference]


def reserved_ip(operation: Operation, network: Network, name: str) -> ReservedIp:
    """Return the reserved address that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    return named(operation, network.reserved_ips, "reserved IP", name, ("reserved_ips",))


def _unknown(
    operation: Operation, path: tuple[str, ...], what: str, name: str, known: Iterable[str], of: str = "the lab"
) -> NoReturn:
    refuse(operation, path, f'no {what} "{name}"', f"it must name one of {of}", did_you_mean(name, known))


def with_service(network: Network, made: CloudService) -> Network:
    """Return the network including a cloud service, with addresses given and given back as they must be.

    Raises:
        UsageError: there is no address left.

    """
    return settled(network.including(made))


def settled(network: Network) -> Network:
    """Return the network in which VIPs, and addresses of VMs' own, are given and given back as they must be.

    Raises:
        UsageError: there is no address left.

    """
    return public_ips.settled(cloud_services.settled(network))
