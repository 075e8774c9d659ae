"""Every bundled topology: up, every claim judged by packets, down; and nothing is left of it."""

import json
from pathlib import Path

import pytest

from lab import claims
from tests import rootlab

pytestmark = pytest.mark.root

FILES = sorted(rootlab.TOPOLOGIES.glob("*.lab.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_claim_of_a_bundled_topology_holds(file: Path, tmp_path: Path):
    text = file.read_text()
    name = text.split("\nname: ", 1)[1].split()[0]
    copy = tmp_path / file.name
    copy.write_text(text.replace(f"\nname: {name}", f"\nname: all-{name}", 1))
    done = rootlab.run("verify", copy, "-o", "json")
    report = json.loads(done.stdout)
    assert [(r["id"], r["verdict"], r["reason"]) for r in report["results"] if r["verdict"] != "HOLDS"] == []
    assert report["summary"]["holds"] == len(report["results"]) > 10
    assert done.returncode == 0
    assert rootlab.leftovers(f"all-{name}") == []


def test_every_claim_of_the_catalogue_is_proved_in_a_bundled_topology():
    """A claim that applies nowhere proves nothing."""
    from lab import topology

    applied = {claim for file in FILES for claim, _ in claims.trials(topology.load(file))}
    assert {claim.id for claim in claims.CATALOGUE} - applied == set()


def test_an_expectation_that_is_wrong_is_contradicted_with_exit_1(tmp_path: Path):
    text = rootlab.small("wrong") + (
        "expect:\n"
        '  - {from: web, to: "far:80/tcp", source_ip: 40.9.9.9}\n'
        '  - {from: far, to: "40.1.2.3:80/tcp", answered_by: [alone]}\n'
        '  - {from: far, to: "40.1.2.3:81/tcp", outcome: answered}\n'
        '  - {from: web, to: "far:80/tcp", source_ip: 40.1.2.3, source_port: 1024-2047}\n'
    )
    file = tmp_path / "wrong.lab.yaml"
    file.write_text(text)
    done = rootlab.run("verify", file, "-o", "json")
    results = {r["id"]: r for r in json.loads(done.stdout)["results"]}
    assert done.returncode == 1
    assert [results[f"expect-{n}"]["verdict"] for n in (1, 2, 3, 4)] == ["CONTRADICTED"] * 3 + ["HOLDS"]
    assert "seen from 40.1.2.3" in results["expect-1"]["reason"]
    assert "answered by web" in results["expect-2"]["reason"]
    assert "timeout" in results["expect-3"]["reason"]
