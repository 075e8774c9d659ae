"""``lab learn``: the list, what is refused, and what a solution looks like."""

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.cli.learn import solution
from lab.errors import UsageError
from lab.lessons import lesson as lessons
from tests import shapes


def test_lessons_are_listed_without_root() -> None:
    done = CliRunner().invoke(cli, ["learn"])
    assert (done.exit_code, done.output.count("\n")) == (0, 13)
    assert max(map(len, done.output.splitlines())) <= 80
    answer = CliRunner().invoke(cli, ["learn", "-o", "json"])
    assert shapes.misfits(["learn"], answer.stdout) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "--check"], "no lesson"),
        (["learn", "tunnel", "--check", "--end"], "one thing at a time"),
        (["learn", "tunnel", "--hint", "--answer", "x"], "one thing at a time"),
        (["learn", "nothing"], 'no lesson "nothing"'),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_a_solution_is_shown_as_what_changes_and_what_is_typed() -> None:
    assert solution(lessons.find("probes"), 0) == [
        "- port: 8080", "+ port: 80", "$ sudo lab up learn-probes.lab.yaml",
    ]  # fmt: skip
    assert solution(lessons.find("probes"), 1) == ["$ sudo lab nsg rule remove learn-probes web no-platform"]
    assert solution(lessons.find("groups"), 0) == ["--answer internal-only"]
