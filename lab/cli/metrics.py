"""``lab metrics``: a running lab as OpenMetrics."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, shown_lab_argument
from lab.cli.output import print_json

if TYPE_CHECKING:
    from lab.runtime.metrics import Running
    from lab.runtime.scrape import Place


def _place(_ctx: click.Context, _option: click.Parameter, text: str | None) -> "Place | None":
    """Read ADDRESS:PORT or unix:PATH; only this machine may ask."""
    if text is None:
        return None
    kind, _, path = text.partition(":")
    if kind == "unix" and path:
        return Path(path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        fits = ipaddress.ip_address(host).is_loopback and 0 <= int(port) <= 65535
    except ValueError:
        fits = False
    if not fits:
        must = "it must be a loopback address and a port, or unix: and a path; use 127.0.0.1:9464"
        raise click.BadParameter(f'"{text}": {must}')
    return host, int(port)


@click.command("metrics")
@shown_lab_argument
@click.option(
    "--listen",
    metavar="ADDRESS:PORT|unix:PATH",
    callback=_place,
    help="Serve them there over HTTP, until Ctrl-C: a loopback address, or a socket that root alone may open.",
)
@output_option
def metrics(name: str, listen: "Place | None", output: str) -> None:
    """Print a lab's metrics as OpenMetrics, under Azure Monitor's names. Needs root.

    AllocatedSnatPorts, UsedSnatPorts, SnatConnectionCount and DipAvailability have the names and dimensions that Azure
    Monitor gives them; FullestSnatPorts, PeakSnatPorts and TunnelConnected are the lab's own. With --listen a
    Prometheus on this machine can scrape them; while the lab is down it is answered 503.

    \b
    Example:
      sudo lab metrics snat-exhaustion
      sudo lab metrics snat-exhaustion --listen 127.0.0.1:9464
      sudo lab metrics snat-exhaustion --listen unix:/run/lab.metrics
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    from lab.kernel.state import existing
    from lab.runtime.metrics import Running

    existing(name)
    need_root()
    running = Running(name)
    if output == "json":
        found = [
            {"name": sample.name, "dimensions": sample.labels, "value": sample.value}
            for family in running.collect()
            for sample in family.samples
        ]
        print_json({"metrics": found})
        return
    if listen is None:
        registry = CollectorRegistry()
        registry.register(running)
        click.echo(generate_latest(registry).decode(), nl=False)  # type: ignore[no-untyped-call]
        return
    _serve(listen, running)


def _serve(place: "Place", running: "Running") -> None:
    """Answer scrapes until the user has had enough."""
    from lab.runtime import scrape

    with scrape.server(place, running) as server:
        at = f"unix:{place}" if isinstance(place, Path) else f"http://{_host(place[0])}:{server.server_port}/metrics"
        click.echo(f"{at}; Ctrl-C stops", err=True)
        with interruptible("scrapes are answered no more"):
            server.serve_forever()


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


COMMANDS: tuple[click.Command, ...] = (metrics,)
