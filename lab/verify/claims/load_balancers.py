"""What load balancers do with what comes in: distribution, idle timeouts, several frontends, floating IP.

Restated from load-balancer-distribution-mode.md (2016-10-24), load-balancer-tcp-idle-timeout.md (2016-10-24) and its
successors, and load-balancer-multivip-overview.md (2016-08-11).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from itertools import combinations
from typing import Any, Literal, TypeAlias

import msgspec

from lab.azure.model import (
    BackendPool,
    Frontend,
    InboundNatRule,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import held_trial
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, outcomes, refused
from lab.verify.claims.kit.oracle import far_client, far_host, open_to_all, scaled, speaking_freely
from lab.verify.experiment import (
    ANSWER_S,
    SILENCE_S,
    Answers,
    Arrivals,
    Ask,
    Checked,
    Counted,
    Flow,
    Goal,
    Happened,
    Health,
    HoldFlows,
    IdleFlows,
    Left,
    LeftFlow,
    Members,
    Observation,
    Open,
    Pause,
    Protocol,
    PublicAddresses,
    Run,
    Send,
    Step,
    Sweep,
    Swept,
    Talk,
    Watch,
)

_DISTRIBUTION = "load-balancer-distribution-mode.md (2016-10-24)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_RESET = "load-balancer-tcp-reset.md (2020-10-07)"
_SEVERAL = "load-balancer-multivip-overview.md (2016-08-11)"

_AnyRule: TypeAlias = LoadBalancingRule | InboundNatRule
#: A run may contradict a claim by chance once in a thousand million; so many of its trials share that.
_FALSE_ALARM, _STATISTICAL_TRIALS = 1e-9, 20
CHANCE = _FALSE_ALARM / _STATISTICAL_TRIALS
_PORTS = 4  # flows of each client that has several
_AT_LEAST = 200  # flows of one client, where each is picked on its own
#: Where clients come from that are no node of the lab: addresses for measurements (RFC 2544).
_CLIENTS = IPv4Address("198.18.0.1")
_FIRST_PORT = 20000


def sample(members: int) -> int:
    """Return how many flows, picked evenly, miss none of the members but once in a long time, as ``bounds`` has it."""
    # Each member is missed with (1 - 1/members) ** flows; the other half of the chance is that it gets too many.
    return math.ceil(math.log(CHANCE / members / 2) / math.log(1 - 1 / members))


def bounds(flows: int, members: int) -> tuple[int, int]:
    """Return how few and how many of the flows one member gets, but once in a long time (binomial, exact)."""
    part, allowed = 1 / members, CHANCE / members / 2
    weights = [math.comb(flows, k) * part**k * (1 - part) ** (flows - k) for k in range(flows + 1)]
    low, below = 0, weights[0]
    while below <= allowed:
        low += 1
        below += weights[low]
    high, above = flows, weights[flows]
    while above <= allowed:
        high -= 1
        above += weights[high]
    return low, high


# --- rules ------------------------------------------------------------------------------------


class _Listening(msgspec.Struct, frozen=True):
    """A rule, and what a client must know of it."""

    lb: LoadBalancer
    rule: _AnyRule
    vms: tuple[VirtualMachine, ...]

    @property
    def address(self) -> str:
        return str(self.lb.frontend(self.rule.frontend).address)

    @property
    def name(self) -> str:
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


def _let_in(network: Network) -> frozenset[str]:
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


def _listening(network: Network, *, classic: bool = False) -> list[_Listening]:
    """Return the rules, of services if ``classic``, whose VMs anybody may speak to, and are there to be probed."""
    vms, let_in = {vm.name: vm for vm in network.virtual_machines}, _let_in(network)
    services = tuple(service.load_balancer() for service in network.cloud_services)
    found = []
    for lb in services if classic else network.load_balancers:
        for rule in _all(lb):
            if isinstance(rule, InboundNatRule):
                members: tuple[str, ...] = (rule.virtual_machine,)
            else:
                members = lb.pool(rule.backend_pool).members
            probed = isinstance(rule, InboundNatRule) or all(_is_probed(lb, rule, vms[name]) for name in members)
            if members and probed and let_in.issuperset(members):
                found.append(_Listening(lb, rule, tuple(vms[name] for name in members)))
    return found


#: Paths that the servers of a lab do not answer with 200.
_FAILING = ("/status/", "/silence")


def _is_probed(lb: LoadBalancer, rule: LoadBalancingRule, vm: VirtualMachine) -> bool:
    """Tell whether something listens where a VM is asked for its health."""
    probe = lb.probe(rule.probe) if rule.probe else None
    if probe is None or (probe.protocol == "Http" and probe.request_path.startswith(_FAILING)):
        return False
    return any((s.port, s.protocol) == (probe.port, "tcp") for s in vm.services)


def _shared(network: Network, *distributions: str, classic: bool = False) -> list[_Listening]:
    """Return the rules of these distributions with several VMs to choose from."""
    return [
        found
        for found in _listening(network, classic=classic)
        if isinstance(found.rule, LoadBalancingRule)
        and found.rule.load_distribution in distributions
        and len(found.vms) > 1
    ]


# --- flows ------------------------------------------------------------------------------------


def _sweep(
    client: InternetHost, found: _Listening, sources: Iterable[tuple[str, int]], *, forgotten: bool = True
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


def _one_client(client: InternetHost, count: int) -> list[tuple[str, int]]:
    return [(str(client.address), _FIRST_PORT + number) for number in range(count)]


def _many_clients(count: int) -> list[tuple[str, int]]:
    return [(str(_CLIENTS + number), _FIRST_PORT + port) for number in range(count) for port in range(_PORTS)]


def _ends(swept: Swept) -> list[str]:
    return [passage.end for passage in swept.passages]


def _shares(ends: Iterable[str]) -> str:
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


def _astray(found: _Listening, members: Members, swept: Sequence[Swept]) -> str:
    """Return what contradicts that all flows arrived at VMs that take new ones, "" if nothing does."""
    up = found.up(members)
    lost = sum(not end for one in swept for end in _ends(one))
    if lost:
        return f"{lost} flows did not arrive"
    wrong = {end for one in swept for end in _ends(one)} - up
    return f"flows arrived at {', '.join(sorted(wrong))}" if wrong else ""


def _several_up(found: _Listening, members: Members) -> str:
    up = found.up(members)
    return "" if len(up) > 1 else f"{len(up)} of {len(found.vms)} members take flows; it takes two to tell"


def _uneven(found: _Listening, members: Members, ends: Sequence[str]) -> str:
    """Return what contradicts that flows, each picked on its own, are spread over all members."""
    up = sorted(found.up(members))
    low, high = bounds(len(ends), len(up))
    counts = Counter(ends)
    odd = [f"{name} {counts[name]}" for name in up if not low <= counts[name] <= high]
    return f"not spread: {', '.join(odd)} of {len(ends)}, where each gets {low} to {high}" if odd else ""


_Check: TypeAlias = Callable[[Members, Sequence[Swept]], Finding]


def _spread_trial(found: Sequence[_Listening], expected: str, sweeps: tuple[Sweep, ...], check: _Check) -> Trial:
    """Return a trial of where the flows of sweeps arrive, once all members are judged."""
    subject = " and ".join(one.name for one in found)
    return Trial(subject, expected, (Stage((Health(), *sweeps)),), judge_by(partial(_spread, found=found, check=check)))


def _spread(members: Members, *swept: Swept, found: Sequence[_Listening], check: _Check) -> Finding:
    doubt = unheard(swept) or next((text for one in found if (text := _several_up(one, members))), "")
    if doubt:
        return Finding("; ".join(_shares(_ends(one)) for one in swept), doubt=doubt)
    return check(members, swept)


# --- distribution -----------------------------------------------------------------------------


@claim(
    "N-DM-1",
    _DISTRIBUTION,
    "By default members are picked by a hash of address and port of both ends and the protocol: flows of one "
    "client are spread, and all packets of a flow go to one member.",
    facts=(
        "the source address is one of the fields",
        "the source port is one of the fields",
        "the destination address is one of the fields",
        "the destination port is one of the fields",
        "the protocol is one of the fields",
    ),
)
def five_tuple_spreads_flows(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    # One rule that translates, and one that does not.
    for floating in (False, True):
        for found in [f for f in _shared(network, "Default") if f.rule.floating_ip == floating][:1]:
            if client is None:
                continue
            count = max(_AT_LEAST, sample(len(found.vms)))
            sources = _one_client(client, count)
            sweeps = tuple(_sweep(client, found, sources, forgotten=known) for known in (False, True, True))

            low, high = bounds(count, len(found.vms))
            expected = (
                f"{count} flows of one client: {low} to {high} to each of {len(found.vms)} VMs "
                f"(false alarm {CHANCE:g}); each flow's first packet, sent again, to the same one"
            )
            yield _spread_trial((found,), expected, sweeps, partial(_spread_and_kept, found=found))
    if client is not None:
        yield from _hashed_fields(network, client)


def _spread_and_kept(members: Members, swept: Sequence[Swept], *, found: _Listening) -> Finding:
    first, again, anew = (_ends(one) for one in swept)
    moved = [sum(a != b for a, b in zip(first, other, strict=True)) for other in (again, anew)]
    observed = f"{_shares(first)}; sent again: {moved[0]} moved; after they were forgotten: {moved[1]} moved"
    wrong = _astray(found, members, swept) or _uneven(found, members, first)
    if not wrong and any(moved):
        wrong = f"{sum(moved)} packets of the same flows went to another VM"
    return Finding(observed, wrong)


def _hashed_fields(network: Network, client: InternetHost) -> Iterator[Trial]:
    """Yield that each of the five fields tells flows apart that are alike in the others; the port is tried above."""
    translated = [found for found in _shared(network, "Default") if not found.rule.floating_ip]
    for found in translated[:1]:
        count = max(_AT_LEAST, sample(len(found.vms)))
        sources = [(address, _FIRST_PORT) for address, port in _many_clients(count) if port == _FIRST_PORT]

        expected = f"{count} clients with one source port: spread over {len(found.vms)} VMs (false alarm {CHANCE:g})"
        yield _spread_trial((found,), expected, (_sweep(client, found, sources),), partial(_spread_evenly, found=found))
    for field, one, other in _alike_but_for_one(translated):
        yield _told_apart(field, one, other, client)


def _spread_evenly(members: Members, swept: Sequence[Swept], *, found: _Listening) -> Finding:
    ends = _ends(swept[0])
    return Finding(_shares(ends), _astray(found, members, swept) or _uneven(found, members, ends))


#: Fields of a rule by which a flow of one client may differ, and what they are called.
_OF_A_FLOW = {"frontend": "destination address", "frontend_port": "destination port", "protocol": "protocol"}


def _alike_but_for_one(listening: Sequence[_Listening]) -> Iterator[tuple[str, _Listening, _Listening]]:
    """Yield, for each field of a flow, two rules of one pool that differ in it alone."""
    found: dict[str, tuple[str, _Listening, _Listening]] = {}
    for one, other in combinations(listening, 2):
        assert isinstance(one.rule, LoadBalancingRule)
        assert isinstance(other.rule, LoadBalancingRule)
        same = (one.rule.backend_pool, one.rule.probe) == (other.rule.backend_pool, other.rule.probe)
        if one.lb is other.lb and same:
            differing = [f for f in _OF_A_FLOW if getattr(one.rule, f) != getattr(other.rule, f)]
            if len(differing) == 1:
                found.setdefault(differing[0], (_OF_A_FLOW[differing[0]], one, other))
    return iter(found.values())


def _told_apart(field: str, one: _Listening, other: _Listening, client: InternetHost) -> Trial:
    """Return a trial that flows which differ in one field alone are picked for each on its own."""
    # That all go the same way by chance: (1/members) ** flows.
    count = max(sample(len(one.vms)), math.ceil(-math.log(CHANCE) / math.log(len(one.vms))))
    sources = [(address, port) for address, port in _many_clients(count) if port == _FIRST_PORT]

    expected = f"{count} flows and their likes with another {field}: some at different VMs (false alarm {CHANCE:g})"
    sweeps = (_sweep(client, one, sources), _sweep(client, other, sources))
    return _spread_trial(
        (one, other), expected, sweeps, partial(_sent_apart, count=count, one=one, other=other, field=field)
    )


def _sent_apart(
    members: Members, swept: Sequence[Swept], *, count: int, one: _Listening, other: _Listening, field: str
) -> Finding:
    there, here = (_ends(one) for one in swept)
    apart = sum(a != b for a, b in zip(there, here, strict=True))
    observed = f"{_shares(there)}; {_shares(here)}; {apart} of {count} at another VM"
    wrong = _astray(one, members, swept[:1]) or _astray(other, members, swept[1:])
    return Finding(observed, wrong or ("" if apart else f"the {field} makes no difference"))


def _torn(sources: Sequence[tuple[str, int]], ends: Sequence[str]) -> list[str]:
    """Return the clients whose flows arrived at several VMs."""
    reached: dict[str, set[str]] = {}
    for (client, _), end in zip(sources, ends, strict=True):
        reached.setdefault(client, set()).add(end)
    return [client for client, nodes in reached.items() if len(nodes) > 1]


def _by_addresses(network: Network, *, classic: bool = False) -> Iterator[Trial]:
    client = far_client(network)
    if client is None:
        return
    for found in _shared(network, "SourceIP", "SourceIPProtocol", classic=classic):
        count = sample(len(found.vms))
        sources = _many_clients(count)

        expected = f"{count} clients with {_PORTS} ports each: every client's flows at one VM, none without clients"
        yield _spread_trial(
            (found,),
            f"{expected} (false alarm {CHANCE:g})",
            (_sweep(client, found, sources),),
            partial(_each_client_at_one_member, found=found, sources=sources),
        )
    for distribution in ("SourceIP", "SourceIPProtocol") if not classic else ():
        for field, one, other in _alike_but_for_one(_shared(network, distribution)):
            if field == _OF_A_FLOW["frontend"]:
                yield _told_apart(field, one, other, client)
    for tcp, udp in _pairs(network, "SourceIPProtocol", classic=classic):
        # That all clients are at one VM with both protocols by chance: (1/members) ** clients.
        count = max(sample(len(tcp.vms)), math.ceil(-math.log(CHANCE) / math.log(len(tcp.vms))))
        yield _both(tcp, udp, client, count, together=False)


def _each_client_at_one_member(
    members: Members, swept: Sequence[Swept], *, found: _Listening, sources: Sequence[tuple[str, int]]
) -> Finding:
    ends = _ends(swept[0])
    torn = _torn(sources, ends)
    observed = f"{_shares(ends)}; {len(torn)} clients at more than one"
    wrong = _astray(found, members, swept) or _uneven(found, members, ends[::_PORTS])
    if not wrong and torn:
        wrong = f"flows of {torn[0]} went to several VMs"
    return Finding(observed, wrong)


@claim(
    "N-DM-2",
    f"{_DISTRIBUTION}; values of Resource Manager (2021-02-04)",
    "SourceIP picks by the addresses of both ends (2-tuple), SourceIPProtocol by the protocol too (3-tuple).",
    facts=(
        "SourceIP picks by the source address",
        "SourceIP picks by the destination address",
        "SourceIP does not pick by ports",
        "SourceIPProtocol picks by the source address",
        "SourceIPProtocol picks by the destination address",
        "SourceIPProtocol does not pick by ports",
        "SourceIPProtocol picks by the protocol",
        "the distribution is the set's, not a member's",
    ),
)
def source_ip_picks_by_addresses(network: Network) -> Iterator[Trial]:
    return _by_addresses(network)


def of_services(network: Network) -> Iterator[Trial]:
    """Yield that the load-balanced sets of cloud services pick by the client's address where they are told to."""
    return _by_addresses(network, classic=True)


