"""Claims about health probes and their log, judged by observations that are made by hand."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from lab.azure.model import Network, VirtualMachine
from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.claims.kit.probed_pools import run_before
from lab.verify.verdict import Judgement
from tests.unit.verify.claims import pretend
from tests.unit.verify.claims.pretend import Lie, about, replace

_PROBES = "168.63.129.16"
_TOPOLOGIES = Path(__file__).parents[4] / "topologies"
_DOWN_AT, _UP_AT = 1010.0, 1020.0


def bundled(name: str) -> Network:
    return msgspec.structs.replace(load(_TOPOLOGIES / f"{name}.lab.yaml"), expectations=())


class Probed:
    """A lab that keeps the documents' word on probes; its figures are real seconds of a lab 30 times as fast.

    ``needed``: results in a row that a Tcp and an Http probe take to go down, and to come back. ``interval_s`` of a
    probe that names none. ``ends``: frontends whose TCP flows end when all members are down.
    """

    def __init__(
        self, network: Network, *, needed: dict[str, int], back: int, interval_s: float, timeout_s: float,
        ends: Sequence[str], every_s: float = 2.0,
    ) -> None:  # fmt: skip
        self.network = network
        self.needed = needed
        self.back = back
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.ends = ends
        self.every_s = every_s
        self._listening = False
        self._logged = 0

    def forget(self) -> None:
        self._listening = False
        self._logged = 0

    def do(self, what: ex.Experiment, network: Network | None = None) -> ex.Observation:  # noqa: PLR0911 - each kind
        now = network or self.network
        match what:
            case ex.Health():
                return self._members(now)
            case ex.Listen():
                self._listening = True
                return ex.Listening(since=1000.0)
            case ex.CaptureConnections():
                return ex.Heard(control=True, knocks=self._knocks(now, what))
            case ex.OpenFlows():
                there = self._backends(now, what.address, what.port, what.kind)
                return ex.Answers(answers=tuple(_by(there[i % len(there)]) for i in range(what.count)))
            case ex.ReuseFlows():
                return self._resumed(now, what.kept)
            case ex.Ask():
                return self._asked(now, what)
            case ex.Send():
                source = str(next(lb for lb in now.load_balancers if lb.name == "lb-basic").frontends[0].address)
                seen = tuple(ex.Seen(i, source, 2000 + i, what.destination, 80) for i in range(what.count))
                return ex.Arrivals(
                    sent=what.count, source_ports=tuple(range(what.count)), control=True, strays=(), seconds=0.1,
                    seen=(seen,) * len(what.watches),
                )  # fmt: skip
            case ex.ProbeLog():
                return self._log(now, what)
            case ex.Run():
                return ex.Checked(status=0, said=json.dumps({"records": self._events(now)}))
            case ex.CheckFile():
                return _checked(what.text)
            case _:
                raise AssertionError(what)

    def _member_is_up(self, network: Network, probe: Any, vm: VirtualMachine) -> str:
        """Return why a member is down, "" if it is up."""
        if any(r.name == "no-probes" for g in network.network_security_groups for r in g.rules) and vm.name == "basic1":
            return "no answer"
        if not any(s.port == probe.port and s.protocol == "tcp" for s in vm.services):
            return "connection refused"
        if probe.request_path == "/":
            return ""
        return "no answer" if probe.request_path == "/silence" else f"status {probe.request_path[-3:]}"

    def _members(self, network: Network) -> ex.Members:
        up, down = [], {}
        vms = {vm.name: vm for vm in network.virtual_machines}
        for lb in network.load_balancers:
            for rule in lb.load_balancing_rules:
                for name in lb.pool(rule.backend_pool).members if rule.probe else ():
                    why = self._member_is_up(network, lb.probe(rule.probe or ""), vms[name])
                    key = f"{lb.name}/{rule.probe}/{name}"
                    if why:
                        down[key] = why
                    elif key not in up:
                        up.append(key)
        since = {**dict.fromkeys(up, _UP_AT), **dict.fromkeys(down, _DOWN_AT)}
        return ex.Members(up=tuple(up), down=down, since=since)

    def _events(self, network: Network) -> list[dict[str, Any]]:
        """Return the health events of frontends without a member that is up, in the document's keys."""
        up = {key.rpartition("/")[0] for key in self._members(network).up}
        return [
            {
                "TimeGenerated": "now",
                "HealthEventType": "NoHealthyBackends",
                "Severity": "Critical",
                "FrontendIP": str(lb.frontend(rule.frontend).address),
                "Description": "",
                "LoadBalancerResourceId": "",
                "operationName": "LoadBalancerHealthEvent",
            }
            for lb in network.load_balancers
            for rule in lb.load_balancing_rules
            if rule.probe and f"{lb.name}/{rule.probe}" not in up
        ]

    def _backends(self, network: Network, address: str, port: int, protocol: str) -> list[str]:
        vms = {vm.name: vm for vm in network.virtual_machines}
        for lb in network.load_balancers:
            for rule in lb.load_balancing_rules:
                at = (str(lb.frontend(rule.frontend).address), rule.frontend_port, rule.protocol)
                if at == (address, port, protocol):
                    members = lb.pool(rule.backend_pool).members
                    probe = lb.probe(rule.probe) if rule.probe else None
                    up = [m for m in members if not probe or not self._member_is_up(network, probe, vms[m])]
                    return up or [m for m in members if probe and probe.all_probed_up]
        raise AssertionError(address)

    def _asked(self, network: Network, what: ex.Ask) -> ex.Answers:
        there = self._backends(network, what.address, what.port, "tcp")
        if what.kind == "connect":  # where nobody asks for anybody's health
            halves = ("answered", "refused")
            return ex.Answers(answers=tuple(ex.Answer(halves[i % 2]) for i in range(what.count)))
        found = [_by(there[i % len(there)]) if there else ex.Answer("timeout") for i in range(what.count)]
        return ex.Answers(answers=tuple(found))

    def _resumed(self, network: Network, kept: ex.OpenFlows) -> ex.Answers:
        first = self._backends(self.network, kept.address, kept.port, kept.kind)
        there = self._backends(network, kept.address, kept.port, kept.kind)
        found = []
        for number in range(kept.count):
            node = first[number % len(first)]
            if kept.kind == "udp" and node not in there:
                node = there[0] if there else ""
            if kept.kind == "tcp" and not there and kept.address in self.ends:
                node = ""
            found.append(_by(node) if node else ex.Answer("timeout"))
        return ex.Answers(answers=tuple(found))

    def _knocks(self, network: Network, what: ex.CaptureConnections) -> tuple[ex.ObservedConnection, ...]:
        vm = next(vm for vm in network.virtual_machines if vm.name == what.node)
        own = str(vm.private_ip_address)
        kind = "Http" if any((s.port, s.kind) == (what.port, "http") for s in vm.services) else "Tcp"
        if self._listening:
            down = [_DOWN_AT - 0.1 * n for n in range(self.needed[kind])]
            up = [_UP_AT - 0.1 * n for n in range(self.back)]
            found = [*((t, "open") for t in (1000.0, 1001.0)), *((t, "reset") for t in (*down, 1012.0, 1013.0))]
            found += [(t, "open") for t in (*up, 1021.0)]
            return tuple(_knock(own, t, answer) for t, answer in sorted(found))
        listens = any(s.port == what.port for s in vm.services)
        lasts_s = self.timeout_s if what.port == 83 else 0.001
        return tuple(
            _knock(own, 1011.0 + self.interval_s * n, "open" if listens else "reset", lasts_s) for n in range(5)
        )

    def _log(self, network: Network, what: ex.ProbeLog) -> ex.Logged:
        """Return what was logged before, what is now, and so on."""
        before, records = self._logged, [self._record(self.network, 0.0)] * self._logged
        for number in range(1, what.records + 1):
            records += self._records(network, self.every_s * number)
        if not before:
            records = [*self._records(self.network, 0.0), *records]
            before = len(self._records(self.network, 0.0))
        self._logged = before
        return ex.Logged(text=_printed(records), before=before)

    def _record(self, network: Network, at_s: float) -> dict[str, Any]:
        return self._records(network, at_s)[0]

    def _records(self, network: Network, at_s: float) -> list[dict[str, Any]]:
        found = []
        known = self._members(network)
        for lb in network.load_balancers:
            for rule in lb.load_balancing_rules:
                if lb.sku == "Basic" and rule.probe:
                    members = lb.pool(rule.backend_pool).members
                    down = sum(f"{lb.name}/{rule.probe}/{m}" in known.down for m in members)
                    address = str(lb.frontend(rule.frontend).address)
                    found.append(record(address, str(rule.frontend_port), len(members), down, at_s))
        return found


