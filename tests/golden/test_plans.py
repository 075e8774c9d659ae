"""The whole plan of every bundled topology, as `lab plan` prints it: read the difference of these files in a review.

After an intended change: `.venv/bin/python -P -m pytest tests/golden --regold`, which rewrites
`<topology>.plan.txt` beside this file and removes those whose topology is gone.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.compile import compile as compile_network
from lab.topology import load

HERE = Path(__file__).parent
TOPOLOGIES = sorted((HERE.parents[1] / "topologies").glob("*.lab.yaml"))
#: What nobody would read has no golden file: the plan of a thousand VMs is a megabyte of the same.
REVIEWED = [file for file in TOPOLOGIES if len(load(file).virtual_machines) <= 100]
SUFFIX = ".lab.yaml"


def golden(topology: Path) -> Path:
    return HERE / f"{topology.name.removesuffix(SUFFIX)}.plan.txt"


@pytest.mark.parametrize("topology", REVIEWED, ids=lambda file: file.name)
def test_the_plan_is_the_one_that_was_reviewed(topology: Path, pytestconfig: pytest.Config) -> None:
    text = compile_network(load(topology)).text()
    if pytestconfig.getoption("regold"):
        golden(topology).write_text(text)
    assert golden(topology).exists(), "new topology: run pytest tests/golden --regold, and review the file"
    assert text.splitlines() == golden(topology).read_text().splitlines()


def test_every_golden_plan_has_its_topology(pytestconfig: pytest.Config) -> None:
    left_over = set(HERE.glob("*.plan.txt")) - {golden(topology) for topology in REVIEWED}
    if pytestconfig.getoption("regold"):
        for file in left_over:
            file.unlink()
        left_over = set()
    assert left_over == set()


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda file: file.name)
def test_lab_plan_prints_just_this_whatever_the_seed_of_pythons_hashes(topology: Path) -> None:
    """Sets of strings come in another order in every process; a plan must not."""
    printed = {
        subprocess.run(
            [sys.executable, "-P", "-m", "lab", "plan", topology],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert printed == {compile_network(load(topology)).text()}
