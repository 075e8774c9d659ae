"""``lab completion``, and what a shell may offer for each word: labs, files, nodes, profiles, claims.

Parameters are told apart by their names, which are the same in all commands; ``tests/unit/cli/test_completion.py``
holds that each of these is offered something.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.shell_completion import CompletionItem, get_completion_class

from lab.cli.arguments import SUFFIX

if TYPE_CHECKING:
    from lab.azure.model import Network

#: Where each shell looks for completions, and the line that loads them.
_LINES = {
    "bash": 'eval "$(lab completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(lab completion zsh)"    # in ~/.zshrc, after compinit',
    "fish": "lab completion fish | source    # in ~/.config/fish/config.fish",
}


def _labs(_ctx: click.Context) -> Iterator[str]:
    from lab.kernel.state import names

    yield from names()


def _files(_ctx: click.Context) -> Iterator[str]:
    from lab.topology import BUNDLED

    yield from sorted({file.name for folder in (Path(), BUNDLED) for file in folder.glob(f"*{SUFFIX}")})


def _labs_and_files(ctx: click.Context) -> Iterator[str]:
    yield from _labs(ctx)
    yield from _files(ctx)


def _nodes(ctx: click.Context) -> Iterator[str]:
    """Yield the nodes of the lab or file that is named before."""
    name = ctx.params.get("name") or ctx.params.get("lab")
    if not isinstance(name, str):
        return
    from lab.runtime import operate

    network: Network
    if name.endswith(SUFFIX):
        from lab import topology

        network = topology.load(Path(name))
    else:
        network = operate.outline_of(name)
    yield from (vm.name for vm in network.virtual_machines)
    yield from (host.name for host in network.internet)


def _profiles(_ctx: click.Context) -> Iterator[str]:
    from lab.azure import profile

    yield from profile.NAMES


def _claims(_ctx: click.Context) -> Iterator[str]:
    from lab.verify import claims

    yield from (claim.id for claim in claims.CATALOGUE)


def _lessons(_ctx: click.Context) -> Iterator[str]:
    from lab.lessons import lesson

    yield from lesson.names()


Offer = Callable[[click.Context], Iterable[str]]
#: What is offered for a parameter, by its name.
OFFERS: dict[str, Offer] = {
    "name": _labs_and_files,
    "names": _labs,
    "lab": _labs_and_files,
    "node": _nodes,
    "nodes": _nodes,
    "sender": _nodes,
    "to": _nodes,
    "remote": _nodes,
    "vm": _nodes,
    "source": _nodes,
    "target": _nodes,
    "file": _files,
    "files": _files,
    "before": _labs_and_files,
    "after": _labs_and_files,
    "profile": _profiles,
    "to_profile": _profiles,
    "only": _claims,
    "claim": _claims,
    "lesson": _lessons,
}


class _Offered(click.ParamType):  # type: ignore[type-arg]
    """Another type, with words that a shell may offer."""

    def __init__(self, of: Any, offer: Offer) -> None:
        self._of = of
        self.name = of.name
        self._offer = offer

    def to_info_dict(self) -> Any:
        return self._of.to_info_dict()

    def get_metavar(self, *args: object, **kwargs: object) -> str | None:
        return cast("str | None", self._of.get_metavar(*args, **kwargs))

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        return self._of.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            words = [word for word in self._offer(ctx) if word.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a shell is told nothing rather than a fault
            words = []
        if words or not isinstance(self._of, click.Path):
            return [CompletionItem(word) for word in words]
        return self._of.shell_complete(ctx, param, incomplete)


def attach(group: click.Group) -> None:
    """Attach to every parameter of a group's commands the words that its name says."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            attach(command)
        for param in command.params:
            offer = OFFERS.get(param.name or "")
            if offer is not None and isinstance(param.type, click.types.StringParamType | click.Path):
                param.type = _Offered(param.type, offer)


@click.command("completion")
@click.argument("shell", type=click.Choice([*_LINES]))
def print_completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, labs, nodes, files, profiles and claims.

    Load it when the shell starts: in ~/.bashrc, eval "$(lab completion bash)"; in ~/.zshrc after compinit,
    eval "$(lab completion zsh)"; in ~/.config/fish/config.fish, lab completion fish | source.

    \b
    Example:
      lab completion bash
    """
    made = get_completion_class(shell)
    assert made is not None
    root = click.get_current_context().find_root().command
    text = made(root, {}, "lab", "_LAB_COMPLETE").source()
    click.echo(f"# {_LINES[shell]}\n{text}")


COMMANDS: tuple[click.Command, ...] = (print_completion,)
