"""load-balancer-outbound-connections.md in its revisions: SNAT ports, how many, shared how, back when."""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import InternetHost, LoadBalancer, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import (
    MORE,
    again_after,
    held_trial,
    kept,
    occupy,
    of_protocol,
    opened,
    several_goals,
    shared,
    too_early,
    too_late,
    wrong_number,
)
from lab.verify.claims.kit.judges import arrived, judge_by, send, sources, wrong_source
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_host,
    of_kind,
    pooled,
    ports_each,
    scaled,
    sole_frontend,
    way_out,
)
from lab.verify.experiment import Arrivals, End, Goal, Happened, Occupied, Open, Pause, Step, Talk

_OUTBOUND = "load-balancer-outbound-connections.md"
_CLASSIC = "load-balancer-outbound-connections-classic.md (2018-07-13)"
#: Revisions, by what they state.
_BY_TABLE = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_BY_DESTINATION = _BY_TABLE
_CONE = ("2019-05", "2020-06")
_UDP_PER_ADDRESS = ("2020-10", "2022-03", "2026-07")
_PER_PROTOCOL = ("2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_CLOSING = ("2018-07-classic", "2018-12", "2019-05", "2020-06", "2020-10")
_LOWEST = ("2020-06", "2020-10", "2022-03", "2026-07")
_FRONTENDS = _BY_TABLE
_PRECEDENCE = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03")
_BLOCKS = ("2020-10", "2022-03", "2026-07")
_IDLE_S, _FIN_S, _RST_S = 240, 240, 15
_SHORTEST_S = 0.4  # of real time, that can be told from none
_LATE_S = 2.0  # of real time, that a machine may be late
_FEW = 4
_LOWEST_PORT = 1024
#: Revisions by which FIN of either side closes a flow; by the others both sides must have sent one.
_FIN_OF_EITHER = ("2019-05", "2020-06", "2020-10")
_FAR_PORT = 9443  # of the experiment's own far side; no service of a topology has it


def _limited(network: Network) -> tuple[VirtualMachine, int] | None:
    """Return a VM that has one frontend and a number of SNAT ports of its own, and the number."""
    found = ((vm, ports_each(network, vm)) for vm in sole_frontend(network))
    return next(((vm, ports) for vm, ports in found if ports is not None), None)


def _usable(network: Network, vm: VirtualMachine, ports: int) -> int:
    """Return how many ports are left where rules take blocks of them; a VM that is alone has the lowest ports."""
    return ports - len(_blocked(network, vm) & set(range(_LOWEST_PORT, _LOWEST_PORT + ports)))


def _balancers(network: Network, vm: VirtualMachine) -> list[LoadBalancer]:
    addresses = way_out(network, vm).addresses
    return [lb for lb in network.balancers if any(str(f.address) in addresses for f in lb.frontends)]


_TIER_PORT = 19000  # a destination port that no other experiment uses


def _by_number(arrivals: Arrivals) -> dict[int, int]:
    """Return the source port of each flow that arrived."""
    return {seen.number: seen.source_port for seen in arrivals.seen[-1]}


def _tcp_goals(network: Network) -> list[tuple[InternetHost, tuple[Goal, ...]]]:
    """Return outside hosts with several TCP services that name a flow's source."""
    found = [(host, of_protocol(goals, "tcp")) for host, goals in several_goals(network)]
    return [(host, goals) for host, goals in found if len(goals) > 1]


@claim(
    "N-SN-7",
    f"{_OUTBOUND} (2018-02-05), port-masquerading SNAT",
    "One port for each TCP flow to one destination address, port and protocol; flows to others share the ports.",
    profiles=_BY_DESTINATION,
    facts=(
        "a port for each flow to one address, port and protocol",
        "flows to another port share it",
    ),
)
def one_port_for_each_destination(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), _tcp_goals(network)
    if limited is None or not hosts:
        return
    (vm, ports), (host, goals) = limited, hosts[0]
    usable = _usable(network, vm, ports)
    first, second = (kept(network, (goal,), usable + MORE, lost=MORE) for goal in goals[:2])

    expected = f"{usable} flows to {host.name}:{goals[0].port}, and as many again to port {goals[1].port}"
    yield held_trial(
        vm.name, expected, occupy(network, vm, first, second), partial(_ports_shared_by_destinations, usable=usable)
    )


def _ports_shared_by_destinations(steps: Sequence[Happened], *, usable: int) -> Finding:
    observed = "; ".join(opened(step) for step in steps)
    wrong = next((text for step in steps if (text := wrong_number(step, usable, MORE) or shared(step))), "")
    return Finding(observed, wrong)


@claim(
    "N-SN-8",
    f"{_OUTBOUND} (2019-05-02) and (2020-10-06), UDP SNAT port reuse",
    "A UDP flow takes one port irrespective of its destination (2019-05-02), or one for each destination address "
    "irrespective of the port (2020-10-06).",
    profiles=(*_CONE, *_UDP_PER_ADDRESS),
    facts=(
        "in 2019 one port irrespective of the destination",
        "in 2020 another address shares it",
        "in 2020 another port does not",
    ),
)
def udp_ports_by_revision(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), several_goals(network)
    if limited is None or len(hosts) < 2:
        return
    vm, ports = limited
    usable = _usable(network, vm, ports)
    (one, first), (other, second) = ((host, of_protocol(goals, "udp")) for host, goals in hosts[:2])
    if network.profile.name in _CONE:
        half = usable // 2
        steps = (Open(goals=first, count=half), Open(goals=second, count=usable - half + MORE, lost=MORE))

        expected = f"{usable} UDP flows to {one.name} and {other.name} together, a port for each"
        yield held_trial(
            vm.name, expected, occupy(network, vm, *steps), partial(_one_for_any_destination, half=half, usable=usable)
        )
        yield _same_socket(network, vm, one, other)
        return

    each = tuple(kept(network, goals, usable + MORE, lost=MORE) for goals in (first, second))
    ports_named = " and ".join(str(goal.port) for goal in first)
    expected = f"{usable} UDP flows to {one.name} at {ports_named} together, and as many again to {other.name}"
    yield held_trial(vm.name, expected, occupy(network, vm, *each), partial(_one_for_each_address, usable=usable))


def _one_for_each_address(steps: Sequence[Happened], *, usable: int) -> Finding:
    here, there = steps
    wrong = next((text for step in steps if (text := wrong_number(step, usable, MORE) or shared(step))), "")
    return Finding(f"{opened(here)}; {opened(there)}", wrong)


def _one_for_any_destination(steps: Sequence[Happened], *, half: int, usable: int) -> Finding:
    here, there = steps
    wrong = wrong_number(here, half) or wrong_number(there, usable - half, MORE)
    both = {s.port for s in here.seen} & {s.port for s in there.seen}
    return Finding(f"{opened(here)}; {opened(there)}", wrong or (f"{len(both)} ports serve both hosts" if both else ""))


def _same_socket(network: Network, vm: VirtualMachine, one: InternetHost, other: InternetHost) -> Trial:
    sends = tuple(
        send(network, vm, host, "udp", _FEW, port=_TIER_PORT + index, first_source_port=43000)
        for index, host in enumerate((one, other))
    )

    expected = "a private socket is seen from one port by both hosts"
    stage = Stage((occupy(network, vm), *sends))
    return Trial(
        f"{vm.name}, one socket, two hosts",
        expected,
        (stage,),
        judge_by(partial(_one_source_for_both, one=one, other=other)),
    )


def _one_source_for_both(_settled: Occupied, *flows: Arrivals, one: InternetHost, other: InternetHost) -> Finding:
    first, second = (_by_number(arrivals) for arrivals in flows)
    observed = f"{one.name}: {sorted(first.values())}; {other.name}: {sorted(second.values())}"
    return Finding(observed, "" if len(first) == _FEW and first == second else "a socket is not seen from one port")


@claim(
    "N-SN-9",
    f"{_OUTBOUND} (2019-05-02), preallocated ports",
    "TCP and UDP have as many SNAT ports each.",
    profiles=_PER_PROTOCOL,
    facts=(
        "TCP and UDP apart",
        "as many ports each",
    ),
)
def as_many_ports_for_tcp_as_for_udp(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), several_goals(network)
    if limited is None or not hosts:
        return
    (vm, ports), (host, goals) = limited, hosts[0]
    usable = _usable(network, vm, ports)
    tcp, udp = of_protocol(goals, "tcp")[:1], of_protocol(goals, "udp")[:1]

    steps = tuple(kept(network, goals, usable + MORE, lost=MORE) for goals in (tcp, udp))
    expected = f"{usable} TCP flows to {host.name} use up the ports; {usable} UDP flows are opened all the same"
    yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_as_many_each, usable=usable))


