"""What was seen of an explained flow, hop by hop, beside what was predicted."""

from collections.abc import Sequence

import msgspec

from lab.azure.model import Network
from lab.errors import ContradictedError
from lab.predict import forecast, matrix
from lab.predict.explain import Explanation, Hop
from lab.verify import experiment as ex
from lab.verify.probe import Prober


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at a hop."""

    seen: str  # the packet, or "nothing"; empty: no capture reads what comes there
    differs: bool = False


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, predicted and seen."""

    hops: tuple[Observed, ...]
    #: Where a packet was seen that was not to come there.
    astray: tuple[str, ...] = ()
    #: The hop that does not do as predicted, with its rule; empty: all do.
    blamed: str = ""


def experiment(network: Network, explained: Explanation) -> ex.Flow:
    """Return what shows the flow at every hop, and that it comes nowhere else; its destination must be known."""
    flow = forecast.flow_of(network, explained.predicted)
    watched = [hop.watch for hop in explained.hops if hop.watch is not None]
    return msgspec.structs.replace(flow, looks=tuple(dict.fromkeys((*watched, *flow.ends))))


def send(network: Network, explained: Explanation, prober: Prober) -> Comparison:
    """Send the flow in the running lab of a network, and hold what is seen against what is predicted.

    Raises:
        InconclusiveError: a capture did not see its control packet, or the flow could not be sent.

    """
    (compared,) = send_all(network, (explained,), prober)
    return compared


def send_all(network: Network, flows: Sequence[Explanation], prober: Prober) -> tuple[Comparison, ...]:
    """Send flows in the running lab of a network, and hold what is seen of each against what is predicted.

    Raises:
        InconclusiveError: a capture did not see its control packet, or the flows could not be sent.

    """
    sent = [experiment(network, explained) for explained in flows]
    passages = matrix.passages_of(network, sent, prober)
    return tuple(compare(*one) for one in zip(flows, sent, passages, strict=True))


def compare(explained: Explanation, sent: ex.Flow, found: ex.FlowResult) -> Comparison:
    """Hold what was seen of a flow against what is predicted of it."""
    at = {watch: seen for watch, seen in zip(sent.looks, found.looks, strict=True) if seen is not None}
    hops, depends = explained.hops, explained.predicted.access == "Depends"
    reached = any(hop.type == "Destination" and hop.watch in at for hop in hops)
    chosen = next((at[hop.watch].source_port for hop in hops if hop.watch in at), None)
    observed: list[Observed] = []
    for hop in hops:
        seen = at.get(hop.watch) if hop.watch is not None else None
        if hop.watch is None:
            observed.append(Observed(seen=""))
        elif seen is None:
            elsewhere = depends or (hop.type == "Destination" and reached)
            observed.append(Observed(seen="nothing", differs=not elsewhere))
        else:
            observed.append(Observed(seen=_words(seen), differs=not hop.packet.is_like(seen, chosen)))
    watched = {hop.watch for hop in hops}
    astray = tuple(f"{_words(seen)} at {watch}" for watch, seen in at.items() if watch not in watched)
    first = next((number for number, one in enumerate(observed) if one.differs), None)
    blamed = ""
    if first is not None:
        before = (n for n in range(first) if hops[n].watch is not None and hops[n].type != "Destination")
        start = max(before, default=0)
        blamed = "; ".join(_rules(hop) for hop in hops[start:first]) or _rules(hops[first])
    elif astray and not depends:
        blamed = _rules(hops[-1])
    elif (outcome := matrix.outcome(explained.predicted, found)).differs:
        blamed = f"{_rules(hops[-1])}; the flow was {outcome.seen}"
    return Comparison(hops=tuple(observed), astray=astray, blamed=blamed)


def hold(explained: Explanation, compared: Comparison) -> None:
    """Refuse unless the wire does as predicted.

    Raises:
        ContradictedError: it does not.

    """
    if not compared.blamed:
        return
    pairs = zip(explained.hops, compared.hops, strict=True)
    hop, one = next(((h, o) for h, o in pairs if o.differs), (explained.hops[-1], None))
    seen = one.seen if one else ", ".join(compared.astray) or "otherwise"
    raise ContradictedError(
        f"{hop.name}: seen: {seen}; predicted: {hop.packet if one else 'nothing further'}; "
        f"what does not do as predicted is {compared.blamed}; run `lab up` if rules were changed by hand"
    )


def _words(seen: ex.Seen) -> str:
    ports = (f":{seen.source_port}", f":{seen.destination_port}") if seen.source_port else ("", "")
    return f"{seen.source}{ports[0]} -> {seen.destination}{ports[1]}"


def _rules(hop: Hop) -> str:
    said = ", ".join(rule.says for rule in hop.rules)
    return f"hop {hop.name} ({hop.type}{f': {said}' if said else ''})"
