"""Claims about instance-level public IPs say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

import json
from collections.abc import Callable, Iterator, Sequence
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
from lab.operations.power import SetPower
from lab.operations.public_ip import SetPublicIp
from lab.topology import load, parse
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.unit.cmdlets.pure import PureLab
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


@cache
def world(name: str) -> Network:
    return load(TOPOLOGIES / f"{name}.lab.yaml")


class _Replayed(PureLab):
    """The effects of a listing on a network."""

    def __init__(self, network: Network) -> None:
        super().__init__("name: a\n")
        self.made = network


class Lab:
    """A lab that behaves as the documents say; operations change the addresses that VMs have."""

    def __init__(self, name: str) -> None:
        self.network = world(name)
        self.own = {vm: address for vm, address in OWN.items() if self.network.vm(vm)}
        self.made_anew = False  # by listings

    def become(self, network: Network | None) -> None:
        """Be as a lab of another network."""
        if network is not None:
            self.made_anew = self.made_anew or network.vm("FTPMirror") is None
            self.network = network
            self._settle()

    def _settle(self) -> None:
        owners = (vm for vm in self.network.virtual_machines if vm.instance_public_ip)
        self.own = {vm.name: str(vm.instance_public_ip.address) for vm in owners if vm.instance_public_ip}

    def do(self, what: ex.Experiment) -> Any:  # noqa: PLR0911 - one for each kind
        match what:
            case ex.Ask():
                node = PORTS.get((what.address, what.port)) or self._owner(what.address)
                return ex.Answers(answers=(ex.Answer("answered", node),))
            case ex.Send():
                return self._send(what)
            case ex.Lookup():
                address = self._named(what.name)
                return ex.Names(addresses=(address,) if address else (), said="")
            case ex.HoldFlows():
                return ex.Occupied(steps=tuple(_held(what.steps)))
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

    def _named(self, name: str) -> str:
        if name in NAMES and not self.made_anew:
            return NAMES[name]
        for service in self.network.cloud_services:
            if name == f"{service.name.lower()}.cloudapp.net":
                return str(service.virtual_ips[0].address)
            for vm in service.virtual_machines:
                if name in (f"{vm}.{service.name}.cloudapp.net", f"MyPublicIP.0.{service.name}.cloudapp.net"):
                    return self.own.get(vm, "")
        return ""

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
            case ("up", _):
                return ex.Checked(status=2, said="f:1: a VM with several network interfaces cannot have one")
            case ("replay", *_):
                return self._replay(what.text)
            case ("exec", _, vm, _, "curl", *_):
                return ex.Checked(status=0, said=json.dumps({"client_address": self._source(vm)}))
            case ("exec", _, vm, *_):
                made = self.network.vm(vm)
                return ex.Checked(status=0, said=f"2: eth0 inet {made.private_ip_address if made else ''}/32 scope")
            case ("service", "show", _, name, *_):
                service = self.network.cloud_service(name)
                return ex.Checked(status=0, said=json.dumps({"location": service.location if service else ""}))
            case ("vm", state, _, vm, *_):
                power = SetPower(vm, "Deallocated" if state == "deallocate" else "Started")
                return self._operate(lambda: power)
            case ("public-ip", "show", _, vm, *_):
                return self._shown(vm)
            case ("public-ip", "set", _, vm, name, *_):
                return self._operate(lambda: SetPublicIp(vm, name))
            case ("import", "cscfg", *_):
                return self._operate(lambda: ImportServiceConfiguration(cscfg.read(what.text, "f"), "f"))
            case ("export", "cscfg", *_):
                service = self.network.cloud_service("ILPIPSample")
                assert service is not None
                return ex.Checked(status=0, said=cscfg.write(self.network, service))
        raise AssertionError(what)

    def _replay(self, text: str) -> ex.Checked:
        played = _Replayed(self.network)
        try:
            said = played.play(text)
        except LabError as error:
            return ex.Checked(status=2, said=str(error))
        self.become(played.made)
        return ex.Checked(status=0, said=said)

    def _operate(self, operation: Callable[[], Any]) -> ex.Checked:
        try:
            self.become(changed(self.network, operation()))
        except LabError as error:
            return ex.Checked(status=2, said=str(error))
        return ex.Checked(status=0, said="1 change")

    def _shown(self, name: str) -> ex.Checked:
        vm, service = self.network.vm(name), self.network.service_of(name)
        own = vm.instance_public_ip if vm else None
        label = (own.domain_name_label or "") if own else ""
        host = f"{service.name}.cloudapp.net" if service else ""
        fields = {
            "ServiceName": service.name if service else "",
            "PublicIPAddress": self.own.get(name, ""),
            "PublicIPName": own.name if own else (vm.released_public_ip.name if vm and vm.released_public_ip else ""),
            "PublicIPDomainNameLabel": label,
            "PublicIPFqdns": [f"{name}.{host}", *([f"{label}.0.{host}"] if label else [])] if own else [],
            "IdleTimeoutInMinutes": own.idle_timeout_min if own else None,
        }
        return ex.Checked(status=0, said=json.dumps({"public_ips": [fields]}))


def _held(steps: Sequence[ex.Step]) -> Iterator[ex.Happened]:
    """Yield what becomes of flows to an address of 20 minutes, and to one of 4: these end before the first question."""
    ports = {"104.43.142.189": range(100, 104), "104.43.142.188": range(200, 204)}
    asked = 0
    for step in steps:
        seen: Sequence[int] = ()
        if isinstance(step, ex.Open):
            seen = ports[step.goals[0].address]
        elif isinstance(step, ex.Talk):
            seen, asked = ports["104.43.142.189"] if not asked else (), asked + 1
        yield ex.Happened(answered=len(seen), seen=tuple(ex.Source(CLIENT, port) for port in seen))


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
        seen = []
        for stage in trial.stages:
            lab.become(stage.network)
            seen += [lie(what, lab.do(what)) for what in stage.experiments]
        made.append(trial.judge(seen))
    return made


def test_there_is_a_world_for_each_claim_and_every_claim_has_trials_in_it() -> None:
    from lab.verify.claims import instance_level_public_ip, instance_level_public_ip_managed

    assert {claim.id for claim in (*instance_level_public_ip.CLAIMS, *instance_level_public_ip_managed.CLAIMS)} == set(
        FAITHFUL
    )
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


def _printed(old: str, new: str) -> Lie:
    """Have a listing print something else."""
    return _words("replay", lambda done: msgspec.structs.replace(done, said=done.said.replace(old, new)))


def _talk(step: int, *alive: Sequence[int]) -> Callable[[ex.Occupied], ex.Occupied]:
    """Have other flows be alive at a step."""

    def change(seen: ex.Occupied) -> ex.Occupied:
        ports = [port for some in alive for port in some]
        happened = ex.Happened(answered=len(ports), seen=tuple(ex.Source(CLIENT, port) for port in ports))
        return ex.Occupied(steps=(*seen.steps[:step], happened, *seen.steps[step + 1 :]))

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
    ("S4-5", _words("set {lab} plain", _ACCEPTED), "it was not refused"),
    ("S4-5", _words("set {lab} neighbour", replace(status=2, said="no")), "exit 2: no"),
    ("S4-5", _ANOTHER, "seen from 203.0.113.77"),
    ("S4-6", about(ex.CheckFile, _ACCEPTED), "an address of a VM with two interfaces was not refused"),
    ("S4-6", about(ex.CheckFile, replace(status=2)), "the one or the other was refused"),
    ("S4-6", _words("up", _ACCEPTED), "it was not refused"),
    ("S4-6", _words("set {lab} wide", _ACCEPTED), "it was not refused"),
    ("S4-6", about(ex.Send, from_source("104.43.140.10")), "seen from 104.43.140.10"),
    ("S4-7", _ACTIVE, "the active transfer failed"),
    ("S4-7", _OTHER_PORT, "the server's data connection is not from 104.43.142.188:20"),
    ("S4-7", _ELSEWHERE, "the client's data connection is not to 104.43.142.188"),
    ("S4-7", _LUCKY, "a transfer succeeded without an address of the VM's own"),
    ("S4-7", _KEPT, "the data connection is from port 20"),
    ("S4-8", _ALIKE, "FTPMirror: seen from 104.43.142.188"),
    ("S4-9", _words("curl", replace(said='{"client_address": "1.1.1.1"}')), "not seen from the address that is shown"),
    ("S4-9", _printed("PublicIPName                : ftpip", "PublicIPName                :"), "PublicIPName is "),
    ("S4-9", _words("service show", replace(said='{"location": "East US"}')), "the service is in East US"),
    ("S4-9", _NOWHERE, "its name does not lead there"),
    ("S4-9", _words("replay", replace(status=2, said="no")), "exit 2: no"),
    ("S4-10", _words("curl", replace(said='{"client_address": "1.1.1.1"}')), "the address shown is not the one"),
    ("S4-10", _NOWHERE, "DNSName leads to nothing"),
    ("S4-10", _printed("IpAddress                   : 100.", "IpAddress                   : 10."), "is not in 100.64"),
    ("S4-10", _words(" ip ", replace(said="inet 100.64.9.9/32")), "the VM has other addresses"),
    ("S4-10", _printed("HostName                    : FTPInstance\n", ""), "the fields are DeploymentName, "),
    (
        "S4-10",
        _printed("OperationStatus             : OK", "OperationStatus             : No"),
        "OperationStatus is 'No'",
    ),
    ("S4-11", _words("replay", replace(status=1, said="no")), "no"),
    ("S4-11", _printed("PublicIPName                :", "PublicIPName                : ftpip"), "it is still shown"),
    ("S4-11", _STILL_THERE, "104.43.142.188 still leads to FTPInstance"),
    ("S4-11", _ANOTHER, "before: seen from 203.0.113.77"),
    ("S4-11", about(ex.Send, from_source("104.43.142.188"), "FTPInstance"), "seen from 104.43.142.188"),
    ("S4-12", _words("replay", replace(status=2, said="no")), "no"),
    ("S4-12", _printed(": ftpip2", ":"), "it is not shown with ftpip2"),
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
    ("N-IL-1", _words("start", replace(status=2, said="no")), "exit 2: no"),
    ("N-IL-1", _words("show", _field(PublicIPAddress="104.43.142.189")), "is shown otherwise than with the name alone"),
    ("N-IL-1", _words("curl", replace(said="{}")), "it is not seen from its new address"),
    ("N-IL-1", _words("show", _field(IdleTimeoutInMinutes=4)), "20 minutes are not shown"),
    ("N-IL-1", about(ex.HoldFlows, _talk(3, range(100, 104), range(200, 204))), "4 flows outlived 4 minutes"),
    ("N-IL-1", about(ex.HoldFlows, _talk(3, ())), "4 flows did not live for 20 minutes"),
    ("N-IL-1", about(ex.HoldFlows, _talk(5, range(100, 104))), "4 flows outlived 20 minutes"),
    ("N-IL-1", _words("show", _field(PublicIPDomainNameLabel="")), "PublicIPDomainNameLabel is not as it must be"),
    ("N-IL-1", _words("show", _field(PublicIPFqdns=None)), "PublicIPFqdns is None"),
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
