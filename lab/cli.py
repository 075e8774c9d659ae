"""The command line: one thin command per stage. Results go to stdout, everything else to stderr."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from lab import __version__
from lab.errors import Interrupted, LabError, MachineError, TopologyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from lab.change import Operation
    from lab.forecast import Forecast, Service
    from lab.load import Ending
    from lab.matrix import Outcome
    from lab.model import GatewaySku, Network, Routing, SecurityRule, Subnet
    from lab.path.snat_ports import Usage
    from lab.show import Lab, Node
    from lab.verdict import Report

BUNDLED = Path(__file__).resolve().parent.parent / "topologies"
SUFFIX = ".lab.yaml"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_ALIASES = {"deploy": "up", "destroy": "down", "inspect": "show"}


class _Commands(click.Group):
    """The commands in the order of their use, with the aliases that users of other tools try first."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(name, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'no command "{args[0]}"; {did_you_mean(args[0], [*self.commands, *_ALIASES])}')
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LAB", "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="lab")
def cli() -> None:
    """Rebuild Azure's documented data plane on this machine, and prove it with real packets.

    \b
    A first look:
      sudo lab verify                         judge every claim in the bundled topologies
      sudo lab up source-ip.lab.yaml          make a lab run
      lab show source-ip                      its nodes, and the address each is seen with
      sudo lab exec source-ip test2vm -- curl -s http://lbvm/
      sudo lab down source-ip
      lab gateway show                        tunnels, once vnet-to-vnet.lab.yaml is up

    \b
    Exit status: 0 done, nothing contradicted; 1 a claim or expectation is contradicted; 2 usage or
    topology error; 3 something could not be judged; 4 this machine lacks what is needed;
    130 interrupted, and cleaned up. Options are also read from the environment: LAB_UP_TIME_SCALE=60.
    """


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A short table, or everything as JSON.",
)
time_scale_option = click.option(
    "--time-scale",
    type=click.IntRange(1, 240),
    metavar="N",
    help="Run every timer of the documents N times faster than the file says.",
)


def _revision(_ctx: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    from lab import profile

    if name is not None and name not in profile.NAMES:
        raise click.BadParameter(f'no revision "{name}"; {did_you_mean(name, profile.NAMES)}')
    return name


profile_option = click.option(
    "--profile",
    metavar="P",
    callback=_revision,
    help="Play this revision of the documents instead of the file's; see `lab claims --profiles`.",
)


# --- check and plan: no privilege, nothing is made --------------------------------------------


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@output_option
def check(files: tuple[Path, ...], output: str) -> None:
    """Parse and validate topology files; make nothing.

    Every problem of a file is reported at once, with its line, what was found, what must hold and what
    to do. Without FILE the only *.lab.yaml of the folder is taken.

    \b
    Example:
      lab check source-ip.lab.yaml
    """
    from lab import topology

    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for file in files or (_only_file(),):
        try:
            network = topology.load(file)
        except TopologyError as error:
            problems += error.lines
            found.append({"file": str(file), "ok": False, "problems": list(error.lines)})
        except UsageError as error:
            problems.append(str(error))
            found.append({"file": str(file), "ok": False, "problems": [str(error)]})
        else:
            vms, hosts = len(network.virtual_machines), len(network.internet)
            found.append({"file": str(file), "ok": True, "name": network.name, "vms": vms, "hosts": hosts})
            if output == "table":
                click.echo(f"{file}: ok: {network.name}, {_count(vms, 'VM')}, {_count(hosts, 'outside host')}")
    if output == "json":
        _print_json({"files": found})
    if problems:
        raise TopologyError(problems)


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--diff", is_flag=True, help="Only what `up` would change in the lab of that name that runs now.")
@time_scale_option
@profile_option
@output_option
def plan(file: Path | None, diff: bool, time_scale: int | None, profile: str | None, output: str) -> None:
    """Print every kernel object that `up` would make, each with its why.

    The why names the rule file under lab/path/, the entity, and the document that says so; the same
    text is the comment of the iptables rule.

    \b
    Example:
      lab plan source-ip.lab.yaml
      lab plan source-ip.lab.yaml --diff
    """
    from lab import topology
    from lab.compile import compile as compile_network

    chosen = file or _only_file()
    if not diff:
        made = compile_network(topology.load(chosen, time_scale=time_scale, profile=profile))
        if output == "json":
            _print_json(made)
        else:
            click.echo(made.text(), nl=False)
        return
    from lab import plan as planning
    from lab import verify
    from lab.kernel.record import existing

    network = verify.load(chosen, time_scale=time_scale, profile=profile)
    folder, _ = existing(network.name)
    change = planning.difference(folder.plan(), verify.plan_now(network))
    if output == "json":
        _print_json(change)
    else:
        click.echo(change.text() or "nothing would change\n", nl=False)


@cli.command()
def schema() -> None:
    """Print the JSON schema (draft-07) of topology files, for editors.

    \b
    Example:
      lab schema > lab.schema.json
    """
    from lab import topology

    _print_json(topology.schema())


# --- up and down ------------------------------------------------------------------------------


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@time_scale_option
@profile_option
def up(file: Path | None, time_scale: int | None, profile: str | None) -> None:
    """Make a topology run; on a running lab, apply only the difference.

    Live flows are kept. What `lab nsg` changed since is as the file says again. If it fails, everything
    it made is removed, or changed back. A lab that a killed command left half made is made anew. Needs root.

    \b
    Example:
      sudo lab up source-ip.lab.yaml
      sudo lab up source-ip.lab.yaml --time-scale 60
    """
    from lab import verify

    chosen = file or _only_file()
    network = verify.load(chosen, time_scale=time_scale, profile=profile)
    _need_root()
    began = time.monotonic()
    with _interruptible(), _progress() as say:
        outcome = verify.bring_up(network, chosen, say)
    seconds = time.monotonic() - began
    if not outcome.built and not outcome.changed:
        click.echo(f"{network.name}: runs already, nothing to change; its rules were written again")
        return
    what = f"{_count(outcome.changed, 'object')}, " if outcome.built else f"{_count(outcome.changed, 'change')}, "
    vms, hosts = len(network.virtual_machines), len(network.internet)
    click.echo(f"{network.name}: up, {what}{_count(vms, 'VM')}, {_count(hosts, 'outside host')}, {seconds:.1f} s")
    if str(network.overrides):
        click.echo(f"{network.name}: departs from the documents: {network.overrides}")
    _say_timers(network.name)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every lab of this machine.")
def down(names: tuple[str, ...], everything: bool) -> None:
    """Remove labs: exactly what their records say is theirs. Twice is fine. Needs root.

    \b
    Example:
      sudo lab down source-ip
      sudo lab down --all
    """
    from lab.kernel import apply
    from lab.kernel.record import names as all_names

    if bool(names) == everything:
        raise UsageError("lab down: needs names of labs, or --all and none; see `lab list`")
    _need_root()
    chosen = tuple(name.removesuffix(SUFFIX) for name in (all_names() if everything else names))
    for name in chosen:
        _check_name(name)
        removed = apply.down(name)
        click.echo(f"{name}: down" if removed else f"{name}: is not up")


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise UsageError(f'lab down: "{name}" is not the name of a lab; see `lab list`')


# --- looking ----------------------------------------------------------------------------------


@cli.command("list")
@output_option
def list_labs(output: str) -> None:
    """List the labs of this machine.

    \b
    Example:
      lab list
    """
    from lab import show

    labs = show.labs()
    if output == "json":
        _print_json({"labs": labs})
        return
    rows = [
        (lab.name, lab.state, lab.profile, f"1:{lab.time_scale}", str(len(lab.nodes)), _near(lab.file)) for lab in labs
    ]
    _print_table(("LAB", "STATE", "PROFILE", "TIME", "NODES", "FILE"), rows, empty="no lab is up")


@cli.command("show")
@click.argument("name")
@click.argument("node", required=False)
@output_option
def show_lab(name: str, node: str | None, output: str) -> None:
    """Show a lab's nodes: addresses, the address each is seen with outside, health of pool members.

    \b
    Example:
      lab show source-ip
      lab show source-ip test2vm -o json
    """
    from lab import show

    lab = show.describe(name)
    nodes = [n for n in lab.nodes if node in (None, n.name)]
    if node is not None and not nodes:
        raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, [n.name for n in lab.nodes])}')
    if output == "json":
        _print_json(nodes[0] if node is not None else lab)
        return
    if node is not None:
        _show_node(nodes[0])
        return
    _show_lab(lab)


