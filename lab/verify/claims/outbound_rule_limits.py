"""outbound-rules.md and the limits of load balancers: how large outbound rules and pools may be.

What is refused, and what a pool without a rule lets out.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import MORE, occupy
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, refused, send
from lab.verify.claims.kit.oracle import (
    far_host,
    outbound_rules,
    ports_by_table,
    speaking_freely,
    way_out,
    with_stopped,
)
from lab.verify.experiment import Arrivals, Observation

_OVERVIEW = "load-balancer-outbound-rules-overview.md (2018-09-24), SNAT port allocation"
_EGRESS = "egress-only.md (2024-09-06)"
_LIMITS = "load-balancer limits (2024-10-24)"
_RULES = "load-balancer-outbound-connections.md (2026-07-07)"
_KNOWN = ("2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_ALONE = ("2019-05", "2020-06", "2020-10", "2022-03", "2026-07")  # a pool without a rule has no way out
_FLOWS, _LARGER = 4, 51
_AVAILABLE = "total number of available ports"


def _singly(network: Network, *, by_table: bool = False) -> list[VirtualMachine]:
    """Return the VMs of one outbound rule, alone in its pool and on its one frontend; of one without a number."""
    found = []
    for vm in speaking_freely(network):
        rules = outbound_rules(network, vm.name)
        if way_out(network, vm).kind != "rule" or len(rules) != 1:
            continue
        ((lb, rule),) = rules
        alone = lb.pool(rule.backend_pool).members == (vm.name,) and len(rule.frontends) == 1
        inbound = any(r.frontend in rule.frontends for r in lb.rules())
        if alone and not inbound and len(rule.protocols) == 2 and (rule.ports == 0) >= by_table:
            found.append(vm)
    return found


@claim(
    "T-OR-5",
    "MicrosoftDocs/azure-docs#36809 (2019-08)",
    "The number of available ports in a refusal is rounded down to eight for each VM.",
    profiles=_KNOWN,
    facts=("rounded down to eight", "for each VM"),
)
def available_ports_are_told_in_eights(network: Network) -> Iterator[Trial]:
    # 64,000 for each address, less eight for the load-balancing rule, for all VMs.
    for members, addresses, left in ((3, 1, 21_328), (10, 1, 6392), (7, 2, 18_280)) if _used(network) else ():
        text, allowed = (_file(members, addresses, ports) for ports in (left + 8, left))
        what = f"{left + 8} ports for {members} VMs of {addresses} addresses"
        yield refused(text, what, f"{_AVAILABLE} {left}", allowed=allowed)


@claim(
    "T-OR-6",
    f"{_OVERVIEW}; {_RULES}",
    "A number of 0 is the table's, by the size of the pool.",
    profiles=_KNOWN,
    facts=("as many as the table says", "by the size of the pool"),
)
def no_number_is_that_of_the_table(network: Network) -> Iterator[Trial]:
    """Use up the ports of a VM that is alone in its pool, and of one of a larger pool whose other VMs are stopped."""
    far = far_host(network)
    for vm in _singly(network, by_table=True)[:1] if far is not None else ():
        assert far is not None
        larger = _grown(network, vm)
        stages = []
        for size, state in ((1, None), (_LARGER, larger)):
            asked = network if state is None else state
            count = ports_by_table(size) + MORE
            flows = send(asked, vm, far, "udp", count, beyond_ports=True, lost=MORE)
            stages.append(Stage((occupy(asked, vm), flows), state))
        expected = f"{ports_by_table(1)} ports alone, {ports_by_table(_LARGER)} in a pool of {_LARGER}"
        yield Trial(vm.name, expected, tuple(stages), judge_by(_as_the_table_says))


def _grown(network: Network, vm: VirtualMachine) -> Network:
    """Return the network with so many VMs more in a VM's pools, which are stopped."""
    more = with_stopped(network, vm, _LARGER - 1)
    names = tuple(other.name for other in more.virtual_machines if other.name.startswith("more"))
    balancers = tuple(
        msgspec.structs.replace(
            lb,
            pools=tuple(
                msgspec.structs.replace(pool, members=(*pool.members, *names)) if pool.members == (vm.name,) else pool
                for pool in lb.pools
            ),
        )
        for lb in more.load_balancers
    )
    return msgspec.structs.replace(more, load_balancers=balancers)


def _as_the_table_says(*observations: Observation) -> Finding:
    alone, among = (
        {(seen.source, seen.source_port) for seen in arrivals.seen[-1]} for arrivals in of_type(observations, Arrivals)
    )
    wanted = ports_by_table(1), ports_by_table(_LARGER)
    observed = f"{len(alone)} ports alone, {len(among)} in a pool of {_LARGER}"
    wrong = (len(alone), len(among)) != wanted
    return Finding(observed, f"{observed} instead of {wanted[0]} and {wanted[1]}" if wrong else "")


