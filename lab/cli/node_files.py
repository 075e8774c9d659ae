"""``lab logs`` and ``copy``: what nodes have said, and files in and out of them."""

import shutil
from pathlib import Path, PurePosixPath

import click
from msgspec import structs

from lab.cli.execution import interruptible, need_root
from lab.cli.options import lab_argument, output_option, shown_lab_argument
from lab.cli.output import count, print_json
from lab.errors import UsageError, did_you_mean


@click.command()
@shown_lab_argument
@click.argument("node", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with each line that is written, until the lab is removed.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="The last N lines of each log only.")
@output_option
def logs(name: str, node: str | None, follow: bool, lines: int | None, output: str) -> None:
    """Show the logs of a running lab: its servers, sshd, ftp, charon, its agent, and your own programs.

    Each line has the node and the source before it. `access` is the log of the lab's own servers: a line of JSON for
    each connection and datagram that came to them. The logs go with the lab.

    \b
    Example:
      lab logs source-ip
      lab logs source-ip lbvm -n 5
      lab logs source-ip --follow
    """
    from lab.kernel.state import existing
    from lab.runtime import logs as reading

    folder, _ = existing(name)
    places = folder.plan().places()
    if node is not None and node not in places:
        raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, places)}')
    if follow and output == "json":
        raise UsageError("--follow with -o json: one of the two; an answer in JSON must end; leave one out")
    found = reading.logs(name, node, last=lines)
    if output == "json":
        print_json({"logs": [structs.asdict(log) for log in found]})
        return
    for log in found:
        for line in log.lines:
            _say(log, line)
    if not found and not follow:
        click.echo(f"{name}: nothing was logged", err=True)
    if follow:
        with interruptible("the lab is as it was"):
            reading.follow(name, node, _say)


def _say(log: object, line: str) -> None:
    click.echo(f"{log} | {line}")


@click.command()
@lab_argument
@click.argument("source", metavar="SRC|NODE:SRC")
@click.argument("target", metavar="NODE:DST|DST")
@output_option
def copy(name: str, source: str, target: str, output: str) -> None:
    """Copy a file or folder into a node, or out of it. Needs root.

    Nodes share this machine's files; each has one folder of its own, which goes with the lab. NODE:PATH is a path in
    it. In the node its name is in LAB_FILES, for `lab exec` and for programs of the topology.

    \b
    Example:
      sudo lab copy source-ip client.py test2vm:client.py
      sudo lab exec source-ip test2vm -- sh -c 'python3 "$LAB_FILES/client.py"'
      sudo lab copy source-ip test2vm:result.json result.json
    """
    from lab.kernel import apply
    from lab.kernel.state import ready

    folder, _ = ready(name)
    places = folder.plan().places()
    ends = [_end(name, text, places) for text in (source, target)]
    if [node is None for node, _ in ends] not in ([True, False], [False, True]):
        raise UsageError(f"{name}: {source} to {target}; one of the two must be in a node; write it as NODE:PATH")
    need_root()
    paths = [
        path if node is None else Path(apply.node_variables(folder, node)["LAB_FILES"]) / path for node, path in ends
    ]
    copied = _copy(*paths)
    if output == "json":
        print_json({"source": str(paths[0]), "target": str(paths[1]), "files": copied})
    click.echo(f"{name}: {source} to {target}: {count(copied, 'file')}", err=True)


def _end(lab: str, text: str, places: tuple[str, ...]) -> tuple[str | None, Path]:
    """Read NODE:PATH, a path in the node's folder, or PATH, one of this machine.

    Raises:
        UsageError: there is no such node, or the path leads out of its folder.

    """
    node, colon, path = text.partition(":")
    if not colon or "/" in node:
        return None, Path(text)
    if node not in places:
        raise UsageError(f'{lab}: no node "{node}"; {did_you_mean(node, places)}; a path of this machine begins with /')
    inside = PurePosixPath(path or ".")
    if inside.is_absolute() or ".." in inside.parts:
        raise UsageError(
            f"{text}: a path out of the node's own folder; it must lie within, as nodes share all other files of this "
            f"machine; write {node}:{inside.name or 'FILE'}"
        )
    return node, Path(inside)


def _copy(source: Path, target: Path) -> int:
    """Copy a file or folder to a path, or into a folder; return how many files it has.

    Raises:
        UsageError: there is no such file, or it cannot be copied.

    """
    if target.is_dir():
        target = target / source.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
            return sum(path.is_file() for path in target.rglob("*"))
        shutil.copy(source, target)
    except (shutil.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{source}: {reason}; it must be a file or folder that can be read; correct the path"
        ) from None
    return 1


COMMANDS: tuple[click.Command, ...] = (logs, copy)
