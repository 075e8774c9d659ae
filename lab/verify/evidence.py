"""What an experiment has seen, as lines that a reader can hold against the verdict: packets, entries, answers, records.

Few of many are kept: a page of all results must open at once. What is left out is counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from lab.verify import experiment as ex

#: So many lines, of so many characters, are kept of an observation; and so many points of a plot.
_LINES, _WIDTH, _POINTS = 6, 140, 48
#: A plot with fewer different values tells nothing.
_TELLING = 4
#: So many observations are kept of a trial, and trials of a claim.
OBSERVATIONS, TRIALS = 4, 3


class Sample(msgspec.Struct, frozen=True):
    """Flows that are open at a moment, in seconds from the first step, and the SNAT ports for them; 0: not known."""

    seconds: float
    used: int
    allocated: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial has seen."""

    subject: str
    seen: tuple[str, ...]
    ports: tuple[Sample, ...] = ()


def evidence(subject: str, experiments: Sequence[ex.Experiment], observations: Sequence[ex.Observation]) -> Evidence:
    """Return what a trial has seen."""
    pairs = [*zip(experiments, observations, strict=False)]
    kept = pairs[:OBSERVATIONS]
    lines = [*chain.from_iterable(_few(_lines(asked, seen)) for asked, seen in kept)]
    if len(pairs) > len(kept):
        lines.append(f"… and of {len(pairs) - len(kept)} more experiments")
    held = ((asked, seen) for asked, seen in pairs if isinstance(asked, ex.HoldFlows) and isinstance(seen, ex.Occupied))
    samples = next((found for asked, seen in held if (found := _samples(asked, seen))), ())
    return Evidence(subject=subject, seen=tuple(lines), ports=tuple(samples))


def _few(lines: Iterable[str]) -> Iterator[str]:
    every = [*lines]
    for line in every[:_LINES]:
        text = " ".join(line.split())
        yield text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    if len(every) > _LINES:
        yield f"… and {len(every) - _LINES} more"


def _lines(asked: ex.Experiment, seen: ex.Observation) -> Iterator[str]:
    """Say what was sent or asked, and yield what was seen."""
    match asked, seen:
        case ex.Send(), ex.Arrivals():
            yield from _packets(asked, seen)
        case ex.TunnelFlows(), ex.Crossed():
            yield from (f"on the wire: {o.packets} {o.kind} {o.source} to {o.destination}" for o in seen.outer)
            yield from _packets(asked.send, seen.arrivals)
        case ex.Track(), ex.Tracked():
            yield from _entries(asked.send, seen)
        case ex.Ask(), ex.Answers():
            where = f"{asked.client} to {asked.address}:{asked.port}"
            yield from (f"{where}: {_answer(one)}" for one in seen.answers)
        case _, ex.Answers():
            yield from map(_answer, seen.answers)
        case _, ex.Checked():
            words = " ".join(("lab", *asked.words)) if isinstance(asked, ex.Run) else "lab check"
            yield f"{words.replace('{lab}', 'LAB').replace('{file}', 'FILE')}: exit status {seen.status}"
            yield from seen.said.splitlines()
        case ex.Sweep(), ex.Swept():
            for flow, result in zip(asked.flows, seen.passages, strict=False):
                to = f"{flow.destination}:{flow.port}/{flow.protocol}"
                came = f"came to {result.end} {result.destination}" if result.end else "came nowhere"
                yield f"{flow.sender} {flow.private} to {to}: {came.rstrip()}"
        case _, ex.Occupied():
            yield from _steps(seen)
        case _, ex.Members():
            yield from (f"{member}: up" for member in seen.up)
            yield from (f"{member}: down, {why}" for member, why in seen.down.items())
        case _, ex.Gateway():
            yield f"{seen.kind} gateway {seen.address}: {seen.state}, {seen.status}"
            yield from map(_connection, seen.connections)
        case _:
            yield from _fields(seen)


