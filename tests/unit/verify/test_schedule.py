"""lab/verify/schedule.py: what a run of many topologies judges, and how far it is."""

import re
from pathlib import Path

import pytest

from lab.verify import claims, schedule
from lab.verify.experiment import CheckFile
from tests.rootlab import TOPOLOGIES, small

NONE: frozenset[str] = frozenset()


def _quiet(_text: str) -> None:
    """Say nothing."""


def _only_files(found: list[claims.Trial]) -> bool:
    return all(isinstance(what, CheckFile) for trial in found for stage in trial.stages for what in stage.experiments)


def test_a_check_that_no_topology_has_a_say_in_is_judged_once_and_all_else_in_each() -> None:
    file = TOPOLOGIES / "load-balancer.lab.yaml"
    first, second = schedule.read([file, file], NONE, _quiet)
    every = claims.trials(first.network)
    once = {claim for claim, found in every if _only_files(found)}
    assert once
    assert [claim for claim, _ in first.planned] == [claim for claim, _ in every]
    assert [claim for claim, _ in second.planned] == [claim for claim, _ in every if claim not in once]


def test_each_file_is_told_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.lab.yaml"
    file.write_text(small("mine"))
    said: list[str] = []
    schedule.read([file], NONE, said.append)
    assert said == ["reading mine.lab.yaml"]


def test_how_far_a_run_is_counts_claims_that_are_judged_and_names_what_runs() -> None:
    chosen = schedule.read([TOPOLOGIES / "source-ip.lab.yaml", TOPOLOGIES / "nsg.lab.yaml"], NONE, _quiet)
    shown: list[str] = []
    watch = schedule._Watch(chosen, lambda state: shown.append(str(state)))
    total = sum(len(one.planned) for one in chosen)
    watch.hear(0, "making 8 namespaces")
    watch.tick([0])
    for claim, _ in chosen[0].planned:
        watch.hear(0, claim)
    watch.hear(1, chosen[1].planned[0][0])
    watch.tick([0, 1])
    last = chosen[0].planned[-1][0]
    assert shown[0] == f"0/{total} claims: source-ip making 8 namespaces"
    done = len(chosen[0].planned) - 1
    pattern = rf"{done}/{total} claims, about \d+ s left: source-ip {last}, nsg {chosen[1].planned[0][0]}"
    assert re.fullmatch(pattern, shown[1])
    watch.tick([1])
    assert shown[2].startswith(f"{done + 1}/{total} claims, about ")


@pytest.mark.parametrize(("memory", "processors", "most"), [(64 << 30, 2, 10), (1 << 30, 8, 3), (1 << 20, 8, 1)])
def test_processors_and_memory_say_how_many_run_at_once(
    memory: int, processors: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else memory)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(processors)))
    assert schedule.carried() == most