def _show_lab(lab: "Lab") -> None:
    scale = f", time 1:{lab.time_scale}" if lab.time_scale != 1 else ""
    click.echo(f"{lab.name}: {lab.state}; profile {lab.profile}{scale}; {_near(lab.file)}")
    rows = []
    for node in lab.nodes:
        seen = " ".join(dict.fromkeys(o.address for o in node.outbound)) or "-"
        ports = " ".join(dict.fromkeys(o.ports for o in node.outbound)) or "-"
        how = " ".join(dict.fromkeys(o.how for o in node.outbound)) or node.role
        health = " ".join("up" if member.up else "down" for member in node.health.values()) or "-"
        rows.append((node.name, node.address, seen, ports, how, health if node.there else "gone"))
    _print_table(("NODE", "ADDRESS", "SEEN FROM", "PORTS", "HOW", "HEALTH"), rows)
    _say_timers(lab.name)
    if lab.gateways:
        click.echo()
        _print_gateways(lab)
    public = len(lab.public_addresses)
    click.echo(f"{_count(public, 'public address', 'es')} counted as yours; the platform's default address is not")


def _say_timers(name: str) -> None:
    """Say the documents' times and what they are in a lab whose time is scaled."""
    from lab import show

    timers = show.timers(name)
    if timers:
        said = ", ".join(f"{what} {nominal:g} s is {scaled:g} s" for what, nominal, scaled in timers)
        click.echo(f"{name}: time runs faster: {said}")


def _show_node(node: "Node") -> None:
    rows = [("role", node.role), ("address", node.address), ("namespace", node.namespace)]
    rows += [("seen from", f"{o.address}, ports {o.ports} ({o.how})") for o in node.outbound]
    rows += [("service", service) for service in node.services]
    for key, member in node.health.items():
        since = time.strftime("%H:%M:%S", time.localtime(member.since))
        rows.append(("health", f"{key}: {'up' if member.up else 'down'} since {since}, {member.reason}"))
    _print_table((node.name, ""), rows)


# --- SNAT ports ---------------------------------------------------------------------------------


@cli.command("ports")
@click.argument("name")
@click.argument("vms", nargs=-1, metavar="[VM]...")
@click.option(
    "--by", type=click.Choice(["vm", "destination"]), default="vm", show_default=True, help="One line for each."
)
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, metavar="S", help="Seconds between two looks.")
@output_option
def show_ports(name: str, vms: tuple[str, ...], by: str, watch: bool, interval: float, output: str) -> None:
    """Show the SNAT ports of a lab's VMs: allocated, in use, refused. Needs root.

    PORTS counts different ports, FLOWS a port once for each destination that it serves: the documents
    have read "used ports" both ways. FULLEST is the most that is in use to one destination (or whatever
    the revision makes ports unique for), PEAK the most it ever was: at ALLOCATED, new flows are refused.
    A VM that never used a port is only counted.

    \b
    Example:
      sudo lab ports snat-exhaustion
      sudo lab ports snat-exhaustion web1 --by destination
      sudo lab ports snat-exhaustion --watch
    """
    from lab import ports

    _need_root()

    def look() -> list[Any]:
        used = ports.usage(name)
        known = sorted({u.node for u in used})
        for vm in vms:
            if vm not in known:
                raise UsageError(f'{name}: no VM "{vm}" that takes SNAT ports; {did_you_mean(vm, known)}')
        return [u for u in used if not vms or u.node in vms]

    def show() -> None:
        used = look()
        if output == "json":
            _print_json({"ports": used})
        elif by == "destination":
            _print_destinations(used)
        else:
            _print_ports(used)

    show()
    try:
        while watch:
            time.sleep(interval)
            if sys.stdout.isatty():
                click.clear()
            show()
    except KeyboardInterrupt:
        pass


def _print_ports(used: "list[Usage]") -> None:
    shown = [u for u in used if u.flows or u.peak or u.refused]
    rows = [
        (
            u.node,
            u.address,
            u.protocol,
            *(f"{n}" for n in (u.allocated, u.ports, u.flows, u.fullest, u.peak, u.refused)),
        )
        for u in shown
    ]
    head = ("VM", "ADDRESS", "PROTOCOL", "ALLOCATED", "PORTS", "FLOWS", "FULLEST", "PEAK", "REFUSED")
    if rows:
        _print_table(head, rows)
    idle = {u.node for u in used} - {u.node for u in shown}
    if idle:
        most = max(u.allocated for u in used if u.node in idle)
        click.echo(f"{_count(len(idle), 'VM')} never used one of up to {most:,} ports")


def _print_destinations(used: "list[Usage]") -> None:
    rows = [
        (u.node, u.address, u.protocol, f"{to.address}:{to.port}", f"{to.ports}", f"{to.refused}")
        for u in used
        for to in u.destinations
    ]
    _print_table(("VM", "ADDRESS", "PROTOCOL", "DESTINATION", "FLOWS", "REFUSED"), rows, empty="no flow")


