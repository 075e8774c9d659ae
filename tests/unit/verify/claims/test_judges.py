"""Every claim of the catalogue can say HOLDS, CONTRADICTED and INCONCLUSIVE of observations made by hand."""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from lab.azure.model import Network
from lab.azure.profile import resolve
from lab.topology import load
from lab.verify import claims
from lab.verify import experiment as ex
from tests import worlds
from tests.unit.verify.claims import pretend
from tests.unit.verify.claims.pretend import (
    DEFAULT,
    Lab,
    Lie,
    Snat,
    about,
    all_arrive,
    all_lost,
    astray,
    astray_all,
    at_step,
    from_source,
    judge,
    lost,
    port_of,
    replace,
)

_FRONTEND = "40.1.1.1"
_OWN = "104.43.142.188"
_THREE = Lab(
    {"own": [_OWN], "web": [_FRONTEND], "web2": [_FRONTEND]},
    own=["own"],
    limits={"web": 1024, "web2": 1024, "alone": 64512},
)
_SICK_KEY = "lb-sick/alive/sick"
_SICK = Lab({"well": [_FRONTEND], "sick": ["40.1.1.2"]}, down=[_SICK_KEY], silent=["40.1.1.2"])

#: Claims about security groups, all of which the bundled topology shows.
_OF_GROUPS = ["S2-15", "S2-16", *(f"N-NS-{number}" for number in range(1, 12))]
#: What its groups lose, written down from its file: sender, destination, protocol, port.
_GUARDED = Lab(
    {},
    down=["lb-app/alive/app2"],
    up=["lb-app/alive/app1", "lb-open/alive/open", "lb-shut/alive/shut"],
    names={"admin": "198.51.100.20", "client": "198.51.100.10"},
    answering="app1",
    lost=[
        "web? 198.51.100.?0 *", "web? 208.67.222.222 *",  # deny-internet
        "app1 198.51.100.10 *",  # no-partner
        "sql1 198.51.100.20 tcp 1433",  # no-replica
        "sql1 192.168.3.? *",  # no-apps
        "* 192.168.2.4 tcp 80",  # no-web
        "web? 192.168.2.4 tcp 47",  # no-other-front
        "* 104.43.142.10 udp *", "* 104.43.142.10 tcp 47", "* 104.43.142.10 tcp 81", "* 104.43.142.10 tcp 3389",
        "* 65.52.0.10 tcp 50002", "client 65.52.0.10 tcp 50001",
        "* 192.168.3.5 tcp *",  # no-vnet-but-icmp
        "* 192.168.3.7 *",  # no-ping, whatever its protocol
        "* 65.52.0.11 *",  # nothing lets the internet in
    ],
)  # fmt: skip


def _bundled() -> Network:
    whole = load(Path(__file__).parents[4] / "topologies" / "nsg.lab.yaml")
    return msgspec.structs.replace(whole, expectations=())


_SECOND = "40.1.1.2"


def _crowded(profile: str, time_scale: int) -> Network:
    """Return a network whose VM `web` has 64 SNAT ports, less a block of rule ports in later revisions."""
    return worlds.network(
        f"""
profile: {profile}
internet:
  api: {{address: 198.51.100.20, services: [tcp:443, tcp:8080, udp:53, udp:443]}}
  other: {{address: 198.51.100.30, services: [tcp:443, udp:53, udp:443]}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{web: {{subnet: v/s}}, alone: {{subnet: v/s}}}}
load_balancers:
  lb1:
    frontend_ip_configurations: {{public: {_FRONTEND}}}
    backend_address_pools: {{pool: [web]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}}
      admin: {{frontend: public, backend_pool: pool, probe: alive, frontend_port: 1030, backend_port: 8080}}
overrides: {{snat_ports_per_vm: 64, time_scale: {time_scale}}}
"""
    )


def _standalone(profile: str, together: int = 0) -> Network:
    """Return a network with a VM `alone`, and an availability set of VMs b1, b2, … that stand alone, too."""
    batch = "".join(f", b{number}: {{subnet: v/s, availability_set: b}}" for number in range(1, together + 1))
    return worlds.network(
        f"""
profile: {profile}
internet: {{far: {{address: 198.51.100.20}}}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{alone: {{subnet: v/s}}{batch}}}
"""
    )


def _three_ranks() -> Network:
    """Return a network with a VM that has an address of its own and a load balancer, one that has that, one nothing."""
    return worlds.network(
        f"""
profile: 2018-02
internet: {{far: {{address: 198.51.100.20}}}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines:
  own: {{subnet: v/s, instance_public_ip: {{name: ip, address: {_OWN}}}}}
  web: {{subnet: v/s}}
  alone: {{subnet: v/s}}
load_balancers:
  lb1:
    frontend_ip_configurations: {{public: {_FRONTEND}}}
    backend_address_pools: {{pool: [own, web]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}}
"""
    )


def _seeds() -> Network:
    return _crowded("seeds", 60)


def _of_2019() -> Network:
    return _crowded("2019-05", 30)


def _of_2020() -> Network:
    return _crowded("2020-10", 30)


