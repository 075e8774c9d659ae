"""The command line: one thin command per stage. Results go to stdout, everything else to stderr.

Here are the root, its help and its aliases. Each other file has the commands of one purpose, but for

    options.py    options that more than one command has
    reading.py    what a user typed, read
    printing.py   tables, JSON, progress
    manners.py    root is asked for, an interrupt is undone
    warm.py       the command line loaded once, and forked for each command
    ending.py     exit statuses; results that cannot be written

A function imports what it needs when it runs: `lab --help` is fast because of it.
"""

import os
import sys
from typing import Any

import click

from lab import __version__
from lab.cli import (
    capture,
    check_plan,
    compare,
    completion,
    ending,
    endpoint,
    explain,
    gateway,
    gc,
    graph,
    import_export,
    learn,
    lifecycle,
    metrics,
    node,
    node_files,
    nsg,
    peering,
    ports,
    public_ip,
    replay,
    report,
    service,
    show,
    starter,
    top,
    verify,
    vm,
)
from lab.errors import did_you_mean

_ALIASES = {"deploy": "up", "destroy": "down", "inspect": "show"}
#: Commands that were taken away, and what does the same now.
_GONE = {"check-flow": "lab explain LAB|FILE FROM TO:PORT"}


class _Commands(click.Group):
    """The commands in the order of their use, with the aliases that users of other tools try first."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(name, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _GONE:
            raise click.UsageError(f'no command "{args[0]}"; another command says what it said; use `{_GONE[args[0]]}`')
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'no command "{args[0]}"; {did_you_mean(args[0], [*self.commands, *_ALIASES])}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. A broken pipe within it is an error like others; click would take it for standard output's."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise _lab_first(error) from None
        except OSError as error:
            raise ending.refused(error) from error


def _lab_first(error: click.NoSuchOption) -> click.UsageError:
    """Return the error of an unknown option; of one that names the lab, which is an argument, say where it goes."""
    ctx = error.ctx
    if ctx is None or error.option_name not in ("--lab", "--into"):
        return error
    arguments = ctx.command.collect_usage_pieces(ctx)[1:]  # behind [OPTIONS]
    if isinstance(ctx.command, click.Group):
        arguments = ["COMMAND", "LAB", "…"]
    elif not arguments or not arguments[0].startswith("LAB"):
        return error
    usage = " ".join((ctx.command_path, *arguments))
    return click.UsageError(
        f"no option {error.option_name}; the lab is the first argument; give the lab first: {usage}", ctx
    )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LAB", "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="lab")
@click.option("--rootless", is_flag=True, help="Run labs in a user namespace of your own: no root is needed.")
def cli(*, rootless: bool) -> None:
    """Rebuild Azure's documented data plane on this machine, and prove it with real packets.

    \b
    A first look:
      sudo lab verify                         judge every claim in the bundled topologies
      sudo lab up source-ip.lab.yaml          make a lab run
      lab show source-ip                      its nodes, and the address each is seen with
      sudo lab exec source-ip test2vm -- curl -s http://lbvm/
      sudo lab down source-ip
      lab gateway show vnet-to-vnet           tunnels, once vnet-to-vnet.lab.yaml is up

    A bundled topology is found by its name from any folder; `lab check FILE` needs no root.

    \b
    Exit status: 0 done, nothing contradicted; 1 a claim or expectation is contradicted; 2 usage or
    topology error; 3 something could not be judged or done, or the lab is busy; 4 this machine
    lacks what is needed; 130 interrupted, and cleaned up. Options are also read from the
    environment: LAB_UP_TIME_SCALE=60.
    """
    if rootless and os.geteuid() != 0:
        from lab.kernel import rootless as own

        own.enter()


# In the order of their use, which is the order of `lab --help`.
_MODULES = (
    check_plan,
    lifecycle,
    gc,
    show,
    ports,
    service,
    endpoint,
    vm,
    public_ip,
    gateway,
    peering,
    import_export,
    replay,
    node,
    node_files,
    verify,
    nsg,
    explain,
    compare,
    starter,
    completion,
    graph,
    capture,
    report,
    metrics,
    top,
    learn,
)
for _module in _MODULES:
    for _command in _module.COMMANDS:
        cli.add_command(_command)
completion.attach(cli)


def main() -> None:
    """Run the command line; every error is one message and an exit status."""
    ending.take_outputs()
    sys.exit(ending.status_of(lambda: cli.main(prog_name="lab", standalone_mode=False)))
