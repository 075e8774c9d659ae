"""Claims about cloud services say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made without a kernel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.azure.model import Network
from lab.topology import load
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.claims import endpoint_acls, endpoints, multiple_vips, reserved_ips, service_files
from tests.unit.verify.claims import pretend
from tests.unit.verify.claims.cloud import Pure
from tests.unit.verify.claims.pretend import Lie, about, replace

#: Claims that are only of cloud services, and those that load balancers have as well.
OWN = [c.id for module in (multiple_vips, endpoints, endpoint_acls, reserved_ips, service_files) for c in module.CLAIMS]
SHARED = sorted(endpoints.MORE)


def _bundled() -> Network:
    whole = load(Path(__file__).parents[4] / "topologies" / "multivip.lab.yaml")
    return msgspec.structs.replace(whole, expectations=())


NETWORK = _bundled()
#: Where each claim is kept.
FAITHFUL = dict.fromkeys(OWN, NETWORK)


def judgements(claim: str, lie: Lie = lambda _what, seen: seen) -> list[claims.claim.Judgement]:
    lab = Pure(NETWORK)
    return [pretend.judge(trial, lab, lie) for trial in pretend.trials_of(claim, NETWORK)]  # type: ignore[arg-type]


def _ran(*words: str, **values: object) -> Lie:
    """Change what a command says that begins with some words."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        mine = isinstance(what, ex.Run) and what.words[: len(words)] == words
        return msgspec.structs.replace(seen, **values) if mine else seen

    return lie


def _said(old: str, new: str, *words: str) -> Lie:
    """Change a part of what a command says."""

    def lie(what: ex.Experiment, seen: Any) -> Any:
        mine = isinstance(what, ex.Run) and what.words[: len(words)] == words
        return msgspec.structs.replace(seen, said=seen.said.replace(old, new)) if mine else seen

    return lie


def _answered_by(node: str, address: str = "") -> Lie:
    def lie(what: ex.Experiment, seen: Any) -> Any:
        if not isinstance(what, ex.Ask) or (address and what.address != address):
            return seen
        return ex.Answers(answers=tuple(msgspec.structs.replace(a, node=node) for a in seen.answers))

    return lie


def _each(**values: object) -> Callable[[ex.Answers], ex.Answers]:
    return lambda seen: ex.Answers(answers=tuple(msgspec.structs.replace(a, **values) for a in seen.answers))


def _after(count: int, kind: type, change: Callable[[Any], Any]) -> Callable[[], Lie]:
    """Change what is seen of one kind of experiment from the one with this number on, counted from 0."""

    def made() -> Lie:
        met = -1

        def lie(what: ex.Experiment, seen: Any) -> Any:
            nonlocal met
            met += isinstance(what, kind)
            return change(seen) if isinstance(what, kind) and met >= count else seen

        return lie

    return made


def _everywhere(seen: ex.Swept) -> ex.Swept:
    return msgspec.structs.replace(
        seen, passages=tuple(p if p.end else ex.FlowResult(True, "myVM1", "1") for p in seen.passages)
    )


def _all_to(node: str) -> Callable[[ex.Swept], ex.Swept]:
    return lambda seen: msgspec.structs.replace(
        seen, passages=tuple(ex.FlowResult(True, node, p.destination) for p in seen.passages)
    )


def _none(seen: ex.Swept) -> ex.Swept:
    return msgspec.structs.replace(seen, passages=tuple(ex.FlowResult(True, "") for _ in seen.passages))


def _unheard(seen: Any) -> Any:
    """No flow came to where it is let or not, and the captures of nodes saw nothing."""
    return ex.Swept(passages=tuple(ex.FlowResult(False, "") for _ in seen.passages), deaf=("myVM1",))


def _once_more(address: str) -> Callable[[ex.Names], ex.Names]:
    """Have a name that is no reserved address's lead to an address again."""
    return lambda seen: seen if seen.addresses == ("191.238.74.20",) else ex.Names(addresses=(address,), said="")


_SILENT = about(ex.Ask, _each(outcome="timeout", node="", server_port=0))

_HEAD = "OperationDescription OperationId OperationStatus"

