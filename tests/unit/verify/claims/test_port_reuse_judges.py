"""The judge of the claim that one public port serves two destinations, by what a lab would let be seen."""

import pytest

from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = ("N-SN-21",)
_PORTS = {"stream": 16, "datagram": 24}


def _judged(*, answered: int = 0, moved: int = 0) -> list[Judgement]:
    """Judge where so many fewer flows to the second host are answered, or come from so many other ports."""
    found = []
    for trial in pretend.trials_of("N-SN-21", load(TOPOLOGIES / "outbound-rules.lab.yaml")):
        (held,) = trial.stages[0].experiments
        assert isinstance(held, ex.HoldFlows)
        count = _PORTS[held.client]
        steps = [
            ex.Happened(
                answered=count - fewer,
                silent=fewer,
                seen=tuple(ex.Source("40.117.227.4", 1024 + first + n) for n in range(count - fewer)),
            )
            for fewer, first in ((0, 0), (answered, moved))
        ]
        found.append(trial.judge([ex.Occupied(steps=tuple(steps))]))
    return found


def test_the_same_ports_at_both_destinations_are_what_the_document_says():
    assert [(j.verdict, j.reason) for j in _judged()] == [("HOLDS", "")] * 2


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"answered": 16}, "0 flows were answered instead of 16"),
        ({"moved": 1}, "15 of 16 ports serve both destinations"),
        ({"moved": 100}, "0 of 16 ports serve both destinations"),
    ],
)
def test_other_ports_or_fewer_flows_contradict_it(seen: dict[str, int], reason: str):
    found = _judged(**seen)
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert reason in [j.reason for j in found]
