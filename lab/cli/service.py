"""``lab service``, ``vip``, ``reserved-ip``: classic cloud services and their addresses."""

import time
from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import network_named, service_named, services_named
from lab.cli.execution import for_a_while, operates
from lab.cli.options import lab_argument, lab_or_file_argument, output_option
from lab.cli.output import count, print_json, print_operation, print_table
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.azure.model import CloudService, Network, VirtualIp
    from lab.operations.base import Operation


# --- services ---------------------------------------------------------------------------------


@click.group("service")
def service_group() -> None:
    """Look at classic cloud services: VIPs, endpoints, load-balanced sets; make new ones, redeploy them.

    \b
    Example:
      sudo lab service show multivip myService
    """


@service_group.command("list")
@lab_or_file_argument
@output_option
def service_list(name: str, output: str) -> None:
    """List the cloud services of a running lab, which needs root, or of a topology file.

    \b
    Example:
      sudo lab service list multivip
      lab service list multivip.lab.yaml
    """
    network = network_named(name)
    if output == "json":
        print_json({"cloud_services": [_service_json(network, service) for service in network.cloud_services]})
        return
    rows = []
    for service in network.cloud_services:
        default = service.virtual_ip(service.default_virtual_ip)
        address = str(default.address) if default and default.address else "-"
        parts = (service.virtual_machines, service.virtual_ips, service.endpoints)
        rows.append((service.name, service.location, address, *(str(len(part)) for part in parts)))
    print_table(("SERVICE", "LOCATION", "ADDRESS", "VMS", "VIPS", "ENDPOINTS"), rows, empty="no cloud service")


@service_group.command("show")
@lab_or_file_argument
@click.argument("service")
@output_option
def service_show(service: str, name: str, output: str) -> None:
    """Show the VIPs of a cloud service, as (Get-AzureDeployment -ServiceName …).VirtualIPs does. Of a lab, needs root.

    Address, IsDnsProgrammed, Name, ReservedIPName and ExtensionData, blank where a VIP has nothing: one that no
    endpoint uses has no address. The name of the service leads to the one that is programmed. JSON also has the
    location, the VMs, what is billed, the endpoints and the load-balanced sets.

    \b
    Example:
      sudo lab service show multivip myService
      lab service show multivip.lab.yaml myService -o json
    """
    from lab.azure import cloud_services

    network = network_named(name)
    chosen = service_named(network, service)
    if output == "json":
        print_json(_service_json(network, chosen))
        return
    listed = []
    for virtual_ip in chosen.virtual_ips:
        shown = cloud_services.shown_virtual_ip(chosen, virtual_ip)
        width = max(map(len, shown))
        listed.append("\n".join(f"{key:<{width}} : {value}".rstrip() for key, value in shown.items()))
    click.echo("\n\n".join(listed))


@service_group.command("create")
@operates("New-AzureService")
@click.argument("service")
@click.option("--location", default="China North", show_default=True, help="Where it is; it never changes.")
def service_create(service: str, location: str) -> "Operation":
    """Create a cloud service without VMs: its VIP has an address once it has one. Needs root.

    \b
    Example:
      sudo lab service create multivip newService --location "China East"
    """
    from lab.operations.cloud_service import AddService

    return AddService(name=service, location=location)


#: How long `lab service redeploy` takes by itself: no document says how long a redeployment does.
_REDEPLOYMENT_S = 60.0


@service_group.command("redeploy")
@lab_argument
@click.argument("service")
@click.option(
    "--hold",
    type=click.FloatRange(0),
    default=_REDEPLOYMENT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long it takes, of the lab's time.",
)
@output_option
def service_redeploy(service: str, hold: float, name: str, output: str) -> None:
    """Redeploy a cloud service, during which its VMs count twice for SNAT ports where the revision says so. Needs root.

    A pool that is reported as twice as large may be in a higher tier of the table: each VM has fewer ports until it is
    over, and loses the flows of the others. No document says how long that takes; nothing else is changed meanwhile.
    Interrupted, it is over.

    \b
    Example:
      sudo lab service redeploy multivip myService
      sudo lab service redeploy multivip myService --hold 600
    """
    from lab.operations.cloud_service import BeginRedeployment, EndRedeployment
    from lab.runtime import operate

    with for_a_while(name, BeginRedeployment(service), EndRedeployment(service)):
        network = operate.network_of(name)
        lasts = hold / network.overrides.time_scale
        click.echo(f"{name}: {service}: {hold:g} s is {lasts:g} s; {_counted(network, service)}", err=True)
        time.sleep(lasts)
    print_operation("Set-AzureDeployment", output)