def _by(node: str) -> ex.Answer:
    return ex.Answer("answered", node)


def _knock(destination: str, began: float, answer: str, lasts_s: float = 0.001) -> ex.ObservedConnection:
    opened = answer == "open"
    return ex.ObservedConnection(
        source=_PROBES, destination=destination, began=began, answer=answer,
        ended=began + lasts_s if opened else None, how="fin" if opened else "", closed=opened,
    )  # fmt: skip


def record(address: str, port: str, total: int, down: int, at_s: float) -> dict[str, Any]:
    """Return a record as the document prints it; the percentage keeps its decimals when it is printed."""
    stamp = datetime.fromtimestamp(1_500_000_000 + at_s, UTC)
    return {
        "time": f"{stamp:%Y-%m-%dT%H:%M:%S.%f}0Z",
        "systemId": "00000000-0000-0000-0000-000000000000",
        "category": "LoadBalancerProbeHealthStatus",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.NETWORK/LOADBALANCERS/LB1",
        "operationName": "LoadBalancerProbeHealthStatus",
        "properties": {
            "publicIpAddress": address,
            "port": port,
            "totalDipCount": total,
            "dipDownCount": down,
            "healthPercentage": msgspec.Raw(f"{100 * (total - down) / total:.6f}".encode()),
        },
        "lab": {"protocol": "tcp"},
    }


