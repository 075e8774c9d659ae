"""Cloud services, their VIPs, and reserved addresses."""

from collections.abc import Iterable
from typing import Any

from lab.azure import cloud_services
from lab.azure.model import PLATFORM_NETWORK, CloudService, Network, ReservedIp, VirtualIp
from lab.cmdlets.pending_vm import service_named
from lab.cmdlets.session import MODEL, CmdletSession, meant, named
from lab.errors import UsageError
from lab.operations.cloud_service import AddService
from lab.operations.reserved_ip import AssociateIp, DisassociateIp, ReleaseIp, ReserveIp
from lab.operations.virtual_ip import AddVirtualIp, RemoveVirtualIp
from lab.powershell.binding import Cmdlet, Given, Parameter
from lab.powershell.values import Thing, Value


def _shown_vip(service: CloudService, vip: VirtualIp) -> Thing:
    fields = cloud_services.shown_virtual_ip(service, vip)
    return Thing(kind=f"{MODEL}VirtualIP", properties={name: value or None for name, value in fields.items()})


def _new_service(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(AddService(name=given.text("ServiceName"), location=given.text("Location")))
    return [desk.succeeded("New-AzureService")]


def _get_deployment(desk: CmdletSession, given: Given) -> Iterable[Value]:
    service = service_named(desk, given)
    vms = [vm for vm in map(desk.network.vm, service.virtual_machines) if vm]
    if not vms:
        raise UsageError(f'"{service.name}": no deployment; a service has one once it has a VM; make one: New-AzureVM')
    is_running = any(vm.power_state == "Started" for vm in vms)
    network = vms[0].virtual_network
    return [
        Thing(
            kind=f"{MODEL}DeploymentInfoContext",
            properties={
                "Slot": "Production",
                "Name": service.name,
                "DeploymentName": service.name,
                "Url": f"http://{cloud_services.host_name(service).lower()}/",
                "Status": "Running" if is_running else "Suspended",
                "Label": service.name,
                "VNetName": "" if network == PLATFORM_NETWORK else network,
                "VirtualIPs": [_shown_vip(service, vip) for vip in service.virtual_ips],
                "ServiceName": service.name,
                **desk.operation("Get-AzureDeployment"),
            },
        )
    ]


def _add_vip(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(AddVirtualIp(service_named(desk, given).name, given.text("VirtualIPName")))
    return [desk.succeeded("Add-AzureVirtualIP")]


def _vip(service: CloudService, given: Given) -> str:
    return meant(given.text("VirtualIPName"), [v.name for v in service.virtual_ips])


def _remove_vip(desk: CmdletSession, given: Given) -> Iterable[Value]:
    service = service_named(desk, given)
    desk.perform(RemoveVirtualIp(service.name, _vip(service, given)))
    return [desk.succeeded("Remove-AzureVirtualIP")]


# --- reserved addresses (virtual-networks-reserved-public-ip.md, 2016-02-10) --------------------


def _shown_reserved(network: Network, reserved: ReservedIp, desk: CmdletSession) -> dict[str, Any]:
    is_used = network.user_of(reserved.name) is not None
    fields = cloud_services.shown_reserved_ip(network, reserved)
    return {**fields, "InUse": is_used, **desk.operation("Get-AzureReservedIP")}


def _reserved(desk: CmdletSession, given: Given) -> str:
    return meant(given.text("ReservedIPName"), [r.name for r in desk.network.reserved_ips])


def _get_reserved(desk: CmdletSession, given: Given) -> Iterable[Value]:
    network = desk.network
    known = [r.name for r in network.reserved_ips]
    wanted = given.maybe("ReservedIPName")
    name = named("reserved IP", wanted, known) if wanted else None
    return [
        Thing(kind=f"{MODEL}ReservedIPContext", properties=_shown_reserved(network, reserved, desk))
        for reserved in network.reserved_ips
        if name in (None, reserved.name)
    ]


def _new_reserved(desk: CmdletSession, given: Given) -> Iterable[Value]:
    service = service_named(desk, given) if given.has("ServiceName") else None
    desk.perform(
        ReserveIp(
            name=given.text("ReservedIPName"),
            location=given.text("Location"),
            label=given.maybe("Label") or "",
            service=service.name if service else None,
            virtual_ip=_vip(service, given) if service and given.has("VirtualIPName") else None,
        )
    )
    return [desk.succeeded("New-AzureReservedIP")]


def _remove_reserved(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(ReleaseIp(_reserved(desk, given)))
    return [desk.succeeded("Remove-AzureReservedIP")]


def _associate(desk: CmdletSession, given: Given) -> Iterable[Value]:
    service = service_named(desk, given)
    vip = _vip(service, given) if given.has("VirtualIPName") else None
    desk.perform(AssociateIp(_reserved(desk, given), service.name, vip))
    return [desk.succeeded("Set-AzureReservedIPAssociation")]


def _disassociate(desk: CmdletSession, given: Given) -> Iterable[Value]:
    desk.perform(DisassociateIp(_reserved(desk, given), service_named(desk, given).name))
    return [desk.succeeded("Remove-AzureReservedIPAssociation")]


_SERVICE = Parameter(name="ServiceName", required=True)
_VIP = Parameter(name="VirtualIPName", kind="title", required=True)
_SLOT = Parameter(name="Slot", accepts=("Production",))
_RESERVED = Parameter(name="ReservedIPName", kind="title", required=True, piped="property")
_FORCE = Parameter(name="Force", kind="switch")

CMDLETS: tuple[Cmdlet[CmdletSession], ...] = (
    Cmdlet(
        name="New-AzureService",
        parameters=(
            Parameter(name="ServiceName", kind="name", required=True, position=0),
            Parameter(name="Location", required=True, position=1),
            Parameter(name="Label"),
            Parameter(name="Description"),
        ),
        run=_new_service,
    ),
    Cmdlet(
        name="Get-AzureDeployment",
        parameters=(Parameter(name="ServiceName", required=True, position=0, piped="property"), _SLOT),
        run=_get_deployment,
    ),
    Cmdlet(name="Add-AzureVirtualIP", parameters=(_SERVICE, _VIP), run=_add_vip),
    Cmdlet(name="Remove-AzureVirtualIP", parameters=(_SERVICE, _VIP, _FORCE), run=_remove_vip),
    Cmdlet(name="Get-AzureReservedIP", parameters=(Parameter(name="ReservedIPName", position=0),), run=_get_reserved),
    Cmdlet(
        name="New-AzureReservedIP",
        parameters=(
            Parameter(name="ReservedIPName", kind="title", required=True, position=0),
            Parameter(name="Location", required=True),
            Parameter(name="Label"),
            Parameter(name="ServiceName"),
            Parameter(name="VirtualIPName"),
            _SLOT,
        ),
        run=_new_reserved,
    ),
    Cmdlet(name="Remove-AzureReservedIP", parameters=(_RESERVED, _FORCE), run=_remove_reserved),
    Cmdlet(
        name="Set-AzureReservedIPAssociation",
        parameters=(_RESERVED, _SERVICE, Parameter(name="VirtualIPName"), _SLOT),
        run=_associate,
    ),
    Cmdlet(
        name="Remove-AzureReservedIPAssociation",
        parameters=(_RESERVED, _SERVICE, _SLOT, _FORCE),
        run=_disassociate,
    ),
)
