"""``lab list`` and ``show``."""

import time
from typing import TYPE_CHECKING

import click

from lab.cli.options import output_option, shown_lab_argument
from lab.cli.output import count, near, print_gateways, print_json, print_table, say_timers
from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.kernel.state import MemberHealth
    from lab.runtime.show import Lab, Node


@click.command("list")
@output_option
def list_labs(output: str) -> None:
    """List the labs of this machine.

    \b
    Example:
      lab list
    """
    from lab.runtime import show

    labs = show.labs()
    if output == "json":
        print_json({"labs": labs})
        return
    rows = [
        (lab.name, lab.state, lab.profile, f"1:{lab.time_scale}", str(len(lab.nodes)), near(lab.file)) for lab in labs
    ]
    print_table(("LAB", "STATE", "PROFILE", "TIME", "NODES", "FILE"), rows, empty="no lab is up")


@click.command("show")
@shown_lab_argument
@click.argument("node", required=False)
@output_option
def show_lab(name: str, node: str | None, output: str) -> None:
    """Show a lab's nodes: addresses, the address each is seen with outside, health of pool members.

    As root, the kernel is compared with the lab's plan: `-` is missing, `+` is there and should not be.

    \b
    Example:
      lab show source-ip
      lab show source-ip test2vm -o json
    """
    from lab.runtime import show

    lab = show.describe(name) if node is not None else show.compared(name)
    nodes = [n for n in lab.nodes if node in (None, n.name)]
    if node is not None and not nodes:
        raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, [n.name for n in lab.nodes])}')
    if output == "json":
        print_json(nodes[0] if node is not None else lab)
        return
    if node is not None:
        _show_node(nodes[0])
        return
    _show_lab(lab)


def _show_lab(lab: "Lab") -> None:
    scale = f", time 1:{lab.time_scale}" if lab.time_scale != 1 else ""
    click.echo(f"{lab.name}: {lab.state}; profile {lab.profile}{scale}; {near(lab.file)}")
    rows = []
    for node in lab.nodes:
        seen = " ".join(dict.fromkeys(o.address for o in node.outbound)) or "-"
        ports = " ".join(dict.fromkeys(o.ports for o in node.outbound)) or "-"
        how = " ".join(dict.fromkeys(o.how for o in node.outbound)) or node.role
        health = " ".join("up" if member.up else "down" for member in node.health.values()) or "-"
        addresses = " ".join((node.address, *node.secondary_addresses))
        if not node.there:
            health = "gone" if node.power_state in ("", "Started") else node.power_state.lower()
        rows.append((node.name, addresses, seen, ports, how, health))
    print_table(("NODE", "ADDRESS", "SEEN FROM", "PORTS", "HOW", "HEALTH"), rows)
    for node in lab.nodes:
        for key, member in node.health.items():
            if not member.up:
                click.echo(f"{key}: {_health(member)}")
    say_timers(lab.name)
    for line in lab.differs or ():
        click.echo(f"differs: {line}")
    if lab.differs:
        number = len(lab.differs)
        click.echo(f"{count(number, 'thing')} differ{'' if number > 1 else 's'} from its plan: `lab up` mends them")

    for what, restarts in lab.restarted.items():
        last = time.strftime("%H:%M:%S", time.localtime(restarts.last))
        click.echo(f"{what}: had ended, and was started again {count(restarts.times, 'time')}, last at {last}")
    if lab.gateways:
        click.echo()
        print_gateways(lab)
    public = len(lab.public_addresses)
    click.echo(f"{count(public, 'public address', 'es')} counted as yours; the platform's default address is not")


def _show_node(node: "Node") -> None:
    rows = [("role", node.role), ("address", node.address)]
    rows += [("state", node.power_state)] if node.power_state else []
    rows += [("address", f"{address}, of a secondary interface") for address in node.secondary_addresses]
    rows += [("namespace", node.namespace)]
    rows += [("seen from", f"{o.address}, ports {o.ports} ({o.how})") for o in node.outbound]
    rows += [("service", service) for service in node.services]
    for key, member in node.health.items():
        rows.append(("health", f"{key}: {_health(member)}"))
    print_table((node.name, ""), rows)


def _health(member: "MemberHealth") -> str:
    """Say how a member is, since when, and why."""
    since = time.strftime("%H:%M:%S", time.localtime(member.since))
    return f"{'up' if member.up else 'down'} since {since}, {member.reason}"


COMMANDS: tuple[click.Command, ...] = (list_labs, show_lab)
