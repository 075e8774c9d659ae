"""Options that more than one command has."""

import click

from lab.errors import did_you_mean

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

lab_or_file_option = click.option(
    "--lab", "name", metavar="NAME", help="The lab, or a topology file; left out, the only lab that is up."
)

lab_option = click.option("--lab", "name", metavar="NAME", help="The lab; left out, the only one that is up.")
