"""Health probes: load-balancer-custom-probe-overview.md (2016-10-24) and its later revisions."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from lab.azure.model import (
    HealthProbe,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    SecurityGroup,
    SecurityRule,
    Service,
    VirtualMachine,
)
from lab.flow import PortRange
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import held_trial, kept, occupy, several_goals
from lab.verify.claims.kit.judges import arrived, judge_by, outcomes, refused, send, wrong_source
from lab.verify.claims.kit.nsg_oracle import PROBES, answers, before, groups, guarded
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_client,
    far_host,
    open_to_all,
    ports_each,
    scaled,
    sole_frontend,
    way_out,
)
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.logged import probe_records
from lab.verify.experiment import (
    SILENCE_S,
    Answer,
    Answers,
    Arrivals,
    Ask,
    CaptureConnections,
    Checked,
    CheckFile,
    Happened,
    Health,
    Heard,
    Listen,
    Listening,
    Logged,
    Members,
    ObservedConnection,
    OpenFlows,
    Pause,
    ProbeLog,
    ReuseFlows,
    Run,
    ShowEvents,
)

_PROBES = "load-balancer-custom-probe-overview.md"
_2016, _2018, _2023 = f"{_PROBES} (2016-10-24)", f"{_PROBES} (2018-09-04)", f"{_PROBES} (2023-10-10)"
#: So many conversations find each of two members but for one run in a billion: 2 * (1/2) ** 31.
_CONVERSATIONS = 31
_PATIENCE_S = 10.0  # for a busy machine, beyond the documents' times


class Pool(msgspec.Struct, frozen=True):
    """Members that one probe decides about, and the rules that lead to them because of it."""

    lb: LoadBalancer
    probe: HealthProbe
    members: tuple[VirtualMachine, ...]
    rules: tuple[LoadBalancingRule, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The members as they are told of."""
        return tuple(map(self.key, self.members))

    def key(self, vm: VirtualMachine) -> str:
        """Return a member as it is told of."""
        return f"{self.lb.name}/{self.probe.name}/{vm.name}"

    def to(self, kind: str) -> LoadBalancingRule | None:
        """Return a rule to a service of every member that says who answers over a flow again and again."""
        mine = (rule for rule in self.rules if rule.protocol == kind)
        return next((r for r in mine if all(_serves(vm, r.backend_port, kind) for vm in self.members)), None)

    def __str__(self) -> str:
        return f"{self.lb.name}/{self.probe.name}"


def _serves(vm: VirtualMachine, port: int, kind: str) -> bool:
    return any((s.port, s.kind) == (port, kind) for s in vm.services)


def _listens(vm: VirtualMachine, port: int) -> bool:
    return any((s.port, s.protocol) == (port, "tcp") for s in vm.services)