def _printed(records: list[dict[str, Any]], wrapper: str = "records") -> str:
    return msgspec.json.format(msgspec.json.encode({wrapper: records})).decode()


def _checked(text: str) -> ex.Checked:
    if "profile: 2026-07" in text and ("no-probe" in text or "protocol: Tcp, port: 19" in text):
        return ex.Checked(status=0, said="ok")
    words = {
        "168.63.0.0/16": f"168.63.0.0/16 overlaps {_PROBES}",
        "Https": "protocol: Https",
        "protocol: Http, port: 19": " ".join(f"p{n}.port: {n}" for n in (19, 21, 25, 70, 110, 119, 143, 220, 993)),
        "interval_in_seconds: 4": "the shortest interval is 5 s",
        "number_of_probes: 1": "the smallest count is 2",
        "interval_in_seconds: 61": "interval times count is at most 120 s",
        "name: no-probe": "no probe",
        "name: later": "probe_threshold in the revision 2018-12; no_healthy_backends_behavior in the revision 2018-12",
    }
    return ex.Checked(status=2, said=next(said for part, said in words.items() if part in text))


_OF_2018 = bundled("health-probes")
_OF_2026 = bundled("health-2026")
_BASIC, _STANDARD, _SINGLE = "40.83.190.158", "40.83.190.159", "40.83.190.162"
_SEEDS = Probed(
    _OF_2018, needed={"Tcp": 3, "Http": 1}, back=3, interval_s=0.5, timeout_s=31 / 30, ends=[_BASIC, "40.83.190.160"]
)
_LATER = Probed(
    _OF_2026, needed={"Tcp": 1, "Http": 1}, back=1, interval_s=5 / 30, timeout_s=1.0,
    ends=[_BASIC, "40.83.190.160", _SINGLE],
)  # fmt: skip


#: Claims, and the lab that keeps them.
def but(lab: Probed, **changes: Any) -> Probed:
    """Return a lab that does some things otherwise."""
    values: dict[str, Any] = {
        "needed": lab.needed, "back": lab.back, "interval_s": lab.interval_s, "timeout_s": lab.timeout_s,
        "ends": lab.ends, "every_s": lab.every_s,
    }  # fmt: skip
    return Probed(lab.network, **{**values, **changes})


FAITHFUL: dict[str, Probed] = {
    **dict.fromkeys([f"N-HP-{n}" for n in (1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13)], _SEEDS),
    **dict.fromkeys(["N-HP-6", "N-HP-14"], _LATER),
    **dict.fromkeys(["N-ML-1", "N-ML-3"], _SEEDS),
    "N-HP-15": but(_LATER, needed={"Tcp": 3, "Http": 3}, back=3),
    "N-ML-5": _LATER,
}
#: What is claimed of other rules too.
ALSO = [f"N-HP-{n}" for n in (1, 2, 3, 4, 7, 8, 9, 10, 11, 12)]


