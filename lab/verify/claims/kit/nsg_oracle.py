"""What the documents say of a flow at a VM with security groups, restated by hand, and flows to try it with.

Restated from virtual-networks-nsg.md (2016-02-11) and its successors. A flow must arrive, or be lost at a group and
nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import Any

import msgspec

from lab.azure.model import InternetHost, Network, SecurityRule, VirtualMachine
from lab.verify.claims.claim import Judge, Stage, Trial
from lab.verify.experiment import Experiment, Failed, Flow, Protocol, Sweep, Swept, Watch
from lab.verify.verdict import Judgement

#: The address that probes come from and names are asked of.
PROBES = "168.63.129.16"
#: The rules that every group ends with: priority, direction, access, source, destination.
_DEFAULTS = (
    (65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    (65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    (65500, "Inbound", "Deny", "*", "*"),
    (65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    (65001, "Outbound", "Allow", "*", "Internet"),
    (65500, "Outbound", "Deny", "*", "*"),
)


def before(network: Network, dated: str) -> bool:
    """Tell whether a network plays documents older than a date; the seeds, played together, are of 2018-12."""
    name = network.profile.name
    return ("2018-12" if name == "seeds" else name) < dated


class Answer(msgspec.Struct, frozen=True):
    """What one group says of a flow: the rule that decides, and those of the user's that match too."""

    group: str
    on: str  # subnet or VM
    direction: str
    rule: str
    priority: int
    allows: bool
    matching: tuple[SecurityRule, ...]

    @property
    def default(self) -> bool:
        """Tell whether a default rule decides."""
        return self.priority >= 65000