def _by_size(told: int = 0, **sizes: int) -> Lab:
    """Return a lab in which a VM has ports by the size of its pool; ``told``: what `lab ports` says of them."""
    tiers = {1: 1024, 51: 512} | {int(size.removeprefix("of_")): ports for size, ports in sizes.items()}
    return Lab({"web": [_FRONTEND]}, snat=Snat(ports=64), tiers=tiers, told=told)


# Four minutes are 4 seconds in the first, 8 in the others; 15 seconds are half a second.
_BY_ADDRESS = Lab({"web": [_FRONTEND]}, limits={"web": 64}, snat=Snat(ports=64))
_APART = Snat(ports=64, first=1024, tcp="destination", udp="nothing", apart=True, closing_s=(8, 0.5), idle_s=8)
_CONE = Lab({"web": [_FRONTEND]}, limits={"web": 64}, snat=_APART)
_LOWEST = Lab(
    {"somebody": [_SECOND], "web": [_FRONTEND]},
    limits={"web": 56},
    snat=msgspec.structs.replace(_APART, ports=56, first=1032, udp="address", lowest=True),
)
_SIZES = {1: 1024, 49: 1024, 50: 1024, 51: 512, 100: 512, 101: 256}


def _pool(**sizes: int) -> Lab:
    """Return a lab of a pool whose ports by its size are the table's, but for some."""
    changed = {int(size.removeprefix("of_")): ports for size, ports in sizes.items()}
    return Lab({"web1": [_FRONTEND]}, tiers=_SIZES | changed)


def _service(*, redeploying: bool = False) -> Network:
    """Return a network with a cloud service of 26 instances of a role, which share a VIP."""
    return worlds.network(
        f"""
profile: 2018-07-classic
internet: {{api: {{address: 198.51.100.20, services: [tcp:443, udp:53]}}}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
cloud_services:
  shop:
    roles: {{web: {{instances: 26, subnet: v/s}}}}
    virtual_ips: {{Vip1: {{address: {_FRONTEND}}}}}
    endpoints: [{{name: web, role: web, local_port: 80, public_port: 80}}]
    redeploying: {redeploying}
"""
    )


def _redeployed(before: int, meanwhile: int) -> Lab:
    """Return a lab in which each instance of a service has so many ports, and so many while it is redeployed."""
    return Lab({}, snat=Snat(ports=before), busy=Snat(ports=meanwhile))


def _two_frontends(profile: str, sku: str = "Standard") -> Callable[[], Network]:
    return lambda: worlds.balanced(1, profile=profile, sku=sku, frontends=2)


def _leaving_by(*sources: str, flows: int, each: int | None = None) -> Lab:
    return Lab({"web1": sources}, limits={"web1": flows}, each=each)


#: Where each claim applies, and a lab that keeps it there.
FAITHFUL: dict[str, tuple[Callable[[], Network], Lab]] = {
    **dict.fromkeys(
        ["S1-1", "S1-4", "S1-5", "S1-8", "S2-1", "S2-2", "S2-3", "S2-4", "S2-11", "S2-12", "S2-13", "S2-14", "LAB-1"],
        (worlds.three_ways_out, _THREE),
    ),
    "S1-2": (worlds.pool_without_rule, Lab({})),
    "S1-3": (worlds.nat_rule_only, Lab({"vm": [_FRONTEND]})),
    "S1-6": (worlds.healthy_and_sick, _SICK),
    "S1-7": (worlds.healthy_and_sick, _SICK),
    "S2-10": (worlds.pool_without_rule, Lab({})),
    "N-SN-15": (worlds.pool_without_rule, Lab({})),
    "S2-17": (worlds.several_frontends, Lab({"many": ["40.1.1.1", "40.1.1.2", "40.1.1.3"]})),
    **dict.fromkeys(["S2-5", "S2-6", "S2-7", "S2-8", "S2-9", "S2-19", "N-ML-2"], (_seeds, _BY_ADDRESS)),
    "S2-18": (_seeds, _by_size()),
    **dict.fromkeys(["N-SN-7", "N-SN-8", "N-SN-9", "N-SN-10", "N-SN-18"], (_of_2019, _CONE)),
    **dict.fromkeys(["N-SN-11", "N-SN-19"], (_of_2020, _LOWEST)),
    **dict.fromkeys(["N-SN-1", "N-SN-4"], (lambda: worlds.balanced(101, profile="2018-02"), _pool())),
    "N-SN-2": (
        lambda: worlds.balanced(2, profile="2017-09", sku="Basic"),
        Lab({"web1": [_FRONTEND], "web2": [_FRONTEND]}, limits={"web1": 64511}),
    ),
    "N-SN-3": (lambda: _standalone("2017-09"), Lab({}, limits={"alone": 64511})),
    "N-SN-5": (_service, _redeployed(1024, 512)),
    "N-SN-6": (lambda: _standalone("2019-05", 51), Lab({}, limits={"alone": 1024, "b1": 512})),
    "N-SN-12": (_two_frontends("2019-05"), _leaving_by(_FRONTEND, _SECOND, flows=2048)),
    "N-SN-13": (_three_ranks, Lab({"own": [_OWN], "web": [_FRONTEND]}, own=["own"])),
}
#: What other revisions say where a claim is of several.
REVISIONS: list[tuple[str, Callable[[], Network], Lab]] = [
    *[(claim, _of_2020, _LOWEST) for claim in ("N-SN-7", "N-SN-8", "N-SN-9", "N-SN-10", "N-SN-18")],
    ("N-SN-1", lambda: worlds.balanced(101, profile="2018-07-classic"), _pool()),
    ("N-SN-15", worlds.healthy_and_sick, _SICK),
    ("N-SN-12", _two_frontends("2018-02"), _leaving_by(_FRONTEND, _SECOND, flows=2048)),
    ("N-SN-12", _two_frontends("2018-02", "Basic"), _leaving_by(_SECOND, flows=1024)),
    ("N-SN-12", _two_frontends("2018-12"), _leaving_by(_FRONTEND, _SECOND, flows=2048)),
    ("N-SN-12", _two_frontends("2022-03"), _leaving_by(_FRONTEND, _SECOND, flows=2048, each=1024)),
    ("N-SN-12", _two_frontends("2026-07"), _leaving_by(_FRONTEND, _SECOND, flows=1024)),
]