def judgements(claim: str, lie: Lie = lambda _what, seen: seen, lab: Probed | None = None) -> list[Judgement]:
    lab = lab or FAITHFUL[claim]
    trials = pretend.trials_of(claim, lab.network)
    return [pretend.judge(trial, lab, lie) for trial in trials]  # type: ignore[arg-type]


def _each_knock(**values: Any) -> Callable[[ex.Heard], ex.Heard]:
    return lambda heard: replace(knocks=tuple(msgspec.structs.replace(k, **values) for k in heard.knocks))(heard)


def _never_down(seen: ex.Members) -> ex.Members:
    return ex.Members(up=(*seen.up, *seen.down), down={}, since=dict.fromkeys((*seen.up, *seen.down), _UP_AT))


def _never_up(seen: ex.Members) -> ex.Members:
    keys = (*seen.up, *seen.down)
    return ex.Members(up=(), down=dict.fromkeys(keys, "no answer"), since=dict.fromkeys(keys, _DOWN_AT))


def _answered(node: str) -> Callable[[ex.Answers], ex.Answers]:
    return lambda seen: ex.Answers(answers=(_by(node),) * len(seen.answers))


def _all(outcome: ex.Outcome) -> Callable[[ex.Answers], ex.Answers]:
    return lambda seen: ex.Answers(answers=(ex.Answer(outcome),) * len(seen.answers))


def _resuming(kind: str, change: Callable[[ex.Answers], ex.Answers]) -> Lie:
    def lie(what: ex.Experiment, seen: Any) -> Any:
        return change(seen) if isinstance(what, ex.ReuseFlows) and what.kept.kind == kind else seen

    return lie


def _asking_for_silence(outcome: ex.Outcome) -> Lie:
    def lie(what: ex.Experiment, seen: Any) -> Any:
        return _all(outcome)(seen) if isinstance(what, ex.Ask) and what.timeout_s < 1 else seen

    return lie


def _records(change: Callable[[dict[str, Any]], None], wrapper: str = "records") -> Lie:
    def altered(seen: ex.Logged) -> ex.Logged:
        records = json.loads(seen.text, parse_float=lambda text: text)["records"]
        for one in records:
            change(one)
            share = one["properties"].get("healthPercentage")
            if isinstance(share, str):
                one["properties"]["healthPercentage"] = msgspec.Raw(share.encode())
        return ex.Logged(text=_printed(records, wrapper), before=seen.before)

    return about(ex.ProbeLog, altered)


def _property(key: str, value: object) -> Lie:
    return _records(lambda one: one["properties"].__setitem__(key, value))


def _reordered(one: dict[str, Any]) -> None:
    one["category"] = one.pop("category")


_ACCEPTED = about(ex.CheckFile, lambda _seen: ex.Checked(status=0, said="ok"))
_REFUSED = about(ex.CheckFile, replace(status=2))
_UNHEARD = about(ex.CaptureConnections, replace(knocks=()))

