"""``lab outbound``, ``explain`` and ``whatif``: which address a flow is seen with, which way it goes, and why."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from msgspec import structs

from lab.cli.arguments import SUFFIX, network_named, state_of
from lab.cli.execution import interruptible, need_root
from lab.cli.options import lab_or_file_argument, output_option, profile_option, to_profile_option
from lab.cli.output import count, print_json, print_table, progress
from lab.errors import ContradictedError, InconclusiveError, TopologyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.azure.model import Network
    from lab.azure.profile import Sku
    from lab.predict.explain import Explanation, Hop, Packet
    from lab.predict.forecast import Service
    from lab.predict.observed import Comparison
    from lab.predict.outbound import Supply, WayOut
    from lab.predict.proof import Proof
    from lab.predict.whatif import Change

    #: What packets said of each difference, in A and in B.
    Proofs: TypeAlias = tuple[tuple[Proof | None, Proof | None], ...]

_CSV = (
    "vm",
    "way_out",
    "address",
    "protocol",
    "first_port",
    "last_port",
    "snat_ports",
    "alone",
    "sharers",
    "bound_by",
    "document",
)


@click.command("outbound")
@lab_or_file_argument
@profile_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A short table, everything as JSON, or a line for each address as CSV.",
)
def show_outbound(name: str, profile: str | None, output: str) -> None:
    """Show the way out of every VM: the addresses it is seen with, its ports, what binds it, and why.

    The answer for an allow-list, predicted by the documents of the revision; `lab explain` says more about one VM.
    LAB|FILE is a running lab, or a topology file, which needs no root.

    \b
    Example:
      lab outbound source-ip.lab.yaml
      lab outbound source-ip.lab.yaml --profile 2016-10 -o csv
    """
    from lab.predict import routed

    ways = routed.ways(_network(name, profile))
    if output == "json":
        print_json({"outbound": [_way_json(way) for way in ways]})
    elif output == "csv":
        click.echo(_csv(ways), nl=False)
    else:
        _print_ways(ways)


def _network(name: str, profile: str | None) -> "Network":
    """Return the network of a file, with another revision if one is asked for, or of a running lab.

    Raises:
        UsageError: another revision is asked for, of a running lab.

    """
    from lab import topology

    if profile is None and name.endswith(SUFFIX):
        return network_named(name)
    if profile is None:
        from lab.runtime import operate

        return operate.outline_of(name)
    if not name.endswith(SUFFIX):
        raise UsageError(
            f"{name}: a running lab plays the revision that it was made with; --profile needs a file; name a *{SUFFIX}"
        )
    return topology.load(Path(name), profile=profile)


def _ports(supply: "Supply") -> str:
    """Say which ports of an address a VM has, and whether it has them alone."""
    if supply.ports is None:
        return "unchanged"
    said = f"{supply.ports.first}-{supply.ports.last}"
    said = f"{said} ({supply.count:,})" if supply.alone else f"{said}, {count(supply.sharers, 'VM')}"
    return f"{said}, {supply.protocol}" if supply.protocol else said


def _print_ways(ways: "tuple[WayOut, ...]") -> None:
    rows = []
    for way in ways:
        for number, supply in enumerate(way.supplies):
            bound, more = supply.bound_by[0], len(supply.bound_by) - 1
            why = way.reason if way.kind == "default outbound" else bound + (f", {more} more" if more else "")
            rows.append((way.vm if number == 0 else "", str(supply.address), _ports(supply), why))
        if not way.supplies:
            rows.append((way.vm, "-", "-", f"none: {way.reason}"))
    print_table(("VM", "SEEN FROM", "PORTS", "WHY"), rows, empty="no VM")


def _csv(ways: "tuple[WayOut, ...]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for way in ways:
        for supply in way.supplies:
            ports = (supply.ports.first, supply.ports.last, supply.count) if supply.ports else ("", "", "")
            alone = "true" if supply.alone else "false"
            bound = ", ".join(supply.bound_by) if way.kind != "default outbound" else way.reason
            told = (supply.address, supply.protocol or "any", *ports)
            writer.writerow((way.vm, way.kind, *told, alone, supply.sharers, bound, way.document))
        if not way.supplies:
            writer.writerow((way.vm, way.kind, *[""] * 7, way.because, way.document))
    return text.getvalue()


def _way_json(way: "WayOut") -> dict[str, Any]:
    return {
        "vm": way.vm,
        "way_out": way.kind,
        "addresses": [
            {
                "address": supply.address,
                "protocol": supply.protocol,
                "first_port": supply.ports.first if supply.ports else None,
                "last_port": supply.ports.last if supply.ports else None,
                "snat_ports": supply.count if supply.ports else None,
                "alone": supply.alone,
                "sharers": supply.sharers,
                "bound_by": supply.bound_by,
            }
            for supply in way.supplies
        ],
        "reason": way.reason,
        "document": way.document,
        "considered": [
            {
                "way": found.way,
                "applies": found.applies,
                "because": found.because,
                "change": found.change or None,
                "document": found.document,
            }
            for found in way.considered
        ],
    }


# --- one flow ---------------------------------------------------------------------------------


@click.command("explain")
@lab_or_file_argument
@click.argument("sender", metavar="FROM")
@click.argument("to", metavar="TO[:PORT/PROTOCOL]")
@click.option(
    "--source-port", type=click.IntRange(1, 65535), metavar="PORT", help="The port it is sent from.  [default: any]"
)
@click.option("--send", is_flag=True, help="Send it too, and show what is seen at each hop beside the prediction.")
@profile_option
@output_option
def explain_flow(
    name: str, sender: str, to: str, source_port: int | None, send: bool, profile: str | None, output: str
) -> None:
    """Explain the way of a flow: what it looks like at each hop, what decides there, and by which document.

    FROM and TO are VMs, outside hosts, or `internet`, which is any address outside; TO is also an address, or a load
    balancer or cloud service with one address. Without a port TO's first service is meant, or 80/tcp. Then why the flow
    does not go otherwise, and what would change it. LAB|FILE is a running lab, or a topology file, which needs no root;
    all its pool members are taken to be up. With --send, in a running lab, a difference is an error.

    \b
    Example:
      lab explain source-ip.lab.yaml test2vm lbvm:22
      lab explain source-ip.lab.yaml internet lb-lbrule:80 -o json
      sudo lab explain source-ip poolonly lbvm:80 --send
    """
    from lab.predict import explain

    network = _network(name, profile)
    is_file = name.endswith(SUFFIX)
    target, service = _target(network, name, to)
    if send and (is_file or explain.INTERNET in (sender, target)):
        raise UsageError(
            f"{name}, {sender} to {to}: it cannot be sent; a flow is sent in a running lab, between nodes that it has; "
            "run `lab up`, name the lab and two of its nodes"
        )
    down, broken = state_of(name, network)
    network = explain.with_internet(network, sender, target)
    try:
        found = explain.explain(network, sender, target, service, source_port=source_port, down=down, broken=broken)
    except KeyError as error:
        known = [*_nodes(network), explain.INTERNET]
        raise UsageError(f'{name}: no node "{error.args[0]}"; {did_you_mean(error.args[0], known)}') from None
    if found.predicted.destination == found.predicted.source:
        raise UsageError(f"{sender} to {to}: its own address; a flow goes over a wire; name another node")
    compared = _sent(network, found) if send else None
    if output == "json":
        print_json(_explanation_json(found, compared))
    else:
        _print_explanation(found, compared)
    if compared is not None:
        from lab.predict import observed

        observed.hold(found, compared)


def _sent(network: "Network", found: "Explanation") -> "Comparison":
    """Send a flow in the running lab of a network.

    Raises:
        UsageError: it does not leave its node.

    """
    need_root()
    from lab.predict import observed
    from lab.verify.probe import Prober

    if found.predicted.destination is None or found.hops[-1].watch is None:
        raise UsageError(f"{found.answer[0]}; a flow must leave its node to be sent; name another node")
    with Prober() as prober:
        return observed.send(network, found, prober)


def _nodes(network: "Network") -> list[str]:
    return [*(vm.name for vm in network.virtual_machines), *(host.name for host in network.internet)]


def _target(network: "Network", name: str, to: str) -> "tuple[str, Service]":
    """Read TO[:PORT/PROTOCOL]: the node or address that is meant, and the service.

    Raises:
        UsageError: a load balancer or cloud service has not exactly one address, or the service is none.

    """
    from lab.azure.model import listeners
    from lab.cli.arguments import read_service
    from lab.predict.forecast import Service

    host, _, text = (to.removesuffix("/icmp"), "", "icmp") if to.endswith("/icmp") else to.partition(":")
    for lb in network.balancers:
        if lb.name == host and host not in _nodes(network):
            addresses = [str(frontend.address) for frontend in lb.reachable()]
            if len(addresses) != 1:
                raise UsageError(
                    f"{name}: {host} has {len(addresses)} addresses; one must be meant; "
                    f"name one of {', '.join(addresses)}"
                )
            host = addresses[0]
    if text:
        return host, read_service(text)
    services = [s for node in (network.vm(host), network.host(host)) if node for s in listeners(node)]
    first = services[0] if services else None
    return host, Service(first.protocol, first.port) if first else Service("tcp", 80)


def _print_explanation(found: "Explanation", compared: "Comparison | None") -> None:
    for line in found.answer:
        _say(line)
    for number, hop in enumerate(found.hops):
        click.echo()
        _say(f"{number + 1}  {hop.name} ({hop.type})")
        _say(str(hop.packet), "     ")
        if compared is not None and compared.hops[number].seen:
            one = compared.hops[number]
            _say(
                f"seen: {one.seen}{', DIFFERS' if one.differs else ', as predicted' if one.seen != 'nothing' else ''}",
                "     ",
            )
        for rule in hop.rules:
            _say(f"{rule.name}: {rule.says}" if rule.name not in rule.says else rule.says, "     - ", "       ")
            _say(rule.document, "       ")
    for line in compared.astray if compared else ():
        _say(f"seen where nothing was to come: {line}")
    for title, lines in (("Why not otherwise", found.not_otherwise), ("What would change it", found.changes)):
        if lines:
            click.echo(f"\n{title}:")
        for line in lines:
            _say(line, "  - ", "    ")


def _say(text: str, first: str = "", others: str | None = None) -> None:
    """Print a line of at most 80 columns, or several."""
    import textwrap

    rest = first if others is None else others
    for line in textwrap.wrap(
        text, 80, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ):
        click.echo(line)


def _explanation_json(found: "Explanation", compared: "Comparison | None") -> dict[str, Any]:
    """Return a flow in the keys of Network Watcher: connection troubleshoot, IP flow verify and next hop."""
    predicted, last = found.predicted, found.predicted.decision
    ids = [f"{hop.type}/{hop.name}/{number}" for number, hop in enumerate(found.hops)]
    inner = [number for number, hop in enumerate(found.hops) if hop.type != "Destination"]
    return {
        "from": predicted.sender,
        "to": predicted.to,
        "service": str(predicted.service),
        "connectionStatus": found.connection,
        "access": predicted.access,
        "ruleName": _rule_name(last.rule, last.priority) if last else None,
        "evaluatedNetworkSecurityGroups": _groups_json(found),
        "nextHopType": found.hops[0].next_hop_type,
        "nextHopIpAddress": str(found.hops[0].next_hop) if found.hops[0].next_hop else None,
        "routeTableId": found.hops[0].route_table,
        "sourceAddresses": [str(address) for address in found.way_out.addresses] if found.way_out else None,
        "hops": [
            {
                "id": ids[number],
                "type": hop.type,
                "name": hop.name,
                "address": str((hop.packet.sources if number == 0 else hop.packet.destinations)[0].address),
                "previousHopIds": [ids[n] for n in inner if n < number][-1:],
                "nextHopIds": _next_ids(found, ids, number),
                "nextHopType": hop.next_hop_type,
                "packet": _packet_json(hop.packet),
                "rules": [{"name": r.name, "says": r.says, "document": r.document} for r in hop.rules],
                "issues": _issues(hop),
                "observed": compared.hops[number].seen or None if compared else None,
                "differs": compared.hops[number].differs if compared else None,
            }
            for number, hop in enumerate(found.hops)
        ],
        "answer": found.answer,
        "notOtherwise": found.not_otherwise,
        "changes": found.changes,
        "wayOut": _way_json(found.way_out) if found.way_out else None,
        "blamed": compared.blamed or None if compared else None,
    }


def _groups_json(found: "Explanation") -> list[dict[str, Any]]:
    """Return each group that was asked, with the rule that matched, on whichever way the flow takes."""
    decisions = dict.fromkeys(d for way in found.predicted.ways for d in way.decisions)
    return [
        {
            "networkSecurityGroup": d.group,
            "appliedTo": d.vm,
            "direction": d.direction,
            "matchedRule": {"ruleName": _rule_name(d.rule, d.priority), "priority": d.priority, "action": d.access},
        }
        for d in decisions
    ]


def _next_ids(found: "Explanation", ids: list[str], number: int) -> list[str]:
    """Return the hops that a packet goes to: the next one, or any of the destinations."""
    if found.hops[number].type == "Destination" or number + 1 == len(ids):
        return []
    if found.hops[number + 1].type != "Destination":
        return [ids[number + 1]]
    return ids[number + 1 :]


def _packet_json(packet: "Packet") -> dict[str, Any]:
    def ends(found: "Any") -> list[dict[str, Any]]:
        return [
            {
                "address": str(end.address),
                "firstPort": end.ports.first if end.ports else None,
                "lastPort": end.ports.last if end.ports else None,
            }
            for end in found
        ]

    return {"protocol": packet.protocol, "sources": ends(packet.sources), "destinations": ends(packet.destinations)}


def _issues(hop: "Hop") -> list[dict[str, Any]]:
    """Return what stops a flow at a hop, as connection troubleshoot lists it."""
    return [
        {
            "origin": rule.decision.direction if rule.decision else "Local",
            "severity": "Error",
            "type": rule.issue,
            "context": [{"key": "ruleName", "value": rule.name}, {"key": "message", "value": rule.says}],
        }
        for rule in hop.rules
        if rule.stops or rule.issue == "GuestFirewall"
    ]


def _rule_name(name: str, priority: int) -> str:
    """Return a rule as IP flow verify names it; no rule of a user's has the priority of a default one."""
    return f"{'defaultSecurityRules' if priority >= 65000 else 'securityRules'}/{name}"