def pools(network: Network, *, later: bool = False) -> list[Pool]:
    """Return all pools that a probe decides about; those whose probe has a threshold of its own if ``later``."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    found: dict[tuple[str, str, str], Pool] = {}
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            members = tuple(vms[name] for name in lb.pool(rule.backend_pool).members)
            if rule.probe is None or not members or (lb.probe(rule.probe).threshold is not None) != later:
                continue
            of = (lb.name, rule.probe, rule.backend_pool)
            known = found.get(of, Pool(lb, lb.probe(rule.probe), members, ()))
            found[of] = msgspec.structs.replace(known, rules=(*known.rules, rule))
    return list(found.values())


def _answers_well(pool: Pool, vm: VirtualMachine) -> bool:
    """Tell whether a member answers its probe as it should: over HTTP with the status 200, which a path may change."""
    if pool.probe.protocol == "Tcp":
        return _listens(vm, pool.probe.port)
    path = pool.probe.request_path
    well = path == "/status/200" or not path.startswith(("/status/", "/silence"))
    return well and _serves(vm, pool.probe.port, "http")


def _let_in(network: Network, vm: VirtualMachine, address: str, protocol: str, port: int) -> bool:
    """Tell whether a flow from outside comes to a VM: no group denies it, and one allows it where that is asked."""
    if not groups(network, vm):
        return vm.name in open_to_all(network)
    return vm in guarded(network) and all(a.allows for a in answers(network, vm, "Inbound", protocol, address, port))


def _healthy(network: Network, *, later: bool = False) -> list[Pool]:
    """Return the pools all of whose members answer their probe, on a port of its own that no client is sent to."""
    targets = {(lb.name, rule.backend_port) for lb in network.load_balancers for rule in lb.load_balancing_rules}
    return [
        pool
        for pool in pools(network, later=later)
        if (pool.lb.name, pool.probe.port) not in targets
        and all(_answers_well(pool, vm) and _let_in(network, vm, PROBES, "tcp", pool.probe.port) for vm in pool.members)
    ]


def _asked(network: Network) -> list[tuple[InternetHost, Pool, LoadBalancingRule]]:
    """Return the healthy pools whose members a client reaches over TCP."""
    client = far_client(network)
    return [
        (client, pool, rule)
        for pool in _healthy(network)
        if (rule := pool.to("tcp")) is not None
        and client is not None
        and all(_let_in(network, vm, str(client.address), "tcp", rule.backend_port) for vm in pool.members)
    ]


def _ended(network: Network, pool: Pool, *vms: VirtualMachine) -> Network:
    """Return the network in which what answers the probe of some members is gone."""
    names = {vm.name for vm in vms}

    def without(services: tuple[Service, ...]) -> tuple[Service, ...]:
        return tuple(s for s in services if (s.port, s.protocol) != (pool.probe.port, "tcp"))

    changed = tuple(
        msgspec.structs.replace(vm, services=without(vm.services)) if vm.name in names else vm
        for vm in network.virtual_machines
    )
    return msgspec.structs.replace(network, virtual_machines=changed)


def _frontend(pool: Pool, rule: LoadBalancingRule) -> tuple[str, int]:
    return str(pool.lb.frontend(rule.frontend).address), rule.frontend_port


def _ask(client: InternetHost, pool: Pool, rule: LoadBalancingRule, count: int, **more: Any) -> Ask:
    address, port = _frontend(pool, rule)
    return Ask(client=client.name, address=address, port=port, kind="tcp", count=count, **more)


def _keep(client: InternetHost, pool: Pool, rule: LoadBalancingRule) -> OpenFlows:
    address, port = _frontend(pool, rule)
    return OpenFlows(client=client.name, address=address, port=port, kind=rule.protocol, count=_CONVERSATIONS)


def _nodes(found: Answers) -> list[str]:
    return sorted({answer.node for answer in found.answers if answer.node})


def _not_down(known: Members, keys: Sequence[str]) -> str:
    """Return what contradicts that members are down, "" if nothing does."""
    still = [key for key in keys if key not in known.down]
    return f"the probe of {', '.join(still)} succeeds" if still else ""


def _not_up(known: Members, keys: Sequence[str]) -> str:
    lost = [f"{key} ({known.down.get(key, 'not probed')})" for key in keys if key not in known.up]
    return f"the probe of {', '.join(lost)} fails" if lost else ""


def _told(known: Members, keys: Sequence[str]) -> str:
    return "; ".join(f"{key}: {known.down.get(key, 'up')}" for key in keys)


def _interval_s(network: Network, probe: HealthProbe) -> int:
    default = 15 if before(network, "2023-10") else 5
    return default if probe.interval_s is None else probe.interval_s


def _hear(network: Network, pool: Pool, vm: VirtualMachine, connections: int) -> CaptureConnections:
    interval_s = scaled(network, _interval_s(network, pool.probe))
    timeout_s = scaled(network, 31) if pool.probe.protocol == "Http" else 0.0
    deadline_s = 2 * (connections + 1) * interval_s + timeout_s + _PATIENCE_S
    return CaptureConnections(node=vm.name, port=pool.probe.port, connections=connections, deadline_s=deadline_s)


def _unheard(heard: Heard) -> str:
    """Return what contradicts that probes come, "" if nothing does."""
    return "" if heard.knocks else "no probe came"


def _deaf(heard: Heard) -> Finding | None:
    if not heard.control:
        return Finding(f"{len(heard.knocks)} connections", doubt="the control packet did not arrive")
    return None


# --- who asks, and whom -----------------------------------------------------------------------


def _one_of_each(found: list[Pool]) -> list[Pool]:
    """Return the first pool of each protocol of probes."""
    return list({pool.probe.protocol: pool for pool in reversed(found)}.values())[::-1]


@claim(
    "N-HP-1",
    f"{_2016}; {_2023}",
    "Every probe comes from 168.63.129.16; no virtual network may contain that address.",
    facts=("probes come from 168.63.129.16", "no virtual network contains that address"),
)
def probes_come_from_one_address(network: Network) -> Iterator[Trial]:
    for pool in _one_of_each(_healthy(network)):
        vm = pool.members[0]

        stage = Stage((_hear(network, pool, vm, 3),))
        yield Trial(f"{pool} of {vm.name}", f"probes from {PROBES} alone", (stage,), judge_by(_from_the_platform_alone))
        if pool == _one_of_each(_healthy(network))[0]:
            yield refused(_COVERED, "a virtual network with that address", f"overlaps {PROBES}")


def _from_the_platform_alone(heard: Heard) -> Finding:
    found = sorted({knock.source for knock in heard.knocks})
    observed = f"{len(heard.knocks)} probes from {', '.join(found) or 'nowhere'}"
    others = [source for source in found if source != PROBES]
    if others:
        return Finding(observed, f"probes come from {', '.join(others)}")
    return _deaf(heard) or Finding(observed, _unheard(heard))


_COVERED = """\
name: covered
virtual_networks: {v: {address_space: [168.63.0.0/16], subnets: {s: 168.63.0.0/24}}}
"""


@claim(
    "N-HP-12",
    "load-balancer-multivip-overview.md (2016-08-11)",
    "A probe goes to the member's own address, not to a frontend's.",
    facts=("a probe goes to the member's own address",),
)
def probe_goes_to_the_members_own_address(network: Network) -> Iterator[Trial]:
    for pool in _one_of_each(_healthy(network)):
        vm = pool.members[0]
        own = str(vm.private_ip_address)

        stage = Stage((_hear(network, pool, vm, 3),))
        yield Trial(
            f"{pool} of {vm.name}",
            f"probes to {own}, no frontend",
            (stage,),
            judge_by(partial(_to_its_own_address, own=own)),
        )


def _to_its_own_address(heard: Heard, *, own: str) -> Finding:
    found = sorted({knock.destination for knock in heard.knocks})
    observed = f"{len(heard.knocks)} probes to {', '.join(found) or 'nobody'}"
    others = [destination for destination in found if destination != own]
    if others:
        return Finding(observed, f"probes are sent to {', '.join(others)}")
    return _deaf(heard) or Finding(observed, _unheard(heard))


# --- what is healthy --------------------------------------------------------------------------


def _default_interval(network: Network, default_s: int) -> Iterator[Trial]:
    """Yield that a probe whose file names no interval comes as often as the document says."""
    wanted_s = scaled(network, default_s)
    for pool in pools(network):
        vm = pool.members[0]
        alone = [p for p in pools(network) if vm in p.members and p.probe.port == pool.probe.port]
        asked_s = min(_interval_s(network, p.probe) for p in alone)
        if pool.probe.interval_s is not None or asked_s != default_s or len(alone) != 1:
            continue  # several probes of one port are not told apart

        stage = Stage((_hear(network, pool, vm, 6),))
        expected = f"a probe every {wanted_s:g} s, {default_s} s of the document"
        yield Trial(
            f"{pool} of {vm.name}, interval", expected, (stage,), judge_by(partial(_probed_every, wanted_s=wanted_s))
        )
        return


def _probed_every(heard: Heard, *, wanted_s: float) -> Finding:
    times = [knock.began for knock in heard.knocks if knock.source == PROBES]
    if len(times) < 3:
        observed = f"{len(times)} probes"
        return _deaf(heard) or Finding(observed, "probes did not come again and again")
    # The one in the middle: a busy machine may send one late, and the next one in time.
    gap_s = sorted(after - before for before, after in pairwise(times))[(len(times) - 1) // 2]
    observed = f"{len(times)} probes, one in {gap_s:.2f} s"
    right = wanted_s / 1.5 < gap_s < wanted_s * 1.5
    return Finding(observed, "" if right else f"probes come every {gap_s:.2f} s instead of {wanted_s:g} s")


def _http_timeout(network: Network, timeout_s: int) -> Iterator[Trial]:
    """Yield that an HTTP probe which is not answered is given up when the document says."""
    wanted_s = scaled(network, timeout_s)
    for pool in pools(network):
        vm = pool.members[0]
        sharing = [p for p in pools(network) if vm in p.members and p.probe.port == pool.probe.port]
        silent = pool.probe.protocol == "Http" and pool.probe.request_path == "/silence"
        if not silent or len(sharing) != 1 or not _serves(vm, pool.probe.port, "http"):
            continue

        stage = Stage((_hear(network, pool, vm, 3),))
        expected = f"given up after {wanted_s:.2f} s, {timeout_s} s of the document"
        yield Trial(
            f"{pool} of {vm.name}, timeout", expected, (stage,), judge_by(partial(_waited_for, wanted_s=wanted_s))
        )
        return


def _waited_for(heard: Heard, *, wanted_s: float) -> Finding:
    times = sorted(k.ended - k.began for k in heard.knocks if k.ended is not None)
    if not times:
        return _deaf(heard) or Finding("no probe ended", "probes that nobody answers are not given up")
    middle_s = times[len(times) // 2]
    right = wanted_s / 1.25 < middle_s < wanted_s * 1.5
    observed = f"{len(times)} probes given up after {middle_s:.2f} s"
    return Finding(observed, "" if right else f"{observed} instead of {wanted_s:.2f} s")


def _statuses(network: Network) -> Iterator[Trial]:
    """Yield that an answer of 200 makes a member healthy, and no other."""
    found = [p for p in pools(network) if p.probe.protocol == "Http" and _serves(p.members[0], p.probe.port, "http")]
    well = [p.key(p.members[0]) for p in found if _answers_well(p, p.members[0])]
    badly = [p.key(p.members[0]) for p in found if not _answers_well(p, p.members[0])]
    if not well or not badly:
        return

    expected = f"up: {', '.join(well)}; down: {', '.join(badly)}"
    stage = Stage((Health(up=tuple(well), down=tuple(badly)),))
    yield Trial("answers over HTTP", expected, (stage,), judge_by(partial(_up_by_200_alone, well=well, badly=badly)))


def _up_by_200_alone(known: Members, *, well: list[str], badly: list[str]) -> Finding:
    return Finding(_told(known, [*well, *badly]), _not_up(known, well) or _not_down(known, badly))


_OVER_TLS = """\
name: tls
load_balancers:
  lb: {frontend_ip_configurations: {f: 192.0.2.1}, probes: {p: {protocol: Https, port: 443}}}