#: A claim, a lie (or what makes one), and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie | Callable[[], Lie], str]] = [
    ("S0-1", _said("10.1.0.10/32", "191.238.74.148/32", "exec"), "myVM1 has the VIP's address itself"),
    ("S0-1", _answered_by("sql1"), "was answered by sql1"),
    ("S0-1", about(ex.Sweep, _everywhere), "flows that no endpoint takes arrived at myVM1"),
    ("S0-2", about(ex.Ask, _each(subject="myVM1:8443")), "shows the certificate of myVM1:8443 instead of myVM1:8444"),
    ("S0-2", about(ex.Ask, _each(fingerprint="same")), "both VIPs show one certificate"),
    ("S0-2", about(ex.Track, replace(after=())), "a flow to Vip1:443 is tracked to nobody"),
    ("S0-2", about(ex.CheckFile, replace(status=0)), "for two endpoints was not refused"),
    ("S0-3", _answered_by("sql2"), "Listener1:1433 was answered by sql2, which is down"),
    ("S0-3", about(ex.Ask, _each(server_port=1433)), "ended at port 1433 instead of 1434"),
    ("S0-4", _after(2, ex.Lookup, replace(addresses=("203.0.113.99",))), "the reserved address became 203.0.113.99"),
    ("S0-4", _after(0, ex.Lookup, replace(addresses=("203.0.113.1",))), "still leads somewhere"),
    ("S0-4", _after(2, ex.Lookup, replace(addresses=())), "keptService has no address"),
    ("S0-4", about(ex.Ask, _each(outcome="answered")), "191.238.74.20 answers without VMs"),
    ("S0-4", _said("kept2", "myVM1", "exec"), "dynamicService.cloudapp.net is answered by myVM1 instead of kept2"),
    ("S0-4", _ran("vm", "start", status=1), "exit 1: "),
    ("S0-5", _ran("vip", "add", status=0), "a second VIP of a service with roles was not refused"),
    ("S0-4", _after(2, ex.Lookup, _once_more("203.0.113.1")), "the dynamic address is 203.0.113.1 again"),
    ("S0-6", _said("Vip3", "Vip4", "replay"), "VIPs are listed as Vip1, Vip2, Vip4"),
    ("S0-6", _ran("replay", status=2), "exit 2: "),
    ("S0-6", _ran("import", status=2, said="something else"), "a VIP of a service configuration file was not refused"),
    ("N-CS-1", _ran("import", status=0), "another network was not refused"),
    ("N-CS-1", _said("<Subnet ", "<Sub ", "export"), "what is written has no <Subnet"),
    ("S0-7", _said("OperationId", "Operation", "vip"), "the columns are not OperationDescription, OperationId"),
    ("S0-7", _said("Succeeded", "Failed", "vip"), "the operation is Add-AzureVirtualIP, Failed"),
    ("S0-7", _ran("vip", said=f"{_HEAD}\nAdd-AzureVirtualIP 42 Succeeded"), "42 is no operation's id"),
    ("S0-8", _said('"Address": ""', '"Address": "1.2.3.4"', "service"), "its address is 1.2.3.4"),
    ("S0-8", _said("191.238.74.13", "1.2.3.4", "exec"), "1.2.3.4 leads somewhere"),
    ("S0-8", _said("VipOfATrial", "Another", "service"), "the VIP is not there"),
    ("S0-9", _ran("vip", "remove", "{lab}", "myService", "Vip2", status=0), "the removal of Vip2 was not refused"),
    ("S0-9", _SILENT, "Vip2:443: timeout"),
    ("S0-9", _ran("vip", "remove", "{lab}", "myService", "Vip3", status=2), "exit 2: "),
    ("S0-10", _said("IsDnsProgrammed : True", "IsDnsProgrammed :", "service"), "it prints something else"),
    ("S0-11", about(ex.Lookup, replace(addresses=("191.238.74.13",))), "permitted is told 191.238.74.13"),
    ("S0-11", about(ex.Lookup, replace(addresses=()), "myVM1"), "myVM1 is told no answer"),
    ("S0-12", _said('"billed": false', '"billed": true', "service"), "billed: Vip1, Vip2, Vip3 instead of none"),
    ("S0-12", _said('"billed": true', '"billed": false', "service"), "billed: none instead of Vip2"),
    ("S0-13", _said("191.238.74.13", "191.238.74.14", "service"), "Vip2 has 191.238.74.14 instead of 191.238.74.13"),
    ("S0-13", about(ex.Sweep, _all_to("myVM1")), "flows that no endpoint takes arrived at myVM1"),
    ("S0-13", about(ex.Sweep, _none), "a flow to Vip2:80 arrived for nobody instead of 10.1.0.10:8080"),
    ("S0-13", about(ex.Ask, _each(server_port=8181)), "Vip2:80 ended at port 8181 instead of 8080"),
    ("S0-14", about(ex.Ask, _each(node="myVM1")), "none of them came to myVM2"),
    ("S0-14", _after(1, ex.Sweep, _all_to("myVM1")), "flows moved to another VM"),
    ("S0-14", about(ex.Sweep, _none), "16 flows did not arrive"),
    ("S0-14", about(ex.Health, replace(up=())), "the probe of myVM1, myVM2 fails"),
    ("S0-14", about(ex.CheckFile, replace(said="something else")), "that are not alike, and a second endpoint of one"),
    ("S0-15", _ran("endpoint", "move", status=2), "exit 2: "),
    ("S0-15", about(ex.Sweep, _all_to("myVM2")), "flows that no endpoint takes arrived at myVM2"),
    ("S0-15", _after(1, ex.Ask, _each(outcome="timeout")), "Vip1:81: timeout"),
    ("N-DM-2", about(ex.Sweep, _all_to("myVM1")), "not spread: "),
    ("N-DM-2", about(ex.CheckFile, replace(status=0)), "a distribution of one member of a set was not refused"),
    ("N-DM-5", _said("LBSetName", "Set", "replay"), "it has the fields Set, LocalPort"),
    ("N-DM-5", _said(": none", ": sourceIP", "replay"), "LoadBalancerDistribution is sourceIP instead of none"),
    ("N-DM-5", _SILENT, "Vip1:49152: timeout"),
    ("N-DM-5", _said("anyPort", "another", "service"), "it was given no port"),
    ("N-IT-1", about(ex.HoldFlows, pretend.at_step(3, seen=(), answered=0)), "4 flows did not live for 8 minutes"),
    ("N-IT-1", about(ex.CheckFile, replace(status=0)), "31 minutes, and those of one member was not refused"),
    ("N-IT-2", _ran("endpoint", "set-lb", status=0), "a change of a role's endpoint was not refused"),
    ("N-IT-2", _said("15", "4", "service"), "its timeouts are [4]"),
    ("N-HP-4", about(ex.CheckFile, replace(status=0)), "members of a set with other probes was not refused"),
    ("N-HP-5", about(ex.Health, replace(down={})), "the probe of guarded2 succeeds"),
    ("N-HP-5", about(ex.Ask, _each(node="guarded2")), "Vip1:83 leads to guarded2"),
    ("N-HP-5", about(ex.Sweep, _all_to("guarded1")), "none of the flows came to guarded2"),
    ("N-HP-5", _ran("endpoint", status=0), "three ways to probe at once was not refused"),
    ("N-MV-6", _after(0, ex.Sweep, _all_to("vnet1")), "its address still leads somewhere"),
    ("N-MV-6", _said('"Address": ""', '"Address": "1.2.3.4"', "service"), "without endpoints its address is 1.2.3.4"),
    ("N-MV-6", _ran("endpoint", "remove", status=2), "exit 2: "),
    ("N-MV-6", _after(1, ex.Ask, _each(outcome="timeout")), "timeout"),
    ("N-AC-1", about(ex.Sweep, _all_to("guarded1")), "denied (175.1.0.77) came to guarded1 through Vip1:80"),
    ("N-AC-1", about(ex.Sweep, _none), "nearby (175.2.0.20) did not come through Vip1:80"),
    ("N-AC-1", about(ex.CheckFile, replace(status=0)), "51 access rules was not refused"),
    ("N-AC-2", about(ex.Sweep, _all_to("guarded1")), "client (198.51.100.10) came to guarded1 through Vip1:3389"),
    ("N-AC-2", about(ex.Sweep, _none), "did not come through Vip1:82"),
    ("N-AC-3", about(ex.Sweep, _everywhere), "4 flows came in without an endpoint"),
    ("N-AC-3", _said("client", "nearby", "exec"), "what it sends is answered by nearby"),
    ("N-AC-3", _SILENT, "its endpoint leads to timeout"),
    ("N-AC-4", about(ex.Sweep, _all_to("guarded2")), "came to guarded2 through Vip1:80"),
    ("N-AC-5", about(ex.Sweep, _everywhere), "came in"),
    ("N-AC-5", about(ex.Sweep, _everywhere), "WebRole1_IN_0 reaches outsider without an endpoint"),
    ("N-AC-5", about(ex.Ask, _each(client_address="10.1.0.4")), "outsider sees the private address of WebRole1_IN_0"),
    ("N-AC-5", _SILENT, "Vip1:900: timeout"),
    ("N-RI-1", about(ex.Lookup, replace(addresses=("203.0.113.9",))), "the address became 203.0.113.9"),
    ("N-RI-1", about(ex.Ask, _each(outcome="answered")), "it answers without VMs"),
    ("N-RI-1", _ran("reserved-ip", "create", status=0), "choosing the address was not refused"),
    ("N-RI-1", _ran("reserved-ip", "associate", status=0), "a reserved address for a VM was not refused"),
    ("N-RI-2", _said("ReservedIPName", "Name", "replay"), "it has the fields none"),
    ("N-RI-2", _said("True", "False", "replay"), "its InUse is False"),
    ("N-RI-2", _said("False", "True", "replay"), "a new one shows ('Created', 'True', '')"),
    ("N-RI-3", about(ex.Lookup, replace(addresses=("203.0.113.9",))), "the VIP became 203.0.113.9 when 203.0.113.1"),
    ("N-RI-3", _after(1, ex.Lookup, replace(addresses=("203.0.113.1",))), "without its reserved address the VIP is"),
    ("N-RI-3", about(ex.Send, pretend.from_source("192.0.2.9")), "seen from 192.0.2.9 instead of 203.0.113.1"),
    ("N-RI-3", _ran("reserved-ip", "disassociate", status=2), "exit 2: "),
    ("N-RI-4", _ran("vip", "add", status=0), "a sixth VIP was not refused"),
    ("N-RI-4", about(ex.CheckFile, replace(said="other words")), "one of a service with roles was not refused"),
]  # fmt: skip


