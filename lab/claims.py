"""What the documents say, restated by hand: which experiment shows it, and what must be seen.

``CATALOGUE`` lists every claim with its statement in our words and its source. A claim is a function
from a network to trials; it yields none where it does not apply. Nothing here reads the rules
under test or their table of numbers: figures are written down a second time, from the documents.

Judging is pure: observations in, judgement out. An expectation of the topology file is a trial too.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from lab.experiment import (
    Answers,
    Arrivals,
    Ask,
    AuthLog,
    Checked,
    CheckFile,
    Experiment,
    Failed,
    Health,
    Login,
    Lookup,
    Members,

    Observation,
    Protocol,
    Return,
    Returned,
    Send,
    Track,
    Tracked,
    Watch,
)
from lab.flow import Destination
from lab.model import Expectation, InternetHost, LoadBalancer, LoadBalancingRule, Network, Service, VirtualMachine
from lab.verdict import Judgement

Judge: TypeAlias = Callable[[Sequence[Any]], Judgement]

#: A statistical claim may raise a false alarm in one run of this many.
FALSE_ALARM = 1e-9
_FLOWS = 16  # flows for a claim about every flow's source
#: Seed 002 leaves the number of SNAT ports unnamed; the table of 2017-09-28 gives a VM of a pool of up to 50 this many.
_PORTS_SMALL_POOL = 1024
_EPHEMERAL = range(1024, 65536)  # ports of a public address that SNAT uses


class Stage(msgspec.Struct, frozen=True):
    """Experiments in one state of the network: as it is (None), or changed for the trial."""

    experiments: tuple[Experiment, ...]
    network: Network | None = None


class Trial(msgspec.Struct, frozen=True):
    """One way to see whether a claim holds here."""

    claim: str
    subject: str
    expected: str
    stages: tuple[Stage, ...]
    judge: Judge


class Claim(msgspec.Struct, frozen=True):
    """A testable statement of a document. ``profiles`` empty: every revision states it."""

    id: str
    statement: str
    source: str
    trials: Callable[[Network], Iterable[Trial]]
    profiles: tuple[str, ...] = ()


# --- what the documents say of one VM ---------------------------------------------------------


class WayOut(msgspec.Struct, frozen=True):
    """A VM's way out by the decision table of seed 002, and the addresses it may be seen with.

    A default address is the platform's choice: it is none of the addresses of the file.
    """

    kind: str  # own, frontend, default
    addresses: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.kind == "default":
            return "an address of the platform's choice, none of the topology's"
        return " or ".join(sorted(self.addresses))


def way_out(network: Network, vm: VirtualMachine) -> WayOut:
    """Return the way out of a VM (seed 002, table; seed 001 for what links a VM to a frontend)."""
    if vm.instance_public_ip:
        return WayOut("own", frozenset({str(vm.instance_public_ip.address)}))
    linked = {str(lb.frontend(name).address) for lb in network.load_balancers for name in _linking(lb, vm.name)}
    return WayOut("frontend", frozenset(linked)) if linked else WayOut("default")


def _linking(lb: LoadBalancer, vm: str) -> set[str]:
    """Return the names of the frontends that a rule links a VM to."""
    names = {rule.frontend for rule in lb.load_balancing_rules if vm in lb.pool(rule.backend_pool).members}
    if lb.sku == "Basic":  # Standard: inbound NAT rules alone give no way out (outbound-rules, 2018-09-24)
        names |= {rule.frontend for rule in lb.inbound_nat_rules if rule.virtual_machine == vm}
    return names


def _declared(network: Network) -> frozenset[str]:
    return frozenset(str(address) for address, _ in network.public_addresses())


def _matches(network: Network, way: WayOut, address: str) -> bool:
    return address not in _declared(network) if way.kind == "default" else address in way.addresses


def _pooled(network: Network, vm: str) -> list[LoadBalancer]:
    return [lb for lb in network.load_balancers if any(vm in pool.members for pool in lb.pools)]


def _of_kind(network: Network, kind: str) -> list[VirtualMachine]:
    return [vm for vm in network.virtual_machines if way_out(network, vm).kind == kind]


def _far(network: Network) -> InternetHost | None:
    """Return the outside host that flows are sent to: the first that is no name server."""
    hosts = [h for h in network.internet if not any(s.kind == "dns" for s in h.services)]
    return hosts[0] if hosts else None


# --- experiments and judgements in common -----------------------------------------------------


def _send(vm: VirtualMachine, far: InternetHost, protocol: Protocol = "tcp", count: int = _FLOWS, **more: Any) -> Send:
    watches = (Watch("public wire", vm.virtual_network), Watch("node", far.name))
    return Send(
        sender=vm.name,
        private=str(vm.private_ip_address),
        destination=str(far.address),
        protocol=protocol,
        count=count,
        watches=watches,
        **more,
    )


def _failed(observations: Sequence[Observation]) -> Judgement | None:
    """Return a judgement if an experiment could not be done, or a capture did not see its control packet."""
    for observation in observations:
        if isinstance(observation, Failed):
            return Judgement("INCONCLUSIVE", "nothing", f"the experiment failed: {observation.reason}")
        arrivals = observation.arrivals if isinstance(observation, Tracked) else observation
        if isinstance(arrivals, Arrivals) and not arrivals.control:
            return Judgement("INCONCLUSIVE", _arrived(arrivals), "the control packet did not arrive")
    return None


def _arrived(arrivals: Arrivals) -> str:
    """Say what arrived at the far side."""
    far = arrivals.seen[-1]
    if not far:
        return f"nothing of {arrivals.sent} flows"
    ports = sorted(seen.source_port for seen in far)
    span = f"{ports[0]}" if ports[0] == ports[-1] else f"{ports[0]}-{ports[-1]}"
    return f"{len(far)} of {arrivals.sent} flows from {', '.join(_sources(arrivals))}, ports {span}"


def _sources(arrivals: Arrivals) -> list[str]:
    return sorted({seen.source for seen in arrivals.seen[-1]})


def _judge(check: Callable[[Sequence[Any]], tuple[str, str]]) -> Judge:
    """Make a judge of a check that returns what was observed, and what contradicts the claim ("" if nothing)."""

    def judge(observations: Sequence[Any]) -> Judgement:
        doubt = _failed(observations)
        if doubt is not None:
            return doubt
        observed, contradiction = check(observations)
        return Judgement("CONTRADICTED" if contradiction else "HOLDS", observed, contradiction)

    return judge


def _wrong_source(network: Network, way: WayOut, arrivals: Arrivals) -> str:
    """Return what contradicts that all flows arrived from a way out, "" if nothing does."""
    if arrivals.strays:
        return f"left untranslated: {arrivals.strays[0]}"
    if len(arrivals.seen[-1]) < arrivals.sent:
        return f"{arrivals.sent - len(arrivals.seen[-1])} flows did not arrive"
    wrong = [source for source in _sources(arrivals) if not _matches(network, way, source)]
    return f"seen from {', '.join(wrong)}" if wrong else ""


def _source_trial(claim: str, network: Network, vm: VirtualMachine, far: InternetHost, way: WayOut) -> Trial:
    def check(observations: Sequence[Any]) -> tuple[str, str]:
        (arrivals,) = observations
        return _arrived(arrivals), _wrong_source(network, way, arrivals)

    return Trial(claim, vm.name, f"source {way}", (Stage((_send(vm, far),)),), _judge(check))


# --- seed 001 ---------------------------------------------------------------------------------


def _s1_1(network: Network) -> Iterator[Trial]:
    far = _far(network)
    groups = [_of_kind(network, kind) for kind in ("own", "frontend", "default")]
    if far is None or not all(groups):
        return
    vms = [group[0] for group in groups]

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        observed = "; ".join(f"{vm.name}: {_arrived(a)}" for vm, a in zip(vms, observations, strict=True))
        wrong = [
            f"{vm.name}: {text}"
            for vm, a in zip(vms, observations, strict=True)
            if (text := _wrong_source(network, way_out(network, vm), a))
        ]
        distinct = {tuple(_sources(a)) for a in observations}
        if not wrong and len(distinct) < len(vms):
            wrong = ["two of the three are seen alike"]
        return observed, "; ".join(wrong)

    expected = "three VMs, three sources: its own address, the frontend, the platform's choice"
    names = ", ".join(vm.name for vm in vms)
    yield Trial("S1-1", names, expected, (Stage(tuple(_send(vm, far) for vm in vms)),), _judge(check))


def _pool_only(claim: str, network: Network) -> Iterator[Trial]:
    """Yield, for each VM of a pool without any rule, that it is seen as a standalone VM of its network is."""
    far = _far(network)
    for vm in _of_kind(network, "default"):
        balancers = _pooled(network, vm.name)
        if far is None or not balancers:
            continue
        frontends = sorted({str(f.address) for lb in balancers for f in lb.frontends})
        alone = [
            other
            for other in _of_kind(network, "default")
            if not _pooled(network, other.name) and other.virtual_network == vm.virtual_network
        ]
        senders = [vm, *alone[:1]]

        def check(
            observations: Sequence[Any], vm: VirtualMachine = vm, frontends: list[str] = frontends
        ) -> tuple[str, str]:
            contradiction = _wrong_source(network, way_out(network, vm), observations[0])
            if set(_sources(observations[0])) & set(frontends):
                contradiction = "seen from the frontend"
            if not contradiction and len(observations) > 1 and _sources(observations[0]) != _sources(observations[1]):
                contradiction = f"a standalone VM is seen from {', '.join(_sources(observations[1]))}"
            return _arrived(observations[0]), contradiction

        expected = f"not {' or '.join(frontends)}, but as a standalone VM"
        yield Trial(claim, vm.name, expected, (Stage(tuple(_send(s, far) for s in senders)),), _judge(check))


def _by_ssh(claim: str, network: Network, vm: VirtualMachine, way: WayOut) -> Iterator[Trial]:
    """Yield the seed's own observation, where an outside host runs sshd: the peer in its auth.log."""
    for host in network.internet:
        for service in host.services:
            if service.kind != "ssh":
                continue
            login = Login(client=vm.name, host=host.name, address=str(host.address), port=service.port)

            def check(observations: Sequence[Any]) -> tuple[str, str]:
                log: AuthLog = observations[0]
                if not log.peers:
                    return "no connection in auth.log", "sshd saw nobody"
                wrong = [peer for peer in log.peers if not _matches(network, way, peer)]
                observed = f"auth.log of the far side: {log.lines[0]}"
                return observed, f"sshd saw {', '.join(wrong)}" if wrong else ""

            yield Trial(claim, f"{vm.name} by ssh", f"auth.log names {way}", (Stage((login,)),), _judge(check))
            return