def _as_many_each(steps: Sequence[Happened], *, usable: int) -> Finding:
    first, second = steps
    wrong = wrong_number(first, usable, MORE) or wrong_number(second, usable, MORE)
    return Finding(f"TCP: {opened(first)}; UDP: {opened(second)}", wrong)


@claim(
    "N-SN-10",
    f"{_CLASSIC}; {_OUTBOUND} (2019-05-02), SNAT port release",
    "A port comes back 240 seconds after FIN, 15 seconds after RST. One side's FIN, whichever side it is, is enough "
    "from 2019 on; before that both sides must send one.",
    profiles=_CLOSING,
    facts=(
        "240 s after FIN",
        "15 s after RST",
        "not before",
        "FIN of either side is enough (2019-05-02)",
        "FIN of one side is not (2018-07-13)",
    ),
)
def port_comes_back_after_closing(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), _tcp_goals(network)
    fin, rst = scaled(network, _FIN_S), scaled(network, _RST_S)
    if limited is None or not hosts or rst < _SHORTEST_S:
        return
    (vm, ports), (host, _) = limited, hosts[0]
    usable, either = _usable(network, vm, ports), network.profile.name in _FIN_OF_EITHER
    goals = (Goal(str(host.address), _FAR_PORT, "tcp"),)
    back = 3 * _FEW if either else _FEW
    steps = (
        kept(network, goals, usable),
        End(count=_FEW, how="fin"),
        End(count=_FEW, how="rst"),
        End(count=_FEW, how="fin", side="far side"),
        End(count=_FEW, how="fin", side="VM"),
        kept(network, goals, _FEW, within_s=fin / 2),
        kept(network, goals, back, within_s=1.25 * fin),
        kept(network, goals, _FEW, lost=_FEW),
        Talk(),
    )
    held = msgspec.structs.replace(occupy(network, vm, *steps), far_side=host.name, far_port=_FAR_PORT)

    expected = (
        f"ports come back {rst:g} s after RST and {fin:g} s after FIN of "
        f"{'either side' if either else 'both sides, not of one'} ({_RST_S} and {_FIN_S} s of the document), "
        "and not before"
    )
    yield held_trial(vm.name, expected, held, partial(_back_in_time, usable=usable, rst=rst, fin=fin, either=either))


