"""Every bundled topology: up, every claim judged by packets, down; and nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.azure import profile
from lab.kernel.state import StateDir, locked
from lab.verify import claims
from tests import rootlab

pytestmark = pytest.mark.root

FILES = sorted(rootlab.TOPOLOGIES.glob("*.lab.yaml"))


#: Other revisions of a page than the one its topology names, and claims that show what is different there.
REVISIONS = [
    ("source-ip", "2016-10", "S1-3 S2-2"),
    ("outbound", "2016-10", "S2-2 S2-11 S2-17"),
    ("outbound", "2017-05a", "S2-2 S2-11 S2-17"),
    ("snat-exhaustion", "2017-05b", "S2-5 S2-6 S2-18"),
    ("outbound", "2018-02", "N-SN-12 N-SN-13"),
    ("snat-2019", "2018-02", "N-SN-7 N-SN-12 N-SN-13"),
    ("snat-2019", "2018-07-classic", "N-SN-10 N-SN-12"),
    ("snat-2019", "2018-12", "N-SN-7 N-SN-12"),
    ("snat-2019", "2020-06", "N-SN-6 N-SN-8 N-SN-11"),
    ("snat-2019", "2020-10", "N-SN-12"),
    ("snat-2019", "2022-03", "N-SN-8 N-SN-9 N-SN-11 N-SN-12 N-SN-19"),
    ("standard", "2018-02", "N-SN-16"),
    ("standard", "2018-12", "N-OR-9 N-SN-16"),
    ("standard", "2026-07", "N-OR-9 N-SN-16 N-SN-17"),
    ("outbound-rules", "2018-12", "T-OR-1 T-OR-3 T-OR-14"),
    ("outbound-rules", "2026-07", "T-OR-3 T-OR-9 T-OR-19"),
    ("health-probes", "2016-10", "N-HP-2 N-HP-4"),
    ("snat-2019", "2026-07", "N-SN-7 N-SN-8 N-SN-9 N-SN-11 N-SN-12 N-SN-19"),
]
SLOW = "LAB_SLOW_TESTS"


def _copy(bundled: str, folder: Path) -> tuple[str, Path]:
    """Write a bundled topology under a name of the tests' own; return the name and the file."""
    text = (rootlab.TOPOLOGIES / f"{bundled}.lab.yaml").read_text()
    name = text.split("\nname: ", 1)[1].split()[0]
    own = f"all-{name}"[:20].rstrip("-")  # no name of a lab is longer
    copy = folder / f"{bundled}.lab.yaml"
    copy.write_text(text.replace(f"\nname: {name}", f"\nname: {own}", 1))
    return own, copy


def _judged(name: str, file: Path, *words: str, timeout_s: float = 600.0) -> list[dict[str, Any]]:
    """Return the results of a topology of which every claim must hold, and nothing be left."""
    done = rootlab.run("verify", file, "-o", "json", *words, timeout_s=timeout_s)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert [(r["id"], r["verdict"], r["reason"]) for r in report["results"] if r["verdict"] != "HOLDS"] == []
    assert report["summary"]["holds"] == len(report["results"])
    assert done.returncode == 0
    assert rootlab.leftovers(name) == []
    return report["results"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.name}: all")
def test_every_claim_of_a_bundled_topology_holds(file: Path, tmp_path: Path):
    results = _judged(*_copy(file.name.removesuffix(".lab.yaml"), tmp_path))
    assert len(results) >= 10


@pytest.mark.parametrize(
    ("bundled", "revision", "wanted"),
    [pytest.param(*words, id=f"{words[0]} {words[1]}: {words[2]}") for words in REVISIONS],
)
def test_the_claims_of_another_revision_hold_when_it_is_played(
    bundled: str, revision: str, wanted: str, tmp_path: Path
):
    words = [word for claim in wanted.split() for word in ("--claim", claim)]
    results = _judged(*_copy(bundled, tmp_path), "--profile", revision, *words)
    assert sorted(r["id"] for r in results) == sorted(wanted.split())
    assert {r["profile"].split()[0] for r in results} == {revision}


def test_every_revision_is_verified_somewhere():
    played = {topology.load(file).profile.name for file in FILES} | {revision for _, revision, _ in REVISIONS}
    assert set(profile.NAMES) - played == set()


@pytest.mark.skipif(SLOW not in os.environ, reason=f"four and a half minutes of real time; set {SLOW}=1 to run it")
@pytest.mark.slow
def test_ports_come_back_after_four_minutes_of_real_time_as_they_do_in_scaled_time(tmp_path: Path):
    words = ("--time-scale", "1", "--claim", "S2-9")
    (result,) = _judged(*_copy("snat-exhaustion", tmp_path), *words, timeout_s=400)
    assert result["id"] == "S2-9"
    assert result["seconds"] > 240
    assert "time_scale" not in result["profile"]


def test_every_claim_of_the_catalogue_is_proved_in_a_bundled_topology():
    """A claim that applies nowhere proves nothing."""
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
        nobody_asked = ["-t", "mangle", "-I", "PREROUTING", "1", "-s", "10.1.0.4", "-j", "ACCEPT"]
        rule = ["-t", "nat", "-I", "POSTROUTING", "1", "-s", "10.1.0.4", "-j", "SNAT", "--to-source", "10.1.77.77"]
        for words in (nobody_asked, rule):
            rootlab.must(name, "lb.vnet1", "iptables-legacy", *words)
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


def _files(folder: Path, *names: str) -> list[Path]:
    files = []
    for name in names:
        files.append(folder / f"{name}.lab.yaml")
        files[-1].write_text(rootlab.small(name) + 'expect:\n  - {from: web, to: "far:80/tcp", source_ip: 40.1.2.3}\n')
    return files


def test_topologies_side_by_side_are_judged_in_order_and_one_that_cannot_be_stops_no_other(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("second").replace("interval_in_seconds: 5", "interval_in_seconds: 6")):
        files = _files(tmp_path, "first", "second", "third")  # the second is not the one that runs any more
        done = rootlab.run("verify", *files, "--claim", "expect-1", "--jobs", "3", "-o", "json")
        results = json.loads(done.stdout)["results"]
    assert [(r["topology"], r["verdict"]) for r in results] == [
        ("first", "HOLDS"),
        ("second", "NOT_RUN"),
        ("third", "HOLDS"),
    ]
    assert "runs with another plan" in results[1]["reason"]
    assert done.returncode == 3
    assert rootlab.leftovers("first") == rootlab.leftovers("third") == []


def test_an_interrupt_removes_the_labs_of_all_topologies(tmp_path: Path):
    files = _files(tmp_path, "cut1", "cut2")
    command = [sys.executable, "-P", "-m", "lab", "verify", *map(str, files)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rootlab.wait_until(lambda: all(StateDir(name).read() for name in ("cut1", "cut2")), "both labs are being made")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted; what was made is removed\n")
    assert rootlab.leftovers("cut1") == rootlab.leftovers("cut2") == []


def test_a_lab_that_is_being_judged_is_judged_by_no_other_command(tmp_path: Path):
    (file,) = _files(tmp_path, "twice")
    with locked("twice.judged"):
        done = rootlab.run("verify", file, "--claim", "expect-1", "-o", "json")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["verdict"], done.returncode) == ("NOT_RUN", 3)
    assert 'lab "twice" is being judged by another `lab verify`' in result["reason"]
    assert rootlab.leftovers("twice") == []
