"""The judges of claims about outbound rules, by what a lab would let be seen: written down, not computed."""

import functools
from typing import NamedTuple

import pytest

from lab import topology
from lab.azure.model import Network
from lab.errors import LabError
from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = (
    "T-OR-1", "T-OR-2", "T-OR-3", "T-OR-4", "T-OR-9", "T-OR-11", "T-OR-12", "T-OR-13", "T-OR-14", "T-OR-16", "T-OR-19",
    "T-OR-5", "T-OR-6", "T-OR-8", "T-OR-20", "T-OR-22",
)  # fmt: skip
_REFUSALS = ("T-OR-2", "T-OR-4", "T-OR-5", "T-OR-8", "T-OR-11", "T-OR-12", "T-OR-22")


class Way(NamedTuple):
    """The sources that a VM's flows are seen with, in the order they are taken; none: nothing leaves."""

    sources: tuple[tuple[str, int], ...] = ()


def ports(address: str, *numbers: int) -> tuple[tuple[str, int], ...]:
    return tuple((address, number) for number in numbers)


_WEB = ports("40.117.227.1", *range(1024, 1040), *range(1048, 1072))  # 1046 is a rule's
_OWN = Way(ports("104.43.142.188", *range(40000, 40100)))
_SEEN: dict[tuple[str, str], Way] = {
    ("web1", "tcp"): Way(_WEB),
    ("web1", "udp"): Way(_WEB),
    ("web2", "tcp"): Way(ports("40.117.227.1", *range(1072, 1112))),
    ("web2", "udp"): Way(ports("40.117.227.1", *range(1072, 1112))),
    ("web3", "tcp"): _OWN,
    ("web3", "udp"): _OWN,
    ("many", "tcp"): Way(ports("40.117.227.2", *range(1024, 1040)) + ports("40.117.227.3", *range(1024, 1040))),
    ("many", "udp"): Way(ports("40.117.227.2", *range(1024, 1040)) + ports("40.117.227.3", *range(1024, 1040))),
    ("stream", "tcp"): Way(ports("40.117.227.4", *range(1024, 1040))),
    ("stream", "udp"): Way(),
    ("datagram", "tcp"): Way(),
    ("datagram", "udp"): Way(ports("40.117.227.4", *range(1024, 1048))),
    ("table", "tcp"): Way(ports("40.117.227.5", *range(1024, 2048))),
    ("table", "udp"): Way(ports("40.117.227.5", *range(1024, 2048))),
    ("quiet", "tcp"): Way(),
    ("quiet", "udp"): Way(),
}


def world(profile: str = "2022-03") -> Network:
    return load(TOPOLOGIES / "outbound-rules.lab.yaml", profile=profile)


def _step(client: str, step: ex.Open, seen: dict[tuple[str, str], Way], taken: int) -> ex.Happened:
    """Return what comes of flows when so many of the same protocol are there already."""
    sources = seen[client, step.goals[0].kind].sources[taken : taken + step.count]
    found = tuple(ex.Source(*source) for source in sources)
    return ex.Happened(answered=len(found), silent=step.count - len(found), seen=found)


def _held(what: ex.HoldFlows, seen: dict[tuple[str, str], Way]) -> ex.Occupied:
    steps, taken = [], {"tcp": 0, "udp": 0}
    for step in what.steps:
        assert isinstance(step, ex.Open)
        steps.append(_step(what.client, step, seen, taken[step.goals[0].kind]))
        taken[step.goals[0].kind] += steps[-1].answered
    return ex.Occupied(steps=tuple(steps))


def observed(what: ex.Experiment, seen: dict[tuple[str, str], Way], said: str | None) -> ex.Observation:
    match what:
        case ex.HoldFlows():
            return _held(what, seen)
        case ex.CheckFile() if said is None:
            return refused_or_not(what.text)
        case ex.CheckFile():
            return ex.Checked(status=2 if said else 0, said=said)
        case ex.Send():
            sources = seen.get((what.sender, what.protocol), Way()).sources[: what.count]
            came = tuple(ex.Seen(n, *source, what.destination, 80) for n, source in enumerate(sources))
            sent = tuple(range(40000, 40000 + what.count))
            return ex.Arrivals(
                sent=what.count, source_ports=sent, control=True, seen=(came,) * 2, strays=(), seconds=0.1
            )
    raise AssertionError(what)


@functools.cache
def refused_or_not(text: str) -> ex.Checked:
    """Return what `lab check` says of a file."""
    try:
        topology.parse(text, "lab.yaml")
    except LabError as error:
        return ex.Checked(status=2, said=str(error))
    return ex.Checked(status=0, said="")


def judged(
    claim: str,
    seen: dict[tuple[str, str], Way],
    said: str | None = None,
    profile: str = "2022-03",
    altered: dict[tuple[str, str], Way] | None = None,
) -> list[Judgement]:
    """Return the judgements of a claim's trials; ``altered``: what is seen where a stage changes the network."""
    found = []
    for trial in pretend.trials_of(claim, world(profile)):
        kinds = [
            (e, seen if s.network is None or altered is None else altered) for s in trial.stages for e in s.experiments
        ]
        found.append(trial.judge([observed(e, ways, said) for e, ways in kinds]))
    return found


#: What is seen while a stage has another network: of a larger pool, and of one without an outbound rule.
_ALTERED = {
    "T-OR-6": {("table", "udp"): Way(ports("40.117.227.5", *range(1024, 1536)))},
    "T-OR-20": {},
}


