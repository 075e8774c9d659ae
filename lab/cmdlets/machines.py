"""Virtual machines: what Get-AzureVM shows, new ones, their public IPs, and Update-AzureVM, which does what was asked.

Images, credentials and host names are taken and forgotten: a lab's VM is a namespace.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from lab.azure import cloud_services
from lab.azure.model import GATEWAY_SUBNET, CloudService, Network, PowerState, VirtualMachine
from lab.cmdlets.pending_vm import (
    PERSISTENT_VM,
    ROLE_CONTEXT,
    VM,
    Draft,
    draft_of,
    must_exist,
    passed_on,
    service_named,
    vm_named,
)
from lab.cmdlets.session import MODEL, CmdletSession, meant, named
from lab.errors import UsageError
from lab.operations.batch import Together
from lab.operations.cloud_service import AddService, AddVirtualMachine
from lab.operations.power import SetPower
from lab.operations.public_ip import RemovePublicIp, SetPublicIp
from lab.powershell.binding import Cmdlet, Given, Parameter
from lab.powershell.values import Thing, Value

#: What each power state is called: of the instance, and of its power (Get-AzureVM).
_STATES = {
    "Started": ("ReadyRole", "Started"),
    "Stopped": ("StoppedVM", "Stopped"),
    "Deallocated": ("StoppedDeallocated", "Stopped"),
}
#: How many domains the members of an availability set are spread over in turn
#: (virtual-machines-manage-availability, 2015: two fault domains, five update domains).
_FAULT_DOMAINS, _UPDATE_DOMAINS = 2, 5
#: Images as they were called; Instance level public IP, 2016-02-10 looks for the first.
_IMAGES = {
    "0b11de9248dd4d87b18621318e037d37__RightImage-Windows-2012R2-x64-v14.2": ("RightScale Windows 2012 R2", "Windows"),
    "b39f27a8b8c64d52b05eac6a62ebad85__Ubuntu-14_04_2_LTS-amd64-server-20150706-en-us-30GB": (
        "Ubuntu Server 14.04.2 LTS",
        "Linux",
    ),
}


def shown(network: Network, service: CloudService, vm: VirtualMachine, draft: Draft) -> dict[str, Any]:
    """Return what Get-AzureVM shows of a VM, in the order of Instance level public IP, 2016-02-10.

    Without the operation itself.
    """
    status, power = _STATES[vm.power_state]
    is_started = vm.power_state == "Started"
    own = vm.instance_public_ip
    mates = [v for v in map(network.vm, service.virtual_machines) if v and v.availability_set == vm.availability_set]
    place = mates.index(vm) if vm.availability_set else 0
    return {
        "DeploymentName": service.name,
        "Name": vm.name,
        "Label": "",
        "VM": Thing(kind=PERSISTENT_VM, properties={"RoleName": vm.name, "RoleSize": draft.size}, inside=draft),
        "InstanceStatus": status,
        "IpAddress": "" if vm.power_state == "Deallocated" else str(vm.private_ip_address),
        "InstanceStateDetails": "",
        "PowerState": power,
        "InstanceErrorCode": "",
        "InstanceFaultDomain": place % _FAULT_DOMAINS,
        "InstanceName": vm.name,
        "InstanceUpgradeDomain": place % _UPDATE_DOMAINS,
        "InstanceSize": draft.size,
        "HostName": vm.name,
        "AvailabilitySetName": vm.availability_set or "",
        "DNSName": f"http://{cloud_services.host_name(service).lower()}/",
        "Status": status,
        "GuestAgentStatus": f"{MODEL}GuestAgentStatus" if is_started else "",
        "ResourceExtensionStatusList": ["Microsoft.Compute.BGInfo"] if is_started else [],
        "PublicIPAddress": str(own.address) if own else "",
        "PublicIPName": own.name if own else "",
        "NetworkInterfaces": [interface.name for interface in vm.secondary_interfaces],
        "ServiceName": service.name,
    }


def _get_vm(desk: CmdletSession, given: Given) -> Iterable[Value]:
    network = desk.network
    services = [service_named(desk, given)] if given.has("ServiceName") else list(network.cloud_services)
    wanted = given.maybe("Name")
    operation = desk.operation("Get-AzureVM", "OK", dashes=False)
    for service in services:
        vms = map(network.vm, service.virtual_machines)
        for vm in [vm_named(network, service, wanted)] if wanted else [v for v in vms if v]:
            draft = Draft(vm.name, service.name, size=vm.size)
            yield Thing(kind=ROLE_CONTEXT, properties={**shown(network, service, vm, draft), **operation}, inside=draft)


def _update_vm(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    must_exist(draft, "Update-AzureVM")
    network = desk.network
    for name, found in (("ServiceName", draft.service), ("Name", draft.name)):
        if found and meant(given.maybe(name) or found, [found]) != found:
            raise UsageError(f'-{name} "{given.text(name)}": the VM is "{found}"; they must agree; leave -{name} out')
    if network.vm(draft.name) is None:
        raise UsageError(f'no virtual machine "{draft.name}" any more; it must be there; begin with Get-AzureVM')
    if draft.asked:
        desk.perform(draft.asked[0] if len(draft.asked) == 1 else Together(tuple(draft.asked)))
    draft.asked.clear()
    return [desk.succeeded("Update-AzureVM")]


def _set_public_ip(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    label, timeout = given.maybe("DomainNameLabel"), given.whole("IdleTimeoutInMinutes")
    draft.ask(desk, SetPublicIp(draft.name, given.text("PublicIPName"), label, timeout))
    return passed_on(given)


def _remove_public_ip(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    draft.ask(desk, RemovePublicIp(draft.name))
    return passed_on(given)


def _get_image(desk: CmdletSession, given: Given) -> Iterable[Value]:
    wanted = given.maybe("ImageName")
    operation = desk.operation("Get-AzureVMImage")
    for name, (label, system) in _IMAGES.items():
        if wanted in (None, name):
            shown_ = {"ImageName": name, "OS": system, "Label": label, "Category": "Public", "Location": "Central US"}
            yield Thing(kind=f"{MODEL}OSImageContext", properties={**shown_, **operation})


def _new_config(_desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = Draft(given.text("Name"), size=given.text("InstanceSize"))
    draft.availability_set = given.maybe("AvailabilitySetName")
    shown_: Mapping[str, Any] = {
        "AvailabilitySetName": draft.availability_set or "",
        "ConfigurationSets": [],
        "DataVirtualHardDisks": [],
        "Label": given.maybe("Label") or "",
        "OSVirtualHardDisk": f"{MODEL}OSVirtualHardDisk",
        "RoleName": draft.name,
        "RoleSize": draft.size,
        "RoleType": "PersistentVMRole",
    }
    return [Thing(kind=PERSISTENT_VM, properties=shown_, inside=draft)]


def _add_provisioning(_desk: CmdletSession, given: Given) -> Iterable[Value]:
    # A lab's VM has no login by password: a name and a password must be given, and are not kept.
    return passed_on(given)


def _set_subnet(_desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    if draft.service is not None:
        raise UsageError(f"{draft.name}: is there already; a VM keeps its subnet; give it with New-AzureVMConfig")
    draft.subnet = given.text("SubnetNames")
    return passed_on(given)


def _new_vm(desk: CmdletSession, given: Given) -> Iterable[Value]:
    """Make a VM, and what was asked for it, in a service; with a location, the service too if it is not there."""
    draft, network = draft_of(given), desk.network
    if draft.service is not None:
        raise UsageError(f"{draft.name}: is there already; a new VM must come here; begin with New-AzureVMConfig")
    wanted, location = given.text("ServiceName"), given.maybe("Location")
    name = meant(wanted, [s.name for s in network.cloud_services])
    service = network.cloud_service(name)
    if service is not None and location is not None and service.location.lower() != location.lower():
        raise UsageError(
            f'"{service.name}" is in {service.location}; a service has one location, and {location} is another; '
            "leave -Location out"
        )
    first = [AddService(name=name, location=location)] if service is None and location is not None else []
    reserved = given.maybe("ReservedIPName")
    made = AddVirtualMachine(
        service=name,
        name=draft.name,
        subnet=_subnet(network, given.maybe("VNetName"), draft.subnet),
        size=draft.size,
        availability_set=draft.availability_set,
        reserved_ip=meant(reserved, [r.name for r in network.reserved_ips]) if reserved else None,
    )
    desk.perform(Together((*first, made, *draft.asked)))
    return [desk.succeeded("New-AzureVM")]


def _subnet(network: Network, vnet: str | None, subnet: str | None) -> str | None:
    """Return where a VM is made, as operations have it: in the virtual network's first subnet unless one is named.

    Raises:
        UsageError: there is no such virtual network, or a subnet without one.

    """
    if vnet is None:
        if subnet is not None:
            raise UsageError(f'subnet "{subnet}" of no virtual network; one must be named; add -VNetName')
        return None
    found = network.virtual_network(named("virtual network", vnet, [v.name for v in network.virtual_networks]))
    names = [s.name for s in found.subnets if s.name != GATEWAY_SUBNET]
    if subnet is None and not names:
        raise UsageError(
            f'"{found.name}": no subnet for VMs; a VM is in one; add it: lab network subnet LAB {found.name}'
        )
    return f"{found.name}/{names[0] if subnet is None else named(f'subnet of {found.name}', subnet, names)}"


def _power(cmdlet: str, desk: CmdletSession, given: Given) -> Iterable[Value]:
    vm = vm_named(desk.network, service_named(desk, given), given.text("Name"))
    state: PowerState = "Stopped" if given.flag("StayProvisioned") else "Deallocated"
    desk.perform(SetPower(vm.name, "Started" if cmdlet == "Start-AzureVM" else state))
    return [desk.succeeded(cmdlet)]


_SERVICE_NAME = Parameter(name="ServiceName", required=True, position=0, piped="property")
_VM_NAME = Parameter(name="Name", required=True, position=1, piped="property")
_NEW = Parameter(
    name="VMs", kind="thing", aliases=("VM",), accepts=(ROLE_CONTEXT, PERSISTENT_VM), required=True, piped="object"
)

CMDLETS: tuple[Cmdlet[CmdletSession], ...] = (
    Cmdlet(
        name="Get-AzureVM",
        parameters=(
            Parameter(name="ServiceName", position=0, piped="property"),
            Parameter(name="Name", position=1, piped="property"),
        ),
        run=_get_vm,
    ),
    Cmdlet(
        name="Update-AzureVM",
        parameters=(VM, Parameter(name="ServiceName", piped="property"), Parameter(name="Name", piped="property")),
        run=_update_vm,
    ),
    Cmdlet(
        name="Set-AzurePublicIP",
        parameters=(
            VM,
            Parameter(name="PublicIPName", kind="title", required=True, position=0),
            Parameter(name="DomainNameLabel"),
            Parameter(name="IdleTimeoutInMinutes", kind="whole", least=4, most=30),
        ),
        run=_set_public_ip,
    ),
    Cmdlet(name="Remove-AzurePublicIP", parameters=(VM,), run=_remove_public_ip),
    Cmdlet(name="Get-AzureVMImage", parameters=(Parameter(name="ImageName", position=0),), run=_get_image),
    Cmdlet(
        name="New-AzureVMConfig",
        parameters=(
            Parameter(name="Name", kind="name", required=True, position=0),
            Parameter(name="InstanceSize", kind="name", required=True, position=1),
            Parameter(name="ImageName", required=True, position=2),
            Parameter(name="AvailabilitySetName", kind="title"),
            Parameter(name="Label"),
        ),
        run=_new_config,
    ),
    Cmdlet(
        name="Add-AzureProvisioningConfig",
        parameters=(
            VM,
            Parameter(name="Windows", kind="switch", sets=("Windows",), required=True),
            Parameter(name="AdminUsername", sets=("Windows",), required=True),
            Parameter(name="Linux", kind="switch", sets=("Linux",), required=True),
            Parameter(name="LinuxUser", sets=("Linux",), required=True),
            Parameter(name="Password", required=True, is_secret=True),
        ),
        run=_add_provisioning,
    ),
    Cmdlet(
        name="Set-AzureSubnet",
        parameters=(VM, Parameter(name="SubnetNames", required=True, position=0)),
        run=_set_subnet,
    ),
    Cmdlet(
        name="New-AzureVM",
        parameters=(
            _NEW,
            Parameter(name="ServiceName", kind="name", required=True),
            Parameter(name="Location"),
            Parameter(name="VNetName"),
            Parameter(name="ReservedIPName"),
        ),
        run=_new_vm,
    ),
    Cmdlet(name="Start-AzureVM", parameters=(_SERVICE_NAME, _VM_NAME), run=partial(_power, "Start-AzureVM")),
    Cmdlet(
        name="Stop-AzureVM",
        parameters=(
            _SERVICE_NAME,
            _VM_NAME,
            Parameter(name="StayProvisioned", kind="switch"),
            Parameter(name="Force", kind="switch"),
        ),
        run=partial(_power, "Stop-AzureVM"),
    ),
)
