"""Resets of idle flows at one edge: carries segments and the ends of flows to the decider, and its resets to the wires.

What it decides by is ``deciders/idle_reset.Idle``; ``kernel/segments`` and ``kernel/flows`` hear and send.
"""

import time
from collections.abc import Iterable
from ipaddress import IPv4Address

from lab.agent.carrier import Carrier, Inside
from lab.deciders.idle_reset import Idle
from lab.flow import Flow
from lab.kernel import flows
from lab.kernel.segments import Segments, Wires
from lab.plan import IdleReset

#: The kernel counts in ticks, and begins before a segment is heard of here: it is asked a little later.
_MARGIN_S = 0.03


class Resetter(Carrier):
    """Tells both ends of idle flows of one edge that they are over."""

    def __init__(self, items: Iterable[IdleReset], inside: Inside) -> None:
        """Open everything; flows that are there already are known when they say something."""
        super().__init__()
        self._items = tuple(items)
        first = self._items[0]
        self._idle = Idle(*_timeouts(self._items))
        with inside(first.place):
            self._segments = Segments(item.address for item in self._items)
            self._ends = flows.Ends()
            self._wires = Wires(first.inner_interface, first.outer_interface, first.inside)
        self.read(self._segments.socket, self._on_segments)
        self.read(self._ends.socket, self._on_ends)

    def close(self) -> None:
        """Leave flows to their silence."""
        self.stop(self._segments, self._ends, self._wires)

    def change(self, items: Iterable[IdleReset], inside: Inside) -> None:
        """Take other rules."""
        items = tuple(items)
        if items == self._items:
            return
        self._items, first = items, items[0]
        self._on_segments()
        self._idle = self._idle.changed(*_timeouts(items))
        self._segments.watch(item.address for item in items)
        self._wires.close()
        with inside(first.place):
            self._wires = Wires(first.inner_interface, first.outer_interface, first.inside)
        self._keep_time()

    def _on_segments(self) -> None:
        now = time.monotonic()
        for segment in self._segments.read():
            self._idle.heard(segment, now)
        self._keep_time()

    def _on_ends(self) -> None:
        self._on_segments()  # what was said before the end
        self._read_ends()
        self._keep_time()

    def _read_ends(self) -> set[Flow]:
        """Send the resets of flows that have ended; return these flows."""
        found = set()
        for flow, received, state, timed_out in self._ends.read():
            found.add(flow)
            over = timed_out and state == flows.TCP_ESTABLISHED
            for number, reset in enumerate(self._idle.ended(flow, received, timed_out=over)):
                # The server of a flow that came in is inside, also where its address is the frontend's (floating IP).
                inside = number == 1 and not self._idle.is_outbound(flow)
                (self._wires.send_in if inside else self._wires.send)(reset)
        return found

    def _keep_time(self) -> None:
        """Look again when the next flow may be over."""
        due = self._idle.next_due()
        self.wake_at(None if due is None else due + _MARGIN_S, self._on_time)

    def _on_time(self) -> None:
        for segment in self._segments.read():
            self._idle.heard(segment, time.monotonic())
        now = time.monotonic()
        due = self._idle.due(now - _MARGIN_S)
        there = {flow for flow in due if self._ends.ask(self._asked(flow))}
        told = self._read_ends()
        self._idle.postpone(there, now)
        self._idle.forget(flow for flow in due if flow not in there and flow not in told)
        self._keep_time()

    def _asked(self, flow: Flow) -> Flow:
        """Return the direction of a flow that the table is asked for; of one that leaves it is its answers'."""
        back = Flow(flow.protocol, flow.destination, flow.destination_port, flow.source, flow.source_port)
        return back if self._idle.is_outbound(flow) else flow


def _timeouts(items: Iterable[IdleReset]) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Return how long flows may be idle: by the address and port that they are for, and by that which they leave by."""
    items = tuple(items)
    coming = {(int(IPv4Address(item.address)), item.port): item.idle_s for item in items if not item.outbound}
    return coming, {int(IPv4Address(item.address)): item.idle_s for item in items if item.outbound}