@pytest.mark.parametrize("claim", [claim for claim in WORLDS if claim not in _REFUSALS])
def test_a_claim_holds_where_flows_leave_as_the_documents_say(claim: str) -> None:
    found = judged(claim, _SEEN, altered=_ALTERED.get(claim))
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


@pytest.mark.parametrize("claim", _REFUSALS)
def test_a_refusal_needs_its_own_reason(claim: str) -> None:
    assert {j.verdict for j in judged(claim, _SEEN)} == {"HOLDS"}
    assert {j.verdict for j in judged(claim, _SEEN, "")} == {"CONTRADICTED"}
    assert {j.verdict for j in judged(claim, _SEEN, "lab.yaml:9: unknown key")} == {"CONTRADICTED"}


_TWICE = ports("40.117.227.1", *range(1072, 1111), 1072)


@pytest.mark.parametrize(
    ("claim", "flows", "way", "reason"),
    [
        ("T-OR-1", ("web2", "tcp"), Way(ports(pretend.DEFAULT, *range(1024, 1064))), "web2: tcp seen from"),
        ("T-OR-1", ("web1", "udp"), Way(), "web1: udp 4 flows did not arrive"),
        ("T-OR-3", ("web2", "udp"), Way(ports("40.117.227.1", *range(1072, 1120))), "48 flows from 48 ports"),
        ("T-OR-3", ("web2", "udp"), Way(ports("40.117.227.1", *range(1072, 1111))), "39 flows from 39 ports"),
        ("T-OR-3", ("web2", "udp"), Way(_TWICE), "40 flows from 39 ports instead of 40"),
        ("T-OR-9", ("many", "udp"), Way(ports("40.117.227.2", *range(1024, 1056))), "seen from 40.117.227.2"),
        ("T-OR-9", ("many", "udp"), Way(_SEEN["many", "tcp"].sources[8:] + _SEEN["many", "tcp"].sources[:8]),
         "a second address was used before the first was used up"),
        ("T-OR-13", ("quiet", "tcp"), Way(ports("40.117.227.6", 1024)), "quiet: tcp left from 40.117.227.6"),
        ("T-OR-13", ("quiet", "udp"), Way(ports(pretend.DEFAULT, 1024)), "quiet: udp left from"),
        ("T-OR-14", ("stream", "udp"), Way(ports("40.117.227.4", 1024)), "stream: udp left from 40.117.227.4"),
        ("T-OR-14", ("datagram", "tcp"), Way(ports("40.117.227.4", 1024)), "datagram: tcp left from 40.117.227.4"),
        ("T-OR-14", ("many", "udp"), Way(), "many: udp 4 flows did not arrive"),
        ("T-OR-14", ("many", "udp"), Way(_SEEN["many", "udp"].sources[:16]), "16 flows were answered instead of 32"),
        ("T-OR-14", ("many", "icmp"), Way(ports("40.117.227.2", 1)), "left from 40.117.227.2"),
        ("T-OR-3", ("stream", "tcp"), Way(ports("40.117.227.4", *range(1024, 1048))), "were answered instead of 0"),
        ("T-OR-9", ("many", "tcp"), Way(ports("40.117.227.2", *range(1024, 1056))), "seen from 40.117.227.2"),
        ("T-OR-6", ("table", "udp"), Way(ports("40.117.227.5", *range(1024, 1536))), "512 ports alone"),
        ("T-OR-20", ("table", "udp"), Way(ports("40.117.227.5", 1024)), "3 flows did not leave by the rule"),
        ("T-OR-20", ("table", "tcp"), Way(ports("40.117.227.2", *range(1024, 1028))), "seen from 40.117.227.2"),
        ("T-OR-16", ("web3", "tcp"), Way(_WEB), "web3: tcp seen from 40.117.227.1"),
        ("T-OR-19", ("web1", "udp"), Way(ports("40.117.227.1", *range(1024, 1064))), "ports [1040, 1041, 1042, "),
        ("T-OR-19", ("web1", "udp"), Way(ports("40.117.227.1", *range(1072, 1112))), "are not around 1040"),
        ("T-OR-19", ("web1", "udp"), Way(ports("40.117.227.1", *range(1024, 1040), *range(1056, 1080))),
         "1024-1079 instead of 1024-1071"),
    ],
)  # fmt: skip
def test_a_claim_is_contradicted_where_they_leave_otherwise(
    claim: str, flows: tuple[str, str], way: Way, reason: str
) -> None:
    found = [j for j in judged(claim, {**_SEEN, flows: way}, altered=_ALTERED.get(claim)) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


def test_frontends_in_no_order_are_what_the_revision_of_2026_says() -> None:
    mixed = Way(_SEEN["many", "tcp"].sources[8:] + _SEEN["many", "tcp"].sources[:8])
    assert {j.verdict for j in judged("T-OR-9", {**_SEEN, ("many", "udp"): mixed}, profile="2026-07")} == {"HOLDS"}


def test_flows_that_leave_before_the_rule_is_there_contradict_it() -> None:
    early = {("table", "tcp"): Way(ports(pretend.DEFAULT, 1024))}
    found = [j for j in judged("T-OR-20", _SEEN, altered=early) if j.verdict != "HOLDS"]
    assert [j.reason for j in found] == [f"left from {pretend.DEFAULT} without an outbound rule"]


def test_a_larger_pool_with_as_many_ports_contradicts_the_table() -> None:
    found = [j for j in judged("T-OR-6", _SEEN) if j.verdict != "HOLDS"]
    assert "520 in a pool of 51 instead of 1024 and 512" in found[0].reason
