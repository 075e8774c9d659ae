"""Pools whose members are probed, as claims see them: what takes a member out, and what is told of it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from lab.azure.model import (
    HealthProbe,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    SecurityGroup,
    SecurityRule,
    Service,
    VirtualMachine,
)
from lab.flow import PortRange
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.nsg_oracle import PROBES, answers, before, groups, guarded
from lab.verify.claims.kit.oracle import (
    far_client,
    open_to_all,
    scaled,
)
from lab.verify.experiment import (
    Answer,
    Answers,
    Ask,
    CaptureConnections,
    Health,
    Heard,
    Listen,
    Listening,
    Members,
    ObservedConnection,
    OpenFlows,
)

#: So many conversations find each of two members but for one run in a billion: 2 * (1/2) ** 31.
CONVERSATIONS = 31
PATIENCE_S = 10.0  # for a busy machine, beyond the documents' times


class Pool(msgspec.Struct, frozen=True):
    """Members that one probe decides about, and the rules that lead to them because of it."""

    lb: LoadBalancer
    probe: HealthProbe
    members: tuple[VirtualMachine, ...]
    rules: tuple[LoadBalancingRule, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The members as they are told of."""
        return tuple(map(self.key, self.members))

    def key(self, vm: VirtualMachine) -> str:
        """Return a member as it is told of."""
        return f"{self.lb.name}/{self.probe.name}/{vm.name}"

    def to(self, kind: str) -> LoadBalancingRule | None:
        """Return a rule to a service of every member that says who answers over a flow again and again."""
        mine = (rule for rule in self.rules if rule.protocol == kind)
        return next((r for r in mine if all(serves(vm, r.backend_port, kind) for vm in self.members)), None)

    def __str__(self) -> str:
        return f"{self.lb.name}/{self.probe.name}"


def serves(vm: VirtualMachine, port: int, kind: str) -> bool:
    """Tell whether a VM has a service of a kind at a port."""
    return any((s.port, s.kind) == (port, kind) for s in vm.services)


def listens_at(vm: VirtualMachine, port: int) -> bool:
    """Tell whether something listens at a TCP port of a VM."""
    return any((s.port, s.protocol) == (port, "tcp") for s in vm.services)


def pools(network: Network, *, later: bool = False) -> list[Pool]:
    """Return all pools that a probe decides about; those whose probe has a threshold of its own if ``later``."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    found: dict[tuple[str, str, str], Pool] = {}
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            members = tuple(vms[name] for name in lb.pool(rule.backend_pool).members)
            if rule.probe is None or not members or (lb.probe(rule.probe).threshold is not None) != later:
                continue
            of = (lb.name, rule.probe, rule.backend_pool)
            known = found.get(of, Pool(lb, lb.probe(rule.probe), members, ()))
            found[of] = msgspec.structs.replace(known, rules=(*known.rules, rule))
    return list(found.values())


def answers_well(pool: Pool, vm: VirtualMachine) -> bool:
    """Tell whether a member answers its probe as it should: over HTTP with the status 200, which a path may change."""
    if pool.probe.protocol == "Tcp":
        return listens_at(vm, pool.probe.port)
    path = pool.probe.request_path
    well = path == "/status/200" or not path.startswith(("/status/", "/silence"))
    return well and serves(vm, pool.probe.port, "http")


def is_let_in(network: Network, vm: VirtualMachine, address: str, protocol: str, port: int) -> bool:
    """Tell whether a flow from outside comes to a VM: no group denies it, and one allows it where that is asked."""
    if not groups(network, vm):
        return vm.name in open_to_all(network)
    return vm in guarded(network) and all(a.allows for a in answers(network, vm, "Inbound", protocol, address, port))


def healthy_pools(network: Network, *, later: bool = False) -> list[Pool]:
    """Return the pools all of whose members answer their probe, on a port of its own that no client is sent to."""
    targets = {(lb.name, rule.backend_port) for lb in network.load_balancers for rule in lb.load_balancing_rules}
    return [
        pool
        for pool in pools(network, later=later)
        if (pool.lb.name, pool.probe.port) not in targets
        and all(
            answers_well(pool, vm) and is_let_in(network, vm, PROBES, "tcp", pool.probe.port) for vm in pool.members
        )
    ]


def asked_rules(network: Network) -> list[tuple[InternetHost, Pool, LoadBalancingRule]]:
    """Return the healthy pools whose members a client reaches over TCP."""
    client = far_client(network)
    return [
        (client, pool, rule)
        for pool in healthy_pools(network)
        if (rule := pool.to("tcp")) is not None
        and client is not None
        and all(is_let_in(network, vm, str(client.address), "tcp", rule.backend_port) for vm in pool.members)
    ]


def with_ended(network: Network, pool: Pool, *vms: VirtualMachine) -> Network:
    """Return the network in which what answers the probe of some members is gone."""
    names = {vm.name for vm in vms}

    def without(services: tuple[Service, ...]) -> tuple[Service, ...]:
        return tuple(s for s in services if (s.port, s.protocol) != (pool.probe.port, "tcp"))

    changed = tuple(
        msgspec.structs.replace(vm, services=without(vm.services)) if vm.name in names else vm
        for vm in network.virtual_machines
    )
    return msgspec.structs.replace(network, virtual_machines=changed)


def frontend_of(pool: Pool, rule: LoadBalancingRule) -> tuple[str, int]:
    """Return the address and port that a rule's clients ask for."""
    return str(pool.lb.frontend(rule.frontend).address), rule.frontend_port


