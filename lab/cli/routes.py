"""``lab routes``: where the packets of a VM go."""

import click

from lab.cli.arguments import network_named
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import print_json, print_table
from lab.errors import UsageError, did_you_mean


@click.command("routes")
@lab_or_file_argument
@click.argument("vm")
@output_option
def routes_command(vm: str, name: str, output: str) -> None:
    """Show the effective routes of a VM's primary interface: system routes, gateways', and its route table's.

    Invalid is a route that another one of the same prefix overrides, and one to an appliance that is not there. JSON
    has the fields of Azure's own answer. A stopped VM has no effective routes. Of a lab, needs root.

    \b
    Example:
      lab routes routes.lab.yaml app1
      sudo lab routes routes near1 -o json
    """
    from lab.azure import routes

    network = network_named(name)
    found = network.vm(vm)
    if found is None:
        known = [one.name for one in network.virtual_machines]
        raise UsageError(f'{network.name}: no virtual machine "{vm}"; {did_you_mean(vm, known)}')
    if found.power_state != "Started":
        raise UsageError(
            f"{network.name}: {vm} is {found.power_state.lower()}; effective routes are those of a VM that runs; "
            f"start it: lab vm start {network.name} {vm}"
        )
    vnet = network.virtual_network(found.virtual_network)
    subnet = next(one for one in vnet.subnets if one.name == found.subnet)
    listed = routes.effective(network, vnet, subnet)
    if output == "json":
        print_json({"value": [routes.shown(route) for route in listed]})
        return
    rows = [
        (
            route.source,
            route.state,
            str(route.prefix),
            route.next_hop_type,
            str(route.next_hop or "-"),
            route.name or "-",
        )
        for route in listed
    ]
    print_table(("SOURCE", "STATE", "ADDRESS PREFIX", "NEXT HOP TYPE", "NEXT HOP IP", "NAME"), rows, empty="no route")


COMMANDS: tuple[click.Command, ...] = (routes_command,)
