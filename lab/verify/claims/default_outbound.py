"""default-outbound-access.md: the address that the platform gives, what it carries, and what ends it."""

from collections.abc import Iterator

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import arrived, judge_by, send
from lab.verify.claims.kit.oracle import drops_fragments, far_host, private, speaking_freely, way_out
from lab.verify.claims.kit.ways import ways_trial
from lab.verify.experiment import Arrivals

_DEFAULT_2022 = "default-outbound-access.md (2022-03-02)"
_KNOWN = ("2022-03", "2026-07")
_FEW = 2


@claim(
    "N-SN-22",
    _DEFAULT_2022,
    "The default outbound address carries no fragments; a NAT gateway, an outbound rule or a public IP of the VM's own "
    "ends it.",
    profiles=_KNOWN,
    facts=(
        "it carries no fragments",
        "a NAT gateway ends it",
        "an outbound rule ends it",
        "a public IP ends it",
        "without these a VM has it",
    ),
)
def default_outbound_ends_with_an_explicit_way(network: Network) -> Iterator[Trial]:
    """Take, of the VMs whose subnets are not private, one of each way out; and send fragments by the default."""
    found: dict[str, VirtualMachine] = {}
    for vm in speaking_freely(network):
        if not private(network, vm):
            found.setdefault(way_out(network, vm).kind, vm)
    far, default = far_host(network), found.get("default")
    if far is None or default is None or not {"nat", "own", "rule"} <= found.keys():
        return
    yield from ways_trial("subnets with default outbound", network, list(found.values()))
    if drops_fragments(network):
        whole = send(network, default, far, "udp", _FEW)
        yield Trial(
            f"{default.name}, fragments",
            "a whole datagram arrives, and nothing of one in fragments leaves",
            (Stage((whole, send(network, default, far, "udp", _FEW, form="large", lost=_FEW))),),
            judge_by(_whole_only),
        )


def _whole_only(whole: Arrivals, large: Arrivals) -> Finding:
    observed = f"whole: {arrived(whole)}; 3,000 bytes: {arrived(large)}"
    if len(whole.seen[-1]) < whole.sent:
        return Finding(observed, doubt="what is whole did not arrive either")
    return Finding(observed, "fragments left the virtual network" if any(large.seen) else "")


CLAIMS = (default_outbound_ends_with_an_explicit_way,)
