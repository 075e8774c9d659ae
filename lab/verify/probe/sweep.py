"""Many different flows at once: sent in bursts, captured everywhere they may come by, told apart by their numbers."""

import contextlib
import socket
import struct

from lab.kernel.state import StateDir
from lab.plan import Address
from lab.verify import experiment as ex
from lab.verify.probe import packets
from lab.verify.probe.held_flows import forget_to
from lab.verify.probe.packets import Capture, Numbers, Template, inside, number_of, raw_socket

#: Numbers are 16 bits wide, and must not come round while their flows are on the way.
MOST = 30_000


class _Sweep:
    """Captures at all watches of a sweep, and what each saw."""

    def __init__(self, lab: str, flows: tuple[ex.Flow, ...], numbers: Numbers) -> None:
        self.lab = lab
        self.flows = flows
        watches = dict.fromkeys(watch for flow in flows for watch in (*flow.passes, *flow.ends, *flow.looks))
        self.watches = tuple(watches)
        self.nodes = tuple(watch for watch in watches if watch.kind == "node")
        self.first = numbers.take(len(flows) + len(self.nodes))
        self.ports = tuple(flow.source_port or numbers.source_ports(1)[0] for flow in flows)
        self.seen: list[dict[ex.Watch, ex.Seen]] = [{} for _ in flows]
        self.heard: set[ex.Watch] = set()
        self.capture = Capture(lab, self.watches)

    def read(self) -> bool:
        """Note what the captures have seen; return whether something of it is news."""
        news = False
        for index, packet in self.capture.read():
            number = number_of(packet)
            if number is None:
                continue
            watch, number = self.watches[index], number - self.first
            if 0 <= number < len(self.flows):
                if watch not in self.seen[number]:
                    self.seen[number][watch] = packets.seen_of(packet, number)
                    news = True
            elif 0 <= number - len(self.flows) < len(self.nodes) and self.nodes[number - len(self.flows)] == watch:
                self.heard.add(watch)
                news = True
        return news

    def send(self) -> None:
        """Send the first packet of every flow."""
        senders: dict[str, socket.socket] = {}
        templates: dict[tuple[object, ...], Template] = {}
        try:
            for index, flow in enumerate(self.flows):
                if flow.sender not in senders:
                    senders[flow.sender] = raw_socket(self.lab, flow.sender)
                kind = (flow.private, flow.destination, flow.protocol, flow.port)
                if kind not in templates:
                    templates[kind] = Template(_send_of(flow), flow.port)
                packet = templates[kind].packet(self.ports[index], self.first + index)
                with contextlib.suppress(PermissionError):  # the node's own kernel refuses it: it is seen nowhere
                    senders[flow.sender].sendto(packet, (flow.destination, 0))
                if index % packets.BURST == packets.BURST - 1:
                    self.read()
        finally:
            for opened in senders.values():
                opened.close()

    def call(self) -> None:
        """Send every watched node a packet from the other end of its wire."""
        own = {(item.place, item.interface): item.address for item in StateDir(self.lab).plan().of(Address)}
        for index, watch in enumerate(self.nodes):
            with inside(self.lab, f"router.{watch.network}" if watch.network else "internet"):
                opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with opened:
                number = self.first + len(self.flows) + index
                opened.sendto(
                    struct.pack("!HH", packets.MAGIC, number),
                    (own[watch.name, f"eth{watch.interface}"], packets.CONTROL_PORT),
                )

    def wait(self) -> None:
        """Read until all that is awaited came and the wires are quiet, or nothing has come for too long."""
        packets.wait(
            self.capture.sockets, self.read, lambda: packets.SILENCE_S if self.settled() else packets.ARRIVAL_S
        )

    def settled(self) -> bool:
        """Tell whether all that is awaited has come."""
        all_there = all(self._end(number)[0] for number, flow in enumerate(self.flows) if flow.awaited)
        return all_there and len(self.heard) == len(self.nodes)

    def _end(self, number: int) -> tuple[str, str]:
        """Return where a flow arrived, and for whom; nothing if it did not."""
        seen = self.seen[number]
        there = next((watch for watch in self.flows[number].ends if watch in seen), None)
        return (there.name, f"{seen[there].destination}:{seen[there].destination_port}") if there else ("", "")

    def swept(self) -> ex.Swept:
        """Return what became of the flows."""
        passages = tuple(
            ex.FlowResult(
                all(watch in self.seen[number] for watch in flow.passes),
                *self._end(number),
                tuple(self.seen[number].get(watch) for watch in flow.looks),
            )
            for number, flow in enumerate(self.flows)
        )
        return ex.Swept(passages=passages, deaf=tuple(w.name for w in self.nodes if w not in self.heard))


def _send_of(flow: ex.Flow) -> ex.Send:
    return ex.Send(
        sender=flow.sender, private=flow.private, destination=flow.destination, protocol=flow.protocol, watches=()
    )


def sweep(lab: str, what: ex.Sweep, numbers: Numbers) -> ex.Swept:
    """Send all flows and tell what became of each."""
    passages: list[ex.FlowResult] = []
    deaf: list[str] = []
    for start in range(0, len(what.flows), MOST):
        part = _Sweep(lab, what.flows[start : start + MOST], numbers)
        try:
            part.send()
            part.call()
            part.wait()
        finally:
            part.capture.close()
        swept = part.swept()
        passages += swept.passages
        deaf += swept.deaf
    for network in what.forgotten_by:
        forget_to(lab, network, {(flow.destination, flow.port) for flow in what.flows})
    return ex.Swept(passages=tuple(passages), deaf=tuple(dict.fromkeys(deaf)))
