"""Every claim about load balancers can say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.azure.model import InboundNatRule, Network
from lab.topology import load
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.claims import Trial
from lab.verify.claims.kit.sampling import bounds, sample
from lab.verify.verdict import Judgement
from tests.unit.verify.claims.pretend import Lie, about, checked, planned, replace, trials_of

_FILE = Path(__file__).parents[4] / "topologies" / "load-balancer.lab.yaml"
_FAR = "198.51.100.10"

#: Claims that a faithful lab lets hold here.
FAITHFUL = [
    *(f"N-DM-{number}" for number in (1, 2, 3, 4, 6)),
    *(f"N-IT-{number}" for number in (1, 3, 4)),
    *(f"N-MV-{number}" for number in range(1, 7)),
]


@cache
def world() -> Network:
    return load(_FILE)


class Balancer:
    """A lab whose load balancers do as the documents say, by a hash of its own. Time is invented."""

    def __init__(self, *, fields: dict[str, str] | None = None, distracted: bool = False) -> None:
        #: What each distribution hashes: client, its port, the frontend's port, the protocol; the frontend always.
        self.fields = fields or {"Default": "cpdx", "SourceIP": "c", "SourceIPProtocol": "cx"}
        self.distracted = distracted  # each packet is picked anew, whatever was picked before
        self.count = 0

    def do(self, what: ex.Experiment, network: Network) -> ex.Observation:  # noqa: PLR0911 - one for each kind
        match what:
            case ex.Health():
                keys = {
                    f"{lb.name}/{rule.probe}/{name}"
                    for lb in network.load_balancers
                    for rule in lb.load_balancing_rules
                    for name in lb.pool(rule.backend_pool).members
                }
                return ex.Members(up=tuple(sorted(keys)), down={})
            case ex.Sweep():
                return ex.Swept(passages=tuple(self._passage(network, flow) for flow in what.flows), deaf=())
            case ex.Ask():
                return ex.Answers(answers=tuple(self._answer(network, what, n) for n in range(what.count)))
            case ex.Counted():
                shown = [f.address for lb in network.load_balancers for f in lb.frontends if lb.has_address(f)]
                return ex.PublicAddresses(addresses=tuple(map(str, shown)))
            case ex.CheckFile():
                return checked(what.text)
            case ex.Run():
                return planned(what.text)
            case ex.HoldFlows():
                return self._held(network, what)
            case ex.IdleFlows():
                told = tuple(ex.Told(end, "RST", 2.03, believed=True) for end in ("client", "server"))
                return ex.Left(
                    flows=(
                        ex.LeftFlow("udp", answered=True, told=()),
                        ex.LeftFlow("half closed", answered=True, told=()),
                        ex.LeftFlow("tcp", answered=True, told=told, ended=True),
                    )
                )
            case ex.Send():
                own = network.vm(what.sender)
                assert own is not None
                count = what.count if what.private == str(own.private_ip_address) else 0
                seen = tuple(ex.Seen(n, "65.52.0.4", 1025 + n, _FAR, 80) for n in range(count))
                ports = tuple(range(what.count))
                return ex.Arrivals(
                    sent=what.count, source_ports=ports, control=True, seen=(seen, seen), strays=(), seconds=0.1
                )
        raise AssertionError(what)

    def _led(
        self, network: Network, protocol: str, address: str, port: int, client: str, client_port: int
    ) -> tuple[str, str, int] | None:
        """Return the VM that a flow is led to, and the address and port that it has there."""
        for lb in network.load_balancers:
            for rule in lb.rules():
                listens = str(lb.frontend(rule.frontend).address), rule.protocol, rule.frontend_port
                if listens != (address, protocol, port):
                    continue
                mode = "Default" if isinstance(rule, InboundNatRule) else rule.load_distribution
                values = {"c": client, "p": str(client_port), "d": str(port), "x": protocol}
                self.count += self.distracted
                hashed = " ".join([address, *(values[field] for field in self.fields[mode]), str(self.count)])
                members = lb.targets(rule)
                name = members[sha256(hashed.encode()).digest()[0] % len(members)]
                vm = network.vm(name)
                assert vm is not None
                return (
                    (name, address, port) if rule.floating_ip else (name, str(vm.private_ip_address), rule.backend_port)
                )
        return None

    def _passage(self, network: Network, flow: ex.Flow) -> ex.FlowResult:
        ends = flow.private, flow.source_port
        led = self._led(network, flow.protocol, flow.destination, flow.port, *ends)
        if led is None or led[0] not in {watch.name for watch in flow.ends}:
            return ex.FlowResult(passed=True)
        return ex.FlowResult(passed=True, end=led[0], destination=f"{led[1]}:{led[2]}")

    def _answer(self, network: Network, what: ex.Ask, number: int) -> ex.Answer:
        protocol = "udp" if what.kind == "udp" else "tcp"
        led = self._led(network, protocol, what.address, what.port, _FAR, 40000 + number)
        if led is None or led[1] == "65.52.0.5":  # which no VM has itself
            return ex.Answer("timeout")
        return ex.Answer("answered", led[0], _FAR, 40000 + number, led[1], led[2])

    def _held(self, network: Network, what: ex.HoldFlows) -> ex.Occupied:
        now, steps = 0.0, []
        flows: dict[int, tuple[float, float]] = {}  # by port: how long it may be idle, and until when it lives
        for step in what.steps:
            match step:
                case ex.Open():
                    rule = next(
                        rule
                        for lb in network.load_balancers
                        for rule in lb.rules()
                        if (str(lb.frontend(rule.frontend).address), rule.frontend_port, rule.protocol)
                        == (step.goals[0].address, step.goals[0].port, "tcp")
                    )
                    idle_s = rule.idle_timeout_min * 60 / network.overrides.time_scale
                    new = [50000 + len(flows) + number for number in range(step.count)]
                    flows |= dict.fromkeys(new, (idle_s, now + idle_s))
                    seen = tuple(ex.Source(_FAR, port) for port in new)
                    steps.append(ex.Happened(answered=len(seen), seen=seen))
                case ex.Pause(seconds=seconds):
                    now += seconds
                    steps.append(ex.Happened())
                case ex.Talk():
                    alive = [port for port, (_, until) in flows.items() if now < until]
                    flows |= {port: (flows[port][0], now + flows[port][0]) for port in alive}
                    seen = tuple(ex.Source(_FAR, port) for port in alive)
                    steps.append(ex.Happened(answered=len(alive), silent=len(flows) - len(alive), seen=seen))
        return ex.Occupied(steps=tuple(steps))


def judge(trial: Trial, lab: Balancer, lie: Lie = lambda _what, seen: seen) -> Judgement:
    return trial.judge(
        [lie(what, lab.do(what, stage.network or world())) for stage in trial.stages for what in stage.experiments]
    )


def judgements(claim: str, lie: Lie = lambda _what, seen: seen, lab: Balancer | None = None) -> list[Judgement]:
    found = [judge(trial, lab or Balancer(), lie) for trial in trials_of(claim, world())]
    assert found, f"{claim} has no trial in {_FILE.name}"
    return found


# --- ways to lie ------------------------------------------------------------------------------


def _passages(change: Callable[[ex.FlowResult], ex.FlowResult]) -> Callable[[ex.Swept], ex.Swept]:
    return lambda seen: msgspec.structs.replace(seen, passages=tuple(map(change, seen.passages)))


def _answers(**values: Any) -> Callable[[ex.Answers], ex.Answers]:
    return lambda seen: ex.Answers(answers=tuple(msgspec.structs.replace(a, **values) for a in seen.answers))


def _at(number: int, **values: Any) -> Callable[[ex.Left], ex.Left]:
    """One of the flows that were left alone came to something else: UDP, half closed, TCP."""

    def change(seen: ex.Left) -> ex.Left:
        flows = list(seen.flows)
        flows[number] = msgspec.structs.replace(flows[number], **values)
        return ex.Left(flows=tuple(flows))

    return change


def _step(number: int, **values: Any) -> Callable[[ex.Occupied], ex.Occupied]:
    def change(seen: ex.Occupied) -> ex.Occupied:
        steps = list(seen.steps)
        steps[number] = msgspec.structs.replace(steps[number], **values)
        return ex.Occupied(steps=tuple(steps))

    return change


def _reset(end: str, *, seconds: float = 2.0, believed: bool = True) -> ex.Told:
    return ex.Told(end, "RST", seconds, believed)  # type: ignore[arg-type]


_LOST = _passages(lambda p: msgspec.structs.replace(p, end="", destination=""))
_UNSENT = _passages(lambda _: ex.FlowResult(passed=False))
_TO_WEB1 = _passages(lambda p: msgspec.structs.replace(p, end="web1" if p.end.startswith("web") else p.end))
_TO_STRANGER = _passages(lambda p: msgspec.structs.replace(p, end="stranger"))
_ARRIVED = tuple(ex.Seen(n, "65.52.0.4", 1025 + n, _FAR, 80) for n in range(4))
_BOTH = (_reset("client"), _reset("server"))
_ALIVE = tuple(ex.Source(_FAR, 50000 + number) for number in range(8))


def _named_none(what: ex.Experiment, seen: Any) -> Any:
    """A rule that names no idle timeout has 5 minutes."""
    named = isinstance(what, ex.Run) and "idle_timeout" in what.text
    return seen if named or not isinstance(what, ex.Run) else planned(_with_five(what.text))


def _with_five(text: str) -> str:
    return text.replace("backend_port: 80, }", "backend_port: 80, idle_timeout_in_minutes: 5}")


def _refused_at(minutes: str) -> Callable[[ex.Checked], ex.Checked]:
    """What must be accepted is refused: the last and the first that is allowed."""
    said = "an idle timeout is 4 to 30 minutes; an idle timeout is 4 to 100 minutes"
    return lambda _seen: ex.Checked(status=2, said=f"{minutes}; {said}")


LIES: list[tuple[str, Lie, str]] = [
    ("N-DM-1", about(ex.Sweep, _TO_WEB1), "not spread: "),
    ("N-DM-1", about(ex.Sweep, _LOST), "flows did not arrive"),
    ("N-DM-1", about(ex.Sweep, _TO_STRANGER), "flows arrived at stranger"),
    ("N-DM-2", about(ex.Sweep, _TO_WEB1), "not spread: "),
    ("N-DM-2", about(ex.Sweep, _LOST), "flows did not arrive"),
    ("N-DM-3", about(ex.Sweep, _LOST), "flows did not arrive"),
    ("N-DM-4", about(ex.Sweep, _LOST), "flows did not arrive"),
    ("N-DM-4", about(ex.Sweep, _TO_WEB1), "not spread: "),
    ("N-DM-6", about(ex.Ask, _answers(client_address="65.52.0.1")), "VMs saw 65.52.0.1"),
    ("N-DM-6", about(ex.Ask, _answers(outcome="timeout")), "did not answer"),
    ("N-IT-1", about(ex.HoldFlows, _step(3, answered=8, silent=0, seen=_ALIVE)), "4 flows outlived 4 minutes"),
    ("N-IT-1", about(ex.HoldFlows, _step(3, answered=0, silent=8, seen=())), "4 flows did not live for 10 minutes"),
    ("N-IT-1", about(ex.HoldFlows, _step(5, answered=4)), "4 flows outlived 10 minutes"),
    ("N-IT-1", about(ex.HoldFlows, _step(5, refused=4)), "4 flows ended with a reset instead of in silence"),
    ("N-IT-1", about(ex.HoldFlows, _step(0, answered=3)), "flows were not answered when they were opened"),
    ("N-IT-1", about(ex.Run, replace(said="as ever")), "4 and 5 minutes are played alike"),
    ("N-IT-1", _named_none, "a rule that names no idle timeout has another one than 4 minutes"),
    ("N-IT-3", about(ex.CheckFile, replace(status=0)), "was not refused"),
    ("N-IT-3", about(ex.CheckFile, _refused_at("30")), "31 minutes, inbound NAT rule, 2020-10: it is refused without"),
    ("N-IT-3", about(ex.CheckFile, _refused_at("4")), "3 minutes, load-balancing rule, 2026-07: it is refused without"),
    ("N-IT-4", about(ex.IdleFlows, _at(2, told=_BOTH[:1])), "the server got 0 resets instead of one"),
    ("N-IT-4", about(ex.IdleFlows, _at(2, told=_BOTH[1:])), "the client got 0 resets instead of one"),
    ("N-IT-4", about(ex.IdleFlows, _at(2, told=_BOTH * 2)), "the client got 2 resets instead of one"),
    (
        "N-IT-4",
        about(ex.IdleFlows, _at(2, told=(_reset("client", believed=False), _reset("server")))),
        "the reset to the client has another sequence number than it expects",
    ),
    (
        "N-IT-4",
        about(ex.IdleFlows, _at(2, told=(_reset("client"), _reset("server", seconds=1.2)))),
        "the reset to the server came after 1.2 s",
    ),
    (
        "N-IT-4",
        about(ex.IdleFlows, _at(2, told=(_reset("client", seconds=9.0), _reset("server")))),
        "the reset to the client came after 9.0 s",
    ),
    ("N-IT-4", about(ex.IdleFlows, _at(2, ended=False)), "the client's kernel did not believe the reset"),
    ("N-IT-4", about(ex.IdleFlows, _at(1, told=_BOTH)), "a half closed flow was told: RST"),
    ("N-IT-4", about(ex.IdleFlows, _at(0, told=_BOTH)), "a udp flow was told: RST"),
    ("N-MV-1", about(ex.Sweep, _TO_STRANGER), "leads to a VM without a rule"),
    ("N-MV-1", about(ex.Ask, _answers(server_port=8080)), "ended at port 8080 instead of"),
    ("N-MV-1", about(ex.Ask, _answers(node="sql1")), "was answered by sql1"),
    ("N-MV-1", about(ex.Ask, _answers(outcome="refused")), ": refused"),
    ("N-MV-2", about(ex.Ask, _answers(server_port=80)), "lb-web/second ended at port 80 instead of 81"),
    ("N-MV-3", about(ex.CheckFile, replace(said="something else")), "was not refused"),
    (
        "N-MV-4",
        about(ex.Ask, _answers(server_address="10.1.1.4")),
        "spoken to as 10.1.1.4:1433 instead of 65.52.0.4:14",
    ),
    ("N-MV-4", about(ex.Ask, _answers(outcome="answered")), "answered, and the VM does not have the address"),
    ("N-MV-4", about(ex.Ask, _answers(outcome="timeout")), "timeout, and the VM has the address"),
    (
        "N-MV-4",
        about(ex.Sweep, _passages(lambda p: msgspec.structs.replace(p, destination="10.1.1.4:1433"))),
        "flows arrived for 10.1.1.4:1433 instead of 65.52.0.4:1433",
    ),
    ("N-MV-4", about(ex.Sweep, _LOST), "flows did not arrive"),
    ("N-MV-5", about(ex.Send, replace(seen=(_ARRIVED, _ARRIVED))), "flows bound to the frontend's address left"),
    ("N-MV-5", about(ex.Send, replace(seen=(_ARRIVED, ()))), "flows bound to the frontend's address left"),
    ("N-MV-5", about(ex.Send, replace(seen=((), ()))), "flows from the VM's own address did not arrive"),
    ("N-MV-6", about(ex.Counted, replace(addresses=("203.0.113.1",))), "with no rule the frontend has an address"),
    ("N-MV-6", about(ex.Counted, replace(addresses=())), "with a load-balancing rule the frontend has no address"),
    ("N-MV-6", about(ex.Sweep, _TO_STRANGER), "with no rule 4 flows came in"),
    ("N-MV-6", about(ex.Sweep, _LOST), "with a load-balancing rule 0 flows came in"),
]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_about_load_balancers_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{claim}: {reason}" for claim, _, reason in LIES])
def test_a_claim_about_load_balancers_is_contradicted_by_what_the_document_rules_out(
    claim: str, lie: Lie, reason: str
) -> None:
    found = [j for j in judgements(claim, lie) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


def test_every_claim_about_load_balancers_is_lied_about() -> None:
    assert (
        {claim for claim, _, _ in LIES}
        == set(FAITHFUL)
        == {
            claim.id
            for module in (claims.distribution_mode, claims.idle_timeouts, claims.several_frontends)
            for claim in module.CLAIMS
        }
    )


@pytest.mark.parametrize(
    ("claim", "lab", "reason"),
    [
        ("N-DM-1", Balancer(distracted=True), "packets of the same flows went to another VM"),
        ("N-DM-1", Balancer(fields={"Default": "cpx"}), "the destination port makes no difference"),
        ("N-DM-1", Balancer(fields={"Default": "cpd"}), "the protocol makes no difference"),
        ("N-DM-1", Balancer(fields={"Default": "pdx"}), "not spread"),
        ("N-DM-2", Balancer(fields={"Default": "cpx", "SourceIP": "cp", "SourceIPProtocol": "cx"}), "to several VMs"),
        (
            "N-DM-2",
            Balancer(fields={"Default": "cpx", "SourceIP": "c", "SourceIPProtocol": "c"}),
            "makes no difference",
        ),
        ("N-DM-3", Balancer(fields={"Default": "cpx", "SourceIP": "cx", "SourceIPProtocol": "cx"}), "at different VMs"),
        ("N-DM-4", Balancer(distracted=True), "the same pool distributes the same flows differently"),
        ("N-DM-4", Balancer(fields={"Default": "cpx", "SourceIP": "cp", "SourceIPProtocol": "cx"}), "of one address"),
    ],
)
def test_a_claim_is_contradicted_by_another_hash(claim: str, lab: Balancer, reason: str) -> None:
    found = [j for j in judgements(claim, lab=lab) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_about_load_balancers_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    assert {j.verdict for j in found} == {"INCONCLUSIVE"}


@pytest.mark.parametrize("claim", ["N-DM-1", "N-DM-2", "N-DM-3", "N-DM-4", "N-MV-1", "N-MV-4"])
def test_flows_that_do_not_come_to_the_edge_or_meet_deaf_captures_prove_nothing(claim: str) -> None:
    deaf = about(ex.Sweep, lambda seen: msgspec.structs.replace(seen, deaf=("web1",)))
    for lie in (about(ex.Sweep, _UNSENT), deaf):
        found = [j for j in judgements(claim, lie) if j.verdict != "HOLDS"]
        assert {j.verdict for j in found} == {"INCONCLUSIVE"}


def test_a_frontend_that_nobody_sent_to_proves_nothing() -> None:
    lie = about(ex.Sweep, _passages(lambda p: msgspec.structs.replace(p, passed=False)))
    assert {j.verdict for j in judgements("N-MV-6", lie)} == {"INCONCLUSIVE"}


@pytest.mark.parametrize("claim", ["N-DM-1", "N-DM-2", "N-DM-3"])
def test_one_member_that_is_up_tells_nothing_of_distribution(claim: str) -> None:
    lie = about(ex.Health, replace(up=("lb-web/alive/web1", "lb-sql/alive/sql1")))
    assert {j.verdict for j in judgements(claim, lie)} == {"INCONCLUSIVE"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_flow_that_was_never_answered_proves_nothing_by_its_silence(number: int) -> None:
    lie = about(ex.IdleFlows, _at(number, answered=False, told=()))
    assert {j.verdict for j in judgements("N-IT-4", lie)} == {"INCONCLUSIVE"}


def test_so_many_flows_miss_a_member_once_in_twenty_thousand_million_times() -> None:
    # n members, each missed with (1 - 1/n) ** flows: 5e-11 is 1e-9 for twenty trials of a run, half of it for too few.
    for members in (2, 3, 10):
        flows = sample(members)
        assert members * (1 - 1 / members) ** flows <= 2.5e-11 < members * (1 - 1 / members) ** (flows - 1)


def test_a_sample_is_as_large_as_it_takes_to_tell_a_member_that_gets_nothing() -> None:
    assert [bounds(sample(members), members)[0] for members in (2, 3, 10)] == [1, 1, 1]


def test_shares_are_bounded_where_the_tails_of_the_binomial_distribution_are_as_small() -> None:
    low, high = bounds(200, 2)
    assert (low, high) == (54, 146)  # 200 tosses of a coin: 6.5 standard deviations of 7.07
    assert bounds(200, 3)[0] < 200 / 3 < bounds(200, 3)[1]