def _back_in_time(steps: Sequence[Happened], *, usable: int, rst: float, fin: float, either: bool) -> Finding:
    full, closing, resetting, _far, _own, after_rst, after_fin, more, alive = steps
    back = 3 * _FEW if either else _FEW
    observed = (
        f"{opened(full)}; ports of {_FEW} closed by RST {again_after(after_rst, resetting)}, of {_FEW} closed by FIN "
        f"and {2 * _FEW} on one side only {again_after(after_fin, closing)}: {opened(after_fin)}; then {opened(more)}"
    )
    closed, reset, half = full.seen[:_FEW], full.seen[_FEW : 2 * _FEW], full.seen[2 * _FEW : 4 * _FEW]
    wrong = wrong_number(full, usable)
    wrong = wrong or too_early(after_rst, resetting, rst) or wrong_number(after_rst, _FEW)
    wrong = wrong or too_early(after_fin, closing, fin) or wrong_number(after_fin, back)
    wrong = wrong or too_late(after_rst, rst) or too_late(after_fin, fin)
    if not wrong and (sorted(after_rst.seen), sorted(after_fin.seen)) != (
        sorted(reset),
        sorted((*closed, *half) if either else closed),
    ):
        wrong = "the ports that came back are not those of the flows that were closed"
    wrong = wrong or wrong_number(more, 0, _FEW)
    left = usable - 3 * _FEW + back
    if not wrong and alive.answered != left:
        wrong = f"{left - alive.answered} flows ended that nobody closed"
    return Finding(observed, wrong)


@claim(
    "N-SN-11",
    f"{_OUTBOUND} (2020-06-24), port reuse",
    "Of a sequence of ports from lowest to highest the first that is available is taken.",
    profiles=_LOWEST,
    facts=(
        "from lowest to highest",
        "the first that is free",
    ),
)
def lowest_free_port_is_taken(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), _tcp_goals(network)
    if limited is None or not hosts:
        return
    (vm, _), (host, goals) = limited, hosts[0]
    one = kept(network, goals[:1], 1)
    rest = scaled(network, _RST_S) + _LATE_S
    steps: tuple[Step, ...] = (*([one] * 2 * _FEW), End(count=2, how="rst"), Pause(seconds=rest), one, one)

    expected = f"flows to {host.name} take one port after the other, and a lower one again once it is free"
    yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_lowest_first, network=network, vm=vm))


