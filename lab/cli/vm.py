"""``lab vm``: virtual machines are made, started, stopped and deallocated."""

from typing import TYPE_CHECKING

import click

from lab.cli.arguments import network_named
from lab.cli.execution import operates
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import print_json, print_table
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.azure.model import Network, Service, VirtualMachine
    from lab.operations.base import Operation


@click.group("vm")
def vm_group() -> None:
    """Start, stop, deallocate and list VMs; make new ones. A change holds until `lab up FILE`.

    \b
    Example:
      sudo lab vm stop multivip myVM1
      sudo lab vm start multivip myVM1
    """


@vm_group.command("list")
@lab_or_file_argument
@output_option
def vm_list(name: str, output: str) -> None:
    """List VMs: state, service, addresses. Of a lab, needs root.

    \b
    Example:
      sudo lab vm list multivip
      lab vm list multivip.lab.yaml -o json
    """
    network = network_named(name)
    shown = [_shown(network, vm) for vm in network.virtual_machines]
    if output == "json":
        print_json({"virtual_machines": shown})
        return
    rows = [tuple(value or "-" for value in fields.values()) for fields in shown]
    print_table(("VM", "SERVICE", "STATE", "SUBNET", "ADDRESS", "PUBLIC IP"), rows, empty="no VM")


def _shown(network: "Network", vm: "VirtualMachine") -> dict[str, str]:
    from lab.azure.model import PLATFORM_NETWORK

    service = network.service_of(vm.name)
    return {
        "name": vm.name,
        "service": service.name if service else "",
        "power_state": vm.power_state,
        "subnet": "" if vm.virtual_network == PLATFORM_NETWORK else f"{vm.virtual_network}/{vm.subnet}",
        "private_ip_address": str(vm.private_ip_address),
        "instance_public_ip": str(vm.instance_public_ip.address) if vm.instance_public_ip else "",
    }


@vm_group.command("create")
@operates("New-AzureVM")
@click.argument("service")
@click.argument("vm")
@click.option("--subnet", metavar="NETWORK/SUBNET", help="Where it is; left out, in no virtual network.")
@click.option("--service", "servers", multiple=True, metavar="KIND:PORT", help="A server in it; may be repeated.")
@click.option("--public-ip", metavar="NAME", help="Give it an instance-level public IP of this name.")
@click.option("--reserved-ip", metavar="NAME", help="With the first VM: the address of the service's VIP.")
def vm_create(
    service: str,
    vm: str,
    subnet: str | None,
    servers: tuple[str, ...],
    public_ip: str | None,
    reserved_ip: str | None,
) -> "Operation":
    """Make a VM in a cloud service, as New-AzureVM does. Needs root.

    Its address is the lowest that the subnet has free; without a subnet it is in 100.64.0.0/10.

    \b
    Example:
      sudo lab vm create multivip myService myVM3 --subnet vnet1/front --service http:80
      sudo lab vm create instance-public-ip FTPService FTPCopy --public-ip copyip
    """
    from lab.operations.cloud_service import AddVirtualMachine

    return AddVirtualMachine(
        service=service,
        name=vm,
        subnet=subnet,
        services=_services(servers),
        public_ip=public_ip,
        reserved_ip=reserved_ip,
    )


def _services(texts: "Sequence[str]") -> "tuple[Service, ...]":
    """Read servers of a VM.

    Raises:
        UsageError: one is none.

    """
    from lab import topology

    try:
        return topology.parse_services(texts)
    except UsageError as error:
        raise UsageError("\n".join(f"--service {line}" for line in str(error).splitlines())) from None


@vm_group.command("start")
@operates("Start-AzureVM")
@click.argument("vm")
def vm_start(vm: str) -> "Operation":
    """Start a VM, as Start-AzureVM does. Needs root.

    With the first VM that is started a service whose VMs were all deallocated is given dynamic addresses, which may be
    others than before; a reserved one is the same.

    \b
    Example:
      sudo lab vm start multivip myVM1
    """
    from lab.operations.power import SetPower

    return SetPower(vm, "Started")


@vm_group.command("stop")
@operates("Stop-AzureVM")
@click.argument("vm")
def vm_stop(vm: str) -> "Operation":
    """Stop a VM, which keeps its addresses, as Stop-AzureVM -StayProvisioned does. Needs root.

    A load balancer finds it down by its probes.

    \b
    Example:
      sudo lab vm stop multivip myVM1
    """
    from lab.operations.power import SetPower

    return SetPower(vm, "Stopped")


@vm_group.command("deallocate")
@operates("Stop-AzureVM")
@click.argument("vm")
def vm_deallocate(vm: str) -> "Operation":
    """Stop a VM and give back what it was given, as Stop-AzureVM does. Needs root.

    Its instance-level public IP is released, and with the last VM of a service the service's dynamic addresses.

    \b
    Example:
      sudo lab vm deallocate multivip myVM1
    """
    from lab.operations.power import SetPower

    return SetPower(vm, "Deallocated")


COMMANDS: tuple[click.Command, ...] = (vm_group,)