# --- what changes -----------------------------------------------------------------------------


@click.command("whatif")
@click.argument("before", metavar="A")
@click.argument("after", metavar="[B]", required=False)
@profile_option
@to_profile_option
@click.option("--to-sku", type=click.Choice(["Basic", "Standard"]), help="Give B's load balancers this SKU.")
@click.option("--prove", is_flag=True, help="Bring both up, and confirm each line by packets. Needs root.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "markdown", "junit"]),
    default="table",
    show_default=True,
    help="A short table, everything as JSON, a comment on a change, or test results.",
)
@click.option("--strict", is_flag=True, help="End with status 3 if anything changes.")
def what_if(
    before: str,
    after: str | None,
    profile: str | None,
    to_profile: str | None,
    to_sku: "Sku | None",
    prove: bool,
    output: str,
    strict: bool,
) -> None:
    """Show what changes for flows when A becomes B: reachability, source address, ports, timers, and why.

    A and B are topology files. Without B it is A, played by another revision (--to-profile) or with load balancers
    of another SKU (--to-sku). All pool members are taken to be up. A flow is known by the names of its ends; what is
    the same on both sides is not shown.

    \b
    Example:
      lab whatif outbound.lab.yaml --profile 2019-05 --to-sku Standard
      lab whatif source-ip.lab.yaml --to-profile 2016-10 -o json
      lab whatif source-ip.lab.yaml --to-profile 2016-10 -o markdown
      sudo lab whatif source-ip.lab.yaml --to-profile 2016-10 --prove
    """
    from lab.predict import whatif, whatif_report

    sides = (_side(before, profile), _side(after or before, to_profile or (None if after else profile), to_sku))
    changes = whatif.changes(*sides)
    proofs = _proofs((before, after or before), sides, changes) if prove else None
    if output == "json":
        print_json({"changes": [_change_json(c, n, proofs) for n, c in enumerate(changes)]})
    elif output in ("markdown", "junit"):
        click.echo((whatif_report.markdown if output == "markdown" else whatif_report.junit)(changes), nl=False)
    else:
        _print_changes(changes, proofs)
    _hold(proofs, changes)
    if strict and changes:
        raise InconclusiveError(
            f"{before} to {after or before}: {count(len(changes), 'change')}; --strict allows none; "
            "look at what changes, or leave --strict out"
        )