def _connection(one: ex.Connection) -> str:
    why = f" ({one.reason})" if one.reason else ""
    agreed = f"; IKEv{one.version} {one.ike}, ESP {one.esp}" if one.version else ""
    return f"{one.site}: {one.state}{why}{agreed}"


def _packets(sent: ex.Send, seen: ex.Arrivals) -> Iterator[str]:
    """Yield each packet as it was sent, and as it was captured at the last place that was watched."""
    port = f":{sent.port}" if sent.port else ""
    at = sent.watches[-1]
    arrived = {packet.number: packet for packet in (seen.seen[-1] if seen.seen else ())}
    for number in range(seen.sent):
        source = (
            f":{seen.source_ports[number]}" if number < len(seen.source_ports) and seen.source_ports[number] else ""
        )
        flow = f"{sent.protocol} {sent.private}{source} to {sent.destination}{port}"
        packet = arrived.get(number)
        if packet is None:
            yield f"{flow}: nothing at {at.kind} {at.name}"
            continue
        ports = (packet.source_port, packet.destination_port)
        left, right = (f":{number}" if number else "" for number in ports)
        yield f"{flow}: at {at.kind} {at.name} {packet.source}{left} to {packet.destination}{right}"
    yield from (f"beside it: {stray}" for stray in seen.strays)


def _entries(sent: ex.Send, seen: ex.Tracked) -> Iterator[str]:
    for when, entries in (("before", seen.before), ("after", seen.after)):
        for entry in entries:
            far = f", far side {entry.far_address}:{entry.far_port}" if entry.far_address else ""
            reply = f"replies come to {entry.reply_address}:{entry.reply_port}"
            yield f"connection table, {when}: {sent.private}:{entry.source_port}, {reply}{far}"
    yield from _packets(sent, seen.arrivals)


def _answer(one: ex.Answer) -> str:
    if one.outcome != "answered" or not one.node:
        return one.outcome
    return f"{one.node} answered, and saw {one.client_address}:{one.client_port}"


def _steps(seen: ex.Occupied) -> Iterator[str]:
    for step in seen.steps:
        at = f"{step.began:.2f} s:"
        if step.answered or step.silent or step.refused:
            yield f"{at} {step.answered} flows answered, {step.silent} silent, {step.refused} refused"
        for used in step.used:
            most = f"{used.ports} of {used.allocated} for {used.flows} flows, peak {used.peak}, {used.refused} refused"
            yield f"{at} lab ports: {used.address} {used.protocol}: {most}"
        yield from (f"{at} record: {msgspec.json.encode(record).decode()}" for record in step.records)


def _fields(seen: ex.Observation) -> Iterator[str]:
    """Yield what an observation of another kind holds, field by field."""
    for name in seen.__struct_fields__:
        value = getattr(seen, name)
        if value in ("", (), {}, None):
            continue
        for one in value if isinstance(value, tuple) else (value,):
            said = one if isinstance(one, str) else msgspec.json.encode(one).decode()
            yield f"{name}: {said}"


def _samples(asked: ex.HoldFlows, seen: ex.Occupied) -> list[Sample]:
    """Return how many flows are open over time; where `lab ports` was asked, as many as it says."""
    allocated = max((used.allocated for step in seen.steps for used in step.used), default=0)
    found: list[Sample] = []
    open_ = 0
    for step, happened in zip(asked.steps, seen.steps, strict=False):
        moments: Sequence[float] = (happened.began,)
        change = 0
        if isinstance(step, ex.Open):
            moments, change = sorted(happened.moments), 1
        elif isinstance(step, ex.End):
            change = -step.count
        elif happened.used:
            change = max(used.flows for used in happened.used) - open_
        for moment in moments:
            open_ = max(0, open_ + change)
            found.append(Sample(round(moment, 3), open_, allocated))
    if len({sample.used for sample in found}) < _TELLING:
        return []
    every = -(-len(found) // _POINTS)
    return [*found[::every], *found[-1:]] if every > 1 else found