def _bound_by(claim: str, network: Network, *, nat_rule: bool) -> Iterator[Trial]:
    """Yield, for each VM bound by one kind of rule alone, that it is seen from the frontend."""
    far = _far(network)
    for vm in _of_kind(network, "frontend"):
        has_nat = any(r.virtual_machine == vm.name for lb in network.load_balancers for r in lb.inbound_nat_rules)
        has_rule = bool(_rules_to(network, vm))
        if far is None or has_nat != nat_rule or has_rule == nat_rule:
            continue
        way = way_out(network, vm)
        yield _source_trial(claim, network, vm, far, way)
        yield from _by_ssh(claim, network, vm, way)


def _rules_to(network: Network, vm: VirtualMachine) -> list[tuple[LoadBalancer, LoadBalancingRule]]:
    return [
        (lb, rule)
        for lb in network.load_balancers
        for rule in lb.load_balancing_rules
        if vm.name in lb.pool(rule.backend_pool).members
    ]


_WITHOUT_PROBE = """\
name: no-probe
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
load_balancers:
  lb:
    frontend_ip_configurations: {public: 192.0.2.1}
    backend_address_pools: {pool: [vm]}
    load_balancing_rules:
      web: {frontend: public, backend_pool: pool, protocol: Tcp, frontend_port: 80, backend_port: 80}
"""


