"""lab/cli/execution.py: what is done for a while ends, whatever becomes of it in between."""

import os
import signal
from collections.abc import Callable

import pytest

from lab.cli import execution
from lab.errors import Interrupted, LabError, LabLocked
from lab.kernel import apply
from lab.operations.base import Operation
from lab.operations.cloud_service import BeginRedeployment, EndRedeployment
from lab.runtime import operate

BEGIN, END = BeginRedeployment("shop"), EndRedeployment("shop")


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Have operations only noted."""
    return noted(monkeypatch, lambda _operation: None)


def noted(monkeypatch: pytest.MonkeyPatch, happens: Callable[[Operation], None]) -> list[Operation]:
    """Have operations noted once something else has happened meanwhile."""
    done: list[Operation] = []

    def perform(_lab: str, operation: Operation, _say: object) -> apply.Outcome:
        happens(operation)
        done.append(operation)
        return apply.Outcome(built=False, changed=2)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(operate, "perform", perform)
    return done


def test_what_begins_ends_and_both_are_said(performed: list[Operation], capsys: pytest.CaptureFixture[str]) -> None:
    with execution.for_a_while("a", BEGIN, END):
        assert performed == [BEGIN]
    assert performed == [BEGIN, END]
    assert capsys.readouterr().err.splitlines() == [
        "a: service redeploy shop: 2 changes",
        "a: service redeploy shop, its end: 2 changes",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupt_ends_it(performed: list[Operation], number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught, execution.for_a_while("a", BEGIN, END):
        signal.raise_signal(number)
    assert (performed, str(caught.value)) == ([BEGIN, END], "interrupted; what was begun is over")


def test_an_error_ends_it(performed: list[Operation]) -> None:
    with pytest.raises(LabError, match="meanwhile"), execution.for_a_while("a", BEGIN, END):
        raise LabError("meanwhile")
    assert performed == [BEGIN, END]


@pytest.mark.parametrize("when", [BEGIN, END], ids=str)
def test_an_interrupt_waits_until_a_change_is_made(monkeypatch: pytest.MonkeyPatch, when: Operation) -> None:
    """Half a change is none: neither is what has begun left to go on, nor its end left out."""
    done = noted(monkeypatch, lambda operation: signal.raise_signal(signal.SIGINT) if operation == when else None)
    within = []
    with pytest.raises(Interrupted), execution.for_a_while("a", BEGIN, END):
        within.append(True)
    assert (done, within) == ([BEGIN, END], [] if when == BEGIN else [True])


def test_what_did_not_begin_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be somebody else's that goes on."""

    def busy(_operation: Operation) -> None:
        raise LabLocked("somebody else")

    done = noted(monkeypatch, busy)
    with pytest.raises(LabLocked), execution.for_a_while("a", BEGIN, END):
        pytest.fail("it goes on")
    assert done == []


def test_afterwards_signals_do_what_they_did(performed: list[Operation]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with execution.for_a_while("a", BEGIN, END):
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    assert len(performed) == 2
