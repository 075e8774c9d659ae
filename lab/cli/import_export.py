"""``lab import`` and ``export``: network and service configuration files, and Azure's own files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.arguments import SUFFIX, network_named, read_text
from lab.cli.execution import operates, perform_as
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import count, print_json
from lab.errors import TopologyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.formats.cscfg import Configuration
    from lab.operations.base import Operation


@click.group("import")
def import_group() -> None:
    """Take the configuration of networks, or of a cloud service, from a file of the documents' or Azure's own form.

    \b
    Example:
      sudo lab import netcfg vnet-to-vnet NetworkConfig.xml
      lab import cscfg instance-public-ip.lab.yaml ServiceConfiguration.cscfg
      lab import azure azuredeploy.json azuredeploy.parameters.json -o mine.lab.yaml
    """


@import_group.command("netcfg")
@operates("Set-AzureVNetConfig")
@click.argument("file", type=click.Path(path_type=Path))
def import_netcfg(file: Path) -> "Operation":
    """Replace networks, local networks, DNS servers and connections by those of a NetworkConfiguration file.

    All of it or nothing. VMs, gateways and the keys of connections that stay are kept. Needs root.

    \b
    Example:
      sudo lab import netcfg vnet-to-vnet NetworkConfig.xml
    """
    from lab.formats import netcfg
    from lab.operations.netcfg import ImportConfiguration

    made = netcfg.read(read_text(file, netcfg.MAX_BYTES, "network configuration"), str(file))
    return ImportConfiguration(made, file.name)


@import_group.command("cscfg")
@lab_or_file_argument
@click.argument("configuration", metavar="CONFIGURATION", type=click.Path(path_type=Path))
@output_option
def import_cscfg(name: str, configuration: Path, output: str) -> None:
    """Give the role instances of a cloud service the public IPs that a ServiceConfiguration file says.

    A topology file is rewritten, and keeps all else as it is; it takes the number of instances of each role too. In
    a running lab, which needs root, the change holds until the next `lab up FILE`.

    \b
    Example:
      lab import cscfg instance-public-ip.lab.yaml ServiceConfiguration.cscfg
      sudo lab import cscfg instance-public-ip ServiceConfiguration.cscfg
    """
    from lab.formats import cscfg
    from lab.operations.base import Refused
    from lab.operations.cscfg import ImportServiceConfiguration

    made = cscfg.read(read_text(configuration, cscfg.MAX_BYTES, "service configuration"), str(configuration))
    if name.endswith(SUFFIX):
        _into_file(Path(name), made, output)
    else:
        try:
            perform_as(name, ImportServiceConfiguration(made, configuration.name), "Set-AzureDeployment", output)
        except Refused as refused:
            raise TopologyError(cscfg.located(made, problem) for problem in refused.problems) from None


@import_group.command("azure")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="TOPOLOGY", type=click.Path(path_type=Path), help="Write here, not to stdout.")
@click.option("--name", metavar="NAME", help="The lab's name; left out, it comes from the first file.")
@click.option("--profile", metavar="PROFILE", help="The revision of the documents; left out, the newest.")
@click.option("--strict", is_flag=True, help="End with status 3 if there is a warning.")
@click.option("--probes", is_flag=True, help="Give each network interface without a VM a VM.")
def import_azure(
    files: tuple[Path, ...], output: Path | None, name: str | None, profile: str | None, strict: bool, probes: bool
) -> None:
    """Make a topology of Azure's own files, and list on stderr what it cannot say.

    FILE is an Azure Resource Manager template, its parameter file, or resources as Azure prints them: the answer of
    `az graph query`, `az ... list -o json`, `az ... show -o json`, `az rest`, `bicep snapshot`, or a Terraform state
    or plan that `terraform show -json` prints. A Bicep file is built, if the compiler `bicep` is on PATH. Several files
    make one topology. A warning is a thing that may change an answer; it says whether that of `lab outbound` may be
    wrong.

    \b
    Example:
      lab import azure azuredeploy.json azuredeploy.parameters.json -o mine.lab.yaml
      lab import azure resources.json --strict
    """
    from lab.azure import profile as revisions
    from lab.errors import InconclusiveError
    from lab.formats import azure_files, azure_resources, azure_topology
    from lab.topology.imported import playable

    found = azure_files.read([(file, text) for file in files for text in _azure_texts(file)])
    made = azure_topology.imported(
        found.resources,
        name or found.name or azure_files.name_of(files[0]),
        profile or found.profile or revisions.NAMES[-1],
        probes=probes,
    )
    shown = azure_resources.shown(" ".join(file.name for file in files))
    text, _, now = playable(made, str(output or files[0]), azure_files.head(shown))
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    warnings = [f"warning: {note}" for note in found.notes]
    warnings += [f"warning: {line}" for line in now.left if line.warning]
    for line in (*warnings, *(f"note: {line}" for line in now.left if not line.warning)):
        click.echo(line, err=True)
    if strict and warnings:
        told = count(len(warnings), "warning")
        raise InconclusiveError(f"{shown}: {told}; --strict allows none; change the input, or leave --strict out")


def _azure_texts(file: Path) -> list[str]:
    """Return the text of a file of Azure's; of a Bicep file what its compiler makes of it, if there is one."""
    from lab.formats import azure_files

    text = read_text(file, azure_files.MAX_BYTES, azure_files.WHAT)
    if file.suffix.lower() in (".bicep", ".bicepparam"):
        from lab.runtime import bicep

        if bicep.is_source(file):
            return bicep.built(file)
    return [text]


