"""``lab top``: a running lab on one screen, looked at again and again."""

import contextlib
import select
import shutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lab.cli.ending import is_read
from lab.cli.execution import need_root
from lab.cli.options import output_option, shown_lab_argument
from lab.cli.output import count, event_line, print_json
from lab.errors import LabError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from lab.runtime.overview import Overview

#: Of a frame without a terminal: so many rows of each table.
_ROWS = 20


@click.command("top")
@shown_lab_argument
@click.option("--interval", type=click.FloatRange(0.2), default=2.0, show_default=True, metavar="S", help="Seconds.")
@click.option("--once", is_flag=True, help="Print one frame and end, as in a pipe.")
@output_option
def top(name: str, interval: float, once: bool, output: str) -> None:
    """Watch a lab on one screen: VMs, flows, SNAT ports, probes, tunnels, events. Needs root.

    The VMs whose SNAT ports are fullest come first: FULLEST is the most in use to one destination, of ALLOCATED.
    Members that are down are named with the reason. It ends with q or Ctrl-C; without a terminal it prints one frame.

    \b
    Example:
      sudo lab top snat-exhaustion
      sudo lab top snat-exhaustion --once
    """
    from lab.kernel.state import existing
    from lab.runtime.overview import Watcher

    existing(name)
    need_root()
    watcher = Watcher(name)
    first = watcher.look()
    if output == "json":
        print_json(first)
    elif once or not sys.stdout.isatty():
        _print(first)
    else:
        with contextlib.suppress(KeyboardInterrupt):
            _watch(watcher.look, interval)


def _print(seen: "Overview") -> None:
    from rich.console import Console

    console = Console(width=80, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(frame(seen, _ROWS))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _watch(look: Any, interval: float) -> None:
    """Show frame after frame until q is typed; while the lab is down, why there is none."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with _keys() as typed, Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while is_read():
            try:
                rows = max(3, (shutil.get_terminal_size().lines - 8) // 2)
                live.update(frame(look(), rows), refresh=True)
            except (LabError, OSError) as error:
                live.update(Text(f"{error}\n\nq ends; it is looked at again", style="yellow"), refresh=True)
            if typed(interval) in ("q", "Q"):
                return


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Give a function that waits so long for a key, and returns it; keys are not shown meanwhile."""
    if not sys.stdin.isatty():
        yield time.sleep
        return
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)

    def typed(seconds: float) -> str:
        ready, _, _ = select.select([number], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    try:
        yield typed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def frame(seen: "Overview", rows: int) -> "Group":
    """Return what is on the screen: so many rows of each table, the others counted."""
    from rich.console import Group
    from rich.text import Text

    scaled = f", time 1:{seen.time_scale}" if seen.time_scale != 1 else ""
    stopped = f", {seen.stopped} stopped" if seen.stopped else ""
    nodes = f"{count(seen.vms, 'VM')}{stopped}, {count(seen.hosts, 'outside host')}"
    head = Text.assemble(
        (seen.lab, "bold"),
        f"  {seen.state}; profile {seen.profile}{scaled}; {time.strftime('%H:%M:%S')}\n",
        f"{nodes}; flows with a SNAT port {seen.flows:,}, given {seen.given:,}, ",
        (f"refused {seen.refused:,}", "bold red" if seen.refused else ""),
    )
    up = Text(f"\n{seen.members - len(seen.down)} of {seen.members} pool members are up", "bold")
    parts: list[Any] = [head, *_ports(seen, rows), up, *_down(seen, rows)]
    if seen.tunnels:
        parts += _tunnels(seen, rows)
    parts.append(Text("\nlast events", "bold"))
    parts += [Text(event_line(one), overflow="ellipsis", no_wrap=True) for one in seen.events] or [Text("none")]
    return Group(*parts)


def _table(*columns: str, right: int) -> "Table":
    """Return a table whose last ``right`` columns hold numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(columns):
        numbers = number >= len(columns) - right
        made.add_column(title, justify="right" if numbers else "left", no_wrap=True, overflow="ellipsis")
    return made


def _ports(seen: "Overview", rows: int) -> Iterator[Any]:
    from rich.text import Text

    table = _table("VM", "ADDRESS", "PROTO", "ALLOCATED", "FULLEST", "PEAK", "FLOWS", "REFUSED", right=5)
    for row in seen.ports[:rows]:
        part = row.fullest / max(row.allocated, 1)
        style = "bold red" if part >= 1 else "yellow" if part > 0.75 else ""
        numbers = (row.allocated, row.fullest, row.peak, row.flows, row.refused)
        table.add_row(row.vm, row.address, row.protocol, *(f"{number:,}" for number in numbers), style=style)
    yield Text()
    yield table if seen.ports else Text("no VM has used a SNAT port")
    yield from _more(len(seen.ports), rows)


def _down(seen: "Overview", rows: int) -> Iterator[Any]:
    from rich.text import Text

    from lab.runtime.overview import ago

    for one in seen.down[:rows]:
        said = f"down for {ago(one.since)}: {one.member}: {one.reason}"
        yield Text(said, style="red", overflow="ellipsis", no_wrap=True)
    yield from _more(len(seen.down), rows)


def _tunnels(seen: "Overview", rows: int) -> Iterator[Any]:
    from rich.text import Text

    table = _table("GATEWAY", "SITE", "STATE", "WHY", "BYTES IN", "OUT", right=2)
    for one in seen.tunnels[:rows]:
        numbers = (f"{one.ingress:,}", f"{one.egress:,}")
        style = "" if one.state == "Connected" else "yellow"
        table.add_row(one.network, one.site, one.state, one.reason or "-", *numbers, style=style)
    yield Text()
    yield table
    yield from _more(len(seen.tunnels), rows)


def _more(number: int, rows: int) -> Iterator[Any]:
    from rich.text import Text

    if number > rows:
        yield Text(f"… and {number - rows:,} more", style="dim")


COMMANDS: tuple[click.Command, ...] = (top,)
