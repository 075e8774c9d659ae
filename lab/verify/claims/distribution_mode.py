"""Which member a load balancer picks for a flow.

Restated from load-balancer-distribution-mode.md (2016-10-24).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import TypeAlias

import msgspec

from lab.azure.model import (
    BackendPool,
    InternetHost,
    LoadBalancingRule,
    Network,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.balanced_flows import (
    FIRST_PORT,
    PORTS,
    AnyRule,
    Listening,
    arrived_at,
    conversations_with,
    from_many_clients,
    from_one_client,
    gone_astray,
    listening_rules,
    said_shares,
    sweep_to,
    unheard,
    with_balancer,
)
from lab.verify.claims.kit.endpoint_files import service_file, set_member
from lab.verify.claims.kit.judges import judge_by, of_type
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.sampling import CHANCE, bounds, sample
from lab.verify.claims.kit.tunnels import fits
from lab.verify.experiment import (
    Answers,
    Health,
    Members,
    Observation,
    Sweep,
    Swept,
)

_DISTRIBUTION = "load-balancer-distribution-mode.md (2016-10-24)"
_SEVERAL = "load-balancer-multivip-overview.md (2016-08-11)"
_AT_LEAST = 200  # flows of one client, where each is picked on its own


def _shared(network: Network, *distributions: str, classic: bool = False) -> list[Listening]:
    """Return the rules of these distributions with several VMs to choose from."""
    return [
        found
        for found in listening_rules(network, classic=classic)
        if isinstance(found.rule, LoadBalancingRule)
        and found.rule.load_distribution in distributions
        and len(found.vms) > 1
    ]


def _several_up(found: Listening, members: Members) -> str:
    up = found.up(members)
    return "" if len(up) > 1 else f"{len(up)} of {len(found.vms)} members take flows; it takes two to tell"


def _uneven(found: Listening, members: Members, ends: Sequence[str]) -> str:
    """Return what contradicts that flows, each picked on its own, are spread over all members."""
    up = sorted(found.up(members))
    low, high = bounds(len(ends), len(up))
    counts = Counter(ends)
    odd = [f"{name} {counts[name]}" for name in up if not low <= counts[name] <= high]
    return f"not spread: {', '.join(odd)} of {len(ends)}, where each gets {low} to {high}" if odd else ""


_Check: TypeAlias = Callable[[Members, Sequence[Swept]], Finding]


def _spread_trial(found: Sequence[Listening], expected: str, sweeps: tuple[Sweep, ...], check: _Check) -> Trial:
    """Return a trial of where the flows of sweeps arrive, once all members are judged."""
    subject = " and ".join(one.name for one in found)
    return Trial(subject, expected, (Stage((Health(), *sweeps)),), judge_by(partial(_spread, found=found, check=check)))


def _spread(members: Members, *swept: Swept, found: Sequence[Listening], check: _Check) -> Finding:
    doubt = unheard(swept) or next((text for one in found if (text := _several_up(one, members))), "")
    if doubt:
        return Finding("; ".join(said_shares(arrived_at(one)) for one in swept), doubt=doubt)
    return check(members, swept)


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
            sources = from_one_client(client, count)
            sweeps = tuple(sweep_to(client, found, sources, forgotten=known) for known in (False, True, True))

            low, high = bounds(count, len(found.vms))
            expected = (
                f"{count} flows of one client: {low} to {high} to each of {len(found.vms)} VMs "
                f"(false alarm {CHANCE:g}); each flow's first packet, sent again, to the same one"
            )
            yield _spread_trial((found,), expected, sweeps, partial(_spread_and_kept, found=found))
    if client is not None:
        yield from _hashed_fields(network, client)


def _spread_and_kept(members: Members, swept: Sequence[Swept], *, found: Listening) -> Finding:
    first, again, anew = (arrived_at(one) for one in swept)
    moved = [sum(a != b for a, b in zip(first, other, strict=True)) for other in (again, anew)]
    observed = f"{said_shares(first)}; sent again: {moved[0]} moved; after they were forgotten: {moved[1]} moved"
    wrong = gone_astray(found, members, swept) or _uneven(found, members, first)
    if not wrong and any(moved):
        wrong = f"{sum(moved)} packets of the same flows went to another VM"
    return Finding(observed, wrong)


def _hashed_fields(network: Network, client: InternetHost) -> Iterator[Trial]:
    """Yield that each of the five fields tells flows apart that are alike in the others; the port is tried above."""
    translated = [found for found in _shared(network, "Default") if not found.rule.floating_ip]
    for found in translated[:1]:
        count = max(_AT_LEAST, sample(len(found.vms)))
        sources = [(address, FIRST_PORT) for address, port in from_many_clients(count) if port == FIRST_PORT]

        expected = f"{count} clients with one source port: spread over {len(found.vms)} VMs (false alarm {CHANCE:g})"
        yield _spread_trial(
            (found,), expected, (sweep_to(client, found, sources),), partial(_spread_evenly, found=found)
        )
    for field, one, other in _alike_but_for_one(translated):
        yield _told_apart(field, one, other, client)


def _spread_evenly(members: Members, swept: Sequence[Swept], *, found: Listening) -> Finding:
    ends = arrived_at(swept[0])
    return Finding(said_shares(ends), gone_astray(found, members, swept) or _uneven(found, members, ends))


#: Fields of a rule by which a flow of one client may differ, and what they are called.
_OF_A_FLOW = {"frontend": "destination address", "frontend_port": "destination port", "protocol": "protocol"}


def _alike_but_for_one(listening: Sequence[Listening]) -> Iterator[tuple[str, Listening, Listening]]:
    """Yield, for each field of a flow, two rules of one pool that differ in it alone."""
    found: dict[str, tuple[str, Listening, Listening]] = {}
    for one, other in combinations(listening, 2):
        assert isinstance(one.rule, LoadBalancingRule)
        assert isinstance(other.rule, LoadBalancingRule)
        same = (one.rule.backend_pool, one.rule.probe) == (other.rule.backend_pool, other.rule.probe)
        if one.lb is other.lb and same:
            differing = [f for f in _OF_A_FLOW if getattr(one.rule, f) != getattr(other.rule, f)]
            if len(differing) == 1:
                found.setdefault(differing[0], (_OF_A_FLOW[differing[0]], one, other))
    return iter(found.values())


def _told_apart(field: str, one: Listening, other: Listening, client: InternetHost) -> Trial:
    """Return a trial that flows which differ in one field alone are picked for each on its own."""
    # That all go the same way by chance: (1/members) ** flows.
    count = max(sample(len(one.vms)), math.ceil(-math.log(CHANCE) / math.log(len(one.vms))))
    sources = [(address, port) for address, port in from_many_clients(count) if port == FIRST_PORT]

    expected = f"{count} flows and their likes with another {field}: some at different VMs (false alarm {CHANCE:g})"
    sweeps = (sweep_to(client, one, sources), sweep_to(client, other, sources))
    return _spread_trial(
        (one, other), expected, sweeps, partial(_sent_apart, count=count, one=one, other=other, field=field)
    )


def _sent_apart(
    members: Members, swept: Sequence[Swept], *, count: int, one: Listening, other: Listening, field: str
) -> Finding:
    there, here = (arrived_at(one) for one in swept)
    apart = sum(a != b for a, b in zip(there, here, strict=True))
    observed = f"{said_shares(there)}; {said_shares(here)}; {apart} of {count} at another VM"
    wrong = gone_astray(one, members, swept[:1]) or gone_astray(other, members, swept[1:])
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
        sources = from_many_clients(count)

        expected = f"{count} clients with {PORTS} ports each: every client's flows at one VM, none without clients"
        yield _spread_trial(
            (found,),
            f"{expected} (false alarm {CHANCE:g})",
            (sweep_to(client, found, sources),),
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
    members: Members, swept: Sequence[Swept], *, found: Listening, sources: Sequence[tuple[str, int]]
) -> Finding:
    ends = arrived_at(swept[0])
    torn = _torn(sources, ends)
    observed = f"{said_shares(ends)}; {len(torn)} clients at more than one"
    wrong = gone_astray(found, members, swept) or _uneven(found, members, ends[::PORTS])
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
    yield from _by_addresses(network)
    yield from _of_services(network)


def _of_services(network: Network) -> Iterator[Trial]:
    """Yield that the load-balanced sets of cloud services pick so, too."""
    trials = list(_by_addresses(network, classic=True))
    yield from trials
    if trials:
        text = service_file(set_member("a", ", load_balancer_distribution: sourceIP"), set_member("b", ""))
        words = '"e" of b differs from "e" of a in load_balancer_distribution'
        yield fits(text, "a distribution of one member of a set", words)


def _pairs(network: Network, distribution: str, *, classic: bool = False) -> Iterator[tuple[Listening, Listening]]:
    """Yield rules for TCP and for UDP with one frontend, one pool, and one probe."""
    found = _shared(network, distribution, classic=classic)
    for tcp in (f for f in found if f.rule.protocol == "tcp"):
        for udp in (f for f in found if f.rule.protocol == "udp"):
            if tcp.lb is udp.lb and _ties(tcp.rule) == _ties(udp.rule):
                yield tcp, udp


def _ties(rule: AnyRule) -> tuple[object, ...]:
    assert isinstance(rule, LoadBalancingRule)
    return rule.frontend, rule.backend_pool, rule.probe


def _both(tcp: Listening, udp: Listening, client: InternetHost, count: int, *, together: bool) -> Trial:
    sources = [(address, port) for address, port in from_many_clients(count) if port == FIRST_PORT]

    wanted = "every one's TCP and UDP at one VM" if together else "TCP and UDP of some at different VMs"
    expected = f"{count} clients: {wanted} (false alarm {CHANCE:g})"
    sweeps = (sweep_to(client, tcp, sources), sweep_to(client, udp, sources))
    return _spread_trial(
        (tcp, udp), expected, sweeps, partial(_protocols_at_members, count=count, tcp=tcp, udp=udp, together=together)
    )


def _protocols_at_members(
    members: Members, swept: Sequence[Swept], *, count: int, tcp: Listening, udp: Listening, together: bool
) -> Finding:
    by_tcp, by_udp = (arrived_at(one) for one in swept)
    apart = sum(a != b for a, b in zip(by_tcp, by_udp, strict=True))
    observed = f"TCP: {said_shares(by_tcp)}; UDP: {said_shares(by_udp)}; {apart} of {count} clients at two VMs"
    wrong = gone_astray(tcp, members, swept[:1]) or gone_astray(udp, members, swept[1:])
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
        sweep = sweep_to(client, found, from_one_client(client, count))
        less = _without(network, found, found.vms[-1].name)
        stages = tuple(Stage((Health(), sweep), state) for state in (None, less, None))

        expected = (
            f"{count} flows: with a smaller pool all at the others, and evenly; with the same pool as before, as before"
        )
        yield Trial(found.name, expected, stages, judge_by(partial(_distributed_anew, found=found)))
    for found in _shared(network, "SourceIP", "SourceIPProtocol")[:1]:
        sources = from_one_client(client, _AT_LEAST)

        expected = f"{_AT_LEAST} flows from behind one address, as a proxy's, all at one VM"
        yield _spread_trial(
            (found,), expected, (sweep_to(client, found, sources),), partial(_one_client_at_one_member, found=found)
        )


def _distributed_anew(*observations: Observation, found: Listening) -> Finding:
    known, swept = of_type(observations, Members), of_type(observations, Swept)
    doubt = unheard(swept)
    before, during, after = (arrived_at(one) for one in swept)
    leaver = found.vms[-1].name
    stayed = [(a, b) for a, b in zip(before, during, strict=True) if a != leaver]
    moved = sum(a != b for a, b in stayed)
    observed = (
        f"{said_shares(before)}; without {leaver}: {said_shares(during)}, {moved} of {len(stayed)} others moved; "
        f"with it again: {sum(a != b for a, b in zip(before, after, strict=True))} differ"
    )
    if doubt:
        return Finding(observed, doubt=doubt)
    fewer = msgspec.structs.replace(found, vms=found.vms[:-1])
    wrong = gone_astray(found, known[0], swept[:1]) or gone_astray(fewer, known[1], swept[1:2])
    wrong = wrong or _uneven(fewer, known[1], during) or gone_astray(found, known[2], swept[2:])
    if not wrong and before != after:
        wrong = "the same pool distributes the same flows differently"
    return Finding(observed, wrong)


def _one_client_at_one_member(members: Members, swept: Sequence[Swept], *, found: Listening) -> Finding:
    ends = arrived_at(swept[0])
    wrong = gone_astray(found, members, swept)
    if not wrong and len(set(ends)) > 1:
        wrong = f"flows of one address went to {len(set(ends))} VMs"
    return Finding(said_shares(ends), wrong)


def _without(network: Network, found: Listening, vm: str) -> Network:
    """Return the network with a VM less in a rule's pool."""
    assert isinstance(found.rule, LoadBalancingRule)
    name = found.rule.backend_pool
    pools = tuple(
        BackendPool(name=p.name, members=tuple(m for m in p.members if m != vm)) if p.name == name else p
        for p in found.lb.pools
    )
    return with_balancer(network, found.lb, pools=pools)


