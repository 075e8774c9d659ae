"""The judges of claims about route tables and appliances, by what a lab would let be seen: written down."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = ("T-UR-4", "T-UR-8", "T-UR-10", "T-UR-12", "T-UR-14", "T-UR-15", "T-UR-20", "T-UR-21", "T-PE-6")
_LOST = {("near1", "10.0.2.9"), ("near1", "198.51.100.99"), ("near1", "198.51.100.96"), ("api", "203.0.113.50")}
_SEEN = {("nva", "198.51.100.20"): "192.0.2.254", ("app1", "198.51.100.20"): "192.0.2.254"}
_ROUTES = {
    "app1": [("Default", "Invalid", "0.0.0.0/0", "Internet"), ("User", "Active", "0.0.0.0/0", "VirtualAppliance")],
    "near1": [("User", "Invalid", "198.51.100.96/30", "VirtualAppliance")],
}
_OTHERS = [("Default", "Active", "0.0.0.0/0", "Internet"), ("Default", "Active", "10.0.0.0/8", "None")]
_Lie = Callable[[ex.Experiment, Any], Any]


def _listed(*rows: tuple[str, str, str, str]) -> ex.Checked:
    keys = ("source", "state", "addressPrefix", "nextHopType")
    found = [dict(zip(keys, row, strict=True)) for row in rows]
    return ex.Checked(
        status=0, said=json.dumps({"value": [r | {"addressPrefix": [r["addressPrefix"]]} for r in found]})
    )


def _seen(what: ex.Experiment, stage: int) -> Any:
    match what:
        case ex.Ask():
            pair = (what.client, what.address)
            shut = stage == 1 and what.address == "10.2.0.4"
            outcome: ex.Outcome = "timeout" if pair in _LOST or shut else "answered"
            return ex.Answers(answers=(ex.Answer(outcome, client_address=_SEEN.get(pair, "192.0.2.253")),))
        case ex.Run():
            return _listed(*_ROUTES.get(what.words[2], _OTHERS))
    assert isinstance(what, ex.CheckFile)
    return pretend.checked(what.text)


def judged(claim: str, lie: _Lie = lambda _what, seen: seen) -> list[Judgement]:
    found = []
    for trial in pretend.trials_of(claim, load(TOPOLOGIES / "routes.lab.yaml")):
        given = [lie(e, _seen(e, number)) for number, stage in enumerate(trial.stages) for e in stage.experiments]
        found.append(trial.judge(given))
    return found


@pytest.mark.parametrize("claim", WORLDS)
def test_a_claim_holds_where_the_lab_does_as_the_documents_say(claim: str) -> None:
    found = judged(claim)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


def _all(outcome: ex.Outcome, address: str = "192.0.2.254") -> _Lie:
    return lambda what, seen: (
        ex.Answers(answers=(ex.Answer(outcome, client_address=address),)) if isinstance(what, ex.Ask) else seen
    )


def _shown(*rows: tuple[str, str, str, str]) -> _Lie:
    return lambda what, seen: _listed(*rows) if isinstance(what, ex.Run) else seen


def _accepted(what: ex.Experiment, seen: Any) -> Any:
    return ex.Checked(status=0, said="ok") if isinstance(what, ex.CheckFile) else seen


_DEFAULT = ("Default", "Invalid", "0.0.0.0/0", "Internet")
_USER = ("User", "Active", "0.0.0.0/0", "VirtualAppliance")
LIES: tuple[tuple[str, _Lie, str], ...] = (
    ("T-UR-4", _all("timeout"), "the shorter route does not lead on"),
    ("T-UR-4", _all("answered"), "the longer route does not decide"),
    ("T-UR-8", _shown(*_OTHERS), "the system route is not Invalid"),
    ("T-UR-8", _shown(_DEFAULT), "the user's route is not Active"),
    ("T-UR-8", _shown(_DEFAULT, _USER), "a subnet without the table has not its own route"),
    ("T-UR-10", _accepted, "was not refused"),
    ("T-UR-12", _all("timeout"), "an appliance with IP forwarding passes nothing on"),
    ("T-UR-12", _all("answered"), "a VM without IP forwarding passes packets on"),
    ("T-UR-12", _shown(("User", "Active", "198.51.100.96/30", "VirtualAppliance")), "a route to no VM is not Invalid"),
    ("T-UR-14", _all("timeout", ""), "flows were not answered"),
    ("T-UR-14", _all("answered"), "a route to Internet leaves by the appliance"),
    ("T-UR-15", _all("answered"), "answers do not take the route to the appliance"),
    ("T-UR-20", _accepted, "was not refused"),
    ("T-UR-21", _accepted, "was not refused"),
    ("T-PE-6", _all("timeout"), "forwarded traffic is lost although it is allowed"),
    ("T-PE-6", _all("answered"), "forwarded traffic is let in although it is not allowed"),
)


@pytest.mark.parametrize(("claim", "lie", "says"), LIES)
def test_a_claim_is_contradicted_where_the_lab_does_otherwise(claim: str, lie: _Lie, says: str) -> None:
    found = [j for j in judged(claim, lie) if j.verdict == "CONTRADICTED"]
    assert [j for j in found if says in j.reason], found