#: A claim, a lie, and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie, str]] = [
    ("N-HP-1", about(ex.CaptureConnections, _each_knock(source="10.1.0.1")), "probes come from 10.1.0.1"),
    ("N-HP-1", _UNHEARD, "no probe came"),
    ("N-HP-1", _ACCEPTED, "a virtual network with that address was not refused"),
    ("N-HP-2", about(ex.Health, _never_down), "the probe of lb-web/created/web, lb-web/error/web"),
    ("N-HP-2", about(ex.Health, _never_up), "lb-web/ok/web (no answer) fails"),
    ("N-HP-2", _ACCEPTED, "a probe over HTTPS of a Basic load balancer was not refused"),
    ("N-HP-2", _UNHEARD, "probes did not come again and again"),
    ("N-HP-2", _UNHEARD, "probes that nobody answers are not given up"),
    ("N-HP-3", about(ex.CaptureConnections, _each_knock(how="reset")), "probes end with a reset"),
    (
        "N-HP-3",
        about(ex.CaptureConnections, _each_knock(closed=False)),
        "probes are not opened and closed by both sides",
    ),
    ("N-HP-3", _UNHEARD, "probes are not opened and closed by both sides"),
    ("N-HP-3", _ACCEPTED, "a probe with interval_in_seconds: 4 was not refused"),
    ("N-HP-3", _ACCEPTED, "a probe with number_of_probes: 1 was not refused"),
    ("N-HP-3", _ACCEPTED, "a probe with interval_in_seconds: 61 was not refused"),
    ("N-HP-4", about(ex.Health, _never_down), "although nothing listens there"),
    ("N-HP-4", _UNHEARD, "0 failures in a row took it out instead of 3"),
    ("N-HP-6", _ACCEPTED, "an HTTP probe of port 19, 21, 25, 70, 110, 119, 143, 220, 993 was not refused"),
    ("N-HP-6", _REFUSED, "a TCP probe was refused"),
    ("N-HP-6", _UNHEARD, "probes did not come again and again"),
    ("N-HP-7", about(ex.Ask, _answered("basic1")), "new flows went to basic1"),
    ("N-HP-7", about(ex.Health, _never_down), "the probe of lb-basic/alive/basic1 succeeds"),
    ("N-HP-7", _UNHEARD, "no probe came"),
    ("N-HP-8", _asking_for_silence("refused"), "is not silent: 3 refused"),
    ("N-HP-8", _asking_for_silence("answered"), "is not silent: 3 answered"),
    ("N-HP-8", about(ex.Health, _never_down), "lb-basic/alive/basic2 succeeds"),
    ("N-HP-9", _resuming("tcp", _all("timeout")), "TCP flows ended with their member's probe"),
    ("N-HP-9", _resuming("tcp", _answered("basic2")), "TCP flows ended with their member's probe"),
    ("N-HP-9", _resuming("udp", _all("timeout")), "UDP flows neither stayed nor moved"),
    ("N-HP-9", about(ex.Health, _never_down), "the probe of lb-basic/alive/basic1 succeeds"),
    ("N-HP-10", _resuming("tcp", _all("timeout")), "31 TCP flows ended"),
    ("N-HP-10", _resuming("udp", _answered("basic1")), "31 UDP flows go on"),
    ("N-HP-10", about(ex.Health, _never_down), "lb-basic/alive/basic2 succeeds"),
    ("N-HP-11", about(ex.Send, pretend.from_source("192.0.2.254")), "while it is up: seen from 192.0.2.254"),
    ("N-HP-11", about(ex.Health, _never_down), "the probe of lb-basic/alive/basic1 succeeds"),
    ("N-HP-12", about(ex.CaptureConnections, _each_knock(destination=_BASIC)), f"probes are sent to {_BASIC}"),
    ("N-HP-12", _UNHEARD, "no probe came"),
    ("N-HP-13", about(ex.Health, _never_down), "the probe of lb-basic/alive/basic1 succeeds"),
    ("N-HP-15", about(ex.Ask, _all("timeout")), "no new flow went to later1, later2"),
    ("N-HP-15", about(ex.CheckFile, replace(status=0)), "these properties in 2018 was not refused"),
    ("N-ML-5", about(ex.Run, replace(said='{"records": []}')), "no NoHealthyBackends is told of the frontend"),
    ("N-HP-14", about(ex.Ask, _all("answered")), "no new flow went to bare2"),
    ("N-HP-14", about(ex.Ask, _all("refused")), "no new flow went to a member that listens"),
    ("N-HP-14", about(ex.Ask, _all("timeout")), "no new flow went to a member that listens"),
    ("N-HP-14", _REFUSED, "a rule without a probe is refused"),
    ("N-HP-14", _ACCEPTED, "a rule without a probe, as in the portal of 2018 was not refused"),
    ("N-ML-1", about(ex.ProbeLog, replace(text=_printed([]))), "no records of 40.83.190.160:81"),
    ("N-ML-1", _property("publicIpAddress", _STANDARD), "no records of 40.83.190.160:81"),
    ("N-ML-3", about(ex.ProbeLog, replace(text=_printed([]))), "no record of 40.83.190.160:81 came"),
    ("N-ML-3", _records(_reordered), "the record has the keys time, systemId, resourceId, "),
    ("N-ML-3", _records(lambda one: one.update(category="LoadBalancerAlertEvent")), "its category is LoadBalancerA"),
    ("N-ML-3", _records(lambda one: one.update(operationName="Probe")), "its operationName is Probe"),
    ("N-ML-3", _records(lambda one: one.update(resourceId="/subscriptions/s")), "its resourceId is /subscriptions/s"),
    ("N-ML-3", _records(lambda one: one.update(time="2017-05-31T12:00:00Z")), "its time is 2017-05-31T12:00:00Z"),
    ("N-ML-3", _property("totalDipCount", 3), "its totalDipCount is 3"),
    ("N-ML-3", _property("dipDownCount", 0), "its dipDownCount is 0"),
    ("N-ML-3", _property("healthPercentage", 50), "its healthPercentage is 50"),
    ("N-ML-3", _property("healthPercentage", "50.0"), "its healthPercentage is 50.0"),
    ("N-ML-3", _property("more", 1), "its properties are publicIpAddress, port, "),
    ("N-ML-3", _records(lambda _one: None, "log"), "the records are in log"),
]

