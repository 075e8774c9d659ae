"""Outbound connections (2017-05-31): SNAT ports, what they are unique for, what happens when there are none left."""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.exhaustion import ADDRESS_ONLY, FEW_PORTS, exhaustion_of, limited
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
from lab.verify.claims.kit.judges import judge_by, of_type, refused, send
from lab.verify.claims.kit.oracle import (
    far_host,
    pooled,
    ports_by_table,
    scaled,
    sole_frontend,
    with_stopped,
)
from lab.verify.experiment import (
    Arrivals,
    End,
    Happened,
    Observation,
    Occupied,
    Open,
    ShowPorts,
    Talk,
)

_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
_IDLE_S = 240  # Outbound connections, 2017-05-31: 4-minute idle timeout


@claim(
    "S2-5",
    f"{_OUTBOUND_2017}, SNAT ports",
    "Each flow to one destination address takes one SNAT port, whatever its destination port and protocol.",
    profiles=ADDRESS_ONLY,
    facts=(
        "a port for each flow to one address",
        "whatever the destination port",
        "whatever the protocol",
        "of a standalone VM, too",
    ),
)
def one_port_for_each_flow_to_an_address(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    for vm, ports in limited(network) if hosts else ():
        host, goals = hosts[0]

        kinds = ", ".join(f"{goal.port}/{goal.kind}" for goal in goals)
        expected = f"{ports} flows to {host.name} at {kinds} together, a port for each; more meet silence"
        flows = occupy(network, vm, kept(network, goals, ports + MORE, lost=MORE))
        yield held_trial(vm.name, expected, flows, partial(_a_port_each, ports=ports))


def _a_port_each(steps: Sequence[Happened], *, ports: int) -> Finding:
    return Finding(opened(steps[0]), wrong_number(steps[0], ports, MORE) or shared(steps[0]))


@claim(
    "S2-6",
    f"{_OUTBOUND_2017}, SNAT ports",
    "Flows to different destination addresses take one port for each: the same ports serve every destination.",
    profiles=ADDRESS_ONLY,
    facts=("the same ports serve another address", "of a standalone VM, too"),
)
def ports_serve_every_destination(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    for vm, ports in limited(network) if len(hosts) > 1 else ():
        steps = [kept(network, goals, ports) for _, goals in hosts[:2]]

        names = " and ".join(host.name for host, _ in hosts[:2])
        expected = f"{ports} flows each to {names}, from the same {ports} ports"
        yield held_trial(
            vm.name, expected, occupy(network, vm, *steps), partial(_all_ports_at_each_address, ports=ports)
        )


def _all_ports_at_each_address(steps: Sequence[Happened], *, ports: int) -> Finding:
    first, second = steps
    both = len({s.port for s in first.seen} & {s.port for s in second.seen})
    observed = f"{opened(first)}; then {opened(second)}; {both} ports at both"
    wrong = wrong_number(first, ports) or wrong_number(second, ports) or shared(first) or shared(second)
    return Finding(observed, wrong or ("" if both == ports else f"{both} ports serve both destinations"))


@claim(
    "S2-7",
    f"{_OUTBOUND_2017}, SNAT ports",
    "When the ports are exhausted, new flows fail until existing ones release theirs; live flows are undisturbed.",
    profiles=ADDRESS_ONLY,
    facts=(
        "without a free port a new flow fails",
        "live flows are undisturbed",
        "a release makes room",
        "of a standalone VM, too",
    ),
)
def new_flows_fail_without_free_ports(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    for vm, ports in limited(network) if hosts else ():
        host, goals = hosts[0]
        more = kept(network, goals[:1], FEW_PORTS)
        beyond = msgspec.structs.replace(more, lost=FEW_PORTS)
        steps = (kept(network, goals[:1], ports), beyond, Talk(), End(count=FEW_PORTS, how="rst"), more, Talk())

        expected = f"with {ports} flows to {host.name} open, more meet silence; live ones go on; a release makes room"
        yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_new_fail_and_live_go_on, ports=ports))


def _new_fail_and_live_go_on(steps: Sequence[Happened], *, ports: int) -> Finding:
    full, beyond, alive, _, again, all_alive = steps
    observed = f"{opened(full)}; {opened(beyond)}; live flows: {opened(alive)}; after a release: {opened(again)}"
    wrong = wrong_number(full, ports) or wrong_number(beyond, 0, FEW_PORTS)
    if not wrong and alive.answered != ports:
        wrong = f"of {ports} live flows {alive.answered} were left"
    wrong = wrong or wrong_number(again, FEW_PORTS)
    if not wrong and all_alive.answered != ports:
        wrong = f"of {ports} live flows {all_alive.answered} were left after a release"
    return Finding(observed, wrong)


@claim(
    "S2-8",
    f"{_OUTBOUND_2017}, SNAT ports; load-balancer-monitor-log.md (2015-12-11)",
    "Exhausted ports are told of by an alert in the load balancer's log.",
    profiles=ADDRESS_ONLY,
    facts=("exhaustion raises an alert", "not before", "the alert names the address", "of a standalone VM, too"),
)
def alert_tells_of_exhausted_ports(network: Network) -> Iterator[Trial]:
    for vm, ports in limited(network):
        yield from exhaustion_of(network, vm, ports, lambda _record: "")


@claim(
    "S2-9",
    f"{_OUTBOUND_2017}, SNAT ports",
    "A 4-minute idle timeout gives SNAT ports back.",
    profiles=ADDRESS_ONLY,
    facts=("after four minutes", "not before", "not of flows that are used", "of a standalone VM, too"),
)
def idle_timeout_gives_ports_back(network: Network) -> Iterator[Trial]:
    hosts, idle = several_goals(network), scaled(network, _IDLE_S)
    for vm, ports in limited(network) if hosts and idle >= 2 else ():
        host, offered = hosts[0]
        goals = of_protocol(offered, "tcp")  # a datagram of a dead flow would begin a new one
        used = ports // 2
        steps = (
            kept(network, goals, used),
            Open(goals=goals, count=ports - used),
            # UDP, since the far side holds on to the TCP connections whose end it did not hear of.
            Open(goals=of_protocol(offered, "udp"), count=ports - used, within_s=1.5 * idle),
            Talk(first=used),
            Talk(lost=ports - used),
        )

        expected = (
            f"ports of flows to {host.name} that are idle serve new flows after {idle:g} s ({_IDLE_S} s of the "
            "document), and not before; flows that are used live on"
        )
        yield held_trial(
            vm.name,
            expected,
            occupy(network, vm, *steps),
            partial(_given_back_when_idle, ports=ports, used=used, idle=idle),
        )


def _given_back_when_idle(steps: Sequence[Happened], *, ports: int, used: int, idle: float) -> Finding:
    using, idling, again, alive, all_alive = steps
    others = all_alive.answered - alive.answered
    observed = (
        f"{opened(using)}, {opened(idling)}; ports of idle flows {again_after(again, idling)}; then "
        f"{alive.answered} and {others} are alive"
    )
    wrong = wrong_number(using, used) or wrong_number(idling, ports - used)
    wrong = wrong or too_early(again, idling, idle) or wrong_number(again, ports - used)
    wrong = wrong or too_late(again, idle)
    if not wrong and alive.answered != used:
        wrong = f"{used - alive.answered} flows were gone that had been used"
    if not wrong and others != again.answered:
        wrong = f"{others - again.answered} idle flows are alive"
    return Finding(observed, wrong)


_CHOSEN = """\
name: chosen
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
load_balancers:
  lb1:
    frontend_ip_configurations: {f: 40.1.1.1}
    backend_address_pools: {p: [vm]}
    probes: {alive: {port: 80}}
    load_balancing_rules:
      r: {frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
"""
_RULES = """\
    load_balancing_rules:
      r: {frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
    outbound_rules:
      o: {frontends: [f], backend_pool: p, protocol: All, allocated_outbound_ports: 64}
"""
#: Every place of a file where a number of ports could be asked for: what is written there, and how it is refused.
_PORTS_ASKED = (
    ("a load-balancing rule", "backend_port: 80}", "backend_port: 80, allocated_outbound_ports: 64}"),
    ("a load balancer", "  lb1:\n", "  lb1:\n    allocated_outbound_ports: 64\n"),
    ("a VM", "{vm: {subnet: v/s}}", "{vm: {subnet: v/s, allocated_outbound_ports: 64}}"),
    ("a virtual network", "{v: {", "{v: {allocated_outbound_ports: 64, "),
    ("an outbound rule", _CHOSEN[_CHOSEN.index("    load_balancing_rules") :], _RULES),
)
_LARGER = 51  # VMs: the first size at which each has fewer ports


def _in_one(network: Network, vm: VirtualMachine) -> bool:
    """Tell whether a VM is in one pool of all load balancers."""
    return sum(vm.name in pool.members for lb in network.load_balancers for pool in lb.pools) == 1


def _sized(network: Network, vm: VirtualMachine, size: int) -> Network:
    """Return the network with so many VMs in the pool of a VM, and as many ports as the documents say.

    Those that are added are stopped: they are members, and no more than that.
    """
    (balancer,) = [lb for lb in network.load_balancers if lb in pooled(network, vm.name)]
    (pool,) = [pool for pool in balancer.pools if vm.name in pool.members]
    larger = with_stopped(network, vm, max(0, size - len(pool.members)))
    more = larger.virtual_machines[len(network.virtual_machines) :]
    members = (*pool.members, *(other.name for other in more))[:size]
    resized = msgspec.structs.replace(pool, members=members)
    pools = tuple(resized if other is pool else other for other in balancer.pools)
    changed = msgspec.structs.replace(balancer, pools=pools)
    return msgspec.structs.replace(
        larger,
        load_balancers=tuple(changed if lb is balancer else lb for lb in network.load_balancers),
        overrides=msgspec.structs.replace(network.overrides, snat_ports_per_vm=None),
    )


@claim(
    "S2-18",
    f"{_OUTBOUND_2017}, SNAT ports",
    "How many SNAT ports there are depends on the size of the pool, and cannot be configured.",
    profiles=("seeds", "2017-05b"),
    facts=("the number depends on the size of the pool", "it is told", "it cannot be configured"),
)
def pool_size_decides_the_ports(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    vm = next(
        (vm for vm in sole_frontend(network) if network.service_of(vm.name) is None and _in_one(network, vm)), None
    )
    if vm is None or far is None or not network.overrides.snat_ports_per_vm:
        return  # elsewhere the same rules play the same figures
    sizes = (1, _LARGER)
    stages = tuple(
        Stage(
            (
                occupy(network, vm, ShowPorts()),
                send(network, vm, far, "udp", ports_by_table(n) + MORE, beyond_ports=True, lost=MORE),
            ),
            _sized(network, vm, n),
        )
        for n in sizes
    )

    expected = ", ".join(f"{ports_by_table(n)} ports in a pool of {n}" for n in sizes)
    yield Trial(
        vm.name, f"{expected}; `lab ports` says so", stages, judge_by(partial(_ports_by_pool_size, sizes=sizes))
    )
    for place, old, new in _PORTS_ASKED:
        text, key = _CHOSEN.replace(old, new), "outbound_rules" if new is _RULES else "allocated_outbound_ports"
        yield refused(text, f"choosing the number of ports in {place}", key, allowed=_CHOSEN)


def _ports_by_pool_size(*observations: Observation, sizes: tuple[int, int]) -> Finding:
    told = [sorted({used.allocated for used in shown.steps[0].used}) for shown in of_type(observations, Occupied)]
    seen = [len({s.source_port for s in flows.seen[-1]}) for flows in of_type(observations, Arrivals)]
    observed = "; ".join(
        f"{n} VMs: {ports} ports were seen, `lab ports` says {allocated}"
        for n, ports, allocated in zip(sizes, seen, told, strict=True)
    )
    wrong = next(
        (
            f"{ports} ports were seen with {n} VMs instead of {ports_by_table(n)}"
            for n, ports in zip(sizes, seen, strict=True)
            if ports != ports_by_table(n)
        ),
        "",
    )
    if not wrong and told != [[ports] for ports in seen]:
        wrong = f"`lab ports` says {told}"
    return Finding(observed, wrong)


@claim(
    "S2-19",
    f"{_OUTBOUND_2017}, SNAT ports",
    "The number of SNAT ports is not the number of connections.",
    profiles=ADDRESS_ONLY,
    facts=("more flows than ports", "ports and flows are counted apart", "of a standalone VM, too"),
)
def ports_are_not_connections(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    for vm, ports in limited(network) if len(hosts) > 1 else ():
        first_host, second_host = (kept(network, goals[:1], ports) for _, goals in hosts[:2])
        steps = (first_host, second_host, ShowPorts())

        expected = f"{2 * ports} flows to two hosts from {ports} ports"
        yield held_trial(
            vm.name, expected, occupy(network, vm, *steps), partial(_more_flows_on_the_same_ports, ports=ports)
        )


def _more_flows_on_the_same_ports(steps: Sequence[Happened], *, ports: int) -> Finding:
    first, second, shown = steps
    different = len({source.port for source in (*first.seen, *second.seen)})
    flows = sum(used.flows for used in shown.used)
    most = max((used.ports for used in shown.used), default=0)
    observed = (
        f"{first.answered + second.answered} flows from {different} ports; `lab ports`: {flows} flows, {most} ports"
    )
    wrong = wrong_number(first, ports) or wrong_number(second, ports)
    if not wrong and different != ports:
        wrong = f"{different} ports were seen for {2 * ports} flows"
    if not wrong and (flows, most) != (2 * ports, ports):
        wrong = f"`lab ports` says {flows} flows and {most} ports"
    return Finding(observed, wrong)


CLAIMS = (
    one_port_for_each_flow_to_an_address,
    ports_serve_every_destination,
    new_flows_fail_without_free_ports,
    alert_tells_of_exhausted_ports,
    idle_timeout_gives_ports_back,
    pool_size_decides_the_ports,
    ports_are_not_connections,
)
