"""Rules of load balancers as claims see them, flows to them, and where these arrive."""

from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any, Literal, TypeAlias

import msgspec

from lab.azure.model import (
    InboundNatRule,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
)
from lab.verify.claims.kit.oracle import open_to_all
from lab.verify.experiment import (
    ANSWER_S,
    Ask,
    Flow,
    Members,
    Sweep,
    Swept,
    Watch,
)

AnyRule: TypeAlias = LoadBalancingRule | InboundNatRule
PORTS = 4  # flows of each client that has several
#: Where clients come from that are no node of the lab: addresses for measurements (RFC 2544).
_CLIENTS = IPv4Address("198.18.0.1")
FIRST_PORT = 20000


class Listening(msgspec.Struct, frozen=True):
    """A rule, and what a client must know of it."""

    lb: LoadBalancer
    rule: AnyRule
    vms: tuple[VirtualMachine, ...]

    @property
    def address(self) -> str:
        """The frontend's address."""
        return str(self.lb.frontend(self.rule.frontend).address)

    @property
    def name(self) -> str:
        """Load balancer and rule, as a subject names them."""
        return f"{self.lb.name}/{self.rule.name}"

    @property
    def owned(self) -> bool:
        """Tell whether every VM has the frontend's address itself."""
        return all(IPv4Address(self.address) in vm.loopback_addresses for vm in self.vms)

    @property
    def works(self) -> bool:
        """Tell whether VMs can answer: where the destination stays the frontend's, only with its address."""
        return self.owned or not self.rule.floating_ip

    def up(self, members: Members) -> set[str]:
        """Return the VMs that take new flows; whom an inbound NAT rule names takes them always."""
        if isinstance(self.rule, InboundNatRule):
            return {vm.name for vm in self.vms}
        return {vm.name for vm in self.vms if f"{self.lb.name}/{self.rule.probe}/{vm.name}" in members.up}

    def kind(self) -> Literal["http", "tcp", "udp"] | None:
        """Return the service that every VM has at the port and that says whom it saw."""
        offered = [
            {s.kind for s in vm.services if (s.port, s.protocol) == (self.rule.backend_port, self.rule.protocol)}
            for vm in self.vms
        ]
        kinds: tuple[Literal["http", "tcp", "udp"], ...] = ("http", "tcp", "udp")
        return next((kind for kind in kinds if offered and all(kind in found for found in offered)), None)


def closed_to_nobody(network: Network) -> frozenset[str]:
    """Return the VMs that no group closes to anybody: without one, or behind one that lets everything in."""
    wide = {g.name for g in network.network_security_groups if _is_wide(g.rules)}
    subnets = {(n.name, s.name): s.network_security_group for n in network.virtual_networks for s in n.subnets}
    found = set(open_to_all(network))
    for vm in network.virtual_machines:
        groups = {vm.network_security_group, subnets[vm.virtual_network, vm.subnet]} - {None}
        if groups and groups <= wide:
            found.add(vm.name)
    return frozenset(found)


def _is_wide(rules: Iterable[Any]) -> bool:
    inbound = sorted((rule for rule in rules if rule.direction == "Inbound"), key=lambda rule: rule.priority)
    return (
        bool(inbound)
        and inbound[0].access == "Allow"
        and inbound[0].protocol == "*"
        and (
            set(inbound[0].sources) <= {"Internet"}
            and not (inbound[0].source_ports or inbound[0].destinations or inbound[0].destination_ports)
        )
    )


def listening_rules(network: Network, *, classic: bool = False) -> list[Listening]:
    """Return the rules, of services if ``classic``, whose VMs anybody may speak to, and are there to be probed."""
    vms, let_in = {vm.name: vm for vm in network.virtual_machines}, closed_to_nobody(network)
    services = tuple(service.load_balancer() for service in network.cloud_services)
    found = []
    for lb in services if classic else network.load_balancers:
        for rule in all_rules(lb):
            if isinstance(rule, InboundNatRule):
                members: tuple[str, ...] = (rule.virtual_machine,)
            else:
                members = lb.pool(rule.backend_pool).members
            probed = isinstance(rule, InboundNatRule) or all(_is_probed(lb, rule, vms[name]) for name in members)
            if members and probed and let_in.issuperset(members):
                found.append(Listening(lb, rule, tuple(vms[name] for name in members)))
    return found