def _lowest_first(steps: Sequence[Happened], *, network: Network, vm: VirtualMachine) -> Finding:
    ports = [source.port for step in steps for source in step.seen]
    first, later = ports[: 2 * _FEW], ports[2 * _FEW :]
    observed = f"{', '.join(map(str, first))}; after the first two ended: {', '.join(map(str, later))}"
    if len(ports) != 2 * _FEW + 2:
        return Finding(observed, f"{2 * _FEW + 2 - len(ports)} flows were not answered")
    taken = _blocked(network, vm)
    free = [port for port in range(first[0], first[0] + 100) if port not in taken]
    if first != free[: 2 * _FEW]:
        return Finding(observed, "not one port after the other")
    return Finding(observed, "" if later == first[:2] else f"{later} were taken instead of {first[:2]}")


@claim(
    "N-SN-18",
    f"{_OUTBOUND} (2019-05-02), idle timeout",
    "Keepalives on one side suffice to refresh the idle timer of 4 minutes.",
    profiles=("2019-05", "2020-06", "2020-10"),
    facts=(
        "keepalives of one side suffice",
        "4 minutes without",
    ),
)
def keepalives_of_one_side_suffice(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), _tcp_goals(network)
    idle = scaled(network, _IDLE_S)
    if limited is None or not hosts or idle < 2:
        return
    (vm, _), (_, goals) = limited, hosts[0]
    lasting = kept(network, goals[:1], _FEW)
    steps = (lasting, Open(goals=goals[1:2], count=_FEW), Pause(seconds=1.5 * idle), Talk(first=_FEW), Talk(lost=_FEW))

    expected = (
        f"keepalives of one side every {lasting.keepalive_s} s hold flows {1.5 * idle:g} s; others die after {idle:g} s"
    )
    yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_kept_alive, idle=idle))


def _kept_alive(steps: Sequence[Happened], *, idle: float) -> Finding:
    with_it, without, _, alive, all_alive = steps
    others = all_alive.answered - alive.answered
    observed = f"{opened(with_it)}, {opened(without)}; after {1.5 * idle:g} s {alive.answered} and {others} are alive"
    wrong = wrong_number(with_it, _FEW) or wrong_number(without, _FEW)
    if not wrong and alive.answered != _FEW:
        wrong = f"{_FEW - alive.answered} flows ended in spite of keepalives"
    if not wrong and others:
        wrong = f"{others} flows are alive without keepalives"
    return Finding(observed, wrong)


def _frontends_expected(revision: str, sku: str, frontends: int, ports: int) -> tuple[int, int]:
    """Return how many flows to one destination there can be, and from how many addresses."""
    if sku == "Basic":
        return ports, 1  # one of them, picked at random
    if revision == "2026-07":
        return min(ports * frontends, 1024), frontends  # MIN(table x frontends, 1,024)
    return ports * frontends, frontends


@claim(
    "N-SN-12",
    f"{_OUTBOUND} (2018-02-05), (2019-05-02), (2022-03-01) and (2026-07-07), several frontends",
    "With several frontends: one at random (Basic), all at once, each with the table's ports (2019-05-02), one "
    "after the other (2022-03-01), or any with no more than 1,024 ports in all (2026-07-07).",
    profiles=_FRONTENDS,
    facts=(
        "Basic: one at random",
        "2019: each with the table's ports",
        "2022: one after the other",
        "2026: 1,024 ports in all",
    ),
)
def ports_of_several_frontends(network: Network) -> Iterator[Trial]:
    far, revision = far_host(network), network.profile.name
    for vm in of_kind(network, "frontend"):
        way = way_out(network, vm)
        if far is None or len(way.addresses) < 2:
            continue
        balancers, ports = _balancers(network, vm), ports_each(network, vm)
        if ports is None or len(balancers) != 1:
            continue
        count, addresses = _frontends_expected(revision, balancers[0].sku, len(way.addresses), ports)
        flows = send(network, vm, far, "udp", count + MORE, beyond_ports=True, lost=MORE)
        first = send(network, vm, far, "tcp", _FEW * _FEW)

        expected = f"{count} flows to one destination, from {addresses} of {len(way.addresses)} frontends"
        stage = Stage((occupy(network, vm), first, flows))
        yield Trial(
            vm.name,
            expected,
            (stage,),
            judge_by(partial(_ports_by_frontend, count=count, addresses=addresses, ports=ports, revision=revision)),
        )