"""


@claim(
    "N-HP-2",
    f"{_2016}; {_2018}",
    "HTTP: 200 is healthy, and nothing else is; any other answer, a reset, or silence past the timeout is a "
    "failure. A Basic load balancer has no HTTPS probe.",
    facts=(
        "a status of 200 is healthy",
        "another status is not",
        "an answer is awaited for 31 seconds",
        "the default interval is 15 seconds",
        "another answer marks a member down at once since 2018-09",
        "another answer counts as a failure in 2016",
        "there is no HTTPS probe of a Basic load balancer",
    ),
)
def http_probe_needs_a_200(network: Network) -> Iterator[Trial]:
    trials = [
        *_statuses(network),
        *_http_timeout(network, 31 if before(network, "2023-10") else 30),
    ]
    yield from trials
    if before(network, "2023-10"):
        yield from _default_interval(network, 15)
    for pool in [p for p in _healthy(network) if p.probe.protocol == "Http"][:1]:
        at_once = not before(network, "2018-09")
        yield _turning(network, pool, 1 if at_once else pool.probe.number_of_probes, None)
    if trials:
        yield refused(_OVER_TLS, "a probe over HTTPS of a Basic load balancer", "Https")


@claim(
    "N-HP-6",
    _2023,
    "Since 2023 the default interval is 5 seconds, the HTTP timeout 30, and some ports are refused to HTTP probes.",
    facts=(
        "the default interval is 5 seconds since 2023",
        "the HTTP timeout is 30 seconds since 2023",
        "HTTP probes of some ports are refused",
        "TCP probes of these ports are not",
    ),
)
def defaults_since_2023(network: Network) -> Iterator[Trial]:
    if before(network, "2023-10"):
        return
    yield from _default_interval(network, 5)
    yield from _http_timeout(network, 30)
    if pools(network):
        yield _refused_ports(network)


_NO_HTTP = (19, 21, 25, 70, 110, 119, 143, 220, 993)


def _refused_ports(network: Network) -> Trial:
    def text(protocol: str) -> str:
        probes = ", ".join(f"p{port}: {{protocol: {protocol}, port: {port}}}" for port in _NO_HTTP)
        head = f"name: ports\nprofile: {network.profile.name}\n"
        return f"{head}load_balancers: {{lb: {{frontend_ip_configurations: {{f: 192.0.2.1}}, probes: {{{probes}}}}}}}\n"

    files = (CheckFile(text=text("Http")), CheckFile(text=text("Tcp")))
    expected = f"HTTP probes of {', '.join(map(str, _NO_HTTP))} refused, TCP probes not"
    return Trial("ports of HTTP probes", expected, (Stage(files),), judge_by(_ports_refused))


def _ports_refused(over_http: Checked, over_tcp: Checked) -> Finding:
    let = [str(port) for port in _NO_HTTP if over_http.status != 2 or f"p{port}.port" not in over_http.said]
    observed = f"HTTP: exit {over_http.status}; TCP: exit {over_tcp.status}"
    if let:
        return Finding(observed, f"an HTTP probe of port {', '.join(let)} was not refused")
    return Finding(observed, "" if over_tcp.status == 0 else f"a TCP probe was refused: {over_tcp.said}")


@claim(
    "N-HP-3",
    f"{_2018}",
    "TCP: a probe opens a connection with three packets and closes it with four; intervals and counts have minima, "
    "and a product in 2018.",
    facts=(
        "a probe closes its connection with a FIN",
        "the shortest interval is 5 seconds",
        "the smallest count is 2",
        "interval times count is at most 120 seconds in 2018",
    ),
)
def tcp_probe_opens_and_closes(network: Network) -> Iterator[Trial]:
    for pool in [p for p in _healthy(network) if p.probe.protocol == "Tcp"][:1]:
        vm = pool.members[0]

        stage = Stage((_hear(network, pool, vm, 3),))
        expected = "each probe opens a connection and closes it, FIN and ACK of both sides"
        yield Trial(f"{pool} of {vm.name}", expected, (stage,), judge_by(_opened_and_closed))
        for values, words in _limits(network):
            text = _LIMITS.format(profile=network.profile.name, values=values)
            yield refused(text, f"a probe with {values}", words)


def _opened_and_closed(heard: Heard) -> Finding:
    whole = [k for k in heard.knocks[:-1] if k.answer == "open"]  # the last one may not be over
    resets = [k for k in whole if k.how == "reset"]
    closed = [k for k in whole if k.closed and k.how == "fin"]
    observed = f"{len(heard.knocks)} probes, {len(closed)} opened and closed by both sides"
    if resets:
        return Finding(observed, f"{len(resets)} probes end with a reset")
    if not whole or len(closed) < len(whole):
        return _deaf(heard) or Finding(observed, "probes are not opened and closed by both sides")
    return Finding(observed)


_LIMITS = """\
name: limits
profile: {profile}
load_balancers: {{lb: {{frontend_ip_configurations: {{f: 192.0.2.1}}, probes: {{p: {{port: 80, {values}}}}}}}}}
"""


def _limits(network: Network) -> Iterator[tuple[str, str]]:
    yield "interval_in_seconds: 4", "the shortest interval is 5 s"
    yield "number_of_probes: 1", "the smallest count is 2"
    if not before(network, "2018-09") and before(network, "2023-10"):
        yield "interval_in_seconds: 61", "interval times count is at most 120 s"


# --- how many results it takes ----------------------------------------------------------------


@claim(
    "N-HP-4",
    f"{_2016}; {_2023}",
    "A member goes down, and one that was taken out comes back, by as many results in a row as its probe says; "
    "by one since 2023.",
    facts=(
        "so many failures in a row take a member out",
        "so many successes in a row bring it back",
        "one failure takes it out since 2023",
        "one success brings it back since 2023",
        "members of a set have one probe",
    ),
)
def member_turns_by_results_in_a_row(network: Network) -> Iterator[Trial]:
    for pool in [p for p in _healthy(network) if p.probe.protocol == "Tcp"][:1]:
        needed = pool.probe.number_of_probes if before(network, "2023-10") else 1
        yield _turning(network, pool, needed, needed)


def _turning(network: Network, pool: Pool, failures: int, successes: int | None) -> Trial:
    """Return a trial of a member that stops answering, and begins again: how many probes that takes, as it saw them."""
    vm = pool.members[0]
    key = pool.key(vm)
    stages = (
        Stage((Health(up=(key,)), Listen(node=vm.name, port=pool.probe.port))),
        Stage((Health(down=(key,)),), _ended(network, pool, vm)),
        Stage((Health(up=(key,)), _hear(network, pool, vm, 0))),
    )

    expected = f"down by failure {failures} in a row" + (f", back by success {successes}" if successes else "")
    return Trial(
        f"{pool} of {vm.name}",
        expected,
        stages,
        judge_by(partial(_turned_after, key=key, failures=failures, successes=successes)),
    )


def _turned_after(
    well: Members,
    _1: Listening,
    out: Members,
    back: Members,
    heard: Heard,
    *,
    key: str,
    failures: int,
    successes: int | None,
) -> Finding:
    if key not in well.up:
        return Finding(_told(well, (key,)), doubt=f"{key} is down before anything was done")
    if wrong := _not_down(out, (key,)):
        return Finding(_told(out, (key,)), f"{wrong}, although nothing listens there")
    if wrong := _not_up(back, (key,)):
        return Finding(_told(back, (key,)), f"{wrong}, although it is answered again")
    lost = _run_before(heard.knocks, out.since[key], well=False)
    won = _run_before(heard.knocks, back.since[key], well=True)
    observed = f"down by failure {_count(lost)} in a row, back by success {_count(won)}"
    if failures not in lost:
        wrong = f"{_count(lost)} failures in a row took it out instead of {failures}"
    elif successes is not None and successes not in won:
        wrong = f"{_count(won)} successes in a row brought it back instead of {successes}"
    return _deaf(heard) or Finding(observed, wrong)


def _run_before(knocks: Sequence[ObservedConnection], when_s: float, *, well: bool) -> range:
    """Return how many connections of one kind in a row were the last ones to begin before a time.

    Several numbers where one of them was opened and then reset by the VM, as its server ended: who asked may have
    seen the one or the other.
    """
    least, most = 0, 0
    doubtful = False
    for knock in [k for k in knocks if k.began <= when_s][::-1]:
        if knock.cut:
            doubtful = True
        elif (knock.answer == "open") != well:
            break
        most += 1
        least += not doubtful
    return range(least, most + 1)


def _count(run: range) -> str:
    return " or ".join(map(str, run))


# --- what becomes of flows --------------------------------------------------------------------


@claim(
    "N-HP-7",
    f"{_2018}",
    "A member that is down receives no new flows, and is probed on.",
    facts=("a member that is down is sent no new flow", "it is probed on"),
)
def member_that_is_down_gets_no_new_flows(network: Network) -> Iterator[Trial]:
    for client, pool, rule in _several(network)[:1]:
        vm = pool.members[0]
        key = pool.key(vm)
        after = (Health(down=(key,)), _ask(client, pool, rule, _CONVERSATIONS), _hear(network, pool, vm, 3))

        expected = f"{vm.name} is sent no new flow, and asked on"
        yield Trial(
            f"{pool}",
            expected,
            (Stage(after, _ended(network, pool, vm)),),
            judge_by(partial(_no_flow_but_probes, key=key, vm=vm)),
        )


def _no_flow_but_probes(known: Members, found: Answers, heard: Heard, *, key: str, vm: VirtualMachine) -> Finding:
    nodes = _nodes(found)
    observed = f"{_told(known, (key,))}; {outcomes(found)}, by {', '.join(nodes) or 'nobody'}; "
    observed += f"{len(heard.knocks)} probes"
    if wrong := _not_down(known, (key,)):
        return Finding(observed, wrong)
    if vm.name in nodes:
        return Finding(observed, f"new flows went to {vm.name}")
    if not nodes:
        return Finding(observed, doubt="no other member of the pool answers either")
    return _deaf(heard) or Finding(observed, _unheard(heard))


def _several(network: Network) -> list[tuple[InternetHost, Pool, LoadBalancingRule]]:
    return [found for found in _asked(network) if len(found[1].members) > 1]


def _control(network: Network, pool: Pool) -> Ask | None:
    """Return a question to another load balancer's members that must be answered whatever becomes of a pool."""
    others = [found for found in _asked(network) if found[1].lb != pool.lb]
    return _ask(*others[0], 3) if others else None


