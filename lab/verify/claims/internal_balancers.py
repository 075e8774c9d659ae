"""components.md, load-balancer-troubleshoot-backend-traffic.md and load-balancer-ha-ports-overview.md.

Private frontends: who reaches them, what a member sees of its own, who has a way out, and rules for all ports.
"""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import Frontend, LoadBalancer, LoadBalancingRule, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.claims.kit.oracle import far_client, speaking_freely, way_out
from lab.verify.claims.kit.ways import ways_trial
from lab.verify.experiment import Answers, Ask

_COMPONENTS = "components.md (2020-06-04)"
_HAIRPIN = "load-balancer-troubleshoot-backend-traffic.md (2022-03-02)"
_OUTBOUND = "outbound-rules.md (2026-01-08)"
_HA = "load-balancer-ha-ports-overview.md (2023-05-03)"
_ERRORS = "load-balancer-common-deployment-errors.md (2024-06-26)"
_STANDARD = "load-balancer-standard-overview.md (2017-09-28)"

#: Revisions in which there is an internal Standard load balancer; the seeds play it by the newest of them.
_KNOWN = ("seeds", "2017-09", "2018-02", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_FLOWS, _HAIRPINS = 12, 24
_SILENT_S = 1.0  # a connection that is lost is given up after so long


def _private_rules(network: Network) -> Iterator[tuple[LoadBalancer, Frontend, LoadBalancingRule]]:
    """Yield the rules for one TCP port at private frontends."""
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            frontend = lb.frontend(rule.frontend)
            if frontend.subnet and rule.protocol == "tcp" and rule.frontend_port and not rule.floating_ip:
                yield lb, frontend, rule


def _members(network: Network, lb: LoadBalancer, rule: LoadBalancingRule) -> list[VirtualMachine]:
    names = lb.pool(rule.backend_pool).members
    return [vm for vm in network.virtual_machines if vm.name in names]


def _says(vm: VirtualMachine, port: int) -> bool:
    return any((s.kind, s.port) == ("http", port) for s in vm.services)


def _clients(network: Network, lb: LoadBalancer, home: str) -> list[VirtualMachine]:
    """Return the VMs of a network that are no members, which no group of a user's narrows."""
    members = lb.virtual_machines()
    return [vm for vm in speaking_freely(network) if vm.virtual_network == home and vm.name not in members]


def _ask(client: str, frontend: Frontend, port: int, count: int) -> Ask:
    return Ask(client=client, address=str(frontend.address), port=port, kind="http", count=count, timeout_s=_SILENT_S)


@claim(
    "T-IL-1",
    _COMPONENTS,
    "A private frontend is an address of a subnet: VMs of the network reach it, and no host of the internet does.",
    profiles=_KNOWN,
    facts=("VMs of the network reach it", "hosts outside do not", "its address is one that the subnet gives"),
)
def private_frontend_is_reached_from_inside(network: Network) -> Iterator[Trial]:
    outside = far_client(network)
    for lb, frontend, rule in list(_private_rules(network))[:1]:
        inside = _clients(network, lb, frontend.virtual_network)
        members = _members(network, lb, rule)
        if outside is None or not inside or not all(_says(vm, rule.backend_port) for vm in members):
            continue
        asks = (
            _ask(inside[0].name, frontend, rule.frontend_port, _FLOWS),
            _ask(outside.name, frontend, rule.frontend_port, 2),
        )
        names = frozenset(vm.name for vm in members)
        yield Trial(
            f"{lb.name}, {frontend.address}",
            f"{inside[0].name} is answered by {' and '.join(sorted(names))}, {outside.name} by nothing",
            (Stage(asks),),
            judge_by(partial(_inside_only, names=names)),
        )
    if any(True for _ in _private_rules(network)):
        good = _FILE.format(subnet="vnet1/front", address="10.1.0.100")
        for address in ("10.1.0.3", "10.1.0.255", "10.1.1.4"):
            wrong = _FILE.format(subnet="vnet1/front", address=address)
            yield refused(wrong, f"a frontend at {address}", "none of the addresses that subnet", allowed=good)


def _inside_only(inside: Answers, outside: Answers, *, names: frozenset[str]) -> Finding:
    seen = {a.node for a in inside.answers if a.outcome == "answered"}
    observed = f"inside: {outcomes(inside)}, by {', '.join(sorted(seen)) or 'none'}; outside: {outcomes(outside)}"
    if any(a.outcome != "answered" for a in inside.answers) or seen != names:
        return Finding(observed, "the VM is not answered by all members")
    told = any(a.outcome != "timeout" for a in outside.answers)
    return Finding(observed, "the host outside is answered" if told else "")


@claim(
    "T-IL-2",
    _COMPONENTS,
    "Members of an internal load balancer see the client's own address, and it is answered from the frontend.",
    profiles=_KNOWN,
    facts=("members see the client's address", "flows to the frontend are answered there"),
)
def client_address_is_kept(network: Network) -> Iterator[Trial]:
    for lb, frontend, rule in list(_private_rules(network))[:1]:
        inside = _clients(network, lb, frontend.virtual_network)
        if inside and all(_says(vm, rule.backend_port) for vm in _members(network, lb, rule)):
            own = str(inside[0].private_ip_address)
            yield Trial(
                f"{lb.name}/{rule.name}",
                f"members see {own}, and it is answered from {frontend.address}:{rule.frontend_port}",
                (Stage((_ask(inside[0].name, frontend, rule.frontend_port, _FLOWS),)),),
                judge_by(partial(_own_address_seen, own=own)),
            )


def _own_address_seen(found: Answers, *, own: str) -> Finding:
    seen = sorted({a.client_address for a in found.answers if a.client_address})
    observed = f"{outcomes(found)}; members saw {', '.join(seen) or 'nothing'}"
    if any(a.outcome != "answered" for a in found.answers):
        return Finding(observed, "not every flow was answered from the frontend")
    return Finding(observed, "" if seen == [own] else "members saw another address")


@claim(
    "T-IL-3",
    _HAIRPIN,
    "A member that connects to its own frontend is answered if another member is picked, and never if it is itself: "
    "behind a pool of one, none of its flows is.",
    profiles=_KNOWN,
    facts=("some of a member's flows are answered by the others", "those that are led to itself are lost in silence"),
)
def member_is_not_led_to_itself(network: Network) -> Iterator[Trial]:
    for lb, frontend, rule in _private_rules(network):
        members = _members(network, lb, rule)
        if not members or not all(_says(vm, rule.backend_port) for vm in members):
            continue
        first, others = members[0], frozenset(vm.name for vm in members[1:])
        by = f"answered by {' and '.join(sorted(others))} or not at all, both seen" if others else "never answered"
        yield Trial(
            f"{first.name} of {len(members)} behind {lb.name}",
            by,
            (Stage((_ask(first.name, frontend, rule.frontend_port, _HAIRPINS if others else 4),)),),
            judge_by(partial(_never_itself, others=others)),
        )


def _never_itself(found: Answers, *, others: frozenset[str]) -> Finding:
    seen = {a.node for a in found.answers if a.outcome == "answered"}
    silent = sum(a.outcome == "timeout" for a in found.answers)
    observed = f"{outcomes(found)}; by {', '.join(sorted(seen)) or 'none'}"
    if seen != others:
        return Finding(observed, "it is not answered by just the others")
    if not silent or any(a.outcome == "refused" for a in found.answers):
        return Finding(observed, "no flow that is led to itself is lost in silence")
    return Finding(observed)


@claim(
    "T-IL-4",
    f"{_OUTBOUND}; {_STANDARD}",
    "Members of an internal Standard load balancer have no way out, those of an internal Basic one have the default.",
    profiles=_KNOWN,
    facts=("a Standard one takes the default away", "a Basic one does not"),
)
def internal_balancer_gives_no_way_out(network: Network) -> Iterator[Trial]:
    found: dict[str, VirtualMachine] = {}
    for lb, _, rule in _private_rules(network):
        for vm in _members(network, lb, rule):
            if vm in speaking_freely(network) and way_out(network, vm).kind in ("none", "default"):
                found.setdefault(lb.sku, vm)
    if found:
        yield from ways_trial("members by SKU", network, list(found.values()))


@claim(
    "T-IL-8",
    _HA,
    "An HA-ports rule leads every port of TCP and UDP to its members and leaves the port as it is; it is of an "
    "internal Standard load balancer alone.",
    profiles=_KNOWN,
    facts=("TCP ports are led to members", "UDP ports are, too", "only a Standard one has it", "All and 0 go together"),
)
def ha_ports_are_all_ports(network: Network) -> Iterator[Trial]:
    for lb in network.load_balancers:
        rules = [rule for rule in lb.load_balancing_rules if not rule.frontend_port and not rule.floating_ip]
        for rule in rules[:1]:
            frontend, members = lb.frontend(rule.frontend), _members(network, lb, rule)
            inside = _clients(network, lb, frontend.virtual_network)
            ports = [s for s in members[0].services if all(s in vm.services for vm in members)] if members else []
            asks = tuple(
                Ask(client=inside[0].name, address=str(frontend.address), port=s.port, kind=s.kind, count=_FLOWS)
                for s in ports
                if inside and (s.kind in {"http", "tcp", "udp"})
            )
            if {s.protocol for s in ports} == {"tcp", "udp"}:
                names = frozenset(vm.name for vm in members)
                expected = f"{', '.join(f'{s.port}/{s.protocol}' for s in ports)} answered by {' and '.join(names)}"
                yield Trial(lb.name, expected, (Stage(asks),), judge_by(partial(_all_ports, names=names)))
                yield from _refused_ha_ports()


def _all_ports(*found: Answers, names: frozenset[str]) -> Finding:
    by = [{a.node for a in one.answers if a.outcome == "answered"} for one in found]
    observed = "; ".join(f"{outcomes(one)} by {', '.join(sorted(of))}" for one, of in zip(found, by, strict=True))
    wrong = any(a.outcome != "answered" for one in found for a in one.answers) or any(of != names for of in by)
    return Finding(observed, "not every port is led to every member" if wrong else "")


def _refused_ha_ports() -> Iterator[Trial]:
    good = _HA_FILE.format(sku="Standard", protocol="All", port=0)
    basic, tcp, port = (
        _HA_FILE.format(sku="Basic", protocol="All", port=0),
        _HA_FILE.format(sku="Standard", protocol="Tcp", port=0),
        _HA_FILE.format(sku="Standard", protocol="All", port=80),
    )
    yield refused(
        basic, "HA ports of a Basic one", "only an internal Standard load balancer has HA ports", allowed=good
    )
    yield refused(tcp, "port 0 with Tcp", "both ports 0, any other one neither", allowed=good)
    yield refused(port, "All with a port", "both ports 0, any other one neither", allowed=good)


@claim(
    "T-IL-9",
    _HA,
    "A non-floating HA-ports rule is the only rule of its load balancer; with floating IP there is one for each "
    "frontend, beside rules with floating IP alone.",
    profiles=_KNOWN,
    facts=(
        "a non-floating one is alone",
        "rules at a floating one's frontend have floating IP",
        "one at each frontend",
    ),
)
def ha_ports_rule_is_alone(network: Network) -> Iterator[Trial]:
    if not any(not rule.frontend_port for lb in network.load_balancers for rule in lb.load_balancing_rules):
        return
    alone = _BESIDE.format(floating="false", more="")
    floating = _BESIDE.format(floating="true", more="")
    for what, text, good in (
        ("another rule beside one that is not floating", _more("false", "other", 80, "false"), alone),
        ("a rule that is not floating at its frontend", _more("true", "private", 80, "false"), floating),
        ("a second one at its frontend", _more("true", "private", 0, "true"), floating),
    ):
        yield refused(text, what, "an HA-ports rule without floating IP is the only rule", allowed=good)


def _more(floating: str, frontend: str, port: int, also: str) -> str:
    """Return a file with an HA-ports rule, and another rule beside it."""
    protocol = "Tcp" if port else "All"
    more = (
        f"{{frontend: {frontend}, backend_pool: pool, probe: alive, protocol: {protocol}, frontend_port: {port}, "
        f"backend_port: {port}, enable_floating_ip: {also}}}"
    )
    return _BESIDE.format(floating=floating, more=f"      more: {more}\n")


@claim(
    "T-IL-12",
    _ERRORS,
    "A VM is behind one internal load balancer at most: AnotherInternalLoadBalancerExists.",
    profiles=_KNOWN,
    facts=("a second internal one is refused",),
)
def one_internal_balancer_of_a_vm(network: Network) -> Iterator[Trial]:
    if any(True for _ in _private_rules(network)):
        good = _FILE.format(subnet="vnet1/front", address="10.1.0.100")
        second = good + _SECOND
        yield refused(second, "a second internal load balancer", "AnotherInternalLoadBalancerExists", allowed=good)


_BESIDE = """\
name: ha-ports
profile: 2022-03
virtual_networks: {{vnet1: {{address_space: [10.1.0.0/16], subnets: {{front: 10.1.0.0/24}}}}}}
virtual_machines: {{web: {{subnet: vnet1/front}}}}
load_balancers:
  ilb:
    sku: Standard
    frontend_ip_configurations: {{private: {{subnet: vnet1/front}}, other: {{subnet: vnet1/front}}}}
    backend_address_pools: {{pool: [web]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      all: {{frontend: private, backend_pool: pool, probe: alive, protocol: All, frontend_port: 0, backend_port: 0,
            enable_floating_ip: {floating}}}
{more}"""
_SECOND = """\
  second:
    frontend_ip_configurations: {private: {subnet: vnet1/front}}
    backend_address_pools: {pool: [web]}
"""
_FILE = """\
name: frontends
virtual_networks: {{vnet1: {{address_space: [10.1.0.0/16], subnets: {{front: 10.1.0.0/24, back: 10.1.1.0/24}}}}}}
virtual_machines: {{web: {{subnet: vnet1/front}}}}
load_balancers:
  ilb:
    frontend_ip_configurations: {{private: {{subnet: {subnet}, private_ip_address: {address}}}}}
    backend_address_pools: {{pool: [web]}}
"""
_HA_FILE = """\
name: ha-ports
profile: 2022-03
virtual_networks: {{vnet1: {{address_space: [10.1.0.0/16], subnets: {{front: 10.1.0.0/24}}}}}}
virtual_machines: {{web: {{subnet: vnet1/front}}}}
load_balancers:
  ilb:
    sku: {sku}
    frontend_ip_configurations: {{private: {{subnet: vnet1/front}}}}
    backend_address_pools: {{pool: [web]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      all: {{frontend: private, backend_pool: pool, probe: alive, protocol: {protocol}, frontend_port: {port},
            backend_port: {port}}}
"""
CLAIMS = (
    private_frontend_is_reached_from_inside,
    client_address_is_kept,
    member_is_not_led_to_itself,
    internal_balancer_gives_no_way_out,
    ha_ports_are_all_ports,
    ha_ports_rule_is_alone,
    one_internal_balancer_of_a_vm,
)