class Case(msgspec.Struct, frozen=True):
    """A flow, what groups say of it on its way, and the node it arrives at if all of them allow it."""

    flow: Flow
    target: str
    answers: tuple[Answer, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether the flow must arrive."""
        return all(answer.allows for answer in self.answers)

    @property
    def denied_by(self) -> str:
        """The rule that denies the flow, empty if none does."""
        return next((answer.rule for answer in self.answers if not answer.allows), "")

    def __str__(self) -> str:
        service = "icmp" if self.flow.protocol == "icmp" else f"{self.flow.port}/{self.flow.protocol}"
        return f"{self.flow.sender} to {self.target} at {self.flow.destination}, {service}"


def groups(network: Network, vm: VirtualMachine) -> dict[str, str]:
    """Return the groups of a VM by where they are, subnet first."""
    vnet = next(n for n in network.virtual_networks if n.name == vm.virtual_network)
    on_subnet = next(s.network_security_group for s in vnet.subnets if s.name == vm.subnet)
    found = {"subnet": on_subnet, "VM": vm.network_security_group}
    return {on: name for on, name in found.items() if name}


def guarded(network: Network) -> list[VirtualMachine]:
    """Return the VMs that have a group; rules that ask for a source port are not restated here."""
    by_port = {g.name for g in network.network_security_groups if any(rule.source_ports for rule in g.rules)}
    found = [(vm, set(groups(network, vm).values())) for vm in network.virtual_machines]
    return [vm for vm, names in found if names and not names & by_port]


def answers(
    network: Network, vm: VirtualMachine, direction: str, protocol: str, other: str, port: int
) -> tuple[Answer, ...]:
    """Return what a VM's groups say of a flow with another address, in the order they are asked."""
    if other == PROBES and (direction == "Outbound" or not before(network, "2025-07")):
        return ()
    own = str(vm.private_ip_address)
    source, destination = (other, own) if direction == "Inbound" else (own, other)
    places = list(groups(network, vm).items())
    found = []
    for on, name in places if direction == "Inbound" else places[::-1]:
        group = next(g for g in network.network_security_groups if g.name == name)
        matching = sorted(
            (
                rule
                for rule in group.rules
                if rule.direction == direction
                and _speaks(rule, protocol, port)
                and _covers(network, vm, rule.sources, source)
                and _covers(network, vm, rule.destinations, destination)
            ),
            key=lambda rule: rule.priority,
        )
        if matching:
            first = matching[0]
            decides = (first.name, first.priority, first.access == "Allow")
        else:
            decides = next(
                (f"default rule {priority}", priority, access == "Allow")
                for priority, way, access, of, to in _DEFAULTS
                if way == direction and _covers(network, vm, (of,), source) and _covers(network, vm, (to,), destination)
            )
        found.append(Answer(name, on, direction, *decides, tuple(matching)))
    return tuple(found)


def _speaks(rule: SecurityRule, protocol: str, port: int) -> bool:
    if protocol == "icmp":
        return rule.protocol == "Icmp" or (rule.protocol == "*" and not rule.destination_ports)
    named = {"Tcp": "tcp", "Udp": "udp"}.get(rule.protocol, protocol if rule.protocol == "*" else "")
    return named == protocol and (not rule.destination_ports or any(port in ports for ports in rule.destination_ports))


def _covers(network: Network, vm: VirtualMachine, named: tuple[str, ...], address: str) -> bool:
    vnet = next(n for n in network.virtual_networks if n.name == vm.virtual_network)
    joined = {c.local_network for c in network.connections if c.virtual_network == vnet.name}
    spaces = [vnet.address_space, *(site.address_space for site in network.local_networks if site.name in joined)]
    peered = {p.remote_virtual_network for p in vnet.peerings if p.allow_virtual_network_access}
    halves = {(other.name, p.remote_virtual_network) for other in network.virtual_networks for p in other.peerings}
    both = {name for name in peered if (name, vnet.name) in halves}
    spaces += [other.address_space for other in network.virtual_networks if other.name in both]
    inside = any(IPv4Address(address) in prefix for space in spaces for prefix in space)
    for one in named or ("*",):
        tags = {
            "*": True,
            "VirtualNetwork": inside,
            "AzureLoadBalancer": address == PROBES,
            "Internet": not inside and address != PROBES,
        }
        if tags[one] if one in tags else IPv4Address(address) in IPv4Network(one):
            return True
    return False


# --- flows ------------------------------------------------------------------------------------


def between(network: Network, sender: VirtualMachine, target: VirtualMachine, protocol: Protocol, port: int) -> Case:
    """Return a flow between two VMs of a virtual network: asked about at both."""
    out = answers(network, sender, "Outbound", protocol, str(target.private_ip_address), port)
    into = answers(network, target, "Inbound", protocol, str(sender.private_ip_address), port)
    flow = Flow(
        sender=sender.name,
        private=str(sender.private_ip_address),
        destination=str(target.private_ip_address),
        protocol=protocol,
        port=port,
        passes=(Watch("VM wire", sender.name, sender.virtual_network),),
        ends=(Watch("node", target.name, target.virtual_network),),
    )
    return _case(flow, target.name, (*out, *into))


def outward(network: Network, sender: VirtualMachine, host: InternetHost, protocol: Protocol, port: int) -> Case:
    """Return a flow from a VM to an outside host."""
    found = answers(network, sender, "Outbound", protocol, str(host.address), port)
    flow = Flow(
        sender=sender.name,
        private=str(sender.private_ip_address),
        destination=str(host.address),
        protocol=protocol,
        port=port,
        passes=(Watch("VM wire", sender.name, sender.virtual_network),),
        ends=(Watch("node", host.name),),
    )
    return _case(flow, host.name, found)


def inward(
    network: Network,
    host: InternetHost,
    target: VirtualMachine,
    protocol: Protocol,
    port: int,
    *,
    at: tuple[str, int] | None = None,
) -> Case:
    """Return a flow from an outside host to a port of a VM, by its own public address or ``at`` an address and port."""
    own = target.instance_public_ip.address if target.instance_public_ip else None
    address, public_port = at or (str(own), port)
    flow = Flow(
        sender=host.name,
        private=str(host.address),
        destination=address,
        protocol=protocol,
        port=public_port,
        passes=(Watch("router", target.virtual_network),),
        ends=(Watch("node", target.name, target.virtual_network),),
    )
    return _case(flow, target.name, answers(network, target, "Inbound", protocol, str(host.address), port))


def _case(flow: Flow, target: str, found: tuple[Answer, ...]) -> Case:
    allowed = all(answer.allows for answer in found)
    return Case(msgspec.structs.replace(flow, awaited=allowed), target, found)


def two_of_each(vms: Sequence[VirtualMachine]) -> list[VirtualMachine]:
    """Return of VMs that differ in nothing a group could tell apart but their address two at most."""
    found: dict[object, list[VirtualMachine]] = {}
    for vm in vms:
        kind = (vm.virtual_network, vm.subnet, vm.network_security_group, vm.instance_public_ip is None)
        found.setdefault(kind, []).append(vm)
    chosen = {vm.name for alike in found.values() for vm in alike[:2]}
    return [vm for vm in vms if vm.name in chosen]


def some(network: Network, services: Sequence[tuple[Protocol, int]]) -> Iterator[Case]:
    """Yield flows of these services to and from VMs that have a group."""
    known = {vm.name for vm in guarded(network)}
    askable = [vm for vm in network.virtual_machines if vm.name in known or not groups(network, vm)]
    chosen = two_of_each(askable)
    for vm, (protocol, port) in product((vm for vm in chosen if vm.name in known), services):
        for other in chosen:
            if other.virtual_network == vm.virtual_network and other != vm:
                yield between(network, other, vm, protocol, port)
        if vm.instance_public_ip:
            yield from (inward(network, host, vm, protocol, port) for host in network.internet)
        if protocol != "icmp" or vm.instance_public_ip:
            yield from (outward(network, vm, host, protocol, port) for host in network.internet)


def first_of_each(cases: Iterator[Case], kind: Callable[[Case], object]) -> list[Case]:
    """Return the first case of each kind; a kind that is None is none."""
    found: dict[object, Case] = {}
    for case in cases:
        if (of := kind(case)) is not None:
            found.setdefault(of, case)
    return list(found.values())


# --- trials -----------------------------------------------------------------------------------


def trial(subject: str, cases: Sequence[Case], *more: Experiment, judge: Judge | None = None) -> Trial:
    """Return a trial of flows that must arrive or be lost; ``judge`` judges what ``more`` experiments saw."""
    words = [f"{case}: {f'lost, {case.denied_by}' if case.denied_by else 'arrives'}" for case in cases]
    sweep = Sweep(flows=tuple(case.flow for case in cases))

    def decide(observations: Sequence[Any]) -> Judgement:
        first, *others = observations
        found = _judged(cases, first)
        if found.verdict != "HOLDS" or judge is None:
            return found
        rest = judge(others)
        return Judgement(rest.verdict, f"{found.observed}; {rest.observed}", rest.reason)

    return Trial(subject, "; ".join(words), (Stage((sweep, *more)),), decide)


def _judged(cases: Sequence[Case], observation: Any) -> Judgement:
    if isinstance(observation, Failed):
        return Judgement("INCONCLUSIVE", "nothing", f"the experiment failed: {observation.reason}")
    swept: Swept = observation
    arrived = sum(bool(passage.end) for passage in swept.passages)
    observed = f"{arrived} of {len(cases)} flows arrived"
    doubt = ""
    for case, passage in zip(cases, swept.passages, strict=True):
        if passage.end and not case.allowed:
            return Judgement("CONTRADICTED", observed, f"{case}: arrived")
        if not passage.end and (case.target in swept.deaf or not passage.passed):
            doubt = doubt or f"{case}: the control packet did not arrive"
        elif case.allowed and passage.end != case.target:
            return Judgement("CONTRADICTED", observed, f"{case}: {passage.end or 'lost'}")
    return Judgement("INCONCLUSIVE" if doubt else "HOLDS", observed, doubt)