def ask_frontend(client: InternetHost, pool: Pool, rule: LoadBalancingRule, count: int, **more: Any) -> Ask:
    """Ask a rule's members who they are, over TCP."""
    address, port = frontend_of(pool, rule)
    return Ask(client=client.name, address=address, port=port, kind="tcp", count=count, **more)


def keep_flows(client: InternetHost, pool: Pool, rule: LoadBalancingRule) -> OpenFlows:
    """Open flows to a rule that go on beyond the experiment."""
    address, port = frontend_of(pool, rule)
    return OpenFlows(client=client.name, address=address, port=port, kind=rule.protocol, count=CONVERSATIONS)


def answering_nodes(found: Answers) -> list[str]:
    """Return the nodes that answered."""
    return sorted({answer.node for answer in found.answers if answer.node})


def not_down(known: Members, keys: Sequence[str]) -> str:
    """Return what contradicts that members are down, "" if nothing does."""
    still = [key for key in keys if key not in known.down]
    return f"the probe of {', '.join(still)} succeeds" if still else ""


def not_up(known: Members, keys: Sequence[str]) -> str:
    """Return what contradicts that members are up, "" if nothing does."""
    lost = [f"{key} ({known.down.get(key, 'not probed')})" for key in keys if key not in known.up]
    return f"the probe of {', '.join(lost)} fails" if lost else ""


def told_health(known: Members, keys: Sequence[str]) -> str:
    """Say what is told of members."""
    return "; ".join(f"{key}: {known.down.get(key, 'up')}" for key in keys)


def probe_interval_s(network: Network, probe: HealthProbe) -> int:
    """Return how often a probe asks, in the documents' seconds."""
    default = 15 if before(network, "2023-10") else 5
    return default if probe.interval_s is None else probe.interval_s


def hear_probes(network: Network, pool: Pool, vm: VirtualMachine, connections: int) -> CaptureConnections:
    """Capture what a member is probed with."""
    interval_s = scaled(network, probe_interval_s(network, pool.probe))
    timeout_s = scaled(network, 31) if pool.probe.protocol == "Http" else 0.0
    deadline_s = 2 * (connections + 1) * interval_s + timeout_s + PATIENCE_S
    return CaptureConnections(node=vm.name, port=pool.probe.port, connections=connections, deadline_s=deadline_s)


def unprobed(heard: Heard) -> str:
    """Return what contradicts that probes come, "" if nothing does."""
    return "" if heard.knocks else "no probe came"


def not_controlled(heard: Heard) -> Finding | None:
    """Return a finding if the capture saw nothing of what was sent to it."""
    if not heard.control:
        return Finding(f"{len(heard.knocks)} connections", doubt="the control packet did not arrive")
    return None


def one_of_each_probe(found: list[Pool]) -> list[Pool]:
    """Return the first pool of each protocol of probes."""
    return list({pool.probe.protocol: pool for pool in reversed(found)}.values())[::-1]


