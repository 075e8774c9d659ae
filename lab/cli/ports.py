"""``lab ports``, ``events``, ``load``: SNAT ports, what is logged of them, and many flows that take them."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from lab.cli.ending import is_read
from lab.cli.execution import need_root
from lab.cli.options import lab_argument, output_option, shown_lab_argument
from lab.cli.output import count, event_line, print_json, print_table
from lab.errors import LabError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.deciders.snat_ports import Usage
    from lab.runtime.load import Ending
    from lab.runtime.load import Report as LoadReport


@click.command("ports")
@lab_argument
@click.argument("vms", nargs=-1, metavar="[VM]...")
@click.option(
    "--by", type=click.Choice(["vm", "destination"]), default="vm", show_default=True, help="One line for each."
)
@click.option("--watch", is_flag=True, help="Show the table again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, metavar="S", help="Seconds between two looks.")
@output_option
def show_ports(name: str, vms: tuple[str, ...], by: str, watch: bool, interval: float, output: str) -> None:
    """Show the SNAT ports of a lab's VMs: allocated, in use, refused. Needs root.

    PORTS counts different ports, FLOWS a port once for each destination that it serves: the documents
    have read "used ports" both ways. COOLING, shown if there are any, counts those of FLOWS that are closed,
    and whose port is held for a time after that. FULLEST is the most that is in use to one destination (or
    whatever the revision makes ports unique for), also by others with whom the VM shares its ports, PEAK the
    most it ever was: at ALLOCATED, new flows are refused. A VM that never used a port is only counted.

    \b
    Example:
      sudo lab ports snat-exhaustion
      sudo lab ports snat-exhaustion web1 --by destination
      sudo lab ports snat-exhaustion --watch
    """
    from lab.runtime import snat_usage

    need_root()

    def look() -> list[Any]:
        used = snat_usage.usage(name)
        known = sorted({u.node for u in used})
        for vm in vms:
            if vm not in known:
                raise UsageError(f'{name}: no VM "{vm}" that takes SNAT ports; {did_you_mean(vm, known)}')
        return [u for u in used if not vms or u.node in vms]

    def show() -> None:
        used = look()
        if output == "json":
            print_json({"ports": used})
        elif by == "destination":
            _print_destinations(used)
        else:
            _print_ports(used)

    show()
    try:
        while watch and is_read():
            time.sleep(interval)
            if sys.stdout.isatty():
                click.clear()
            show()
    except KeyboardInterrupt:
        pass


def _print_ports(used: "list[Usage]") -> None:
    shown = [u for u in used if u.given or u.refused]
    cooling = any(u.cooling for u in shown)
    rows = []
    for u in shown:
        numbers = (u.allocated, u.ports, u.flows, *([u.cooling] * cooling), u.fullest, u.peak, u.refused)
        rows.append((u.node, u.address, u.protocol, *map(str, numbers)))
    flows = ("FLOWS", "COOLING") if cooling else ("FLOWS",)
    head = ("VM", "ADDRESS", "PROTOCOL", "ALLOCATED", "PORTS", *flows, "FULLEST", "PEAK", "REFUSED")
    if rows:
        print_table(head, rows)
    idle = {u.node for u in used} - {u.node for u in shown}
    if idle:
        most = max(u.allocated for u in used if u.node in idle)
        click.echo(f"{count(len(idle), 'VM')} never used one of up to {most:,} ports")


def _print_destinations(used: "list[Usage]") -> None:
    cooling = any(to.cooling for u in used for to in u.destinations)
    rows = [
        (
            *(u.node, u.address, u.protocol, f"{to.address}:{to.port}", f"{to.ports}"),
            *([f"{to.cooling}"] * cooling),
            f"{to.refused}",
        )
        for u in used
        for to in u.destinations
    ]
    flows = ("FLOWS", "COOLING") if cooling else ("FLOWS",)
    print_table(("VM", "ADDRESS", "PROTOCOL", "DESTINATION", *flows, "REFUSED"), rows, empty="no flow")


@click.command("events")
@shown_lab_argument
@click.option("--probes", is_flag=True, help="Show the log of health probes instead: a record a minute.")
@click.option("--follow", is_flag=True, help="Print new records as they come, until the lab is down or Ctrl-C.")
@output_option
def show_events(name: str, probes: bool, follow: bool, output: str) -> None:
    """Show what the documents' logs hold: alerts of exhausted SNAT ports and health events, or health probes.

    With -o json the records are complete and in the documents' own form.

    \b
    Example:
      lab events snat-exhaustion
      lab events snat-exhaustion --follow -o json
      lab events health-probes --probes
    """
    from lab.runtime import snat_usage

    if probes and not snat_usage.keeps_probes(name):
        click.echo(
            f"{name}: no log of probes: it is kept of rules with a probe at Basic load balancers only "
            f"(load-balancer-monitor-log.md, 2015-12-11); `lab show {name}` says how members are",
            err=True,
        )
    if output == "json" and not follow:
        print_json({"records": list(snat_usage.events(name, probes=probes))})
        return
    import msgspec

    say = _probe_line if probes else event_line
    with contextlib.suppress(KeyboardInterrupt):
        for record in snat_usage.events(name, probes=probes, follow=follow):
            click.echo(msgspec.json.encode(record).decode() if output == "json" else say(record))
            if not is_read():
                break


def _probe_line(record: dict[str, Any]) -> str:
    """Say a record of the log of probes in one line."""
    found, own = record["properties"], record["lab"]
    where = f"{found['publicIpAddress']}:{found['port']}/{own['protocol']}"
    down = f": {', '.join(own['down'])}" if own["down"] else ""
    healthy = bytes(found["healthPercentage"]).decode()
    return f"{record['time']}  {where:<25}  {found['dipDownCount']} of {found['totalDipCount']} down, {healthy}%{down}"


@click.command("load")
@lab_argument
@click.argument("sender", metavar="FROM")
@click.argument("to", metavar="TO")
@click.option("--flows", type=click.IntRange(1, 65535), default=100, show_default=True, help="How many flows.")
@click.option(
    "--hold", type=click.FloatRange(0), default=0.0, metavar="S", help="Seconds until each flow is used again."
)
@click.option(
    "--rate", type=click.FloatRange(0), default=0.0, metavar="R", help="New flows a second; 0: as fast as they go."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=3.0,
    show_default=True,
    metavar="S",
    help="When a flow counts as failed.",
)
@click.option(
    "--end", "ending", type=click.Choice(["fin", "rst"]), default="fin", show_default=True, help="How TCP is closed."
)
@output_option
def load_flows(
    name: str, sender: str, to: str, flows: int, hold: float, rate: float, timeout: float, ending: "Ending", output: str
) -> None:
    """Open many flows from a node to one server, hold them, and tell what became of them. Needs root.

    TO is HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp; HOST is a node's name or an address. A service of kind http or
    tcp, or any over UDP, reports which source address and port it saw, and whether held flows are still alive. A flow
    that was idle for too long is not. When SNAT ports are exhausted, flows time out. The first example is a client that
    opens 2,000 connections to one API. Exit status 3: a flow was not opened, or a held one is not alive.

    \b
    Example:
      sudo lab load snat-exhaustion web1 api:80 --flows 2000 --hold 5
      sudo lab load snat-exhaustion web1 api:9000/udp --flows 100 --rate 50
    """
    from lab.azure.addresses import is_address
    from lab.flow import Destination
    from lab.kernel import netns
    from lab.kernel.state import ready, started
    from lab.plan import namespace
    from lab.predict import forecast
    from lab.runtime import lifecycle, load, operate, show

    folder, record = ready(name)
    made = folder.plan()
    nodes = made.addresses()
    started(record, sender)
    if sender not in nodes:
        raise UsageError(f'{name}: no node "{sender}"; {did_you_mean(sender, nodes)}')
    try:
        goal = Destination.parse(to)
    except ValueError as error:
        raise UsageError(f"lab load: TO: {error}; as in api:80 or 203.0.113.9:9000/udp") from None
    started(record, goal.host)
    if goal.host not in nodes and not is_address(goal.host):
        raise UsageError(f'{name}: no node "{goal.host}", nor is it an address; {did_you_mean(goal.host, nodes)}')
    need_root()
    network = operate.network_of(name)
    down = lifecycle.down_now(network)
    service = forecast.Service(goal.protocol, goal.port)
    predicted = forecast.forecast(network, sender, goal.host, service, down=down)
    if predicted.destination is None:
        raise UsageError(
            f"{name}: {goal.host} has no address that {sender} can reach; it must have one, in its network "
            "or public; name the address of a frontend that leads to it, or another node"
        )
    spoken: load.Kind = "udp" if goal.protocol == "udp" else "connect"
    match [*forecast.kinds(network, predicted, down)]:
        case ["tcp" | "http" as kind]:
            spoken = kind
    netns.prepare()
    netns.enter(namespace(name, sender))
    report = load.run(
        sender,
        load.Target(str(predicted.destination), goal.port, spoken),
        str(goal),
        flows,
        hold_s=hold,
        rate=rate,
        timeout_s=timeout,
        ending=ending,
    )
    if output == "json":
        print_json(report)
    else:
        _print_load(report, hold, show.idle_limit(made, str(predicted.destination), goal.port, goal.protocol))
    lost = 0 if report.alive is None else report.opened - report.alive
    if report.opened < report.flows or lost:
        held = f", {lost:,} did not live until they were used again" if lost else ""
        raise LabError(
            f"{sender} to {report.to}: {report.opened:,} of {report.flows:,} flows were opened{held}; all must be for "
            f"exit status 0; see `lab ports {name}` and `lab events {name}`"
        )


def _print_load(report: "LoadReport", hold_s: float, limit_s: float) -> None:
    times = ", ".join(f"{part} {ms:g}" for part, ms in report.latency_ms.items()) or "-"
    ports = report.source_ports
    rows = [
        ("opened", f"{report.opened:,} of {report.flows:,} in {report.seconds:g} s"),
        ("failed", f"{report.timed_out:,} timed out, {report.refused:,} refused"),
        ("latency, ms", times),
        ("seen from", ", ".join(report.source_addresses) or "the server does not tell"),
        ("ports", f"{len(ports):,} different, {ports[0]} to {ports[-1]}" if ports else "-"),
    ]
    if report.alive is not None:
        passed = (
            f"; the idle limit of {limit_s:g} s passed" if report.alive < report.opened and hold_s > limit_s else ""
        )
        rows.append(("still alive", f"{report.alive:,} of {report.opened:,} after {hold_s:g} s{passed}"))
    print_table((f"{report.sender} to {report.to}", ""), rows)


COMMANDS: tuple[click.Command, ...] = (show_ports, show_events, load_flows)
