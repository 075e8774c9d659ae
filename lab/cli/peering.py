"""``lab peering``: the halves of peerings of virtual networks."""

from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import network_named
from lab.cli.execution import operates
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import print_json, print_table
from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.operations.base import Operation
    from lab.operations.peering import Switches


@click.group("peering")
def peering_group() -> None:
    """Look at the peerings of virtual networks, and make, change and delete their halves.

    \b
    Example:
      lab peering show peerings.lab.yaml
      sudo lab peering create peerings lone to-spoke1 --remote-vnet spoke1
      sudo lab peering delete peerings lone to-spoke1
    """


def _switches(command: Any) -> Any:
    """Give a command the four switches of a half, named as Azure's command line has them."""
    for words, key, text in (
        ("--use-remote-gateways/--no-remote-gateways", "use_remote_gateways", "Use the other network's gateway."),
        ("--allow-gateway-transit/--no-gateway-transit", "allow_gateway_transit", "Let it use this one's gateway."),
        ("--allow-forwarded-traffic/--no-forwarded-traffic", "allow_forwarded_traffic", "Let in what it forwards."),
        ("--allow-vnet-access/--no-vnet-access", "allow_virtual_network_access", "Let the two reach each other."),
    ):
        command = click.option(words, key, default=None, help=text)(command)
    return command


def _given(**switches: bool | None) -> "Switches":
    from lab.operations.peering import Switches

    return Switches(**switches)


@peering_group.command("show")
@lab_or_file_argument
@click.argument("vnet", required=False)
@output_option
def show_peerings(vnet: str | None, name: str, output: str) -> None:
    """Show the halves of peerings, each with its state and its switches. Of a lab, needs root.

    A half alone is Initiated, two are Connected; one whose other half was deleted is Disconnected. JSON has the
    fields of Azure's own list of peerings.

    \b
    Example:
      lab peering show peerings.lab.yaml
      lab peering show peerings.lab.yaml hub -o json
    """
    from lab.azure import peerings

    network = network_named(name)
    known = [one.name for one in network.virtual_networks]
    if vnet is not None and vnet not in known:
        raise UsageError(f'{network.name}: no virtual network "{vnet}"; {did_you_mean(vnet, known)}')
    chosen = [one for one in network.virtual_networks if vnet in (None, one.name)]
    shown = [peerings.shown(network, one, half) for one in chosen for half in one.peerings]
    if output == "json":
        print_json({"peerings": shown})
        return
    head = ("NETWORK", "PEERING", "REMOTE", "STATE", "ACCESS", "FORWARDED", "TRANSIT", "REMOTE GW")
    keys = ("allowVirtualNetworkAccess", "allowForwardedTraffic", "allowGatewayTransit", "useRemoteGateways")
    rows = [
        (
            fields["virtualNetwork"],
            fields["name"],
            fields["remoteVirtualNetwork"],
            fields["peeringState"],
            *("yes" if fields[key] else "no" for key in keys),
        )
        for fields in shown
    ]
    print_table(head, rows, empty="no peering")


@peering_group.command("create")
@operates("Add-AzVirtualNetworkPeering")
@click.argument("vnet")
@click.argument("peering")
@click.option("--remote-vnet", "remote", required=True, metavar="VNET", help="The network at the other end.")
@_switches
def create_peering(vnet: str, peering: str, remote: str, **switches: bool | None) -> "Operation":
    """Give a virtual network its half of a peering; with the other half, the two are Connected. Needs root.

    \b
    Example:
      sudo lab peering create peerings lone to-spoke1 --remote-vnet spoke1
    """
    from lab.operations.peering import CreatePeering

    return CreatePeering(vnet, peering, remote, _given(**switches))


@peering_group.command("set")
@operates("Set-AzVirtualNetworkPeering")
@click.argument("vnet")
@click.argument("peering")
@_switches
def set_peering(vnet: str, peering: str, **switches: bool | None) -> "Operation":
    """Change what a half lets the other network do; what is not given stays as it is. Needs root.

    \b
    Example:
      sudo lab peering set peerings closed to-hub --allow-vnet-access
    """
    from lab.operations.peering import SetPeering

    return SetPeering(vnet, peering, _given(**switches))


@peering_group.command("delete")
@operates("Remove-AzVirtualNetworkPeering")
@click.argument("vnet")
@click.argument("peering")
@click.option("--both", is_flag=True, help="Delete the other half as well, as the portal does.")
def delete_peering(vnet: str, peering: str, *, both: bool) -> "Operation":
    """Delete a half: nothing passes any more, and the other half is Disconnected. Needs root.

    \b
    Example:
      sudo lab peering delete peerings spoke2 to-hub
    """
    from lab.operations.peering import DeletePeering

    return DeletePeering(vnet, peering, both=both)


COMMANDS: tuple[click.Command, ...] = (peering_group,)
