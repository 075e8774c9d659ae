"""Which resets tell both ends of a TCP flow that it timed out: decided without touching anything.

A reset is believed only if its sequence number is the one that its receiver expects next, which is what the receiver
itself acknowledged last. So every segment of the flows in question is heard, and the last acknowledgement of each end
remembered. Only flows that are established are reset: none that is half closed, or was never answered
(load-balancer-tcp-reset.md, 2020-10-07). A flow that was never heard is not reset: its sequence numbers are unknown.
"""

from collections.abc import Iterable

from lab.flow import TCP, Flow, Reset, Segment

_HALF = 1 << 31  # sequence numbers are compared modulo 2^32 (RFC 9293, section 3.4)


class _Heard:
    """What was heard of a flow."""

    __slots__ = ("by_client", "by_server", "last")

    def __init__(self, now: float) -> None:
        self.by_client: int | None = None  # what each end acknowledged last
        self.by_server: int | None = None
        self.last = now


class Idle:
    """The flows of one edge whose ends are told of their timeout. Times are seconds of a clock that only goes on."""

    def __init__(self, timeouts: dict[tuple[int, int], int], outbound: dict[int, int] | None = None) -> None:
        """Begin with what is watched: address, port, and how long a flow may be idle.

        ``outbound``: addresses from which flows leave, and how long these may be idle. Such a flow is known as its
        receiver sees it.
        """
        self._timeouts, self._outbound = timeouts, outbound or {}
        #: By how long they may be, the flows in the order in which they were heard of last.
        self._heard: dict[int, dict[Flow, _Heard]] = {}

    def changed(self, timeouts: dict[tuple[int, int], int], outbound: dict[int, int] | None = None) -> "Idle":
        """Return what is known with other timeouts; flows of what is no longer watched are left out."""
        new = Idle(timeouts, outbound)
        known = [(flow, heard) for flows in self._heard.values() for flow, heard in flows.items()]
        for flow, heard in sorted(known, key=lambda entry: entry[1].last):
            if new._is_watched(flow):
                new._of(flow)[flow] = heard
        return new

    def _of(self, flow: Flow) -> dict[Flow, _Heard]:
        seconds = self._timeouts.get((flow.destination, flow.destination_port))
        return self._heard.setdefault(self._outbound[flow.source] if seconds is None else seconds, {})

    def _is_watched(self, flow: Flow) -> bool:
        return (flow.destination, flow.destination_port) in self._timeouts or flow.source in self._outbound

    def is_outbound(self, flow: Flow) -> bool:
        """Tell whether a flow is one that leaves, known as its receiver sees it."""
        return (flow.destination, flow.destination_port) not in self._timeouts

    def heard(self, segment: Segment, now: float) -> None:
        """Note a segment, of whichever direction."""
        source, source_port, destination, destination_port, acknowledged = segment
        said, answered = (
            Flow(TCP, source, source_port, destination, destination_port),
            Flow(TCP, destination, destination_port, source, source_port),
        )
        from_client = (destination, destination_port) in self._timeouts
        if from_client:
            flow = said
        elif (source, source_port) in self._timeouts:
            flow = answered
        elif source in self._outbound:
            flow, from_client = said, True
        elif destination in self._outbound:
            flow = answered
        else:
            return
        flows = self._of(flow)
        known = flows.pop(flow, None) or _Heard(now)
        known.last = now
        flows[flow] = known
        if acknowledged is None:
            return
        if from_client:
            known.by_client = _later(known.by_client, acknowledged)
        else:
            known.by_server = _later(known.by_server, acknowledged)

    def due(self, now: float) -> list[Flow]:
        """Return the flows that have been idle for as long as they may; the kernel knows whether they are over."""
        found = []
        for seconds, flows in self._heard.items():
            for flow, heard in flows.items():
                if heard.last + seconds > now:
                    break
                found.append(flow)
        return found

    def next_due(self) -> float | None:
        """Return when the next flow will have been idle for as long as it may."""
        firsts = [next(iter(flows.values())).last + seconds for seconds, flows in self._heard.items() if flows]
        return min(firsts, default=None)

    def postpone(self, flows: Iterable[Flow], now: float) -> None:
        """Ask again about flows that are there after all, after another such time."""
        for flow in flows:
            known = self._of(flow).pop(flow, None)
            if known is not None:
                known.last = now
                self._of(flow)[flow] = known

    def forget(self, flows: Iterable[Flow]) -> None:
        """Forget flows that the connection table does not have."""
        for flow in flows:
            self._of(flow).pop(flow, None)

    def ended(self, flow: Flow, received: Flow, *, timed_out: bool) -> tuple[Reset, ...]:
        """Forget a flow that has ended, and return the resets that its ends are sent.

        ``received`` is the flow as its server saw it; ``timed_out``: it was established, and its time was over.
        """
        watched = received if received.source in self._outbound else flow
        if not self._is_watched(watched):
            return ()
        known = self._of(watched).pop(watched, None)
        if known is None or not timed_out or known.by_client is None or known.by_server is None:
            return ()
        client = (flow.destination, flow.destination_port, flow.source, flow.source_port)
        server = received[1:]
        return Reset(*client, known.by_client, known.by_server), Reset(*server, known.by_server, known.by_client)

    def __len__(self) -> int:
        return sum(map(len, self._heard.values()))


def _later(one: int | None, other: int) -> int:
    """Return the later of two acknowledgements; segments may overtake each other."""
    return other if one is None or (other - one) % (1 << 32) < _HALF else one
