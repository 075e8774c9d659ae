"""load-balancer-outbound-connections.md in its revisions: SNAT ports, how many, shared how, back when."""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import CloudService, InternetHost, LoadBalancer, Network, VirtualMachine
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
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, send, sources, wrong_source
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_host,
    of_kind,
    pooled,
    ports_by_table,
    ports_each,
    scaled,
    sole_frontend,
    way_out,
    with_stopped,
)
from lab.verify.experiment import Arrivals, End, Goal, Happened, Observation, Occupied, Open, Pause, Step, Talk

_OUTBOUND = "load-balancer-outbound-connections.md"
_STANDARD = "load-balancer-standard-overview.md (2017-09-28)"
_CLASSIC = "load-balancer-outbound-connections-classic.md (2018-07-13)"

#: Revisions, by what they state.
_BY_TABLE = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_CLASSIC_ONLY = ("2018-07-classic",)
_TIERS_GROW = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06")
_DEFAULT_AS_POOL = ("2019-05", "2020-06", "2020-10")
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
_MOST = 64511  # 65,535 - 1,024
_LARGER = 51  # VMs: the first size of a pool at which each has fewer ports
_AT_ONCE = 32000  # flows of one experiment whose source ports all differ


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


# --- how many ---------------------------------------------------------------------------------

#: Pool sizes on both sides of each step of the table (2018-02-05).
_SIZES = (1, 50, 51, 100, 101, 200, 201, 400, 401, 800, 801, 1000)


def _resized(network: Network, balancer: LoadBalancer, size: int) -> Network:
    """Return the network with only the first VMs of a load balancer's pool in it."""
    pools = tuple(msgspec.structs.replace(pool, members=pool.members[:size]) for pool in balancer.pools)
    smaller = msgspec.structs.replace(balancer, pools=pools)
    others = tuple(smaller if lb is balancer else lb for lb in network.load_balancers)
    return msgspec.structs.replace(network, load_balancers=others)


def _large_pools(network: Network) -> list[tuple[LoadBalancer, VirtualMachine, int]]:
    """Return the load balancers with one pool of more than a tier's VMs, the first of these, and how many they are."""
    found = []
    for lb in network.load_balancers:
        members = lb.pools[0].members if len(lb.pools) == 1 else ()
        first = network.vm(members[0]) if members else None
        if first is not None and len(members) > 50 and not network.overrides.snat_ports_per_vm:
            found.append((lb, first, len(members)))
    return found