@claim(
    "N-DM-6",
    "load-balancer-standard-overview.md (2017-09-28); " + _SEVERAL,
    "A VM sees the client's own address, and the client is answered from the frontend's address and port.",
    facts=("VMs see the client's own address", "each rule's VMs answer"),
)
def vm_sees_the_clients_own_address(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    asked = [f for f in listening_rules(network) if f.kind() is not None and f.works]
    if client is None or not asked:
        return
    asks = tuple(conversations_with(client, found, PORTS) for found in asked)

    expected = f"VMs see {client.address}, and their answers come from the frontend's address and port"
    subject = f"{len(asked)} rules"
    yield Trial(
        subject, expected, (Stage((Health(), *asks)),), judge_by(partial(_client_seen, asked=asked, client=client))
    )


def _client_seen(_: Members, *answers: Answers, asked: list[Listening], client: InternetHost) -> Finding:
    every = [(found, answer) for found, one in zip(asked, answers, strict=True) for answer in one.answers]
    seen = Counter(answer.client_address for _, answer in every if answer.outcome == "answered")
    observed = ", ".join(f"{count} from {address}" for address, count in seen.items()) or "no answers"
    silent = next((found for found, answer in every if answer.outcome != "answered"), None)
    if silent is not None:
        return Finding(observed, f"{silent.name} did not answer")
    other = next((a for a in seen if a != str(client.address)), "")
    return Finding(observed, f"VMs saw {other}" if other else "")


CLAIMS = (
    five_tuple_spreads_flows,
    source_ip_picks_by_addresses,
    tcp_and_udp_of_a_client_to_one_member,
    changed_pool_distributes_anew,
    vm_sees_the_clients_own_address,
)