@cli.command("events")
@click.argument("name")
@click.option("--follow", is_flag=True, help="Go on with what comes, until the lab is down or Ctrl-C.")
@output_option
def show_events(name: str, follow: bool, output: str) -> None:
    """Show what the documents' logs hold: alerts of exhausted SNAT ports, and health events.

    With -o json the records are complete and in the documents' own form.

    \b
    Example:
      lab events snat-exhaustion
      lab events snat-exhaustion --follow -o json
    """
    from lab import ports

    if output == "json" and not follow:
        _print_json({"records": list(ports.events(name))})
        return
    import msgspec

    with contextlib.suppress(KeyboardInterrupt):
        for record in ports.events(name, follow=follow):
            click.echo(msgspec.json.encode(record).decode() if output == "json" else _event_line(record))


def _event_line(record: dict[str, Any]) -> str:
    """Say a record in one line."""
    own = record.get("lab", {})
    if "properties" in record:
        found = record["properties"]
        what = f"{found['eventName']}: {found['eventDescription']}"
        where = found["eventProperties"]["public ip address"]
    else:
        what, where = f"{record['HealthEventType']} ({record['Severity']})", record["FrontendIP"]
    when = record.get("time") or record["TimeGenerated"]
    used = f"{own['portsInUse']} of {own['portsAllocated']} {own['protocol']} ports of {own['virtualMachine']}"
    return f"{when}  {where:<15}  {what}; {used}"


@cli.command("load")
@click.argument("name")
@click.argument("sender", metavar="FROM")
@click.argument("to", metavar="TO")
@click.option("--flows", type=click.IntRange(1, 65535), default=100, show_default=True, help="How many flows.")
@click.option(
    "--hold", type=click.FloatRange(0), default=0.0, metavar="S", help="Hold them so long, then use each again."
)
@click.option(
    "--rate", type=click.FloatRange(0), default=0.0, metavar="R", help="New flows a second; 0: as fast as they go."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=3.0, show_default=True, metavar="S", help="When a flow has failed."
)
@click.option(
    "--end", "ending", type=click.Choice(["fin", "rst"]), default="fin", show_default=True, help="How TCP is closed."
)
@output_option
def load_flows(
    name: str, sender: str, to: str, flows: int, hold: float, rate: float, timeout: float, ending: "Ending", output: str
) -> None:
    """Open many flows from a node to one server, hold them, and tell what became of them. Needs root.

    TO is HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp; HOST is a node's name or an address. A service of the lab
    tells which source address and port it saw. Exhausted SNAT ports show as flows that time out.
    "My client opens 2,000 connections to one API" is the first example.

    \b
    Example:
      sudo lab load snat-exhaustion web1 api:80 --flows 2000 --hold 5
      sudo lab load snat-exhaustion web1 api:9000/udp --flows 100 --rate 50
    """
    from lab import load
    from lab.flow import Destination, is_address
    from lab.kernel import netns
    from lab.kernel.record import existing
    from lab.plan import Server, namespace

    folder, _ = existing(name)
    made = folder.plan()
    nodes = made.addresses()
    if sender not in nodes:
        raise UsageError(f'{name}: no node "{sender}"; {did_you_mean(sender, nodes)}')
    try:
        goal = Destination.parse(to)
    except ValueError as error:
        raise UsageError(f"lab load: TO: {error}; as in api:80 or 203.0.113.9:9000/udp") from None
    address = nodes.get(goal.host, goal.host)
    if not is_address(address):
        raise UsageError(f'{name}: no node "{goal.host}", nor is it an address; {did_you_mean(goal.host, nodes)}')
    _need_root()
    there = [s for s in made.of(Server) if (s.address, s.port, s.protocol) == (address, goal.port, goal.protocol)]
    spoken: load.Kind = "udp" if goal.protocol == "udp" else "connect"
    for server in there:
        if server.kind == "tcp" or server.kind == "http":  # noqa: PLR1714 - so that the type is known
            spoken = server.kind
    netns.prepare()
    netns.enter(namespace(name, sender))
    report = load.run(
        sender,
        load.Target(address, goal.port, spoken),
        str(goal),
        flows,
        hold_s=hold,
        rate=rate,
        timeout_s=timeout,
        ending=ending,
    )
    if output == "json":
        _print_json(report)
        return
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
        rows.append(("still alive", f"{report.alive:,} of {report.opened:,} after {hold:g} s"))
    _print_table((f"{sender} to {report.to}", ""), rows)


def _print_gateways(lab: "Lab", only: str | None = None) -> None:
    from lab.show import status

    rows = []
    for place, gateway in lab.gateways.items():
        if only not in (None, place):
            continue
        state = status(gateway, time.time())
        address = gateway.address or "-"
        if not gateway.tunnels:
            rows.append((place, address, gateway.kind, state, "-", "-", "-", "-"))
        for site, tunnel in gateway.tunnels.items():
            shown = state if state == "Creating" else tunnel.state
            traffic = (f"{tunnel.ingress:,}", f"{tunnel.egress:,}")
            rows.append((place, address, gateway.kind, shown, site, *traffic, tunnel.reason or "-"))
    _print_table(("GATEWAY", "ADDRESS", "KIND", "STATE", "SITE", "BYTES IN", "OUT", "WHY"), rows)
    click.echo(f"encrypted {_BY[next(iter(lab.gateways.values())).esp]}")


_BY = {"kernel": "by the kernel", "user space": "in user space (strongSwan's kernel-libipsec, in UDP 4500)"}


# --- gateways -----------------------------------------------------------------------------------

lab_option = click.option("--lab", "name", metavar="NAME", help="The lab; left out, the only one that is up.")


@cli.group("gateway")
def gateway_group() -> None:
    """Look at virtual networks' gateways, and operate them.

    \b
    Example:
      lab gateway show
    """


@gateway_group.command("show")
@click.argument("network", required=False)
@lab_option
@output_option
def gateway_show(network: str | None, name: str | None, output: str) -> None:
    """Show gateways: state, address, and each connection with its bytes, its last event and why it is down.

    The state of a gateway is Creating, then Connecting with its address visible, then Connected. JSON has the
    fields of Get-AzureVNetGateway and Get-AzureVnetConnection.

    \b
    Example:
      lab gateway show
      lab gateway show VNet1 --lab vnet-to-vnet -o json
    """
    from lab import show

    lab = show.describe(name or _only_lab())
    chosen = {place: g for place, g in lab.gateways.items() if place.startswith("gw.")}
    if network is not None:
        known = [place.removeprefix("gw.") for place in chosen]
        if network not in known:
            raise UsageError(f'{lab.name}: no gateway of "{network}" (NotProvisioned); {did_you_mean(network, known)}')
        chosen = {f"gw.{network}": chosen[f"gw.{network}"]}
    if output == "json":
        _print_json({"gateways": [show.gateway(place, state, time.time()) for place, state in chosen.items()]})
    elif chosen:
        _print_gateways(lab, f"gw.{network}" if network else None)
        for state in chosen.values():
            for tunnel in state.tunnels.values():
                if tunnel.message:
                    click.echo(tunnel.message)
    else:
        click.echo("no gateway (NotProvisioned)")