@claim(
    "N-HP-8",
    f"{_2018}",
    "New flows go to healthy members only; where all are down, a frontend does not answer, not even with a reset.",
    facts=("with all members down a frontend is silent",),
)
def frontend_is_silent_without_members(network: Network) -> Iterator[Trial]:
    for client, pool, rule in _asked(network):
        control = _control(network, pool)
        if control is None:
            continue
        silent = _ask(client, pool, rule, 3, timeout_s=SILENCE_S)
        stage = Stage((Health(down=pool.keys), silent, control), _ended(network, pool, *pool.members))

        expected = "no answer and no reset, while another frontend answers"
        yield Trial(f"{pool}, all down", expected, (stage,), judge_by(partial(_silent_without_members, pool=pool)))
        return


def _silent_without_members(known: Members, found: Answers, others: Answers, *, pool: Pool) -> Finding:
    observed = f"{_told(known, pool.keys)}; {outcomes(found)}; another frontend: {outcomes(others)}"
    if wrong := _not_down(known, pool.keys):
        return Finding(observed, wrong)
    if any(answer.outcome != "timeout" for answer in found.answers):
        return Finding(observed, f"a frontend whose members are all down is not silent: {outcomes(found)}")
    return _unreached(others, observed) or Finding(observed)


def _unreached(control: Answers, observed: str) -> Finding | None:
    if any(answer.outcome != "answered" for answer in control.answers):
        return Finding(observed, doubt="the other frontend does not answer either")
    return None