def _ports_by_frontend(
    _0: Occupied, few: Arrivals, many: Arrivals, *, count: int, addresses: int, ports: int, revision: str
) -> Finding:
    pairs = {(s.source, s.source_port) for s in many.seen[-1]}
    observed = f"first {len(few.seen[-1])} flows from {', '.join(sources(few))}; then {arrived(many)}"
    if len(pairs) != count or len(many.seen[-1]) != count:
        return Finding(observed, f"{len(many.seen[-1])} flows from {len(pairs)} ports instead of {count}")
    if len(sources(many)) != addresses:
        return Finding(observed, f"from {len(sources(many))} addresses instead of {addresses}")
    if revision == "2022-03" and len({s.source for s in many.seen[-1][:ports]}) != 1:
        return Finding(observed, "a second address was used before the first was used up")
    return Finding(observed)


@claim(
    "N-SN-13",
    f"{_OUTBOUND} (2018-02-05), scenarios",
    "An instance-level public IP comes before a load balancer, a load balancer before default SNAT.",
    profiles=_PRECEDENCE,
    facts=(
        "an address of its own before a load balancer",
        "a load balancer before default SNAT",
    ),
)
def own_address_before_load_balancer_before_default(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    balanced = [vm for vm in of_kind(network, "own") if pooled(network, vm.name)]
    others = [group[0] for kind in ("frontend", "default") if (group := of_kind(network, kind))]
    if far is None or not balanced or len(others) < 2:
        return
    for vm in (balanced[0], *others):
        way = way_out(network, vm)

        yield Trial(
            vm.name,
            f"source {way}",
            (Stage((send(network, vm, far),)),),
            judge_by(partial(_left_by_precedence, way=way, network=network)),
        )


def _left_by_precedence(arrivals: Arrivals, *, way: WayOut, network: Network) -> Finding:
    return Finding(arrived(arrivals), wrong_source(network, way, arrivals))


def _blocked(network: Network, vm: VirtualMachine) -> set[int]:
    """Return the ports in aligned blocks of eight that hold a rule's port, where the revision takes them away."""
    if network.profile.name not in _BLOCKS:
        return set()
    ports = {
        rule.frontend_port
        for lb in _balancers(network, vm)
        for rules in (lb.load_balancing_rules, lb.inbound_nat_rules)
        for rule in rules
    }
    return {block * 8 + offset for block in {port // 8 for port in ports} for offset in range(8)}


@claim(
    "N-SN-19",
    f"{_OUTBOUND} (2020-10-13), ports of rules",
    "Each rule's port takes an aligned block of eight ports out of those that SNAT may use.",
    profiles=_BLOCKS,
    facts=(
        "a rule's port is not used",
        "nor its block of eight",
        "all others are",
    ),
)
def rule_takes_a_block_of_eight_ports(network: Network) -> Iterator[Trial]:
    limited, far = _limited(network), far_host(network)
    if limited is None or far is None:
        return
    vm, ports = limited
    blocked = {port for port in _blocked(network, vm) if 1024 <= port < 1024 + ports}
    if not blocked:
        return
    flows = send(network, vm, far, "udp", ports, beyond_ports=True, lost=len(blocked))

    expected = f"{ports - len(blocked)} of {ports} ports, none of {min(blocked)}-{max(blocked)}"
    yield Trial(
        vm.name,
        expected,
        (Stage((occupy(network, vm), flows)),),
        judge_by(partial(_block_not_used, blocked=blocked, ports=ports)),
    )


def _block_not_used(_0: Occupied, arrivals: Arrivals, *, blocked: set[int], ports: int) -> Finding:
    seen = {s.source_port for s in arrivals.seen[-1]}
    wrong = f"ports {sorted(seen & blocked)} were seen" if seen & blocked else ""
    if not wrong and len(seen) != ports - len(blocked):
        wrong = f"{len(seen)} ports were seen instead of {ports - len(blocked)}"
    return Finding(arrived(arrivals), wrong)


CLAIMS = (
    one_port_for_each_destination,
    udp_ports_by_revision,
    as_many_ports_for_tcp_as_for_udp,
    port_comes_back_after_closing,
    lowest_free_port_is_taken,
    ports_of_several_frontends,
    own_address_before_load_balancer_before_default,
    keepalives_of_one_side_suffice,
    rule_takes_a_block_of_eight_ports,
)
