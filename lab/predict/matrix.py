"""Who may speak to whom: every pair of nodes and every service, predicted, and seen on the wire.

A prediction and the wire are two answers to one question, made without each other. They must be equal; a flow that
was not seen at the place where it is said to be denied is no denial.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from lab.azure.model import InboundNatRule, InternetHost, LoadBalancingRule, Network, VirtualMachine, listeners
from lab.azure.security_groups import Groups
from lab.errors import InconclusiveError
from lab.kernel.state import GatewayState
from lab.predict import forecast as forecasting
from lab.predict.forecast import Forecast, Service
from lab.verify.experiment import Failed, Flow, FlowResult, Sweep, Swept
from lab.verify.probe import Prober

#: What was seen of a flow: it arrived, it was lost after it came by where it is decided, or it did not come so far.
Seen = Literal["arrived", "lost", "astray"]
#: Most services that are chosen where none are named; the rest would be too wide a grid.
_MOST_SERVICES = 12
_NOBODYS = 47  # a port that no service and no rule is likely to have


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One flow: what was predicted, and what was seen of it; None if it was not sent."""

    predicted: Forecast
    seen: Seen | None = None
    end: str = ""  # the node it arrived at

    @property
    def differs(self) -> bool:
        """Tell whether the wire contradicts the prediction."""
        if self.seen is None or self.predicted.access == "Depends":
            return False
        if self.predicted.access == "Allow":
            return self.seen != "arrived" or self.end not in {way.end for way in self.predicted.ways}
        return self.seen != "lost"


def services(network: Network) -> tuple[Service, ...]:
    """Return the services that tell something about a network: its own, those its rules name, and one of neither."""
    nodes: list[VirtualMachine | InternetHost] = [*network.virtual_machines, *network.internet]
    named = {Service(s.protocol, s.port) for node in nodes for s in listeners(node)}
    for lb in network.balancers:
        rules: list[LoadBalancingRule | InboundNatRule] = [*lb.load_balancing_rules, *lb.inbound_nat_rules]
        for rule in rules:
            ports = {rule.frontend_port, rule.backend_port} - {0}
            named |= {Service(rule.protocol, port) for port in ports}
    for group in network.network_security_groups:
        for security_rule in group.rules:
            protocol: Literal["tcp", "udp"] = "udp" if security_rule.protocol == "Udp" else "tcp"
            named |= {Service(protocol, ports.first) for ports in security_rule.destination_ports if ports.first}
    chosen = sorted(named, key=lambda s: (s.port, s.protocol))[:_MOST_SERVICES]
    return (*chosen, Service("tcp", _NOBODYS), Service("udp", _NOBODYS), Service("icmp"))


def broken(network: Network, gateways: Mapping[str, GatewayState]) -> dict[frozenset[str], str]:
    """Return why no tunnel carries anything between two virtual networks of a running lab.

    A policy-based tunnel that rests, for want of traffic, is not broken: a packet wakes it.
    """
    found = {}
    for place, gateway in gateways.items():
        for site, tunnel in gateway.tunnels.items():
            other = next((s.vpn_gateway for s in network.local_networks if s.name == site), None)
            if other is not None and tunnel.state != "Connected" and not tunnel.rests:
                pair = frozenset((place.removeprefix("gw."), other))
                why = f": {tunnel.reason}" if tunnel.reason else ""
                found[pair] = f"the tunnel of {place.removeprefix('gw.')} to {site} is {tunnel.state}{why}"
    return found


def predictions(
    network: Network,
    wanted: Sequence[Service],
    down: frozenset[str],
    broken: Mapping[frozenset[str], str] | None = None,
) -> tuple[Forecast, ...]:
    """Return a prediction for each pair of nodes and each service; frontends are nodes that send nothing.

    Pairs of which one has no address that the other can reach are left out, and VMs that are stopped; so are the
    addresses on a VM's loopback as that VM's receivers, as no wire sees such a flow.
    """
    started = (vm.name for vm in network.virtual_machines if vm.power_state == "Started")
    nodes = [*started, *(host.name for host in network.internet)]
    frontends = [str(frontend.address) for lb in network.balancers for frontend in lb.reachable()]
    groups = Groups(network)
    found = (
        forecasting.forecast(network, sender, to, service, down=down, broken=broken, groups=groups)
        for sender in nodes
        for to in (*nodes, *frontends)
        if sender != to and forecasting.address_of(network, sender, to) is not None
        for service in wanted
    )
    return tuple(f for f in found if f.source != f.destination)


def seen(network: Network, predicted: Sequence[Forecast], prober: Prober) -> tuple[Outcome, ...]:
    """Send each flow in the running lab of a network, and tell what was seen of it; a stopped VM sends none.

    Raises:
        InconclusiveError: a capture did not see its control packet, or the experiment failed.

    """
    off = {vm.name for vm in network.virtual_machines if vm.power_state != "Started"}
    sent = [f.destination is not None and f.sender not in off for f in predicted]
    flows = tuple(forecasting.flow_of(network, f) for f, is_sent in zip(predicted, sent, strict=True) if is_sent)
    passages = iter(passages_of(network, flows, prober))
    return tuple(
        outcome(f, next(passages)) if is_sent else Outcome(predicted=f)
        for f, is_sent in zip(predicted, sent, strict=True)
    )


def passages_of(network: Network, flows: Sequence[Flow], prober: Prober) -> tuple[FlowResult, ...]:
    """Send flows in the running lab of a network, and tell what was seen of each.

    Raises:
        InconclusiveError: a capture did not see its control packet, or the experiment failed.

    """
    (swept,) = prober.run(network.name, (Sweep(flows=tuple(flows)),)).observations
    if isinstance(swept, Failed):
        raise InconclusiveError(f"the flows could not be sent: {swept.reason}; see `lab show {network.name}`")
    assert isinstance(swept, Swept)
    if swept.deaf:
        raise InconclusiveError(
            f"no control packet was seen at {', '.join(swept.deaf)}; a capture must see one, or its silence means "
            f"nothing; see `lab show {network.name}`"
        )
    return swept.passages


def outcome(predicted: Forecast, passage: FlowResult) -> Outcome:
    """Return what a passage tells of a flow."""
    if passage.end:
        return Outcome(predicted=predicted, seen="arrived", end=passage.end)
    return Outcome(predicted=predicted, seen="lost" if passage.passed else "astray")


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, tuple[Outcome, ...]]]:
    """Yield the rows of the grid: sender, receiver, and what became of each service."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.predicted.sender, outcome.predicted.to), []).append(outcome)
    for (sender, to), of_pair in found.items():
        yield sender, to, tuple(of_pair)
