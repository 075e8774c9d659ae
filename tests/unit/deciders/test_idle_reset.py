"""lab/deciders/idle_reset.py: which resets tell the ends of a flow that it timed out. Time is invented."""

from lab.deciders.idle_reset import Idle
from lab.flow import TCP, Flow, Reset, Segment

_VIP, _VM, _CLIENT, _OTHER = 0x28010101, 0x0A010004, 0xC6336414, 0xC6336415
_FLOW = Flow(TCP, _CLIENT, 40000, _VIP, 80)
_SEEN = Flow(TCP, _CLIENT, 40000, _VM, 8080)


def said(acknowledged: int | None, *, client: bool, port: int = 40000) -> Segment:
    ends = (_CLIENT, port, _VIP, 80) if client else (_VIP, 80, _CLIENT, port)
    return Segment(*ends, acknowledged)


def spoken(*, at: float = 0.0, idle_s: int = 240) -> Idle:
    """Return what is known after each end has acknowledged something."""
    idle = Idle({(_VIP, 80): idle_s})
    idle.heard(said(None, client=True), at)
    idle.heard(said(1001, client=False), at)
    idle.heard(said(2001, client=True), at)
    return idle


def test_each_end_is_sent_what_it_expects_next() -> None:
    assert spoken().ended(_FLOW, _SEEN, timed_out=True) == (
        Reset(_VIP, 80, _CLIENT, 40000, 2001, 1001),
        Reset(_CLIENT, 40000, _VM, 8080, 1001, 2001),
    )


def test_what_counts_is_acknowledged_last_even_if_segments_overtake_each_other() -> None:
    idle = spoken()
    idle.heard(said(2500, client=True), 1.0)
    idle.heard(said(2400, client=True), 2.0)
    client, _ = idle.ended(_FLOW, _SEEN, timed_out=True)
    assert client.sequence == 2500


def test_sequence_numbers_begin_again_at_their_end() -> None:
    idle = Idle({(_VIP, 80): 240})
    for number in (0xFFFFFF00, 0x10):
        idle.heard(said(number, client=True), 0.0)
        idle.heard(said(number, client=False), 0.0)
    client, server = idle.ended(_FLOW, _SEEN, timed_out=True)
    assert (client.sequence, server.sequence) == (0x10, 0x10)


def test_a_flow_that_ended_otherwise_is_forgotten_in_silence() -> None:
    idle = spoken()
    assert idle.ended(_FLOW, _SEEN, timed_out=False) == ()
    assert len(idle) == 0


def test_a_flow_that_only_one_end_spoke_over_has_no_numbers() -> None:
    idle = Idle({(_VIP, 80): 240})
    idle.heard(said(2001, client=True), 0.0)
    assert idle.ended(_FLOW, _SEEN, timed_out=True) == ()


def test_a_flow_that_was_never_heard_is_not_reset() -> None:
    assert Idle({(_VIP, 80): 240}).ended(_FLOW, _SEEN, timed_out=True) == ()


def test_segments_and_ends_of_what_is_not_watched_are_passed_over() -> None:
    idle = spoken()
    idle.heard(Segment(_CLIENT, 40000, _VIP, 81, 1), 1.0)
    idle.heard(Segment(_OTHER, 80, _CLIENT, 40000, 1), 1.0)
    assert len(idle) == 1
    assert idle.ended(Flow(TCP, _CLIENT, 40000, _VIP, 81), _SEEN, timed_out=True) == ()


def test_a_flow_is_due_when_nothing_was_heard_of_it_for_as_long_as_it_may_be_idle() -> None:
    idle = spoken(at=10.0)
    assert idle.next_due() == 250.0
    idle.heard(said(1002, client=False), 20.0)
    assert (idle.due(259.9), idle.due(260.0)) == ([], [_FLOW])


def test_the_first_to_be_due_is_the_one_that_was_heard_of_first() -> None:
    idle = spoken(at=10.0)
    idle.heard(said(1, client=True, port=40001), 20.0)
    assert idle.next_due() == 250.0
    idle.heard(said(2002, client=True), 30.0)
    assert idle.next_due() == 260.0


def test_a_flow_that_is_there_after_all_is_asked_about_later() -> None:
    idle = spoken()
    idle.postpone([_FLOW], 240.0)
    assert idle.next_due() == 480.0
    assert len(idle.ended(_FLOW, _SEEN, timed_out=True)) == 2


def test_a_flow_that_nobody_knows_is_forgotten() -> None:
    idle = spoken()
    idle.forget([_FLOW])
    assert (len(idle), idle.next_due()) == (0, None)


def test_with_other_rules_what_is_known_of_flows_that_are_still_watched_stays() -> None:
    idle = spoken().changed({(_VIP, 80): 600, (_VIP, 81): 240})
    assert idle.next_due() == 600.0
    assert len(idle.ended(_FLOW, _SEEN, timed_out=True)) == 2
    assert len(spoken().changed({(_VIP, 81): 240})) == 0


_FRONTEND, _FAR = 0x28010102, 0xC6336420
#: A flow that leaves by a frontend: as its VM began it, and as it is seen outside.
_LEAVING = Flow(TCP, _VM, 50000, _FAR, 443)
_TRANSLATED = Flow(TCP, _FRONTEND, 1024, _FAR, 443)


def left() -> Idle:
    """Return what is known of a flow that leaves, after each end has acknowledged something."""
    idle = Idle({}, {_FRONTEND: 240})
    idle.heard(Segment(_FRONTEND, 1024, _FAR, 443, 2001), 0.0)
    idle.heard(Segment(_FAR, 443, _FRONTEND, 1024, 1001), 1.0)
    return idle


def test_both_ends_of_a_flow_that_left_are_told_where_each_knows_it() -> None:
    assert left().ended(_LEAVING, _TRANSLATED, timed_out=True) == (
        Reset(_FAR, 443, _VM, 50000, 2001, 1001),
        Reset(_FRONTEND, 1024, _FAR, 443, 1001, 2001),
    )


def test_a_flow_that_left_is_known_as_its_receiver_sees_it() -> None:
    idle = left()
    assert idle.due(241.0) == [_TRANSLATED]
    assert idle.is_outbound(_TRANSLATED)
    assert not spoken().is_outbound(_FLOW)


def test_flows_that_left_by_other_addresses_are_not_told() -> None:
    other = _TRANSLATED._replace(source=_FRONTEND + 1)
    assert left().ended(_LEAVING, other, timed_out=True) == ()
    assert len(left().changed({}, {})) == 0
    assert len(left().changed({}, {_FRONTEND: 300})) == 1
