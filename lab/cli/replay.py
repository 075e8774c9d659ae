"""``lab replay``: the documents' own PowerShell against a running lab."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lab.cli.execution import interruptible, need_root
from lab.cli.options import lab_argument, output_option
from lab.cli.output import print_json, progress


@click.command("replay")
@lab_argument
@click.argument("script", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--overwrite", is_flag=True, help="Let the script write files that are there, as -ExportToFile may name.")
@output_option
def replay_script(name: str, script: Path, output: str, *, overwrite: bool) -> None:
    """Run the documents' PowerShell lines, pasted as they stand, against a running lab. Needs root.

    SCRIPT is a file, or - for standard input. Its cmdlets do what lab's own commands do, and print what the
    documents show. All of it is read before any of it runs; an error stops it, and says what was done before.
    Pipelines, variables, properties, strings, Where-Object and backticks at line ends are understood; other
    PowerShell is refused with its line and column. Get-AzureVNetConfig -ExportToFile writes a new file of this
    machine, and says so; a file that is there already is refused without --overwrite, and a link always.

    \b
    Example:
      sudo lab replay vnet-to-vnet - <<'END'
      $connection = Get-AzureVNetConnection -VNetName VNet1
      $connection.ConnectivityState
      END
    """
    import random
    import sys

    from lab.cmdlets import runner
    from lab.runtime import replay

    is_input = str(script) == "-"
    text = replay.decoded(sys.stdin.buffer.read(replay.MAX_BYTES + 1), "-") if is_input else replay.read(script)
    read, notes = runner.read(text, str(script))
    need_root()
    lab = replay.RunningLab(
        name, _undoing, overwrite=overwrite, wrote=lambda file: click.echo(f"wrote {file}", err=True)
    )
    for note in notes:
        click.echo(note, err=True)
    printed: list[str] = []
    try:
        for text in runner.play(read, lab, random.SystemRandom()):
            if output == "table":
                click.echo(f"\n{text}" if printed else text)
            printed.append(text)
    finally:  # what was done before an error is kept, and told of
        if output == "json":
            print_json({"lab": name, "printed": printed, "notes": [str(note) for note in notes]})


@contextmanager
def _undoing() -> Iterator[Callable[[str], None]]:
    """Say what is being done; undo it if it is interrupted."""
    with interruptible(), progress() as say:
        yield say


COMMANDS: tuple[click.Command, ...] = (replay_script,)
