"""What was seen of an explained flow, hop by hop, beside what was predicted."""

import msgspec

from lab.azure.model import Network
from lab.errors import ContradictedError, InconclusiveError
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


def experiment(network: Network, explained: Explanation) -> ex.Send:
    """Return what shows the flow at every hop, and that it comes nowhere else; its destination must be known."""
    flow = forecast.flow_of(network, explained.predicted)
    watched = [hop.watch for hop in explained.hops if hop.watch is not None]
    silent = [watch for watch in flow.ends if watch not in watched]
    return ex.Send(
        sender=flow.sender,
        private=flow.private,
        destination=flow.destination,
        protocol=flow.protocol,
        port=flow.port or None,
        first_source_port=flow.source_port or None,
        watches=(*dict.fromkeys(watched), *silent),
        lost=1 if silent or _several(explained) else 0,
        controlled=False,
        untranslated=True,
    )


def _several(explained: Explanation) -> bool:
    return sum(hop.type == "Destination" for hop in explained.hops) > 1


def send(network: Network, explained: Explanation, prober: Prober) -> Comparison:
    """Send the flow in the running lab of a network, and hold what is seen against what is predicted.

    Raises:
        InconclusiveError: a capture did not see its control packet, or the flow could not be sent.

    """
    (outcome,) = matrix.seen(network, (explained.predicted,), prober)
    what = experiment(network, explained)
    (found,) = prober.run(network.name, (what,)).observations
    if isinstance(found, ex.Failed):
        raise InconclusiveError(f"the flow could not be sent: {found.reason}; see `lab show {network.name}`")
    assert isinstance(found, ex.Arrivals)
    compared = compare(explained, what, found)
    if outcome.differs and not compared.blamed:
        return msgspec.structs.replace(
            compared, blamed=f"a flow before it was {outcome.seen}: {_rules(explained.hops[-1])}"
        )
    return compared


def compare(explained: Explanation, what: ex.Send, found: ex.Arrivals) -> Comparison:
    """Hold what was seen of a flow against what is predicted of it."""
    at = {watch: seen[0] for watch, seen in zip(what.watches, found.seen, strict=True) if seen}
    hops, depends = explained.hops, explained.predicted.access == "Depends"
    reached = any(hop.type == "Destination" and hop.watch in at for hop in hops)
    observed: list[Observed] = []
    for hop in hops:
        seen = at.get(hop.watch) if hop.watch is not None else None
        if hop.watch is None:
            observed.append(Observed(seen=""))
        elif seen is None:
            elsewhere = depends or (hop.type == "Destination" and reached)
            observed.append(Observed(seen="nothing", differs=not elsewhere))
        else:
            observed.append(Observed(seen=_words(seen), differs=not hop.packet.is_like(seen)))
    watched = {hop.watch for hop in hops}
    astray = tuple(f"{_words(seen)} at {watch}" for watch, seen in at.items() if watch not in watched)
    first = next((number for number, one in enumerate(observed) if one.differs), None)
    blamed = ""
    if first is not None:
        start = max((n for n in range(first) if hops[n].watch is not None), default=0)
        blamed = "; ".join(_rules(hop) for hop in hops[start:first]) or _rules(hops[first])
    elif astray and not depends:
        blamed = _rules(hops[-1])
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
