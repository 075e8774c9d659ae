"""lab/deciders/idle_flows.py: which flows were idle for too long, by what the table tells. Time is invented."""

import pytest

from lab.deciders.idle_flows import Watch
from lab.flow import TCP, Flow

_SHORT, _LONG = 0x28010101, 0x28010102
_FLOW = Flow(TCP, 0x0A010004, 40000, 0xC6336414, 443)
_OTHER = Flow(TCP, 0x0A010004, 40001, 0xC6336414, 443)


def watch() -> Watch:
    """Return what looks after flows of 240 s by default and 720 s from one address, as the kernel's timers are."""
    return Watch(720, 240, {_LONG: 720})


def left(idle: float) -> int:
    """Return what the table tells of a flow that has been idle for so long."""
    return int(720 - idle)


def test_a_flow_is_asked_about_when_it_may_be_over() -> None:
    asked = watch()
    asked.begun(_FLOW, _SHORT, 10.0)
    assert asked.next_due() == 250.0
    assert asked.due(249.9) == []
    assert asked.due(250.0) == [_FLOW]


def test_a_flow_that_the_kernel_ends_in_time_is_never_asked_about() -> None:
    asked = watch()
    asked.begun(_FLOW, _LONG, 0.0)
    assert asked.next_due() is None


@pytest.mark.parametrize("idle", [240.01, 240.5, 300.0])
def test_a_flow_that_was_idle_for_long_enough_is_over(idle: float) -> None:
    asked = watch()
    asked.begun(_FLOW, _SHORT, 0.0)
    asked.due(300.0)
    assert asked.judged(_FLOW, left(idle), 300.0)


@pytest.mark.parametrize(
    ("idle", "again"),
    # It is asked about again a second before it may be over at the latest, then every tenth of a second.
    [(0.5, 300.0 + 239.0), (100.5, 300.0 + 139.0), (238.5, 301.0), (239.5, 300.1)],
)
def test_a_flow_that_was_used_meanwhile_is_asked_about_again(idle: float, again: float) -> None:
    asked = watch()
    asked.begun(_FLOW, _SHORT, 0.0)
    asked.due(300.0)
    assert not asked.judged(_FLOW, left(idle), 300.0)
    assert asked.next_due() == pytest.approx(again)


def test_no_flow_was_idle_for_longer_than_it_is_known() -> None:
    """The kernel's timers were shorter until now, so that the table tells of more idle time than there was."""
    asked = watch()
    asked.begun(_FLOW, _SHORT, 100.0, due=100.0)
    assert asked.due(100.0) == [_FLOW]
    assert not asked.judged(_FLOW, 60, 100.0)
    assert asked.next_due() == pytest.approx(100.0 + 239.0)


def test_flows_that_have_ended_are_not_asked_about() -> None:
    asked = watch()
    asked.begun(_FLOW, _SHORT, 0.0)
    asked.begun(_OTHER, _SHORT, 1.0)
    asked.ended(_FLOW)
    assert asked.next_due() == 241.0
    assert asked.due(1000.0) == [_OTHER]


def test_a_flow_that_begins_anew_counts_from_then() -> None:
    asked = watch()
    asked.begun(_FLOW, _SHORT, 0.0)
    asked.ended(_FLOW)
    asked.begun(_FLOW, _SHORT, 100.0)
    assert asked.due(240.0) == []
    assert asked.due(340.0) == [_FLOW]
