"""The judge of how long flows of outbound rules may be idle, by what a lab would let be seen: written down."""

from typing import Any

import msgspec
import pytest

from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = ("T-OR-15", "N-OR-2")

_TOLD = tuple(ex.Told(end, "RST", 3.02, believed=True) for end in ("client", "server"))  # type: ignore[arg-type]
_LEFT = ex.Left(
    flows=(
        ex.LeftFlow("udp", True, ()),
        ex.LeftFlow("half closed", True, ()),
        ex.LeftFlow("tcp", True, _TOLD, ended=True),
    )
)
_HELD = tuple(
    ex.Happened(**seen)
    for seen in ({"answered": 2}, {}, {"answered": 2}, {}, {"silent": 2})
)  # fmt: skip


def _step(number: int, **seen: Any) -> tuple[ex.Happened, ...]:
    return tuple(ex.Happened(**seen) if at == number else step for at, step in enumerate(_HELD))


def _flow(number: int, **changed: Any) -> ex.Left:
    flows = [msgspec.structs.replace(f, **changed) if at == number else f for at, f in enumerate(_LEFT.flows)]
    return ex.Left(flows=tuple(flows))


def judged(held: tuple[ex.Happened, ...] = _HELD, left: ex.Left = _LEFT, said: str = "") -> list[Judgement]:
    """Return what is said of the trial with packets, or of files that are refused with some words."""
    found = []
    for trial in pretend.trials_of("T-OR-15", load(TOPOLOGIES / "outbound-rules.lab.yaml", profile="2022-03")):
        (stage,) = trial.stages
        if isinstance(stage.experiments[0], ex.CheckFile):
            if said:
                found.append(trial.judge([ex.Checked(status=2, said=said), ex.Checked(status=0, said="")]))
        elif not said:
            found.append(trial.judge([ex.Occupied(steps=held), left]))
    return found


def test_flows_that_end_as_their_rules_say_prove_it() -> None:
    assert [j.verdict for j in judged()] == ["HOLDS"]


@pytest.mark.parametrize("claim", WORLDS)
def test_a_refusal_needs_its_own_reason(claim: str) -> None:
    network = load(TOPOLOGIES / "outbound-rules.lab.yaml", profile="2022-03")
    files = [
        t for t in pretend.trials_of(claim, network) if isinstance(t.stages[0].experiments[0], ex.CheckFile)
    ]  # fmt: skip
    assert len(files) == 2
    for trial in files:
        accepted, other = ex.Checked(status=0, said=""), ex.Checked(status=2, said="lab.yaml:9: unknown key")
        words = "an idle timeout is 4 to 120 minutes" if claim == "T-OR-15" else "an idle timeout is 4 to 66 minutes"
        refused = ex.Checked(status=2, said=words)
        found = [trial.judge([first, accepted]).verdict for first in (refused, accepted, other)]
        assert found == ["HOLDS", "CONTRADICTED", "CONTRADICTED"]


@pytest.mark.parametrize(
    ("held", "left", "reason"),
    [
        (_step(2, answered=1, silent=1), _LEFT, "1 flows ended within 4 minutes"),
        (_step(4, answered=2), _LEFT, "2 flows outlived 4 minutes"),
        (_step(4, refused=2), _LEFT, "2 flows ended with a reset instead of in silence"),
        (_HELD, _flow(2, told=_TOLD[:1]), "the server got 0 resets instead of one"),
        (_HELD, _flow(2, told=tuple(msgspec.structs.replace(t, seconds=1.0) for t in _TOLD)), "came after 1.0 s"),
        (_HELD, _flow(2, told=tuple(msgspec.structs.replace(t, seconds=9.0) for t in _TOLD)), "came after 9.0 s"),
        (_HELD, _flow(2, told=tuple(msgspec.structs.replace(t, believed=False) for t in _TOLD)), "another sequence"),
        (_HELD, _flow(2, ended=False), "did not believe the reset"),
        (_HELD, _flow(1, told=_TOLD[:1]), "a half closed flow was told: RST"),
        (_HELD, _flow(0, told=_TOLD[:1]), "a udp flow was told: RST"),
    ],
)
def test_flows_that_end_otherwise_contradict_it(held: tuple[ex.Happened, ...], left: ex.Left, reason: str) -> None:
    (found,) = judged(held, left)
    assert found.verdict == "CONTRADICTED"
    assert reason in found.reason


def test_a_flow_that_never_began_proves_nothing() -> None:
    (found,) = judged(left=_flow(2, answered=False))
    assert found.verdict == "INCONCLUSIVE"
