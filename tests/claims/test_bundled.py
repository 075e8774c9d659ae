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


def test_silence_is_in_doubt_where_the_way_there_is_cut(tmp_path: Path):
    text = rootlab.small("cutoff") + 'expect:\n  - {from: far, to: "40.1.2.3:81/tcp", outcome: timeout}\n'
    with rootlab.running(tmp_path, text) as name:
        rootlab.must(name, "internet", "iptables-legacy", "-I", "FORWARD", "-j", "DROP")
        done = rootlab.run("verify", tmp_path / f"{name}.lab.yaml", "--claim", "expect-1", "-o", "json")
        (result,) = json.loads(done.stdout)["results"]
        assert (result["verdict"], done.returncode) == ("INCONCLUSIVE", 3)


def test_a_standalone_vm_that_is_seen_from_a_private_address_contradicts(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("private")) as name:
        rule = ["-I", "POSTROUTING", "1", "-s", "10.1.0.4", "-j", "SNAT", "--to-source", "10.1.77.77"]
        rootlab.must(name, "lb.vnet1", "iptables-legacy", "-t", "nat", *rule)
        claims_to_judge = [word for claim in ("S2-2", "S2-3", "LAB-1") for word in ("--claim", claim)]
        done = rootlab.run("verify", tmp_path / f"{name}.lab.yaml", *claims_to_judge, "-o", "json")
        verdicts = {r["id"]: r["verdict"] for r in json.loads(done.stdout)["results"]}
        assert verdicts == dict.fromkeys(("S2-2", "S2-3", "LAB-1"), "CONTRADICTED")


def test_servers_that_speak_something_else_are_inconclusive_and_lose_no_other_result(tmp_path: Path):
    text = rootlab.small("mixed").replace(
        "alone: {subnet: vnet1/front}", "alone: {subnet: vnet1/front, services: [tcp:80]}"
    )
    text = text.replace("pool: [web]", "pool: [web, alone]")
    file = tmp_path / "mixed.lab.yaml"
    file.write_text(text + 'expect:\n  - {from: far, to: "40.1.2.3:80/tcp", answered_by: [web, alone]}\n')
    done = rootlab.run("verify", file, "-o", "json")
    verdicts = {r["id"]: r["verdict"] for r in json.loads(done.stdout)["results"]}
    assert verdicts["expect-1"] == "INCONCLUSIVE"
    assert set(verdicts.values()) == {"INCONCLUSIVE", "HOLDS"}
