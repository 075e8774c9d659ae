"""What holds for every course of SNAT ports, held against a model that looks through a list. Time is invented."""

from collections import Counter
from ipaddress import IPv4Address
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lab.deciders.snat_ports import Grant, Ports
from lab.flow import TCP, UDP, Flow
from lab.plan import Provenance, SnatPolicy, SnatPool, SnatRange

_WHY = Provenance("test", "test")
ADDRESSES = ("40.1.1.1", "40.1.1.2")
NUMBERS = {int(IPv4Address(address)): address for address in ADDRESSES}
VMS = {int(IPv4Address(f"10.1.0.{n}")): f"vm{n}" for n in (1, 2)}
NAMES = {TCP: "tcp", UDP: "udp"}
FIRST, LAST = 1024, 1041

flows = st.builds(
    Flow,
    st.sampled_from([TCP, TCP, UDP]),
    st.sampled_from(sorted(VMS)),
    st.integers(1, 6),
    st.sampled_from([1, 2]),
    st.sampled_from([80, 80, 443]),
)
reuses = st.sampled_from(["destination address", "destination", "nothing"])
seconds = st.sampled_from([0.0, 5.0, 20.0])
spans = st.tuples(st.integers(FIRST, LAST), st.integers(1, 6)).map(lambda span: (span[0], min(LAST, sum(span) - 1)))


@st.composite
def pools(draw: st.DrawFn) -> list[SnatPool]:
    """Draw the ranges of each VM: the same for all, or of each its own; on one address or both."""
    shared = draw(st.booleans())
    found = []
    on_all = [SnatRange(address, *draw(spans)) for address in ADDRESSES]
    for number, (source, node) in enumerate(VMS.items()):
        own = [SnatRange(address, FIRST + 6 * number, FIRST + 6 * number + draw(st.integers(0, 5)))
               for address in ADDRESSES]  # fmt: skip
        some = draw(st.sampled_from([slice(0, 1), slice(1, 2), slice(0, 2)]))
        ranges = tuple((on_all if shared else own)[some])
        found.append(SnatPool(place="lb", why=_WHY, node=node, source=str(IPv4Address(source)), ranges=ranges))
    return found


@st.composite
def policies(draw: st.DrawFn) -> SnatPolicy:
    """Draw how ports are given out."""
    blocks = draw(st.lists(st.builds(lambda a, f: SnatRange(a, f, f + 3), st.sampled_from(ADDRESSES),
                                     st.sampled_from([1024, 1028, 1036])), max_size=2))  # fmt: skip
    return SnatPolicy(
        place="lb", router="r", why=_WHY, tcp_reuse=draw(reuses), udp_reuse=draw(reuses), resources=(),
        per_protocol=draw(st.booleans()), order=draw(st.sampled_from(["lowest", "random"])),
        sequential=draw(st.booleans()), fin_close="both", fin_s=draw(seconds), rst_s=draw(seconds), idle_s=60.0,
        alert_s=300.0, blocks=tuple(blocks),
    )  # fmt: skip


class Slot:
    """A port in use, by one flow, or by several of one private socket."""

    def __init__(self, flow: Flow, grant: Grant, share: SnatRange | None) -> None:
        self.first, self.grant, self.share = flow, grant, share
        self.flows = {flow}
        self.tracked = {flow}
        self.due: float | None = None


