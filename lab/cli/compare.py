"""``lab compare``: what Azure itself said of a network, beside the documents and the wire."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.arguments import SUFFIX, network_named, read_text, state_of
from lab.cli.execution import need_root
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import count, print_json
from lab.errors import ContradictedError, TopologyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.azure.model import Network
    from lab.formats.azure_answers import Answer
    from lab.predict.compared import Found, Row
    from lab.verify.probe import Prober


@click.command("compare")
@lab_or_file_argument
@click.argument("answers", metavar="AZURE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--vm", metavar="VM", help="The VM that an answer is about, where it does not say.")
@click.option("--remote", metavar="ADDRESS[:PORT]", help="The other end: a node or an address, where it does not say.")
@click.option("--local-port", type=click.IntRange(1, 65535), metavar="PORT", help="The VM's own port of an IP flow.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "icmp"]), help="Of a flow or connection.  [default: tcp]")
@click.option("--direction", type=click.Choice(["Inbound", "Outbound"]), help="Of an IP flow.  [default: Outbound]")
@click.option("--send", is_flag=True, help="Send the flows and connections too, in a running lab. Needs root.")
@output_option
def compare(
    name: str,
    answers: tuple[Path, ...],
    vm: str | None,
    remote: str | None,
    local_port: int | None,
    protocol: str | None,
    direction: str | None,
    send: bool,
    output: str,
) -> None:
    """Line up what Azure said of a network with the documents and, with --send, with the wire: differences first.

    AZURE is a stored answer of `az network nic show-effective-route-table` or `list-effective-nsg`, or of
    `az network watcher test-connectivity`, `test-ip-flow` or `show-next-hop`, told by its content. The VM is known by
    the ids in the answer, where the topology was imported or a name is the same, or by --vm. A difference ends with
    status 1.

    \b
    Example:
      lab compare nsg.lab.yaml effective-nsg.json --vm web1
      lab compare vnet-to-vnet.lab.yaml next-hop.json --vm vm1 --remote 10.2.0.4
      sudo lab compare nsg connectivity.json --vm web1 --remote web2:80 --send
    """
    from lab.formats.azure_answers import Asked
    from lab.predict import compared

    if send and name.endswith(SUFFIX):
        raise UsageError(f"{name}: a topology file; flows are sent in a running lab; run `lab up`, and name the lab")
    network = network_named(name)
    if vm is not None and network.vm(vm) is None:
        raise UsageError(f'{name}: no VM "{vm}"; {did_you_mean(vm, [v.name for v in network.virtual_machines])}')
    host, port = _remote(remote)
    given = Asked(
        target=vm or "",
        local_port=local_port or 0,
        remote=host,
        remote_port=port,
        protocol=protocol or "",
        direction=direction or "",
    )
    read = _read(answers)
    ids = _ids(name)
    down, broken = state_of(name, network)
    found = []
    for file, answer in read:
        try:
            found.append((file, compared.compare(network, answer, given, ids, down=down, broken=broken)))
        except compared.UnknownEndError as unknown:
            must = "it must be known what Azure was asked about"
            raise UsageError(
                f"{file}: it does not say, of {name}, what {unknown} would; {must}; give {unknown}"
            ) from None
    if send:
        found = _sent(network, found)
    _tell(found, output)


def _remote(text: str | None) -> "tuple[str, int]":
    """Read ADDRESS[:PORT]."""
    from lab.cli.arguments import read_service

    host, colon, port = (text or "").partition(":")
    return host, read_service(port).port if colon else 0


def _read(files: "Sequence[Path]") -> "list[tuple[Path, Answer]]":
    """Read stored answers.

    Raises:
        UsageError: a file cannot be read.
        TopologyError: one is none; everything that is wrong with them.

    """
    from lab.formats import azure_answers

    made: list[tuple[Path, Answer]] = []
    problems: list[str] = []
    for file in files:
        text = read_text(file, azure_answers.MAX_BYTES, azure_answers.WHAT)
        found, wrong = azure_answers.read(text, str(file))
        made += [(file, one) for one in found]
        problems += wrong
    if problems:
        raise TopologyError(problems)
    return made


def _ids(name: str) -> dict[str, str]:
    from lab import topology
    from lab.predict import compared

    return compared.ids_of(topology.read(Path(name))) if name.endswith(SUFFIX) else {}


def _sent(network: "Network", found: "list[tuple[Path, Found]]") -> "list[tuple[Path, Found]]":
    """Send each flow whose ends are nodes of the lab."""
    need_root()
    from lab.verify.probe import Prober

    with Prober() as prober:
        return [(file, _on_the_wire(network, one, prober)) for file, one in found]


def _on_the_wire(network: "Network", one: "Found", prober: "Prober") -> "Found":
    from lab.predict import compared, observed

    flow = one.flow
    outside = flow is None or flow.hops[-1].watch is None or flow.predicted.destination is None
    if flow is None or outside or (network.host(flow.predicted.to) is None and flow.predicted.to == "internet"):
        return one
    return compared.on_the_wire(one, observed.send(network, flow, prober))


def _tell(found: "list[tuple[Path, Found]]", output: str) -> None:
    """Print the differences first, and refuse if there are any.

    Raises:
        ContradictedError: there are.

    """
    rows = [(file, row) for file, one in found for row in one.rows]
    rows.sort(key=lambda pair: not pair[1].differs)
    skipped = [line for _, one in found for line in one.skipped]
    differ = sum(row.differs for _, row in rows)
    if output == "json":
        summary = {"differ": differ, "same": len(rows) - differ}
        listed = [_row_json(file, row) for file, row in rows]
        print_json({"comparisons": listed, "not_compared": skipped, "summary": summary})
    else:
        for _, row in rows:
            _print_row(row)
        for line in skipped:
            _say(f"not compared: {line}")
        click.echo(f"{differ} of {count(len(rows), 'line')} {'differs' if differ == 1 else 'differ'}")
    if differ:
        first = next(row for _, row in rows if row.differs)
        raise ContradictedError(
            f"{first.vm}: {first.what}: Azure says {first.azure}, the documents {first.document}"
            f"{f', and the wire: {first.lab}' if first.lab else ''}; they must be the same; "
            "correct the topology, or look for what it cannot express"
        )


def _row_json(file: Path, row: "Row") -> dict[str, object]:
    return {
        "file": str(file),
        "kind": row.kind,
        "vm": row.vm,
        "what": row.what,
        "azure": row.azure,
        "document": row.document,
        "lab": row.lab or None,
        "differs": row.differs,
    }


def _print_row(row: "Row") -> None:
    if not row.differs:
        seen = f"; {row.lab}" if row.lab else ""
        _say(f"same     {row.vm}: {row.what}: {row.azure}{seen}", "         ")
        return
    _say(f"DIFFERS  {row.vm}: {row.what}", "         ")
    for who, said in (("Azure", row.azure), ("document", row.document), ("lab", row.lab or "not sent")):
        _say(f"           {who + ':':<10}{said}", " " * 21)


def _say(text: str, others: str = "    ") -> None:
    """Print a line of at most 80 columns, or several."""
    import textwrap

    first = text[: len(text) - len(text.lstrip())]
    wrap = textwrap.wrap
    for line in wrap(text.lstrip(), 80, initial_indent=first, subsequent_indent=others, break_on_hyphens=False):
        click.echo(line)


COMMANDS: tuple[click.Command, ...] = (compare,)
