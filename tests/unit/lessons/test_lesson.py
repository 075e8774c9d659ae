"""The file of a lesson: what is bundled is whole, and what is wrong is said with its line, all at once."""

import re
from pathlib import Path

import pytest

from lab.cli import cli
from lab.errors import TopologyError, UsageError
from lab.lessons import lesson as lessons
from lab.lessons.lesson import Answer, Edit

GOOD = """\
title: Mine
minutes: 5
topology: |
  internet:
    far: {address: 198.51.100.10, services: [http:80]}
  virtual_networks:
    vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
  virtual_machines:
    vm1: {subnet: vnet1/front}
text: Something is wrong.
steps:
  - task: Mend it.
    check:
      - {from: vm1, to: "far:80/tcp", source_ip: 104.43.142.188}
    solution:
      - replace: "{subnet: vnet1/front}"
        by: "{subnet: vnet1/front, instance_public_ip: {name: own, address: 104.43.142.188}}"
"""


def _written(folder: Path, text: str, name: str = "mine.lesson.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def _wrong(folder: Path, text: str) -> list[str]:
    with pytest.raises(TopologyError) as refused:
        lessons.load(_written(folder, text))
    return [line.replace(f"{folder}/", "") for line in refused.value.lines]


def test_ten_lessons_are_bundled_each_under_ten_minutes_with_hints() -> None:
    found = lessons.lessons()
    assert len(found) == 10
    assert max(one.minutes for one in found) < 10
    assert all(step.hints for one in found for step in one.steps)
    assert [one.name for one in found] == lessons.names()


def test_a_lesson_of_ones_own_is_read(tmp_path: Path) -> None:
    lesson = lessons.load(_written(tmp_path, GOOD))
    assert (lesson.name, lesson.lab) == ("mine", "learn-mine")
    assert lesson.start().startswith("# Lesson mine: Mine\nname: learn-mine\ninternet:")
    assert "own" not in lesson.text_at(0)
    assert "name: own" in lesson.text_at(1)
    assert str(lesson.network([{"from": "vm1", "to": "far:80/tcp"}]).expectations[0].to) == "far:80/tcp"  # type: ignore[union-attr]


def test_the_topology_may_be_a_file_bundled_or_beside_the_lesson(tmp_path: Path) -> None:
    block = GOOD.partition("topology: |\n")[2].partition("text:")[0]
    text = GOOD.replace(f"topology: |\n{block}", "topology: base.lab.yaml\n")
    (tmp_path / "base.lab.yaml").write_text("name: base\n" + block.replace("\n  ", "\n")[2:])
    assert "name: learn-mine\n" in lessons.load(_written(tmp_path, text)).start()
    assert "name: base" not in lessons.load(_written(tmp_path, text)).start()


def test_a_lesson_is_found_by_name_and_number() -> None:
    assert lessons.find("tunnel").title == lessons.find("10").title
    with pytest.raises(UsageError, match='no lesson "tunel"; did you mean "tunnel"'):
        lessons.find("tunel")


def test_all_that_is_wrong_with_the_form_is_said_with_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("minutes: 5", "minutes: many").replace("    solution:", "    hint: none\n    solutions:")
    said = _wrong(tmp_path, text)
    assert said[0].startswith("mine.lesson.yaml:2: minutes: many; input should be a valid integer")
    assert 'mine.lesson.yaml:15: steps.0.hint: unknown key; a lesson has other keys; did you mean "hints"?' in said
    assert any('steps.0.solution: it is not there; "solution" is required; add it' in line for line in said)


def test_a_problem_of_the_topology_has_its_line_in_the_lesson(tmp_path: Path) -> None:
    said = _wrong(tmp_path, GOOD.replace("    vm1: {subnet: vnet1/front}", "    vm1: {subnet: vnet1/fron}"))
    assert said[0].startswith('mine.lesson.yaml:9: virtual_machines.vm1.subnet: no subnet "vnet1/fron"')


def test_a_check_that_names_nothing_is_refused(tmp_path: Path) -> None:
    said = _wrong(tmp_path, GOOD.replace("from: vm1", "from: vm2"))
    assert said[0].startswith("mine.lesson.yaml:13: expect")
    assert "vm2" in said[0]


def test_a_solution_must_fit_the_file(tmp_path: Path) -> None:
    said = _wrong(tmp_path, GOOD.replace('replace: "{subnet: vnet1/front}"', 'replace: "{subnet: vnet2/front}"'))
    assert "stands 0 times in the topology; what a solution replaces must stand there once" in said[0]


@pytest.mark.parametrize("command", ["lab vm stop other vm1", "lab exec learn-mine vm1 -- true"])
def test_a_command_must_be_one_of_the_lessons_lab(command: str, tmp_path: Path) -> None:
    said = _wrong(tmp_path, GOOD.replace("    check:", f"    begins:\n      - {command}\n    check:"))
    assert f'"{command}"; a lesson\'s command is one of lab that names its lab, learn-mine' in said[0]


@pytest.mark.parametrize(("text", "found"), [("", "no mapping"), ("a: [", "a lesson is YAML"), ("- 1", "no mapping")])
def test_what_is_no_lesson_is_refused(text: str, found: str, tmp_path: Path) -> None:
    assert found in _wrong(tmp_path, text)[0]


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        lessons.find(str(tmp_path / "none.yaml"))


def test_a_lesson_needs_a_name_that_its_lab_can_have(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="1 to 14 small letters"):
        lessons.load(_written(tmp_path, GOOD, "a-name-that-is-too-long.lesson.yaml"))


def test_the_parts_of_a_step_are_told_apart() -> None:
    step = lessons.find("pool-member").steps
    assert isinstance(step[0].solution[0], Edit)
    assert isinstance(step[1].check[0], Answer)
    assert step[1].solution == "answer"


def test_the_lesson_of_the_page_is_whole(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "teach-with-lessons.md").read_text()
    lesson = lessons.load(_written(tmp_path, page.partition("```yaml\n")[2].partition("```")[0]))
    assert [len(step.check) for step in lesson.steps] == [1, 1]


def test_the_commands_that_lessons_name_are_there() -> None:
    folder = Path(lessons.__file__).parent
    named = {
        word
        for file in folder.glob("*.lesson.yaml")
        for word in re.findall(r"(?:sudo |`|\"|: )lab ([a-z-]+) ", file.read_text())
    }
    assert {"explain", "outbound", "up"} <= named
    assert named - set(cli.commands) == set()