def _counted(network: "Network", service: str) -> str:
    """Say for how many a service's VMs count while it is being redeployed."""
    vms = count(len(service_named(network, service).virtual_machines), "VM")
    if not network.profile.redeploying_counts_twice:
        return f"{vms}, counted once in profile {network.profile.name}"
    if network.overrides.snat_ports_per_vm:
        return f"{vms}, counted twice, but snat_ports_per_vm={network.overrides.snat_ports_per_vm} whatever is counted"
    return f"{vms}, counted twice for SNAT ports"


def _service_json(network: "Network", service: "CloudService") -> dict[str, Any]:
    states = {vm.name: vm.power_state for vm in network.virtual_machines}
    return {
        "name": service.name,
        "location": service.location,
        "subscription": service.subscription,
        "default_virtual_ip": service.default_virtual_ip,
        "virtual_machines": {vm: states[vm] for vm in service.virtual_machines},
        "roles": {role.name: role.instances for role in service.roles},
        "redeploying": service.redeploying,
        "virtual_ips": [_vip_json(service, virtual_ip) for virtual_ip in service.virtual_ips],
        "endpoints": service.endpoints,
        "load_balanced_sets": {
            name: [f"{member.virtual_machine}/{member.name}" for member in members]
            for name, members in service.load_balanced_sets().items()
        },
    }


def _vip_json(service: "CloudService", virtual_ip: "VirtualIp") -> dict[str, Any]:
    from lab.azure import cloud_services

    return {
        **cloud_services.shown_virtual_ip(service, virtual_ip),
        "billed": cloud_services.is_billed(service, virtual_ip),
        "endpoints": [f"{e.virtual_machine}/{e.name}" for e in service.endpoints_of(virtual_ip.name)],
    }


# --- VIPs -------------------------------------------------------------------------------------


@click.group("vip")
def vip_group() -> None:
    """Add, remove and list the VIPs of cloud services. A change holds until `lab up FILE`.

    \b
    Example:
      sudo lab vip add multivip myService Vip3
    """


@vip_group.command("add")
@operates("Add-AzureVirtualIP")
@click.argument("service")
@click.argument("vip")
def vip_add(service: str, vip: str) -> "Operation":
    """Give a cloud service another VIP, as Add-AzureVirtualIP does: a name, and no address before an endpoint uses it.

    Services of virtual machines only, at most five VIPs each. Needs root.

    \b
    Example:
      sudo lab vip add multivip myService Vip3
    """
    from lab.operations.virtual_ip import AddVirtualIp

    return AddVirtualIp(service, vip)


@vip_group.command("remove")
@operates("Remove-AzureVirtualIP")
@click.argument("service")
@click.argument("vip")
def vip_remove(service: str, vip: str) -> "Operation":
    """Remove a VIP that no endpoint uses, as Remove-AzureVirtualIP does; the default one stays. Needs root.

    \b
    Example:
      sudo lab vip remove multivip myService Vip3
    """
    from lab.operations.virtual_ip import RemoveVirtualIp

    return RemoveVirtualIp(service, vip)


@vip_group.command("list")
@lab_or_file_argument
@click.argument("service", required=False)
@output_option
def vip_list(service: str | None, name: str, output: str) -> None:
    """List VIPs: address, which one the service's name leads to, endpoints, what is billed. Of a lab, needs root.

    \b
    Example:
      sudo lab vip list multivip
      lab vip list multivip.lab.yaml myService
    """
    from lab.azure import cloud_services

    found = [(s, v) for s in services_named(name, service) for v in s.virtual_ips]
    if output == "json":
        print_json({"virtual_ips": [{"ServiceName": s.name, **_vip_json(s, v)} for s, v in found]})
        return
    rows = [
        (
            s.name,
            v.name,
            str(v.address or "-"),
            "yes" if cloud_services.is_programmed(s, v) else "-",
            v.reserved_ip or "-",
            str(len(s.endpoints_of(v.name))),
            "yes" if cloud_services.is_billed(s, v) else "no",
        )
        for s, v in found
    ]
    print_table(("SERVICE", "VIP", "ADDRESS", "DNS", "RESERVED IP", "ENDPOINTS", "BILLED"), rows, empty="no VIP")


# --- reserved addresses -----------------------------------------------------------------------


@click.group("reserved-ip")
def reserved_ip_group() -> None:
    """Reserve public addresses, give them to cloud services and take them back.

    The address is the platform's choice, or the one that a service has. It is a VIP's, never a VM's. A change holds
    until `lab up FILE`.

    \b
    Example:
      sudo lab reserved-ip create multivip keepme --service myService
    """


