"""``lab up`` and ``down``."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import SUFFIX, only_file
from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, profile_option, time_scale_option, wait_option
from lab.cli.output import count, print_json, progress, say_ended, say_timers
from lab.errors import LabError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.azure.model import Network
    from lab.kernel.apply import Outcome


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@time_scale_option
@profile_option
@wait_option
@output_option
def up(file: Path | None, time_scale: int | None, profile: str | None, output: str) -> None:
    """Make a topology run; on a running lab, apply only the difference.

    Live flows are kept. What was altered by hand in the lab's namespaces is mended, and listed. Changes that other
    commands made since (`lab gateway`, `nsg`, `service`, `vm`, …) are undone, unless the file has them too; what is
    removed is listed. If a step fails, everything that was made is removed or changed back. If a killed command left
    a lab half made, it is made anew. Needs root.

    \b
    Example:
      sudo lab up source-ip.lab.yaml
      sudo lab up source-ip.lab.yaml --time-scale 60
    """
    from lab.runtime import lifecycle

    chosen = file or only_file()
    network = lifecycle.load(chosen, time_scale=time_scale, profile=profile)
    need_root()
    began = time.monotonic()
    with interruptible(), progress() as say:
        taken = lifecycle.taken_back(network)
        outcome = lifecycle.bring_up(network, chosen, say)
    say_ended(network.name, outcome.ended)
    seconds = time.monotonic() - began
    if output == "json":
        counts = {"vms": len(network.virtual_machines), "hosts": len(network.internet)}
        done = {"built": outcome.built, "changed": outcome.changed, "mended": outcome.mended}
        done |= {"taken_back": taken, "ended": outcome.ended}
        print_json({"lab": network.name, **done, **counts, "seconds": round(seconds, 1)})
    else:
        _print_up(network, chosen, outcome, taken, seconds)


def _print_up(network: "Network", chosen: Path, outcome: "Outcome", taken: Sequence[str], seconds: float) -> None:
    from lab.path import outbound_snat

    if taken:
        what = f"commands made this, and {chosen} does not have it; what shall stay must be in the file"
        click.echo(f"{network.name}: taken back: {', '.join(taken)}; {what}", err=True)
    for line in outcome.mended:
        click.echo(f"{network.name}: mended: {line}")
    if not outcome.built and not outcome.changed:
        click.echo(f"{network.name}: runs already, nothing to change")
        return
    what = f"{count(outcome.changed, 'object')}, " if outcome.built else f"{count(outcome.changed, 'change')}, "
    vms, hosts = len(network.virtual_machines), len(network.internet)
    click.echo(f"{network.name}: up, {what}{count(vms, 'VM')}, {count(hosts, 'outside host')}, {seconds:.1f} s")
    if str(network.overrides):
        click.echo(f"{network.name}: departs from the documents: {network.overrides}")
    if (fewest := outbound_snat.fewer(network)) is not None:
        wanted = network.overrides.snat_ports_per_vm
        click.echo(f"{network.name}: a VM has {fewest:,} SNAT ports of an address, not {wanted:,}: there are no more")
    say_timers(network.name)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every lab of this machine.")
@wait_option
@output_option
def down(names: tuple[str, ...], everything: bool, output: str) -> None:
    """Remove labs: exactly what their records say is theirs. Needs root.

    Processes that `lab exec` or `lab shell` left in nodes are ended, and named. To remove a lab twice is fine: "is
    not up", exit status 0. A name that no lab has had since the machine was started is an error, exit status 2. The
    other labs that are named are removed all the same.

    \b
    Example:
      sudo lab down source-ip
      sudo lab down --all
    """
    from lab.kernel.state import folders

    if bool(names) == everything:
        raise UsageError("lab down: needs names of labs, or --all and none; see `lab list`")
    need_root()
    chosen = tuple(name.removesuffix(SUFFIX) for name in (folders() if everything else names))
    for name in chosen:
        _check_name(name)
    failed: list[LabError] = []
    removed = []
    for name in chosen:
        try:
            removed.append({"lab": name, **_remove(name)})
        except LabError as error:  # the others are removed all the same
            failed.append(error)
            click.echo(str(error), err=True)
            continue
        if output == "table":
            click.echo(f"{name}: {removed[-1]['state']}")
    if output == "json":
        print_json({"labs": removed})
    if failed:
        sys.exit(max(error.exit_code for error in failed))


def _remove(name: str) -> dict[str, Any]:
    """Remove a lab; return its state, and the processes that were ended with it.

    Raises:
        UsageError: no lab has had this name since the machine was started.

    """
    from lab.kernel import apply, state

    removal = apply.down(name)
    if removal is not None:
        say_ended(name, removal.ended)
        return {"state": "down", "ended": removal.ended}
    if state.was_removed(name):
        return {"state": "is not up", "ended": ()}
    raise UsageError(
        f'no lab "{name}"; a lab of this name must be up, or have been; '
        f"{did_you_mean(name, state.names())}; see `lab list`"
    )


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise UsageError(f'lab down: "{name}" is not the name of a lab; see `lab list`')


COMMANDS: tuple[click.Command, ...] = (up, down)