def _side(name: str, profile: str | None, sku: "Sku | None" = None) -> "Network":
    """Return the network of a file by another revision, or with load balancers of another SKU.

    Raises:
        UsageError: it is no file.
        TopologyError: the documents do not allow it so.

    """
    from lab.azure import invariants

    if not name.endswith(SUFFIX):
        raise UsageError(f"{name}: no topology file; A and B must be files; name a *{SUFFIX}")
    network = _network(name, profile)
    if sku is None:
        return network
    balancers = tuple(structs.replace(lb, sku=sku) for lb in network.load_balancers)
    network = structs.replace(network, load_balancers=balancers)
    if problems := [f"{name}, {sku} load balancers: {problem}" for problem in invariants.violations(network)]:
        raise TopologyError(problems)
    return network


def _print_changes(changes: "Sequence[Change]", proofs: "Proofs | None") -> None:
    """Print the differences, those that differ in their sender alone as one."""
    from lab.predict import whatif_report

    if not changes:
        click.echo("nothing changes for any flow")
    for change, numbers in whatif_report.together(changes):
        named = whatif_report.flows(changes, change, numbers)
        _say(f"{named}: {change.what}: {change.before.value} -> {change.after.value}", "", "    ")
        if change.reason:
            _say(f"because: {change.reason}", "    ")
        for side, name in enumerate("AB" if proofs else ""):
            both = [(changes[n].sender, proofs[n][side]) for n in numbers] if proofs else []
            told = [(sender, proof) for sender, proof in both if proof is not None]
            if told:
                _say(f"{name}: {sum(p.confirmed for _, p in told)} of {len(told)} confirmed", "    ")
            for sender, proof in told:
                if not proof.confirmed:
                    _say(f"{name}: NOT CONFIRMED: {sender}: {proof.says}", "    ", "      ")