def _refused(claim: str, text: str, what: str, words: str) -> Trial:
    def check(observations: Sequence[Any]) -> tuple[str, str]:
        done: Checked = observations[0]
        if done.status != 2 or words not in done.said:
            return f"exit {done.status}: {done.said}", f"{what} was not refused"
        return f"exit 2: {done.said}", ""

    return Trial(claim, what, "refused, exit 2", (Stage((CheckFile(text=text),)),), _judge(check))


def _s1_5(network: Network) -> Iterator[Trial]:
    if any(lb.load_balancing_rules for lb in network.load_balancers):
        yield _refused("S1-5", _WITHOUT_PROBE, "a load-balancing rule without a probe", "no probe")


def _unanswered_probes(network: Network) -> list[tuple[LoadBalancer, LoadBalancingRule, VirtualMachine]]:
    """Return the rules whose every member has nothing that listens on the probe's port, with a member of each."""
    found = []
    vms = {vm.name: vm for vm in network.virtual_machines}
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            members = [vms[m] for m in lb.pool(rule.backend_pool).members]
            port = lb.probe(rule.probe).port if rule.probe else 0
            if members and not any(s.port == port and s.protocol == "tcp" for m in members for s in m.services):
                found.append((lb, rule, members[0]))
    return found


def _down(members: Members, lb: LoadBalancer, rule: LoadBalancingRule, vm: VirtualMachine) -> str:
    """Return what contradicts that a member is down, "" if nothing does."""
    key = f"{lb.name}/{rule.probe}/{vm.name}"
    return "" if key in members.down else f"the probe of {vm.name} succeeds"


def _s1_6(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for lb, rule, vm in _unanswered_probes(network):
        way = way_out(network, vm)
        if far is None or way.kind != "frontend":
            continue

        def check(
            observations: Sequence[Any],
            lb: LoadBalancer = lb,
            rule: LoadBalancingRule = rule,
            vm: VirtualMachine = vm,
            way: WayOut = way,
        ) -> tuple[str, str]:
            members, arrivals = observations
            reason = members.down.get(f"{lb.name}/{rule.probe}/{vm.name}", "up")
            observed = f"probe: {reason}; {_arrived(arrivals)}"
            return observed, _down(members, lb, rule, vm) or _wrong_source(network, way, arrivals)

        expected = f"probe down, and source {way}"
        yield Trial("S1-6", vm.name, expected, (Stage((Health(), _send(vm, far))),), _judge(check))


def _s1_7(network: Network) -> Iterator[Trial]:
    client = _far_client(network)
    healthy = [
        (lb, rule)
        for lb in network.load_balancers
        for rule in lb.load_balancing_rules
        if (lb.name, rule.name) not in {(b.name, r.name) for b, r, _ in _unanswered_probes(network)}
        and rule.protocol == "tcp"
        and any(_listens(network, m, rule.backend_port) for m in lb.pool(rule.backend_pool).members)
    ]
    for lb, rule, vm in _unanswered_probes(network):
        if client is None or not healthy or rule.protocol != "tcp" or not _listens(network, vm.name, rule.backend_port):
            continue
        ask = _ask_frontend(client, lb, rule, count=3)
        control = _ask_frontend(client, *healthy[0], count=3)

        def check(
            observations: Sequence[Any],
            lb: LoadBalancer = lb,
            rule: LoadBalancingRule = rule,
            vm: VirtualMachine = vm,
        ) -> tuple[str, str]:
            members, answers, healthy_answers = observations
            observed = (
                f"unhealthy {rule.frontend_port}: {_outcomes(answers)}; healthy frontend: {_outcomes(healthy_answers)}"
            )
            contradiction = _down(members, lb, rule, vm)
            if any(a.outcome != "timeout" for a in answers.answers):
                contradiction = "the unhealthy pool answers"
            if any(a.outcome != "answered" for a in healthy_answers.answers):
                contradiction = "the healthy pool does not answer"
            return observed, contradiction

        expected = "no answer through the unhealthy pool's frontend, an answer through a healthy one's"
        yield Trial("S1-7", f"{lb.name}/{rule.name}", expected, (Stage((Health(), ask, control)),), _judge(check))


def _far_client(network: Network) -> InternetHost | None:
    """Return the outside host that plays the client: the last that is no name server."""
    hosts = [h for h in network.internet if not any(s.kind == "dns" for s in h.services)]
    return hosts[-1] if hosts else None


def _listens(network: Network, vm: str, port: int) -> bool:
    found = network.vm(vm)
    return found is not None and any(s.port == port and s.protocol == "tcp" for s in found.services)


def _ask_frontend(client: InternetHost, lb: LoadBalancer, rule: LoadBalancingRule, count: int) -> Ask:
    address = str(lb.frontend(rule.frontend).address)
    return Ask(client=client.name, address=address, port=rule.frontend_port, kind="connect", count=count)


def _outcomes(answers: Answers) -> str:
    outcomes = [a.outcome for a in answers.answers]
    return ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))


