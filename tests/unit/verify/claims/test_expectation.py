"""lab/verify/claims/expectation.py: what users write under `expect`, as trials."""

from typing import Any

import pytest

from lab.verify import experiment as ex
from lab.verify.claims import expectation, trials
from lab.verify.claims.claim import Trial
from lab.verify.verdict import Judgement
from tests import worlds

_OWN = "104.43.142.188"


def trial_of(expected: str) -> Trial:
    """Return the trial of one expectation in the network with three ways out."""
    network = worlds.three_ways_out()
    written = worlds.network(f"{_WITHOUT_NAME}expect:\n  - {{{expected}}}\n").expectations[0]
    return expectation.trial(network, 1, written)


_WITHOUT_NAME = """\
internet: {far: {address: 198.51.100.20}, client: {address: 198.51.100.30}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {own: {subnet: v/s}, web: {subnet: v/s}, web2: {subnet: v/s}, alone: {subnet: v/s}}
"""


def arrivals(
    *sources: tuple[str, int], sent: int | None = None, control: bool = True, strays: tuple[str, ...] = ()
) -> ex.Arrivals:
    seen = tuple(ex.Seen(i, address, port, "198.51.100.20", 80) for i, (address, port) in enumerate(sources))
    sent = len(sources) or 16 if sent is None else sent
    return ex.Arrivals(sent=sent, source_ports=(), control=control, seen=(seen, seen), strays=strays, seconds=0.1)


def answers(*nodes: str, outcome: ex.Outcome = "answered") -> ex.Answers:
    return ex.Answers(answers=tuple(ex.Answer(outcome, node, "198.51.100.30", 2000) for node in nodes))


_MEMBERS = ex.Members(up=(), down={})


def judged(expected: str, *observations: Any) -> tuple[str, str]:
    judgement: Judgement = trial_of(expected).judge(observations)
    return judgement.verdict, judgement.reason


# --- what is done -----------------------------------------------------------------------------


def test_a_source_is_seen_by_a_capture_at_the_host_the_flow_goes_to() -> None:
    ((send,),) = (stage.experiments for stage in trial_of(f"from: own, to: 'far:80/udp', source_ip: {_OWN}").stages)
    assert isinstance(send, ex.Send)
    assert (send.sender, send.destination, send.port, send.protocol) == ("own", "198.51.100.20", 80, "udp")
    assert send.watches[-1] == ex.Watch("node", "far")


def test_a_conversation_begins_once_every_member_has_been_judged() -> None:
    stages = trial_of("from: client, to: '40.1.1.1:80', answered_by: [web, web2]").stages
    assert [type(what) for what in stages[0].experiments] == [ex.Health, ex.Ask]


@pytest.mark.parametrize(
    ("sender", "to", "address", "kind"),
    [
        ("alone", "far:80", "198.51.100.20", "http"),
        ("client", "own:80", _OWN, "http"),
        ("alone", "own:80", "10.1.0.5", "http"),
        ("client", f"{_OWN}:80", _OWN, "http"),
        ("client", "40.1.1.1:80", "40.1.1.1", "http"),
        ("client", "40.1.1.1:81", "40.1.1.1", "connect"),
        ("alone", "far:9/udp", "198.51.100.20", "udp"),
        ("alone", "far:22", "198.51.100.20", "connect"),
    ],
)
def test_a_name_is_reached_at_the_address_its_asker_would_use(sender: str, to: str, address: str, kind: str) -> None:
    stages = trial_of(f"from: {sender}, to: '{to}', outcome: answered").stages
    asks = [what for what in stages[0].experiments if isinstance(what, ex.Ask)]
    assert [(ask.client, ask.address, ask.kind) for ask in asks] == [(sender, address, kind)]


@pytest.mark.parametrize(("nodes", "least"), [(1, 3), (2, 31), (3, 54), (10, 219)])
def test_so_many_conversations_are_tried_that_none_of_the_nodes_is_missed_by_chance(nodes: int, least: int) -> None:
    """nodes * (1 - 1/nodes) ** count <= 1e-9."""
    count = expectation._sample(nodes)
    assert count == least
    assert nodes < 2 or nodes * (1 - 1 / nodes) ** count <= 1e-9 < nodes * (1 - 1 / nodes) ** (count - 1)


def test_an_expectation_that_names_a_claim_is_one_of_its_trials_and_others_are_numbered() -> None:
    network = worlds.network(
        _WITHOUT_NAME + "expect:\n  - {from: alone, to: 'far:80', claim: S2-2}\n  - {from: alone, to: 'far:80'}\n"
    )
    found = {claim: len(of) for claim, of in trials(network)}
    assert (found["S2-2"], found["expect-2"]) == (3 + 1, 1)  # of four VMs alike three are judged


def test_the_wish_is_said_in_words() -> None:
    full = "from: own, to: 'far:80', source_ip: 1.2.3.4, source_port: 5-6, answered_by: [web, web2], outcome: answered"
    assert trial_of(full).expected == "source 1.2.3.4, source port 5-6, answered by web and web2, answered"
    assert trial_of("from: own, to: 'far:80'").expected == "answered"


# --- how it is judged -------------------------------------------------------------------------

_SOURCE = f"from: own, to: 'far:80', source_ip: {_OWN}"
_PORT = "from: own, to: 'far:80', source_port: 1024-2047"
_BALANCED = "from: client, to: '40.1.1.1:80', answered_by: [web, web2]"


