"""What users say of their own topologies under ``expect``, as trials like any other."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from lab.azure.model import PLATFORM_ADDRESS, PUBLIC_RESOLVER, Expectation, Network, Service
from lab.flow import NOT_PUBLIC, Destination
from lab.verify.claims.claim import Finding, Judge, Stage, Trial
from lab.verify.claims.kit.judges import arrived, failed, judge_by, send
from lab.verify.experiment import (
    ANSWER_S,
    SILENCE_S,
    Answers,
    Arrivals,
    Ask,
    Experiment,
    Health,
    Members,
    Send,
    Watch,
)
from lab.verify.verdict import Judgement

#: A statistical claim may raise a false alarm in one run of this many.
FALSE_ALARM = 1e-9
_FLOWS = 16  # flows for an expectation about their source


def trial(network: Network, number: int, expectation: Expectation) -> Trial:
    """Return the trial of one expectation; ``number`` is its place in the file."""
    claim = expectation.claim or f"expect-{number}"
    to = expectation.to
    subject = f"{expectation.sender} to {to}"
    wanted = _wanted(expectation)
    host, sender = network.host(to.host), network.vm(expectation.sender)
    if sender is not None and host is not None and (expectation.source_ip or expectation.source_port):
        opened = send(network, sender, host, to.protocol, _FLOWS, port=to.port)
        stages = (Stage((opened, *_asks(network, expectation, only_outcome=True))),)
    else:
        stages = (Stage((Health(), *_asks(network, expectation, only_outcome=False))),)

    members_only = _is_sticky(network, to)

    if expectation.outcome != "timeout":
        return Trial(
            subject,
            wanted,
            stages,
            judge_by(partial(_as_expected, expectation=expectation, members_only=members_only)),
            claim,
        )
    control = _reaches(network, expectation)
    return Trial(
        subject,
        wanted,
        (*stages, Stage((control,))),
        _controlled(judge_by(partial(_as_expected, expectation=expectation, members_only=members_only))),
        claim,
    )


def _as_expected(*observations: Answers | Arrivals | Members, expectation: Expectation, members_only: bool) -> Finding:
    observed, contradictions = [], []
    for observation in observations:
        if isinstance(observation, Arrivals):
            observed.append(arrived(observation))
            contradictions.append(_unexpected_source(expectation, observation))
        elif isinstance(observation, Answers):
            observed.append(_outcomes_by_node(observation))
            contradictions.append(_unexpected_answers(expectation, observation, members_only=members_only))
            if not contradictions[-1] and _says_nothing(expectation, observation):
                return Finding(observed[-1], doubt="a server does not say who it is and whom it saw")
    return Finding("; ".join(observed), next((c for c in contradictions if c), ""))


def _reaches(network: Network, expectation: Expectation) -> Experiment:
    """Return the experiment that makes silence tell: the flow gets as far as what is to be silent.

    From outside, it must come in at the edge of the virtual network that it is for; from a VM to the outside, it
    must come out on the public wire. For what has neither, the node must at least be heard by its resolver.
    """
    sender, to = network.vm(expectation.sender), expectation.to
    address = _resolve(network, expectation.sender, to.host)
    home = _home(network, address)
    resolver = PLATFORM_ADDRESS if sender else PUBLIC_RESOLVER
    heard = Ask(client=expectation.sender, address=str(resolver), port=53, kind="connect")
    if sender is not None:
        if any(IPv4Address(address) in prefix for prefix in NOT_PUBLIC):
            return heard
        own = sender.private_ip_address
        inside = home == sender.virtual_network
        watch = Watch("edge inside" if inside else "public wire", sender.virtual_network)
    else:
        host, other = network.host(expectation.sender), network.host(to.host)
        if host is None or not (home or other):
            return heard
        own = host.address
        watch = Watch("edge", home) if home else Watch("node", to.host)
    return Send(
        sender=expectation.sender,
        private=str(own),
        destination=address,
        protocol=to.protocol,
        port=to.port,
        watches=(watch,),
        controlled=False,
    )


def _home(network: Network, address: str) -> str | None:
    """Return the virtual network that a public address belongs to."""
    for vnet in network.virtual_networks:
        owned = {str(f.address) for lb in network.load_balancers_of(vnet) for f in lb.frontends}
        owned |= {str(v.instance_public_ip.address) for v in network.vms_of(vnet) if v.instance_public_ip}
        if address in owned | {str(vnet.default_outbound_address)}:
            return vnet.name
    return None


def _controlled(judge: Judge) -> Judge:
    """Make a judge believe what was seen only if the last observation, the control, shows that something arrived."""

    def judged(observations: Sequence[Any]) -> Judgement:
        *seen, control = observations
        doubt = failed((control,))
        if doubt is not None and doubt.verdict == "INCONCLUSIVE":
            return doubt
        heard = (
            all(a.outcome == "answered" for a in control.answers)
            if isinstance(control, Answers)
            else bool(control.seen[-1])
        )
        if not heard:
            return Judgement(
                "INCONCLUSIVE", "no sign of the control", "the flow does not get as far as what is to be silent"
            )
        return judge(seen)

    return judged


def _wanted(expectation: Expectation) -> str:
    parts = []
    if expectation.source_ip:
        parts.append(f"source {expectation.source_ip}")
    if expectation.source_port:
        parts.append(f"source port {expectation.source_port}")
    if expectation.answered_by:
        parts.append("answered by " + " and ".join(expectation.answered_by))
    if expectation.outcome:
        parts.append(expectation.outcome)
    return ", ".join(parts) or "answered"


def _asks(network: Network, expectation: Expectation, *, only_outcome: bool) -> Iterator[Ask]:
    """Yield the conversation an expectation is about."""
    if only_outcome and not (expectation.outcome or expectation.answered_by):
        return
    kind = _service_kind(network, expectation.to)
    count = _sample(len(expectation.answered_by)) if expectation.answered_by else 3
    yield Ask(
        client=expectation.sender,
        address=_resolve(network, expectation.sender, expectation.to.host),
        port=expectation.to.port,
        kind=kind,  # type: ignore[arg-type]
        count=count,
        timeout_s=SILENCE_S if expectation.outcome == "timeout" else ANSWER_S,
    )


def _sample(nodes: int) -> int:
    """Return how many conversations find each of ``nodes`` equally likely ones, but for one run in 1/FALSE_ALARM.

    Union bound: nodes * (1 - 1/nodes) ** count <= FALSE_ALARM.
    """
    if nodes < 2:
        return 3
    return math.ceil(math.log(FALSE_ALARM / nodes) / math.log(1 - 1 / nodes))


def _resolve(network: Network, sender: str, name: str) -> str:
    """Return the address a node is reached at by another."""
    host, vm, from_vm = network.host(name), network.vm(name), network.vm(sender)
    if host:
        return str(host.address)
    if vm is None:
        return name
    if vm.instance_public_ip and (from_vm is None or from_vm.virtual_network != vm.virtual_network):
        return str(vm.instance_public_ip.address)
    return str(vm.private_ip_address)


def _service_kind(network: Network, to: Destination) -> str:
    """Return the kind of server behind a destination: its own, or that of the VM a rule leads to."""
    services: list[Service] = []
    host, vm = network.host(to.host), network.vm(to.host)
    own = next(
        (v for v in network.virtual_machines if v.instance_public_ip and str(v.instance_public_ip.address) == to.host),
        None,
    )
    by_address = next((h for h in network.internet if str(h.address) == to.host), None)
    node = host or vm or own or by_address
    if node is not None:
        services = [s for s in node.services if s.port == to.port and s.protocol == to.protocol]
    for lb in network.balancers:
        names = {f.name for f in lb.frontends if str(f.address) == to.host}
        targets = [
            (member, rule.backend_port or to.port)
            for rule in lb.load_balancing_rules
            if rule.frontend in names and rule.listens(to.protocol, to.port)
            for member in lb.pool(rule.backend_pool).members
        ] + [
            (rule.virtual_machine, rule.backend_port)
            for rule in lb.inbound_nat_rules
            if rule.frontend in names and (rule.frontend_port, rule.protocol) == (to.port, to.protocol)
        ]
        for member, port in targets:
            found = network.vm(member)
            services += [s for s in found.services if s.port == port and s.protocol == to.protocol] if found else []
    kinds = [s.kind for s in services if s.kind in ("http", "https", "tcp", "udp")]
    if len(set(kinds)) == 1:
        return kinds[0]
    return "udp" if to.protocol == "udp" else "connect"  # unknown, or members that speak differently


def _unexpected_source(expectation: Expectation, arrivals: Arrivals) -> str:
    if not arrivals.seen[-1]:
        return "nothing arrived"
    if len(arrivals.seen[-1]) < arrivals.sent:
        return f"{arrivals.sent - len(arrivals.seen[-1])} of {arrivals.sent} flows did not arrive"
    for seen in arrivals.seen[-1]:
        if expectation.source_ip and seen.source != str(expectation.source_ip):
            return f"seen from {seen.source}"
        if expectation.source_port and seen.source_port not in expectation.source_port:
            return f"seen from port {seen.source_port}"
    return ""


def _outcomes_by_node(answers: Answers) -> str:
    words = [a.node or a.outcome for a in answers.answers]
    return ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))


def _is_sticky(network: Network, to: Destination) -> bool:
    """Tell whether a destination's rule gives one client one member: then not every member is to be seen."""
    return any(
        rule.load_distribution != "Default"
        for lb in network.balancers
        for rule in lb.load_balancing_rules
        if str(lb.frontend(rule.frontend).address) == to.host and rule.listens(to.protocol, to.port)
    )


def _says_nothing(expectation: Expectation, answers: Answers) -> bool:
    """Tell whether a source or a name is expected of servers that do not say who they are and what they saw."""
    asked = expectation.source_ip or expectation.source_port or expectation.answered_by
    return bool(asked) and any(a.outcome == "answered" and not a.node for a in answers.answers)


def _unexpected_answers(expectation: Expectation, answers: Answers, *, members_only: bool) -> str:
    wanted = expectation.outcome or "answered"
    for answer in answers.answers:
        if answer.outcome != wanted:
            return answer.outcome
        if expectation.source_ip and answer.client_address and answer.client_address != str(expectation.source_ip):
            return f"seen from {answer.client_address}"
        if expectation.source_port and answer.client_port and answer.client_port not in expectation.source_port:
            return f"seen from port {answer.client_port}"
        if expectation.answered_by and answer.node and answer.node not in expectation.answered_by:
            return f"answered by {answer.node}"
    if members_only or not all(a.node for a in answers.answers):
        return ""
    silent = [node for node in expectation.answered_by if node not in {a.node for a in answers.answers}]
    return f"none of {len(answers.answers)} answers came from {', '.join(silent)}" if silent else ""
