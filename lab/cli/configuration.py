"""``lab import`` and ``export``: network configuration files."""

from pathlib import Path

import click

from lab.cli.manners import perform
from lab.cli.options import lab_option
from lab.cli.printing import print_table
from lab.cli.reading import network_named, only_lab
from lab.errors import UsageError


@click.group("import")
def import_group() -> None:
    """Take the configuration of a running lab's networks from a file.

    \b
    Example:
      sudo lab import netcfg NetworkConfig.xml
    """


@import_group.command("netcfg")
@click.argument("file", type=click.Path(path_type=Path))
@lab_option
def import_netcfg(file: Path, name: str | None) -> None:
    """Replace networks, local networks, DNS servers and connections by those of a NetworkConfiguration file.

    All of it or nothing. VMs, gateways and the keys of connections that stay are kept. Needs root.

    \b
    Example:
      sudo lab import netcfg NetworkConfig.xml
    """
    from lab import netcfg
    from lab.operations.netcfg import ImportConfiguration

    try:
        if file.stat().st_size > netcfg.MAX_BYTES:
            raise UsageError(f"{file}: larger than {netcfg.MAX_BYTES:,} bytes; it must be a network configuration")
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}; a network configuration is a text file; name one") from None
    made = netcfg.read(text, str(file))
    perform(name or only_lab(), ImportConfiguration(made, file.name))
    print_table(("OperationDescription", "OperationId", "OperationStatus"), [("Set-AzureVNetConfig", "-", "Succeeded")])


@click.group("export")
def export_group() -> None:
    """Write the configuration of a lab's networks in the documents' own form.

    \b
    Example:
      sudo lab export netcfg > NetworkConfig.xml
    """


@export_group.command("netcfg")
@click.argument("name", required=False)
def export_netcfg(name: str | None) -> None:
    """Print the NetworkConfiguration of a running lab, which needs root, or of a topology file.

    \b
    Example:
      lab export netcfg vnet-to-vnet.lab.yaml
      sudo lab export netcfg vnet-to-vnet
    """
    from lab import netcfg

    click.echo(netcfg.write(network_named(name or only_lab())), nl=False)


COMMANDS: tuple[click.Command, ...] = (import_group, export_group)
