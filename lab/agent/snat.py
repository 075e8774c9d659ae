"""SNAT ports for one virtual network: carries first packets and the ends of flows to the decider, and its answers back.

What it decides by is ``deciders/snat_ports.Ports``; how a decision is carried out is ``kernel/flows``.
"""

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Literal

from lab.agent.carrier import Carrier, Inside
from lab.deciders.idle_flows import Watch
from lab.deciders.snat_ports import Alert, Grant, Ports, Usage
from lab.flow import TCP
from lab.kernel import flows
from lab.plan import SnatPolicy, SnatPool

#: How often, in seconds, the table is looked through for flows that have timed out, while flows are refused.
_SWEEP_S = 0.25
#: How many ports are tried for a flow if others have them.
_TRIES = 4


class Allocator(Carrier):
    """Gives SNAT ports to the flows of one virtual network."""

    def __init__(
        self, policy: SnatPolicy, pools: Iterable[SnatPool], inside: Inside, tell: Callable[[list[Alert]], None]
    ) -> None:
        """Open everything, and take over the flows that have their ports already."""
        super().__init__()
        self._tell = tell
        self._given = policy, tuple(pools)
        self.ports = Ports(*self._given)
        self._watch = _watch(policy)
        with inside(policy.place):
            self._table = flows.Table(closing_from=_closing_from(policy))
            self._queue = flows.Queue()
        with inside(policy.router):
            self._resend = flows.Resend(interface=policy.resent_by)
        self._adopt()
        self._watch_all(since=0.0)
        self._swept = 0.0
        self.read(self._table.socket, self._on_events)
        self.read(self._queue.socket, self._on_packets)

    def close(self) -> None:
        """Give the queue up: from now on new flows get no port. Those that have one go on."""
        self.stop(self._queue, self._table, self._resend)

    def change(self, policy: SnatPolicy, pools: Iterable[SnatPool]) -> None:
        """Take another policy and other ranges; flows whose ports were taken away end in silence."""
        pools = tuple(pools)
        if (policy, pools) == self._given:
            return
        (before, _), self._given = self._given, (policy, pools)
        self._drain_events()
        self._table.close_from(_closing_from(policy))
        self.ports, lost = self.ports.changed(policy, pools)
        self._table.forget(lost)
        if (policy.kernel_s, policy.tcp_idle) != (before.kernel_s, before.tcp_idle):
            self._watch = _watch(policy)
            # Until a flow's next packet the table tells of the former timers.
            self._watch_all(since=0.0 if policy.kernel_s == before.kernel_s else time.monotonic())
        self._keep_time()

    def usage(self) -> list[Usage]:
        """Return what is in use now."""
        self._drain_events()
        self._sweep()
        return self.ports.usage()

    # --- what arrives ---------------------------------------------------------------------------

    def _on_events(self) -> None:
        self._drain_events()
        self._keep_time()

    def _on_packets(self) -> None:
        packets = self._queue.packets()
        # Afterwards: an end that was before one of these packets is told by now, and no end of a flow they begin.
        self._drain_events()
        now = time.monotonic()
        granted: list[tuple[flows.Packet, Grant]] = []
        for packet in packets:
            if not self.ports.knows(packet.flow):
                continue
            grant = self.ports.decide(packet.flow, now)
            if grant is None and now - self._swept >= _SWEEP_S:
                # The kernel removes what has timed out when it finds time; being listed makes it do so.
                self._send_on(granted)
                granted = []
                self._sweep()
                grant = self.ports.decide(packet.flow, now)
            if grant is not None:
                granted.append((packet, grant))
        self._send_on(granted)
        if self._watch is not None:
            self._keep_time()
        alerts = self.ports.alerts()
        if alerts:
            self._tell(alerts)

    def _send_on(self, granted: list[tuple[flows.Packet, Grant]]) -> None:
        """Enter flows into the kernel's table, and send their first packets, which then take the translation."""
        timeout_s = int(self.ports.policy.idle_s)
        for _ in range(_TRIES):
            taken, refused = self._table.enter(
                [(packet.flow, grant.address, grant.port) for packet, grant in granted], timeout_s
            )
            for packet, grant in granted:
                if packet.flow in refused:
                    self.ports.ended(packet.flow, grant.port)  # the port is free, and the flow lost, as in a full table
                elif packet.flow not in taken:
                    self._resend.send(packet)
                    if self._watch is not None and packet.flow.protocol == TCP:
                        self._watch.begun(packet.flow, grant.address, time.monotonic())
            if not taken:
                return
            # Rare: a flow that another revision gave the port to is still there.
            now = time.monotonic()
            for flow in taken:
                self.ports.lose(flow, now)
            again = [(packet, self.ports.decide(packet.flow, now)) for packet, _ in granted if packet.flow in taken]
            granted = [(packet, grant) for packet, grant in again if grant is not None]

    def _drain_events(self) -> None:
        while True:
            events, lost = self._table.events()
            now = time.monotonic()  # not before them: no cool-down is shorter than it must be
            over = self.ports.due(now)
            for kind, entry in events:
                if kind == "gone":
                    self.ports.ended(entry.flow, entry.reply_port, now)
                    if self._watch is not None:
                        self._watch.ended(entry.flow)
                elif self.ports.closed(entry.flow, _how(entry.state), now):
                    over.append(entry.flow)
            self._table.forget(over)
            if lost:
                self._sweep()
            elif not events:
                return

    def _sweep(self) -> None:
        """Compare what is held with the kernel's table, and let go what is no longer there."""
        self._swept = time.monotonic()
        there = {(entry.flow, entry.reply_port) for entry in self._table.entries()}
        for flow, grant in [held for held in self.ports.flows() if (held[0], held[1].port) not in there]:
            self.ports.ended(flow, grant.port, self._swept)

    def _adopt(self) -> None:
        """Take over the flows in the kernel's table. One that is closed begins its cool-down now."""
        entries, now = self._table.entries(), time.monotonic()
        closing_from = _closing_from(self.ports.policy)
        over = []
        for entry in entries:
            self.ports.adopt(entry.flow, Grant(entry.reply_address, entry.reply_port))
            if entry.state >= closing_from and self.ports.closed(entry.flow, _how(entry.state), now):
                over.append(entry.flow)
        self._table.forget(over)

    def _keep_time(self) -> None:
        """End the next cool-down when it is due, and look after flows that may be idle for too long."""
        due = [self.ports.next_due(), self._watch.next_due() if self._watch is not None else None]
        self.wake_at(min((moment for moment in due if moment is not None), default=None), self._on_time)

    def _on_time(self) -> None:
        self._drain_events()
        if self._watch is not None:
            now = time.monotonic()
            for flow in self._watch.due(now):
                left = self._table.left(flow)
                if left is None or left[1] >= flows.TCP_TIME_WAIT:
                    self._watch.ended(flow)  # gone, or closed: its port cools down
                elif self._watch.judged(flow, left[0], now):
                    self._watch.ended(flow)
                    self._table.expire(flow)
            self._drain_events()
        self._keep_time()

    def _watch_all(self, *, since: float) -> None:
        """Look after the flows that are there already; they are asked about at once."""
        if self._watch is None:
            return
        now = time.monotonic()
        for flow, grant in self.ports.flows():
            if flow.protocol == TCP:
                self._watch.begun(flow, grant.address, since, due=now)


def _watch(policy: SnatPolicy) -> Watch | None:
    """Return what looks after idle flows, None if the kernel's timers do."""
    if not policy.kernel_s:
        return None
    others = {int(IPv4Address(address)): seconds for address, seconds in policy.tcp_idle}
    return Watch(policy.kernel_s, int(policy.idle_s), others)


def _closing_from(policy: SnatPolicy) -> int:
    """Return the state of a TCP connection from which on it is closed: after FIN of one side, or of both."""
    return flows.TCP_FIN_WAIT if policy.fin_close == "either" else flows.TCP_TIME_WAIT


def _how(state: int) -> Literal["fin", "rst"]:
    return "rst" if state == flows.TCP_CLOSE else "fin"