def _s1_8(network: Network) -> Iterator[Trial]:
    far = _far(network)
    linked = _of_kind(network, "frontend")
    # One VM of each kind of binding is enough: the lab is changed twice for each.
    chosen: dict[tuple[bool, bool], VirtualMachine] = {}
    for vm in linked:
        nat = any(r.virtual_machine == vm.name for lb in network.load_balancers for r in lb.inbound_nat_rules)
        chosen.setdefault((nat, bool(_rules_to(network, vm))), vm)
    for vm in chosen.values():
        if far is None:
            continue
        without = _without_rules(network, vm.name)
        bound, free = way_out(network, vm), way_out(without, vm)
        stages = tuple(Stage((_send(vm, far),), state) for state in (None, without, None))

        def check(
            observations: Sequence[Any], bound: WayOut = bound, free: WayOut = free, without: Network = without
        ) -> tuple[str, str]:
            before, between, after = observations
            observed = " / ".join(", ".join(_sources(a)) or "nothing" for a in observations)
            contradiction = (
                _wrong_source(network, bound, before)
                or _wrong_source(without, free, between)
                or _wrong_source(network, bound, after)
            )
            return f"with rule / without / with: {observed}", contradiction

        yield Trial("S1-8", vm.name, f"{bound} with the rule, {free} without it", stages, _judge(check))


def _without_rules(network: Network, vm: str) -> Network:
    """Return the network without the rules that link a VM to a frontend."""
    balancers = tuple(
        msgspec.structs.replace(
            lb,
            load_balancing_rules=tuple(
                r for r in lb.load_balancing_rules if vm not in lb.pool(r.backend_pool).members
            ),
            inbound_nat_rules=tuple(r for r in lb.inbound_nat_rules if r.virtual_machine != vm),
        )
        for lb in network.load_balancers
    )
    return msgspec.structs.replace(network, load_balancers=balancers)


# --- seed 002 ---------------------------------------------------------------------------------


def _one_of_each(network: Network) -> list[VirtualMachine]:
    """Return one VM for each way out that the network has."""
    return [group[0] for kind in ("own", "frontend", "default") if (group := _of_kind(network, kind))]


def _s2_1(network: Network) -> Iterator[Trial]:
    far, stranger = _far(network), _far_client(network)
    if far is None or stranger is None or far == stranger:
        return
    for vm in _one_of_each(network):
        way = way_out(network, vm)
        if way.kind == "own":
            continue  # every port of its own address reaches it, a stranger's packet too (seed 004)
        flow = Return(
            send=_send(vm, far, "udp", 1),
            far=far.name,
            stranger=stranger.name,
            stranger_address=str(stranger.address),
        )

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            back: Returned = observations[0]
            observed = (
                f"seen from {back.source or 'nowhere'}:{back.source_port}; answer {'arrived' if back.answered else 'lost'}"
                f"; stranger's packet {'arrived' if back.intruded else 'did not'}"
            )
            contradiction = ""
            if not back.source or not _matches(network, way, back.source):
                contradiction = f"seen from {back.source or 'nowhere'}"
            elif not back.answered:
                contradiction = "the answer did not reach the VM"
            elif back.intruded:
                contradiction = "a stranger reached the VM through the flow's port"
            return observed, contradiction

        expected = f"seen from {way}; the answer reaches the VM, another host's packet to the same port does not"
        yield Trial("S2-1", vm.name, expected, (Stage((flow,)),), _judge(check))