@gateway_group.command("create")
@click.argument("network")
@click.option(
    "--routing", type=click.Choice(["dynamic", "static"]), required=True, help="Dynamic is IKEv2, static IKEv1."
)
@click.option(
    "--sku",
    type=click.Choice(["Basic", "Standard", "HighPerformance"]),
    help="Size of the gateway.  [default: Standard, of static gateways Basic]",
)
@lab_option
def gateway_create(network: str, routing: "Routing", sku: "GatewaySku | None", name: str | None) -> None:
    """Create a virtual network's gateway. Needs root.

    It is Creating for 15 minutes of the lab's time (see --time-scale of `lab up`), without an address to show.

    \b
    Example:
      sudo lab gateway create vnet1 --routing dynamic
    """
    from lab import manage
    from lab.operations.vpn import BUILD_S, CreateGateway

    lab = name or _only_lab()
    _need_root()
    ready = time.time() + BUILD_S / manage.network_of(lab).overrides.time_scale
    size: GatewaySku = sku or ("Basic" if routing == "static" else "Standard")
    _perform(lab, CreateGateway(network, routing, size, ready))
    click.echo(f"{network}: Creating, until {time.strftime('%H:%M:%S', time.localtime(ready))}")


@gateway_group.command("delete")
@click.argument("network")
@lab_option
def gateway_delete(network: str, name: str | None) -> None:
    """Delete a virtual network's gateway; its address is released. Needs root.

    \b
    Example:
      sudo lab gateway delete vnet1
    """
    from lab.operations.vpn import DeleteGateway

    _perform(name or _only_lab(), DeleteGateway(network))


@gateway_group.command("connect")
@click.argument("network")
@click.argument("site")
@lab_option
def gateway_connect(network: str, site: str, name: str | None) -> None:
    """Connect a virtual network to a local network. Needs root.

    \b
    Example:
      sudo lab gateway connect vnet1 site-vnet2
    """
    from lab.operations.vpn import Connect

    _perform(name or _only_lab(), Connect(network, site))


@gateway_group.command("disconnect")
@click.argument("network")
@click.argument("site")
@lab_option
def gateway_disconnect(network: str, site: str, name: str | None) -> None:
    """End a tunnel and leave it down; the connection stays defined. Needs root.

    \b
    Example:
      sudo lab gateway disconnect vnet1 site-vnet2
    """
    from lab.operations.vpn import Connect

    _perform(name or _only_lab(), Connect(network, site, connect=False))


@gateway_group.group("key")
def gateway_key() -> None:
    """Set the shared keys of connections.

    \b
    Example:
      sudo lab gateway key set vnet1 site-vnet2 --key A1b2C3D4
    """


@gateway_key.command("set")
@click.argument("network")
@click.argument("site")
@click.option("--key", required=True, help="1 to 128 letters and digits; the same on both sides.")
@lab_option
def gateway_key_set(network: str, site: str, key: str, name: str | None) -> None:
    """Set the shared key of a connection. Needs root.

    Commands are visible to all users of a machine: LAB_GATEWAY_KEY_SET_KEY in the environment is not.

    \b
    Example:
      sudo lab gateway key set vnet1 site-vnet2 --key A1b2C3D4
    """
    from lab.operations.vpn import SetKey

    _perform(name or _only_lab(), SetKey(network, site, key))


@cli.group("network")
def network_group() -> None:
    """Add virtual networks and subnets to a running lab.

    \b
    Example:
      sudo lab network add VNet3 --address-space 10.3.0.0/16 --subnet GatewaySubnet=10.3.255.0/27
    """


_space_option = click.option(
    "--address-space", "space", multiple=True, metavar="PREFIX", help="An address range; may be repeated."
)


@network_group.command("add")
@click.argument("network")
@_space_option
@click.option("--location", default="China North", show_default=True, help="Where it is; it never changes.")
@click.option("--subnet", "subnets", multiple=True, metavar="NAME=PREFIX", help="A subnet; may be repeated.")
@lab_option
def network_add(
    network: str, space: tuple[str, ...], location: str, subnets: tuple[str, ...], name: str | None
) -> None:
    """Create a virtual network in a running lab. Needs root.

    \b
    Example:
      sudo lab network add VNet3 --address-space 10.3.0.0/16 --location "China East"
    """
    from lab.operations.vpn import AddNetwork

    made = tuple(_subnet(*text.partition("=")[::2]) for text in subnets)
    _perform(name or _only_lab(), AddNetwork(_name(network), location, _prefixes(space), made))


@network_group.command("subnet")
@click.argument("network")
@click.argument("subnet")
@click.argument("prefix")
@lab_option
def network_subnet(network: str, subnet: str, prefix: str, name: str | None) -> None:
    """Add a subnet to a virtual network of a running lab. Needs root.

    \b
    Example:
      sudo lab network subnet VNet3 GatewaySubnet 10.3.255.0/27
    """
    from lab.operations.vpn import AddSubnet

    _perform(name or _only_lab(), AddSubnet(network, _subnet(subnet, prefix)))


@cli.group("local-network")
def local_network_group() -> None:
    """Define local networks of a running lab: what tunnels lead to.

    \b
    Example:
      sudo lab local-network add site-vnet2 --address-space 10.2.0.0/16 --address 5.4.3.2
    """


_address_help = "Address of its VPN device; a placeholder will do until the real one is known."


@local_network_group.command("add")
@click.argument("site")
@_space_option
@click.option("--address", required=True, help=_address_help)
@lab_option
def local_network_add(site: str, space: tuple[str, ...], address: str, name: str | None) -> None:
    """Define a local network. Needs root.

    \b
    Example:
      sudo lab local-network add site-vnet2 --address-space 10.2.0.0/16 --address 5.4.3.2
    """
    from lab.operations.vpn import AddLocalNetwork

    _perform(name or _only_lab(), AddLocalNetwork(_name(site), _prefixes(space), _ip(address)))


@local_network_group.command("set")
@click.argument("site")
@_space_option
@click.option("--address", help=_address_help)
@lab_option
def local_network_set(site: str, space: tuple[str, ...], address: str | None, name: str | None) -> None:
    """Give a local network other ranges, or the real address of its VPN device. Needs root.

    \b
    Example:
      sudo lab local-network set site-vnet2 --address 203.0.113.2
    """
    from lab.operations.vpn import SetLocalNetwork

    operation = SetLocalNetwork(site, _prefixes(space) if space else None, _ip(address) if address else None)
    _perform(name or _only_lab(), operation)


def _name(text: str) -> str:
    import re

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,62}", text):
        raise UsageError(f'"{text}": a name begins with a letter and has up to 63 letters, digits, ".", "-" and "_"')
    return text


