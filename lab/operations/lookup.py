"""What an operation names: found, or refused with what was meant; and what it leaves, settled."""

import re
from collections.abc import Iterable
from typing import NoReturn

import msgspec

from lab.azure import cloud_services, public_ips
from lab.azure.model import (
    NAME,
    NAME_WORDS,
    PLATFORM_NETWORK,
    TITLE,
    TITLE_WORDS,
    CloudService,
    Endpoint,
    Network,
    ReservedIp,
    Subnet,
    VirtualIp,
    VirtualMachine,
    VirtualNetwork,
)
from lab.errors import Problem, did_you_mean
from lab.operations.base import Operation, Refused


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


def service(operation: Operation, network: Network, name: str) -> CloudService:
    """Return the cloud service that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    found = network.cloud_service(name)
    if found is None:
        known = [s.name for s in network.cloud_services]
        _unknown(operation, ("cloud_services",), "cloud service", name, known)
    return found


def endpoints(operation: Operation, owner: CloudService) -> None:
    """Go on only if endpoints of a service can be changed one by one: those of virtual machines.

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
    found = owner.virtual_ip(name)
    if found is None:
        path = ("cloud_services", owner.name, "virtual_ips")
        _unknown(operation, path, "VIP", name, [v.name for v in owner.virtual_ips])
    return found


def virtual_machine(operation: Operation, network: Network, name: str) -> VirtualMachine:
    """Return the VM that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    found = network.vm(name)
    if found is None:
        known = [vm.name for vm in network.virtual_machines]
        _unknown(operation, ("virtual_machines",), "virtual machine", name, known)
    return found


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
    mine = [e for e in owner.endpoints if e.virtual_machine == vm]
    found = next((e for e in mine if e.name == name), None)
    if found is None:
        path = ("cloud_services", owner.name, "endpoints")
        _unknown(operation, path, "endpoint", name, [e.name for e in mine], of=vm)
    return found


def load_balanced_set(operation: Operation, owner: CloudService, name: str) -> tuple[Endpoint, ...]:
    """Return the members of the load-balanced set that an operation names.

    Raises:
        Refused: the service has none of that name.

    """
    sets = owner.load_balanced_sets()
    if name not in sets:
        _unknown(operation, ("cloud_services", owner.name, "endpoints"), "load-balanced set", name, sets)
    return sets[name]


def subnet(operation: Operation, network: Network, reference: str) -> tuple[VirtualNetwork, Subnet]:
    """Return the subnet that an operation names, as ``NETWORK/SUBNET``.

    Raises:
        Refused: there is none of that name.

    """
    known = {f"{v.name}/{s.name}": (v, s) for v in network.virtual_networks for s in v.subnets}
    if reference not in known or known[reference][0].name == PLATFORM_NETWORK:
        others = [name for name, (vnet, _) in known.items() if vnet.name != PLATFORM_NETWORK]
        _unknown(operation, ("virtual_networks",), "subnet", reference, others)
    return known[reference]


def reserved_ip(operation: Operation, network: Network, name: str) -> ReservedIp:
    """Return the reserved address that an operation names.

    Raises:
        Refused: there is none of that name.

    """
    found = network.reserved_ip(name)
    if found is None:
        known = [r.name for r in network.reserved_ips]
        _unknown(operation, ("reserved_ips",), "reserved IP", name, known)
    return found


def _unknown(
    operation: Operation, path: tuple[str, ...], what: str, name: str, known: Iterable[str], of: str | None = None
) -> NoReturn:
    owner = "the lab" if path[0] != "cloud_services" or len(path) == 1 else f'"{path[1]}"'
    found = f'no {what} "{name}"' + (f" of {of}" if of else "")
    refuse(operation, path, found, f"it must name one of {of or owner}", did_you_mean(name, known))


def with_service(network: Network, made: CloudService) -> Network:
    """Return the network with a cloud service in the place of the one of its name, and addresses as they must be.

    Raises:
        UsageError: there is no address left.

    """
    services = tuple(made if s.name == made.name else s for s in network.cloud_services)
    return settled(msgspec.structs.replace(network, cloud_services=services))


def settled(network: Network) -> Network:
    """Return the network in which VIPs, and addresses of VMs' own, are given and given back as they must be.

    Raises:
        UsageError: there is no address left.

    """
    return public_ips.settled(cloud_services.settled(network))
