"""``lab nsg``: network security groups, and who may speak to whom."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lab.cli.arguments import SUFFIX, network_named, read_service
from lab.cli.execution import need_root, operates
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import count, print_json, print_table
from lab.errors import ContradictedError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.azure.model import Network, SecurityRule
    from lab.operations.base import Operation
    from lab.predict.forecast import Forecast
    from lab.predict.matrix import Outcome


_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
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
@operates("Set-AzureNetworkSecurityRule")
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
def add_rule(group: str, rule_name: str, **values: str | int | None) -> "Operation":
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
    typed = {"name": "RULE", **{lists.get(key, key): f"--{key.replace('_', '-')}" for key in values}}
    return AddRule(group, topology.parse_rule(given, f"nsg rule add {group} {rule_name}", typed))


@rule.command("remove")
@operates("Remove-AzureNetworkSecurityRule")
@click.argument("group")
@click.argument("rule_name", metavar="RULE")
def remove_rule(group: str, rule_name: str) -> "Operation":
    """Remove a rule from a group of a running lab. Needs root.

    \b
    Example:
      sudo lab nsg rule remove nsg NSG-FrontEnd web-rule
    """
    from lab.operations.security_rule import RemoveRule

    return RemoveRule(group, rule_name)


@rule.command("list")
@lab_or_file_argument
@click.argument("group", required=False)
@output_option
def list_rules(name: str, group: str | None, output: str) -> None:
    """List the rules of a lab's groups in the order they are asked, the default rules included. Needs root.

    \b
    Example:
      sudo lab nsg rule list nsg
      sudo lab nsg rule list nsg NSG-FrontEnd -o json
    """
    from lab.azure import security_groups

    network = network_named(name)
    groups = [g for g in network.network_security_groups if group in (None, g.name)]
    if group is not None and not groups:
        known = [g.name for g in network.network_security_groups]
        raise UsageError(f'{name}: no network security group "{group}"; {did_you_mean(group, known)}')
    listed = {g.name: security_groups.ordered(g, network.profile) for g in groups}
    if output == "json":
        print_json({"network_security_groups": listed})
        return
    rows = [(g, *_rule_cells(rule)) for g, rules in listed.items() for rule in rules]
    print_table(("GROUP", *_RULE_HEAD), rows, empty="no network security group")


_RULE_HEAD = ("DIRECTION", "PRIORITY", "NAME", "ACCESS", "PROTOCOL", "SOURCE", "PORTS", "DESTINATION", "PORTS")


def _rule_cells(rule: "SecurityRule") -> tuple[str, ...]:
    lists = (rule.sources, rule.source_ports, rule.destinations, rule.destination_ports)
    return (
        rule.direction, str(rule.priority), rule.name, rule.access, rule.protocol,
        *(", ".join(map(str, values)) or "*" for values in lists),
    )  # fmt: skip


@nsg.command("effective")
@lab_or_file_argument
@click.argument("vm")
@output_option
def effective_rules(name: str, vm: str, output: str) -> None:
    """Show all rules in force at a VM, merged, in the order they are asked.

    LAB|FILE is a running lab, which needs root, or a topology file. The default rules are there, tags are expanded, and
    a rule that earlier ones leave nothing to is marked with their names.

    \b
    Example:
      sudo lab nsg effective nsg web1
      lab nsg effective nsg.lab.yaml web1 -o json
    """
    from lab.azure import security_groups
    from lab.azure.model import PLATFORM_ADDRESS

    network = network_named(name)
    machine = network.vm(vm)
    if machine is None:
        known = [v.name for v in network.virtual_machines]
        raise UsageError(f'{name}: no VM "{vm}"; {did_you_mean(vm, known)}')
    found = security_groups.Groups(network).effective(machine)
    if output == "json":
        print_json({"vm": vm, "rules": found})
        return
    rows = [
        (
            f"{e.group} on {e.on}{f' of {e.interface}' if e.interface else ''}",
            *_rule_cells(e.rule),
            ", ".join(e.shadowed_by) or "-",
        )
        for e in found
    ]
    print_table(("GROUP", *_RULE_HEAD, "SHADOWED BY"), rows, empty=f"{vm}: no network security group; all is allowed")
    vnet = network.virtual_network(machine.virtual_network)
    if found:
        spaces = ", ".join(str(space) for space in security_groups.spaces(network, vnet))
        click.echo(
            f"VirtualNetwork is {spaces}; Internet is all but that and {PLATFORM_ADDRESS}, which is AzureLoadBalancer"
        )


@nsg.command("matrix")
@lab_or_file_argument
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
    """Print which node may reach which: every pair and every service, predicted and seen on the wire.

    With NODEs: only their pairs. A frontend's address is a receiver like any node. Without
    --service: the services of the topology, the ports its rules name, and a port that neither has. LAB|FILE is a
    running lab, which needs root, or a topology file, of which nothing can be seen. A difference between the two is
    an error.

    \b
    Example:
      sudo lab nsg matrix nsg
      sudo lab nsg matrix nsg web1 sql1 --service 80/tcp --service icmp
      lab nsg matrix nsg.lab.yaml --no-send
    """
    from lab.predict import matrix

    network = network_named(name)
    services = tuple(read_service(text) for text in wanted) or matrix.services(network)
    known = [*(v.name for v in network.virtual_machines), *(h.name for h in network.internet)]
    for node in nodes:
        if node not in known:
            raise UsageError(f'{name}: no node "{node}"; {did_you_mean(node, known)}')

    broken = _broken(name, network)

    def predict(down: frozenset[str]) -> "tuple[Forecast, ...]":
        found = matrix.predictions(network, services, down, broken)
        return tuple(f for f in found if not nodes or {f.sender, f.to} & {*nodes})

    outcomes = _outcomes(name, network, send, predict)
    if output == "json":
        print_json({"outcomes": [_outcome_json(o) for o in outcomes]})
    else:
        rows = [(sender, to, *(_cell(o) for o in row)) for sender, to, row in matrix.rows(outcomes)]
        print_table(("FROM", "TO", *map(str, services)), rows, empty="no two nodes")
    _hold_against(outcomes)


def _outcomes(
    name: str, network: "Network", send: bool | None, predict: "Callable[[frozenset[str]], tuple[Forecast, ...]]"
) -> "tuple[Outcome, ...]":
    """Predict flows in a file or a running lab, and send them; ``send`` None: if they can be sent.

    Raises:
        UsageError: flows of a file are to be sent.

    """
    from lab.predict import forecast, matrix
    from lab.runtime import lifecycle

    is_file = name.endswith(SUFFIX)
    if is_file and send:
        raise UsageError(f"{name}: a file; flows are sent in a running lab; run `lab up` and name the lab")
    if is_file or send is False:
        down = frozenset(forecast.unprobed(network)) if is_file else lifecycle.down_now(network)
        return tuple(matrix.Outcome(predicted=predicted) for predicted in predict(down))
    need_root()
    from lab.verify.probe import Prober

    with Prober() as prober:
        return matrix.seen(network, predict(lifecycle.down_now(network)), prober)


def _broken(name: str, network: "Network") -> "dict[frozenset[str], str]":
    """Return which virtual networks of a running lab no tunnel joins now; of a file, all are taken to be connected."""
    from lab.predict import matrix
    from lab.runtime import show

    return {} if name.endswith(SUFFIX) else matrix.broken(network, show.describe(name).gateways)


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
        ContradictedError: one did not.

    """
    different = [o for o in outcomes if o.differs]
    if different:
        first = different[0]
        p = first.predicted
        raise ContradictedError(
            f"{len(different)} of {len(outcomes)} flows differ; the wire must do as predicted; the first: "
            f"{p.sender} to {p.to}, {p.service}: predicted {p.access}, seen: {first.seen}; "
            "run `lab up` if rules were changed by hand"
        )
    judged = [o for o in outcomes if o.seen is not None and o.predicted.access != "Depends"]
    if len(judged) > 1:
        click.echo(f"{count(len(judged), 'flow')} sent, each seen to do as predicted", err=True)


COMMANDS: tuple[click.Command, ...] = (nsg,)
