"""Observations made by hand: what a faithful lab would let be seen, and ways to make it lie."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lab import claims
from lab import experiment as ex
from lab.claims import Trial
from lab.model import Network
from lab.verdict import Judgement

#: An address of the platform's choice: none of any topology.
DEFAULT = "192.0.2.254"

Lie = Callable[[ex.Experiment, Any], Any]


class Lab:
    """A lab that behaves as the documents say; sources are written down, not computed.

    ``sources``: the addresses each VM may be seen with; a VM that is not in it leaves by ``DEFAULT``.
    ``own``: VMs with an address of their own. ``limits``: most flows of a VM to one port of one host.
    ``down``: keys of members that are down.
    """

    def __init__(
        self,
        sources: dict[str, Sequence[str]],
        *,
        own: Sequence[str] = (),
        limits: dict[str, int] | None = None,
        down: Sequence[str] = (),
        silent: Sequence[str] = (),
    ) -> None:
        self.sources = sources
        self.own = own
        self.limits = limits or {}
        self.down = down
        self.silent = silent

    def do(self, what: ex.Experiment, *, bound: bool = True) -> ex.Observation:  # noqa: PLR0911 - one for each kind
        match what:
            case ex.Send():
                return self._send(what, bound=bound)
            case ex.Ask():
                outcome = "timeout" if what.address in self.silent else "answered"
                return ex.Answers(answers=(ex.Answer(outcome),) * what.count)
            case ex.Login():
                peer = self._source(what.client, 0, bound=bound)
                return ex.AuthLog(lines=(f"Connection from {peer} port 2000",), peers=(peer,))
            case ex.Lookup():
                return ex.Names(addresses=(self._source(what.client, 0, bound=bound),), said="")
            case ex.Track():
                arrivals = self._send(what.send, bound=bound)
                entries = tuple(ex.Entry(5, s.source, s.source_port) for s in arrivals.seen[-1])
                return ex.Tracked(before=(), after=entries, arrivals=arrivals)
            case ex.Return():
                source = self._source(what.send.sender, 0, bound=bound)
                return ex.Returned(source=source, source_port=2000, answered=True, intruded=False)
            case ex.Health():
                return ex.Members(up=(), down=dict.fromkeys(self.down, "no answer"))
            case ex.Counted():
                return ex.PublicAddresses(addresses=("40.1.1.1",))
            case ex.CheckFile():
                words = (
                    "f:9: no probe" if "backend_pool" in what.text else 'f:3: unknown key "default_outbound_address"'
                )
                return ex.Checked(status=2, said=words)

    def _source(self, vm: str, number: int, *, bound: bool) -> str:
        found = self.sources.get(vm, (DEFAULT,)) if bound else (DEFAULT,)
        return found[number % len(found)]

    def _send(self, what: ex.Send, *, bound: bool) -> ex.Arrivals:
        sent = tuple(range(40000, 40000 + what.count))
        carried = what.sender in self.own or (what.protocol in ("tcp", "udp") and what.form != "middle")
        count = min(what.count, self.limits.get(what.sender, what.count)) if carried else 0
        first = 1024 + 2000 * list(self.sources).index(what.sender) if what.sender in self.sources else 1024
        if what.form == "middle":
            count = 0
        seen = tuple(
            ex.Seen(i, self._source(what.sender, i, bound=bound), sent[i] if what.sender in self.own else first + i,
                    what.destination, 80)
            for i in range(count)
        )  # fmt: skip
        return ex.Arrivals(
            sent=what.count, source_ports=sent, control=True, seen=(seen,) * len(what.watches), strays=(), seconds=0.1
        )


def trials_of(claim: str, network: Network) -> list[Trial]:
    return dict(claims.trials(network)).get(claim, [])


def judge(trial: Trial, lab: Lab, lie: Lie = lambda _what, seen: seen) -> Judgement:
    """Return the judgement of a trial of what a lab lets be seen, changed by a lie."""
    return trial.judge(
        [lie(what, lab.do(what, bound=stage.network is None)) for stage in trial.stages for what in stage.experiments]
    )


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
