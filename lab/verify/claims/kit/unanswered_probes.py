"""Rules whose probe nothing answers, and the source of their members all the same."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import LoadBalancer, LoadBalancingRule, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import (
    arrived,
    judge_by,
    send,
    wrong_source,
)
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_host,
    way_out,
)
from lab.verify.experiment import Arrivals, Health, Members


def unanswered_probes(network: Network) -> list[tuple[LoadBalancer, LoadBalancingRule, VirtualMachine]]:
    """Return the rules whose every member has nothing that listens on the probe's port, with a member of each."""
    found = []
    vms = {vm.name: vm for vm in network.virtual_machines}
    for lb in network.balancers:
        for rule in lb.load_balancing_rules:
            if rule.probe is None:
                continue  # nothing says that its members are down
            members = [vms[m] for m in lb.pool(rule.backend_pool).members]
            port = lb.probe(rule.probe).port
            if members and not any(s.port == port and s.protocol == "tcp" for m in members for s in m.services):
                found.append((lb, rule, members[0]))
    return found


def probe_succeeds(members: Members, lb: LoadBalancer, rule: LoadBalancingRule, vm: VirtualMachine) -> str:
    """Return what contradicts that a member is down, "" if nothing does."""
    key = f"{lb.name}/{rule.probe}/{vm.name}"
    return "" if key in members.down else f"the probe of {vm.name} succeeds"


def in_spite_of_probe(network: Network) -> Iterator[Trial]:
    """Yield, for each rule whose probe fails, that its VMs are seen from the frontend all the same."""
    far = far_host(network)
    for lb, rule, vm in unanswered_probes(network):
        way = way_out(network, vm, "tcp")
        if far is None or way.kind != "frontend":
            continue

        expected = f"probe down, and source {way}"
        yield Trial(
            vm.name,
            expected,
            (Stage((Health(), send(network, vm, far))),),
            judge_by(partial(_down_and_from_the_frontend, lb=lb, rule=rule, vm=vm, way=way, network=network)),
        )


def _down_and_from_the_frontend(
    members: Members,
    arrivals: Arrivals,
    *,
    lb: LoadBalancer,
    rule: LoadBalancingRule,
    vm: VirtualMachine,
    way: WayOut,
    network: Network,
) -> Finding:
    reason = members.down.get(f"{lb.name}/{rule.probe}/{vm.name}", "up")
    observed = f"probe: {reason}; {arrived(arrivals)}"
    return Finding(observed, probe_succeeds(members, lb, rule, vm) or wrong_source(network, way, arrivals))