def _into_file(file: Path, configuration: "Configuration", output: str) -> None:
    """Change the roles of a topology file to what a service configuration says."""
    from lab import topology

    text = topology.read(file)
    made = topology.configured(text, str(file), configuration)
    if made != text:
        file.write_text(made, encoding="utf-8")
    if output == "json":
        roles = {
            role.name: {"instances": role.instances, "public_ip": role.public_ip.name if role.public_ip else None}
            for role in configuration.roles
        }
        print_json({"file": str(file), "service": configuration.service, "roles": roles})
        return
    for role in configuration.roles:
        own = f", public IP {role.public_ip.name}" if role.public_ip else ""
        click.echo(f"{file}: {configuration.service}: {role.name}: {count(role.instances, 'instance')}{own}")


@click.group("export")
def export_group() -> None:
    """Write the configuration of a lab's networks, or of its cloud service, in the documents' or Azure's own form.

    \b
    Example:
      lab export azure outbound.lab.yaml -o azuredeploy.json
      sudo lab export netcfg vnet-to-vnet > NetworkConfig.xml
      lab export cscfg instance-public-ip.lab.yaml --service ILPIPSample > ServiceConfiguration.cscfg
    """


@export_group.command("netcfg")
@lab_or_file_argument
def export_netcfg(name: str) -> None:
    """Print the NetworkConfiguration of a running lab, which needs root, or of a topology file.

    \b
    Example:
      lab export netcfg vnet-to-vnet.lab.yaml
      sudo lab export netcfg vnet-to-vnet
    """
    from lab.formats import netcfg

    click.echo(netcfg.write(network_named(name)), nl=False)


@export_group.command("cscfg")
@lab_or_file_argument
@click.option("--service", metavar="SERVICE", help="The cloud service; left out, the only one with roles.")
def export_cscfg(name: str, service: str | None) -> None:
    """Print the ServiceConfiguration of a running lab's cloud service, which needs root, or of a topology file's.

    \b
    Example:
      lab export cscfg instance-public-ip.lab.yaml --service ILPIPSample
      sudo lab export cscfg instance-public-ip --service contosoadservice
    """
    from lab.formats import cscfg

    network = network_named(name)
    known = [s for s in network.cloud_services if s.roles]
    chosen = [s for s in known if service in (None, s.name)]
    if len(chosen) != 1:
        names = [s.name for s in known]
        if service is not None:
            raise UsageError(f'{network.name}: no cloud service "{service}" with roles; {did_you_mean(service, names)}')
        found = ", ".join(names) or "none"
        raise UsageError(f"{network.name}: cloud services with roles: {found}; name one of several: --service SERVICE")
    click.echo(cscfg.write(network, chosen[0]), nl=False)


@export_group.command("azure")
@lab_or_file_argument
@click.option("-o", "--output", metavar="TEMPLATE", type=click.Path(path_type=Path), help="Write here, not to stdout.")
def export_azure(name: str, output: Path | None) -> None:
    """Write an Azure Resource Manager template of a running lab, which needs root, or of a topology file.

    What a template cannot hold is listed on stderr, a line for each. Passwords and shared keys are parameters without a
    value. Azure chooses the addresses of public IPs itself; `lab import azure` takes those that the template names.

    \b
    Example:
      lab export azure outbound.lab.yaml -o azuredeploy.json
      sudo lab export azure outbound
    """
    from lab.formats import azure_template

    made = azure_template.exported(network_named(name))
    if output is None:
        click.echo(made.text, nl=False)
    else:
        _write(output, made.text)
    for line in made.left:
        click.echo(f"not in the template: {line}", err=True)


def _write(file: Path, text: str) -> None:
    """Write a file that a user named.

    Raises:
        UsageError: it cannot be written.

    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; a file that can be written is needed; name one") from None


COMMANDS: tuple[click.Command, ...] = (import_group, export_group)