FAITHFUL |= dict.fromkeys(_OF_GROUPS, (_bundled, _GUARDED))


def _not_refused(_seen: object) -> ex.Checked:
    return ex.Checked(status=0, said="ok")


def _always_refused(_seen: object) -> ex.Checked:
    return ex.Checked(status=2, said='unknown key "default_outbound_address"')


def _one_more(seen: ex.Arrivals) -> ex.Arrivals:
    extra = ex.Seen(9999, _FRONTEND, 60000, "198.51.100.20", 80)
    return ex.Arrivals(
        sent=seen.sent, source_ports=seen.source_ports, control=True, strays=(), seconds=0,
        seen=(*seen.seen[:-1], (*seen.seen[-1], extra)),
    )  # fmt: skip


def _untracked(seen: ex.Tracked) -> ex.Tracked:
    return ex.Tracked(before=(), after=(), arrivals=seen.arrivals)


def _tracked_low(seen: ex.Tracked) -> ex.Tracked:
    flows = tuple(ex.Seen(i, _FRONTEND, 80 + i, "198.51.100.20", 80) for i in range(4))
    arrivals = ex.Arrivals(sent=4, source_ports=(), control=True, seen=(flows, flows), strays=(), seconds=0)
    return ex.Tracked(before=(), after=tuple(ex.Entry(5, f.source, f.source_port) for f in flows), arrivals=arrivals)


def _one_port(seen: ex.Tracked) -> ex.Tracked:
    arrivals = port_of(2000)(seen.arrivals)
    entries = tuple(ex.Entry(5, s.source, s.source_port) for s in arrivals.seen[-1])
    return ex.Tracked(before=(), after=entries, arrivals=arrivals)