#: Paths that the servers of a lab do not answer with 200.
_FAILING = ("/status/", "/silence")


def _is_probed(lb: LoadBalancer, rule: LoadBalancingRule, vm: VirtualMachine) -> bool:
    """Tell whether something listens where a VM is asked for its health."""
    probe = lb.probe(rule.probe) if rule.probe else None
    if probe is None or (probe.protocol == "Http" and probe.request_path.startswith(_FAILING)):
        return False
    return any((s.port, s.protocol) == (probe.port, "tcp") for s in vm.services)


def sweep_to(
    client: InternetHost, found: Listening, sources: Iterable[tuple[str, int]], *, forgotten: bool = True
) -> Sweep:
    """Ask for flows to a rule from these addresses and ports, whose packets a client of the lab sends."""
    home = found.vms[0].virtual_network
    ends = tuple(Watch("node", vm.name, vm.virtual_network) for vm in found.vms)
    flows = tuple(
        Flow(
            sender=client.name,
            private=source,
            source_port=port,
            destination=found.address,
            protocol=found.rule.protocol,
            port=found.rule.frontend_port,
            passes=(Watch("edge", home),),
            ends=ends,
        )
        for source, port in sources
    )
    return Sweep(flows=flows, forgotten_by=(home,) if forgotten else ())


def from_one_client(client: InternetHost, count: int) -> list[tuple[str, int]]:
    """Return the sources of flows of one client: a port each."""
    return [(str(client.address), FIRST_PORT + number) for number in range(count)]


def from_many_clients(count: int) -> list[tuple[str, int]]:
    """Return the sources of flows of many clients, several ports each."""
    return [(str(_CLIENTS + number), FIRST_PORT + port) for number in range(count) for port in range(PORTS)]


def arrived_at(swept: Swept) -> list[str]:
    """Return where each flow arrived, "" if nowhere."""
    return [passage.end for passage in swept.passages]


def said_shares(ends: Iterable[str]) -> str:
    """Say how many flows arrived where."""
    counts = Counter(ends)
    lost = counts.pop("", 0)
    said = ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nobody"
    return said + (f", {lost} lost" if lost else "")


def unheard(swept: Sequence[Swept]) -> str:
    """Return why nothing can be told of flows that did not arrive, "" if something can."""
    if any(not passage.passed for one in swept for passage in one.passages):
        return "flows did not come to the edge of the virtual network"
    deaf = {node for one in swept for node in one.deaf}
    return f"the capture of {', '.join(sorted(deaf))} saw nothing of what was sent to it" if deaf else ""


def gone_astray(found: Listening, members: Members, swept: Sequence[Swept]) -> str:
    """Return what contradicts that all flows arrived at VMs that take new ones, "" if nothing does."""
    up = found.up(members)
    lost = sum(not end for one in swept for end in arrived_at(one))
    if lost:
        return f"{lost} flows did not arrive"
    wrong = {end for one in swept for end in arrived_at(one)} - up
    return f"flows arrived at {', '.join(sorted(wrong))}" if wrong else ""


def with_balancer(network: Network, lb: LoadBalancer, **changes: Any) -> Network:
    """Return a network one of whose load balancers is different."""
    changed = msgspec.structs.replace(lb, **changes)
    return msgspec.structs.replace(
        network, load_balancers=tuple(changed if other is lb else other for other in network.load_balancers)
    )


def conversations_with(client: InternetHost, found: Listening, count: int = 1, timeout_s: float = ANSWER_S) -> Ask:
    """Ask a rule's VMs whom they see."""
    return Ask(
        client=client.name,
        address=found.address,
        port=found.rule.frontend_port,
        kind=found.kind() or "connect",
        count=count,
        timeout_s=timeout_s,
    )


FLOWS = 4


def all_rules(lb: LoadBalancer) -> tuple[AnyRule, ...]:
    """Return the load-balancing and the inbound NAT rules."""
    return (*lb.load_balancing_rules, *lb.inbound_nat_rules)
