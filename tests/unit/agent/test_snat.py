"""What becomes of a SNAT port when the kernel does not take the flow that it was given to."""

from collections.abc import Sequence
from typing import Any, cast

from lab.agent.snat import Allocator
from lab.deciders.snat_ports import Ports
from lab.flow import Flow
from lab.kernel import flows
from lab.plan import Provenance, SnatPolicy, SnatPool, SnatRange

_WHY = Provenance("test", "test")
_POLICY = SnatPolicy(
    place="lb", router="router", why=_WHY, tcp_reuse="destination", udp_reuse="destination", per_protocol=True,
    order="lowest", sequential=False, fin_close="both", fin_s=0.0, rst_s=0.0, idle_s=240.0, alert_s=300.0,
    blocks=(), resources=(),
)  # fmt: skip
_POOL = SnatPool(place="lb", why=_WHY, node="vm1", source="10.1.0.4", ranges=(SnatRange("40.1.1.1", 1024, 1025),))


class Kernel:
    """A connection table that may be full, and what is sent."""

    def __init__(self) -> None:
        self.full = True
        self.sent: list[Flow] = []

    def enter(self, wanted: Sequence[tuple[Flow, int, int]], _timeout_s: int) -> tuple[set[Flow], set[Flow]]:
        return set(), {flow for flow, _, _ in wanted} if self.full else set()

    def send(self, packet: flows.Packet) -> None:
        self.sent.append(packet.flow)


def test_flows_that_a_full_table_refuses_cost_no_ports():
    """More than the VM has ports are refused; when there is room again, it has all of them."""
    kernel = Kernel()
    allocator = object.__new__(Allocator)  # without the kernel's own sockets
    allocator.ports = Ports(_POLICY, [_POOL])
    vars(allocator).update(_table=kernel, _resend=kernel, _watch=None)

    def begin(number: int) -> None:
        flow = Flow(6, 0x0A010004, 40000 + number, 0xC6336414, 80)
        grant = allocator.ports.decide(flow, 0.0)
        assert grant is not None, number
        allocator._send_on([(cast("Any", type("Packet", (), {"flow": flow})()), grant)])

    for number in range(8):
        begin(number)
    assert kernel.sent == []
    kernel.full = False
    begin(8)
    begin(9)
    assert len(kernel.sent) == 2
