"""Instance-level public IPs: how many there may be and where, the names that lead to them, and what is shown of them.

An address is always the platform's choice (virtual-networks-instance-level-public-ip.md, 2018-08-03: dynamic only), but
a file may plan one, so that a document's example can be played with the address that it prints.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lab.azure import cloud_services
from lab.azure.allocation import free_address
from lab.azure.model import CloudService, Network, VirtualMachine
from lab.errors import Problem

#: Of more VMs only so many are named.
_SHOWN = 16
#: RFC 1123, section 2.1, but for a digit at the beginning.
_LABEL = r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def instance_names(service: CloudService, vm: str, label: str | None) -> tuple[str, ...]:
    """Return the names that lead to the instance-level public IP of a VM or role instance.

    The instance's own (Instance level public IP, 2016-02-10), and, with a label, the one of the later revision, which
    counts the instances of a
    role (virtual-networks-instance-level-public-ip.md, 2018-08-03); a virtual machine is the only one of its role.
    """
    numbers = {role.instance(number): number for role in service.roles for number in range(role.instances)}
    labelled = () if label is None else (f"{label}.{numbers.get(vm, 0)}.{cloud_services.host_name(service)}",)
    return (f"{vm}.{cloud_services.host_name(service)}", *labelled)


def names(network: Network) -> dict[str, str]:
    """Return the names of cloud services and of their instances' public IPs, in small letters, with their owners."""
    found = {cloud_services.host_name(s).lower(): f'the cloud service "{s.name}"' for s in network.cloud_services}
    for vm in holders(network):
        service, own = network.service_of(vm.name), vm.instance_public_ip or vm.released_public_ip
        if service is not None and own is not None:
            for name in instance_names(service, vm.name, own.domain_name_label):
                found[name.lower()] = f'the public IP of "{vm.name}"'
    return found


def settled(network: Network) -> Network:
    """Return the network in which every VM but the deallocated ones has the address of its own that it asks for.

    A deallocated VM gives it back, and is given another when it is started: the address is dynamic
    (virtual-networks-instance-level-public-ip.md, 2018-08-03).

    Raises:
        UsageError: there is no address left.

    """
    for vm in network.virtual_machines:
        if vm.power_state == "Deallocated" and vm.instance_public_ip is not None:
            made = msgspec.structs.replace(vm, instance_public_ip=None, released_public_ip=vm.instance_public_ip)
        elif vm.power_state != "Deallocated" and vm.released_public_ip is not None:
            address = free_address(network, avoid=[vm.released_public_ip.address])
            own = msgspec.structs.replace(vm.released_public_ip, address=address)
            made = msgspec.structs.replace(vm, instance_public_ip=own, released_public_ip=None)
        else:
            continue
        network = network.including(made)
    return network


def holders(network: Network) -> tuple[VirtualMachine, ...]:
    """Return the VMs that have an address of their own, or have given it back until they are started."""
    return tuple(vm for vm in network.virtual_machines if vm.instance_public_ip or vm.released_public_ip)


def shown(network: Network, vm: VirtualMachine) -> dict[str, Any]:
    """Return what is shown of a VM's address, by the names of Get-AzureRole's output; blank where it has none.

    The names are of virtual-networks-instance-level-public-ip.md (2018-08-03). Of a deallocated VM what was asked for
    is shown, but no address, and no name that would lead to one.
    """
    own, service = vm.instance_public_ip or vm.released_public_ip, network.service_of(vm.name)
    label = own.domain_name_label if own else None
    names = instance_names(service, vm.name, label) if vm.instance_public_ip and service else ()
    return {
        "ServiceName": service.name if service else "",
        "Name": vm.name,
        "PublicIPAddress": str(vm.instance_public_ip.address) if vm.instance_public_ip else "",
        "PublicIPName": own.name if own else "",
        "PublicIPDomainNameLabel": label or "",
        "PublicIPFqdns": list(names),
        "IdleTimeoutInMinutes": own.idle_timeout_min if own else None,
    }


# --- what must hold ---------------------------------------------------------------------------


def violations(network: Network) -> Iterator[Problem]:
    """Yield everything about instance-level public IPs that the documents do not allow."""
    profile = network.profile
    low, high = profile.public_ip_idle_min
    subscriptions = {vnet.name: vnet.subscription for vnet in network.virtual_networks}
    of_service = {vm: service.subscription for service in network.cloud_services for vm in service.virtual_machines}
    owners: dict[str, list[str]] = {}
    for vm in network.virtual_machines:
        own = vm.instance_public_ip
        if own is None:
            continue
        path = ("virtual_machines", vm.name, "instance_public_ip")
        subscription = of_service.get(vm.name, subscriptions[vm.virtual_network])
        owners.setdefault(subscription, []).append(vm.name)
        if vm.secondary_interfaces:
            yield Problem(
                path=path,
                found=f"an instance-level public IP on a VM with {len(vm.network_interfaces)} network interfaces",
                must="a VM with several network interfaces cannot have one (Instance level public IP, 2016-02-10)",
                advice="leave the VM one interface, or remove the public IP",
            )
        if own.domain_name_label is not None and not re.fullmatch(_LABEL, own.domain_name_label):
            yield Problem(
                path=(*path, "domain_name_label"),
                found=f'"{own.domain_name_label[:80]}"',
                must="a label begins with a letter, ends with a letter or digit, and has up to 63 of them and dashes",
                advice="correct it",
            )
        if not low <= own.idle_timeout_min <= high:
            yield Problem(
                path=(*path, "idle_timeout_in_minutes"),
                found=f"{own.idle_timeout_min}",
                must=f"an idle timeout is {low} to {high} minutes ({profile.sources['public_ip_idle_min']})",
                advice=f"use a value from {low} to {high}",
            )
    yield from _labels(network)
    for subscription, names in owners.items():
        if len(names) > profile.public_ips_max:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield Problem(
                # No one of them is the one too many.
                path=("virtual_machines",),
                found=f'{len(names)} instance-level public IPs in subscription "{subscription}": '
                f"{', '.join(names[:_SHOWN])}{more}",
                must=f"a subscription has at most {profile.public_ips_max} ({profile.sources['public_ips_max']})",
                advice="remove one, or use another subscription",
            )


def _labels(network: Network) -> Iterator[Problem]:
    """Yield the domain name labels that two instance-level public IPs of one service have."""
    for service in network.cloud_services:
        seen: dict[str, str] = {}
        for vm in map(network.vm, service.virtual_machines):
            if vm is None or vm.instance_public_ip is None or vm.instance_public_ip.domain_name_label is None:
                continue
            *_, name = instance_names(service, vm.name, vm.instance_public_ip.domain_name_label.lower())
            other = seen.setdefault(name, vm.name)
            if other != vm.name:
                yield Problem(
                    path=("virtual_machines", vm.name, "instance_public_ip", "domain_name_label"),
                    found=f'"{vm.instance_public_ip.domain_name_label}" is also the label of "{other}", '
                    f"in the same service",
                    must="a name leads to one instance (virtual-networks-instance-level-public-ip.md, 2018-08-03)",
                    advice="choose another label",
                )