def _s2_2(network: Network) -> Iterator[Trial]:
    far = _far(network)
    if far is None:
        return
    for vm in network.virtual_machines:
        way = way_out(network, vm)
        sends = (_send(vm, far, "tcp"), _send(vm, far, "udp"))

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            observed = "; ".join(f"{p}: {_arrived(a)}" for p, a in zip(("tcp", "udp"), observations, strict=True))
            wrong = [text for a in observations if (text := _wrong_source(network, way, a))]
            return observed, "; ".join(wrong)

        balanced = "load balancer" if _pooled(network, vm.name) else "no load balancer"
        own = "own address" if vm.instance_public_ip else "no address of its own"
        yield Trial("S2-2", f"{vm.name} ({balanced}, {own})", f"source {way}", (Stage(sends),), _judge(check))


_DEFAULT_CHOSEN = """\
name: chosen
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s, default_outbound_address: 192.0.2.77}}
"""


def _s2_3(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for vm in _of_kind(network, "default")[:1]:
        if far is not None:
            yield _source_trial("S2-3", network, vm, far, way_out(network, vm))
            yield _refused("S2-3", _DEFAULT_CHOSEN, "choosing the default address", "default_outbound_address")


def _s2_4(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for vm in _one_of_each(network):
        way = way_out(network, vm)
        if far is None or way.kind == "own":
            continue

        def check(observations: Sequence[Any]) -> tuple[str, str]:
            tracked: Tracked = observations[0]
            arrived = tracked.arrivals.seen[-1]
            ports = {(e.reply_address, e.reply_port) for e in tracked.after}
            seen = {(s.source, s.source_port) for s in arrived}
            observed = f"tracked after the first packet: {_pairs(ports)}; at the far side: {_pairs(seen)}"
            if len(arrived) < tracked.arrivals.sent:
                return observed, "flows did not arrive"
            if ports != seen:
                return observed, "the port tracked is not the port seen"
            if len(seen) < tracked.arrivals.sent:
                return observed, "two flows to one destination share a port"
            outside = [port for _, port in seen if port not in _EPHEMERAL]
            return observed, f"ports {outside} are not 1024-65535" if outside else ""

        send = _send(vm, far, "udp", 4)  # a refused TCP flow would be forgotten at once
        expected = "a port of 1024-65535 for each flow, taken when its first packet is sent"
        stage = Stage((Track(send=send, network=vm.virtual_network),))
        yield Trial("S2-4", vm.name, expected, (stage,), _judge(check))


def _pairs(pairs: set[tuple[str, int]]) -> str:
    return ", ".join(f"{address}:{port}" for address, port in sorted(pairs)) or "nothing"


def _s2_11(network: Network) -> Iterator[Trial]:
    far = _far(network)
    sharing: dict[frozenset[str], list[VirtualMachine]] = {}
    for vm in _of_kind(network, "frontend"):
        sharing.setdefault(way_out(network, vm).addresses, []).append(vm)
    for addresses, vms in sharing.items():
        if far is None or len(vms) < 2:
            continue
        pair = vms[:2]
        way = WayOut("frontend", addresses)

        def check(
            observations: Sequence[Any], way: WayOut = way, pair: list[VirtualMachine] = pair
        ) -> tuple[str, str]:
            observed = "; ".join(f"{vm.name}: {_arrived(a)}" for vm, a in zip(pair, observations, strict=True))
            wrong = next((text for a in observations if (text := _wrong_source(network, way, a))), "")
            first, second = ({(s.source, s.source_port) for s in a.seen[-1]} for a in observations)
            if not wrong and first & second:
                wrong = f"both were seen from {_pairs(first & second)}"
            return observed, wrong

        # To one port of one host, so that a shared port would be ambiguous there.
        sends = tuple(_send(vm, far, "tcp", 64, port=9000) for vm in pair)
        names = ", ".join(vm.name for vm in pair)
        yield Trial("S2-11", names, f"both from {way}, no port twice", (Stage(sends),), _judge(check))


def _s2_12(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for vm in _of_kind(network, "own"):
        if far is None:
            continue
        way = way_out(network, vm)
        protocols: tuple[Protocol, ...] = ("tcp", "udp", "icmp")

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            observed = "; ".join(f"{p}: {_arrived(a)}" for p, a in zip(protocols, observations, strict=True))
            wrong = next((text for a in observations if (text := _wrong_source(network, way, a))), "")
            changed = [
                f"{a.source_ports[s.number]} became {s.source_port}"
                for a in observations[:2]
                for s in a.seen[-1]
                if s.source_port != a.source_ports[s.number]
            ]
            return observed, wrong or (f"source port {changed[0]}" if changed else "")

        balanced = "behind a load balancer" if _pooled(network, vm.name) else "without a load balancer"
        expected = f"source {way}, ports unchanged, ICMP too"
        stage = Stage(tuple(_send(vm, far, protocol) for protocol in protocols))
        yield Trial("S2-12", f"{vm.name} {balanced}", expected, (stage,), _judge(check))


def _s2_13(network: Network) -> Iterator[Trial]:
    far = _far(network)
    limit = network.overrides.snat_ports_per_vm or _PORTS_SMALL_POOL
    limited = [vm for vm in _of_kind(network, "frontend") if len(way_out(network, vm).addresses) == 1]
    own = _of_kind(network, "own")
    if far is None or not limited or not own:
        return
    count = 2 * limit
    sends = (_send(own[0], far, "udp", count), _send(limited[0], far, "udp", count))

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        free, shared = observations
        observed = f"{own[0].name}: {_arrived(free)}; {limited[0].name}: {_arrived(shared)}"
        contradiction = _wrong_source(network, way_out(network, own[0]), free)
        if not contradiction and len(shared.seen[-1]) > limit:
            contradiction = f"{limited[0].name} opened {len(shared.seen[-1])} flows with {limit} ports"
        if not contradiction and not shared.seen[-1]:
            contradiction = f"{limited[0].name} opened no flow"
        return observed, contradiction

    expected = f"{count} flows at once to one port of one host; a VM with {limit} SNAT ports opens no more than these"
    yield Trial("S2-13", own[0].name, expected, (Stage(sends),), _judge(check))


def _s2_14(network: Network) -> Iterator[Trial]:
    resolvers = [h for h in network.internet if any(s.kind == "dns" for s in h.services)]
    for vm in network.virtual_machines:
        if not resolvers:
            return
        far, way = resolvers[0], way_out(network, vm)

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            arrivals, names = observations
            observed = f"nslookup: {', '.join(names.addresses) or 'no answer'}; {_arrived(arrivals)}"
            if not names.addresses:
                return observed, "nslookup got no answer"
            wrong = [address for address in names.addresses if not _matches(network, way, address)]
            if wrong:
                return observed, f"the answer is {', '.join(wrong)}"
            if way.kind != "frontend" and list(names.addresses) != _sources(arrivals):
                return observed, "the answer is not the source that was seen"
            return observed, ""

        lookup = Lookup(client=vm.name, name="myip.opendns.com", server=far.name)
        expected = f"the answer is {way}"
        stage = Stage((_send(vm, far, "udp", 1, port=53), lookup))
        yield Trial("S2-14", vm.name, expected, (stage,), _judge(check))


def _s2_17(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for vm in _of_kind(network, "frontend"):
        way = way_out(network, vm)
        if far is None or len(way.addresses) < 2:
            continue

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            return _arrived(observations[0]), _wrong_source(network, way, observations[0])

        yield Trial("S2-17", vm.name, f"every flow from {way}", (Stage((_send(vm, far, "tcp", 200),)),), _judge(check))


# --- the lab's own promise --------------------------------------------------------------------


def _lab_1(network: Network) -> Iterator[Trial]:
    far = _far(network)
    for vm in _one_of_each(network):
        way = way_out(network, vm)
        if far is None:
            continue
        carried = ("icmp", "gre") if way.kind == "own" else ()
        sends = (
            _send(vm, far, "udp", 1),
            _send(vm, far, "udp", 1, form="large"),
            _send(vm, far, "icmp", 4),
            _send(vm, far, "gre", 4),
            _send(vm, far, "tcp", 4, form="middle"),
        )
        labels = ("udp", "fragments", "icmp", "gre", "mid-stream tcp")

        def check(
            observations: Sequence[Any], way: WayOut = way, carried: tuple[str, ...] = carried
        ) -> tuple[str, str]:
            observed = "; ".join(f"{label}: {_arrived(a)}" for label, a in zip(labels, observations, strict=True))
            strays = [stray for a in observations for stray in a.strays]
            if strays:
                return observed, f"left untranslated: {strays[0]}"
            for label, arrivals in zip(labels, observations, strict=True):
                wrong = [source for source in _sources(arrivals) if not _matches(network, way, source)]
                if wrong:
                    return observed, f"{label} seen from {', '.join(wrong)}"
                passes = label in ("udp", "fragments", *carried)
                if passes and not arrivals.seen[-1]:
                    return observed, f"{label} did not arrive"
                if not passes and arrivals.seen[0]:
                    return observed, f"{label} left the virtual network"
            return observed, ""

        what = "ICMP and GRE too" if carried else "ICMP and GRE do not leave"
        expected = f"nothing on the public wire with a private source; {what}; no flow is picked up in its middle"
        yield Trial("LAB-1", vm.name, expected, (Stage(sends),), _judge(check))


# --- the catalogue ----------------------------------------------------------------------------

_SEED_001 = "seed 001 (2018-12-11)"
_SEED_002 = "seed 002 (2017-05-31)"

CATALOGUE: tuple[Claim, ...] = (
    Claim(
        "S1-1",
        "A VM's outbound flows behave in one of three ways: with an instance-level public IP, behind a load balancer "
        "without one, or standing alone without one.",
        f"{_SEED_001}, introduction; {_SEED_002}, table",
        _s1_1,
    ),
    Claim(
        "S1-2",
        "Membership of a backend pool alone, without any rule, does not give a VM the frontend as its source; "
        "it is seen as a standalone VM is.",
        f"{_SEED_001}, scenario and conclusion",
        lambda network: _pool_only("S1-2", network),
    ),
    Claim(
        "S1-3",
        "An inbound NAT rule alone, without probe or load-balancing rule, makes the frontend the VM's source.",
        f"{_SEED_001}, test 1",
        lambda network: _bound_by("S1-3", network, nat_rule=True),
    ),
    Claim(
        "S1-4",
        "A load-balancing rule with its probe, without an inbound NAT rule, makes the frontend the VM's source.",
        f"{_SEED_001}, test 2",
        lambda network: _bound_by("S1-4", network, nat_rule=False),
    ),
    Claim("S1-5", "A load-balancing rule needs a probe that was defined first.", f"{_SEED_001}, test 2", _s1_5),
    Claim("S1-6", "For outbound flows alone, the probe need not be healthy.", f"{_SEED_001}, test 2", _s1_6),
    Claim(
        "S1-7", "For inbound flows, the probe must be healthy for them to be forwarded.", f"{_SEED_001}, test 2", _s1_7
    ),
    Claim(
        "S1-8",
        "Either kind of rule binds a backend pool to a frontend; with neither, the platform's default applies.",
        f"{_SEED_001}, conclusion",
        _s1_8,
    ),
    Claim(
        "S2-1",
        "An outbound flow is given a public address, and its return traffic reaches the VM.",
        f"{_SEED_002}, introduction",
        _s2_1,
    ),
    Claim(
        "S2-2",
        "Without load balancer and own address: default SNAT. With a load balancer only: its address. "
        "With an instance-level public IP: that address, load balancer or not.",
        f"{_SEED_002}, table",
        _s2_2,
    ),
    Claim(
        "S2-3",
        "The default address is chosen by the platform, cannot be configured and is not counted as a public IP.",
        f"{_SEED_002}, standalone VM",
        _s2_3,
    ),
    Claim(
        "S2-4",
        "Ephemeral ports of the public address tell a VM's flows apart; each is taken when its flow is created.",
        f"{_SEED_002}, standalone VM",
        _s2_4,
    ),
    Claim(
        "S2-10",
        "Without a rule that links the public frontend and the pool, a load-balanced VM behaves as a standalone one.",
        f"{_SEED_002}, load-balanced VM",
        lambda network: _pool_only("S2-10", network),
    ),
    Claim(
        "S2-11",
        "A load-balanced VM's flows come from the frontend's address, whose ports the VMs of the pool share.",
        f"{_SEED_002}, load-balanced VM",
        _s2_11,
    ),
    Claim(
        "S2-12",
        "With an instance-level public IP no SNAT is used, balanced or not: all outbound flows use that address.",
        f"{_SEED_002}, VM with an instance-level public IP",
        _s2_12,
    ),
    Claim(
        "S2-13",
        "An instance-level public IP lifts the limits of SNAT ports.",
        f"{_SEED_002}, VM with an instance-level public IP",
        _s2_13,
    ),
    Claim(
        "S2-14",
        "A lookup of myip.opendns.com at resolver1.opendns.com tells a VM its public source address.",
        f"{_SEED_002}, discovering the public IP",
        _s2_14,
    ),
    Claim(
        "S2-17",
        "With several public addresses on a load balancer, any of them is a candidate for outbound flows.",
        f"{_SEED_002}, limitations",
        _s2_17,
    ),
    Claim(
        "LAB-1",
        "Nothing leaves a virtual network with a private source: no ICMP, no other protocol, no fragment, no segment "
        "of a flow that was never opened.",
        "the lab's own promise",
        _lab_1,
    ),
)


# --- expectations of the file -----------------------------------------------------------------


def _expectation(network: Network, number: int, expectation: Expectation) -> Trial:
    claim = expectation.claim or f"expect-{number}"
    to = expectation.to
    subject = f"{expectation.sender} to {to}"
    wanted = _wanted(expectation)
    host, sender = network.host(to.host), network.vm(expectation.sender)
    if sender is not None and host is not None and (expectation.source_ip or expectation.source_port):
        send = _send(sender, host, to.protocol, _FLOWS, port=to.port)
        stages = (Stage((send, *_asks(network, expectation, only_outcome=True))),)
    else:
        stages = (Stage((Health(), *_asks(network, expectation, only_outcome=False))),)

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        observed, contradictions = [], []
        for observation in observations:
            if isinstance(observation, Arrivals):
                observed.append(_arrived(observation))
                contradictions.append(_unexpected_source(expectation, observation))
            elif isinstance(observation, Answers):
                observed.append(_outcomes_by_node(observation))
                contradictions.append(_unexpected_answers(expectation, observation))
        return "; ".join(observed), next((c for c in contradictions if c), "")

    return Trial(claim, subject, wanted, stages, _judge(check))


def _wanted(expectation: Expectation) -> str:
    parts = []
    if expectation.source_ip:
        parts.append(f"source {expectation.source_ip}")
    if expectation.source_port:
        parts.append(f"source port {expectation.source_port}")
    if expectation.answered_by:
        parts.append("answered by " + " and ".join(expectation.answered_by))
    if expectation.outcome:
        parts.append(expectation.outcome)
    return ", ".join(parts) or "answered"


def _asks(network: Network, expectation: Expectation, *, only_outcome: bool) -> Iterator[Ask]:
    """Yield the conversation an expectation is about."""
    if only_outcome and not (expectation.outcome or expectation.answered_by):
        return
    kind = _service_kind(network, expectation.to)
    count = _sample(len(expectation.answered_by)) if expectation.answered_by else 3
    yield Ask(
        client=expectation.sender,
        address=_resolve(network, expectation.sender, expectation.to.host),
        port=expectation.to.port,
        kind=kind,  # type: ignore[arg-type]
        count=count,
    )


def _sample(nodes: int) -> int:
    """Return how many conversations find each of ``nodes`` equally likely ones, but for one run in 1/FALSE_ALARM.

    Union bound: nodes * (1 - 1/nodes) ** count <= FALSE_ALARM.
    """
    if nodes < 2:
        return 3
    return math.ceil(math.log(FALSE_ALARM / nodes) / math.log(1 - 1 / nodes))


def _resolve(network: Network, sender: str, name: str) -> str:
    """Return the address a node is reached at by another."""
    host, vm, from_vm = network.host(name), network.vm(name), network.vm(sender)
    if host:
        return str(host.address)
    if vm is None:
        return name
    if vm.instance_public_ip and (from_vm is None or from_vm.virtual_network != vm.virtual_network):
        return str(vm.instance_public_ip.address)
    return str(vm.private_ip_address)


def _service_kind(network: Network, to: Destination) -> str:
    """Return the kind of server behind a destination: its own, or that of the VM a rule leads to."""
    services: list[Service] = []
    host, vm = network.host(to.host), network.vm(to.host)
    own = next(
        (v for v in network.virtual_machines if v.instance_public_ip and str(v.instance_public_ip.address) == to.host),
        None,
    )
    by_address = next((h for h in network.internet if str(h.address) == to.host), None)
    node = host or vm or own or by_address
    if node is not None:
        services = [s for s in node.services if s.port == to.port and s.protocol == to.protocol]
    for lb in network.load_balancers:
        names = {f.name for f in lb.frontends if str(f.address) == to.host}
        targets = [
            (member, rule.backend_port)
            for rule in lb.load_balancing_rules
            if rule.frontend in names and (rule.frontend_port, rule.protocol) == (to.port, to.protocol)
            for member in lb.pool(rule.backend_pool).members
        ] + [
            (rule.virtual_machine, rule.backend_port)
            for rule in lb.inbound_nat_rules
            if rule.frontend in names and (rule.frontend_port, rule.protocol) == (to.port, to.protocol)
        ]
        for member, port in targets:
            found = network.vm(member)
            services += [s for s in found.services if s.port == port and s.protocol == to.protocol] if found else []
    kinds = [s.kind for s in services if s.kind in ("http", "https", "tcp", "udp")]
    return kinds[0] if kinds else "udp" if to.protocol == "udp" else "connect"


def _unexpected_source(expectation: Expectation, arrivals: Arrivals) -> str:
    if arrivals.strays:
        return f"left untranslated: {arrivals.strays[0]}"
    if not arrivals.seen[-1]:
        return "nothing arrived"
    for seen in arrivals.seen[-1]:
        if expectation.source_ip and seen.source != str(expectation.source_ip):
            return f"seen from {seen.source}"
        if expectation.source_port and seen.source_port not in expectation.source_port:
            return f"seen from port {seen.source_port}"
    return ""


def _outcomes_by_node(answers: Answers) -> str:
    words = [a.node or a.outcome for a in answers.answers]
    return ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))


def _unexpected_answers(expectation: Expectation, answers: Answers) -> str:
    wanted = expectation.outcome or "answered"
    for answer in answers.answers:
        if answer.outcome != wanted:
            return answer.outcome
        if expectation.source_ip and answer.client_address and answer.client_address != str(expectation.source_ip):
            return f"seen from {answer.client_address}"
        if expectation.source_port and answer.client_port and answer.client_port not in expectation.source_port:
            return f"seen from port {answer.client_port}"
        if expectation.answered_by and answer.node not in expectation.answered_by:
            return f"answered by {answer.node or 'a server that does not say who it is'}"
    silent = [node for node in expectation.answered_by if node not in {a.node for a in answers.answers}]
    return f"none of {len(answers.answers)} answers came from {', '.join(silent)}" if silent else ""


# --- the whole --------------------------------------------------------------------------------


def find(claim: str) -> Claim | None:
    """Return a claim of the catalogue."""
    return next((c for c in CATALOGUE if c.id == claim), None)


def trials(network: Network, only: frozenset[str] = frozenset()) -> list[tuple[str, list[Trial]]]:
    """Return the trials that a network allows, by claim in the order of the catalogue, expectations last.

    ``only``: the claims to keep; empty for all. An expectation that names a claim is one of its trials.
    """
    grouped: dict[str, list[Trial]] = {}
    for claim in CATALOGUE:
        if not claim.profiles or network.profile.name in claim.profiles:
            found = list(claim.trials(network))
            if found:
                grouped[claim.id] = found
    for number, expectation in enumerate(network.expectations, start=1):
        trial = _expectation(network, number, expectation)
        grouped.setdefault(trial.claim, []).append(trial)
    return [(claim, found) for claim, found in grouped.items() if not only or claim in only]