@reserved_ip_group.command("create")
@operates("New-AzureReservedIP")
@click.argument("reserved_ip", metavar="NAME")
@click.option("--location", default="China North", show_default=True, help="It is for services of this region.")
@click.option("--label", default="", help="What it is for.")
@click.option("--service", metavar="SERVICE", help="Keep the address that the VIP of this service has.")
@click.option("--virtual-ip", metavar="VIP", help="Of that service, this VIP.  [default: the default one]")
@click.option("--address", hidden=True, help="There is no such thing.")
def reserved_ip_create(
    reserved_ip: str,
    location: str,
    label: str,
    service: str | None,
    virtual_ip: str | None,
    address: str | None,
) -> "Operation":
    """Reserve an address, as New-AzureReservedIP does: a new one, or the one that a service's VIP has now. Needs root.

    The address cannot be chosen. That of a service stays in use, and live flows with it.

    \b
    Example:
      sudo lab reserved-ip create multivip keepme --location "China North" --label web
      sudo lab reserved-ip create multivip keepme --service myService
    """
    from lab.operations.reserved_ip import SOURCE, ReserveIp

    if address is not None:
        raise UsageError(
            f"--address {address}: the address cannot be chosen, it is the platform's ({SOURCE}); leave it out"
        )
    if virtual_ip is not None and service is None:
        raise UsageError("--virtual-ip without --service: a VIP is a service's; name the service too")
    return ReserveIp(name=reserved_ip, location=location, label=label, service=service, virtual_ip=virtual_ip)


@reserved_ip_group.command("delete")
@operates("Remove-AzureReservedIP")
@click.argument("reserved_ip", metavar="NAME")
def reserved_ip_delete(reserved_ip: str) -> "Operation":
    """Release a reserved address that no service uses, as Remove-AzureReservedIP does. Needs root.

    \b
    Example:
      sudo lab reserved-ip delete multivip keepme
    """
    from lab.operations.reserved_ip import ReleaseIp

    return ReleaseIp(reserved_ip)


@reserved_ip_group.command("associate")
@operates("Set-AzureReservedIPAssociation")
@click.argument("reserved_ip", metavar="NAME")
@click.argument("service")
@click.option("--virtual-ip", metavar="VIP", help="The VIP that is given the address.  [default: the default one]")
def reserved_ip_associate(reserved_ip: str, service: str, virtual_ip: str | None) -> "Operation":
    """Give a service's VIP a reserved address, as Set-AzureReservedIPAssociation does. Needs root.

    The address that it had is given back.

    \b
    Example:
      sudo lab reserved-ip associate multivip keepme myService
    """
    from lab.operations.reserved_ip import AssociateIp

    return AssociateIp(reserved_ip, service, virtual_ip)


@reserved_ip_group.command("disassociate")
@operates("Remove-AzureReservedIPAssociation")
@click.argument("reserved_ip", metavar="NAME")
@click.argument("service")
def reserved_ip_disassociate(reserved_ip: str, service: str) -> "Operation":
    """Take a reserved address from a service, as Remove-AzureReservedIPAssociation does. Needs root.

    The VIP is given a dynamic address; the reserved one stays the user's.

    \b
    Example:
      sudo lab reserved-ip disassociate multivip keepme myService
    """
    from lab.operations.reserved_ip import DisassociateIp

    return DisassociateIp(reserved_ip, service)


@reserved_ip_group.command("list")
@lab_or_file_argument
@output_option
def reserved_ip_list(name: str, output: str) -> None:
    """List reserved addresses, with the fields of Get-AzureReservedIP. Of a lab, needs root.

    \b
    Example:
      sudo lab reserved-ip list multivip
      lab reserved-ip list multivip.lab.yaml -o json
    """
    from lab.azure import cloud_services

    network = network_named(name)
    shown = [cloud_services.shown_reserved_ip(network, reserved) for reserved in network.reserved_ips]
    if output == "json":
        print_json({"reserved_ips": shown})
        return
    keys = ("ReservedIPName", "Address", "Location", "State", "InUse", "ServiceName", "Label")
    rows = [tuple(fields[key] or "-" for key in keys) for fields in shown]
    head = ("NAME", "ADDRESS", "LOCATION", "STATE", "IN USE", "SERVICE", "LABEL")
    print_table(head, rows, empty="no reserved address")


COMMANDS: tuple[click.Command, ...] = (service_group, vip_group, reserved_ip_group)
