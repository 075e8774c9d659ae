"""The judges of claims about peerings, by what a lab would let be seen: written down."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.azure.model import Network
from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = tuple(f"T-PE-{number}" for number in (1, 2, 3, 4, 5, 7, 8, 11, 12, 14))
#: Who is answered by whom, as the documents have it; the last is what a command may add.
_JOINED = {frozenset(pair) for pair in (("hub", "spoke1"), ("hub", "spoke2"))}
_OPENED = frozenset(("hub", "closed"))
_BASIC = "10.0.1.100"
_STATES = {
    ("hub", "spoke1"): "Connected",
    ("hub", "spoke2"): "Connected",
    ("closed", "hub"): "Connected",
    ("spoke1", "lone"): "Initiated",
}
_Lie = Callable[[ex.Experiment, Any], Any]


class World:
    """A lab that does as the documents say, with what was done in it."""

    def __init__(self, network: Network) -> None:
        self.homes = {vm.name: vm.virtual_network for vm in network.virtual_machines}
        self.at = {str(vm.private_ip_address): vm for vm in network.virtual_machines}
        self.own = {vm.name: str(vm.private_ip_address) for vm in network.virtual_machines}
        self.joined, self.states, self.creating = set(_JOINED), dict(_STATES), 0

    def seen(self, what: ex.Experiment) -> Any:
        match what:
            case ex.Ask():
                return ex.Answers(answers=(ex.Answer("answered" if self.answers(what) else "timeout"),) * what.count)
            case ex.Run():
                return self.done(what.words)
            case ex.Lookup():
                known = what.name == what.client
                return ex.Names(addresses=(self.own[what.name],) if known else (), said="")
        assert isinstance(what, ex.CheckFile)
        return pretend.checked(what.text)

    def answers(self, what: ex.Ask) -> bool:
        home = self.homes[what.client]
        if what.address not in self.at:
            return home != "spoke2" or what.address != _BASIC
        return frozenset((home, self.at[what.address].virtual_network)) in self.joined

    def done(self, words: tuple[str, ...]) -> ex.Checked:
        match words[1]:
            case "show":
                listed = [
                    {"virtualNetwork": one, "remoteVirtualNetwork": other, "peeringState": state}
                    for (one, other), state in self.states.items()
                ]
                return ex.Checked(status=0, said=json.dumps({"peerings": listed}))
            case "set":
                self.joined.add(_OPENED)
            case "delete":
                self.joined.discard(frozenset(("hub", "spoke2")))
                self.states["hub", "spoke2"] = "Disconnected"
            case "create":
                self.creating += 1
                if self.creating == 1:
                    return ex.Checked(status=2, said="RemotePeeringIsDisconnected")
        return ex.Checked(status=0, said="")


def judged(claim: str, lie: _Lie = lambda _what, seen: seen) -> list[Judgement]:
    network = load(TOPOLOGIES / "peerings.lab.yaml")
    found = []
    for trial in pretend.trials_of(claim, network):
        world = World(network)
        given = [lie(e, world.seen(e)) for stage in trial.stages for e in stage.experiments]
        found.append(trial.judge(given))
    return found


@pytest.mark.parametrize("claim", WORLDS)
def test_a_claim_holds_where_the_lab_does_as_the_documents_say(claim: str) -> None:
    found = judged(claim)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


def _all(outcome: ex.Outcome, *, which: Callable[[ex.Ask], bool] = lambda _ask: True) -> _Lie:
    """Return a lie: questions end in this way."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Ask) or not which(what):
            return seen
        return ex.Answers(answers=(ex.Answer(outcome),) * what.count)

    return lie


def _state(state: str) -> _Lie:
    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Run) or what.words[1] != "show":
            return seen
        listed = [one | {"peeringState": state} for one in json.loads(seen.said)["peerings"]]
        return ex.Checked(status=0, said=json.dumps({"peerings": listed}))

    return lie


def _created(status: int) -> _Lie:
    return lambda what, seen: (
        ex.Checked(status=status, said="") if isinstance(what, ex.Run) and what.words[1] == "create" else seen
    )


def _accepted(what: ex.Experiment, seen: Any) -> Any:
    return ex.Checked(status=0, said="ok") if isinstance(what, ex.CheckFile) else seen


def _named(known: bool) -> _Lie:
    return lambda what, seen: (
        ex.Names(addresses=("10.1.0.4",) if known else (), said="") if isinstance(what, ex.Lookup) else seen
    )


LIES: tuple[tuple[str, _Lie, str], ...] = (
    ("T-PE-1", _all("timeout"), "two halves do not carry every flow"),
    ("T-PE-1", _all("answered"), "a half alone carries flows"),
    ("T-PE-1", _state("Connected"), "the states are others"),
    ("T-PE-1", _state("Initiated"), "the states are others"),
    ("T-PE-2", _all("answered"), "flows pass although a half is deleted"),
    ("T-PE-2", _state("Connected"), "the other half is not Disconnected"),
    ("T-PE-2", _created(0), "a new half is not refused"),
    ("T-PE-3", _all("answered"), "two peers of a network reach each other"),
    ("T-PE-3", _all("timeout"), "a peer is not answered by the network in between"),
    ("T-PE-4", _accepted, "was not refused"),
    ("T-PE-5", _all("answered"), "flows pass although access is off"),
    ("T-PE-5", _state("Initiated"), "the peering is not Connected"),
    ("T-PE-5", _all("timeout"), "flows are lost although access is on"),
    ("T-PE-7", _accepted, "was not refused"),
    ("T-PE-8", _all("timeout", which=lambda ask: ask.client == "more1"), "flows between subnets of peers"),
    ("T-PE-11", _all("answered"), "another region reaches the Basic one"),
    ("T-PE-11", _all("timeout", which=lambda ask: ask.client == "app1"), "a peer of the region is not answered"),
    ("T-PE-11", _all("timeout", which=lambda ask: ask.client == "app2"), "not answered by the Standard one"),
    ("T-PE-12", _named(known=False), "does not know a name of its own network"),
    ("T-PE-14", _accepted, "was not refused"),
)


@pytest.mark.parametrize(("claim", "lie", "says"), LIES)
def test_a_claim_is_contradicted_where_the_lab_does_otherwise(claim: str, lie: _Lie, says: str) -> None:
    found = [j for j in judged(claim, lie) if j.verdict == "CONTRADICTED"]
    assert [j for j in found if says in j.reason], found


def test_a_name_of_a_peer_that_is_known_contradicts() -> None:
    network = load(TOPOLOGIES / "peerings.lab.yaml")
    (trial,) = pretend.trials_of("T-PE-12", network)
    own = trial.stages[0].experiments[0]
    assert isinstance(own, ex.Lookup)
    address = str(next(vm.private_ip_address for vm in network.virtual_machines if vm.name == own.client))
    known = ex.Names(addresses=(address,), said="")
    assert trial.judge([known, known]).reason == "it knows a name of a peer"
