"""What commands print, the same way everywhere: tables, JSON, progress, and what more than one command says."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.runtime.show import Lab


def count(number: int, noun: str, plural: str = "s") -> str:
    """Say a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def clip(text: str, width: int) -> str:
    """Return a text in one line, cut to a width."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def near(file: str) -> str:
    """Return a path as it is typed here, if it is in this folder."""
    path = Path(file)
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed
        return file
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


def print_json(value: object) -> None:
    """Print a value as JSON that people can read too."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "nothing") -> None:
    """Print rows in columns: fitted to the terminal, or complete where there is none."""
    if not rows:
        click.echo(empty)
        return
    if not sys.stdout.isatty():
        _print_plain([head, *rows])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"HOLDS": "green", "ok": "green", "up": "green"}
    colours |= {"CONTRADICTED": "bold red", "LACKS": "bold red", "down": "red", "INCONCLUSIVE": "yellow"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in row))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need, a hundred times as fast as for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def print_operation(description: str, output: str) -> None:
    """Print that an operation succeeded, in the columns of the documents' cmdlets.

    Source: Multiple VIPs, 2015-07-23, add a VIP.
    """
    from uuid import uuid4

    done = {"OperationDescription": description, "OperationId": str(uuid4()), "OperationStatus": "Succeeded"}
    if output == "json":
        print_json(done)
    else:
        print_table(tuple(done), [tuple(done.values())])


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function that says what is being done: on a terminal, in one line; in a pipe, not at all."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Give a function that shows how far a long command is: on a terminal, in one line; in a pipe, not at all.

    Without a thread, unlike ``progress``: a process that forks others must have none.
    """
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    shown = ""

    def show(text: str) -> None:
        nonlocal shown
        line = clip(text, shutil.get_terminal_size().columns - 1)
        if line != shown:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            shown = line

    try:
        yield show
    finally:
        show("")


def say_timers(name: str) -> None:
    """Say the documents' times and what they are in a lab whose time is scaled."""
    from lab.runtime import show

    timers = show.timers(name)
    if timers:
        said = ", ".join(f"{what} {nominal:g} s is {scaled:g} s" for what, nominal, scaled in timers)
        click.echo(f"{name}: time runs faster: {said}")


def say_ended(name: str, ended: Sequence[str]) -> None:
    """Say which of the user's processes were ended with what they were in."""
    if ended:
        click.echo(f"{name}: ended {count(len(ended), 'process', 'es')} in nodes: {', '.join(ended)}", err=True)


_BY = {"kernel": "by the kernel", "user space": "in user space (strongSwan's kernel-libipsec, in UDP 4500)"}


def print_gateways(lab: "Lab", only: str | None = None) -> None:
    """Print a lab's gateways and VPN devices with their tunnels, or only those of one place."""
    from lab.runtime.show import status

    rows = []
    for place, gateway in lab.gateways.items():
        if only not in (None, place):
            continue
        state = status(gateway, time.time())
        address = gateway.address or "-"
        if not gateway.tunnels:
            rows.append((place, address, gateway.kind, state, "-", "-", "-", gateway.unknown or "-"))
        for site, tunnel in gateway.tunnels.items():
            shown = state if state == "Creating" else tunnel.state
            traffic = (f"{tunnel.ingress:,}", f"{tunnel.egress:,}")
            rows.append((place, address, gateway.kind, shown, site, *traffic, tunnel.reason or "-"))
    print_table(("GATEWAY", "ADDRESS", "KIND", "STATE", "SITE", "BYTES IN", "OUT", "WHY"), rows)
    click.echo(f"encrypted {_BY[next(iter(lab.gateways.values())).esp]}")


def event_line(record: dict[str, Any]) -> str:
    """Say a record of an alert or a health event in one line."""
    own = record.get("lab", {})
    if "properties" in record:
        found = record["properties"]
        what = f"{found['eventName']}: {found['eventDescription']}"
        where = found["eventProperties"]["public ip address"]
    else:
        what, where = f"{record['HealthEventType']} ({record['Severity']})", record["FrontendIP"]
    when = record.get("time") or record["TimeGenerated"]
    if "virtualMachine" in own:
        about = f"{own['portsInUse']} of {own['portsAllocated']} {own['protocol']} ports of {own['virtualMachine']}"
    else:
        about = f"port {own['port']}/{own['protocol']}"
    return f"{when}  {where:<15}  {what}; {about}"


@contextmanager
def to_file(file: Path) -> Iterator[None]:
    """Say of a file that was named for a result, and cannot be made, what must hold.

    Raises:
        UsageError: its folder is not there, it is a folder, or the user may not write there.

    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        must = "it must be a file in a folder that is there, and that you may write to"
        raise UsageError(f"{file}: {error.strerror}; {must}; make the folder, or name another file") from None
