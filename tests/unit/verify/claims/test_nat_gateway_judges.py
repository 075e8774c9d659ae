"""The judges of claims about NAT gateways and private subnets, by what a lab would let be seen: written down."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

_NATGW, _SINGLE, _PLATFORM = ("40.117.230.1", "40.117.230.4", "40.117.230.5"), ("40.117.230.8",), (pretend.DEFAULT,)
#: The addresses that each VM's flows are seen with; none: nothing leaves.
_SEEN: dict[str, tuple[str, ...]] = {
    "busy1": _SINGLE,
    "busy2": _SINGLE,
    "plain": _NATGW[:1],
    "deep": _NATGW,
    "own": _NATGW,
    "ruled": _NATGW,
    "free": _PLATFORM,
}
_PRIVATE = {**_SEEN, "own": ("104.43.142.188",), "ruled": ("40.117.227.1",), "private": (), "unsaid": ()}
_PRIVATE |= {"gated": ("40.117.230.4", "40.117.230.5"), "ends-by-gateway": ("40.117.230.4", "40.117.230.5")}
_PRIVATE |= {"ends-by-own": ("104.43.142.189",), "ends-by-rule": ("40.117.227.1",)}
#: What comes of the steps of each experiment that holds flows, at 30 times the documents' pace.
_STEPS: dict[tuple[str, str], tuple[ex.Happened, ...]] = {
    ("T-NG-8", "tcp"): (
        ex.Happened(answered=8),
        ex.Happened(began=1.0),
        ex.Happened(began=1.1),
        ex.Happened(began=1.2, answered=2),
        ex.Happened(began=1.3, answered=2, moments=(1.7, 1.7)),
        ex.Happened(began=2.0, answered=2, moments=(3.2, 3.2)),
        ex.Happened(began=3.3, silent=2),
    ),
    ("T-NG-8", "udp"): (ex.Happened(answered=8), ex.Happened(answered=1, moments=(10.3,))),
    ("T-NG-9", "tcp"): (
        ex.Happened(answered=2),
        ex.Happened(),
        ex.Happened(answered=2),
        ex.Happened(),
        ex.Happened(refused=2),
    ),
    ("T-NG-11", "tcp"): (
        ex.Happened(answered=2),
        ex.Happened(answered=2),
        ex.Happened(),
        ex.Happened(answered=2, refused=2),
    ),
}
WORLDS = (
    "T-NG-1", "T-NG-2", "T-NG-4", "T-NG-5", "T-NG-6", "T-NG-7", "T-NG-8", "T-NG-9", "T-NG-11", "T-NG-12", "T-NG-14",
    "T-NG-15", "T-NG-18", "T-NG-19", "T-DO-2", "T-DO-3", "N-SN-22",
)  # fmt: skip


class World:
    """A lab that does as the documents say, unless ``lie`` alters what is seen of an experiment."""

    def __init__(self, claim: str, lie: Callable[[ex.Experiment, Any], Any]) -> None:
        self.claim, self.lie = claim, lie
        self.random = random.Random(1)
        self.taken: dict[tuple[str, str, int | None], set[int]] = {}

    def observed(self, what: ex.Experiment, seen: dict[str, tuple[str, ...]]) -> ex.Observation:
        match what:
            case ex.Send():
                return self.sent(what, seen[what.sender])
            case ex.Ask():
                node = {"104.43.142.188": "own", "40.117.227.1": "ruled"}[what.address]
                return ex.Answers(answers=(ex.Answer("answered", node=node),))
            case ex.Return():
                source = seen[what.send.sender][0]
                return ex.Returned(source=source, source_port=2000, answered=True, intruded=False)
            case ex.HoldFlows():
                kind = next((step.goals[0].kind for step in what.steps if isinstance(step, ex.Open)), "")
                return ex.Occupied(steps=_STEPS.get((self.claim, kind), ()))
        assert isinstance(what, ex.CheckFile)
        return pretend.checked(what.text)

    def sent(self, what: ex.Send, addresses: tuple[str, ...]) -> ex.Arrivals:
        came = []
        for number in range(what.count if what.protocol != "icmp" and what.form == "open" else 0):
            if not addresses:
                break
            address = self.random.choice(addresses)
            key = (address, what.destination, what.port or number % 2)
            used = self.taken.setdefault(key if what.port else (*key[:2], id(what)), set())
            free = [port for port in (self.random.randint(1024, 65535) for _ in range(60)) if port not in used]
            rest = free or sorted(set(range(1024, 65536)) - used)
            if rest:
                used.add(rest[0])
                came.append(ex.Seen(number, address, rest[0], what.destination, what.port or 80))
        ports = tuple(range(1024, 1024 + what.count))
        return ex.Arrivals(
            sent=what.count, source_ports=ports, control=True, seen=(tuple(came),) * 2, strays=(), seconds=0.1
        )


def judged(claim: str, lie: Callable[[ex.Experiment, Any], Any] = lambda _what, seen: seen) -> list[Judgement]:
    found = []
    for name in ("nat-gateway", "nat-timers", "private-subnets"):
        seen = _PRIVATE if name == "private-subnets" else _SEEN
        for trial in pretend.trials_of(claim, load(TOPOLOGIES / f"{name}.lab.yaml")):
            world = World(claim, lie)
            given = [lie(e, world.observed(e, seen)) for stage in trial.stages for e in stage.experiments]
            found.append(trial.judge(given))
    return found


@pytest.mark.parametrize("claim", WORLDS)
def test_a_claim_holds_where_the_lab_does_as_the_documents_say(claim: str) -> None:
    found = judged(claim)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


def _from(vm: str, *addresses: str) -> Callable[[ex.Experiment, Any], Any]:
    """Return a lie: the flows of a VM are seen with other addresses, or with none."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Send) or what.sender != vm:
            return seen
        came = tuple(msgspec.structs.replace(one, source=addresses[0]) for one in seen.seen[-1]) if addresses else ()
        if addresses and not came:
            came = tuple(ex.Seen(n, addresses[0], 2000 + n, what.destination, 80) for n in range(what.count))
        return msgspec.structs.replace(seen, seen=(came, came))

    return lie