#: A claim, a lab that does not keep it, and the reason that must be given for the contradiction.
UNFAITHFUL: list[tuple[str, Probed, str]] = [
    ("N-HP-2", but(_SEEDS, interval_s=5 / 30), "instead of 0.5 s"),
    ("N-HP-2", but(_SEEDS, timeout_s=0.5), "given up after 0.50 s instead of 1.03 s"),
    ("N-HP-2", but(_SEEDS, needed={"Tcp": 3, "Http": 3}), "3 failures in a row took it out instead of 1"),
    ("N-HP-4", but(_SEEDS, needed={"Tcp": 1, "Http": 1}), "1 failures in a row took it out instead of 3"),
    ("N-HP-4", but(_SEEDS, back=1), "1 successes in a row brought it back instead of 3"),
    ("N-HP-4", but(_LATER, back=3), "3 successes in a row brought it back instead of 1"),
    ("N-HP-4", but(_LATER, needed={"Tcp": 3, "Http": 1}), "3 failures in a row took it out instead of 1"),
    ("N-HP-6", but(_LATER, interval_s=0.5), "probes come every 0.50 s instead of 0.166667 s"),
    ("N-HP-6", but(_LATER, timeout_s=2.0), "given up after 2.00 s instead of 1.00 s"),
    ("N-HP-10", but(_SEEDS, ends=[]), "31 TCP flows go on"),
    ("N-HP-10", but(_SEEDS, ends=[_BASIC, _STANDARD]), "31 TCP flows ended"),
    ("N-HP-10", but(_LATER, ends=[_BASIC]), "31 TCP flows go on"),
    ("N-ML-1", but(_SEEDS, every_s=10.0), "is not logged every 2 s"),
    ("N-ML-1", but(_SEEDS, every_s=0.5), "is not logged every 2 s"),
]  # fmt: skip


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


@pytest.mark.parametrize("claim", ALSO)
def test_a_claim_is_judged_by_the_rules_that_are_played(claim: str) -> None:
    found = judgements(claim, lab=_LATER)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)


def test_every_claim_here_has_its_lies() -> None:
    assert {claim for claim, _, _ in LIES} == set(FAITHFUL)


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{claim}: {reason}" for claim, _, reason in LIES])
def test_a_claim_is_contradicted_by_what_the_document_rules_out(claim: str, lie: Lie, reason: str) -> None:
    found = [j for j in judgements(claim, lie) if j.verdict == "CONTRADICTED"]
    assert any(reason in j.reason for j in found), [(j.verdict, j.reason) for j in judgements(claim, lie)]


@pytest.mark.parametrize(
    ("claim", "lab", "reason"), UNFAITHFUL, ids=[f"{claim}: {reason}" for claim, _, reason in UNFAITHFUL]
)
def test_a_claim_is_contradicted_by_a_lab_that_does_otherwise(claim: str, lab: Probed, reason: str) -> None:
    found = [j for j in judgements(claim, lab=lab) if j.verdict == "CONTRADICTED"]
    assert any(reason in j.reason for j in found), [(j.verdict, j.reason) for j in judgements(claim, lab=lab)]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    wanted = ("INCONCLUSIVE", "the experiment failed: no such place")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