@pytest.mark.parametrize(
    ("expected", "seen", "verdict"),
    [
        (_SOURCE, [arrivals((_OWN, 1))], ("HOLDS", "")),
        (_SOURCE, [arrivals((_OWN, 1), ("1.1.1.1", 1))], ("CONTRADICTED", "seen from 1.1.1.1")),
        (_SOURCE, [arrivals()], ("CONTRADICTED", "nothing arrived")),
        (_SOURCE, [arrivals((_OWN, 1), strays=("IP 10.1.0.4",))], ("CONTRADICTED", "left untranslated: IP 10.1.0.4")),
        (_SOURCE, [arrivals(control=False)], ("INCONCLUSIVE", "the control packet did not arrive")),
        (_SOURCE, [ex.Failed(reason="why")], ("INCONCLUSIVE", "the experiment failed: why")),
        (_PORT, [arrivals((_OWN, 1024), (_OWN, 2047))], ("HOLDS", "")),
        (_PORT, [arrivals((_OWN, 1023))], ("CONTRADICTED", "seen from port 1023")),
        (_BALANCED, [_MEMBERS, answers("web", "web2")], ("HOLDS", "")),
        (_BALANCED, [_MEMBERS, answers("web", "web")], ("CONTRADICTED", "none of 2 answers came from web2")),
        (_BALANCED, [_MEMBERS, answers("web", "alone")], ("CONTRADICTED", "answered by alone")),
        (_BALANCED, [_MEMBERS, answers("")], ("INCONCLUSIVE", "a server does not say who it is and whom it saw")),
        (_BALANCED, [_MEMBERS, answers("web", outcome="timeout")], ("CONTRADICTED", "timeout")),
        ("from: own, to: 'far:81', outcome: refused", [_MEMBERS, answers("", outcome="refused")], ("HOLDS", "")),
        ("from: own, to: 'far:81', outcome: refused", [_MEMBERS, answers("web")], ("CONTRADICTED", "answered")),
        ("from: client, to: 'own:80', source_ip: 198.51.100.30", [_MEMBERS, answers("own")], ("HOLDS", "")),
        ("from: client, to: 'own:80', source_ip: 1.1.1.1", [_MEMBERS, answers("own")],
         ("CONTRADICTED", "seen from 198.51.100.30")),
        ("from: client, to: 'own:80', source_port: 1-9", [_MEMBERS, answers("own")],
         ("CONTRADICTED", "seen from port 2000")),
    ],
)  # fmt: skip
def test_an_expectation_is_judged_by_what_was_seen(expected: str, seen: list[Any], verdict: tuple[str, str]) -> None:
    assert judged(expected, *seen) == verdict


_SILENT = "from: client, to: '40.1.1.1:81', outcome: timeout"


def test_silence_is_expected_beside_a_control_that_must_be_answered() -> None:
    """A claim of absence: a node that reaches nothing at all must not make it hold."""
    asked = [what for stage in trial_of(_SILENT).stages for what in stage.experiments]
    assert [type(what) for what in asked] == [ex.Health, ex.Ask, ex.Send]
    control = asked[-1]
    assert isinstance(control, ex.Send)
    assert (control.sender, control.destination, control.port) == ("client", "40.1.1.1", 81)
    assert control.watches == (ex.Watch("edge", "v"),)


@pytest.mark.parametrize(
    ("outcome", "reached", "verdict"),
    [
        ("timeout", 1, "HOLDS"),
        ("answered", 1, "CONTRADICTED"),
        ("refused", 1, "CONTRADICTED"),
        ("timeout", 0, "INCONCLUSIVE"),
        ("refused", 0, "INCONCLUSIVE"),
    ],
)
def test_silence_is_believed_only_if_the_flow_got_as_far_as_what_is_silent(
    outcome: ex.Outcome, reached: int, verdict: str
) -> None:
    control = arrivals(*[("198.51.100.30", 40000)] * reached, sent=1)
    assert judged(_SILENT, _MEMBERS, answers("", outcome=outcome), control)[0] == verdict


@pytest.mark.parametrize(
    ("expected", "control"),
    [
        ("from: alone, to: '203.0.113.99:80', outcome: timeout", ex.Watch("public wire", "v")),
        ("from: alone, to: '40.1.1.1:81', outcome: timeout", ex.Watch("edge inside", "v")),
        ("from: client, to: 'far:80', outcome: timeout", ex.Watch("node", "far")),
        ("from: alone, to: 'web:81', outcome: timeout", ("168.63.129.16", 53)),
        ("from: client, to: '203.0.113.99:80', outcome: timeout", ("192.0.2.53", 53)),
    ],
)
def test_the_control_of_silence_is_where_the_flow_must_pass(expected: str, control: object) -> None:
    what = trial_of(expected).stages[-1].experiments[-1]
    assert control == (what.watches[0] if isinstance(what, ex.Send) else (what.address, what.port))


def test_a_source_expected_of_a_server_that_does_not_say_is_in_doubt() -> None:
    silent = ex.Answers(answers=(ex.Answer("answered"),))
    assert judged("from: client, to: '40.1.1.1:80', source_ip: 9.9.9.9", _MEMBERS, silent)[0] == "INCONCLUSIVE"


def test_a_control_that_failed_leaves_silence_in_doubt() -> None:
    assert judged(_SILENT, _MEMBERS, answers("", outcome="timeout"), ex.Failed(reason="x"))[0] == "INCONCLUSIVE"