@pytest.mark.parametrize("claim", [*OWN, *SHARED])
def test_a_claim_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


def test_every_claim_is_contradicted_by_something_here() -> None:
    assert {claim for claim, _, _ in LIES} == {*OWN, *SHARED}


@pytest.mark.parametrize(
    ("claim", "lie", "reason"), LIES, ids=[f"{number}, {claim}: {why}" for number, (claim, _, why) in enumerate(LIES)]
)
def test_a_claim_is_contradicted_by_what_the_document_rules_out(
    claim: str, lie: Lie | Callable[[], Lie], reason: str
) -> None:
    made: Lie = lie() if getattr(lie, "__name__", "") == "made" else lie  # type: ignore[call-arg,assignment]
    found = [j for j in judgements(claim, made) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}, [(j.verdict, j.reason) for j in found]
    assert any(reason in j.reason for j in found), [j.reason for j in found]


@pytest.mark.parametrize("claim", [*OWN, *SHARED])
def test_a_claim_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    wanted = ("INCONCLUSIVE", "the experiment failed: no such place")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


#: Claims of silence, and the trials of each that are of it.
_OF_SILENCE = {"S0-1": 1, "S0-13": 1, "S0-15": 1, "N-AC-1": 1, "N-AC-2": 4, "N-AC-3": 1, "N-AC-4": 1, "N-AC-5": 2}


