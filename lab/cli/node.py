"""``lab exec`` and ``shell``: inside a node."""

import os
from collections.abc import Sequence
from typing import NoReturn

import click

from lab.cli.execution import need_root
from lab.cli.options import lab_argument
from lab.errors import UsageError, did_you_mean


@click.command("exec", context_settings={"ignore_unknown_options": True})
@lab_argument
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec_in(name: str, node: str, command: tuple[str, ...]) -> None:
    """Run a command inside a node, with the node's hostname and resolver. Needs root.

    The lab's own places can be entered too: internet, router.NETWORK, lb.NETWORK.

    \b
    Example:
      sudo lab exec source-ip test2vm -- curl -s http://lbvm/
      sudo lab exec source-ip lb.vnet1 -- iptables-legacy -t nat -S
    """
    _become(name, node, command)


@click.command()
@lab_argument
@click.argument("node")
def shell(name: str, node: str) -> None:
    """Open a shell inside a node, with the node's hostname and resolver. Needs root.

    \b
    Example:
      sudo lab shell source-ip test2vm
    """
    _become(name, node, (os.environ.get("SHELL", "/bin/sh"),))


def _become(name: str, node: str, command: Sequence[str]) -> NoReturn:
    from lab.kernel import apply, netns
    from lab.kernel.state import ready, started
    from lab.plan import namespace

    folder, record = ready(name)
    made = folder.plan()
    started(record, node)
    if node not in made.places():
        raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, made.places())}')
    need_root()
    netns.enter(namespace(name, node))
    netns.own_files(node, folder.own, apply.node_files(made, node))
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - an argument list, and what the user asked for
    except OSError as error:
        raise UsageError(f"{command[0]}: {error.strerror}; it must be a command of this machine") from None


COMMANDS: tuple[click.Command, ...] = (exec_in, shell)
