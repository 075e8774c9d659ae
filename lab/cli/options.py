"""Options and arguments that more than one command has."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lab.errors import did_you_mean

_Command = TypeVar("_Command", bound=Callable[..., Any])

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A short table, or everything as JSON.",
)


time_scale_option = click.option(
    "--time-scale",
    type=click.IntRange(1, 240),
    metavar="N",
    help="Run every timer of the documents N times faster than the file says.",
)


def _revision(_ctx: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    from lab.azure import profile

    if name is not None and name not in profile.NAMES:
        raise click.BadParameter(f'no revision "{name}"; {did_you_mean(name, profile.NAMES)}')
    return name


profile_option = click.option(
    "--profile",
    metavar="P",
    callback=_revision,
    help="Play this revision of the documents instead of the file's; see `lab claims --profiles`.",
)

to_profile_option = click.option(
    "--to-profile", metavar="P", callback=_revision, help="The revision that B is played by."
)


def _wait(ctx: click.Context, _option: click.Parameter, seconds: float) -> None:
    """Tell others what this process does to a lab, and note how long it waits for them."""
    if not ctx.resilient_parsing:
        from lab.kernel.state import CALLER

        CALLER.command, CALLER.wait_s = ctx.command_path, seconds


#: Of commands that take a lab whole: they wait for a command that is changing it.
wait_option = click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    show_default="60",
    metavar="SECONDS",
    envvar="LAB_WAIT",
    expose_value=False,
    callback=_wait,
    help="How long to wait for another command that is changing the lab.",
)


def _with_wait(argument: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    return lambda command: argument(wait_option(command))


#: Of a command that shows a lab even while it is being changed.
shown_lab_argument = click.argument("name", metavar="LAB")
lab_argument = _with_wait(shown_lab_argument)
lab_or_file_argument = _with_wait(click.argument("name", metavar="LAB|FILE"))