def _pairs(network: Network, distribution: str, *, classic: bool = False) -> Iterator[tuple[_Listening, _Listening]]:
    """Yield rules for TCP and for UDP with one frontend, one pool, and one probe."""
    found = _shared(network, distribution, classic=classic)
    for tcp in (f for f in found if f.rule.protocol == "tcp"):
        for udp in (f for f in found if f.rule.protocol == "udp"):
            if tcp.lb is udp.lb and _ties(tcp.rule) == _ties(udp.rule):
                yield tcp, udp


def _ties(rule: _AnyRule) -> tuple[object, ...]:
    assert isinstance(rule, LoadBalancingRule)
    return rule.frontend, rule.backend_pool, rule.probe


def _both(tcp: _Listening, udp: _Listening, client: InternetHost, count: int, *, together: bool) -> Trial:
    sources = [(address, port) for address, port in _many_clients(count) if port == _FIRST_PORT]

    wanted = "every one's TCP and UDP at one VM" if together else "TCP and UDP of some at different VMs"
    expected = f"{count} clients: {wanted} (false alarm {CHANCE:g})"
    sweeps = (_sweep(client, tcp, sources), _sweep(client, udp, sources))
    return _spread_trial(
        (tcp, udp), expected, sweeps, partial(_protocols_at_members, count=count, tcp=tcp, udp=udp, together=together)
    )


