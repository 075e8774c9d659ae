"""Random topologies on the wire: before and after changes, every flow is what the documents say of it.

`scripts/differential` looks at more of them, and at what a packet-filter rule that is taken away alters.
"""

import re
from functools import partial
from pathlib import Path

import pytest

from lab.kernel.workers import Job, side_by_side
from tests.differential import drawing, running, wire
from tests.differential.oracle import Oracle

SEEDS = range(25)
_AT_ONCE = 3  # most of the time is waited


def _one(folder: Path, seed: int, _say: object) -> list[str]:
    return running.run(folder, seed, drawing.draw(seed, f"differ{seed}"))


@pytest.mark.root
def test_flows_of_random_topologies_are_as_the_documents_say(tmp_path: Path):
    jobs = [Job(str(seed), partial(_one, tmp_path, seed)) for seed in SEEDS]
    results = side_by_side(jobs, _AT_ONCE, lambda *_: None, lambda _: None)
    found = {seed: result for seed, result in zip(SEEDS, results, strict=True) if result != []}
    assert found == {}, "scripts/differential --first SEED --seeds 1 writes the smallest file that differs"


def test_the_seeds_have_every_kind_of_outcome():
    """What is drawn is worth sending: each way out, silence, several members, members that are down, access lists."""
    oracles = [Oracle(drawing.text_of(drawing.draw(seed))) for seed in SEEDS]
    flows = [flow for oracle in oracles for flow in wire.flows(oracle)]
    ways = [oracle.way(vm, "tcp") for oracle in oracles for vm in oracle.vms]
    assert {way is None or (way.port_kept, len(way.addresses) > 1) for way in ways} == {
        True,
        (False, False),
        (False, True),
        (True, False),
    }
    silent = sum(flow.expected.silent for flow in flows)
    assert silent > 100
    assert len(flows) - silent > 1000
    assert any(len(flow.expected.answerers) > 1 for flow in flows)
    assert any(front.acl for oracle in oracles for front in oracle.fronts)
    assert any(not oracle.up(vm, front.probe) for oracle in oracles for front in oracle.fronts for vm in front.members)


def test_the_oracle_imports_nothing_of_the_project():
    text = (Path(__file__).parent / "oracle.py").read_text()
    imports = re.findall(r"^\s*(?:from|import) (\S+)", text, re.MULTILINE)
    assert set(imports) == {"dataclasses", "ipaddress", "typing", "yaml"}