def _protocol(name: str, form: str, change: Callable[[ex.Arrivals], ex.Arrivals]) -> Lie:
    def lie(what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        mine = isinstance(what, ex.Send) and (what.protocol, what.form) == (name, form)
        return change(seen) if mine and isinstance(seen, ex.Arrivals) else seen

    return lie


def _leaves(seen: ex.Arrivals) -> ex.Arrivals:
    watch = (ex.Seen(0, _FRONTEND, 0, "198.51.100.20", 0),)
    return ex.Arrivals(
        sent=seen.sent, source_ports=seen.source_ports, control=True, seen=(watch, ()), strays=(), seconds=0
    )


def _kept(outcome: ex.Outcome) -> Lie:
    """Change what becomes of a flow that goes on after its first conversation."""
    asked = 0

    def lie(what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        nonlocal asked
        if isinstance(what, ex.Ask) and what.source_port:
            asked += 1
            return ex.Answers(answers=(ex.Answer(outcome),)) if asked % 2 == 0 else seen
        return seen

    return lie


def _seen(ports: Iterable[int]) -> tuple[ex.Source, ...]:
    return tuple(ex.Source(_FRONTEND, port) for port in ports)


def _alert(key: str, value: object) -> dict[str, object]:
    return {**pretend.alert(_FRONTEND), key: value}


def _to_other(change: Callable[[ex.Arrivals], ex.Arrivals]) -> Lie:
    """Change what is seen of flows to the second host."""

    def lie(what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        mine = isinstance(what, ex.Send) and what.destination == "198.51.100.30"
        return change(seen) if mine and isinstance(seen, ex.Arrivals) else seen

    return lie


#: A claim, a lie, and the reason that must be given for the contradiction.
LIES: list[tuple[str, Lie, str]] = [
    ("S1-1", about(ex.Send, from_source("198.51.100.99")), "seen from 198.51.100.99"),
    ("S1-1", about(ex.Send, from_source(_FRONTEND), "own"), f"own: seen from {_FRONTEND}"),
    ("S1-2", about(ex.Send, from_source(_FRONTEND), "pooled"), "seen from the frontend"),
    ("S1-2", about(ex.Send, from_source("192.0.2.99"), "pooled"), f"a standalone VM is seen from {DEFAULT}"),
    ("S1-3", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-3", about(ex.Send, lost), "16 flows did not arrive"),
    ("S1-4", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-4", about(ex.Login, replace(peers=(DEFAULT,))), f"sshd saw {DEFAULT}"),
    ("S1-4", about(ex.Login, replace(peers=(), lines=())), "sshd saw nobody"),
    ("S1-5", about(ex.CheckFile, _not_refused), "a load-balancing rule without a probe was not refused"),
    ("S1-5", about(ex.CheckFile, replace(said="something else")), "rule without a probe was not refused"),
    ("S1-6", about(ex.Health, replace(down={})), "the probe of sick succeeds"),
    ("S1-6", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("answered"),))), "the unhealthy pool answers"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("refused"),))), "the healthy pool does not answer"),
    ("S1-7", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))), "the healthy pool does not answer"),
    ("S1-7", about(ex.Health, replace(down={})), "the probe of sick succeeds"),
    ("S1-8", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S1-8", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S2-1", about(ex.Return, replace(answered=False)), "the answer did not reach the VM"),
    ("S2-1", about(ex.Return, replace(intruded=True)), "a stranger reached the VM through the flow's port"),
    ("S2-1", about(ex.Return, replace(source="")), "seen from nowhere"),
    ("S2-2", about(ex.Send, astray), "left untranslated: "),
    ("S2-2", about(ex.Send, from_source(_FRONTEND), "alone"), f"seen from {_FRONTEND}"),
    ("S2-3", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S2-3", about(ex.Counted, replace(addresses=(DEFAULT,))), "the default address is counted as a public IP"),
    ("S2-3", about(ex.Counted, replace(addresses=())), "public IPs of VMs' own are not counted either"),
    ("S2-3", about(ex.CheckFile, _not_refused), "choosing the default address in a subnet was not refused"),
    ("S2-3", about(ex.CheckFile, _not_refused), "one public IP more than 5 beside a standalone VM was not refused"),
    ("S2-3", about(ex.CheckFile, _always_refused), "in a VM: it is refused without it, too"),
    ("S2-4", about(ex.Track, _untracked), "the port tracked is not the port seen"),
    ("S2-4", about(ex.Track, _tracked_low), "ports [80, 81, 82, 83] are not 1024-65535"),
    ("S2-4", about(ex.Track, _one_port), "two flows to one destination share a port"),
    ("N-SN-15", about(ex.Send, from_source(_FRONTEND), "pooled"), "seen from the frontend"),
    ("S2-10", about(ex.Send, from_source(_FRONTEND), "pooled"), "seen from the frontend"),
    ("S2-11", about(ex.Send, port_of(2000)), f"both were seen from {_FRONTEND}:2000"),
    ("S2-11", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("S2-12", about(ex.Send, port_of(2000)), "source port 40000 became 2000"),
    ("S2-12", about(ex.Send, from_source(_FRONTEND)), f"seen from {_FRONTEND}"),
    ("S2-12", _protocol("icmp", "open", lost), "16 flows did not arrive"),
    ("S2-13", about(ex.Send, _one_more, "web"), "web opened 1025 flows with 1024 ports"),
    ("S2-13", about(ex.Send, lost, "web"), "web opened no flow"),
    ("S2-13", about(ex.Send, lost, "own"), "2048 flows did not arrive"),
    ("S2-14", about(ex.Lookup, replace(addresses=())), "nslookup got no answer"),
    ("S2-14", about(ex.Lookup, replace(addresses=("192.0.2.99",)), "alone"), "not the source that was seen"),
    ("S2-14", about(ex.Lookup, replace(addresses=(DEFAULT,)), "web"), f"the answer is {DEFAULT}"),
    ("S2-17", about(ex.Send, from_source("40.1.1.4")), "seen from 40.1.1.4"),
    ("S2-17", about(ex.Send, from_source("40.1.1.1")), "no flow is seen from 40.1.1.2, 40.1.1.3"),
    *((claim, about(ex.Sweep, all_arrive), ": arrived") for claim in _OF_GROUPS if claim not in ("S2-16", "N-NS-7")),
    *((claim, about(ex.Sweep, all_lost), ": lost") for claim in sorted({*_OF_GROUPS} - {"S2-16", "N-NS-7", "N-NS-9"})),
    ("S2-16", about(ex.Health, replace(down={})), "the probe of lb-app/alive/app2 succeeds"),
    ("S2-16", about(ex.Ask, replace(answers=(ex.Answer("answered", "app2"),))), "new flows went to app2"),
    ("N-NS-1", about(ex.Run, replace(status=0)), "the removal of DenyAllInbound was not refused"),
    ("N-NS-1", about(ex.Run, replace(said="DenyAllInbound")), "are not all listed, in this order"),
    ("N-NS-2", about(ex.Health, replace(up=())), "the probe of lb-app/alive/app1"),
    ("N-NS-3", about(ex.CheckFile, _not_refused), "two rules of one priority was not refused"),
    ("N-NS-5", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))), "the answers were lost"),
    ("N-NS-5", about(ex.Ask, replace(answers=(ex.Answer("answered"),))), "the new rule does not hold for a new flow"),
    ("N-NS-5", _kept("timeout"), "the flow was cut by a rule that came after it"),
    ("N-NS-7", about(ex.CheckFile, _not_refused), "1001 rules in a group was not refused"),
    ("N-NS-7", about(ex.CheckFile, replace(said="something else")), "a group on the gateway subnet was not refused"),
    ("N-NS-8", about(ex.CheckFile, _not_refused), "a rule for ICMP in 2018 was not refused"),
    ("N-NS-9", about(ex.Lookup, replace(addresses=())), "no answer"),
    ("S2-5", about(ex.HoldFlows, at_step(0, seen=_seen([2000] * 64))),
    f"1 ports were seen for two flows, {_FRONTEND}:2"),
    ("S2-5", about(ex.HoldFlows, at_step(0, refused=1)), "1 flows were refused instead of met with silence"),
    ("S2-5", about(ex.HoldFlows, at_step(0, silent=7)), "7 flows met silence instead of 8"),
    ("S2-6", about(ex.HoldFlows, at_step(1, seen=_seen(range(3000, 3064)))), "0 ports serve both destinations"),
    ("S2-7", about(ex.HoldFlows, at_step(2, answered=60)), "of 64 live flows 60 were left"),
    ("S2-8", about(ex.HoldFlows, at_step(5, records=(_alert("operationName", "X"),))), "its operationName is X"),
    ("S2-8", about(ex.HoldFlows, at_step(5, records=(_alert("more", 1),))), "the record has the keys time, systemId, "),
    ("S2-8", about(ex.HoldFlows, at_step(5, records=(pretend.alert(_SECOND),))), "its properties are others"),
    ("S2-8", about(ex.HoldFlows, at_step(5, records=(pretend.alert(_FRONTEND),) * 2)), "2 alerts were raised instead"),
    ("N-ML-2", about(ex.HoldFlows, at_step(5, records=(_alert("time", "2017-05-31T12:00:00Z"),))), "its time is 2017"),
    ("N-ML-2", about(ex.HoldFlows, at_step(5, records=(_alert("systemId", "lab"),))), "its systemId is lab"),
    ("N-ML-2", about(ex.HoldFlows, at_step(5, records=(_alert("resourceId", "/lb"),))), "its resourceId is /lb"),
    ("S2-9", about(ex.HoldFlows, at_step(2, moments=(0.0,) * 32)), "were taken again after 0.00 s instead of 4 s"),
    ("S2-9", about(ex.HoldFlows, at_step(3, answered=30)), "2 flows were gone that had been used"),
    ("S2-9", about(ex.HoldFlows, at_step(4, answered=70)), "6 idle flows are alive"),
    ("S2-18", about(ex.Send, _one_more, "web"), "1025 ports were seen with 1 VMs instead of 1024"),
    *(
        ("S2-18", about(ex.CheckFile, _not_refused), f"choosing the number of ports in {place} was not refused")
        for place in ("a load-balancing rule", "a load balancer", "a VM", "a virtual network", "an outbound rule")
    ),
    ("S2-19", about(ex.HoldFlows, at_step(1, seen=_seen(range(3000, 3064)))), "128 ports were seen for 128 flows"),
    ("S2-19", about(ex.HoldFlows, at_step(2, used=())), "`lab ports` says 0 flows and 0 ports"),
    ("N-SN-1", about(ex.Send, lost), "0 ports with 1 VMs instead of 1024; 0 ports with 50 VMs instead of 1024; "),
    ("N-SN-2", about(ex.Send, from_source(DEFAULT)), f"seen from {DEFAULT}"),
    ("N-SN-3", about(ex.Send, port_of(2000)), "not 64511 flows from as many ports"),
    ("N-SN-4", about(ex.Send, lost), "0 flows arrived at first instead of 1024"),
    ("N-SN-5", about(ex.HoldFlows, at_step(0, seen=_seen([2000] * 512))),
    "redeploying: 1 ports were seen for two flows"),
    ("N-SN-6", about(ex.Send, port_of(2000), "alone"), "1 ports instead of 1024"),
    ("N-SN-7", about(ex.HoldFlows, at_step(1, seen=_seen([2000] * 64))), "1 ports were seen for two flows"),
    ("N-SN-8", _to_other(port_of(2000)), "a socket is not seen from one port"),
    ("N-SN-8", about(ex.HoldFlows, at_step(1, seen=_seen(range(1087, 1055, -1)))), "32 ports serve both hosts"),
    ("N-SN-9", about(ex.HoldFlows, at_step(1, answered=0, silent=72)), "0 flows were answered instead of 64"),
    ("N-SN-10", about(ex.HoldFlows, at_step(6, seen=_seen(range(3000, 3012)))),
    "not those of the flows that were closed"),
    ("N-SN-10", about(ex.HoldFlows, at_step(7, answered=1, silent=3)), "1 flows were answered instead of 0"),
    ("N-SN-10", about(ex.HoldFlows, at_step(8, answered=50)), "14 flows ended that nobody closed"),
    ("N-SN-11", about(ex.HoldFlows, at_step(0, seen=())), "1 flows were not answered"),
    ("N-SN-12", about(ex.Send, from_source(_SECOND)), "from 1 addresses instead of 2"),
    ("N-SN-12", about(ex.Send, port_of(2000)), "2048 flows from 2 ports instead of 2048"),
    ("N-SN-13", about(ex.Send, from_source(_FRONTEND), "own"), f"seen from {_FRONTEND}"),
    ("N-SN-13", about(ex.Send, from_source(_FRONTEND), "alone"), f"seen from {_FRONTEND}"),
    ("N-SN-13", about(ex.Send, from_source(DEFAULT), "web"), f"seen from {DEFAULT}"),
    ("N-SN-18", about(ex.HoldFlows, at_step(1, silent=1)), "1 flows met silence instead of 0"),
    ("N-SN-19", about(ex.Send, port_of(1025)), "ports [1025] were seen"),
    ("LAB-1", about(ex.Send, astray), "left untranslated: "),
    ("LAB-1", _protocol("udp", "large", lost), "fragments did not arrive"),
    ("LAB-1", _protocol("icmp", "open", _leaves), "icmp left the virtual network"),
    ("LAB-1", _protocol("tcp", "middle", _leaves), "mid-stream tcp left the virtual network"),
    ("LAB-1", _protocol("udp", "open", from_source("198.51.100.99")), "udp seen from 198.51.100.99"),
]  # fmt: skip