_DEAF = about(ex.CaptureConnections, lambda _seen: ex.Heard(control=False, knocks=()))


@pytest.mark.parametrize("claim", ["N-HP-1", "N-HP-2", "N-HP-3", "N-HP-4", "N-HP-6", "N-HP-7", "N-HP-12"])
def test_a_capture_without_its_control_proves_nothing(claim: str) -> None:
    found = [j for j in judgements(claim, _DEAF) if j.verdict != "HOLDS"]
    assert {(j.verdict, j.reason) for j in found} == {("INCONCLUSIVE", "the control packet did not arrive")}


@pytest.mark.parametrize("claim", ["N-HP-8", "N-HP-10"])
def test_silence_counts_only_beside_an_answer(claim: str) -> None:
    found = [j for j in judgements(claim, about(ex.Ask, _all("timeout"))) if j.verdict != "HOLDS"]
    assert {(j.verdict, j.reason) for j in found} == {("INCONCLUSIVE", "the other frontend does not answer either")}


@pytest.mark.parametrize("claim", ["N-HP-4", "N-HP-13"])
def test_a_member_that_is_down_before_anything_was_done_proves_nothing(claim: str) -> None:
    assert {j.verdict for j in judgements(claim, about(ex.Health, _never_up))} == {"INCONCLUSIVE"}


@pytest.mark.parametrize("claim", ["N-HP-9", "N-HP-10"])
def test_flows_that_were_never_open_prove_nothing(claim: str) -> None:
    found = judgements(claim, about(ex.OpenFlows, _all("timeout")))
    assert {j.verdict for j in found} == {"INCONCLUSIVE"}


def test_a_pool_that_does_not_answer_at_all_says_nothing_of_the_member_that_is_down() -> None:
    (found,) = judgements("N-HP-7", about(ex.Ask, _all("timeout")))
    assert found.verdict == "INCONCLUSIVE"


# --- S2-16, of the load balancer ---------------------------------------------------------------


def _blocked(lie: Lie = lambda _what, seen: seen) -> Judgement:
    (found,) = judgements("S2-16", lie, _SEEDS)
    return found


def test_a_blocked_member_is_logged_as_down_is_sent_no_new_flow_and_keeps_its_flows() -> None:
    found = _blocked()
    assert (found.verdict, found.reason) == ("HOLDS", "")
    assert "dipDownCount 0, then 1" in found.observed


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (about(ex.Health, _never_down), "the probe of lb-basic/alive/basic1 succeeds"),
        (about(ex.Ask, _answered("basic1")), "new flows went to basic1"),
        (_resuming("tcp", _all("timeout")), "16 established flows ended"),
        (_property("dipDownCount", 0), "dipDownCount went from 0 to 0"),
        (_property("port", "80"), "dipDownCount went from None to None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_blocked_member_contradicts_if_anything_is_otherwise(lie: Lie, reason: str) -> None:
    found = _blocked(lie)
    assert (found.verdict, found.reason) == ("CONTRADICTED", reason)


@pytest.mark.parametrize(
    "lie",
    [about(ex.OpenFlows, _all("timeout")), about(ex.Ask, _all("timeout"))],
    ids=["no flow before", "nobody answers"],
)
def test_a_blocked_member_proves_nothing_without_its_controls(lie: Lie) -> None:
    assert _blocked(lie).verdict == "INCONCLUSIVE"


def test_a_probe_that_is_opened_and_then_reset_may_have_been_the_first_failure() -> None:
    """Whoever asks sees the one or the other, by who is quicker."""

    def knock(began: float, answer: Literal["open", "reset"], *, cut: bool = False) -> ex.ObservedConnection:
        return ex.ObservedConnection(source="", destination="", began=began, answer=answer, cut=cut)

    well, refused = knock(0.0, "open"), (knock(2.0, "reset"), knock(3.0, "reset"))
    assert run_before((well, knock(1.0, "open", cut=True), *refused), 3.5, well=False) == range(2, 4)
    assert run_before((well, well, *refused), 3.5, well=False) == range(2, 3)
    assert run_before((well, *refused, knock(4.0, "reset")), 3.5, well=False) == range(2, 3)
    assert run_before((*refused, well, well), 3.5, well=True) == range(2, 3)
