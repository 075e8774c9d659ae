"""``lab outbound``, ``explain`` and ``whatif``: which address a flow is seen with, which way it goes, and why."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import SUFFIX, network_named
from lab.cli.options import profile_option
from lab.cli.output import count, print_json, print_table
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.azure.model import Network
    from lab.predict.outbound import Supply, WayOut

_CSV = ("vm", "way_out", "address", "first_port", "last_port", "snat_ports", "alone", "sharers", "bound_by", "document")


@click.command("outbound")
@click.argument("name")
@profile_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A short table, everything as JSON, or a line for each address as CSV.",
)
def show_outbound(name: str, profile: str | None, output: str) -> None:
    """Show the way out of every VM: the addresses it is seen with, its ports, what binds it, and why.

    NAME is a topology file, which needs no root, or a running lab. It is the answer for an allow-list. The answer is
    predicted by the documents of the revision; `lab explain` says more about one VM.

    \b
    Example:
      lab outbound topologies/source-ip.lab.yaml
      lab outbound topologies/source-ip.lab.yaml --profile 2016-10 -o csv
    """
    from lab.predict.outbound import Outbound

    ways = Outbound(_network(name, profile)).all()
    if output == "json":
        print_json({"outbound": [_way_json(way) for way in ways]})
    elif output == "csv":
        click.echo(_csv(ways), nl=False)
    else:
        _print_ways(ways)


def _network(name: str, profile: str | None) -> "Network":
    """Return the network of a file, with another revision if one is asked for, or of a running lab.

    Raises:
        UsageError: another revision is asked for, of a running lab.

    """
    from lab import topology

    if profile is None:
        return network_named(name)
    if not name.endswith(SUFFIX):
        raise UsageError(
            f"{name}: a running lab plays the revision that it was made with; --profile needs a file; name a *{SUFFIX}"
        )
    return topology.load(Path(name), profile=profile)


def _ports(supply: "Supply") -> str:
    """Say which ports of an address a VM has, and whether it has them alone."""
    if supply.ports is None:
        return "unchanged"
    said = f"{supply.ports.first}-{supply.ports.last}"
    return f"{said} ({supply.count:,})" if supply.alone else f"{said}, {count(supply.sharers, 'VM')}"


def _print_ways(ways: "tuple[WayOut, ...]") -> None:
    rows = []
    for way in ways:
        for number, supply in enumerate(way.supplies):
            bound, more = supply.bound_by[0], len(supply.bound_by) - 1
            why = way.reason if way.kind == "default outbound" else bound + (f", {more} more" if more else "")
            rows.append((way.vm if number == 0 else "", str(supply.address), _ports(supply), why))
        if not way.supplies:
            rows.append((way.vm, "-", "-", way.considered[0].because))
    print_table(("VM", "SEEN FROM", "PORTS", "WHY"), rows, empty="no VM")


def _csv(ways: "tuple[WayOut, ...]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for way in ways:
        for supply in way.supplies:
            ports = (supply.ports.first, supply.ports.last, supply.count) if supply.ports else ("", "", "")
            alone = "true" if supply.alone else "false"
            bound = ", ".join(supply.bound_by) if way.kind != "default outbound" else way.reason
            writer.writerow((way.vm, way.kind, supply.address, *ports, alone, supply.sharers, bound, way.document))
        if not way.supplies:
            writer.writerow((way.vm, way.kind, *[""] * 6, way.considered[0].because, way.document))
    return text.getvalue()


def _way_json(way: "WayOut") -> dict[str, Any]:
    return {
        "vm": way.vm,
        "way_out": way.kind,
        "addresses": [
            {
                "address": supply.address,
                "first_port": supply.ports.first if supply.ports else None,
                "last_port": supply.ports.last if supply.ports else None,
                "snat_ports": supply.count if supply.ports else None,
                "alone": supply.alone,
                "sharers": supply.sharers,
                "bound_by": supply.bound_by,
            }
            for supply in way.supplies
        ],
        "reason": way.reason,
        "document": way.document,
        "considered": [
            {
                "way": found.way,
                "applies": found.applies,
                "because": found.because,
                "change": found.change or None,
                "document": found.document,
            }
            for found in way.considered
        ],
    }


COMMANDS: tuple[click.Command, ...] = (show_outbound,)
