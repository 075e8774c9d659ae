"""``lab capture``: the packets at several nodes at once."""

import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.arguments import state_of
from lab.cli.execution import need_root
from lab.cli.options import output_option, shown_lab_argument
from lab.cli.output import count as counted
from lab.cli.output import print_json, to_file
from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.formats.pcap import Writer
    from lab.predict.annotate import Annotator
    from lab.runtime.capture import Captured


@click.command("capture")
@shown_lab_argument
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("-w", "--write", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A pcapng file.")
@click.option("-f", "--filter", "expression", default="", metavar="FILTER", help="A filter of tcpdump: 'tcp port 80'.")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option("-s", "--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after S seconds.")
@output_option
def capture(
    name: str,
    nodes: tuple[str, ...],
    write: Path | None,
    expression: str,
    count: int | None,
    seconds: float | None,
    output: str,
) -> None:
    """Capture packets at several nodes at once. Needs root.

    NODE is a VM, an outside host, or one of the lab's own places: internet, router.NETWORK, lb.NETWORK. Each packet is
    a line: time, place and device, addresses, and the rules that decide about it there where its flow is known. With
    -w a pcapng file is written instead, which Wireshark opens: each packet has its place as interface, and the rules as
    comment. It goes on until Ctrl-C, N packets or S seconds.

    \b
    Example:
      sudo lab capture source-ip test2vm lbvm --seconds 10 --filter 'tcp port 80' -w web.pcapng
    """
    from lab.kernel.state import ready
    from lab.runtime import capture as captures

    folder, _ = ready(name)
    known = folder.plan().places()
    for node in nodes:
        if node not in known:
            raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, known)}')
    need_root()
    seen: list[dict[str, object]] = []
    taken = 0
    with ExitStack() as stack:
        running = stack.enter_context(captures.capturing(name, dict.fromkeys(nodes), expression.split()))
        writer = _writer(stack, write)
        known_flows = _annotator(name)
        click.echo(f"capturing at {', '.join(running.places)}; Ctrl-C stops", err=True)
        try:
            for packet in _few(running.packets(seconds), count):
                taken += 1
                _take(packet, writer, known_flows, seen if output == "json" else None)
        except KeyboardInterrupt:
            if write is None and output != "json":
                raise
    if output == "json":
        print_json({"packets": seen})
    if write is not None:
        click.echo(f"{write}: {counted(taken, 'packet')}", err=True)


def _few(packets: "Iterator[Captured]", most: int | None) -> "Iterator[Captured]":
    for number, packet in enumerate(packets, 1):
        yield packet
        if number == most:
            return


def _writer(stack: ExitStack, file: Path | None) -> "Writer | None":
    if file is None:
        return None
    from lab import __version__
    from lab.formats.pcap import Writer

    with to_file(file):
        return Writer(stack.enter_context(file.open("wb")), f"lab {__version__}")


def _annotator(name: str) -> "Annotator":
    from lab.predict.annotate import Annotator
    from lab.runtime import operate

    network = operate.outline_of(name)
    return Annotator(network, *state_of(name, network))


def _take(
    packet: "Captured", writer: "Writer | None", annotator: "Annotator", collected: list[dict[str, object]] | None
) -> None:
    """Write, print or keep a packet."""
    from lab.formats import pcap

    found = pcap.headers(packet.link_type, packet.frame.data)
    comment = annotator.comment(found) if found is not None else ""
    if writer is not None:
        writer.write(packet.at, packet.link_type, packet.frame, comment)
    if collected is not None:
        at = {"time": packet.frame.at_ns / 1e9, "at": packet.at, "length": packet.frame.length}
        collected.append({**at, "headers": found, "rules": comment})
    elif writer is None:
        clock = time.strftime("%H:%M:%S", time.localtime(packet.frame.at_ns // 10**9))
        stamp = f"{clock}.{packet.frame.at_ns % 10**9 // 1000:06}"
        click.echo(f"{stamp} {packet.at:<16} {found or f'{packet.frame.length} bytes'}")
        for line in textwrap.wrap(comment, 80, initial_indent=" " * 16, subsequent_indent=" " * 16):
            click.echo(line)


COMMANDS: tuple[click.Command, ...] = (capture,)