def _giving(claim: str, **changes: object) -> tuple[str, Lab]:
    """Return a claim, and the lab that keeps it, with ports that are given out in another way."""
    faithful = FAITHFUL[claim][1]
    assert faithful.snat is not None
    snat = msgspec.structs.replace(faithful.snat, **changes)
    return claim, Lab(faithful.sources, limits=faithful.limits, snat=snat)


_AS_KERNEL = {"tcp": "destination", "udp": "destination"}
_FOR_GOOD = {"tcp": "nothing", "udp": "nothing"}

#: A claim, a lab that does not keep it, and the reason that must be given for the contradiction.
UNFAITHFUL: list[tuple[tuple[str, Lab], str]] = [
    (_giving("S2-5", **_AS_KERNEL), "72 flows were answered instead of 64"),
    (_giving("S2-5", **_AS_KERNEL, apart=True), "72 flows were answered instead of 64"),
    (_giving("S2-5", apart=True), "72 flows were answered instead of 64"),
    (_giving("S2-5", ports=63), "63 flows were answered instead of 64"),
    (_giving("S2-6", **_FOR_GOOD), "0 flows were answered instead of 64"),
    (_giving("S2-7", ports=100), "4 flows were answered instead of 0"),
    (_giving("S2-7", closing_s=(0.0, 15.0)), "0 flows were answered instead of 4"),
    (_giving("S2-8", blind=True), "0 alerts were raised instead of one"),
    (_giving("S2-8", hasty=True), "an alert was raised while there were ports left"),
    (_giving("S2-8", ports=100), "4 flows were answered instead of 0"),
    (_giving("S2-9", idle_s=10.0), "0 flows were answered instead of 32"),
    (_giving("S2-9", idle_s=5.4), "ports came back only after 5.60 s instead of 4 s"),
    (_giving("S2-9", idle_s=2.0), "were taken again after 2.40 s instead of 4 s"),
    (_giving("S2-9", steady=True), "32 flows were gone that had been used"),
    (("S2-18", _by_size(of_51=1024)), "520 ports were seen with 51 VMs instead of 512"),
    (("S2-18", _by_size(told=64)), "`lab ports` says [[64], [64]]"),
    (_giving("S2-19", **_FOR_GOOD), "0 flows were answered instead of 64"),
    (_giving("N-SN-7", tcp="address"), "0 flows were answered instead of 64"),
    (_giving("N-SN-7", ports=65), "65 flows were answered instead of 64"),
    (_giving("N-SN-8", udp="address"), "40 flows were answered instead of 32"),
    (_giving("N-SN-9", tcp="address", udp="address", apart=False), "0 flows were answered instead of 64"),
    (_giving("N-SN-10", closing_s=(0.0, 0.0)), "were taken again after 0.00 s instead of 0.5 s"),
    (_giving("N-SN-10", closing_s=(2.0, 0.5)), "were taken again after 2.40 s instead of 8 s"),
    (_giving("N-SN-10", closing_s=(0.5, 8.0)), "were taken again after 0.80 s instead of 8 s"),
    (_giving("N-SN-10", closing_s=(8.0, 8.0)), "0 flows were answered instead of 4"),
    (_giving("N-SN-10", closing_s=(20.0, 0.5)), "0 flows were answered instead of 12"),
    (_giving("N-SN-10", either=False), "4 flows were answered instead of 12"),
    (_giving("N-SN-11", lowest=False), "not one port after the other"),
    (_giving("N-SN-11", closing_s=(8.0, 8.0)), "[1040, 1041] were taken instead of [1032, 1033]"),
    (_giving("N-SN-18", idle_s=20.0), "4 flows are alive without keepalives"),
    (_giving("N-SN-18", steady=True), "4 flows ended in spite of keepalives"),
    (("N-SN-1", _pool(of_51=1024)), "520 ports with 51 VMs instead of 512"),
    (("N-SN-1", _pool(of_50=512)), "512 ports with 50 VMs instead of 1024"),
    (("N-SN-4", _pool(of_51=1024)), "1024 flows kept their port instead of 512"),
    (("N-SN-4", _pool(of_51=0)), "0 flows kept their port instead of 512"),
    (("N-SN-4", _pool(of_49=100)), "412 flows were disturbed when the pool shrank"),
    (("N-SN-4", _pool(of_49=600)), "600 flows have a port again instead of 1024"),
    (("N-SN-2", Lab({"web1": [_FRONTEND]}, limits={"web1": 1024})), "1024 flows did not arrive"),
    (("N-SN-3", Lab({}, limits={"alone": 64510})), "not 64511 flows from as many ports"),
    (("N-SN-3", Lab({}, limits={"alone": 64512})), "not 64511 flows from as many ports"),
    (("N-SN-5", _redeployed(1024, 1024)), "redeploying: 520 flows were answered instead of 512"),
    (("N-SN-5", _redeployed(1024, 256)), "redeploying: 256 flows were answered instead of 512"),
    (("N-SN-5", _redeployed(512, 512)), "after: 512 flows were answered instead of 1024"),
    (("N-SN-6", Lab({}, limits={"alone": 512, "b1": 512})), "512 ports instead of 1024"),
    (("N-SN-6", Lab({}, limits={"alone": 1024, "b1": 1024})), "520 ports instead of 512"),
    (("N-SN-12", _leaving_by(_FRONTEND, _SECOND, flows=1024)), "1024 flows from 1024 ports instead of 2048"),
    (("N-SN-19", Lab({"a": [_SECOND], "web": [_FRONTEND]}, limits={"web": 64})), "64 ports were seen instead of 56"),
    (("N-SN-19", Lab({"web": [_FRONTEND]}, limits={"web": 56})), "ports [1024, 1025, 1026, 1027, "),
]  # fmt: skip