def _change_json(change: "Change", number: int, proofs: "Proofs | None") -> dict[str, Any]:
    return {
        "what": change.what,
        "from": change.sender,
        "to": change.to,
        "services": [str(service) for service in change.services],
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "proof": dict(zip(("before", "after"), proofs[number], strict=True)) if proofs else None,
    }


def _proofs(files: tuple[str, str], networks: "tuple[Network, Network]", changes: "Sequence[Change]") -> "Proofs":
    """Bring both networks up, one after the other, and confirm each difference in each by packets."""
    need_root()
    from lab.predict import proof
    from lab.runtime import lifecycle
    from lab.verify import runner
    from lab.verify.probe import Prober

    sides = []
    with interruptible(), progress() as say:
        for is_after, (file, asked) in enumerate(zip(files, networks, strict=True)):
            network = proof.answering(asked)
            with Prober() as prober, runner.running(network, Path(file), say):
                down = lifecycle.down_now(network)
                sides.append(proof.prove(network, changes, down, prober, is_after=bool(is_after)))
    return tuple(zip(*sides, strict=True))


def _hold(proofs: "Proofs | None", changes: "Sequence[Change]") -> None:
    """Refuse unless all that packets can tell is confirmed.

    Raises:
        ContradictedError: a difference is not.

    """
    failed = [n for n, both in enumerate(proofs or ()) if any(p is not None and not p.confirmed for p in both)]
    if failed:
        first = changes[failed[0]]
        raise ContradictedError(
            f"{first.sender} to {first.to}: {first.what}: {len(failed)} of {count(len(changes), 'change')} not "
            "confirmed; packets must do as predicted; see what was seen above"
        )


COMMANDS: tuple[click.Command, ...] = (explain_flow, show_outbound, what_if)
