"""The command line: one thin command per stage. Results go to stdout, everything else to stderr."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lab import __version__
from lab.errors import Interrupted, LabError, MachineError, TopologyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.show import Lab, Node
    from lab.verdict import Report

BUNDLED = Path(__file__).resolve().parent.parent / "topologies"
SUFFIX = ".lab.yaml"
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
@output_option
def plan(file: Path | None, diff: bool, time_scale: int | None, output: str) -> None:
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
        made = compile_network(topology.load(chosen, time_scale=time_scale))
        if output == "json":
            _print_json(made)
        else:
            click.echo(made.text(), nl=False)
        return
    from lab import plan as planning
    from lab import verify
    from lab.kernel.record import existing

    network = verify.load(chosen, time_scale=time_scale)
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
def up(file: Path | None, time_scale: int | None) -> None:
    """Make a topology run; on a running lab, apply only the difference.

    Live flows are kept. If it fails, everything it made is removed, or changed back. A lab that a
    killed command left half made is made anew. Needs root.

    \b
    Example:
      sudo lab up source-ip.lab.yaml
      sudo lab up source-ip.lab.yaml --time-scale 60
    """
    from lab import verify

    chosen = file or _only_file()
    network = verify.load(chosen, time_scale=time_scale)
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
    public = len(lab.public_addresses)
    click.echo(f"{_count(public, 'public address', 'es')} counted as yours; the platform's default address is not")


def _show_node(node: "Node") -> None:
    rows = [("role", node.role), ("address", node.address), ("namespace", node.namespace)]
    rows += [("seen from", f"{o.address}, ports {o.ports} ({o.how})") for o in node.outbound]
    rows += [("service", service) for service in node.services]
    for key, member in node.health.items():
        since = time.strftime("%H:%M:%S", time.localtime(member.since))
        rows.append(("health", f"{key}: {'up' if member.up else 'down'} since {since}, {member.reason}"))
    _print_table((node.name, ""), rows)


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
@output_option
def verify_files(
    files: tuple[Path, ...], only: tuple[str, ...], junit: Path | None, time_scale: int | None, output: str
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
    """
    from lab import claims, topology, verdict, verify

    chosen = files or tuple(sorted(BUNDLED.glob(f"*{SUFFIX}")))
    networks = [topology.load(file, time_scale=time_scale) for file in chosen]
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
                    results += verify.verify(file, prober, say, only=frozenset(only), time_scale=time_scale)
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
@output_option
def claims_catalogue(claim: str | None, output: str) -> None:
    """List what is claimed: statement, source, and the bundled topologies that prove it.

    \b
    Example:
      lab claims
      lab claims S1-3
    """
    from lab import claims, topology

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
