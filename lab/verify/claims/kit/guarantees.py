"""What the lab promises of itself, beyond the documents."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import arrived, judge_by, send, sources
from lab.verify.claims.kit.oracle import WayOut, drops_fragments, far_host, matches, one_of_each, way_out
from lab.verify.experiment import Arrivals

_LABELS = ("udp", "fragments", "icmp", "esp", "mid-stream tcp")


@claim(
    "LAB-1",
    "the lab's own promise",
    "Nothing leaves a virtual network with a private source: no ICMP, no other protocol, no fragment, no segment "
    "of a flow that was never opened.",
    facts=(
        "no ICMP and no other protocol",
        "no fragment",
        "no segment of a flow that was never opened",
        "nothing with a private source",
    ),
)
def nothing_private_leaves(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in one_of_each(network):
        way = way_out(network, vm)
        if far is None:
            continue
        carried = ("icmp", "esp") if way.kind == "own" else ()
        whole = way.kind == "own" or not drops_fragments(network)
        passing = ("udp", *(("fragments",) if whole else ()), *carried)
        sends = (
            send(network, vm, far, "udp", 1),
            send(network, vm, far, "udp", 1, form="large", lost=0 if whole else 1),
            send(network, vm, far, "icmp", 4, lost=0 if carried else 4),
            send(network, vm, far, "esp", 4, lost=0 if carried else 4),
            send(network, vm, far, "tcp", 4, form="middle", lost=4),
        )

        what = "ICMP and ESP too" if carried else "ICMP and ESP do not leave"
        expected = f"nothing on the public wire with a private source; {what}; no flow is picked up in its middle"
        yield Trial(
            vm.name,
            expected,
            (Stage(sends),),
            judge_by(partial(_left_as_promised, way=way, passing=passing, network=network)),
        )


def _left_as_promised(*observations: Arrivals, way: WayOut, passing: tuple[str, ...], network: Network) -> Finding:
    observed = "; ".join(f"{label}: {arrived(a)}" for label, a in zip(_LABELS, observations, strict=True))
    if not observations[0].seen[0]:
        return Finding(observed, doubt="the capture of the public wire saw nothing of a plain flow")
    for label, arrivals in zip(_LABELS, observations, strict=True):
        wrong = [source for source in sources(arrivals) if not matches(network, way, source)]
        if wrong:
            return Finding(observed, f"{label} seen from {', '.join(wrong)}")
        if label in passing and not arrivals.seen[-1]:
            return Finding(observed, f"{label} did not arrive")
        if label not in passing and arrivals.seen[0]:
            return Finding(observed, f"{label} left the virtual network")
    return Finding(observed)


CLAIMS = (nothing_private_leaves,)
