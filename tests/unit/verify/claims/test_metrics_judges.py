"""The judge of the claim about metrics, by what a lab would say of flows: written down."""

import json
from typing import Any

import pytest

from lab.topology import load
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES

WORLDS = ("N-ML-4",)
_PORTS, _MORE = 64, 4
_WHERE = {"FrontendIPAddress": "40.117.227.32", "BackendIPAddress": "10.1.0.6", "ProtocolType": "Tcp"}
_TRUE = {"AllocatedSnatPorts": _PORTS, "UsedSnatPorts": _PORTS, "Successful": 70, "Failed": _MORE + 2}


def _metrics(values: dict[str, int], **where: str) -> ex.Checked:
    found = [
        {
            "name": "SnatConnectionCount" if name in ("Successful", "Failed") else name,
            "value": value,
            "dimensions": {
                **_WHERE,
                **where,
                **({"ConnectionState": name} if name in ("Successful", "Failed") else {}),
            },
        }
        for name, value in values.items()
    ]
    return ex.Checked(status=0, said=json.dumps({"metrics": found}))


def _judged(after: ex.Checked, *, answered: int = _PORTS) -> Judgement:
    """Return what is said of metrics after flows of which 64 were answered; 6 succeeded and 2 failed before."""
    network = load(TOPOLOGIES / "snat-exhaustion.lab.yaml")
    ((_, (trial,)),) = claims.trials(network, frozenset(WORLDS))
    assert trial.subject == "web1"
    before = _metrics({"AllocatedSnatPorts": _PORTS, "Successful": 6, "Failed": 2})
    nothing = ex.Occupied(steps=())
    outcomes = ["answered"] * answered + ["timeout"] * (_PORTS + _MORE - answered)
    opened = ex.Answers(answers=tuple(ex.Answer(outcome=one) for one in outcomes))  # type: ignore[arg-type]
    return trial.judge([nothing, nothing, before, opened, after, opened])


def test_the_claim_holds_where_metrics_say_what_was_sent() -> None:
    assert _judged(_metrics(_TRUE)).verdict == "HOLDS"


@pytest.mark.parametrize(
    ("lie", "where", "reason"),
    [
        ({"AllocatedSnatPorts": 128}, {}, "allocated is 128 instead of 64"),
        ({"UsedSnatPorts": 68}, {}, "used is 68 instead of 64"),
        ({"Successful": 64}, {}, "Successful is 58 instead of 64"),
        ({"Failed": 2}, {}, "Failed is 0 instead of 4"),
        ({}, {"ProtocolType": "Udp"}, "allocated is 0 instead of 64"),
    ],
)
def test_the_claim_is_contradicted_where_metrics_say_otherwise(
    lie: dict[str, int], where: dict[str, Any], reason: str
) -> None:
    judged = _judged(_metrics({**_TRUE, **lie}, **where))
    assert judged.verdict == "CONTRADICTED"
    assert reason in judged.reason


def test_the_claim_is_in_doubt_where_flows_were_not_answered() -> None:
    assert _judged(_metrics(_TRUE), answered=63).verdict == "INCONCLUSIVE"