@claim(
    "N-SN-1",
    f"{_STANDARD}; {_OUTBOUND} (2018-02-05), preallocated ports",
    "Each VM of a pool has its SNAT ports from the start: 1,024 in pools of up to 50 VMs, 512 up to 100, 256 up to "
    "200, 128 up to 400, 64 up to 800, 32 up to 1,000.",
    profiles=_BY_TABLE,
    facts=(
        "1,024 ports up to 50 VMs",
        "512 up to 100",
        "256 up to 200",
        "128 up to 400",
        "64 up to 800",
        "32 up to 1,000",
    ),
)
def ports_preallocated_by_pool_size(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for lb, vm, size in _large_pools(network):
        if far is None:
            continue
        sizes = [n for n in _SIZES if n <= size and not (network.profile.name == "2018-07-classic" and n > 400)]
        stages = tuple(
            Stage(
                (
                    occupy(network, vm),  # has the flows of the stage before forgotten
                    send(network, vm, far, "udp", ports_by_table(n) + MORE, beyond_ports=True, lost=MORE),
                ),
                _resized(network, lb, n),
            )
            for n in sizes
        )

        expected = ", ".join(f"{n} VMs: {ports_by_table(n)}" for n in sizes)
        yield Trial(
            f"{vm.name}, by size of its pool",
            f"ports: {expected}",
            stages,
            judge_by(partial(_ports_of_each_size, sizes=sizes)),
        )


def _ports_of_each_size(*observations: Observation, sizes: list[int]) -> Finding:
    found = [len({s.source_port for s in arrivals.seen[-1]}) for arrivals in of_type(observations, Arrivals)]
    observed = ", ".join(f"{n} VMs: {ports}" for n, ports in zip(sizes, found, strict=True))
    wrong = [
        f"{ports} ports with {n} VMs instead of {ports_by_table(n)}"
        for n, ports in zip(sizes, found, strict=True)
        if ports != ports_by_table(n)
    ]
    return Finding(observed, "; ".join(wrong))


@claim(
    "N-SN-2",
    f"{_STANDARD}, table of SKUs",
    "The ports of a Basic load balancer are allocated on demand: one VM may have more than a preallocated range.",
    profiles=("2017-09",),
    facts=("more than a preallocated range",),
)
def basic_allocates_on_demand(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in sole_frontend(network)[:1]:
        if far is None or {lb.sku for lb in _balancers(network, vm)} != {"Basic"}:
            continue
        flows = send(network, vm, far, "udp", 2 * ports_by_table(1), beyond_ports=True)
        way = way_out(network, vm)

        expected = f"{flows.count} flows at once to one host, more than the {ports_by_table(1)} of a preallocated range"
        yield Trial(
            vm.name,
            expected,
            (Stage((occupy(network, vm), flows)),),
            judge_by(partial(_all_from_the_way_out, way=way, network=network)),
        )


def _all_from_the_way_out(_0: Occupied, arrivals: Arrivals, *, way: WayOut, network: Network) -> Finding:
    return Finding(arrived(arrivals), wrong_source(network, way, arrivals))


@claim(
    "N-SN-3",
    f"English revision of {_OUTBOUND} (2017-05-31)",
    "A public address has at most 64,511 SNAT ports: 65,535 less the first 1,024.",
    profiles=("2017-05a", "2017-09"),
    facts=(
        "64,511 ports",
        "no more",
    ),
)
def ports_of_one_address(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in of_kind(network, "default")[:1]:
        if far is None:
            continue
        counts = (_AT_ONCE, _AT_ONCE, _MOST - 2 * _AT_ONCE + MORE)
        flows = tuple(
            send(network, vm, far, "udp", n, beyond_ports=True, kept=index < 2, lost=0 if index < 2 else MORE)
            for index, n in enumerate(counts)
        )

        expected = f"{_MOST} flows to one host, each from a port of its own, and no more"
        yield Trial(
            vm.name,
            expected,
            (Stage((occupy(network, vm), *flows)),),
            judge_by(partial(_as_many_as_the_address_has, sent=sum(counts))),
        )


def _as_many_as_the_address_has(_settled: Occupied, *flows: Arrivals, sent: int) -> Finding:
    ports = [s.source_port for arrivals in flows for s in arrivals.seen[-1]]
    observed = f"{len(ports)} of {sent} flows, from {len(set(ports))} ports"
    observed += f" from {min(ports)} to {max(ports)}" if ports else ""
    return Finding(observed, "" if len(ports) == len(set(ports)) == _MOST else f"not {_MOST} flows from as many ports")


@claim(
    "N-SN-4",
    f"{_OUTBOUND} (2018-02-05), size of the pool",
    "When a pool grows into the next tier, half of each VM's ports are reclaimed and their flows time out; when it "
    "shrinks, flows are not affected and there are more ports.",
    profiles=_TIERS_GROW,
    facts=(
        "half of the ports are reclaimed",
        "flows on the other half go on",
        "a smaller pool disturbs no flow",
        "and gives more ports",
    ),
)
def growing_pool_halves_the_ports(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for lb, vm, _ in _large_pools(network):
        if far is None:
            continue
        many, few = ports_by_table(50), ports_by_table(51)
        again = send(
            network,
            vm,
            far,
            "udp",
            many,
            beyond_ports=True,
            kept=True,
            port=_TIER_PORT,
            first_source_port=40000,
        )
        half_of_them = msgspec.structs.replace(again, lost=many - few)
        once_more = msgspec.structs.replace(again, forgotten=True)
        stages = (
            Stage((occupy(network, vm), again), _resized(network, lb, 50)),
            Stage((half_of_them,), _resized(network, lb, 51)),
            Stage((once_more,), _resized(network, lb, 49)),
        )

        expected = (
            f"from {many} to {few} ports: {few} flows go on from their ports, the others are silent; and back: no loss"
        )
        yield Trial(
            f"{vm.name}, pool of 50, 51 and 49",
            expected,
            stages,
            judge_by(partial(_halved_and_given_back, many=many, few=few)),
        )


def _halved_and_given_back(_settled: Occupied, *flows: Arrivals, many: int, few: int) -> Finding:
    before, grown, shrunk = (_by_number(arrivals) for arrivals in flows)
    same = [number for number, port in grown.items() if before.get(number) == port]
    observed = (
        f"{len(before)} flows; in the next tier {len(grown)} are heard of, {len(same)} from their port; "
        f"back in the first {len(shrunk)}"
    )
    if len(before) != many:
        return Finding(observed, f"{len(before)} flows arrived at first instead of {many}")
    if len(grown) != few or len(same) != few:
        return Finding(observed, f"{len(same)} flows kept their port instead of {few}")
    kept = [number for number in same if shrunk.get(number) == before[number]]
    if len(kept) != few:
        return Finding(observed, f"{few - len(kept)} flows were disturbed when the pool shrank")
    return Finding(observed, "" if len(shrunk) == many else f"{len(shrunk)} flows have a port again instead of {many}")


_TIER_PORT = 19000  # a destination port that no other experiment uses


def _by_number(arrivals: Arrivals) -> dict[int, int]:
    """Return the source port of each flow that arrived."""
    return {seen.number: seen.source_port for seen in arrivals.seen[-1]}


_CLASSIC_MOST = 400  # VMs, where the table of the classic page ends


def _redeployed(network: Network, service: CloudService, *, redeploying: bool) -> Network | None:
    """Return the network in which a service is being redeployed, or is not; None: it is so as it stands."""
    if service.redeploying == redeploying:
        return None
    made = msgspec.structs.replace(service, redeploying=redeploying)
    services = tuple(made if s is service else s for s in network.cloud_services)
    return msgspec.structs.replace(network, cloud_services=services)


@claim(
    "N-SN-5",
    f"{_CLASSIC}, size of the pool",
    "While a cloud service is redeployed or changed, its pool may be reported as up to twice as large as it is, so "
    "each instance has fewer ports for a while.",
    profiles=_CLASSIC_ONLY,
    facts=(
        "fewer ports meanwhile",
        "as of twice the pool",
        "as many as before afterwards",
    ),
)
def redeployed_service_counts_twice(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    if not hosts or network.overrides.snat_ports_per_vm:
        return
    host, goals = hosts[0]
    to = of_protocol(goals, "tcp")[:1]
    ways = {vm.name: way_out(network, vm).addresses for vm in network.virtual_machines}
    for service in network.cloud_services:
        mine = [vm for vm in sole_frontend(network) if vm.name in service.virtual_machines]
        vm = next((vm for vm in mine if vm.power_state == "Started"), None)
        if vm is None:
            continue
        size = sum(bool(addresses & ways[vm.name]) for addresses in ways.values())
        more = sum(bool(ways[name] & ways[vm.name]) for name in service.virtual_machines)
        if size + more > _CLASSIC_MOST or ports_by_table(size) == ports_by_table(size + more):
            continue
        many, few = ports_by_table(size), ports_by_table(size + more)
        stages = tuple(
            Stage(
                (occupy(network, vm, kept(network, to, ports + MORE, lost=MORE)),),
                _redeployed(network, service, redeploying=redeploying),
            )
            for ports, redeploying in ((many, False), (few, True), (many, False))
        )

        expected = (
            f"{many} flows to {host.name}:{to[0].port} with {size} VMs, {few} while they count for {size + more}, "
            f"and {many} after it"
        )
        yield Trial(
            f"{vm.name} of {service.name}",
            expected,
            stages,
            judge_by(partial(_fewer_meanwhile, wanted=(many, few, many))),
        )


def _fewer_meanwhile(*observations: Occupied, wanted: tuple[int, ...]) -> Finding:
    steps = [occupied.steps[0] for occupied in observations]
    observed = ", ".join(f"{when} {opened(step)}" for when, step in zip(_WHEN, steps, strict=True))
    each = [
        (when, wrong_number(step, ports, MORE) or shared(step))
        for when, step, ports in zip(_WHEN, steps, wanted, strict=True)
    ]
    return Finding(observed, "; ".join(f"{when} {wrong}" for when, wrong in each if wrong))


_WHEN = ("before:", "redeploying:", "after:")


@claim(
    "N-SN-6",
    f"{_OUTBOUND} (2019-05-02), scenario 3",
    "A standalone VM has the ports of a pool of one; in an availability set, those of a pool of the set's size.",
    profiles=_DEFAULT_AS_POOL,
    facts=(
        "a VM alone has the ports of a pool of one",
        "a set's VMs those of a pool of its size",
    ),
)
def standalone_vm_is_a_pool_of_one(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if far is None or network.overrides.snat_ports_per_vm:
        return
    standalone = of_kind(network, "default")
    sets: dict[str | None, int] = {}
    for vm in network.virtual_machines:
        sets[vm.availability_set] = sets.get(vm.availability_set, 0) + 1
    alone = [vm for vm in standalone if vm.availability_set is None][:1]
    grouped = sorted((vm for vm in standalone if vm.availability_set), key=lambda vm: -sets[vm.availability_set])[:1]
    for vm in (*alone, *grouped):
        together = sets[vm.availability_set] if vm.availability_set else 1
        # A set whose size makes no difference is judged with VMs added to it, which need not run.
        size = max(together, _LARGER) if vm.availability_set else 1
        larger = with_stopped(network, vm, size - together) if size > together else None
        ports = ports_by_table(size)
        flows = send(network, vm, far, "udp", ports + MORE, beyond_ports=True, lost=MORE)

        who = f"in an availability set of {size}" if vm.availability_set else "in no availability set"
        stage = Stage((occupy(network, vm), flows), larger)
        yield Trial(
            f"{vm.name}, {who}", f"{ports} ports", (stage,), judge_by(partial(_as_many_as_its_pool, ports=ports))
        )


def _as_many_as_its_pool(_0: Occupied, arrivals: Arrivals, *, ports: int) -> Finding:
    different = len({s.source_port for s in arrivals.seen[-1]})
    return Finding(arrived(arrivals), "" if different == ports else f"{different} ports instead of {ports}")


# --- shared how -------------------------------------------------------------------------------


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


# --- back when --------------------------------------------------------------------------------


@claim(
    "N-SN-10",
    f"{_CLASSIC}; {_OUTBOUND} (2019-05-02), SNAT port release",
    "A port comes back 240 seconds after FIN, 15 seconds after RST.",
    profiles=_CLOSING,
    facts=(
        "240 s after FIN",
        "15 s after RST",
        "not before",
    ),
)
def port_comes_back_after_closing(network: Network) -> Iterator[Trial]:
    limited, hosts = _limited(network), _tcp_goals(network)
    fin, rst = scaled(network, _FIN_S), scaled(network, _RST_S)
    if limited is None or not hosts or rst < _SHORTEST_S:
        return
    (vm, ports), (_, goals) = limited, hosts[0]
    usable = _usable(network, vm, ports)
    steps = (
        kept(network, goals[:1], usable),
        End(count=_FEW, how="fin"),
        End(count=_FEW, how="rst"),
        kept(network, goals[:1], _FEW, within_s=fin / 2),
        kept(network, goals[:1], _FEW, within_s=1.25 * fin),
        kept(network, goals[:1], _FEW, lost=_FEW),
        Talk(),
    )

    expected = (
        f"ports come back {rst:g} s after RST and {fin:g} s after FIN ({_RST_S} and {_FIN_S} s of the document), "
        "and not before"
    )
    yield held_trial(
        vm.name, expected, occupy(network, vm, *steps), partial(_back_in_time, usable=usable, rst=rst, fin=fin)
    )


def _back_in_time(steps: Sequence[Happened], *, usable: int, rst: float, fin: float) -> Finding:
    full, closing, resetting, after_rst, after_fin, more, alive = steps
    observed = (
        f"{opened(full)}; ports of {_FEW} closed by RST {again_after(after_rst, resetting)}, of {_FEW} closed by "
        f"FIN {again_after(after_fin, closing)}; then {opened(more)}"
    )
    closed, reset = full.seen[:_FEW], full.seen[_FEW : 2 * _FEW]
    wrong = wrong_number(full, usable)
    wrong = wrong or too_early(after_rst, resetting, rst) or wrong_number(after_rst, _FEW)
    wrong = wrong or too_early(after_fin, closing, fin) or wrong_number(after_fin, _FEW)
    wrong = wrong or too_late(after_rst, rst) or too_late(after_fin, fin)
    if not wrong and (sorted(after_rst.seen), sorted(after_fin.seen)) != (sorted(reset), sorted(closed)):
        wrong = "the ports that came back are not those of the flows that were closed"
    wrong = wrong or wrong_number(more, 0, _FEW)
    if not wrong and alive.answered != usable:
        wrong = f"{usable - alive.answered} flows ended that nobody closed"
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


# --- several frontends, precedence, blocks ----------------------------------------------------


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
    ports_preallocated_by_pool_size,
    basic_allocates_on_demand,
    ports_of_one_address,
    growing_pool_halves_the_ports,
    redeployed_service_counts_twice,
    standalone_vm_is_a_pool_of_one,
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
