"""``lab public-ip``: addresses of VMs' own."""

from typing import TYPE_CHECKING

import click

from lab.cli.arguments import network_named, read_name
from lab.cli.execution import operates
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import print_json, print_table
from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.operations.base import Operation


@click.group("public-ip")
def public_ip_group() -> None:
    """Give VMs instance-level public IPs, look at them, and take them away.

    \b
    Example:
      sudo lab public-ip set instance-public-ip FTPInstance ftpip
      sudo lab public-ip show instance-public-ip
      sudo lab public-ip remove instance-public-ip FTPInstance
    """


@public_ip_group.command("set")
@operates("Update-AzureVM")
@click.argument("vm")
@click.argument("public_ip_name", metavar="NAME")
@click.option("--domain-name-label", metavar="LABEL", help="A name of its own, under that of the VM's cloud service.")
@click.option("--idle-timeout-in-minutes", type=int, metavar="N", help="4 to 30.  [default: 4]")
def set_public_ip(
    vm: str, public_ip_name: str, domain_name_label: str | None, idle_timeout_in_minutes: int | None
) -> "Operation":
    """Give a VM an address of its own, or change the label or timeout of the one that has this name. Needs root.

    The address is the platform's choice. Flows that live keep the one they have. Until `lab up FILE`, which makes
    the file's word true again.

    \b
    Example:
      sudo lab public-ip set instance-public-ip FTPInstance ftpip
      sudo lab public-ip set instance-public-ip FTPInstance ftpip --domain-name-label ftp --idle-timeout-in-minutes 15
    """
    from lab.operations.public_ip import SetPublicIp

    return SetPublicIp(vm, read_name(public_ip_name), domain_name_label, idle_timeout_in_minutes)


@public_ip_group.command("remove")
@operates("Update-AzureVM")
@click.argument("vm")
def remove_public_ip(vm: str) -> "Operation":
    """Take a VM's own address away: it leaves by its service's VIP or the default address again. Needs root.

    \b
    Example:
      sudo lab public-ip remove instance-public-ip FTPInstance
    """
    from lab.operations.public_ip import RemovePublicIp

    return RemovePublicIp(vm)


@public_ip_group.command("show")
@lab_or_file_argument
@click.argument("vm", required=False)
@output_option
def show_public_ips(vm: str | None, name: str, output: str) -> None:
    """Show the VMs that have an address of their own: address, name, label, names in DNS. Of a lab, needs root.

    A deallocated VM has given its address back, and is given another when it is started: until then it has "-".
    JSON has the fields of the documents: PublicIPAddress, PublicIPName, PublicIPDomainNameLabel, PublicIPFqdns,
    blank for what a VM has not.

    \b
    Example:
      sudo lab public-ip show instance-public-ip
      sudo lab public-ip show instance-public-ip FTPInstance -o json
      lab public-ip show instance-public-ip.lab.yaml
    """
    from lab.azure import public_ips

    network = network_named(name)
    vms = [v for v in network.virtual_machines if v.name == vm] if vm else public_ips.holders(network)
    if vm is not None and not vms:
        known = [v.name for v in network.virtual_machines]
        raise UsageError(f'{network.name}: no virtual machine "{vm}"; {did_you_mean(vm, known)}')
    shown = [public_ips.shown(network, v) for v in vms]
    if output == "json":
        print_json({"public_ips": shown})
        return
    head = ("VM", "SERVICE", "ADDRESS", "NAME", "LABEL", "IDLE", "NAMES IN DNS")
    keys = ("Name", "ServiceName", "PublicIPAddress", "PublicIPName", "PublicIPDomainNameLabel")
    rows = [
        (
            *(str(fields[key]) or "-" for key in keys),
            f"{fields['IdleTimeoutInMinutes']} min" if fields["PublicIPName"] else "-",
            " ".join(fields["PublicIPFqdns"]) or "-",
        )
        for fields in shown
    ]
    print_table(head, rows, empty="no instance-level public IP")


COMMANDS: tuple[click.Command, ...] = (public_ip_group,)