def _protocols_at_members(
    members: Members, swept: Sequence[Swept], *, count: int, tcp: _Listening, udp: _Listening, together: bool
) -> Finding:
    by_tcp, by_udp = (_ends(one) for one in swept)
    apart = sum(a != b for a, b in zip(by_tcp, by_udp, strict=True))
    observed = f"TCP: {_shares(by_tcp)}; UDP: {_shares(by_udp)}; {apart} of {count} clients at two VMs"
    wrong = _astray(tcp, members, swept[:1]) or _astray(udp, members, swept[1:])
    if not wrong and together and apart:
        wrong = f"{apart} clients have TCP and UDP at different VMs"
    if not wrong and not together and not apart:
        wrong = "the protocol makes no difference"
    return Finding(observed, wrong)


@claim(
    "N-DM-3",
    f"{_DISTRIBUTION}, media upload",
    "With SourceIP, TCP and UDP of one client go to one member.",
    facts=("with SourceIP the protocol makes no difference",),
)
def tcp_and_udp_of_a_client_to_one_member(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for tcp, udp in _pairs(network, "SourceIP"):
        if client is not None:
            yield _both(tcp, udp, client, sample(len(tcp.vms)), together=True)


@claim(
    "N-DM-4",
    _DISTRIBUTION,
    "When a pool changes, flows are distributed anew over the members that are left; clients behind one address "
    "count as one.",
    facts=(
        "the members that are left share all flows",
        "the same pool distributes the same flows alike",
        "clients behind one address count as one",
    ),
)
def changed_pool_distributes_anew(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    if client is None:
        return
    for found in [f for f in _shared(network, "Default") if not f.rule.floating_ip and len(f.vms) > 2][:1]:
        count = max(_AT_LEAST, sample(len(found.vms)))
        sweep = _sweep(client, found, _one_client(client, count))
        less = _without(network, found, found.vms[-1].name)
        stages = tuple(Stage((Health(), sweep), state) for state in (None, less, None))

        expected = (
            f"{count} flows: with a smaller pool all at the others, and evenly; with the same pool as before, as before"
        )
        yield Trial(found.name, expected, stages, judge_by(partial(_distributed_anew, found=found)))
    for found in _shared(network, "SourceIP", "SourceIPProtocol")[:1]:
        sources = _one_client(client, _AT_LEAST)

        expected = f"{_AT_LEAST} flows from behind one address, as a proxy's, all at one VM"
        yield _spread_trial(
            (found,), expected, (_sweep(client, found, sources),), partial(_one_client_at_one_member, found=found)
        )


def _distributed_anew(*observations: Observation, found: _Listening) -> Finding:
    known, swept = of_type(observations, Members), of_type(observations, Swept)
    doubt = unheard(swept)
    before, during, after = (_ends(one) for one in swept)
    leaver = found.vms[-1].name
    stayed = [(a, b) for a, b in zip(before, during, strict=True) if a != leaver]
    moved = sum(a != b for a, b in stayed)
    observed = (
        f"{_shares(before)}; without {leaver}: {_shares(during)}, {moved} of {len(stayed)} others moved; "
        f"with it again: {sum(a != b for a, b in zip(before, after, strict=True))} differ"
    )
    if doubt:
        return Finding(observed, doubt=doubt)
    fewer = msgspec.structs.replace(found, vms=found.vms[:-1])
    wrong = _astray(found, known[0], swept[:1]) or _astray(fewer, known[1], swept[1:2])
    wrong = wrong or _uneven(fewer, known[1], during) or _astray(found, known[2], swept[2:])
    if not wrong and before != after:
        wrong = "the same pool distributes the same flows differently"
    return Finding(observed, wrong)


def _one_client_at_one_member(members: Members, swept: Sequence[Swept], *, found: _Listening) -> Finding:
    ends = _ends(swept[0])
    wrong = _astray(found, members, swept)
    if not wrong and len(set(ends)) > 1:
        wrong = f"flows of one address went to {len(set(ends))} VMs"
    return Finding(_shares(ends), wrong)


def _without(network: Network, found: _Listening, vm: str) -> Network:
    """Return the network with a VM less in a rule's pool."""
    assert isinstance(found.rule, LoadBalancingRule)
    name = found.rule.backend_pool
    pools = tuple(
        BackendPool(name=p.name, members=tuple(m for m in p.members if m != vm)) if p.name == name else p
        for p in found.lb.pools
    )
    return _with(network, found.lb, pools=pools)


def _with(network: Network, lb: LoadBalancer, **changes: Any) -> Network:
    changed = msgspec.structs.replace(lb, **changes)
    return msgspec.structs.replace(
        network, load_balancers=tuple(changed if other is lb else other for other in network.load_balancers)
    )


def _ask(client: InternetHost, found: _Listening, count: int = 1, timeout_s: float = ANSWER_S) -> Ask:
    return Ask(
        client=client.name,
        address=found.address,
        port=found.rule.frontend_port,
        kind=found.kind() or "connect",
        count=count,
        timeout_s=timeout_s,
    )


@claim(
    "N-DM-6",
    "load-balancer-standard-overview.md (2017-09-28); " + _SEVERAL,
    "A VM sees the client's own address, and the client is answered from the frontend's address and port.",
    facts=("VMs see the client's own address", "each rule's VMs answer"),
)
def vm_sees_the_clients_own_address(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    asked = [f for f in _listening(network) if f.kind() is not None and f.works]
    if client is None or not asked:
        return
    asks = tuple(_ask(client, found, _PORTS) for found in asked)

    expected = f"VMs see {client.address}, and their answers come from the frontend's address and port"
    subject = f"{len(asked)} rules"
    yield Trial(
        subject, expected, (Stage((Health(), *asks)),), judge_by(partial(_client_seen, asked=asked, client=client))
    )


def _client_seen(_: Members, *answers: Answers, asked: list[_Listening], client: InternetHost) -> Finding:
    every = [(found, answer) for found, one in zip(asked, answers, strict=True) for answer in one.answers]
    seen = Counter(answer.client_address for _, answer in every if answer.outcome == "answered")
    observed = ", ".join(f"{count} from {address}" for address, count in seen.items()) or "no answers"
    silent = next((found for found, answer in every if answer.outcome != "answered"), None)
    if silent is not None:
        return Finding(observed, f"{silent.name} did not answer")
    other = next((a for a in seen if a != str(client.address)), "")
    return Finding(observed, f"VMs saw {other}" if other else "")


# --- idle timeout -----------------------------------------------------------------------------

_FLOWS = 4
_DEFAULT_MIN = 4  # load-balancer-tcp-idle-timeout.md (2016-10-24)
_LONGEST_MIN = 12
_QUICK = 120  # times faster than the documents: four minutes are two seconds


@claim(
    "N-IT-1",
    _IDLE,
    "A rule's flows may be idle for 4 minutes, or as long as the rule says; then they end in silence.",
    facts=(
        "4 minutes where the rule names none",
        "as long as the rule says",
        "no longer",
        "in silence",
        "of an endpoint, 4 to 30 minutes",
        "of a set's members, the same",
    ),
)
def idle_flows_end_in_silence(network: Network) -> Iterator[Trial]:
    trials = list(_idle(network, _listening(network)))
    yield from trials
    if trials:
        yield _as_said()


def _as_said() -> Trial:
    """Return a trial that a rule which names no idle timeout is played as one that names 4 minutes, and no other.

    That the minutes which a rule names are kept is seen on the wire.
    """

    def planned(*minutes: int) -> Run:
        named = f"idle_timeout_in_minutes: {minutes[0]}" if minutes else ""
        return Run(words=("plan", "{file}"), text=_LIMITS.format(profile="2016-10", rule=named, nat=named))

    stage = Stage((planned(), planned(_DEFAULT_MIN), planned(_DEFAULT_MIN + 1)))
    return Trial("rules that name no idle timeout", "as 4 minutes", (stage,), judge_by(_like_four_minutes))


def _like_four_minutes(*observations: Checked) -> Finding:
    none, four, five = observations
    failed = next((done for done in observations if done.status), None)
    if failed is not None:
        return Finding(f"exit {failed.status}: {failed.said[:200]}", "a rule was not played")
    observed = f"as 4 minutes: {none.said == four.said}; as 5 minutes: {none.said == five.said}"
    if four.said == five.said:
        return Finding(observed, "4 and 5 minutes are played alike")
    return Finding(
        observed, "" if none.said == four.said else "a rule that names no idle timeout has another one than 4 minutes"
    )


def idle_endpoints(network: Network) -> Iterator[Trial]:
    """Yield that endpoints of cloud services keep idle flows for as long as each is told to."""
    quick = msgspec.structs.replace(network, overrides=msgspec.structs.replace(network.overrides, time_scale=_QUICK))
    alone = [found for found in _listening(quick, classic=True) if isinstance(found.rule, InboundNatRule)]
    for trial in _idle(quick, alone):
        yield msgspec.structs.replace(trial, stages=tuple(Stage(s.experiments, quick) for s in trial.stages))


def _idle(network: Network, listening: list[_Listening]) -> Iterator[Trial]:
    client = far_client(network)
    plain = [f for f in listening if not (f.rule.tcp_reset or f.rule.floating_ip)]
    held = [f for f in plain if f.kind() == "tcp"]
    held.sort(key=lambda found: found.rule.idle_timeout_min)
    longer = [f for f in held if held[0].rule.idle_timeout_min * 2 <= f.rule.idle_timeout_min <= _LONGEST_MIN]
    if client is None or not longer:
        return
    short, long = held[0], longer[0]
    brief, length = (scaled(network, found.rule.idle_timeout_min * 60) for found in (short, long))
    opens = tuple(
        Open(goals=(Goal(found.address, found.rule.frontend_port, "tcp"),), count=_FLOWS) for found in (long, short)
    )
    between = Pause(seconds=brief + min(1.0, (length - brief) / 3))
    again = Pause(seconds=length + min(0.6, length / 4))
    steps: tuple[Step, ...] = (*opens, between, Talk(lost=_FLOWS), again, Talk(lost=2 * _FLOWS))
    experiment = HoldFlows(client=client.name, private=str(client.address), network="", steps=steps)

    expected = (
        f"silence after {short.rule.idle_timeout_min} and {long.rule.idle_timeout_min} minutes ({brief:g} and "
        f"{length:g} s), life before"
    )
    yield held_trial(
        f"{short.name} and {long.name}", expected, experiment, partial(_idled_as_long_as_said, short=short, long=long)
    )


def _idled_as_long_as_said(steps: Sequence[Happened], *, short: _Listening, long: _Listening) -> Finding:
    first, second, _, then, _, after = steps
    lasting, ended = ({s.port for s in step.seen} for step in (first, second))
    alive = {s.port for s in then.seen}
    observed = (
        f"of {first.answered} and {second.answered} flows {len(alive & lasting)} and {len(alive & ended)} "
        f"were alive, and later {after.answered}"
    )
    if (first.answered, second.answered) != (_FLOWS, _FLOWS):
        return Finding(observed, "flows were not answered when they were opened")
    if alive & ended:
        return Finding(observed, f"{len(alive & ended)} flows outlived {short.rule.idle_timeout_min} minutes")
    if lasting - alive:
        return Finding(observed, f"{len(lasting - alive)} flows did not live for {long.rule.idle_timeout_min} minutes")
    if after.answered:
        return Finding(observed, f"{after.answered} flows outlived {long.rule.idle_timeout_min} minutes")
    if then.refused or after.refused:
        return Finding(observed, f"{then.refused + after.refused} flows ended with a reset instead of in silence")
    return Finding(observed)


_LIMITS = """
name: idle
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [vm]}}
    probes: {{alive: {{port: 80, interval_in_seconds: 15}}}}
    load_balancing_rules:
      r: {{frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80, {rule}}}
    inbound_nat_rules:
      n: {{frontend: f, virtual_machine: vm, frontend_port: 50001, backend_port: 22, {nat}}}
"""
#: Longest idle timeout of a rule in minutes, by revision.
_LONGEST = (("2020-10", 30), ("2026-07", 100))


@claim(
    "N-IT-3",
    f"{_RESET}; load-balancer-tcp-idle-timeout.md (2025-02-12)",
    "The idle timeout of a load-balancing or inbound NAT rule is 4 to 30 minutes, from 2025-02-12 on 4 to 100.",
    facts=("4 minutes at least", "30 minutes at most", "100 minutes from 2025-02-12 on", "of both kinds of rules"),
)
def idle_timeout_is_between_bounds(network: Network) -> Iterator[Trial]:
    if not any(lb.load_balancing_rules or lb.inbound_nat_rules for lb in network.load_balancers):
        return
    for profile, longest in _LONGEST:
        for minutes, nearest in ((_DEFAULT_MIN - 1, _DEFAULT_MIN), (longest + 1, longest)):
            for rule, kind in (("rule", "load-balancing rule"), ("nat", "inbound NAT rule")):
                text, allowed = (
                    _LIMITS.format(
                        profile=profile, **({"rule": "", "nat": ""} | {rule: f"idle_timeout_in_minutes: {number}"})
                    )
                    for number in (minutes, nearest)
                )
                words = f"an idle timeout is {_DEFAULT_MIN} to {longest} minutes"
                yield refused(text, f"{minutes} minutes, {kind}, {profile}", words, allowed=allowed)


@claim(
    "N-IT-4",
    _RESET,
    "With TCP reset, both ends of an established TCP flow are sent a reset when it times out; flows that are half "
    "closed, and UDP, end in silence.",
    facts=(
        "both ends are sent a reset",
        "when the flow times out",
        "they believe it",
        "half-closed flows and UDP end in silence",
    ),
)
def tcp_reset_tells_both_ends(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    alone = [f for f in _listening(network) if len(f.vms) == 1 and f.rule.protocol == "tcp" and not f.rule.floating_ip]
    # The server is the experiment's own, so that it does not close when its client does.
    free = [f for f in alone if f.rule.backend_port not in {s.port for s in f.vms[0].services}]
    for found in [f for f in free if f.rule.tcp_reset][:1]:
        if client is None or found.rule.idle_timeout_min > _LONGEST_MIN:
            continue
        idle_s = scaled(network, found.rule.idle_timeout_min * 60)
        left = IdleFlows(
            client=client.name,
            server=found.vms[0].name,
            address=found.address,
            port=found.rule.frontend_port,
            server_port=found.rule.backend_port,
            wait_s=idle_s + _LATE_S,
        )
        has_udp = any(
            (f.address, f.rule.frontend_port, f.rule.protocol) == (found.address, found.rule.frontend_port, "udp")
            for f in _listening(network)
        )

        expected = (
            f"after {found.rule.idle_timeout_min} minutes ({idle_s:g} s) a reset to both ends that they believe; none "
            "for a flow that is half closed, nothing for UDP"
        )
        stages = (Stage((Health(), left)),)
        yield Trial(found.name, expected, stages, judge_by(partial(_both_ends_told, idle_s=idle_s, has_udp=has_udp)))


def _both_ends_told(_known: Members, left: Left, *, idle_s: float, has_udp: bool) -> Finding:
    udp, half, whole = left.flows
    observed = "; ".join(f"{flow.kind}: {_told(flow)}" for flow in (udp, half, whole))
    for flow in (half, whole, *((udp,) if has_udp else ())):
        if not flow.answered:
            return Finding(observed, doubt=f"the {flow.kind} flow was not answered at first")
    return Finding(
        observed,
        _unlike(whole, idle_s)
        or next((f"a {flow.kind} flow was told: {flow.told[0].what}" for flow in (udp, half) if flow.told), ""),
    )


_LATE_S = 5.0  # of real time, in which a machine may be busy with something else
_EARLY_S = 0.3


def _told(flow: LeftFlow) -> str:
    """Say what the ends of a flow were told."""
    parts = [
        f"{t.end} {t.what} after {t.seconds:.1f} s{'' if t.believed else ', not to be believed'}" for t in flow.told
    ]
    return ", ".join(parts) or "nothing"


def _unlike(flow: LeftFlow, idle_s: float) -> str:
    """Return what contradicts that both ends of a flow were told of its end, "" if nothing does."""
    for end in ("client", "server"):
        told = [t for t in flow.told if t.end == end]
        if [t.what for t in told] != ["RST"]:
            return f"the {end} got {len(told)} resets instead of one"
        if not told[0].believed:
            return f"the reset to the {end} has another sequence number than it expects"
        if not idle_s - _EARLY_S <= told[0].seconds <= idle_s + _LATE_S:
            return f"the reset to the {end} came after {told[0].seconds:.1f} s"
    return "" if flow.ended else "the client's kernel did not believe the reset"


# --- several frontends ------------------------------------------------------------------------


def _right(found: _Listening, members: Members, answers: Answers) -> str:
    """Return what contradicts that a rule's VMs answered, at its port, "" if nothing does."""
    for answer in answers.answers:
        if answer.outcome != "answered":
            return f"{found.name}: {answer.outcome}"
        if answer.node not in found.up(members):
            return f"{found.name} was answered by {answer.node}"
        if answer.server_port != found.rule.backend_port:
            return f"{found.name} ended at port {answer.server_port} instead of {found.rule.backend_port}"
    return ""


def _reached(found: _Listening, answers: Answers) -> str:
    """Say where the flows of a rule ended."""
    ports = sorted({answer.server_port for answer in answers.answers if answer.outcome == "answered"})
    where = f"{found.address} {found.rule.protocol} {found.rule.frontend_port}"
    return f"{where}: {'port ' + ', '.join(map(str, ports)) if ports else outcomes(answers)}"


def _several(network: Network) -> Iterator[tuple[LoadBalancer, list[_Listening]]]:
    """Yield the load balancers with several frontends, and those of their rules that say whom they saw."""
    for lb in network.load_balancers:
        found = [f for f in _listening(network) if f.lb is lb and f.kind() and f.works]
        if len({f.rule.frontend for f in found}) > 1:
            yield lb, found


@claim(
    "N-MV-1",
    _SEVERAL,
    "A frontend is an address, a protocol and a port; a rule leads it to an address and port of a VM, and where "
    "there is no rule there is silence.",
    facts=(
        "the address is part of a frontend",
        "the port is part of a frontend",
        "the protocol is part of a frontend",
        "a rule leads to its address and port of a VM",
    ),
)
def frontend_is_address_protocol_and_port(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for lb, asked in _several(network):
        if client is None:
            continue
        taken = {(r.frontend, r.protocol, r.frontend_port) for r in _all(lb)}
        addresses = {f.rule.frontend: f.address for f in asked}
        used = {(protocol, port) for _, protocol, port in taken}
        free = [
            (address, protocol, port)
            for name, address in addresses.items()
            for protocol, port in sorted(used)
            if (name, protocol, port) not in taken
        ]
        home = asked[0].vms[0].virtual_network
        nodes = {vm.name: Watch("node", vm.name, vm.virtual_network) for f in asked for vm in f.vms}
        silence = Sweep(
            flows=tuple(
                Flow(
                    sender=client.name,
                    private=str(client.address),
                    destination=address,
                    protocol=protocol,
                    port=port,
                    passes=(Watch("edge", home),),
                    ends=tuple(nodes.values()),
                    awaited=False,
                )
                for address, protocol, port in free
            )
        )
        asks = tuple(_ask(client, found, _PORTS) for found in asked)

        expected = f"{len(asked)} rules lead to a VM and port each; {len(free)} combinations without one are silent"
        stages = (Stage((Health(), silence, *asks)),)
        yield Trial(lb.name, expected, stages, judge_by(partial(_led_or_silent, asked=asked, free=free)))


def _led_or_silent(
    members: Members,
    swept: Swept,
    *answers: Answers,
    asked: list[_Listening],
    free: Sequence[tuple[str, Protocol, int]],
) -> Finding:
    observed = "; ".join(_reached(f, a) for f, a in zip(asked, answers, strict=True))
    observed += f"; {len(free)} others: {_shares(_ends(swept))}"
    doubt = unheard([swept])
    came = [where for where, end in zip(free, _ends(swept), strict=True) if end]
    if came:
        return Finding(observed, f"{came[0][0]} {came[0][1]} {came[0][2]} leads to a VM without a rule")
    if doubt:
        return Finding(observed, doubt=doubt)
    wrong = (_right(f, members, a) for f, a in zip(asked, answers, strict=True))
    return Finding(observed, next((text for text in wrong if text), ""))


@claim(
    "N-MV-2",
    f"{_SEVERAL}, rule type 1",
    "Rules of two frontends lead the same port to different ports of the same VM.",
    facts=("one port of two frontends leads to two ports of a VM",),
)
def frontends_lead_one_port_to_different_ports(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for _, found in _several(network):
        pairs = [
            (one, other)
            for index, one in enumerate(found)
            for other in found[index + 1 :]
            if (one.rule.protocol, one.rule.frontend_port) == (other.rule.protocol, other.rule.frontend_port)
            and one.rule.frontend != other.rule.frontend
            and one.vms == other.vms
            and not (one.rule.floating_ip or other.rule.floating_ip)
        ]
        for pair in sorted(pairs, key=lambda pair: pair[0].rule.frontend_port)[:1]:
            if client is None:
                continue

            ports = " and ".join(str(f.rule.backend_port) for f in pair)
            expected = f"port {pair[0].rule.frontend_port} of two frontends ends at ports {ports} of one VM"
            asks = tuple(_ask(client, f, _PORTS) for f in pair)
            subject = " and ".join(f.name for f in pair)
            yield Trial(
                subject, expected, (Stage((Health(), *asks)),), judge_by(partial(_led_to_different_ports, pair=pair))
            )


def _led_to_different_ports(members: Members, *answers: Answers, pair: tuple[_Listening, _Listening]) -> Finding:
    observed = "; ".join(_reached(f, a) for f, a in zip(pair, answers, strict=True))
    wrong = (_right(f, members, a) for f, a in zip(pair, answers, strict=True))
    return Finding(observed, next((text for text in wrong if text), ""))


_TWICE = """
name: twice
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
load_balancers:
  lb:
    frontend_ip_configurations: {f: 40.1.1.1, g: 40.1.1.2}
    backend_address_pools: {p: [vm]}
    probes: {alive: {port: 80, interval_in_seconds: 15}}
    load_balancing_rules:
      one: {frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
      two: {frontend: g, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
"""


@claim(
    "N-MV-3",
    _SEVERAL,
    "Every rule needs its own address and port at the VM.",
    facts=("two rules to one port of a VM are refused",),
)
def rule_needs_a_port_of_its_own(network: Network) -> Iterator[Trial]:
    if any(lb.load_balancing_rules for lb in network.load_balancers):
        what = "two rules that end at one VM and port"
        yield refused(_TWICE, what, "every rule needs its own port at the VM")


@claim(
    "N-MV-4",
    f"{_SEVERAL}, rule type 2",
    "With floating IP the destination stays the frontend's: a VM that has the address on a loopback interface "
    "answers, one that has not is silent.",
    facts=(
        "the destination stays the frontend's",
        "a VM with the address answers",
        "a VM without the address is silent",
    ),
)
def floating_ip_keeps_the_destination(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    floating = [f for f in _listening(network) if f.rule.floating_ip and f.kind() and client]
    for found in floating:
        if client is None or not (found.owned or _owned_by_none(found)):
            continue
        count = sample(len(found.vms)) if len(found.vms) > 1 else _PORTS
        sweep = _sweep(client, found, _one_client(client, count))
        ask = _ask(client, found, _PORTS, ANSWER_S if found.owned else SILENCE_S)

        means = "VMs have it, and answer" if found.owned else "VMs do not have it, and are silent"
        expected = f"flows arrive for {found.address}:{found.rule.frontend_port}; {means}"
        yield Trial(
            found.name,
            expected,
            (Stage((Health(), sweep, ask)),),
            judge_by(partial(_arrived_for_the_frontend, found=found)),
        )


def _arrived_for_the_frontend(members: Members, swept: Swept, answers: Answers, *, found: _Listening) -> Finding:
    there = f"{found.address}:{found.rule.frontend_port}"
    seen = sorted({p.destination for p in swept.passages if p.end})
    observed = f"arrived for {', '.join(seen) or 'nobody'}; {outcomes(answers)}"
    doubt = unheard([swept])
    if doubt:
        return Finding(observed, doubt=doubt)
    wrong = _astray(found, members, [swept])
    if not wrong and seen != [there]:
        wrong = f"flows arrived for {', '.join(s for s in seen if s != there)} instead of {there}"
    for answer in answers.answers:
        at = f"{answer.server_address}:{answer.server_port}"
        if not wrong and (answer.outcome == "answered") != found.owned:
            wrong = f"{answer.outcome}, and the VM {'has' if found.owned else 'does not have'} the address"
        if not wrong and answer.outcome == "answered" and at != there:
            wrong = f"the server was spoken to as {at} instead of {there}"
    return Finding(observed, wrong)


def _owned_by_none(found: _Listening) -> bool:
    return not any(IPv4Address(found.address) in vm.loopback_addresses for vm in found.vms)


@claim(
    "N-MV-5",
    f"{_SEVERAL}, limitations",
    "What a VM sends from a frontend's address of its own accord is not translated and does not leave.",
    facts=(
        "what is sent from the frontend's address does not leave",
        "what is sent from the VM's own address leaves",
    ),
)
def nothing_leaves_from_a_frontends_address(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    speaking = {vm.name for vm in speaking_freely(network)}
    for vm in [v for v in network.virtual_machines if v.loopback_addresses and v.name in speaking][:1]:
        if far is None:
            continue
        watches = (Watch("public wire", vm.virtual_network), Watch("node", far.name))
        sends = tuple(
            Send(
                sender=vm.name,
                private=source,
                destination=str(far.address),
                protocol=protocol,
                count=_FLOWS,
                watches=watches,
                lost=0 if source == str(vm.private_ip_address) else _FLOWS,
                untranslated=source != str(vm.private_ip_address),  # it is a public address, and never a stray
            )
            for source in (str(vm.loopback_addresses[0]), str(vm.private_ip_address))
            for protocol in ("tcp", "udp")
        )

        expected = f"nothing from {vm.loopback_addresses[0]} leaves; from {vm.private_ip_address} all arrive"
        yield Trial(vm.name, expected, (Stage(sends),), judge_by(_stayed_inside))


def _stayed_inside(*observations: Arrivals) -> Finding:
    *bound, tcp, udp = observations
    observed = f"bound to the frontend: {arrived(bound[0])}; not bound: {arrived(tcp)}"
    if any(one.seen[0] or one.seen[-1] for one in bound):
        return Finding(observed, "flows bound to the frontend's address left")
    lost = sum(one.sent - len(one.seen[-1]) for one in (tcp, udp))
    return Finding(observed, f"{lost} flows from the VM's own address did not arrive" if lost else "")


_TIED_PORT = 4000


@claim(
    "N-MV-6",
    "note on dynamic public addresses of load balancers (2018-11-09)",
    "A dynamic public frontend has an address only while a rule of either kind leads it to a VM.",
    facts=(
        "without a rule a dynamic frontend has no address",
        "a load-balancing rule gives it one",
        "an inbound NAT rule gives it one",
        "a VIP without endpoints has no address",
    ),
)
def dynamic_frontend_has_an_address_while_ruled(network: Network) -> Iterator[Trial]:
    client, let_in = far_client(network), _let_in(network)
    for lb in network.load_balancers:
        bare = [f for f in lb.frontends if f.dynamic and not any(r.frontend == f.name for r in _all(lb))]
        pools = [p for p in lb.pools if p.members and let_in.issuperset(p.members)]
        if client is None or not bare or not pools or not lb.probes:
            continue
        yield _tied_trial(network, client, lb, bare[0], pools[0])


def _all(lb: LoadBalancer) -> tuple[_AnyRule, ...]:
    return (*lb.load_balancing_rules, *lb.inbound_nat_rules)


def _tied_trial(
    network: Network, client: InternetHost, lb: LoadBalancer, frontend: Frontend, pool: BackendPool
) -> Trial:
    vms = [vm for vm in network.virtual_machines if vm.name in pool.members]
    home, address = vms[0].virtual_network, str(frontend.address)
    ports = {"name": "tied", "frontend": frontend.name, "frontend_port": _TIED_PORT, "backend_port": _TIED_PORT}
    rule = LoadBalancingRule(
        **ports,  # type: ignore[arg-type]
        protocol="tcp",
        backend_pool=pool.name,
        probe=lb.probes[0].name,
        load_distribution="Default",
        idle_timeout_min=4,
    )
    nat = InboundNatRule(**ports, protocol="tcp", virtual_machine=vms[0].name)  # type: ignore[arg-type]
    by_rule = _with(network, lb, load_balancing_rules=(*lb.load_balancing_rules, rule))
    by_nat = _with(network, lb, inbound_nat_rules=(*lb.inbound_nat_rules, nat))

    def flows(*ends: Watch, awaited: bool) -> Sweep:
        flow = Flow(
            sender=client.name,
            private=str(client.address),
            destination=address,
            protocol="tcp",
            port=_TIED_PORT,
            passes=(Watch("host wire", client.name),),
            ends=ends,
            awaited=awaited,
        )
        return Sweep(flows=(flow,) * _FLOWS)

    # Without an address nothing comes to the virtual network; with it, flows come to a VM.
    without = (Health(), Counted(), flows(Watch("edge", home), awaited=False))
    tied = (Health(), Counted(), flows(*(Watch("node", vm.name, home) for vm in vms), awaited=True))
    states: tuple[tuple[str, Network | None, bool], ...] = (
        ("no rule", None, False),
        ("a load-balancing rule", by_rule, True),
        ("an inbound NAT rule", by_nat, True),
        ("no rule", None, False),
    )

    expected = "an address with a rule of either kind that leads to a VM, and none without"
    stages = tuple(Stage(tied if has else without, state) for _, state, has in states)
    return Trial(
        f"{lb.name}/{frontend.name}",
        expected,
        stages,
        judge_by(partial(_address_while_tied, states=states, address=address)),
    )


def _address_while_tied(
    *observations: Observation, states: tuple[tuple[str, Network | None, bool], ...], address: str
) -> Finding:
    shown, swept = of_type(observations, PublicAddresses), of_type(observations, Swept)
    said, wrong = [], ""
    for (what, _, has), counted, one in zip(states, shown, swept, strict=True):
        listed, came = address in counted.addresses, sum(bool(end) for end in _ends(one))
        said.append(f"{what}: {address if listed else 'no address'}, {came} of {_FLOWS} flows came")
        if not wrong and listed != has:
            wrong = f"with {what} the frontend has {'an' if listed else 'no'} address"
        if not wrong and came != (_FLOWS if has else 0):
            wrong = f"with {what} {came} flows came in"
    if not wrong and (doubt := unheard(swept)):
        return Finding("; ".join(said), doubt=doubt)
    return Finding("; ".join(said), wrong)


CLAIMS = (
    five_tuple_spreads_flows,
    source_ip_picks_by_addresses,
    tcp_and_udp_of_a_client_to_one_member,
    changed_pool_distributes_anew,
    vm_sees_the_clients_own_address,
    idle_flows_end_in_silence,
    idle_timeout_is_between_bounds,
    tcp_reset_tells_both_ends,
    frontend_is_address_protocol_and_port,
    frontends_lead_one_port_to_different_ports,
    rule_needs_a_port_of_its_own,
    floating_ip_keeps_the_destination,
    nothing_leaves_from_a_frontends_address,
    dynamic_frontend_has_an_address_while_ruled,
)