@claim(
    "N-HP-9",
    f"{_2018}",
    "When one member is down its established TCP flows continue; UDP flows may move to another member.",
    facts=("TCP flows of a member that is down go on", "UDP flows go on there or elsewhere"),
)
def established_flows_outlive_their_member(network: Network) -> Iterator[Trial]:
    for client, pool, rule in _several(network):
        datagrams = pool.to("udp")
        if datagrams is None:
            continue
        vm = pool.members[0]
        key, kept = pool.key(vm), (_keep(client, pool, rule), _keep(client, pool, datagrams))
        resumed = tuple(ReuseFlows(kept=one) for one in kept)
        stages = (
            Stage((Health(up=pool.keys), *kept)),
            Stage((Health(down=(key,)), *resumed), _ended(network, pool, vm)),
        )

        expected = f"TCP flows at {vm.name} go on when it is down; UDP flows go on, there or elsewhere"
        yield Trial(f"{pool}", expected, stages, judge_by(partial(_flows_went_on, key=key, vm=vm)))
        return


def _flows_went_on(
    _0: Members,
    streams: Answers,
    datagrams: Answers,
    known: Members,
    streams_after: Answers,
    datagrams_after: Answers,
    *,
    key: str,
    vm: VirtualMachine,
) -> Finding:
    mine = [after for one, after in _both(streams, streams_after) if one.node == vm.name]
    of_mine = [after for one, after in _both(datagrams, datagrams_after) if one.node == vm.name]
    moved = sum(after.node not in ("", vm.name) for after in of_mine)
    observed = (
        f"{_told(known, (key,))}; TCP at {vm.name}: {len(mine)}, {_alive(mine, vm.name)} go on; "
        f"UDP: {len(of_mine)}, {moved} moved"
    )
    if not mine or not of_mine:
        return Finding(observed, doubt=f"no flow came to {vm.name} before it was down")
    if wrong := _not_down(known, (key,)):
        return Finding(observed, wrong)
    if _alive(mine, vm.name) < len(mine):
        return Finding(observed, f"{len(mine) - _alive(mine, vm.name)} TCP flows ended with their member's probe")
    lost = sum(not after.node for after in of_mine)
    return Finding(observed, f"{lost} UDP flows neither stayed nor moved" if lost else "")


def _both(before: Answers, after: Answers) -> list[tuple[Answer, Answer]]:
    return list(zip(before.answers, after.answers, strict=True))


def _alive(found: Sequence[Answer], node: str) -> int:
    return sum(answer.node == node for answer in found)


@claim(
    "N-HP-10",
    f"{_2018}; {_2023}",
    "When all members are down, a Basic load balancer ends all TCP flows, a Standard one keeps those that are "
    "established (since 2023: if the pool has more than one member); UDP flows end on both.",
    facts=(
        "a Basic load balancer ends TCP flows when all are down",
        "a Standard one keeps them",
        "since 2023 only in a pool of several members",
        "UDP flows end",
    ),
)
def flows_when_all_members_are_down(network: Network) -> Iterator[Trial]:
    for client, pool, rule in _asked(network):
        datagrams, control = pool.to("udp"), _control(network, pool)
        if datagrams is None or control is None:
            continue
        several = len(pool.members) > 1
        goes_on = pool.lb.sku == "Standard" and (several or before(network, "2023-10"))
        kept = (_keep(client, pool, rule), _keep(client, pool, datagrams))
        # What goes on is given time to answer; what has ended only needs to be heard of no more.
        resumed = (
            ReuseFlows(kept=kept[0], **({} if goes_on else {"timeout_s": SILENCE_S})),
            ReuseFlows(kept=kept[1], timeout_s=SILENCE_S),
        )
        stages = (
            Stage((Health(up=pool.keys), *kept)),
            Stage((Health(down=pool.keys), *resumed, control), _ended(network, pool, *pool.members)),
        )

        what = f"{pool.lb.sku}, {len(pool.members)} members" if several else f"{pool.lb.sku}, one member"
        expected = f"TCP flows {'go on' if goes_on else 'end'}, UDP flows end"
        yield Trial(
            f"{pool} ({what})", expected, stages, judge_by(partial(_flows_ended_as_stated, pool=pool, goes_on=goes_on))
        )


