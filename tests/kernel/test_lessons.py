"""Lessons: of each task the checks fail before, and hold after its solution; what a learner types does what it says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lessons import lesson as lessons
from lab.lessons.course import Course
from lab.verify.probe import Prober
from tests import rootlab, shapes

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    with Prober() as made:
        yield made


def _quiet(_text: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("name", lessons.names())
def test_each_task_is_open_before_and_done_after_its_solution(name: str, prober: Prober, tmp_path: Path) -> None:
    course = Course(lessons.find(name), lambda words: rootlab.ok(*words))
    at = course.begin(tmp_path, _quiet)
    try:
        for step in course.lesson.steps:
            answer = "; ".join(step.answers)
            before = course.check(at, None, prober)
            assert any(one.verdict == "CONTRADICTED" for one in before), f"{step.task}: {before}"
            assert not any(one.verdict == "INCONCLUSIVE" for one in before), before
            course.solve(at, _quiet)
            after = course.check(at, answer or None, prober)
            assert [one for one in after if one.verdict != "HOLDS"] == [], step.task
            at = course.advance(at)
        assert course.progress == at
    finally:
        course.end(at)
    assert rootlab.leftovers(course.lesson.lab) == []
    assert list(tmp_path.iterdir()) == []


def _taken(*words: str) -> tuple[int, dict[str, object]]:
    done = rootlab.run("learn", "source-ip", *words, "-o", "json")
    assert "Traceback" not in done.stderr
    assert shapes.misfits(["learn", "source-ip"], done.stdout) == []
    return done.returncode, json.loads(done.stdout)


def test_a_learner_is_led_through_a_lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "learn-source-ip.lab.yaml"
    file.write_text("name: mine\n")
    assert rootlab.run("learn", "source-ip").stderr.startswith(f"{file}: it is there already; no file is overwritten")
    file.unlink()
    try:
        status, at = _taken()
        assert (status, at["step"], at["file"]) == (0, 0, str(file))
        assert _taken("--hint")[1]["hints"] == list(lessons.find("source-ip").steps[0].hints)
        assert _taken("--answer", "40.125.161.55")[0] == 1
        assert _taken("--answer", " 192.0.2.254")[1]["step"] == 1
        status, at = _taken("--check")
        assert (status, at["step"], [c["verdict"] for c in at["checks"]]) == (1, 1, ["CONTRADICTED"])  # type: ignore[attr-defined]
        file.write_text("name: learn-source-ip\n")
        _taken("--restore")
        assert file.read_text() == lessons.find("source-ip").start()
        shown = rootlab.ok("learn", "source-ip", "--solve")
        assert "+       web: {frontend: public" in shown
        assert rootlab.ok("learn").splitlines()[1].split()[-2:] == ["task", "2"]
        assert _taken("--check")[1]["done"] is True
    finally:
        rootlab.run("learn", "source-ip", "--end")
    assert rootlab.leftovers("learn-source-ip") == []
    assert not file.exists()