def judgements(claim: str, lie: Lie = lambda _what, seen: seen) -> list[claims.claim.Judgement]:
    world, lab = FAITHFUL[claim]
    return [judge(trial, lab, lie) for trial in pretend.trials_of(claim, world())]


def test_every_claim_of_the_catalogue_is_tried_here() -> None:
    files = sorted(Path(__file__).parent.glob("test_*_judges.py"))
    modules = [importlib.import_module(f"tests.unit.verify.claims.{file.stem}") for file in files]
    elsewhere = {claim for module in modules for claim in getattr(module, "FAITHFUL", None) or module.WORLDS}
    ids = [claim.id for claim in claims.CATALOGUE if claim.id not in elsewhere]
    assert sorted(FAITHFUL) == sorted(ids)
    assert {claim for claim, _, _ in LIES} == set(ids)


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_holds_where_what_is_seen_is_what_the_document_says(claim: str) -> None:
    found = judgements(claim)
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)
    assert all(j.observed for j in found)


@pytest.mark.parametrize(("claim", "lie", "reason"), LIES, ids=[f"{claim}: {reason}" for claim, _, reason in LIES])
def test_a_claim_is_contradicted_by_what_the_document_rules_out(claim: str, lie: Lie, reason: str) -> None:
    found = [j for j in judgements(claim, lie) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


@pytest.mark.parametrize(("broken", "reason"), UNFAITHFUL, ids=[f"{claim}: {why}" for (claim, _), why in UNFAITHFUL])
def test_a_claim_is_contradicted_by_a_lab_that_gives_ports_out_in_another_way(
    broken: tuple[str, Lab], reason: str
) -> None:
    claim, lab = broken
    found = [judge(trial, lab) for trial in pretend.trials_of(claim, FAITHFUL[claim][0]())]
    assert {j.verdict for j in found if j.verdict != "HOLDS"} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found), [j.reason for j in found]


