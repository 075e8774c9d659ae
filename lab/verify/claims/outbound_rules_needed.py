"""load-balancer-outbound-connections.md in its revisions: what makes a frontend the way out of the VMs behind it."""

from collections.abc import Iterator

from lab.azure.model import Network
from lab.verify.claims.claim import Trial, claim
from lab.verify.claims.kit.judges import pool_only, source_trial
from lab.verify.claims.kit.oracle import far_host, of_kind, rules_to, some, way_out
from lab.verify.claims.source_ip import in_spite_of_probe

_OUTBOUND = "load-balancer-outbound-connections.md"
_NO_RULE_NEEDED = "2016-10"


@claim(
    "N-SN-15",
    f"{_OUTBOUND} (2018-02-05), scenario 2; (2016-10-31)",
    "A load balancer needs a rule for its VMs to leave by its frontend, but nothing need listen and the probe need "
    "not succeed; in 2016 it needs no rule.",
    facts=("a rule is needed", "its probe need not succeed", "in 2016 no rule is needed"),
)
def outbound_needs_a_rule_but_no_probe(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if network.profile.name != _NO_RULE_NEEDED:
        yield from pool_only(network)
        yield from in_spite_of_probe(network)
        return
    ruled = {rule.virtual_machine for lb in network.balancers for rule in lb.inbound_nat_rules}
    for vm in some(network, of_kind(network, "frontend")):
        if far is not None and vm.name not in ruled and not rules_to(network, vm):
            yield source_trial(network, vm, far, way_out(network, vm))


CLAIMS = (outbound_needs_a_rule_but_no_probe,)