@pytest.mark.parametrize("claim", _OF_SILENCE)
def test_silence_proves_nothing_where_nothing_is_heard(claim: str) -> None:
    """A capture that does not see what was sent to it, and a flow that does not come to where it is to be lost."""
    lie = about(ex.Sweep, lambda seen: _unheard(seen) if not any(p.end for p in seen.passages) else seen)
    trials = pretend.trials_of(claim, NETWORK)
    lab = Pure(NETWORK)
    found = [pretend.judge(trial, lab, lie) for trial in trials]  # type: ignore[arg-type]
    silent = [j for j in found if j.verdict == "INCONCLUSIVE"]
    if claim in ("N-AC-1", "N-AC-2", "N-AC-4"):
        # Here some must arrive; what is not heard at all is told apart from what is denied.
        none = [pretend.judge(trial, lab, about(ex.Sweep, _unheard)) for trial in trials]  # type: ignore[arg-type]
        assert all(j.verdict != "HOLDS" for j in none if "exit" not in j.observed)
    else:
        assert len(silent) == _OF_SILENCE[claim], [(j.verdict, j.reason) for j in found]


def test_sizes_of_samples_are_told_with_the_rate_of_false_alarms() -> None:
    (trial, *_) = pretend.trials_of("S0-14", NETWORK)
    assert "of 200 connections some to each of myVM1, myVM2 (false alarm 5e-11)" in trial.expected
    (trial,) = pretend.trials_of("N-HP-5", NETWORK)
    assert "(of 37, false alarm 5e-11)" in trial.expected