@claim(
    "T-OR-8",
    _RULES,
    "A pool does not grow beyond what the numbers of its outbound rule allow.",
    profiles=_KNOWN,
    facts=("a VM too many is refused",),
)
def pool_does_not_outgrow_its_rule(network: Network) -> Iterator[Trial]:
    for members in (2, 4) if _used(network) else ():
        ports = (64_000 - 8) // members // 8 * 8
        text, allowed = (_file(count, 1, ports) for count in (members + 1, members))
        yield refused(text, f"{members + 1} VMs with {ports} ports each", _AVAILABLE, allowed=allowed)


@claim(
    "T-OR-20",
    _EGRESS,
    "Belonging to a pool gives no outbound until an outbound rule is there; new flows then leave at once.",
    profiles=_ALONE,
    facts=("nothing leaves before", "flows leave once the rule is there"),
)
def flows_leave_once_a_rule_is_there(network: Network) -> Iterator[Trial]:
    """Take the outbound rules away, and give them back while the lab runs."""
    far = far_host(network)
    for vm in _singly(network)[:1] if far is not None else ():
        assert far is not None
        balancers = tuple(msgspec.structs.replace(lb, outbound_rules=()) for lb in network.load_balancers)
        without = msgspec.structs.replace(network, load_balancers=balancers)
        before = Stage(tuple(send(without, vm, far, p, _FLOWS, lost=_FLOWS) for p in ("tcp", "udp")), without)
        after = Stage(tuple(send(network, vm, far, p, _FLOWS) for p in ("tcp", "udp")))
        way = way_out(network, vm)
        expected = f"nothing leaves, and then by {way}"
        found = partial(_once_there, addresses=way.addresses)
        yield Trial(vm.name, expected, (before, after), judge_by(found))


def _once_there(*observations: Observation, addresses: frozenset[str]) -> Finding:
    came: Sequence[Arrivals] = of_type(observations, Arrivals)
    before, after = came[:2], came[2:]
    observed = f"before: {'; '.join(map(arrived, before))}; then: {'; '.join(map(arrived, after))}"
    left = [seen.source for arrivals in before for of_it in arrivals.seen for seen in of_it]
    if left:
        return Finding(observed, f"left from {left[0]} without an outbound rule")
    for arrivals in after:
        sources = {seen.source for seen in arrivals.seen[-1]}
        if len(arrivals.seen[-1]) < arrivals.sent:
            return Finding(observed, f"{arrivals.sent - len(arrivals.seen[-1])} flows did not leave by the rule")
        if sources - addresses:
            return Finding(observed, f"seen from {', '.join(sorted(sources - addresses))}")
    return Finding(observed)


@claim(
    "T-OR-22",
    _LIMITS,
    "A load balancer has at most 600 outbound rules and 600 frontends.",
    profiles=_KNOWN,
    facts=("601 outbound rules are refused", "601 frontends are refused"),
)
def limits_of_a_load_balancer(network: Network) -> Iterator[Trial]:
    if _used(network):
        text, allowed = (_many(rules, 301) for rules in (601, 600))
        yield refused(text, "601 outbound rules", "at most 600 outbound rules", allowed=allowed)
        text, allowed = (_many(1, frontends) for frontends in (601, 600))
        yield refused(text, "601 frontends", "at most 600 frontends", allowed=allowed)


# --- files that are refused -------------------------------------------------------------------


def _used(network: Network) -> bool:
    return any(lb.outbound_rules for lb in network.load_balancers)


_FILE = """\
name: chosen
profile: 2022-03
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{{machines}}}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {{{frontends}}}
    backend_address_pools: {{p: [{members}]}}
    probes: {{alive: {{port: 80}}}}
"""


def _begin(members: int, addresses: int) -> str:
    names = [f"vm{number}" for number in range(members)]
    return _FILE.format(
        machines=", ".join(f"{name}: {{subnet: v/s}}" for name in names),
        frontends=", ".join(f"f{number}: 40.1.{number // 250 + 1}.{number % 250 + 1}" for number in range(addresses)),
        members=", ".join(names),
    )


def _file(members: int, addresses: int, ports: int) -> str:
    """Return a topology with an outbound rule, and a load-balancing rule on its first frontend."""
    frontends = ", ".join(f"f{number}" for number in range(addresses))
    return f"""\
{_begin(members, addresses)}\
    load_balancing_rules:
      r: {{frontend: f0, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80,
          disable_outbound_snat: true}}
    outbound_rules:
      out: {{frontends: [{frontends}], backend_pool: p, allocated_outbound_ports: {ports}}}
"""


def _many(rules: int, frontends: int) -> str:
    """Return a topology with many outbound rules, two for each frontend."""
    listed = "".join(
        f"      o{number}: {{frontends: [f{number // 2}], backend_pool: p, protocol: {('Tcp', 'Udp')[number % 2]}}}\n"
        for number in range(rules)
    )
    return f"{_begin(1, frontends)}    outbound_rules:\n{listed}"


CLAIMS = (
    available_ports_are_told_in_eights,
    no_number_is_that_of_the_table,
    pool_does_not_outgrow_its_rule,
    flows_leave_once_a_rule_is_there,
    limits_of_a_load_balancer,
)
