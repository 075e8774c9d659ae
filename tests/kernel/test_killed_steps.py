"""Whatever step a command is killed at, `down` leaves the machine as it was, and `up` makes a lab that is whole.

`scripts/kill-steps` kills at every step; here, at some of them.
"""

from collections.abc import Iterator

import pytest

from tests import kills, rootlab
from tests.scenarios import NAME, Scenario

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    yield Scenario(tmp_path_factory.mktemp("killed"))
    rootlab.run("down", NAME)


def test_up_is_killed(scenario: Scenario):
    scenario.up(lambda steps: (3, steps // 3, 2 * steps // 3 + 1, steps - 3))


def test_a_change_is_killed(scenario: Scenario):
    scenario.change(lambda steps: (steps // 4, steps // 2 + 1, steps - 4))


def test_an_operation_is_killed(scenario: Scenario):
    scenario.operations(lambda steps: (steps // 2,))


def test_down_is_killed(scenario: Scenario):
    scenario.down(lambda steps: (4, steps // 2, steps - 5))


def test_the_commands_were_killed_and_not_merely_run(scenario: Scenario):
    assert scenario.killed == 12
    assert kills.kill_at(0, "down", "no-such") is None
