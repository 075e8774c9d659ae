"""``lab metrics``: a running lab as OpenMetrics."""

import ipaddress

import click

from lab.cli.execution import need_root
from lab.cli.options import output_option, shown_lab_argument
from lab.cli.output import print_json
from lab.errors import UsageError


def _loopback(_ctx: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Read ADDRESS:PORT; only this machine may ask."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    try:
        fits = ipaddress.ip_address(host or "127.0.0.1").is_loopback and 0 <= int(port) <= 65535
    except ValueError:
        fits = False
    if not fits:
        raise click.BadParameter(f'"{text}": it must be a loopback address and a port; use 127.0.0.1:9464')
    return host or "127.0.0.1", int(port)


@click.command("metrics")
@shown_lab_argument
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    callback=_loopback,
    help="Serve them there over HTTP, until Ctrl-C; a loopback address.",
)
@output_option
def metrics(name: str, listen: tuple[str, int] | None, output: str) -> None:
    """Print a lab's metrics as OpenMetrics, under Azure Monitor's names. Needs root.

    AllocatedSnatPorts, UsedSnatPorts, SnatConnectionCount and DipAvailability have the names and dimensions that Azure
    Monitor gives them; FullestSnatPorts, PeakSnatPorts and TunnelConnected are the lab's own. With --listen a
    Prometheus on this machine can scrape them.

    \b
    Example:
      sudo lab metrics snat-exhaustion
      sudo lab metrics snat-exhaustion --listen 127.0.0.1:9464
    """
    from prometheus_client import CollectorRegistry, start_http_server
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
    registry = CollectorRegistry()
    registry.register(running)
    if listen is None:
        click.echo(generate_latest(registry).decode(), nl=False)  # type: ignore[no-untyped-call]
        return
    address, port = listen
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except OSError as error:
        raise UsageError(f"{address}:{port}: {error.strerror}; it must be free; choose another port") from None
    click.echo(f"http://{address}:{server.server_port}/metrics; Ctrl-C stops", err=True)
    try:
        thread.join()
    finally:
        server.shutdown()


COMMANDS: tuple[click.Command, ...] = (metrics,)
