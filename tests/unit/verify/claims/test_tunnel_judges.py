"""Every claim about tunnels can say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.azure.model import Network
from lab.errors import LabError, TopologyError
from lab.formats import netcfg
from lab.operations.base import changed
from lab.operations.netcfg import ImportConfiguration
from lab.topology import load, parse
from lab.verify import claims
from lab.verify import experiment as ex
from tests.unit.verify.claims.pretend import DEFAULT, Lie, about, replace, trials_of

TOPOLOGIES = Path(__file__).parents[4] / "topologies"

#: Nodes with their addresses, and the public addresses of gateways and devices, written down from the files.
NODES = {
    "outside": "100.64.0.4", "vm1": "10.1.0.4", "vm2": "10.2.0.4", "dns2": "10.2.0.10",
    "hub": "10.10.0.4", "spoke2": "10.20.0.4", "spoke3": "10.30.0.4", "spoke4": "10.40.0.4", "branch": "10.50.0.4",
    "office": "192.168.10.4", "depot": "192.168.20.4",
    **{f"site{i}": f"172.16.{i}.4" for i in range(1, 9)},
}  # fmt: skip
GATEWAYS = {
    "VNet1": "203.0.113.1", "VNet2": "203.0.113.2",
    "Branch": "203.0.113.1", "Hub": "203.0.113.2", "Spoke2": "203.0.113.3", "Spoke3": "203.0.113.4",
    "Spoke4": "203.0.113.5", "Dynamic": "203.0.113.1", "Static": "203.0.113.2",
}  # fmt: skip
SITES = {
    "VNet1": {"site-VNet2": ((), ())},
    "VNet2": {"site-VNet1": ((), ())},
    "Dynamic": {"office": (("0.0.0.0/0",), ("0.0.0.0/0",))},
    "Static": {"depot": (("10.2.0.0/16",), ("192.168.20.0/24",))},
    "Hub": dict.fromkeys(["to-spoke2", "to-spoke3", "to-spoke4", *(f"site{i}" for i in range(1, 8))], ((), ())),
    "Spoke2": {"to-hub-and-3": ((), ())},
    "Spoke3": {"to-hub-and-2": ((), ())},
    "Spoke4": {"to-hub": ((), ())},
    "Branch": {"site8": ((), ())},
}
UNLISTED = {("spoke2", "10.40.0.4"), ("spoke3", "10.40.0.4")}
#: Why a tunnel that was broken in a trial is down, whatever the trial broke.
BROKEN = "no answer, AUTHENTICATION_FAILED, disconnected by its owner"
FIELDS = (
    "ConnectivityState", "EgressBytesTransferred", "IngressBytesTransferred", "LastConnectionEstablished",
    "LastEventID", "LastEventMessage", "LastEventTimeStamp", "LocalNetworkSiteName", "OperationDescription",
    "OperationId", "OperationStatus",
)  # fmt: skip


def _pairs(network: Network) -> set[tuple[str, str]]:
    return {(c.virtual_network, c.local_network) for c in network.connections}


@cache
def world(name: str) -> Network:
    return load(TOPOLOGIES / f"{name}.lab.yaml")


def _shown(status: str) -> str:
    """Return what `lab gateway show` prints of a gateway that has just been created."""
    return json.dumps({"gateways": [{"Status": status}]})


class Lab:
    """A lab whose tunnels work; ``gcm``: what the gateways of later revisions prefer."""

    def __init__(self, *, gcm: bool) -> None:
        self.gcm = gcm
        self.imported: Network | None = None
        self.recreated = self.connected = False

    def do(self, what: ex.Experiment, *, broken: bool) -> Any:  # noqa: PLR0911 - one for each kind
        match what:
            case ex.TunnelFlows():
                return self._cross(what)
            case ex.Send():
                return self._send(what, broken=broken)
            case ex.Ask():
                return self._ask(what, broken=broken)
            case ex.Tunnels():
                return self._gateway(what, broken=broken)
            case ex.Meter():
                sent = what.send.count * 44
                return ex.Metered(sent=sent, egress=sent, ingress=sent)
            case ex.Flood():
                each = 9.5e7 / len(what.addresses) if what.network == "Hub" else 2.5e8
                return ex.Flooded(offered=3e8, rates=dict.fromkeys(GATEWAYS.values(), each))
            case ex.Segments():
                return ex.SegmentSize(size=1350)
            case ex.Lookup():
                return self._lookup(what)
            case ex.Run():
                return self._run(what)
            case ex.CheckFile():
                try:
                    parse(what.text, "f")
                except TopologyError as error:
                    return ex.Checked(status=2, said=str(error))
                return ex.Checked(status=0, said="ok")
            case ex.Health():
                return ex.Members(up=(), down={})
        raise AssertionError(what)

    def _run(self, what: ex.Run) -> ex.Checked:
        moved = ex.Checked(status=2, said="the location of a virtual network cannot be changed after")
        canned = {
            "show": ex.Checked(status=0, said=json.dumps({"virtual_networks": {"VNet2": "Created"}})),
            "plan": moved,
            "up": moved,
            "exec": ex.Checked(status=0, said="    inet 127.0.0.1/8\n    inet 10.1.0.5/24 scope global eth0"),
        }
        if what.words[0] in canned:
            return canned[what.words[0]]
        if what.words[0] in ("gateway", "local-network"):
            return self._operate(what)
        if what.words[0] == "replay":
            return self._replay(what.text)
        network = world("vnet-to-vnet")
        if what.words[0] == "export":
            return ex.Checked(status=0, said=netcfg.write(network))
        try:
            self.imported = changed(network, ImportConfiguration(netcfg.read(what.text, "f"), "f"))
        except LabError as error:
            return ex.Checked(status=2, said=str(error))
        return ex.Checked(status=0, said="Succeeded")

    def _replay(self, text: str) -> ex.Checked:
        if "apart2" in text:
            return ex.Checked(status=2, said="New-AzureVM Succeeded; a cloud service cannot span virtual networks")
        names = [line.split()[-1] for line in text.splitlines() if line.startswith("Get-AzureVNetConnection")]
        found = [site for name in names for site in SITES[name]]
        blocks = [f"ConnectivityState    : Connected\nLocalNetworkSiteName : {site}\nLastEvent :" for site in found]
        return ex.Checked(status=0, said="\n\n".join(blocks))

    def _operate(self, what: ex.Run) -> ex.Checked:
        if what.words[0] == "local-network":
            beyond = "100.64.0.0/10" in what.words
            return ex.Checked(status=2 if beyond else 0, said="not VMs or services outside them" if beyond else "")
        if what.words[1] == "connect":
            return ex.Checked(status=2, said="redundant tunnels between a pair of networks are not supported")
        if what.words[1] in ("create", "show") and what.words[3].startswith("VNet"):
            return ex.Checked(status=0, said=_shown("Creating"), began=1000.0, ended=1000.5)
        if what.words[1] == "key":
            said = {"Error": "", "HttpStatusCode": "OK", "Id": "1", "Status": "Successful", "RequestId": "2"}
            said |= {"StatusCode": "OK"}
            text = json.dumps(said) if "json" in what.words else "\n".join(f"{k} : {v}" for k, v in said.items())
            return ex.Checked(status=0, said=text)
        if what.words[1] == "create" and not self.recreated:
            return ex.Checked(status=2, said="is there already (HTTP 409)")
        self.recreated = True
        return ex.Checked(status=0, said="")

    def _cross(self, what: ex.TunnelFlows) -> ex.Crossed:
        carried = what.send.count - what.send.lost
        seen = tuple(ex.Seen(i, what.send.private, 40000 + i, what.send.destination, 80) for i in range(carried))
        arrivals = ex.Arrivals(
            sent=what.send.count, source_ports=(), control=True, seen=(seen,), strays=(), seconds=0.1
        )
        near, far = what.networks
        outer = tuple(
            ex.Outer(one, "udp 4500" if carried else "ike 4500", GATEWAYS[one], GATEWAYS[other], what.send.count)
            for one, other in ((near, far), (far, near))
        )
        return ex.Crossed(arrivals=arrivals, outer=outer)

    def _send(self, what: ex.Send, *, broken: bool) -> ex.Arrivals:
        if what.watches[0].kind == "gateway inside":
            led = what.destination.startswith("10.2.") if what.sender == "vm1" else what.destination.startswith("10.1.")
            listed = what.sender == "office" or (what.sender == "depot" and what.private == NODES["depot"])
            seen = tuple(ex.Seen(i, what.private, 4, what.destination, 9) for i in range(what.count))
            come = seen if listed or (led and what.sender != "depot") else ()
            return ex.Arrivals(sent=what.count, source_ports=(), control=True, seen=(come,), strays=(), seconds=0.1)
        outside = what.destination.startswith("198.51.100.")
        seen = tuple(ex.Seen(i, DEFAULT, 40000 + i, what.destination, 80) for i in range(what.count if outside else 0))
        assert outside or broken
        return ex.Arrivals(
            sent=what.count, source_ports=(), control=True, seen=(seen,) * len(what.watches), strays=(), seconds=0.1
        )

    def _ask(self, what: ex.Ask, *, broken: bool) -> ex.Answers:
        if what.kind == "connect":
            return ex.Answers(answers=(ex.Answer("answered"),))
        if (broken and not self.connected) or (what.client, what.address) in UNLISTED:
            return ex.Answers(answers=(ex.Answer("timeout"),))
        node = next(name for name, address in NODES.items() if address == what.address)
        return ex.Answers(answers=(ex.Answer("answered", node, NODES[what.client], 2000, what.address, 80),))

    def _gateway(self, what: ex.Tunnels, *, broken: bool) -> ex.Gateway:
        imported, self.imported = self.imported, None
        recreated, self.recreated = self.recreated, False
        idle = "dropped after 5 s without a packet" if what.silence_s else ""
        self.connected = what.wanted == "Connected"
        broken = (broken and not self.connected) or (what.wanted == "NotConnected" and not idle)
        building = broken and not what.wanted and imported is None
        passed = [
            ("Creating", "", 1000.6),
            ("Connecting", "203.0.113.1", 1007.6),
            ("NotConnected", "203.0.113.1", 1007.0),
        ]
        ike = "AES_CBC 256 HMAC_SHA1_96 MODP_1024"
        esp = "AES_GCM_16 256" if self.gcm else "AES_CBC 256 HMAC_SHA1_96"
        connections = tuple(
            ex.Connection(
                site=site, state="NotConnected" if broken or idle else "Connected", reason=BROKEN if broken else idle,
                event=23401, version=1 if what.network in ("Branch", "Static") else 2,
                local=local, remote=remote, ike=ike, esp=esp,
                message=f"The connectivity state for the local network site '{site}' changed from X to Connected.",
                ike_rekey_s=25000 if self.gcm else 9500, esp_life_s=27000 if self.gcm else 3600,
            )
            for site, (local, remote) in SITES[what.network].items()
            if imported is None or (what.network, site) in _pairs(imported)
        )  # fmt: skip
        static = what.network == "Static"
        address = "203.0.113.9" if recreated else GATEWAYS[what.network]
        return ex.Gateway(
            kind="StaticRouting" if static and not recreated else "DynamicRouting", sku="Standard",
            state="Provisioning" if building else "Provisioned",
            status="Creating" if building else "NotConnected" if broken else "Connected",
            address="" if building and not static else address,
            fields=FIELDS, waited_s=what.silence_s,
            passed=tuple(ex.Passed(*one) for one in passed),
            connections=() if building else connections,
        )  # fmt: skip

    def _lookup(self, what: ex.Lookup) -> ex.Names:
        if what.name[0].isdigit():
            return ex.Names(addresses=(), said="** server can't find it: NXDOMAIN")
        across = what.server == "168.63.129.16" and what.name != what.client
        server = "10.10.0.11" if what.client == "spoke4" else "168.63.129.16"
        return ex.Names(addresses=() if across else (NODES[what.name],), said=f"Server:\t\t{server}\nAddress: …")


_PAIR, _SITES = ("vnet-to-vnet", Lab(gcm=False)), ("multi-site", Lab(gcm=True))
_BOTH = ("policy-based", Lab(gcm=False))
#: Where each claim is tried, and a lab that keeps it there.
FAITHFUL = {
    **{f"S3-{number}": _PAIR for number in range(1, 25)},
    **dict.fromkeys(["S3-3", "S3-7", "S3-11"], _SITES),
    **{f"N-GW-{number}": _PAIR for number in (1, 2, 3, 4, 6, 8, 11, 13, 14)},
    **{f"N-NC-{number}": _PAIR for number in (1, 2, 3)},
    **{f"N-DN-{number}": _PAIR for number in (1, 3)},
    **dict.fromkeys(["N-GW-5", "N-GW-10", "N-DN-2"], _SITES),
    **dict.fromkeys(["N-GW-7", "N-GW-9"], _BOTH),
    "N-GW-12": _PAIR, "N-GW-12 recreated": _BOTH,
}  # fmt: skip


def judgements(claim: str, lie: Lie = lambda _what, seen: seen) -> list[claims.claim.Judgement]:
    name, lab = FAITHFUL[claim]
    return [
        trial.judge(
            [
                lie(what, lab.do(what, broken=stage.network is not None))
                for stage in trial.stages
                for what in stage.experiments
            ]
        )
        for trial in trials_of(claim.split(maxsplit=1)[0], world(name))
    ]


# --- ways to lie ------------------------------------------------------------------------------


_TIMEOUT = about(ex.Ask, replace(answers=(ex.Answer("timeout"),)))
_OTHER = about(ex.Ask, replace(answers=(ex.Answer("answered", "vm9", "10.9.9.9", 1, "", 80),)))
_ACCEPTED = about(ex.CheckFile, lambda _seen: ex.Checked(status=0, said="ok"))
_REFUSED = about(ex.CheckFile, lambda _seen: ex.Checked(status=2, said="no"))


def _only(kind: type, where: Callable[[Any], bool], change: Callable[[Any], Any]) -> Lie:
    return lambda what, seen: change(seen) if isinstance(what, kind) and where(what) else seen


def _arrivals(**values: Any) -> Callable[[ex.Crossed], ex.Crossed]:
    return lambda seen: msgspec.structs.replace(seen, arrivals=msgspec.structs.replace(seen.arrivals, **values))


def _from(source: str) -> Callable[[ex.Crossed], ex.Crossed]:
    def change(seen: ex.Crossed) -> ex.Crossed:
        moved = tuple(msgspec.structs.replace(s, source=source) for s in seen.arrivals.seen[-1])
        return _arrivals(seen=(moved,))(seen)

    return change


def _on_the_wire(kind: str) -> Callable[[ex.Crossed], ex.Crossed]:
    extra = ex.Outer("VNet1", kind, "10.1.0.4", "10.2.0.4", 1)
    return lambda seen: msgspec.structs.replace(seen, outer=(*seen.outer, extra))


def _connection(**values: Any) -> Callable[[ex.Gateway], ex.Gateway]:
    def change(seen: ex.Gateway) -> ex.Gateway:
        found = tuple(msgspec.structs.replace(c, **values) for c in seen.connections)
        return msgspec.structs.replace(seen, connections=found)

    return change


_DOWN = _connection(state="NotConnected", reason="no answer")
_UP = _only(ex.Tunnels, lambda what: what.wanted == "NotConnected", _connection(state="Connected"))
_WORDS = _only(ex.Tunnels, lambda what: what.wanted == "NotConnected", _connection(reason="who knows"))
_ACROSS = _only(
    ex.Ask,
    lambda what: what.kind == "http" and what.timeout_s < 1,
    replace(answers=(ex.Answer("answered", "vm2", "10.1.0.4", 1, "10.2.0.4", 80),)),
)


def _lost(change: Callable[[Any], Any]) -> Lie:
    return _only(ex.TunnelFlows, lambda what: what.send.lost > 0, change)


#: Trials that break a tunnel: it must not be shown connected, nor for another reason, nor be crossed.
_NEVER = ["S3-18", "S3-19", "S3-22", "S3-23", "N-GW-14"]
#: Claims of refusal, with what must not be accepted.
_REFUSALS = {
    "S3-4": "without a virtual network", "S3-5": "a static far gateway", "S3-8": "a connected network with an overlap",
    "S3-9": "a second local network of the same peer", "S3-10": "a cloud service across",
    "S3-18": "without a VPN device address", "S3-20": "without a gateway subnet",
    "S3-7": "an eleventh tunnel", "N-GW-1": "a 31st tunnel", "N-GW-2": "a key of 129 characters",
    "N-GW-6": "a VM in the gateway subnet", "N-GW-11": "two sites with one range", "N-DN-3": "21 DNS servers",
}  # fmt: skip
_SILENT = "(timeout)"
_NOTHING_IN = about(ex.Send, replace(seen=((),)))
_ALL_IN = about(ex.Send, replace(seen=((ex.Seen(0, "", 1, "", 1),) * 4,)))
_FIRST_IN = replace(seen=((ex.Seen(0, "", 1, "", 1),),))


def _of(network: str, change: Callable[[Any], Any]) -> Lie:
    return _only(ex.Tunnels, lambda what: what.network == network, change)


def _slept(change: Callable[[Any], Any]) -> Lie:
    return _only(ex.Tunnels, lambda what: what.silence_s > 0, change)


def _awake(change: Callable[[Any], Any]) -> Lie:
    return _only(ex.Tunnels, lambda what: what.network == "Static" and what.wanted == "Connected", change)


def _told(word: str, **values: Any) -> Lie:
    return _only(ex.Run, lambda what: word in what.words, replace(**values))


def _strange(change: Callable[[Any], Any]) -> Lie:
    return _only(ex.Send, lambda what: what.private == "192.168.99.99", change)


def _flooded(tunnels: int, each: float) -> Lie:
    """Have so many tunnels of the gateway that is shaped carry so much each."""
    return _only(
        ex.Flood,
        lambda what: what.network == "Hub" and len(what.addresses) == tunnels,
        replace(rates=dict.fromkeys(GATEWAYS.values(), each)),
    )


def _built(*passed: tuple[str, str, float]) -> Lie:
    return about(ex.Tunnels, replace(passed=tuple(ex.Passed(*one) for one in passed)))


_TOO_SOON = (("Creating", "", 1001.0), ("Connecting", "a", 1002.0), ("NotConnected", "a", 1009.0))
_TOO_LATE = (("Creating", "", 1001.0), ("Connecting", "a", 1015.0), ("NotConnected", "a", 1019.0))
_ADDRESS_SHOWN = (("Creating", "a", 1001.0), ("Connecting", "a", 1008.0), ("NotConnected", "a", 1012.0))


#: A claim, a lie, and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie, str]] = [
    *((claim, _ACCEPTED, f"{what}") for claim, what in _REFUSALS.items()),
    *((claim, _UP, "is Connected") for claim in _NEVER),
    *((claim, _WORDS, 'the reason shown is "who knows"') for claim in ("S3-18", "S3-23", "N-GW-14")),
    *((claim, _lost(_arrivals(seen=((ex.Seen(0, "", 1, "", 1),),))), "the far end is reached") for claim in _NEVER),
    *((claim, _lost(_on_the_wire("esp")), "1 packets of ESP on the wire of VNet1") for claim in _NEVER),
    *((f"S3-{n}", _TIMEOUT, _SILENT) for n in (2, 3, 6, 7, 13, 21, 24)),
    *((f"S3-{n}", _OTHER, "is answered by vm9, which sees 10.9.9.9") for n in (2, 3, 6, 7, 13, 24)),
    *((f"S3-{n}", about(ex.Tunnels, _DOWN), "is NotConnected: no answer") for n in (2, 3, 6, 7, 13, 24)),
    ("S3-1", about(ex.TunnelFlows, _arrivals(seen=((),))), "8 flows did not arrive"),
    ("S3-1", about(ex.TunnelFlows, _from("10.1.0.9")), "seen from 10.1.0.9, not from 10.1.0.4"),
    ("S3-1", about(ex.TunnelFlows, _on_the_wire("tcp")), "tcp from 10.1.0.4 to 10.2.0.4 on the wire of VNet1"),
    ("S3-1", about(ex.TunnelFlows, replace(outer=())), "the wire of VNet1 carried too little for them"),
    ("S3-2", _REFUSED, "was refused"),
    ("S3-11", about(ex.Flood, replace(rates=dict.fromkeys(GATEWAYS.values(), 8e7))), "more than the gateway's"),
    ("S3-11", _flooded(2, 0.0), "a tunnel carried nothing"),
    ("S3-11", _flooded(2, 2.5e6), "two tunnels have 5 of the gateway's 100 Mbit/s"),
    ("S3-11", _flooded(1, 5e7), "one tunnel alone has 50 of the gateway's 100 Mbit/s"),
    ("S3-4", _lost(_arrivals(seen=((ex.Seen(0, "", 1, "", 1),),))), "outside to vm2: the far end is reached"),
    ("S3-4", _told("100.64.0.0/10", status=0), "a tunnel to 100.64.0.0/10 was not refused"),
    ("S3-8", _told("netcfg", status=0), "a file with an overlap was not refused"),
    ("S3-9", _told("connect", status=0), "a second tunnel was not refused"),
    ("S3-9", _told("connect", said="no such local network"), "a second tunnel was not refused"),
    ("S3-10", _told("replay", status=0), "a VM of another network was not refused"),
    ("S3-13", _told("replay", said=""), "Get-AzureVNetConnection prints"),
    ("S3-13", _told("export", said="<x/>"), "the file has [] for the connections of VNet1"),
    ("S3-16", _told("exec", said=" inet 10.9.0.4/24"), "10.9.0.4 is not of its network"),
    ("S3-22", _told("local-network", status=2, said="no"), "exit 2: no"),
    ("S3-23", _told("replay", status=2, said="no"), "exit 2: no"),
    ("S3-23", _WORDS, "with a key at one side alone it is NotConnected"),
    ("S3-12", _NOTHING_IN, "not all of 10.2.0.0/16 is led through the tunnel"),
    ("S3-12", about(ex.Send, _FIRST_IN), "more than 10.2.0.0/16 is led through the tunnel"),
    (
        "S3-14",
        about(ex.Run, replace(status=0, said="nothing would change")),
        "a change of location by lab plan was not refused",
    ),
    ("S3-15", about(ex.Lookup, replace(addresses=("10.2.0.4",))), "the provided resolver knows a name of another"),
    ("S3-15", _only(ex.Lookup, lambda what: not what.server, replace(addresses=())), "own server does not answer"),
    (
        "S3-15",
        _only(ex.Lookup, lambda what: what.name == what.client, replace(addresses=())),
        "name of its own network",
    ),
    ("S3-16", about(ex.TunnelFlows, _from("192.168.0.9")), "seen from 192.168.0.9"),
    ("S3-16", about(ex.TunnelFlows, _arrivals(seen=((),))), "nothing arrived"),
    ("S3-17", about(ex.Run, replace(said='{"virtual_networks": {}}')), "the status is not Created"),
    ("S3-17", _TIMEOUT, "its VMs reach nothing"),
    ("S3-21", _built(("Connecting", "203.0.113.1", 1001.0)), "it was Connecting instead of Creating, Connecting, "),
    ("S3-21", _built(("Creating", "", 1001.0), ("Connected", "a", 1004.0)), "it was Creating, Connected instead of"),
    ("S3-21", about(ex.Run, replace(said=_shown("Connecting"))), "it was Connecting after 0.5 s"),
    ("S3-21", _built(*_TOO_SOON), "it was built after 2.0 s instead of 7.5 s"),
    ("S3-21", _built(*_TOO_LATE), "it was not built 14.5 s after its creation"),
    ("S3-21", _built(*_ADDRESS_SHOWN), "its address is not shown just when it is built"),
    ("S3-21", about(ex.Tunnels, replace(status="Creating")), "it is not connected"),
    ("N-GW-1", _REFUSED, "30 tunnels of a HighPerformance gateway was refused"),
    ("N-GW-2", about(ex.Tunnels, _connection(version=1)), "it speaks IKEv1"),
    ("N-GW-3", about(ex.Tunnels, _connection(ike="3DES_CBC")), "IKE uses 3DES_CBC"),
    ("N-GW-3", about(ex.Tunnels, _connection(ike_rekey_s=28000)), "IKE is renewed after 28000 s"),
    ("N-GW-3", about(ex.Tunnels, _connection(esp_life_s=27000)), "ESP ends after 27000 s"),
    ("N-GW-4", about(ex.Segments, replace(size=1448)), "they are not clamped to 1350 bytes"),
    ("N-GW-4", about(ex.Segments, replace(size=1360)), "they are not clamped to 1350 bytes"),
    ("N-GW-4", about(ex.Segments, replace(size=1300)), "they are not clamped to 1350 bytes"),
    ("N-GW-4", about(ex.Segments, replace(size=0)), "they are not clamped to 1350 bytes"),
    ("N-GW-5", about(ex.Tunnels, _connection(esp="AES_CBC 256 HMAC_SHA1_96")), "ESP uses AES_CBC 256"),
    ("N-GW-7", _TIMEOUT, _SILENT),
    ("N-GW-7", _slept(_connection(state="Connected", reason="")), "a policy-based tunnel is not dropped"),
    ("N-GW-7", _slept(_connection(reason="no answer")), "a policy-based tunnel is not dropped"),
    ("N-GW-7", _slept(replace(waited_s=0.5)), "a policy-based tunnel is dropped long before 5 s"),
    ("N-GW-7", _of("Dynamic", _DOWN), "a route-based tunnel is dropped, too"),
    ("N-GW-7", _awake(_DOWN), "depot is NotConnected: no answer"),
    ("N-GW-9", _of("Dynamic", _connection(local=("10.1.0.0/16",))), "agreed on 10.1.0.0/16 to 0.0.0.0/0"),
    ("N-GW-9", _of("Static", _connection(remote=("0.0.0.0/0",))), "agreed on 10.2.0.0/16 to 0.0.0.0/0"),
    ("N-GW-9", _ALL_IN, "a source outside the ranges is carried"),
    ("N-GW-9", _NOTHING_IN, "what office sends is not carried"),
    ("N-GW-9", _strange(replace(seen=((),))), "a source outside the ranges is lost"),
    ("N-GW-12", about(ex.Run, replace(said="{}")), "not as it must be: Error, HttpStatusCode, Id, RequestId, Status"),
    ("N-GW-12", about(ex.Run, replace(said="done")), "it is no JSON"),
    (
        "N-GW-12",
        _only(ex.Run, lambda what: "json" not in what.words, replace(said="x : 1")),
        "as text it has the fields x",
    ),
    ("N-GW-12 recreated", _told("create", status=0), "a gateway that is there may be created again"),
    ("N-GW-12 recreated", _told("delete", status=2, said="no"), "it is not recreated: no"),
    ("N-GW-12 recreated", about(ex.Tunnels, replace(address="203.0.113.2")), "it has kept its address"),
    ("N-GW-12 recreated", _only(ex.Tunnels, lambda what: bool(what.wanted), replace(address="")), "it is not built"),
    ("N-GW-12", _ACCEPTED, "a local network without a placeholder was not refused"),
    ("N-GW-8", about(ex.TunnelFlows, _from("203.0.113.9")), "seen from 203.0.113.9, not from 10.1.0.4"),
    ("N-GW-8", about(ex.Send, replace(seen=((ex.Seen(0, "10.1.0.4", 1, "", 1),),) * 2)), "flows for the tunnel left"),
    ("N-GW-8", about(ex.Send, replace(strays=("IP 10.1.0.4 > 10.2.0.4 on the public wire",))), "left untranslated: "),
    ("N-GW-8", about(ex.Send, replace(seen=((), ()))), "flows to the outside did not arrive"),
    ("N-GW-10", _TIMEOUT, "is not heard by its resolver either"),
    ("N-GW-10", _ACROSS, "is reached, though its range is not listed"),
    ("N-GW-13", about(ex.Meter, replace(egress=0)), "the counters do not count inner bytes"),
    ("N-GW-13", about(ex.Tunnels, replace(fields=())), "not shown: ConnectivityState"),
    ("N-GW-13", about(ex.Tunnels, _connection(event=1, message="")), "event 1: "),
    ("N-GW-14", about(ex.Tunnels, replace(kind="StaticRouting")), "it shows StaticRouting"),
    ("N-NC-1", about(ex.Run, replace(said="<x/>")), 'no xmlns="http://schemas.microsoft.com/'),
    ("N-NC-2", about(ex.Tunnels, replace(connections=())), "the tunnel is not there with its reference"),
    ("N-NC-2", about(ex.Run, replace(status=2)), "the tunnel is there without its reference"),
    ("N-NC-2", _TIMEOUT, _SILENT),
    ("N-NC-3", about(ex.Run, replace(status=0)), "a file with this was not refused: Location and AffinityGroup"),
    ("N-NC-3", _TIMEOUT, _SILENT),
    ("N-DN-1", about(ex.Lookup, replace(addresses=())), "it does not know a name of its own network"),
    ("N-DN-1", about(ex.Lookup, replace(said="4.0.1.10.in-addr.arpa name = vm1")), "it looks up addresses"),
    ("N-DN-2", about(ex.Lookup, replace(addresses=())), "the second server did not answer in the first one's place"),
    ("N-DN-2", _TIMEOUT, "TCP 53 is not answered"),
    ("N-DN-3", about(ex.Lookup, replace(addresses=())), "168.63.129.16 does not answer"),
]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


def test_every_claim_here_has_its_lies() -> None:
    assert {claim for claim, _, _ in LIES} == set(FAITHFUL)


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{claim}: {reason}" for claim, _, reason in LIES])
def test_a_claim_is_contradicted_by_what_the_document_rules_out(claim: str, lie: Lie, reason: str) -> None:
    found = [j for j in judgements(claim, lie) if j.verdict == "CONTRADICTED"]
    assert any(reason in j.reason for j in found), [(j.verdict, j.reason) for j in judgements(claim, lie)]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    wanted = ("INCONCLUSIVE", "the experiment failed: no such place")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


def test_a_machine_that_carries_too_little_says_nothing_of_a_gateways_bandwidth() -> None:
    def slow(what: ex.Experiment, seen: Any) -> Any:
        return msgspec.structs.replace(seen, rates={"": 8e7}) if isinstance(seen, ex.Flooded) else seen

    (found,) = judgements("S3-11", slow)
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", "this machine has not carried 125 Mbit/s")


@pytest.mark.parametrize("claim", _NEVER)
def test_silence_across_a_broken_tunnel_counts_only_beside_an_answer(claim: str) -> None:
    def deaf(what: ex.Experiment, seen: Any) -> Any:
        unheard = isinstance(what, ex.Ask) and what.kind == "connect"
        return msgspec.structs.replace(seen, answers=(ex.Answer("timeout"),)) if unheard else seen

    found = [j for j in judgements(claim, deaf) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"INCONCLUSIVE"}
    assert all(j.reason == "the sender is not heard by its resolver either" for j in found)
