"""Trials that flows leave by the way out that they have, or not at all."""

from collections.abc import Iterator, Sequence
from functools import partial

from lab.azure.model import InternetHost, Network, VirtualMachine
from lab.flow import Transport
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.held_flows import occupy
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, send, wrong_source
from lab.verify.claims.kit.oracle import far_host, way_out
from lab.verify.experiment import Arrivals, Observation, Send

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
    free = tuple(occupy(network, vm) for vm in vms if way_out(network, vm).kind not in ("nat", "own", "none"))
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