def _prefixes(texts: Sequence[str]) -> "tuple[IPv4Network, ...]":
    from ipaddress import IPv4Network

    if not texts:
        raise UsageError("no address range; there must be at least one; give it: --address-space 10.3.0.0/16")
    try:
        return tuple(IPv4Network(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"{error}; a range is an IPv4 prefix such as 10.3.0.0/16; correct it") from None


def _subnet(name: str, prefix: str) -> "Subnet":
    from lab.model import Subnet

    return Subnet(name=_name(name), address_prefix=_prefixes([prefix])[0])


def _ip(text: str) -> "IPv4Address":
    from ipaddress import IPv4Address

    try:
        return IPv4Address(text)
    except ValueError:
        raise UsageError(f'"{text}" is no IPv4 address, such as 203.0.113.2; correct it') from None


def _only_lab() -> str:
    """Return the only lab that is up.

    Raises:
        UsageError: there is none, or more than one.

    """
    from lab.kernel.record import names

    found = names()
    if len(found) != 1:
        what = "no lab is" if not found else f"{len(found)} labs are"
        raise UsageError(f"{what} up; without --lab there must be exactly one; bring one up, or name it: --lab NAME")
    return found[0]


# --- network configuration files ----------------------------------------------------------------


@cli.group("import")
def import_group() -> None:
    """Take the configuration of a running lab's networks from a file.

    \b
    Example:
      sudo lab import netcfg NetworkConfig.xml
    """


@import_group.command("netcfg")
@click.argument("file", type=click.Path(path_type=Path))
@lab_option
def import_netcfg(file: Path, name: str | None) -> None:
    """Replace networks, local networks, DNS servers and connections by those of a NetworkConfiguration file.

    All of it or nothing. VMs, gateways and the keys of connections that stay are kept. Needs root.

    \b
    Example:
      sudo lab import netcfg NetworkConfig.xml
    """
    from lab import netcfg
    from lab.operations.netcfg import ImportConfiguration

    try:
        if file.stat().st_size > netcfg.MAX_BYTES:
            raise UsageError(f"{file}: larger than {netcfg.MAX_BYTES:,} bytes; it must be a network configuration")
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}; a network configuration is a text file; name one") from None
    made = netcfg.read(text, str(file))
    _perform(name or _only_lab(), ImportConfiguration(made, file.name))
    _print_table(
        ("OperationDescription", "OperationId", "OperationStatus"), [("Set-AzureVNetConfig", "-", "Succeeded")]
    )


@cli.group("export")
def export_group() -> None:
    """Write the configuration of a lab's networks in the documents' own form.

    \b
    Example:
      sudo lab export netcfg > NetworkConfig.xml
    """


@export_group.command("netcfg")
@click.argument("name", required=False)
def export_netcfg(name: str | None) -> None:
    """Print the NetworkConfiguration of a running lab, which needs root, or of a topology file.

    \b
    Example:
      lab export netcfg vnet-to-vnet.lab.yaml
      sudo lab export netcfg vnet-to-vnet
    """
    from lab import netcfg

    click.echo(netcfg.write(_network(name or _only_lab())), nl=False)


# --- inside a node ----------------------------------------------------------------------------


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
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


@cli.command()
@click.argument("name")
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
    from lab.kernel.record import existing
    from lab.plan import namespace

    folder, _ = existing(name)
    made = folder.plan()
    if node not in made.places():
        raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, made.places())}')
    _need_root()
    netns.enter(namespace(name, node))
    netns.own_files(node, folder.own, apply.node_files(made, node))
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - an argument list, and what the user asked for
    except OSError as error:
        raise UsageError(f"{command[0]}: {error.strerror}; it must be a command of this machine") from None


# --- judging ----------------------------------------------------------------------------------


@cli.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--claim", "only", multiple=True, metavar="ID", help="Judge only this claim; may be repeated.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write the results as JUnit XML to this file.")
@time_scale_option
@profile_option
@output_option
def verify_files(
    files: tuple[Path, ...],
    only: tuple[str, ...],
    junit: Path | None,
    time_scale: int | None,
    profile: str | None,
    output: str,
) -> None:
    """Bring topologies up, judge every claim and expectation that applies, take them down.

    Without FILE: all bundled topologies. A lab that runs already with the same plan is judged as it
    stands, altered rules included, and stays up; claims that need it changed come last, and write its
    rules again. What cannot be judged is NOT_RUN, with the reason. Needs root.

    \b
    Example:
      sudo lab verify
      sudo lab verify mine.lab.yaml -o json
      sudo lab verify source-ip.lab.yaml --claim S1-3
      sudo lab verify snat-2019.lab.yaml --profile 2022-03
    """
    from lab import claims, topology, verdict, verify

    chosen = files or tuple(sorted(BUNDLED.glob(f"*{SUFFIX}")))
    networks = [topology.load(file, time_scale=time_scale, profile=profile) for file in chosen]
    known = {c.id for c in claims.CATALOGUE} | {claim for n in networks for claim, _ in claims.trials(n)}
    for claim in only:
        if claim not in known:
            raise UsageError(f'no claim "{claim}"; {did_you_mean(claim, known)}; see `lab claims`')
    if junit is not None and not junit.parent.is_dir():
        raise UsageError(f"{junit}: no folder {junit.parent}; the file's folder must be there; make it first")
    _need_root()
    from lab.probe import Prober

    results = []
    with _interruptible(), _progress() as say:
        for file, network in zip(chosen, networks, strict=True):
            try:
                with Prober() as prober:
                    results += verify.verify(
                        file, prober, say, only=frozenset(only), time_scale=time_scale, profile=profile
                    )
            except MachineError:
                raise
            except LabError as error:
                results += verify.not_run(network, frozenset(only), str(error))
    done = verdict.report(results)
    if output == "json":
        _print_json(done)
    else:
        _print_report(done)
    if junit is not None:
        junit.write_text(verdict.junit(done))
    sys.exit(verdict.exit_status(done))


def _print_report(done: "Report") -> None:
    rows = [(r.verdict, r.id, r.topology, r.profile, _clip(r.reason or r.observed, 110)) for r in done.results]
    _print_table(("VERDICT", "CLAIM", "TOPOLOGY", "PROFILE", "OBSERVED"), rows, empty="no claim applies")
    for result in done.results:
        if result.verdict != "HOLDS":
            click.echo(f"\n{result.verdict} {result.id} in {result.topology}: {result.statement}")
            click.echo(f"  source    {result.source}")
            click.echo(f"  expected  {result.expected}")
            click.echo(f"  observed  {result.observed}")
            click.echo(f"  because   {result.reason}")
    s = done.summary
    click.echo(f"\n{s.holds} hold, {s.contradicted} contradicted, {s.inconclusive} inconclusive, {s.not_run} not run")