def _ports(find: Callable[[int], int]) -> Callable[[ex.Experiment, Any], Any]:
    """Return a lie: the source ports of what arrives are others, by the number of the flow."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Send):
            return seen
        came = tuple(msgspec.structs.replace(one, source_port=find(one.number)) for one in seen.seen[-1])
        return msgspec.structs.replace(seen, seen=(came, came))

    return lie


def _step(kind: str, number: int, **fields: Any) -> Callable[[ex.Experiment, Any], Any]:
    """Return a lie about one step of the flows of one protocol that are held."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        goals = (
            [step.goals[0].kind for step in what.steps if isinstance(step, ex.Open)]
            if isinstance(what, ex.HoldFlows)
            else []
        )
        if kind not in goals:
            return seen
        steps = list(seen.steps)
        steps[number] = msgspec.structs.replace(steps[number], **fields)
        return ex.Occupied(steps=tuple(steps))

    return lie


def _about(kind: type, **fields: Any) -> Callable[[ex.Experiment, Any], Any]:
    return lambda what, seen: msgspec.structs.replace(seen, **fields) if isinstance(what, kind) else seen


@pytest.mark.parametrize(
    ("claim", "lie", "reason"),
    [
        ("T-NG-1", _from("own", "104.43.142.188"), "own: "),
        ("T-NG-1", _from("ruled", "40.117.227.1"), "ruled: "),
        ("T-NG-1", _from("busy1", pretend.DEFAULT), "busy1: "),
        ("T-NG-2", _about(ex.Ask, answers=(ex.Answer("timeout"),)), "own did not answer"),
        ("T-NG-2", _about(ex.Ask, answers=(ex.Answer("answered", node="own"),)), "ruled did not answer"),
        ("T-NG-4", _ports(lambda number: 1024 + number % 64_000), "different ports for"),
        ("T-NG-4", _from("busy2"), "different ports for"),
        ("T-NG-5", _ports(lambda number: 1024 + number), "its ports are 1024-2523 only"),
        ("T-NG-5", _from("deep"), "deep: 1500 flows got no port"),
        ("T-NG-6", _ports(lambda number: 1024 + number), "the ports are in order"),
        ("T-NG-6", _ports(lambda number: 1024 + number % 2_999 * 20), "a port was seen for two flows"),
        ("T-NG-7", _from("deep", "40.117.230.1"), "none was seen from 40.117.230.4, 40.117.230.5"),
        ("T-NG-8", _step("tcp", 4, moments=(1.4, 1.4)), "instead of 0.533333 s"),
        ("T-NG-8", _step("tcp", 4, moments=(), answered=0, silent=2), "0 flows were answered instead of 2"),
        ("T-NG-8", _step("tcp", 5, moments=(2.3, 2.3)), "instead of 2.16667 s"),
        ("T-NG-8", _step("tcp", 3, answered=0, silent=2), "0 flows were answered instead of 2"),
        ("T-NG-8", _step("udp", 1, moments=(9.0,)), "instead of 10.1667 s"),
        ("T-NG-9", _step("tcp", 2, answered=0), "2 flows ended within 8.6 s"),
        ("T-NG-9", _step("tcp", 4, answered=2, refused=0), "2 flows went on after 12.0 s"),
        ("T-NG-11", _step("tcp", 3, refused=0, silent=2), "0 of 2 flows that were idle were reset"),
        ("T-NG-11", _step("tcp", 3, answered=1), "1 of 2 flows that were kept alive went on"),
        ("T-NG-12", _about(ex.Return, intruded=True), "a stranger reached the VM"),
        ("T-NG-12", _about(ex.Return, answered=False), "the answer did not reach the VM"),
        ("T-NG-12", _about(ex.Return, source=pretend.DEFAULT), f"seen from {pretend.DEFAULT}"),
        ("T-NG-14", _about(ex.CheckFile, status=0, said=""), "was not refused"),
        ("T-NG-15", _about(ex.CheckFile, status=2, said="lab.yaml:1: x: unknown key"), "refused"),
        ("T-NG-18", _from("own", "104.43.142.188"), "left from 104.43.142.188"),
        ("T-NG-19", _from("busy1", "40.117.230.8"), "left from 40.117.230.8"),
        ("T-DO-2", _from("unsaid", pretend.DEFAULT), "unsaid: "),
        ("T-DO-2", _from("free"), "free: "),
        ("T-DO-3", _from("private", pretend.DEFAULT), "private: "),
        ("T-DO-3", _from("own", pretend.DEFAULT), "own: "),
        ("T-DO-3", _from("ruled"), "ruled: "),
        ("T-DO-3", _from("gated"), "gated: "),
        ("N-SN-22", _from("ends-by-gateway", pretend.DEFAULT), "ends-by-gateway: "),
        ("N-SN-22", _from("ends-by-own", pretend.DEFAULT), "ends-by-own: "),
        ("N-SN-22", _from("ends-by-rule", pretend.DEFAULT), "ends-by-rule: "),
        ("N-SN-22", _from("free", pretend.DEFAULT), "fragments left the virtual network"),
    ],
)
def test_a_claim_is_contradicted_where_the_lab_does_otherwise(
    claim: str, lie: Callable[[ex.Experiment, Any], Any], reason: str
) -> None:
    found = [j for j in judged(claim, lie) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]
