"""outbound-rules.md and its overview: which frontends a rule uses, how many ports it gives, what is refused."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from lab.azure.model import Network, OutboundRule, VirtualMachine
from lab.flow import Transport
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import (
    MORE,
    held_trial,
    kept,
    occupy,
    of_protocol,
    opened,
    several_goals,
    shared,
    wrong_number,
)
from lab.verify.claims.kit.judges import arrived, judge_by, refused, send
from lab.verify.claims.kit.oracle import far_host, outbound_rules, speaking_freely, way_out
from lab.verify.claims.kit.ways import ways_trial
from lab.verify.experiment import Arrivals, Goal, Happened, Occupied

_OVERVIEW = "load-balancer-outbound-rules-overview.md (2018-09-24)"
_RULES = "outbound-rules.md (2024-04-11)"
_FAQ = "outbound-rules.md (2026-01-08)"
_KNOWN = ("2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_BLOCKS = ("2020-10", "2022-03", "2026-07")  # that rules take
_IN_TURN = ("2022-03",)
_FIRST_PORT, _BLOCK = 1024, 8


def _of_rules(network: Network) -> list[tuple[VirtualMachine, OutboundRule]]:
    """Return the VMs of one outbound rule and no other way out, with the rule."""
    free = [vm for vm in speaking_freely(network) if way_out(network, vm).kind == "rule"]
    found = [(vm, outbound_rules(network, vm.name)) for vm in free]
    return [(vm, rules[0][1]) for vm, rules in found if len(rules) == 1]


def _goal(network: Network, kind: str) -> tuple[Goal, ...]:
    return next((offered[:1] for _, goals in several_goals(network) if (offered := of_protocol(goals, kind))), ())


def _addresses(network: Network, vm: VirtualMachine, rule: OutboundRule) -> list[str]:
    ((lb, _),) = outbound_rules(network, vm.name)
    return sorted(str(lb.frontend(name).address) for name in rule.frontends)


@claim(
    "T-OR-1",
    f"{_OVERVIEW}, outbound rule",
    "An outbound rule has the flows of all VMs of its pool translated to its frontends.",
    profiles=_KNOWN,
    facts=(
        "flows leave by the rule's frontends",
        "those of all VMs of its pool",
        "a Basic load balancer has none",
        "an internal one has none",
    ),
)
def outbound_rule_translates_its_pool(network: Network) -> Iterator[Trial]:
    """Take two members of a pool, and what each VM of a rule is seen with."""
    by_rule: dict[str, list[VirtualMachine]] = {}
    for vm, rule in _of_rules(network):
        if len(rule.protocols) == 2:
            by_rule.setdefault(rule.name, []).append(vm)
    for name, vms in by_rule.items():
        if len(vms) > 1:
            yield from ways_trial(f"rule {name}", network, vms[:2])
            words, allowed = "only a Standard load balancer has its outbound SNAT configured", _file()
            yield refused(_file(sku="Basic"), "outbound rules of a Basic load balancer", words, allowed=allowed)
            text = _file().replace("f0: 40.1.1.1", "f0: {subnet: v/s, private_ip_address: 10.0.0.250}")
            words = "flows to the internet leave by public frontends"
            yield refused(text, "outbound rules of an internal load balancer", words, allowed=allowed)


@claim(
    "T-OR-3",
    f"{_OVERVIEW}, SNAT port allocation",
    "An outbound rule gives each VM as many ports as it says, and no more.",
    profiles=_KNOWN,
    facts=("as many ports as it says", "and no more"),
)
def rule_gives_as_many_ports_as_it_says(network: Network) -> Iterator[Trial]:
    """Open more flows to one destination than a VM has ports: UDP of each rule that gives a number, and TCP of one."""
    far, tcp = far_host(network), _goal(network, "tcp")
    for vm, rule in [(vm, rule) for vm, rule in _of_rules(network) if rule.ports and rule.protocols == ("tcp",)][:1]:
        steps = (kept(network, tcp, rule.ports), kept(network, tcp, MORE, lost=MORE))
        held = occupy(network, vm, *steps)
        expected = f"{rule.ports} flows to one destination, and no more"
        yield held_trial(f"{vm.name}, TCP", expected, held, partial(_held_as_many_as_said, rule=rule))
    for vm, rule in _of_rules(network):
        if far is None or not rule.ports or "udp" not in rule.protocols:
            continue
        flows = send(network, vm, far, "udp", rule.ports + MORE, beyond_ports=True, lost=MORE)

        expected = f"{rule.ports} flows to one destination, and no more"
        yield Trial(
            vm.name, expected, (Stage((occupy(network, vm), flows)),), judge_by(partial(_as_many_as_said, rule=rule))
        )


def _held_as_many_as_said(steps: Sequence[Happened], *, rule: OutboundRule) -> Finding:
    all_of_it, more = steps
    observed = f"{opened(all_of_it)}; then {opened(more)}"
    return Finding(observed, wrong_number(all_of_it, rule.ports) or shared(all_of_it) or wrong_number(more, 0, MORE))


def _as_many_as_said(_0: Occupied, arrivals: Arrivals, *, rule: OutboundRule) -> Finding:
    pairs = Counter((seen.source, seen.source_port) for seen in arrivals.seen[-1])
    wrong = len(pairs) != rule.ports or max(pairs.values()) > 1
    counted = f"{pairs.total()} flows from {len(pairs)} ports instead of {rule.ports}"
    return Finding(arrived(arrivals), counted if wrong else "")


@claim(
    "T-OR-9",
    f"load-balancer-outbound-connections.md (2022-03-01) and (2026-07-07); {_FAQ}",
    "Several frontends of an outbound rule are all used: one after the other (2022-03-01, 2026-01-08), or in no "
    "order (2026-07-07).",
    profiles=("2018-12", "2019-05", "2022-03", "2026-07"),
    facts=("several frontends are all used", "in 2022 one after the other"),
)
def all_frontends_of_a_rule_are_used(network: Network) -> Iterator[Trial]:
    """Open as many flows as there are ports on several frontends, and look at the order of their addresses."""
    far, tcp = far_host(network), _goal(network, "tcp")
    for vm, rule in _of_rules(network):
        addresses = _addresses(network, vm, rule)
        if far is None or len(addresses) < 2 or not rule.ports or "udp" not in rule.protocols:
            continue
        flows = send(network, vm, far, "udp", rule.ports, beyond_ports=True)
        each = rule.ports // len(addresses)

        order = "one after the other" if network.profile.name in _IN_TURN else "in any order"
        expected = f"from {' and '.join(addresses)}, {order}"
        yield Trial(
            vm.name,
            expected,
            (Stage((occupy(network, vm), flows)),),
            judge_by(partial(_frontends_used, addresses=addresses, each=each, network=network)),
        )
        held = occupy(network, vm, kept(network, tcp, rule.ports))
        wanted = partial(_frontends_of_tcp, addresses=addresses, each=each, network=network)
        yield held_trial(f"{vm.name}, TCP", expected, held, wanted)


def _frontends_of_tcp(steps: Sequence[Happened], *, addresses: list[str], each: int, network: Network) -> Finding:
    (happened,) = steps
    came = [seen.address for seen in happened.seen]
    wrong = wrong_number(happened, 2 * each) if len(addresses) == 2 else ""
    return Finding(opened(happened), wrong or _out_of_turn(came, addresses, each, network))


def _frontends_used(_0: Occupied, arrivals: Arrivals, *, addresses: list[str], each: int, network: Network) -> Finding:
    came = [seen.source for seen in sorted(arrivals.seen[-1], key=lambda seen: seen.number)]
    return Finding(arrived(arrivals), _out_of_turn(came, addresses, each, network))


def _out_of_turn(came: list[str], addresses: list[str], each: int, network: Network) -> str:
    """Return what contradicts that all addresses were used, and in which order, "" if nothing does."""
    if sorted(set(came)) != addresses:
        return f"seen from {', '.join(sorted(set(came))) or 'nowhere'}"
    if network.profile.name in _IN_TURN and len(set(came[:each])) > 1:
        return "a second address was used before the first was used up"
    return ""


@claim(
    "T-OR-13",
    f"{_OVERVIEW}, disabling outbound NAT",
    "Where a load-balancing rule disables outbound SNAT and no outbound rule is there, nothing leaves.",
    profiles=_KNOWN,
    facts=("such a rule gives no frontend", "nor is there a default address"),
)
def nothing_leaves_without_an_outbound_rule(network: Network) -> Iterator[Trial]:
    """Take a VM whose rules translate nothing."""
    for lb in network.load_balancers:
        named = {vm for r in lb.load_balancing_rules if r.disable_outbound_snat for vm in lb.targets(r)}
        quiet = [vm for vm in speaking_freely(network) if vm.name in named and way_out(network, vm).kind == "none"]
        if quiet:
            yield from ways_trial(quiet[0].name, network, quiet[:1])


@claim(
    "T-OR-14",
    f"{_OVERVIEW}, protocols",
    "An outbound rule has flows of its protocol translated: TCP, UDP, or both.",
    profiles=_KNOWN,
    facts=(
        "a rule for TCP translates no UDP",
        "a rule for UDP translates no TCP",
        "a rule for both translates both",
        "each protocol has all ports",
        "no ICMP leaves",
    ),
)
def outbound_rule_translates_its_protocol(network: Network) -> Iterator[Trial]:
    """Take a VM of a rule of each protocol alone, and one of a rule of both."""
    found: dict[tuple[Transport, ...], VirtualMachine] = {}
    for vm, rule in _of_rules(network):
        found.setdefault(rule.protocols, vm)
    if len(found) > 1:
        yield from ways_trial("rules by protocol", network, list(found.values()))
    far, tcp, udp = far_host(network), _goal(network, "tcp"), _goal(network, "udp")
    both = [(vm, rule) for vm, rule in _of_rules(network) if rule.ports and len(rule.protocols) == 2]
    for vm, rule in both[:1] if far is not None else ():
        assert far is not None
        held = occupy(network, vm, kept(network, tcp, rule.ports), kept(network, udp, rule.ports))
        expected = f"{rule.ports} TCP and {rule.ports} UDP flows at once"
        # Afterwards no port is held any more by its UDP flows, which nothing resets.
        stages = (Stage((held, occupy(network, vm))),)
        yield Trial(f"{vm.name}, both", expected, stages, judge_by(partial(_apart, rule=rule)))
        echo = send(network, vm, far, "icmp", 2, lost=2)
        yield Trial(f"{vm.name}, ICMP", "no echo request leaves", (Stage((echo,)),), judge_by(_nothing_left))


def _apart(held: Occupied, _0: Occupied, *, rule: OutboundRule) -> Finding:
    tcp, udp = held.steps
    observed = f"TCP: {opened(tcp)}; UDP: {opened(udp)}"
    return Finding(observed, wrong_number(tcp, rule.ports) or wrong_number(udp, rule.ports))


def _nothing_left(arrivals: Arrivals) -> Finding:
    left = [seen for of_it in arrivals.seen for seen in of_it]
    return Finding(arrived(arrivals), f"left from {left[0].source}" if left else "")


@claim(
    "T-OR-16",
    f"{_RULES}, introduction",
    "A VM with an address of its own does not follow the outbound rule of its pool.",
    profiles=_KNOWN,
    facts=("a VM with an address of its own leaves by it",),
)
def own_address_does_not_follow_the_rule(network: Network) -> Iterator[Trial]:
    """Take a VM with an address of its own in the pool of a rule."""
    owners = [vm for vm in speaking_freely(network) if vm.instance_public_ip and outbound_rules(network, vm.name)]
    if owners:
        yield from ways_trial(owners[0].name, network, owners[:1])


@claim(
    "T-OR-19",
    f"{_RULES}, scenario 2",
    "A load-balancing rule's port takes an aligned block of eight from the ports that an outbound rule gives.",
    profiles=_BLOCKS,
    facts=("a rule's port takes ports", "an aligned block of them", "rules in one block share it"),
)
def load_balancing_rule_takes_a_block_of_eight(network: Network) -> Iterator[Trial]:
    """Use up the ports of the VM in whose range a load-balancing rule's port is."""
    far = far_host(network)
    for vm, rule in _of_rules(network):
        ((lb, _),) = outbound_rules(network, vm.name)
        ports = {r.frontend_port for r in lb.rules() if r.frontend in rule.frontends and r.frontend_port >= _FIRST_PORT}
        blocked = {port // _BLOCK * _BLOCK + offset for port in ports for offset in range(_BLOCK)}
        first = lb.pool(rule.backend_pool).members.index(vm.name) == 0
        if far is None or not blocked or not first or not rule.ports:
            continue
        flows = send(network, vm, far, "udp", rule.ports, beyond_ports=True)

        wanted = frozenset(range(_FIRST_PORT, _FIRST_PORT + rule.ports + len(blocked))) - blocked
        expected = f"{rule.ports} ports, none of {min(blocked)}-{max(blocked)}"
        yield Trial(
            vm.name,
            expected,
            (Stage((occupy(network, vm), flows)),),
            judge_by(partial(_block_left_out, blocked=blocked, wanted=wanted)),
        )


def _block_left_out(_0: Occupied, arrivals: Arrivals, *, blocked: set[int], wanted: frozenset[int]) -> Finding:
    seen = {s.source_port for s in arrivals.seen[-1]}
    wrong = f"ports {sorted(seen & blocked)} were seen" if seen & blocked else ""
    if not wrong and not min(seen, default=0) < min(blocked) < max(seen, default=0):
        wrong = f"the ports seen are not around {min(blocked)}"
    if not wrong and seen != wanted:
        wrong = f"the ports seen are {min(seen)}-{max(seen)} instead of {min(wanted)}-{max(wanted)}"
    return Finding(arrived(arrivals), wrong)


# --- what is refused --------------------------------------------------------------------------


def _file(
    ports: int = 0, *, members: int = 1, frontends: int = 1, more: str = "", sku: str = "Standard", snat: str = "true"
) -> str:
    """Return a topology with an outbound rule and a load-balancing rule on its first frontend."""
    names = [f"vm{number}" for number in range(members)]
    addresses = [f"f{number}" for number in range(frontends)]
    return f"""\
name: chosen
profile: 2022-03
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{{", ".join(f"{name}: {{subnet: v/s}}" for name in names)}}}
load_balancers:
  lb:
    sku: {sku}
    frontend_ip_configurations: {{{", ".join(f"{name}: 40.1.1.{n}" for n, name in enumerate(addresses, start=1))}}}
    backend_address_pools: {{p: [{", ".join(names)}]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      r: {{frontend: f0, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80,
          disable_outbound_snat: {snat}}}
    outbound_rules:
      out: {{frontends: [{", ".join(addresses)}], backend_pool: p, allocated_outbound_ports: {ports}}}
{more}"""


_ALLOCATED = "SpecifiedAllocatedOutboundPortsForOutboundRule"


def _if_used(network: Network) -> bool:
    return any(lb.outbound_rules for lb in network.load_balancers)


@claim(
    "T-OR-2",
    f"{_OVERVIEW}, SNAT port allocation",
    "The number of ports that an outbound rule gives is a multiple of eight; others are refused.",
    profiles=_KNOWN,
    facts=("other numbers are refused",),
)
def ports_of_a_rule_are_a_multiple_of_eight(network: Network) -> Iterator[Trial]:
    for ports in (7, 1001) if _if_used(network) else ():
        words = f"{_ALLOCATED}IsNotAMultipleOfEight"
        yield refused(_file(ports), f"{ports} ports", words)


@claim(
    "T-OR-4",
    f"{_OVERVIEW}, SNAT port allocation",
    "More ports than the rule's addresses have for all VMs of the pool, 64,000 each less those that rules take, "
    "are refused.",
    profiles=_KNOWN,
    facts=("an address has 64,000", "for all VMs of the pool", "less those that rules take"),
)
def no_more_ports_than_the_addresses_have(network: Network) -> Iterator[Trial]:
    if not _if_used(network):
        return
    too_many = f"{_ALLOCATED}ExceedsTotalNumberOfAvailablePorts"
    yield refused(_file(10_000, members=7), "10,000 ports for 7 VMs", too_many)
    # 64,000 less a block of eight for the load-balancing rule, for ten VMs, in whole blocks.
    yield refused(_file(6400, members=10), "6,400 ports for 10 VMs", "total number of available ports 6392")
    yield refused(_file(25_600, members=3), "25,600 for 3 VMs", "total number of available ports 21328")
    per_rule = f"{_ALLOCATED}ExceedsTotalNumberOfAllowedPortsPerRule"
    yield refused(_file(64_008), "64,008 ports of one address", per_rule)


@claim(
    "T-OR-11",
    "Azure/AzLoadBalancerMigration#10 (2022-12-01)",
    "Two outbound rules on one frontend for one protocol are refused.",
    profiles=_KNOWN,
    facts=("two of one protocol are refused", "a rule of both protocols is one of each"),
)
def two_rules_of_one_frontend_are_refused(network: Network) -> Iterator[Trial]:
    words = "MoreThanOneOutboundRuleUsingSameFrontendIPConfigurationAndProtocolIsNotSupported"
    for protocol in ("All", "Tcp") if _if_used(network) else ():
        more = f"      second: {{frontends: [f0], backend_pool: p, protocol: {protocol}}}\n"
        yield refused(_file(more=more), f"All and {protocol} on one frontend", words)


@claim(
    "T-OR-12",
    f"{_OVERVIEW}, disabling outbound NAT",
    "A load-balancing rule on a frontend of an outbound rule must disable its own outbound SNAT.",
    profiles=_KNOWN,
    facts=("a load-balancing rule that translates as well is refused",),
)
def load_balancing_rule_must_disable_its_snat(network: Network) -> Iterator[Trial]:
    if _if_used(network):
        words = "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule"
        yield refused(_file(snat="false"), "a load-balancing rule that translates as well", words)


CLAIMS = (
    outbound_rule_translates_its_pool,
    ports_of_a_rule_are_a_multiple_of_eight,
    rule_gives_as_many_ports_as_it_says,
    no_more_ports_than_the_addresses_have,
    all_frontends_of_a_rule_are_used,
    two_rules_of_one_frontend_are_refused,
    load_balancing_rule_must_disable_its_snat,
    nothing_leaves_without_an_outbound_rule,
    outbound_rule_translates_its_protocol,
    own_address_does_not_follow_the_rule,
    load_balancing_rule_takes_a_block_of_eight,
)
