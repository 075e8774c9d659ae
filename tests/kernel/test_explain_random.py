"""What is explained of random topologies, beside what captures see; `scripts/prove-explain --random` proves more."""

import pytest

from lab.verify.probe import Prober
from tests import proving

pytestmark = pytest.mark.root

#: Small ones, which have each way out and in: gateways, outbound rules, private frontends, cloud services with access
#: lists, security groups, floating IP, private subnets.
SEEDS = (5, 10, 25, 38, 49, 52, 61, 77, 88, 114)


def test_every_flow_of_random_topologies_is_seen_at_every_hop_as_explained() -> None:
    differ: list[str] = []
    with Prober() as prober:
        proofs = [proving.prove_drawn(seed, prober) for seed in SEEDS]
    for proof in proofs:
        differ += proof.differ
    assert differ == []
    assert min(proof.flows for proof in proofs) > 0
    assert sum(proof.flows for proof in proofs) > 100
