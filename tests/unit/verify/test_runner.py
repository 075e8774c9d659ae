"""lab/verify/runner.py: whether a lab that runs is the one of the file, also while its members come and go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.azure import model
from lab.compile import compile as compile_network
from lab.errors import TopologyError
from lab.kernel import state
from lab.kernel.state import MemberHealth, StateDir
from lab.plan import HealthCheck
from lab.runtime import lifecycle
from lab.verify import runner
from tests import worlds
from tests.rootlab import TOPOLOGIES

NETWORK = worlds.load_balanced(2)
KEYS = sorted(check.key for check in compile_network(NETWORK).of(HealthCheck))


class Played:
    """A lab's folder that says something else each time it is looked at: who is down in the rules, what is known."""

    def __init__(self, *looks: tuple[Sequence[str], Sequence[str]]) -> None:
        self._looks = list(looks)
        self.looked = 0

    def plan(self) -> Any:
        return compile_network(NETWORK, frozenset(self._now()[0]))

    def health(self) -> dict[str, MemberHealth]:
        applied, known = self._now()
        self.looked += 1
        return {
            key: MemberHealth(
                up=key not in known,
                judged=True,
                applied=(key in applied) == (key in known),
                since=0.0,
                reason="",
            )
            for key in KEYS
        }

    def _now(self) -> tuple[Sequence[str], Sequence[str]]:
        return self._looks[min(self.looked, len(self._looks) - 1)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_LOOK_S", 0.0)


def agrees(folder: Any, network: Any = NETWORK) -> bool:
    return runner._agrees(folder, network)


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.lab.yaml")), ids=lambda file: file.name)
def test_every_member_that_is_asked_for_its_health_is_down_while_nothing_is_known_of_it(file: Path) -> None:
    network = topology.load(file)
    assert lifecycle.down_of(network, {}) == {check.key for check in compile_network(network).of(HealthCheck)}


@pytest.mark.parametrize("down", [[], KEYS[:1], KEYS])
def test_a_lab_has_the_plan_of_its_file_whoever_is_down(down: list[str]) -> None:
    assert agrees(Played((down, down)))


def test_rules_that_do_not_follow_yet_are_waited_for() -> None:
    assert agrees(Played(*[([], KEYS[:1])] * 5, (KEYS[:1], KEYS[:1])))


def test_another_plan_is_told_at_once_where_the_rules_follow() -> None:
    folder = Played(([], []))
    assert not agrees(folder, worlds.load_balanced(1))
    assert folder.looked == 2


def test_rules_that_never_follow_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_AGENT_S", 0.05)
    assert not agrees(Played(([], KEYS[:1])))


def test_what_the_lab_that_runs_may_not_become_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RUN", tmp_path)
    file = tmp_path / "moved.lab.yaml"
    file.write_text(
        "name: moved\nvirtual_networks:\n  v:\n    address_space: [10.1.0.0/16]\n    location: China North\n"
        "    subnets: {s: 10.1.0.0/24}\n  w: {location: China East, address_space: [10.2.0.0/16]}\n"
    )
    folder = StateDir("moved")
    folder.make()
    folder.network_file.write_bytes(model.encode(topology.load(file)))
    assert runner.load(file).name == "moved"
    file.write_text(file.read_text().replace("China North", "Earth").replace("location: China East, ", ""))
    with pytest.raises(TopologyError) as caught:
        runner.load(file)
    where = [line.split(": ")[:2] for line in caught.value.lines]
    assert where == [
        [f"{file}:5", "virtual_networks.v.location"],
        [f"{file}:7", "virtual_networks.w.location"],
    ]