class Course(RuleBasedStateMachine):
    """Any order of questions, ends, time that passes, and changes."""

    @initialize(policy=policies(), ranges=pools())
    def begin(self, policy: SnatPolicy, ranges: list[SnatPool]) -> None:
        self.policy, self.pools = policy, {int(IPv4Address(pool.source)): pool for pool in ranges}
        self.ports = Ports(policy, ranges)
        self.now = 1000.0
        self.slots: list[Slot] = []
        self.sockets: dict[Any, Slot] = {}
        self.refused: dict[Flow, float] = {}

    # --- the model ----------------------------------------------------------------------------

    def reuse(self, flow: Flow) -> str:
        return self.policy.tcp_reuse if flow.protocol == TCP else self.policy.udp_reuse

    def clash(self, one: Flow, other: Flow) -> bool:
        """Tell whether two flows may not have one port of one address."""
        if one.protocol != other.protocol:
            both = self.reuse(one) == self.reuse(other) == "destination address"
            return both and not self.policy.per_protocol and one.destination == other.destination
        match self.reuse(one):
            case "destination address":
                return one.destination == other.destination
            case "destination":
                return one[3:] == other[3:]
        return True

    def taken(self, address: int, port: int, flow: Flow) -> bool:
        return any(slot.grant == (address, port) and self.clash(slot.first, flow) for slot in self.slots)

    def free(self, share: SnatRange, flow: Flow) -> list[int]:
        number = int(IPv4Address(share.address))
        blocked = {port for block in self.policy.blocks if block.address == share.address for port in block.ports()}
        return [port for port in share.ports() if port not in blocked and not self.taken(number, port, flow)]

    def slot_of(self, flow: Flow) -> Slot | None:
        return next((slot for slot in self.slots if flow in slot.tracked), None)

    def share_of(self, flow: Flow, address: int) -> SnatRange | None:
        pool = self.pools.get(flow.source)
        return next((r for r in pool.ranges if r.address == NUMBERS[address]), None) if pool else None

    def hold(self, flow: Flow, grant: Grant, share: SnatRange | None) -> Slot:
        slot = Slot(flow, grant, share)
        self.slots.append(slot)
        if self.reuse(flow) == "nothing":
            self.sockets[flow[:3]] = slot
        return slot

    def let_go(self, flow: Flow, slot: Slot) -> None:
        slot.tracked.discard(flow)
        slot.flows.discard(flow)
        if not slot.flows:
            self.slots.remove(slot)
            if self.sockets.get(slot.first[:3]) is slot:
                del self.sockets[slot.first[:3]]

    # --- what may happen ----------------------------------------------------------------------

    @rule(flow=flows)
    def a_flow_begins(self, flow: Flow) -> None:
        slot = self.slot_of(flow)
        found = self.ports.decide(flow, self.now)
        if slot is not None and slot.due is None:
            assert found == slot.grant
            return
        if slot is not None:
            slot.tracked.discard(flow)
        socket = self.sockets.get(flow[:3]) if self.reuse(flow) == "nothing" else None
        if socket is not None and socket.due is None:
            assert found == socket.grant
            socket.flows.add(flow)
            socket.tracked.add(flow)
            return
        ranges = self.pools[flow.source].ranges
        if found is None:
            assert [self.free(share, flow) for share in ranges] == [[] for _ in ranges]
            self.refused.pop(flow, None)
            self.refused[flow] = self.now
            return
        share = self.share_of(flow, found.address)
        assert share is not None
        free = self.free(share, flow)
        assert found.port in free
        if self.policy.order == "lowest":
            assert found.port == free[0]
        if self.policy.sequential:
            assert share == next(r for r in ranges if self.free(r, flow))
        self.refused.pop(flow, None)
        self.hold(flow, found, share)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), how=st.sampled_from(["fin", "rst"]))
    def a_flow_is_closed(self, data: st.DataObject, how: Any) -> None:
        flow = self.some_flow(data)
        slot = self.slot_of(flow)
        must_forget = self.ports.closed(flow, how, self.now)
        if slot is None or len(slot.flows) > 1:
            assert not must_forget
            return
        hold_s = self.policy.fin_s if how == "fin" else self.policy.rst_s
        assert must_forget == (hold_s == 0)
        if hold_s == 0:
            self.let_go(flow, slot)
        else:
            slot.due = min(self.now + hold_s, slot.due or float("inf"))

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), right=st.sampled_from([True, True, True, False]))
    def a_flow_is_forgotten(self, data: st.DataObject, right: bool) -> None:
        flow = self.some_flow(data)
        slot = self.slot_of(flow)
        port = 1 if slot is None or not right else slot.grant.port
        self.ports.ended(flow, port)
        if slot is None or not right:
            return
        if slot.due is None:
            self.let_go(flow, slot)
        else:
            slot.tracked.discard(flow)

    def some_flow(self, data: st.DataObject) -> Flow:
        known = sorted({flow for slot in self.slots for flow in slot.flows})
        return data.draw(st.sampled_from(known))

    @rule(step=st.sampled_from([0.0, 1.0, 4.0, 15.0, 100.0]))
    def time_passes(self, step: float) -> None:
        self.now += step
        over = [slot for slot in self.slots if slot.due is not None and slot.due <= self.now]
        wanted = sorted(flow for slot in over for flow in slot.tracked)
        assert sorted(self.ports.due(self.now)) == wanted
        for slot in over:
            for flow in list(slot.flows):
                self.let_go(flow, slot)
        self.refused = {flow: at for flow, at in self.refused.items() if at > self.now - self.policy.idle_s}

    @rule(flow=flows, address=st.sampled_from(sorted(NUMBERS)), port=st.integers(FIRST - 1, LAST + 1))
    def a_flow_is_taken_over(self, flow: Flow, address: int, port: int) -> None:
        self.ports.adopt(flow, Grant(address, port))
        share = self.share_of(flow, address)
        if share is None or self.slot_of(flow) is not None:
            return
        socket = self.sockets.get(flow[:3]) if self.reuse(flow) == "nothing" else None
        if socket is not None and socket.due is None and socket.grant == (address, port):
            socket.flows.add(flow)
            socket.tracked.add(flow)
        elif not self.taken(address, port, flow):
            self.hold(flow, Grant(address, port), share if port in share else None)

    @rule(ranges=pools(), order=st.sampled_from(["lowest", "random"]), fin_s=seconds)
    def ranges_change(self, ranges: list[SnatPool], order: Any, fin_s: float) -> None:
        before = self.pools
        self.pools = {int(IPv4Address(pool.source)): pool for pool in ranges}
        self.policy = msgspec.structs.replace(self.policy, order=order, fin_s=fin_s)
        self.ports, lost = self.ports.changed(self.policy, ranges)
        wanted = []
        for slot in list(self.slots):
            old = next((r for r in before[slot.first.source].ranges if r.address == NUMBERS[slot.grant.address]), None)
            new = self.share_of(slot.first, slot.grant.address)
            shrunk = old is not None and new is not None and len(new) < len(old) and slot.grant.port not in new
            if shrunk:
                wanted += slot.tracked
            if new is None or shrunk:
                slot.tracked.clear()
                for flow in list(slot.flows):
                    self.let_go(flow, slot)
            else:
                slot.share = new if slot.grant.port in new else None
        assert sorted(lost) == sorted(wanted)

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def flows_have_the_ports_they_were_given(self) -> None:
        assert dict(self.ports.flows()) == {flow: slot.grant for slot in self.slots for flow in slot.tracked}

    @invariant()
    def the_next_cool_down_is_not_missed(self) -> None:
        dues = [slot.due for slot in self.slots if slot.due is not None]
        told = self.ports.next_due()
        assert not dues or (told is not None and told <= min(dues))

    @invariant()
    def usage_adds_up(self) -> None:
        for usage in self.ports.usage():
            ours = [
                slot
                for slot in self.slots
                if (VMS[slot.first.source], NUMBERS[slot.grant.address], NAMES[slot.first.protocol])
                == (usage.node, usage.address, usage.protocol)
            ]
            assert usage.flows == len(ours)
            assert usage.ports == len({slot.grant.port for slot in ours})
            assert usage.cooling == len([slot for slot in ours if slot.due is not None])
            towards = Counter(flow[3:] for slot in ours for flow in slot.tracked)
            shown = {(int(IPv4Address(to.address)), to.port): to.ports for to in usage.destinations if to.ports}
            assert shown == dict(towards)
            assert usage.fullest == self.fullest(usage.node, usage.address, usage.protocol)
            assert usage.peak >= usage.fullest
            assert sum(to.cooling for to in usage.destinations) == sum(
                len(slot.tracked) for slot in ours if slot.due is not None
            )
        waiting = sum(to.refused for usage in self.ports.usage() for to in usage.destinations)
        assert waiting == len(self.refused)

    def scope(self, flow: Flow) -> tuple[object, ...]:
        """Return what flows that clash have in common."""
        reuse = self.reuse(flow)
        shared = reuse == "destination address" and not self.policy.per_protocol
        place = {"destination address": flow[3:4], "destination": flow[3:], "nothing": ()}[reuse]
        return ("both" if shared else flow.protocol, *place)

    def fullest(self, node: str, address: str, protocol: str) -> int:
        share = next(
            r for pool in self.pools.values() if pool.node == node for r in pool.ranges if r.address == address
        )
        scopes = Counter(self.scope(slot.first) for slot in self.slots if slot.share == share)
        counted = [n for scope, n in scopes.items() if scope[0] == "both" or NAMES.get(scope[0]) == protocol]  # type: ignore[call-overload]
        return max(counted, default=0)

    def teardown(self) -> None:
        """End everything: nothing may be left behind."""
        if not hasattr(self, "ports"):
            return
        for flow, grant in list(self.ports.flows()):
            self.ports.ended(flow, grant.port)
        self.ports.due(self.now + 1000.0)
        left = (self.ports._held, self.ports._scopes, self.ports._sockets, self.ports._cooling, self.ports._refused)
        assert [len(part) for part in left] == [0, 0, 0, 0, 0]
        assert [usage.flows + usage.ports + usage.cooling + usage.fullest for usage in self.ports.usage()] == [
            0 for _ in self.ports.usage()
        ]


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=200, stateful_step_count=60, deadline=None, derandomize=True)
