"""Claims about instance-level public IPs say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.azure.model import Network
from lab.errors import LabError, TopologyError
from lab.formats import cscfg
from lab.operations.base import changed
from lab.operations.cscfg import ImportServiceConfiguration
from lab.operations.public_ip import RemovePublicIp, SetPublicIp
from lab.topology import load, parse
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.unit.verify.claims.pretend import DEFAULT, Lie, about, from_source, lost, replace, trials_of, unwatched

TOPOLOGIES = Path(__file__).parents[4] / "topologies"

#: Written down from the files: public addresses of services, and of VMs and instances that have one from the start.
VIPS = {
    "FTPInstance": "104.43.140.10", "FTPMirror": "104.43.140.10", "plain": "104.43.140.20",
    "contosoweb_IN_0": "203.0.113.4", "contosoweb_IN_1": "203.0.113.4", "WebRole1_IN_0": "203.0.113.3",
    "web": "40.117.227.32",
}  # fmt: skip
OWN = {
    "FTPInstance": "104.43.142.188", "FTPMirror": "104.43.142.189",
    "contosoweb_IN_0": "203.0.113.1", "contosoweb_IN_1": "203.0.113.2",
    "own": "104.43.142.188", "own-guarded": "104.43.142.189",
}  # fmt: skip
NAMES = {
    "FTPService.cloudapp.net": "104.43.140.10",
    "contosoadservice.cloudapp.net": "203.0.113.4",
    "FTPInstance.FTPService.cloudapp.net": "104.43.142.188",
    "FTPMirror.FTPService.cloudapp.net": "104.43.142.189",
    "mirror.0.FTPService.cloudapp.net": "104.43.142.189",
    "contosoweb_IN_0.contosoadservice.cloudapp.net": "203.0.113.1",
    "contosoweb_IN_1.contosoadservice.cloudapp.net": "203.0.113.2",
    "WebPublicIP.0.contosoadservice.cloudapp.net": "203.0.113.1",
    "WebPublicIP.1.contosoadservice.cloudapp.net": "203.0.113.2",
}
PORTS = {("104.43.140.10", 80): "FTPInstance", ("203.0.113.4", 80): "contosoweb_IN_1"}
#: The address that the platform gives next.
NEXT = "203.0.113.5"
CLIENT = "198.51.100.20"
_FLAGS = {"--idle-timeout-in-minutes": "idle_timeout_min"}


@cache
def world(name: str) -> Network:
    return load(TOPOLOGIES / f"{name}.lab.yaml")


class Lab:
    """A lab that behaves as the documents say; operations change the addresses that VMs have."""

    def __init__(self, name: str) -> None:
        self.network = world(name)
        self.own = {vm: address for vm, address in OWN.items() if self.network.vm(vm)}

    def do(self, what: ex.Experiment) -> Any:  # noqa: PLR0911 - one for each kind
        match what:
            case ex.Ask():
                node = PORTS.get((what.address, what.port)) or self._owner(what.address)
                return ex.Answers(answers=(ex.Answer("answered", node),))
            case ex.Send():
                return self._send(what)
            case ex.Lookup():
                address = NAMES.get(what.name) or self.own.get("WebRole1_IN_0")
                return ex.Names(addresses=(address,) if address else (), said="")
            case ex.Return():
                source = self._source(what.send.sender)
                mine = what.send.sender in self.own
                return ex.Returned(source=source, source_port=2000, answered=True, intruded=mine)
            case ex.Transfer():
                return self._transfer(what)
            case ex.CheckFile():
                try:
                    parse(what.text, "f")
                except TopologyError as error:
                    return ex.Checked(status=2, said=str(error))
                return ex.Checked(status=0, said="ok")
            case ex.Run():
                return self._run(what)
        raise AssertionError(what)

    def _owner(self, address: str) -> str:
        return next((vm for vm, own in self.own.items() if own == address), "")

    def _source(self, vm: str) -> str:
        return self.own.get(vm) or VIPS.get(vm, DEFAULT)

    def _send(self, what: ex.Send) -> ex.Arrivals:
        vm = self.network.vm(what.sender)
        ports = tuple(range(40000, 40000 + what.count))
        if vm is None:  # from outside: a VM's own address leads to it, a VIP to nobody
            reached = [True, bool(self._owner(what.destination))]
            source, shown = what.private, ports
        else:
            mine = what.sender in self.own
            carried = mine or (what.protocol in ("tcp", "udp") and what.form == "open")
            reached = [carried, carried]
            source, shown = self._source(what.sender), ports if mine else tuple(range(1025, 1025 + what.count))
        seen = tuple(
            tuple(ex.Seen(n, source, shown[n], what.destination, 80) for n in range(what.count if there else 0))
            for there in reached
        )
        return ex.Arrivals(sent=what.count, source_ports=ports, control=True, seen=seen, strays=(), seconds=0.1)

    def _transfer(self, what: ex.Transfer) -> ex.Transferred:
        node = self._owner(what.address)
        control = (ex.Begun(CLIENT, 5000, what.address, 21),)
        if what.mode == "active":
            data = ex.Begun(what.address, 20 if node else 1253, CLIENT, 5001)
        else:
            data = ex.Begun(CLIENT, 5002, what.address, 6000)
        got = json.dumps({"node": node}) if node else ""
        return ex.Transferred(got=got, said=got, control=control, data=(data,))

    def _run(self, what: ex.Run) -> ex.Checked:  # noqa: PLR0911 - one for each command
        match what.words:
            case ("show", _, _, *_):
                return ex.Checked(status=0, said=json.dumps({"address": "100.74.118.91"}))
            case ("public-ip", "show", vm, *_):
                return self._shown(vm)
            case ("public-ip", "set", _, _, "--address", *_):
                return ex.Checked(status=2, said="no such option: --address")
            case ("public-ip", "set", vm, name, *flags):
                given = {_FLAGS[flags[0]]: int(flags[1])} if flags[0] in _FLAGS else {}
                return self._operate(lambda: SetPublicIp(vm, name, **given), vm)
            case ("public-ip", "remove", vm, *_):
                return self._operate(lambda: RemovePublicIp(vm), vm)
            case ("import", "cscfg", *_):
                read = lambda: ImportServiceConfiguration(cscfg.read(what.text, "f"), "f")  # noqa: E731
                return self._operate(read, "WebRole1_IN_0")
            case ("export", "cscfg", *_):
                service = self.network.cloud_service("ILPIPSample")
                assert service is not None
                return ex.Checked(status=0, said=cscfg.write(self.network, service))
        raise AssertionError(what)

    def _operate(self, operation: Callable[[], Any], vm: str) -> ex.Checked:
        try:
            self.network = changed(self.network, operation())
        except LabError as error:
            return ex.Checked(status=2, said=str(error))
        made = self.network.vm(vm)
        assert made is not None
        if made.instance_public_ip is None:
            del self.own[vm]
        else:
            self.own.setdefault(vm, NEXT)
        return ex.Checked(status=0, said="1 change")

    def _shown(self, name: str) -> ex.Checked:
        vm, service = self.network.vm(name), self.network.service_of(name)
        own = vm.instance_public_ip if vm else None
        fields = {
            "ServiceName": service.name if service else "",
            "PublicIPAddress": self.own.get(name, ""),
            "PublicIPName": own.name if own else "",
            "PublicIPDomainNameLabel": (own.domain_name_label or "") if own else "",
            "PublicIPFqdns": [],
            "IdleTimeoutInMinutes": own.idle_timeout_min if own else None,
        }
        return ex.Checked(status=0, said=json.dumps({"public_ips": [fields]}))


#: The topology that each claim is judged in.
FAITHFUL = {
    **{f"S4-{number}": "instance-public-ip" for number in range(1, 14)},
    "N-IL-1": "instance-public-ip",
    "N-SN-14": "instance-public-ip",
    "N-SN-20": "fragments",
}


def _catalogued(claim: str) -> list[Any]:
    """Return a claim's own trials, without the file's expectations."""
    found = claims.find(claim)
    assert found is not None
    return list(found.trials(world(FAITHFUL[claim])))


def judgements(claim: str, lie: Lie = lambda _what, seen: seen) -> list[Judgement]:
    made = []
    for trial in _catalogued(claim):
        lab = Lab(FAITHFUL[claim])
        made.append(trial.judge([lie(what, lab.do(what)) for stage in trial.stages for what in stage.experiments]))
    return made


def test_there_is_a_world_for_each_claim_and_every_claim_has_trials_in_it() -> None:
    from lab.verify.claims import instance_level_public_ip

    assert {claim.id for claim in instance_level_public_ip.CLAIMS} == set(FAITHFUL)
    assert all(trials_of(claim, world(name)) for claim, name in FAITHFUL.items())


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_faithful_lab_holds(claim: str) -> None:
    assert [(j.verdict, j.reason) for j in judgements(claim)] == [("HOLDS", "")] * len(_catalogued(claim))


def _of(condition: Callable[[Any], bool], kind: type, change: Callable[[Any], Any]) -> Lie:
    return lambda what, seen: change(seen) if isinstance(what, kind) and condition(what) else seen


def _protocol(protocol: str, change: Callable[[Any], Any]) -> Lie:
    return _of(lambda what: what.protocol == protocol, ex.Send, change)


def _words(words: str, change: Callable[[Any], Any]) -> Lie:
    return _of(lambda what: words in " ".join(what.words), ex.Run, change)


def _everywhere(arrivals: ex.Arrivals) -> ex.Arrivals:
    """It arrives at the end of the way, too."""
    seen = tuple(ex.Seen(n, "203.0.113.9", 40000, "x", 80) for n in range(arrivals.sent))
    return msgspec.structs.replace(arrivals, seen=(seen,) * len(arrivals.seen))


def _field(**values: object) -> Callable[[ex.Checked], ex.Checked]:
    def change(done: ex.Checked) -> ex.Checked:
        (fields,) = json.loads(done.said)["public_ips"]
        return ex.Checked(status=0, said=json.dumps({"public_ips": [{**fields, **values}]}))

    return change


_ACCEPTED = replace(status=0, said="1 change")
_SILENT = replace(answers=(ex.Answer("timeout"),))
_AT_VIP = _of(lambda what: what.address == "104.43.140.10", ex.Ask, _SILENT)
_AT_OWN = _of(lambda what: what.address in OWN.values(), ex.Ask, replace(answers=(ex.Answer("answered", "x"),)))
_TO_VIP = _of(lambda what: what.destination in VIPS.values(), ex.Send, _everywhere)
_NOWHERE = about(ex.Lookup, replace(addresses=()))
_ACTIVE = _of(lambda what: what.mode == "active" and what.address in OWN.values(), ex.Transfer, replace(got=""))
_OTHER_PORT = _of(
    lambda what: what.mode == "active" and what.address in OWN.values(),
    ex.Transfer,
    replace(data=(ex.Begun("104.43.142.188", 2000, CLIENT, 5001),)),
)
_ELSEWHERE = _of(
    lambda what: what.mode == "passive" and what.address in OWN.values(),
    ex.Transfer,
    replace(data=(ex.Begun(CLIENT, 5002, "104.43.140.10", 6000),)),
)
_LUCKY = _of(lambda what: what.address not in OWN.values(), ex.Transfer, replace(got='{"node": "plain"}'))
_KEPT = _of(
    lambda what: what.address not in OWN.values() and what.mode == "active",
    ex.Transfer,
    replace(data=(ex.Begun("104.43.140.20", 20, CLIENT, 5001),)),
)
_STILL_THERE = _of(lambda what: what.destination == "104.43.142.188", ex.Send, _everywhere)
_ALIKE = about(ex.Send, from_source("104.43.142.188"), "FTPMirror")
_ANOTHER = about(ex.Send, from_source("203.0.113.77"))
_CLOSED = about(ex.Return, replace(intruded=False))
_SHARED = about(ex.Return, replace(source="104.43.140.20"))

#: A claim, a way to lie, and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie, str]] = [
    ("S4-1", _AT_VIP, "104.43.140.10: no answer (timeout)"),
    ("S4-1", _AT_OWN, "104.43.142.188: answered by x"),
    ("S4-2", _protocol("tcp", lost), "tcp: 8 flows did not arrive"),
    ("S4-2", _protocol("udp", lost), "udp: 8 flows did not arrive"),
    ("S4-2", _protocol("icmp", lost), "icmp: 8 flows did not arrive"),
    ("S4-2", _protocol("esp", lost), "esp: 8 flows did not arrive"),
    ("S4-2", _protocol("udp", from_source("104.43.140.10")), "udp: the VM sees 104.43.140.10"),
    ("S4-2", _TO_VIP, "the VIP leads to FTPInstance without an endpoint"),
    ("S4-3", _NOWHERE, "FTPService.cloudapp.net is no answer to partner"),
    ("S4-3", about(ex.Lookup, replace(addresses=("1.1.1.1",))), "FTPService.cloudapp.net is 1.1.1.1"),
    ("S4-4", about(ex.CheckFile, _ACCEPTED), "two addresses of one VM was not refused"),
    ("S4-4", _words("set", _ACCEPTED), "it was not refused"),
    ("S4-4", _words("set", replace(said="for another reason")), "it was not refused"),
    ("S4-4", _ANOTHER, "seen from 203.0.113.77"),
    ("S4-5", about(ex.CheckFile, _ACCEPTED), "6 addresses was not refused"),
    ("S4-5", _words("set plain", _ACCEPTED), "it was not refused"),
    ("S4-5", _words("set neighbour", replace(status=2, said="no")), "exit 2: no"),
    ("S4-5", _ANOTHER, "seen from 203.0.113.77"),
    ("S4-6", about(ex.CheckFile, _ACCEPTED), "a second interface beside one was not refused"),
    ("S4-6", _words("set wide", _ACCEPTED), "it was not refused"),
    ("S4-6", about(ex.Send, from_source("104.43.140.10")), "seen from 104.43.140.10"),
    ("S4-7", _ACTIVE, "the active transfer failed"),
    ("S4-7", _OTHER_PORT, "the server's data connection is not from 104.43.142.188:20"),
    ("S4-7", _ELSEWHERE, "the client's data connection is not to 104.43.142.188"),
    ("S4-7", _LUCKY, "a transfer succeeded without an address of the VM's own"),
    ("S4-7", _KEPT, "the data connection is from port 20"),
    ("S4-8", _ALIKE, "FTPMirror: seen from 104.43.142.188"),
    ("S4-9", _ANOTHER, "seen from 203.0.113.77"),
    ("S4-9", _words("show", _field(PublicIPName="")), "the VM is not shown with ftpip"),
    ("S4-9", _words("show", replace(said="nonsense")), "the VM is not shown with ftpip"),
    ("S4-10", _ANOTHER, "the address shown is not the one that is seen"),
    ("S4-10", _NOWHERE, "DNSName leads to nothing"),
    ("S4-10", _words("show {lab}", replace(said='{"address": "10.0.0.4"}')), "10.0.0.4 is not in 100.64.0.0/10"),
    ("S4-10", _words("show {lab}", replace(said="")), "`lab show` has no address of the VM"),
    ("S4-11", _words("remove", replace(status=1, said="no")), "no"),
    ("S4-11", _words("show", _field(PublicIPName="ftpip")), "it is still shown"),
    ("S4-11", _STILL_THERE, "104.43.142.188 still leads to FTPInstance"),
    ("S4-11", _ANOTHER, "before: seen from 203.0.113.77"),
    ("S4-11", about(ex.Send, from_source("104.43.142.188"), "FTPInstance"), "seen from 104.43.142.188"),
    ("S4-12", _words("set", replace(status=2, said="no")), "no"),
    ("S4-12", _words("show", _field(PublicIPName="")), "it is not shown with ftpip2"),
    ("S4-12", _SHARED, "seen from 104.43.140.20, and 203.0.113.5 is shown"),
    ("S4-12", _CLOSED, "203.0.113.5 does not lead to the VM"),
    ("S4-13", _words("import", _ACCEPTED), "a file with this was not refused"),
    ("S4-13", _words("show", _field(PublicIPAddress="1.1.1.1")), "a file that was refused has changed something"),
    ("S4-13", _NOWHERE, "MyPublicIP.0.ILPIPSample.cloudapp.net is not known"),
    ("S4-13", _words("export", replace(said="")), "the file that is written has no such PublicIP"),
    ("S4-13", _CLOSED, "203.0.113.5 does not lead to the VM"),
    ("N-IL-1", _NOWHERE, "mirror.0.FTPService.cloudapp.net is no answer"),
    ("N-IL-1", about(ex.CheckFile, _ACCEPTED), "idle timeouts of 3 and 31 minutes was not refused"),
    ("N-IL-1", about(ex.CheckFile, replace(status=2)), "idle timeouts of 4 and 30 minutes was refused"),
    ("N-IL-1", _words("--address", _ACCEPTED), "the address can be chosen"),
    ("N-IL-1", _words("show", _field(IdleTimeoutInMinutes=4)), "the timeout is not 20 minutes"),
    ("N-IL-1", _words("show", _field(PublicIPDomainNameLabel="")), "PublicIPDomainNameLabel is not as it must be"),
    ("N-IL-1", _words("show", _field(PublicIPFqdns=None)), "PublicIPFqdns is not as it must be"),
    ("N-SN-14", _protocol("icmp", lost), "icmp out: 4 flows did not arrive"),
    ("N-SN-14", _protocol("esp", from_source("104.43.140.10")), "esp out: seen from 104.43.140.10"),
    ("N-SN-14", _protocol("icmp", _everywhere), "icmp out: it left the virtual network"),
    ("N-SN-20", _of(lambda what: what.form == "large", ex.Send, lost), "2 flows did not arrive"),
    ("N-SN-20", _of(lambda what: what.form == "large", ex.Send, _everywhere), "fragments left the virtual network"),
]


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{c}-{n}" for n, (c, _, _) in enumerate(LIES)])
def test_a_lab_that_lies_is_contradicted(claim: str, lie: Lie, reason: str) -> None:
    found = judgements(claim, lie)
    assert any(j.verdict == "CONTRADICTED" and reason in j.reason for j in found), found


#: Claims with a capture.
CAPTURED = [
    claim
    for claim in FAITHFUL
    if any(isinstance(what, ex.Send) for t in _catalogued(claim) for stage in t.stages for what in stage.experiments)
]


@pytest.mark.parametrize("claim", CAPTURED)
def test_without_its_control_a_capture_proves_nothing(claim: str) -> None:
    found = judgements(claim, lambda _what, seen: unwatched(seen) if isinstance(seen, ex.Arrivals) else seen)
    assert "INCONCLUSIVE" in {j.verdict for j in found}
    assert {j.verdict for j in found} <= {"INCONCLUSIVE", "HOLDS"}  # trials without a capture still hold


#: Silence that may have another reason: a claim, and what else could not be seen.
DOUBTS: list[tuple[str, Lie]] = [
    ("S4-2", _of(lambda what: what.destination in VIPS.values(), ex.Send, lost)),
    ("S4-7", about(ex.Transfer, replace(got="", control=()))),
    ("S4-7", about(ex.Transfer, replace(got="", data=()))),
    ("S4-11", _of(lambda what: what.destination == "104.43.142.188", ex.Send, lost)),
    ("N-SN-14", about(ex.Send, lost)),
    ("N-SN-20", about(ex.Send, lost)),
    ("S4-8", lambda _what, _seen: ex.Failed(reason="x")),
]


@pytest.mark.parametrize(("claim", "lie"), DOUBTS)
def test_silence_alone_proves_nothing(claim: str, lie: Lie) -> None:
    assert "INCONCLUSIVE" in {j.verdict for j in judgements(claim, lie)}
