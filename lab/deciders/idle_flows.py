"""Which flows have been idle for longer than they may: a pure decider of those that the kernel's timers keep too long.

The kernel's timers are those of the flows that may be idle for longest. Of any other flow the table tells, in whole
seconds, how much of that time is left, and so how long ago its last packet was: it is asked when the flow may be over.
Times are seconds of a clock that only goes on.
"""

from heapq import heappop, heappush

from lab.flow import Flow

#: How often a flow is asked about in the last second of its time, as the kernel tells whole ones.
_STEP_S = 0.1


class Watch:
    """The flows of one edge that may be idle for less than the kernel's timers say."""

    def __init__(self, kernel_s: int, default_s: int, others: dict[int, int]) -> None:
        """Begin with the kernel's timers, and how long flows may be idle: by default, and from some addresses."""
        self.kernel_s = kernel_s
        self._default_s, self._others = default_s, others
        self._known: dict[Flow, tuple[int, float, float]] = {}  # how long it may be idle, since when known, when due
        self._turn: list[tuple[float, Flow]] = []

    def begun(self, flow: Flow, address: int, since: float, *, due: float | None = None) -> None:
        """Note a TCP flow that is seen from an address, and that nothing was known of it before a moment.

        ``due``: when to ask about it first, if not when it may be over.
        """
        seconds = self._others.get(address, self._default_s)
        if seconds < self.kernel_s:
            self._ask(flow, seconds, since, since + seconds if due is None else due)

    def _ask(self, flow: Flow, seconds: int, since: float, due: float) -> None:
        self._known[flow] = seconds, since, due
        heappush(self._turn, (due, flow))

    def ended(self, flow: Flow) -> None:
        """Forget a flow."""
        self._known.pop(flow, None)

    def next_due(self) -> float | None:
        """Return when the next flow is to be asked about."""
        while self._turn and not self._is_meant(*self._turn[0]):
            heappop(self._turn)
        return self._turn[0][0] if self._turn else None

    def _is_meant(self, due: float, flow: Flow) -> bool:
        known = self._known.get(flow)
        return known is not None and known[2] == due

    def due(self, now: float) -> list[Flow]:
        """Return the flows that are to be asked about now; each is then judged or forgotten."""
        found = []
        while (first := self.next_due()) is not None and first <= now:
            found.append(heappop(self._turn)[1])
        return found

    def judged(self, flow: Flow, left_s: int, now: float) -> bool:
        """Tell whether a flow is over, of which the table says how much of the kernel's time is left, rounded down."""
        seconds, since, _ = self._known[flow]
        # At least so long, and less than a second more.
        idle = min(max(0, self.kernel_s - left_s - 1), now - since)
        if idle >= seconds:
            return True
        wait = seconds - idle
        self._ask(flow, seconds, since, now + (wait - 1 if wait > 1 else _STEP_S))
        return False
