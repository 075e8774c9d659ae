"""``lab check``, ``plan``, ``schema``: no privilege, nothing is made."""

from pathlib import Path
from typing import Any

import click

from lab.cli.arguments import only_file
from lab.cli.execution import need_root
from lab.cli.options import output_option, profile_option, time_scale_option
from lab.cli.output import count, print_json
from lab.errors import TopologyError, UsageError


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@output_option
def check(files: tuple[Path, ...], output: str) -> None:
    """Parse and validate topology files; make nothing.

    Every problem of a file is reported at once, with its line, what was found, what must hold and what
    to do. Without FILE the only *.lab.yaml of the folder is taken.

    \b
    Example:
      lab check source-ip.lab.yaml
    """
    from lab import topology

    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for file in files or (only_file(),):
        try:
            network = topology.load(file)
        except TopologyError as error:
            problems += error.lines
            found.append({"file": str(file), "ok": False, "problems": list(error.lines)})
        except UsageError as error:
            problems.append(str(error))
            found.append({"file": str(file), "ok": False, "problems": [str(error)]})
        else:
            vms, hosts = len(network.virtual_machines), len(network.internet)
            found.append({"file": str(file), "ok": True, "name": network.name, "vms": vms, "hosts": hosts})
            if output == "table":
                click.echo(f"{file}: ok: {network.name}, {count(vms, 'VM')}, {count(hosts, 'outside host')}")
    if output == "json":
        print_json({"files": found})
    if problems:
        raise TopologyError(problems)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--diff", is_flag=True, help="Only what `up` would change in the lab of that name that runs now.")
@click.option("--kernel", is_flag=True, help="With --diff: compare with what the kernel has, not with the record.")
@time_scale_option
@profile_option
@output_option
def plan(file: Path | None, diff: bool, kernel: bool, time_scale: int | None, profile: str | None, output: str) -> None:
    """Print every kernel object that `up` would make, each with its why.

    The why names the rule file under lab/path/, the entity, and the document that says so; the same
    text is the comment of the iptables rule.

    \b
    Example:
      lab plan source-ip.lab.yaml
      lab plan source-ip.lab.yaml --diff
      sudo lab plan source-ip.lab.yaml --diff --kernel
    """
    from lab import topology
    from lab.compile import compile as compile_network

    chosen = file or only_file()
    if kernel and not diff:
        raise UsageError("lab plan: --kernel says what --diff compares with; it must stand with it; add --diff")
    if kernel:
        need_root()
    if not diff:
        made = compile_network(topology.load(chosen, time_scale=time_scale, profile=profile))
        if output == "json":
            print_json(made)
        else:
            click.echo(made.text(), nl=False)
        return
    from lab import plan as planning
    from lab.kernel.state import existing
    from lab.runtime import lifecycle, show

    network = lifecycle.load(chosen, time_scale=time_scale, profile=profile)
    if kernel:
        there, beside = show.held(network.name)
        change = planning.difference(there, lifecycle.plan_now(network), beside)
    else:
        change = planning.difference(existing(network.name)[0].plan(), lifecycle.plan_now(network))
    if output == "json":
        print_json(change)
    else:
        click.echo(change.text() or "nothing would change\n", nl=False)


@click.command()
def schema() -> None:
    """Print the JSON schema (draft-07) of topology files, for editors.

    \b
    Example:
      lab schema > lab.schema.json
    """
    from lab import topology

    print_json(topology.schema())


COMMANDS: tuple[click.Command, ...] = (check, plan, schema)
