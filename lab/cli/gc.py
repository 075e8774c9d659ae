"""``lab gc``."""

import sys
from typing import TYPE_CHECKING

import click

from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, wait_option
from lab.cli.output import count, print_json, print_table
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.remains import Remains


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Remove what is found, without asking.")
@output_option
@wait_option
def gc(output: str, *, yes: bool) -> None:
    """List what dead labs have left on this machine, and remove it when that is confirmed.

    A lab is dead if a killed command left it half made or half removed, or if its record cannot be read or is gone.
    What is found carries the mark of a lab: namespaces, processes, and files under /run/lab. Labs that run are left
    alone, and so is what a command is working on. On a terminal `lab gc` asks before it removes anything; elsewhere
    it only lists, unless --yes is given. Needs root.

    \b
    Example:
      sudo lab gc
      sudo lab gc --yes
    """
    from lab.kernel import remains

    need_root()
    found = remains.find()
    if output == "table":
        rows = [(one.lab, one.why, _parts(one)) for one in found]
        print_table(("LAB", "WHY", "LEFT"), rows, empty="no dead lab has left anything")
    asked = sys.stdin.isatty() and sys.stdout.isatty() and output == "table" and not yes and bool(found)
    agreed = yes or (asked and click.confirm("Remove it?"))
    failed = _remove(found) if agreed else {}
    if output == "json":
        labs = [{"removed": agreed and one.lab not in failed, **_as_json(one)} for one in found]
        print_json({"found": labs})
    elif found and not agreed:
        click.echo("nothing was removed; run `lab gc --yes` to remove it", err=True)
    if failed:
        sys.exit(max(error.exit_code for error in failed.values()))


def _remove(found: "list[Remains]") -> dict[str, LabError]:
    """Remove what dead labs have left; return what could not be, by lab."""
    from lab.kernel import apply

    failed = {}
    with interruptible("what was removed is gone; run it again for the rest"):
        for one in found:
            try:
                apply.clear(one.lab)
                click.echo(f"{one.lab}: removed", err=True)
            except LabError as error:  # the others are removed all the same
                failed[one.lab] = error
                click.echo(str(error), err=True)
    return failed


def _parts(one: "Remains") -> str:
    parts = ((one.namespaces, "namespace", "s"), (one.processes, "process", "es"), (one.files, "file", "s"))
    return ", ".join(count(len(things), noun, plural) for things, noun, plural in parts if things)


def _as_json(one: "Remains") -> dict[str, object]:
    return {
        "lab": one.lab,
        "why": one.why,
        "namespaces": one.namespaces,
        "processes": [process.pid for process in one.processes],
        "files": one.files,
    }


COMMANDS: tuple[click.Command, ...] = (gc,)
