"""``lab graph``: a picture of a topology file or a running lab."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.options import profile_option
from lab.cli.output import print_json, to_file
from lab.errors import MachineError, UsageError

if TYPE_CHECKING:
    from lab.azure.model import Network
    from lab.pictures.diagram import Diagram, Live

_SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".json": "json"}


@click.command("graph")
@click.argument("name", metavar="LAB|FILE")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["svg", "mermaid", "dot", "json"]),
    help="The language of the picture.  [default: by the suffix of -w, or svg]",
)
@click.option("-w", "--write", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
@profile_option
def graph(name: str, output: str | None, write: Path | None, profile: str | None) -> None:
    """Draw a network: virtual networks, subnets, VMs, load balancers, rules, security groups, tunnels.

    Each VM has the address that it is seen with outside. VMs that differ in name and address alone share a card. Of a
    running lab the picture also shows which members are down, the state of tunnels and the SNAT ports in use. The SVG
    follows the reader's light or dark scheme.

    \b
    Example:
      lab graph source-ip.lab.yaml -w source-ip.svg
      lab graph source-ip.lab.yaml -o mermaid
    """
    from lab.cli.arguments import SUFFIX, network_named
    from lab.pictures import diagram

    if profile is not None and not name.endswith(SUFFIX):
        raise UsageError(f"{name}: a running lab plays its own revision; --profile needs a file; name a *{SUFFIX}")
    network, live = _of_file(name, profile) if name.endswith(SUFFIX) else (network_named(name), _live(name))
    kind = output or (_SUFFIXES.get(write.suffix.lower(), "svg") if write is not None else "svg")
    picture = diagram.diagram(network, live)
    if kind == "json" and write is None:
        print_json(picture)
        return
    words = _written(picture, kind)
    if write is None:
        click.echo(words, nl=False)
    else:
        with to_file(write):
            write.write_text(words, encoding="utf-8")


def _of_file(name: str, profile: str | None) -> "tuple[Network, Live | None]":
    from lab import topology

    return topology.load(Path(name), profile=profile), None


def _live(name: str) -> "Live":
    """Return what a running lab knows beyond its file; SNAT ports only where its agent may be asked."""
    from lab.errors import LabError
    from lab.pictures.diagram import Live
    from lab.runtime import show, snat_usage

    lab = show.describe(name)
    down = {node.name for node in lab.nodes if node.health and not any(member.up for member in node.health.values())}
    tunnels = {
        (vnet, peer): tunnel.state for vnet, gateway in lab.gateways.items() for peer, tunnel in gateway.tunnels.items()
    }
    ports: dict[str, tuple[int, int]] = {}
    try:
        usages = snat_usage.usage(name)
    except (LabError, PermissionError):
        usages = []
    for usage in usages:
        used, allocated = ports.get(usage.node, (0, 0))
        ports[usage.node] = (used + usage.flows, allocated + usage.allocated)
    return Live(down=frozenset(down), tunnels=tunnels, ports=ports)


def _written(picture: "Diagram", kind: str) -> str:
    """Return a picture in one of its languages.

    Raises:
        MachineError: Graphviz, which lays out the SVG, is missing.

    """
    from lab.pictures import dot, mermaid

    if kind == "json":
        import msgspec

        return str(msgspec.json.format(msgspec.json.encode(picture), indent=2), "utf-8") + "\n"
    if kind != "svg":
        return dot.text(picture) if kind == "dot" else mermaid.text(picture)
    import graphviz

    try:
        return dot.svg(picture)
    except graphviz.ExecutableNotFound:
        raise MachineError(
            "graphviz: `dot` is not there; it lays out the SVG; run scripts/setup, or use -o mermaid or -o dot"
        ) from None


COMMANDS: tuple[click.Command, ...] = (graph,)
