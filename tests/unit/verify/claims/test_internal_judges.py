"""The judges of claims about internal load balancers, by what a lab would let be seen: written down."""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import msgspec
import pytest

from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = ("T-IL-1", "T-IL-2", "T-IL-3", "T-IL-4", "T-IL-8", "T-IL-9", "T-IL-12")
#: Who answers at each frontend, and whose flows leave.
_BEHIND = {"10.1.1.100": ("web1", "web2"), "10.1.0.200": ("any1", "any2")}
_LONE = ("lone",)
_LEAVING = {"lone", "peer"}
_Lie = Callable[[ex.Experiment, Any], Any]


def _answer(client: str, own: str, node: str) -> ex.Answer:
    if client in ("client", node):
        return ex.Answer("timeout")
    return ex.Answer("answered", node=node, client_address=own)


def observed(what: ex.Experiment, addresses: dict[str, str]) -> ex.Observation:
    """Return what is seen of an experiment where the lab does as the documents say."""
    match what:
        case ex.Ask():
            nodes = islice(cycle(_BEHIND.get(what.address, _LONE)), what.count)
            return ex.Answers(answers=tuple(_answer(what.client, addresses.get(what.client, ""), n) for n in nodes))
        case ex.Send():
            numbers = range(what.count if what.sender in _LEAVING else 0)
            came = tuple(ex.Seen(n, pretend.DEFAULT, 2000 + n, what.destination, 80) for n in numbers)
            ports = tuple(range(1024, 1024 + what.count))
            return ex.Arrivals(
                sent=what.count, source_ports=ports, control=True, seen=(came, came), strays=(), seconds=0.1
            )
        case ex.HoldFlows():
            return ex.Occupied(steps=())
    assert isinstance(what, ex.CheckFile)
    return pretend.checked(what.text)


def judged(claim: str, lie: _Lie = lambda _what, seen: seen) -> list[Judgement]:
    network = load(TOPOLOGIES / "internal.lab.yaml")
    addresses = {vm.name: str(vm.private_ip_address) for vm in network.virtual_machines}
    found = []
    for trial in pretend.trials_of(claim, network):
        given = [lie(e, observed(e, addresses)) for stage in trial.stages for e in stage.experiments]
        found.append(trial.judge(given))
    return found


@pytest.mark.parametrize("claim", WORLDS)
def test_a_claim_holds_where_the_lab_does_as_the_documents_say(claim: str) -> None:
    found = judged(claim)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


def _answers(change: Callable[[ex.Ask, ex.Answer], ex.Answer]) -> _Lie:
    """Return a lie about each answer."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Ask):
            return seen
        return ex.Answers(answers=tuple(change(what, answer) for answer in seen.answers))

    return lie


def _sent(sender: str, address: str) -> _Lie:
    """Return a lie: the flows of a VM leave from an address, or not at all."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Send) or what.sender != sender:
            return seen
        numbers = range(what.count if address else 0)
        came = tuple(ex.Seen(n, address, 2000 + n, what.destination, 80) for n in numbers)
        return msgspec.structs.replace(seen, seen=(came, came))

    return lie


def _accepted(what: ex.Experiment, seen: Any) -> Any:
    return ex.Checked(status=0, said="ok") if isinstance(what, ex.CheckFile) else seen


_ANSWERED = ex.Answer("answered", node="web1", client_address="10.1.1.7")
LIES: tuple[tuple[str, _Lie, str], ...] = (
    ("T-IL-1", _answers(lambda a, seen: _ANSWERED if a.client == "client" else seen), "the host outside is answered"),
    ("T-IL-1", _answers(lambda _a, _seen: ex.Answer("timeout")), "the VM is not answered by all members"),
    ("T-IL-1", _accepted, "was not refused"),
    (
        "T-IL-2",
        _answers(lambda _a, seen: msgspec.structs.replace(seen, client_address="10.1.1.1")),
        "members saw another address",
    ),
    ("T-IL-2", _answers(lambda _a, _seen: ex.Answer("timeout")), "not every flow was answered from the frontend"),
    (
        "T-IL-3",
        _answers(lambda a, _seen: ex.Answer("answered", node=a.client)),
        "it is not answered by just the others",
    ),
    (
        "T-IL-3",
        _answers(lambda _a, seen: ex.Answer("refused") if seen.outcome == "timeout" else seen),
        "no flow that is led to itself is lost in silence",
    ),
    ("T-IL-4", _sent("web1", pretend.DEFAULT), "left from"),
    ("T-IL-4", _sent("lone", ""), "flows did not arrive"),
    ("T-IL-4", _sent("lone", "10.1.1.9"), "seen from 10.1.1.9"),
    (
        "T-IL-8",
        _answers(lambda a, seen: ex.Answer("timeout") if a.kind == "udp" else seen),
        "not every port is led to every member",
    ),
    ("T-IL-8", _accepted, "was not refused"),
    ("T-IL-9", _accepted, "was not refused"),
    ("T-IL-12", _accepted, "was not refused"),
)


@pytest.mark.parametrize(("claim", "lie", "says"), LIES)
def test_a_claim_is_contradicted_where_the_lab_does_otherwise(claim: str, lie: _Lie, says: str) -> None:
    found = [j for j in judged(claim, lie) if j.verdict == "CONTRADICTED"]
    assert [j for j in found if says in j.reason], found
