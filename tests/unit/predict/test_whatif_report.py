"""Differences as a comment and as test results, and the examples of jobs that use them."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from defusedxml import ElementTree
from msgspec import structs

from lab import cli, topology
from lab.predict import whatif
from lab.predict.whatif_report import junit, markdown
from tests import rootlab

EXAMPLES = rootlab.CHECKOUT / "examples" / "gate"


@pytest.fixture(scope="module")
def changes() -> tuple[whatif.Change, ...]:
    """Return what changes when the address of a load balancer does."""
    text = (rootlab.TOPOLOGIES / "source-ip.lab.yaml").read_text()
    before = topology.parse(text, "before.lab.yaml")
    return whatif.changes(before, topology.parse(text.replace("40.125.161.55", "40.125.161.77"), "after.lab.yaml"))


def test_the_comment_says_first_what_outside_hosts_see(changes: tuple[whatif.Change, ...]):
    lines = markdown(changes).splitlines()
    assert lines[0] == "**lab whatif**: 1 difference"
    assert lines[2] == "- outside sees `40.125.161.77` instead of `40.125.161.55` of test2vm"
    assert lines[-1].startswith("| test2vm to outside | source address | 40.125.161.55 | 40.125.161.77 | NAT rule ssh")


def test_senders_that_change_alike_share_a_line(changes: tuple[whatif.Change, ...]):
    (one,) = changes
    both = (one, structs.replace(one, sender="web2"))
    assert "of test2vm, web2\n" in markdown(both)
    assert [case.get("name") for case in ElementTree.fromstring(junit(both)).iter("testcase")] == [
        "test2vm to outside: source address",
        "web2 to outside: source address",
    ]


def test_a_table_keeps_its_cells_whatever_is_in_them(changes: tuple[whatif.Change, ...]):
    (one,) = changes
    odd = structs.replace(one, after=structs.replace(one.after, value="a|b", because="c\nd<e>"))
    assert markdown((odd,)).splitlines()[-1].endswith(r"| a\|b | c d&lt;e> |")


def test_each_difference_is_a_failed_test_and_none_is_a_passed_one(changes: tuple[whatif.Change, ...]):
    suite = ElementTree.fromstring(junit(changes))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    (failure,) = suite.iter("failure")
    assert failure.get("message").startswith("40.125.161.55 -> 40.125.161.77; because: NAT rule ssh")
    none = ElementTree.fromstring(junit(()))
    assert (none.get("tests"), none.get("failures"), len(list(none.iter("failure")))) == ("1", "0", 0)
    assert markdown(()) == "**lab whatif**: nothing changes for any flow\n"


@pytest.mark.parametrize(("after", "status"), [("source-ip", 0), ("outbound", 3)])
def test_strict_ends_with_3_if_anything_changes(after: str, status: int, monkeypatch: pytest.MonkeyPatch):
    files = [str(rootlab.TOPOLOGIES / f"{name}.lab.yaml") for name in ("source-ip", after)]
    done = CliRunner().invoke(cli.cli, ["whatif", *files, "--strict"])
    said = str(done.exception) if done.exception else ""
    assert ("--strict allows none" in said) == (status == 3)


def _scripts(file: Path) -> Iterator[str]:
    data: dict[Any, Any] = yaml.safe_load(file.read_text())
    for job in (data, *data.values()):
        if isinstance(job, dict):
            steps = [*job.get("steps", ()), *job.get("script", ())]
            yield from (step["run"] if isinstance(step, dict) else step for step in steps)


@pytest.mark.parametrize("name", ["action.yml", "gitlab-ci.yml"])
def test_the_examples_use_commands_and_options_that_there_are(name: str):
    found = 0
    for line in (line for script in _scripts(EXAMPLES / name) for line in script.splitlines()):
        words = shlex.split(line.partition(" > ")[0].partition(" | ")[0].partition(" >> ")[0].rstrip(")"))
        while "lab" in words:
            words = words[words.index("lab") + 1 :]
            command: click.Command = cli.cli
            while isinstance(command, click.Group):
                command = command.commands[words.pop(0)]
            known = {option for param in command.params for option in param.opts}
            assert {word for word in words if word.startswith("-")} <= known, line
            found += 1
    assert found == 5


def test_the_action_is_a_composite_one_whose_steps_name_their_shell():
    runs = yaml.safe_load((EXAMPLES / "action.yml").read_text())["runs"]
    assert runs["using"] == "composite"
    assert [step["shell"] for step in runs["steps"]] == ["bash"] * 2
