"""Source IP of outbound flows (2018-12-11): which source address the far side sees.

And what binds a pool to a frontend.
"""

from collections.abc import Iterator
from functools import partial

import msgspec

from lab.azure.model import (
    InboundNatRule,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    SecurityGroup,
    SecurityRule,
    VirtualMachine,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import (
    arrived,
    judge_by,
    outcomes,
    pool_only,
    refused,
    send,
    source_trial,
    sources,
    wrong_source,
)
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_client,
    far_host,
    matches,
    of_kind,
    open_to_all,
    pooled,
    rules_to,
    some,
    way_out,
)
from lab.verify.claims.kit.probed_pools import listens_at
from lab.verify.claims.kit.unanswered_probes import in_spite_of_probe, probe_succeeds, unanswered_probes
from lab.verify.experiment import ANSWER_S, SILENCE_S, Answers, Arrivals, Ask, AuthLog, Health, Login, Members

_SOURCE_IP_2018 = "Source IP of outbound flows (2018-12-11)"


@claim(
    "S1-1",
    f"{_SOURCE_IP_2018}, introduction; Outbound connections (2017-05-31), table",
    "A VM's outbound flows behave in one of three ways: with an instance-level public IP, behind a load balancer "
    "without one, or standing alone without one.",
    facts=(
        "a VM with an address of its own is seen from it",
        "a load-balanced VM is seen from the frontend",
        "a standalone VM is seen from the platform's address",
    ),
)
def three_ways_out(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    groups = [of_kind(network, kind) for kind in ("own", "frontend", "default")]
    if far is None or not all(groups):
        return
    vms = [group[0] for group in groups]

    expected = "three VMs, three sources: its own address, the frontend, the platform's choice"
    names = ", ".join(vm.name for vm in vms)
    yield Trial(
        names,
        expected,
        (Stage(tuple(send(network, vm, far) for vm in vms)),),
        judge_by(partial(_three_sources, vms=vms, network=network)),
    )


def _three_sources(*observations: Arrivals, vms: list[VirtualMachine], network: Network) -> Finding:
    observed = "; ".join(f"{vm.name}: {arrived(a)}" for vm, a in zip(vms, observations, strict=True))
    wrong = [
        f"{vm.name}: {text}"
        for vm, a in zip(vms, observations, strict=True)
        if (text := wrong_source(network, way_out(network, vm), a))
    ]
    distinct = {tuple(sources(a)) for a in observations}
    if not wrong and len(distinct) < len(vms):
        wrong = ["two of the three are seen alike"]
    return Finding(observed, "; ".join(wrong))


def _by_ssh(network: Network, vm: VirtualMachine, way: WayOut) -> Iterator[Trial]:
    """Yield the seed's own observation, where an outside host runs sshd: the peer in its auth.log."""
    for host in network.internet:
        for service in host.services:
            if service.kind != "ssh":
                continue
            login = Login(client=vm.name, host=host.name, address=str(host.address), port=service.port)

            yield Trial(
                f"{vm.name} by ssh",
                f"auth.log names {way}",
                (Stage((login,)),),
                judge_by(partial(_named_in_auth_log, way=way, network=network)),
            )
            return


def _named_in_auth_log(log: AuthLog, *, way: WayOut, network: Network) -> Finding:
    if not log.peers:
        return Finding("no connection in auth.log", "sshd saw nobody")
    wrong = [peer for peer in log.peers if not matches(network, way, peer)]
    observed = f"auth.log of the far side: {log.lines[0]}"
    return Finding(observed, f"sshd saw {', '.join(wrong)}" if wrong else "")


def _bound_by(network: Network, *, nat_rule: bool) -> Iterator[Trial]:
    """Yield, for each VM bound by one kind of rule alone, that it is seen from the frontend."""
    far = far_host(network)
    for vm in some(network, of_kind(network, "frontend")):
        has_nat = any(r.virtual_machine == vm.name for lb in network.balancers for r in lb.inbound_nat_rules)
        has_rule = bool(rules_to(network, vm))
        if far is None or has_nat != nat_rule or has_rule == nat_rule:
            continue
        way = way_out(network, vm)
        yield source_trial(network, vm, far, way)
        yield from _by_ssh(network, vm, way)


_WITH_PROBE = """\
name: probed
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
load_balancers:
  lb:
    frontend_ip_configurations: {public: 192.0.2.1}
    backend_address_pools: {pool: [vm]}
    probes: {alive: {protocol: Tcp, port: 80, interval_in_seconds: 5, number_of_probes: 2}}
    load_balancing_rules:
      web: {frontend: public, backend_pool: pool, probe: alive, protocol: Tcp, frontend_port: 80, backend_port: 80}
"""


@claim(
    "S1-5",
    f"{_SOURCE_IP_2018}, test 2",
    "A load-balancing rule needs a probe that was defined first.",
    facts=("a rule without a probe is refused", "a rule whose probe is not defined is refused"),
)
def rule_needs_a_probe(network: Network) -> Iterator[Trial]:
    if not any(lb.load_balancing_rules for lb in network.balancers):
        return
    without = _WITH_PROBE.replace("probe: alive, ", "")
    undefined = _WITH_PROBE.replace("alive: {", "another: {")
    yield refused(without, "a load-balancing rule without a probe", "no probe", allowed=_WITH_PROBE)
    yield refused(undefined, "a rule whose probe is not defined", 'no probe "alive"', allowed=_WITH_PROBE)


@claim(
    "S1-7",
    f"{_SOURCE_IP_2018}, test 2",
    "For inbound flows, the probe must be healthy for them to be forwarded.",
    facts=("flows to a member that is down are not forwarded", "flows to a healthy member are forwarded"),
)
def inbound_needs_a_healthy_probe(network: Network) -> Iterator[Trial]:
    client, opened = far_client(network), open_to_all(network)
    healthy = [
        (lb, rule)
        for lb in network.balancers
        for rule in lb.load_balancing_rules
        if (lb.name, rule.name) not in {(b.name, r.name) for b, r, _ in unanswered_probes(network)}
        and rule.protocol == "tcp"
        and any(_listens(network, m, rule.backend_port) for m in lb.pool(rule.backend_pool).members)
        and opened.issuperset(lb.pool(rule.backend_pool).members)
    ]
    for lb, rule, vm in unanswered_probes(network):
        if vm.name not in opened:
            continue  # its silence would have two reasons
        if client is None or not healthy or rule.protocol != "tcp" or not _listens(network, vm.name, rule.backend_port):
            continue
        ask = _ask_frontend(client, lb, rule, timeout_s=SILENCE_S)
        control = _ask_frontend(client, *healthy[0])

        expected = "no answer through the unhealthy pool's frontend, an answer through a healthy one's"
        yield Trial(
            f"{lb.name}/{rule.name}",
            expected,
            (Stage((Health(), ask, control)),),
            judge_by(partial(_healthy_answers_alone, lb=lb, rule=rule, vm=vm)),
        )


def _healthy_answers_alone(
    members: Members,
    answers: Answers,
    healthy_answers: Answers,
    *,
    lb: LoadBalancer,
    rule: LoadBalancingRule,
    vm: VirtualMachine,
) -> Finding:
    observed = f"unhealthy {rule.frontend_port}: {outcomes(answers)}; healthy frontend: {outcomes(healthy_answers)}"
    contradiction = probe_succeeds(members, lb, rule, vm)
    if any(a.outcome != "timeout" for a in answers.answers):
        contradiction = "the unhealthy pool answers"
    if any(a.outcome != "answered" for a in healthy_answers.answers):
        contradiction = "the healthy pool does not answer"
    return Finding(observed, contradiction)


def _listens(network: Network, vm: str, port: int) -> bool:
    found = network.vm(vm)
    return found is not None and listens_at(found, port)


def _ask_frontend(client: InternetHost, lb: LoadBalancer, rule: LoadBalancingRule, timeout_s: float = ANSWER_S) -> Ask:
    address, port = str(lb.frontend(rule.frontend).address), rule.frontend_port
    return Ask(client=client.name, address=address, port=port, kind="connect", count=3, timeout_s=timeout_s)


@claim(
    "S1-8",
    f"{_SOURCE_IP_2018}, conclusion",
    "Either kind of rule binds a backend pool to a frontend; with neither, the platform's default applies.",
    facts=(
        "an inbound NAT rule binds",
        "a load-balancing rule binds",
        "without a rule the platform's default applies",
        "a rule that is added or removed changes what new flows are seen from",
    ),
)
def either_rule_binds_a_pool(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    linked = [vm for vm in of_kind(network, "frontend") if network.service_of(vm.name) is None]
    # Without its rules a VM of a Standard load balancer may have no way out, which is not the test's to say.
    linked = [vm for vm in linked if way_out(_without_rules(network, vm.name), vm).kind == "default"]
    # One VM of each kind of binding is enough: the lab is changed twice for each.
    chosen: dict[tuple[bool, bool], VirtualMachine] = {}
    for vm in linked:
        nat = any(r.virtual_machine == vm.name for lb in network.balancers for r in lb.inbound_nat_rules)
        chosen.setdefault((nat, bool(rules_to(network, vm))), vm)
    for vm in chosen.values():
        if far is None:
            continue
        without = _without_rules(network, vm.name)
        bound, free = way_out(network, vm), way_out(without, vm)
        stages = tuple(Stage((send(network, vm, far),), state) for state in (None, without, None))

        yield Trial(
            vm.name,
            f"{bound} with the rule, {free} without it",
            stages,
            judge_by(partial(_bound_while_ruled, bound=bound, free=free, without=without, network=network)),
        )


def _bound_while_ruled(
    *observations: Arrivals, bound: WayOut, free: WayOut, without: Network, network: Network
) -> Finding:
    before, between, after = observations
    observed = " / ".join(", ".join(sources(a)) or "nothing" for a in observations)
    contradiction = (
        wrong_source(network, bound, before)
        or wrong_source(without, free, between)
        or wrong_source(network, bound, after)
    )
    return Finding(f"with rule / without / with: {observed}", contradiction)


def _without_rules(network: Network, vm: str) -> Network:
    """Return the network without the rules that link a VM to a frontend."""
    balancers = tuple(
        msgspec.structs.replace(
            lb,
            load_balancing_rules=tuple(r for r in lb.load_balancing_rules if vm not in lb.pool(r.backend_pool).members),
            inbound_nat_rules=tuple(r for r in lb.inbound_nat_rules if r.virtual_machine != vm),
        )
        for lb in network.load_balancers
    )
    return msgspec.structs.replace(network, load_balancers=balancers)


@claim(
    "S1-2",
    f"{_SOURCE_IP_2018}, scenario and conclusion",
    "Membership of a backend pool alone, without any rule, does not give a VM the frontend as its source; "
    "it is seen as a standalone VM is.",
    facts=(
        "a pool alone does not bind",
        "the source is that of a standalone VM",
        "what admits the frontend alone rejects its flows",
        "and admits them once a rule binds it",
    ),
)
def pool_alone_does_not_bind(network: Network) -> Iterator[Trial]:
    yield from pool_only(network)
    for vm in of_kind(network, "default"):
        balancers = pooled(network, vm.name)
        guarded = next((v for v in of_kind(network, "own") if _says(v) and v.network_security_group is None), None)
        if not balancers or network.balancers != network.load_balancers or guarded is None:
            continue
        assert guarded.instance_public_ip is not None
        frontend = balancers[0].frontends[0]
        asked = Ask(
            client=vm.name,
            address=str(guarded.instance_public_ip.address),
            port=_WEB,
            kind="http",
            count=2,
            timeout_s=SILENCE_S,
        )
        listed = _admitting(network, guarded, str(frontend.address))

        yield Trial(
            f"{vm.name}, where {frontend.address} alone is admitted",
            f"rejected by {guarded.name}, and answered once an inbound NAT rule binds {vm.name}",
            (Stage((asked,), listed), Stage((asked,), _bound(listed, balancers[0], vm))),
            judge_by(partial(_admitted_once_bound, frontend=str(frontend.address))),
        )
        return


_WEB = 80
#: What the application of the document admits: one address, and no other.
_LIST = "allow-list"


def _says(vm: VirtualMachine) -> bool:
    return any((s.kind, s.port) == ("http", _WEB) for s in vm.services)


def _admitting(network: Network, vm: VirtualMachine, address: str) -> Network:
    """Return the network in which a VM admits one address, as its security group says."""
    rule = SecurityRule(
        name="frontend", priority=100, direction="Inbound", access="Allow", protocol="Tcp", sources=(f"{address}/32",)
    )
    group = SecurityGroup(name=_LIST, rules=(rule,))
    guarded = msgspec.structs.replace(vm, network_security_group=_LIST)
    return msgspec.structs.replace(
        network,
        network_security_groups=(*network.network_security_groups, group),
        virtual_machines=tuple(guarded if v is vm else v for v in network.virtual_machines),
    )


def _bound(network: Network, balancer: LoadBalancer, vm: VirtualMachine) -> Network:
    """Return the network with what the document ends with: an inbound NAT rule from the frontend to the VM."""
    rule = InboundNatRule(
        name="bound",
        frontend=balancer.frontends[0].name,
        virtual_machine=vm.name,
        protocol="tcp",
        frontend_port=50001,
        backend_port=22,
    )
    bound = msgspec.structs.replace(balancer, inbound_nat_rules=(*balancer.inbound_nat_rules, rule))
    balancers = tuple(bound if lb == balancer else lb for lb in network.load_balancers)
    return msgspec.structs.replace(network, load_balancers=balancers)


def _admitted_once_bound(free: Answers, bound: Answers, *, frontend: str) -> Finding:
    seen = sorted({a.client_address for a in bound.answers if a.client_address})
    observed = f"{outcomes(free)}; with a rule {outcomes(bound)} and seen from {', '.join(seen) or 'nothing'}"
    if any(a.outcome == "answered" for a in free.answers):
        return Finding(observed, "what admits the frontend alone admits it")
    if any(a.outcome != "answered" for a in bound.answers):
        return Finding(observed, "what admits the frontend rejects it although a rule binds it")
    return Finding(observed, "" if seen == [frontend] else f"seen from {', '.join(seen)}")


@claim(
    "S1-3",
    f"{_SOURCE_IP_2018}, test 1",
    "An inbound NAT rule alone, without probe or load-balancing rule, makes the frontend the VM's source.",
    facts=(
        "an inbound NAT rule binds its VM",
        "it needs no probe and no load-balancing rule",
        "the source is the rule's frontend",
    ),
)
def nat_rule_alone_binds(network: Network) -> Iterator[Trial]:
    return _bound_by(network, nat_rule=True)


@claim(
    "S1-4",
    f"{_SOURCE_IP_2018}, test 2",
    "A load-balancing rule with its probe, without an inbound NAT rule, makes the frontend the VM's source.",
    facts=(
        "a load-balancing rule binds its pool",
        "it needs no inbound NAT rule",
        "the source is the rule's frontend",
    ),
)
def load_balancing_rule_alone_binds(network: Network) -> Iterator[Trial]:
    return _bound_by(network, nat_rule=False)


@claim(
    "S1-6",
    f"{_SOURCE_IP_2018}, test 2",
    "For outbound flows alone, the probe need not be healthy.",
    facts=("a member whose probe fails is down", "it is seen from the frontend all the same"),
)
def outbound_needs_no_healthy_probe(network: Network) -> Iterator[Trial]:
    return in_spite_of_probe(network)


CLAIMS = (
    three_ways_out,
    pool_alone_does_not_bind,
    nat_rule_alone_binds,
    load_balancing_rule_alone_binds,
    rule_needs_a_probe,
    outbound_needs_no_healthy_probe,
    inbound_needs_a_healthy_probe,
    either_rule_binds_a_pool,
)