@pytest.mark.parametrize(
    ("claim", "world", "lab"), REVISIONS, ids=[f"{c}, {w().profile.name}" for c, w, _ in REVISIONS]
)
def test_a_claim_that_several_revisions_make_is_judged_by_the_one_that_is_played(
    claim: str, world: Callable[[], Network], lab: Lab
) -> None:
    found = [judge(trial, lab) for trial in pretend.trials_of(claim, world())]
    assert found
    assert [(j.verdict, j.reason) for j in found] == [("HOLDS", "")] * len(found)


def test_frontends_used_one_after_the_other_are_used_up_before_the_next() -> None:
    in_turn = _leaving_by(_FRONTEND, _SECOND, flows=2048)
    (found,) = [judge(trial, in_turn) for trial in pretend.trials_of("N-SN-12", _two_frontends("2022-03")())]
    assert found.reason == "a second address was used before the first was used up"


@pytest.mark.parametrize("profile", ["2026-07"])
def test_frontends_that_multiply_the_ports_contradict_revisions_that_do_not_say_so(profile: str) -> None:
    multiplied = _leaving_by(_FRONTEND, _SECOND, flows=2048)
    (found,) = [judge(trial, multiplied) for trial in pretend.trials_of("N-SN-12", _two_frontends(profile)())]
    assert found.reason == "1032 flows from 1032 ports instead of 1024"