@cli.command("claims")
@click.argument("claim", required=False, metavar="[ID]")
@click.option("--profiles", is_flag=True, help="List the revisions of the documents, oldest first, instead.")
@click.option(
    "--diff", nargs=2, metavar="P1 P2", help="What changed between two revisions, with the text that says so."
)
@output_option
def claims_catalogue(claim: str | None, profiles: bool, diff: tuple[str, str] | None, output: str) -> None:
    """List what is claimed: statement, source, and the bundled topologies that prove it.

    \b
    Example:
      lab claims
      lab claims S1-3
      lab claims --diff 2018-02 2019-05
    """
    from lab import claims, topology

    if profiles or diff:
        _print_revisions(output, diff)
        return
    proved: dict[str, list[str]] = {}
    for file in sorted(BUNDLED.glob(f"*{SUFFIX}")):
        network = topology.load(file)
        for found, _ in claims.trials(network):
            proved.setdefault(found, []).append(network.name)
    chosen = [c for c in claims.CATALOGUE if claim in (None, c.id)]
    if not chosen:
        known = [c.id for c in claims.CATALOGUE]
        raise UsageError(f'no claim "{claim}"; {did_you_mean(str(claim), known)}')
    listed = [
        {
            "id": c.id,
            "statement": c.statement,
            "source": c.source,
            "profiles": list(c.profiles) or ["all"],
            "proved_in": proved.get(c.id, []),
        }
        for c in chosen
    ]
    if output == "json":
        _print_json({"claims": listed})
    elif claim is not None:
        _print_table((claim, ""), [(key, _words(value)) for key, value in listed[0].items()])
    else:
        rows = [(_words(c["id"]), _words(c["statement"]), _words(c["proved_in"])) for c in listed]
        _print_table(("CLAIM", "STATEMENT", "PROVED IN"), rows)


def _print_revisions(output: str, diff: tuple[str, str] | None) -> None:
    """List the revisions, or the cells and claims in which two of them differ."""
    from lab import claims, profile

    if diff is None:
        if output == "json":
            _print_json({"profiles": list(profile.NAMES)})
        else:
            named = [(name, f"{len(profile.TABLE.get(name, {}))} cells of its own") for name in profile.NAMES]
            _print_table(("PROFILE", ""), named)
        return
    for name in diff:
        if name not in profile.NAMES:
            raise UsageError(f'no revision "{name}"; {did_you_mean(name, profile.NAMES)}; see `lab claims --profiles`')
    first, second = (profile.resolve(name) for name in diff)
    cells = [
        {
            "cell": cell,
            **{p.name: _cell_text(getattr(p, cell)) for p in (first, second)},
            "source": second.sources[cell],
        }
        for cell in sorted(second.sources)
        if getattr(first, cell) != getattr(second, cell)
    ]
    stated = [{c.id for c in claims.CATALOGUE if not c.profiles or name in c.profiles} for name in diff]
    only = {name: sorted(mine - other) for name, mine, other in zip(diff, stated, reversed(stated), strict=True)}
    if output == "json":
        _print_json({"cells": cells, "claims_only_in": only})
        return
    rows = [(c["cell"], c[first.name], c[second.name], c["source"]) for c in cells]
    _print_table(("CELL", *diff, "SOURCE"), rows, empty="no cell differs")
    for name, ids in only.items():
        click.echo(f"only {name} states {', '.join(ids) or 'no claim of its own'}")


