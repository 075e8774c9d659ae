"""The command line: one thin command per stage. Results go to stdout, everything else to stderr.

Here are the root, its help and its aliases. Each other file has the commands of one purpose, but for

    options.py    options that more than one command has
    reading.py    what a user typed, read
    printing.py   tables, JSON, progress
    manners.py    root is asked for, an interrupt is undone

A function imports what it needs when it runs: `lab --help` is fast because of it.
"""

import os
import sys

import click

from lab import __version__
from lab.cli import (
    check_plan,
    endpoint,
    explain,
    gateway,
    import_export,
    lifecycle,
    node,
    nsg,
    ports,
    public_ip,
    replay,
    service,
    show,
    verify,
    vm,
)
from lab.errors import Interrupted, LabError, MachineError, did_you_mean

_ALIASES = {"deploy": "up", "destroy": "down", "inspect": "show"}


class _Commands(click.Group):
    """The commands in the order of their use, with the aliases that users of other tools try first."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(name, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'no command "{args[0]}"; {did_you_mean(args[0], [*self.commands, *_ALIASES])}')
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LAB", "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="lab")
def cli() -> None:
    """Rebuild Azure's documented data plane on this machine, and prove it with real packets.

    \b
    A first look:
      sudo lab verify                         judge every claim in the bundled topologies
      sudo lab up source-ip.lab.yaml          make a lab run
      lab show source-ip                      its nodes, and the address each is seen with
      sudo lab exec source-ip test2vm -- curl -s http://lbvm/
      sudo lab down source-ip
      lab gateway show                        tunnels, once vnet-to-vnet.lab.yaml is up

    \b
    Exit status: 0 done, nothing contradicted; 1 a claim or expectation is contradicted; 2 usage or
    topology error; 3 something could not be judged; 4 this machine lacks what is needed;
    130 interrupted, and cleaned up. Options are also read from the environment: LAB_UP_TIME_SCALE=60.
    """


# In the order of their use, which is the order of `lab --help`.
_MODULES = (
    check_plan,
    lifecycle,
    show,
    ports,
    service,
    endpoint,
    vm,
    public_ip,
    gateway,
    import_export,
    replay,
    node,
    verify,
    nsg,
    explain,
)
for _module in _MODULES:
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run the command line; every expected error is one message and an exit status."""
    try:
        cli.main(prog_name="lab", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(Interrupted.exit_code)
    except LabError as error:
        click.echo(f"{error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except PermissionError as error:
        click.echo(f"{error.filename}: {error.strerror}; root is needed; run it with sudo", err=True)
        sys.exit(MachineError.exit_code)
