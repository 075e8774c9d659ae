"""How many SNAT ports a VM has, by the size of its pool."""

from collections.abc import Iterator
from functools import partial

import msgspec

from lab.azure.model import CloudService, LoadBalancer, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import (
    MORE,
    kept,
    occupy,
    of_protocol,
    opened,
    several_goals,
    shared,
    wrong_number,
)
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, send, wrong_source
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_host,
    of_kind,
    ports_by_table,
    sole_frontend,
    way_out,
    with_stopped,
)
from lab.verify.experiment import Arrivals, Observation, Occupied

_OUTBOUND = "load-balancer-outbound-connections.md"
_STANDARD = "load-balancer-standard-overview.md (2017-09-28)"
_CLASSIC = "load-balancer-outbound-connections-classic.md (2018-07-13)"
#: Revisions, by what they state.
_BY_TABLE = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_CLASSIC_ONLY = ("2018-07-classic",)
_TIERS_GROW = ("2018-02", "2018-07-classic", "2018-12", "2019-05", "2020-06")
_DEFAULT_AS_POOL = ("2019-05", "2020-06", "2020-10")
_MOST = 64511  # 65,535 - 1,024
_LARGER = 51  # VMs: the first size of a pool at which each has fewer ports
_AT_ONCE = 32000  # flows of one experiment whose source ports all differ


def _balancers(network: Network, vm: VirtualMachine) -> list[LoadBalancer]:
    addresses = way_out(network, vm).addresses
    return [lb for lb in network.balancers if any(str(f.address) in addresses for f in lb.frontends)]


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


CLAIMS = (
    ports_preallocated_by_pool_size,
    basic_allocates_on_demand,
    ports_of_one_address,
    growing_pool_halves_the_ports,
    redeployed_service_counts_twice,
    standalone_vm_is_a_pool_of_one,
)