def test_a_service_that_is_being_redeployed_in_its_file_is_judged_the_same() -> None:
    as_it_stands, changed = (pretend.trials_of("N-SN-5", _service(redeploying=on))[0] for on in (False, True))
    assert as_it_stands.expected == changed.expected
    assert [stage.network is None for stage in as_it_stands.stages] == [True, False, True]
    assert [stage.network is None for stage in changed.stages] == [False, True, False]


def test_a_redeployment_is_judged_only_where_it_changes_the_number_of_ports_and_is_said_to() -> None:
    small = worlds.network(
        """
profile: 2018-07-classic
internet: {api: {address: 198.51.100.20, services: [tcp:443, udp:53]}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
cloud_services:
  shop: {roles: {web: {instances: 25, subnet: v/s}}, endpoints: [{name: web, role: web, local_port: 80}]}
"""
    )
    assert pretend.trials_of("N-SN-5", small) == []
    later = msgspec.structs.replace(_service(), profile=resolve("2019-05"))
    assert pretend.trials_of("N-SN-5", later) == []


def test_four_minutes_of_real_time_pass_only_if_they_are_asked_for() -> None:
    """A claim that lets more than a minute pass is left out unless it is named."""
    network = _crowded("seeds", 1)
    assert "S2-9" not in dict(claims.trials(network))
    assert "S2-7" in dict(claims.trials(network))
    assert list(dict(claims.trials(network, frozenset({"S2-9"})))) == ["S2-9"]


@pytest.mark.parametrize("claim", FAITHFUL)
def test_a_claim_whose_experiment_failed_is_inconclusive(claim: str) -> None:
    found = judgements(claim, lambda _what, _seen: ex.Failed(reason="no such place"))
    wanted = ("INCONCLUSIVE", "the experiment failed: no such place")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


#: Claims whose trials need no capture: what they see is a conversation, which is its own control.
WITHOUT_CAPTURE = {"S1-5", "S1-7", "S2-1", *_OF_GROUPS, "S2-5", "S2-6", "S2-7", "S2-8", "S2-9", "S2-19", "N-ML-2"}
WITHOUT_CAPTURE |= {"N-SN-5", "N-SN-7", "N-SN-9", "N-SN-10", "N-SN-11", "N-SN-18"}


@pytest.mark.parametrize("claim", sorted(FAITHFUL.keys() - WITHOUT_CAPTURE))
@pytest.mark.parametrize("also", [lambda seen: seen, lost], ids=["all arrived", "nothing arrived"])
def test_without_its_control_a_capture_proves_nothing(claim: str, also: Callable[[ex.Arrivals], ex.Arrivals]) -> None:
    """Neither that something arrived, nor, which matters, that nothing did."""

    def lie(_what: ex.Experiment, seen: ex.Observation) -> ex.Observation:
        return pretend.unwatched(also(seen) if isinstance(seen, ex.Arrivals) else seen)

    world, lab = FAITHFUL[claim]
    captured = [
        trial for trial in pretend.trials_of(claim, world())
        if any(isinstance(what, ex.Send | ex.Track) for stage in trial.stages for what in stage.experiments)
    ]  # fmt: skip
    assert captured
    found = [judge(trial, lab, lie) for trial in captured]
    wanted = ("INCONCLUSIVE", "the control packet did not arrive")
    assert [(j.verdict, j.reason) for j in found] == [wanted] * len(found)


@pytest.mark.parametrize("claim", [claim for claim in _OF_GROUPS if claim not in ("S2-16", "N-NS-7")])
def test_a_flow_that_does_not_get_as_far_as_a_group_proves_nothing(claim: str) -> None:
    """Nor does one that is lost where nothing at all is seen to arrive."""
    world, lab = FAITHFUL[claim]
    swept = [
        trial for trial in pretend.trials_of(claim, world())
        if any(isinstance(what, ex.Sweep) for stage in trial.stages for what in stage.experiments)
    ]  # fmt: skip
    assert swept
    found = [judge(trial, lab, about(ex.Sweep, astray_all)) for trial in swept]
    assert [j.verdict for j in found] == ["INCONCLUSIVE"] * len(found)
    deaf = about(ex.Sweep, lambda seen: replace(deaf=_NODES)(all_lost(seen)))
    assert all(judge(trial, lab, deaf).verdict == "INCONCLUSIVE" for trial in swept)


_NODES = (
    "web1",
    "web2",
    "sql1",
    "app1",
    "app2",
    "free",
    "shut",
    "open",
    "client",
    "admin",
    "resolver1.opendns.com",
    "vnet1",
)


def test_a_pool_that_does_not_answer_at_all_says_nothing_of_the_member_that_is_blocked() -> None:
    (judgement,) = judgements("S2-16", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))))
    assert judgement.verdict == "INCONCLUSIVE"


def test_silence_of_an_unhealthy_pool_counts_only_beside_an_answer_of_a_healthy_one() -> None:
    """S1-7 is a claim of absence: a client that reaches nobody must not make it hold."""
    (judgement,) = judgements("S1-7", about(ex.Ask, replace(answers=(ex.Answer("timeout"),))))
    assert judgement.verdict != "HOLDS"