def _cell_text(value: object) -> str:
    """Say the value of a cell."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        tiers = [f"{t.ports} to {t.pool_size} VMs" if hasattr(t, "ports") else str(t) for t in value]
        return ", ".join(tiers)
    return str(value)


def _words(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


@cli.command()
@output_option
def doctor(output: str) -> None:
    """Say what this machine can and cannot do for a lab, and what would mend it.

    \b
    Example:
      sudo lab doctor
    """
    from lab import doctor as doctoring

    findings = doctoring.examine()
    if output == "json":
        _print_json({"findings": findings})
    else:
        rows = [("ok" if f.ok else "LACKS", f.what, f.found, f.needed_for, f.mend) for f in findings]
        _print_table(("", "WHAT", "FOUND", "NEEDED FOR", "TO MEND IT"), rows)
    if not all(f.ok for f in findings):
        sys.exit(MachineError.exit_code)


# --- network security groups ------------------------------------------------------------------


@cli.group()
def nsg() -> None:
    """Look at the network security groups of a lab, and change their rules while it runs.

    \b
    Example:
      sudo lab nsg rule list nsg NSG-FrontEnd
      sudo lab nsg rule add nsg NSG-FrontEnd allow-https --priority 110 --access Allow \\
          --protocol Tcp --source Internet --destination-ports 443
    """


@nsg.group()
def rule() -> None:
    """Add, remove and list the rules of a network security group of a running lab.

    A change holds until `lab up FILE`, which makes the file's word true again. It touches no flow that was
    let begin: rules are asked about new flows only.

    \b
    Example:
      sudo lab nsg rule remove nsg NSG-FrontEnd web-rule
    """


def _list_option(name: str, what: str) -> Callable[[_Command], _Command]:
    help_text = f"{what}; more than one with commas.  [default: *]"
    return click.option(f"--{name}", metavar="LIST", help=help_text)


@rule.command("add")
@click.argument("name")
@click.argument("group")
@click.argument("rule_name", metavar="RULE")
@click.option("--priority", type=int, required=True, help="Rules with a lower number are asked first.")
@click.option("--direction", default="Inbound", show_default=True, help="Inbound or Outbound.")
@click.option("--access", default="Allow", show_default=True, help="Allow or Deny.")
@click.option("--protocol", default="*", show_default=True, help="Tcp, Udp, Icmp or *.")
@_list_option("source", "Prefixes and tags: VirtualNetwork, AzureLoadBalancer, Internet")
@_list_option("source-ports", "Ports and ranges of the client")
@_list_option("destination", "Prefixes and tags")
@_list_option("destination-ports", "Ports and ranges, as the VM sees them")
def add_rule(name: str, group: str, rule_name: str, **values: str | int | None) -> None:
    """Add a rule to a group of a running lab. Needs root.

    \b
    Example:
      sudo lab nsg rule add nsg NSG-FrontEnd no-telnet --priority 120 --access Deny --protocol Tcp \\
          --source Internet --destination-ports 23,2323
    """
    from lab import topology
    from lab.operations.security_rule import AddRule

    lists = {
        "source": "source_address_prefixes",
        "source_ports": "source_port_ranges",
        "destination": "destination_address_prefixes",
        "destination_ports": "destination_port_ranges",
    }
    given: dict[str, object] = {"name": rule_name}
    for key, value in values.items():
        if key not in lists:
            given[key] = value
        elif value is not None:
            given[lists[key]] = [part.strip() for part in str(value).split(",")]
    _perform(name, AddRule(group, topology.parse_rule(given)))


@rule.command("remove")
@click.argument("name")
@click.argument("group")
@click.argument("rule_name", metavar="RULE")
def remove_rule(name: str, group: str, rule_name: str) -> None:
    """Remove a rule from a group of a running lab. Needs root.

    \b
    Example:
      sudo lab nsg rule remove nsg NSG-FrontEnd web-rule
    """
    from lab.operations.security_rule import RemoveRule

    _perform(name, RemoveRule(group, rule_name))


def _perform(name: str, operation: "Operation") -> None:
    """Do a management operation, and say what it changed."""
    _need_root()
    from lab import manage

    with _interruptible(), _progress() as say:
        outcome = manage.perform(name, operation, say)
    click.echo(f"{name}: {operation}: {_count(outcome.changed, 'change')}")


@rule.command("list")
@click.argument("name")
@click.argument("group", required=False)
@output_option
def list_rules(name: str, group: str | None, output: str) -> None:
    """List the rules of a lab's groups in the order they are asked, the default rules included. Needs root.

    \b
    Example:
      sudo lab nsg rule list nsg
      sudo lab nsg rule list nsg NSG-FrontEnd -o json
    """
    from lab import security_groups

    network = _network(name)
    groups = [g for g in network.network_security_groups if group in (None, g.name)]
    if group is not None and not groups:
        known = [g.name for g in network.network_security_groups]
        raise UsageError(f'{name}: no network security group "{group}"; {did_you_mean(group, known)}')
    listed = {g.name: security_groups.ordered(g, network.profile) for g in groups}
    if output == "json":
        _print_json({"network_security_groups": listed})
        return
    rows = [(g, *_rule_cells(rule)) for g, rules in listed.items() for rule in rules]
    _print_table(("GROUP", *_RULE_HEAD), rows, empty="no network security group")


_RULE_HEAD = ("DIRECTION", "PRIORITY", "NAME", "ACCESS", "PROTOCOL", "SOURCE", "PORTS", "DESTINATION", "PORTS")


def _rule_cells(rule: "SecurityRule") -> tuple[str, ...]:
    lists = (rule.sources, rule.source_ports, rule.destinations, rule.destination_ports)
    return (
        rule.direction, str(rule.priority), rule.name, rule.access, rule.protocol,
        *(", ".join(map(str, values)) or "*" for values in lists),
    )  # fmt: skip


@nsg.command("effective")
@click.argument("name")
@click.argument("vm")
@output_option
def effective_rules(name: str, vm: str, output: str) -> None:
    """Show all rules in force at a VM, merged, in the order they are asked.

    NAME is a running lab, which needs root, or a topology file. The default rules are there, tags are expanded, and
    a rule that earlier ones leave nothing to is marked with their names.

    \b
    Example:
      sudo lab nsg effective nsg web1
      lab nsg effective nsg.lab.yaml web1 -o json
    """
    from lab import security_groups
    from lab.model import PLATFORM_ADDRESS

    network = _network(name)
    machine = network.vm(vm)
    if machine is None:
        known = [v.name for v in network.virtual_machines]
        raise UsageError(f'{name}: no VM "{vm}"; {did_you_mean(vm, known)}')
    found = security_groups.Groups(network).effective(machine)
    if output == "json":
        _print_json({"vm": vm, "rules": found})
        return
    rows = [(f"{e.group} on {e.on}", *_rule_cells(e.rule), ", ".join(e.shadowed_by) or "-") for e in found]
    _print_table(("GROUP", *_RULE_HEAD, "SHADOWED BY"), rows, empty=f"{vm}: no network security group; all is allowed")
    vnet = network.virtual_network(machine.virtual_network)
    if found:
        spaces = ", ".join(str(space) for space in security_groups.spaces(network, vnet))
        click.echo(
            f"VirtualNetwork is {spaces}; Internet is all but that and {PLATFORM_ADDRESS}, which is AzureLoadBalancer"
        )


@nsg.command("matrix")
@click.argument("name")
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option(
    "--service",
    "wanted",
    multiple=True,
    metavar="PORT/PROTOCOL",
    help="Such as 80/tcp, 53/udp or icmp; may be repeated.",
)
@click.option(
    "--send/--no-send",
    default=None,
    help="Send every flow and hold the prediction against it, or only predict.  [default: send in a running lab]",
)
@output_option
def truth_table(name: str, nodes: tuple[str, ...], wanted: tuple[str, ...], send: bool, output: str) -> None:
    """Print who may speak to whom: every pair of nodes and every service, predicted and seen on the wire.

    With NODEs: only the pairs that they are part of. A frontend's address is a receiver like any node. Without
    --service: the services of the topology, the ports its rules name, and ports of nobody. NAME is a running lab,
    which needs root, or a topology file, of which nothing can be seen. A difference between the two is an error.

    \b
    Example:
      sudo lab nsg matrix nsg
      sudo lab nsg matrix nsg web1 sql1 --service 80/tcp --service icmp
      lab nsg matrix nsg.lab.yaml --no-send
    """
    from lab import matrix

    network = _network(name)
    services = tuple(_service(text) for text in wanted) or matrix.services(network)
    known = [*(v.name for v in network.virtual_machines), *(h.name for h in network.internet)]
    for node in nodes:
        if node not in known:
            raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, known)}')

    def predict(down: frozenset[str]) -> "tuple[Forecast, ...]":
        found = matrix.predictions(network, services, down)
        return tuple(f for f in found if not nodes or {f.sender, f.to} & {*nodes})

    outcomes = _outcomes(name, network, send, predict)
    if output == "json":
        _print_json({"outcomes": [_outcome_json(o) for o in outcomes]})
    else:
        rows = [(sender, to, *(_cell(o) for o in row)) for sender, to, row in matrix.rows(outcomes)]
        _print_table(("FROM", "TO", *map(str, services)), rows, empty="no two nodes")
    _hold_against(outcomes)


@cli.command("check-flow")
@click.argument("name")
@click.argument("sender", metavar="FROM")
@click.argument("to")
@click.option(
    "--source-port", type=click.IntRange(1, 65535), metavar="PORT", help="The port it is sent from.  [default: any]"
)
@click.option("--send", is_flag=True, help="Send it too, and hold the prediction against what is seen.")
@output_option
def check_flow(name: str, sender: str, to: str, source_port: int | None, send: bool, output: str) -> None:
    """Say whether a flow is allowed, and which rule of which network security group decides.

    TO is a node or an address, with a port: web1:80, web1:53/udp, web1/icmp. The answer is predicted without any
    kernel; with --send a packet goes out as well, and if it does not do as predicted, that is an error. NAME is a
    running lab, which needs root, or a topology file, whose pool members are all taken to be up.

    \b
    Example:
      sudo lab check-flow nsg client 65.52.0.10:80
      sudo lab check-flow nsg web1 client:443 --send
      lab check-flow nsg.lab.yaml web1 sql1:1433
    """
    from lab import forecast

    network = _network(name)
    host, _, service = (to.removesuffix("/icmp"), "", "icmp") if to.endswith("/icmp") else to.partition(":")
    wanted = _service(service)

    def predict(down: frozenset[str]) -> "tuple[Forecast, ...]":
        try:
            found = forecast.forecast(network, sender, host, wanted, source_port=source_port, down=down)
        except KeyError as error:
            known = [*(v.name for v in network.virtual_machines), *(h.name for h in network.internet)]
            raise UsageError(f'{name}: no node "{error.args[0]}"; {did_you_mean(error.args[0], known)}') from None
        if found.destination == found.source:
            raise UsageError(f"{sender} to itself; a flow goes over a wire to be filtered; name another node")
        return (found,)

    outcomes = _outcomes(name, network, send, predict)
    if output == "json":
        _print_json(_outcome_json(outcomes[0]))
    else:
        _show_flow(outcomes[0])
    _hold_against(outcomes)


def _show_flow(outcome: "Outcome") -> None:
    predicted = outcome.predicted
    last = predicted.decision
    by = f" by {last.rule} of {last.group}, {last.direction.lower()} at {last.vm}" if last else ""
    obstacles = ", ".join(dict.fromkeys(way.obstacle for way in predicted.ways if way.obstacle))
    because = f": {obstacles}" if obstacles and predicted.access != "Deny" else ""
    click.echo(f"{predicted.sender} to {predicted.to}, {predicted.service}: {predicted.access}{by}{because}")
    rows = [
        (str(number), d.vm, d.direction, d.group, str(d.priority), d.rule, d.access)
        for number, way in enumerate(predicted.ways, start=1)
        for d in way.decisions
    ]
    if rows:
        _print_table(("WAY", "VM", "DIRECTION", "GROUP", "PRIORITY", "RULE", "ACCESS"), rows)
    if outcome.seen is not None:
        click.echo(f"seen: {outcome.seen}" + (f" at {outcome.end}" if outcome.end else ""))


def _service(text: str) -> "Service":
    """Read ``80``, ``80/tcp``, ``53/udp`` or ``icmp``.

    Raises:
        UsageError: it is none of them.

    """
    from lab.forecast import Service

    port, _, protocol = text.partition("/")
    if text == "icmp":
        return Service("icmp")
    if not text:
        raise UsageError("a flow without a port; it goes to NODE:PORT, NODE:PORT/udp or NODE/icmp; add it")
    if not port.isdecimal() or not 1 <= int(port) <= 65535 or protocol not in ("", "tcp", "udp"):
        raise UsageError(f'"{text}" is no service; it must be PORT/tcp, PORT/udp or icmp; use one such as 80/tcp')
    return Service("udp" if protocol == "udp" else "tcp", int(port))


def _outcomes(
    name: str, network: "Network", send: bool | None, predict: "Callable[[frozenset[str]], tuple[Forecast, ...]]"
) -> "tuple[Outcome, ...]":
    """Predict flows in a file or a running lab, and send them; ``send`` None: if they can be sent.

    Raises:
        UsageError: flows of a file are to be sent.

    """
    from lab import matrix, verify

    is_file = name.endswith(SUFFIX)
    if is_file and send:
        raise UsageError(f"{name}: a file; flows are sent in a running lab; run `lab up` and name the lab")
    if is_file or send is False:
        down = frozenset() if is_file else verify.down_now(network)
        return tuple(matrix.Outcome(predicted=predicted) for predicted in predict(down))
    _need_root()
    from lab.probe import Prober

    with Prober() as prober:
        return matrix.seen(network, predict(verify.down_now(network)), prober)


def _cell(outcome: "Outcome") -> str:
    words = {"Allow": "allow", "Deny": "deny", "NoWay": "-", "Depends": "depends"}
    said = words[outcome.predicted.access]
    return f"{said}, but {outcome.seen}" if outcome.differs else said


def _outcome_json(outcome: "Outcome") -> dict[str, Any]:
    predicted, last = outcome.predicted, outcome.predicted.decision
    return {
        "from": predicted.sender,
        "to": predicted.to,
        "service": str(predicted.service),
        "source_port": predicted.source_port,
        "destination": str(predicted.destination) if predicted.destination else None,
        "access": predicted.access,
        "rule": last.rule if last else None,
        "group": last.group if last else None,
        "ways": predicted.ways,
        "seen": outcome.seen,
        "seen_at": outcome.end or None,
        "differs": outcome.differs,
    }


def _hold_against(outcomes: "Sequence[Outcome]") -> None:
    """Say how many flows were seen to do as predicted.

    Raises:
        LabError: one did not.

    """
    different = [o for o in outcomes if o.differs]
    if different:
        first = different[0]
        p = first.predicted
        raise LabError(
            f"{len(different)} of {len(outcomes)} flows differ; the wire must do as predicted; the first: "
            f"{p.sender} to {p.to}, {p.service}: predicted {p.access}, seen: {first.seen}; "
            "run `lab up` if rules were changed by hand"
        )
    judged = [o for o in outcomes if o.seen is not None and o.predicted.access != "Depends"]
    if len(judged) > 1:
        click.echo(f"{_count(len(judged), 'flow')} sent, each seen to do as predicted", err=True)


def _network(name: str) -> "Network":
    """Return the network of a topology file, or of a running lab as it is now."""
    from lab import topology

    if name.endswith(SUFFIX):
        return topology.load(Path(name))
    from lab import manage

    return manage.network_of(name)


# --- manners ----------------------------------------------------------------------------------


def _only_file() -> Path:
    """Return the only topology of the folder.

    Raises:
        UsageError: there is none, or more than one.

    """
    found = sorted(Path.cwd().glob(f"*{SUFFIX}"))
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        raise UsageError(f"{Path.cwd()}: {what} *{SUFFIX} here; without FILE there must be exactly one; name a FILE")
    return found[0].relative_to(Path.cwd())


def _need_root() -> None:
    if os.geteuid() != 0:
        raise MachineError(
            f"user {os.geteuid()}: network namespaces need root; nothing was made; run it again with sudo"
        )


def _near(file: str) -> str:
    """Return a path as it is typed here, if it is in this folder."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _clip(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "nothing") -> None:
    """Print rows in columns: fitted to the terminal, or complete where there is none."""
    if not rows:
        click.echo(empty)
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
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give a function that says what is being done: on a terminal, in one line; in a pipe, not at all."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into what Ctrl-C does: undo, then exit 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was made is removed") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the command line; every expected error is one message and an exit status."""
    try:
        cli.main(prog_name="lab", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(Interrupted.exit_code)
    except LabError as error:
        click.echo(f"{error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except PermissionError as error:
        click.echo(f"{error.filename}: {error.strerror}; root is needed; run it with sudo", err=True)
        sys.exit(MachineError.exit_code)
