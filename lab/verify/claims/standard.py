"""What a Standard SKU changes: which flows of its VMs are translated, and who has no default address."""

from collections.abc import Iterator, Sequence
from functools import partial

from lab.azure.model import InternetHost, LoadBalancer, Network, VirtualMachine
from lab.flow import Transport
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import occupy
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, send, wrong_source
from lab.verify.claims.kit.oracle import far_host, pooled, speaking_freely, way_out, without_default
from lab.verify.experiment import Arrivals, Observation, Send

_OUTBOUND = "load-balancer-outbound-connections.md"
_RULES = "load-balancer-outbound-rules-overview.md (2018-09-24)"

_BY_PROTOCOL = ("2018-02", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_NO_DEFAULT = _BY_PROTOCOL[2:]
_NOT_BY_NAT_RULES = _BY_PROTOCOL[1:]

_BOTH: tuple[Transport, ...] = ("tcp", "udp")
_FLOWS = 4


def outward(network: Network, vm: VirtualMachine, far: InternetHost, protocol: Transport) -> Send:
    """Ask for a few flows of a VM, which are not waited for if the VM has no way out for their protocol."""
    shut = way_out(network, vm, protocol).kind == "none"
    return send(network, vm, far, protocol, _FLOWS, lost=_FLOWS if shut else 0)


def wrong_way(network: Network, vm: VirtualMachine, protocol: Transport, arrivals: Arrivals) -> str:
    """Return what contradicts that a VM's flows took the way that they have, or none, "" if nothing does."""
    way = way_out(network, vm, protocol)
    if way.kind != "none":
        wrong = wrong_source(network, way, arrivals)
    else:
        left = next((seen[0].source for seen in arrivals.seen if seen), None)
        wrong = f"left from {left}" if left else ""
    return f"{vm.name}: {protocol} {wrong}" if wrong else ""


def ways_trial(
    subject: str, network: Network, vms: Sequence[VirtualMachine], protocols: Sequence[Transport] = _BOTH
) -> Iterator[Trial]:
    """Yield the trial that flows of VMs leave as they should, by protocol, or not at all."""
    far = far_host(network)
    asked = [(vm, protocol) for vm in vms for protocol in protocols]
    if far is None or not asked:
        return
    # No port is held any more by flows of other claims.
    free = tuple(occupy(network, vm) for vm in vms if way_out(network, vm).kind not in ("own", "none"))
    sends = tuple(outward(network, vm, far, protocol) for vm, protocol in asked)

    expected = "; ".join(f"{vm.name}, {protocol}: {way_out(network, vm, protocol)}" for vm, protocol in asked)
    yield Trial(
        subject,
        expected,
        (Stage((*free, *sends)),),
        judge_by(partial(_left_or_not, asked=asked, network=network)),
    )


def _left_or_not(
    *observations: Observation, asked: list[tuple[VirtualMachine, Transport]], network: Network
) -> Finding:
    pairs = list(zip(asked, of_type(observations, Arrivals), strict=True))
    observed = "; ".join(f"{vm.name}, {protocol}: {arrived(seen)}" for (vm, protocol), seen in pairs)
    wrong = (wrong_way(network, vm, protocol, seen) for (vm, protocol), seen in pairs)
    return Finding(observed, next((text for text in wrong if text), ""))


def _protocols(lb: LoadBalancer, vm: VirtualMachine) -> frozenset[str]:
    """Return the protocols of the load-balancing rules of a VM's pools."""
    return frozenset(r.protocol for r in lb.load_balancing_rules if vm.name in lb.targets(r))


@claim(
    "N-SN-16",
    f"{_OUTBOUND} (2018-03-21) and (2019-05-02), preallocated ports",
    "A Standard load balancer translates flows of the protocols that its load-balancing rules name, a Basic one "
    "those of both.",
    profiles=_BY_PROTOCOL,
    facts=("a Standard one translates the protocols of its rules only", "a Basic one translates both"),
)
def standard_translates_protocols_of_its_rules(network: Network) -> Iterator[Trial]:
    """Take, of each SKU, one VM with a rule for either protocol alone, and one with both."""
    found: dict[tuple[str, frozenset[str]], VirtualMachine] = {}
    for vm in speaking_freely(network):
        balancers = pooled(network, vm.name)
        if vm.instance_public_ip or len(balancers) != 1 or not (named := _protocols(balancers[0], vm)):
            continue
        found.setdefault((balancers[0].sku, named), vm)
    if any(sku == "Standard" and len(named) == 1 for sku, named in found):
        yield from ways_trial("rules by SKU and protocol", network, list(found.values()))


@claim(
    "N-SN-17",
    f"{_OUTBOUND} (2019-05-02), scenario 3",
    "A VM of a Standard load balancer has no default address, nor has any other VM of its availability set: "
    "without a rule nothing leaves.",
    profiles=_NO_DEFAULT,
    facts=("a VM of its pools has no default address", "nor has its availability set", "other VMs have one"),
)
def standard_vm_has_no_default_address(network: Network) -> Iterator[Trial]:
    """Take a VM that only belongs to a Standard load balancer, and one that shares its availability set."""
    kept = without_default(network)
    shut = [vm for vm in speaking_freely(network) if vm.name in kept and way_out(network, vm).kind == "none"]
    named = {name for lb in network.balancers for name in lb.virtual_machines()}
    members, mates = ([vm for vm in shut if (vm.name in named) == inside] for inside in (True, False))
    without_rule = [vm for vm in members if pooled(network, vm.name)]
    control = [vm for vm in speaking_freely(network) if way_out(network, vm).kind == "default"][:1]
    for what, vms in (("a pool without a rule", without_rule), ("its availability set", mates)):
        if vms:
            yield from ways_trial(what, network, [vms[0], *control])


@claim(
    "N-OR-9",
    f"{_RULES}, scenarios",
    "Inbound NAT rules of a Standard load balancer alone give no way out.",
    profiles=_NOT_BY_NAT_RULES,
    facts=("inbound NAT rules alone give no frontend", "nor a default address"),
)
def nat_rules_of_standard_give_no_way_out(network: Network) -> Iterator[Trial]:
    """Take a VM that inbound NAT rules of a Standard load balancer name, and nothing else."""
    for lb in network.load_balancers:
        named = {rule.virtual_machine for rule in lb.inbound_nat_rules}
        vms = [vm for vm in speaking_freely(network) if vm.name in named and not vm.instance_public_ip]
        only = [vm for vm in vms if not pooled(network, vm.name)]
        if lb.sku == "Standard" and only:
            yield from ways_trial(f"{lb.name}, inbound NAT rules", network, only[:1])


CLAIMS = (
    standard_translates_protocols_of_its_rules,
    standard_vm_has_no_default_address,
    nat_rules_of_standard_give_no_way_out,
)
