"""A flow's state in the load balancer, and what comes back to the node that opened it."""

from typing import Any

from lab.errors import LabError
from lab.kernel import netns
from lab.plan import namespace
from lab.verify import experiment as ex
from lab.verify.probe import packets
from lab.verify.probe.packets import Numbers


def track(lab: str, what: ex.Track, numbers: Numbers) -> ex.Tracked:
    """List the tracked flows from the sender to the destination before and after a flow is opened."""
    before = _entries(lab, f"lb.{what.network}", what.send)
    arrivals = packets.send(lab, what.send, numbers)
    after = _entries(lab, f"lb.{what.network}", what.send)
    return ex.Tracked(before=before, after=tuple(e for e in after if e not in before), arrivals=arrivals)


def _entries(lab: str, place: str, flow: ex.Send) -> tuple[ex.Entry, ...]:
    return netns.run_in(namespace(lab, place), _entries_here, flow.private, flow.destination)


def _entries_here(source: str, destination: str) -> tuple[ex.Entry, ...]:
    from pyroute2 import NFCTSocket  # noqa: PLC0415

    found = []
    with NFCTSocket() as tracking:
        for entry in tracking.dump():
            original = _tuple(entry, "CTA_TUPLE_ORIG")
            reply = _tuple(entry, "CTA_TUPLE_REPLY")
            if original[0] == source and original[2] == destination:
                found.append(ex.Entry(original[1], reply[2], reply[3], reply[0], reply[1]))
    return tuple(found)


def _tuple(entry: Any, name: str) -> tuple[str, int, str, int]:
    """Return source, source port, destination and destination port of a direction."""
    direction = entry.get_attr(name)
    address, ports = direction.get_attr("CTA_TUPLE_IP"), direction.get_attr("CTA_TUPLE_PROTO")
    return (
        address.get_attr("CTA_IP_V4_SRC") or "",
        ports.get_attr("CTA_PROTO_SRC_PORT") or 0,
        address.get_attr("CTA_IP_V4_DST") or "",
        ports.get_attr("CTA_PROTO_DST_PORT") or 0,
    )


def come_back(lab: str, what: ex.Return, numbers: Numbers) -> ex.Returned:
    """Let the far end of a flow, and then a stranger, send to the flow's translated port."""
    arrivals = packets.send(lab, what.send, numbers)
    if not arrivals.control:
        raise LabError("the control packet did not arrive")
    if not arrivals.seen[-1]:
        return ex.Returned(source="", source_port=0, answered=False, intruded=False)
    flow = arrivals.seen[-1][0]
    first = numbers.take(2)
    capture = packets.Capture(lab, [ex.Watch("node", what.send.sender)])
    arrived: set[int] = set()

    def read() -> bool:
        ours = {n for _, packet in capture.read() if (n := packets.number_of(packet)) in (first, first + 1)}
        arrived.update(ours)
        return bool(ours)

    try:
        # The stranger first: its silence means something once the answer behind it has arrived.
        for number, place, address, port in (
            (first + 1, what.stranger, what.stranger_address, flow.destination_port),
            (first, what.far, flow.destination, flow.destination_port),
        ):
            packet = ex.Send(sender=place, private=address, destination=flow.source, protocol="udp", watches=())
            raw = packets.raw_socket(lab, place)
            raw.sendto(packets.Template(packet, flow.source_port).packet(port, number), (flow.source, 0))
            raw.close()
        packets.wait(capture.sockets, read, lambda: packets.SILENCE_S if first in arrived else packets.ARRIVAL_S)
    finally:
        capture.close()
    return ex.Returned(
        source=flow.source, source_port=flow.source_port, answered=first in arrived, intruded=first + 1 in arrived
    )