def turning_trial(network: Network, pool: Pool, failures: int, successes: int | None) -> Trial:
    """Return a trial of a member that stops answering, and begins again: how many probes that takes, as it saw them."""
    vm = pool.members[0]
    key = pool.key(vm)
    stages = (
        Stage((Health(up=(key,)), Listen(node=vm.name, port=pool.probe.port))),
        Stage((Health(down=(key,)),), with_ended(network, pool, vm)),
        Stage((Health(up=(key,)), hear_probes(network, pool, vm, 0))),
    )

    expected = f"down by failure {failures} in a row" + (f", back by success {successes}" if successes else "")
    return Trial(
        f"{pool} of {vm.name}",
        expected,
        stages,
        judge_by(partial(_turned_after, key=key, failures=failures, successes=successes)),
    )


def _turned_after(
    well: Members,
    _1: Listening,
    out: Members,
    back: Members,
    heard: Heard,
    *,
    key: str,
    failures: int,
    successes: int | None,
) -> Finding:
    if key not in well.up:
        return Finding(told_health(well, (key,)), doubt=f"{key} is down before anything was done")
    if wrong := not_down(out, (key,)):
        return Finding(told_health(out, (key,)), f"{wrong}, although nothing listens there")
    if wrong := not_up(back, (key,)):
        return Finding(told_health(back, (key,)), f"{wrong}, although it is answered again")
    lost = run_before(heard.knocks, out.since[key], well=False)
    won = run_before(heard.knocks, back.since[key], well=True)
    observed = f"down by failure {said_counts(lost)} in a row, back by success {said_counts(won)}"
    if failures not in lost:
        wrong = f"{said_counts(lost)} failures in a row took it out instead of {failures}"
    elif successes is not None and successes not in won:
        wrong = f"{said_counts(won)} successes in a row brought it back instead of {successes}"
    return not_controlled(heard) or Finding(observed, wrong)


def run_before(knocks: Sequence[ObservedConnection], when_s: float, *, well: bool) -> range:
    """Return how many connections of one kind in a row were the last ones to begin before a time.

    Several numbers where one of them was opened and then reset by the VM, as its server ended: who asked may have
    seen the one or the other.
    """
    least, most = 0, 0
    doubtful = False
    for knock in [k for k in knocks if k.began <= when_s][::-1]:
        if knock.cut:
            doubtful = True
        elif (knock.answer == "open") != well:
            break
        most += 1
        least += not doubtful
    return range(least, most + 1)


def said_counts(run: range) -> str:
    """Say a range of counts."""
    return " or ".join(map(str, run))


def have_several(network: Network) -> list[tuple[InternetHost, Pool, LoadBalancingRule]]:
    """Return the pools of several members that a client reaches."""
    return [found for found in asked_rules(network) if len(found[1].members) > 1]


def control_of(network: Network, pool: Pool) -> Ask | None:
    """Return a question to another load balancer's members that must be answered whatever becomes of a pool."""
    others = [found for found in asked_rules(network) if found[1].lb != pool.lb]
    return ask_frontend(*others[0], 3) if others else None


def flow_pairs(before: Answers, after: Answers) -> list[tuple[Answer, Answer]]:
    """Return each flow's answers, before and after."""
    return list(zip(before.answers, after.answers, strict=True))


def still_alive(found: Sequence[Answer], node: str) -> int:
    """Return how many flows the same node still answers."""
    return sum(answer.node == node for answer in found)


def pools_with_a_group(network: Network) -> list[tuple[Pool, VirtualMachine]]:
    """Return healthy pools with a member whose group can shut its probe out, and no other member's."""
    if not before(network, "2025-07"):
        return []
    return [
        (pool, vm)
        for pool in healthy_pools(network)
        for vm in pool.members
        if groups(network, vm) and not any(groups(network, other) for other in pool.members if other != vm)
    ]


def with_shut_out(network: Network, pool: Pool, vm: VirtualMachine) -> Network:
    """Return the network in which a group of a VM denies what comes from where probes come from."""
    name = next(iter(groups(network, vm).values()))
    deny = SecurityRule(
        name="no-probes",
        priority=min([r.priority for g in network.network_security_groups for r in g.rules], default=200) + 1,
        direction="Inbound",
        access="Deny",
        protocol="Tcp",
        sources=("AzureLoadBalancer",),
        destination_ports=(PortRange(pool.probe.port, pool.probe.port),),
    )
    changed = tuple(
        SecurityGroup(name=g.name, rules=(*g.rules, deny)) if g.name == name else g
        for g in network.network_security_groups
    )
    return msgspec.structs.replace(network, network_security_groups=changed)
