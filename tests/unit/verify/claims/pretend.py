"""Observations made by hand: what a faithful lab would let be seen, and ways to make it lie."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from lab import topology
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.errors import LabError
from lab.verify import claims
from lab.verify import experiment as ex
from lab.verify.claims import Trial
from lab.verify.verdict import Judgement

#: An address of the platform's choice: none of any topology.
DEFAULT = "192.0.2.254"

Lie = Callable[[ex.Experiment, Any], Any]


class Snat(msgspec.Struct, frozen=True, kw_only=True):
    """How a VM's flows are given ports, by figures that are written down where it is made. Times are real seconds.

    ``tcp`` and ``udp``: what makes a port unique. ``apart``: TCP and UDP do not share the ports. ``closing_s``:
    how long a port is held after FIN and after RST. ``blind``: nobody is told that the ports ran out.
    ``steady``: keepalives do not count as packets.
    """

    ports: int
    first: int = 1025
    address: str = "40.1.1.1"
    tcp: Literal["address", "destination", "nothing"] = "address"
    udp: Literal["address", "destination", "nothing"] = "address"
    apart: bool = False
    closing_s: tuple[float, float] = (0.0, 0.0)
    idle_s: float = 4.0
    lowest: bool = False
    hasty: bool = False  # tells of the end while there are ports left
    blind: bool = False
    steady: bool = False
    either: bool = True  # FIN of one side closes a flow


class _Flow:
    """A flow that was opened: the port that it has, and until when."""

    def __init__(self, goal: ex.Goal, port: int, now: float, keepalive_s: int) -> None:
        self.goal = goal
        self.port = port
        self.used = now
        self.keepalive_s = keepalive_s
        self.until: float | None = None  # closed: its port is held until then


class Holder:
    """Plays `Occupy` by a clock of its own: only pauses and flows that are not answered take time."""

    def __init__(self, snat: Snat) -> None:
        self._snat = snat
        self._now = 0.0
        self._flows: list[_Flow] = []  # that have a port
        self._held: list[_Flow] = []  # whose sockets are open
        self._peak = self._refused = 0
        self._records: list[dict[str, Any]] = []

    def do(self, step: ex.Step) -> ex.Happened:
        """Return what becomes of a step."""
        began = self._now
        return msgspec.structs.replace(self._do(step), began=began)

    def _do(self, step: ex.Step) -> ex.Happened:
        match step:
            case ex.Open():
                return self._try(step) if step.within_s else self._happened(self._open_all(step, step.count), 1.6)
            case ex.Talk(first=first):
                return self._happened([flow.port if self._say(flow) else None for flow in self._held[:first]], 1.6)
            case ex.End(count=count, how=how, side=side):
                ended, self._held = self._held[:count], self._held[count:]
                for flow in ended if side == "both" or self._snat.either else ():
                    flow.until = self._now + self._snat.closing_s[how == "rst"]
                return ex.Happened()
            case ex.Pause(seconds=seconds):
                self._now += seconds
                return ex.Happened()
            case ex.ShowPorts():
                return ex.Happened(used=(self._usage(),))
            case ex.ShowEvents():
                return ex.Happened(records=tuple(self._records))

    def _open_all(self, step: ex.Open, count: int) -> list[int | None]:
        opened = [self._open(step.goals[i % len(step.goals)], step.keepalive_s) for i in range(count)]
        return [flow.port if flow else None for flow in opened]

    def _try(self, step: ex.Open) -> ex.Happened:
        ports: list[tuple[int, float]] = []
        end = self._now + step.within_s
        while len(ports) < step.count and self._now <= end:
            found = self._open_all(step, step.count - len(ports))
            ports += [(port, self._now) for port in found if port is not None]
            self._now += 0.8 if None in found else 0.0
        return ex.Happened(
            answered=len(ports),
            silent=step.count - len(ports),
            seen=tuple(ex.Source(self._snat.address, port) for port, _ in ports),
            moments=tuple(moment for _, moment in ports),
        )

    def _alive(self, flow: _Flow) -> bool:
        kept = 0 < flow.keepalive_s < self._snat.idle_s and not self._snat.steady
        if flow.until is not None:
            return self._now < flow.until
        return kept or self._now < flow.used + self._snat.idle_s

    def _open(self, goal: ex.Goal, keepalive_s: int) -> _Flow | None:
        self._flows = [flow for flow in self._flows if self._alive(flow)]
        port = next(self._free(goal), None)
        if port is None:
            self._refused += 1
        if not self._snat.blind and (port is None or self._snat.hasty) and not self._records:
            self._records.append(alert(self._snat.address))
        if port is None:
            return None
        flow = _Flow(goal, port, self._now, keepalive_s)
        self._flows.append(flow)
        self._held.append(flow)
        return flow

    def _free(self, goal: ex.Goal) -> Iterator[int]:
        taken = {flow.port for flow in self._flows if self._scope(flow.goal) == self._scope(goal)}
        ports = range(self._snat.first, self._snat.first + self._snat.ports)
        return (port for port in (ports if self._snat.lowest else reversed(ports)) if port not in taken)

    def _scope(self, goal: ex.Goal) -> tuple[object, ...]:
        unique = self._snat.udp if goal.kind == "udp" else self._snat.tcp
        apart = goal.kind if self._snat.apart or unique == "destination" else ""
        return {"address": (apart, goal.address), "destination": (apart, goal.address, goal.port)}.get(unique, (apart,))

    def _say(self, flow: _Flow) -> bool:
        if not self._alive(flow):
            return False
        flow.used = self._now
        return True

    def _happened(self, ports: list[int | None], silence_s: float) -> ex.Happened:
        seen = tuple(ex.Source(self._snat.address, port) for port in ports if port is not None)
        if len(seen) < len(ports):
            self._now += silence_s
        return ex.Happened(answered=len(seen), silent=len(ports) - len(seen), seen=seen)

    def _usage(self) -> ex.Used:
        live = [flow for flow in self._flows if self._alive(flow)]
        return ex.Used(
            address=self._snat.address,
            protocol="tcp",
            allocated=self._snat.ports,
            ports=len({flow.port for flow in live}),
            flows=len(live),
            peak=len(live),
            refused=self._refused,
        )


def alert(address: str) -> dict[str, Any]:
    """Return the record of exhausted ports, as the documents print it."""
    return {
        "time": "2017-05-31T12:00:00.0000000Z",
        "systemId": "00000000-0000-0000-0000-000000000000",
        "category": "LoadBalancerAlertEvent",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.NETWORK/LOADBALANCERS/LB1",
        "operationName": "LoadBalancerProbeHealthStatus",
        "properties": {
            "eventName": "Resource Limits Hit",
            "eventDescription": "Ports exhausted",
            "eventProperties": {"public ip address": address},
        },
        "lab": "what the lab adds",
    }


#: As a group is listed, by the document of 2018-07-20.
_DEFAULT_RULES = (
    "AllowVnetInBound AllowAzureLoadBalancerInBound DenyAllInbound "
    "AllowVnetOutBound AllowInternetOutBound DenyAllOutBound"
)


class Lab:
    """A lab that behaves as the documents say; sources are written down, not computed.

    ``sources``: the addresses each VM may be seen with; a VM that is not in it leaves by ``DEFAULT``.
    ``own``: VMs with an address of their own. ``limits``: most flows of a VM to one port of one host; by the number
    of VMs in the pool: ``tiers``; ``told``: what `lab ports` says instead. ``down`` and ``up``: keys of members.
    ``snat``: how flows that are held are given ports; while a cloud service is being redeployed: ``busy``.
    ``each``: so many flows leave by one source before the next is used, None: all sources in turn.
    ``lost``: flows of a sweep that do not arrive, as patterns of ``sender destination protocol port``. ``names``:
    what the platform's resolver answers.
    """

    def __init__(
        self,
        sources: dict[str, Sequence[str]],
        *,
        own: Sequence[str] = (),
        limits: dict[str, int] | None = None,
        down: Sequence[str] = (),
        silent: Sequence[str] = (),
        snat: Snat | None = None,
        busy: Snat | None = None,
        tiers: dict[int, int] | None = None,
        told: int = 0,
        each: int | None = None,
        up: Sequence[str] = (),
        lost: Sequence[str] = (),
        names: dict[str, str] | None = None,
        answering: str = "",
    ) -> None:
        self.sources = sources
        self.own = own
        self.limits = limits or {}
        self.down = down
        self.silent = silent
        self.up = up
        self.lost = lost
        self.names = names or {}
        self.answering = answering
        self.snat = snat
        self.busy = busy
        self.tiers = tiers
        self.told = told
        self.each = each
        self._kept: dict[str, int] = {}  # ports of UDP flows that go on, by VM

    def do(self, what: ex.Experiment, network: Network | None = None) -> ex.Observation:  # noqa: PLR0911, PLR0912 - each kind
        bound = network is None or self.tiers is not None
        match what:
            case ex.Send():
                return self._send(what, bound=bound, limit=self._limit(what.sender, network))
            case ex.HoldFlows():
                return self._hold(what, network)
            case ex.Ask():
                # What a changed network denies is new flows, and those have no port of their own.
                denied = not bound and not what.source_port
                outcome = "timeout" if denied or what.address in self.silent else "answered"
                return ex.Answers(answers=(ex.Answer(outcome, self.answering),) * what.count)
            case ex.Sweep():
                return ex.Swept(passages=tuple(map(self._passage, what.flows)), deaf=())
            case ex.Login():
                peer = self._source(what.client, 0, bound=bound)
                return ex.AuthLog(lines=(f"Connection from {peer} port 2000",), peers=(peer,))
            case ex.Lookup():
                if what.name in self.names:
                    return ex.Names(addresses=(self.names[what.name],), said="")
                return ex.Names(addresses=(self._source(what.client, 0, bound=bound),), said="")
            case ex.Track():
                arrivals = self._send(what.send, bound=bound, limit=None)
                entries = tuple(ex.Entry(5, s.source, s.source_port) for s in arrivals.seen[-1])
                return ex.Tracked(before=(), after=entries, arrivals=arrivals)
            case ex.Return():
                source = self._source(what.send.sender, 0, bound=bound)
                return ex.Returned(source=source, source_port=2000, answered=True, intruded=False)
            case ex.Health():
                return ex.Members(up=tuple(self.up), down=dict.fromkeys(self.down, "no answer"))
            case ex.Counted():
                return ex.PublicAddresses(addresses=tuple(a for found in self.sources.values() for a in found))
            case ex.CheckFile():
                return checked(what.text)
            case ex.Run():
                if "remove" in what.words:
                    return ex.Checked(status=2, said="a default rule cannot be removed")
                return ex.Checked(status=0, said=_DEFAULT_RULES)

    def _hold(self, what: ex.HoldFlows, network: Network | None) -> ex.Occupied:
        self._kept.clear()
        redeploying = network is not None and any(s.redeploying for s in network.cloud_services)
        snat = self.busy if redeploying and self.busy else self.snat
        if snat is None:
            return ex.Occupied(steps=())
        if self.tiers is not None and network is not None:
            told = self.tiers[len(network.load_balancers[0].pools[0].members)]
            snat = msgspec.structs.replace(snat, ports=self.told or told)
        if self.sources and what.client not in self.sources:
            snat = msgspec.structs.replace(snat, address=DEFAULT)
        holder = Holder(snat)
        return ex.Occupied(steps=tuple(holder.do(step) for step in what.steps))

    def _passage(self, flow: ex.Flow) -> ex.FlowResult:
        words = f"{flow.sender} {flow.destination} {flow.protocol} {flow.port}"
        lost = any(fnmatchcase(words, pattern) for pattern in self.lost)
        return ex.FlowResult(passed=True, end="" if lost else flow.ends[0].name)

    def forget(self) -> None:
        """Be as a lab that has just come up."""
        self._kept.clear()

    def _limit(self, vm: str, network: Network | None) -> int | None:
        if self.tiers is None:
            return self.limits.get(vm)
        return self.tiers[len(network.load_balancers[0].pools[0].members)] if network else None

    def _source(self, vm: str, number: int, *, bound: bool) -> str:
        found = self.sources.get(vm, (DEFAULT,)) if bound else (DEFAULT,)
        return found[(number // self.each if self.each else number) % len(found)]

    def _send(self, what: ex.Send, *, bound: bool, limit: int | None) -> ex.Arrivals:
        sent = tuple(range(40000, 40000 + what.count))
        carried = what.sender in self.own or (what.protocol in ("tcp", "udp") and what.form != "middle")
        kept = self._kept.get(what.sender, 0) if what.protocol == "udp" else 0
        count = min(what.count, what.count if limit is None else limit - kept) if carried else 0
        first = kept + (1024 + 2000 * list(self.sources).index(what.sender) if what.sender in self.sources else 1024)
        if what.form == "middle":
            count = 0
        if what.protocol == "udp" and what.first_source_port is None and not what.forgotten:
            self._kept[what.sender] = kept + count
        seen = tuple(
            ex.Seen(i, self._source(what.sender, i, bound=bound), sent[i] if what.sender in self.own else first + i,
                    what.destination, 80)
            for i in range(count)
        )  # fmt: skip
        return ex.Arrivals(
            sent=what.count, source_ports=sent, control=True, seen=(seen,) * len(what.watches), strays=(), seconds=0.1
        )


def checked(text: str) -> ex.Checked:
    """Return what `lab check` says of a file: that needs no kernel."""
    try:
        topology.parse(text, "f")
    except LabError as error:
        return ex.Checked(status=2, said=str(error))
    return ex.Checked(status=0, said="f: ok")


def planned(text: str) -> ex.Checked:
    """Return what `lab plan` says of a file, in some form."""
    return ex.Checked(status=0, said=repr(compile_network(topology.parse(text, "f"))))


def trials_of(claim: str, network: Network) -> list[Trial]:
    return dict(claims.trials(network)).get(claim, [])


def judge(trial: Trial, lab: Lab, lie: Lie = lambda _what, seen: seen) -> Judgement:
    """Return the judgement of a trial of what a lab lets be seen, changed by a lie."""
    lab.forget()
    return trial.judge([lie(what, lab.do(what, stage.network)) for stage in trial.stages for what in stage.experiments])


# --- ways to lie ------------------------------------------------------------------------------


def about(kind: type, change: Callable[[Any], Any], sender: str = "") -> Lie:
    """Change what is seen of one kind of experiment, of one sender if it is named."""

    def lie(what: Any, seen: Any) -> Any:
        mine = not sender or sender in (getattr(what, "sender", ""), getattr(what, "client", ""))
        return change(seen) if isinstance(what, kind) and mine else seen

    return lie


def replace(**values: Any) -> Callable[[Any], Any]:
    return lambda seen: msgspec.structs.replace(seen, **values)


def from_source(address: str) -> Callable[[ex.Arrivals], ex.Arrivals]:
    """Every flow is seen from another address."""

    def change(seen: ex.Arrivals) -> ex.Arrivals:
        changed = tuple(tuple(msgspec.structs.replace(s, source=address) for s in watch) for watch in seen.seen)
        return msgspec.structs.replace(seen, seen=changed)

    return change


def port_of(number: int) -> Callable[[ex.Arrivals], ex.Arrivals]:
    """Every flow is seen from one port."""

    def change(seen: ex.Arrivals) -> ex.Arrivals:
        changed = tuple(tuple(msgspec.structs.replace(s, source_port=number) for s in watch) for watch in seen.seen)
        return msgspec.structs.replace(seen, seen=changed)

    return change


def lost(seen: ex.Arrivals) -> ex.Arrivals:
    """No flow arrives anywhere; the control packet does."""
    return msgspec.structs.replace(seen, seen=((),) * len(seen.seen))


def astray(seen: ex.Arrivals) -> ex.Arrivals:
    """Something leaves with the private source."""
    return msgspec.structs.replace(seen, strays=("IP / ICMP 10.1.0.4 > 198.51.100.20 on the public wire of v",))


def unwatched(seen: Any) -> Any:
    """The control packet does not arrive."""
    if isinstance(seen, ex.Tracked):
        return msgspec.structs.replace(seen, arrivals=unwatched(seen.arrivals))
    return msgspec.structs.replace(seen, control=False) if isinstance(seen, ex.Arrivals) else seen


def all_arrive(seen: ex.Swept) -> ex.Swept:
    """No group loses a flow: what was lost arrives at a node."""
    return msgspec.structs.replace(
        seen, passages=tuple(ex.FlowResult(True, p.end or "somewhere") for p in seen.passages)
    )


def all_lost(seen: ex.Swept) -> ex.Swept:
    """Every flow gets as far as a group, and no further."""
    return msgspec.structs.replace(seen, passages=tuple(ex.FlowResult(True, "") for _ in seen.passages))


def astray_all(seen: ex.Swept) -> ex.Swept:
    """No flow gets as far as a group."""
    return msgspec.structs.replace(seen, passages=tuple(ex.FlowResult(False, "") for _ in seen.passages))


def at_step(number: int, **values: Any) -> Callable[[ex.Occupied], ex.Occupied]:
    """One step of flows that are held came to something else."""

    def change(seen: ex.Occupied) -> ex.Occupied:
        steps = list(seen.steps)
        if steps:
            steps[number] = msgspec.structs.replace(steps[number], **values)
        return ex.Occupied(steps=tuple(steps))

    return change