def _flows_ended_as_stated(
    _0: Members,
    streams: Answers,
    datagrams: Answers,
    known: Members,
    streams_after: Answers,
    datagrams_after: Answers,
    others: Answers,
    *,
    pool: Pool,
    goes_on: bool,
) -> Finding:
    alive = sum(one.node == after.node != "" for one, after in _both(streams, streams_after))
    talking = sum(after.node != "" for after in datagrams_after.answers)
    opened = sum(answer.node != "" for answer in streams.answers)
    observed = (
        f"{_told(known, pool.keys)}; TCP: {alive} of {opened} go on; "
        f"UDP: {talking} of {sum(a.node != '' for a in datagrams.answers)}"
    )
    if opened < len(streams.answers) or not all(a.node for a in datagrams.answers):
        return Finding(observed, doubt="flows were not answered before anything was done")
    if wrong := _not_down(known, pool.keys):
        return Finding(observed, wrong)
    if goes_on and alive < opened:
        return Finding(observed, f"{opened - alive} TCP flows ended")
    if not goes_on and alive:
        return Finding(observed, f"{alive} TCP flows go on")
    if talking:
        return Finding(observed, f"{talking} UDP flows go on")
    return _unreached(others, observed) or Finding(observed)


@claim(
    "N-HP-11",
    _2023,
    "Outbound flows are unaffected by what probes say.",
    facts=("outbound flows have the frontend's address when the probe fails",),
)
def outbound_is_unaffected_by_probes(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for pool in _healthy(network)[:1]:
        vm = pool.members[0]
        way, key = way_out(network, vm, "tcp"), pool.key(vm)
        if far is None or way.kind != "frontend":
            continue
        sent = send(network, vm, far)
        stages = (
            Stage((Health(up=(key,)), sent)),
            Stage((Health(down=(key,)), sent), _ended(network, pool, vm)),
        )

        yield Trial(
            f"{vm.name}",
            f"source {way}, up and down",
            stages,
            judge_by(partial(_source_up_and_down, key=key, way=way, network=network)),
        )


def _source_up_and_down(
    _0: Members, well: Arrivals, known: Members, ill: Arrivals, *, key: str, way: WayOut, network: Network
) -> Finding:
    observed = f"up: {arrived(well)}; {_told(known, (key,))}: {arrived(ill)}"
    if wrong := wrong_source(network, way, well):
        return Finding(observed, f"while it is up: {wrong}")
    return Finding(observed, _not_down(known, (key,)) or wrong_source(network, way, ill))


# --- groups -----------------------------------------------------------------------------------


def _grouped(network: Network) -> list[tuple[Pool, VirtualMachine]]:
    """Return healthy pools with a member whose group can shut its probe out, and no other member's."""
    if not before(network, "2025-07"):
        return []
    return [
        (pool, vm)
        for pool in _healthy(network)
        for vm in pool.members
        if groups(network, vm) and not any(groups(network, other) for other in pool.members if other != vm)
    ]


def _shut_out(network: Network, pool: Pool, vm: VirtualMachine) -> Network:
    """Return the network in which a group of a VM denies what comes from where probes come from."""
    name = next(iter(groups(network, vm).values()))
    deny = SecurityRule(
        name="no-probes",
        priority=min([r.priority for g in network.network_security_groups for r in g.rules], default=200) + 1,
        direction="Inbound",
        access="Deny",
        protocol="Tcp",
        sources=("AzureLoadBalancer",),
        destination_ports=(PortRange(pool.probe.port, pool.probe.port),),
    )
    changed = tuple(
        SecurityGroup(name=g.name, rules=(*g.rules, deny)) if g.name == name else g
        for g in network.network_security_groups
    )
    return msgspec.structs.replace(network, network_security_groups=changed)


@claim(
    "N-HP-13",
    f"{_2018}",
    "A security rule that denies the probe's source or port marks a member down: a way to simulate failure.",
    facts=("a group that denies the probe marks the member down",),
)
def rule_that_denies_probes_marks_down(network: Network) -> Iterator[Trial]:
    for pool, vm in _grouped(network)[:1]:
        key = pool.key(vm)
        stages = (
            Stage((Health(up=pool.keys),)),
            Stage((Health(down=(key,)),), _shut_out(network, pool, vm)),
            Stage((Health(up=(key,)),)),
        )

        expected = f"{key} down while a group denies {PROBES} the probe's port"
        yield Trial(vm.name, expected, stages, judge_by(partial(_down_while_denied, key=key, pool=pool)))


def _down_while_denied(well: Members, denied: Members, back: Members, *, key: str, pool: Pool) -> Finding:
    observed = f"before: {_told(well, pool.keys)}; denied: {_told(denied, pool.keys)}; after: {_told(back, (key,))}"
    if _not_up(well, pool.keys):
        return Finding(observed, doubt="a member is down before anything was denied")
    wrong = _not_down(denied, (key,)) or _not_up(denied, [k for k in pool.keys if k != key])
    return Finding(observed, wrong or _not_up(back, (key,)))


def blocked(network: Network) -> Iterator[Trial]:
    """Yield the half of S2-16 that is about the load balancer: what is logged, and what becomes of flows."""
    for pool, vm in _grouped(network):
        found = [(client, rule) for client, other, rule in _several(network) if other == pool]
        if not found or pool.lb.sku != "Basic":
            continue
        (client, rule), key = found[0], pool.key(vm)
        kept = _keep(client, pool, rule)
        log = ProbeLog(records=1, deadline_s=4 * scaled(network, 60) + _PATIENCE_S)
        after = (Health(down=(key,)), ReuseFlows(kept=kept), _ask(client, pool, rule, _CONVERSATIONS), log)
        stages = (Stage((Health(up=pool.keys), log, kept)), Stage(after, _shut_out(network, pool, vm)))
        at = _frontend(pool, rule)

        expected = f"{vm.name} down, dipDownCount one more, no new flow to it; established ones go on"
        yield Trial(
            f"{pool} of {vm.name}",
            expected,
            stages,
            judge_by(partial(_marked_down_and_passed_by, key=key, vm=vm, at=at)),
        )
        return


def _marked_down_and_passed_by(
    _0: Members,
    logged: Logged,
    opened: Answers,
    known: Members,
    resumed: Answers,
    new: Answers,
    logged_after: Logged,
    *,
    key: str,
    vm: VirtualMachine,
    at: tuple[str, int],
) -> Finding:
    mine = [later for one, later in _both(opened, resumed) if one.node == vm.name]
    counts = [_counted_down(text, at) for text in (logged, logged_after)]
    nodes = _nodes(new)
    observed = (
        f"{_told(known, (key,))}; dipDownCount {counts[0]}, then {counts[1]}; "
        f"new flows by {', '.join(nodes) or 'nobody'}; {_alive(mine, vm.name)} of {len(mine)} flows go on"
    )
    if not mine:
        return Finding(observed, doubt=f"no flow came to {vm.name} before it was blocked")
    wrong = _not_down(known, (key,))
    if not wrong and not nodes:
        return Finding(observed, doubt="no other member of the pool answers either")
    if not wrong and vm.name in nodes:
        wrong = f"new flows went to {vm.name}"
    if not wrong and _alive(mine, vm.name) < len(mine):
        wrong = f"{len(mine) - _alive(mine, vm.name)} established flows ended"
    if not wrong and (counts[0] is None or counts[1] != counts[0] + 1):
        wrong = f"dipDownCount went from {counts[0]} to {counts[1]}"
    return Finding(observed, wrong)


def _counted_down(logged: Logged, at: tuple[str, int]) -> int | None:
    """Return the last dipDownCount of a frontend's port."""
    found = [
        record["properties"]["dipDownCount"]
        for record in probe_records(logged.text)
        if (record["properties"]["publicIpAddress"], record["properties"]["port"]) == (at[0], str(at[1]))
    ]
    return found[-1] if found else None


# --- rules without a probe --------------------------------------------------------------------

_NO_PROBE = """\
name: no-probe
profile: {profile}
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{public: 192.0.2.1}}
    backend_address_pools: {{pool: [vm]}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, protocol: Tcp, frontend_port: 80, backend_port: 80}}
"""


@claim(
    "N-HP-14",
    _2023,
    "Only the portal insists on a probe: a rule without one is accepted, and its members always count as up.",
    facts=(
        "a rule without a probe is accepted",
        "its members count as up",
        "the portal of 2018 insists on a probe",
    ),
)
def only_the_portal_insists_on_a_probe(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    if before(network, "2023-10") or client is None:
        return
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            members = [vm for vm in network.virtual_machines if vm.name in lb.pool(rule.backend_pool).members]
            idle = [vm.name for vm in members if not _listens(vm, rule.backend_port)]
            reached = all(_let_in(network, vm, str(client.address), "tcp", rule.backend_port) for vm in members)
            if (
                rule.probe is not None
                or rule.protocol != "tcp"
                or not reached
                or len(idle) not in range(1, len(members))
            ):
                continue
            ask = Ask(
                client=client.name,
                address=str(lb.frontend(rule.frontend).address),
                port=rule.frontend_port,
                kind="connect",
                count=_CONVERSATIONS,
            )

            expected = f"new flows go to {', '.join(idle)} too, where nobody listens"
            yield Trial(
                f"{lb.name}/{rule.name}", expected, (Stage((ask,)),), judge_by(partial(_counted_as_up, idle=idle))
            )
            yield _accepted(network)
            text = _NO_PROBE.format(profile="2018-12")
            yield refused(text, "a rule without a probe, as in the portal of 2018", "no probe")
            return


def _counted_as_up(*observations: Answers, idle: Sequence[str]) -> Finding:
    found = {answer.outcome for answer in observations[0].answers}
    wrong = f"no new flow went to {', '.join(idle)}" if "refused" not in found else ""
    if "answered" not in found:
        wrong = "no new flow went to a member that listens"
    return Finding(outcomes(observations[0]), wrong)


_HEALTH_KEYS = [
    *("TimeGenerated", "HealthEventType", "Severity", "FrontendIP", "Description", "LoadBalancerResourceId"),
    "operationName",
]
_USAGE = 0.75  # of a VM's ports
_FEW_PORTS = 128  # more flows than this are held elsewhere


def _health_events(records: Sequence[dict[str, Any]], kind: str, severity: str, address: str) -> list[dict[str, Any]]:
    """Return the well-formed records of a kind about a frontend."""
    return [
        record
        for record in records
        if (record.get("HealthEventType"), record.get("Severity"), record.get("FrontendIP"))
        == (kind, severity, address)
        and [key for key in record if key != "lab"] == _HEALTH_KEYS
        and record["operationName"] == "LoadBalancerHealthEvent"
    ]


@claim(
    "N-ML-5",
    "load-balancer-health-event-logs.md (2024-05-21)",
    "Health events tell of SNAT ports that are exhausted, of more than 75 % of them in use, and of a frontend "
    "without a healthy member.",
    facts=(
        "more than 75 % of the ports is high usage",
        "high usage is a warning",
        "exhaustion is critical",
        "the last member that goes down is told",
        "no other member's going down is",
        "it has the keys of the document",
    ),
)
def health_events_tell_of_ports_and_members(network: Network) -> Iterator[Trial]:
    yield from _snat_events(network)
    events = Run(words=("events", "{lab}", "-o", "json"))
    for client, pool, rule in _asked(network)[:1]:
        address, _ = _frontend(pool, rule)
        silent = _ask(client, pool, rule, 1, timeout_s=SILENCE_S)
        one_left = _ended(network, pool, *pool.members[1:])
        stages = (
            Stage((Health(up=pool.keys), events)),
            Stage((Health(down=pool.keys[1:]), events), one_left),
            Stage((Health(down=pool.keys), silent, events), _ended(network, pool, *pool.members)),
        )

        expected = f"NoHealthyBackends, Critical, of {address} when its last member is down, and not before"
        yield Trial(
            f"{pool}, all down", expected, stages, judge_by(partial(_told_of_members, pool=pool, address=address))
        )


def _told_of_members(
    _0: Members,
    before: Checked,
    _2: Members,
    less: Checked,
    known: Members,
    found: Answers,
    after: Checked,
    *,
    pool: Pool,
    address: str,
) -> Finding:
    told = [
        len(_health_events(json.loads(done.said)["records"], "NoHealthyBackends", "Critical", address))
        for done in (before, less, after)
    ]
    observed = f"{_told(known, pool.keys)}; {outcomes(found)}; NoHealthyBackends: {told}"
    wrong = _not_down(known, pool.keys)
    if not wrong and told[1] > told[0]:
        wrong = "NoHealthyBackends is told while a member answers"
    return Finding(observed, wrong or ("" if told[2] > told[1] else "no NoHealthyBackends is told of the frontend"))


def _snat_events(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    found = [(vm, ports) for vm in sole_frontend(network) if (ports := ports_each(network, vm)) is not None]
    for vm, ports in [(vm, ports) for vm, ports in found if ports <= _FEW_PORTS][:1]:
        if not hosts or len(way_out(network, vm).addresses) != 1:
            continue
        goals, few = hosts[0][1][:1], 4
        (address,) = way_out(network, vm).addresses
        upto = int(ports * _USAGE)
        steps = (
            Pause(seconds=scaled(network, 300) + 0.1),  # whatever was told before is over
            *(ShowEvents(), kept(network, goals, upto), ShowEvents()),
            *(kept(network, goals, 1), ShowEvents()),
            *(kept(network, goals, ports - upto - 1), kept(network, goals, few, lost=few), ShowEvents()),
        )

        expected = f"HighSnatPortUsage with flow {upto + 1} of {ports}, SnatPortExhaustion with flow {ports + 1}"
        yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_told_of_ports, address=address))


def _told_of_ports(steps: Sequence[Happened], *, address: str) -> Finding:
    shown = [happened.records for happened in (steps[1], steps[3], steps[5], steps[8])]
    high, none = (
        [len(_health_events(records, *kind, address)) for records in shown]
        for kind in (("HighSnatPortUsage", "Warning"), ("SnatPortExhaustion", "Critical"))
    )
    observed = f"HighSnatPortUsage: {high}; SnatPortExhaustion: {none}"
    if high[1] > high[0] or none[2] > none[0]:
        return Finding(observed, "an event is told too early")
    if high[2] == high[1]:
        return Finding(observed, "high usage is not told")
    return Finding(observed, "" if none[3] > none[2] else "exhaustion is not told")


_LATER = """\
name: later
profile: 2018-12
load_balancers:
  lb:
    frontend_ip_configurations: {f: 192.0.2.1}
    probes: {p: {port: 80, probe_threshold: 2}, q: {port: 80, no_healthy_backends_behavior: AllProbedUp}}
"""


@claim(
    "N-HP-15",
    "Load Balancer Probes, REST API (2024-01-01)",
    "probeThreshold is how many results in a row take a member out and bring it back; with "
    "noHealthyBackendsBehavior AllProbedUp new flows go to all members where none answers.",
    facts=(
        "so many failures in a row take a member out",
        "so many successes in a row bring it back",
        "with AllProbedUp flows go to all members where none answers",
        "revisions before do not have it",
    ),
)
def threshold_and_all_probed_up(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for pool in _healthy(network, later=True):
        threshold, rule = pool.probe.threshold, pool.to("tcp")
        if threshold is None or client is None or rule is None:
            continue
        yield _turning(network, pool, threshold, threshold)
        asked = _ask(client, pool, rule, _CONVERSATIONS)
        stage = Stage((Health(down=pool.keys), asked), _ended(network, pool, *pool.members))

        if pool.probe.all_probed_up:
            yield Trial(
                f"{pool}, all down", "new flows to all members", (stage,), judge_by(partial(_all_answer, pool=pool))
            )
        words = ("probe_threshold in the revision 2018-12", "no_healthy_backends_behavior in the revision 2018-12")
        yield fits(_LATER, "these properties in 2018", *words)
        return


def _all_answer(known: Members, found: Answers, *, pool: Pool) -> Finding:
    idle = [vm.name for vm in pool.members if vm.name not in _nodes(found)]
    observed = f"{_told(known, pool.keys)}; {outcomes(found)}, by {', '.join(_nodes(found)) or 'nobody'}"
    wrong = _not_down(known, pool.keys)
    return Finding(observed, wrong or (f"no new flow went to {', '.join(idle)}" if idle else ""))


def _accepted(network: Network) -> Trial:

    file = CheckFile(text=_NO_PROBE.format(profile=network.profile.name))
    return Trial("a rule without a probe", "accepted, exit 0", (Stage((file,)),), judge_by(_file_accepted))


def _file_accepted(done: Checked) -> Finding:
    return Finding(f"exit {done.status}: {done.said}", "" if done.status == 0 else "a rule without a probe is refused")


CLAIMS = (
    probes_come_from_one_address,
    http_probe_needs_a_200,
    tcp_probe_opens_and_closes,
    member_turns_by_results_in_a_row,
    defaults_since_2023,
    member_that_is_down_gets_no_new_flows,
    frontend_is_silent_without_members,
    established_flows_outlive_their_member,
    flows_when_all_members_are_down,
    outbound_is_unaffected_by_probes,
    probe_goes_to_the_members_own_address,
    rule_that_denies_probes_marks_down,
    only_the_portal_insists_on_a_probe,
    threshold_and_all_probed_up,
    health_events_tell_of_ports_and_members,
)
