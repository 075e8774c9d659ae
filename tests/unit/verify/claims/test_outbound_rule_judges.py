"""The judges of claims about outbound rules, by what a lab would let be seen: written down, not computed."""

from typing import NamedTuple

import pytest

from lab.azure.model import Network
from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

WORLDS = (
    "T-OR-1", "T-OR-2", "T-OR-3", "T-OR-4", "T-OR-9", "T-OR-11", "T-OR-12", "T-OR-13", "T-OR-14", "T-OR-16", "T-OR-19",
)  # fmt: skip
_REFUSALS = ("T-OR-2", "T-OR-4", "T-OR-11", "T-OR-12")


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


def observed(what: ex.Experiment, seen: dict[tuple[str, str], Way], said: str) -> ex.Observation:
    match what:
        case ex.HoldFlows():
            return ex.Occupied(steps=())
        case ex.CheckFile():
            return ex.Checked(status=2 if said else 0, said=said)
        case ex.Send():
            sources = seen[what.sender, what.protocol].sources[: what.count]
            came = tuple(ex.Seen(n, *source, what.destination, 80) for n, source in enumerate(sources))
            sent = tuple(range(40000, 40000 + what.count))
            return ex.Arrivals(
                sent=what.count, source_ports=sent, control=True, seen=(came,) * 2, strays=(), seconds=0.1
            )
    raise AssertionError(what)


def judged(claim: str, seen: dict[tuple[str, str], Way], said: str = "", profile: str = "2022-03") -> list[Judgement]:
    trials = pretend.trials_of(claim, world(profile))
    return [t.judge([observed(e, seen, said) for stage in t.stages for e in stage.experiments]) for t in trials]


@pytest.mark.parametrize("claim", [claim for claim in WORLDS if claim not in _REFUSALS])
def test_a_claim_holds_where_flows_leave_as_the_documents_say(claim: str) -> None:
    found = judged(claim, _SEEN)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


@pytest.mark.parametrize("claim", _REFUSALS)
def test_a_refusal_needs_its_own_reason(claim: str) -> None:
    assert {j.verdict for j in judged(claim, _SEEN)} == {"CONTRADICTED"}
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
        ("T-OR-16", ("web3", "tcp"), Way(_WEB), "web3: tcp seen from 40.117.227.1"),
        ("T-OR-19", ("web1", "udp"), Way(ports("40.117.227.1", *range(1024, 1064))), "ports [1040, 1041, 1042, "),
        ("T-OR-19", ("web1", "udp"), Way(ports("40.117.227.1", *range(1072, 1112))), "are not around 1040"),
    ],
)  # fmt: skip
def test_a_claim_is_contradicted_where_they_leave_otherwise(
    claim: str, flows: tuple[str, str], way: Way, reason: str
) -> None:
    found = [j for j in judged(claim, {**_SEEN, flows: way}) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


def test_frontends_in_no_order_are_what_the_revision_of_2026_says() -> None:
    mixed = Way(_SEEN["many", "tcp"].sources[8:] + _SEEN["many", "tcp"].sources[:8])
    assert {j.verdict for j in judged("T-OR-9", {**_SEEN, ("many", "udp"): mixed}, profile="2026-07")} == {"HOLDS"}
