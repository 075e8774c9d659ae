"""Every claim of the catalogue can say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

from collections.abc import Callable

import pytest

from lab import claims
from lab import experiment as ex
from lab.model import Network
from tests import worlds
from tests.unit.claims import pretend
from tests.unit.claims.pretend import DEFAULT, Lab, Lie, about, astray, from_source, judge, lost, port_of, replace

_FRONTEND = "40.1.1.1"
_OWN = "104.43.142.188"
_THREE = Lab(
    {"own": [_OWN], "web": [_FRONTEND], "web2": [_FRONTEND]},
    own=["own"],
    limits={"web": 1024, "web2": 1024, "alone": 64512},
)
_SICK_KEY = "lb-sick/alive/sick"
_SICK = Lab({"well": [_FRONTEND], "sick": ["40.1.1.2"]}, down=[_SICK_KEY], silent=["40.1.1.2"])

#: Where each claim applies, and a lab that keeps it there.
FAITHFUL: dict[str, tuple[Callable[[], Network], Lab]] = {
    **dict.fromkeys(
        ["S1-1", "S1-4", "S1-5", "S1-8", "S2-1", "S2-2", "S2-3", "S2-4", "S2-11", "S2-12", "S2-13", "S2-14", "LAB-1"],
        (worlds.three_ways_out, _THREE),
    ),
    "S1-2": (worlds.pool_without_rule, Lab({})),
    "S1-3": (worlds.nat_rule_only, Lab({"vm": [_FRONTEND]})),
    "S1-6": (worlds.healthy_and_sick, _SICK),
    "S1-7": (worlds.healthy_and_sick, _SICK),
    "S2-10": (worlds.pool_without_rule, Lab({})),
    "S2-17": (worlds.several_frontends, Lab({"many": ["40.1.1.1", "40.1.1.2", "40.1.1.3"]})),
}


def _not_refused(_seen: object) -> ex.Checked:
    return ex.Checked(status=0, said="ok")


def _one_more(seen: ex.Arrivals) -> ex.Arrivals:
    extra = ex.Seen(9999, _FRONTEND, 60000, "198.51.100.20", 80)
    return ex.Arrivals(
        sent=seen.sent, source_ports=seen.source_ports, control=True, strays=(), seconds=0,
        seen=(*seen.seen[:-1], (*seen.seen[-1], extra)),
    )  # fmt: skip


def _untracked(seen: ex.Tracked) -> ex.Tracked:
    return ex.Tracked(before=(), after=(), arrivals=seen.arrivals)


def _tracked_low(seen: ex.Tracked) -> ex.Tracked:
    flows = tuple(ex.Seen(i, _FRONTEND, 80 + i, "198.51.100.20", 80) for i in range(4))
    arrivals = ex.Arrivals(sent=4, source_ports=(), control=True, seen=(flows, flows), strays=(), seconds=0)
    return ex.Tracked(before=(), after=tuple(ex.Entry(5, f.source, f.source_port) for f in flows), arrivals=arrivals)


def _one_port(seen: ex.Tracked) -> ex.Tracked:
    arrivals = port_of(2000)(seen.arrivals)
    entries = tuple(ex.Entry(5, s.source, s.source_port) for s in arrivals.seen[-1])
    return ex.Tracked(before=(), after=entries, arrivals=arrivals)


def _protocol(name: str, form: str, change: Callable[[ex.Arrivals], ex.Arrivals]) -> Lie:
    def lie(what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        mine = isinstance(what, ex.Send) and (what.protocol, what.form) == (name, form)
        return change(seen) if mine and isinstance(seen, ex.Arrivals) else seen

    return lie


def _leaves(seen: ex.Arrivals) -> ex.Arrivals:
    watch = (ex.Seen(0, _FRONTEND, 0, "198.51.100.20", 0),)
    return ex.Arrivals(
        sent=seen.sent, source_ports=seen.source_ports, control=True, seen=(watch, ()), strays=(), seconds=0
    )


#: A claim, a lie, and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie, str]] = [
    ("S1-1", about(ex.Send, from_source("198.51.100.99")), "seen from 198.51.100.99"),
    ("S1-1", about(ex.Send, from_source(_FRONTEND), "own"), f"own: seen from {_FRONTEND}"),
    ("S1-2", about(ex.Send, from_source(_FRONTEND), "pooled"), "seen from the frontend"),
    ("S1-2", about(ex.Send, from_source("192.0.2.99"), "pooled"), f"a standalone VM is seen from {DEFAULT}"),
    ("S1-3", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-3", about(ex.Send, lost), "16 flows did not arrive"),
    ("S1-4", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-4", about(ex.Login, replace(peers=(DEFAULT,))), f"sshd saw {DEFAULT}"),
    ("S1-4", about(ex.Login, replace(peers=(), lines=())), "sshd saw nobody"),
    ("S1-5", about(ex.CheckFile, _not_refused), "a load-balancing rule without a probe was not refused"),
    ("S1-5", about(ex.CheckFile, replace(said="something else")), "rule without a probe was not refused"),
    ("S1-6", about(ex.Health, replace(down={})), "the probe of sick succeeds"),
    ("S1-6", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("answered"),))), "the unhealthy pool answers"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("refused"),))), "the healthy pool does not answer"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))), "the healthy pool does not answer"),
    ("S1-7", about(ex.Health, replace(down={})), "the probe of sick succeeds"),
    ("S1-8", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S1-8", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S2-1", about(ex.Return, replace(answered=False)), "the answer did not reach the VM"),
    ("S2-1", about(ex.Return, replace(intruded=True)), "a stranger reached the VM through the flow's port"),
    ("S2-1", about(ex.Return, replace(source="")), "seen from nowhere"),
    ("S2-2", about(ex.Send, astray), "left untranslated: "),
    ("S2-2", about(ex.Send, from_source(_FRONTEND), "alone"), f"seen from {_FRONTEND}"),
    ("S2-3", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S2-3", about(ex.Counted, replace(addresses=(DEFAULT,))), "the default address is counted as a public IP"),
    ("S2-3", about(ex.CheckFile, _not_refused), "choosing the default address was not refused"),
    ("S2-4", about(ex.Track, _untracked), "the port tracked is not the port seen"),
    ("S2-4", about(ex.Track, _tracked_low), "ports [80, 81, 82, 83] are not 1024-65535"),
    ("S2-4", about(ex.Track, _one_port), "two flows to one destination share a port"),
    ("S2-10", about(ex.Send, from_source(_FRONTEND), "pooled"), "seen from the frontend"),
    ("S2-11", about(ex.Send, port_of(2000)), f"both were seen from {_FRONTEND}:2000"),
    ("S2-11", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S2-12", about(ex.Send, port_of(2000)), "source port 40000 became 2000"),
    ("S2-12", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S2-12", _protocol("icmp", "open", lost), "16 flows did not arrive"),
    ("S2-13", about(ex.Send, _one_more, "web"), "web opened 1025 flows with 1024 ports"),
    ("S2-13", about(ex.Send, lost, "web"), "web opened no flow"),
    ("S2-13", about(ex.Send, lost, "own"), "2048 flows did not arrive"),
    ("S2-14", about(ex.Lookup, replace(addresses=())), "nslookup got no answer"),
    ("S2-14", about(ex.Lookup, replace(addresses=("192.0.2.99",)), "alone"), "not the source that was seen"),
    ("S2-14", about(ex.Lookup, replace(addresses=(DEFAULT,)), "web"), f"the answer is {DEFAULT}"),
    ("S2-17", about(ex.Send, from_source("40.1.1.4")), "seen from 40.1.1.4"),
    ("LAB-1", about(ex.Send, astray), "left untranslated: "),
    ("LAB-1", _protocol("udp", "large", lost), "fragments did not arrive"),
    ("LAB-1", _protocol("icmp", "open", _leaves), "icmp left the virtual network"),
    ("LAB-1", _protocol("tcp", "middle", _leaves), "mid-stream tcp left the virtual network"),
    ("LAB-1", _protocol("udp", "open", from_source("198.51.100.99")), "udp seen from 198.51.100.99"),
]  # fmt: skip


def judgements(claim: str, lie: Lie = lambda _what, seen: seen) -> list[claims.claim.Judgement]:
    world, lab = FAITHFUL[claim]
    return [judge(trial, lab, lie) for trial in pretend.trials_of(claim, world())]


def test_every_claim_of_the_catalogue_is_tried_here() -> None:
    ids = [claim.id for claim in claims.CATALOGUE]
    assert sorted(FAITHFUL) == sorted(ids)
    assert {claim for claim, _, _ in LIES} == set(ids)


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{claim}: {reason}" for claim, _, reason in LIES])
def test_a_claim_is_contradicted_by_what_the_document_rules_out(claim: str, lie: Lie, reason: str) -> None:
    found = [j for j in judgements(claim, lie) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    wanted = ("INCONCLUSIVE", "the experiment failed: no such place")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


#: Claims whose trials need no capture: what they see is a conversation, which is its own control.
WITHOUT_CAPTURE = {"S1-5", "S1-7", "S2-1"}


@pytest.mark.parametrize("claim", sorted(FAITHFUL.keys() - WITHOUT_CAPTURE))
@pytest.mark.parametrize("also", [lambda seen: seen, lost], ids=["all arrived", "nothing arrived"])
def test_without_its_control_a_capture_proves_nothing(claim: str, also: Callable[[ex.Arrivals], ex.Arrivals]) -> None:
    """Neither that something arrived, nor, which matters, that nothing did."""

    def lie(_what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        return pretend.unwatched(also(seen) if isinstance(seen, ex.Arrivals) else seen)

    world, lab = FAITHFUL[claim]
    captured = [
        trial for trial in pretend.trials_of(claim, world())
        if any(isinstance(what, ex.Send | ex.Track) for stage in trial.stages for what in stage.experiments)
    ]  # fmt: skip
    assert captured
    found = [judge(trial, lab, lie) for trial in captured]
    wanted = ("INCONCLUSIVE", "the control packet did not arrive")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


def test_silence_of_an_unhealthy_pool_counts_only_beside_an_answer_of_a_healthy_one() -> None:
    """S1-7 is a claim of absence: a client that reaches nobody must not make it hold."""
    (judgement,) = judgements("S1-7", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))))
    assert judgement.verdict != "HOLDS"
