"""The table of statements says what the claims do: what packets prove, what is a refusal, what is missing."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import topology
from lab.errors import LabError
from lab.verify import claims
from lab.verify.claims import Trial, coverage
from lab.verify.claims.coverage import ABSENT, FAMILIES, MISSING, PROVED_BY, REFUSED
from lab.verify.experiment import Checked, CheckFile
from tests.unit.conftest import Done, Run

TOPOLOGIES = Path(__file__).parents[4] / "topologies"
EVERYTHING = frozenset(claim.id for claim in claims.CATALOGUE)
STATEMENTS = {one.id: one for one in coverage.statements()}


@pytest.fixture(scope="module")
def trials() -> dict[str, list[Trial]]:
    """Return the trials of every claim in the bundled topologies."""
    found: dict[str, list[Trial]] = {}
    for file in sorted(TOPOLOGIES.glob("*.lab.yaml")):
        for claim, of_one in claims.trials(topology.load(file), EVERYTHING):
            found.setdefault(claim, []).extend(of_one)
    return found


def refusals(trials: dict[str, list[Trial]]) -> Iterator[Trial]:
    """Yield the trials of which every experiment is a file for `lab check`, which must refuse it."""
    for trial in (trial for of_one in trials.values() for trial in of_one):
        files = all(isinstance(e, CheckFile) for stage in trial.stages for e in stage.experiments)
        if files and trial.expected.startswith("refused"):
            yield trial


@functools.cache
def checked(text: str) -> Checked:
    """Return what `lab check` says of a file."""
    try:
        topology.parse(text, "f")
    except LabError as error:
        return Checked(status=2, said=str(error))
    return Checked(status=0, said="f: ok")


def test_every_claim_is_a_statement_that_is_listed():
    assert coverage.promises() == ["LAB-1"]
    assert len(STATEMENTS) == sum(FAMILIES.values()) == 301


def test_the_tables_name_only_statements_and_none_twice():
    listed = [*REFUSED, *MISSING, *ABSENT, *PROVED_BY]
    assert [one for one in listed if one not in STATEMENTS] == []
    assert len(listed) == len(set(listed))


def test_a_statement_is_absent_only_if_it_has_no_claim():
    assert sorted(ABSENT.keys() & EVERYTHING) == []
    assert {one for one, found in STATEMENTS.items() if found.state == "absent"} == ABSENT.keys()


def test_a_statement_that_others_prove_has_no_claim_and_these_prove_all_that_counts():
    assert sorted(PROVED_BY.keys() & EVERYTHING) == []
    for one, (others, words, missing) in PROVED_BY.items():
        assert set(others) <= EVERYTHING, one
        assert words.endswith("."), one
        # What is missing of a claim that proves it is missing here, too, or is nothing that it says.
        assert missing or not [other for other in others if STATEMENTS[other].state in ("partial", "absent")], one


def test_a_statement_that_counts_as_proved_has_a_trial_in_a_bundled_topology(trials: dict[str, list[Trial]]):
    proved = [(one, found) for one, found in STATEMENTS.items() if found.state != "absent"]
    assert [one for one, found in proved if not all(trials.get(claim) for claim in found.proved_by or (one,))] == []


def test_a_refusal_is_one_whose_trials_all_are(trials: dict[str, list[Trial]]):
    refused = {one for one, of_one in trials.items() if all(t.expected == "refused, exit 2" for t in of_one)}
    assert {one for one in refused & STATEMENTS.keys() if STATEMENTS[one].state != "partial"} == REFUSED


def test_files_are_refused_and_accepted_as_the_claims_say(trials: dict[str, list[Trial]]):
    found = {}
    for trial in (trial for of_one in trials.values() for trial in of_one):
        experiments = [e for stage in trial.stages for e in stage.experiments]
        if experiments and all(isinstance(e, CheckFile) for e in experiments):
            found[trial.claim, trial.subject] = trial.judge([checked(e.text) for e in experiments])
    assert len(found) >= 80
    assert {key: j.reason for key, j in found.items() if j.verdict != "HOLDS"} == {}


def test_a_refusal_for_another_reason_contradicts_a_claim(trials: dict[str, list[Trial]]):
    other = Checked(status=2, said="x.lab.yaml:1: name: it is wrong; it must be right; correct it")
    found = list(refusals(trials))
    assert len(found) >= 20
    believed = [t.claim for t in found if t.judge([other for stage in t.stages for _ in stage.experiments]).verdict
                != "CONTRADICTED"]  # fmt: skip
    assert believed == []


def test_the_command_lists_every_statement_with_its_state(lab: Run):
    done = lab("claims", "--coverage")
    assert [line.split()[:2] for line in done.out.splitlines()[1:-2]] == [
        [one.id, one.state] for one in STATEMENTS.values()
    ]
    assert done.out.splitlines()[-1].split(", ")[0] == f"{sum(s.state == 'proved' for s in STATEMENTS.values())} proved"


def test_the_command_prints_json_with_what_is_missing(lab: Run):
    found = json.loads(lab("claims", "--coverage", "S1-3", "-o", "json").out)
    assert found["summary"] == {"proved": 1, "refusal": 0, "partial": 0, "absent": 0}
    assert list(found["statements"][0]) == ["id", "state", "statement", "missing", "proved_by", "proved_in"]
    assert "source-ip" in found["statements"][0]["proved_in"]


def test_a_statement_that_is_not_listed_is_named_with_the_nearest(lab: Run):
    assert lab("claims", "--coverage", "S1-33") == Done(2, "", 'no statement "S1-33"; did you mean "S1-3"?\n')
